package control

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Operation names what a command asks for.
type Operation string

// The operations. What each changes, and what undoes it, is the agent's to say (snark-pool, section 5).
const (
	OpAuth Operation = "auth" // who am I to you, and which number comes next; the only one that may come without a number

	OpStatus    Operation = "status"
	OpEvents    Operation = "events"
	OpLogs      Operation = "logs"
	OpPlan      Operation = "plan"
	OpInventory Operation = "inventory"
	OpDoctor    Operation = "doctor"
	OpGPUList   Operation = "gpu-list"

	OpDrain   Operation = "drain"   // finish what is under way, take nothing new, then stop
	OpPause   Operation = "pause"   // take nothing new, for Max at most if it is given
	OpFreeze  Operation = "freeze"  // stopped by the kernel, for Max at most
	OpResume  Operation = "resume"  // the undo of drain, pause, freeze and stop
	OpRestart Operation = "restart" // drain and start again; Rolling: a few at a time
	OpStop    Operation = "stop"    // drain and stay stopped; Now: without draining
	OpRecycle Operation = "recycle" // replace by a fresh process when the proof under way is done

	OpGPUCheck   Operation = "gpu-check"
	OpGPUFence   Operation = "gpu-fence"
	OpGPUUnfence Operation = "gpu-unfence"

	OpApply Operation = "apply" // take the pool file as it is now
)

// Role is what the owner of a key may do. Each role may do what the one before it may.
type Role string

// The roles.
const (
	RoleReader   Role = "reader"   // look
	RoleOperator Role = "operator" // also change what undoes itself or is undone by another command, without losing a proof
	RoleAdmin    Role = "admin"    // also lose proofs, change what is planned, and trust a GPU again
)

// rank orders the roles; 0 is none.
func (r Role) rank() int { return slices.Index([]Role{RoleReader, RoleOperator, RoleAdmin}, r) + 1 }

// May tells whether a role includes another.
func (r Role) May(needed Role) bool { return needed.rank() > 0 && r.rank() >= needed.rank() }

// Duration is a span of time in a command: text such as "90s" or "1h30m" in JSON.
type Duration time.Duration

// MarshalText writes it as [time.Duration] does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what [time.ParseDuration] reads, and nothing negative.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil || parsed < 0 {
		return fmt.Errorf("%q is no span of time such as 90s", text)
	}
	*d = Duration(parsed)
	return nil
}

// Arguments of a command. The zero value of a field is the argument left out; an argument that means nothing to the operation is an error.
type Arguments struct {
	// Max bounds a pause or a freeze. A freeze needs it.
	Max Duration `json:"max,omitempty"`
	// Rolling restarts a few workers at a time, as the pool file's max_unavailable says.
	Rolling bool `json:"rolling,omitempty"`
	// Now restarts or stops at once: proofs under way may be lost. It needs an admin.
	Now bool `json:"now,omitempty"`
	// Reason is for the audit and for those who ask why; at most 500 bytes of printable text.
	Reason string `json:"reason,omitempty"`
	// GPU is the UUID of a GPU; empty means all of them.
	GPU string `json:"gpu,omitempty"`
	// Digest is the sha256, as hex, of the pool file that is to be applied: another one is refused.
	Digest string `json:"digest,omitempty"`
	// Follow goes on with what is yet to come.
	Follow bool `json:"follow,omitempty"`
	// Since leaves out what is older; zero means from the beginning of what is kept.
	Since time.Time `json:"since,omitzero"`
	// Last is how many of the latest events or lines to begin with; 0 means all that are kept.
	Last int `json:"last,omitempty"`
}

// given returns the names of the arguments that are not left out.
func (a Arguments) given() []string {
	var names []string
	for _, argument := range []struct {
		name  string
		given bool
	}{
		{"max", a.Max != 0}, {"rolling", a.Rolling}, {"now", a.Now}, {"reason", a.Reason != ""}, {"gpu", a.GPU != ""}, {"digest", a.Digest != ""},
		{"follow", a.Follow}, {"since", !a.Since.IsZero()}, {"last", a.Last != 0},
	} {
		if argument.given {
			names = append(names, argument.name)
		}
	}
	return names
}

// Command is one command. It is complete with Operation, Agent and Expiry, and whatever else its operation needs.
type Command struct {
	Operation Operation `json:"operation"`
	// Target is which workers it is about; the zero Target is all of them. Operations without workers take none.
	Target    Target    `json:"target,omitzero"`
	Arguments Arguments `json:"arguments,omitzero"`
	// DryRun asks what a command that changes something would do, and changes nothing. It needs the same role.
	DryRun bool `json:"dry_run,omitempty"`
	// Agent is the name of the agent that it is for. Only auth may leave it out.
	Agent string `json:"agent,omitempty"`
	// Expiry is the time from which on it is refused; at most [MaxLifetime] ahead.
	Expiry time.Time `json:"expiry"`
}

// MaxLifetime is how far ahead a command's expiry may be.
const MaxLifetime = 10 * time.Minute

// kind is how an operation is answered.
type kind int

const (
	reading kind = iota + 1
	streaming
	changing
)

// form is what an operation needs and takes.
type form struct {
	kind      kind
	role      Role
	target    bool     // takes a target
	arguments []string // takes these
}

func formOf(operation Operation) (form, bool) {
	switch operation {
	case OpAuth:
		return form{kind: reading, role: RoleReader}, true
	case OpStatus:
		return form{kind: reading, role: RoleReader, target: true}, true
	case OpEvents, OpLogs:
		return form{streaming, RoleReader, true, []string{"follow", "since", "last"}}, true
	case OpPlan, OpInventory, OpDoctor, OpGPUList:
		return form{kind: reading, role: RoleReader}, true
	case OpDrain, OpResume, OpRecycle:
		return form{changing, RoleOperator, true, []string{"reason"}}, true
	case OpPause, OpFreeze:
		return form{changing, RoleOperator, true, []string{"max", "reason"}}, true
	case OpRestart:
		return form{changing, RoleOperator, true, []string{"rolling", "now", "reason"}}, true
	case OpStop:
		return form{changing, RoleOperator, true, []string{"now", "reason"}}, true
	case OpGPUCheck, OpGPUFence:
		return form{changing, RoleOperator, false, []string{"gpu", "reason"}}, true
	case OpGPUUnfence:
		return form{changing, RoleAdmin, false, []string{"gpu", "reason"}}, true
	case OpApply:
		return form{changing, RoleAdmin, false, []string{"digest", "reason"}}, true
	}
	return form{}, false
}

// Operations returns all operations but auth, in the order of the documentation.
func Operations() []Operation {
	return []Operation{
		OpStatus, OpEvents, OpLogs, OpPlan, OpInventory, OpDoctor, OpGPUList,
		OpDrain, OpPause, OpFreeze, OpResume, OpRestart, OpStop, OpRecycle, OpGPUCheck, OpGPUFence, OpGPUUnfence, OpApply,
	}
}

// Changes tells whether an operation changes something.
func (o Operation) Changes() bool {
	form, known := formOf(o)
	return known && form.kind == changing
}

// Role returns the least role that may give the command; "" for an unknown operation.
func (c Command) Role() Role {
	form, _ := formOf(c.Operation)
	if c.Arguments.Now {
		return RoleAdmin
	}
	return form.role
}

const (
	maxReason = 500 // bytes
	maxLast   = 1_000_000
)

// Validate returns everything that is wrong with a command in itself, whoever gives it to whomever.
func (c Command) Validate() error {
	form, known := formOf(c.Operation)
	if !known {
		return fmt.Errorf("there is no operation %s", shorten(string(c.Operation)))
	}
	var wrong []error
	add := func(format string, a ...any) {
		wrong = append(wrong, fmt.Errorf("%s: "+format, append([]any{c.Operation}, a...)...))
	}
	if !form.target && !c.Target.IsZero() {
		add("takes no target")
	}
	for _, name := range c.Arguments.given() {
		if !slices.Contains(form.arguments, name) {
			add("takes no argument %s", name)
		}
	}
	if c.DryRun && form.kind != changing {
		add("changes nothing, so there is no dry run of it")
	}
	arguments := c.Arguments
	if c.Operation == OpFreeze && arguments.Max <= 0 {
		add("needs the argument max: how long the workers may stay frozen")
	}
	if arguments.Max < 0 {
		add("max is negative")
	}
	if arguments.Last < 0 || arguments.Last > maxLast {
		add("last must be from 0 to %d", maxLast)
	}
	if arguments.Rolling && arguments.Now {
		add("rolling and now exclude each other")
	}
	if len(arguments.Reason) > maxReason || !isPrintable(arguments.Reason) {
		add("the reason must be at most %d bytes of printable text", maxReason)
	}
	if arguments.GPU != "" && !isName(arguments.GPU) {
		add("%s is no UUID of a GPU", shorten(arguments.GPU))
	}
	if arguments.Digest != "" && !isDigest(arguments.Digest) {
		add("the digest is no sha256 in 64 hexadecimal digits")
	}
	if c.Agent != "" && !isName(c.Agent) {
		add("%s is no name of an agent", shorten(c.Agent))
	}
	if c.Agent == "" && c.Operation != OpAuth {
		add("names no agent")
	}
	if c.Expiry.IsZero() {
		add("has no expiry")
	}
	return errors.Join(wrong...)
}

func isPrintable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

func isDigest(text string) bool {
	return len(text) == 64 && strings.Trim(text, "0123456789abcdef") == ""
}

// isName tells whether a text can be the name of a host, a pool, an agent, a label or a GPU.
func isName(text string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	return text != "" && len(text) <= 253 && strings.Trim(text, letters) == ""
}

// shorten quotes a text from outside so that it can be shown.
func shorten(text string) string {
	const most = 60
	if len(text) > most {
		return fmt.Sprintf("%q…", text[:most])
	}
	return fmt.Sprintf("%q", text)
}
