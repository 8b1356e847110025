package trace

import (
	_ "embed" // for nesting.txt
	"slices"
	"strings"
)

//go:embed nesting.txt
var nestingTable string

// Nesting knows which checkpoints happen within which (internal-trace, section 3.3, with Apply_catchup_state_diffs beside its older name,
// as section 3.4 notes). It is safe for concurrent use.
type Nesting struct {
	children map[string][]string
}

// NewNesting reads the table that this package carries.
func NewNesting() *Nesting {
	n := &Nesting{children: map[string][]string{}}
	for line := range strings.Lines(nestingTable) {
		parent, children, _ := strings.Cut(line, ":")
		n.children[parent] = strings.Fields(children)
	}
	return n
}

// Children returns the checkpoints that can happen within a checkpoint, which are none for a name that is not known.
func (n *Nesting) Children(checkpoint string) []string { return slices.Clone(n.children[checkpoint]) }

// nest builds the tree of a list in time order, with the open parents on a stack.
func (n *Nesting) nest(list []Entry) []*Node {
	root := &Node{Checkpoints: []*Node{}}
	open := []*Node{}
	for _, entry := range list {
		node := &Node{Entry: entry, at: entry.StartedAt, Checkpoints: []*Node{}}
		for len(open) > 0 && !slices.Contains(n.children[open[len(open)-1].Checkpoint], entry.Checkpoint) {
			open = open[:len(open)-1]
		}
		parent := root
		if len(open) > 0 {
			parent = open[len(open)-1]
		}
		parent.Checkpoints = append(parent.Checkpoints, node)
		if len(n.children[entry.Checkpoint]) > 0 {
			open = append(open, node)
		}
	}
	return root.Checkpoints
}

// setDurations makes each entry last until its next sibling, and the last until the end of them all.
func setDurations(siblings []*Node, end float64) {
	for i, node := range siblings {
		until := end
		if i+1 < len(siblings) {
			until = siblings[i+1].at
		}
		node.Duration = until - node.at
		setDurations(node.Checkpoints, until)
	}
}
