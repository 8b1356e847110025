package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"provingground/dsl"
)

// The action wait (orchestrator-scripts, section 3.7).

func waitAction() Action {
	return Action{
		Signature: dsl.Signature{
			Action: "wait", Doc: "Waits for a time, or until a time after the beginning of a slot.",
			Params: []dsl.Param{
				{Name: "min", Kind: dsl.Int, Unit: "minutes", Positional: true, Default: "0", Doc: "how long"},
				{Name: "sec", Kind: dsl.Int, Unit: "seconds", Positional: true, Default: "0", Doc: "how long, added to min"},
				{Name: "slot", Kind: dsl.Int, Unit: "slot", Default: "0", Doc: "above 0: min and sec count from the beginning of this global slot"},
				{
					Name: "past", Kind: dsl.Word, Words: []string{"ok", "error"}, Default: "ok", Absent: `"error"`,
					Doc: `what a slot is that has passed: "error" fails the step; else it goes on at once, with a warning`,
					Valid: func(v dsl.Value) string {
						if v.Text != "error" {
							return `is "error", or left out`
						}
						return ""
					},
				},
			},
		},
		check: func(c *checking) {
			if c.language && !c.given("min") && !c.given("sec") && !c.given("slot") {
				c.warn("", "write wait(5m), or wait(slot: 120)", "it waits for nothing")
			}
			for _, name := range []string{"min", "sec", "slot"} {
				if n, ok := c.number(name); ok && n.Sign() < 0 {
					c.report(name, "", "%s cannot be negative", name)
				}
			}
			f := forecasting{c}
			if c.config != nil && longWait(f.integer("min"), f.integer("slot"), c.config.SlotDuration) {
				c.report("min", "", "the wait is longer than a century")
			}
			slot, known := c.number("slot")
			if c.config != nil && (!known || slot.Sign() > 0) && (c.config.Genesis.IsZero() || c.config.SlotDuration == 0) {
				c.report("slot", "", "waiting for a slot needs genesisTimestamp and slotDurationMs in the configuration")
			}
		},
		forecast: func(f *forecasting) forecast {
			minutes, seconds := f.integer("min"), f.integer("sec")
			return forecast{takes: time.Duration(minutes)*time.Minute + time.Duration(seconds)*time.Second, until: f.integer("slot")}
		},
		run: func(ctx context.Context, t *task) error {
			minutes, seconds, slot := t.args.integer("min"), t.args.integer("sec"), t.args.integer("slot")
			if err := t.args.err(); err != nil {
				return err
			}
			if minutes < 0 || seconds < 0 || slot < 0 {
				return errors.New("min, sec and slot cannot be negative")
			}
			if longWait(minutes, slot, t.config.SlotDuration) {
				return errors.New("the wait is longer than a century")
			}
			from := t.world.Clock.Now()
			if slot > 0 {
				if t.config.Genesis.IsZero() || t.config.SlotDuration == 0 {
					return errors.New("waiting for a slot needs genesisTimestamp and slotDurationMs in the configuration")
				}
				from = t.config.Genesis.Add(time.Duration(slot) * t.config.SlotDuration)
			}
			until := from.Add(time.Duration(minutes)*time.Minute + time.Duration(seconds)*time.Second)
			if slot > 0 && until.Before(t.world.Clock.Now()) {
				if t.args.text("past") == "error" {
					return fmt.Errorf("slot %d has passed (past: ok goes on at once)", slot)
				}
				t.log.Warn("the slot has passed, going on at once", zap.Int("slot", slot))
			}
			if t.resumed && t.recorded.until[t.step.Number] != "" {
				recorded, err := time.Parse(time.RFC3339Nano, t.recorded.until[t.step.Number])
				if err != nil {
					return fmt.Errorf("the record's end of the wait: %w", err)
				}
				until = recorded
			} else if err := t.note(lineUntil, until); err != nil {
				return err
			}
			return t.waitUntil(ctx, until)
		},
	}
}

// longWait reports whether a wait is longer than a century. What a time.Duration holds is not much longer, and seconds cannot reach it.
func longWait(minutes, slot int, slotDuration time.Duration) bool {
	const century = 100 * 365 * 24 * time.Hour
	return minutes > int(century/time.Minute) || slotDuration > 0 && slot > int(century/slotDuration)
}

// waitUntil waits until a network time, and lets the progress display know.
func (t *task) waitUntil(ctx context.Context, until time.Time) error {
	t.progress.Waiting(until)
	defer t.progress.Waiting(time.Time{})
	return t.world.Clock.Until(ctx, until) //nolint:wrapcheck // the cause of the run's end
}

// pause waits for a span of network time between two attempts.
func (t *task) pause(ctx context.Context, span time.Duration) error {
	return t.waitUntil(ctx, t.world.Clock.Now().Add(span))
}
