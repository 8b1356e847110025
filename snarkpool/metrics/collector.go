package metrics

import (
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Snapshot is an agent at one moment. Counters count since the agent started, or longer where it remembers. A nil pointer or a missing entry of a map is a
// figure that is not known. A collector changes nothing of it.
type Snapshot struct {
	Agent, Version string
	// Name and Digest are those of the pool file; Stale says that it is the cached copy.
	Name, Digest string
	Stale        bool
	Started      time.Time
	DatabaseUp   *bool
	// Pools are by name.
	Pools           map[string]Pool
	Spool           *Spool
	LogLinesDropped uint64
	Commands        map[CommandKind]uint64
	// GPUs are by UUID.
	GPUs map[string]GPU
}

// CommandKind is one kind of command in [Snapshot.Commands].
type CommandKind struct{ Operation, Outcome string }

// Pool is one pool's workers on this host.
type Pool struct {
	// States counts workers by state. Those that it leaves out have none; those that [States] leaves out are shown all the same.
	States                  map[string]int
	Planned, Unplaced, Slow int
	MemoryBytes             *uint64
	// Proofs and Durations are by the kind of proof, such as base or merge.
	Proofs    map[string]uint64
	Durations map[string]Durations
	// Verified is by verdict, Failures by reason, Restarts by cause, Drains by outcome.
	Verified, Failures, Restarts, Drains map[string]uint64
	Lost                                 uint64
	Proving, Frozen, Draining            time.Duration
	// BusyShare is of the last minute, from 0 to 1.
	BusyShare     *float64
	Leases        int
	LeasesExpired uint64
}

// Durations is a histogram. Its zero value is empty and ready for use. It is not safe for concurrent use; a copy by value is a snapshot.
type Durations struct {
	counts [buckets + 1]uint64
	sum    time.Duration
}

// buckets is how many buckets of the histogram have an upper bound.
const buckets = 12

// Bounds returns the upper bounds of the histogram's buckets, in seconds: from small Groth16 proofs to Mina's largest.
func Bounds() [buckets]float64 {
	return [buckets]float64{0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600}
}

// Observe adds one proof.
func (d *Durations) Observe(took time.Duration) {
	at := 0
	for _, bound := range Bounds() {
		if took.Seconds() <= bound {
			break
		}
		at++
	}
	d.counts[at]++
	d.sum += took
}

// Spool is what waits on disk for the database.
type Spool struct {
	Bytes, LimitBytes, Records uint64
}

// GPU is one GPU.
type GPU struct {
	Model, Driver string
	// Node is its memory node as text; empty when not known.
	Node string
	// Health is one of [Healths].
	Health                    string
	Utilisation               *float64 // from 0 to 1
	MemoryUsedBytes           *uint64
	MemoryTotalBytes          *uint64
	TemperatureCelsius        *float64
	PowerMilliwatts           *uint64
	EnergyMillijoules         *uint64
	EnergyPerProofMillijoules *uint64
	// Throttled are the reasons for which it is slowed down.
	Throttled    []string
	ECC          map[string]uint64 // corrected, uncorrected
	RemappedRows *uint64
	Events       map[string]uint64 // by class
}

// Collector shows snapshots to Prometheus. Make it with [NewCollector]. Safe for concurrent use if its source is.
type Collector struct {
	source func() Snapshot
	table  map[string]described
}

type described struct {
	description *prometheus.Desc
	kind        prometheus.ValueType
}

// NewCollector returns a collector that asks source each time it is asked itself. source must not wait.
func NewCollector(source func() Snapshot) *Collector {
	c := &Collector{source: source, table: map[string]described{}}
	for _, metric := range Table() {
		kind := prometheus.GaugeValue
		if metric.Kind == Counter {
			kind = prometheus.CounterValue
		}
		c.table[metric.Name] = described{prometheus.NewDesc(metric.Name, metric.Help, metric.Labels, nil), kind}
	}
	return c
}

// Describe gives the table.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, name := range slices.Sorted(maps.Keys(c.table)) {
		out <- c.table[name].description
	}
}

// Collect gives the figures of now.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	s := c.source()
	g := gathering{c.table, out}
	g.add(agentInfo, 1, s.Agent, s.Version, s.Name, s.Digest)
	g.add(agentStart, float64(s.Started.UnixMilli())/1000)
	g.add(poolFileStale, truth(s.Stale))
	if s.DatabaseUp != nil {
		g.add(databaseUp, truth(*s.DatabaseUp))
	}
	for name, pool := range s.Pools {
		g.pool(name, pool)
	}
	if s.Spool != nil {
		g.add(spool, float64(s.Spool.Bytes))
		g.add(spoolLimit, float64(s.Spool.LimitBytes))
		g.add(spoolRecords, float64(s.Spool.Records))
	}
	g.add(logLinesDropped, float64(s.LogLinesDropped))
	counts := maps.Clone(s.Commands)
	if counts == nil {
		counts = map[CommandKind]uint64{}
	}
	counts[CommandKind{Outcome: "refused"}] += 0
	for kind, count := range counts {
		g.add(commands, float64(count), kind.Operation, kind.Outcome)
	}
	for uuid, gpu := range s.GPUs {
		g.gpu(uuid, gpu)
	}
}

// gathering is one answer on its way.
type gathering struct {
	table map[string]described
	out   chan<- prometheus.Metric
}

func (g gathering) add(name string, value float64, labels ...string) {
	row := g.table[Prefix+name]
	g.out <- prometheus.MustNewConstMetric(row.description, row.kind, value, labels...) // a wrong number of labels would be a slip of this file
}

// each adds a figure for each entry of a map, by a first label and its key.
func each[Value int | uint64](g gathering, name, label string, values map[string]Value) {
	for key, value := range values {
		g.add(name, float64(value), label, key)
	}
}

// withZeros returns a copy with all of these keys: only of a counter that was there with 0 can Prometheus see the first increase.
func withZeros[Value int | uint64](values map[string]Value, keys ...string) map[string]Value {
	all := make(map[string]Value, len(values)+len(keys))
	for _, key := range keys {
		all[key] = 0
	}
	maps.Copy(all, values)
	return all
}

// known adds a figure unless it is nil.
func known[Value uint64 | float64](g gathering, name string, value *Value, factor float64, labels ...string) {
	if value != nil {
		g.add(name, float64(*value)*factor, labels...)
	}
}

func (g gathering) pool(name string, pool Pool) {
	each(g, workers, name, withZeros(pool.States, States()...))
	g.add(workersPlanned, float64(pool.Planned), name)
	g.add(workersUnplaced, float64(pool.Unplaced), name)
	g.add(workersSlow, float64(pool.Slow), name)
	known(g, workerMemory, pool.MemoryBytes, 1, name)
	each(g, proofs, name, pool.Proofs)
	each(g, proofsVerified, name, withZeros(pool.Verified, "valid", "invalid"))
	g.add(proofsLost, float64(pool.Lost), name)
	each(g, failures, name, pool.Failures)
	for kind, durations := range pool.Durations {
		g.durations(durations, name, kind)
	}
	g.add(proving, pool.Proving.Seconds(), name)
	known(g, busy, pool.BusyShare, 1, name)
	g.add(frozen, pool.Frozen.Seconds(), name)
	each(g, restarts, name, pool.Restarts)
	each(g, drains, name, withZeros(pool.Drains, "delivered", "lost"))
	g.add(drainDuration, pool.Draining.Seconds(), name)
	g.add(leases, float64(pool.Leases), name)
	g.add(leasesExpired, float64(pool.LeasesExpired), name)
}

func (g gathering) durations(durations Durations, labels ...string) {
	below := map[float64]uint64{}
	var count uint64
	for i, bound := range Bounds() {
		count += durations.counts[i]
		below[bound] = count
	}
	count += durations.counts[len(durations.counts)-1]
	g.out <- prometheus.MustNewConstHistogram(g.table[Prefix+proofDuration].description, count, durations.sum.Seconds(), below, labels...)
}

func (g gathering) gpu(uuid string, gpu GPU) {
	g.add(gpuInfo, 1, uuid, gpu.Model, gpu.Driver, gpu.Node)
	for _, health := range Healths() {
		g.add(gpuHealth, truth(health == gpu.Health), uuid, health)
	}
	known(g, gpuUse, gpu.Utilisation, 1, uuid)
	known(g, gpuMemoryUsed, gpu.MemoryUsedBytes, 1, uuid)
	known(g, gpuMemoryTotal, gpu.MemoryTotalBytes, 1, uuid)
	known(g, gpuTemperature, gpu.TemperatureCelsius, 1, uuid)
	known(g, gpuPower, gpu.PowerMilliwatts, 1e-3, uuid)
	known(g, gpuEnergy, gpu.EnergyMillijoules, 1e-3, uuid)
	known(g, gpuEnergyPerProof, gpu.EnergyPerProofMillijoules, 1e-3, uuid)
	for _, reason := range gpu.Throttled {
		g.add(gpuThrottled, 1, uuid, reason)
	}
	each(g, gpuECC, uuid, gpu.ECC)
	known(g, gpuRemappedRows, gpu.RemappedRows, 1, uuid)
	each(g, gpuEvents, uuid, gpu.Events)
}

func truth(holds bool) float64 {
	if holds {
		return 1
	}
	return 0
}
