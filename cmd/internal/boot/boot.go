// Package boot is what every program of ours needs around its work: signals, the log, the terminal, the version.
package boot

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// Signals returns a context that ends with the first SIGINT, SIGTERM or SIGHUP; its cause is what cause makes of the signal. second is called
// with the next one, in a goroutine of its own: it should end the process. stop ends the watching and waits for it.
//
// A closed standard output or error is an error of the write from then on, and not the end of the process.
func Signals(parent context.Context, cause func(os.Signal) error, second func(os.Signal)) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as it is under nohup; else it is a lost connection, and no reason to leave load behind
		signal.Notify(signals, syscall.SIGHUP)
	}
	// Caught and not ignored: what is ignored stays ignored in the programs that we start.
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for first := true; ; first = false {
			select {
			case s := <-signals:
				if first {
					cancel(cause(s))
					continue
				}
				second(s)
			case <-quit:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		signal.Stop(pipes)
		close(quit)
		<-done
		cancel(context.Canceled)
	}
}

// Number returns the number of a signal, for exit codes.
func Number(s os.Signal) int {
	if number, ok := s.(syscall.Signal); ok {
		return int(number)
	}
	return 0
}

// Version says which build this is: the module's version, or the commit that it was built from.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			version = fmt.Sprintf("%s (%s)", version, s.Value[:12])
		}
	}
	return version
}
