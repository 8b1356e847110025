// Command uptime takes the signed reports of Mina nodes and says which nodes are online.
//
//	uptime [-config FILE] [-listen ADDRESS] [-db-uri URI] [-whitelist-file FILE]
//
// uptime help lists the options; docs/uptime.md says the rest.
//
// Files: commandline.go what may be written on the command line; config.go the configuration file; settings.go what comes of both and of the
// environment; serve.go the service, from start to end.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"provingground/cmd/internal/boot"
)

func main() {
	os.Exit(program{args: os.Args[1:], stdout: os.Stdout, stderr: os.Stderr, getenv: os.LookupEnv}.run(context.Background()))
}

// program is one call of the command: what it was given, and where it writes.
type program struct {
	args   []string
	stdout io.Writer
	stderr *os.File
	getenv func(string) (string, bool)
}

// env returns a variable of the environment, empty when there is none.
func (p program) env(name string) string {
	value, _ := p.getenv(name)
	return value
}

func (p program) run(ctx context.Context) (code int) {
	return boot.Run(p.stderr, "uptime", "uptime help lists options and keys", func() error { return p.dispatch(ctx) })
}

// dispatch reads the command line and does what it says. All that is wrong with what the caller gave is one error.
func (p program) dispatch(ctx context.Context) error {
	line, wrong := parse(p.args)
	switch line.command {
	case cmdHelp:
		_, err := fmt.Fprint(p.stdout, usage+help)
		return err
	case cmdVersion:
		_, err := fmt.Fprintln(p.stdout, "uptime", boot.Version())
		return err
	default:
	}
	s, err := p.settings(line)
	if err := errors.Join(wrong, err); err != nil {
		return err
	}
	ctx, stop := boot.Signals(ctx,
		func(s os.Signal) error {
			_, _ = fmt.Fprintf(p.stderr, "%s: answering the requests that are here; a second signal leaves at once\n", s)
			return fmt.Errorf("ended by the signal %q", s)
		},
		func(s os.Signal) {
			_, _ = fmt.Fprintln(p.stderr, "a second signal: leaving at once")
			os.Exit(128 + boot.Number(s))
		})
	defer stop()
	return p.serve(ctx, s)
}
