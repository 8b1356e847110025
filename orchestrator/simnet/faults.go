package simnet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// FaultKind says how a network misbehaves.
type FaultKind string

// The kinds of faults. Those of requests strike each request that matches, or the first Count of them.
const (
	FaultSlow           FaultKind = "slow"            // the request waits for Delay of wall time before anything happens
	FaultHang           FaultKind = "hang"            // the request waits until the client gives up
	FaultLoseRequest    FaultKind = "lose-request"    // the connection is closed before the daemon sees the request
	FaultLoseReply      FaultKind = "lose-reply"      // the connection is closed after the daemon has acted
	FaultCutBody        FaultKind = "cut-body"        // the connection is closed in the middle of the answer
	FaultSequencing     FaultKind = "412"             // answered 412 without that the daemon sees the request
	FaultStatus         FaultKind = "status"          // answered with an HTTP status by a proxy, without that the daemon sees the request
	FaultStatusAfter    FaultKind = "status-after"    // the same after the daemon has acted
	FaultRestartBefore  FaultKind = "restart-before"  // the daemon restarts, in no time, before it sees the request
	FaultRefuseSchedule FaultKind = "refuse-schedule" // schedulePayments and scheduleZkappCommands end in a GraphQL error
	FaultQuoteKey       FaultKind = "quote-key"       // the same, and the error's message quotes a private key of the request
	FaultVRF            FaultKind = "vrf"             // slotsWon says that the VRF evaluation is not complete

	FaultRefuse   FaultKind = "refuse"    // from the slot's start on, or from the start, connections are refused; with Delay, for that network time
	FaultRestart  FaultKind = "restart"   // at the slot's start the daemon stops, and returns like any stopped one
	FaultRedeploy FaultKind = "redeploy"  // the same, its chain thrown away
	FaultDie      FaultKind = "die"       // at the slot's start the daemon stops and never returns
	FaultBusy     FaultKind = "busy"      // from the slot's start on, for Delay of network time, schedulers miss their ticks
	FaultDropLogs FaultKind = "drop-logs" // of the internal log, Percent of the entries are missing

	FaultListEmpty     FaultKind = "list-empty"     // the online list is empty
	FaultListSlow      FaultKind = "list-slow"      // the online list takes Delay of wall time
	FaultListMalformed FaultKind = "list-malformed" // the online list is no JSON
	FaultListNoPort    FaultKind = "list-no-port"   // one more entry is in the online list, without a port
	FaultListStatus    FaultKind = "list-status"    // the online list is answered with an HTTP status
)

// Fault is one way in which the network misbehaves.
type Fault struct {
	Kind FaultKind
	// Node is the host of the node that misbehaves, or empty for all of them. Faults of the online list have none.
	Node string
	// Operation is the root field of the requests that a fault of requests strikes, or empty for all of them.
	Operation string
	// Delay is wall time for slow and list-slow, network time for busy and refuse, where 0 is for ever.
	Delay time.Duration
	// Status is the HTTP status of status, status-after and list-status, 400 to 599.
	Status int
	// Percent is the share of drop-logs, 1 to 100.
	Percent int
	// Slot is the first slot in which the fault strikes; 0 is from the start. What strikes nodes themselves strikes once, at its start.
	Slot int
	// Count is how many requests a fault of requests or of the online list strikes; 0 is all of them.
	Count int
}

// traits of a kind, for parsing and checking.
type faultTraits struct {
	value    byte // what stands after "=": 'd' a duration, 's' a status, 'p' a percentage, 0 nothing
	optional bool // the value may be left out
	request  bool // strikes requests: takes an operation and a count
	once     bool // strikes nodes, once, at the start of a slot
	list     bool // strikes the online list: takes no node
}

func (k FaultKind) traits() (traits faultTraits, known bool) {
	switch k {
	case FaultSlow:
		return faultTraits{request: true, value: 'd'}, true
	case FaultStatus, FaultStatusAfter:
		return faultTraits{request: true, value: 's'}, true
	case FaultHang, FaultLoseRequest, FaultLoseReply, FaultCutBody, FaultSequencing, FaultRestartBefore,
		FaultRefuseSchedule, FaultQuoteKey, FaultVRF:
		return faultTraits{request: true}, true
	case FaultRestart, FaultRedeploy, FaultDie:
		return faultTraits{once: true}, true
	case FaultBusy:
		return faultTraits{once: true, value: 'd'}, true
	case FaultRefuse:
		return faultTraits{once: true, value: 'd', optional: true}, true
	case FaultDropLogs:
		return faultTraits{value: 'p'}, true
	case FaultListEmpty, FaultListMalformed, FaultListNoPort:
		return faultTraits{list: true}, true
	case FaultListSlow:
		return faultTraits{list: true, value: 'd'}, true
	case FaultListStatus:
		return faultTraits{list: true, value: 's'}, true
	default:
		return faultTraits{}, false
	}
}

// String spells the fault as ParseFaults reads it.
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(string(f.Kind))
	traits, _ := f.Kind.traits()
	if !traits.list {
		b.WriteByte(':')
		if f.Node == "" {
			b.WriteByte('*')
		}
		b.WriteString(f.Node)
		if f.Operation != "" {
			b.WriteString("/" + f.Operation)
		}
	}
	switch {
	case traits.optional && f.Delay == 0:
	case traits.value == 'd':
		fmt.Fprintf(&b, "=%v", f.Delay)
	case traits.value == 's':
		fmt.Fprintf(&b, "=%d", f.Status)
	case traits.value == 'p':
		fmt.Fprintf(&b, "=%d%%", f.Percent)
	}
	if f.Slot > 0 {
		fmt.Fprintf(&b, "@%d", f.Slot)
	}
	if f.Count > 0 {
		fmt.Fprintf(&b, "#%d", f.Count)
	}
	return b.String()
}

// ParseFaults reads faults from a text: separated by ";", each of the form
//
//	KIND[:NODE[/OPERATION]][=VALUE][@SLOT][#COUNT]
//
// where NODE is a node's host or "*" for all nodes, VALUE a duration ("200ms"), a status ("502") or a share ("10%"), depending on the kind.
// For example
//
//	slow:127.0.0.3=200ms; lose-reply:*/schedulePayments#1; restart:127.0.0.4@20; list-empty#2
//
// All that is wrong is reported at once.
func ParseFaults(text string) ([]Fault, error) {
	var faults []Fault
	var errs []error
	for part := range strings.SplitSeq(text, ";") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		fault, err := parseFault(part)
		if err == nil {
			err = fault.check(maxNodes)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		faults = append(faults, fault)
	}
	return faults, errors.Join(errs...)
}

func parseFault(text string) (Fault, error) {
	var f Fault
	rest, count, counted := strings.Cut(text, "#")
	rest, slot, slotted := strings.Cut(rest, "@")
	rest, value, valued := strings.Cut(rest, "=")
	kind, target, targeted := strings.Cut(rest, ":")
	f.Kind = FaultKind(kind)
	traits, known := f.Kind.traits()
	if !known {
		return f, fmt.Errorf("fault %q: unknown kind %q; known are %s", text, kind, strings.Join(faultKinds(), ", "))
	}
	var err error
	number := func(what, text string, least int) int {
		v, parseErr := strconv.Atoi(text)
		if parseErr != nil || v < least {
			err = errors.Join(err, fmt.Errorf("%s %q is no number of at least %d", what, text, least))
		}
		return v
	}
	if counted {
		f.Count = number("the count", count, 1)
	}
	if slotted {
		f.Slot = number("the slot", slot, 1)
	}
	if targeted == traits.list {
		if traits.list {
			err = errors.Join(err, errors.New("it concerns no node"))
		} else {
			err = errors.Join(err, errors.New(`it needs ":" and a node, or ":*"`))
		}
	}
	f.Node, f.Operation, _ = strings.Cut(target, "/")
	if f.Node == "*" {
		f.Node = ""
	} else if targeted && !traits.list && f.Node == "" {
		err = errors.Join(err, errors.New(`the node is missing; "*" is all of them`))
	}
	switch {
	case valued && traits.value == 0:
		err = errors.Join(err, fmt.Errorf("it takes no value %q", value))
	case !valued && traits.value != 0 && !traits.optional:
		err = errors.Join(err, errors.New(`it needs "=" and a value`))
	case valued:
		switch traits.value {
		case 'd':
			var parseErr error
			if f.Delay, parseErr = time.ParseDuration(value); parseErr != nil {
				err = errors.Join(err, fmt.Errorf("%q is no duration such as 200ms", value))
			}
		case 's':
			f.Status = number("the status", value, 400)
		case 'p':
			f.Percent = number("the share", strings.TrimSuffix(value, "%"), 1)
		}
	}
	if err != nil {
		return f, fmt.Errorf("fault %q: %w", text, err)
	}
	return f, nil
}

// check says what is wrong with a fault in a network of so many nodes.
func (f Fault) check(nodes int) error {
	traits, known := f.Kind.traits()
	var err error
	switch {
	case !known:
		err = fmt.Errorf("unknown kind; known are %s", strings.Join(faultKinds(), ", "))
	case f.Node != "" && !isHost(f.Node, nodes):
		err = fmt.Errorf("no node has the host %q; they are %s to %s", f.Node, host(0), host(nodes-1))
	case f.Operation != "" && !traits.request:
		err = errors.New("it does not concern requests")
	case f.Operation != "" && !slices.Contains(operations(), f.Operation):
		err = fmt.Errorf("unknown operation %q; known are %s", f.Operation, strings.Join(operations(), ", "))
	case f.Count != 0 && !traits.request && !traits.list || f.Count < 0:
		err = errors.New("it takes no count")
	case traits.value == 'd' && f.Delay <= 0 && (f.Delay < 0 || !traits.optional):
		err = fmt.Errorf("the duration %v is not above 0", f.Delay)
	case traits.value == 's' && (f.Status < 400 || f.Status > 599):
		err = fmt.Errorf("the status %d is not in 400 to 599", f.Status)
	case traits.value == 'p' && (f.Percent < 1 || f.Percent > 100):
		err = fmt.Errorf("the share %d%% is not in 1%% to 100%%", f.Percent)
	case traits.once && f.Slot < 1 && f.Kind != FaultRefuse || f.Slot < 0:
		err = errors.New(`it needs "@" and the slot at whose start it strikes, at least 1`)
	}
	if err != nil {
		return fmt.Errorf("fault %q: %w", f, err)
	}
	return nil
}

func isHost(text string, nodes int) bool {
	address, err := netip.ParseAddr(text)
	if err != nil || !address.Is4() {
		return false
	}
	b := address.As4()
	index := int(b[1])<<16 + int(b[2])<<8 + int(b[3]) - 2
	return index >= 0 && index < nodes && host(index) == text
}

// operations lists the root fields that a fault may name.
func operations() []string {
	return []string{
		"auth", opSlotsWon, "internalLogs", opSchedulePayments, opScheduleZkappCommands, "stopScheduledTransactions", "updateGating",
		"flushInternalLogs", "stopDaemon", "zkAppCommandLimit", "scheduledTransactions", opCreateAccounts,
	}
}

func faultKinds() []string {
	kinds := []FaultKind{
		FaultSlow, FaultHang, FaultLoseRequest, FaultLoseReply, FaultCutBody, FaultSequencing, FaultStatus, FaultStatusAfter,
		FaultRestartBefore, FaultRefuseSchedule, FaultQuoteKey, FaultVRF, FaultRefuse, FaultRestart, FaultRedeploy, FaultDie, FaultBusy, FaultDropLogs,
		FaultListEmpty, FaultListSlow, FaultListMalformed, FaultListNoPort, FaultListStatus,
	}
	texts := make([]string, len(kinds))
	for i, kind := range kinds {
		texts[i] = string(kind)
	}
	return texts
}

// faultTable holds the faults in force. It is used with the network's lock held.
type faultTable struct {
	armed []*armedFault
}

type armedFault struct {
	Fault
	struck int
}

func newFaultTable(faults []Fault) *faultTable {
	t := &faultTable{}
	for _, fault := range faults {
		t.armed = append(t.armed, &armedFault{Fault: fault})
	}
	return t
}

// strike returns the first fault of a kind that strikes here and now, and counts it.
func (t *faultTable) strike(kind FaultKind, host, operation string, slot int) (Fault, bool) {
	for _, fault := range t.armed {
		if fault.Kind == kind && (fault.Node == "" || fault.Node == host) && (fault.Operation == "" || fault.Operation == operation) &&
			slot >= fault.Slot && (fault.Count == 0 || fault.struck < fault.Count) {
			fault.struck++
			return fault.Fault, true
		}
	}
	return Fault{}, false
}

// any reports whether a fault of one of the kinds may strike a node's requests.
func (t *faultTable) any(host string) bool {
	return slices.ContainsFunc(t.armed, func(fault *armedFault) bool {
		traits, _ := fault.Kind.traits()
		return traits.request && (fault.Node == "" || fault.Node == host) && (fault.Count == 0 || fault.struck < fault.Count)
	})
}
