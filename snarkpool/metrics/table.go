// Package metrics says which figures an agent of the SNARK worker pool shows to Prometheus, and shows them.
//
// [Table] is the one list of their names, units, labels and help; the alert rules and the board under deploy/snarkpool mention no others, which a test
// checks. A [Collector] makes them, whenever Prometheus asks, from a [Snapshot] that the agent fills in. No label grows with the number of workers or
// jobs: workers are counted by pool, and what a single worker does is told by status and kept in the database. The host is the scrape's own label,
// instance.
//
// What is not known is not shown: a figure without a value is absent, never 0.
package metrics

import "slices"

// Prefix begins the name of each metric.
const Prefix = "snarkpool_"

// Kind is how a metric's values behave.
type Kind string

// The kinds, by Prometheus' own names.
const (
	Counter   Kind = "counter"
	Gauge     Kind = "gauge"
	Histogram Kind = "histogram"
)

// Metric is one row of the table.
type Metric struct {
	// Name is the whole name; it ends in its unit, and in _total for counters.
	Name string
	Kind Kind
	// Unit is seconds, bytes, joules, …; "" for a number of things.
	Unit string
	Help string
	// Labels are in the order of the values that a [Collector] gives.
	Labels []string
}

// The names of the metrics, without the prefix.
const (
	agentInfo         = "agent_info"
	agentStart        = "agent_start_time_seconds"
	poolFileStale     = "pool_file_stale"
	databaseUp        = "database_up"
	workers           = "workers"
	workersPlanned    = "workers_planned"
	workersUnplaced   = "workers_unplaced"
	workersSlow       = "workers_slow"
	workerMemory      = "worker_memory_bytes"
	proofs            = "proofs_total"
	proofsVerified    = "proofs_verified_total"
	proofsLost        = "proofs_lost_total"
	failures          = "failures_total"
	proofDuration     = "proof_duration_seconds"
	proving           = "proving_seconds_total"
	busy              = "busy_ratio"
	frozen            = "frozen_seconds_total"
	restarts          = "restarts_total"
	drains            = "drains_total"
	drainDuration     = "drain_seconds_total"
	leases            = "leases"
	leasesExpired     = "leases_expired_total"
	spool             = "spool_bytes"
	spoolLimit        = "spool_limit_bytes"
	spoolRecords      = "spool_records"
	logLinesDropped   = "log_lines_dropped_total"
	commands          = "commands_total"
	gpuInfo           = "gpu_info"
	gpuHealth         = "gpu_health"
	gpuUse            = "gpu_utilisation_ratio"
	gpuMemoryUsed     = "gpu_memory_used_bytes"
	gpuMemoryTotal    = "gpu_memory_total_bytes"
	gpuTemperature    = "gpu_temperature_celsius"
	gpuPower          = "gpu_power_watts"
	gpuEnergy         = "gpu_energy_joules_total"
	gpuEnergyPerProof = "gpu_energy_per_proof_joules"
	gpuThrottled      = "gpu_throttled"
	gpuECC            = "gpu_ecc_errors_total"
	gpuRemappedRows   = "gpu_remapped_rows"
	gpuEvents         = "gpu_events_total"
)

// Table returns all metrics, in the order in which they are described to people.
func Table() []Metric {
	pool, gpu := []string{"pool"}, []string{"gpu"}
	of := func(labels []string, more ...string) []string { return slices.Concat(labels, more) }
	table := []Metric{
		{agentInfo, Gauge, "", "Always 1; the labels say which agent this is, and which pool file it runs.", []string{"agent", "version", "name", "digest"}},
		{agentStart, Gauge, "seconds", "When the agent started, in seconds since 1970.", nil},
		{poolFileStale, Gauge, "", "1 while the agent runs the cached copy of a pool file that it cannot read, else 0.", nil},
		{databaseUp, Gauge, "", "1 while the database answers, 0 while it does not. Absent without a database.", nil},

		{workers, Gauge, "", "Workers, by pool and state. All states of a pool are there, also those with 0 workers.", of(pool, "state")},
		{workersPlanned, Gauge, "", "Workers that the plan has on this host, by pool.", pool},
		{workersUnplaced, Gauge, "", "Workers that the pool file asks for and that have no place on this host, by pool.", pool},
		{workersSlow, Gauge, "", "Workers that are much slower than the others of their pool.", pool},
		{workerMemory, Gauge, "bytes", "Memory of the workers' processes, by pool.", pool},

		{proofs, Counter, "", "Proofs delivered: accepted by the ledger, or by the coordinator for workers that fetch their own work.", of(pool, "kind")},
		{proofsVerified, Counter, "", "Proofs that an independent verifier looked at, by its verdict: valid or invalid.", of(pool, "verdict")},
		{proofsLost, Counter, "", "Proofs under way that were lost, because a worker was killed or its submission was not accepted.", pool},
		{failures, Counter, "", "Jobs that gave no proof, by reason.", of(pool, "reason")},
		{proofDuration, Histogram, "seconds", "Time to prove, by pool and kind of proof; without results that came from a cache.", of(pool, "kind")},
		{proving, Counter, "seconds", "Time that workers spent proving, also in vain, by pool.", pool},
		{busy, Gauge, "", "Share of the last minute that the pool's workers spent proving, from 0 to 1.", pool},
		{frozen, Counter, "seconds", "Time that workers were frozen, by pool.", pool},
		{restarts, Counter, "", "Starts of a worker that had run before, by cause; command is the cause of those that somebody asked for.", of(pool, "cause")},
		{drains, Counter, "", "Workers drained, by outcome: delivered or lost.", of(pool, "outcome")},
		{drainDuration, Counter, "seconds", "Time that drains of workers took, by pool.", pool},

		{leases, Gauge, "", "Jobs leased from the ledger, by pool.", pool},
		{leasesExpired, Counter, "", "Leases that ended before their proof came, by pool.", pool},
		{spool, Gauge, "bytes", "Size of what waits on disk for the database.", nil},
		{spoolLimit, Gauge, "bytes", "Size at which the spool is full.", nil},
		{spoolRecords, Gauge, "", "Proofs and events that wait on disk for the database.", nil},
		{logLinesDropped, Counter, "", "Lines of workers' logs that were not written, because the disk was full.", nil},
		{commands, Counter, "", "Commands given to the agent, by operation and outcome. The operation is empty where it is not known who asked.", []string{"operation", "outcome"}},

		{gpuInfo, Gauge, "", "Always 1; the labels say which GPU this is.", of(gpu, "model", "driver", "node")},
		{gpuHealth, Gauge, "", "1 for the state of health that the GPU is in, 0 for the others.", of(gpu, "health")},
		{gpuUse, Gauge, "", "Share of the time that the GPU is in use, from 0 to 1.", gpu},
		{gpuMemoryUsed, Gauge, "bytes", "Memory of the GPU in use.", gpu},
		{gpuMemoryTotal, Gauge, "bytes", "Memory of the GPU.", gpu},
		{gpuTemperature, Gauge, "celsius", "Temperature of the GPU.", gpu},
		{gpuPower, Gauge, "watts", "Power that the GPU draws.", gpu},
		{gpuEnergy, Counter, "joules", "Energy that the GPU took since its driver was loaded.", gpu},
		{gpuEnergyPerProof, Gauge, "joules", "Energy for each proof of late.", gpu},
		{gpuThrottled, Gauge, "", "1 while the GPU is slowed down for this reason; absent otherwise.", of(gpu, "reason")},
		{gpuECC, Counter, "", "Errors of the GPU's memory, corrected or uncorrected.", of(gpu, "kind")},
		{gpuRemappedRows, Gauge, "", "Rows of the GPU's memory that were replaced.", gpu},
		{gpuEvents, Counter, "", "Events of the GPU, by class.", of(gpu, "class")},
	}
	for i := range table {
		table[i].Name = Prefix + table[i].Name
	}
	return table
}

// States returns the states of a worker, in the order of its life (snark-pool, section 4).
func States() []string {
	return []string{
		"planned", "starting", "warming", "idle", "proving", "draining", "stopping", "stopped", "paused", "frozen", "exited", "backoff", "broken", "blocked",
		"stuck", "lost",
	}
}

// Healths returns the states of a GPU's health: fenced means that no worker may use it until a check passes, gone that it waits for an operator
// (snark-pool, section 6).
func Healths() []string { return []string{"joining", "healthy", "rechecking", "fenced", "gone"} }
