package evidence

import (
	"fmt"
	"math/big"
	"strings"
	"time"

	"provingground/dsl"
)

// Measure returns what the statistics say of a metric (Metrics). loads are those of Statistics.Loads, in the same order.
//
// It is an answer as of the last reading of the nodes' logs: what a node logged since then is not missing, as long as the reading is not older than Patience. A load that has ended by
// then is an exception: its last transactions are unknown until the node that sent it was read up to its end.
//
// The bounds hold whatever the missing entries say, under these assumptions: the clocks of the nodes, but those with a Skew, and of the fetcher's machine are right; a
// node whose log was read without a gap since it integrated a block received what others gossip, within a slot where it is a block; a command is sent once; and
// transactions are sent in the order of their indexes, no faster than their load's rate.
func (s *Statistics) Measure(metric string, scope dsl.Scope, loads []Load) dsl.Measured {
	group, name, _ := strings.Cut(metric, ".")
	if s.Unavailable != "" {
		return dsl.Measured{Missing: s.Unavailable}
	}
	if group == "log" {
		return s.logs(name)
	}
	if missing := s.unread(); missing != "" {
		return dsl.Measured{Missing: missing}
	}
	if compares := group == "snark" || strings.HasPrefix(metric, "tx.latency."); compares {
		if c := s.coverage(); len(c.skewed) > 0 {
			return dsl.Measured{Window: s.span(), Missing: "the clocks of some nodes are wrong, so their times cannot be compared with those of others: " + few(c.skewed)}
		}
	}
	if group == "tx" {
		return s.transactions(name, scope, loads)
	}
	v := s.view()
	switch metric {
	case "block.count", "block.orphaned":
		return v.blocks(name)
	case "chain.longest-gap":
		return v.longestGap()
	case "chain.reorganisation":
		return v.reorganisation()
	case "chain.tips":
		return v.tips()
	case "snark.received":
		return v.worksReceived()
	case "snark.interruptions":
		return v.interruptions()
	}
	for _, statistic := range statisticsOfMost() {
		switch metric {
		case "block.application." + statistic.name:
			return v.applications(statistic)
		case "block.production." + statistic.name:
			return v.productions(statistic)
		case "snark.latency." + statistic.name:
			return v.workLatency(statistic)
		}
	}
	return dsl.Measured{Missing: "nothing measures " + metric}
}

// unread says why nothing is known at all; "" where something is.
func (s *Statistics) unread() string {
	last := s.readTo()
	switch {
	case len(s.Nodes) == 0:
		return "the fetcher knows no node yet: see that it runs and finds nodes"
	case last == 0:
		return "the fetcher has read no log yet: see that it runs and reaches the nodes"
	case last < s.Began:
		return fmt.Sprintf("the fetcher has read no log since this run began, the last at %s: see that it runs and is not frozen", clockText(last))
	case last < s.horizon():
		return fmt.Sprintf("the fetcher has read no log since %s: see that it runs and is not frozen", clockText(last))
	default:
		return ""
	}
}

// bounds are the ends of what a number can be. A nil end is not known.
type bounds struct{ low, high *big.Rat }

// exactly are the bounds of a number that is known.
func exactly(n int64) bounds { return bounds{big.NewRat(n, 1), big.NewRat(n, 1)} }

// from low to high, which are whole numbers.
func between(low, high int64) bounds { return bounds{big.NewRat(low, 1), big.NewRat(high, 1)} }

// measured makes an answer of bounds. missing says why they are not the same, if they are not.
func (b bounds) measured(window, missing string) dsl.Measured {
	if b.low != nil && b.high != nil && b.low.Cmp(b.high) == 0 {
		missing = ""
	}
	return dsl.Measured{Low: b.low, High: b.high, Window: window, Missing: missing}
}

// seconds returns a duration in seconds.
func seconds(d time.Duration) *big.Rat { return big.NewRat(int64(d), int64(time.Second)) }

// count puts a number before a noun.
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
