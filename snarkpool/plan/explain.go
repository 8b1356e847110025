package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"provingground/snarkpool/poolfile"
)

// whyNotMore says what keeps a pool from having more workers.
func (p *placer) whyNotMore(l *pool) []string {
	switch {
	case len(l.missing) > 0:
		return l.missing
	case l.PerGPU > 0 && len(l.workers) < l.wanted:
		return p.shortPerGPU(l)
	case l.PerGPU > 0:
		return []string{fmt.Sprintf("the pool file asks for %d on each GPU, and the machine has %s", l.PerGPU, counted(len(p.gpus), "GPU", "GPUs"))}
	case l.wanted >= 0 && len(l.workers) >= l.wanted:
		return []string{fmt.Sprintf("the pool file asks for %d", l.wanted)}
	case l.GPU != nil:
		return p.shortOfGPUs(l)
	}
	return p.short(l, -1)
}

// shortPerGPU says of each GPU what keeps it from having its workers.
func (p *placer) shortPerGPU(l *pool) []string {
	var why []string
	for _, g := range p.gpus {
		if l.on(g) == l.PerGPU {
			continue
		}
		refused := p.gpuRefuses(l, g)
		switch {
		case g.pool != "" && g.pool != l.Name:
			why = append(why, fmt.Sprintf("%s: pool %s has it", g.UUID, g.pool))
		case refused != "":
			why = append(why, refused)
		default:
			why = append(why, g.UUID+": "+strings.Join(p.short(l, g.Node), "; "))
		}
	}
	return why
}

func (p *placer) shortOfGPUs(l *pool) []string {
	var why []string
	left := 0
	for _, g := range p.gpus {
		if !p.free(l, g) {
			continue
		}
		if refused := p.gpuRefuses(l, g); refused != "" {
			why = append(why, refused)
			continue
		}
		left++
	}
	if left < l.GPU.Count {
		return append(why, fmt.Sprintf("%s left, %d needed", counted(left, "GPU", "GPUs"), l.GPU.Count))
	}
	return append(append(why, fmt.Sprintf("%s left, %d needed on one node with its cores", counted(left, "GPU", "GPUs"), l.GPU.Count)), p.short(l, -1)...)
}

// short says what the nodes lack for one more worker; of one node alone when only is not negative.
func (p *placer) short(l *pool, only int) []string {
	var why []string
	if p.threads >= 0 && p.threads < l.Threads {
		why = append(why, fmt.Sprintf("the quota of %g CPUs leaves %s, %d needed", p.in.Machine.Limits.QuotaCPUs, counted(p.threads, "thread", "threads"), l.Threads))
	}
	if p.counted && p.memory < l.demand {
		why = append(why, fmt.Sprintf("%s of memory left in all, %s needed", poolfile.Bytes(p.memory).Round(), poolfile.Bytes(l.demand)))
	}
	singular, plural := "core", "cores"
	if l.SMT == poolfile.SMTShare {
		singular, plural = "CPU", "CPUs"
	}
	all := 0
	for _, n := range p.nodes {
		weight := 0
		for _, c := range n.cores {
			if !c.taken {
				weight += l.weight(c)
			}
		}
		all += weight
		if l.NUMA == poolfile.NUMAPrefer || only >= 0 && n.id != only || only < 0 && n.all == 0 {
			continue
		}
		var lacks []string
		if weight < l.Threads {
			lacks = append(lacks, fmt.Sprintf("%s left, %d needed", counted(weight, singular, plural), l.Threads))
		}
		switch {
		case !p.counted || l.demand == 0:
		case !n.usable:
			lacks = append(lacks, "its memory is not allowed")
		case n.memory < l.demand:
			lacks = append(lacks, fmt.Sprintf("%s of memory left, %s needed", poolfile.Bytes(n.memory).Round(), poolfile.Bytes(l.demand)))
		}
		if len(lacks) > 0 {
			why = append(why, fmt.Sprintf("node %d: %s", n.id, strings.Join(lacks, ", ")))
		}
	}
	if l.NUMA == poolfile.NUMAPrefer && all < l.Threads {
		why = append(why, fmt.Sprintf("%s left on all nodes, %d needed", counted(all, singular, plural), l.Threads))
	}
	if len(why) == 0 {
		why = append(why, "no node has both the cores and the memory of one more")
	}
	return why
}

// describe says what the plan found: only what workers may use counts.
func (p *placer) describe() string {
	var cpus int
	nodes := map[int]bool{}
	for _, c := range p.cores {
		cpus += len(c.cpus)
		nodes[c.node] = true
	}
	m := p.in.Machine
	text := fmt.Sprintf("%s with %s on %s", counted(len(p.cores), "core", "cores"), counted(cpus, "CPU", "CPUs"), counted(len(nodes), "node", "nodes"))
	if len(m.CPUs) > cpus {
		text += fmt.Sprintf(" (of the machine's %d CPUs)", len(m.CPUs))
	}
	if m.Limits.QuotaCPUs > 0 {
		text += fmt.Sprintf(" under a quota of %g CPUs", m.Limits.QuotaCPUs)
	}
	if p.counted {
		text += fmt.Sprintf(", %s of memory", poolfile.Bytes(p.memory+p.reserved+p.given()).Round())
	}
	if len(p.gpus) > 0 {
		text += ", " + counted(len(p.gpus), "GPU", "GPUs")
	}
	if m.CPUModel != "" {
		text = m.CPUModel + ": " + text
	}
	return text
}

// given is the memory of all workers placed.
func (p *placer) given() uint64 {
	var sum uint64
	for _, l := range p.pools {
		for _, w := range l.workers {
			for _, part := range w.memory {
				sum += part
			}
		}
	}
	return sum
}

func counted(n int, singular, plural string) string {
	if n == 1 {
		return "1 " + singular
	}
	return fmt.Sprintf("%d %s", n, plural)
}

// Explain returns the plan for a person to read: who gets what, and why there is not more.
func (p Plan) Explain() string {
	var out strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	line("%s: %s", p.Host, p.Machine)
	line("pool file %s, plan %s", brief(p.FileDigest), brief(p.Digest))
	line("")
	if len(p.Control) > 0 {
		line("agent: CPUs %s, and %s of memory kept free", p.Control, p.ReservedMemory)
	} else {
		line("agent: no core of its own, and %s of memory kept free", p.ReservedMemory)
	}
	for _, name := range slices.Sorted(maps.Keys(p.WhyNotMore)) {
		workers := slices.DeleteFunc(slices.Clone(p.Workers), func(w Worker) bool { return w.Pool != name })
		line("")
		if len(workers) == 0 {
			line("%s: no worker", name)
		} else {
			line("%s: %s of %s", name, counted(len(workers), "worker", "workers"), counted(workers[0].Threads, "thread", "threads"))
			out.WriteString(table(workers))
		}
		line("  why not more:")
		for _, reason := range p.WhyNotMore[name] {
			line("    %s", reason)
		}
	}
	if len(p.Warnings) > 0 {
		line("")
		line("warnings:")
		for _, warning := range p.Warnings {
			line("  %s", warning)
		}
	}
	return out.String()
}

// table lists workers in columns; one that nothing is said in is left out.
func table(workers []Worker) string {
	columns := []struct {
		title string
		of    func(Worker) string
	}{
		{"worker", func(w Worker) string { return w.Name }},
		{"cores", func(w Worker) string { return fmt.Sprint(w.Cores) }},
		{"CPUs", func(w Worker) string { return w.CPUs.String() }},
		{"node", func(w Worker) string { return w.MemoryNodes.String() }},
		{"memory", func(w Worker) string {
			if memory := max(w.MemoryMax, w.MemoryHigh); memory > 0 {
				return memory.String()
			}
			return ""
		}},
		{"GPU", func(w Worker) string { return strings.Join(w.GPUs, ",") }},
		{"remark", remark},
	}
	var out strings.Builder
	rows := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	write := func(cell func(i int) string) {
		var cells []string
		for i, column := range columns {
			if slices.ContainsFunc(workers, func(w Worker) bool { return column.of(w) != "" }) {
				cells = append(cells, cell(i))
			}
		}
		_, _ = fmt.Fprintf(rows, "  %s\n", strings.Join(cells, "\t")) // Flush returns its error
	}
	write(func(i int) string { return columns[i].title })
	for _, w := range workers {
		write(func(i int) string { return columns[i].of(w) })
	}
	if err := rows.Flush(); err != nil { // cannot happen: it writes into memory
		return err.Error()
	}
	var trimmed strings.Builder
	for row := range strings.Lines(out.String()) {
		trimmed.WriteString(strings.TrimRight(row, " \n") + "\n")
	}
	return trimmed.String()
}

func remark(w Worker) string {
	var remarks []string
	if w.Caches > 1 {
		remarks = append(remarks, fmt.Sprintf("over %d caches", w.Caches))
	}
	if w.Blocked != "" {
		remarks = append(remarks, "blocked: "+w.Blocked)
	}
	return strings.Join(remarks, "; ")
}

func brief(digest string) string {
	return digest[:min(len(digest), 12)]
}

// Change is what is to be done about one worker to get from one plan to another.
type Change struct {
	Name string `json:"name"`
	// What is "add", "remove", "roll" (its specification changed), or "coordinator" (only that did: it can be told while it runs).
	What string `json:"what"`
	// Moved says that its CPUs or GPUs are others.
	Moved bool `json:"moved,omitempty"`
}

// Changes returns what is to be done to get from another plan, nil for none, to this one, in the order of the workers, those to remove last.
func (p Plan) Changes(from *Plan) []Change {
	before := map[string]Worker{}
	if from != nil {
		for _, w := range from.Workers {
			before[w.Name] = w
		}
	}
	var changes []Change
	for _, w := range p.Workers {
		old, ok := before[w.Name]
		delete(before, w.Name)
		switch {
		case !ok:
			changes = append(changes, Change{Name: w.Name, What: "add"})
		case old.Digest != w.Digest:
			moved := !slices.Equal(old.CPUs, w.CPUs) || !slices.Equal(old.GPUs, w.GPUs)
			changes = append(changes, Change{Name: w.Name, What: "roll", Moved: moved})
		case old.Coordinator != w.Coordinator:
			changes = append(changes, Change{Name: w.Name, What: "coordinator"})
		}
	}
	if from != nil {
		for _, w := range from.Workers {
			if _, gone := before[w.Name]; gone {
				changes = append(changes, Change{Name: w.Name, What: "remove"})
			}
		}
	}
	return changes
}
