//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"provingground/cmd/internal/boot"
	"provingground/dsl"
)

// options are what may be written behind a verb. Each verb takes some of them.
type options struct {
	json, dryRun bool

	// The way to the agent, and what belongs to it.
	stateDir, socket   string
	agent, keyFile, ca string

	// Of commands.
	reason               string
	limit                time.Duration // -max
	until                time.Time
	rolling, now, follow bool
	since                time.Time
	last                 int
	every                time.Duration
	once                 bool

	// Of placements.
	root, inventoryFile, host string
	labels                    map[string]string
	sha256, publisher, cache  string

	// Of the agent and the database.
	databaseURI      string
	listen           string
	certificate      string
	certificateKey   string
	metrics          string
	sources          []string
	logLevel, logTo  string
	gpuChecker       string
	keyDirectory     string
	verifyingKey     string
	links            int
	directory        string
	threads, workers []int
	span             time.Duration
	number, jobs     int

	// Of units.
	out, binary, poolPath string
	hosts                 []string
	systemd               int

	local bool
	given map[string]bool // by their names
}

// group is some options, which several verbs have in common.
type group func(*options, *flag.FlagSet)

// asJSON is of every verb that prints something.
func asJSON(o *options, set *flag.FlagSet) {
	set.BoolVar(&o.json, "json", false, "print JSON, one value a line, as it is documented for programs")
}

// connecting is of verbs that speak to an agent.
func connecting(o *options, set *flag.FlagSet) {
	inState(o, set)
	set.StringVar(&o.socket, "socket", "", "`PATH` of the agent's socket on this machine; default control.sock in the state directory")
	set.StringVar(&o.agent, "agent", "", "command the agent at `[NAME@]HOST:PORT` over HTTPS instead; NAME, default HOST, is its host's name in the pool file")
	set.StringVar(&o.keyFile, "key", "", "`FILE` with the base64 of the seed of your Ed25519 key, for -agent")
	set.StringVar(&o.ca, "ca", "", "`FILE` with the certificates (PEM) that the agent's must come from, for -agent; default those of the system")
}

// inState is of verbs that look into the state directory.
func inState(o *options, set *flag.FlagSet) {
	set.StringVar(&o.stateDir, "state", "", "`DIR` of all that survives the agent; default /var/lib/snarkpool, or ~/.local/state/snarkpool for users other than root")
}

// changing is of verbs that command an agent to change something.
func changing(o *options, set *flag.FlagSet) {
	connecting(o, set)
	asJSON(o, set)
	dry(o, set)
	set.StringVar(&o.reason, "reason", "", "`TEXT` for the audit and for whoever asks why")
}

// dry is of verbs that change something.
func dry(o *options, set *flag.FlagSet) {
	set.BoolVar(&o.dryRun, "dry-run", false, "say what would change, and change nothing")
}

// bounded is of pause and freeze.
func bounded(o *options, set *flag.FlagSet) {
	set.DurationVar(&o.limit, "max", 0, "for so `LONG` at most, such as 90s")
	set.Func("until", "until a `TIME` such as 2026-11-20T12:00:00Z, in place of -max", timeInto(&o.until))
}

func rolling(o *options, set *flag.FlagSet) {
	set.BoolVar(&o.rolling, "rolling", false, "a few at a time, as the pool file's max_unavailable says")
}

func atOnce(o *options, set *flag.FlagSet) {
	set.BoolVar(&o.now, "now", false, "without draining: proofs under way are lost. Needs an admin")
}

func followed(o *options, set *flag.FlagSet) {
	set.BoolVar(&o.follow, "follow", false, "go on with what is yet to come, until interrupted")
	set.Func("since", "leave out what is older than a `TIME`, such as 2026-11-20T12:00:00Z, or a span of time, such as 10m", sinceInto(&o.since))
	set.IntVar(&o.last, "last", 0, "begin with the latest `N`; default all that are kept")
}

func refreshed(o *options, set *flag.FlagSet) {
	set.DurationVar(&o.every, "every", 2*time.Second, "how often the table is made anew")
	set.BoolVar(&o.once, "once", false, "print one table and end")
}

// placing is of verbs that need a machine.
func placing(o *options, set *flag.FlagSet) {
	set.StringVar(&o.root, "root", "", "read the machine from the folders sys and proc below `DIR`; default /")
	set.StringVar(&o.inventoryFile, "inventory", "", "take the machine from a `FILE` that snarkpool inventory -json wrote, - for standard input")
}

// hosting is of verbs that must know which host of the pool file this is.
func hosting(o *options, set *flag.FlagSet) {
	set.StringVar(&o.host, "host", "", "the host's `NAME` in the pool file; default the machine's own, up to its first dot")
	set.Func("label", "a label `KEY=VALUE` of the host; may be repeated", func(text string) error {
		key, value, found := strings.Cut(text, "=")
		if !found || key == "" || value == "" {
			return errors.New("give KEY=VALUE, such as role=prover")
		}
		if o.labels == nil {
			o.labels = make(map[string]string)
		}
		o.labels[key] = value
		return nil
	})
}

// reading is of verbs that read a pool file.
func reading(o *options, set *flag.FlagSet) {
	set.StringVar(&o.sha256, "sha256", "", "refuse the pool file unless this is its sha256, in `HEX`; an address needs this or -publisher")
	set.StringVar(&o.publisher, "publisher", "", "refuse the pool file unless FILE.sig is its signature by this Ed25519 key, in `BASE64`")
	set.StringVar(&o.cache, "cache", "", "keep the last good pool file at this `PATH`, and go on with it when the file cannot be had; the agent's default is pool.json in its state directory")
}

// inDatabase is of verbs that need the pool's database.
func inDatabase(o *options, set *flag.FlagSet) {
	set.StringVar(&o.databaseURI, "db-uri", "", "the pool's database, a `URI`: postgresql://…, env:NAME or file:PATH. Default: what the pool file says, else the agent's private one")
}

func tested(o *options, set *flag.FlagSet) {
	set.StringVar(&o.keyDirectory, "keys", "", "`DIR` of the proving and verifying key, made where there is none; default gnark-keys in the state directory")
	set.StringVar(&o.verifyingKey, "verifying-key", "", "take only the verifying key with this sha256, in `HEX`")
	set.IntVar(&o.links, "links", 0, "length `N` of the chain of hashes that is proved; default 64, about 21,000 constraints")
}

func timeInto(into *time.Time) func(string) error {
	return func(text string) error {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return errors.New("give a time such as 2026-11-20T12:00:00Z")
		}
		*into = at
		return nil
	}
}

func sinceInto(into *time.Time) func(string) error {
	return func(text string) error {
		if span, err := time.ParseDuration(text); err == nil && span >= 0 {
			*into = time.Now().Add(-span)
			return nil
		}
		return timeInto(into)(text)
	}
}

// listInto takes whole numbers from 1 on, with commas between them.
func listInto(into *[]int) func(string) error {
	return func(text string) error {
		*into = nil
		for part := range strings.SplitSeq(text, ",") {
			var n int
			if _, err := fmt.Sscanf(part, "%d", &n); err != nil || n < 1 || fmt.Sprint(n) != part {
				return errors.New("give numbers such as 1,2,4")
			}
			*into = append(*into, n)
		}
		return nil
	}
}

// commandLine is a command line that could be read.
type commandLine struct {
	verb      verb
	options   *options
	arguments []string
	help      bool
}

// parse reads a command line: a verb of one or two words, and behind it options and arguments in any order, options with one dash or two. All
// that is wrong is one error.
func parse(args []string) (commandLine, error) {
	switch args[0] {
	case "-h", "-help", "--help", "help":
		if len(args) == 1 {
			return commandLine{verb: verb{name: "help"}, help: true}, nil
		}
		if v, _, err := findVerb(args[1:]); err == nil {
			return commandLine{verb: v, help: true}, nil
		}
		args = args[1:]
	case "-V", "-version", "--version":
		args = []string{"version"}
	}
	v, rest, err := findVerb(args)
	if err != nil {
		return commandLine{}, err
	}
	line := commandLine{verb: v, options: &options{given: make(map[string]bool)}}
	set := v.flags(line.options)
	var errs []error
	for len(rest) > 0 {
		word := rest[0]
		rest = rest[1:]
		if word == "--" {
			line.arguments = append(line.arguments, rest...)
			break
		}
		if len(word) < 2 || word[0] != '-' {
			line.arguments = append(line.arguments, word)
			continue
		}
		name, value, attached := strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
		if name == "h" || name == "help" {
			return commandLine{verb: v, help: true}, nil
		}
		option := set.Lookup(name)
		if option == nil {
			errs = append(errs, unknownOption(v, name, set))
			if !attached && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") && rest[0] != "" && !known(name) {
				rest = rest[1:] // its value, probably
			}
			continue
		}
		line.options.given[name] = true
		if simple, ok := option.Value.(interface{ IsBoolFlag() bool }); ok && simple.IsBoolFlag() && !attached {
			value = "true"
		} else if !attached {
			if len(rest) == 0 {
				errs = append(errs, fmt.Errorf("-%s needs a value behind it", name))
				break
			}
			value, rest = rest[0], rest[1:]
		}
		if err := option.Value.Set(value); err != nil {
			what, _ := flag.UnquoteUsage(option)
			errs = append(errs, fmt.Errorf("-%s %s: %s", name, value, expected(option, what, err)))
		}
	}
	if wrong := v.wrongArguments(line.arguments); wrong != nil && errs == nil { // an unknown option may have left its value behind
		errs = append(errs, wrong)
	}
	if err := errors.Join(errs...); err != nil {
		return commandLine{}, boot.Usage(err)
	}
	return line, nil
}

// expected says what the value of an option should be.
func expected(option *flag.Flag, what string, err error) string {
	switch what {
	case "int":
		return "give a whole number"
	case "duration", "LONG":
		return "give a span of time such as 90s or 1h30m"
	case "N":
		return "give a whole number"
	}
	if simple, ok := option.Value.(interface{ IsBoolFlag() bool }); ok && simple.IsBoolFlag() {
		return "give true or false, or nothing"
	}
	return err.Error()
}

// known tells whether an option belongs to another verb, and takes no value there.
func known(name string) bool {
	for _, v := range verbs() {
		if option := v.flags(&options{}).Lookup(name); option != nil {
			simple, ok := option.Value.(interface{ IsBoolFlag() bool })
			return ok && simple.IsBoolFlag()
		}
	}
	return false
}

func unknownOption(v verb, name string, set *flag.FlagSet) error {
	var names, others []string
	set.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	for _, other := range verbs() {
		if other.flags(&options{}).Lookup(name) != nil {
			others = append(others, other.name)
		}
	}
	switch hint := dsl.Suggest(name, names); {
	case len(others) > 0:
		return fmt.Errorf("-%s means nothing to %s: it is an option of %s", name, v.name, strings.Join(others, ", "))
	case hint != "":
		return fmt.Errorf("%s has no option -%s: %s", v.name, name, strings.Replace(hint, `"`, `"-`, 1))
	case len(names) == 0:
		return fmt.Errorf("%s has no options", v.name)
	}
	return fmt.Errorf("%s has no option -%s", v.name, name)
}

// findVerb finds the verb with which words begin, and returns the words behind it.
func findVerb(words []string) (verb, []string, error) {
	byName := make(map[string]verb)
	firsts := make(map[string][]string) // first words of verbs of two
	for _, v := range verbs() {
		byName[v.name] = v
		if first, second, two := strings.Cut(v.name, " "); two {
			firsts[first] = append(firsts[first], second)
		}
	}
	if v, found := byName[words[0]]; found {
		return v, words[1:], nil
	}
	if seconds, found := firsts[words[0]]; found {
		if len(words) > 1 {
			if v, found := byName[words[0]+" "+words[1]]; found {
				return v, words[2:], nil
			}
			if hint := dsl.Suggest(words[1], seconds); hint != "" && !strings.HasPrefix(words[1], "-") {
				return verb{}, nil, boot.Usagef("%s knows no %q: %s", words[0], words[1], hint)
			}
		}
		return verb{}, nil, boot.Usagef("%s is to do what? It has %s", words[0], strings.Join(seconds, ", "))
	}
	names := append(slices.Sorted(maps.Keys(byName)), slices.Sorted(maps.Keys(firsts))...)
	if hint := dsl.Suggest(words[0], names); hint != "" {
		return verb{}, nil, boot.Usagef("there is no verb %q: %s", words[0], hint)
	}
	return verb{}, nil, boot.Usagef("there is no verb %q", words[0])
}

// flags puts the options of a verb into a flag set.
func (v verb) flags(o *options) *flag.FlagSet {
	set := flag.NewFlagSet(v.name, flag.ContinueOnError)
	set.SetOutput(io.Discard) // what is wrong is said once
	for _, g := range v.groups {
		g(o, set)
	}
	return set
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// count writes a number with the noun that fits.
func count(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
