package dsl

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// The layout of a formatted script. Nothing is aligned in columns: a longer name would move the lines around it, and a review is to show what
// changed and nothing else.
const (
	lineWidth    = 100 // what has room in it stands on one line
	indentation  = "  "
	beforeRemark = "  " // of a comment behind something
)

// Format prints the tree as a script in the one layout that there is: two blanks for each level of blocks, a statement on one line if it has
// room there, and else each argument on a line of its own. Comments stay where they are: before a statement or an argument, or behind it; one
// in the middle of either moves before it. Blank lines between statements stay, one of several; a tree that was not read from a text gets
// them around statements with a block. Numbers stay as written. The text means the same, and formatting it again changes nothing.
//
// A tree with syntax errors lacks the statements that could not be read, and so does its text.
func (t *Tree) Format() []byte {
	p := &printer{}
	if t.Source != nil {
		p.text, p.placed = t.Source.Text, true
		p.remarks, p.printed = t.Remarks, make([]bool, len(t.Remarks))
	}
	p.statements(t.Statements, 0, len(p.text))
	return p.out
}

type printer struct {
	text    []byte // which the tree was read from
	placed  bool   // there is one
	remarks []Remark
	printed []bool // for each comment

	out   []byte
	line  int  // where the last line begins in out
	level int  // of blocks and brackets
	flat  bool // all that is printed has to stand on this line,
	wide  bool // and has no room there
}

func (p *printer) write(texts ...string) {
	for _, text := range texts {
		p.out = append(p.out, text...)
	}
	p.wide = p.wide || p.column() > lineWidth
}

// column is how much stands on the line: all but what is in strings is ASCII, so these are bytes.
func (p *printer) column() int { return len(p.out) - p.line }

// begin begins a line.
func (p *printer) begin() {
	p.line = len(p.out)
	for range p.level {
		p.write(indentation)
	}
}

func (p *printer) end() { p.write("\n") }

// Comments.

// next returns the index of the first comment from an offset on that was not printed, and false when none stands before the end.
func (p *printer) next(start, end int) (int, bool) {
	i := sort.Search(len(p.remarks), func(i int) bool { return p.remarks[i].Start >= start })
	for i < len(p.remarks) && p.printed[i] {
		i++
	}
	return i, i < len(p.remarks) && p.remarks[i].Start < end
}

// print prints a comment.
func (p *printer) print(i int) {
	p.write(p.remarks[i].Text)
	p.printed[i] = true
}

// above prints the comments that stand in a stretch, each on a line of its own.
func (p *printer) above(start, end int, blank func(offset int)) {
	for i, ok := p.next(start, end); ok; i, ok = p.next(start, end) {
		blank(p.remarks[i].Start)
		p.begin()
		p.print(i)
		p.end()
	}
}

// inside prints the comments in the middle of something that none of its brackets has on lines of their own.
func (p *printer) inside(at Span, brackets func() []Span) {
	if _, some := p.next(at.Start, at.End); !some {
		return
	}
	start := at.Start
	for _, b := range brackets() {
		p.above(start, b.Start, func(int) {})
		start = b.End
	}
	p.above(start, at.End, func(int) {})
}

// beside prints the comment that begins behind an offset on the same line of the text, and before an end.
func (p *printer) beside(offset, end int) {
	if i, ok := p.next(offset, end); ok && bytes.IndexByte(p.text[offset:p.remarks[i].Start], '\n') < 0 {
		p.write(beforeRemark)
		p.print(i)
	}
}

// Statements.

// statements prints those of a block, which in the text lies between the offsets.
func (p *printer) statements(all []Statement, start, end int) {
	first := true
	blank := func(offset int) {
		if !first && p.blankBefore(offset) {
			p.end()
		}
		first = false
	}
	for i, s := range all {
		at := s.Place()
		following := end
		if i+1 < len(all) {
			following = all[i+1].Place().Start
		}
		p.above(start, at.Start, blank)
		if !p.placed && i > 0 && (hasBody(s) || hasBody(all[i-1])) {
			p.end()
		}
		blank(at.Start)
		p.inside(at, func() []Span { return brackets(s, p.closing) })
		p.begin()
		p.statement(s)
		p.beside(at.End, following)
		p.end()
		start = at.End
	}
	p.above(start, end, blank)
}

// blankBefore reports whether a blank line stands before what begins at an offset.
func (p *printer) blankBefore(offset int) bool {
	if !p.placed {
		return false
	}
	white := p.text[len(bytes.TrimRight(p.text[:offset], " \t\r\n")):offset]
	return bytes.Count(white, []byte("\n")) > 1
}

func hasBody(s Statement) bool {
	switch s := s.(type) {
	case *Call:
		return s.Body != nil
	case *Parallel, *Repeat, *Deadline, *Closing, *Block, *Search:
		return true
	default:
		return false
	}
}

func (p *printer) statement(s Statement) {
	switch s := s.(type) {
	case *Experiment:
		p.write("experiment ")
		p.expression(s.Name, levelOr)
	case *Seed:
		p.write("seed ")
		p.expression(s.Value, levelOr)
	case *Limits:
		p.write("limit ")
		for i, b := range s.Bounds {
			if i > 0 {
				p.write(", ")
			}
			p.write(b.Of.Text, " ", b.Op, " ")
			p.expression(b.Value, levelSum)
		}
	case *Binding:
		if s.Param {
			p.write("param ")
		} else {
			p.write("let ")
		}
		p.write(s.Name.Text, " = ")
		p.expression(s.Value, levelOr)
	case *Use:
		p.write("use ")
		p.expression(s.File, levelOr)
		p.write(" as ", s.As.Text)
	case *Call:
		p.call(s)
	case *Parallel:
		p.write("parallel ")
		p.block(s.Body)
	case *Repeat:
		p.write("repeat ")
		p.expression(s.Count, levelOr)
		if s.As != nil {
			p.write(" as ", s.As.Text)
		}
		p.write(" ")
		p.block(s.Body)
	case *Deadline:
		p.write("within ")
		p.expression(s.Within, levelOr)
		p.write(" ")
		p.block(s.Body)
	case *Claim:
		if s.Watch {
			p.write("watch ")
		} else {
			p.write("expect ")
		}
		p.expression(s.Condition, levelOr)
		p.modifiers(nil, s.Within, s.After)
	case *Closing:
		if s.Finally {
			p.write("finally ")
		} else {
			p.write("on failure ")
		}
		p.block(s.Body)
	case *Block:
		p.block(s)
	case *Search:
		p.write("search ", s.Name.Text, " from ")
		p.expression(s.From, levelOr)
		p.write(" to ")
		p.expression(s.To, levelOr)
		p.write(" until within ")
		p.expression(s.Until, levelOr)
		p.write(" ")
		p.block(s.Body)
	}
}

func (p *printer) block(b *Block) {
	p.write("{")
	if _, some := p.next(b.Start, b.End); !some && len(b.Statements) == 0 {
		p.write("}")
		return
	}
	first := b.End
	if len(b.Statements) > 0 {
		first = b.Statements[0].Place().Start
	}
	p.beside(b.Start, first)
	p.end()
	p.level++
	p.statements(b.Statements, b.Start, b.End)
	p.level--
	p.begin()
	p.write("}")
}

func (p *printer) call(c *Call) {
	if c.Name != nil {
		p.write(c.Name.Text, " = ")
	}
	p.write(c.Action.Text)
	start := len(p.out) // the modifiers stand on the line of the closing parenthesis: how long are they?
	p.flat, p.wide = true, false
	p.modifiers(c.Retry, c.Within, c.After)
	p.flat = false
	length := len(p.out) - start
	p.out = p.out[:start]
	if c.Body != nil {
		length += len(" {")
	}
	p.list("(", ")", c.Arguments, Span{c.Action.End, p.closing(c)}, length)
	p.modifiers(c.Retry, c.Within, c.After)
	if c.Body != nil {
		p.write(" ")
		p.block(c.Body)
	}
}

func (p *printer) modifiers(retry *Retrying, within, after *Expr) {
	if retry != nil {
		p.write(" retry ")
		p.expression(retry.Attempts, levelOr)
		p.write(" every ")
		p.expression(retry.Every, levelOr)
	}
	if within != nil {
		p.write(" within ")
		p.expression(within, levelOr)
	}
	if after != nil {
		p.write(" after ")
		p.expression(after, levelOr)
	}
}

// closing returns where the parenthesis ends that closes the arguments: behind the last one stand only blanks, commas and comments.
func (p *printer) closing(c *Call) int {
	at := c.Action.End
	if n := len(c.Arguments); n > 0 {
		at = c.Arguments[n-1].End
	}
	for ; at < len(p.text) && p.text[at] != ')'; at++ {
		if p.text[at] == '#' {
			at += max(0, bytes.IndexByte(p.text[at:], '\n'))
		}
	}
	return min(at+1, len(p.text))
}

// brackets returns the stretches of a statement in which comments stand on lines of their own, in order.
func brackets(s Statement, closing func(*Call) int) []Span {
	switch s := s.(type) {
	case *Experiment, *Seed, *Use:
		return nil
	case *Limits:
		var all []Span
		for _, b := range s.Bounds {
			all = appendBrackets(all, b.Value)
		}
		return all
	case *Binding:
		return appendBrackets(nil, s.Value)
	case *Call:
		all := []Span{{s.Action.End, closing(s)}}
		if s.Retry != nil {
			all = appendBrackets(all, s.Retry.Attempts, s.Retry.Every)
		}
		all = inOrder(appendBrackets(all, s.Within, s.After))
		if s.Body != nil {
			all = append(all, s.Body.Span)
		}
		return all
	case *Parallel:
		return []Span{s.Body.Span}
	case *Repeat:
		return append(appendBrackets(nil, s.Count), s.Body.Span)
	case *Deadline:
		return append(appendBrackets(nil, s.Within), s.Body.Span)
	case *Claim:
		return inOrder(appendBrackets(nil, s.Condition, s.Within, s.After))
	case *Closing:
		return []Span{s.Body.Span}
	case *Block:
		return []Span{s.Span}
	case *Search:
		return append(appendBrackets(nil, s.From, s.To, s.Until), s.Body.Span)
	default:
		return nil
	}
}

func appendBrackets(all []Span, expressions ...*Expr) []Span {
	for _, e := range expressions {
		switch {
		case e == nil:
		case e.isList():
			all = append(all, e.brackets())
		default:
			all = appendBrackets(all, e.X, e.Y)
		}
	}
	return all
}

func inOrder(spans []Span) []Span {
	slices.SortFunc(spans, func(a, b Span) int { return a.Start - b.Start })
	return spans
}

// isList reports whether it prints as a list in brackets, which may take several lines.
func (e *Expr) isList() bool {
	return e.Op == OpCall || e.Op == OpScope || e.Op == OpList || e.Op == OpObject
}

// brackets returns where the brackets of such a list stand.
func (e *Expr) brackets() Span {
	if e.Op == OpScope {
		return Span{e.X.End, e.End}
	}
	return Span{e.Start + len(e.Text), e.End}
}

// list prints what stands in brackets: on one line where the rest of it and so many bytes behind have room there, and else each item on a line
// of its own.
func (p *printer) list(opening, closing string, items []Argument, at Span, behind int) {
	p.write(opening)
	_, remark := p.next(at.Start, at.End)
	lone := len(items) == 1 && items[0].Name == nil && !items[0].Value.isList() // a line of its own would gain it nothing
	if (len(items) == 0 || lone) && !remark || p.flat {
		p.wide = p.wide && p.flat
		p.items(items)
		p.write(closing)
		return
	}
	if start := len(p.out); !remark {
		p.flat, p.wide = true, false
		p.items(items)
		p.write(closing)
		p.flat = false
		if !p.wide && p.column()+behind <= lineWidth {
			return
		}
		p.out = p.out[:start]
	}
	following := func(i int) int { // where the item stands
		if i < len(items) {
			return items[i].Start
		}
		return at.End
	}
	p.beside(at.Start, following(0))
	p.end()
	p.level++
	start := at.Start
	for i, item := range items {
		p.above(start, item.Start, func(int) {})
		p.inside(item.Span, func() []Span { return appendBrackets(nil, item.Value) })
		p.begin()
		p.argument(item)
		p.write(",")
		p.beside(item.End, following(i+1))
		p.end()
		start = item.End
	}
	p.above(start, at.End, func(int) {})
	p.level--
	p.begin()
	p.write(closing)
}

// items prints items one behind the other, until it is clear that they have no room.
func (p *printer) items(items []Argument) {
	for i, item := range items {
		if p.wide {
			return
		}
		if i > 0 {
			p.write(", ")
		}
		p.argument(item)
	}
}

func (p *printer) argument(a Argument) {
	if a.Name != nil {
		if isWord(a.Name.Text) {
			p.write(a.Name.Text)
		} else {
			p.quote([]Part{{Text: a.Name.Text}})
		}
		p.write(": ")
	}
	p.expression(a.Value, levelOr)
}

// Expressions.

// expression prints an expression, in parentheses where it binds less tightly than that.
func (p *printer) expression(e *Expr, least int) {
	if p.flat && p.wide {
		return
	}
	level := levelOf(e.Op)
	if level < least {
		p.write("(")
		p.expression(e, levelOr)
		p.write(")")
		return
	}
	const comma = 1 // mostly follows
	switch e.Op {
	case OpNumber:
		p.write(e.Text)
		p.unit(e.Unit, e.Text)
	case OpString:
		if e.Parts != nil {
			p.quote(e.Parts)
		} else {
			p.quote([]Part{{Text: e.Text}})
		}
	case OpName:
		p.write(e.Text)
	case OpNone, OpTrue, OpFalse:
		p.write(string(e.Op))
	case OpMember:
		if e.X.Op == OpNumber { // whose point it would be
			p.expression(e.X, levelMember+1)
		} else {
			p.expression(e.X, levelMember)
		}
		p.write(".", e.Text)
	case OpCall:
		p.write(e.Text)
		p.list("(", ")", e.Arguments, e.brackets(), comma)
	case OpScope:
		p.expression(e.X, levelMember)
		p.list("(", ")", e.Arguments, e.brackets(), comma)
	case OpList:
		items := make([]Argument, len(e.Items))
		for i, item := range e.Items {
			items[i] = Argument{Span: item.Span, Value: item}
		}
		p.list("[", "]", items, e.brackets(), comma)
	case OpObject:
		p.list("{", "}", e.Arguments, e.brackets(), comma)
	case OpRange:
		p.expression(e.X, level+1)
		p.write("..")
		if e.Unit == NoUnit && e.Y.Unit != NoUnit && e.X.Unit == NoUnit {
			p.expression(e.Y, levelMember+1) // a unit that is not that of both
		} else {
			p.expression(e.Y, level+1)
		}
		p.unit(e.Unit, "")
	case OpMinus:
		p.write("-")
		p.expression(e.X, level)
	case OpNot:
		p.write("not ")
		p.expression(e.X, level)
	default:
		left, right := level, level+1
		switch level {
		case levelCompare:
			left = level + 1 // comparisons do not chain
		case levelElse:
			left, right = level+1, level
		}
		p.expression(e.X, left)
		p.write(" ", string(e.Op), " ")
		p.expression(e.Y, right)
	}
}

// levelOf returns how tightly the parts of an expression hold together.
func levelOf(op Op) int {
	switch op {
	case OpMinus:
		return levelMinus
	case OpNot:
		return levelNot
	case OpNumber, OpString, OpName, OpMember, OpCall, OpScope, OpList, OpObject, OpNone, OpTrue, OpFalse:
		return levelMember
	default:
		_, level := binary(op)
		return level
	}
}

// unit prints the unit of a number: signs and the units of time directly behind it, words behind a blank.
func (p *printer) unit(u Unit, number string) {
	switch u {
	case UnitSlot:
		if number == "1" {
			p.write(" slot")
			return
		}
		p.write(" slots")
	case UnitTPS, UnitMina, UnitNanomina:
		p.write(" ", string(u))
	default:
		p.write(string(u))
	}
}

// quote prints a string.
func (p *printer) quote(parts []Part) {
	p.write(`"`)
	for i, part := range parts {
		if part.Name != nil {
			p.write("${", part.Name.Text, "}")
			continue
		}
		beforeName := i+1 < len(parts) // no two texts stand side by side
		p.write(escape(part.Text, beforeName))
	}
	p.write(`"`)
}

// escape returns a text as it stands in a string.
func escape(text string, beforeName bool) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' || r == '$' }) {
		return text
	}
	var out strings.Builder
	for i, r := range text {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r == '$' && (strings.HasPrefix(text[i+1:], "{") || i+1 == len(text) && beforeName):
			out.WriteString(`\$`)
		case r >= ' ':
			out.WriteRune(r)
		default:
			if short := strings.IndexRune("\b\f\n\r\t", r); short >= 0 {
				out.WriteByte('\\')
				out.WriteByte("bfnrt"[short])
			} else {
				fmt.Fprintf(&out, `\u%04x`, r)
			}
		}
	}
	return out.String()
}
