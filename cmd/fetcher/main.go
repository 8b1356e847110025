// Command fetcher stores each entry of each node's internal log once, in PostgreSQL.
//
//	fetcher -k KEYFILE -o DIR [--db-uri URI] discovery
//	fetcher -k KEYFILE -o DIR [--db-uri URI] node-address-port ADDRESS -p PORT
//	fetcher process -o DIR | --db-uri URI [--deployment N|new] [--name NODE] FILE…
//	fetcher migrate --db-uri URI
//
// fetcher help lists the options; docs/fetcher.md says the rest.
//
// Files: commandline.go what may be written on the command line; settings.go what comes of it and of the environment; collect.go the two
// collecting sub-commands, from start to end; port.go connections to the REST port; retention.go what is dropped; quiet.go the volume of the log;
// process.go the sub-command process.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"provingground/cmd/internal/boot"
	"provingground/schema"
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
	if len(p.args) == 0 {
		_, _ = fmt.Fprint(p.stderr, "fetcher: what is it to do?\n"+usage)
		return boot.CodeUsage
	}
	return boot.Run(p.stderr, "fetcher", "fetcher help lists commands and options", func() error { return p.dispatch(ctx) })
}

// dispatch reads the command line and runs the sub-command. All that is wrong with what the caller gave is one error.
func (p program) dispatch(ctx context.Context) error {
	line, wrong := parse(p.args)
	if wrong != nil && (line.command == "" || line.command == cmdHelp || line.command == cmdVersion) {
		return wrong
	}
	switch line.command {
	case cmdHelp:
		_, err := fmt.Fprint(p.stdout, usage+help)
		return err
	case cmdVersion:
		_, err := fmt.Fprintln(p.stdout, "fetcher", boot.Version())
		return err
	default:
	}
	s, err := p.settings(line)
	if err := errors.Join(wrong, err); err != nil {
		return err
	}
	ctx, stop := boot.Signals(ctx,
		func(s os.Signal) error {
			_, _ = fmt.Fprintf(p.stderr, "%s: storing what was read; a second signal leaves at once\n", s)
			return &interrupted{s}
		},
		func(s os.Signal) {
			_, _ = fmt.Fprintln(p.stderr, "a second signal: leaving at once; what is not stored is still with the nodes")
			os.Exit(128 + boot.Number(s))
		})
	defer stop()
	switch line.command {
	case cmdProcess:
		return p.process(ctx, s)
	case cmdMigrate:
		for _, warning := range s.warnings {
			_, _ = fmt.Fprintln(p.stderr, "fetcher: warning:", warning)
		}
		if err := schema.Migrate(ctx, s.databaseURI); err != nil {
			return err
		}
		_, err := fmt.Fprintf(p.stdout, "the database is of version %d\n", schema.Latest())
		return err
	default:
		return p.collect(ctx, s)
	}
}

// interrupted says that a signal ended the work.
type interrupted struct{ signal os.Signal }

func (e *interrupted) Error() string { return fmt.Sprintf("ended by the signal %q", e.signal) }

// collecting tells whether a sub-command reads nodes.
func (c command) collecting() bool { return slices.Contains([]command{cmdDiscovery, cmdAddress}, c) }
