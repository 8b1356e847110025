package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/cmd/internal/boot"
)

func TestParse(t *testing.T) {
	with := func(change func(*commandLine), given ...string) commandLine {
		line := commandLine{command: cmdServe, listen: ":8080", logLevel: "info", given: map[string]bool{}, bad: map[string]bool{}}
		for _, name := range given {
			line.given[name] = true
		}
		change(&line)
		return line
	}
	for args, want := range map[string]commandLine{
		"": with(func(*commandLine) {}),
		"-config c.json --listen=127.0.0.1:0 -db-uri postgresql:///x": with(func(l *commandLine) {
			l.config, l.listen, l.databaseURI = "c.json", "127.0.0.1:0", "postgresql:///x"
		}, "config", "listen", "db-uri"),
		"--retention 1h30m -per-hour=7 -trusted-proxy 10.0.0.0/8 -trusted-proxy ::1 -whitelist-file keys -log-level debug": with(func(l *commandLine) {
			l.retention, l.perHour, l.proxies, l.whitelistFile, l.logLevel = 90*time.Minute, 7, []string{"10.0.0.0/8", "::1"}, "keys", "debug"
		}, "retention", "per-hour", "trusted-proxy", "whitelist-file", "log-level"),
		"help": {command: cmdHelp}, "-config x --help": {command: cmdHelp}, "-h": {command: cmdHelp}, "version": {command: cmdVersion}, "-V": {command: cmdVersion},
	} {
		got, err := parse(strings.Fields(args))
		if err != nil {
			t.Errorf("%s: %v", args, err)
		} else if diff := cmp.Diff(want, got, cmp.AllowUnexported(commandLine{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", args, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for args, says := range map[string]string{
		"-lisen :1":           `no option -lisen: did you mean "-listen"?`,
		"--dburi=x":           `no option --dburi: did you mean "-db-uri"?`,
		"-x":                  "no option -x: it has -config, -db-uri",
		"serve":               `what is "serve"?`,
		"-":                   `what is "-"?`,
		"-config":             "-config needs a value behind it",
		"-config=":            "-config: it is empty",
		"-trusted-proxy=":     "-trusted-proxy: it is empty",
		"-retention soon":     "-retention soon: give a time such as 20m, from 1m0s to 24h0m0s",
		"-per-hour many":      "-per-hour many: give a number from 1 to 1000000",
		"-x 5 -y=6 stray -h2": "no option -x: it has -config, -db-uri, -listen, -log-level, -per-hour, -retention, -trusted-proxy, -whitelist-file\nthere is no option -y: it has",
	} {
		_, err := parse(strings.Fields(args))
		var usage *boot.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want a usage error with %q", args, err, says)
		}
	}
}

// FuzzParse: whatever is written, a command line is either understood or refused as one.
func FuzzParse(f *testing.F) {
	f.Add("-config c.json -listen :1")
	f.Add("--=\n-\n--\n-retention=\nhelp")
	f.Fuzz(func(t *testing.T, text string) {
		line, err := parse(strings.Fields(text))
		var usage *boot.UsageError
		if err != nil && !errors.As(err, &usage) {
			t.Errorf("%q: %v", text, err)
		}
		if line.command == "" {
			t.Errorf("%q: no command", text)
		}
	})
}
