// Package clock tells and waits for network time.
//
// A script speaks of network time: durations, slots, pauses, the durationMin of a load. On a real network that is the time on the
// wall. On a simulated one it may run faster, or on no wall at all:
//
//   - [Wall]: network time is wall time.
//   - [Scaled]: network time = genesis + (wall time - genesis) × scale.
//   - [Virtual]: time stands still while anybody works and jumps to the next instant that somebody waits for, so that hours of
//     waiting pass in no time and in the same order every time.
//
// One *Clock is handed to everything that waits. What is wall time by contract (request time-outs, the clean-up deadline, locks, the
// time in output lines) does not come from here, but from [Clock.Wall].
package clock

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// Clock tells and waits for network time. The zero value is not usable: use [Wall], [Scaled] or [Virtual.Clock]. Safe for
// concurrent use.
type Clock struct {
	genesis time.Time
	scale   float64
	virtual *Virtual
}

// ErrScale says that a clock scale is not a number above 0, or carries network time out of range.
var ErrScale = errors.New("clock scale out of range")

// Wall returns the clock of a real network.
func Wall() *Clock { return &Clock{scale: 1} }

// Scaled returns the clock of a simulated network that began at genesis and runs scale times as fast as the wall (1 is wall time).
// It refuses, with ErrScale, a scale that is not above 0 or that would carry today's network time more than a century past genesis.
func Scaled(genesis time.Time, scale float64) (*Clock, error) {
	const century = 100 * 365 * 24 * time.Hour
	switch {
	case math.IsNaN(scale) || math.IsInf(scale, 0) || scale <= 0:
		return nil, fmt.Errorf("%w: %v is not a number above 0", ErrScale, scale)
	case scale == 1:
		return Wall(), nil
	case genesis.IsZero():
		return nil, fmt.Errorf("%w: a scale of %v needs the genesis timestamp", ErrScale, scale)
	case math.Abs(float64(time.Since(genesis)))*scale > float64(century):
		return nil, fmt.Errorf("%w: genesis at %s and a scale of %v put network time over a century from genesis",
			ErrScale, genesis.Format(time.RFC3339), scale)
	}
	return &Clock{genesis: genesis, scale: scale}, nil
}

// Now returns the network time, in UTC.
func (c *Clock) Now() time.Time {
	if c.virtual != nil {
		return c.virtual.Now()
	}
	return c.FromWall(time.Now())
}

// Wall returns the wall time. On a virtual clock, which has no wall, it is the network time.
func (c *Clock) Wall() time.Time {
	if c.virtual != nil {
		return c.virtual.Now()
	}
	return time.Now().UTC()
}

// FromWall converts wall time to network time.
func (c *Clock) FromWall(wall time.Time) time.Time {
	if c.scale == 1 || c.virtual != nil {
		return wall.UTC()
	}
	return c.genesis.Add(time.Duration(float64(wall.Sub(c.genesis)) * c.scale)).UTC()
}

// ToWall converts network time to wall time: when a person's watch will show what the network calls t.
func (c *Clock) ToWall(network time.Time) time.Time {
	if c.scale == 1 || c.virtual != nil {
		return network.UTC()
	}
	return c.genesis.Add(time.Duration(float64(network.Sub(c.genesis)) / c.scale)).UTC()
}

// WallDuration converts a span of network time to wall time.
func (c *Clock) WallDuration(network time.Duration) time.Duration {
	if c.scale == 1 || c.virtual != nil {
		return network
	}
	return time.Duration(float64(network) / c.scale)
}

// Sleep waits for a span of network time. It returns nil after it, at once for a span of 0 or less, or the cause of ctx's end.
func (c *Clock) Sleep(ctx context.Context, span time.Duration) error {
	return c.Until(ctx, c.Now().Add(span))
}

// Until waits until the network time is t or later. It returns nil then, or the cause of ctx's end.
func (c *Clock) Until(ctx context.Context, t time.Time) error {
	if c.virtual != nil {
		return c.virtual.until(ctx, t)
	}
	// The wall may be set while we wait, so the timer's end is a moment to look again, not the answer.
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rest := c.WallDuration(t.Sub(c.Now()))
		if !t.After(c.Now()) {
			return nil
		}
		timer := time.NewTimer(max(rest, time.Microsecond))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// Idle runs wait, which blocks on something other than the clock (a channel, a process's end). A virtual clock may move on
// meanwhile; without Idle it would stand still for ever. For the end of other goroutines use a [Group], for what they do an [Event]: these leave
// no moment between that and the waiter's going on in which a virtual clock could jump.
func (c *Clock) Idle(wait func()) {
	if c.virtual == nil {
		wait()
		return
	}
	c.virtual.leave()
	defer c.virtual.enter()
	wait()
}

// SleepWall waits for a span of wall time, as pauses between attempts of a clean-up are. On a virtual clock it is a span of network time.
// It returns nil after it, or the cause of ctx's end.
func (c *Clock) SleepWall(ctx context.Context, span time.Duration) error {
	if c.virtual != nil {
		return c.Sleep(ctx, span)
	}
	return Wall().Sleep(ctx, span)
}
