package boot

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// Console is standard error: lines of log, and on a terminal one line at the bottom that shows what goes on now. Safe for concurrent use.
type Console struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	width    func() int
	status   func() string // of the bottom line; nil for none
	shown    bool

	quit, done chan struct{}
}

// NewConsole returns the console on a file, which is usually os.Stderr. status gives the text of the bottom line, anew twice a second; it
// is used only when the file is a terminal, and may be nil. Close ends it.
func NewConsole(file *os.File, status func() string) *Console {
	c := &Console{out: file, status: status}
	fd := int(file.Fd())
	c.terminal = term.IsTerminal(fd)
	c.width = func() int {
		if width, _, err := term.GetSize(fd); err == nil && width > 0 {
			return width
		}
		return 80
	}
	if c.terminal && status != nil {
		c.quit, c.done = make(chan struct{}), make(chan struct{})
		go c.refresh()
	}
	return c
}

// Terminal reports whether the console is a terminal.
func (c *Console) Terminal() bool { return c.terminal }

// Write writes text above the bottom line.
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
	n, err := c.out.Write(p)
	return n, err //nolint:wrapcheck // an io.Writer
}

// Close takes the bottom line away.
func (c *Console) Close() {
	if c.quit == nil {
		return
	}
	close(c.quit)
	<-c.done
}

func (c *Console) refresh() {
	defer close(c.done)
	tick := time.NewTicker(time.Second / 2)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			text := c.status() // asked without the lock: who answers may be writing
			c.mu.Lock()
			c.clear()
			if text != "" {
				_, err := fmt.Fprint(c.out, cut(text, c.width()-1))
				c.shown = err == nil
			}
			c.mu.Unlock()
		case <-c.quit:
			c.mu.Lock()
			c.clear()
			c.mu.Unlock()
			return
		}
	}
}

// clear takes the bottom line away, so that a line can be written in its place.
func (c *Console) clear() {
	if c.shown {
		_, _ = io.WriteString(c.out, "\r\x1b[K")
		c.shown = false
	}
}

func cut(text string, width int) string {
	if width < 1 || utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}
