package main

import (
	"errors"
	"flag"
	"io"
	"slices"
	"strings"
	"time"

	"provingground/cmd/internal/boot"
	"provingground/dsl"
)

// command is what the program is to do.
type command string

const (
	cmdServe   command = "serve" // said by nothing
	cmdVersion command = "version"
	cmdHelp    command = "help"
)

// commandLine is the command line, each part by itself as it should be; what the parts mean together is settings' concern.
type commandLine struct {
	command       command
	config        string
	listen        string
	databaseURI   string
	whitelistFile string
	retention     time.Duration
	perHour       int
	proxies       []string
	logLevel      string

	given map[string]bool // options that were written
	bad   map[string]bool // of these, those whose values are not what they should be, which is said already
}

// defaultListen is where nodes and readers look for it (uptime, section 4).
const defaultListen = ":8080"

// options puts the options into a flag set, each with its place in the command line.
func (l *commandLine) options() *flag.FlagSet {
	set := flag.NewFlagSet("uptime", flag.ContinueOnError)
	set.SetOutput(io.Discard) // help is one text
	set.StringVar(&l.config, "config", "", "")
	set.StringVar(&l.listen, "listen", defaultListen, "")
	set.StringVar(&l.databaseURI, "db-uri", "", "")
	set.StringVar(&l.whitelistFile, "whitelist-file", "", "")
	set.DurationVar(&l.retention, "retention", 0, "")
	set.IntVar(&l.perHour, "per-hour", 0, "")
	set.Func("trusted-proxy", "", func(text string) error {
		l.proxies = append(l.proxies, text)
		return nil
	})
	set.StringVar(&l.logLevel, "log-level", "info", "")
	return set
}

// expected says what the value of an option should be that is more than a text.
func expected(option string) string {
	return map[string]string{
		"retention": "give a time such as 20m, from " + leastRetention.String() + " to " + mostRetention.String(),
		"per-hour":  "give a number from 1 to 1000000",
	}[option]
}

// parse reads a command line: options with one dash or two, their values behind them or after "=". All that is wrong is one error, in which
// each thing is a *boot.UsageError; with it comes what could be understood.
func parse(args []string) (commandLine, error) {
	line := commandLine{command: cmdServe, given: make(map[string]bool), bad: make(map[string]bool)}
	set := line.options()
	var errs []error
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		switch {
		case slices.Contains([]string{"help", "-h", "-help", "--help"}, word):
			return commandLine{command: cmdHelp}, nil
		case slices.Contains([]string{"version", "-V", "-version", "--version"}, word):
			return commandLine{command: cmdVersion}, nil
		case len(word) < 2 || word[0] != '-':
			errs = append(errs, boot.Usagef("what is %q? It takes options only", word))
			continue
		}
		name, value, attached := strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
		option := set.Lookup(name)
		if option == nil {
			errs = append(errs, unknownOption(word, name, set))
			if !attached && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
				args = args[1:] // its value, probably
			}
			continue
		}
		line.given[name] = true
		if !attached {
			if len(args) == 0 {
				errs = append(errs, boot.Usagef("%s needs a value behind it", word))
				line.bad[name] = true
				break
			}
			value, args = args[0], args[1:]
		}
		err := option.Value.Set(value)
		if value == "" {
			err = errors.New("it is empty")
		}
		switch {
		case err == nil:
		case value == "" || expected(name) == "":
			errs = append(errs, boot.Usagef("-%s: %w", name, err))
			line.bad[name] = true
		default:
			errs = append(errs, boot.Usagef("-%s %s: %s", name, value, expected(name)))
			line.bad[name] = true
		}
	}
	return line, errors.Join(errs...)
}

func unknownOption(word, name string, set *flag.FlagSet) error {
	var known []string
	set.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
	given, _, _ := strings.Cut(word, "=")
	if hint := dsl.Suggest(name, known); hint != "" {
		return boot.Usagef("there is no option %s: %s", given, strings.Replace(hint, `"`, `"-`, 1))
	}
	return boot.Usagef("there is no option %s: it has -%s", given, strings.Join(known, ", -"))
}
