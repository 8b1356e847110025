package orchestrator

import (
	"slices"
	"strings"

	"provingground/dsl"
)

// Actions returns all actions, in the order in which documentation lists them.
func Actions() []Action {
	return []Action{
		discoveryAction(), loadKeysAction(), fundKeysAction(), paymentsAction(), zkappTxsAction(), stopAction(), stopAllScheduledAction(), waitAction(),
		joinAction(), exceptAction(), sampleAction(), slotsWonAction(), slotsCoveredCheckAction(), allocateSlotsAction(),
		isolateAction(), resetGatingAction(), restartAction(), stopDaemonAction(), setZkappSoftLimitAction(), rotateBalanceAction(), preflightAction(), gatherLogsAction(), snarkPoolAction(),
	}
}

// Signatures returns the signatures of all actions.
func Signatures() []dsl.Signature {
	actions := Actions()
	signatures := make([]dsl.Signature, len(actions))
	for i, a := range actions {
		signatures[i] = a.Signature
	}
	return signatures
}

// FindAction returns the action of that name, and whether there is one.
func FindAction(name string) (Action, bool) {
	actions := Actions()
	i := slices.IndexFunc(actions, func(a Action) bool { return strings.EqualFold(a.Action, name) })
	if i < 0 {
		return Action{}, false
	}
	return actions[i], true
}
