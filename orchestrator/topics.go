package orchestrator

import (
	"slices"
	"strings"
	"unicode"

	"provingground/dsl"
)

// topic is something of the script language that is no action, explained.
type topic struct {
	section string
	names   []string // each finds it; under the first it is listed, where it has no form
	form    string   // how it is written; may be empty
	short   string   // one line
	text    string   // paragraphs
	example string   // a whole script; may be empty
}

// findTopic returns the topic of that name, and whether there is one.
func findTopic(name string) (topic, bool) {
	all := topics()
	i := slices.IndexFunc(all, func(t topic) bool {
		return slices.ContainsFunc(t.names, func(n string) bool { return strings.EqualFold(n, name) })
	})
	if i < 0 {
		return topic{}, false
	}
	return all[i], true
}

// Explained returns the names that [Explain] knows, for completion: those of words, not those of signs.
func Explained() []string {
	var names []string
	for _, a := range Actions() {
		names = append(names, a.Action)
	}
	for _, t := range topics() {
		for _, name := range t.names {
			if !slices.Contains(names, name) && !strings.ContainsFunc(name, func(r rune) bool {
				return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' && r != '.'
			}) && unicode.IsLetter(rune(name[0])) {
				names = append(names, name)
			}
		}
	}
	return names
}

// topics returns everything that is explained beside the actions, in the order in which it is listed.
func topics() []topic {
	all := slices.Concat(statementTopics(), modifierTopics(), functionTopics())
	for _, m := range Metrics() {
		all = append(all, metricTopic(m))
	}
	return append(all, unitTopics()...)
}

func statementTopics() []topic {
	const section = "Statements"
	return []topic{
		{
			section: section, names: []string{"experiment"}, form: `experiment "first"`, short: "names the experiment",
			text: `The memos of its transactions begin with the name and the round: first-0-…, and inside repeat first-1-…. payments and ` +
				`zkapp-txs need it, or else their own experiment-name.`,
			example: "experiment \"first\"\n\nkeys = load-keys(dir: \"./keys/payments\")\n",
		},
		{
			section: section, names: []string{"seed"}, form: "seed 42", short: "gives every random choice of the run",
			text: `The same script, seed and set of nodes make the same choices. Without it a seed is drawn and recorded, and resume uses ` +
				`the recorded one. The flag -seed of run goes before it.`,
			example: "seed 42\n\nall = discovery()\nhalves = sample(group: all, ratios: [50%])\n",
		},
		{
			section: section, names: []string{"limit", "rate", "spend", "stopped"}, form: "limit rate <= 2 tps, …", short: "upper bounds that the run keeps: of rate, spend and stopped",
			text: `rate is the sum of the schedules that run at one time; spend is amounts, fees, deployments, balances and the creation of ` +
				`accounts; stopped is the share of the discovered nodes that this run has stopped and that were not seen again.

The run ends with exit code 4 before the step that would go beyond one. plan shows how far each is away.`,
			example: "limit rate <= 2 tps, spend <= 20_000 mina, stopped <= 35%\n\nproducers = discovery(only-block-producers: true)\n",
		},
		{
			section: section, names: []string{"param"}, form: "param span = 30m", short: "a constant that -set may change",
			text: `It is worked out before anything is sent. -set span=45m gives it another value of the same kind. A param cannot stand ` +
				`inside a block.`,
			example: "param span = 30m\n\nwait(span / 2)\n",
		},
		{
			section: section, names: []string{"let"}, form: "let half = span / 2", short: "a constant",
			text:    "It is worked out before anything is sent, from numbers, texts, lists and other constants.",
			example: "param span = 30m\nlet half = span / 2\n\nwait(half)\n",
		},
		{
			section: section, names: []string{"use"}, form: `use "start.out" as earlier`, short: "brings in the outputs of another run",
			text: `earlier.step2.receipt is an output of its step 2 (the first step is step0), earlier.pay.receipt one of the step that ` +
				`was named pay. The file is what that run wrote, on standard output or as its record.`,
			example: "use \"start.out\" as earlier\n\nstop(receipts: earlier.pay.receipt)\n",
		},
		{
			section: section, names: []string{"parallel"}, form: "parallel { … }", short: "runs its statements at the same time",
			text: `Each statement is a branch; a branch of several stands in { … }. It ends when all have ended. When one fails, the others ` +
				`start no further call. Names made inside are known behind it.`,
			example: "parallel {\n  senders = discovery(no-block-producers: true)\n  {\n    producers = discovery(only-block-producers: true)\n" +
				"    won = slots-won(nodes: producers)\n  }\n}\npreflight(nodes: senders)\n",
		},
		{
			section: section, names: []string{"repeat", "as"}, form: "repeat 4 as round { … }", short: "runs its statements as often as it says",
			text: `The count is a constant, the counter goes from 0 on. plan shows every round. Names made inside are known only there; ` +
				`in the record a step has its round behind its name: pay[2].`,
			example: "repeat 4 as round {\n  log(\"Round ${round}\")\n  wait(5m * (round + 1))\n}\n",
		},
		{
			section: section, names: []string{"within"}, form: "within 30m { … }", short: "a deadline for all its statements together",
			text: `When the time is over, what is under way is ended and the run fails. Of nested deadlines the one that ends first counts. ` +
				`Behind a step it is a deadline for that step, its attempts and pauses included; behind expect it is how long the ` +
				`condition has to become true.`,
			example: "within 30m {\n  all = discovery() within 5m\n  wait(5m)\n  expect nodes.reached-share >= 90% within 10m\n}\n",
		},
		{
			section: section, names: []string{"expect"}, form: "expect CONDITION", short: "must hold here, or within a time: expect … within 10m",
			text: `A condition compares outputs, metrics and constants: count(won) >= 2, coverage(won) >= 70%, nodes.reached >= 10, joined ` +
				`by and, or, not. A false one ends the run, with exit code 4.

It is inconclusive when the evidence is not there and could still turn it: nodes that did not answer, a metric that nobody ` +
				`measured. Then the run goes on, and its exit code is 6 when nothing worse happens.`,
			example: "producers = discovery(only-block-producers: true)\nwon = slots-won(nodes: producers)\nexpect coverage(won) >= 70%\n" +
				"expect nodes.reached-share >= 95% within 10m\n",
		},
		{
			section: section, names: []string{"watch"}, form: "watch CONDITION", short: "must hold from here to the end of the block, or from a time on",
			text: `It is judged once a slot, at each new value, and at the end. A false one ends the run at once, with exit code 4. ` +
				`"after" lets it begin later: watch … after 10m.`,
			example: "all = discovery()\nwatch nodes.reached-share >= 75% after 10m\nwait(1h)\n",
		},
		{
			section: section, names: []string{"on failure", "on", "failure"}, form: "on failure { … }", short: "runs when the run did not end well, before what it did is undone",
			text: `That is after a failed step, an interrupt, or a verdict other than pass. It stands at the end of the script. A statement ` +
				`that refers to an output that never came to be is skipped, with a note.`,
			example: "all = discovery()\nwait(30m)\n\non failure {\n  log(\"Which nodes still answer?\")\n  preflight(nodes: all)\n}\n",
		},
		{
			section: section, names: []string{"finally"}, form: "finally { … }", short: "runs at the end, however that came",
			text: `After a good end, and after a bad one behind on failure and the undoing. The run undoes by itself, when it does not end ` +
				`well, the load it scheduled, the nodes it isolated and the limits it set; finally is for what it cannot know, such as nodes ` +
				`that it stopped. A run that ends well leaves its load running unless stop or finally ends it.`,
			example: "producers = discovery(only-block-producers: true)\nvictims = sample(group: producers, ratios: [30%])\n" +
				"stop-daemon(nodes: victims.group1)\nwait(30m)\n\nfinally {\n  restart(nodes: victims.group1)\n}\n",
		},
		{
			section: section, names: []string{"log"}, form: `log("…")`, short: "shows a text when the run gets there; it is no step",
			text:    `${name} in a text is the value of a constant. A # comment is for those who read the script, and shows nothing.`,
			example: "param span = 30m\n\nlog(\"Now ${span} of waiting.\")  # nobody sees this\nwait(span)\n",
		},
	}
}

func modifierTopics() []topic {
	const section = "Modifiers, behind a statement"
	return []topic{
		{
			section: section, names: []string{"retry", "every"}, form: "retry 5 every 2m", short: "of a step: five attempts in all, two minutes between them",
			text: `It takes the place of the action's own patience. A call whose outcome nobody knows is never tried again. Behind it may ` +
				`stand within: the time for all attempts together.`,
			example: "senders = discovery(limit: 10, exactly: true) retry 5 every 2m within 15m\n",
		},
		{
			section: section, names: []string{"within 10m"}, form: "within 10m", short: "of a step: its deadline; of expect: how long it has to become true",
			text: "See within.", example: "senders = discovery(limit: 10, exactly: true) within 15m\n",
		},
		{
			section: section, names: []string{"after"}, form: "after 10m", short: "of watch: from when on it holds",
			text: "Until then it is not judged. A block that ends before leaves the watch inconclusive.", example: "all = discovery()\nwatch nodes.reached-share >= 75% after 10m\nwait(1h)\n",
		},
	}
}

func functionTopics() []topic {
	const section = "Functions and operators"
	return []topic{
		{
			section: section, names: []string{"count"}, form: "count(list)", short: "how many elements a list has",
			text: "Of an output whose step did not hear from every node it is known between bounds only.", example: "producers = discovery(only-block-producers: true)\nexpect count(producers) >= 3\n",
		},
		{
			section: section, names: []string{"min", "max"}, form: "min(a, b, …)  max(a, b, …)", short: "the least and the greatest of values with one unit",
			text: "Of constants, outputs and metrics.", example: "param span = 30m\n\nwait(min(span, 1h))\n",
		},
		{
			section: section, names: []string{"coverage"}, form: "coverage(won)", short: "the share of the slots that somebody won",
			text: `Of the outputs of slots-won: the distinct slots won, divided by the slots from the lowest to the highest of them. ` +
				`coverage(won, from: a, to: b) takes the window from slot a to slot b. Producers that did not answer make it known between ` +
				`bounds only.`,
			example: "producers = discovery(only-block-producers: true)\nwon = slots-won(nodes: producers)\nexpect coverage(won) >= 70%\n",
		},
		{
			section: section, names: []string{"now"}, form: "now()", short: "the current global slot",
			text: "It needs genesisTimestamp and slotDurationMs in the configuration.", example: "wait(slot: now() + 5 slots)\n",
		},
		{
			section: section, names: []string{"env"}, form: `env("RECEIVER")`, short: "the value of an environment variable, which is a secret",
			text: `It is masked wherever it would be printed: in plans, records, logs and errors. A variable that is not set is an error, ` +
				`unless ?? "…" gives a value for that.`,
			example: "param receiver = env(\"RECEIVER\") ?? " + exampleKey + "\n\nwait(1m)\n",
		},
		{
			section: section, names: []string{"??"}, form: "x ?? y", short: "y, when the output x is missing",
			text:    "A list output without an element is missing. So is one of a step that did not run.",
			example: "all = discovery()\nhalves = sample(group: all, ratios: [50%])\nothers = except(group: all, except: halves.group1 ?? [])\n",
		},
		{
			section: section, names: []string{"operators", "+", "-", "*", "/", "<", "<=", ">", ">=", "==", "!=", "and", "or", "not"},
			form: "+ - * /  < <= > >= == !=  and or not", short: "of values with one unit; * and / also with a plain number",
			text: `From loosest to tightest: or, and, not, comparisons, + and -, * and /. A minus sign has blanks around it: a-b is a name. ` +
				`A time divided by a time is a plain number.`,
			example: "let rate = 0.8 tps\nlet span = 2h\n\nwait(span / 2 - 10m)\n",
		},
	}
}

// metricTopic is a metric, explained.
func metricTopic(m dsl.Metric) topic {
	bound := metricBound(m)
	t := topic{section: "Metrics, for expect and watch", names: []string{m.Name}, short: m.Doc, text: "A metric: " + m.Doc + "."}
	if ofEvidence(m.Name) {
		t.text += " It comes from the nodes' own logs, and needs dbUri in the configuration."
	}
	if m.Scoped {
		t.form = m.Name + "(round: N, kind: payments)"
		t.text += " Of one round of an experiment that repeats, or of one kind of transactions (payments, zkapps), where it is asked so; else of the whole run."
	}
	t.example = "senders = discovery(no-block-producers: true)\nexpect " + m.Name + " " + bound + " within 10m\n"
	switch word, _, _ := strings.Cut(m.Name, "."); word {
	case "load":
		t.example = exampleOf(paymentsAction()) + "expect " + m.Name + " " + bound + "\n"
	case "tx":
		t.example = exampleOf(paymentsAction()) + "expect " + m.Name + " " + bound + " within 15m\n"
	}
	return t
}

// metricBound is what an example compares a metric with.
func metricBound(m dsl.Metric) string {
	bound := map[dsl.Unit]string{dsl.UnitTPS: "<= 1 tps", dsl.UnitSecond: "< 90s", dsl.UnitSlot: "< 6 slots"}[m.Unit]
	switch word, _, _ := strings.Cut(m.Name, "."); {
	case word == "tx" && m.Unit == dsl.UnitSecond:
		return "< 3 slots"
	case bound != "":
		return bound
	case m.Name == "block.count", m.Name == "snark.received":
		return ">= 1"
	case slices.Contains([]string{"tx.failed", "tx.rejected", "tx.missing", "block.orphaned"}, m.Name):
		return "< 5%"
	case strings.HasPrefix(m.Doc, "the share"):
		return ">= 95%"
	case word == "log", slices.Contains([]string{"chain.reorganisation", "chain.tips", "snark.interruptions"}, m.Name):
		return "<= 5"
	default:
		return ">= 10"
	}
}

func unitTopics() []topic {
	const section = "Units, on the line of their number"
	const example = "wait(90s)\nwait(5m)\nwait(2h)\nwait(3 slots)\n"
	return []topic{
		{
			section: section, names: []string{"s", "m", "h"}, form: "30s  5m  2h", short: "seconds, minutes, hours of network time",
			text: "A time has one unit: 90s, not 1m30s.", example: example,
		},
		{
			section: section, names: []string{"slots", "slot"}, form: "3 slots", short: "a stretch in slots, or a slot's number",
			text: "How long a slot lasts is in the configuration (slotDurationMs).", example: example,
		},
		{
			section: section, names: []string{"tps", "/s", "/min", "/h"}, form: "0.5 tps  30/min", short: "a rate of transactions: in a second; /s, /min and /h too",
			text: "Rates are exact fractions: 20/min is a third of a tps.", example: "limit rate <= 120/min\n\nsenders = discovery()\nexpect load.rate <= 2 tps\n",
		},
		{
			section: section, names: []string{"mina", "nanomina"}, form: "0.1 mina  5_000 nanomina", short: "an amount of money, exact",
			text: "A nanomina is the least amount, a billionth of a mina. Amounts are whole nanomina.", example: "limit spend <= 20_000 mina\n\nsenders = discovery()\n",
		},
		{
			section: section, names: []string{"%"}, form: "30%", short: "a share: 0.3",
			text: "A share may be written either way.", example: "all = discovery()\nthirds = sample(group: all, ratios: [33%, 0.33])\n",
		},
		{
			section: section, names: []string{".."}, form: "0.1..0.2 mina", short: "a range, both ends included; the unit counts for both",
			text: "fee and balance-change take one. A single value is both ends.", example: exampleOf(paymentsAction()),
		},
	}
}
