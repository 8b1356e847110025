package dsl

import (
	"fmt"
	"strings"
)

// Suggest returns `did you mean "X"?` with the known name nearest to the given one, or "" when none is near.
func Suggest(given string, known []string) string {
	best := closest(given, known)
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// closest returns the known name nearest to the given one, or "" when none is near.
func closest(given string, known []string) string {
	best, distance := "", 1+max(1, len(given)/3)
	folded := fold(given)
	for _, name := range known {
		if d := editDistance(folded, fold(name)); d < distance {
			best, distance = name, d
		}
	}
	return best
}

// fold makes spellings of one name equal: only-bps, onlyBPs, only_bps.
func fold(name string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(name))
}

// editDistance counts insertions, deletions, substitutions and swaps of neighbours that turn a into b.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 { // no name of ours is that long
		return 64
	}
	before, previous := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		current := make([]int, len(b)+1)
		current[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				current[j] = min(current[j], before[j-2]+1)
			}
		}
		before, previous = previous, current
	}
	return previous[len(b)]
}
