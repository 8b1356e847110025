package topology_test

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

	"provingground/snarkpool/topology"
	"provingground/snarkpool/topology/topologytest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// summary is a machine as a person would check it.
func summary(m topology.Machine) string {
	var out strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	line("%s %s %s %s, boot %s", m.Hostname, m.Kernel, m.Architecture, m.CPUModel, m.BootID)
	line("%d CPUs, %d flags, %d bytes of memory", len(m.CPUs), len(m.Flags), m.Memory.TotalBytes)
	for _, node := range m.Nodes {
		line("node %d: CPUs %s, %d bytes, huge pages %v", node.ID, node.CPUs, node.MemoryBytes, node.HugePages)
	}
	groups := func(title string, of func(topology.CPU) int) {
		sets := map[int][]int{}
		var order []int
		for _, cpu := range m.CPUs {
			id := of(cpu)
			if _, ok := sets[id]; !ok {
				order = append(order, id)
			}
			sets[id] = append(sets[id], cpu.ID)
		}
		line("%s:", title)
		for _, id := range order {
			line("  %d: %s", id, topology.NewCPUSet(sets[id]...))
		}
	}
	groups("packages", func(c topology.CPU) int { return c.Package })
	groups("caches", func(c topology.CPU) int { return c.LastLevelCache })
	groups("cores", func(c topology.CPU) int { return c.Core })
	for name, of := range map[string]func(topology.CPU) bool{"slow": func(c topology.CPU) bool { return c.Efficiency }} {
		var ids []int
		for _, cpu := range m.CPUs {
			if of(cpu) {
				ids = append(ids, cpu.ID)
			}
		}
		line("%s: %s", name, topology.NewCPUSet(ids...))
	}
	line("allowed: CPUs %s, nodes %s", m.Allowed, m.AllowedNodes)
	limits, _ := json.Marshal(m.Limits)
	line("cgroup v%d %s, limits %s", m.CgroupVersion, m.Cgroup, limits)
	for _, note := range m.Notes {
		line("note: %s", note)
	}
	return out.String()
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

func TestMachines(t *testing.T) {
	for _, name := range topologytest.Names() {
		t.Run(name, func(t *testing.T) {
			m := topologytest.Machine(t, name)
			golden(t, name+".txt", summary(m))
			content, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			var back topology.Machine
			if err := json.Unmarshal(content, &back); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(m, back); diff != "" {
				t.Errorf("an inventory does not survive JSON (-want +got)\n%s", diff)
			}
		})
	}
}

// A tree of files is read as one in memory is.
func TestFolder(t *testing.T) {
	d := topologytest.Describe(t, "laptop")
	m, err := topology.Read(d.Build(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.Read(t), m); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// This machine, whatever it is, can be read.
func TestThisMachine(t *testing.T) {
	m, err := topology.Read("")
	if err != nil {
		t.Fatal(err)
	}
	if len(m.CPUs) == 0 || len(m.Nodes) == 0 || len(m.Allowed) == 0 || m.Memory.TotalBytes == 0 || m.BootID == "" {
		t.Errorf("this machine has nothing: %s", summary(m))
	}
}

func TestWhatKeepsAProcessFromCPUs(t *testing.T) {
	unified := func(files map[string]string) map[string]string {
		const folder = "sys/fs/cgroup/system.slice/"
		out := map[string]string{}
		for name, content := range files {
			out[folder+name] = content
		}
		return out
	}
	older := func(files map[string]string) map[string]string {
		files["proc/self/cgroup"] = "7:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n3:cpuset:/docker/abc\n2:pids:/docker/abc\n1:name=systemd:/\n0::/"
		files["proc/self/mountinfo"] = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n" +
			"32 31 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
			"33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
			"34 31 0:31 /docker/abc /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n" +
			"35 31 0:32 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n" +
			"41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
		return files
	}
	tests := []struct {
		name    string
		change  func(*topologytest.Description)
		allowed string
		quota   float64
		memory  uint64
		version int
		notes   []string
	}{
		{"nothing", func(*topologytest.Description) {}, "0-15", 0, 0, 2, nil},
		{"offline", func(d *topologytest.Description) { d.Offline = "1,15" }, "0,2-14", 0, 0, 2, []string{"CPUs 1,15 are offline"}},
		{"isolated", func(d *topologytest.Description) { d.Isolated = "8-9" }, "0-7,10-15", 0, 0, 2, []string{"CPUs 8-9 are isolated at boot: they are left alone"}},
		{"affinity", func(d *topologytest.Description) { d.Affinity = "0-3" }, "0-3", 0, 0, 2, []string{"the affinity of this process leaves out CPUs 4-15"}},
		{"a group's limits", func(d *topologytest.Description) {
			d.Files = unified(map[string]string{
				"snarkpool.service/cpu.max": "650000 100000", "snarkpool.service/memory.max": "8589934592", "snarkpool.service/cpuset.cpus.effective": "0-7",
			})
		}, "0-7", 6.5, 8 << 30, 2, []string{"the cgroup's cpuset leaves out CPUs 8-15"}},
		{"a group's limits above it", func(d *topologytest.Description) {
			d.Files = unified(map[string]string{"cpu.max": "200000 100000", "memory.max": "4294967296", "snarkpool.service/cpu.max": "300000 100000"})
		}, "0-15", 2, 4 << 30, 2, nil},
		{"a container of the older kind", func(d *topologytest.Description) {
			d.Files = older(map[string]string{
				"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
				"sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "9223372036854771712", "sys/fs/cgroup/memory/docker/memory.limit_in_bytes": "2147483648",
				"sys/fs/cgroup/cpuset/cpuset.effective_cpus": "2-3",
			})
		}, "2-3", 1.5, 2 << 30, 1, []string{"the cgroup's cpuset leaves out CPUs 0-1,4-15"}},
		{"no limit of the older kind", func(d *topologytest.Description) {
			d.Files = older(map[string]string{
				"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
				"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712", "sys/fs/cgroup/pids/pids.max": "max",
			})
		}, "0-15", 0, 0, 1, nil},
		{"no cgroups", func(d *topologytest.Description) { d.Without = []string{"cgroup"} }, "0-15", 0, 0, 0,
			[]string{"no cgroups are mounted: quotas and memory limits are not known"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := topologytest.Describe(t, "laptop")
			test.change(&d)
			m := d.Read(t)
			var memory uint64
			if m.Limits.MemoryBytes != nil {
				memory = *m.Limits.MemoryBytes
			}
			if m.Allowed.String() != test.allowed || m.Limits.QuotaCPUs != test.quota || memory != test.memory || m.CgroupVersion != test.version {
				t.Errorf("CPUs %s, quota %g, memory %d, version %d; want %s, %g, %d, %d", m.Allowed, m.Limits.QuotaCPUs, memory, m.CgroupVersion,
					test.allowed, test.quota, test.memory, test.version)
			}
			if diff := cmp.Diff(test.notes, m.Notes); diff != "" {
				t.Errorf("notes (-want +got)\n%s", diff)
			}
		})
	}
}

// What a machine does not tell is assumed, and noted.
func TestPartsMissing(t *testing.T) {
	tests := []struct {
		without string
		check   func(topology.Machine) bool
		note    string
	}{
		{"topology", func(m topology.Machine) bool { return m.CPUs[1].Core == 1 && m.CPUs[15].Core == 15 }, "each counts as a core of its own"},
		{"cache", func(m topology.Machine) bool { return m.CPUs[15].LastLevelCache == 0 }, "those of a package count as sharing one"},
		{"node", func(m topology.Machine) bool {
			return len(m.Nodes) == 1 && m.Nodes[0].CPUs.String() == "0-15" && m.Nodes[0].MemoryBytes == 16100000<<10
		}, "the machine counts as one"},
		{"sys", func(m topology.Machine) bool {
			return len(m.CPUs) == 16 && m.Allowed.String() == "0-15" && m.CPUs[15].Node == 0
		}, "taken from /proc/cpuinfo"},
	}
	for _, test := range tests {
		t.Run(test.without, func(t *testing.T) {
			d := topologytest.Describe(t, "laptop")
			d.Without = []string{test.without}
			m := d.Read(t)
			if !test.check(m) || !slices.ContainsFunc(m.Notes, func(note string) bool { return strings.Contains(note, test.note) }) {
				t.Errorf("%s", summary(m))
			}
		})
	}
}

// A file that cannot be understood is named.
func TestFilesDamaged(t *testing.T) {
	for name, content := range map[string]string{
		"sys/devices/system/cpu/online":                           "0-",
		"sys/devices/system/cpu/cpu0/cache/index0/level":          "one",
		"sys/devices/system/node/node0/meminfo":                   "Node 0 MemTotal: many kB",
		"sys/fs/cgroup/system.slice/cpu.max":                      "half",
		"sys/fs/cgroup/system.slice/snarkpool.service/memory.max": "-1",
		"proc/self/status":                                        "Cpus_allowed_list:\tall",
	} {
		t.Run(name, func(t *testing.T) {
			d := topologytest.Describe(t, "two-core")
			d.Files = map[string]string{name: content}
			if _, err := topology.ReadFS(d.Tree()); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("the error does not name the file: %v", err)
			}
		})
	}
}

func TestNothingThere(t *testing.T) {
	if _, err := topology.Read(t.TempDir()); err == nil || !strings.Contains(err.Error(), "/sys/devices/system/cpu/present") {
		t.Errorf("an empty folder is a machine: %v", err)
	}
	if _, err := topology.Read(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no folder is a machine")
	}
}

// The slower cores are known by their capacity where Linux does not name them, as on ARM.
func TestCapacity(t *testing.T) {
	d := topologytest.Describe(t, "two-core")
	d.Files = map[string]string{"sys/devices/system/cpu/cpu0/cpu_capacity": "430", "sys/devices/system/cpu/cpu1/cpu_capacity": "1024"}
	m := d.Read(t)
	if !m.CPUs[0].Efficiency || m.CPUs[1].Efficiency {
		t.Errorf("%+v", m.CPUs)
	}
}

func BenchmarkRead(b *testing.B) {
	root := topologytest.Describe(b, "epyc").Build(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := topology.Read(root); err != nil {
			b.Fatal(err)
		}
	}
}
