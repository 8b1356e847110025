//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"provingground/cmd/internal/boot"
	"provingground/snarkpool/control"
)

// leastEvery is the shortest time between two tables of top.
const leastEvery = 100 * time.Millisecond

func topVerb(ctx context.Context, c call) error {
	if c.every < leastEvery {
		return boot.Usagef("-every %s: give %s or more", c.every, leastEvery)
	}
	target, err := c.target()
	if err != nil {
		return err
	}
	size := func() (width, height int, terminal bool) {
		file, ok := c.stdout.(*os.File)
		if !ok || !term.IsTerminal(int(file.Fd())) {
			return 0, 0, false
		}
		width, height, err := term.GetSize(int(file.Fd()))
		if err != nil || width < 20 || height < 5 {
			width, height = 80, 24
		}
		return width, height, true
	}
	return ordinaryEnd(c.ask(ctx, func(client *control.Client) error {
		tick := time.NewTicker(c.every)
		defer tick.Stop()
		var before control.Status
		for {
			status, err := client.Status(ctx, target)
			width, height, terminal := size()
			switch {
			case err != nil && (c.once || !terminal || !errors.Is(err, control.ErrNotRunning)):
				return err //nolint:wrapcheck // says it all
			case err != nil: // the agent is being replaced: its workers go on
				err = c.draw(fmt.Sprintf("%s  no agent is running; its workers may be\n", time.Now().Format(time.TimeOnly)), width, height)
			case c.json:
				err = c.print(status)
			case c.once || !terminal:
				_, err = fmt.Fprint(c.stdout, statusText(status, &before, 0, 0))
			default:
				err = c.draw(statusText(status, &before, width, height), width, height)
			}
			if err != nil || c.once {
				return err
			}
			before = status
			select {
			case <-tick.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}))
}

// draw puts a text in the place of the one before, line by line, so that nothing flickers.
func (c call) draw(text string, width, height int) error {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	lines = lines[:min(len(lines), height-1)]
	var out strings.Builder
	out.WriteString("\x1b[H")
	for _, line := range lines {
		out.WriteString(cut(line, width) + "\x1b[K\n")
	}
	out.WriteString("\x1b[J")
	_, err := fmt.Fprint(c.stdout, out.String())
	return err //nolint:wrapcheck // says that standard output failed
}
