package metrics_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"provingground/snarkpool/metrics"
)

func TestTable(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, metric := range metrics.Table() {
		name := metric.Name
		isTotal := strings.HasSuffix(name, "_total")
		switch {
		case !regexp.MustCompile(`^snarkpool_[a-z_]+[a-z]$`).MatchString(name) || seen[name]:
			t.Errorf("%s is no name of its own", name)
		case isTotal != (metric.Kind == metrics.Counter):
			t.Errorf("%s is a %s", name, metric.Kind)
		case metric.Unit != "" && !strings.HasSuffix(strings.TrimSuffix(name, "_total"), "_"+metric.Unit):
			t.Errorf("%s does not end in its unit, %s", name, metric.Unit)
		case !strings.HasSuffix(metric.Help, "."):
			t.Errorf("%s: help %q", name, metric.Help)
		case slices.Contains(metric.Labels, "worker"):
			t.Errorf("%s grows with the workers", name)
		}
		seen[name] = true
	}
}

// full is a snapshot in which everything is known.
func full() metrics.Snapshot {
	var durations metrics.Durations
	for _, took := range []time.Duration{250 * time.Millisecond, 3 * time.Second, 3 * time.Second, time.Hour} {
		durations.Observe(took)
	}
	return metrics.Snapshot{
		Agent: "bm7", Version: "1", Name: "itn-snark", Digest: "abc", Stale: true, Started: time.Unix(1_700_000_000, 0), DatabaseUp: new(false),
		Pools: map[string]metrics.Pool{"cpu": {
			States: map[string]int{"proving": 5, "idle": 1}, Planned: 7, Unplaced: 1, Slow: 2, MemoryBytes: new(uint64(1 << 30)),
			Proofs: map[string]uint64{"base": 4}, Durations: map[string]metrics.Durations{"base": durations}, Verified: map[string]uint64{"valid": 4},
			Failures: map[string]uint64{"crashed": 1}, Restarts: map[string]uint64{"recycle": 3}, Drains: map[string]uint64{"delivered": 6}, Lost: 2,
			Proving: 90 * time.Second, Frozen: 1500 * time.Millisecond, Draining: time.Minute, BusyShare: new(0.75), Leases: 5, LeasesExpired: 1,
		}},
		Spool: &metrics.Spool{Bytes: 10, LimitBytes: 100, Records: 3}, LogLinesDropped: 4,
		Commands: map[metrics.CommandKind]uint64{{Operation: "drain", Outcome: "done"}: 2},
		GPUs: map[string]metrics.GPU{"GPU-1": {
			Model: "H200", Driver: "570", Node: "1", Health: "fenced", Utilisation: new(0.5), MemoryUsedBytes: new(uint64(5)),
			MemoryTotalBytes: new(uint64(9)), TemperatureCelsius: new(60.0), PowerMilliwatts: new(uint64(250_500)),
			EnergyMillijoules: new(uint64(2_000)), EnergyPerProofMillijoules: new(uint64(1_500)), Throttled: []string{"thermal"},
			ECC: map[string]uint64{"corrected": 1, "uncorrected": 0}, RemappedRows: new(uint64(0)), Events: map[string]uint64{"application": 1},
		}},
	}
}

// gather returns all figures as text, by the names and labels of their series.
func gather(t *testing.T, snapshot metrics.Snapshot) map[string]string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(metrics.NewCollector(func() metrics.Snapshot { return snapshot })); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetName()+"="+label.GetValue())
			}
			value := fmt.Sprint(metric.GetGauge().GetValue() + metric.GetCounter().GetValue())
			if histogram := metric.GetHistogram(); histogram != nil {
				value = fmt.Sprint(histogram.GetSampleCount(), " ", histogram.GetSampleSum())
				for _, bucket := range histogram.GetBucket() {
					value += fmt.Sprint(" ", bucket.GetUpperBound(), ":", bucket.GetCumulativeCount())
				}
			}
			all[family.GetName()+"{"+strings.Join(labels, ",")+"}"] = value
		}
	}
	return all
}

func TestCollectorShowsEverything(t *testing.T) {
	t.Parallel()
	all := gather(t, full())
	for series, want := range map[string]string{
		"snarkpool_agent_info{agent=bm7,digest=abc,name=itn-snark,version=1}": "1",
		"snarkpool_agent_start_time_seconds{}":                                "1.7e+09",
		"snarkpool_pool_file_stale{}":                                         "1",
		"snarkpool_database_up{}":                                             "0",
		"snarkpool_workers{pool=cpu,state=proving}":                           "5",
		"snarkpool_workers{pool=cpu,state=broken}":                            "0",
		"snarkpool_proofs_verified_total{pool=cpu,verdict=invalid}":           "0",
		"snarkpool_proof_duration_seconds{kind=base,pool=cpu}":                "4 3606.25 0.25:1 0.5:1 1:1 2.5:1 5:3 10:3 20:3 40:3 60:3 120:3 300:3 600:3",
		"snarkpool_proving_seconds_total{pool=cpu}":                           "90",
		"snarkpool_frozen_seconds_total{pool=cpu}":                            "1.5",
		"snarkpool_busy_ratio{pool=cpu}":                                      "0.75",
		"snarkpool_restarts_total{cause=recycle,pool=cpu}":                    "3",
		"snarkpool_commands_total{operation=drain,outcome=done}":              "2",
		"snarkpool_commands_total{operation=,outcome=refused}":                "0",
		"snarkpool_gpu_health{gpu=GPU-1,health=fenced}":                       "1",
		"snarkpool_gpu_health{gpu=GPU-1,health=healthy}":                      "0",
		"snarkpool_gpu_power_watts{gpu=GPU-1}":                                "250.5",
		"snarkpool_gpu_energy_joules_total{gpu=GPU-1}":                        "2",
		"snarkpool_gpu_energy_per_proof_joules{gpu=GPU-1}":                    "1.5",
		"snarkpool_gpu_throttled{gpu=GPU-1,reason=thermal}":                   "1",
		"snarkpool_gpu_remapped_rows{gpu=GPU-1}":                              "0",
	} {
		if got, shown := all[series]; !shown || got != want {
			t.Errorf("%s: %q, want %q", series, got, want)
		}
	}
	for _, metric := range metrics.Table() {
		found := false
		for series := range all {
			name, labels, _ := strings.Cut(strings.TrimSuffix(series, "}"), "{")
			if name != metric.Name {
				continue
			}
			found = true
			var names []string
			for label := range strings.SplitSeq(labels, ",") {
				if label, _, isLabel := strings.Cut(label, "="); isLabel {
					names = append(names, label)
				}
			}
			if diff := cmp.Diff(slices.Sorted(slices.Values(metric.Labels)), names); diff != "" {
				t.Errorf("%s: %s", series, diff)
			}
		}
		if !found {
			t.Errorf("%s is in the table, and nothing shows it", metric.Name)
		}
	}
	if states := len(metrics.States()); states != 16 {
		t.Errorf("%d states", states)
	}
}

// TestUnknownIsNotZero shows an agent that knows nothing yet, with a pool and a GPU of which nothing is known.
func TestUnknownIsNotZero(t *testing.T) {
	t.Parallel()
	snapshot := metrics.Snapshot{Pools: map[string]metrics.Pool{"cpu": {}}, GPUs: map[string]metrics.GPU{"GPU-1": {Health: "joining"}}}
	for series := range gather(t, snapshot) {
		for _, unknown := range []string{"database", "spool", "memory", "busy", "duration", "temperature", "power", "energy", "utilisation", "remapped", "ecc", "throttled"} {
			if strings.HasPrefix(series, "snarkpool_") && strings.Contains(strings.SplitN(series, "{", 2)[0], unknown) {
				t.Errorf("%s is shown, though nobody knows it", series)
			}
		}
	}
	if snapshot.Pools["cpu"].States != nil {
		t.Error("the snapshot was changed")
	}
}

func BenchmarkCollect(b *testing.B) {
	registry := prometheus.NewRegistry()
	snapshot := full()
	if err := registry.Register(metrics.NewCollector(func() metrics.Snapshot { return snapshot })); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
