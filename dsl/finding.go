package dsl

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync"
	"unicode/utf8"
)

// Source is the text of one script. Safe for concurrent use.
type Source struct {
	// Name is what places begin with: a file name, or "stdin".
	Name string
	// Text is the whole text.
	Text []byte

	lines func() []int // offset of each line's first byte
}

// NewSource returns the source of that name and text.
func NewSource(name string, text []byte) *Source {
	return &Source{Name: name, Text: text, lines: sync.OnceValue(func() []int {
		starts := []int{0}
		for i, b := range text {
			if b == '\n' {
				starts = append(starts, i+1)
			}
		}
		return starts
	})}
}

// Span is a stretch of a source: the bytes from Start up to, not including, End.
type Span struct{ Start, End int }

// Place returns the line and the column of an offset, both from 1. A column counts characters.
func (s *Source) Place(offset int) (line, column int) {
	offset = min(max(offset, 0), len(s.Text))
	starts := s.lines()
	line = sort.SearchInts(starts, offset+1)
	return line, utf8.RuneCount(s.Text[starts[line-1]:offset]) + 1
}

func (s *Source) line(number int) string {
	starts := s.lines()
	end := len(s.Text)
	if number < len(starts) {
		end = starts[number] - 1
	}
	return strings.TrimSuffix(string(s.Text[starts[number-1]:end]), "\r")
}

// Severity tells an error, which stops the script from running, from a warning.
type Severity uint8

// The severities.
const (
	Error Severity = iota
	Warning
)

// String returns "error" or "warning".
func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// Finding is one thing wrong with a script: where, what, and what to do about it.
type Finding struct {
	Source   *Source
	Span     Span
	Step     int // number of the step it is about, -1 when it is about none
	Severity Severity
	Message  string
	Hint     string // what to do, shown under the place; may be empty
}

// Error returns place and message on one line.
func (f Finding) Error() string {
	text := fmt.Sprintf("%s: %s", f.place(), f.title())
	if f.Hint != "" {
		text += " (" + f.Hint + ")"
	}
	return text
}

func (f Finding) place() string {
	line, column := f.Source.Place(f.Span.Start)
	return fmt.Sprintf("%s:%d:%d", f.Source.Name, line, column)
}

func (f Finding) title() string {
	text := f.Message
	if f.Severity == Warning {
		text = "warning: " + text
	}
	if f.Step >= 0 {
		text = fmt.Sprintf("step %d: %s", f.Step, text)
	}
	return text
}

// Findings are all findings about a script, in the order of their places.
type Findings []Finding

// Sort puts the findings in the order of their places, and drops repeated ones.
func (fs Findings) Sort() Findings {
	slices.SortStableFunc(fs, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Span.Start, b.Span.Start), cmp.Compare(a.Span.End, b.Span.End), strings.Compare(a.Message, b.Message))
	})
	return slices.CompactFunc(fs, func(a, b Finding) bool { return a.Span == b.Span && a.Message == b.Message })
}

// Errors reports whether one of the findings is an error.
func (fs Findings) Errors() bool {
	return slices.ContainsFunc(fs, func(f Finding) bool { return f.Severity == Error })
}

// Format is a way to show findings.
type Format string

// The formats of findings.
const (
	AsText   Format = "text"   // for people: place, message, the line and a mark under it
	AsJSON   Format = "json"   // one object on a line for each finding
	AsGitHub Format = "github" // GitHub's workflow commands, which become annotations
)

// Write shows the findings.
func (fs Findings) Write(w io.Writer, format Format) error {
	var out bytes.Buffer
	for _, f := range fs {
		line, column := f.Source.Place(f.Span.Start)
		endLine, endColumn := f.Source.Place(max(f.Span.End, f.Span.Start))
		switch format {
		case AsJSON:
			record := struct {
				File      string `json:"file"`
				Line      int    `json:"line"`
				Column    int    `json:"column"`
				EndLine   int    `json:"endLine"`
				EndColumn int    `json:"endColumn"`
				Step      *int   `json:"step,omitempty"`
				Severity  string `json:"severity"`
				Message   string `json:"message"`
				Hint      string `json:"hint,omitempty"`
			}{f.Source.Name, line, column, endLine, endColumn, nil, f.Severity.String(), f.Message, f.Hint}
			if f.Step >= 0 {
				record.Step = &f.Step
			}
			if err := json.NewEncoder(&out).Encode(record); err != nil {
				return fmt.Errorf("show a finding as JSON: %w", err)
			}
		case AsGitHub:
			text := f.Message
			if f.Hint != "" {
				text += " (" + f.Hint + ")"
			}
			if f.Step >= 0 {
				text = fmt.Sprintf("step %d: %s", f.Step, text)
			}
			fmt.Fprintf(&out, "::%s file=%s,line=%d,col=%d,endLine=%d,endColumn=%d::%s\n", f.Severity,
				githubProperty(f.Source.Name), line, column, endLine, endColumn, githubText(text))
		case AsText:
			fmt.Fprintf(&out, "%s: %s\n%s", f.place(), f.title(), f.excerpt())
		default:
			return fmt.Errorf("unknown format %q of findings: it is text, json or github", format)
		}
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("show the findings: %w", err)
	}
	return nil
}

// excerptWidth is how much of a long line is shown, in characters.
const excerptWidth = 100

// excerpt shows the line of the finding with a mark under its span, and the hint behind the mark.
func (f Finding) excerpt() string {
	number, column := f.Source.Place(f.Span.Start)
	text := []rune(maskKeys(f.Source.line(number)))
	for i, r := range text {
		if r < ' ' || r == utf8.RuneError { // one character, one column
			text[i] = ' '
		}
	}
	from := min(column-1, len(text))
	width := min(utf8.RuneCount(f.Source.Text[min(f.Span.Start, len(f.Source.Text)):min(max(f.Span.End, f.Span.Start), len(f.Source.Text))]), len(text)-from)
	left, dots := 0, ""
	if len(text) > excerptWidth && from > excerptWidth*2/3 {
		left, dots = from-excerptWidth/3, "… "
	}
	shown := text[left:min(len(text), left+excerptWidth)]
	more := ""
	if left+len(shown) < len(text) {
		more = " …"
	}
	from -= left
	width = max(1, min(width, len(shown)-from))
	gutter := fmt.Sprintf("%4d", number)
	hint := ""
	if f.Hint != "" {
		hint = " " + f.Hint
	}
	return fmt.Sprintf("%s | %s%s%s\n%s | %s%s%s\n", gutter, dots, string(shown), more,
		strings.Repeat(" ", len(gutter)), strings.Repeat(" ", from+utf8.RuneCountInString(dots)), strings.Repeat("^", width), hint)
}

// maskKeys hides private keys that a script spells out, keeping the columns.
func maskKeys(line string) string {
	return regexp.MustCompile(`EK[1-9A-HJ-NP-Za-km-z]{20,}`).ReplaceAllStringFunc(line, func(key string) string {
		return "EK" + strings.Repeat("*", len(key)-2)
	})
}

func githubText(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

func githubProperty(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace(s)
}
