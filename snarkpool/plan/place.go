package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"provingground/snarkpool/poolfile"
	"provingground/snarkpool/topology"
)

func (p *placer) run() {
	if p.keep != nil {
		p.keepPrevious()
	}
	// Those with "auto" and without GPUs in turns, so that one of them does not take everything.
	var turns []*pool
	for _, l := range p.pools {
		switch {
		case len(l.missing) > 0:
		case l.GPU != nil && l.PerGPU > 0:
			p.placePerGPU(l)
		case l.wanted >= 0 || l.GPU != nil:
			for (l.wanted < 0 || len(l.workers) < l.wanted) && p.placeOne(l) {
			}
		default:
			turns = append(turns, l)
		}
	}
	for len(turns) > 0 {
		turns = slices.DeleteFunc(turns, func(l *pool) bool { return !p.placeOne(l) })
	}
}

// keepPrevious gives workers of the plan in force the place that they have, where it is still a place for them.
func (p *placer) keepPrevious() {
	for _, l := range p.pools {
		if len(l.missing) > 0 {
			continue
		}
		for _, w := range p.in.Previous.Workers {
			if w.Pool == l.Name && (w.Index < p.keep[l.Name] || l.PerGPU > 0) {
				if at, ok := p.same(l, w); ok {
					at.index = w.Index
					p.take(l, at)
				}
			}
		}
	}
}

// same finds the place that a worker has, and says whether a new worker of the pool could be put there.
func (p *placer) same(l *pool, w Worker) (*placed, bool) {
	at := &placed{}
	have := topology.CPUSet{}
	for _, c := range p.cores {
		if w.CPUs.Contains(c.cpus[0]) {
			if c.taken || c.control {
				return nil, false
			}
			at.cores = append(at.cores, c)
			have = append(have, l.bind(c)...)
		}
	}
	weight := 0
	for _, c := range at.cores {
		weight += l.weight(c)
	}
	fits := slices.ContainsFunc(at.cores, func(c *core) bool { return weight-l.weight(c) >= l.Threads }) // one too many
	if fits || weight < l.Threads || topology.NewCPUSet(have...).String() != w.CPUs.String() {
		return nil, false
	}
	if l.GPU != nil {
		if len(w.GPUs) != l.GPU.Count {
			return nil, false
		}
		for _, uuid := range w.GPUs {
			i := slices.IndexFunc(p.gpus, func(g *gpu) bool { return g.UUID == uuid })
			if i < 0 || !p.free(l, p.gpus[i]) || p.gpuRefuses(l, p.gpus[i]) != "" {
				return nil, false
			}
			at.gpus = append(at.gpus, p.gpus[i])
		}
	}
	nodes := nodesOf(at.cores)
	if l.NUMA == poolfile.NUMAStrict && (len(nodes) > 1 || !near(at.gpus, nodes[0])) {
		return nil, false
	}
	if at.memory = p.memoryAgain(l, w); at.memory == nil {
		at.memory = p.memoryFor(l, nodes)
	}
	if at.memory == nil || p.threads >= 0 && p.threads < l.Threads {
		return nil, false
	}
	return at, true
}

func near(gpus []*gpu, node int) bool {
	return !slices.ContainsFunc(gpus, func(g *gpu) bool { return g.Node >= 0 && g.Node != node })
}

func nodesOf(cores []*core) []int {
	var ids []int
	for _, c := range cores {
		ids = append(ids, c.node)
	}
	return topology.NewCPUSet(ids...)
}

// take gives a worker its place.
func (p *placer) take(l *pool, at *placed) {
	at.pool = l
	for _, c := range at.cores {
		c.taken = true
	}
	for _, n := range p.nodes {
		n.memory -= at.memory[n.id]
		p.memory -= at.memory[n.id]
	}
	for _, g := range at.gpus {
		g.pool = l.Name
	}
	if p.threads >= 0 {
		p.threads -= l.Threads
	}
	l.workers = append(l.workers, at)
}

// has says whether a worker of the pool has this index.
func (l *pool) has(index int) bool {
	return slices.ContainsFunc(l.workers, func(w *placed) bool { return w.index == index })
}

// unused returns an index that no worker of the pool has: the one that is wanted, or else the lowest.
func (l *pool) unused(wanted int) int {
	if !l.has(wanted) {
		return wanted
	}
	index := 0
	for l.has(index) {
		index++
	}
	return index
}

// weight is how many threads of the pool's workers a core carries, and bind which of its CPUs they use.
func (l *pool) weight(c *core) int {
	if l.SMT == poolfile.SMTShare {
		return len(c.cpus)
	}
	return 1
}

func (l *pool) bind(c *core) []int {
	if l.SMT == poolfile.SMTOff {
		return c.cpus[:1]
	}
	return c.cpus
}

// on returns how many workers a GPU has.
func (l *pool) on(g *gpu) int {
	n := 0
	for _, w := range l.workers {
		if slices.Contains(w.gpus, g) {
			n++
		}
	}
	return n
}

// free says whether a GPU can take one more worker of the pool.
func (p *placer) free(l *pool, g *gpu) bool {
	return g.pool == "" || g.pool == l.Name && l.on(g) < l.PerGPU
}

// gpuRefuses says why a GPU that is free is none for the pool; "" when it is one.
func (p *placer) gpuRefuses(l *pool, g *gpu) string {
	needed := l.GPU.MemoryFree * poolfile.Bytes(max(1, l.PerGPU))
	if free := g.MemoryFree; free != nil && poolfile.Bytes(*free) < needed {
		return fmt.Sprintf("%s: %s of its memory free, %s needed", g.UUID, poolfile.Bytes(*free).Round(), needed)
	}
	return ""
}

// byNode compares GPUs by their nodes; those of which it is not known come last, because they fit anywhere.
func byNode(a, b *gpu) int {
	return cmp.Or(compareBool(a.Node < 0, b.Node < 0), cmp.Compare(a.Node, b.Node))
}

// placePerGPU gives each GPU its workers. Their indexes follow the order of the GPUs given.
func (p *placer) placePerGPU(l *pool) {
	for _, g := range slices.SortedStableFunc(slices.Values(p.gpus), byNode) {
		i := slices.Index(p.gpus, g)
		for p.free(l, g) && l.on(g) < l.PerGPU && p.gpuRefuses(l, g) == "" && p.placeNear(l, []*gpu{g}, i*l.PerGPU+l.on(g)) {
		}
	}
}

// placeOne places one more worker of the pool, anywhere.
func (p *placer) placeOne(l *pool) bool {
	if l.GPU == nil {
		return p.placeNear(l, nil, len(l.workers))
	}
	// GPUs that may work before those that may not, and all of a worker's on one node.
	var usable []*gpu
	for _, g := range p.gpus {
		if p.free(l, g) && p.gpuRefuses(l, g) == "" {
			usable = append(usable, g)
		}
	}
	slices.SortStableFunc(usable, func(a, b *gpu) int {
		return cmp.Or(compareBool(a.Blocked != "", b.Blocked != ""), byNode(a, b))
	})
	tried := map[int]bool{}
	for _, first := range usable {
		if tried[first.Node] {
			continue
		}
		tried[first.Node] = true
		together := slices.DeleteFunc(slices.Clone(usable), func(g *gpu) bool { return g.Node != first.Node })
		if len(together) >= l.GPU.Count && p.placeNear(l, together[:l.GPU.Count], len(l.workers)) {
			return true
		}
	}
	return l.NUMA == poolfile.NUMAPrefer && len(usable) >= l.GPU.Count && p.placeNear(l, usable[:l.GPU.Count], len(l.workers))
}

// placeNear places a worker of the pool with these GPUs on the node that they are attached to, or else on the one with most room.
func (p *placer) placeNear(l *pool, gpus []*gpu, index int) bool {
	if p.threads >= 0 && p.threads < l.Threads {
		return false
	}
	candidates := slices.Clone(p.nodes)
	slices.SortStableFunc(candidates, func(a, b *node) int {
		return cmp.Or(compareBool(near(gpus, b.id), near(gpus, a.id)), cmp.Compare(p.room(l, b), p.room(l, a)))
	})
	at := &placed{gpus: gpus, index: l.unused(index)}
	for _, n := range candidates {
		if l.NUMA == poolfile.NUMAStrict && !near(gpus, n.id) {
			continue
		}
		if at.cores = l.pick(n.cores); at.cores == nil {
			continue
		}
		if at.memory = p.memoryFor(l, []int{n.id}); at.memory == nil {
			continue
		}
		p.take(l, at)
		return true
	}
	if l.NUMA != poolfile.NUMAPrefer {
		return false
	}
	var all []*core // of the nodes in their order, so that the worker spans few of them
	for _, n := range candidates {
		all = append(all, n.cores...)
	}
	if at.cores = l.pickInOrder(all); at.cores == nil {
		return false
	}
	if at.memory = p.memoryFor(l, nodesOf(at.cores)); at.memory == nil {
		return false
	}
	p.take(l, at)
	return true
}

// compareBool puts false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// room is how many more workers of the pool fit on a node.
func (p *placer) room(l *pool, n *node) int {
	weight := 0
	for _, c := range n.cores {
		if !c.taken {
			weight += l.weight(c)
		}
	}
	room := weight / l.Threads
	if p.counted && l.demand > 0 {
		room = min(room, int(n.memory/l.demand))
	}
	return room
}

// pick chooses free cores of one node for a worker: of one kind and below one cache where that is possible, leaving the largest gaps for
// others; else below as few caches as possible. Fast cores go first.
func (l *pool) pick(cores []*core) []*core {
	type group struct {
		cache, weight int
		slow          bool
		cores         []*core
	}
	var groups []*group
	for _, c := range cores {
		if c.taken {
			continue
		}
		i := slices.IndexFunc(groups, func(g *group) bool { return g.cache == c.cache && g.slow == c.slow })
		if i < 0 {
			i = len(groups)
			groups = append(groups, &group{cache: c.cache, slow: c.slow})
		}
		groups[i].cores = append(groups[i].cores, c)
		groups[i].weight += l.weight(c)
	}
	// Tight fits first, then what cannot hold a worker, the largest first; fast before slow throughout.
	slices.SortStableFunc(groups, func(a, b *group) int {
		fits := compareBool(b.weight >= l.Threads, a.weight >= l.Threads)
		size := cmp.Compare(a.weight, b.weight)
		if a.weight < l.Threads {
			size = -size
		}
		return cmp.Or(compareBool(a.slow, b.slow), fits, size)
	})
	total := map[bool]int{}
	for _, g := range groups {
		if g.weight >= l.Threads {
			return l.pickInOrder(g.cores)
		}
		total[g.slow] += g.weight
	}
	var all, fast, slow []*core
	for _, g := range groups {
		all = append(all, g.cores...)
		if g.slow {
			slow = append(slow, g.cores...)
		} else {
			fast = append(fast, g.cores...)
		}
	}
	switch {
	case total[false] >= l.Threads:
		return l.pickInOrder(fast)
	case total[true] >= l.Threads:
		return l.pickInOrder(slow)
	}
	return l.pickInOrder(all)
}

// pickInOrder chooses the first free cores that carry a worker's threads, and none of them too many.
func (l *pool) pickInOrder(cores []*core) []*core {
	var picked []*core
	weight := 0
	for _, c := range cores {
		if c.taken {
			continue
		}
		picked = append(picked, c)
		if weight += l.weight(c); weight < l.Threads {
			continue
		}
		for i := 0; i < len(picked); { // cores carry unlike numbers of threads
			if w := l.weight(picked[i]); weight-w >= l.Threads {
				weight -= w
				picked = slices.Delete(picked, i, i+1)
				continue
			}
			i++
		}
		return picked
	}
	return nil
}

// memoryFor finds memory for a worker on these nodes, and for one that prefers them on any; nil when there is not enough.
func (p *placer) memoryFor(l *pool, nodes []int) map[int]uint64 {
	taken := map[int]uint64{}
	if !p.counted || l.demand == 0 {
		return taken
	}
	if p.memory < l.demand {
		return nil
	}
	left := l.demand
	for _, near := range []bool{true, false} {
		for _, n := range p.nodes {
			if n.usable && slices.Contains(nodes, n.id) == near && (near || l.NUMA == poolfile.NUMAPrefer) {
				part := min(left, n.memory)
				left -= part
				if part > 0 {
					taken[n.id] = part
				}
			}
		}
	}
	if left > 0 {
		return nil
	}
	return taken
}

// memoryAgain finds memory for a worker where it has it; nil when there is not enough, or it needs another amount.
func (p *placer) memoryAgain(l *pool, w Worker) map[int]uint64 {
	if !p.counted || p.memory < l.demand {
		return nil
	}
	var sum uint64
	taken := map[int]uint64{}
	for _, n := range p.nodes {
		if part := uint64(w.MemoryByNode[n.id]); part > 0 && part <= n.memory && n.usable {
			taken[n.id] = part
			sum += part
		}
	}
	if sum != l.demand {
		return nil
	}
	return taken
}

func (p *placer) counts() map[string]int {
	counts := map[string]int{}
	for _, l := range p.pools {
		counts[l.Name] = len(l.workers)
	}
	return counts
}

// fewer says whether a pool has fewer workers than in another placement.
func (p *placer) fewer(than *placer) bool {
	counts := p.counts()
	for name, n := range than.counts() {
		if counts[name] < n {
			return true
		}
	}
	return false
}

// rename gives workers that happen to be where one was before that one's index, so that it need not be rolled.
func (p *placer) rename(previous *Plan) {
	for _, l := range p.pools {
		before := map[string]int{}
		for _, w := range previous.Workers {
			if w.Pool == l.Name {
				before[w.CPUs.String()+" "+strings.Join(w.GPUs, ",")] = w.Index
			}
		}
		rest := l.workers
		l.workers = nil
		place := func(matched bool) {
			for _, at := range rest {
				index, ok := before[l.cpus(at).String()+" "+strings.Join(uuids(at.gpus), ",")]
				if ok = ok && (index < len(rest) || l.PerGPU > 0); ok == matched {
					if !matched {
						index = l.unused(at.index)
					}
					at.index = index
					l.workers = append(l.workers, at)
				}
			}
		}
		place(true)
		place(false)
	}
}

func (l *pool) cpus(at *placed) topology.CPUSet {
	var ids []int
	for _, c := range at.cores {
		ids = append(ids, l.bind(c)...)
	}
	return topology.NewCPUSet(ids...)
}

func uuids(gpus []*gpu) []string {
	var ids []string
	for _, g := range gpus {
		ids = append(ids, g.UUID)
	}
	return ids
}
