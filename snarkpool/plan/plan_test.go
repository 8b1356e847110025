package plan_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"provingground/snarkpool/plan"
	"provingground/snarkpool/poolfile"
	"provingground/snarkpool/topology"
	"provingground/snarkpool/topology/topologytest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// poolFile is the one of snark-pool, section 2, with more rules, for the four machines.
const poolFile = `{ "version": 1, "name": "itn-snark",
  "hosts": [ {"match": {"labels": {"role": "prover"}}, "reserve": {"cores": 2, "memory": "8GiB"}, "pools": {"cpu": {"workers": "auto"}}},
             {"match": {"host": "bm7"}, "pools": {"gpu": {"workers_per_gpu": 1}, "cpu": {"workers": 6}}},
             {"match": {"host": "laptop"}, "pools": {"small": {"workers": "auto"}}},
             {"match": {"host": "vm"}, "reserve": {"cores": 0}, "pools": {"small": {"workers": 3}, "cpu": {"workers": 1}}} ],
  "pools": {
    "cpu": {"kind": "mina", "command": ["mina","internal","snark-worker","--proof-level","full"],
            "coordinator": "gate:coord1", "threads": 6, "smt": "siblings", "numa": "strict", "memory": {"high": "7GiB", "max": "8GiB"},
            "requires": {"cpu_flags": ["bmi2","avx"]}, "env": {"RAYON_NUM_THREADS": "${threads}"}},
    "small": {"kind": "fed", "command": ["snarkpool","prove","gnark","--name","${name}"], "threads": 1, "memory": {"max": "1GiB"}},
    "gpu": {"kind": "fed", "command": ["snarkpool","prove","gnark-icicle"], "gpu": {"count": 1, "memory_free": "20GiB", "check": "require"}, "threads": 4, "memory": {"max": "32GiB"}} } }`

func pools(t testing.TB, text, host string, labels map[string]string) poolfile.HostPools {
	t.Helper()
	file, err := poolfile.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	pools, err := file.ForHost(host, labels)
	if err != nil {
		t.Fatal(err)
	}
	return pools
}

// gpus are a described machine's.
func gpus(d topologytest.Description) []plan.GPU {
	var gpus []plan.GPU
	for _, gpu := range d.GPUs {
		free := (gpu.MemoryMiB - 500) << 20
		gpus = append(gpus, plan.GPU{UUID: gpu.UUID, Model: gpu.Model, Node: gpu.Node, MemoryBytes: gpu.MemoryMiB << 20, MemoryFree: &free, Checked: true})
	}
	return gpus
}

// machine is a described machine with the pools of a file of one rule, in which pools and shares stand as in a pool file.
func machine(t testing.TB, d topologytest.Description, reserve, shares, kinds string) plan.Input {
	t.Helper()
	text := fmt.Sprintf(`{"version":1,"name":"p","hosts":[{"match":{},"reserve":%s,"pools":%s}],"pools":%s}`, reserve, shares, kinds)
	return plan.Input{Host: d.Hostname, Machine: d.Read(t), GPUs: gpus(d), Pools: pools(t, text, d.Hostname, nil)}
}

func placed(t testing.TB, in plan.Input) plan.Plan {
	t.Helper()
	p, err := plan.Make(in)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: run with -update if this is meant (-want +got)\n%s", path, diff)
	}
}

// The four machines, as people are told about them and as the agent stores them.
func TestMachines(t *testing.T) {
	for _, name := range topologytest.Names() {
		t.Run(name, func(t *testing.T) {
			d := topologytest.Describe(t, name)
			p := placed(t, plan.Input{
				Host: d.Hostname, Machine: d.Read(t), GPUs: gpus(d), Pools: pools(t, poolFile, d.Hostname, map[string]string{"role": "prover"}),
			})
			golden(t, name+".txt", p.Explain())
			content, err := json.MarshalIndent(p, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			var back plan.Plan
			if err := json.Unmarshal(content, &back); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(p, back); diff != "" {
				t.Errorf("a plan does not survive JSON (-want +got)\n%s", diff)
			}
			if name == "two-core" {
				golden(t, name+".json", string(content)+"\n")
			}
		})
	}
}

const one = `{"cpu":{"kind":"fed","command":["p"],"threads":6,"memory":{"max":"8GiB"}}}`

// What the machine denies is respected, and said.
func TestWhyNotMore(t *testing.T) {
	kind := func(more string) string {
		return `{"cpu":{"kind":"fed","command":["p"],"threads":6,"memory":{"max":"8GiB"}` + more + `}}`
	}
	const auto = `{"cpu":{"workers":"auto"}}`
	tests := []struct {
		name, machine, reserve, shares, kinds string
		change                                func(*topologytest.Description)
		workers                               int
		why                                   []string
		warnings                              []string
	}{
		{"cores", "epyc", `{}`, auto, one, nil, 20, []string{"node 0: 3 cores left, 6 needed", "node 1: 3 cores left, 6 needed"}, nil},
		{"as asked", "epyc", `{}`, `{"cpu":{"workers":2}}`, one, nil, 2, []string{"the pool file asks for 2"}, nil},
		{"none asked", "epyc", `{}`, `{"cpu":{"workers":0}}`, one, nil, 0, []string{"the pool file asks for 0"}, nil},
		{"half a core", "epyc", `{}`, auto, kind(`,"smt":"share"`), nil, 42, []string{"node 0: 0 CPUs left, 6 needed", "node 1: 0 CPUs left, 6 needed"}, nil},
		{"too few", "laptop", `{}`, `{"cpu":{"workers":2}}`, one, nil, 1, []string{"6.3GiB of memory left in all, 8GiB needed", "node 0: 5 cores left, 6 needed, 6.3GiB of memory left, 8GiB needed"},
			[]string{"pool cpu: 1 of 2 workers asked for fit"}},
		{"memory", "epyc", `{"memory":"950GiB"}`, auto, one, nil, 6, []string{"node 0: 4.5GiB of memory left, 8GiB needed", "node 1: 4.9GiB of memory left, 8GiB needed"}, nil},
		{"memory of the cgroup", "epyc", `{}`, auto, one, func(d *topologytest.Description) {
			d.Files = map[string]string{"sys/fs/cgroup/system.slice/memory.max": "34359738368"}
		}, 3, []string{"7GiB of memory left in all, 8GiB needed"}, nil},
		{"a quota", "epyc", `{}`, auto, one, func(d *topologytest.Description) {
			d.Files = map[string]string{"sys/fs/cgroup/system.slice/cpu.max": "1500000 100000"}
		}, 2, []string{"the quota of 15 CPUs leaves 2 threads, 6 needed"}, nil},
		{"flags", "epyc", `{}`, auto, kind(`,"requires":{"cpu_flags":["avx","avx512f","amx_tile"]}`), nil, 0, []string{"the CPUs lack avx512f, amx_tile"}, nil},
		{"no GPU", "epyc", `{}`, `{"cpu":{"workers_per_gpu":1}}`, kind(`,"gpu":{"count":1}`), nil, 0, []string{"the machine has no GPU that can be used"}, nil},
		{"isolated", "laptop", `{"cores":0}`, auto, one, func(d *topologytest.Description) { d.Isolated = "0-7,10-15" }, 0, []string{"node 0: 2 cores left, 6 needed"}, nil},
		{"offline", "epyc", `{}`, auto, one, func(d *topologytest.Description) { d.Offline = "64-127,192-255" }, 10, []string{"node 0: 3 cores left, 6 needed"}, nil},
		{"half of the cores", "epyc", `{}`, auto, one, func(d *topologytest.Description) { d.Affinity = "0-12" }, 2, []string{"node 0: 0 cores left, 6 needed"},
			[]string{"cores 0-12 have siblings outside of the CPUs allowed: whoever runs there slows the workers"}},
		{"larger than a node", "epyc", `{}`, auto, `{"cpu":{"kind":"fed","command":["p"],"threads":70,"memory":{"max":"8GiB"}}}`, nil, 0,
			[]string{"node 0: 63 cores left, 70 needed", "node 1: 63 cores left, 70 needed"}, nil},
		{"larger than a node, and it may be", "epyc", `{}`, auto, `{"cpu":{"kind":"fed","command":["p"],"threads":70,"numa":"prefer","memory":{"max":"600GiB"}}}`, nil, 1,
			[]string{"406.5GiB of memory left in all, 600GiB needed", "56 cores left on all nodes, 70 needed"}, nil},
		{"no limit", "laptop", `{}`, auto, `{"cpu":{"kind":"fed","command":["p"],"threads":6}}`, nil, 1, []string{"node 0: 5 cores left, 6 needed"},
			[]string{"pool cpu has no memory limit: its memory is not counted, and its workers can take the others'"}},
		{"all reserved", "two-core", `{"cores":3}`, `{"cpu":{"workers":1}}`, one, nil, 0, []string{"2.8GiB of memory left in all, 8GiB needed", "node 0: 0 cores left, 6 needed, 2.8GiB of memory left, 8GiB needed"},
			[]string{"3 cores are to be reserved, and the machine has 2: the agent gets all of them", "pool cpu: 0 of 1 worker asked for fit"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := topologytest.Describe(t, test.machine)
			if test.change != nil {
				test.change(&d)
			}
			p := placed(t, machine(t, d, test.reserve, test.shares, test.kinds))
			if len(p.Workers) != test.workers {
				t.Errorf("%d workers, want %d", len(p.Workers), test.workers)
			}
			if diff := cmp.Diff(test.why, p.WhyNotMore["cpu"]); diff != "" {
				t.Errorf("why not more (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(test.warnings, p.Warnings); diff != "" {
				t.Errorf("warnings (-want +got)\n%s", diff)
			}
			if t.Failed() {
				t.Log(p.Explain())
			}
		})
	}
}

func TestGPUs(t *testing.T) {
	const reserve = `{}`
	kind := func(gpu string) string {
		return `{"gpu":{"kind":"fed","command":["p"],"threads":4,"memory":{"max":"8GiB"},"gpu":` + gpu + `}}`
	}
	d := topologytest.Describe(t, "xeon-gpus")
	t.Run("near their GPU", func(t *testing.T) {
		in := machine(t, d, reserve, `{"gpu":{"workers_per_gpu":2}}`, kind(`{}`))
		in.GPUs[7].Node, in.GPUs[7].CPUs = -1, []int{56, 57, 168} // told by its CPUs
		p := placed(t, in)
		if len(p.Workers) != 16 {
			t.Fatal(p.Explain())
		}
		for i, w := range p.Workers {
			gpu := in.GPUs[i/2]
			if node := max(gpu.Node, (i/2)/4); w.GPUs[0] != gpu.UUID || w.Index != i || w.Env["CUDA_VISIBLE_DEVICES"] != gpu.UUID ||
				w.MemoryNodes.String() != fmt.Sprint(node) || len(w.CPUs.Minus(in.Machine.Nodes[node].CPUs)) > 0 || w.Blocked != "" {
				t.Errorf("%+v", w)
			}
		}
	})
	t.Run("several for one worker", func(t *testing.T) {
		p := placed(t, machine(t, d, reserve, `{"gpu":{"workers":"auto"}}`, kind(`{"count":3}`)))
		var got []string
		for _, w := range p.Workers {
			got = append(got, w.Env["CUDA_VISIBLE_DEVICES"])
		}
		want := []string{"GPU-0000001b,GPU-00000043,GPU-00000052", "GPU-0000009d,GPU-000000c3,GPU-000000d1"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if why := p.WhyNotMore["gpu"]; len(why) != 1 || why[0] != "2 GPUs left, 3 needed" {
			t.Error(why)
		}
	})
	t.Run("blocked, and its worker waits in its place", func(t *testing.T) {
		in := machine(t, d, reserve, `{"gpu":{"workers_per_gpu":1}}`, kind(`{}`))
		before := placed(t, in)
		in.GPUs[2].Blocked, in.GPUs[3].Checked = "fenced: XID 79", false
		in.Previous = &before
		p := placed(t, in)
		if len(p.Workers) != 8 || p.Workers[2].Blocked != "GPU-00000052: fenced: XID 79" || !strings.Contains(p.Workers[3].Blocked, "capability check") {
			t.Error(p.Explain())
		}
		if changes := p.Changes(&before); len(changes) > 0 {
			t.Errorf("a fence rolls workers: %v", changes)
		}
	})
	t.Run("a number of workers avoids what is blocked", func(t *testing.T) {
		in := machine(t, d, reserve, `{"gpu":{"workers":7}}`, kind(`{"check":"skip"}`))
		in.GPUs[0].Blocked = "fenced"
		for _, w := range placed(t, in).Workers {
			if w.Blocked != "" {
				t.Errorf("%s is on a blocked GPU while one is free", w.Name)
			}
		}
	})
	t.Run("no memory free", func(t *testing.T) {
		in := machine(t, d, reserve, `{"gpu":{"workers_per_gpu":2}}`, kind(`{"memory_free":"20GiB"}`))
		free := uint64(39 << 30)
		in.GPUs[0].MemoryFree = &free
		in.GPUs[1].MemoryFree = nil // not known
		p := placed(t, in)
		if why := p.WhyNotMore["gpu"]; len(p.Workers) != 14 || len(why) != 1 || why[0] != "GPU-0000001b: 39GiB of its memory free, 40GiB needed" {
			t.Errorf("%d workers: %v", len(p.Workers), why)
		}
		if len(p.Unplaced) != 2 || p.Unplaced[0].Name != "bm7/gpu/0" || p.Workers[0].Name != "bm7/gpu/2" {
			t.Errorf("%+v", p.Unplaced)
		}
	})
	t.Run("no cores near it", func(t *testing.T) {
		few := d
		few.Affinity = "0-5,56-100"
		p := placed(t, machine(t, few, reserve, `{"gpu":{"workers_per_gpu":1}}`, kind(`{}`)))
		want := []string{"GPU-00000043: node 0: 1 core left, 4 needed", "GPU-00000052: node 0: 1 core left, 4 needed", "GPU-00000061: node 0: 1 core left, 4 needed"}
		if diff := cmp.Diff(want, p.WhyNotMore["gpu"]); diff != "" || len(p.Workers) != 5 {
			t.Errorf("%d workers (-want +got)\n%s", len(p.Workers), diff)
		}
		p = placed(t, machine(t, few, reserve, `{"gpu":{"workers_per_gpu":1}}`, strings.Replace(kind(`{}`), `"threads"`, `"numa":"prefer","threads"`, 1)))
		if len(p.Workers) != 8 || p.Workers[1].MemoryNodes.String() != "1" {
			t.Error(p.Explain())
		}
	})
	t.Run("two pools", func(t *testing.T) {
		kinds := strings.TrimSuffix(kind(`{}`), "}") + `,"other":{"kind":"fed","command":["p"],"threads":2,"gpu":{}}}`
		p := placed(t, machine(t, d, reserve, `{"gpu":{"workers":3},"other":{"workers_per_gpu":1}}`, kinds))
		if len(p.Workers) != 8 || !slices.Contains(p.WhyNotMore["other"], "GPU-0000001b: pool gpu has it") {
			t.Error(p.Explain())
		}
	})
	t.Run("more memory on the GPUs than on the host", func(t *testing.T) {
		small := d
		small.NodeMemoryKiB = []uint64{256 << 20, 256 << 20}
		p := placed(t, machine(t, small, reserve, `{"gpu":{"workers_per_gpu":1}}`, kind(`{}`)))
		want := []string{"the machine has 512GiB of memory, less than the 637.1GiB of its GPUs together: what is copied to them all at once does not fit"}
		if diff := cmp.Diff(want, p.Warnings); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("the same twice", func(t *testing.T) {
		in := machine(t, d, reserve, `{"gpu":{"workers_per_gpu":1}}`, kind(`{}`))
		in.GPUs[1].UUID = in.GPUs[0].UUID
		if _, err := plan.Make(in); err == nil {
			t.Error("two GPUs have one UUID")
		}
	})
}

// A worker is rolled when what it runs as has changed, and for nothing else.
func TestChanges(t *testing.T) {
	d := topologytest.Describe(t, "epyc")
	shares := `{"cpu":{"workers":3}}`
	kind := `{"cpu":{"kind":"mina","command":["p"],"coordinator":"a:1","threads":6,"memory":{"max":"8GiB"},"env":{"T":"${threads}"}}}`
	before := placed(t, machine(t, d, `{}`, shares, kind))
	tests := []struct{ name, old, new, shares, want string }{
		{"nothing", "", "", shares, ""},
		{"verify and deadline", `"threads"`, `"proof_deadline":"5m","recycle":{"after_hours":1},"threads"`, shares, ""},
		{"the coordinator", "a:1", "b:1", shares, "0 coordinator, 1 coordinator, 2 coordinator"},
		{"the environment", "${threads}", "1", shares, "0 roll, 1 roll, 2 roll"},
		{"the command", `["p"]`, `["p","${index}"]`, shares, "0 roll, 1 roll, 2 roll"},
		{"the memory", "8GiB", "9GiB", shares, "0 roll, 1 roll, 2 roll"},
		{"the threads", `"threads":6`, `"threads":5`, shares, "0 roll moved, 1 roll moved, 2 roll moved"},
		{"the siblings", `"threads"`, `"smt":"off","threads"`, shares, "0 roll moved, 1 roll moved, 2 roll moved"},
		{"one more", "", "", `{"cpu":{"workers":4}}`, "3 add"},
		{"one less", "", "", `{"cpu":{"workers":2}}`, "2 remove"},
		{"as many as fit", "", "", `{"cpu":{"workers":"auto"}}`,
			"3 add, 4 add, 5 add, 6 add, 7 add, 8 add, 9 add, 10 add, 11 add, 12 add, 13 add, 14 add, 15 add, 16 add, 17 add, 18 add, 19 add"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := machine(t, d, `{}`, test.shares, strings.Replace(kind, test.old, test.new, 1))
			in.Previous = &before
			p := placed(t, in)
			var got []string
			for _, change := range p.Changes(&before) {
				text := strings.TrimPrefix(change.Name, "bm3/cpu/") + " " + change.What
				if change.Moved {
					text += " moved"
				}
				got = append(got, text)
			}
			if strings.Join(got, ", ") != test.want {
				t.Errorf("%v, want %s", got, test.want)
			}
		})
	}
	if changes := before.Changes(nil); len(changes) != 3 || changes[0] != (plan.Change{Name: "bm3/cpu/0", What: "add"}) {
		t.Errorf("%v", changes)
	}
}

// A core that goes away moves its worker and no other.
func TestCoreGone(t *testing.T) {
	d := topologytest.Describe(t, "epyc")
	in := machine(t, d, `{}`, `{"cpu":{"workers":"auto"}}`, one)
	before := placed(t, in)
	gone := before.Workers[7].CPUs[2]
	in.Machine.Allowed = in.Machine.Allowed.Minus(topology.CPUSet{gone, gone + 128})
	in.Previous = &before
	after := placed(t, in)
	changes := after.Changes(&before)
	if len(after.Workers) != 20 || len(changes) != 1 || changes[0] != (plan.Change{Name: "bm3/cpu/7", What: "roll", Moved: true}) {
		t.Errorf("%d workers, %+v", len(after.Workers), changes)
	}
}

// Workers below one cache come first, and only what is left over spans several.
func TestCaches(t *testing.T) {
	p := placed(t, machine(t, topologytest.Describe(t, "epyc"), `{}`, `{"cpu":{"workers":16}}`, one))
	for _, w := range p.Workers {
		if w.Caches != 1 {
			t.Errorf("%s is over %d caches: %s", w.Name, w.Caches, w.CPUs)
		}
	}
	p = placed(t, machine(t, topologytest.Describe(t, "laptop"), `{}`, `{"cpu":{"workers":1}}`, strings.Replace(one, `"threads":6`, `"threads":4`, 1)))
	if p.Control.String() != "8" || p.Workers[0].CPUs.String() != "0-7" {
		t.Errorf("the agent should have a slow core, the worker the fast ones: %s", p.Explain())
	}
}
