package life_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"provingground/snarkpool/supervise/life"
)

// world plays the supervisor and the kernel around one worker: it performs actions, and answers when the property draws it.
type world struct {
	t      *rapid.T
	w      life.Worker
	policy life.Policy
	now    time.Time

	alive    int // Processes of this name, the launcher included.
	strays   int // Processes that outlive their leader.
	frozen   bool
	frozenAt time.Time
	stubborn bool        // Ignores SIGTERM.
	immortal bool        // Hangs in the kernel, which keeps SIGKILL from it.
	pending  []life.Kind // Answers that are certain to come.
	queued   bool        // In the start budget.
}

func (s *world) step(e life.Event) {
	for _, action := range s.w.Step(s.policy, s.now, 0.5, e) {
		switch action {
		case life.AskStart:
			s.queued = true
		case life.CancelStart:
			s.queued = false
		case life.Spawn:
			if s.alive+s.strays > 0 || slices.Contains(s.pending, life.Spawned) {
				s.t.Fatalf("spawn while %d processes and %d strays are there", s.alive, s.strays)
			}
			s.pending = append(s.pending, life.Spawned)
		case life.Terminate:
			if s.alive == 0 && !slices.Contains(s.pending, life.Died) {
				s.t.Fatal("SIGTERM to no process")
			}
			if s.frozen {
				s.t.Fatal("SIGTERM to a frozen process, which cannot take it")
			}
			if s.alive > 0 && !s.stubborn {
				s.die()
			}
		case life.Kill:
			if s.alive > 0 && !s.immortal {
				s.die()
			}
		case life.FreezeGroup:
			s.frozen, s.frozenAt = s.alive > 0, s.now
		case life.ThawGroup:
			s.limit()
			s.frozen = false
		case life.Sweep:
			if s.alive > 0 {
				s.t.Fatal("sweep while the leader lives")
			}
			if s.strays > 0 {
				s.strays--
			}
			if s.strays == 0 {
				s.step(life.Event{Kind: life.Swept})
			}
		}
	}
}

func (s *world) die() {
	s.alive, s.frozen = 0, false
	s.pending = append(s.pending, life.Died)
}

// answer delivers the first pending answer.
func (s *world) answer(spawnFails bool) {
	if len(s.pending) == 0 {
		return
	}
	kind := s.pending[0]
	s.pending = s.pending[1:]
	switch kind {
	case life.Spawned:
		if spawnFails {
			s.step(life.Event{Kind: life.SpawnFailed, Permanent: true, Cause: "no descriptors"})
			return
		}
		s.alive = 1
		s.step(life.Event{Kind: life.Spawned})
	default:
		s.step(life.Event{Kind: kind, Cause: "exit code 1"})
	}
}

// pass lets time pass, no further than the next deadline, as the supervisor's timer does.
func (s *world) pass(d time.Duration) {
	s.now = s.now.Add(d)
	if deadline := s.w.Deadline(); !deadline.IsZero() && deadline.Before(s.now) {
		s.now = deadline
	}
	s.step(life.Event{Kind: life.Tick})
}

func (s *world) limit() {
	if s.frozen && s.now.Sub(s.frozenAt) > s.policy.FreezeMax {
		s.t.Fatalf("frozen for %s, over %s", s.now.Sub(s.frozenAt), s.policy.FreezeMax)
	}
}

func (s *world) check() {
	s.limit()
	if s.frozen != s.w.Frozen() && !slices.Contains(s.pending, life.Died) {
		s.t.Fatalf("frozen: %v, the machine says %v in %s", s.frozen, s.w.Frozen(), s.w.State)
	}
	if s.alive+s.strays > 0 && !s.w.Live {
		s.t.Fatalf("a process is there, and the machine does not know in %s", s.w.State)
	}
	// No lost wake-up: whoever is not at rest waits for something that is certain to come.
	switch s.w.State {
	case life.Stopped:
		if s.w.Want {
			s.t.Fatal("stopped, and meant to run, and waiting for nothing")
		}
	case life.Running:
		if !s.w.Want && !s.w.Again {
			s.t.Fatal("running, and not meant to")
		}
	default:
		if !s.queued && len(s.pending) == 0 && s.w.Deadline().IsZero() {
			s.t.Fatalf("%s waits for nothing", s.w.State)
		}
	}
}

func TestLife(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &world{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
		s.policy = life.Policy{WarmupLimit: rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "warm-up")}.WithDefaults()
		s.w = life.New(s.now)
		t.Repeat(map[string]func(*rapid.T){
			"run":     func(*rapid.T) { s.step(life.Event{Kind: life.WantRunning}) },
			"stop":    func(*rapid.T) { s.step(life.Event{Kind: life.WantStopped}) },
			"restart": func(*rapid.T) { s.step(life.Event{Kind: life.Restart}) },
			"grant": func(*rapid.T) {
				s.queued = s.queued && s.w.State != life.Planned
				s.step(life.Event{Kind: life.Granted}) // Late ones too.
			},
			"answer": func(t *rapid.T) { s.answer(rapid.Bool().Draw(t, "spawn fails")) },
			"became": func(*rapid.T) {
				if s.alive > 0 {
					s.step(life.Event{Kind: life.Became})
				}
			},
			"launch fails": func(t *rapid.T) {
				if s.alive > 0 && s.w.State == life.Starting && !s.frozen {
					s.step(life.Event{Kind: life.LaunchFailed, Cause: "no such file", Permanent: rapid.Bool().Draw(t, "permanent")})
					s.die()
				}
			},
			"ready": func(*rapid.T) { s.step(life.Event{Kind: life.Ready}) },
			"dies": func(t *rapid.T) {
				if s.alive > 0 {
					s.strays = rapid.IntRange(0, 2).Draw(t, "strays")
					s.die()
				}
			},
			"freeze": func(t *rapid.T) {
				s.step(life.Event{Kind: life.Freeze, Until: s.now.Add(time.Duration(rapid.IntRange(-10, 200).Draw(t, "for")) * time.Second)})
			},
			"thaw":    func(*rapid.T) { s.step(life.Event{Kind: life.Thaw}) },
			"hung":    func(*rapid.T) { s.step(life.Event{Kind: life.Hung}) },
			"too big": func(*rapid.T) { s.step(life.Event{Kind: life.TooBig}) },
			"time":    func(t *rapid.T) { s.pass(time.Duration(rapid.IntRange(1, 1200).Draw(t, "seconds")) * time.Second) },
			"stubborn": func(t *rapid.T) {
				s.stubborn = rapid.Bool().Draw(t, "stubborn")
				s.immortal = s.stubborn && rapid.Bool().Draw(t, "immortal")
			},
			// Most of the time things go their way, or the rare states would hardly be seen.
			"goes its way":     func(*rapid.T) { s.forward() },
			"goes its way on":  func(*rapid.T) { s.forward() },
			"is up and frozen": func(*rapid.T) { s.rise(); s.step(life.Event{Kind: life.Freeze, Until: s.now.Add(time.Hour)}) },
			"is up and ends":   func(*rapid.T) { s.rise(); s.step(life.Event{Kind: life.WantStopped}) },
			"agent dies": func(t *rapid.T) {
				// The launcher that was not recorded ends by itself; a recorded process is adopted.
				if s.alive > 0 && s.w.State != life.Starting {
					s.step2(s.w.Adopted(s.policy, s.now))
				}
			},
			"": func(*rapid.T) { s.check() },
		})
		// Whatever came before, desired stop ends with no process, and desired run with one.
		s.immortal = false
		s.settle(life.WantStopped, life.Stopped)
		if s.alive+s.strays > 0 || s.w.Live {
			t.Fatalf("stopped, with %d processes and %d strays", s.alive, s.strays)
		}
		s.settle(life.WantRunning, life.Running)
		if s.alive != 1 {
			t.Fatalf("running, with %d processes", s.alive)
		}
	})
}

// step2 performs actions that did not come from Step.
func (s *world) step2(actions []life.Action) {
	for _, action := range actions {
		switch action {
		case life.Terminate:
			if !s.stubborn {
				s.die()
			}
		case life.ThawGroup:
			s.frozen = false
		case life.FreezeGroup:
			if !s.frozen {
				s.t.Fatal("adopted a worker that was not frozen as frozen")
			}
		default:
			s.t.Fatalf("adoption orders %v", action)
		}
	}
}

// settle makes the world answer everything until the worker is where it is meant to be.
func (s *world) settle(want life.Kind, state life.State) {
	s.step(life.Event{Kind: want})
	for range 100 {
		s.check()
		if s.w.State == state && len(s.pending) == 0 && !s.frozen {
			return
		}
		s.forward()
	}
	s.t.Fatalf("not %s after a hundred answers, but %s: %+v", state, s.w.State, s.w)
}

// ends runs a worker through lives of the given lengths and returns the state after each, and for how long it lasts at random 0.
func ends(policy life.Policy, lives ...time.Duration) (states []string) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := life.New(now)
	step := func(kind life.Kind) { w.Step(policy, now, 1, life.Event{Kind: kind, Cause: "exit code 1"}) }
	step(life.WantRunning)
	for _, length := range lives {
		step(life.Granted)
		step(life.Spawned)
		step(life.Became)
		now = now.Add(length)
		step(life.Died)
		step(life.Swept)
		state := string(w.State)
		if !w.Due.IsZero() {
			state = fmt.Sprintf("%s %s", state, w.Due.Sub(now))
			now = w.Due
			step(life.Tick)
		}
		states = append(states, state)
	}
	return states
}

func TestRestartPolicy(t *testing.T) {
	s, h := time.Second, time.Hour
	for name, test := range map[string]struct {
		lives []time.Duration
		want  []string
	}{
		"at once after a long life": {[]time.Duration{h, h}, []string{"planned", "planned"}},
		"twice the delay each time": {[]time.Duration{s, s, s}, []string{"backoff 500ms", "backoff 1s", "backoff 2s"}},
		"a long life resets it":     {[]time.Duration{s, h, s}, []string{"backoff 500ms", "planned", "backoff 500ms"}},
		"crash loop":                {[]time.Duration{s, s, s, s, s}, []string{"backoff 500ms", "backoff 1s", "backoff 2s", "backoff 4s", "broken 10m0s"}},
		"lives of 40 s loop too":    {[]time.Duration{40 * s, 40 * s, 40 * s, 40 * s, 40 * s}, []string{"planned", "planned", "planned", "planned", "broken 10m0s"}},
		"broken again at once":      {[]time.Duration{s, s, s, s, s, s}, []string{"backoff 500ms", "backoff 1s", "backoff 2s", "backoff 4s", "broken 10m0s", "broken 10m0s"}},
		"mended":                    {[]time.Duration{s, s, s, s, s, h, s}, []string{"backoff 500ms", "backoff 1s", "backoff 2s", "backoff 4s", "broken 10m0s", "planned", "backoff 500ms"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ends(life.Policy{}, test.lives...); !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestFreezeSurvivesTheAgent(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	frozen := func(until time.Time) life.Worker {
		return life.Worker{State: life.Running, Want: true, Live: true, FrozenSince: now, FrozenUntil: until}
	}
	w := frozen(now.Add(time.Minute))
	if got := w.Adopted(life.Policy{}, now.Add(2*time.Minute)); !slices.Equal(got, []life.Action{life.ThawGroup}) || w.Frozen() {
		t.Errorf("after its time: %v, frozen %v", got, w.Frozen())
	}
	w = frozen(now.Add(time.Minute))
	if got := w.Adopted(life.Policy{}, now.Add(time.Second)); !slices.Equal(got, []life.Action{life.FreezeGroup}) || !w.FrozenUntil.Equal(now.Add(time.Minute)) {
		t.Errorf("within its time: %v until %v", got, w.FrozenUntil)
	}
	w = frozen(now.Add(time.Minute)) // The clock was set back by an hour.
	if w.Adopted(life.Policy{}, now.Add(-time.Hour)); w.FrozenUntil.After(now.Add(-time.Hour).Add(time.Minute)) {
		t.Errorf("after the clock was set back: until %v", w.FrozenUntil)
	}
}

func TestBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		begin := now
		rate := rapid.IntRange(1, 20).Draw(t, "rate")
		warmups := rapid.IntRange(1, 5).Draw(t, "warm-ups")
		b := life.NewBudget(float64(rate), warmups, now)
		warming, asked := map[string]bool{}, 0
		granted := 0
		t.Repeat(map[string]func(*rapid.T){
			"ask": func(*rapid.T) { b.Ask(fmt.Sprint("w", asked)); asked++ },
			"done": func(*rapid.T) {
				for name := range warming {
					b.Done(name)
					delete(warming, name)
					return
				}
			},
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 2000).Draw(t, "ms")) * time.Millisecond)
			},
			"grant": func(t *rapid.T) {
				for _, name := range b.Grant(now, 100) {
					if want := fmt.Sprint("w", granted); name != want {
						t.Fatalf("granted %s, it was the turn of %s", name, want)
					}
					granted++
					warming[name] = true
				}
				if len(warming) > warmups {
					t.Fatalf("%d warm-ups, %d allowed", len(warming), warmups)
				}
				if most := float64(rate) * (1 + now.Sub(begin).Seconds()); float64(granted) > most+1e-6 {
					t.Fatalf("%d starts, %f allowed", granted, most)
				}
			},
			"wait": func(t *rapid.T) {
				next := b.Next(now)
				if next.IsZero() {
					if granted < asked && len(warming) < warmups {
						t.Fatal("somebody waits, there is room, and time does not help")
					}
					return
				}
				now = next
				got := b.Grant(now, 100)
				if len(got) == 0 {
					t.Fatal("the time has come, and nobody is granted")
				}
				for _, name := range got {
					granted++
					warming[name] = true
				}
			},
		})
	})
}

func TestWatch(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		busy func(second int) bool // Whether it computes in that second.
		want []string              // Verdict changes, with the second.
	}{
		"computes on":   {func(int) bool { return true }, []string{"slow at 11", "busy at 31"}},
		"never begins":  {func(int) bool { return false }, []string{"idle at 11"}},
		"stops at 9":    {func(s int) bool { return s < 9 }, []string{"slow at 11", "idle at 14"}},
		"stops at 29":   {func(s int) bool { return s < 29 }, []string{"slow at 11", "busy at 31"}},
		"now and again": {func(s int) bool { return s%4 == 0 }, []string{"slow at 11", "busy at 31"}},
	} {
		t.Run(name, func(t *testing.T) {
			var w life.Watch
			w.Sample(begin, 0)
			w.Expect(begin, 10*time.Second, 30*time.Second)
			var cpu time.Duration
			var got []string
			last := life.Fine
			names := map[life.Verdict]string{life.Slow: "slow", life.HungIdle: "idle", life.HungBusy: "busy"}
			for s := 1; s < 40; s++ {
				if test.busy(s) {
					cpu += time.Second
				}
				verdict, _ := w.Sample(begin.Add(time.Duration(s)*time.Second), cpu)
				if verdict != last {
					got = append(got, fmt.Sprintf("%s at %d", names[verdict], s))
					last = verdict
				}
				if verdict == life.HungIdle || verdict == life.HungBusy {
					break
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestHistory(t *testing.T) {
	var h life.History
	if got := h.Deadline(time.Second, time.Minute); got != time.Minute {
		t.Errorf("knowing nothing: %s", got)
	}
	for range 100 {
		h.Add(2 * time.Second)
	}
	h.Add(time.Hour) // One that hung does not make the rest wait for an hour.
	if got := h.Deadline(time.Second, time.Minute); got != 6*time.Second {
		t.Errorf("of 2 s each: %s", got)
	}
	if got := h.Deadline(time.Second, 5*time.Second); got != 5*time.Second {
		t.Errorf("at most 5 s: %s", got)
	}
	if got := h.Deadline(10*time.Second, 0); got != 10*time.Second {
		t.Errorf("at least 10 s: %s", got)
	}
}

// forward makes the world answer what is answered next in the ordinary course of things.
func (s *world) forward() {
	switch {
	case s.queued:
		s.queued = false
		s.step(life.Event{Kind: life.Granted})
	case len(s.pending) > 0:
		s.answer(false)
	case s.w.State == life.Starting && s.alive > 0:
		s.step(life.Event{Kind: life.Became})
	case s.w.State == life.Warming && !s.frozen:
		s.step(life.Event{Kind: life.Ready})
	default:
		s.pass(24 * time.Hour)
	}
}

// rise makes the worker run, unless something holds it up.
func (s *world) rise() {
	s.step(life.Event{Kind: life.WantRunning})
	for range 8 {
		if s.w.State != life.Running {
			s.forward()
		}
	}
}
