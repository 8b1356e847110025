//go:build linux

package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"provingground/cmd/internal/boot"
	"provingground/snarkpool/control"
)

// verb is something that the program can do.
type verb struct {
	name      string // one word or two
	arguments string // as help shows them
	summary   string
	more      string // further lines of its help
	least     int    // arguments
	most      int    // -1: as many as there are
	groups    []group
	run       func(context.Context, call) error
	// onSignal is what is said at the first signal; empty where the end is the ordinary one.
	onSignal string
}

const (
	whom      = "WORKER|HOST|POOL|label=KEY=VALUE|all"
	maybeWhom = "[" + whom + "]"
	begunGoes = "no longer waiting; what was begun goes on: look with snarkpool status"
)

// verbs returns all verbs but launch, in the order of the help.
func verbs() []verb {
	change := func(operation control.Operation, summary, more string, groups ...group) verb {
		return verb{
			name: string(operation), arguments: whom, summary: summary, more: more, least: 1, most: 1, groups: append([]group{changing}, groups...),
			run: changeWorkers(operation), onSignal: begunGoes,
		}
	}
	return []verb{
		{
			name: "plan", arguments: "[POOLFILE]", summary: "say which workers run where on a machine, and why not more; changes nothing", most: 1,
			more:   "With a pool file no agent is needed; without one the agent tells its plan.",
			groups: []group{asJSON, placing, hosting, reading, connecting}, run: planVerb,
		},
		{
			name: "apply", arguments: "[POOLFILE]", summary: "have the agent read its pool file again, and roll the workers whose specification changed", most: 1,
			more: "With POOLFILE the agent takes its file only if it is the same as this one.", groups: []group{changing}, run: applyVerb, onSignal: begunGoes,
		},
		{
			name: "status", arguments: maybeWhom, summary: "how the agent and its workers are", most: 1, groups: []group{connecting, asJSON}, run: statusVerb,
		},
		{
			name: "top", arguments: maybeWhom, summary: "the same as a table that is made anew every other second", most: 1,
			more: "Workers in trouble come first. Where standard output is no terminal, each table follows the one before.", groups: []group{connecting, asJSON, refreshed}, run: topVerb,
		},
		{
			name: "events", arguments: maybeWhom, summary: "what happened to workers, GPUs and the agent", most: 1, groups: []group{connecting, asJSON, followed}, run: eventsVerb,
		},
		{name: "logs", arguments: maybeWhom, summary: "what workers print", most: 1, groups: []group{connecting, asJSON, followed}, run: logsVerb},
		change(control.OpDrain, "let workers finish what they prove, give them nothing new, and stop them; no proof is lost", "resume is the undo."),
		change(control.OpPause, "give workers nothing new", "Without -max or -until they stay paused. resume is the undo.", bounded),
		change(control.OpFreeze, "stop workers by the kernel, with all they hold in memory", "They go on after -max, which the pool file's pause.hard_max bounds, whatever becomes of the agent.", bounded),
		change(control.OpResume, "undo drain, pause, freeze and stop", ""),
		change(control.OpRestart, "drain workers and start them again", "", rolling, atOnce),
		change(control.OpStop, "drain workers and keep them stopped", "resume is the undo.", atOnce),
		change(control.OpRecycle, "replace workers by fresh processes once their proof is done", ""),

		{
			name: "inventory", summary: "what this machine has: CPUs, memory, limits, GPUs", groups: []group{asJSON, placing, connecting}, run: inventoryVerb,
			more: "With -socket or -agent it is the machine of that agent. -json prints what plan -inventory reads.",
		},
		{
			name: "host add", arguments: "HOST [KEY=VALUE…]", summary: "add a host to the pool's database, or give it these labels in place of its own", least: 1, most: -1,
			groups: []group{inDatabase, inState, asJSON, dry}, run: hostAddVerb,
		},
		{
			name: "host remove", arguments: "HOST", summary: "remove a host; its history stays", least: 1, most: 1, groups: []group{inDatabase, inState, asJSON, dry},
			run: hostRemoveVerb,
		},
		{
			name: "host list", arguments: "[KEY=VALUE…]", summary: "the hosts with these labels, and how long their agents have been silent", most: -1,
			groups: []group{inDatabase, inState, asJSON}, run: hostListVerb,
		},
		{
			name: "gpu list", summary: "the GPUs, their health and figures", groups: []group{connecting, asJSON, func(o *options, set *flag.FlagSet) {
				set.BoolVar(&o.local, "local", false, "ask this machine's driver, and no agent")
			}}, run: gpuListVerb,
		},
		{
			name: "gpu check", arguments: "[UUID]", summary: "run the capability check on a GPU, or on all", most: 1, groups: []group{changing},
			run: changeGPU(control.OpGPUCheck), onSignal: begunGoes,
		},
		{
			name: "gpu fence", arguments: "UUID", summary: "stop work on a GPU", least: 1, most: 1, groups: []group{changing}, run: changeGPU(control.OpGPUFence),
			onSignal: begunGoes,
		},
		{
			name: "gpu unfence", arguments: "UUID", summary: "trust a GPU again", least: 1, most: 1, groups: []group{changing}, run: changeGPU(control.OpGPUUnfence),
			onSignal: begunGoes,
		},
		{
			name: "calibrate", summary: "measure proofs per minute of the gnark worker over threads × workers, and recommend",
			more:   "It takes all cores for its measurements: nothing else should run meanwhile.",
			groups: []group{asJSON, inState, tested, calibrating}, run: calibrateVerb, onSignal: "ending the provers",
		},
		{
			name: "doctor", arguments: "[POOLFILE]", summary: "what this machine can and cannot enforce, and how to mend it", most: 1,
			more:   "With -socket or -agent the agent tells. The exit code is 3 only when an agent could not run here.",
			groups: []group{asJSON, inState, hosting, connectingOnly}, run: doctorVerb,
		},
		{
			name: "bench", summary: "measure the supervision of idle workers on this machine, or with -jobs the proofs per minute of the running pool",
			groups: []group{asJSON, inState, inDatabase, tested, benching}, run: benchVerb, onSignal: "ending the workers",
		},
		{
			name: "agent", arguments: "POOLFILE", summary: "keep this machine's workers running", least: 1, most: 1,
			more: "POOLFILE is a path, or an https address pinned with -sha256 or -publisher. Ended by SIGTERM or SIGINT, it leaves its workers running, and the\n" +
				"next agent on the same state directory adopts them; to end them, say snarkpool stop all before. Without a database in the pool file\n" +
				"and without -db-uri a private PostgreSQL is started in the state directory.",
			groups: []group{inState, socketed, hosting, reading, inDatabase, serving}, run: agentVerb, onSignal: "ending; the workers go on, and the next agent adopts them",
		},
		{
			name: "prove gnark", summary: "a fed worker: Groth16 over BN254 with consensys/gnark; the agent starts it", groups: []group{inState, tested}, run: proveGnarkVerb,
			more: "It proves chains of MiMC hashes, about 0.5 s of a core each: real proving work, and not Mina's transaction circuit.",
		},
		{
			name: "prove kimchi", summary: "a fed worker: Kimchi with o1js, run by Node.js; the agent starts it", groups: []group{kimchiDirectory}, run: proveKimchiVerb,
			more: "It proves a Kimchi statement, and not Mina's transaction circuit. make kimchi installs it.",
		},
		{
			name: "verify gnark", summary: "the verifier of prove gnark's proofs: questions on standard input, answers on standard output", groups: []group{inState, tested},
			run: verifyGnarkVerb,
		},
		{
			name: "verify kimchi", summary: "the verifier of prove kimchi's proofs, run by Node.js", groups: []group{kimchiDirectory}, run: verifyKimchiVerb,
		},
		{
			name: "render systemd", arguments: "POOLFILE", summary: "write a systemd unit for each host, and a README that says how to install them", least: 1, most: 1,
			groups: []group{rendering, asJSON, dry}, run: renderVerb,
		},
		{name: "version", summary: "say which build this is", run: versionVerb},
	}
}

func versionVerb(_ context.Context, c call) error {
	_, err := fmt.Fprintln(c.stdout, "snarkpool", boot.Version())
	return err //nolint:wrapcheck // says that standard output failed
}

// wrongArguments says what is wrong with the number of arguments; nil for nothing.
func (v verb) wrongArguments(arguments []string) error {
	switch {
	case len(arguments) < v.least && v.arguments == whom:
		return fmt.Errorf("%s whom? Name %s", v.name, strings.ReplaceAll(whom, "|", ", "))
	case len(arguments) < v.least:
		return fmt.Errorf("%s needs more: snarkpool %s %s", v.name, v.name, v.arguments)
	case v.most >= 0 && len(arguments) > v.most:
		return fmt.Errorf("one argument too many: %q", arguments[v.most])
	}
	return nil
}

// line is how the verb is called.
func (v verb) line() string {
	text := "snarkpool " + v.name
	if v.groups != nil {
		text += " [options]"
	}
	return strings.TrimRight(text+" "+v.arguments, " ")
}

// help is the help of one verb, or of all.
func (v verb) help() string {
	if v.run == nil {
		return usage() + footer
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, "usage: %s\n\n%s.\n", v.line(), strings.ToUpper(v.summary[:1])+v.summary[1:])
	if v.more != "" {
		fmt.Fprintln(&text, v.more)
	}
	if set := v.flags(&options{}); v.groups != nil {
		fmt.Fprintln(&text, "\nOptions")
		set.VisitAll(func(f *flag.Flag) {
			what, usage := flag.UnquoteUsage(f)
			if !slices.Contains([]string{"", "false", "0", "0s"}, f.DefValue) {
				usage += "; default " + f.DefValue
			}
			fmt.Fprintf(&text, "  %s\n", strings.TrimRight("-"+f.Name+" "+valueName(f, what), " "))
			_, _ = io.WriteString(&text, wrap(usage, "      ", 120))
		})
	}
	return text.String()
}

// valueName is how help names the value of an option.
func valueName(f *flag.Flag, what string) string {
	if simple, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && simple.IsBoolFlag() {
		return ""
	}
	if what == "duration" || what == "value" || what == "string" || what == "int" {
		return strings.ToUpper(what)
	}
	return what
}

// wrap breaks a text into indented lines of at most so many letters.
func wrap(text, indent string, width int) string {
	var out strings.Builder
	line := indent
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) > width && line != indent {
			out.WriteString(strings.TrimRight(line, " ") + "\n")
			line = indent
		}
		line += word + " "
	}
	return out.String() + strings.TrimRight(line, " ") + "\n"
}

func usage() string {
	var text strings.Builder
	text.WriteString("usage: snarkpool VERB [options] …\n\nKeeps a pool of SNARK provers running. docs/snarkpool.md says more; snarkpool help VERB lists its options.\n\n")
	for _, v := range verbs() {
		fmt.Fprintf(&text, "  %s\n", strings.TrimRight(v.name+" "+v.arguments, " "))
		text.WriteString(wrap(v.summary, "      ", 120))
	}
	return text.String()
}

const footer = `
Targets: WORKER is its name, as bm7/gpu/0; a bare name means the host and the pool of that name, host=NAME or pool=NAME only the one; HOST/POOL; all.
Commands go to the agent's socket on this machine, or with -agent HOST:PORT -key FILE, signed, to another one's port.

Exit codes
  0    done
  1    command line, or a file that it names, such as the pool file
  3    failure
  4    the agent refused: nothing was done
  5    no answer came: it may have been done; look with status
  6    no agent is running there
  7    done, and proofs were lost
  70   a fault in the program
  128+n  ended by the signal n
`
