//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"provingground/cmd/internal/boot"
	"provingground/snarkpool/control"
	"provingground/snarkpool/poolfile"
)

// changeWorkers is a verb that changes something about workers.
func changeWorkers(operation control.Operation) func(context.Context, call) error {
	return func(ctx context.Context, c call) error {
		target, err := c.target()
		if err != nil {
			return err
		}
		limit, err := c.bound(operation)
		if err != nil {
			return err
		}
		if c.rolling && c.now {
			return boot.Usagef("-rolling and -now exclude each other")
		}
		return c.change(ctx, control.Command{
			Operation: operation, Target: target,
			Arguments: control.Arguments{Max: control.Duration(limit), Rolling: c.rolling, Now: c.now, Reason: c.reason},
		})
	}
}

// bound returns how long a pause or freeze lasts; 0 for no bound.
func (c call) bound(operation control.Operation) (time.Duration, error) {
	limit := c.limit
	if !c.until.IsZero() {
		if c.given["max"] {
			return 0, boot.Usagef("-max and -until exclude each other")
		}
		limit = time.Until(c.until).Round(time.Millisecond)
		if limit <= 0 {
			return 0, boot.Usagef("-until %s is over already", c.until.Format(time.RFC3339))
		}
	}
	if limit < 0 || c.given["max"] && limit == 0 {
		return 0, boot.Usagef("-max must be more than nothing")
	}
	if operation == control.OpFreeze && limit == 0 {
		return 0, boot.Usagef("say how long the workers may stay frozen: -max 30s, or -until a time")
	}
	return limit, nil
}

// changeGPU is a verb that changes something about GPUs.
func changeGPU(operation control.Operation) func(context.Context, call) error {
	return func(ctx context.Context, c call) error {
		arguments := control.Arguments{Reason: c.reason}
		if len(c.arguments) > 0 {
			arguments.GPU = c.arguments[0]
		}
		return c.change(ctx, control.Command{Operation: operation, Arguments: arguments})
	}
}

func applyVerb(ctx context.Context, c call) error {
	arguments := control.Arguments{Reason: c.reason}
	if len(c.arguments) > 0 {
		text, _, err := boot.ReadSmall(c.arguments[0], poolfile.MaxBytes)
		if err != nil {
			return boot.Usagef("the pool file: %w", err)
		}
		if _, err := poolfile.Parse(text); err != nil {
			return boot.Usage(inFile(c.arguments[0], err))
		}
		digest := sha256.Sum256(text)
		arguments.Digest = hex.EncodeToString(digest[:])
	}
	return c.change(ctx, control.Command{Operation: control.OpApply, Arguments: arguments})
}

// change gives a command that changes something, waits for its end, and prints what became of it.
func (c call) change(ctx context.Context, command control.Command) error {
	command.DryRun = c.dryRun
	return c.ask(ctx, func(client *control.Client) error {
		done, err := client.Change(ctx, command)
		if err != nil {
			return err //nolint:wrapcheck // says it all
		}
		if err := c.printChange(done); err != nil {
			return err
		}
		if done.Lost > 0 && !done.DryRun {
			return &lostError{done.Lost}
		}
		return nil
	})
}

func (c call) printChange(done control.Change) error {
	if c.json {
		return c.print(done)
	}
	var rows [][]string
	for _, w := range done.Workers {
		rows = append(rows, []string{w.Name, w.Outcome, w.Detail})
	}
	prefix := ""
	if done.DryRun {
		prefix = "dry run, nothing was changed: "
	}
	_, err := fmt.Fprintf(c.stdout, "%s%s%s\n", table(nil, rows, 0), prefix, printable(done.Summary))
	for _, warning := range done.Warnings {
		c.warn("%s", printable(warning))
	}
	return err //nolint:wrapcheck // says that standard output failed
}
