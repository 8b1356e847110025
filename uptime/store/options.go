package store

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"provingground/uptime/service"
)

const (
	// hour is the time in which the submissions of a key are counted.
	hour = time.Hour
	// slack is how much longer things are remembered than they matter: clocks differ, and requests overtake one another.
	slack = 5 * time.Minute

	defaultRetention   = 20 * time.Minute
	defaultPerHour     = 120
	defaultMaxEntries  = 1_000_000
	defaultSubmissions = 7 * 24 * time.Hour
)

// Options say what is remembered. The zero value is usable.
type Options struct {
	// Retention is how long a node stays online after its last report, and how old a submission may be, wall time: it must be that of
	// the service. A submission that was created longer ago is refused as service.ErrReplayed, for nobody may know any more whether it
	// is one. 0 means 20 minutes.
	Retention time.Duration
	// PerHour is how many submissions of a key are accepted in any hour. 0 means 120.
	PerHour int
	// MaxEntries is how many submissions of the last hour, or of the retention if it is longer, a [Memory] remembers; there are never
	// more nodes than that. Further ones are refused as service.ErrFull. 0 means 1,000,000. One takes 150 bytes (BenchmarkMemory),
	// twice that while its submitter's are growing. A [Database] has no such bound.
	MaxEntries int
	// KeepSubmissions is how long a [Database] keeps the history of submissions, wall time: not less than what is needed to refuse
	// repeated ones and to count the hour. 0 means 7 days.
	KeepSubmissions time.Duration
	// Now tells [Database.Prune] the wall time; nil means the machine's.
	Now func() time.Time
}

// complete fills in the defaults.
func (o Options) complete() (Options, error) {
	if o.Retention < 0 || o.PerHour < 0 || o.MaxEntries < 0 || o.KeepSubmissions < 0 {
		return o, fmt.Errorf("store of submissions: retention %s, %d per hour, at most %d entries, kept for %s: none of them is below 0",
			o.Retention, o.PerHour, o.MaxEntries, o.KeepSubmissions)
	}
	o.Retention = cmp.Or(o.Retention, defaultRetention)
	o.PerHour = cmp.Or(o.PerHour, defaultPerHour)
	o.MaxEntries = cmp.Or(o.MaxEntries, defaultMaxEntries)
	if o.KeepSubmissions == 0 {
		o.KeepSubmissions = max(defaultSubmissions, o.needed())
	}
	if o.KeepSubmissions < o.needed() {
		return o, fmt.Errorf("store of submissions: kept for %s, which forgets what repeated submissions are known by: keep them for %s at least",
			o.KeepSubmissions, o.needed())
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o, nil
}

// needed is how long a submission matters, counted from the later one of its creation and its reception: as long as an equal one
// could be young enough, for the hour's count, and for as long as its node is online.
func (o Options) needed() time.Duration { return max(o.Retention, hour) + slack }

// moment is a time as both stores know it: PostgreSQL has no nanoseconds.
func moment(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// prepare brings the times of a submission to what both stores know, and refuses one that is too old.
func (o Options) prepare(s *service.Accepted) error {
	s.CreatedAt, s.ReceivedAt = moment(s.CreatedAt), moment(s.ReceivedAt)
	if age := s.ReceivedAt.Sub(s.CreatedAt); age > o.Retention {
		return fmt.Errorf("created %s before it came, which is too long ago to know whether it came before: %w", age, service.ErrReplayed)
	}
	return nil
}

// sorted sorts a list as services show it.
func sorted(nodes []service.Online) []service.Online {
	slices.SortFunc(nodes, func(a, b service.Online) int {
		return cmp.Or(cmp.Compare(a.Submitter, b.Submitter), cmp.Compare(a.RemoteAddr, b.RemoteAddr),
			cmp.Compare(a.ControlPort, b.ControlPort), cmp.Compare(a.PeerID, b.PeerID))
	})
	return nodes
}
