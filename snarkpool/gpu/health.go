package gpu

import "fmt"

// State is where a GPU stands.
type State string

// The states of a GPU. Only a healthy one has workers.
const (
	// Joining waits for the GPU's first check.
	Joining State = "joining"
	// Healthy may work.
	Healthy State = "healthy"
	// Rechecking has its workers stopped while a check runs, and means to start them again.
	Rechecking State = "rechecking"
	// Fenced is not trusted: a check must pass, or, where none is configured or an operator fenced it, an operator must lift the fence.
	Fenced State = "fenced"
	// Lost waits for an operator, whatever the GPU does meanwhile.
	Lost State = "gone"
)

// HealthEventKind is what happened to a GPU, as its [Health] sees it.
type HealthEventKind string

// The kinds of health events.
const (
	// Faulted is a fault, with its class and cause.
	Faulted HealthEventKind = "faulted"
	// Vanished is a GPU that is no longer listed, or whose reading fails with [ErrGone].
	Vanished HealthEventKind = "vanished"
	// Returned is a vanished GPU that is listed again.
	Returned HealthEventKind = "returned"
	// CheckPassed and CheckFailed are the end of the check of that number. A check that could not be run has failed.
	CheckPassed HealthEventKind = "check passed"
	CheckFailed HealthEventKind = "check failed"
	// OperatorFenced, OperatorUnfenced and OperatorChecked are the commands gpu fence, gpu unfence and gpu check.
	OperatorFenced   HealthEventKind = "fenced by an operator"
	OperatorUnfenced HealthEventKind = "unfenced by an operator"
	OperatorChecked  HealthEventKind = "checked by an operator"
)

// HealthEvent is one thing that happened to a GPU.
type HealthEvent struct {
	Kind HealthEventKind
	// Class is the fault's, for Faulted.
	Class Class
	// Cause says why, in words.
	Cause string
	// Check is the number of the check that ended.
	Check uint64
}

// ActionKind is what is to be done.
type ActionKind string

// The kinds of actions. Those of one step are done in their order, each after the one before has been done.
const (
	// BlameWorker counts an error against the worker of this GPU that ran at the time.
	BlameWorker ActionKind = "blame the worker"
	// StopWorkers ends this GPU's workers, draining being pointless on a GPU that is not trusted, and keeps them from starting.
	StopWorkers ActionKind = "stop its workers"
	// StartWorkers lets them start again.
	StartWorkers ActionKind = "start its workers"
	// RestartWorkers ends them and starts them at once.
	RestartWorkers ActionKind = "restart its workers"
	// StartCheck begins the check of that number, AbandonCheck ends the one that runs, whose result is of no interest any more.
	StartCheck   ActionKind = "start a check"
	AbandonCheck ActionKind = "abandon the check"
	// CallOperator tells a person, for without one the GPU stays as it is.
	CallOperator ActionKind = "call an operator"
)

// Action is one thing to be done about a GPU.
type Action struct {
	Kind ActionKind
	// Check is the number of the check to begin or to abandon.
	Check uint64
	Cause string
}

// Health is where one GPU stands, and why. It is a plain value: [Health.Step] makes the next one and never changes the one it is given.
type Health struct {
	State State  `json:"state"`
	Cause string `json:"cause,omitempty"`
	// Checks says that a capability check is configured. Without one, an operator's word stands in for it.
	Checks bool `json:"checks"`
	// Present says that the driver lists the GPU.
	Present bool `json:"present"`
	// ByOperator says that an operator fenced it, which no check lifts.
	ByOperator bool `json:"by_operator,omitempty"`
	// Checked says that it has passed a check since its last fault.
	Checked bool `json:"checked"`
	// Check is the number of the check that runs, 0 for none; LastCheck is the last number given out.
	Check     uint64 `json:"check,omitempty"`
	LastCheck uint64 `json:"last_check,omitempty"`
}

// Join is a GPU that was just found, and what to do about it: check it first, where a check is configured.
func Join(checks bool) (Health, []Action) {
	h := Health{State: Healthy, Checks: checks, Present: true}
	if !checks {
		return h, []Action{{Kind: StartWorkers, Cause: "joined, no check is configured"}}
	}
	h.State = Joining
	h.Cause = "waits for its first check"
	return h.beginCheck(nil, "joining")
}

// Blocked says why the GPU may not work now; "" when it may.
func (h Health) Blocked() string {
	if h.State == Healthy {
		return ""
	}
	if !h.Present {
		return fmt.Sprintf("%s: %s (not there now)", h.State, h.Cause)
	}
	return fmt.Sprintf("%s: %s", h.State, h.Cause)
}

// Step says where the GPU stands after an event, and what to do. An event that does not concern it (the end of a check that was abandoned,
// an operator's unfence of a GPU that is not there) changes nothing.
func (h Health) Step(event HealthEvent) (Health, []Action) {
	switch event.Kind {
	case Faulted:
		return h.fault(event)
	case Vanished:
		h.Present = false
		return h.lose(event.Cause)
	case Returned:
		h.Present = true
		return h, nil
	case CheckPassed, CheckFailed:
		return h.checkEnded(event)
	case OperatorFenced:
		return h.operatorFence(event.Cause)
	case OperatorUnfenced:
		return h.operatorUnfence(event.Cause)
	case OperatorChecked:
		return h.operatorCheck(event.Cause)
	default:
		return h, nil
	}
}

func (h Health) fault(event HealthEvent) (Health, []Action) {
	switch event.Class {
	case Notice:
		return h, nil
	case Application:
		if h.State == Healthy {
			return h, []Action{{Kind: BlameWorker, Cause: event.Cause}}
		}
		return h, nil
	case RestartApplication:
		if h.State == Healthy && !h.Checks {
			return h, []Action{{Kind: RestartWorkers, Cause: event.Cause}}
		}
		return h.distrust(Rechecking, event.Cause)
	case Gone:
		return h.lose(event.Cause)
	case FenceAndRecheck:
		return h.distrust(Fenced, event.Cause)
	default: // a class that nobody classed is as good as an unknown code
		return h.distrust(Fenced, event.Cause)
	}
}

// distrust stops the work on a GPU, and has it checked, or checked anew where the fault came into a check.
func (h Health) distrust(to State, cause string) (Health, []Action) {
	if h.State == Lost {
		return h, nil
	}
	h.Checked = false
	waits := h.State == Fenced && h.Check == 0 // after a failed check, or for an operator: neither wants another check by itself
	if waits {
		return h, nil
	}
	var actions []Action
	if h.State == Healthy {
		actions = append(actions, Action{Kind: StopWorkers, Cause: cause})
	}
	if h.State == Healthy || to == Fenced {
		h.State = to
	}
	h.Cause = cause
	if !h.Checks {
		return h, append(actions, Action{Kind: CallOperator, Cause: cause})
	}
	return h.beginCheck(actions, cause)
}

func (h Health) lose(cause string) (Health, []Action) {
	if h.State == Lost {
		return h, nil
	}
	h, actions := h.halt(cause)
	h.State, h.Cause, h.Checked = Lost, cause, false
	return h, append(actions, Action{Kind: CallOperator, Cause: cause})
}

func (h Health) checkEnded(event HealthEvent) (Health, []Action) {
	if event.Check == 0 || event.Check != h.Check {
		return h, nil
	}
	h.Check = 0
	if event.Kind == CheckFailed {
		h.State, h.Cause, h.Checked = Fenced, "the check failed: "+event.Cause, false
		return h, []Action{{Kind: CallOperator, Cause: h.Cause}}
	}
	h.Checked = true
	if h.ByOperator {
		return h, nil
	}
	h.State, h.Cause = Healthy, ""
	return h, []Action{{Kind: StartWorkers, Cause: "the check passed"}}
}

func (h Health) operatorFence(cause string) (Health, []Action) {
	h.ByOperator = true
	if h.State == Lost {
		return h, nil
	}
	h, actions := h.halt(cause)
	h.State, h.Cause = Fenced, cause
	return h, actions
}

func (h Health) operatorUnfence(cause string) (Health, []Action) {
	if !h.Present || (h.State != Fenced && h.State != Lost) {
		return h, nil
	}
	h.ByOperator = false
	if !h.Checks {
		h.State, h.Cause = Healthy, ""
		return h, []Action{{Kind: StartWorkers, Cause: cause}}
	}
	h.State = Fenced
	if h.Check != 0 {
		return h, nil // the check that runs decides
	}
	h.Cause = "unfenced, waits for its check"
	return h.beginCheck(nil, cause)
}

func (h Health) operatorCheck(cause string) (Health, []Action) {
	if !h.Checks || h.State == Lost || h.Check != 0 {
		return h, nil
	}
	var actions []Action
	if h.State == Healthy {
		actions = append(actions, Action{Kind: StopWorkers, Cause: cause})
		h.State, h.Cause = Rechecking, cause
	}
	return h.beginCheck(actions, cause)
}

// halt ends what runs on the GPU: workers where there may be any, or the check.
func (h Health) halt(cause string) (Health, []Action) {
	var actions []Action
	if h.Check != 0 {
		actions = append(actions, Action{Kind: AbandonCheck, Check: h.Check, Cause: cause})
		h.Check = 0
	}
	if h.State == Healthy {
		actions = append(actions, Action{Kind: StopWorkers, Cause: cause})
	}
	return h, actions
}

// beginCheck gives out the next number, in place of the check that runs, if one does.
func (h Health) beginCheck(actions []Action, cause string) (Health, []Action) {
	if h.Check != 0 {
		actions = append(actions, Action{Kind: AbandonCheck, Check: h.Check, Cause: cause})
	}
	h.LastCheck++
	h.Check = h.LastCheck
	return h, append(actions, Action{Kind: StartCheck, Check: h.Check, Cause: cause})
}
