package evidence

import (
	"strconv"

	"provingground/dsl"
)

// Metrics returns what a condition may ask of the logs, in the order in which documentation lists it (evidence, section "Metrics").
//
// A percentile is that of the nearest rank: tx.latency.p95 of n transactions is the one at place ⌈0.95 n⌉ when they are put in order.
func Metrics() []dsl.Metric {
	metrics := []dsl.Metric{
		{Name: "tx.submitted", Scoped: true, Doc: "transactions of this run's load that any node's log or any block shows"},
		{Name: "tx.included", Scoped: true, Doc: "the share of them that is in a block of the best chain, also where it failed there"},
		{Name: "tx.failed", Scoped: true, Doc: "the share of them that is in a block of the best chain and failed there"},
		{Name: "tx.rejected", Scoped: true, Doc: "the share of them that the node which was to send it refused, and that is in no block of the best chain"},
		{Name: "tx.missing", Scoped: true, Doc: "the share of them that is neither included nor rejected"},
	}
	metrics = append(metrics, durations("tx.latency", true, statisticsOfAll(), "from the first reception by any node to that of the including block")...)
	metrics = append(metrics,
		dsl.Metric{Name: "block.count", Doc: "blocks that any node received since the run began, orphaned ones included"},
		dsl.Metric{Name: "block.orphaned", Doc: "the share of them that is not on the best chain"},
	)
	metrics = append(metrics, durations("block.application", false, statisticsOfMost(), "a node's time for a received block, from its arrival to its integration, over all nodes and blocks")...)
	metrics = append(metrics, durations("block.production", false, statisticsOfMost(), "a producer's time for its own block, from the begin to the integration, over all blocks")...)
	metrics = append(metrics,
		dsl.Metric{Name: "chain.longest-gap", Unit: dsl.UnitSlot, Doc: "slots in a row without a block of the best chain, the ends of the run's time included"},
		dsl.Metric{Name: "chain.reorganisation", Doc: "blocks that a node's best chain lost when it changed over to another, at the deepest change"},
		dsl.Metric{Name: "chain.tips", Doc: "distinct best tips of the nodes now"},
		dsl.Metric{Name: "snark.received", Doc: "SNARK works that any node received since the run began"},
	)
	metrics = append(metrics, durations("snark.latency", false, statisticsOfMost(), "from the time at which the first node needed a work to its first reception by any node")...)
	return append(metrics,
		dsl.Metric{Name: "snark.interruptions", Doc: "produced blocks that could not take all the SNARK work they should have held"},
		dsl.Metric{Name: "log.lost", Doc: "entries of the nodes' logs that are known to be lost in the run's time"},
		dsl.Metric{Name: "log.gaps", Doc: "places in the run's time where entries of a node's log are missing, or may be"},
		dsl.Metric{Name: "log.lag", Unit: dsl.UnitSecond, Doc: "wall time since the log of the node that is furthest behind was read to its end"},
	)
}

// IsShare reports whether a metric is a share, from 0 to 1.
func IsShare(metric string) bool {
	switch metric {
	case "tx.included", "tx.failed", "tx.rejected", "tx.missing", "block.orphaned":
		return true
	default:
		return false
	}
}

// statistic is what is said of many durations at once: least, mean, greatest, or a percentile.
type statistic struct {
	name    string
	percent int64 // of a percentile; 0 for min, mean and max
}

const (
	least    = "min"
	mean     = "mean"
	greatest = "max"
)

// statisticsOfAll returns the statistics of a transaction's latency.
func statisticsOfAll() []statistic { return append([]statistic{{name: least}}, statisticsOfMost()...) }

// statisticsOfMost returns those of every other duration.
func statisticsOfMost() []statistic {
	return []statistic{{name: mean}, percentile(50), percentile(95), percentile(99), {name: greatest}}
}

func percentile(percent int64) statistic {
	return statistic{name: "p" + strconv.FormatInt(percent, 10), percent: percent}
}

func durations(name string, scoped bool, of []statistic, what string) []dsl.Metric {
	var metrics []dsl.Metric
	for _, s := range of {
		doc := what
		switch {
		case s.percent > 0:
			doc = strconv.FormatInt(s.percent, 10) + "th percentile (nearest rank) of: " + doc
		case s.name == mean:
			doc = "mean of: " + doc
		case s.name == least:
			doc = "least of: " + doc
		default:
			doc = "greatest of: " + doc
		}
		metrics = append(metrics, dsl.Metric{Name: name + "." + s.name, Unit: dsl.UnitSecond, Scoped: scoped, Doc: doc})
	}
	return metrics
}
