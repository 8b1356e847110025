package orchestrator_test

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"provingground/orchestrator"
	"provingground/orchestrator/simnet"
	"provingground/orchestrator/slots"
)

func TestSlotsWon(t *testing.T) {
	n := newNetwork(t, func(o *simnet.Options) {
		o.Faults, o.Slot = mustParse(t, "vrf:127.0.0.3#1"), 30*time.Second
	})
	producers := n.Nodes()[:3]

	t.Run("one producer failing", func(t *testing.T) {
		e := n.run(script(
			step("wait", params{"min": 4}), // for some blocks
			step("slots-won", params{"nodes": append(slices.Clone(n.Nodes()), producers[0])}),
		)).mustEnd(t, orchestrator.CodeOK)
		var nodes []string
		for _, won := range outputsOf[slots.Won](t, e, 1, "slotsWon") {
			nodes = append(nodes, won.Address)
		}
		mustEqual(t, "producers", []string{producers[0], producers[2]}, nodes)
		mustSay(t, e.log, "does not say which slots it won", producers[1])
		for _, asked := range toldOf[simnet.RequestAnswered](n) {
			if asked.fact.Operation == "slotsWon" && !slices.Contains(producers, asked.node) {
				t.Errorf("%s produces no blocks and was asked", asked.node)
			}
		}
	})

	t.Run("the slots", func(t *testing.T) {
		e := n.run(step("slots-won", params{"nodes": producers})).mustEnd(t, orchestrator.CodeOK)
		won := map[string][]int{}
		for _, w := range outputsOf[slots.Won](t, e, 0, "slotsWon") {
			won[w.Address] = w.Slots
		}
		mustEqual(t, "producers", producers, slices.Sorted(maps.Keys(won)))
		blocks := toldOf[simnet.BlockProduced](n)
		if len(blocks) == 0 {
			t.Error("no blocks to compare with")
		}
		for _, block := range blocks {
			if !slices.Contains(won[block.node], block.fact.Slot) {
				t.Errorf("%s produced a block in slot %d, which it says it did not win", block.node, block.fact.Slot)
			}
		}
	})

	t.Run("no producers", func(t *testing.T) {
		e := n.run(step("slots-won", params{"nodes": n.Nodes()[3:]})).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "outputs", 0, len(e.outputs(t, 0, "slotsWon")))
	})

	t.Run("all producers failing", func(t *testing.T) {
		n := newNetwork(t, func(o *simnet.Options) { o.Faults = mustParse(t, "vrf:*") })
		e := n.run(step("slots-won", params{"nodes": n.Nodes()})).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "on none of 3 nodes", "Vrf evaluation", n.Nodes()[0])
	})
}

func TestSlotsCoveredCheck(t *testing.T) {
	n := newNetwork(t, nil)
	won := func(nodes ...[]int) []slots.Won {
		all := []slots.Won{}
		for i, numbers := range nodes {
			all = append(all, slots.Won{Address: n.Nodes()[i], Slots: numbers})
		}
		return all
	}
	for name, test := range map[string]struct {
		threshold float64
		won       []slots.Won
		code      int
		says      string
	}{
		"exactly enough":              {0.6, won([]int{10, 12}, []int{12, 14}), orchestrator.CodeOK, "0.600 of the slots are covered (3 of 5, 10..14)"},
		"too few":                     {0.61, won([]int{10, 12}, []int{12, 14}), orchestrator.CodeStep, "(3 of 5, 10..14), and at least 0.610 must be"},
		"one slot":                    {1, won([]int{7}), orchestrator.CodeOK, "(1 of 1, 7..7)"},
		"slot 0":                      {1, won([]int{1, 0}, []int{2}), orchestrator.CodeOK, "(3 of 3, 0..2)"},
		"no slots (D55)":              {0.5, won(nil, []int{}), orchestrator.CodeStep, "no slot won"},
		"no slots, and none is asked": {0, won(), orchestrator.CodeStep, "no slot won"},
	} {
		t.Run(name, func(t *testing.T) {
			e := n.run(step("slots-covered-check", params{"threshold": test.threshold, "slotsWon": test.won})).mustEnd(t, test.code)
			mustSay(t, e.log, test.says)
		})
	}
	t.Run("a threshold above 1", func(t *testing.T) {
		mustSay(t, n.findings(step("slots-covered-check", params{"threshold": 1.1, "slotsWon": won()})), "threshold is a share")
	})
}

func TestAllocateSlots(t *testing.T) {
	n := newNetwork(t, nil)
	type allocation struct {
		Empty, Last int
		Groups      [][]string
	}
	allocate := func(t *testing.T, won []slots.Won, p params) allocation {
		t.Helper()
		e := n.run(step("allocate-slots", p.with(params{"slotsWon": won}))).mustEnd(t, orchestrator.CodeOK)
		got := allocation{Empty: outputOf[int](t, e, 0, "nextEmptySlot"), Last: outputOf[int](t, e, 0, "lastSlot")}
		for _, name := range []string{"group0", "group1"} { // counted from 0
			got.Groups = append(got.Groups, outputOf[[]string](t, e, 0, name))
		}
		return got
	}

	for name, test := range map[string]struct {
		won    []slots.Won
		params params
		want   allocation
	}{
		"the empty slot follows contiguous ones (D52)": {
			[]slots.Won{{Address: "a:1", Slots: []int{5, 6, 7, 9, 11}}, {Address: "b:1", Slots: []int{10, 12}}},
			params{"groups": []int{1, 1}, "minSlots": 1, "maxSlots": 10},
			allocation{8, 10, [][]string{{"a:1"}, {"b:1"}}},
		},
		"nodes of one host stay together": {
			[]slots.Won{{Address: "10.0.0.1:1", Slots: []int{0, 2}}, {Address: "10.0.0.1:2", Slots: []int{3}}, {Address: "[2001:db8::7]:1", Slots: []int{4, 5}}},
			params{"groups": []int{1, 1}, "minSlots": 4, "maxSlots": 4},
			allocation{1, 5, [][]string{{"10.0.0.1:1", "10.0.0.1:2"}, {"[2001:db8::7]:1"}}},
		},
		"weights written in other ways": {
			[]slots.Won{{Address: "a:1", Slots: []int{0, 2}}, {Address: "b:1", Slots: []int{3}}},
			params{"groups": []json.Number{"1e0", "1.0"}, "maxSlots": 5},
			allocation{1, 3, [][]string{{"a:1"}, {"b:1"}}},
		},
		"by weight, and a group that stays empty is a list": {
			[]slots.Won{{Address: "a:1", Slots: []int{0, 2}}},
			params{"groups": []int{2, 1}, "maxSlots": 5},
			allocation{1, 2, [][]string{{"a:1"}, {}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // D54: the same every time
				mustEqual(t, "allocation", test.want, allocate(t, test.won, test.params))
				slices.Reverse(test.won)
			}
		})
	}

	t.Run("what the nodes of a network won", func(t *testing.T) {
		e := n.run(script(
			step("discovery", params{"onlyBPs": true}),
			step("slots-won", params{"nodes": output(0, "participant")}),
			step("allocate-slots", params{"groups": []int{1, 1}, "slotsWon": output(1, "slotsWon"), "minSlots": 20, "maxSlots": 40}),
			step("stop-daemon", params{"nodes": output(2, "group1")}),
		)).mustEnd(t, orchestrator.CodeOK)
		first, second := outputOf[[]string](t, e, 2, "group0"), outputOf[[]string](t, e, 2, "group1")
		mustEqual(t, "nodes", n.Nodes()[:3], sorted(slices.Concat(first, second)))
		var told []string
		for _, stopping := range toldOf[simnet.DaemonStopping](n) {
			told = append(told, stopping.node)
		}
		mustEqual(t, "stopped", second, sorted(told))
	})

	for name, test := range map[string]struct {
		params params
		want   string
	}{
		"no slots (D53)":              {params{"slotsWon": []slots.Won{}}, "no slot won"},
		"no slot in the window (D53)": {params{"slotsWon": []slots.Won{{Address: "a:1", Slots: []int{5}}}}, "no slot won"},
		"an address without a port":   {params{"slotsWon": []slots.Won{{Address: "a", Slots: []int{5}}}}, "HOST:PORT"},
	} {
		t.Run(name, func(t *testing.T) {
			base := params{"groups": []int{1, 1}, "maxSlots": 10, "slotsWon": []slots.Won{{Address: "a:1", Slots: []int{5, 7}}}}
			e := n.run(step("allocate-slots", base.with(test.params))).mustEnd(t, orchestrator.CodeStep)
			mustSay(t, e.Err.Error(), test.want)
		})
	}
	t.Run("what a check refuses", func(t *testing.T) {
		base := params{"groups": []int{1, 1}, "maxSlots": 10, "slotsWon": []slots.Won{}}
		mustSay(t, n.findings(step("allocate-slots", base.with(params{"groups": []int{1, 0}}))), "a weight of 0")
		mustSay(t, n.findings(step("allocate-slots", base.with(params{"groups": []int{}}))), "groups is empty")
		mustSay(t, n.findings(step("allocate-slots", base.with(params{"minSlots": 11}))), "minSlots is above maxSlots")
		mustSay(t, n.findings(step("allocate-slots", base.with(params{"maxSlots": 0}))), "maxSlots must be above 0")
		mustSay(t, n.findings("won = slots-won(nodes: [])\ngroups = allocate-slots(groups: [1, 1], slots-won: won)"), `allocate-slots needs`, "max-slots")
	})
}
