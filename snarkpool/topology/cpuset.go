package topology

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// CPUSet is a set of ids of CPUs (or of memory nodes), sorted and without repetition. The zero value is empty. Its text, in JSON too, is the
// kernel's list format: 0-3,8.
type CPUSet []int

// MaxCPU is the highest id that a CPUSet's text may hold: eight times what the kernel can be built for.
const MaxCPU = 65535

var errNoList = errors.New("a list of CPUs is written like 0-3,8")

// NewCPUSet returns the set of the ids given, in any order.
func NewCPUSet(ids ...int) CPUSet {
	set := slices.Clone(ids)
	slices.Sort(set)
	return CPUSet(slices.Compact(set))
}

// ParseCPUSet reads the kernel's list format: ids and ranges between commas, with or without a newline behind. Nothing is the empty set.
func ParseCPUSet(text string) (CPUSet, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil
	}
	var ids []int
	for part := range strings.SplitSeq(text, ",") {
		from, to, ranged := strings.Cut(part, "-")
		low, err := strconv.ParseUint(from, 10, 16)
		high := low
		if err == nil && ranged {
			high, err = strconv.ParseUint(to, 10, 16)
		}
		if err != nil || high < low {
			return nil, fmt.Errorf("%q: %w", part, errNoList)
		}
		if len(ids)+int(high-low) > 2*MaxCPU {
			return nil, fmt.Errorf("more CPUs than a machine can have: %w", errNoList)
		}
		for id := low; id <= high; id++ {
			ids = append(ids, int(id))
		}
	}
	return NewCPUSet(ids...), nil
}

// String returns the set in the kernel's list format.
func (s CPUSet) String() string {
	var text []byte
	for i := 0; i < len(s); {
		j := i
		for j+1 < len(s) && s[j+1] == s[j]+1 {
			j++
		}
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendInt(text, int64(s[i]), 10)
		if j > i {
			text = append(text, '-')
			text = strconv.AppendInt(text, int64(s[j]), 10)
		}
		i = j + 1
	}
	return string(text)
}

// MarshalText returns the list format.
func (s CPUSet) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the list format.
func (s *CPUSet) UnmarshalText(text []byte) error {
	set, err := ParseCPUSet(string(text))
	if err != nil {
		return err
	}
	*s = set
	return nil
}

// Contains reports whether id is in the set.
func (s CPUSet) Contains(id int) bool {
	_, found := slices.BinarySearch(s, id)
	return found
}

// Intersect returns what is in both sets.
func (s CPUSet) Intersect(other CPUSet) CPUSet {
	return s.filter(other.Contains)
}

// Minus returns what is in the set and not in the other.
func (s CPUSet) Minus(other CPUSet) CPUSet {
	return s.filter(func(id int) bool { return !other.Contains(id) })
}

func (s CPUSet) filter(keep func(int) bool) CPUSet {
	var kept CPUSet
	for _, id := range s {
		if keep(id) {
			kept = append(kept, id)
		}
	}
	return kept
}

// Union returns what is in either set.
func (s CPUSet) Union(other CPUSet) CPUSet {
	return NewCPUSet(slices.Concat(s, other)...)
}
