package service

import (
	"net/netip"
	"testing"
	"time"
)

func TestFailures(t *testing.T) {
	t.Parallel()
	f := newFailures(Limits{Failures: 10, FailuresPerSecond: 0.5, Addresses: 100})
	now := noon()
	one, other := originOf(netip.MustParseAddr("10.0.0.1")), originOf(netip.MustParseAddr("10.0.0.2"))
	for _, step := range []struct {
		advance time.Duration
		charge  int
		wait    time.Duration // afterwards
	}{
		{charge: 9},
		{charge: 1, wait: 2 * time.Second},
		{charge: 5, wait: 12 * time.Second}, // overdrawn
		{advance: 11500 * time.Millisecond, wait: 500 * time.Millisecond},
		{advance: 500 * time.Millisecond},
		{charge: 48, wait: 20 * time.Second},                    // no more than all
		{advance: time.Hour, charge: 10, wait: 2 * time.Second}, // no more than ten are saved up
		{charge: 10, wait: 22 * time.Second},
		{charge: 10, wait: 42 * time.Second},
		{charge: 10, wait: 62 * time.Second},
		{charge: 10, wait: 82 * time.Second},
		{charge: 10, wait: 82 * time.Second}, // no further
	} {
		now = now.Add(step.advance)
		if step.charge > 0 {
			f.charge(one, step.charge, now)
		}
		if got := f.wait(one, now); got != step.wait {
			t.Errorf("%+v: wait %s", step, got)
		}
	}
	if got := f.wait(other, now); got != 0 {
		t.Errorf("the other address waits %s", got)
	}
}

// However many addresses there are, few are remembered, and the latest are.
func TestFailuresBounded(t *testing.T) {
	t.Parallel()
	f := newFailures(Limits{Failures: 1, FailuresPerSecond: 0.001, Addresses: 1000})
	faithful := originOf(netip.MustParseAddr("192.0.2.1"))
	address := netip.MustParseAddr("10.0.0.0")
	for i := range 100_000 {
		address = address.Next()
		f.charge(originOf(address), 1, noon())
		if i%300 == 0 {
			f.charge(faithful, 1, noon())
		}
		if size := f.size(); size > 1000 {
			t.Fatalf("%d addresses are remembered", size)
		}
	}
	if f.wait(originOf(address), noon()) == 0 || f.wait(faithful, noon()) == 0 {
		t.Error("a late failure was forgotten")
	}
	if f.wait(originOf(netip.MustParseAddr("10.0.0.1")), noon()) != 0 {
		t.Error("the oldest failure is still known")
	}
}
