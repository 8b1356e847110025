package evidence

import (
	"math"
	"slices"
	"time"
)

// This file says what every metric is worked out of: Statistics, which a source fills with what the logs said at one moment. What it means
// is worked out by [Statistics.Measure], which reads nothing but these fields.

// Instant is a network time in microseconds since 1970. The zero value is a time that is not known.
type Instant int64

// InstantOf returns a time as an Instant; the zero time is not known.
func InstantOf(t time.Time) Instant {
	if t.IsZero() {
		return 0
	}
	return Instant(t.UnixMicro())
}

// Time returns it as a time, in UTC; the zero time where it is not known.
func (i Instant) Time() time.Time {
	if i == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(i)).UTC()
}

// never is later than every instant.
const never Instant = math.MaxInt64

// plus adds a duration. It stops at the ends of time.
func (i Instant) plus(d time.Duration) Instant {
	sum := i + Instant(d.Microseconds())
	if d > 0 && sum < i {
		return never
	}
	return sum
}

// Statistics is what the logs said at one moment, as far as metrics need it. Its zero value says nothing: every metric is unknown.
// It is not changed once it is filled, and then safe for concurrent use.
type Statistics struct {
	// Unavailable says why nothing can be known; "" where something can.
	Unavailable string

	Asked Instant // the moment of the question
	Began Instant // when the run began
	// Genesis is the time of slot 0 and Slot how long one lasts; 0 where that is not known.
	Genesis Instant
	Slot    time.Duration
	// Patience is how old the last complete reading of a node's log may be, in network time, before the node counts as silent.
	Patience time.Duration

	// Deployed is when the present deployment was made, where the run began in an earlier one: what was logged before is not in these statistics. Else 0.
	Deployed Instant

	// Nodes are the nodes whose logs are read, or should be. Those of the same address are lives of one node under several names.
	Nodes []NodeLog
	// Loads say what was seen of the run's loads, in their order.
	Loads []LoadLog
	// Blocks are those first received since the run began, and one before them: the last one of the best chain, when there is one. They ascend by height.
	Blocks []Block
	// Integrations say which nodes integrated the blocks at heights at which there are several, and the blocks around them: all of
	// Forked(Blocks). They are in the order in which they happened.
	Integrations []Integration
	// Applications are the times of successful traces of received blocks, Productions those of produced ones, since the run began. Ascending.
	Applications, Productions []time.Duration
	// Works are the SNARK works that were received, or needed, since the run began.
	Works []Work
	// Interruptions counts the blocks produced since the run began that could not take all SNARK work.
	Interruptions int64
}

// NodeLog says how much there is of one node's log.
type NodeLog struct {
	Address string // HOST:PORT; "" where it is not known
	Name    string // as in the database: log-fetcher, section 5
	// Since is the time from which on what the node logged is there, apart from gaps: that of its first entry, or of the first reading that gave any where that is
	// earlier. 0 where there is no entry: it may be a node that logs nothing.
	Since Instant
	// Hears is when it first integrated a block that it had received or produced, after upSince. Before, it may hear nothing of what others gossip. 0: that was not seen.
	Hears Instant
	// Skew is by how much the node's clock is wrong, as far as that could be told; positive when it is fast. 0: nothing tells that it is wrong.
	Skew time.Duration
	// ReadTo is the network time at which the log was last read to its end: what the node logged until then is there, apart from gaps. 0 when it was never read.
	ReadTo Instant
	// Lag is how long ago that was, in wall time; only where ReadTo is known.
	Lag time.Duration
	// Listed says whether the list of nodes that are up had it last time.
	Listed bool
	// Gaps are what is missing before ReadTo, as far as it may lie in the run's time or the slot before.
	Gaps []Gap
	// Traced counts its successful traces, of any known source, of the run's blocks (Statistics.Blocks without the one before).
	Traced int
	// Tips are the hashes of the highest blocks that it integrated up to Statistics.Common: several where it cannot be told which of them it took. Empty when there is none.
	Tips []string
}

// Gap is a part of a node's log that is missing. What is missing was logged from From to To. Entries are not in the order of their times: a daemon may log what it did
// with a block when it is done, at the times at which it did it. So the entry after the gap may be older than those that are missing, and only
// that they were logged before somebody noticed is certain.
type Gap struct {
	From Instant // the earlier one of the entries around it; 0: nothing is known before it
	To   Instant // when it was noticed, or later
	Lost int64   // entries; -1 when that is not known, and then perhaps none
}

// LoadLog is what was seen of one load.
type LoadLog struct {
	// Transactions are all whose memo says that they belong to the load, in any order; questions are answered faster when they are in that of their indexes.
	Transactions []Transaction
	// Doubtful counts those that seem to be of before the run, where some node's clock is wrong.
	Doubtful int64
}

// Transaction is what the logs say of one transaction, by its fee payer's signature.
type Transaction struct {
	Index int // at the end of its memo
	// Received is when the first node received it, by that node's clock; 0 where only a block shows it.
	Received Instant
	// Sent is when the node itself which sends the load received it, as its own log has it; 0 where that was not seen.
	Sent Instant
	// Outcome is what that node's pool said of it then.
	Outcome Outcome
	// Height is that of the block of the best chain that holds it; 0 when none is known.
	Height int
	// Failed says whether it failed there.
	Failed bool
}

// Outcome is what a node's transaction pool said of a command that came from the node itself.
type Outcome uint8

// The outcomes. The zero value says that none was seen.
const (
	NoOutcome Outcome = iota
	Accepted
	Rejected
)

// Block is a block that some node received or produced.
type Block struct {
	Hash, Previous string  // state hashes; Previous is "" where no log said it
	Height         int     // blockchain length
	Slot           int64   // global slot
	Received       Instant // not before its slot begins
	Canonical      bool    // on the best chain, as far as it is known
	// Produced says whether its producer's own trace was seen. Nobody can have received it earlier.
	Produced bool
	// Opaque says that no log shows which transactions it holds, although it is known.
	Opaque bool
}

// Integration says that a node took a block into its frontier.
type Integration struct {
	Node string // name
	Hash string
}

// Work is one SNARK work. Times that were not seen are 0.
type Work struct {
	Added    Instant // when the first node needed it
	Received Instant // when the first node received it
}

// Common returns the time up to which all nodes were read that are not silent; Asked where there is none. It needs Asked, Patience and Nodes.
func (s *Statistics) Common() Instant {
	common := s.Asked
	for _, n := range s.Nodes {
		if n.ReadTo >= s.horizon() {
			common = min(common, n.ReadTo)
		}
	}
	return common
}

// Forked returns the hashes of the blocks whose integration has to be known to tell how deep nodes reorganised: those at heights at which there are
// several, and of the heights right below and above.
func Forked(blocks []Block) []string {
	at := make(map[int]int)
	for _, b := range blocks {
		at[b.Height]++
	}
	var hashes []string
	for _, b := range blocks {
		if at[b.Height-1] > 1 || at[b.Height] > 1 || at[b.Height+1] > 1 {
			hashes = append(hashes, b.Hash)
		}
	}
	slices.Sort(hashes)
	return slices.Compact(hashes)
}
