package trace

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// Distribution says how long a checkpoint took in successful blocks (internal-trace, section 4). Times are seconds.
type Distribution struct {
	Identity  string  `json:"identity"` // the checkpoint's name
	Count     int64   `json:"count"`
	TotalTime float64 `json:"totalTime"`

	OneToTenUs           Range `json:"oneToTenUs"` // and everything shorter
	TenToOneHundredUs    Range `json:"tenToOneHundredUs"`
	OneHundredUsToOneMs  Range `json:"oneHundredUsToOneMs"`
	OneToTenMs           Range `json:"oneToTenMs"`
	TenToOneHundredMs    Range `json:"tenToOneHundredMs"`
	OneHundredMsToOneS   Range `json:"oneHundredMsToOneS"`
	OneToTenS            Range `json:"oneToTenS"`
	TenToOneHundredS     Range `json:"tenToOneHundredS"`
	OneHundredSAndLonger Range `json:"oneHundredS"`
}

// Range is the part of a distribution between two durations, the lower inclusive. Times are seconds.
type Range struct {
	Count     int64   `json:"count"`
	MeanTime  float64 `json:"meanTime"`
	MaxTime   float64 `json:"maxTime"`
	TotalTime float64 `json:"totalTime"`
}

// Add takes in one duration in seconds.
func (d *Distribution) Add(seconds float64) {
	d.Count++
	d.TotalTime += seconds
	d.within(seconds).add(seconds)
}

func (d *Distribution) within(seconds float64) *Range {
	switch {
	case seconds < 1e-5:
		return &d.OneToTenUs
	case seconds < 1e-4:
		return &d.TenToOneHundredUs
	case seconds < 1e-3:
		return &d.OneHundredUsToOneMs
	case seconds < 1e-2:
		return &d.OneToTenMs
	case seconds < 0.1:
		return &d.TenToOneHundredMs
	case seconds < 1:
		return &d.OneHundredMsToOneS
	case seconds < 10:
		return &d.OneToTenS
	case seconds < 100:
		return &d.TenToOneHundredS
	}
	return &d.OneHundredSAndLonger
}

func (r *Range) add(seconds float64) {
	r.Count++
	r.MeanTime += (seconds - r.MeanTime) / float64(r.Count)
	r.MaxTime = max(r.MaxTime, seconds)
	r.TotalTime += seconds
}

// Distributions are those of one node by checkpoint. In JSON they are the list of pairs [name, distribution], by name, that table data
// holds under the key checkpoint_distributions. Make them with make; nil can be read but not added to.
type Distributions map[string]*Distribution

// Add takes in every entry of the trace of a successful block; of other blocks nothing. The caller adds a block once, see
// Change.Succeeded.
func (d Distributions) Add(t StructuredTrace) {
	if t.Status != Success {
		return
	}
	for _, section := range t.Sections {
		d.addNodes(section.Checkpoints)
	}
}

func (d Distributions) addNodes(nodes []*Node) {
	for _, node := range nodes {
		if d[node.Checkpoint] == nil {
			d[node.Checkpoint] = &Distribution{Identity: node.Checkpoint}
		}
		d[node.Checkpoint].Add(node.Duration)
		d.addNodes(node.Checkpoints)
	}
}

// ByTotalTime returns the distributions with ascending total time, as blockTracesDistribution answers.
func (d Distributions) ByTotalTime() []*Distribution {
	list := make([]*Distribution, 0, len(d))
	for _, one := range d {
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b *Distribution) int {
		return cmp.Or(cmp.Compare(a.TotalTime, b.TotalTime), cmp.Compare(a.Identity, b.Identity))
	})
	return list
}

// MarshalJSON writes the list of pairs, by name.
func (d Distributions) MarshalJSON() ([]byte, error) {
	pairs := make([][2]any, 0, len(d))
	for name, one := range d {
		pairs = append(pairs, [2]any{name, one})
	}
	slices.SortFunc(pairs, func(a, b [2]any) int { return cmp.Compare(fmt.Sprint(a[0]), fmt.Sprint(b[0])) })
	return json.Marshal(pairs)
}

// UnmarshalJSON reads the list of pairs.
func (d *Distributions) UnmarshalJSON(data []byte) error {
	var pairs [][]json.RawMessage
	if err := json.Unmarshal(data, &pairs); err != nil {
		return fmt.Errorf("reading distributions: %w", err)
	}
	read := make(Distributions, len(pairs))
	for i, pair := range pairs {
		if len(pair) != 2 {
			return fmt.Errorf("reading distributions: entry %d has %d values where name and distribution are expected", i+1, len(pair))
		}
		var name string
		one := new(Distribution)
		if err := json.Unmarshal(pair[0], &name); err != nil {
			return fmt.Errorf("reading distributions: name of entry %d: %w", i+1, err)
		}
		if err := json.Unmarshal(pair[1], one); err != nil {
			return fmt.Errorf("reading the distribution of %.60q: %w", name, err)
		}
		read[name] = one
	}
	*d = read
	return nil
}

// DistributionNode is a distribution with those of the checkpoints that happen within it, as blockTracesDistributionStructured answers.
type DistributionNode struct {
	Distribution *Distribution       `json:"distribution"`
	Children     []*DistributionNode `json:"children"`
}

// Distributions arranges distributions by the nesting of their checkpoints: roots are those that are children of no other one present. A
// checkpoint that can happen within several stands under each. Siblings have ascending total time.
func (n *Nesting) Distributions(d Distributions) []*DistributionNode {
	nested := map[string]bool{}
	for name := range d {
		for _, child := range n.children[name] {
			nested[child] = true
		}
	}
	sorted := d.ByTotalTime()
	return n.nodes(sorted, func(name string) bool { return !nested[name] })
}

func (n *Nesting) nodes(sorted []*Distribution, chosen func(name string) bool) []*DistributionNode {
	nodes := []*DistributionNode{}
	for _, one := range sorted {
		if chosen(one.Identity) {
			within := func(name string) bool { return slices.Contains(n.children[one.Identity], name) }
			nodes = append(nodes, &DistributionNode{Distribution: one, Children: n.nodes(sorted, within)})
		}
	}
	return nodes
}
