package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"provingground/snarkpool/poolfile"
	"provingground/snarkpool/topology"
)

// plan writes down what was placed.
func (p *placer) plan() (Plan, error) {
	result := Plan{Host: p.in.Host, FileDigest: p.in.Pools.FileDigest, WhyNotMore: map[string][]string{}, Machine: p.describe(), ReservedMemory: poolfile.Bytes(p.reserved)}
	for _, c := range p.control {
		result.Control = append(result.Control, c.cpus...)
	}
	result.Control = topology.NewCPUSet(result.Control...)
	slices.SortFunc(p.pools, func(a, b *pool) int { return cmp.Compare(a.Name, b.Name) })
	for _, l := range p.pools {
		slices.SortFunc(l.workers, func(a, b *placed) int { return cmp.Compare(a.index, b.index) })
		for _, at := range l.workers {
			w, err := p.worker(l, at)
			if err != nil {
				return Plan{}, err
			}
			result.Workers = append(result.Workers, w)
		}
		reasons := p.whyNotMore(l)
		result.WhyNotMore[l.Name] = reasons
		missing := 0
		for index := 0; len(l.workers)+missing < l.wanted; index++ {
			if !l.has(index) {
				result.Unplaced = append(result.Unplaced, Unplaced{Name: p.name(l, index), Pool: l.Name, Reason: strings.Join(reasons, "; ")})
				missing++
			}
		}
		if missing > 0 {
			p.warn("pool %s: %d of %s asked for fit", l.Name, len(l.workers), counted(l.wanted, "worker", "workers"))
		}
	}
	result.Warnings = p.warnings
	digest, err := digestOf(result)
	result.Digest = digest
	return result, err
}

func (p *placer) name(l *pool, index int) string {
	return p.in.Host + "/" + l.Name + "/" + strconv.Itoa(index)
}

// worker resolves the specification of one worker.
func (p *placer) worker(l *pool, at *placed) (Worker, error) {
	w := Worker{
		Name: p.name(l, at.index), Pool: l.Name, Index: at.index, Kind: l.Kind,
		CPUs: l.cpus(at), Threads: l.Threads, Cores: len(at.cores),
		MemoryHigh: l.Memory.High, MemoryMax: l.Memory.Max, GPUs: uuids(at.gpus),
	}
	var caches, nodes []int
	for _, c := range at.cores {
		caches = append(caches, c.cache)
		nodes = append(nodes, c.node)
	}
	w.Caches = len(topology.NewCPUSet(caches...))
	w.MemoryNodes = topology.NewCPUSet(append(nodes, slices.Collect(maps.Keys(at.memory))...)...).Intersect(p.in.Machine.AllowedNodes)
	value := map[string]string{
		"coordinator": l.Coordinator, "gpus": strings.Join(w.GPUs, ","), "host": p.in.Host, "index": strconv.Itoa(at.index), "name": w.Name,
		"pool": l.Name, "threads": strconv.Itoa(l.Threads),
	}
	for _, part := range l.Command {
		w.Command = append(w.Command, expand(part, value))
	}
	if len(l.Env) > 0 || l.GPU != nil {
		w.Env = map[string]string{}
	}
	for name, text := range l.Env {
		w.Env[name] = expand(text, value)
	}
	if l.GPU != nil {
		w.Env["CUDA_VISIBLE_DEVICES"] = value["gpus"]
	}
	var err error
	w.Digest, err = digestOf(w)
	// What follows may change while it runs.
	w.Coordinator = l.Coordinator
	for id, part := range at.memory {
		if w.MemoryByNode == nil {
			w.MemoryByNode = map[int]poolfile.Bytes{}
		}
		w.MemoryByNode[id] = poolfile.Bytes(part)
	}
	for _, g := range at.gpus {
		switch {
		case g.Blocked != "":
			w.Blocked = fmt.Sprintf("%s: %s", g.UUID, g.Blocked)
		case w.Blocked == "" && l.GPU.Check == poolfile.CheckRequire && !g.Checked:
			w.Blocked = g.UUID + ": it has not passed the capability check yet"
		}
	}
	return w, err
}

// expand puts the values of the variables into a text; the pool file was checked to hold no others.
func expand(text string, value map[string]string) string {
	var out strings.Builder
	for {
		before, behind, found := strings.Cut(text, "${")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		name, rest, _ := strings.Cut(behind, "}")
		out.WriteString(value[name])
		text = rest
	}
}

func digestOf(value any) (string, error) {
	content, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("the plan cannot be digested: %w", err)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]), nil
}
