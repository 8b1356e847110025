package dsl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Shape is what a JSON value is.
type Shape uint8

// The shapes of values.
const (
	Null Shape = iota
	Bool
	Number
	String
	List
	Object
)

// String names the shape as messages do.
func (s Shape) String() string {
	switch s {
	case Null:
		return "null"
	case Bool:
		return "a boolean"
	case Number:
		return "a number"
	case String:
		return "a string"
	case List:
		return "a list"
	case Object:
		return "an object"
	default:
		return fmt.Sprintf("Shape(%d)", uint8(s))
	}
}

// Value is a JSON value with its place.
type Value struct {
	Span
	Shape  Shape
	Text   string  // of a string: decoded; of a number, a boolean or null: as written
	Items  []Value // of a list
	Fields []Field // of an object, in the order written

	// What follows only values of the script language have.

	JSON   json.RawMessage // the value as JSON, which the source's text at Span is not; nil in a JSON stream
	Secret bool            // it comes from env(): it is not to be shown
}

// Field is one key of an object with its value.
type Field struct {
	Key     string
	KeySpan Span
	Value   Value
}

// The bounds of a script (script-language, section 4).
const (
	MaxBytes  = 64 << 20 // size of a script
	MaxLevels = 1000     // depth of lists and objects in each other
)

// maxNumber is how many characters a number may have. No amount, rate or count needs as many; it bounds what exact arithmetic may cost.
const maxNumber = 400

// byteOrderMark begins a text that some editors on Windows saved. It means nothing.
const byteOrderMark = "\ufeff"

// reader reads JSON values (RFC 8259) and keeps their places. Unlike the standard library's it refuses invalid UTF-8, surrogates without
// their pair, and keys given twice.
type reader struct {
	source *Source
	step   int // number of the step that is read, -1 outside of steps
	text   []byte
	at     int
	more   func() error // appends at least a byte to text; io.EOF when nothing comes any more. Nil: text is all
	broken error        // what more returned
	faults Findings     // what is wrong and yet can be read
	fields []Field      // of the objects that are being read
}

// end reports whether the text ends here. A text that is still arriving is waited for.
func (r *reader) end() bool { return r.at >= len(r.text) && !r.readOn() }

func (r *reader) readOn() bool {
	if r.more == nil || r.broken != nil {
		return false
	}
	r.broken = r.more()
	return r.broken == nil
}

func (r *reader) fail(start, end int, hint, format string, args ...any) error {
	if r.broken != nil && !errors.Is(r.broken, io.EOF) { // the text is not wrong, there is just no more of it
		return r.broken
	}
	return finding(r.source, Span{start, end}, r.step, hint, format, args...)
}

// skipByteOrderMark steps over a mark at the beginning of the text.
func (r *reader) skipByteOrderMark() {
	for _, b := range []byte(byteOrderMark) {
		if r.end() || r.text[r.at] != b {
			r.at = 0
			return
		}
		r.at++
	}
}

func (r *reader) space() {
	for !r.end() {
		rest := r.text[r.at:]
		space := slices.IndexFunc(rest, func(c byte) bool { return c != ' ' && c != '\t' && c != '\r' && c != '\n' })
		if space >= 0 {
			r.at += space
			return
		}
		r.at = len(r.text)
	}
}

// value reads the value that begins here, within that many lists and objects.
func (r *reader) value(levels int) (Value, error) {
	if r.end() {
		return Value{}, r.expected("a JSON value")
	}
	start := r.at
	var v Value
	var err error
	switch c := r.text[start]; {
	case c == '{' || c == '[':
		if levels == MaxLevels {
			return Value{}, r.fail(start, start+1, "", "lists and objects are nested in each other above %d levels", MaxLevels)
		}
		r.at++
		if c == '{' {
			v.Shape = Object
			v.Fields, err = r.object(levels + 1)
		} else {
			v.Shape = List
			v.Items, err = r.list(levels + 1)
		}
	case c == '"':
		v.Shape = String
		v.Text, err = r.string()
	case c == '-' || c >= '0' && c <= '9':
		v.Shape = Number
		v.Text, err = r.number()
	default:
		v.Shape, v.Text, err = r.word()
	}
	v.Span = Span{start, r.at}
	return v, err
}

// object reads what comes behind the brace.
func (r *reader) object(levels int) ([]Field, error) {
	r.space()
	if r.take('}') {
		return nil, nil
	}
	first := len(r.fields)
	for {
		if r.end() || r.text[r.at] != '"' {
			return nil, r.expected("a key in double quotes")
		}
		f := Field{KeySpan: Span{Start: r.at}}
		var err error
		if f.Key, err = r.string(); err != nil {
			return nil, err
		}
		f.KeySpan.End = r.at
		r.space()
		if !r.take(':') {
			return nil, r.expected("a colon behind the key")
		}
		r.space()
		if f.Value, err = r.value(levels); err != nil {
			return nil, err
		}
		r.fields = append(r.fields, f)
		if more, err := r.comma('}', "a comma or the object's end }"); err != nil {
			return nil, err
		} else if !more {
			break
		}
	}
	fields := slices.Clone(r.fields[first:]) // of just the size that is needed: most of what is read is small objects
	r.fields = r.fields[:first]
	r.refuseTwice(fields)
	return fields, nil
}

// refuseTwice notes the keys that an object gives more than once.
func (r *reader) refuseTwice(fields []Field) {
	note := func(f Field) {
		r.faults = append(r.faults, finding(r.source, f.KeySpan, r.step, "keep one of them", "%q is given twice", f.Key))
	}
	if len(fields) <= 16 { // for a few keys a map would cost more than all else
		for i, f := range fields {
			if slices.ContainsFunc(fields[:i], func(earlier Field) bool { return earlier.Key == f.Key }) {
				note(f)
			}
		}
		return
	}
	seen := make(map[string]bool, len(fields))
	for _, f := range fields {
		if seen[f.Key] {
			note(f)
		}
		seen[f.Key] = true
	}
}

// list reads what comes behind the bracket.
func (r *reader) list(levels int) ([]Value, error) {
	r.space()
	if r.take(']') {
		return nil, nil
	}
	var items []Value
	for {
		item, err := r.value(levels)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
		if more, err := r.comma(']', "a comma or the list's end ]"); !more {
			return items, err
		}
	}
}

// comma reads a comma, or the end of the list or object, and reports whether another element follows.
func (r *reader) comma(end byte, wanted string) (more bool, err error) {
	r.space()
	if r.take(end) {
		return false, nil
	}
	comma := r.at
	if !r.take(',') {
		return false, r.expected(wanted)
	}
	r.space()
	if !r.end() && r.text[r.at] == end {
		return false, r.fail(comma, comma+1, "remove it", "nothing follows this comma")
	}
	return true, nil
}

func (r *reader) take(c byte) bool {
	if !r.end() && r.text[r.at] == c {
		r.at++
		return true
	}
	return false
}

// expected says that something else stands here, or nothing.
func (r *reader) expected(what string) error {
	if r.end() {
		last := len(bytes.TrimRight(r.text, " \t\r\n"))
		return r.fail(last, last, "", "the text ends where %s should stand", what)
	}
	char, size, err := r.char()
	if err != nil {
		return err
	}
	hint := ""
	switch char {
	case '\'', '`', '‘', '’', '“', '”':
		hint = `strings stand in straight double quotes: "…"`
	case '#', '/':
		hint = "in JSON there are no comments like this; in a script, a string between steps is a comment"
	}
	return r.fail(r.at, r.at+size, hint, "%q stands where %s should", char, what)
}

// char decodes the character that begins here.
func (r *reader) char() (char rune, size int, err error) {
	for !utf8.FullRune(r.text[r.at:]) && r.readOn() {
	}
	char, size = utf8.DecodeRune(r.text[r.at:])
	if char == utf8.RuneError && size == 1 {
		return 0, 0, r.fail(r.at, r.at+1, "save the text as UTF-8", "invalid UTF-8")
	}
	return char, size, nil
}

func (r *reader) word() (Shape, string, error) {
	start := r.at
	for !r.end() && (r.text[r.at] >= 'a' && r.text[r.at] <= 'z' || r.text[r.at] >= 'A' && r.text[r.at] <= 'Z' || r.text[r.at] == '_') {
		r.at++
	}
	switch word := string(r.text[start:r.at]); word {
	case "null":
		return Null, word, nil
	case "true", "false":
		return Bool, word, nil
	case "":
		return 0, "", r.expected("a JSON value")
	default:
		return 0, "", r.fail(start, r.at, Suggest(word, []string{"true", "false", "null"}), "%s is no JSON value", word)
	}
}

func (r *reader) number() (string, error) {
	start := r.at
	r.take('-')
	whole := r.at
	ok := r.digits()
	if ok && r.text[whole] == '0' && r.at > whole+1 {
		return "", r.fail(start, r.at, "", "a number has no leading zeros")
	}
	if ok && r.take('.') {
		ok = r.digits()
	}
	if ok && (r.take('e') || r.take('E')) {
		if !r.take('+') {
			r.take('-')
		}
		ok = r.digits()
	}
	if !ok {
		return "", r.expected("a digit")
	}
	if r.at-start > maxNumber {
		return "", r.fail(start, r.at, fmt.Sprintf("at most %d characters", maxNumber), "a number of %d characters", r.at-start)
	}
	return string(r.text[start:r.at]), nil
}

func (r *reader) digits() bool {
	start := r.at
	for !r.end() && r.text[r.at] >= '0' && r.text[r.at] <= '9' {
		r.at++
	}
	return r.at > start
}

func (r *reader) string() (string, error) {
	start := r.at
	r.at++
	for !r.end() { // the usual string is of plain characters
		rest := r.text[r.at:]
		plain := slices.IndexFunc(rest, func(c byte) bool { return c == '"' || c == '\\' || c < ' ' || c >= utf8.RuneSelf })
		if plain < 0 {
			r.at = len(r.text)
			continue
		}
		r.at += plain
		if rest[plain] != '"' {
			return r.slowString(start)
		}
		r.at++
		return string(r.text[start+1 : r.at-1]), nil
	}
	return "", r.fail(start, r.at, "", "this string has no end")
}

// slowString reads on in the string that begins at start.
func (r *reader) slowString(start int) (string, error) {
	text := slices.Clone(r.text[start+1 : r.at])
	for !r.end() {
		c := r.text[r.at]
		switch {
		case c == '"':
			r.at++
			return string(text), nil
		case c == '\\':
			char, err := r.escape()
			if err != nil {
				return "", err
			}
			text = utf8.AppendRune(text, char)
		case c == '\n' || c == '\r':
			return "", r.fail(start, r.at, "", "this string has no end on its line")
		case c < ' ':
			return "", r.fail(r.at, r.at+1, fmt.Sprintf(`write it as \u%04x`, c), "a control character in a string")
		default:
			_, size, err := r.char()
			if err != nil {
				return "", err
			}
			text = append(text, r.text[r.at:r.at+size]...)
			r.at += size
		}
	}
	return "", r.fail(start, r.at, "", "this string has no end")
}

// escape reads the escape that begins here.
func (r *reader) escape() (rune, error) {
	start := r.at
	r.at++
	if r.end() {
		return 0, r.fail(start, r.at, "", "the text ends inside a string")
	}
	c := r.text[r.at]
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		r.at++
		return rune("\"\\/\b\f\n\r\t"[i]), nil
	}
	if c != 'u' {
		_, size, err := r.char()
		if err != nil {
			return 0, err
		}
		return 0, r.fail(start, r.at+size, `write \\ for a backslash`, "unknown escape in a string")
	}
	r.at++
	char, ok := r.hex()
	switch {
	case ok && char >= 0xD800 && char < 0xDC00: // the first half of a pair
		var low rune
		ok = r.take('\\') && r.take('u')
		if ok {
			low, ok = r.hex()
		}
		if ok && low >= 0xDC00 && low < 0xE000 {
			return (char-0xD800)<<10 + (low - 0xDC00) + 0x10000, nil
		}
		return 0, r.fail(start, r.at, "", "half of a surrogate pair in a string")
	case ok && char >= 0xDC00 && char < 0xE000:
		return 0, r.fail(start, r.at, "", "half of a surrogate pair in a string")
	case !ok:
		return 0, r.fail(start, r.at, "", `\u in a string needs four hexadecimal digits`)
	}
	return char, nil
}

// hex reads four hexadecimal digits.
func (r *reader) hex() (rune, bool) {
	var code rune
	for range 4 {
		if r.end() {
			return 0, false
		}
		digit, err := strconv.ParseUint(string(r.text[r.at:r.at+1]), 16, 4)
		if err != nil {
			return 0, false
		}
		code = code<<4 | rune(digit)
		r.at++
	}
	return code, true
}
