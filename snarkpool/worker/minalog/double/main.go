// Double stands in for the executable mina where a test or a demo supervises SNARK workers: it takes the arguments of `mina internal
// snark-worker`, and the coordinator it works for is minatest's, not Mina's. Environment variables make it quick or faulty:
// DOUBLE_GENERATION (text or seconds), DOUBLE_PROVE, DOUBLE_NAP and DOUBLE_RETRY (durations such as 200ms) and DOUBLE_FAIL_EVERY (a number).
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"provingground/snarkpool/worker/minalog/minatest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	worker, err := configured()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(worker.Run(ctx, os.Args[1:]))
}

func configured() (minatest.Worker, error) {
	w := minatest.Worker{Directory: ".", Out: os.Stdout, Generation: minatest.Generation(os.Getenv("DOUBLE_GENERATION"))}
	for name, value := range map[string]*time.Duration{"DOUBLE_PROVE": &w.Prove, "DOUBLE_NAP": &w.Nap, "DOUBLE_RETRY": &w.Retry} {
		text := os.Getenv(name)
		if text == "" {
			continue
		}
		var err error
		if *value, err = time.ParseDuration(text); err != nil {
			return w, fmt.Errorf("%s: %w", name, err)
		}
	}
	if text := os.Getenv("DOUBLE_FAIL_EVERY"); text != "" {
		var err error
		if w.FailEvery, err = strconv.Atoi(text); err != nil {
			return w, fmt.Errorf("DOUBLE_FAIL_EVERY: %w", err)
		}
	}
	return w, nil
}
