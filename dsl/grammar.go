package dsl

import (
	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
)

// The grammar of statements, as participle reads it: each form of a statement is a struct whose tags say what stands in it, one behind the
// other. The parts that nearly every statement has (steps, names, expressions, blocks) are read by functions of ours: that is faster, and what
// is wrong in them can be said in our words. [Grammar] shows all of it.

// script is the whole text. Its statements are read one by one, so that an error in one does not hide those of the next.
type script struct {
	Statements []statement `parser:"@@*"`
}

// statement is one of the forms.
type statement interface {
	statement(at Span) Statement
}

type (
	step struct {
		Call *action `parser:"@@"`
	}
	experiment struct {
		Name *quotation `parser:"'experiment' @@"`
	}
	seed struct {
		Value *figure `parser:"'seed' @@"`
	}
	limits struct {
		Bounds []bound `parser:"'limit' @@ ( ',' @@ )*"`
	}
	binding struct {
		Param bool   `parser:"( @'param' | 'let' )"`
		Name  *name  `parser:"@@ '='"`
		Value *value `parser:"@@"`
	}
	use struct {
		File *quotation `parser:"'use' @@ 'as'"`
		As   *name      `parser:"@@"`
	}
	parallel struct {
		Body body `parser:"'parallel' @@"`
	}
	repeat struct {
		Count *amount `parser:"'repeat' @@"`
		As    *name   `parser:"( 'as' @@ )?"`
		Body  body    `parser:"@@"`
	}
	deadline struct {
		Within *amount `parser:"'within' @@"`
		Body   body    `parser:"@@"`
	}
	claim struct {
		Watch     bool   `parser:"( @'watch' | 'expect' )"`
		Condition *value `parser:"@@"`
		Terms     *terms `parser:"@@"`
	}
	failure struct {
		Body body `parser:"'on' 'failure' @@"`
	}
	finally struct {
		Body body `parser:"'finally' @@"`
	}
	branch struct {
		Body body `parser:"(?= '{' ) @@"`
	}
	search struct {
		Name  *name   `parser:"'search' @@ 'from'"`
		From  *value  `parser:"@@ 'to'"`
		To    *value  `parser:"@@ 'until' 'within'"`
		Until *amount `parser:"@@"`
		Body  body    `parser:"@@"`
	}
)

// body is a block as it was read.
type body interface{ block() *Block }

func (b *Block) block() *Block { return b }

func (s *step) statement(at Span) Statement       { return (*Call)(s.Call) }
func (s *experiment) statement(at Span) Statement { return &Experiment{at, s.Name.Expr} }
func (s *seed) statement(at Span) Statement       { return &Seed{at, s.Value.Expr} }

func (s *limits) statement(at Span) Statement {
	l := &Limits{Span: at}
	for _, b := range s.Bounds {
		l.Bounds = append(l.Bounds, Bound(b))
	}
	return l
}

func (s *binding) statement(at Span) Statement {
	return &Binding{at, s.Param, Name(*s.Name), s.Value.Expr}
}
func (s *use) statement(at Span) Statement      { return &Use{at, s.File.Expr, Name(*s.As)} }
func (s *parallel) statement(at Span) Statement { return &Parallel{at, s.Body.block()} }
func (s *repeat) statement(at Span) Statement {
	return &Repeat{at, s.Count.Expr, (*Name)(s.As), s.Body.block()}
}

func (s *deadline) statement(at Span) Statement {
	return &Deadline{at, s.Within.Expr, s.Body.block()}
}

func (s *claim) statement(at Span) Statement {
	return &Claim{at, s.Watch, s.Condition.Expr, s.Terms.within, s.Terms.after}
}

func (s *failure) statement(at Span) Statement { return &Closing{at, false, s.Body.block()} }
func (s *finally) statement(at Span) Statement { return &Closing{at, true, s.Body.block()} }
func (s *branch) statement(Span) Statement     { return s.Body.block() }

func (s *search) statement(at Span) Statement {
	return &Search{at, Name(*s.Name), s.From.Expr, s.To.Expr, s.Until.Expr, s.Body.block()}
}

// newGrammar returns the grammar of a script, or of one statement. The function reads a { … }; a grammar is built for each script because that
// function belongs to one, which takes as long as reading some hundred statements.
func newGrammar[G any](block func(*lexer.PeekingLexer) (body, error)) *participle.Parser[G] {
	return participle.MustBuild[G](
		participle.Lexer(language{}),
		participle.UseLookahead(0), // the first word of a statement decides what it is
		participle.ParseTypeWith(block),
		participle.Union[statement](&step{}, &claim{}, &binding{}, // first, as most statements are one of these
			&experiment{}, &seed{}, &limits{}, &use{}, &parallel{}, &repeat{}, &deadline{}, &failure{}, &finally{}, &branch{}, &search{}),
	)
}

// Grammar returns the grammar of the script language in EBNF: of the statements as participle holds it, and what our functions read.
func Grammar() string {
	return newGrammar[script](nil).String() + "\n" + grammarByHand
}

// grammarByHand is what the functions of expression.go, parse.go and lexer.go read. White space is what separates: a line break is no more than a blank,
// but a unit stands on the line of its number, and within begins a statement of its own where its brace stands on its line or where it begins
// the line.
const grammarByHand = `
Body = "{" Statement* "}" .
action = ( name "=" )? name "(" ( argument ( "," argument )* ","? )? ")" modifiers Body? . (* Body: behind snark-pool, and no other. *)
argument = ( ( name | keyword ) ":" )? value .
modifiers = ( "retry" value "every" value | terms )* .
terms = ( "within" value | "after" value )* .
amount = (?! "{" ) value .
bound = name ( "<=" | "<" | ">=" | ">" | "==" | "!=" ) sum .

(* From loosest to tightest. "-" and "not" may also begin the right side of an operator that binds more tightly. *)
value = conjunction ( "or" conjunction )* .
conjunction = negation ( "and" negation )* .
negation = "not"* comparison .
comparison = sum ( ( "<" | "<=" | ">" | ">=" | "==" | "!=" ) sum )? .
sum = product ( ( "+" | "-" ) product )* .
product = minus ( ( "*" | "/" ) minus )* .
minus = "-"* range .
range = else ( ".." else )? .
else = member ( "??" member )* .
member = operand ( "." ( name | keyword ) ( "(" ( argument ( "," argument )* ","? )? ")" )? )* .
operand = figure | quotation | name | function | list | object | "none" | "true" | "false" | "(" value ")" .
function = name "(" ( argument ( "," argument )* ","? )? ")" .
list = "[" ( value ( "," value )* ","? )? "]" .
object = "{" ( key ( "," key )* ","? )? "}" .
key = ( name | keyword | quotation ) ":" value .

figure = digits ( "." digits )? ( ( "e" | "E" ) ( "+" | "-" )? digits )? unit? .
digits = digit ( "_"? digit )* .
unit = "s" | "m" | "h" | "slot" | "slots" | "tps" | "/s" | "/min" | "/h" | "mina" | "nanomina" | "%" .
quotation = "\"" ( character | escape | "${" name "}" )* "\"" .
escape = "\\" ( "\"" | "\\" | "/" | "b" | "f" | "n" | "r" | "t" | "u" hex hex hex hex | "$" ) .
name = ( letter | "_" ) ( letter | digit | "_" )* ( "-" ( letter | digit | "_" )+ )* .
keyword = "experiment" | "seed" | "limit" | "param" | "let" | "use" | "parallel" | "repeat" | "watch" | "expect" | "on" | "failure" | "finally"
        | "retry" | "every" | "within" | "after" | "as" | "and" | "or" | "not" | "none" | "true" | "false" .
comment = "#" ( any character but the end of the line )* .
`
