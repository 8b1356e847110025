package plan

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"provingground/snarkpool/poolfile"
	"provingground/snarkpool/topology"
)

// Make places the workers of a host. That fewer workers fit than are asked for is no error: the plan says so. An error is an input that
// cannot be placed at all.
func Make(in Input) (Plan, error) {
	if in.Host == "" {
		return Plan{}, errors.New("a plan needs the host's name")
	}
	seen := map[string]bool{}
	for _, gpu := range in.GPUs {
		if gpu.UUID == "" || seen[gpu.UUID] {
			return Plan{}, fmt.Errorf("the GPUs of host %s cannot be placed: UUID %q is there twice, or empty", in.Host, gpu.UUID)
		}
		seen[gpu.UUID] = true
	}
	// Once from nothing and once around what is there. The second moves nothing that need not move; it is taken unless it costs a worker.
	chosen := newPlacer(in, nil)
	chosen.run()
	if in.Previous != nil && in.Previous.Host == in.Host {
		around := newPlacer(in, chosen.counts())
		around.run()
		if !around.fewer(chosen) {
			chosen = around
		} else {
			chosen.rename(in.Previous)
		}
	}
	return chosen.plan()
}

// core is a physical core with those of its CPUs that workers may use.
type core struct {
	id      int
	cpus    topology.CPUSet
	node    int
	cache   int
	slow    bool
	shared  bool // with somebody: an online sibling of it is not for us
	control bool
	taken   bool
}

// node is a memory node with what is left of it.
type node struct {
	id     int
	all    int     // its cores that this process may use
	cores  []*core // those without control cores, by id
	memory uint64  // left
	usable bool    // its memory may be allocated
}

// gpu is a GPU with whom it is given to.
type gpu struct {
	GPU
	pool string // "" for nobody
}

// placed is where one worker goes.
type placed struct {
	pool   *pool
	index  int
	cores  []*core
	memory map[int]uint64 // taken, by node
	gpus   []*gpu
}

// pool is a pool's share of the host, with what has become of it.
type pool struct {
	poolfile.HostPool
	demand  uint64 // memory of a worker
	wanted  int    // number of workers; -1 for as many as fit
	workers []*placed
	missing []string // reasons that hold for the whole pool: no worker of it can be placed
}

type placer struct {
	in       Input
	keep     map[string]int // around the previous plan: how many workers each pool has without it; nil from nothing
	cores    []*core
	nodes    []*node
	gpus     []*gpu
	pools    []*pool // in the order of placement
	control  []*core
	memory   uint64 // left for workers in all
	counted  bool   // whether memory is known at all
	threads  int    // left of a CPU quota; -1 for none
	reserved uint64
	warnings []string
}

func newPlacer(in Input, keep map[string]int) *placer {
	p := &placer{in: in, keep: keep, threads: -1}
	p.layOut()
	p.reserveCores()
	p.reserveMemory()
	if quota := in.Machine.Limits.QuotaCPUs; quota > 0 {
		p.threads = int(quota)
		if len(p.control) > 0 {
			p.threads = max(0, p.threads-1) // the agent's own
		}
	}
	p.takePools()
	return p
}

// layOut takes the machine apart into nodes and cores.
func (p *placer) layOut() {
	m := p.in.Machine
	byNode := map[int]*node{}
	for _, n := range m.Nodes {
		p.nodes = append(p.nodes, &node{id: n.ID, memory: n.MemoryBytes, usable: m.AllowedNodes.Contains(n.ID)})
		byNode[n.ID] = p.nodes[len(p.nodes)-1]
		p.counted = p.counted || n.MemoryBytes > 0
	}
	byCore := map[int]*core{}
	for _, cpu := range m.CPUs {
		if !cpu.Online || byNode[cpu.Node] == nil {
			continue
		}
		c := byCore[cpu.Core]
		if c == nil {
			c = &core{id: cpu.Core, node: cpu.Node, cache: cpu.LastLevelCache, slow: cpu.Efficiency}
			byCore[cpu.Core] = c
			p.cores = append(p.cores, c)
		}
		if m.Allowed.Contains(cpu.ID) {
			c.cpus = append(c.cpus, cpu.ID)
		} else {
			c.shared = true
		}
	}
	p.cores = slices.DeleteFunc(p.cores, func(c *core) bool { return len(c.cpus) == 0 })
	slices.SortFunc(p.cores, func(a, b *core) int { return cmp.Compare(a.id, b.id) })
	var shared []int
	for _, c := range p.cores {
		byNode[c.node].cores = append(byNode[c.node].cores, c)
		byNode[c.node].all++
		if c.shared {
			shared = append(shared, c.id)
		}
	}
	if len(shared) > 0 {
		p.warn("cores %s have siblings outside of the CPUs allowed: whoever runs there slows the workers", topology.NewCPUSet(shared...))
	}
}

func (p *placer) warn(format string, args ...any) {
	p.warnings = append(p.warnings, fmt.Sprintf(format, args...))
}

// reserveCores takes the agent's cores, in turns from the nodes: those that were its cores before, then slow ones, then the
// lowest.
func (p *placer) reserveCores() {
	before := topology.CPUSet{}
	if p.keep != nil {
		before = p.in.Previous.Control
	}
	var queues [][]*core
	for _, n := range p.nodes {
		if len(n.cores) == 0 {
			continue
		}
		queue := slices.Clone(n.cores)
		rank := func(c *core) int {
			switch {
			case len(c.cpus.Minus(before)) == 0:
				return 0
			case c.slow:
				return 1
			}
			return 2
		}
		slices.SortStableFunc(queue, func(a, b *core) int { return cmp.Compare(rank(a), rank(b)) })
		queues = append(queues, queue)
	}
	wanted := len(queues)
	if reserve := p.in.Pools.Reserve.Cores; reserve != nil {
		wanted = *reserve
	}
	for turn := 0; len(p.control) < wanted && len(p.control) < len(p.cores); turn++ {
		queue := &queues[turn%len(queues)]
		if len(*queue) == 0 {
			continue
		}
		c := (*queue)[0]
		*queue = (*queue)[1:]
		c.control = true
		p.control = append(p.control, c)
	}
	if len(p.control) < wanted {
		p.warn("%s to be reserved, and the machine has %d: the agent gets all of them", counted(wanted, "core is", "cores are"), len(p.cores))
	}
	for _, n := range p.nodes {
		n.cores = slices.DeleteFunc(n.cores, func(c *core) bool { return c.control })
	}
}

// reserveMemory takes the reserve off the whole, which a cgroup may bound below the sum of the nodes, and off the nodes in equal parts.
func (p *placer) reserveMemory() {
	if !p.counted {
		p.warn("the machine does not say how much memory it has: memory is not counted")
		return
	}
	usable := 0
	for _, n := range p.nodes {
		if n.usable && n.memory > 0 {
			p.memory += n.memory
			usable++
		}
	}
	if limit := p.in.Machine.Limits.MemoryBytes; limit != nil {
		p.memory = min(p.memory, *limit)
	}
	p.reserved = min(uint64(p.in.Pools.Reserve.Memory), p.memory)
	p.memory -= p.reserved
	for _, n := range p.nodes {
		if n.usable && n.memory > 0 {
			n.memory -= min(n.memory, p.reserved/uint64(usable))
		}
	}
}

// takePools puts the pools into the order of placement and notes what keeps a whole pool off this machine.
func (p *placer) takePools() {
	var ofGPUs, ofHost uint64
	for _, g := range p.in.GPUs {
		p.gpus = append(p.gpus, &gpu{GPU: p.locate(g)})
		ofGPUs += g.MemoryBytes
	}
	for _, n := range p.in.Machine.Nodes {
		ofHost += n.MemoryBytes
	}
	usesGPUs := false
	for _, share := range p.in.Pools.Pools {
		l := &pool{HostPool: share, demand: uint64(cmp.Or(share.Memory.Max, share.Memory.High))}
		switch {
		case share.Workers != nil:
			l.wanted = *share.Workers
		case share.PerGPU > 0:
			l.wanted = share.PerGPU * len(p.gpus)
		default:
			l.wanted = -1
		}
		var lacking []string
		for _, flag := range share.Requires.CPUFlags {
			if _, has := slices.BinarySearch(p.in.Machine.Flags, flag); !has {
				lacking = append(lacking, flag)
			}
		}
		if len(lacking) > 0 {
			l.missing = append(l.missing, fmt.Sprintf("the CPUs lack %s", strings.Join(lacking, ", ")))
		}
		if share.GPU != nil {
			usesGPUs = true
			if len(p.gpus) == 0 {
				l.missing = append(l.missing, "the machine has no GPU that can be used")
			}
		}
		if l.demand == 0 && l.wanted != 0 {
			p.warn("pool %s has no memory limit: its memory is not counted, and its workers can take the others'", share.Name)
		}
		p.pools = append(p.pools, l)
	}
	rank := func(l *pool) int {
		switch {
		case l.GPU != nil:
			return 0
		case l.wanted >= 0:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(p.pools, func(a, b *pool) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(b.Threads, a.Threads), cmp.Compare(a.Name, b.Name))
	})
	if usesGPUs && p.counted && ofGPUs > ofHost {
		p.warn("the machine has %s of memory, less than the %s of its GPUs together: what is copied to them all at once does not fit",
			poolfile.Bytes(ofHost).Round(), poolfile.Bytes(ofGPUs).Round())
	}
}

// locate fills in the node of a GPU from the CPUs near to it.
func (p *placer) locate(g GPU) GPU {
	near := map[int]bool{}
	for _, n := range p.in.Machine.Nodes {
		if n.ID == g.Node {
			return g
		}
		if len(n.CPUs.Intersect(topology.NewCPUSet(g.CPUs...))) > 0 {
			near[n.ID] = true
		}
	}
	g.Node = -1
	if len(near) == 1 {
		g.Node = slices.Collect(maps.Keys(near))[0]
	}
	return g
}
