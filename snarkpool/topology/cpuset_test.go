package topology_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/snarkpool/topology"
)

func TestCPUSet(t *testing.T) {
	for text, want := range map[string]topology.CPUSet{
		"": nil, "\n": nil, "0": {0}, "0-3,8\n": {0, 1, 2, 3, 8}, "8,0-1,1": {0, 1, 8}, "65535": {65535},
	} {
		got, err := topology.ParseCPUSet(text)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got)\n%s", text, err, diff)
		}
	}
	for _, text := range []string{"a", "-1", "3-1", "1,", ",", "0-65536", "1 2", "0-3:1/2", "0-65535,0-65535,0-65535"} {
		if got, err := topology.ParseCPUSet(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

func TestCPUSetAlgebra(t *testing.T) {
	ids := rapid.SliceOf(rapid.IntRange(0, 40))
	rapid.Check(t, func(t *rapid.T) {
		a, b := topology.NewCPUSet(ids.Draw(t, "a")...), topology.NewCPUSet(ids.Draw(t, "b")...)
		for id := range 41 {
			if a.Intersect(b).Contains(id) != (a.Contains(id) && b.Contains(id)) || a.Union(b).Contains(id) != (a.Contains(id) || b.Contains(id)) ||
				a.Minus(b).Contains(id) != (a.Contains(id) && !b.Contains(id)) {
				t.Fatalf("%d of %s and %s", id, a, b)
			}
		}
		if back, err := topology.ParseCPUSet(a.String()); err != nil || back.String() != a.String() {
			t.Fatalf("%s comes back as %s: %v", a, back, err)
		}
	})
}

func FuzzParseCPUSet(f *testing.F) {
	for _, seed := range []string{"", "0-3,8", "1,", "0-65535", "9-0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, err := topology.ParseCPUSet(text)
		if err != nil {
			return
		}
		if again, err := topology.ParseCPUSet(set.String()); err != nil || !cmp.Equal(set, again) {
			t.Errorf("%q: %v comes back as %v: %v", text, set, again, err)
		}
	})
}
