package slots

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestCover(t *testing.T) {
	tests := []struct {
		name  string
		won   []Won
		want  Coverage
		ratio float64
	}{
		{"one slot", []Won{{"a:1", []int{7}}}, Coverage{Won: 1, First: 7, Last: 7}, 1},
		{"slot zero", []Won{{"a:1", []int{0, 3}}}, Coverage{Won: 2, First: 0, Last: 3}, 0.5},
		// 20411..20420 are ten slots; 20411, 20413, 20414 and 20420 were won.
		{"gaps", []Won{{"a:1", []int{20420, 20413}}, {"b:1", []int{20411, 20414}}}, Coverage{Won: 4, First: 20411, Last: 20420}, 0.4},
		{"a slot won twice counts once", []Won{{"a:1", []int{10, 11, 11}}, {"b:1", []int{11, 13}}}, Coverage{Won: 3, First: 10, Last: 13}, 0.75},
		{"a node without slots does not matter", []Won{{"a:1", nil}, {"b:1", []int{5, 6}}}, Coverage{Won: 2, First: 5, Last: 6}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Cover(test.won)
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want || got.Ratio() != test.ratio {
				t.Errorf("got %+v, ratio %v; want %+v, ratio %v", got, got.Ratio(), test.want, test.ratio)
			}
		})
	}
}

func TestCoverWithoutSlots(t *testing.T) {
	for _, won := range [][]Won{nil, {}, {{"a:1", nil}, {"b:1", []int{}}}} {
		if got, err := Cover(won); !errors.Is(err, ErrNoSlots) {
			t.Errorf("Cover(%v) = %v, %v; want ErrNoSlots", won, got, err)
		}
	}
}

func TestCoverWindow(t *testing.T) {
	won := []Won{{"a:1", []int{10, 12, 14}}, {"b:1", []int{12, 20}}}
	tests := []struct {
		first, last, won int
		ratio            float64
	}{
		{10, 20, 4, 4. / 11},
		{0, 9, 0, 0},
		{11, 14, 2, 0.5}, // 12 and 14
		{12, 12, 1, 1},
		{21, 30, 0, 0},
		{0, maxSlot, 4, 4. / (maxSlot + 1)},
	}
	for _, test := range tests {
		got, err := CoverWindow(won, test.first, test.last)
		want := Coverage{Won: test.won, First: test.first, Last: test.last}
		if err != nil || got != want || got.Ratio() != test.ratio {
			t.Errorf("CoverWindow(%d, %d) = %+v (ratio %v), %v; want %+v (ratio %v)", test.first, test.last, got, got.Ratio(), err, want, test.ratio)
		}
	}
	if got, err := CoverWindow(nil, 0, 3); err != nil || got.Ratio() != 0 {
		t.Errorf("CoverWindow of nobody = %+v, %v; want coverage 0 of a stated window", got, err)
	}
	for _, window := range [][2]int{{-1, 3}, {3, 2}, {0, maxSlot + 1}} {
		if got, err := CoverWindow(won, window[0], window[1]); err == nil {
			t.Errorf("CoverWindow%v = %+v; want an error", window, got)
		}
	}
}

func TestSlotsOutOfRange(t *testing.T) {
	for _, slot := range []int{-1, maxSlot + 1} {
		won := []Won{{"10.0.0.1:3086", []int{3, slot}}}
		_, coverErr := Cover(won)
		_, windowErr := CoverWindow(won, 0, 9)
		_, allocateErr := Allocate(won, []int{1}, 1, 2)
		for _, err := range []error{coverErr, windowErr, allocateErr} {
			if err == nil || !strings.Contains(err.Error(), "10.0.0.1:3086") {
				t.Errorf("slot %d: %v; want an error that names the node", slot, err)
			}
		}
	}
}

// TestCoverIsTheShareOfWonSlots counts slot by slot, the other way round.
func TestCoverIsTheShareOfWonSlots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		won := drawWon(t, 5, 30)
		first := rapid.IntRange(0, 30).Draw(t, "first")
		last := rapid.IntRange(first, 40).Draw(t, "last")
		taken := slotSet(won)
		count := func(first, last int) int {
			n := 0
			for slot := first; slot <= last; slot++ {
				if taken[slot] {
					n++
				}
			}
			return n
		}
		got, err := CoverWindow(won, first, last)
		if want := (Coverage{Won: count(first, last), First: first, Last: last}); err != nil || got != want {
			t.Fatalf("CoverWindow = %+v, %v; want %+v", got, err, want)
		}
		got, err = Cover(won)
		if len(taken) == 0 {
			if !errors.Is(err, ErrNoSlots) {
				t.Fatalf("Cover = %+v, %v; want ErrNoSlots", got, err)
			}
			return
		}
		if err != nil || !taken[got.First] || !taken[got.Last] || got.Won != len(taken) || count(got.First, got.Last) != len(taken) {
			t.Fatalf("Cover = %+v, %v for %v", got, err, taken)
		}
	})
}

func TestHostOf(t *testing.T) {
	tests := []struct{ address, want string }{
		{"10.0.0.1:3086", "10.0.0.1"},
		{"[2001:db8::1]:3086", "2001:db8::1"},
		{"[2001:DB8:0:0:0:0:0:1]:3087", "2001:db8::1"},
		{"[::ffff:10.0.0.1]:3086", "10.0.0.1"},
		{"Plain-1.Example.org:80", "plain-1.example.org"},
	}
	for _, test := range tests {
		if got, err := hostOf(test.address); err != nil || got != test.want {
			t.Errorf("hostOf(%q) = %q, %v; want %q", test.address, got, err, test.want)
		}
	}
	for _, address := range []string{"", "10.0.0.1", "10.0.0.1:", ":3086", "2001:db8::1:3086", "2001:db8::1", "[2001:db8::1]"} {
		if got, err := hostOf(address); err == nil {
			t.Errorf("hostOf(%q) = %q; want an error", address, got)
		}
	}
}

func TestByHostMergesNodesOfOneHost(t *testing.T) {
	hosts, err := byHost([]Won{
		{"[2001:db8::1]:2", []int{4}},
		{"10.0.0.1:3087", []int{3}},
		{"[2001:DB8:0::1]:1", []int{5}},
		{"10.0.0.1:3086", []int{1, 2}},
		{"10.0.0.1:3086", []int{9}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []host{
		{addresses: []string{"10.0.0.1:3086", "10.0.0.1:3087"}, slots: []int{3, 1, 2, 9}},
		{addresses: []string{"[2001:DB8:0::1]:1", "[2001:db8::1]:2"}, slots: []int{4, 5}},
	}
	if diff := cmp.Diff(want, hosts, cmp.AllowUnexported(host{})); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
}
