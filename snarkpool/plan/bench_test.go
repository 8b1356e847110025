package plan_test

import (
	"fmt"
	"testing"

	"provingground/snarkpool/plan"
	"provingground/snarkpool/topology/topologytest"
)

// BenchmarkPlan places the workers of 40 hosts with 256 CPUs and 8 GPUs each (snark-pool, section 9: at most 50 ms), from nothing and around
// a plan in force.
func BenchmarkPlan(b *testing.B) {
	d := topologytest.Describe(b, "epyc")
	machine := d.Read(b)
	file := pools(b, `{"version":1,"name":"p","hosts":[{"match":{},"reserve":{"cores":2,"memory":"8GiB"},"pools":{"cpu":{"workers":"auto"},"gpu":{"workers_per_gpu":1}}}],
		"pools":{"cpu":{"kind":"fed","command":["p"],"threads":2,"memory":{"max":"8GiB"}},"gpu":{"kind":"fed","command":["p"],"threads":4,"memory":{"max":"8GiB"},"gpu":{}}}}`, "any", nil)
	hosts := make([]plan.Input, 40)
	for i := range hosts {
		hosts[i] = plan.Input{Host: fmt.Sprintf("bm%d", i), Machine: machine, Pools: file}
		for g := range 8 {
			hosts[i].GPUs = append(hosts[i].GPUs, plan.GPU{UUID: fmt.Sprintf("GPU-%d-%d", i, g), Node: g / 4, Checked: true})
		}
	}
	all := func(b *testing.B) (plans []plan.Plan) {
		b.Helper()
		for _, in := range hosts {
			p, err := plan.Make(in)
			if err != nil || len(p.Workers) < 50 {
				b.Fatalf("%d workers: %v", len(p.Workers), err)
			}
			plans = append(plans, p)
		}
		return plans
	}
	b.Run("from nothing", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			all(b)
		}
	})
	for i, p := range all(b) {
		hosts[i].Previous = &p
	}
	b.Run("around a plan", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			all(b)
		}
	})
}
