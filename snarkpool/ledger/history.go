package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"
)

// Work is what a worker did in some time: the sum of its minutes.
type Work struct {
	Worker string `json:"worker"`
	// Proofs counted, Late ones among them; Revoked ceased to count in this time, whenever they were made.
	Proofs     int64 `json:"proofs"`
	Late       int64 `json:"late"`
	Duplicates int64 `json:"duplicates"`
	Refused    int64 `json:"refused"`
	Failures   int64 `json:"failures"`
	Revoked    int64 `json:"revoked"`
	// Timed proofs took SecondsTotal together, the longest SecondsMax; nil when the time of none is known.
	Timed        int64    `json:"timed"`
	SecondsTotal float64  `json:"seconds_total"`
	SecondsMax   *float64 `json:"seconds_max"`
	// What was measured; nil where nothing was.
	CPUSeconds        *float64 `json:"cpu_seconds"`
	MemoryMaxBytes    *int64   `json:"memory_max_bytes"`
	EnergyMillijoules *int64   `json:"energy_millijoules"`
}

// Minute is what a worker did in the minute that begins at Minute.
type Minute struct {
	Minute time.Time `json:"minute"`
	Work
}

const workColumns = `sum(proofs) AS proofs, sum(late) AS late, sum(duplicates) AS duplicates, sum(refused) AS refused, sum(failures) AS failures,
	sum(revoked) AS revoked, sum(timed) AS timed, sum(seconds_total) AS seconds_total, max(seconds_max) AS seconds_max, sum(cpu_seconds) AS cpu_seconds,
	max(memory_max_bytes) AS memory_max_bytes, sum(energy_millijoules)::bigint AS energy_millijoules`

// Works returns what each worker did in the minutes that began from since until before, by name. Workers whose names do not begin with the prefix,
// such as "bm7/gpu/", and those without a minute are not in it.
func (l *Ledger) Works(ctx context.Context, prefix string, since, before time.Time) ([]Work, error) {
	return query[Work](ctx, l, "sum up what workers did", "SELECT worker, "+workColumns+`
		FROM snark_pool_minute WHERE starts_with(worker, $1) AND minute >= $2 AND minute < $3 GROUP BY worker ORDER BY worker`, prefix, since, before)
}

// Minutes returns the minutes of one worker that began from since until before, oldest first. A minute in which nothing was reported is not in it.
func (l *Ledger) Minutes(ctx context.Context, worker string, since, before time.Time) ([]Minute, error) {
	list, err := query[Minute](ctx, l, "read the minutes of "+worker, "SELECT worker, minute, "+workColumns+`
		FROM snark_pool_minute WHERE worker = $1 AND minute >= $2 AND minute < $3 GROUP BY worker, minute ORDER BY minute`, worker, since, before)
	for i := range list {
		list[i].Minute = list[i].Minute.UTC()
	}
	return list, err
}

// Events returns at most n events of a worker, of a host and its workers ("bm7"), or of all (""), newest first.
func (l *Ledger) Events(ctx context.Context, of string, n int) ([]Event, error) {
	type row struct {
		At                            time.Time
		Host, Worker, Event, From, To string
		Cause                         string
		Detail                        *string
	}
	rows, err := query[row](ctx, l, "read the events", `SELECT at, host, coalesce(worker, '') AS worker, event, coalesce(from_state, '') AS from, coalesce(to_state, '') AS to,
		coalesce(cause, '') AS cause, detail::text AS detail FROM snark_pool_event WHERE $1 IN ('', host, worker) ORDER BY at DESC, event_id DESC LIMIT $2`, of, n)
	var list []Event
	for _, r := range rows {
		event := Event{At: r.At.UTC(), Host: r.Host, Worker: r.Worker, Event: r.Event, From: r.From, To: r.To, Cause: r.Cause}
		if r.Detail != nil {
			event.Detail = json.RawMessage(*r.Detail)
		}
		list = append(list, event)
	}
	return list, err
}

// SlowRule says when a worker is slow.
type SlowRule struct {
	// Factor: its mean proving time is so many times the median of the others in its pool; 1.5 by default.
	Factor float64
	// Proofs is how many timed proofs a worker must have for its mean to be taken seriously; 5 by default.
	Proofs int64
	// Workers is how many such workers a pool must have, at least 3; 3 by default.
	Workers int
}

// Slow is a worker that is slower than its pool.
type Slow struct {
	Worker string
	// MeanSeconds is its mean proving time, MedianSeconds the median of the means of the pool's other workers, Times their ratio.
	MeanSeconds, MedianSeconds, Times float64
}

// Slowest returns the workers that are slow by the rule, the slowest first. Workers are compared with those of the same pool on all hosts, so that a
// bad machine shows as well as a bad worker. It depends on its arguments alone.
func (r SlowRule) Slowest(works []Work) []Slow {
	factor, proofs, workers := cmp.Or(r.Factor, 1.5), cmp.Or(r.Proofs, 5), max(r.Workers, 3)
	type mean struct {
		worker  string
		seconds float64
	}
	pools := map[string][]mean{}
	for _, w := range works {
		if w.Timed >= proofs {
			_, pool, _ := cutWorker(w.Worker)
			pools[pool] = append(pools[pool], mean{w.Worker, w.SecondsTotal / float64(w.Timed)})
		}
	}
	var slow []Slow
	for _, means := range pools {
		if len(means) < workers {
			continue
		}
		for i, m := range means {
			var others []float64
			for k, other := range means {
				if k != i {
					others = append(others, other.seconds)
				}
			}
			slices.Sort(others)
			median := (others[(len(others)-1)/2] + others[len(others)/2]) / 2
			if median > 0 && m.seconds > factor*median {
				slow = append(slow, Slow{Worker: m.worker, MeanSeconds: m.seconds, MedianSeconds: median, Times: m.seconds / median})
			}
		}
	}
	slices.SortFunc(slow, func(a, b Slow) int { return cmp.Or(cmp.Compare(b.Times, a.Times), cmp.Compare(a.Worker, b.Worker)) })
	return slow
}

// Prune removes what is older than a moment: jobs that were delivered before, with their leases and proofs, minutes and events. Audit rows stay, and
// so do jobs that are not delivered. It removes some thousand rows at a time and may be called by several programs at once.
func (l *Ledger) Prune(ctx context.Context, before time.Time) error {
	const rows = 2000
	for _, statement := range []string{
		`WITH old AS MATERIALIZED (SELECT job_id FROM snark_pool_job WHERE delivered_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
			DELETE FROM snark_pool_job j USING old WHERE j.job_id = old.job_id`,
		`WITH old AS MATERIALIZED (SELECT worker, minute FROM snark_pool_minute WHERE minute < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
			DELETE FROM snark_pool_minute m USING old WHERE (m.worker, m.minute) = (old.worker, old.minute)`,
		`WITH old AS MATERIALIZED (SELECT event_id FROM snark_pool_event WHERE at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
			DELETE FROM snark_pool_event e USING old WHERE e.event_id = old.event_id`,
	} {
		for {
			changed, err := l.execute(ctx, "remove what is old from the ledger", statement, before, rows)
			if err != nil {
				return err
			}
			if changed < rows {
				break
			}
		}
	}
	return nil
}
