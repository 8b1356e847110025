package trace

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
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

// MarshalJSON writes the list of pairs, by name. It and UnmarshalJSON are written by hand because a store calls them for every block of
// every node.
func (d Distributions) MarshalJSON() ([]byte, error) {
	out := make([]byte, 0, 2+1024*len(d))
	out = append(out, '[')
	for i, name := range slices.Sorted(maps.Keys(d)) {
		if i > 0 {
			out = append(out, ',')
		}
		one := d[name]
		out = appendString(append(out, '['), name)
		out = appendString(append(out, `,{"identity":`...), one.Identity)
		out = strconv.AppendInt(append(out, `,"count":`...), one.Count, 10)
		out = appendNumber(append(out, `,"totalTime":`...), one.TotalTime)
		for _, r := range one.ranges() {
			out = append(append(append(out, `,"`...), r.name...), `":{"count":`...)
			out = strconv.AppendInt(out, r.Count, 10)
			out = appendNumber(append(out, `,"meanTime":`...), r.MeanTime)
			out = appendNumber(append(out, `,"maxTime":`...), r.MaxTime)
			out = appendNumber(append(out, `,"totalTime":`...), r.TotalTime)
			out = append(out, '}')
		}
		out = append(out, "}]"...)
	}
	return append(out, ']'), nil
}

func appendNumber(dst []byte, number float64) []byte {
	if number == 0 {
		return append(dst, '0')
	}
	return strconv.AppendFloat(dst, number, 'g', -1, 64)
}

// UnmarshalJSON reads the list of pairs.
func (d *Distributions) UnmarshalJSON(data []byte) error {
	if !json.Valid(data) {
		return errors.New("reading distributions: not one JSON value")
	}
	text, err := cleanJSON(data)
	if err != nil {
		return fmt.Errorf("reading distributions: %w", err)
	}
	if text[0] != '[' {
		return errors.New("reading distributions: not a list")
	}
	read := make(Distributions)
	for pair := range elements(text) {
		values := slices.Collect(elements(pair))
		if len(values) != 2 {
			return fmt.Errorf("reading distributions: entry %d has %d values where name and distribution are expected", len(read)+1, len(values))
		}
		name, isText := textOf(values[0])
		if !isText {
			return fmt.Errorf("reading distributions: name of entry %d is no text", len(read)+1)
		}
		one := new(Distribution)
		if err := one.read(values[1]); err != nil {
			return fmt.Errorf("reading the distribution of %.60q: %w", name, err)
		}
		read[name] = one
	}
	*d = read
	return nil
}

// namedRange is a range with its name in JSON.
type namedRange struct {
	name string
	*Range
}

func (d *Distribution) ranges() [9]namedRange {
	return [...]namedRange{
		{"oneToTenUs", &d.OneToTenUs},
		{"tenToOneHundredUs", &d.TenToOneHundredUs},
		{"oneHundredUsToOneMs", &d.OneHundredUsToOneMs},
		{"oneToTenMs", &d.OneToTenMs},
		{"tenToOneHundredMs", &d.TenToOneHundredMs},
		{"oneHundredMsToOneS", &d.OneHundredMsToOneS},
		{"oneToTenS", &d.OneToTenS},
		{"tenToOneHundredS", &d.TenToOneHundredS},
		{"oneHundredS", &d.OneHundredSAndLonger},
	}
}

func (d *Distribution) read(object []byte) error {
	if !isObject(object) {
		return errors.New("not an object")
	}
	ranges := d.ranges()
	var bad error
	for key, value := range members(object) {
		switch key {
		case "identity":
			d.Identity, _ = textOf(value)
		case "count":
			bad = errors.Join(bad, readCount(&d.Count, value))
		case "totalTime":
			bad = errors.Join(bad, readNumber(&d.TotalTime, value))
		default:
			for _, r := range ranges {
				if r.name == key {
					bad = errors.Join(bad, r.read(value))
				}
			}
		}
	}
	return bad
}

func (r *Range) read(object []byte) error {
	var bad error
	for key, value := range members(object) {
		switch key {
		case "count":
			bad = errors.Join(bad, readCount(&r.Count, value))
		case "meanTime":
			bad = errors.Join(bad, readNumber(&r.MeanTime, value))
		case "maxTime":
			bad = errors.Join(bad, readNumber(&r.MaxTime, value))
		case "totalTime":
			bad = errors.Join(bad, readNumber(&r.TotalTime, value))
		}
	}
	return bad
}

func readCount(field *int64, value []byte) (err error) {
	if *field, err = strconv.ParseInt(string(value), 10, 64); err != nil {
		return fmt.Errorf("a count: %w", err)
	}
	return nil
}

func readNumber(field *float64, value []byte) (err error) {
	if *field, err = strconv.ParseFloat(string(value), 64); err != nil {
		return fmt.Errorf("a time: %w", err)
	}
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
