package gpu_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/snarkpool/gpu"
)

func fault(class gpu.Class) gpu.HealthEvent {
	return gpu.HealthEvent{Kind: gpu.Faulted, Class: class, Cause: "a fault"}
}

func passed(check uint64) gpu.HealthEvent {
	return gpu.HealthEvent{Kind: gpu.CheckPassed, Check: check}
}

func failed(check uint64) gpu.HealthEvent {
	return gpu.HealthEvent{Kind: gpu.CheckFailed, Check: check, Cause: "wrong"}
}

func of(kind gpu.HealthEventKind) gpu.HealthEvent {
	return gpu.HealthEvent{Kind: kind, Cause: "because"}
}

// Each story is told event by event, with the state and the actions that follow.
func TestStoriesOfAGPU(t *testing.T) {
	type step struct {
		event   gpu.HealthEvent
		state   gpu.State
		actions []gpu.ActionKind
	}
	do := func(kinds ...gpu.ActionKind) []gpu.ActionKind { return kinds }
	stories := map[string]struct {
		checks bool
		joined []gpu.ActionKind
		steps  []step
	}{
		"joins and works": {true, do(gpu.StartCheck), []step{
			{passed(1), gpu.Healthy, do(gpu.StartWorkers)},
		}},
		"joins and fails": {true, do(gpu.StartCheck), []step{
			{failed(1), gpu.Fenced, do(gpu.CallOperator)},
			{fault(gpu.FenceAndRecheck), gpu.Fenced, nil},
			{of(gpu.OperatorChecked), gpu.Fenced, do(gpu.StartCheck)},
			{passed(2), gpu.Healthy, do(gpu.StartWorkers)},
		}},
		"a notice and an application's error": {true, do(gpu.StartCheck), []step{
			{fault(gpu.Application), gpu.Joining, nil}, // the checker's own
			{passed(1), gpu.Healthy, do(gpu.StartWorkers)},
			{fault(gpu.Notice), gpu.Healthy, nil},
			{fault(gpu.Application), gpu.Healthy, do(gpu.BlameWorker)},
		}},
		"its workers are restarted after a check": {true, do(gpu.StartCheck), []step{
			{passed(1), gpu.Healthy, do(gpu.StartWorkers)},
			{fault(gpu.RestartApplication), gpu.Rechecking, do(gpu.StopWorkers, gpu.StartCheck)},
			{passed(2), gpu.Healthy, do(gpu.StartWorkers)},
		}},
		"a fence, and a fault during its check": {true, do(gpu.StartCheck), []step{
			{passed(1), gpu.Healthy, do(gpu.StartWorkers)},
			{fault(gpu.FenceAndRecheck), gpu.Fenced, do(gpu.StopWorkers, gpu.StartCheck)},
			{fault(gpu.RestartApplication), gpu.Fenced, do(gpu.AbandonCheck, gpu.StartCheck)},
			{passed(2), gpu.Fenced, nil}, // the one that was abandoned
			{passed(3), gpu.Healthy, do(gpu.StartWorkers)},
		}},
		"a re-check that becomes a fence": {true, do(gpu.StartCheck), []step{
			{passed(1), gpu.Healthy, do(gpu.StartWorkers)},
			{fault(gpu.RestartApplication), gpu.Rechecking, do(gpu.StopWorkers, gpu.StartCheck)},
			{fault("nobody's class"), gpu.Fenced, do(gpu.AbandonCheck, gpu.StartCheck)},
			{failed(3), gpu.Fenced, do(gpu.CallOperator)},
		}},
		"vanishes in its check, returns, and waits for an operator": {true, do(gpu.StartCheck), []step{
			{of(gpu.Vanished), gpu.Lost, do(gpu.AbandonCheck, gpu.CallOperator)},
			{passed(1), gpu.Lost, nil},
			{of(gpu.OperatorUnfenced), gpu.Lost, nil}, // not there
			{of(gpu.Returned), gpu.Lost, nil},
			{of(gpu.OperatorChecked), gpu.Lost, nil},
			{fault(gpu.FenceAndRecheck), gpu.Lost, nil},
			{of(gpu.OperatorUnfenced), gpu.Fenced, do(gpu.StartCheck)},
			{passed(2), gpu.Healthy, do(gpu.StartWorkers)},
		}},
		"falls off the bus at work": {true, do(gpu.StartCheck), []step{
			{passed(1), gpu.Healthy, do(gpu.StartWorkers)},
			{fault(gpu.Gone), gpu.Lost, do(gpu.StopWorkers, gpu.CallOperator)},
			{of(gpu.Vanished), gpu.Lost, nil},
		}},
		"an operator's fence outlasts a check": {true, do(gpu.StartCheck), []step{
			{of(gpu.OperatorFenced), gpu.Fenced, do(gpu.AbandonCheck)},
			{of(gpu.OperatorChecked), gpu.Fenced, do(gpu.StartCheck)},
			{passed(2), gpu.Fenced, nil},
			{of(gpu.OperatorUnfenced), gpu.Fenced, do(gpu.StartCheck)},
			{of(gpu.OperatorUnfenced), gpu.Fenced, nil},
			{passed(3), gpu.Healthy, do(gpu.StartWorkers)},
			{of(gpu.OperatorChecked), gpu.Rechecking, do(gpu.StopWorkers, gpu.StartCheck)},
		}},
		"without a check": {false, do(gpu.StartWorkers), []step{
			{fault(gpu.RestartApplication), gpu.Healthy, do(gpu.RestartWorkers)},
			{of(gpu.OperatorChecked), gpu.Healthy, nil},
			{fault(gpu.FenceAndRecheck), gpu.Fenced, do(gpu.StopWorkers, gpu.CallOperator)},
			{of(gpu.OperatorUnfenced), gpu.Healthy, do(gpu.StartWorkers)},
			{of(gpu.OperatorFenced), gpu.Fenced, do(gpu.StopWorkers)},
		}},
	}
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			health, actions := gpu.Join(story.checks)
			if diff := cmp.Diff(story.joined, kinds(actions)); diff != "" {
				t.Errorf("joining (-want +got):\n%s", diff)
			}
			for i, step := range story.steps {
				health, actions = health.Step(step.event)
				if health.State != step.state {
					t.Errorf("step %d, %s: %s, want %s", i+1, step.event.Kind, health.State, step.state)
				}
				if diff := cmp.Diff(step.actions, kinds(actions)); diff != "" {
					t.Errorf("step %d, %s (-want +got):\n%s", i+1, step.event.Kind, diff)
				}
				if (health.Blocked() == "") != (health.State == gpu.Healthy) {
					t.Errorf("step %d: %s, blocked %q", i+1, health.State, health.Blocked())
				}
			}
		})
	}
}

func kinds(actions []gpu.Action) []gpu.ActionKind {
	var result []gpu.ActionKind
	for _, action := range actions {
		result = append(result, action.Kind)
	}
	return result
}

// agent does what the state machine tells it, and knows on its own account what must never be.
type agent struct {
	working   bool   // workers run, or may
	checking  uint64 // the check that runs
	lastCheck uint64
	suspect   bool // a fault that needs a check came after the last check began
	gone      bool // lost, and no operator has spoken since
	fenced    bool // by an operator
	present   bool
}

func (a *agent) do(t *rapid.T, actions []gpu.Action) {
	t.Helper()
	for _, action := range actions {
		switch action.Kind {
		case gpu.StopWorkers:
			if !a.working {
				t.Fatal("workers were stopped that do not run")
			}
			a.working = false
		case gpu.StartWorkers:
			if a.working {
				t.Fatal("workers were started twice")
			}
			a.working = true
		case gpu.RestartWorkers, gpu.BlameWorker:
			if !a.working {
				t.Fatalf("%s, and none runs", action.Kind)
			}
		case gpu.StartCheck:
			if a.working || a.checking != 0 || !a.present || a.gone || action.Check <= a.lastCheck {
				t.Fatalf("check %d was started: %+v", action.Check, a)
			}
			a.checking, a.lastCheck, a.suspect = action.Check, action.Check, false
		case gpu.AbandonCheck:
			if a.checking == 0 || a.checking != action.Check {
				t.Fatalf("check %d was abandoned: %+v", action.Check, a)
			}
			a.checking = 0
		case gpu.CallOperator:
			if a.working {
				t.Fatal("an operator was called for a GPU at work")
			}
		}
	}
}

func TestNoGPUWorksThatShouldNot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checks := rapid.Bool().Draw(t, "checks")
		health, actions := gpu.Join(checks)
		a := &agent{present: true}
		a.do(t, actions)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			event := drawEvent(t, a)
			switch event.Kind {
			case gpu.Faulted:
				switch event.Class {
				case gpu.RestartApplication:
					a.suspect = checks
				case gpu.FenceAndRecheck:
					a.suspect = true
				case gpu.Gone:
					a.suspect, a.gone = true, true
				default: // no reason to distrust the GPU
				}
			case gpu.Vanished:
				a.present, a.gone, a.suspect = false, true, true
			case gpu.Returned:
				a.present = true
			case gpu.OperatorFenced:
				a.fenced = true
			case gpu.OperatorUnfenced:
				if a.present {
					a.fenced, a.gone = false, false
					a.suspect = a.suspect && checks
				}
			case gpu.CheckPassed, gpu.CheckFailed:
				if event.Check == a.checking && event.Check != 0 {
					a.checking = 0
					a.suspect = a.suspect || event.Kind == gpu.CheckFailed
				}
			default: // a check that an operator asks for takes nothing away
			}
			before := health
			next, actions := health.Step(event)
			again, repeated := before.Step(event)
			if diff := cmp.Diff(next, again) + cmp.Diff(actions, repeated); diff != "" {
				t.Fatalf("two steps from one state differ:\n%s", diff)
			}
			health = next
			a.do(t, actions)

			if a.working != (health.State == gpu.Healthy) || a.checking != health.Check || a.present != health.Present {
				t.Fatalf("after %+v: the agent is %+v, the state %+v", event, a, health)
			}
			if a.working && (a.suspect || a.gone || a.fenced || !a.present) {
				t.Fatalf("after %+v: works, and should not: %+v", event, a)
			}
			if a.working && checks && a.lastCheck == 0 {
				t.Fatal("works without ever having been checked")
			}
			if (health.Blocked() == "") != a.working {
				t.Fatalf("blocked %q, working %v", health.Blocked(), a.working)
			}
		}
		// nothing is stuck for good: an operator always gets a good GPU back to work
		for _, event := range []gpu.HealthEvent{of(gpu.Returned), of(gpu.OperatorUnfenced)} {
			health, actions = health.Step(event)
			a.present, a.gone = true, false
			a.do(t, actions)
		}
		if health.Check != 0 {
			health, _ = health.Step(passed(health.Check))
		}
		if health.State != gpu.Healthy {
			t.Fatalf("an operator cannot bring it back: %+v", health)
		}
	})
}

func drawEvent(t *rapid.T, a *agent) gpu.HealthEvent {
	kind := rapid.SampledFrom([]gpu.HealthEventKind{gpu.Faulted, gpu.Faulted, gpu.Vanished, gpu.Returned, gpu.CheckPassed, gpu.CheckPassed,
		gpu.CheckPassed, gpu.CheckFailed, gpu.OperatorFenced, gpu.OperatorUnfenced, gpu.OperatorChecked}).Draw(t, "event")
	event := gpu.HealthEvent{Kind: kind, Cause: "drawn"}
	switch kind {
	case gpu.Faulted:
		event.Class = rapid.SampledFrom([]gpu.Class{gpu.Notice, gpu.Application, gpu.RestartApplication, gpu.FenceAndRecheck, gpu.Gone}).Draw(t, "class")
	case gpu.CheckPassed, gpu.CheckFailed:
		event.Check = a.checking
		if rapid.IntRange(0, 3).Draw(t, "stale") == 0 {
			event.Check = rapid.Uint64Range(0, a.lastCheck).Draw(t, "check")
		}
	default: // the others carry nothing
	}
	return event
}
