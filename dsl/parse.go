package dsl

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
)

// maxFaults is how many syntax errors are reported. What has more is no script.
const maxFaults = 100

// Parse reads a script of the script language. The tree is of what could be read; every statement that could not, has a finding that says
// where, what stands there, and what should (script-language, sections 1 and 2). A text above [MaxBytes], in which brackets are nested above
// [MaxLevels], or that is not UTF-8 is refused.
func Parse(name string, text []byte) (*Tree, Findings) {
	tree := &Tree{Source: NewSource(name, text)}
	if refused := refuse(tree.Source); refused != nil {
		return tree, refused
	}
	p := &parser{scan: newScanner(tree.Source)}
	p.scan.pieces = true
	p.grammar = newGrammar[statement](p.block)
	for !p.scan.ended && !p.full() {
		lex, err := lexer.Upgrade(p.scan)
		if err != nil || p.scan.refused { // a scanner has no errors
			return &Tree{Source: tree.Source}, p.all()
		}
		for !lex.Peek().EOF() && !p.full() {
			if s := p.statement(lex); s != nil {
				tree.Statements = append(tree.Statements, s)
			}
		}
	}
	tree.Remarks = p.scan.remarks
	return tree, p.all()
}

// ParseValue reads a text that is one expression and nothing else, such as the value of a parameter that a command line sets.
func ParseValue(source *Source) (*Expr, Findings) {
	if refused := refuse(source); refused != nil {
		return nil, refused
	}
	scan := newScanner(source)
	lex, err := lexer.Upgrade(scan)
	if err != nil || scan.refused || scan.faults != nil {
		return nil, scan.faults
	}
	e, err := expression(lex, levelOr)
	if t := lex.Peek(); err == nil && !t.EOF() {
		err = finding(nil, spanOf(t), -1, "", "%s stands behind a whole value", shown(t))
	}
	var f Finding
	if errors.As(withColumn(err, source), &f) {
		f.Source = source
		return nil, Findings{f}
	}
	return e.Expr, nil
}

// refuse says what keeps a text from being read at all.
func refuse(source *Source) Findings {
	if len(source.Text) > MaxBytes {
		return Findings{finding(source, Span{}, -1, "", "a script of %d bytes: at most %d can be read", len(source.Text), MaxBytes)}
	}
	if utf8.Valid(source.Text) {
		return nil
	}
	at := 0
	for {
		r, size := utf8.DecodeRune(source.Text[at:])
		if r == utf8.RuneError && size == 1 {
			return Findings{finding(source, Span{at, at + 1}, -1, "save the text as UTF-8", "invalid UTF-8")}
		}
		at += size
	}
}

// parser reads the statements of one script, one by one: where one is broken, it goes on with the next.
type parser struct {
	scan    *scanner
	grammar *participle.Parser[statement]
	found   Findings
}

// all returns what is wrong in the words and in the statements, in order.
func (p *parser) all() Findings {
	all := append(p.scan.faults, p.found...).Sort()
	if len(all) > maxFaults {
		last := all[maxFaults-1].Span
		all = append(all[:maxFaults], finding(p.scan.source, Span{last.End, last.End}, -1, "", "more than %d errors: what follows is not looked at", maxFaults))
	}
	return all
}

func (p *parser) report(f Finding) {
	f.Source = p.scan.source
	p.found = append(p.found, f)
}

// full reports whether so much is wrong that it is no use to read on.
func (p *parser) full() bool { return len(p.found) > maxFaults }

// block reads { … }.
func (p *parser) block(lex *lexer.PeekingLexer) (body, error) {
	open := lex.Peek()
	if open.Value != "{" {
		hint := ""
		if !onNewLine(lex) {
			hint = near(open, "as")
		}
		return nil, misplaced(lex, `"{"`, hint)
	}
	lex.Next()
	b := &Block{}
	for {
		switch t := lex.Peek(); {
		case t.Value == "}":
			lex.Next()
			b.Span = Span{open.Pos.Offset, endOf(t)}
			return b, nil
		case t.EOF(), p.full():
			if !p.full() {
				p.report(finding(nil, spanOf(open), -1, "put } behind its last statement", "this { has no end"))
			}
			b.Span = Span{open.Pos.Offset, behind(lex)}
			return b, nil
		}
		if s := p.statement(lex); s != nil {
			b.Statements = append(b.Statements, s)
		}
	}
}

// statement reads one statement, nil when it is broken.
func (p *parser) statement(lex *lexer.PeekingLexer) Statement {
	begin := lex.MakeCheckpoint()
	first := *lex.Peek()
	read, err := p.grammar.ParseFromLexer(lex, participle.AllowTrailing(true))
	if err == nil {
		s := (*read).statement(Span{first.Pos.Offset, behind(lex)})
		if call, ok := s.(*Call); ok {
			p.held(call, lex)
		}
		t := lex.Peek()
		if t.EOF() || t.Value == "}" || onNewLine(lex) || beginsStatement(lex) || t.Value == "{" {
			return s
		}
		err = trailing(lex)
	}
	lex.LoadCheckpoint(begin)
	if right, hint := misspelled(lex, err); right != "" {
		p.report(finding(nil, spanOf(&first), -1, hint, "%s begins no statement", shown(&first)))
		known := len(p.found)
		t := lex.Peek() // of the tokens themselves: what follows is read as if it were spelled right
		t.Value, t.Type = right, keywordToken
		read, err = p.grammar.ParseFromLexer(lex, participle.AllowTrailing(true))
		if err == nil {
			return (*read).statement(Span{first.Pos.Offset, behind(lex)})
		}
		p.found = p.found[:known]
		lex.LoadCheckpoint(begin)
		p.skip(lex)
		return nil
	}
	f := p.explain(lex, err)
	p.skip(lex)
	// A word that the lexer could not read spoils what is around it. It has been reported.
	end := p.scan.at
	if next := lex.Peek(); !next.EOF() {
		end = next.Pos.Offset
	}
	if !p.amiss(first.Pos.Offset, end) {
		p.report(f)
	}
	return nil
}

// held reads the block that an action holds for, if it stands there.
func (p *parser) held(call *Call, lex *lexer.PeekingLexer) {
	if !HoldsBlock(call.Action.Text) || lex.Peek().Value != "{" {
		return
	}
	if b, err := p.block(lex); err == nil { // which fails without the brace alone
		call.Body = b.block()
		call.End = call.Body.End
	}
}

// amiss reports whether the lexer found something wrong there.
func (p *parser) amiss(start, end int) bool {
	return slices.ContainsFunc(p.scan.faults, func(f Finding) bool { return f.Span.Start >= start && f.Span.Start < end })
}

// skip steps over a statement that is broken: up to the next line that begins one, or to the end of the block. While a bracket has no end, such
// a line has to look like a statement; without, it has to look like no more than a line that does not go on with the one before.
func (p *parser) skip(lex *lexer.PeekingLexer) {
	depth, open := 0, false
	for first := true; !lex.Peek().EOF(); first = false {
		if !first && depth == 0 && onNewLine(lex) && (beginsStatement(lex) || !open && !continues(lex)) {
			return
		}
		t := lex.Peek()
		stray := p.scan.strays[t.Pos.Offset]
		switch t.Value {
		case "(", "[", "{":
			if stray {
				open = true
			} else {
				depth++
			}
		case ")", "]", "}":
			if !stray && depth == 0 {
				return
			}
			if !stray {
				depth--
			}
		}
		lex.Next()
	}
}

// continues reports whether the next token, which begins a line, may belong to the statement before it.
func continues(lex *lexer.PeekingLexer) bool {
	t := lex.Peek()
	before := previous(lex)
	return !endsStatement(&before) || t.Type == signToken && !isClosing(t) && t.Value != "(" || t.Type == keywordToken && t.Value != "failure" && !slices.Contains(starters(), t.Value)
}

// beginsStatement reports whether the next token looks like the first of a statement.
func beginsStatement(lex *lexer.PeekingLexer) bool {
	t := lex.Peek()
	switch t.Type {
	case nameToken:
		next := second(lex)
		return next.Value == "=" || next.Value == "(" || next.Type == nameToken && (t.Value == "search" || elsewhere(t.Value) != "")
	case keywordToken:
		next := second(lex)
		return slices.Contains(starters(), t.Value) && next.Value != ":" && next.Value != "," && next.Value != ")"
	default:
		return false
	}
}

// starters are the words that begin a statement.
func starters() []string {
	return []string{"experiment", "seed", "limit", "param", "let", "use", "parallel", "repeat", "within", "expect", "watch", "on", "finally"}
}

// written shows how the statement is written that begins with a word.
func written(word string) string {
	switch word {
	case "experiment":
		return `experiment "name"`
	case "seed":
		return "seed 42"
	case "limit":
		return "limit rate <= 2 tps, spend <= 20_000 mina, stopped <= 35%"
	case "param", "let":
		return word + " name = value"
	case "use":
		return `use "start.out" as name`
	case "parallel", "finally":
		return word + " { … }"
	case "repeat":
		return "repeat 4 { … }"
	case "within":
		return "within 30m { … }"
	case "expect":
		return "expect condition within 15m"
	case "watch":
		return "watch condition after 10m"
	case "on":
		return "on failure { … }"
	default:
		return ""
	}
}

// elsewhere says what there is in place of a word that other languages have; "" for any other word.
func elsewhere(word string) string {
	switch word {
	case "if", "else", "elif", "unless", "switch", "match", "when":
		return "expect judges, retry tries again, and x ?? y stands in for an output that is missing"
	case "while", "for", "foreach", "loop", "until", "do":
		return "repeat 4 as round { … } repeats with a count that is known, retry 5 every 2m tries an action again, expect … within 15m waits"
	case "func", "function", "def", "fn", "sub", "macro", "return", "class":
		return "let names a value, and repeat repeats statements"
	case "var", "const", "set", "val":
		return "let name = value names a value, param one that a command line may set"
	case "import", "include", "require", "from":
		return `use "start.out" as name brings in another run's outputs`
	case "try", "catch", "defer", "ensure":
		return "on failure { … } and finally { … } say what is done at the end"
	case "break", "continue", "goto", "exit":
		return "a failed expect ends the run"
	default:
		return ""
	}
}

// misspelled returns the word that is meant by a first word that begins no statement, and a hint that says so; "" when there is none.
func misspelled(lex *lexer.PeekingLexer, err error) (right, hint string) {
	t, next := *lex.Peek(), second(lex)
	var unexpected *participle.UnexpectedTokenError
	switch {
	case t.Type != nameToken || elsewhere(t.Value) != "" || !errors.As(err, &unexpected) || unexpected.Unexpected.Pos != t.Pos:
		return "", ""
	case next.Type == signToken && next.Value != "{" && next.Value != "[" && next.Value != "-":
		return "", ""
	}
	hint = Suggest(t.Value, starters())
	for _, word := range starters() {
		if hint != "" && hint == Suggest(t.Value, []string{word}) {
			return word, hint
		}
	}
	return "", ""
}

// explain says what is wrong with the statement that begins here.
func (p *parser) explain(lex *lexer.PeekingLexer, err error) Finding {
	first, next := *lex.Peek(), second(lex)
	hint := written(first.Value)
	if hint != "" {
		hint = "it is written: " + hint
	}
	var unexpected *participle.UnexpectedTokenError
	switch {
	case first.Value == "search" && next.Value != "=" && next.Value != "(":
		return finding(nil, spanOf(&first), -1, "", "search is not available yet")
	case first.Type == keywordToken && next.Value == "=" && first.Value != "let" && first.Value != "param":
		err = reserved(&first)
	case errors.As(err, &unexpected) && unexpected.Unexpected.Pos == first.Pos:
		err = noStatement(lex)
	case unexpected != nil: // one of the words and signs of the grammar's tags is missing
		for lex.Peek().Pos != unexpected.Unexpected.Pos {
			lex.Next()
		}
		wanted := map[string]string{"let": `"="`, "param": `"="`, "use": `"as"`, "on": `"failure"`}[first.Value]
		err = misplaced(lex, wanted, near(lex.Peek(), "as", "failure"))
	}
	var f Finding
	if !errors.As(withColumn(err, p.scan.source), &f) {
		f = finding(nil, spanOf(&first), -1, "", "this statement cannot be read") // it has more parts than participle reads
	}
	if f.Hint == "" {
		f.Hint = hint
	}
	return f
}

// noStatement says why no statement begins with a token.
func noStatement(lex *lexer.PeekingLexer) error {
	t, next := lex.Peek(), second(lex)
	hint := "a statement is an action, such as wait(10m), or begins with a word of the language, such as expect"
	switch {
	case isClosing(t):
		return closesNothing(t)
	case t.Type == keywordToken && (next.Value == "(" || next.Value == ":"):
		return reserved(t)
	case t.Value == "retry":
		hint = "retry stands behind an action: discovery() retry 5 every 2m"
	case t.Value == "within":
		hint = "within stands behind an action or a condition: expect count(all) >= 1 within 15m"
	case t.Value == "after":
		hint = "after stands behind a condition: watch count(all) >= 1 after 10m"
	case t.Value == "failure", t.Value == "on-failure":
		hint = "it is written: on failure { … }"
	case t.Type == nameToken && elsewhere(t.Value) != "":
		return finding(nil, spanOf(t), -1, elsewhere(t.Value), "the language has no %s", t.Value)
	case t.Type == nameToken && next.Value == ":":
		hint = fmt.Sprintf("a step is written: %s = action(…)", t.Value)
	case t.Type == nameToken && next.Type == signToken && next.Value != "{":
		hint = "a condition is judged by expect or watch, a value gets its name with let"
	}
	return finding(nil, spanOf(t), -1, hint, "%s begins no statement", shown(t))
}

// trailing says what is wrong with what stands behind a whole statement.
func trailing(lex *lexer.PeekingLexer) error {
	t := lex.Peek()
	hint := near(t, "retry", "within", "after", "every", "and", "or", "as")
	if err := behindNumber(lex); err != nil && hint == "" {
		return err
	}
	switch {
	case hint != "":
	case isClosing(t):
		return closesNothing(t)
	case t.Value == "=":
		hint = "to compare, write =="
	case t.Value == "[":
		hint = "there are no indexes; the outputs of a step have names: victims.group1"
	case t.Value == "retry":
		hint = "retry tries an action again; what is to become true in some time is written: expect … within 15m"
	case startsValue(t):
		hint = "an operator or a comma may be missing before it; a new statement begins on a new line"
	default:
		hint = "a value gets its name with let, a condition is judged by expect or watch"
	}
	return finding(nil, spanOf(t), -1, hint, "%s stands behind a whole statement", shown(t))
}

func isClosing(t *lexer.Token) bool { return t.Value == ")" || t.Value == "]" || t.Value == "}" }

func closesNothing(t *lexer.Token) error {
	return finding(nil, spanOf(t), -1, "remove it, or open it before", "this %s closes nothing", t.Value)
}
