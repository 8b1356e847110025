package simnet

import (
	"cmp"
	"slices"
	"time"

	"provingground/orchestrator/itn"
)

// This file answers what evidence drawn from the nodes is compared with: which entries of internal logs there were and who could read them,
// and what really became of transactions and SNARK work.

// keptLog holds all events of one run of a daemon.
type keptLog struct {
	node   *node
	uuid   string
	events []logEvent
}

// KeptLog is the whole internal log of one run of a daemon, with the entries that its bounded queue has dropped.
type KeptLog struct {
	Node       string // HOST:PORT
	ServerUUID string
	Logs       []itn.Log // IDs from 1 on, without a gap
}

// KeptLogs returns the whole internal logs of all runs of all daemons, in the order of their beginnings. It is empty unless
// Options.KeepLogs was set.
func (n *Network) KeptLogs() []KeptLog {
	var logs []KeptLog
	n.do(func() {
		for _, kept := range n.keptLogs {
			log := KeptLog{Node: kept.node.address, ServerUUID: kept.uuid}
			for _, e := range kept.events {
				log.Logs = append(log.Logs, n.spell(kept.node, e)...)
			}
			logs = append(logs, log)
		}
	})
	return logs
}

// retainedLogs says what the running daemons' logs hold now.
func (n *Network) retainedLogs() (entries []Entry) {
	for _, node := range n.nodes {
		if d := node.daemon; d != nil {
			entries = append(entries, n.entry(node, LogsRetained{Retained: d.log.first, LastLogID: d.log.last()}))
		}
	}
	return entries
}

// LogRuns returns what History.LogRuns returns, up to this moment for the daemons that run. It is empty unless Options.KeepJournal was set.
func (n *Network) LogRuns() []LogRun {
	var history History
	n.do(func() {
		history = append(slices.Clone(n.journal.history()), n.retainedLogs()...)
	})
	return history.LogRuns()
}

// LogRange is a closed range of log IDs.
type LogRange struct{ First, Last int }

// LogRun is the internal log of one run of a daemon. Its IDs are 1 to Last.
type LogRun struct {
	Node       string // HOST:PORT
	ServerUUID string
	Started    time.Time // network time
	Ended      time.Time // network time; zero while the daemon runs
	Last       int       // as far as the journal tells: for a daemon that runs, up to the last look at its log

	Given   []LogRange // in answers to internalLogs, whether they arrived or not
	Dropped []LogRange // by the bounded queue, given before or not
	Flushed []LogRange // by flushInternalLogs, given before or not
}

// Missed returns the IDs that no answer gave, ascending.
func (r LogRun) Missed() []LogRange { return subtract([]LogRange{{1, r.Last}}, r.Given) }

// Gaps returns those of Missed that a reader can know of: a later entry was given.
func (r LogRun) Gaps() []LogRange {
	gaps := r.Missed()
	if len(gaps) > 0 && gaps[len(gaps)-1].Last == r.Last {
		gaps = gaps[:len(gaps)-1]
	}
	return gaps
}

// LogRuns returns the internal logs of all runs of all daemons, in the order of their beginnings: which entries there were, which were
// given out, and which the bounded queue dropped.
func (h History) LogRuns() []LogRun {
	var runs []LogRun
	current := make(map[string]int)  // by node, its last run
	retained := make(map[string]int) // by node, the oldest entry at the last look
	look := func(node string, first, last int) *LogRun {
		at, known := current[node]
		if !known {
			return new(LogRun) // the journal lacks the daemon's beginning
		}
		run := &runs[at]
		if first > retained[node] {
			run.Dropped = append(run.Dropped, LogRange{retained[node], first - 1})
			retained[node] = first
		}
		run.Last = max(run.Last, last, first-1)
		return run
	}
	for _, entry := range h {
		switch fact := entry.Fact.(type) {
		case DaemonStarted:
			current[entry.Node], retained[entry.Node] = len(runs), 1
			runs = append(runs, LogRun{Node: entry.Node, ServerUUID: fact.ServerUUID, Started: entry.Time})
		case DaemonStopped:
			look(entry.Node, fact.Retained, fact.LastLogID).Ended = entry.Time
		case LogsRetained:
			look(entry.Node, fact.Retained, fact.LastLogID)
		case LogsRead:
			last := fact.Last
			if len(fact.Withheld) > 0 {
				last = max(last, fact.Withheld[len(fact.Withheld)-1])
			}
			run := look(entry.Node, fact.Retained, last)
			if fact.Count > 0 {
				run.Given = append(run.Given, subtract([]LogRange{{fact.First, fact.Last}}, singles(fact.Withheld))...)
			}
		case LogsFlushed:
			run := look(entry.Node, fact.Retained, fact.Retained+fact.Deleted-1)
			if fact.Deleted > 0 {
				retained[entry.Node] += fact.Deleted
				run.Flushed = append(run.Flushed, LogRange{fact.Retained, fact.Retained + fact.Deleted - 1})
			}
		}
	}
	for i := range runs {
		runs[i].Given, runs[i].Dropped, runs[i].Flushed = merge(runs[i].Given), merge(runs[i].Dropped), merge(runs[i].Flushed)
	}
	return runs
}

func singles(ids []int) []LogRange {
	ranges := make([]LogRange, 0, len(ids))
	for _, id := range ids {
		ranges = append(ranges, LogRange{id, id})
	}
	return ranges
}

// merge returns the union of ranges, ascending, none touching another.
func merge(ranges []LogRange) []LogRange {
	slices.SortFunc(ranges, func(a, b LogRange) int { return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last)) })
	var union []LogRange
	for _, r := range ranges {
		if last := len(union) - 1; last >= 0 && r.First <= union[last].Last+1 {
			union[last].Last = max(union[last].Last, r.Last)
		} else {
			union = append(union, r)
		}
	}
	return union
}

// subtract returns what is in the first ranges and not in the second ones. Both are ascending and disjoint.
func subtract(from, what []LogRange) (rest []LogRange) {
	for _, r := range from {
		for _, hole := range what {
			if hole.Last < r.First || hole.First > r.Last {
				continue
			}
			if hole.First > r.First {
				rest = append(rest, LogRange{r.First, hole.First - 1})
			}
			r.First = hole.Last + 1
		}
		if r.First <= r.Last {
			rest = append(rest, r)
		}
	}
	return rest
}

// Transaction is a command that was submitted to a node, and what became of it.
type Transaction struct {
	Memo, Signature, Type string
	Sender                string // public key
	Nonce                 uint32
	Handle                string    // of the schedule or funding job that sent it; empty when there was none
	Node                  string    // where it was submitted, HOST:PORT
	Submitted             time.Time // network time
	Rejected              string    // why that node's pool did not take it; empty when it did

	Reports []PoolReport       // each arrival at a node's pool; only with Options.JournalNodes
	Blocks  []TransactionBlock // that hold it, in the order of their production
}

// PoolReport is the arrival of a transaction at one node's pool.
type PoolReport struct {
	Node   string // HOST:PORT
	At     time.Time
	Sender string // host; empty where the transaction was submitted
	Reason string // why the pool did not take it; empty when it did
}

// TransactionBlock is a block that holds a transaction.
type TransactionBlock struct {
	Hash    string
	Height  int
	Slot    int
	Failure string // why its transfers were undone; empty when it was applied
	OnChain bool   // whether it lies, at the journal's end, on the chain of the network's best block
}

// Transactions returns every command that was ever submitted, in the order of submission.
func (h History) Transactions() []Transaction {
	var transactions []Transaction
	bySignature := make(map[string]int)
	at := func(entry Entry, signature string) *Transaction {
		if i, ok := bySignature[signature]; ok {
			return &transactions[i]
		}
		bySignature[signature] = len(transactions)
		transactions = append(transactions, Transaction{Signature: signature, Node: entry.Node, Submitted: entry.Time})
		return &transactions[len(transactions)-1]
	}
	onChain := make(map[string]bool)
	for _, block := range h.Chain() {
		onChain[block.Hash] = true
	}
	for _, entry := range h {
		switch fact := entry.Fact.(type) {
		case CommandSent:
			t := at(entry, fact.Signature)
			t.Memo, t.Type, t.Sender, t.Nonce, t.Handle = fact.Memo, fact.Type, fact.Sender, fact.Nonce, fact.Handle
		case CommandRejected:
			t := at(entry, fact.Signature)
			t.Memo, t.Type, t.Sender, t.Nonce, t.Handle, t.Rejected = fact.Memo, fact.Type, fact.Sender, fact.Nonce, fact.Handle, fact.Reason
		case CommandReceived: // at the node of submission just before one of the two facts above
			t := at(entry, fact.Signature)
			t.Reports = append(t.Reports, PoolReport{Node: entry.Node, At: entry.Time, Sender: fact.Sender, Reason: fact.Reason})
		case BlockProduced:
			for _, c := range fact.Commands {
				t := at(entry, c.Signature)
				t.Blocks = append(t.Blocks, TransactionBlock{
					Hash: fact.Hash, Height: fact.Height, Slot: fact.Slot, Failure: c.Failure, OnChain: onChain[fact.Hash],
				})
			}
		}
	}
	return transactions
}

// SnarkWork is SNARK work that a block's transactions need, and what became of it.
type SnarkWork struct {
	BlockWork
	Block  string   // state hash of the block that needs it
	Bought []string // state hashes of the blocks that hold its proof

	Attempts []WorkAttempt // of workers outside, in order; empty where the model proves
	Reports  []WorkReport  // what became of it at each node, in order; only with Options.JournalNodes
}

// WorkAttempt is what a worker outside did with SNARK work, or had done to it.
type WorkAttempt struct {
	Worker string
	At     time.Time // network time
	Fact   Fact      // WorkGiven, ProofAccepted, ProofRefused or WorkFailed
}

// WorkReport is what became of SNARK work at one node.
type WorkReport struct {
	Node    string     // HOST:PORT
	At      time.Time  // network time
	Listed  WorkAction // empty when a proof came
	Prover  string     // public key; empty when no proof came
	Sender  string     // host; empty when no proof came, or it was made there
	Arrived time.Time  // of the proof; zero when none came
	Reason  string     // why the pool did not take the proof; empty when it did
}

// Works returns all SNARK work that blocks have needed, in the order of their production.
func (h History) Works() []SnarkWork {
	var works []SnarkWork
	byID := make(map[int]int)
	attempted := func(entry Entry, ids []int, worker string) {
		if i, ok := byID[firstID(ids)]; ok {
			works[i].Attempts = append(works[i].Attempts, WorkAttempt{Worker: worker, At: entry.Time, Fact: entry.Fact})
		}
	}
	for _, entry := range h {
		switch fact := entry.Fact.(type) {
		case BlockProduced:
			for _, w := range fact.Works {
				byID[firstID(w.IDs)] = len(works)
				works = append(works, SnarkWork{BlockWork: w, Block: fact.Hash})
			}
			for _, ids := range fact.Bought {
				if i, ok := byID[firstID(ids)]; ok {
					works[i].Bought = append(works[i].Bought, fact.Hash)
				}
			}
		case WorkGiven:
			attempted(entry, fact.IDs, fact.Worker)
		case ProofAccepted:
			attempted(entry, fact.IDs, fact.Worker)
		case ProofRefused:
			attempted(entry, fact.IDs, fact.Worker)
		case WorkFailed:
			attempted(entry, fact.IDs, fact.Worker)
		case WorkListed:
			for _, ids := range fact.Works {
				if i, ok := byID[firstID(ids)]; ok {
					works[i].Reports = append(works[i].Reports, WorkReport{Node: entry.Node, At: entry.Time, Listed: fact.Action})
				}
			}
		case WorkReceived:
			if i, ok := byID[firstID(fact.IDs)]; ok {
				works[i].Reports = append(works[i].Reports, WorkReport{
					Node: entry.Node, At: entry.Time, Prover: fact.Prover, Sender: fact.Sender, Arrived: fact.Arrived, Reason: fact.Reason,
				})
			}
		}
	}
	return works
}

// firstID is what SNARK work is known by; 0 in a journal that was damaged.
func firstID(ids []int) int {
	if len(ids) == 0 {
		return 0
	}
	return ids[0]
}
