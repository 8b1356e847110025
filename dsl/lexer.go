package dsl

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/alecthomas/participle/v2/lexer"
)

// The kinds of tokens. White space and comments are none.
const (
	nameToken lexer.TokenType = -(iota + 2)
	keywordToken
	numberToken
	unitToken // directly behind the number that it belongs to
	stringToken
	signToken
)

// language is the lexer's definition, as participle wants it. The lexer is written by hand: participle's own are made of regular expressions,
// which are slower and cannot say what is wrong with a text.
type language struct{}

// Symbols implements [lexer.Definition].
func (language) Symbols() map[string]lexer.TokenType {
	return map[string]lexer.TokenType{
		"EOF": lexer.EOF, "Name": nameToken, "Keyword": keywordToken, "Number": numberToken, "Unit": unitToken, "String": stringToken, "Sign": signToken,
	}
}

// Lex implements [lexer.Definition].
func (language) Lex(name string, r io.Reader) (lexer.Lexer, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return newScanner(NewSource(name, text)), nil
}

func isKeyword(word string) bool {
	switch word {
	case "experiment", "seed", "limit", "param", "let", "use", "parallel", "repeat", "watch", "expect", "on", "failure", "finally",
		"retry", "every", "within", "after", "as", "and", "or", "not", "none", "true", "false":
		return true
	}
	return false
}

// scanner cuts a text into tokens. What is no token, but whose meaning is plain, it reports and reads as what is meant ('text', &&, 5 min), so
// that the parser does not stumble over it once more.
type scanner struct {
	source *Source
	text   string
	at     int
	line   int
	last   lexer.Token // that was read
	ended  bool        // the text has been read

	// The text may come in pieces of whole statements, each with an end of its own: participle keeps all tokens that it is given, and a long
	// script is not to take memory for all of its tokens at once.
	pieces bool
	piece  int // how many tokens the piece has up to here

	brackets []bracket    // open ones; the first stands for the text as a whole
	strays   map[int]bool // the offsets of brackets without their partner

	remarks []Remark
	faults  Findings
	refused bool // the text is nested too deep, or too much is wrong: nothing more is read
}

// bracket is one that is open.
type bracket struct {
	sign   byte
	offset int
	around int    // index of the { that it stands in; of a {, its own
	inside [2]int // how many ( and [ are open in it; only of {
}

func newScanner(source *Source) *scanner {
	s := &scanner{source: source, text: string(source.Text), line: 1, brackets: []bracket{{sign: '{'}}, strays: map[int]bool{}}
	if strings.HasPrefix(s.text, byteOrderMark) {
		s.at = len(byteOrderMark)
	}
	return s
}

func (s *scanner) fault(start, end int, hint, format string, args ...any) {
	s.faults = append(s.faults, finding(s.source, Span{start, end}, -1, hint, format, args...))
	s.refused = s.refused || len(s.faults) > maxFaults
}

// peek returns the byte that is that far ahead, or 0 behind the end.
func (s *scanner) peek(ahead int) byte {
	if s.at+ahead < len(s.text) {
		return s.text[s.at+ahead]
	}
	return 0
}

// Next implements [lexer.Lexer]. It never fails: what is wrong stands in faults.
func (s *scanner) Next() (lexer.Token, error) {
	if s.last.Type == numberToken {
		if token, ok := s.unit(); ok {
			return token, nil
		}
	}
	for s.at < len(s.text) && !s.refused {
		start := s.at
		switch c := s.text[start]; {
		case c == '\n':
			s.line++
			s.at++
		case c == ' ' || c == '\t' || c == '\r':
			s.at++
		case c == '#':
			s.remark()
		case isLetter(c):
			if s.pieces && s.piece >= pieceTokens && s.newStatement() {
				s.piece = 0
				s.last = s.endToken("\n")
				return s.last, nil
			}
			return s.word(), nil
		case isDigit(c):
			return s.number(), nil
		case c == '"':
			return s.string(), nil
		case c >= utf8.RuneSelf:
			if token, ok := s.foreign(); ok {
				return token, nil
			}
		default:
			if token, ok := s.sign(c); ok {
				return token, nil
			}
		}
	}
	for _, open := range s.brackets[1:] {
		s.strays[open.offset] = true
	}
	s.brackets = s.brackets[:1]
	s.ended = true
	return s.endToken(""), nil
}

// How many tokens a piece has: at least, where a statement ends, and at most. A token takes 64 bytes.
const (
	pieceTokens    = 256
	maxPieceTokens = 4 << 20
)

// newStatement reports whether the name that begins here begins a statement for certain.
func (s *scanner) newStatement() bool {
	if len(s.brackets) > 1 || s.line == s.last.Pos.Line || !endsStatement(&s.last) {
		return false
	}
	end := nameEnd(s.text, s.at)
	if word := s.text[s.at:end]; isKeyword(word) {
		return word != "within" && slices.Contains(starters(), word) // within may belong to the statement before
	}
	rest := strings.TrimLeft(s.text[end:min(end+8, len(s.text))], " ")
	return strings.HasPrefix(rest, "= ") || strings.HasPrefix(rest, "(")
}

// endsStatement reports whether a statement may end with a token: no operator does, and no word that something has to follow.
func endsStatement(t *lexer.Token) bool {
	switch t.Type {
	case signToken:
		return isClosing(t)
	case keywordToken:
		return t.Value == "none" || t.Value == "true" || t.Value == "false"
	default:
		return true
	}
}

// token makes the token that begins at start and ends here. In place of its column, which the source knows, its position has its length.
func (s *scanner) token(kind lexer.TokenType, start int, value string) lexer.Token {
	if s.piece++; s.piece > maxPieceTokens {
		s.fault(start, s.at, "divide it into several", "a statement of more than %d words and signs", maxPieceTokens)
		s.refused = true
	}
	s.last = lexer.Token{Type: kind, Value: value, Pos: lexer.Position{Offset: start, Line: s.line, Column: s.at - start}}
	return s.last
}

// endToken makes the token at the end of the text, with no value, or of a piece, with a line break as its value.
func (s *scanner) endToken(value string) lexer.Token {
	return lexer.Token{Type: lexer.EOF, Value: value, Pos: lexer.Position{Offset: endOf(&s.last), Line: s.line + 1}}
}

// remark reads a comment up to the end of its line.
func (s *scanner) remark() {
	start := s.at
	if i := strings.IndexByte(s.text[s.at:], '\n'); i >= 0 {
		s.at += i
	} else {
		s.at = len(s.text)
	}
	text := strings.TrimRight(s.text[start:s.at], " \t\r")
	s.remarks = append(s.remarks, Remark{Span{start, start + len(text)}, text})
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

// nameEnd returns where the name ends that begins at that offset of the text; the offset itself when none does.
func nameEnd(text string, at int) int {
	if at >= len(text) || !isLetter(text[at]) {
		return at
	}
	for at < len(text) {
		switch c := text[at]; {
		case isLetter(c) || isDigit(c):
		case c == '-' && at+1 < len(text) && (isLetter(text[at+1]) || isDigit(text[at+1])):
		default:
			return at
		}
		at++
	}
	return at
}

// isWord reports whether a text can be written as a name, a keyword's text included.
func isWord(text string) bool { return text != "" && nameEnd(text, 0) == len(text) }

func (s *scanner) word() lexer.Token {
	start := s.at
	s.at = nameEnd(s.text, start)
	for s.at < len(s.text) && s.text[s.at] >= utf8.RuneSelf { // a letter of another alphabet
		r, size := utf8.DecodeRuneInString(s.text[s.at:])
		if !unicode.IsLetter(r) && !unicode.IsMark(r) {
			break
		}
		s.at += size
		for s.at < len(s.text) && (isLetter(s.text[s.at]) || isDigit(s.text[s.at])) {
			s.at++
		}
	}
	word := s.text[start:s.at]
	if isKeyword(word) {
		return s.token(keywordToken, start, word)
	}
	if !isWord(word) {
		s.fault(start, s.at, "a name is of the letters a to z and A to Z, digits, _ and -", "%s is not a name", word)
	}
	return s.token(nameToken, start, word)
}

// digits reads digits with underscores between them.
func (s *scanner) digits() {
	start := s.at
	for isDigit(s.peek(0)) || s.peek(0) == '_' {
		s.at++
	}
	if text := s.text[start:s.at]; strings.HasSuffix(text, "_") || strings.Contains(text, "__") {
		s.fault(start, s.at, "one underscore between two digits: 1_000", "an underscore of a number stands where none can")
	}
}

func (s *scanner) number() lexer.Token {
	start := s.at
	s.digits()
	if whole := s.text[start:s.at]; len(whole) > 1 && whole[0] == '0' {
		right := strings.TrimLeft(whole, "0_")
		if right == "" {
			right = "0"
		}
		s.fault(start, s.at, "write "+right, "a number cannot have leading zeros")
	}
	if s.peek(0) == '.' && s.peek(1) != '.' {
		s.at++
		if isDigit(s.peek(0)) {
			s.digits()
		} else {
			s.fault(start, s.at, fmt.Sprintf("write %s or %s0", s.text[start:s.at-1], s.text[start:s.at]), "a digit should stand behind the point of a number")
		}
	}
	if c := s.peek(0); c == 'e' || c == 'E' {
		sign := 0
		if c := s.peek(1); c == '+' || c == '-' {
			sign = 1
		}
		if isDigit(s.peek(1 + sign)) {
			s.at += 1 + sign
			s.digits()
		}
	}
	if s.at-start > maxNumber {
		s.fault(start, s.at, fmt.Sprintf("at most %d characters", maxNumber), "a number of %d characters", s.at-start)
	}
	return s.token(numberToken, start, s.text[start:s.at])
}

// unit reads the unit of the number that ends here.
func (s *scanner) unit() (lexer.Token, bool) {
	number := s.last.Value
	blanks := 0
	for s.peek(blanks) == ' ' || s.peek(blanks) == '\t' {
		blanks++
	}
	start := s.at + blanks
	numberStart := s.at - len(number)
	switch c := s.peek(blanks); {
	case c == '%':
		s.at = start + 1
		if blanks > 0 {
			s.fault(numberStart, s.at, "write "+number+"%", "remove the blank before %%")
		}
		return s.token(unitToken, start, "%"), true
	case c == '/' && blanks == 0:
		end := nameEnd(s.text, start+1)
		switch word := s.text[start+1 : end]; word {
		case "s", "min", "h":
			if end == len(s.text) || s.text[end] != '(' {
				s.at = end
				return s.token(unitToken, start, "/"+word), true
			}
		}
		return lexer.Token{}, false
	case !isLetter(c):
		return lexer.Token{}, false
	}
	end := nameEnd(s.text, start)
	if i := strings.IndexByte(s.text[start:end], '-'); i >= 0 && blanks == 0 { // 30m-5m
		end = start + i
	}
	word := s.text[start:end]
	unit := unitOf(word)
	if unit == NoUnit {
		right, hint := meant(number, word)
		if blanks > 0 && (right == "" && hint == "" || end < len(s.text) && s.text[end] == '(') {
			return lexer.Token{}, false // another word, which the parser has to judge
		}
		if hint == "" {
			hint = unitsHint
		}
		s.fault(start, end, hint, "%s is not a unit", word)
		unit = right
	}
	s.at = end
	if unit == NoUnit {
		return lexer.Token{}, false
	}
	return s.token(unitToken, start, string(unit)), true
}

// unitOf returns the unit of that spelling, NoUnit when there is none.
func unitOf(word string) Unit {
	switch unit := Unit(word); unit {
	case UnitSecond, UnitMinute, UnitHour, UnitSlot, UnitTPS, UnitMina, UnitNanomina:
		return unit
	case "slot":
		return UnitSlot
	default:
		return NoUnit
	}
}

const unitsHint = "the units are s, m, h, slots, tps, /s, /min, /h, mina, nanomina and %"

// meant returns the unit that is meant by a word behind a number that is none, and what to write; nothing when that is not plain.
func meant(number, word string) (Unit, string) {
	attached := func(unit Unit, of string) (Unit, string) {
		return unit, fmt.Sprintf("%s are %s: write %s%s", of, unit, number, unit)
	}
	behind := func(unit Unit) (Unit, string) { return unit, fmt.Sprintf("write %s %s", number, unit) }
	switch folded := strings.ToLower(word); folded {
	case "s", "sec", "secs", "second", "seconds":
		return attached(UnitSecond, "seconds")
	case "m", "min", "mins", "minute", "minutes":
		return attached(UnitMinute, "minutes")
	case "h", "hr", "hrs", "hour", "hours":
		return attached(UnitHour, "hours")
	case "d", "day", "days":
		return NoUnit, "the longest unit of time is h: a day is 24h"
	case "ms", "msec", "millis", "millisecond", "milliseconds":
		return NoUnit, "write whole seconds, such as 1s"
	case "slot", "slots":
		return UnitSlot, fmt.Sprintf("write %s %s", number, folded)
	case "tps":
		return behind(UnitTPS)
	case "mina", "minas":
		return behind(UnitMina)
	case "nano", "nanos", "nmina", "nanomina", "nanominas":
		return behind(UnitNanomina)
	case "percent", "pct":
		return UnitPercent, "write " + number + "%"
	}
	return NoUnit, compound(number, word)
}

// compound returns what to write for a time of several units, such as 5m30s, and "" for anything else.
func compound(number, word string) string {
	const forms = "hms"
	seconds := [...]uint64{3600, 60, 1}
	var total uint64
	smallest := 0
	for {
		if word == "" {
			return ""
		}
		unit := strings.IndexByte(forms, word[0])
		amount, err := strconv.ParseUint(number, 10, 32)
		if unit < 0 || err != nil {
			return ""
		}
		total += amount * seconds[unit]
		smallest = max(smallest, unit)
		word = word[1:]
		if word == "" {
			return fmt.Sprintf("a time has one unit: write %d%c", total/seconds[smallest], forms[smallest])
		}
		rest := strings.TrimLeft(word, "0123456789")
		number, word = word[:len(word)-len(rest)], rest
	}
}

// string reads a string; [unquote] tells what it says.
func (s *scanner) string() lexer.Token {
	start := s.at
	s.at++
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			s.checkString(start)
			return s.token(stringToken, start, s.text[start:s.at])
		case c == '\n' || c == '\r' && s.peek(1) == '\n':
			return s.openString(start)
		case c == '\\' && s.peek(1) != '\n' && s.peek(1) != 0:
			s.at += 2
		case c < ' ':
			s.fault(s.at, s.at+1, fmt.Sprintf(`write it as \u%04x`, c), "a control character in a string")
			s.at++
		default:
			s.at++
		}
	}
	return s.openString(start)
}

// openString ends a string that has no end.
func (s *scanner) openString(start int) lexer.Token {
	s.at = start + len(strings.TrimRight(s.text[start:s.at], " \t\r"))
	s.fault(start, s.at, `a string ends with " on the line where it begins; a line break in it is \n`, "this string has no end on its line")
	return s.token(stringToken, start, `""`)
}

// checkString reports what is wrong inside the string that ends here.
func (s *scanner) checkString(start int) {
	_, _, faults := unquote(s.text[start:s.at])
	for _, f := range faults {
		s.fault(start+f.Span.Start, start+f.Span.End, f.Hint, "%s", f.Message)
	}
}

// unquote returns what a string says: its text, or parts where it has names in it. Places are those within the string.
func unquote(quoted string) (text string, parts []Part, faults Findings) {
	end := len(quoted) - 1
	if !strings.ContainsAny(quoted, `\$`) {
		return quoted[1:end], nil, nil
	}
	r := reader{text: []byte(quoted), at: 1, step: -1} // the escapes are those of JSON
	var said []byte
	for r.at < end {
		start := r.at
		switch c := quoted[start]; {
		case c == '\\' && quoted[start+1] == '$': // which JSON does not have: ${ as it stands
			r.at += 2
			said = append(said, '$')
		case c == '\\':
			char, err := r.escape()
			var f Finding
			if errors.As(err, &f) {
				faults = append(faults, f)
			} else {
				said = utf8.AppendRune(said, char)
			}
		case c == '$' && quoted[start+1] == '{':
			r.at = nameEnd(quoted, start+2)
			if r.at == start+2 || quoted[r.at] != '}' {
				var wrong Finding
				wrong, r.at = inBraces(quoted, start)
				faults = append(faults, wrong)
				break
			}
			if len(said) > 0 {
				parts = append(parts, Part{Text: string(said)})
				said = said[:0]
			}
			parts = append(parts, Part{Name: &Name{Span{start + 2, r.at}, quoted[start+2 : r.at]}})
			r.at++
		default:
			r.at++
			said = append(said, c)
		}
	}
	if parts == nil {
		return string(said), nil, faults
	}
	if len(said) > 0 {
		parts = append(parts, Part{Text: string(said)})
	}
	return "", parts, faults
}

// inBraces says what is wrong with a ${…} of a string that has no name in it, and where that ends.
func inBraces(quoted string, start int) (wrong Finding, end int) {
	const plain = `; ${ as plain text is written \${`
	length := strings.IndexByte(quoted[start+2:], '}')
	if length < 0 {
		end = nameEnd(quoted, start+2)
		return finding(nil, Span{start, end}, -1, "put } behind the name"+plain, "this ${ has no }"), end
	}
	text := strings.TrimSpace(quoted[start+2 : start+2+length])
	end = start + 2 + length + 1
	message, hint := "in ${ } stands a name and nothing else", "give a value a name with let"+plain
	switch e, found := ParseValue(NewSource("", []byte(text))); {
	case len(found) > 0 || len(text) > maxShown:
	case e.Op == OpName:
		hint = "write ${" + text + "}"
	case e.Op == OpMember || e.Op == OpScope:
		message, hint = "an output cannot be shown in a string", "only a let, a param, a counter and experiment have a text"
	default:
		hint = "let x = " + text + ", then ${x}"
	}
	return finding(nil, Span{start, end}, -1, hint, "%s", message), end
}

// quoted reads a string between quotes that are not the language's.
func (s *scanner) quoted(start, size int, end string) (lexer.Token, bool) {
	line, _, _ := strings.Cut(s.text[start+size:], "\n")
	i := strings.Index(line, end)
	if i < 0 {
		return lexer.Token{}, false
	}
	s.at = start + size + i + len(end)
	text := line[:i]
	if strings.ContainsAny(text, `"\$`) { // what it would say depends on where the quotes stand
		text = ""
	}
	s.fault(start, s.at, `strings stand in straight double quotes: "…"`, "%s is not a quotation mark of a string", s.text[start:start+size])
	return s.token(stringToken, start, `"`+text+`"`), true
}

// foreign reads a character outside of ASCII. None has a meaning, but of some it is plain what is meant.
func (s *scanner) foreign() (lexer.Token, bool) {
	start := s.at
	r, size := utf8.DecodeRuneInString(s.text[start:])
	s.at += size
	switch r {
	case '“', '”', '„', '«':
		for _, end := range []string{"”", "“", "»", `"`} {
			if token, ok := s.quoted(start, size, end); ok {
				return token, true
			}
		}
	case '‘', '’', '‚':
		for _, end := range []string{"’", "‘", "'"} {
			if token, ok := s.quoted(start, size, end); ok {
				return token, true
			}
		}
	case '–', '—', '−':
		s.fault(start, s.at, "write -", "%c is not a minus sign", r)
		return s.token(signToken, start, "-"), true
	case '×', '·':
		s.fault(start, s.at, "write *", "%c has no meaning", r)
		return s.token(signToken, start, "*"), true
	case '≤':
		s.fault(start, s.at, "write <=", "%c has no meaning", r)
		return s.token(signToken, start, "<="), true
	case '≥':
		s.fault(start, s.at, "write >=", "%c has no meaning", r)
		return s.token(signToken, start, ">="), true
	case '…':
		s.fault(start, s.at, "a range is written 1..2", "%c has no meaning", r)
		return s.token(signToken, start, ".."), true
	}
	switch {
	case unicode.IsSpace(r) || !unicode.IsPrint(r):
		s.fault(start, s.at, "put a plain blank in its place", "the invisible character %U", r)
	case unicode.IsLetter(r):
		s.at = start
		return s.word(), true
	default:
		s.fault(start, s.at, "remove it, or put it into a string or a comment", "%c has no meaning", r)
	}
	return lexer.Token{}, false
}

// sign reads an operator, a bracket or another sign.
func (s *scanner) sign(c byte) (lexer.Token, bool) {
	start := s.at
	take := func(length int, value string) (lexer.Token, bool) {
		s.at += length
		return s.token(signToken, start, value), true
	}
	amiss := func(length int, value, format string, args ...any) (lexer.Token, bool) {
		end, hint := start+length, "write "+value
		if operand := nameEnd(s.text, end); value == "not" && operand > end { // notc would be a name
			hint += " " + s.text[end:min(operand, end+maxShown)]
			end = operand
		}
		if value != "not" && isKeyword(value) && start > 0 && end < len(s.text) && (isNamePart(s.text[start-1]) || isNamePart(s.text[end])) {
			hint += " with a blank on each side"
		}
		s.fault(start, end, hint, format, args...)
		s.at += length
		if isKeyword(value) {
			return s.token(keywordToken, start, value), true
		}
		return s.token(signToken, start, value), true
	}
	comment := func(length int) (lexer.Token, bool) {
		s.fault(start, start+2, "a comment begins with #", "%s begins no comment", s.text[start:start+2])
		s.at += length
		return lexer.Token{}, false
	}
	two := s.text[start:min(start+2, len(s.text))]
	switch two {
	case "<=", ">=", "==", "!=", "??", "..":
		return take(2, two)
	case "=<":
		return amiss(2, "<=", "=< is not a comparison")
	case "=>":
		return amiss(2, ">=", "=> is not a comparison")
	case "<>":
		return amiss(2, "!=", "<> is not a comparison")
	case "&&":
		return amiss(2, "and", "&& has no meaning")
	case "||":
		return amiss(2, "or", "|| has no meaning")
	case ":=":
		return amiss(2, "=", ":= has no meaning")
	case "//":
		line, _, _ := strings.Cut(s.text[start:], "\n")
		return comment(len(line))
	case "/*":
		length := strings.Index(s.text[start+2:], "*/") + 4
		if length < 4 {
			length = len(s.text) - start
		}
		s.line += strings.Count(s.text[start:start+length], "\n")
		return comment(length)
	}
	switch c {
	case '(', '[', '{':
		s.open(c, start)
		return take(1, s.text[start:start+1])
	case ')', ']', '}':
		s.close(c, start)
		return take(1, s.text[start:start+1])
	case ',', ':', '=', '<', '>', '+', '-', '*', '/':
		return take(1, s.text[start:start+1])
	case '.':
		operand := endOf(&s.last) == start && (s.last.Type == nameToken || s.last.Type == keywordToken || s.last.Value == ")" || s.last.Value == "]")
		if !isDigit(s.peek(1)) || operand {
			return take(1, ".")
		}
		s.at++
		s.digits()
		s.fault(start, s.at, "write 0"+s.text[start:s.at], "a digit should stand before the point of a number")
		return s.token(numberToken, start, "0"+s.text[start:s.at]), true
	case '!':
		return amiss(1, "not", "! has no meaning")
	case '&':
		return amiss(1, "and", "& has no meaning")
	case '|':
		return amiss(1, "or", "| has no meaning")
	case '\'', '`':
		if token, ok := s.quoted(start, 1, string(c)); ok {
			return token, true
		}
	case '$':
		return s.dollar()
	}
	s.at++
	switch {
	case c == ';':
		s.fault(start, s.at, "remove it: a statement ends where the next begins", "; has no meaning")
	case c == '%':
		s.fault(start, s.at, "write a number before it, such as 30%", "a number is missing before %%")
	case c < ' ' || c == 0x7f:
		s.fault(start, s.at, "remove it", "a control character, %U", c)
	case c == '^':
		s.power(start)
	case c == '?':
		s.fault(start, s.at, elsewhere("if"), "the language has no choice by condition")
	default:
		s.fault(start, s.at, "remove it, or put it into a string or a comment", "%c has no meaning", c)
	}
	return lexer.Token{}, false
}

// power reports a ^ and what to write for it.
func (s *scanner) power(sign int) {
	rest := strings.TrimLeft(s.text[sign+1:], " \t")
	exponent := len(s.text) - len(rest)
	if strings.HasPrefix(rest, "2") && (len(rest) == 1 || !isDigit(rest[1]) && rest[1] != '.') &&
		(s.last.Type == numberToken || s.last.Type == nameToken && !strings.HasSuffix(s.text[:s.last.Pos.Offset], ".")) && s.last.Pos.Line == s.line && len(s.last.Value) <= maxShown {
		s.fault(s.last.Pos.Offset, exponent+1, fmt.Sprintf("write %s * %s", s.last.Value, s.last.Value), "there are no powers")
		s.at = exponent + 1
		return
	}
	s.fault(sign, sign+1, "multiply: 5 * 5", "there are no powers")
}

// dollar reads $name or ${name}, which outside of strings is just name.
func (s *scanner) dollar() (lexer.Token, bool) {
	start := s.at
	open := start + 1
	if s.peek(1) == '{' {
		open++
	}
	end := nameEnd(s.text, open)
	name := s.text[open:end]
	if open > start+1 && end < len(s.text) && s.text[end] == '}' {
		end++
	}
	if name == "" {
		s.at++
		s.fault(start, s.at, "remove it", "$ has no meaning outside of a string")
		return lexer.Token{}, false
	}
	s.at = end
	s.fault(start, s.at, "write "+name, "$ has no meaning outside of a string")
	return s.token(nameToken, start, name), true
}

func (s *scanner) open(sign byte, offset int) {
	if len(s.brackets) > MaxLevels {
		s.faults = nil
		s.fault(offset, offset+1, "", "brackets are nested in each other above %d levels", MaxLevels)
		s.refused = true
		return
	}
	if i := strings.IndexByte("([", sign); i >= 0 {
		s.around().inside[i]++
	}
	around := s.brackets[len(s.brackets)-1].around
	if sign == '{' {
		around = len(s.brackets)
	}
	s.brackets = append(s.brackets, bracket{sign: sign, offset: offset, around: around})
}

// around returns the innermost open {.
func (s *scanner) around() *bracket { return &s.brackets[s.brackets[len(s.brackets)-1].around] }

// close pairs a bracket with the one that it closes. Brackets that are still open in that one have no partner.
func (s *scanner) close(sign byte, offset int) {
	opener := map[byte]byte{')': '(', ']': '[', '}': '{'}[sign]
	if sign == '}' && s.around() == &s.brackets[0] || sign != '}' && s.around().inside[strings.IndexByte("([", opener)] == 0 {
		s.strays[offset] = true
		return
	}
	for {
		last := s.brackets[len(s.brackets)-1]
		s.brackets = s.brackets[:len(s.brackets)-1]
		if i := strings.IndexByte("([", last.sign); i >= 0 {
			s.around().inside[i]--
		}
		if last.sign == opener {
			return
		}
		s.strays[last.offset] = true
	}
}
