package evidence

import (
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/dsl"
)

func TestSampleBounds(t *testing.T) {
	most := 100 * time.Second
	for _, test := range []struct {
		name      string
		values    []int
		extra     int64
		most      *time.Duration
		statistic statistic
		want      string
	}{
		{"nothing", nil, 0, nil, percentile(50), "?..?"},
		{"nothing but what may be", nil, 3, nil, percentile(50), "?..?"},
		{"one", []int{7}, 0, nil, percentile(99), "7..7"},
		{"median of an even number", []int{1, 2, 3, 4}, 0, nil, percentile(50), "2..2"},
		{"nearest rank", []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 0, nil, percentile(95), "10..10"},
		{"two more", []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 2, nil, percentile(50), "4..6"},
		{"too many more above", []int{1, 2, 3, 4}, 1, nil, percentile(95), "4..?"},
		{"too many more above a known end", []int{1, 2, 3, 4}, 1, &most, percentile(95), "4..100"},
		{"more than there are", []int{5}, 4, &most, percentile(50), "0..100"},
		{"any number more", []int{1, 2, 3}, unlimited, nil, percentile(50), "0..?"},
		{"mean", []int{1, 2, 6}, 0, nil, statistic{name: mean}, "3..3"},
		{"mean of more", []int{2, 4}, 1, &most, statistic{name: mean}, "2..106/3"},
		{"mean of more without an end", []int{2, 4}, 1, nil, statistic{name: mean}, "2..?"},
		{"least", []int{2, 4}, 0, nil, statistic{name: least}, "2..2"},
		{"least of more", []int{2, 4}, 1, nil, statistic{name: least}, "0..2"},
		{"greatest", []int{2, 4}, 0, nil, statistic{name: greatest}, "4..4"},
		{"greatest of more", []int{2, 4}, 1, nil, statistic{name: greatest}, "4..?"},
	} {
		s := sample{extra: test.extra, most: test.most}
		for _, v := range test.values {
			s.add(time.Duration(v)*time.Second, time.Duration(v)*time.Second)
		}
		b := s.of(test.statistic)
		if got := ends(b.low, b.high); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func ends(low, high *big.Rat) string {
	text := func(r *big.Rat) string {
		if r == nil {
			return "?"
		}
		return r.RatString()
	}
	return text(low) + ".." + text(high)
}

// Whatever the unknown elements are, and whichever of them there are, a statistic lies between the bounds.
func TestSampleBoundsHoldAnyElements(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		duration := rapid.Map(rapid.IntRange(0, 50), func(n int) time.Duration { return time.Duration(n) * time.Second })
		known := rapid.SliceOfN(duration, 1, 20).Draw(t, "known")
		others := rapid.SliceOfN(duration, 0, 10).Draw(t, "others")
		most := 50 * time.Second
		s := sample{extra: int64(len(others)), most: &most}
		s.exact(known)
		whole := append(slices.Clone(known), others[:rapid.IntRange(0, len(others)).Draw(t, "present")]...)
		truth := sample{}
		truth.exact(whole)
		for _, statistic := range statisticsOfAll() {
			value, b := truth.of(statistic).low, s.of(statistic)
			if b.low.Cmp(value) > 0 || b.high.Cmp(value) < 0 {
				t.Errorf("%s is %s, not between %s", statistic.name, value, ends(b.low, b.high))
			}
		}
	})
}

func TestMetricsAreMeasured(t *testing.T) {
	s := &Statistics{Asked: testBegan + 1, Began: testBegan, Nodes: []NodeLog{{Address: "a", ReadTo: testBegan + 1}}}
	seen := make(map[string]bool)
	for _, metric := range Metrics() {
		if m := s.Measure(metric.Name, dsl.Scope{}, nil); strings.Contains(m.Missing, "nothing measures") {
			t.Errorf("%s: %s", metric.Name, m.Missing)
		}
		if seen[metric.Name] || metric.Doc == "" || metric.Scoped != strings.HasPrefix(metric.Name, "tx.") {
			t.Errorf("%+v", metric)
		}
		seen[metric.Name] = true
		scales := strings.Contains(metric.Name, ".latency.") || strings.HasPrefix(metric.Name, "block.application.") || strings.HasPrefix(metric.Name, "block.production.") || metric.Name == "log.lag"
		if scales != (metric.Unit == dsl.UnitSecond) {
			t.Errorf("%s has the unit %q", metric.Name, metric.Unit)
		}
	}
	for _, name := range []string{"", "tx", "tx.", "tx.latency.p42", "block.", "block.application.min", "log.", "chain.tip"} {
		if m := s.Measure(name, dsl.Scope{}, []Load{{}}); m.Missing == "" || m.Low != nil {
			t.Errorf("%q is measured: %+v", name, m)
		}
	}
}

func TestFewNames(t *testing.T) {
	for _, test := range []struct {
		names []string
		want  string
	}{
		{[]string{"a"}, "a"},
		{[]string{"a", "b", "c", "d"}, "a, b, c, d"},
		{[]string{"a", "b", "c", "d", "e"}, "a, b, c and 2 more"},
	} {
		if diff := cmp.Diff(test.want, few(test.names)); diff != "" {
			t.Error(diff)
		}
	}
}

// small is a run of two nodes, one load of ten transactions on the first, each ten seconds, and nothing included.
func small() (*Statistics, []Load) {
	at := func(second int) Instant { return testBegan.plus(time.Duration(second) * time.Second) }
	s := &Statistics{
		Asked: at(400), Began: testBegan, Genesis: testBegan, Slot: testSlot, Patience: time.Minute, Loads: make([]LoadLog, 1),
		Nodes: []NodeLog{
			{Address: "a:1", Name: "-a-1", Since: early, Hears: early + 1, ReadTo: at(398), Listed: true},
			{Address: "b:1", Name: "-b-1", Since: early, Hears: early + 1, ReadTo: at(399), Listed: true},
		},
	}
	for i := range 10 {
		s.Loads[0].Transactions = append(s.Loads[0].Transactions, Transaction{Index: i, Received: at(10 * i), Sent: at(10 * i), Outcome: Accepted})
	}
	return s, []Load{{Name: "x-0", Kind: Payments, Node: "a:1", TPS: big.NewRat(1, 10), From: testBegan.Time(), Until: at(95).Time()}}
}

func TestUnseenTransactions(t *testing.T) {
	at := func(second int) Instant { return testBegan.plus(time.Duration(second) * time.Second) }
	drop := func(s *Statistics, indexes ...int) {
		list := &s.Loads[0].Transactions
		*list = slices.DeleteFunc(*list, func(tx Transaction) bool { return slices.Contains(indexes, tx.Index) })
	}
	for _, test := range []struct {
		name             string
		change           func(s *Statistics, loads []Load)
		submitted, wrong string // the latter is tx.rejected
	}{
		{"complete", func(*Statistics, []Load) {}, "10..10", "0..0"},
		{"a hole that the complete log does not explain is none", func(s *Statistics, _ []Load) { drop(s, 4) }, "9..9", "0..0"},
		{"a gap elsewhere", func(s *Statistics, _ []Load) {
			drop(s, 4)
			s.Nodes[0].Gaps = []Gap{{From: at(200), To: at(210), Lost: 5}}
		}, "9..9", "0..0"},
		{"a gap where the hole is", func(s *Statistics, _ []Load) {
			drop(s, 4)
			s.Nodes[0].Gaps = []Gap{{From: at(38), To: at(45), Lost: 5}}
		}, "9..10", "0..1/10"},
		{"the other node's gap there", func(s *Statistics, _ []Load) {
			drop(s, 4)
			s.Nodes[1].Gaps = []Gap{{From: at(38), To: at(45), Lost: 5}}
		}, "9..9", "0..0"},
		{"a silent sender, its end not read", func(s *Statistics, _ []Load) {
			drop(s, 8, 9)
			s.Nodes[0].ReadTo = at(75)
		}, "8..10", "0..1/5"},
		{"a silent sender, whose load was stopped then", func(s *Statistics, loads []Load) {
			drop(s, 8, 9)
			s.Nodes[0].ReadTo, loads[0].Until = at(75), at(79).Time()
		}, "8..8", "0..0"},
		{"a load that has just ended", func(s *Statistics, _ []Load) {
			drop(s, 9)
			s.Asked, s.Nodes[0].ReadTo, s.Nodes[1].ReadTo = at(100), at(85), at(99)
		}, "9..10", "0..1/10"},
		{"a load that goes on", func(s *Statistics, loads []Load) {
			drop(s, 9)
			s.Asked, s.Nodes[0].ReadTo, s.Nodes[1].ReadTo, loads[0].Until = at(100), at(85), at(99), at(500).Time()
		}, "9..9", "0..0"},
		{"a load placed after the last reading", func(s *Statistics, loads []Load) {
			drop(s, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
			s.Asked, s.Nodes[0].ReadTo, s.Nodes[1].ReadTo = at(25), at(20), at(20)
			loads[0].From, loads[0].Until = at(22).Time(), at(500).Time()
		}, "0..1", "?..?"},
		{"a node that nobody reads", func(s *Statistics, loads []Load) {
			drop(s, 4)
			loads[0].Node = "c:1"
		}, "9..10", "0..1/10"},
	} {
		s, loads := small()
		test.change(s, loads)
		for metric, want := range map[string]string{"tx.submitted": test.submitted, "tx.rejected": test.wrong} {
			m := s.Measure(metric, dsl.Scope{}, loads)
			if got := ends(m.Low, m.High); got != want || m.Missing != "" != (m.Low == nil || m.Low.Cmp(m.High) != 0) {
				t.Errorf("%s: %s is %s, want %s (%s)", test.name, metric, got, want, m.Missing)
			}
		}
	}
}

// A node that came late, that logs nothing, or that has another name by now has not seen what it was not there for: of a gap in the log of the node that sends, only one
// that took part all the time knows.
func TestNodesThatSawNothing(t *testing.T) {
	at := func(second int) Instant { return testBegan.plus(time.Duration(second) * time.Second) }
	gap := []Gap{{From: at(38), To: at(45), Lost: 5}}
	for _, test := range []struct {
		name            string
		change          func(s *Statistics)
		missing, reason string
	}{
		{"it took part all the time", func(*Statistics) {}, "0..0", ""},
		{"it came late", func(s *Statistics) { s.Nodes[1].Since, s.Nodes[1].Hears = at(300), at(310) }, "0..1", "whose logs begin after the run did: b:1"},
		{"it had not heard of a block yet", func(s *Statistics) { s.Nodes[1].Hears = at(310) }, "0..1", "with gaps in their logs: a:1"},
		{"it has not heard of any block", func(s *Statistics) { s.Nodes[1].Hears = 0 }, "0..1", "with gaps in their logs: a:1"},
		{"it logs nothing", func(s *Statistics) { s.Nodes[1].Since, s.Nodes[1].Hears = 0, 0 }, "0..1", "that have logged nothing (see that they log internal traces): b:1"},
		{"it restarted, and has not heard since", func(s *Statistics) {
			s.Nodes[1].Gaps = []Gap{{From: at(20), To: at(30), Lost: -1}}
			s.Nodes[1].Hears = at(310)
		}, "0..1", "with gaps in their logs: a:1, b:1"},
		{"its clock is wrong", func(s *Statistics) { s.Nodes[1].Skew = -2 * time.Hour }, "0..1", "whose clocks are wrong: b:1 (by about 2h0m0s)"},
		{"the deployment is new", func(s *Statistics) { s.Deployed = at(300) }, "0..1", "the fetcher's deployment was made at"},
		{"the gap is of the sender's earlier name", func(s *Statistics) {
			s.Nodes[0].Gaps, s.Nodes[0].ReadTo = nil, at(398)
			old := NodeLog{Address: "a:1", Name: "old-a-1", Since: early, Hears: early + 1, ReadTo: at(398), Gaps: gap}
			s.Nodes = []NodeLog{old, s.Nodes[0]}
		}, "0..0", "with gaps in their logs: a:1"},
		{"nobody else is there", func(s *Statistics) { s.Nodes = s.Nodes[:1] }, "0..1", "--itn-max-logs"},
	} {
		s, loads := small()
		s.Blocks = []Block{{Hash: "p", Height: 1, Received: testBegan - 1, Canonical: true}, {Hash: "q", Previous: "p", Height: 2, Received: at(200), Canonical: true}}
		for i := range s.Loads[0].Transactions {
			s.Loads[0].Transactions[i].Height = 2
		}
		s.Loads[0].Transactions = slices.Delete(s.Loads[0].Transactions, 4, 5)
		s.Nodes[0].Gaps = gap
		test.change(s)
		for metric, want := range map[string]string{"tx.missing": test.missing, "tx.submitted": "9..10"} {
			m := s.Measure(metric, dsl.Scope{}, loads)
			if got := ends(m.Low, m.High); got != want || metric == "tx.submitted" && !strings.Contains(m.Missing, test.reason) {
				t.Errorf("%s: %s is %s, want %s (%s)", test.name, metric, got, want, m.Missing)
			}
		}
	}
}

func TestIndexesOfMemos(t *testing.T) {
	for text, want := range map[string]int{"0": 0, "7": 7, "10": 10, "999999999": 999999999, "": -1, "007": -1, "00": -1, "+1": -1, "-1": -1, "1x": -1, "1000000000": -1} {
		index, ok := indexOf(text)
		if !ok {
			index = -1
		}
		if index != want {
			t.Errorf("%q is %d, want %d", text, index, want)
		}
	}
}

// line is a chain of blocks, one in each slot, each naming its parent.
func line(slots ...int64) []Block {
	var blocks []Block
	previous := "before"
	for i, slot := range slots {
		hash := string(rune('A' + i))
		blocks = append(blocks, Block{
			Hash: hash, Previous: previous, Height: 10 + i, Slot: slot, Received: testBegan.plus(time.Duration(slot)*testSlot + 6*time.Second), Canonical: true, Produced: true,
		})
		previous = hash
	}
	return blocks
}

func TestChainBounds(t *testing.T) {
	at := func(slot int) Instant { return testBegan.plus(time.Duration(slot) * testSlot) }
	all := []Gap{{From: at(3), To: at(4), Lost: 9}}
	for _, test := range []struct {
		name          string
		blocks        []Block
		gaps          []Gap // of every node
		change        func(s *Statistics)
		longest, seen string // chain.longest-gap and block.count
	}{
		{"a chain", line(-1, 0, 1, 4, 5, 9), nil, nil, "3..3", "5..5"},
		{"the end counts", line(-1, 0, 1), nil, nil, "8..8", "2..2"},
		{"the beginning counts", line(-1, 7, 8, 9), nil, nil, "7..7", "3..3"},
		{"no block", line(-1), nil, nil, "10..10", "0..0"},
		{"gaps of all nodes, and every block known", line(-1, 0, 1, 4, 5, 9), all, nil, "3..3", "5..?"},
		{"a block that nobody logged", slices.Delete(line(-1, 0, 1, 3, 5, 9), 3, 4), all, nil, "3..5", "5..?"},
		{"a block that one node cannot have missed", slices.Delete(line(-1, 0, 1, 3, 5, 9), 3, 4), nil, nil, "3..3", "5..5"},
		{"silence", line(-1, 0, 1, 4), nil, func(s *Statistics) { s.Nodes[0].ReadTo = at(1) }, "5..5", "3..3"},
	} {
		s, _ := small()
		s.Asked, s.Blocks = at(10), test.blocks
		for i := range s.Nodes {
			s.Nodes[i].ReadTo, s.Nodes[i].Gaps = s.Asked, test.gaps
		}
		if test.change != nil {
			test.change(s)
		}
		for metric, want := range map[string]string{"chain.longest-gap": test.longest, "block.count": test.seen} {
			if m := s.Measure(metric, dsl.Scope{}, nil); ends(m.Low, m.High) != want {
				t.Errorf("%s: %s is %s, want %s (%s)", test.name, metric, ends(m.Low, m.High), want, m.Missing)
			}
		}
	}
}

func TestReorganisation(t *testing.T) {
	blocks := line(-1, 0, 1, 2, 3)
	blocks = append(blocks, Block{Hash: "x", Previous: "B", Height: 12, Slot: 1, Received: blocks[2].Received + 1}, Block{Hash: "y", Previous: "x", Height: 13, Slot: 2, Received: blocks[3].Received + 1})
	take := func(node string, hashes ...string) (all []Integration) {
		for _, hash := range hashes {
			all = append(all, Integration{Node: node, Hash: hash})
		}
		return all
	}
	for _, test := range []struct {
		name   string
		taken  []Integration
		change func(s *Statistics)
		want   string
	}{
		{"along the chain", take("-a-1", "B", "C", "D", "E"), nil, "0..0"},
		{"a rival of the same length", take("-a-1", "B", "C", "x", "D"), nil, "0..1"},
		{"over to the other branch", take("-a-1", "B", "x", "y", "C", "D", "E"), nil, "2..2"},
		{"late news of the other branch", take("-a-1", "B", "C", "D", "x", "y", "E"), nil, "0..2"},
		{"two nodes", append(take("-a-1", "B", "C", "D", "E"), take("-b-1", "B", "x", "D", "E")...), nil, "1..1"},
		{"a node with a gap", take("-a-1", "B", "C", "D", "E"), func(s *Statistics) { s.Nodes[1].Gaps = []Gap{{From: testBegan + 1, To: testBegan + 2, Lost: 1}} }, "0..2"},
	} {
		s, _ := small()
		s.Asked = testBegan.plus(10 * testSlot)
		s.Nodes[0].ReadTo, s.Nodes[1].ReadTo = s.Asked, s.Asked
		s.Blocks, s.Integrations = blocks, test.taken
		if test.change != nil {
			test.change(s)
		}
		if m := s.Measure("chain.reorganisation", dsl.Scope{}, nil); ends(m.Low, m.High) != test.want {
			t.Errorf("%s: %s, want %s (%s)", test.name, ends(m.Low, m.High), test.want, m.Missing)
		}
	}
}

func TestTips(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(s *Statistics)
		want   string
	}{
		{"one", func(*Statistics) {}, "1..1"},
		{"two", func(s *Statistics) { s.Nodes[1].Tips = []string{"D"} }, "2..2"},
		{"a choice", func(s *Statistics) { s.Nodes[1].Tips = []string{"E", "D"} }, "1..2"},
		{"silent", func(s *Statistics) { s.Nodes[1].ReadTo = testBegan + 1 }, "1..2"},
		{"gone", func(s *Statistics) { s.Nodes[1].ReadTo, s.Nodes[1].Listed = testBegan+1, false }, "1..1"},
		{"nothing integrated", func(s *Statistics) { s.Nodes[1].Tips = nil }, "1..2"},
	} {
		s, _ := small()
		s.Blocks = line(-1, 0, 1, 2, 3)
		s.Nodes[0].Tips, s.Nodes[1].Tips = []string{"E"}, []string{"E"}
		test.change(s)
		if m := s.Measure("chain.tips", dsl.Scope{}, nil); ends(m.Low, m.High) != test.want {
			t.Errorf("%s: %s, want %s (%s)", test.name, ends(m.Low, m.High), test.want, m.Missing)
		}
	}
}

func TestLogMetrics(t *testing.T) {
	s, _ := small()
	s.Nodes[0].Lag, s.Nodes[1].Lag = 2*time.Second, 3*time.Second
	s.Nodes[0].Gaps = []Gap{{From: testBegan, To: testBegan + 5, Lost: 7}, {To: testBegan - 5, Lost: 100}}
	check := func(metric, want string) {
		t.Helper()
		if m := s.Measure(metric, dsl.Scope{}, nil); ends(m.Low, m.High) != want {
			t.Errorf("%s is %s, want %s (%s)", metric, ends(m.Low, m.High), want, m.Missing)
		}
	}
	check("log.lost", "7..7")
	check("log.gaps", "1..1")
	check("log.lag", "3..3")
	s.Nodes[1].Gaps = []Gap{{From: testBegan, To: testBegan + 9, Lost: -1}}
	check("log.lost", "7..?")
	check("log.gaps", "2..2")
	s.Nodes[1].ReadTo = 0
	check("log.gaps", "2..?")
	check("log.lag", "2..?")
}
