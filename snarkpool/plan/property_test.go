package plan_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/snarkpool/plan"
	"provingground/snarkpool/poolfile"
	"provingground/snarkpool/topology"
	"provingground/snarkpool/topology/topologytest"
)

const gib = 1 << 20 // in KiB

// somewhere is a machine of any shape.
func somewhere(t *rapid.T) topologytest.Description {
	number := func(name string, low, high int) int { return rapid.IntRange(low, high).Draw(t, name) }
	d := topologytest.Description{
		Hostname: "bm1", Architecture: "x86_64", Flags: "avx bmi2",
		Numbering: rapid.SampledFrom([]string{"siblings-last", "siblings-adjacent"}).Draw(t, "numbering"),
	}
	threads := number("SMT", 1, 2)
	nodes := number("nodes", 1, 4)
	for node := range nodes {
		pack := node * number("packages", 0, 1)
		d.Cores = append(d.Cores, topologytest.Cores{Package: pack, Node: node, Count: number("cores", 1, 12), Threads: threads, PerCache: number("per cache", 1, 8)})
		if number("slow cores, too", 0, 3) == 0 {
			d.Cores = append(d.Cores, topologytest.Cores{Package: pack, Node: node, Count: number("slow", 1, 4), Threads: 1, PerCache: 4, Efficiency: true})
		}
		d.NodeMemoryKiB = append(d.NodeMemoryKiB, uint64(rapid.SampledFrom([]int{0, 1, 8, 20, 64, 300}).Draw(t, "GiB"))*gib)
	}
	if number("isolated", 0, 3) == 0 {
		d.Isolated = topology.NewCPUSet(number("isolated CPU", 0, 3)).String()
	}
	if number("affinity", 0, 3) == 0 {
		d.Affinity = fmt.Sprintf("0-%d", number("affinity to", 0, 20))
	}
	d.Files = map[string]string{}
	if number("quota", 0, 3) == 0 {
		d.Files["sys/fs/cgroup/system.slice/cpu.max"] = fmt.Sprintf("%d 100000", 50_000*number("half CPUs", 1, 30))
	}
	if number("limit", 0, 3) == 0 {
		d.Files["sys/fs/cgroup/system.slice/memory.max"] = fmt.Sprint(number("limit GiB", 1, 100) << 30)
	}
	for i := range number("GPUs", 0, 5) {
		d.GPUs = append(d.GPUs, topologytest.GPU{UUID: fmt.Sprintf("GPU-%d", i), Node: number("GPU's node", -1, nodes-1), MemoryMiB: 40 << 10})
	}
	return d
}

// some are any pools: the first, or all of them with any share of the host.
func some(t *rapid.T, most int) poolfile.HostPools {
	number := func(name string, low, high int) int { return rapid.IntRange(low, high).Draw(t, name) }
	pools := poolfile.HostPools{FileDigest: "0123456789abcdef", Reserve: poolfile.Reserve{Memory: poolfile.Bytes(number("reserved GiB", 0, 10)) * poolfile.GiB}}
	if number("reserve", 0, 1) == 1 {
		cores := number("reserved cores", 0, 6)
		pools.Reserve.Cores = &cores
	}
	for i := range number("pools", 1, most) {
		pool := poolfile.HostPool{Name: string(rune('a' + i)), Pool: poolfile.Pool{
			Kind: poolfile.KindFed, Command: []string{"p", "${name}"}, Threads: number("threads", 1, 8),
			SMT:    rapid.SampledFrom([]string{poolfile.SMTSiblings, poolfile.SMTShare, poolfile.SMTOff}).Draw(t, "smt"),
			NUMA:   rapid.SampledFrom([]string{poolfile.NUMAStrict, poolfile.NUMAPrefer}).Draw(t, "numa"),
			Memory: poolfile.Memory{Max: poolfile.Bytes(number("GiB each", 0, 9)) * poolfile.GiB},
		}}
		if number("uses GPUs", 0, 2) == 0 {
			pool.GPU = &poolfile.GPU{Count: number("GPUs each", 1, 2), Check: poolfile.CheckSkip, MemoryFree: poolfile.Bytes(number("GPU GiB", 0, 30)) * poolfile.GiB}
		}
		switch {
		case pool.GPU != nil && pool.GPU.Count == 1 && number("per GPU", 0, 1) == 1:
			pool.PerGPU = number("workers per GPU", 1, 3)
		case number("auto", 0, 1) == 1:
			pool.Auto = true
		default:
			workers := number("workers", 0, 12)
			pool.Workers = &workers
		}
		pools.Pools = append(pools.Pools, pool)
	}
	return pools
}

func input(t testing.TB, d topologytest.Description, pools poolfile.HostPools) plan.Input {
	t.Helper()
	return plan.Input{Host: d.Hostname, Machine: d.Read(t), GPUs: gpus(d), Pools: pools}
}

// check says what is wrong with a plan, whatever made it.
func check(t *rapid.T, in plan.Input, p plan.Plan) {
	fail := func(format string, args ...any) { t.Fatalf(format+"\n%s", append(args, p.Explain())...) }
	m := in.Machine
	coreOf, nodeOf := map[int]int{}, map[int]int{}
	cores := map[int]topology.CPUSet{} // what is allowed of each
	for _, cpu := range m.CPUs {
		coreOf[cpu.ID], nodeOf[cpu.ID] = cpu.Core, cpu.Node
		if m.Allowed.Contains(cpu.ID) {
			cores[cpu.Core] = cores[cpu.Core].Union(topology.CPUSet{cpu.ID})
		}
	}
	owner := map[int]string{} // by core
	own := func(who string, cpus topology.CPUSet) (owned []int) {
		for _, id := range cpus {
			if !m.Allowed.Contains(id) {
				fail("%s has CPU %d, which is not allowed", who, id)
			}
			core := coreOf[id]
			if other, ok := owner[core]; ok && other != who {
				fail("%s and %s have core %d", who, other, core)
			}
			owner[core] = who
			owned = append(owned, core)
		}
		return topology.NewCPUSet(owned...)
	}
	own("the agent", p.Control)
	pools := map[string]poolfile.HostPool{}
	for _, pool := range in.Pools.Pools {
		pools[pool.Name] = pool
	}
	perNode := map[int]uint64{}
	var all, threads uint64
	onGPU := map[string][]string{}
	counts := map[string]int{}
	names := map[string]bool{}
	for _, w := range p.Workers {
		pool := pools[w.Pool]
		counts[w.Pool]++
		if want := fmt.Sprintf("%s/%s/%d", in.Host, w.Pool, w.Index); w.Name != want || names[w.Name] {
			fail("a worker is named %s, want %s and once", w.Name, want)
		}
		names[w.Name] = true
		owned := own(w.Name, w.CPUs)
		carries, bound := 0, topology.CPUSet{}
		for _, core := range owned {
			cpus := cores[core]
			if pool.SMT == poolfile.SMTOff {
				cpus = cpus[:1]
			}
			bound = bound.Union(cpus)
			if pool.SMT == poolfile.SMTShare {
				carries += len(cpus)
			} else {
				carries++
			}
		}
		if !slices.Equal(bound, w.CPUs) || carries < pool.Threads || w.Threads != pool.Threads || w.Cores != len(owned) {
			fail("%s has CPUs %s of cores %v for %d threads", w.Name, w.CPUs, owned, pool.Threads)
		}
		if len(w.MemoryNodes.Minus(m.AllowedNodes)) > 0 {
			fail("%s has nodes %s", w.Name, w.MemoryNodes)
		}
		node := nodeOf[w.CPUs[0]]
		all += uint64(w.MemoryMax)
		threads += uint64(pool.Threads)
		if pool.NUMA == poolfile.NUMAStrict {
			perNode[node] += uint64(w.MemoryMax)
			for _, id := range w.CPUs {
				if nodeOf[id] != node {
					fail("%s is on nodes %d and %d", w.Name, node, nodeOf[id])
				}
			}
			if w.MemoryNodes.String() != fmt.Sprint(node) {
				fail("%s has CPUs of node %d and memory of %s", w.Name, node, w.MemoryNodes)
			}
		}
		if pool.GPU != nil && len(w.GPUs) != pool.GPU.Count || pool.GPU == nil && w.GPUs != nil {
			fail("%s has GPUs %v", w.Name, w.GPUs)
		}
		for _, uuid := range w.GPUs {
			gpu := in.GPUs[slices.IndexFunc(in.GPUs, func(g plan.GPU) bool { return g.UUID == uuid })]
			if pool.NUMA == poolfile.NUMAStrict && gpu.Node >= 0 && gpu.Node != node {
				fail("%s is on node %d, its GPU on %d", w.Name, node, gpu.Node)
			}
			if on := onGPU[uuid]; len(on) > 0 && (on[0] != w.Pool || len(on) >= pool.PerGPU) {
				fail("%s is given to one worker too many, of pools %v and %s", uuid, on, w.Pool)
			}
			onGPU[uuid] = append(onGPU[uuid], w.Pool)
		}
	}
	var total uint64 // 0 when the machine does not say, and nothing is counted
	for _, node := range m.Nodes {
		total += node.MemoryBytes
	}
	counted := total > 0
	for _, node := range m.Nodes {
		if counted && perNode[node.ID] > node.MemoryBytes {
			fail("node %d has %d bytes and gives %d", node.ID, node.MemoryBytes, perNode[node.ID])
		}
	}
	if m.Limits.MemoryBytes != nil {
		total = min(total, *m.Limits.MemoryBytes)
	}
	if counted && all > total-min(total, uint64(in.Pools.Reserve.Memory)) {
		fail("the machine has %d bytes and gives %d", total, all)
	}
	if quota := m.Limits.QuotaCPUs; quota > 0 && float64(threads) > quota {
		fail("%d threads under a quota of %g", threads, quota)
	}
	unplaced := map[string]int{}
	for _, u := range p.Unplaced {
		unplaced[u.Pool]++
		if names[u.Name] || u.Reason == "" {
			fail("%+v has a place, or no reason for having none", u)
		}
	}
	for name, pool := range pools {
		if pool.Workers != nil && counts[name]+unplaced[name] != *pool.Workers || len(p.WhyNotMore[name]) == 0 {
			fail("pool %s has %d workers and %d without a place, and %v", name, counts[name], unplaced[name], p.WhyNotMore[name])
		}
	}
}

func made(t *rapid.T, in plan.Input) plan.Plan {
	p, err := plan.Make(in)
	if err != nil {
		t.Fatal(err)
	}
	check(t, in, p)
	return p
}

// A plan keeps its promises, is the same twice, moves nothing when nothing has changed, and keeps its promises when anything has.
func TestPromises(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		in := input(t, somewhere(r), some(r, 4))
		first := made(r, in)
		if diff := cmp.Diff(first, made(r, in)); diff != "" {
			r.Fatalf("the same input, and another plan (-first +second)\n%s", diff)
		}
		content, err := json.Marshal(first)
		if err != nil {
			r.Fatal(err)
		}
		var stored plan.Plan
		if err := json.Unmarshal(content, &stored); err != nil {
			r.Fatal(err)
		}
		in.Previous = &stored
		if diff := cmp.Diff(first, made(r, in)); diff != "" {
			r.Fatalf("nothing has changed, and another plan (-before +after)\n%s", diff)
		}
		other := input(t, somewhere(r), some(r, 4))
		fresh := made(r, other)
		other.Previous = &stored
		around := made(r, other)
		of := func(p plan.Plan, pool string) (n int) {
			for _, w := range p.Workers {
				if w.Pool == pool {
					n++
				}
			}
			return n
		}
		for _, pool := range other.Pools.Pools {
			if of(around, pool.Name) < of(fresh, pool.Name) {
				r.Fatalf("staying in place costs pool %s a worker:\n%s\ninstead of\n%s", pool.Name, around.Explain(), fresh.Explain())
			}
		}
	})
}

// More cores, memory, quota or GPUs never mean fewer workers of a pool that has the machine to itself. (Of several pools the first may grow at
// the cost of the next.)
func TestMoreNeverMeansLess(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		d := somewhere(r)
		d.Isolated, d.Affinity = "", "" // they name CPUs by their numbers, which change
		pools := some(r, 1)
		if pools.Pools[0].SMT == poolfile.SMTShare { // cores that carry unlike numbers of threads are a knapsack
			d.Cores = slices.DeleteFunc(d.Cores, func(c topologytest.Cores) bool { return c.Efficiency })
		}
		before := made(r, input(t, d, pools))
		i := rapid.IntRange(0, len(d.Cores)-1).Draw(r, "where")
		switch rapid.SampledFrom([]string{"cores", "memory", "node", "limits", "GPU"}).Draw(r, "more") {
		case "cores":
			d.Cores = slices.Clone(d.Cores)
			d.Cores[i].Count += rapid.IntRange(1, 5).Draw(r, "so many")
		case "memory":
			d.NodeMemoryKiB = slices.Clone(d.NodeMemoryKiB)
			if node := d.Cores[i].Node; d.NodeMemoryKiB[node] > 0 || len(before.Workers) == 0 { // a machine without any is not counted
				d.NodeMemoryKiB[node] += 9 * gib
			}
		case "node":
			if slices.Max(d.NodeMemoryKiB) > 0 {
				more := d.Cores[0]
				more.Node = len(d.NodeMemoryKiB)
				d.Cores = append(slices.Clone(d.Cores), more)
				d.NodeMemoryKiB = append(slices.Clone(d.NodeMemoryKiB), 30*gib)
			}
		case "limits":
			d.Files = nil
		case "GPU":
			d.GPUs = append(slices.Clone(d.GPUs), topologytest.GPU{UUID: "GPU-more", Node: d.Cores[i].Node, MemoryMiB: 40 << 10})
		}
		after := made(r, input(t, d, pools))
		if len(after.Workers) < len(before.Workers) {
			r.Fatalf("more, and fewer workers:\n%s\nbefore\n%s", after.Explain(), before.Explain())
		}
	})
}

// A core that goes away moves the worker that had it, and the one that had what the agent takes for it; no other.
func TestReplanMovesLittle(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		d := somewhere(r)
		pools := some(r, 1)
		pools.Pools[0].GPU, pools.Pools[0].NUMA, pools.Pools[0].SMT = nil, poolfile.NUMAStrict, poolfile.SMTSiblings
		pools.Pools[0].PerGPU = 0
		in := input(t, d, pools)
		before := made(r, in)
		if len(before.Workers) == 0 {
			return
		}
		gone := in.Machine.CPUs[rapid.IntRange(0, len(in.Machine.CPUs)-1).Draw(r, "gone")].Core
		for _, cpu := range in.Machine.CPUs {
			if cpu.Core == gone {
				in.Machine.Allowed = in.Machine.Allowed.Minus(topology.CPUSet{cpu.ID})
			}
		}
		in.Previous = &before
		rolled, removed := 0, 0
		after := made(r, in)
		for _, change := range after.Changes(&before) {
			switch change.What {
			case "roll":
				rolled++
			case "remove":
				removed++
			}
		}
		if rolled > 2 || removed > 2 {
			r.Fatalf("%d rolled and %d removed for one core:\n%s\nbefore\n%s", rolled, removed, after.Explain(), before.Explain())
		}
	})
}
