package trace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	maxDepth    = 200 // nesting of a value; PostgreSQL's parser recurses
	maxNumber   = 400 // characters of a number
	maxExponent = 308
	replacement = "\uFFFD"
)

// cleanJSON returns valid JSON as PostgreSQL's jsonb takes it, the value itself where nothing is to be done: NUL, invalid UTF-8 and halves of surrogate pairs in strings are
// replaced, space between values is left out. Numbers and nesting beyond reason are an error that wraps ErrValue.
func cleanJSON(value []byte) ([]byte, error) {
	var out []byte
	depth, copied := 0, 0
	for i := 0; i < len(value); {
		switch c := value[i]; {
		case c == '"':
			i++
			for value[i] != '"' {
				width, bad := character(value[i:])
				if bad {
					out = append(append(out, value[copied:i]...), replacement...)
					copied = i + width
				}
				i += width
			}
			i++
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return nil, fmt.Errorf("%w: nested deeper than %d", ErrValue, maxDepth)
			}
			i++
		case c == '}' || c == ']':
			depth--
			i++
		case c == '-' || c >= '0' && c <= '9':
			end := i + 1
			for end < len(value) && strings.IndexByte("0123456789+-.eE", value[end]) >= 0 {
				end++
			}
			if err := checkNumber(value[i:end]); err != nil {
				return nil, err
			}
			i = end
		case c <= ' ':
			out = append(out, value[copied:i]...)
			i++
			copied = i
		default:
			i++
		}
	}
	if copied == 0 {
		return value, nil
	}
	return append(out, value[copied:]...), nil
}

// character tells the width of the next character of a JSON string, escaped or not, and whether it must be replaced.
func character(text []byte) (width int, bad bool) {
	switch {
	case text[0] != '\\' && text[0] < utf8.RuneSelf:
		return 1, false
	case text[0] != '\\':
		r, width := utf8.DecodeRune(text)
		return width, r == utf8.RuneError && width == 1
	case text[1] != 'u':
		return 2, false
	}
	const escape = len(`\u0000`)
	first := hex(text[2:escape])
	if !utf16.IsSurrogate(first) {
		return escape, first == 0
	}
	if len(text) >= 2*escape && text[escape] == '\\' && text[escape+1] == 'u' &&
		utf16.DecodeRune(first, hex(text[escape+2:2*escape])) != utf8.RuneError {
		return 2 * escape, false
	}
	return escape, true
}

func hex(digits []byte) rune {
	value, err := strconv.ParseUint(string(digits), 16, 32)
	if err != nil {
		return 0 // not reached in valid JSON, and replaced
	}
	return rune(value)
}

func checkNumber(number []byte) error {
	if len(number) > maxNumber {
		return fmt.Errorf("%w: number of %d characters", ErrValue, len(number))
	}
	if e := bytes.IndexAny(number, "eE"); e >= 0 {
		exponent, err := strconv.Atoi(string(number[e+1:]))
		if err != nil || exponent > maxExponent || exponent < -maxExponent {
			return fmt.Errorf("%w: number %.40s", ErrValue, number)
		}
	}
	return nil
}

// cleanText replaces in plain text what cleanJSON replaces in strings.
func cleanText(text string) string {
	if strings.IndexByte(text, 0) < 0 && utf8.ValidString(text) {
		return text
	}
	var out strings.Builder
	for _, r := range text { // an invalid byte is read as U+FFFD
		if r == 0 {
			r = utf8.RuneError
		}
		out.WriteRune(r)
	}
	return out.String()
}

// members goes through the keys and values of JSON that cleanJSON made; of what is no object there are none.
func members(object []byte) iter.Seq2[string, json.RawMessage] {
	return func(yield func(string, json.RawMessage) bool) {
		if len(object) == 0 || object[0] != '{' {
			return
		}
		for i := 1; object[i] != '}'; {
			end := skipValue(object, i)
			key, _ := textOf(object[i:end])
			start := end + 1 // after the colon
			end = skipValue(object, start)
			if !yield(key, json.RawMessage(object[start:end:end])) {
				return
			}
			if i = end; object[i] == ',' {
				i++
			}
		}
	}
}

// elements goes through the elements of JSON that cleanJSON made; of what is no list there are none.
func elements(list []byte) iter.Seq[json.RawMessage] {
	return func(yield func(json.RawMessage) bool) {
		if len(list) == 0 || list[0] != '[' {
			return
		}
		for i := 1; list[i] != ']'; {
			end := skipValue(list, i)
			if !yield(json.RawMessage(list[i:end:end])) {
				return
			}
			if i = end; list[i] == ',' {
				i++
			}
		}
	}
}

// skipValue returns the end of the value that starts at i, in JSON that cleanJSON made.
func skipValue(text []byte, i int) int {
	depth := 0
	for ; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return i
			}
			if depth == 0 {
				return i + 1
			}
		case ',', ':':
			if depth == 0 {
				return i
			}
		}
	}
	return i
}

// textOf returns the content of a JSON string, and false for any other value.
func textOf(value []byte) (string, bool) {
	if len(value) < 2 || value[0] != '"' {
		return "", false
	}
	if inner := value[1 : len(value)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), true
	}
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		return "", false
	}
	return text, true
}

// integerOf returns an integer from 0 to 2³¹−1, the range of the columns that hold them; a string of decimal digits counts as one.
func integerOf(value []byte) (int64, bool) {
	digits := string(value)
	if text, isText := textOf(value); isText {
		digits = text
	}
	number, err := strconv.ParseUint(digits, 10, 31)
	return int64(number), err == nil
}

func isObject(value []byte) bool { return len(value) > 0 && value[0] == '{' }

func appendString(dst []byte, text string) []byte {
	if strings.IndexFunc(text, func(c rune) bool { return c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' }) < 0 {
		return append(append(append(dst, '"'), text...), '"')
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil {
		return append(dst, `""`...) // not reached: strings always encode
	}
	return append(dst, bytes.TrimSuffix(out.Bytes(), []byte{'\n'})...)
}
