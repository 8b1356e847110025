package topology

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

const (
	cpuFolder  = "sys/devices/system/cpu"
	nodeFolder = "sys/devices/system/node"
)

// Read reads the machine whose sysfs and procfs are at root/sys and root/proc; "" is "/". A file that is there and says something that cannot
// be understood is an error that names it; one that is not there is made up for, with a note, unless not even the CPUs can be told.
//
// Sources: the kernel's documentation, "admin-guide/cputopology", "ABI/stable/sysfs-devices-node", "ABI/testing/sysfs-devices-system-cpu",
// "admin-guide/cgroup-v2", "admin-guide/cgroup-v1" and proc(5).
func Read(root string) (m Machine, err error) {
	if root == "" {
		root = "/"
	}
	folder, err := os.OpenRoot(root)
	if err != nil {
		return Machine{}, fmt.Errorf("the machine cannot be read: %w", err)
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	return ReadFS(folder.FS())
}

// ReadFS is [Read] for a file system that holds sys and proc.
func ReadFS(files fs.FS) (Machine, error) {
	r := reader{files: files}
	r.identity()
	r.cpus()
	r.nodes()
	r.memory()
	r.limits()
	r.cgroups()
	r.allowed()
	if len(r.wrong) > 0 {
		return Machine{}, fmt.Errorf("the machine cannot be read: %w", errors.Join(r.wrong...))
	}
	return r.machine, nil
}

type reader struct {
	files   fs.FS
	machine Machine
	cpuset  CPUSet // of the cgroup; nil when it says nothing
	mems    CPUSet
	wrong   []error
}

func (r *reader) note(format string, args ...any) {
	r.machine.Notes = append(r.machine.Notes, fmt.Sprintf(format, args...))
}

func (r *reader) fail(name string, err error) {
	r.wrong = append(r.wrong, fmt.Errorf("%s: %w", "/"+name, err))
}

// text returns what a file holds, and whether it is there.
func (r *reader) text(name string) (string, bool) {
	content, err := fs.ReadFile(r.files, name)
	switch {
	case err == nil:
		return strings.TrimSpace(string(content)), true
	case !absent(err):
		r.fail(name, err)
	}
	return "", false
}

// absent says that a file is not there, or that the kernel does not answer through it (an offline CPU, a device without that property).
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrInvalid)
}

func (r *reader) list(name string) (CPUSet, bool) {
	text, ok := r.text(name)
	if !ok {
		return nil, false
	}
	set, err := ParseCPUSet(text)
	if err != nil {
		r.fail(name, err)
		return nil, false
	}
	return set, true
}

func (r *reader) number(name string) (int, bool) {
	text, ok := r.text(name)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		r.fail(name, fmt.Errorf("%q is not a number", text))
		return 0, false
	}
	return n, true
}

func (r *reader) identity() {
	m := &r.machine
	m.Hostname, _ = r.text("proc/sys/kernel/hostname")
	m.BootID, _ = r.text("proc/sys/kernel/random/boot_id")
	m.Kernel, _ = r.text("proc/sys/kernel/osrelease")
	var ok bool
	if m.Architecture, ok = r.text("proc/sys/kernel/arch"); !ok { // since Linux 6.1
		m.Architecture = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	}
}

func (r *reader) cpus() {
	m := &r.machine
	numbered := r.cpuinfo()
	present, ok := r.list(cpuFolder + "/present")
	online, _ := r.list(cpuFolder + "/online")
	if !ok {
		if present = online; len(present) == 0 {
			present = numbered
			r.note("%s says nothing of the CPUs: they are taken from /proc/cpuinfo", "/"+cpuFolder)
		}
	}
	if len(present) == 0 {
		r.fail(cpuFolder+"/present", errors.New("says nothing of the CPUs, and neither does /proc/cpuinfo"))
		return
	}
	if len(online) == 0 {
		online = present
	}
	isolated, _ := r.list(cpuFolder + "/isolated")
	slow := r.efficiency(online)
	var alone, uncached CPUSet
	for _, id := range present {
		cpu := CPU{ID: id, Core: id, Node: -1, LastLevelCache: -1, Online: online.Contains(id), Isolated: isolated.Contains(id), Efficiency: slow.Contains(id)}
		if cpu.Online {
			folder := cpuFolder + "/cpu" + strconv.Itoa(id)
			siblings, ok := r.list(folder + "/topology/core_cpus_list")
			if !ok {
				siblings, ok = r.list(folder + "/topology/thread_siblings_list") // its name before Linux 5.2
			}
			if ok && siblings.Contains(id) {
				cpu.Core = siblings[0]
			} else {
				alone = append(alone, id)
			}
			cpu.Package, _ = r.number(folder + "/topology/physical_package_id")
			cpu.Package = max(cpu.Package, 0) // -1 is what some virtual machines say
			if cpu.LastLevelCache = r.lastLevelCache(folder + "/cache"); cpu.LastLevelCache < 0 {
				uncached = append(uncached, id)
			}
		}
		m.CPUs = append(m.CPUs, cpu)
	}
	if len(alone) > 0 {
		r.note("the kernel names no siblings of CPUs %s: each counts as a core of its own", alone)
	}
	if len(uncached) > 0 {
		r.note("the kernel names no caches of CPUs %s: those of a package count as sharing one", uncached)
		r.cachePerPackage()
	}
	if offline := present.Minus(online); len(offline) > 0 {
		r.note("CPUs %s are offline", offline)
	}
	if len(isolated) > 0 {
		r.note("CPUs %s are isolated at boot: they are left alone", isolated)
	}
}

// lastLevelCache returns the lowest CPU that shares the cache furthest from a CPU, -1 when the kernel does not say.
func (r *reader) lastLevelCache(folder string) int {
	level, id := 0, -1
	for index := 0; ; index++ {
		name := folder + "/index" + strconv.Itoa(index)
		l, ok := r.number(name + "/level")
		if !ok {
			return id
		}
		if l <= level {
			continue
		}
		if shared, ok := r.list(name + "/shared_cpu_list"); ok && len(shared) > 0 {
			level, id = l, shared[0]
		}
	}
}

func (r *reader) cachePerPackage() {
	first := map[int]int{}
	for i, cpu := range r.machine.CPUs {
		if !cpu.Online || cpu.LastLevelCache >= 0 {
			continue
		}
		if _, ok := first[cpu.Package]; !ok {
			first[cpu.Package] = cpu.ID
		}
		r.machine.CPUs[i].LastLevelCache = first[cpu.Package]
	}
}

// efficiency returns the CPUs of the slower kind: as Linux names them on Intel's hybrid processors, else those with less than three quarters
// of the largest capacity.
func (r *reader) efficiency(online CPUSet) CPUSet {
	if atom, ok := r.list("sys/devices/cpu_atom/cpus"); ok {
		return atom
	}
	capacity := map[int]int{}
	most := 0
	for _, id := range online {
		c, ok := r.number(cpuFolder + "/cpu" + strconv.Itoa(id) + "/cpu_capacity")
		if !ok {
			return nil
		}
		capacity[id] = c
		most = max(most, c)
	}
	return online.filter(func(id int) bool { return 4*capacity[id] < 3*most })
}

// cpuinfo takes the model and the flags, and returns the CPUs that /proc/cpuinfo numbers.
func (r *reader) cpuinfo() CPUSet {
	text, ok := r.text("proc/cpuinfo")
	if !ok {
		r.note("there is no /proc/cpuinfo: model and flags are not known")
		return nil
	}
	var ids []int
	var flags []string
	seen := ""
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "processor":
			if id, err := strconv.Atoi(value); err == nil {
				ids = append(ids, id)
			}
		case "model name":
			r.machine.CPUModel = value
		case "flags", "Features": // the second on ARM
			switch {
			case seen == "":
				flags = strings.Fields(value)
			case seen != value: // kinds of cores differ: what all of them have
				has := strings.Fields(value)
				flags = slices.DeleteFunc(flags, func(flag string) bool { return !slices.Contains(has, flag) })
			}
			seen = value
		}
	}
	slices.Sort(flags)
	r.machine.Flags = slices.Compact(flags)
	return NewCPUSet(ids...)
}

func (r *reader) nodes() {
	m := &r.machine
	online := CPUSet{}
	for _, cpu := range m.CPUs {
		if cpu.Online {
			online = append(online, cpu.ID)
		}
	}
	ids, ok := r.list(nodeFolder + "/online")
	if !ok || len(ids) == 0 {
		r.note("the kernel names no memory nodes: the machine counts as one")
		m.Nodes = []Node{{ID: 0, CPUs: online}}
		ids = nil
	}
	for _, id := range ids {
		folder := nodeFolder + "/node" + strconv.Itoa(id)
		node := Node{ID: id, MemoryBytes: r.meminfo(folder+"/meminfo", "MemTotal"), HugePages: r.hugePages(folder + "/hugepages")}
		node.CPUs, _ = r.list(folder + "/cpulist")
		node.CPUs = node.CPUs.Intersect(online)
		m.Nodes = append(m.Nodes, node)
	}
	of := map[int]int{}
	for _, node := range m.Nodes {
		for _, id := range node.CPUs {
			of[id] = node.ID
		}
	}
	var lost CPUSet
	for i, cpu := range m.CPUs {
		if !cpu.Online {
			continue
		}
		node, ok := of[cpu.ID]
		if !ok {
			node = m.Nodes[0].ID
			m.Nodes[0].CPUs = m.Nodes[0].CPUs.Union(CPUSet{cpu.ID})
			lost = append(lost, cpu.ID)
		}
		m.CPUs[i].Node = node
	}
	if len(lost) > 0 {
		r.note("the kernel names no memory node of CPUs %s: they count as node %d's", lost, m.Nodes[0].ID)
	}
}

func (r *reader) hugePages(folder string) []HugePages {
	entries, err := fs.ReadDir(r.files, folder)
	if err != nil {
		if !absent(err) {
			r.fail(folder, err)
		}
		return nil
	}
	var pages []HugePages
	for _, entry := range entries {
		size, ok := strings.CutPrefix(entry.Name(), "hugepages-")
		kib, err := strconv.ParseUint(strings.TrimSuffix(size, "kB"), 10, 32)
		if !ok || err != nil {
			continue
		}
		total, _ := r.number(path.Join(folder, entry.Name(), "nr_hugepages"))
		free, _ := r.number(path.Join(folder, entry.Name(), "free_hugepages"))
		pages = append(pages, HugePages{SizeBytes: kib << 10, Total: uint64(max(total, 0)), Free: uint64(max(free, 0))})
	}
	slices.SortFunc(pages, func(a, b HugePages) int {
		if a.SizeBytes < b.SizeBytes {
			return -1
		}
		return 1
	})
	return pages
}

// meminfo returns a line's value, of /proc/meminfo or a node's, in bytes; 0 when there is none.
func (r *reader) meminfo(name, key string) uint64 {
	text, ok := r.text(name)
	if !ok {
		return 0
	}
	for line := range strings.Lines(text) {
		before, value, ok := strings.Cut(line, ":")
		if ok && (before == key || strings.HasSuffix(before, " "+key)) {
			kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 54)
			if err != nil {
				r.fail(name, fmt.Errorf("%s is not a size in kB: %q", key, strings.TrimSpace(value)))
				return 0
			}
			return kib << 10
		}
	}
	return 0
}

func (r *reader) memory() {
	m := &r.machine
	m.Memory = Memory{
		TotalBytes:     r.meminfo("proc/meminfo", "MemTotal"),
		AvailableBytes: r.meminfo("proc/meminfo", "MemAvailable"),
		SwapBytes:      r.meminfo("proc/meminfo", "SwapTotal"),
	}
	var sum uint64
	for _, node := range m.Nodes {
		sum += node.MemoryBytes
	}
	switch {
	case m.Memory.TotalBytes == 0 && sum == 0:
		r.note("the kernel does not say how much memory there is: placement cannot count it")
	case m.Memory.TotalBytes == 0:
		m.Memory.TotalBytes = sum
	case sum == 0:
		m.Nodes[0].MemoryBytes = m.Memory.TotalBytes
	}
}

func (r *reader) limits() {
	text, ok := r.text("proc/self/limits")
	if !ok {
		r.note("there is no /proc/self/limits: this process's limits are not known")
		return
	}
	limits := &r.machine.Limits
	for name, into := range map[string]**uint64{
		"Max open files ": &limits.OpenFiles, "Max processes ": &limits.Processes, "Max locked memory ": &limits.LockedMemoryBytes,
	} {
		for line := range strings.Lines(text) {
			if rest, ok := strings.CutPrefix(line, name); ok {
				if soft, err := strconv.ParseUint(strings.Fields(rest + " ?")[0], 10, 64); err == nil { // else unlimited
					*into = &soft
				}
			}
		}
	}
}

// allowed takes together what keeps this process from CPUs and nodes.
func (r *reader) allowed() {
	m := &r.machine
	var usable, nodes CPUSet
	for _, cpu := range m.CPUs {
		if cpu.Online && !cpu.Isolated {
			usable = append(usable, cpu.ID)
		}
	}
	for _, node := range m.Nodes {
		nodes = append(nodes, node.ID)
	}
	m.Allowed, m.AllowedNodes = usable, nodes
	affinity, mems := r.affinity()
	for _, limit := range []struct {
		of        string
		cpus, mem CPUSet
	}{{"the cgroup's cpuset", r.cpuset, r.mems}, {"the affinity of this process", affinity, mems}} {
		if limit.cpus != nil {
			if out := m.Allowed.Minus(limit.cpus); len(out) > 0 {
				r.note("%s leaves out CPUs %s", limit.of, out)
			}
			m.Allowed = m.Allowed.Intersect(limit.cpus)
		}
		if limit.mem != nil {
			if out := m.AllowedNodes.Minus(limit.mem); len(out) > 0 {
				r.note("%s leaves out memory nodes %s", limit.of, out)
			}
			m.AllowedNodes = m.AllowedNodes.Intersect(limit.mem)
		}
	}
}

func (r *reader) affinity() (cpus, mems CPUSet) {
	const name = "proc/self/status"
	text, ok := r.text(name)
	if !ok {
		r.note("there is no /proc/self/status: the affinity of this process is not known")
		return nil, nil
	}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		into := map[string]*CPUSet{"Cpus_allowed_list": &cpus, "Mems_allowed_list": &mems}[key]
		if into == nil {
			continue
		}
		set, err := ParseCPUSet(value)
		if err != nil {
			r.fail(name, fmt.Errorf("%s: %w", key, err))
		}
		*into = set
	}
	return cpus, mems
}

// lower keeps the smaller of a limit and what is known of it.
func lower(limit **uint64, to uint64) {
	if *limit == nil || to < **limit {
		*limit = &to
	}
}

// quota is how many CPUs' time a number of microseconds in a period is.
func quota(microseconds, period float64) float64 {
	return math.Round(1000*microseconds/period) / 1000
}
