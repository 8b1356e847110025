package orchestrator_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"provingground/dsl"
	"provingground/internal/clock"
	"provingground/internal/mina"
	"provingground/internal/redact"
	"provingground/orchestrator"
	"provingground/orchestrator/record"
	"provingground/orchestrator/simnet"
	"provingground/orchestrator/simnet/standin"
)

// stepTimes returns how long each step of a run took, by the times in its record.
func (e ending) stepTimes(t testing.TB) map[int]time.Duration {
	t.Helper()
	took := map[int]time.Duration{}
	var before time.Time
	if _, err := record.Read("standard output", strings.NewReader(e.out), func(l record.Line) error {
		if l.Name == "_run" {
			before = l.Time
		}
		if l.Name == "_done" {
			took[l.Step] = l.Time.Sub(before)
			before = l.Time
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return took
}

const benchLatency = 20 * time.Millisecond

// waves is how long n requests take at the least, 64 at once.
func waves(n int) time.Duration { return time.Duration((n+63)/64) * benchLatency }

// benchNetwork is a network on TCP whose nodes answer after 20 ms, and so many funded accounts with their key files in the directory keys.
func benchNetwork(b *testing.B, nodes, keys int) *network {
	b.Helper()
	var funded []mina.PrivateKey
	for i := range keys {
		key, err := mina.GeneratePrivateKey(rand.NewChaCha8([32]byte{2, byte(i), byte(i >> 8)}))
		if err != nil {
			b.Fatal(err)
		}
		funded = append(funded, key)
	}
	n := newNetwork(b, func(o *simnet.Options) {
		o.Nodes, o.Producers, o.KeepJournal = nodes, 2, false
		o.Faults = []simnet.Fault{{Kind: simnet.FaultSlow, Delay: benchLatency}}
		for _, key := range funded {
			o.Accounts[key.PublicKey()] = 1_000_000_000_000
		}
	})
	for i, key := range funded {
		writeKey(b, fmt.Sprintf("keys/key-%03d", i), key, "")
	}
	return n
}

// bare sends one plain HTTP request to each node, 64 at once, over new connections: what the network and the simulated nodes take by
// themselves on this machine. The nodes refuse the unsigned request after their 20 ms.
func (n *network) bare(b *testing.B) time.Duration {
	b.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	began := time.Now()
	group, ctx := errgroup.WithContext(b.Context())
	group.SetLimit(64)
	for _, address := range n.Nodes() {
		group.Go(func() error {
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/graphql", strings.NewReader(`{"query":"{auth{serverUuid}}"}`))
			if err != nil {
				return err
			}
			answer, err := transport.RoundTrip(request)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, answer.Body)
			return errors.Join(err, answer.Body.Close())
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

// BenchmarkLoad200Nodes schedules payments on 200 nodes that answer after 20 ms, and stops them. The metrics are multiples of the time
// that the latency alone takes with 64 requests at once.
func BenchmarkLoad200Nodes(b *testing.B) {
	const nodes = 200
	n := benchNetwork(b, nodes, nodes)
	script := `
{"action":"discovery","params":{}}
{"action":"load-keys","params":{"dir":"keys"}}
{"action":"payments","params":{"experimentName":"bench","tps":2,"minTps":0.01,"durationMin":10000,"minFee":100000000,"maxFee":100000000,"amount":1,
 "receiver":"B62qiy32p8kAKnny8ZFwoMhYpBppM1DWVCqAPBYNcXnsAHhnfAAuXgg","feePayers":{"type":"output","step":1,"name":"key"},"nodes":{"type":"output","step":0,"name":"participant"}}}
{"action":"stop","params":{"receipts":{"type":"output","step":2,"name":"receipt"}}}`
	var place, stop time.Duration
	for b.Loop() {
		e := n.run(script)
		if e.Err != nil || len(e.outputs(b, 2, "receipt")) != nodes {
			b.Fatalf("%d receipts: %v", len(e.outputs(b, 2, "receipt")), e.Err)
		}
		took := e.stepTimes(b)
		place += took[2]
		stop += took[3]
	}
	floor := float64(waves(nodes)) * float64(b.N)
	b.ReportMetric(float64(place)/floor, "place/floor")
	b.ReportMetric(float64(stop)/floor, "stop/floor")
	b.ReportMetric(float64(place.Milliseconds())/float64(b.N), "place-ms")
	b.ReportMetric(float64(stop.Milliseconds())/float64(b.N), "stop-ms")
}

// BenchmarkDiscover1000Nodes reads the online list and authenticates to 1,000 newer nodes that answer after 20 ms.
func BenchmarkDiscover1000Nodes(b *testing.B) {
	const nodes = 1000
	n := benchNetwork(b, nodes, 0)
	var took, bare time.Duration
	for b.Loop() {
		bare += n.bare(b)
		e := n.run(`{"action":"discovery","params":{}}`)
		if e.Err != nil || len(e.outputs(b, 0, "participant")) != nodes {
			b.Fatalf("%d participants: %v", len(e.outputs(b, 0, "participant")), e.Err)
		}
		took += e.stepTimes(b)[0]
	}
	b.ReportMetric(float64(took)/(float64(waves(nodes))*float64(b.N)), "discover/floor")
	b.ReportMetric(float64(took)/float64(bare), "discover/bare")
	b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "discover-ms")
}

// BenchmarkSteps100000 runs 100,000 steps that only compute, each with a reference to the one before.
func BenchmarkSteps100000(b *testing.B) {
	for _, steps := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(steps), func(b *testing.B) {
			var text strings.Builder
			text.WriteString(`{"action":"join","params":{"group1":["10.0.0.1:3086","10.0.0.2:3086","10.0.0.3:3086"]}}` + "\n")
			for range steps - 1 {
				text.WriteString(`{"action":"except","params":{"group":{"type":"output","step":-1,"name":"group","onEmpty":[]},"except":["10.0.0.9:3086"]}}` + "\n")
			}
			script := text.String()
			world := orchestrator.World{
				Clock: clock.Wall(), Log: zap.NewNop(), Shown: zap.NewNop(), Console: io.Discard, Mask: redact.Text, Hide: func(string) {},
			}
			var peak uint64
			for b.Loop() {
				parsed, err := dsl.ReadJSON("bench", strings.NewReader(script))
				if err != nil {
					b.Fatal(err)
				}
				plan, found := orchestrator.Compile(parsed, orchestrator.CompileOptions{})
				if plan == nil {
					b.Fatal(found)
				}
				result := orchestrator.NewRun(plan, orchestrator.Config{Concurrency: 64}, world, record.NewWriter(io.Discard, nil, redact.Text, nil),
					orchestrator.Options{}).Do(b.Context())
				if result.Err != nil {
					b.Fatal(result.Err)
				}
				var memory runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&memory)
				peak = max(peak, memory.HeapAlloc)
				runtime.KeepAlive(plan)
			}
			b.ReportMetric(float64(len(script))/(1<<20), "script-MiB")
			b.ReportMetric(float64(peak)/(1<<20), "live-MiB")
		})
	}
}

// BenchmarkLoadKeys20 opens 20 key files of the cost that the mina executable uses (128 MiB, 6 passes).
func BenchmarkLoadKeys20(b *testing.B) {
	n := newNetwork(b, nil)
	for i := range 20 {
		key, err := mina.GeneratePrivateKey(rand.NewChaCha8([32]byte{byte(i)}))
		if err != nil {
			b.Fatal(err)
		}
		content, err := mina.SealKeyFile(key, []byte("correct horse"), mina.DefaultKeyFileCost(), rand.NewChaCha8([32]byte{1, byte(i)}))
		if err != nil {
			b.Fatal(err)
		}
		if err := (standin.Disk{}).Write(fmt.Sprintf("costly/key-%02d", i), content, true); err != nil {
			b.Fatal(err)
		}
	}
	paths, err := filepath.Glob("costly/*")
	if err != nil {
		b.Fatal(err)
	}
	var one, all time.Duration
	for b.Loop() {
		began := time.Now()
		if _, err := mina.OpenKeyFiles(b.Context(), paths, []byte("correct horse"), 1<<30, 1, os.ReadFile); err != nil {
			b.Fatal(err)
		}
		one += time.Since(began)
		e := n.run(`{"action":"load-keys","params":{"dir":"costly","passwordEnv":"PASS"}}`)
		if e.Err != nil {
			b.Fatal(e.Err)
		}
		all += e.stepTimes(b)[0]
	}
	b.ReportMetric(float64(runtime.GOMAXPROCS(0)), "cores")
	b.ReportMetric(one.Seconds()/float64(b.N), "one-by-one-s")
	b.ReportMetric(all.Seconds()/float64(b.N), "load-keys-s")
	b.ReportMetric(float64(one)/float64(all), "times-faster")
}
