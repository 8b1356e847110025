// Package topology says what a machine has: CPUs with their cores, caches, packages and memory nodes, memory, and the limits that the kernel
// sets on this process. [Read] takes all of it from sysfs and procfs and starts nothing; what a machine does not tell is filled in with the
// simplest assumption and a note that says so, because a pool must also start in a container and on a small virtual machine.
//
// A [Machine] is also the inventory: it is a plain value with a stable order, made to be stored as JSON.
package topology

// Machine is one machine as its kernel describes it. Sizes are in bytes, lists are sorted by their ids.
type Machine struct {
	Hostname string `json:"hostname"`
	// BootID is the kernel's id of this boot; a process is identified by it, its pid and its start time.
	BootID string `json:"boot_id,omitempty"`
	// Kernel is the kernel's release, such as 6.1.0-28-amd64.
	Kernel string `json:"kernel,omitempty"`
	// Architecture is as the kernel names it: x86_64, aarch64.
	Architecture string `json:"architecture,omitempty"`
	CPUModel     string `json:"cpu_model,omitempty"`
	// Flags are the CPU flags of all CPUs, sorted, as /proc/cpuinfo spells them.
	Flags []string `json:"flags,omitempty"`
	CPUs  []CPU    `json:"cpus"`
	Nodes []Node   `json:"nodes"`
	// Allowed are the CPUs that workers may run on: present, online, not isolated, inside the cpuset and the affinity of this process. An
	// agent that binds itself to its control cores reads its machine before it does, or binds its threads and not its first one.
	Allowed CPUSet `json:"allowed"`
	// AllowedNodes are the memory nodes that this process may allocate from.
	AllowedNodes CPUSet `json:"allowed_nodes"`
	Memory       Memory `json:"memory"`
	Limits       Limits `json:"limits"`
	// CgroupVersion is 2 for the unified hierarchy, 1 for the older ones (a hybrid too: its controllers are the older ones'), 0 for none.
	CgroupVersion int `json:"cgroup_version"`
	// Cgroup is this process's group below the mount point: of the unified hierarchy, or else of the older memory hierarchy.
	Cgroup string `json:"cgroup,omitempty"`
	// Notes say what the machine did not tell, and what was assumed.
	Notes []string `json:"notes,omitempty"`
}

// CPU is one logical CPU: a core without SMT, or one thread of a core with it.
type CPU struct {
	ID int `json:"id"`
	// Core is the lowest id of the CPUs in the same physical core, so it is unique in the machine.
	Core int `json:"core"`
	// Package is the socket.
	Package int `json:"package"`
	// Node is the memory node, -1 for a CPU that is offline.
	Node int `json:"node"`
	// Online CPUs run; the others have been switched off, and know neither siblings nor node.
	Online bool `json:"online"`
	// Isolated CPUs are kept free of ordinary processes by the boot option isolcpus.
	Isolated bool `json:"isolated,omitempty"`
	// LastLevelCache is the lowest id of the CPUs that share the last cache before memory, so it is unique in the machine.
	LastLevelCache int `json:"last_level_cache"`
	// Efficiency marks the slower cores of a machine with two kinds.
	Efficiency bool `json:"efficiency,omitempty"`
}

// Node is one memory node (NUMA node).
type Node struct {
	ID int `json:"id"`
	// CPUs are its online CPUs; a node of memory alone has none.
	CPUs        CPUSet      `json:"cpus"`
	MemoryBytes uint64      `json:"memory_bytes"`
	HugePages   []HugePages `json:"huge_pages,omitempty"`
}

// HugePages are a node's pages of one size.
type HugePages struct {
	SizeBytes uint64 `json:"size_bytes"`
	Total     uint64 `json:"total"`
	Free      uint64 `json:"free"`
}

// Memory is the machine's memory, whatever this process may use of it.
type Memory struct {
	TotalBytes     uint64 `json:"total_bytes"`
	AvailableBytes uint64 `json:"available_bytes"`
	SwapBytes      uint64 `json:"swap_bytes"`
}

// Limits are what this process may use. A nil limit is none, or one that could not be read, which a note says.
type Limits struct {
	// QuotaCPUs is how many CPUs' time the cgroups allow in all; 0 for no quota.
	QuotaCPUs float64 `json:"quota_cpus,omitempty"`
	// MemoryBytes is the lowest memory limit of this process's cgroup and those above it.
	MemoryBytes *uint64 `json:"memory_bytes,omitempty"`
	// CgroupProcesses is the lowest limit on processes and threads of those cgroups.
	CgroupProcesses *uint64 `json:"cgroup_processes,omitempty"`
	// OpenFiles, Processes and LockedMemoryBytes are the soft resource limits of this process.
	OpenFiles         *uint64 `json:"open_files,omitempty"`
	Processes         *uint64 `json:"processes,omitempty"`
	LockedMemoryBytes *uint64 `json:"locked_memory_bytes,omitempty"`
}
