package minatest

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Generation is a generation of workers, by what their lines look like.
type Generation string

// The two generations. Text workers log durations as text and say "Submitted" before they submit; Seconds workers log seconds and say it
// after the coordinator took the proof.
const (
	Text    Generation = "text"
	Seconds Generation = "seconds"
)

// Worker is the double of one worker process. Its fields are its configuration; the zero value of a duration means Mina's own.
type Worker struct {
	Directory  string     // the working directory, where snark_coordinator is looked for
	Generation Generation // "" = Text
	Out        io.Writer  // for the lines
	Prove      time.Duration
	Nap        time.Duration
	Retry      time.Duration
	// FailEvery makes every so-many-th proof fail; 0 = none.
	FailEvery int

	address  string
	shutDown bool
	works    int
}

// errShutDown ends a worker whose coordinator does not answer.
var errShutDown = errors.New("shut down on disconnect")

// Run does what the command does with these arguments, which begin with "internal", "snark-worker", until ctx ends, which stands for SIGTERM.
// It returns the exit code.
func (w Worker) Run(ctx context.Context, arguments []string) int {
	if err := w.configure(arguments); err != nil {
		_, _ = fmt.Fprintln(w.Out, err)
		return 1
	}
	err := w.loop(ctx)
	switch {
	case errors.Is(err, errShutDown):
		_, _ = fmt.Fprintf(w.Out, "(monitor.ml.Error (Failure %q))\n", err.Error())
		return 1
	case ctx.Err() != nil:
		w.log("Info", "Received signal to terminate. Aborting snark worker process", nil)
		return 0
	default:
		_, _ = fmt.Fprintln(w.Out, err)
		return 1
	}
}

func (w *Worker) configure(arguments []string) error {
	if len(arguments) < 2 || arguments[0] != "internal" || arguments[1] != "snark-worker" {
		return errors.New("usage: internal snark-worker --daemon-address HOST:PORT")
	}
	flags := flag.NewFlagSet("snark-worker", flag.ContinueOnError)
	flags.SetOutput(w.Out)
	flags.StringVar(&w.address, "daemon-address", "", "HOST:PORT of the coordinator")
	shutDown := flags.String("shutdown-on-disconnect", "true", "end when a call fails")
	flags.String("proof-level", "full", "full, check or none; makes no difference here")
	flags.String("config-directory", "", "makes no difference here")
	flags.Bool("log-json", false, "makes no difference here: lines are always JSON")
	if err := flags.Parse(arguments[2:]); err != nil {
		return err
	}
	if w.address == "" || (*shutDown != "true" && *shutDown != "false") || flags.NArg() > 0 {
		return errors.New("missing required flag: --daemon-address, or a flag's value is wrong")
	}
	w.shutDown = *shutDown == "true"
	usual := func(value *time.Duration, mina time.Duration) {
		if *value == 0 {
			*value = mina
		}
	}
	usual(&w.Prove, 12*time.Second)
	usual(&w.Nap, 5*time.Second)
	usual(&w.Retry, 10*time.Second)
	return nil
}

func (w *Worker) loop(ctx context.Context) error {
	for {
		address := w.coordinator()
		var work reply
		err := w.call(ctx, address, call{Call: "get_work"}, &work)
		if err := ending(ctx, err); err != nil {
			return err
		}
		switch {
		case err != nil:
			w.log("Error", "Error getting work: "+err.Error(), nil)
			err = wait(ctx, w.Retry)
		case len(work.WorkIDs) == 0:
			w.log("Info", "No jobs available. Napping for $time seconds", map[string]any{"time": w.Nap.Seconds()})
			err = wait(ctx, w.Nap)
		default:
			err = w.work(ctx, address, work.WorkIDs)
		}
		if err != nil {
			return err
		}
	}
}

// coordinator is read anew each time, so that a supervisor can move the worker or drain it.
func (w *Worker) coordinator() string {
	content, err := os.ReadFile(filepath.Join(w.Directory, "snark_coordinator"))
	if err != nil {
		return w.address
	}
	address := strings.TrimSpace(string(content))
	if _, _, err := net.SplitHostPort(address); err != nil {
		return w.address
	}
	return address
}

func (w *Worker) work(ctx context.Context, address string, ids []int) error {
	metadata := map[string]any{"work_ids": ids, "address": address}
	w.log("Info", "SNARK work $work_ids received from $address. Starting proof generation", metadata)
	if err := wait(ctx, w.Prove); err != nil {
		return err
	}
	if w.works++; w.FailEvery > 0 && w.works%w.FailEvery == 0 {
		_ = w.call(ctx, address, call{"failed_to_prove", ids}, &reply{}) // Mina's worker goes on as well
		w.log("Error", `Error performing work: (Failure "the double was told to fail")`, nil)
		return wait(ctx, w.Retry)
	}
	for i := range ids {
		w.logProof(i)
	}
	const submitted = "Submitted completed SNARK work $work_ids to $address"
	if w.Generation != Seconds {
		w.log("Info", submitted, metadata)
	}
	for {
		var answer reply
		err := w.call(ctx, address, call{"submit_work", ids}, &answer)
		if err := ending(ctx, err); err != nil {
			return err
		}
		switch {
		case err != nil:
			w.log("Error", "Error submitting work: "+err.Error(), nil)
			if err := wait(ctx, w.Retry); err != nil {
				return err
			}
			continue
		case answer.Result == Slashed:
			w.log("Info", "Result $work_ids slashed by $address", metadata)
		case answer.Result == WrongShape:
			w.log("Info", "Result $work_ids rejected by $address since it has wrong shape", metadata)
		case w.Generation == Seconds:
			w.log("Info", submitted, metadata)
		}
		return nil
	}
}

// logProof says that a proof is made: the first of a work is a base proof, the second a merge.
func (w *Worker) logProof(index int) {
	var took any = fmt.Sprintf("%.3fms", float64(w.Prove.Microseconds())/1000)
	name := "elapsed"
	if w.Generation == Seconds {
		took, name = w.Prove.Seconds(), "time"
	}
	if index > 0 {
		w.log("Info", "Merge SNARK generated in $time", map[string]any{"time": took})
		return
	}
	w.log("Info", "Base SNARK generated in $"+name+" for $transaction_type transaction with $zkapp_command_count zkapp_command and $proof_zkapp_command_count proof zkapp_command",
		map[string]any{name: took, "transaction_type": "Signed_command", "zkapp_command_count": 0, "proof_zkapp_command_count": 0})
}

// ending returns the error that ends the worker, if err is such a one or ctx has ended.
func ending(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, errShutDown) {
		return err
	}
	return nil
}

func (w *Worker) call(ctx context.Context, address string, asked call, answer *reply) error {
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err == nil {
		defer connection.Close() //nolint:errcheck // the answer is read, or has failed
		stop := context.AfterFunc(ctx, func() { _ = connection.Close() })
		defer stop()
		err = errors.Join(connection.SetDeadline(time.Now().Add(callDeadline)), writeLine(connection, asked))
	}
	if err == nil {
		err = readLine(connection, answer)
	}
	if err == nil {
		return nil
	}
	if w.shutDown {
		return fmt.Errorf("Shutting down. Error using the RPC call, %s,: %w: %w", asked.Call, err, errShutDown) //nolint:staticcheck // Mina's words
	}
	return fmt.Errorf("Error using the RPC call, %s: %w", asked.Call, err) //nolint:staticcheck // Mina's words
}

func (w *Worker) log(level, message string, metadata map[string]any) {
	fields := map[string]any{"process": "Snark Worker"}
	maps.Copy(fields, metadata)
	line, err := json.Marshal(map[string]any{
		"timestamp": time.Now().UTC().Format("2006-01-02 15:04:05.000000Z"), "level": level,
		"source": map[string]string{"module": "Snark_worker__Entry", "location": "double"}, "message": message, "metadata": fields,
	})
	if err == nil {
		_, _ = w.Out.Write(append(line, '\n')) // a worker whose reader is gone goes on
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
