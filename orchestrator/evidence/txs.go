package evidence

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"provingground/dsl"
)

// This file works out the metrics of transactions.
//
// A command that the sending node accepts is gossiped, so it is in the log of any node that was read without a gap since. One that is rejected is in the log of the
// sending node alone. What may be in no log at all is found by the indexes in the memos, which are consecutive (itn-graphql, section 4.1): those that
// are missing below the highest one, and those that may have followed it before the load's end, as far as the log of the sending node is missing in that time.

// fate is what can have become of a transaction: a set.
type fate uint8

const (
	applied fate = 1 << iota
	failed
	rejected
	missing

	included = applied | failed
)

// tally is what became of the transactions of some loads.
type tally struct {
	seen int64          // transactions
	may  [16]int64      // how many of them may have had these fates, by set
	more map[fate]int64 // how many more there may be, by what can have become of them
	from []string       // the nodes that may have sent these, sorted
	late int64          // transactions whose latency is not known exactly

	latency sample
}

func (s *Statistics) transactions(name string, scope dsl.Scope, loads []Load) dsl.Measured {
	c := s.coverage()
	ch := s.chain(c)
	t := &tally{more: make(map[fate]int64)}
	inScope := 0
	for i, load := range loads {
		if i < len(s.Loads) && load.in(scope) {
			inScope++
			s.tally(t, c, ch, load, s.Loads[i])
		}
	}
	slices.Sort(t.from)
	t.from = slices.Compact(t.from)
	switch {
	case inScope == 0:
		return dsl.Measured{Missing: "this run has placed no such load yet"}
	case t.seen == 0 && name != "submitted":
		text := "no log shows a transaction of this load yet"
		if why := c.why(); why != "" {
			text += " (" + why + ")"
		}
		return dsl.Measured{Window: s.span(), Missing: text}
	}
	share := func(of fate) dsl.Measured {
		b, surely, maybe := t.share(of)
		return b.measured(fmt.Sprintf("%s of %s, %s", upTo(surely, maybe), count(t.seen, "transaction"), s.span()), t.why(c, ch))
	}
	switch name {
	case "submitted":
		return between(t.seen, t.seen+t.unseen()).measured(s.span(), t.why(c, ch))
	case "included":
		return share(included)
	case "failed":
		return share(failed)
	case "rejected":
		return share(rejected)
	case "missing":
		return share(missing)
	}
	for _, statistic := range statisticsOfAll() {
		if name == "latency."+statistic.name {
			n := int64(len(t.latency.lows))
			if n == 0 {
				return dsl.Measured{Window: s.span(), Missing: strings.Join(append([]string{"no transaction of this load is certainly in a block yet"}, nonEmpty(t.why(c, ch))...), "; ")}
			}
			return t.latency.of(statistic).measured(fmt.Sprintf("%s, %s", count(n, "transaction"), s.span()), t.why(c, ch))
		}
	}
	return dsl.Measured{Missing: "nothing measures tx." + name}
}

func nonEmpty(texts ...string) []string {
	return slices.DeleteFunc(texts, func(text string) bool { return text == "" })
}

func upTo(low, high int64) string {
	if low == high {
		return strconv.FormatInt(low, 10)
	}
	return fmt.Sprintf("%d to %d", low, high)
}

// in reports whether the load is in a scope. The round is the number that its name ends in.
func (l Load) in(scope dsl.Scope) bool {
	if scope.Kind != "" && scope.Kind != string(l.Kind) {
		return false
	}
	return scope.Round == nil || InRound(l.Name, *scope.Round)
}

// InRound reports whether load of a name belongs to a round.
func InRound(name string, round int64) bool {
	return strings.HasSuffix(name, "-"+strconv.FormatInt(round, 10))
}

// tally adds what became of one load's transactions.
func (s *Statistics) tally(t *tally, c *coverage, ch *chain, load Load, log LoadLog) {
	transactions := log.Transactions
	if !slices.IsSortedFunc(transactions, byIndex) {
		transactions = slices.Clone(transactions) // others may read the statistics at the same time
		slices.SortFunc(transactions, byIndex)
	}
	schedule := scheduleOf(load)
	dark, known := s.darkOf(c, load)
	if len(c.skewed) > 0 {
		transactions = s.timedRightly(transactions, load.Node)
	}
	if log.Doubtful > 0 {
		t.more[included|rejected|missing] += log.Doubtful
		t.from = append(t.from, load.Node)
	}
	t.latency.raiseMost(span(schedule.from, max(schedule.from, s.Asked)))

	// Index by index: no transaction is sent before one with a lower index.
	var sent Instant // the latest time at which a lower index was sent
	for i := 0; i < len(transactions); {
		index, after := transactions[i].Index, sent
		for ; i < len(transactions) && transactions[i].Index == index; i++ {
			tx := transactions[i]
			earliest := max(schedule.at(index), after)
			t.seen++
			set := ch.fateOf(tx, earliest, dark)
			t.may[set]++
			switch {
			case set&^included == 0:
				low, high := s.latency(c, ch.at[tx.Height], tx, earliest, known)
				t.latency.add(low, high)
				if low != high {
					t.late++
				}
			case set&included != 0:
				t.latency.extra++
			}
			sent = max(sent, tx.Sent)
		}
	}
	s.unseen(t, c, ch, load, schedule, dark, transactions)
}

// timedRightly returns transactions without the times that the clock of another node than their sender may have given, and of the sender where its clock is wrong.
func (s *Statistics) timedRightly(transactions []Transaction, sender string) []Transaction {
	wrong := slices.ContainsFunc(s.Nodes, func(n NodeLog) bool { return n.Address == sender && n.Skew != 0 })
	transactions = slices.Clone(transactions)
	for i := range transactions {
		tx := &transactions[i]
		switch {
		case wrong:
			tx.Received, tx.Sent = 0, 0
		case tx.Sent != 0:
			tx.Received = tx.Sent
		default:
			tx.Received = 0
		}
	}
	return transactions
}

// byIndex is the order in which a load's transactions are sent.
func byIndex(a, b Transaction) int {
	return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.observed(), b.observed()))
}

// observed is the earliest time at which any log shows the transaction's reception; never where none does.
func (tx Transaction) observed() Instant {
	switch {
	case tx.Sent != 0 && (tx.Received == 0 || tx.Sent < tx.Received):
		return tx.Sent
	case tx.Received != 0:
		return tx.Received
	default:
		return never
	}
}

// fateOf returns what can have become of a transaction that was sent no earlier than at a time, by a node whose log is missing in the windows.
func (ch *chain) fateOf(tx Transaction, earliest Instant, dark []window) fate {
	if tx.Height != 0 && ch.certain[tx.Height] {
		if tx.Failed {
			return failed
		}
		return applied
	}
	set := missing
	switch {
	case tx.Outcome == Rejected:
		set = rejected
	case tx.Outcome == NoOutcome && (tx.Sent != 0 || tx.Received == 0) && len(within(dark, tx.Sent, never)) > 0:
		set |= rejected // unless another node received it, which nobody noted
	}
	switch {
	case tx.Height != 0:
		set |= included
	case ch.mayHold(earliest) && set != rejected:
		set |= included
	}
	return set
}

// latency returns between what the time lies from the first reception of a transaction to that of its block.
func (s *Statistics) latency(c *coverage, b Block, tx Transaction, earliest Instant, senderKnown bool) (low, high time.Duration) {
	blockFrom, blockTo := s.received(c, b)
	to := tx.observed()
	if to == never {
		to = blockTo // it was in a block, so somebody had it
	}
	from := to
	if tx.Sent == 0 && (tx.Received == 0 || !senderKnown || !c.settled(to) || c.hidden(min(earliest, to), to)) {
		from = min(earliest, to)
	}
	return span(to, blockFrom), span(from, blockTo)
}

// span is the time from one instant to another; it may be negative.
func span(from, to Instant) time.Duration { return time.Duration(to-from) * time.Microsecond }

// raiseMost notes that an element may be as great.
func (s *sample) raiseMost(most time.Duration) {
	if s.most == nil || *s.most < most {
		s.most = &most
	}
}

// schedule is when a load sends its transactions, at the earliest.
type schedule struct {
	from Instant
	// step is the time from one to the next, in whole milliseconds as a daemon counts it; 0 when the rate is not known.
	step Instant
}

func scheduleOf(load Load) schedule {
	sc := schedule{from: InstantOf(load.From)}
	if load.TPS != nil && load.TPS.Sign() > 0 {
		millis := new(big.Rat).Quo(big.NewRat(1000, 1), load.TPS)
		whole := new(big.Int).Quo(millis.Num(), millis.Denom())
		if whole.IsInt64() && whole.Int64() < math.MaxInt32 {
			sc.step = Instant(max(1, whole.Int64()) * 1000)
		}
	}
	return sc
}

// at returns the earliest time at which the transaction of an index is sent.
func (sc schedule) at(index int) Instant {
	if sc.step > 0 && Instant(index) > (never-sc.from)/sc.step {
		return never
	}
	return sc.from + Instant(index)*sc.step
}

// most returns how many transactions can have been sent in windows; unlimited when the rate is not known.
func (sc schedule) most(windows []window) int64 {
	var n int64
	for _, w := range windows {
		if sc.step == 0 || w.to == never {
			return unlimited
		}
		n += int64((w.to-w.from)/sc.step) + 1
	}
	return n
}

// darkOf returns when the log of the load's node is missing, and false where nobody reads that node's log. What it sent up to the load's end has to be read before an answer is final.
func (s *Statistics) darkOf(c *coverage, load Load) ([]window, bool) {
	windows, known := c.dark[load.Node]
	if !known {
		return []window{{0, never}}, false
	}
	for _, n := range s.Nodes {
		if n.Address != load.Node {
			continue
		}
		from, until := InstantOf(load.From), InstantOf(load.Until)
		if n.ReadTo < from || until != 0 && until <= s.Asked && n.ReadTo < until {
			windows = merged(append(slices.Clone(windows), window{n.ReadTo.plus(-s.straggling()), never}))
		}
	}
	return windows, true
}

// unseen adds how many transactions of a load may be in no log.
func (s *Statistics) unseen(t *tally, c *coverage, ch *chain, load Load, sc schedule, dark []window, transactions []Transaction) {
	if len(dark) == 0 {
		return
	}
	end := s.Asked
	if until := InstantOf(load.Until); until != 0 {
		end = min(end, until)
	}
	add := func(n int64, parts []window) {
		if n <= 0 || len(parts) == 0 {
			return
		}
		if most := sc.most(parts); most != unlimited {
			n = min(n, most)
		}
		set := rejected
		if parts[0].from < c.lit { // nobody saw all that was gossiped since
			set |= missing
			if ch.mayHold(parts[0].from) {
				set |= included
				t.latency.extra += n
			}
		}
		t.more[set] += n
		t.from = append(t.from, load.Node)
	}
	// The latest time at which an index was sent is the earliest one at which it or a higher one was seen.
	latest := make([]Instant, len(transactions))
	bound := end
	for i, v := range slices.Backward(transactions) {
		bound = min(bound, v.observed())
		latest[i] = bound
	}
	next := 0 // the lowest index that is not accounted for
	var sent Instant
	for i, tx := range transactions {
		if tx.Index > next {
			add(int64(tx.Index-next), within(dark, max(sc.at(next), sent), latest[i]))
		}
		next = max(next, tx.Index+1)
		sent = max(sent, tx.Sent)
	}
	from := max(sc.at(next), sent)
	if from > end {
		return
	}
	whole := sc.most([]window{{from, end}})
	if whole == unlimited {
		whole = int64(1) << 32 // no rate is known; no load is as large
	}
	add(whole, within(dark, from, end))
}

// unseen returns how many more transactions there may be than were seen.
func (t *tally) unseen() (n int64) {
	for _, more := range t.more {
		n += more
	}
	return n
}

// share returns between what the share of the transactions lies that had one of some fates, and how many of those seen surely and perhaps had it.
func (t *tally) share(of fate) (b bounds, surely, maybe int64) {
	for set, n := range t.may {
		if fate(set)&of != 0 {
			maybe += n
		}
		if fate(set)&^of == 0 {
			surely += n
		}
	}
	var others, same int64 // of those that were not seen, so many at most had another fate, and this one
	for set, n := range t.more {
		if set&^of != 0 {
			others += n
		}
		if set&of != 0 {
			same += n
		}
	}
	return bounds{big.NewRat(surely, t.seen+others), big.NewRat(maybe+same, t.seen+same)}, surely, maybe
}

// why says what is missing, of whom, and what can be done.
func (t *tally) why(c *coverage, ch *chain) string {
	var reasons []string
	if n := t.unseen(); n > 0 {
		reasons = append(reasons, fmt.Sprintf("up to %s may be in no log, sent by %s", count(n, "more transaction"), few(t.from)))
	}
	if n := t.may[missing|rejected] + t.may[missing|rejected|included]; n > 0 {
		reasons = append(reasons, "whether "+count(n, "transaction")+" were rejected is in no log")
	}
	if ch.unseenTo != 0 {
		reasons = append(reasons, ch.why())
	}
	if t.late > 0 {
		reasons = append(reasons, "of "+count(t.late, "transaction")+" the reception, or that of its block, may have been earlier than the logs that were read show")
	}
	if len(reasons) == 0 {
		return ""
	}
	return strings.Join(append(reasons, nonEmpty(c.why())...), "; ")
}

// why says which blocks are missing.
func (ch *chain) why() string {
	fewest, most := ch.hidden()
	switch {
	case most == unlimited:
		return "blocks of the best chain may be in no log"
	case most == 0 && ch.opaque > 0:
		return "the transactions of " + count(ch.opaque, "block") + " in no log"
	case most == 0:
		return "which of several blocks of the same height came first is not certain"
	case fewest == most:
		return count(most, "block") + " of the best chain in no log"
	default:
		return fmt.Sprintf("%d to %d blocks of the best chain in no log", fewest, most)
	}
}
