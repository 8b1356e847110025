package simnet

import (
	"cmp"
	"slices"
	"time"
)

// History is a journal's entries in the order of writing, as [Network.History] and [ReadHistory] give them. Its methods answer what a test
// asks of the ground truth.
type History []Entry

// History returns the entries so far, everything that is due included. It is empty unless Options.KeepJournal was set.
func (n *Network) History() History {
	n.do(func() {})
	return n.journal.history()
}

// Schedule is a schedule that a node accepted, and what became of it.
type Schedule struct {
	Node     string // HOST:PORT
	Accepted time.Time
	ScheduleAccepted
	Stopping time.Time      // when it was first told to stop, which it does at its next tick; zero when it was not
	Ended    *ScheduleEnded // nil while it runs
	Until    time.Time      // when it ended; zero while it runs
}

// Schedules returns every schedule that was ever accepted, in the order of acceptance.
func (h History) Schedules() []Schedule {
	var schedules []Schedule
	running := make(map[[2]string]int) // by node and handle
	for _, entry := range h {
		switch fact := entry.Fact.(type) {
		case ScheduleAccepted:
			running[[2]string{entry.Node, fact.Handle}] = len(schedules)
			schedules = append(schedules, Schedule{Node: entry.Node, Accepted: entry.Time, ScheduleAccepted: fact})
		case StopRequested:
			if at, ok := running[[2]string{entry.Node, fact.Handle}]; ok && schedules[at].Stopping.IsZero() {
				schedules[at].Stopping = entry.Time
			}
		case ScheduleEnded:
			if at, ok := running[[2]string{entry.Node, fact.Handle}]; ok {
				schedules[at].Ended, schedules[at].Until = &fact, entry.Time
				delete(running, [2]string{entry.Node, fact.Handle})
			}
		}
	}
	return schedules
}

// Running returns the schedules that have not ended.
func (h History) Running() []Schedule {
	return slices.DeleteFunc(h.Schedules(), func(s Schedule) bool { return s.Ended != nil })
}

// Unstopped returns the schedules that have not ended and were not told to stop either.
func (h History) Unstopped() []Schedule {
	return slices.DeleteFunc(h.Running(), func(s Schedule) bool { return !s.Stopping.IsZero() })
}

// Overlap is a sender key that two schedules used at the same time, which makes their nonces clash.
type Overlap struct {
	Sender        string // public key
	First, Second Schedule
}

// Overlaps returns the overlapping uses of sender keys, in the order in which they began.
func (h History) Overlaps() []Overlap {
	var overlaps []Overlap
	bySender := make(map[string][]Schedule)
	for _, second := range h.Schedules() {
		for _, sender := range second.Senders {
			for _, first := range bySender[sender] {
				if first.Ended == nil || first.Until.After(second.Accepted) {
					overlaps = append(overlaps, Overlap{Sender: sender, First: first, Second: second})
				}
			}
			bySender[sender] = append(bySender[sender], second)
		}
	}
	return overlaps
}

// Gating returns the restrictions in force, by node: the last update, where it isolates, trusts or bans. A node that restricts nobody
// (any more, or since its restart) is absent.
func (h History) Gating() map[string]GatingSet {
	inForce := make(map[string]GatingSet)
	for _, entry := range h {
		switch fact := entry.Fact.(type) {
		case GatingSet:
			delete(inForce, entry.Node)
			if fact.Isolate || len(fact.Trusted) > 0 || len(fact.Banned) > 0 {
				inForce[entry.Node] = fact
			}
		case DaemonStopped:
			delete(inForce, entry.Node)
		}
	}
	return inForce
}

// Limits returns the zkApp command limits in force, by node. A node without limit is absent.
func (h History) Limits() map[string]int {
	inForce := make(map[string]int)
	for _, entry := range h {
		switch fact := entry.Fact.(type) {
		case LimitSet:
			delete(inForce, entry.Node)
			if fact.Limit != nil {
				inForce[entry.Node] = *fact.Limit
			}
		case DaemonStopped:
			delete(inForce, entry.Node)
		}
	}
	return inForce
}

// Down returns the nodes whose daemons do not run, sorted.
func (h History) Down() []string {
	down := make(map[string]bool)
	for _, entry := range h {
		switch entry.Fact.(type) {
		case DaemonStopped:
			down[entry.Node] = true
		case DaemonStarted:
			delete(down, entry.Node)
		}
	}
	return sortedKeys(down)
}

// Chain returns the blocks on the chain of the network's best block, lowest first, without the genesis block.
func (h History) Chain() []BlockProduced {
	produced := make(map[string]BlockProduced)
	included := make(map[string]bool)
	for _, entry := range h {
		switch fact := entry.Fact.(type) {
		case BlockProduced:
			produced[fact.Hash] = fact
		case BlockIncluded:
			included[fact.Hash] = true
		case BlockOrphaned:
			delete(included, fact.Hash)
		}
	}
	chain := make([]BlockProduced, 0, len(included))
	for hash := range included {
		chain = append(chain, produced[hash])
	}
	slices.SortFunc(chain, func(a, b BlockProduced) int { return cmp.Compare(a.Height, b.Height) })
	return chain
}

// Memos returns the memos of the commands on that chain, in the chain's order, without empty ones.
func (h History) Memos() []string {
	var memos []string
	for _, block := range h.Chain() {
		for _, command := range block.Commands {
			if command.Memo != "" {
				memos = append(memos, command.Memo)
			}
		}
	}
	return memos
}
