package dsl

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Source is the text of one script, or of one item of a stream. Safe for concurrent use.
type Source struct {
	// Name is what places begin with: a file name, or "stdin".
	Name string
	// Text is the whole text.
	Text []byte

	origin place // of the text in the stream that it is from; the zero value is the beginning
	once   sync.Once
	known  []place // the beginnings of the lines, and places within long lines
}

// place is a place in a text: an offset in bytes, its line and column.
type place struct{ offset, line, column int }

// NewSource returns the source of that name and text.
func NewSource(name string, text []byte) *Source {
	return &Source{Name: name, Text: text}
}

// Span is a stretch of a source: the bytes from Start up to, not including, End.
type Span struct{ Start, End int }

// Place returns the line and the column of an offset, both from 1. A column counts characters.
func (s *Source) Place(offset int) (line, column int) {
	known := s.places()
	offset = min(max(offset, known[0].offset), len(s.Text))
	i := sort.Search(len(known), func(i int) bool { return known[i].offset > offset })
	near := known[i-1]
	return near.line, near.column + utf8.RuneCount(s.Text[near.offset:offset])
}

// places returns the places from which columns are counted: a script may be one line of megabytes, so these are not the beginnings of the
// lines alone. The first is the beginning of the text, behind a byte order mark.
func (s *Source) places() []place {
	s.once.Do(s.index)
	return s.known
}

func (s *Source) index() {
	const apart = 4096
	at := s.origin
	if at.line == 0 {
		at = place{line: 1, column: 1}
		if bytes.HasPrefix(s.Text, []byte(byteOrderMark)) {
			at.offset = len(byteOrderMark)
		}
	}
	for {
		s.known = append(s.known, at)
		behind := s.Text[at.offset:]
		behind = behind[:min(len(behind), apart)]
		if i := bytes.IndexByte(behind, '\n'); i >= 0 {
			at = place{at.offset + i + 1, at.line + 1, 1}
			continue
		}
		if len(behind) < apart {
			return
		}
		for range utf8.UTFMax - 1 { // not in the middle of a character
			if r, size := utf8.DecodeLastRune(behind); r != utf8.RuneError || size > 1 {
				break
			}
			behind = behind[:len(behind)-1]
		}
		at = place{at.offset + len(behind), at.line, at.column + utf8.RuneCount(behind)}
	}
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
	Hint     string   // what to do, shown under the place; may be empty
	Notes    []string // what else is known, shown below
}

func finding(source *Source, span Span, step int, hint, format string, args ...any) Finding {
	return Finding{Source: source, Span: span, Step: step, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// Error returns place, message and hint on one line.
func (f Finding) Error() string {
	return fmt.Sprintf("%s: %s%s", f.place(), f.title(), f.behind())
}

func (f Finding) place() string {
	line, column := f.Source.Place(f.Span.Start)
	return fmt.Sprintf("%s:%d:%d", f.Source.Name, line, column)
}

// title is what the finding is about and what it says.
func (f Finding) title() string {
	text := f.message()
	if f.Severity == Warning {
		text = "warning: " + text
	}
	return f.about() + text
}

func (f Finding) about() string {
	if f.Step < 0 {
		return ""
	}
	return fmt.Sprintf("step %d: ", f.Step)
}

// message is the message without the private key that somebody may have put in the place of a name.
func (f Finding) message() string { return string(maskKeys([]byte(f.Message))) }

// behind is the hint as it stands behind the message on one line.
func (f Finding) behind() string {
	if f.Hint == "" {
		return strings.Join(append([]string{""}, f.Notes...), "; ")
	}
	return " (" + f.Hint + ")" + strings.Join(append([]string{""}, f.Notes...), "; ")
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
				File      string   `json:"file"`
				Line      int      `json:"line"`
				Column    int      `json:"column"`
				EndLine   int      `json:"endLine"`
				EndColumn int      `json:"endColumn"`
				Step      *int     `json:"step,omitempty"`
				Severity  string   `json:"severity"`
				Message   string   `json:"message"`
				Hint      string   `json:"hint,omitempty"`
				Notes     []string `json:"notes,omitempty"`
			}{f.Source.Name, line, column, endLine, endColumn, nil, f.Severity.String(), f.message(), f.Hint, f.Notes}
			if f.Step >= 0 {
				record.Step = &f.Step
			}
			encoder := json.NewEncoder(&out)
			encoder.SetEscapeHTML(false)
			if err := encoder.Encode(record); err != nil {
				return fmt.Errorf("show a finding as JSON: %w", err)
			}
		case AsGitHub:
			fmt.Fprintf(&out, "::%s file=%s,line=%d,col=%d,endLine=%d,endColumn=%d::%s\n", f.Severity,
				githubProperty(f.Source.Name), line, column, endLine, endColumn, githubText(f.about()+f.message()+f.behind()))
		case AsText:
			if len(f.Source.Text) == 0 { // there is no line to show
				fmt.Fprintln(&out, f.Error())
				continue
			}
			fmt.Fprintf(&out, "%s: %s\n", f.place(), f.title())
			f.excerpt(&out)
			for _, note := range f.Notes {
				fmt.Fprintf(&out, "     | note: %s\n", note)
			}
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
func (f Finding) excerpt(w io.Writer) {
	number, _ := f.Source.Place(f.Span.Start)
	line, mark, width := f.line()
	left := 0
	if mark > excerptWidth*2/3 && len(line) > excerptWidth {
		left = mark - excerptWidth/3
	}
	right := min(len(line), left+excerptWidth)
	shown := string(line[left:right])
	mark -= left
	width = max(1, min(width, right-left-mark))
	if left > 0 {
		shown = "… " + shown
		mark += len([]rune("… "))
	}
	if right < len(line) {
		shown += " …"
	}
	write := func(gutter, text string) {
		_, _ = fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%4s | %s", gutter, text), " "))
	}
	write(strconv.Itoa(number), shown)
	write(strings.Repeat(" ", len(strconv.Itoa(number))), strings.Repeat(" ", mark)+strings.Repeat("^", width)+" "+f.Hint)
}

// line returns the characters around the span that stand on the line where it begins, and within them the index and the number of those
// that belong to the span. Each takes one column. A line may have megabytes: of a long one it is as much as an excerpt can show, and
// some more so that no key is cut in two and so not known.
func (f Finding) line() (line []rune, mark, width int) {
	const reach = excerptWidth + 64
	text := f.Source.Text
	first := f.Source.places()[0].offset
	start := min(max(f.Span.Start, first), len(text))
	from, to := start, start
	for n := 0; n < reach && from > first && text[from-1] != '\n'; n++ {
		_, size := utf8.DecodeLastRune(text[:from])
		from -= size
	}
	for n := 0; n < reach && to < len(text) && text[to] != '\n'; n++ {
		_, size := utf8.DecodeRune(text[to:])
		to += size
	}
	line = []rune(string(maskKeys(bytes.TrimSuffix(text[from:to], []byte("\r")))))
	for i, r := range line {
		if !unicode.IsPrint(r) {
			line[i] = ' '
		}
	}
	mark = min(utf8.RuneCount(text[from:start]), len(line))
	return line, mark, utf8.RuneCount(text[start:max(start, min(f.Span.End, to))])
}

func isBase58(c byte) bool {
	return strings.IndexByte("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", c) >= 0
}

// maskKeys hides private keys that a script spells out, keeping the columns.
func maskKeys(text []byte) []byte {
	const prefix, least = "EK", 20 // a key has 50 characters behind the EK; this many is a part of one, too
	masked := bytes.Clone(text)
	for at := 0; ; {
		i := bytes.Index(masked[at:], []byte(prefix))
		if i < 0 {
			return masked
		}
		word := at + i // begins here: in a public key, EK stands by chance
		for word > 0 && isBase58(masked[word-1]) {
			word--
		}
		at += i + len(prefix)
		end := at
		for end < len(masked) && isBase58(masked[end]) {
			end++
		}
		public := end-word == 55 && bytes.HasPrefix(masked[word:], []byte("B62"))
		if end-at >= least && !public {
			for ; at < end; at++ {
				masked[at] = '*'
			}
		}
	}
}

func githubText(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

func githubProperty(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace(s)
}
