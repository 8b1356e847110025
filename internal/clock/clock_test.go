package clock_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"provingground/internal/clock"
)

func TestScaledConvertsBothWays(t *testing.T) {
	genesis := time.Now().Add(-time.Hour).UTC()
	c, err := clock.Scaled(genesis, 60)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.FromWall(genesis.Add(time.Minute)); !got.Equal(genesis.Add(time.Hour)) {
		t.Errorf("one minute after genesis on the wall is %v after it on the network, want 1h", got.Sub(genesis))
	}
	if got := c.ToWall(genesis.Add(time.Hour)); !got.Equal(genesis.Add(time.Minute)) {
		t.Errorf("one hour after genesis on the network is %v on the wall, want 1m", got.Sub(genesis))
	}
	if got := c.WallDuration(time.Hour); got != time.Minute {
		t.Errorf("an hour of network time is %v of wall time, want 1m", got)
	}
}

func TestScaledRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		genesis time.Time
		scale   float64
	}{
		"zero":       {time.Now(), 0},
		"negative":   {time.Now(), -1},
		"NaN":        {time.Now(), math.NaN()},
		"infinite":   {time.Now(), math.Inf(1)},
		"no genesis": {time.Time{}, 2},
		"too far":    {time.Now().Add(-2 * 365 * 24 * time.Hour), 3600},
	} {
		if _, err := clock.Scaled(test.genesis, test.scale); !errors.Is(err, clock.ErrScale) {
			t.Errorf("%s: got %v, want ErrScale", name, err)
		}
	}
}

func TestWallAndScaledWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		scaled, err := clock.Scaled(time.Now().Add(-time.Minute), 60)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			clock *clock.Clock
			wall  time.Duration
		}{{clock.Wall(), time.Hour}, {scaled, time.Minute}} {
			began := time.Now()
			if err := c.clock.Sleep(t.Context(), time.Hour); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took < c.wall || took > c.wall+time.Millisecond {
				t.Errorf("an hour took %v, want %v", took, c.wall)
			}
		}
	})
}

func TestWaitEndsWithItsCause(t *testing.T) {
	cause := errors.New("told to stop")
	for name, c := range map[string]*clock.Clock{"wall": clock.Wall(), "virtual": clock.NewVirtual(time.Unix(0, 0)).Clock()} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		if err := c.Sleep(ctx, time.Hour); !errors.Is(err, cause) {
			t.Errorf("%s: got %v, want the cause", name, err)
		}
	}
}

func TestVirtualRunsInOrderAndInNoTime(t *testing.T) {
	start := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	v := clock.NewVirtual(start)
	c := v.Clock()
	var mu sync.Mutex
	var woken []time.Duration
	v.Run(func() {
		group, ctx := c.Group(t.Context(), 0)
		for _, d := range []time.Duration{3 * time.Hour, time.Hour, 2 * time.Hour} {
			group.Go(func() error {
				for range 2 {
					if err := c.Sleep(ctx, d); err != nil {
						return err
					}
					mu.Lock()
					woken = append(woken, c.Now().Sub(start))
					mu.Unlock()
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	})
	// At two hours both the second wait of the one-hour sleeper and the first of the two-hour sleeper end.
	want := []time.Duration{time.Hour, 2 * time.Hour, 2 * time.Hour, 3 * time.Hour, 4 * time.Hour, 6 * time.Hour}
	if !slices.Equal(woken, want) {
		t.Errorf("woken at %v, want %v", woken, want)
	}
}

func TestVirtualStandsStillWhileSomebodyWorks(t *testing.T) {
	v := clock.NewVirtual(time.Unix(0, 0))
	c := v.Clock()
	v.Run(func() {
		group, ctx := c.Group(t.Context(), 0)
		slept := make(chan struct{})
		group.Go(func() error {
			defer close(slept)
			return c.Sleep(ctx, time.Hour)
		})
		for range 1000 { // we work: the other one's hour must not pass
			select {
			case <-slept:
				t.Error("time passed while a goroutine was working")
			default:
			}
		}
		c.Idle(func() { <-slept })
		if got := c.Now(); !got.Equal(time.Unix(3600, 0)) {
			t.Errorf("now %v, want one hour", got)
		}
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func TestVirtualGroupWithLimit(t *testing.T) {
	v := clock.NewVirtual(time.Unix(0, 0))
	c := v.Clock()
	v.Run(func() {
		group, ctx := c.Group(t.Context(), 2)
		for range 6 {
			group.Go(func() error { return c.Sleep(ctx, time.Hour) })
		}
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	})
	if got := v.Now(); !got.Equal(time.Unix(3*3600, 0)) {
		t.Errorf("six hours of sleep, two at a time, took until %v, want three hours", got)
	}
}

func TestVirtualWaitIsInterrupted(t *testing.T) {
	v := clock.NewVirtual(time.Unix(0, 0))
	c := v.Clock()
	cause := errors.New("enough")
	v.Run(func() {
		ctx, cancel := context.WithCancelCause(t.Context())
		group, _ := c.Group(t.Context(), 0)
		group.Go(func() error { return c.Sleep(ctx, 24*time.Hour) })
		group.Go(func() error {
			if err := c.Sleep(t.Context(), time.Hour); err != nil {
				return err
			}
			cancel(cause)
			return nil
		})
		if err := group.Wait(); !errors.Is(err, cause) {
			t.Errorf("got %v, want the cause", err)
		}
	})
}

// TestVirtualTakesTurns starts goroutines that work, sleep, are called off and end, again and again: they do so in the same order each time.
func TestVirtualTakesTurns(t *testing.T) {
	course := func() []string {
		v := clock.NewVirtual(time.Unix(0, 0))
		c := v.Clock()
		var course []string // written without lock: one at a time works
		v.Run(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			group, _ := c.Group(t.Context(), 0)
			for i := range 20 {
				group.Go(func() error {
					course = append(course, fmt.Sprint("begins ", i))
					if i == 10 {
						_ = c.Sleep(t.Context(), time.Minute)
						cancel()
					}
					err := c.Sleep(ctx, time.Hour+time.Duration(i%3)*time.Second)
					course = append(course, fmt.Sprint("ends ", i, err))
					return nil
				})
			}
			if err := group.Wait(); err != nil {
				t.Error(err)
			}
		})
		return course
	}
	want := course()
	for range 20 {
		if got := course(); !slices.Equal(got, want) {
			t.Fatalf("%q\nwant as before: %q", got, want)
		}
	}
	if len(want) != 40 || want[0] != "begins 0" || want[19] != "begins 19" {
		t.Errorf("it is %q", want)
	}
}

// TestTurn lets goroutines of a virtual clock take turns that last an hour each; one of those who wait is called off meanwhile.
func TestTurn(t *testing.T) {
	v := clock.NewVirtual(time.Unix(0, 0))
	c := v.Clock()
	turn := c.Turn()
	cause := errors.New("enough")
	var course []string
	v.Run(func() {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		group, _ := c.Group(t.Context(), 0)
		for i := range 4 {
			group.Go(func() error {
				waits := t.Context()
				if i == 2 {
					waits = ctx
				}
				if err := turn.Take(waits); err != nil {
					course = append(course, fmt.Sprint(i, " ", err, " ", c.Now().Unix()))
					return nil
				}
				defer turn.Release()
				if i == 1 {
					cancel(cause)
				}
				course = append(course, fmt.Sprint(i, " at ", c.Now().Unix()))
				return c.Sleep(t.Context(), time.Hour)
			})
		}
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	})
	if want := []string{"0 at 0", "1 at 3600", "2 enough 3600", "3 at 7200"}; !slices.Equal(course, want) {
		t.Errorf("%q, want %q", course, want)
	}
}

func TestTurnOnTheWall(t *testing.T) {
	turn := clock.Wall().Turn()
	if err := turn.Take(t.Context()); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := turn.Take(ctx); !errors.Is(err, cause) {
		t.Errorf("got %v, want the cause", err)
	}
	turn.Release()
	if err := turn.Take(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestEventOnAVirtualClock has nine wait for an event that a tenth lets happen: they go on in their order, before time passes.
func TestEventOnAVirtualClock(t *testing.T) {
	course := func() []string {
		v := clock.NewVirtual(time.Unix(0, 0))
		c := v.Clock()
		cause := errors.New("enough")
		var course []string // written without lock: one at a time works
		v.Run(func() {
			event := c.Event()
			off, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			group, _ := c.Group(t.Context(), 0)
			for i := range 9 {
				group.Go(func() error {
					waits := t.Context()
					if i == 4 {
						waits = off
					}
					err := event.Wait(waits)
					course = append(course, fmt.Sprint(i, " ", err, " ", c.Now().Unix()))
					return nil
				})
			}
			group.Go(func() error { // somebody waits for a later time all the while: it must not come too early
				err := c.Sleep(t.Context(), 3*time.Hour)
				course = append(course, fmt.Sprint("late ", err, " ", c.Now().Unix()))
				return nil
			})
			group.Go(func() error {
				_ = c.Sleep(t.Context(), time.Hour)
				cancel(cause)
				_ = c.Sleep(t.Context(), time.Hour)
				event.Happen()
				event.Happen()
				if !event.Happened() || event.Wait(off) != nil {
					t.Error("it has not happened for who asks afterwards")
				}
				return nil
			})
			if err := group.Wait(); err != nil {
				t.Error(err)
			}
		})
		return course
	}
	want := []string{"4 enough 3600"}
	for _, i := range []int{0, 1, 2, 3, 5, 6, 7, 8} {
		want = append(want, fmt.Sprint(i, " <nil> 7200"))
	}
	want = append(want, "late <nil> 10800")
	for range 50 {
		if got := course(); !slices.Equal(got, want) {
			t.Fatalf("%q\nwant %q", got, want)
		}
	}
}

func TestEventOnTheWall(t *testing.T) {
	event := clock.Wall().Event()
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := event.Wait(ctx); !errors.Is(err, cause) || event.Happened() {
		t.Errorf("%v, want its cause", err)
	}
	event.Happen()
	event.Happen()
	if err := event.Wait(t.Context()); err != nil || !event.Happened() {
		t.Errorf("%v after it happened", err)
	}
}
