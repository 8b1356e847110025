package dsl

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
)

// What is read without tags: names, steps, modifiers and expressions, the latter by precedence climbing. A mistake is returned as a [Finding]
// without its source.

// How tightly operators bind, from loosest.
const (
	levelOr = iota + 1
	levelAnd
	levelNot
	levelCompare
	levelSum
	levelProduct
	levelMinus
	levelRange
	levelElse
	levelMember
)

type (
	name      Name
	action    Call
	bound     Bound
	value     struct{ *Expr }
	amount    struct{ *Expr } // before a block: a value that begins with no brace
	quotation struct{ *Expr } // a string
	figure    struct{ *Expr } // a number
	modifiers struct {
		retry *Retrying
		terms
	}
	terms struct{ within, after *Expr } // what may stand behind a condition
)

// Parse implements [participle.Parseable].
func (n *name) Parse(lex *lexer.PeekingLexer) error {
	t := lex.Peek()
	switch t.Type {
	case nameToken:
		*n = name(nameAt(lex.Next()))
		return nil
	case keywordToken:
		return reserved(t)
	default:
		return misplaced(lex, "a name", "")
	}
}

// Parse implements [participle.Parseable].
func (q *quotation) Parse(lex *lexer.PeekingLexer) error {
	if t := lex.Peek(); t.Type != stringToken {
		return misplaced(lex, "a string in double quotes", "")
	}
	q.Expr = stringExpr(lex.Next())
	return nil
}

// Parse implements [participle.Parseable].
func (f *figure) Parse(lex *lexer.PeekingLexer) error {
	t := *lex.Peek()
	if t.Type != numberToken && !t.EOF() && !onNewLine(lex) {
		end := endOf(&t)
		if next := second(lex); t.Value == "-" && next.Type == numberToken {
			end = endOf(next)
		}
		return finding(nil, Span{t.Pos.Offset, end}, -1, "write 42", "a seed is a whole number from 0 on")
	}
	if t.Type != numberToken {
		return misplaced(lex, "a number", "")
	}
	f.Expr = numberExpr(lex)
	if more := lex.Peek(); more.Type == numberToken && !onNewLine(lex) {
		return finding(nil, spanOf(more), -1, "keep one", "seed takes one number")
	}
	return nil
}

// Parse implements [participle.Parseable].
func (v *value) Parse(lex *lexer.PeekingLexer) error {
	e, err := expression(lex, levelOr)
	v.Expr = e.Expr
	return err
}

// Parse implements [participle.Parseable].
func (a *amount) Parse(lex *lexer.PeekingLexer) error {
	if lex.Peek().Value == "{" {
		return misplaced(lex, "a value", "")
	}
	return (*value)(a).Parse(lex)
}

// Parse implements [participle.Parseable].
func (b *bound) Parse(lex *lexer.PeekingLexer) error {
	const hint = "it is written: limit rate <= 2 tps, spend <= 20_000 mina, stopped <= 35%"
	t := *lex.Peek()
	if t.Type != nameToken {
		return misplaced(lex, "rate, spend or stopped", hint)
	}
	b.Of = nameAt(lex.Next())
	op := *lex.Peek()
	if _, level := infix(&op); level != levelCompare {
		return misplaced(lex, `"<="`, hint)
	}
	b.Op = lex.Next().Value
	if !startsValue(lex.Peek()) {
		return finding(nil, spanOf(&op), -1, hint, "a value is missing behind %s", b.Op)
	}
	most, err := expression(lex, levelSum)
	if err != nil {
		return err
	}
	b.Value = most.Expr
	b.Span = Span{t.Pos.Offset, behind(lex)}
	return nil
}

// Parse implements [participle.Parseable]. It reads an action with its arguments and modifiers.
func (c *action) Parse(lex *lexer.PeekingLexer) error {
	first, next := lex.Peek(), second(lex)
	if first.Type != nameToken || next.Value != "=" && (next.Value != "(" || elsewhere(first.Value) != "") {
		return participle.NextMatch
	}
	start := first.Pos.Offset
	if next.Value == "=" {
		name := nameAt(lex.Next())
		c.Name = &name
		lex.Next()
	}
	word := lex.Peek()
	switch {
	case word.Type == keywordToken && second(lex).Value == "(":
		if usage := written(word.Value); usage != "" {
			what := "a statement"
			if strings.Contains(usage, "{") {
				what = "a block"
			}
			return finding(nil, spanOf(word), -1, "it is written: "+usage, "%s is %s and not an action", word.Value, what)
		}
		return reserved(word)
	case word.Type != nameToken || second(lex).Value != "(":
		hint := "a step is written: name = action(…)"
		if c.Name != nil && startsValue(word) {
			hint += fmt.Sprintf("; a value gets its name with: let %s = …", c.Name.Text)
		}
		return misplaced(lex, "an action with its ( )", hint)
	}
	c.Action = nameAt(lex.Next())
	var err error
	if c.Arguments, _, err = arguments(lex); err != nil {
		return err
	}
	var m modifiers
	if err := m.Parse(lex); err != nil {
		return err
	}
	c.Retry, c.Within, c.After = m.retry, m.within, m.after
	c.Span = Span{start, behind(lex)}
	return nil
}

// Parse implements [participle.Parseable]. It reads what may stand behind an action, which may be nothing.
func (m *modifiers) Parse(lex *lexer.PeekingLexer) error {
	for {
		if err := m.terms.Parse(lex); err != nil {
			return err
		}
		t := *lex.Peek()
		if t.Value != "retry" {
			return nil
		}
		if m.retry != nil {
			return twice(&t)
		}
		m.retry = &Retrying{}
		lex.Next()
		if every := lex.Peek(); every.Value == "every" {
			return finding(nil, spanOf(every), -1, "it is written: retry 5 every 2m", "the number of attempts is missing")
		}
		e, err := expression(lex, levelOr)
		if err != nil {
			return err
		}
		m.retry.Attempts = e.Expr
		if every := lex.Peek(); every.Value != "every" {
			return misplaced(lex, `"every"`, cmp.Or(near(every, "every"), "it is written: retry 5 every 2m"))
		}
		lex.Next()
		if e, err = expression(lex, levelOr); err != nil {
			return err
		}
		m.retry.Every = e.Expr
		m.retry.Span = Span{t.Pos.Offset, behind(lex)}
	}
}

// Parse implements [participle.Parseable]. It reads what may stand behind a condition, which may be nothing.
func (m *terms) Parse(lex *lexer.PeekingLexer) error {
	for {
		t := *lex.Peek()
		field := &m.within
		switch {
		case t.Value == "after":
			field = &m.after
		case t.Value != "within" || startsDeadline(lex):
			return nil
		}
		if *field != nil {
			return twice(&t)
		}
		lex.Next()
		e, err := expression(lex, levelOr)
		if err != nil {
			return err
		}
		*field = e.Expr
	}
}

func twice(t *lexer.Token) error {
	return finding(nil, spanOf(t), -1, "keep one of them", "%s is given twice", t.Value)
}

// startsDeadline tells the statement within 30m { … } from the modifier of the statement before it. It is the statement when its brace stands
// on the same line, or when it begins a line.
func startsDeadline(lex *lexer.PeekingLexer) bool {
	here := lex.MakeCheckpoint()
	defer lex.LoadCheckpoint(here)
	starts := onNewLine(lex)
	lex.Next()
	if _, err := expression(lex, levelOr); err != nil {
		return false
	}
	return lex.Peek().Value == "{" && (starts || !onNewLine(lex))
}

// tall is an expression with its height: one more than that of the highest expression in it.
type tall struct {
	*Expr
	height int
}

// on puts an expression on top of others. What is nested too deep is refused, as everything that walks a tree calls itself for each level.
func on(e *Expr, below ...tall) (tall, error) {
	height := 0
	for _, b := range below {
		height = max(height, b.height)
	}
	if height++; height > MaxLevels {
		return tall{}, finding(nil, Span{e.Start, e.Start + 1}, -1, "give parts of it names with let", "an expression is nested above %d levels", MaxLevels)
	}
	return tall{e, height}, nil
}

// expression reads an expression of operators that bind that tightly or more.
func expression(lex *lexer.PeekingLexer, least int) (tall, error) {
	left, err := operand(lex, least)
	for err == nil {
		op, level := infix(lex.Peek())
		if level < least {
			return left, nil
		}
		if op == OpElse {
			left, err = alternatives(lex, left)
			continue
		}
		lex.Next()
		var right tall
		if right, err = expression(lex, level+1); err != nil {
			break
		}
		e := &Expr{Span: Span{left.Start, right.End}, Op: op, X: left.Expr, Y: right.Expr}
		if op == OpRange && left.Op == OpNumber && left.Unit == NoUnit && right.Op == OpNumber && right.UnitSpan.End == right.End {
			e.Unit, e.UnitSpan = right.Unit, right.UnitSpan // it counts for both
			right.Unit, right.UnitSpan, right.End = NoUnit, Span{}, right.Start+len(right.Text)
		}
		if left, err = on(e, left, right); err != nil {
			break
		}
		if next, again := infix(lex.Peek()); again == level && (level == levelCompare || level == levelRange) {
			hint := "join two of them: a < b and b < c"
			if level == levelRange {
				hint = "a range has two ends: 1..2"
			}
			return tall{}, finding(nil, spanOf(lex.Peek()), -1, hint, "%s stands behind a whole %s", next, map[int]string{levelCompare: "comparison", levelRange: "range"}[level])
		}
	}
	return tall{}, err
}

// infix returns the operator that stands between two operands, and how tightly it binds; level 0 for anything else.
func infix(t *lexer.Token) (op Op, level int) {
	if t.Type != signToken && t.Type != keywordToken {
		return "", 0
	}
	return binary(Op(t.Value))
}

func binary(op Op) (Op, int) {
	switch op {
	case OpOr:
		return op, levelOr
	case OpAnd:
		return op, levelAnd
	case OpLess, OpAtMost, OpMore, OpLeast, OpEqual, OpOther:
		return op, levelCompare
	case OpAdd, OpSub:
		return op, levelSum
	case OpMul, OpDiv:
		return op, levelProduct
	case OpRange:
		return op, levelRange
	case OpElse:
		return op, levelElse
	default:
		return "", 0
	}
}

// alternatives reads on in x ?? y ?? z, which is x ?? (y ?? z).
func alternatives(lex *lexer.PeekingLexer, first tall) (tall, error) {
	all := []tall{first}
	for lex.Peek().Value == string(OpElse) {
		lex.Next()
		next, err := operand(lex, levelMember)
		if err != nil {
			return tall{}, err
		}
		all = append(all, next)
	}
	last := all[len(all)-1]
	for _, x := range slices.Backward(all[:len(all)-1]) {
		var err error
		if last, err = on(&Expr{Span: Span{x.Start, last.End}, Op: OpElse, X: x.Expr, Y: last.Expr}, x, last); err != nil {
			return tall{}, err
		}
	}
	return last, nil
}

// operand reads an operand with the signs before it. An operand of - may itself have signs before it, and all of these bind as tightly.
func operand(lex *lexer.PeekingLexer, least int) (tall, error) {
	level := levelMinus
	if lex.Peek().Value == "not" {
		level = levelNot
	}
	var signs []lexer.Token
	for t := lex.Peek(); t.Value == "not" || t.Value == "-" && level == levelMinus; t = lex.Peek() {
		signs = append(signs, *lex.Next())
	}
	if signs == nil {
		return member(lex)
	}
	x, err := expression(lex, max(least, level))
	for _, sign := range slices.Backward(signs) {
		if err != nil {
			return tall{}, err
		}
		op := OpNot
		if sign.Value == "-" {
			op = OpMinus
		}
		x, err = on(&Expr{Span: Span{sign.Pos.Offset, x.End}, Op: op, X: x.Expr}, x)
	}
	return x, err
}

// member reads an operand without signs.
func member(lex *lexer.PeekingLexer) (tall, error) {
	x, err := primary(lex)
	for err == nil && lex.Peek().Value == "." {
		lex.Next()
		t := lex.Peek()
		if t.Type != nameToken && t.Type != keywordToken {
			return tall{}, misplaced(lex, "a name", "behind a point stands the name of an output: zk.receipt")
		}
		lex.Next()
		x, err = on(&Expr{Span: Span{x.Start, endOf(t)}, Op: OpMember, Text: t.Value, X: x.Expr}, x)
		if err != nil || lex.Peek().Value != "(" {
			continue
		}
		args, highest, wrong := arguments(lex)
		if wrong != nil {
			return tall{}, wrong
		}
		x, err = on(&Expr{Span: Span{x.Start, behind(lex)}, Op: OpScope, X: x.Expr, Arguments: args}, x, highest)
	}
	return x, err
}

func primary(lex *lexer.PeekingLexer) (tall, error) {
	t := lex.Peek()
	switch t.Type {
	case numberToken:
		return tall{numberExpr(lex), 1}, nil
	case stringToken:
		return tall{stringExpr(lex.Next()), 1}, nil
	case nameToken:
		return nameOrCall(lex)
	case keywordToken:
		return keywordValue(lex)
	default:
		return inBrackets(lex)
	}
}

// nameOrCall reads a name, or a function with its arguments.
func nameOrCall(lex *lexer.PeekingLexer) (tall, error) {
	t, next := lex.Peek(), second(lex)
	if isNull(t.Value) {
		return tall{}, misplaced(lex, "a value", "nothing is written none")
	}
	lex.Next()
	if next.Value != "(" {
		return tall{&Expr{Span: spanOf(t), Op: OpName, Text: t.Value}, 1}, nil
	}
	args, highest, err := arguments(lex)
	if err != nil {
		return tall{}, err
	}
	return on(&Expr{Span: Span{t.Pos.Offset, behind(lex)}, Op: OpCall, Text: t.Value, Arguments: args}, highest)
}

// keywordValue reads one that is a value.
func keywordValue(lex *lexer.PeekingLexer) (tall, error) {
	t, next := lex.Peek(), second(lex)
	before := previous(lex)
	switch {
	case slices.Contains([]string{"none", "true", "false"}, t.Value):
		lex.Next()
		return tall{&Expr{Span: spanOf(t), Op: Op(t.Value)}, 1}, nil
	case next.Value == "(" || next.Value == ".":
		return tall{}, reserved(t)
	case isOperator(&before):
		return tall{}, finding(nil, spanOf(&before), -1, "remove it, or write a value behind it", "a value is missing behind %s", before.Value)
	case onNewLine(lex): // of another statement
		return tall{}, misplaced(lex, "a value", "")
	default:
		return tall{}, misplaced(lex, "a value", t.Value+" is a word of the language and not a name")
	}
}

// inBrackets reads ( … ), a list or an object.
func inBrackets(lex *lexer.PeekingLexer) (tall, error) {
	t := lex.Peek()
	e := &Expr{}
	var highest tall
	var err error
	switch t.Value {
	case "(":
		lex.Next()
		x, err := expression(lex, levelOr)
		if err != nil {
			return tall{}, err
		}
		if lex.Peek().Value != ")" {
			return tall{}, cmp.Or(unclosed(lex, t, ")"), otherBracket(lex, t, ")"), misplaced(lex, `")"`, ""))
		}
		lex.Next()
		x.Span = Span{t.Pos.Offset, behind(lex)}
		return x, nil
	case "[":
		e.Op = OpList
		err = sequence(lex, "]", func() error {
			item, err := expression(lex, levelOr)
			highest.height = max(highest.height, item.height)
			e.Items = append(e.Items, item.Expr)
			return err
		})
	case "{":
		e.Op = OpObject
		err = sequence(lex, "}", func() error {
			field, height, err := key(lex)
			highest.height = max(highest.height, height)
			e.Arguments = append(e.Arguments, field)
			return err
		})
	case "=":
		err = misplaced(lex, "a value", "to compare, write ==")
	default:
		err = misplaced(lex, "a value", "")
		if before := previous(lex); isOperator(&before) {
			err = finding(nil, spanOf(&before), -1, "remove it, or write a value behind it", "a value is missing behind %s", before.Value)
		}
	}
	if err != nil {
		return tall{}, err
	}
	e.Span = Span{t.Pos.Offset, behind(lex)}
	return on(e, highest)
}

// isNull reports whether a word is what other languages call none.
func isNull(word string) bool {
	return slices.Contains([]string{"null", "nil", "None", "NULL", "Null", "undefined"}, word)
}

// arguments reads ( … ). The height is that of the highest.
func arguments(lex *lexer.PeekingLexer) (args []Argument, highest tall, err error) {
	err = sequence(lex, ")", func() error {
		arg, height, err := argument(lex)
		highest.height = max(highest.height, height)
		args = append(args, arg)
		return err
	})
	return args, highest, err
}

// argument reads one argument, with or without a name. Words of the language are names here.
func argument(lex *lexer.PeekingLexer) (Argument, int, error) {
	t := lex.Peek()
	start := t.Pos.Offset
	var a Argument
	if t.Type == nameToken || t.Type == keywordToken {
		switch next := second(lex); next.Value {
		case ":":
			name := nameAt(lex.Next())
			a.Name = &name
			lex.Next()
		case "=":
			return a, 0, equalsSign(lex, *t, start)
		}
	}
	v, err := expression(lex, levelOr)
	if err == nil && a.Name != nil && lex.Peek().Value == "=" {
		return a, 0, equalsSign(lex, *t, start)
	}
	a.Value = v.Expr
	a.Span = Span{start, behind(lex)}
	return a, v.height, err
}

// equalsSign says what to write for an argument that has = in it: up to the value behind that.
func equalsSign(lex *lexer.PeekingLexer, name lexer.Token, start int) error {
	for lex.Peek().Value != "=" {
		lex.Next()
	}
	lex.Next()
	text, end := plainValue(lex)
	return finding(nil, Span{start, end}, -1, fmt.Sprintf("write %s: %s", name.Value, text), `an argument is given with ":", compared with "=="`)
}

// plainValue is how the next value is written where that is a number, a string or a name, and where it ends; "…" up to here for any other.
func plainValue(lex *lexer.PeekingLexer) (text string, end int) {
	t := *lex.Peek()
	if t.EOF() || onNewLine(lex) || len(t.Value) > maxShown {
		return "…", behind(lex)
	}
	switch t.Type {
	case numberToken:
		e := numberExpr(lex)
		return withUnit(e.Text, e.Unit), e.End
	case stringToken, nameToken:
		return t.Value, endOf(&t)
	default:
		return "…", behind(lex)
	}
}

// isOperator reports whether a value has to follow a token that stands between two, or before one.
func isOperator(t *lexer.Token) bool {
	_, level := infix(t)
	return level > 0 || t.Type == keywordToken && t.Value == "not"
}

// key reads one key of an object with its value.
func key(lex *lexer.PeekingLexer) (Argument, int, error) {
	t := *lex.Peek()
	var a Argument
	switch t.Type {
	case nameToken, keywordToken:
		name := nameAt(&t)
		a.Name = &name
	case stringToken:
		s := stringExpr(&t)
		if s.Parts != nil {
			return a, 0, finding(nil, s.Span, -1, "keys are plain text", "a key of an object has a name in it")
		}
		a.Name = &Name{s.Span, s.Text}
	default:
		return a, 0, misplaced(lex, "a key", "an object is written: {a: 1, b: 2}")
	}
	lex.Next()
	if lex.Peek().Value != ":" {
		return a, 0, misplaced(lex, `":"`, "an object is written: {a: 1, b: 2}")
	}
	lex.Next()
	v, err := expression(lex, levelOr)
	a.Value = v.Expr
	a.Span = Span{t.Pos.Offset, behind(lex)}
	return a, v.height, err
}

// sequence reads, from its opening to its closing bracket, items with commas between them; a last comma is allowed.
func sequence(lex *lexer.PeekingLexer, closing string, item func() error) error {
	open := lex.Next()
	for {
		switch t := lex.Peek(); {
		case t.Value == closing:
			lex.Next()
			return nil
		case t.EOF(), t.Value == "}", t.Type == keywordToken && onNewLine(lex) && beginsStatement(lex):
			return unclosed(lex, open, closing)
		}
		if err := item(); err != nil {
			return err
		}
		switch t := lex.Peek(); t.Value {
		case ",":
			lex.Next()
		case closing:
		default:
			return unfinished(lex, open, closing)
		}
	}
}

// unfinished says what is wrong where a comma or a closing bracket should stand.
func unfinished(lex *lexer.PeekingLexer, open *lexer.Token, closing string) error {
	if err := unclosed(lex, open, closing); err != nil {
		return err
	}
	if err := otherBracket(lex, open, closing); err != nil {
		return err
	}
	t := lex.Peek()
	wanted := "a comma or " + strconv.Quote(closing)
	switch {
	case t.Value == "=":
		return misplaced(lex, wanted, "to compare, write ==")
	case t.Value == ":":
		return misplaced(lex, wanted, "before a colon stands a name, without quotes")
	case startsValue(t):
		hint := near(t, "and", "or")
		if err := behindNumber(lex); err != nil && hint == "" {
			return err
		}
		if before := previous(lex); closing == ")" && startsArgument(lex) && len(before.Value) <= maxShown {
			text, end := plainValue(lex)
			if t.Type != nameToken && text != "…" {
				return finding(nil, Span{before.Pos.Offset, end}, -1, fmt.Sprintf("write %s: %s", before.Value, text), "a colon is missing")
			}
			hint = cmp.Or(hint, fmt.Sprintf("a value with a name is written %s: %s", before.Value, text))
			return finding(nil, spanOf(t), -1, hint, "a comma or an operator is missing before %s", shown(t))
		}
		if next := second(lex); next.Value == ":" || t.Type == numberToken || hint != "" { // no operator
			return finding(nil, spanOf(t), -1, cmp.Or(hint, "put a comma between the two"), "a comma is missing before %s", shown(t))
		}
		return finding(nil, spanOf(t), -1, "", "a comma or an operator is missing before %s", shown(t))
	default:
		return misplaced(lex, wanted, "")
	}
}

// unclosed says that a bracket has no end where what follows cannot stand in it.
func unclosed(lex *lexer.PeekingLexer, open *lexer.Token, closing string) error {
	if t := lex.Peek(); t.EOF() || t.Value == "}" || onNewLine(lex) && beginsStatement(lex) {
		return finding(nil, spanOf(open), -1, fmt.Sprintf("put %s behind what belongs into it", closing), "this %s has no end", open.Value)
	}
	return nil
}

// startsArgument reports whether the last token is a name with which an argument begins.
func startsArgument(lex *lexer.PeekingLexer) bool {
	here := lex.RawCursor()
	if here < 2 {
		return false
	}
	last := lex.Range(here-2, here)
	return last[1].Type == nameToken && (last[0].Value == "(" || last[0].Value == ",")
}

// closedBy is a bracket that one of another kind closes.
type closedBy struct {
	Finding
	bracket string
	open    int // where it stands
}

// Unwrap makes a finding of it where nobody knows the columns.
func (c closedBy) Unwrap() error { return c.Finding }

// otherBracket says that a bracket of another kind stands where one should be closed; nil where none does.
func otherBracket(lex *lexer.PeekingLexer, open *lexer.Token, closing string) error {
	t := lex.Peek()
	if !isClosing(t) || t.Value == closing {
		return nil
	}
	f := finding(nil, spanOf(t), -1, "write "+closing, "the %s is closed by %s", open.Value, t.Value)
	return closedBy{f, open.Value, open.Pos.Offset}
}

// withColumn says of a bracket that another closes where it stands.
func withColumn(err error, source *Source) error {
	var c closedBy
	if !errors.As(err, &c) {
		return err
	}
	line, column := source.Place(c.open)
	place := fmt.Sprintf("column %d", column)
	if here, _ := source.Place(c.Span.Start); here != line {
		place = fmt.Sprintf("line %d", line)
	}
	c.Message = fmt.Sprintf("the %s in %s is closed by %s", c.bracket, place, source.Text[c.Span.Start:c.Span.End])
	return c.Finding
}

// behindNumber says what is wrong with a word that stands where the unit of a number would, or with the second number of a time; nil when what
// comes next is neither.
func behindNumber(lex *lexer.PeekingLexer) error {
	t := lex.Peek()
	before := previous(lex)
	switch {
	case onNewLine(lex):
		return nil
	case before.Type == numberToken && t.Type == nameToken && second(lex).Value != ":":
		hint := near(t, "slots", "tps", "mina", "nanomina")
		return finding(nil, spanOf(t), -1, cmp.Or(hint, unitsHint), "%s is not a unit", t.Value)
	case before.Type == unitToken && t.Type == numberToken:
		return finding(nil, spanOf(t), -1, "a value has one unit: 90m, not 1h 30m", "a second number")
	default:
		return nil
	}
}

func numberExpr(lex *lexer.PeekingLexer) *Expr {
	t := lex.Next()
	e := &Expr{Span: spanOf(t), Op: OpNumber, Text: t.Value}
	if u := lex.Peek(); u.Type == unitToken {
		lex.Next()
		e.Unit, e.UnitSpan, e.End = Unit(u.Value), spanOf(u), endOf(u)
	}
	return e
}

func stringExpr(t *lexer.Token) *Expr {
	e := &Expr{Span: spanOf(t), Op: OpString}
	e.Text, e.Parts, _ = unquote(t.Value) // the lexer reported what is wrong in it
	for _, part := range e.Parts {
		if part.Name != nil {
			part.Name.Start += e.Start
			part.Name.End += e.Start
		}
	}
	return e
}

func nameAt(t *lexer.Token) Name { return Name{spanOf(t), t.Value} }

func endOf(t *lexer.Token) int { return t.Pos.Offset + t.Pos.Column }

func spanOf(t *lexer.Token) Span { return Span{t.Pos.Offset, endOf(t)} }

// previous returns the token that was read last; the zero token where none was.
func previous(lex *lexer.PeekingLexer) lexer.Token {
	here := lex.RawCursor()
	if here == 0 {
		return lexer.Token{}
	}
	return lex.Range(here-1, here)[0]
}

// behind returns where the last token ends that was read.
func behind(lex *lexer.PeekingLexer) int {
	t := previous(lex)
	return endOf(&t)
}

// onNewLine reports whether the next token begins a line.
func onNewLine(lex *lexer.PeekingLexer) bool { return previous(lex).Pos.Line < lex.Peek().Pos.Line }

// second returns the token behind the next one.
func second(lex *lexer.PeekingLexer) *lexer.Token {
	here := lex.MakeCheckpoint()
	defer lex.LoadCheckpoint(here)
	lex.Next()
	return lex.Peek()
}

// startsValue reports whether a value may begin with a token.
func startsValue(t *lexer.Token) bool {
	return t.Type == nameToken || t.Type == numberToken || t.Type == stringToken ||
		slices.Contains([]string{"(", "[", "{", "-", "not", "none", "true", "false"}, t.Value)
}

// misplaced says that what comes next stands where something else should.
func misplaced(lex *lexer.PeekingLexer, wanted, hint string) error {
	t := lex.Peek()
	switch {
	case t.EOF() && t.Value == "":
		return finding(nil, spanOf(t), -1, hint, "the text ends where %s should stand", wanted)
	case t.EOF(), lex.RawCursor() > 0 && onNewLine(lex) && beginsStatement(lex):
		end := behind(lex)
		return finding(nil, Span{end, end}, -1, hint, "the line ends where %s should stand", wanted)
	default:
		return finding(nil, spanOf(t), -1, hint, "%s stands where %s should", shown(t), wanted)
	}
}

// reserved says that a keyword stands where a name should.
func reserved(t *lexer.Token) error {
	return finding(nil, spanOf(t), -1, "take another name", "%s is a word of the language and cannot be a name", t.Value)
}

// shown is a token as messages show it.
func shown(t *lexer.Token) string {
	const most = 40
	text := t.Value
	if r := []rune(text); len(r) > most {
		text = string(r[:most-1]) + "…"
	}
	if t.Type == stringToken {
		return text
	}
	return strconv.Quote(text)
}

// near returns `did you mean "X"?` where a word is nearly one of those.
func near(t *lexer.Token, words ...string) string {
	if t.Type != nameToken || slices.Contains(words, t.Value) {
		return ""
	}
	return Suggest(t.Value, words)
}
