package main

import (
	"errors"
	"flag"
	"io"
	"maps"
	"slices"
	"strings"

	"provingground/cmd/internal/boot"
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
	bad   map[string]bool // of these, those whose values are not what they should be, which is said already
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

// expected says what the value of an option should be that is more than a text.
func expected(option string) string {
	return map[string]string{
		"port": "give the node's ITN port, 1 to 65535", "queue-size": "give 1 to 1000000 entries, as the nodes' --itn-max-logs",
		"retain-days": "give 1 to 36500 days", "clock-scale": "give a number, such as 60", "flush": "give true or false, or nothing",
	}[option]
}

// parse reads a command line. Options may stand before, between and behind the other arguments; --host-overrides takes all words up to the
// next option or sub-command. All that is wrong is one error, in which each thing is a *boot.UsageError; with it comes what could be understood, which
// has no command when there is none.
func parse(args []string) (commandLine, error) {
	line := commandLine{given: make(map[string]bool)}
	set := line.options()
	var words []string
	var errs []error
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
			errs = append(errs, unknownOption(word, name, set))
			if !attached && len(args) > 0 && !strings.HasPrefix(args[0], "-") && !slices.Contains(commands(), command(args[0])) {
				args = args[1:] // its value, probably
			}
			continue
		}
		line.given[name] = true
		if simple, ok := option.Value.(interface{ IsBoolFlag() bool }); ok && simple.IsBoolFlag() && !attached {
			value = "true"
		} else if !attached {
			if len(args) == 0 {
				errs = append(errs, boot.Usagef("%s needs a value behind it", word))
				line.spoil(name)
				break
			}
			value, args = args[0], args[1:]
		}
		if err := option.Value.Set(value); err != nil {
			errs = append(errs, boot.Usagef("%s: %s", strings.TrimSpace(strings.TrimSuffix(word, "="+value)+" "+value), orElse(expected(name), err.Error())))
			line.spoil(name)
		}
		for name == "host-overrides" && len(args) > 0 && !strings.HasPrefix(args[0], "-") && !slices.Contains(commands(), command(args[0])) {
			if err := option.Value.Set(args[0]); err != nil {
				errs = append(errs, boot.Usagef("%s: %w", word, err))
			}
			args = args[1:]
		}
	}
	if len(words) == 0 {
		return line, errors.Join(append(errs, boot.Usagef("what is it to do? Name a command: discovery, node-address-port, process, migrate, version, help"))...)
	}
	if !slices.Contains(commands(), command(words[0])) {
		var names []string
		for _, c := range commands() {
			names = append(names, string(c))
		}
		return line, errors.Join(append(errs,
			boot.Usagef("there is no command %q: %s", words[0], orElse(dsl.Suggest(words[0], names), "it has "+strings.Join(names, ", "))))...)
	}
	line.command, line.arguments = command(words[0]), words[1:]
	for _, name := range slices.Sorted(maps.Keys(line.given)) {
		if !line.command.takes(name) && line.command != cmdHelp && line.command != cmdVersion {
			errs = append(errs, boot.Usagef("--%s means nothing to the command %s", name, line.command))
		}
	}
	return line, errors.Join(errs...)
}

// spoil notes that what is wrong with an option is said.
func (l *commandLine) spoil(option string) {
	if l.bad == nil {
		l.bad = make(map[string]bool)
	}
	l.bad[option] = true
}

func unknownOption(word, name string, set *flag.FlagSet) error {
	var known []string
	set.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
	given, _, _ := strings.Cut(word, "=")
	if hint := dsl.Suggest(name, known); hint != "" {
		return boot.Usagef("there is no option %s: %s", given, strings.Replace(hint, `"`, `"--`, 1))
	}
	return boot.Usagef("there is no option %s", given)
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
