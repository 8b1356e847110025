package main

import (
	"errors"
	"flag"
	"io"
	"slices"
	"strings"

	"provingground/dsl"
)

// command is a sub-command.
type command string

const (
	cmdDiscovery command = "discovery"
	cmdAddress   command = "node-address-port"
	cmdProcess   command = "process"
	cmdMigrate   command = "migrate"
	cmdVersion   command = "version"
	cmdHelp      command = "help"
)

func commands() []command {
	return []command{cmdDiscovery, cmdAddress, cmdProcess, cmdMigrate, cmdVersion, cmdHelp}
}

// commandLine is the command line, each part by itself as it should be; what the parts mean together is settings' concern.
type commandLine struct {
	command   command
	arguments []string // after the sub-command

	keyFile, directory, names string
	databaseURI               string
	overrides                 []string
	listen, origins           []string
	port                      uint
	flush                     bool
	queueSize                 int
	keepLines                 string
	retainDays                int
	deployment                string
	genesis                   string
	clockScale                float64
	name                      string
	logLevel                  string

	given map[string]bool // options that were written, by their names below
}

// takes says which options a sub-command has.
func (c command) takes(option string) bool {
	switch option {
	case "db-uri":
		return c != cmdVersion && c != cmdHelp
	case "output-dir-path", "deployment":
		return c.collecting() || c == cmdProcess
	case "log-level":
		return c.collecting() || c == cmdProcess || c == cmdMigrate
	case "host-overrides":
		return c == cmdDiscovery
	case "port":
		return c == cmdAddress
	case "name":
		return c == cmdProcess
	default:
		return c.collecting()
	}
}

// aliases are the short names of options.
func aliases() map[string]string {
	return map[string]string{"k": "secret-key-path", "o": "output-dir-path", "n": "node-names-map", "p": "port"}
}

// options puts the options into a flag set, each with its place in the command line.
func (l *commandLine) options() *flag.FlagSet {
	set := flag.NewFlagSet("fetcher", flag.ContinueOnError)
	set.SetOutput(io.Discard) // help is one text
	set.StringVar(&l.keyFile, "secret-key-path", "", "")
	set.StringVar(&l.directory, "output-dir-path", "", "")
	set.StringVar(&l.names, "node-names-map", "", "")
	set.StringVar(&l.databaseURI, "db-uri", "", "")
	list := func(into *[]string) func(string) error {
		return func(text string) error {
			if text == "" {
				return errors.New("it is empty")
			}
			*into = append(*into, text)
			return nil
		}
	}
	set.Func("host-overrides", "", list(&l.overrides))
	set.Func("listen", "", list(&l.listen))
	set.Func("allow-origin", "", list(&l.origins))
	set.UintVar(&l.port, "port", 0, "")
	set.BoolVar(&l.flush, "flush", false, "")
	set.IntVar(&l.queueSize, "queue-size", 500, "")
	set.StringVar(&l.keepLines, "keep-lines", "", "")
	set.IntVar(&l.retainDays, "retain-days", 0, "")
	set.StringVar(&l.deployment, "deployment", "", "")
	set.StringVar(&l.genesis, "genesis", "", "")
	set.Float64Var(&l.clockScale, "clock-scale", 1, "")
	set.StringVar(&l.name, "name", "", "")
	set.StringVar(&l.logLevel, "log-level", "info", "")
	return set
}

// parse reads a command line. Options may stand before, between and behind the other arguments; --host-overrides takes all words up to the
// next option or sub-command. What is wrong is a *usageError.
func parse(args []string) (commandLine, error) {
	line := commandLine{given: make(map[string]bool)}
	set := line.options()
	var words []string
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		if word == "--" {
			words = append(words, args...)
			break
		}
		if len(word) < 2 || word[0] != '-' {
			words = append(words, word)
			continue
		}
		if slices.Contains([]string{"-h", "-help", "--help"}, word) {
			return commandLine{command: cmdHelp}, nil
		}
		if slices.Contains([]string{"-V", "-version", "--version"}, word) {
			return commandLine{command: cmdVersion}, nil
		}
		name, value, attached := strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
		if long, ok := aliases()[name]; ok {
			name = long
		}
		option := set.Lookup(name)
		if option == nil {
			return line, unknownOption(word, name, set)
		}
		line.given[name] = true
		if simple, ok := option.Value.(interface{ IsBoolFlag() bool }); ok && simple.IsBoolFlag() && !attached {
			value = "true"
		} else if !attached {
			if len(args) == 0 {
				return line, usagef("%s needs a value behind it", word)
			}
			value, args = args[0], args[1:]
		}
		if err := option.Value.Set(value); err != nil {
			return line, usagef("%s %s: %w", word, value, err)
		}
		for name == "host-overrides" && len(args) > 0 && !strings.HasPrefix(args[0], "-") && !slices.Contains(commands(), command(args[0])) {
			if err := option.Value.Set(args[0]); err != nil {
				return line, usagef("%s: %w", word, err)
			}
			args = args[1:]
		}
	}
	if len(words) == 0 {
		return line, usagef("what is it to do? Name a command: discovery, node-address-port, process, migrate, version, help")
	}
	line.command, line.arguments = command(words[0]), words[1:]
	if !slices.Contains(commands(), line.command) {
		var names []string
		for _, c := range commands() {
			names = append(names, string(c))
		}
		return line, usagef("there is no command %q: %s", words[0], orElse(dsl.Suggest(words[0], names), "it has "+strings.Join(names, ", ")))
	}
	var errs []error
	for name := range line.given {
		if !line.command.takes(name) && line.command != cmdHelp && line.command != cmdVersion {
			errs = append(errs, usagef("--%s means nothing to the command %s", name, line.command))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return line, errors.Join(errs...)
}

func unknownOption(word, name string, set *flag.FlagSet) error {
	var known []string
	set.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
	given, _, _ := strings.Cut(word, "=")
	if hint := dsl.Suggest(name, known); hint != "" {
		return usagef("there is no option %s: %s", given, strings.Replace(hint, `"`, `"--`, 1))
	}
	return usagef("there is no option %s", given)
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
