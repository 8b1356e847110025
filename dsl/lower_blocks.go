package dsl

import (
	"fmt"
	"math/big"
	"slices"
	"time"
)

// This file lowers what may stand in a block: statements and blocks in each other, claims, and the times that stand behind them.

// block lowers the statements of a block, and appends what they come to.
func (l *lowering) block(b *Block, of Statement, items []Item) []Item {
	if b == nil { // the parser said what is wrong
		return items
	}
	if len(b.Statements) == 0 {
		l.warn(head(of), "", "this block is empty: it does nothing")
	}
	for _, s := range b.Statements {
		items = l.statement(s, items)
	}
	return items
}

// statement lowers a statement, wherever it stands, and appends what it comes to.
func (l *lowering) statement(s Statement, items []Item) []Item {
	if len(l.rounds) > 0 {
		l.unrolled++
		if l.unrolled > maxUnrolled {
			l.tooManyRounds(l.outer)
		}
	}
	if l.silent {
		return items
	}
	switch s := s.(type) {
	case *Binding:
		if s.Param {
			l.report(head(s), "move it out of the block, or write let", "param must stand in the script itself, never inside a block")
		}
		l.constant(s)
	case *Call:
		items = l.call(s, items)
	case *Claim:
		items = l.claim(s, items)
	case *Parallel:
		items = append(items, l.parallel(s))
	case *Repeat:
		items = l.repeat(s, items)
	case *Deadline:
		items = append(items, l.deadline(s))
	case *Block:
		l.report(head(s), "it is written: parallel { … }, repeat 4 { … } or within 15m { … }", "a block of its own means nothing here")
		items = l.block(s, s, items)
	case *Search:
		l.report(head(s), "", "search is not available yet")
	case *Experiment, *Seed, *Limits, *Use, *Closing:
		l.misplaced(s)
	}
	return items
}

// misplaced reports a statement inside a block that belongs to the script itself.
func (l *lowering) misplaced(s Statement) {
	l.report(head(s), "move it out of the block", "%s must stand in the script itself, never inside a block", keyword(s))
	switch s := s.(type) {
	case *Use:
		l.bind(s.As, named{constant: &term{}})
	case *Experiment:
		l.first["experiment"] = s.Span
	case *Closing:
		mark := len(l.made)
		l.block(s.Body, s, nil)
		l.leave(mark)
	}
}

func (l *lowering) parallel(s *Parallel) Item {
	item := Item{Span: s.Span, Number: l.number(), Parallel: [][]Item{}}
	if s.Body == nil {
		return item
	}
	if len(s.Body.Statements) == 0 {
		l.warn(head(s), "", "this block is empty: it does nothing")
	}
	mark := len(l.made)
	for _, branch := range s.Body.Statements {
		from := len(l.made)
		var items []Item
		switch branch := branch.(type) {
		case *Block:
			items = l.block(branch, branch, nil)
		case *Binding: // no branch: constants have no time
			l.statement(branch, nil)
			continue
		case *Claim:
			if branch.Watch {
				l.report(head(branch), "put it before the parallel, or into a branch { … }", "as a branch of parallel, watch is over at once")
			}
			items = l.statement(branch, nil)
		default:
			items = l.statement(branch, nil)
		}
		l.hide(from, true)
		if len(items) > 0 {
			item.Parallel = append(item.Parallel, items)
		}
	}
	l.hide(mark, false)
	return item
}

func (l *lowering) deadline(s *Deadline) Item {
	item := Item{Span: s.Span, Number: l.number(), Deadline: &Timed{}}
	if within := l.stretch("within", s.Within, false); within != nil {
		item.Deadline.Within = *within
	}
	item.Deadline.Items = l.block(s.Body, s, nil)
	return item
}

// tooManyRounds reports the outermost repeat, and ends the work.
func (l *lowering) tooManyRounds(span Span) {
	rounds := l.rounds
	l.rounds = nil // it is about no round in particular
	l.report(Span{span.Start, min(span.End, span.Start+len("repeat"))}, "fewer rounds", "with all its rounds this repeat comes to more than %d statements", maxUnrolled)
	l.rounds, l.silent = rounds, true
}

// repeat lowers the body once for each round.
func (l *lowering) repeat(s *Repeat, items []Item) []Item {
	rounds := l.roundsOf(s)
	if s.Body == nil {
		return items
	}
	if len(s.Body.Statements) == 0 {
		l.warn(head(s), "", "this block is empty: it does nothing")
		return items
	}
	if len(l.rounds) == 0 {
		l.outer, l.seen, l.cached = s.Span, map[Span]int{}, map[*Expr]kept{}
	}
	if rounds*len(s.Body.Statements)+l.unrolled > maxUnrolled {
		if len(l.rounds) > 0 {
			l.tooManyRounds(l.outer)
			return items
		}
		rounds = 1 // what is wrong inside is found all the same
		l.report(head(s), "fewer rounds", "with all its rounds this repeat comes to more than %d statements", maxUnrolled)
	}
	watches := slices.ContainsFunc(s.Body.Statements, func(s Statement) bool {
		claim, ok := s.(*Claim)
		return ok && claim.Watch
	})
	outer := l.round
	depth := len(l.rounds)
	l.rounds = append(l.rounds, 0)
	for i := 0; i < rounds && !l.silent; i++ {
		l.rounds[depth], l.round = i, outer*rounds+i
		l.serial++
		mark := len(l.made)
		if s.As != nil {
			l.bind(*s.As, named{constant: &term{class: classNumber, number: new(big.Rat).SetInt64(int64(i)), varies: true}})
		}
		if watches { // hold to the end of the round: its items are a block
			item := Item{Span: s.Span, Number: l.number()}
			item.Parallel = [][]Item{l.block(s.Body, s, nil)}
			items = append(items, item)
		} else {
			items = l.block(s.Body, s, items)
		}
		l.leave(mark)
	}
	l.rounds, l.round = l.rounds[:depth], outer
	return items
}

// roundsOf returns how often a repeat's body is lowered: once where that is wrong.
func (l *lowering) roundsOf(s *Repeat) int {
	count := l.eval(s.Count)
	const usage = "write 4"
	switch {
	case count.class == classWrong:
	case count.live:
		l.report(count.Span, "write a number, or a param", notBefore)
	case count.class != classNumber || count.unit != NoUnit || !count.number.IsInt() || count.number.Sign() <= 0:
		l.against(count, usage, "the rounds of a repeat are a whole number from 1 on")
	case count.number.Cmp(big.NewRat(maxUnrolled, 1)) > 0:
		l.against(count, "", "a repeat has at most %d rounds", maxUnrolled)
	default:
		return int(count.number.Num().Int64())
	}
	return 1
}

// claim lowers expect and watch.
func (l *lowering) claim(s *Claim, items []Item) []Item {
	l.judging = true
	condition := l.eval(s.Condition)
	l.judging = false
	judged := &Judged{Span: s.Span, Watch: s.Watch}
	word := keyword(s)
	if s.Condition != nil {
		judged.Text = l.textOf(s.Condition.Span)
	}
	switch {
	case condition.class == classWrong:
	case condition.class != classTruth && condition.class != classAnything:
		l.against(condition.own(), l.compared(condition.own()), "%s wants a condition that is true or false, and this is %s", word, condition.describe())
	case !condition.live && !condition.hidden:
		l.warn(condition.Span, "compare an output, a metric or now() with something", "this is always %v", condition.truth)
	}
	judged.Condition = l.formula(condition)
	switch {
	case s.Within != nil && s.Watch:
		l.report(s.Within.Span, "watch … after D begins to hold later; expect … within D waits for it to be true", "watch has no within: it holds until its block ends")
	case s.Within != nil:
		judged.Within = l.stretch("within", s.Within, false)
	}
	switch {
	case s.After != nil && !s.Watch:
		l.report(s.After.Span, "wait(D) before it; or within D, for which it is tried until it is true", "expect has no after: it is judged where it stands")
	case s.After != nil:
		judged.After = l.stretch("after", s.After, true)
	}
	return append(items, Item{Span: s.Span, Number: l.number(), Claim: judged})
}

// stretch returns a constant stretch of time; nil where it is none.
func (l *lowering) stretch(of string, e *Expr, orZero bool) *Stretch {
	t := l.eval(e)
	usage := "write 15m"
	switch {
	case t.class == classWrong:
		return nil
	case t.live:
		l.report(t.Span, "write a time, or a param", notBefore)
		return nil
	case t.class == classNumber && t.unit == NoUnit:
		if t.digits != "" {
			usage = fmt.Sprintf("write %sm or %ss", t.digits, t.digits)
		}
		l.against(t.own(), usage, "%s needs a unit", of)
		return nil
	case t.class != classNumber || t.unit != UnitSecond && t.unit != UnitSlot:
		l.against(t.own(), usage, "%s is a time or a number of slots, not %s", of, t.describe())
		return nil
	case t.number.Sign() < 0 || t.number.Sign() == 0 && !orZero:
		l.against(t, usage, "%s must be above 0", of)
		return nil
	case t.unit == UnitSlot:
		return &Stretch{Span: t.Span, Slots: t.number}
	}
	nanoseconds := new(big.Rat).Mul(t.number, big.NewRat(int64(time.Second), 1))
	whole := new(big.Int).Quo(nanoseconds.Num(), nanoseconds.Denom())
	if t.number.Cmp(big.NewRat(maxStretch, 1)) > 0 {
		l.against(t, usage, "%s is more than %d years", of, maxStretch/(365*24*3600))
		return nil
	}
	if whole.Sign() == 0 && !orZero {
		whole.SetInt64(1)
	}
	return &Stretch{Span: t.Span, Time: time.Duration(whole.Int64())}
}
