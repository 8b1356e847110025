package dsl

// Tree is a script of the script language as it is written: what the formatter prints and the checker reads. Nothing in it has been compared
// with the actions that exist.
type Tree struct {
	Source     *Source
	Statements []Statement
	Remarks    []Remark // in order
}

// Remark is a # comment. It is layout, and means nothing; what a run shows is log("…").
type Remark struct {
	Span
	Text string // with its #, without the white space at its end
}

// Statement is one statement: [*Experiment], [*Seed], [*Limits], [*Binding], [*Use], [*Call], [*Parallel], [*Repeat], [*Deadline], [*Claim],
// [*Closing], [*Block] or [*Search].
type Statement interface{ Place() Span }

// Place returns where it stands.
func (s Span) Place() Span { return s }

// Name is a name where it is written.
type Name struct {
	Span
	Text string
}

// Experiment is: experiment "name".
type Experiment struct {
	Span
	Name *Expr // OpString
}

// Seed is: seed 42.
type Seed struct {
	Span
	Value *Expr // OpNumber
}

// Limits is: limit rate <= 2 tps, stopped <= 35%.
type Limits struct {
	Span
	Bounds []Bound
}

// Bound is one upper bound of a limit.
type Bound struct {
	Span
	Of    Name   // rate, spend or stopped
	Op    string // "<=", or what stands in its place
	Value *Expr
}

// Binding is: let name = value, or: param name = value.
type Binding struct {
	Span
	Param bool
	Name  Name
	Value *Expr
}

// Use is: use "start.out" as earlier.
type Use struct {
	Span
	File *Expr // OpString
	As   Name
}

// Call is an action with its arguments and modifiers: name = action(parameter: value, …) retry 5 every 2m within 30m. One that [HoldsBlock] has
// the block behind these.
type Call struct {
	Span
	Name      *Name // nil where the step has none
	Action    Name
	Arguments []Argument
	Retry     *Retrying // nil for none
	Within    *Expr     // nil for none
	After     *Expr     // no action has it; the checker says so
	Body      *Block    // nil for none
}

// Argument is one argument of an action or a function, or one key of an object.
type Argument struct {
	Span
	Name  *Name // nil for one without a name
	Value *Expr
}

// Retrying is: retry N every D.
type Retrying struct {
	Span
	Attempts *Expr
	Every    *Expr
}

// Block is statements in braces; as a statement it is a branch of [Parallel].
type Block struct {
	Span
	Statements []Statement
}

// Parallel is: parallel { … }. Each of its statements is a branch.
type Parallel struct {
	Span
	Body *Block
}

// Repeat is: repeat 4 as round { … }.
type Repeat struct {
	Span
	Count *Expr
	As    *Name // nil where the counter has no name
	Body  *Block
}

// Deadline is: within 30m { … }.
type Deadline struct {
	Span
	Within *Expr
	Body   *Block
}

// Claim is: expect condition within D, or: watch condition after D.
type Claim struct {
	Span
	Watch     bool
	Condition *Expr
	Within    *Expr // nil for none
	After     *Expr // nil for none
}

// Closing is: on failure { … }, or: finally { … }.
type Closing struct {
	Span
	Finally bool
	Body    *Block
}

// Search is: search rate from A to B until within C { … }. It is read so that the checker can say that it does not exist yet.
type Search struct {
	Span
	Name  Name
	From  *Expr
	To    *Expr
	Until *Expr
	Body  *Block
}

// Op is what an expression is.
type Op string

// The expressions.
const (
	OpNumber Op = "number" // Text as written (1_000, 0.50, 1e9), Unit
	OpString Op = "string" // Text, or Parts where it has ${…}
	OpName   Op = "name"   // Text
	OpMember Op = "."      // X . Text
	OpCall   Op = "call"   // Text ( Arguments )
	OpScope  Op = "scope"  // X ( Arguments ), X being an OpMember: a metric of a part of the run
	OpList   Op = "list"   // Items
	OpObject Op = "object" // Arguments
	OpNone   Op = "none"
	OpTrue   Op = "true"
	OpFalse  Op = "false"
	OpRange  Op = ".." // X .. Y, Unit: it counts for both
	OpElse   Op = "??" // X ?? Y
	OpMinus  Op = "neg"
	OpNot    Op = "not"
	OpAdd    Op = "+"
	OpSub    Op = "-"
	OpMul    Op = "*"
	OpDiv    Op = "/"
	OpLess   Op = "<"
	OpAtMost Op = "<="
	OpMore   Op = ">"
	OpLeast  Op = ">="
	OpEqual  Op = "=="
	OpOther  Op = "!="
	OpAnd    Op = "and"
	OpOr     Op = "or"
)

// Expr is an expression. How tightly operators bind, from loosest: or, and, not, comparisons (which do not chain), + and -, * and /, unary
// minus, .. , ??, and then calls and members.
type Expr struct {
	Span
	Op        Op
	Text      string
	Unit      Unit
	UnitSpan  Span // of the unit; the zero value where there is none
	Parts     []Part
	X, Y      *Expr
	Items     []*Expr
	Arguments []Argument
}

// Part is a piece of a string: plain text, or where Name is not nil the value of a name.
type Part struct {
	Text string
	Name *Name
}

// Unit is a unit as the script language spells it; "" is none.
type Unit string

// The units. A unit stands on the line of its number, with or without a blank before it; %, /min, /s and /h without one.
const (
	NoUnit       Unit = ""
	UnitSecond   Unit = "s"
	UnitMinute   Unit = "m"
	UnitHour     Unit = "h"
	UnitSlot     Unit = "slots" // also spelled slot
	UnitTPS      Unit = "tps"
	UnitPerSec   Unit = "/s"
	UnitPerMin   Unit = "/min"
	UnitPerHour  Unit = "/h"
	UnitMina     Unit = "mina"
	UnitNanomina Unit = "nanomina"
	UnitPercent  Unit = "%"
)
