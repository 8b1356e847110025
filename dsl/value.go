package dsl

import (
	"fmt"
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
	Text   string  // of a string: decoded; of a number or boolean: as written
	Items  []Value // of a list
	Fields []Field // of an object, in the order written
}

// Field is one key of an object with its value.
type Field struct {
	Key     string
	KeySpan Span
	Value   Value
}

// Field returns the field of that key, its case ignored where no key matches exactly (as the existing tool's decoder does), and
// whether there is one.
func (v Value) Field(key string) (Field, bool) {
	for _, f := range v.Fields {
		if f.Key == key {
			return f, true
		}
	}
	for _, f := range v.Fields {
		if strings.EqualFold(f.Key, key) {
			return f, true
		}
	}
	return Field{}, false
}

// The bounds of a script (script-language, section 4).
const (
	MaxBytes  = 64 << 20 // size of a script
	MaxLevels = 1000     // depth of lists and objects in each other
)

// reader reads JSON values (RFC 8259) and keeps their places. Unlike the standard library's it refuses invalid UTF-8 and keys given twice.
type reader struct {
	source *Source
	text   []byte
	base   int // offset of text in the source
	at     int
	levels int
}

func (r *reader) fail(start, end int, hint, format string, args ...any) error {
	return Finding{Source: r.source, Span: Span{r.base + start, r.base + end}, Step: -1, Message: fmt.Sprintf(format, args...), Hint: hint}
}

func (r *reader) space() {
	for r.at < len(r.text) {
		switch r.text[r.at] {
		case ' ', '\t', '\r', '\n':
			r.at++
		default:
			return
		}
	}
}

// value reads the value that begins here.
func (r *reader) value() (Value, error) {
	start := r.at
	if start >= len(r.text) {
		return Value{}, r.fail(start, start, "", "the script ends where a value should stand")
	}
	var v Value
	var err error
	switch c := r.text[start]; {
	case c == '{':
		v, err = r.nested(r.object)
	case c == '[':
		v, err = r.nested(r.list)
	case c == '"':
		v.Shape = String
		v.Text, err = r.string()
	case c == '-' || c >= '0' && c <= '9':
		v.Shape = Number
		v.Text, err = r.number()
	default:
		v.Shape, v.Text, err = r.word()
	}
	if err != nil {
		return Value{}, err
	}
	v.Span = Span{r.base + start, r.base + r.at}
	return v, nil
}

func (r *reader) nested(read func() (Value, error)) (Value, error) {
	if r.levels == MaxLevels {
		return Value{}, r.fail(r.at, r.at+1, "", "nested above %d levels", MaxLevels)
	}
	r.levels++
	defer func() { r.levels-- }()
	r.at++
	return read()
}

func (r *reader) object() (Value, error) {
	v := Value{Shape: Object}
	r.space()
	if r.take('}') {
		return v, nil
	}
	seen := map[string]bool{}
	for {
		r.space()
		start := r.at
		if r.at >= len(r.text) || r.text[r.at] != '"' {
			return Value{}, r.expected("a key in double quotes")
		}
		key, err := r.string()
		if err != nil {
			return Value{}, err
		}
		span := Span{r.base + start, r.base + r.at}
		if seen[key] {
			return Value{}, r.fail(start, r.at, "keep one of them", "key %q is given twice", key)
		}
		seen[key] = true
		r.space()
		if !r.take(':') {
			return Value{}, r.expected("a colon behind the key")
		}
		r.space()
		value, err := r.value()
		if err != nil {
			return Value{}, err
		}
		v.Fields = append(v.Fields, Field{Key: key, KeySpan: span, Value: value})
		r.space()
		if r.take('}') {
			return v, nil
		}
		if !r.take(',') {
			return Value{}, r.expected("a comma or the object's end }")
		}
	}
}

func (r *reader) list() (Value, error) {
	v := Value{Shape: List}
	r.space()
	if r.take(']') {
		return v, nil
	}
	for {
		r.space()
		item, err := r.value()
		if err != nil {
			return Value{}, err
		}
		v.Items = append(v.Items, item)
		r.space()
		if r.take(']') {
			return v, nil
		}
		if !r.take(',') {
			return Value{}, r.expected("a comma or the list's end ]")
		}
	}
}

func (r *reader) take(c byte) bool {
	if r.at < len(r.text) && r.text[r.at] == c {
		r.at++
		return true
	}
	return false
}

func (r *reader) expected(what string) error {
	if r.at >= len(r.text) {
		return r.fail(r.at, r.at, "", "the script ends where %s should stand", what)
	}
	c, size := utf8.DecodeRune(r.text[r.at:])
	return r.fail(r.at, r.at+size, "", "%q stands where %s should", c, what)
}

func (r *reader) word() (Shape, string, error) {
	start := r.at
	for r.at < len(r.text) && (r.text[r.at] >= 'a' && r.text[r.at] <= 'z' || r.text[r.at] >= 'A' && r.text[r.at] <= 'Z' || r.text[r.at] == '_') {
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
	digits := func() bool {
		from := r.at
		for r.at < len(r.text) && r.text[r.at] >= '0' && r.text[r.at] <= '9' {
			r.at++
		}
		return r.at > from
	}
	r.take('-')
	wholeAt := r.at
	ok := digits()
	if ok && r.text[wholeAt] == '0' && r.at > wholeAt+1 {
		return "", r.fail(start, r.at, "", "a number has no leading zeros")
	}
	if ok && r.take('.') {
		ok = digits()
	}
	if ok && (r.take('e') || r.take('E')) {
		if !r.take('+') {
			r.take('-')
		}
		ok = digits()
	}
	if !ok {
		return "", r.expected("a digit")
	}
	if r.at-start > 400 { // no amount, rate or count needs that many; a bound on what exact arithmetic may cost
		return "", r.fail(start, r.at, "", "a number of %d characters", r.at-start)
	}
	return string(r.text[start:r.at]), nil
}

func (r *reader) string() (string, error) {
	start := r.at
	r.at++
	from := r.at
	for r.at < len(r.text) { // the usual string has no escapes
		switch c := r.text[r.at]; {
		case c == '"':
			text := r.text[from:r.at]
			r.at++
			return string(text), nil
		case c == '\\' || c < ' ' || c >= utf8.RuneSelf:
			return r.slowString(start, from)
		default:
			r.at++
		}
	}
	return "", r.fail(start, start+1, "", "this string has no end")
}

func (r *reader) slowString(start, from int) (string, error) {
	text := append([]byte(nil), r.text[from:r.at]...)
	for r.at < len(r.text) {
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
		case c < ' ':
			if c == '\n' {
				return "", r.fail(start, r.at, "", "this string has no end on its line")
			}
			return "", r.fail(r.at, r.at+1, fmt.Sprintf(`write it as \u%04x`, c), "control character in a string")
		case c < utf8.RuneSelf:
			text = append(text, c)
			r.at++
		default:
			char, size := utf8.DecodeRune(r.text[r.at:])
			if char == utf8.RuneError && size == 1 {
				return "", r.fail(r.at, r.at+1, "save the script as UTF-8", "invalid UTF-8")
			}
			text = append(text, r.text[r.at:r.at+size]...)
			r.at += size
		}
	}
	return "", r.fail(start, start+1, "", "this string has no end")
}

func (r *reader) escape() (rune, error) {
	start := r.at
	r.at++
	if r.at >= len(r.text) {
		return 0, r.fail(start, r.at, "", "the script ends inside a string")
	}
	c := r.text[r.at]
	r.at++
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		return rune("\"\\/\b\f\n\r\t"[i]), nil
	}
	if c != 'u' {
		return 0, r.fail(start, r.at, `write \\ for a backslash`, "unknown escape in a string")
	}
	char, ok := r.hex()
	if ok && char >= 0xD800 && char < 0xDC00 { // a surrogate pair
		if r.at+1 < len(r.text) && r.text[r.at] == '\\' && r.text[r.at+1] == 'u' {
			r.at += 2
			var low rune
			if low, ok = r.hex(); ok {
				char = (char-0xD800)<<10 + (low - 0xDC00) + 0x10000
				ok = low >= 0xDC00 && low < 0xE000
			}
		} else {
			ok = false
		}
	} else if char >= 0xDC00 && char < 0xE000 {
		ok = false
	}
	if !ok {
		return 0, r.fail(start, r.at, "", `a \u escape needs four hexadecimal digits, and surrogates their pair`)
	}
	return char, nil
}

func (r *reader) hex() (rune, bool) {
	if r.at+4 > len(r.text) {
		r.at = len(r.text)
		return 0, false
	}
	code, err := strconv.ParseUint(string(r.text[r.at:r.at+4]), 16, 16)
	r.at += 4
	return rune(code), err == nil
}
