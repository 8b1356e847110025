// Package topologytest builds sysfs and procfs trees of machines from short descriptions, for tests: of four machines that are written down
// in testdata from what their makers publish, and of any other.
package topologytest

import (
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"provingground/snarkpool/topology"
)

//go:embed testdata/*.json
var descriptions embed.FS

// Description is a machine in short. The parts that are empty are left out of the tree, as kernels and containers leave them out.
type Description struct {
	// Source says where the description is from.
	Source       string `json:"source"`
	Hostname     string `json:"hostname"`
	Kernel       string `json:"kernel"`
	Architecture string `json:"architecture"`
	CPUModel     string `json:"cpu_model"`
	Flags        string `json:"flags"`
	// Numbering is how CPUs get their numbers: "siblings-last", all cores' first threads before all second ones, or "siblings-adjacent".
	Numbering     string   `json:"numbering"`
	Cores         []Cores  `json:"cores"`
	NodeMemoryKiB []uint64 `json:"node_memory_kib"`
	GPUs          []GPU    `json:"gpus"`

	// Offline, Isolated and Affinity are lists of CPUs; an empty Affinity is all of them.
	Offline, Isolated, Affinity string `json:"-"`
	// Without names what the tree lacks: "topology", "cache", "node", "sys", "cgroup".
	Without []string `json:"-"`
	// Files are more files, or others, by their paths below the root.
	Files map[string]string `json:"-"`
}

// Cores are like cores of one package and node.
type Cores struct {
	Package int `json:"package"`
	Node    int `json:"node"`
	Count   int `json:"count"`
	Threads int `json:"threads"`
	// PerCache is how many cores share a last-level cache, across the entries of one package.
	PerCache   int  `json:"per_cache"`
	Efficiency bool `json:"efficiency"`
}

// GPU is a GPU as far as placement is concerned.
type GPU struct {
	UUID      string `json:"uuid"`
	Model     string `json:"model"`
	PCI       string `json:"pci"`
	Node      int    `json:"node"`
	MemoryMiB uint64 `json:"memory_mib"`
}

// Names returns the names of the machines that are written down.
func Names() []string { return []string{"epyc", "laptop", "two-core", "xeon-gpus"} }

// Describe returns the description of one of them.
func Describe(t testing.TB, name string) Description {
	t.Helper()
	content, err := descriptions.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var d Description
	if err := json.Unmarshal(content, &d); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return d
}

// Machine returns what [topology.Read] makes of one of them.
func Machine(t testing.TB, name string) topology.Machine {
	t.Helper()
	return Describe(t, name).Read(t)
}

// Read reads the machine.
func (d Description) Read(t testing.TB) topology.Machine {
	t.Helper()
	machine, err := topology.ReadFS(d.Tree())
	if err != nil {
		t.Fatal(err)
	}
	return machine
}

// Tree returns the machine's sys and proc.
func (d Description) Tree() fstest.MapFS {
	files := fstest.MapFS{}
	for name, content := range d.tree() {
		files[name] = &fstest.MapFile{Data: []byte(content), Mode: 0o444}
	}
	return files
}

// Build writes the tree into a folder that ends with the test, and returns its root.
func (d Description) Build(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(root, d.Tree()); err != nil {
		t.Fatal(err)
	}
	return root
}

// cpu is one CPU on its way into the tree.
type cpu struct {
	id, core, cache int
	of              Cores
}

func (d Description) cpus() []cpu {
	var all []cpu
	core := 0
	inPackage := map[int]int{}
	for _, cores := range d.Cores {
		for range cores.Count {
			cache := 1000*cores.Package + inPackage[cores.Package]/cores.PerCache
			inPackage[cores.Package]++
			for thread := range cores.Threads {
				all = append(all, cpu{id: thread, core: core, cache: cache, of: cores})
			}
			core++
		}
	}
	if d.Numbering == "siblings-last" {
		slices.SortStableFunc(all, func(a, b cpu) int { return a.id - b.id }) // by the thread
	}
	for i := range all {
		all[i].id = i
	}
	return all
}

func (d Description) tree() map[string]string {
	cpus := d.cpus()
	list := func(keep func(cpu) bool) topology.CPUSet {
		var ids []int
		for _, c := range cpus {
			if keep(c) {
				ids = append(ids, c.id)
			}
		}
		return topology.NewCPUSet(ids...)
	}
	offline := must(topology.ParseCPUSet(d.Offline))
	all := list(func(cpu) bool { return true })
	online := all.Minus(offline)
	files := map[string]string{}
	add := func(part, name, format string, args ...any) {
		if slices.Contains(d.Without, part) || slices.Contains(d.Without, "sys") && strings.HasPrefix(name, "sys/devices/") {
			return
		}
		files[name] = fmt.Sprintf(format, args...) + "\n"
	}
	add("", "proc/sys/kernel/hostname", "%s", d.Hostname)
	add("", "proc/sys/kernel/osrelease", "%s", d.Kernel)
	add("", "proc/sys/kernel/arch", "%s", d.Architecture)
	add("", "proc/sys/kernel/random/boot_id", "00000000-0000-4000-8000-000000000000")
	var info strings.Builder
	for _, id := range online {
		fmt.Fprintf(&info, "processor\t: %d\nmodel name\t: %s\nflags\t\t: %s\n\n", id, d.CPUModel, d.Flags)
	}
	add("", "proc/cpuinfo", "%s", info.String())
	const folder = "sys/devices/system/cpu/"
	add("", folder+"present", "%s", all)
	add("", folder+"online", "%s", online)
	add("", folder+"offline", "%s", offline)
	add("", folder+"isolated", "%s", d.Isolated)
	for _, c := range cpus {
		if !online.Contains(c.id) {
			continue
		}
		name := fmt.Sprintf("%scpu%d/", folder, c.id)
		siblings := list(func(other cpu) bool { return other.core == c.core }).Intersect(online)
		add("topology", name+"topology/core_cpus_list", "%s", siblings)
		add("topology", name+"topology/physical_package_id", "%d", c.of.Package)
		shared := list(func(other cpu) bool { return other.cache == c.cache }).Intersect(online)
		for i, cache := range []struct {
			level int
			of    topology.CPUSet
		}{{1, siblings}, {1, siblings}, {2, siblings}, {3, shared}} {
			add("cache", fmt.Sprintf("%scache/index%d/level", name, i), "%d", cache.level)
			add("cache", fmt.Sprintf("%scache/index%d/shared_cpu_list", name, i), "%s", cache.of)
		}
	}
	if slow := list(func(c cpu) bool { return c.of.Efficiency }); len(slow) > 0 {
		add("", "sys/devices/cpu_atom/cpus", "%s", slow)
		add("", "sys/devices/cpu_core/cpus", "%s", all.Minus(slow))
	}
	var total uint64
	var nodes []int
	for id, kib := range d.NodeMemoryKiB {
		total += kib
		nodes = append(nodes, id)
		name := fmt.Sprintf("sys/devices/system/node/node%d/", id)
		add("node", name+"cpulist", "%s", list(func(c cpu) bool { return c.of.Node == id }).Intersect(online))
		add("node", name+"meminfo", "Node %d MemTotal:       %d kB\nNode %d MemFree:        %d kB", id, kib, id, kib/2)
		add("node", name+"hugepages/hugepages-2048kB/nr_hugepages", "0")
		add("node", name+"hugepages/hugepages-2048kB/free_hugepages", "0")
	}
	add("node", "sys/devices/system/node/online", "%s", topology.NewCPUSet(nodes...))
	add("", "proc/meminfo", "MemTotal:       %d kB\nMemFree:        %d kB\nMemAvailable:   %d kB\nSwapTotal:      0 kB", total, total/2, total/2)
	affinity := online.String()
	if d.Affinity != "" {
		affinity = d.Affinity
	}
	add("", "proc/self/status", "Name:\tsnarkpool\nCpus_allowed_list:\t%s\nMems_allowed_list:\t%s", affinity, topology.NewCPUSet(nodes...))
	add("", "proc/self/limits", "%-26s%-21s%-21s%s\n%-26s%-21s%-21s%s\n%-26s%-21s%-21s%s\n%-26s%-21s%-21s%s", "Limit", "Soft Limit", "Hard Limit", "Units",
		"Max processes", "514000", "514000", "processes", "Max open files", "1024", "1048576", "files", "Max locked memory", "unlimited", "unlimited", "bytes")
	add("cgroup", "proc/self/cgroup", "0::/system.slice/snarkpool.service")
	add("cgroup", "proc/self/mountinfo", "25 30 0:23 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate")
	add("cgroup", "sys/fs/cgroup/system.slice/memory.max", "max")
	add("cgroup", "sys/fs/cgroup/system.slice/cpu.max", "max 100000")
	add("cgroup", "sys/fs/cgroup/system.slice/snarkpool.service/memory.max", "max")
	add("cgroup", "sys/fs/cgroup/system.slice/snarkpool.service/cpu.max", "max 100000")
	for name, content := range d.Files {
		add("", name, "%s", content)
	}
	return files
}

func must(set topology.CPUSet, err error) topology.CPUSet {
	if err != nil {
		panic(err) // a mistake in a test
	}
	return set
}
