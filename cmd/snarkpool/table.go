//go:build linux

package main

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"provingground/snarkpool/poolfile"
)

// table lays out rows below a head, nil for none, each line at most width letters wide, 0 for any. Columns that are empty in all rows are left out.
// It ends with a newline unless it is empty.
func table(head []string, rows [][]string, width int) string {
	if len(rows) == 0 {
		return ""
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			row[i] = printable(cell)
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	var out strings.Builder
	write := func(row []string) {
		var line strings.Builder
		for i, cell := range row {
			if widths[i] == 0 {
				continue
			}
			line.WriteString(cell + strings.Repeat(" ", max(0, max(widths[i], lengthOf(head, i))-utf8.RuneCountInString(cell))+2))
		}
		out.WriteString(cut(strings.TrimRight(line.String(), " "), width) + "\n")
	}
	if head != nil {
		write(head)
	}
	for _, row := range rows {
		write(row)
	}
	return out.String()
}

func lengthOf(head []string, i int) int {
	if head == nil {
		return 0
	}
	return utf8.RuneCountInString(head[i])
}

// cut bounds a line; 0 is no bound.
func cut(text string, width int) string {
	if width < 1 || utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}

// printable replaces what would move a terminal's cursor or change its colours: workers may print anything.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		if r == '\t' || r == '\n' {
			return ' '
		}
		return '�'
	}, text)
}

// ago writes a span of time as people read it: 4s, 12m, 3h05m, 2d4h.
func ago(span time.Duration) string {
	span = max(span, 0)
	switch {
	case span < time.Minute:
		return fmt.Sprintf("%ds", int(span.Seconds()))
	case span < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(span.Minutes()), int(span.Seconds())%60)
	case span < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(span.Hours()), int(span.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(span.Hours())/24, int(span.Hours())%24)
}

// unknown stands where a figure is not known.
const unknown = "–"

// amount writes an amount of memory, or that it is not known.
func amount(bytes *uint64) string {
	if bytes == nil {
		return unknown
	}
	return poolfile.Bytes(*bytes).Round()
}

// figure writes a number by a format, or that it is not known.
func figure[N any](format string, n *N) string {
	if n == nil {
		return unknown
	}
	return fmt.Sprintf(format, *n)
}
