package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"provingground/cmd/internal/boot"
	"provingground/internal/clock"
)

// progress shows on a terminal what a run does. Safe for concurrent use.
type progress struct {
	console *boot.Console
	clock   *clock.Clock
	began   time.Time
	closed  sync.Once

	mu       sync.Mutex
	step, of int
	action   string
	until    time.Time // network time
	cleaning bool
	idle     bool // no step yet
}

func newProgress(stderr *os.File, c *clock.Clock, off bool) *progress {
	p := &progress{clock: c, began: time.Now(), idle: true}
	status := p.status
	if off {
		status = nil
	}
	p.console = boot.NewConsole(stderr, status)
	return p
}

// Close takes the progress line away.
func (p *progress) Close() { p.closed.Do(p.console.Close) }

// Step is told that a step begins.
func (p *progress) Step(number, of int, action string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step, p.of, p.action, p.until, p.idle = number, of, action, time.Time{}, false
}

// Waiting is told until when the step waits.
func (p *progress) Waiting(until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = until
}

// Comment is told a comment of the script, which the log shows.
func (p *progress) Comment(string) {}

// Cleaning is told that the run cleans up.
func (p *progress) Cleaning() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cleaning = true
}

// status is the progress line.
func (p *progress) status() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	elapsed := time.Since(p.began).Truncate(time.Second)
	switch {
	case p.cleaning:
		return fmt.Sprintf("%s  cleaning up", elapsed)
	case p.idle:
		return ""
	}
	text := fmt.Sprintf("%s  step %d", elapsed, p.step)
	if p.of > 0 {
		text += fmt.Sprintf(" of 0…%d", p.of-1)
	}
	text += "  " + p.action
	if !p.until.IsZero() {
		text += fmt.Sprintf(", %s of network time more", max(0, p.until.Sub(p.clock.Now())).Truncate(time.Second))
	}
	return text
}
