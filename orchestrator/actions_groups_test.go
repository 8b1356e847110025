package orchestrator_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"provingground/orchestrator"
	"provingground/orchestrator/simnet"
)

func TestJoin(t *testing.T) {
	n := newNetwork(t, nil)
	t.Run("nine groups, in order, each once (D8)", func(t *testing.T) {
		p := params{}
		var want []string
		for i := range 9 {
			elements := []string{fmt.Sprintf("%d a", i+1), fmt.Sprintf("%d b", i+1)}
			p[fmt.Sprintf("group%d", i+1)] = elements
			want = append(want, elements...)
		}
		e := n.run(step("join", p)).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "joined", want, outputsOf[string](t, e, 0, "group"))
	})
	t.Run("any values, repeated ones too", func(t *testing.T) {
		e := n.run(step("join", params{
			"group2": []any{1, "x", nil, params{"address": "a", "slots": []int{}}}, "group7": []any{"x", 1e3, []any{}},
		})).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "joined", []string{`1`, `"x"`, `null`, `{"address":"a","slots":[]}`, `"x"`, `1000`, `[]`}, e.outputs(t, 0, "group"))
	})
	t.Run("no group ten", func(t *testing.T) {
		mustSay(t, n.findings(step("join", params{"group10": []string{}})), `no parameter "group10"`)
	})
}

func TestExcept(t *testing.T) {
	n := newNetwork(t, nil)
	e := n.run(step("except", params{
		"group": []string{"d:1", "b:1", "a:1", "b:1", "c:1"}, "except": []string{"a:1", "x:1", "d:1"},
	})).mustEnd(t, orchestrator.CodeOK)
	mustEqual(t, "rest, in order", []string{"b:1", "b:1", "c:1"}, outputsOf[string](t, e, 0, "group"))
	e = n.run(step("except", params{"group": []string{"a:1"}})).mustEnd(t, orchestrator.CodeOK)
	mustEqual(t, "all", []string{"a:1"}, outputsOf[string](t, e, 0, "group"))
}

func TestSample(t *testing.T) {
	n := newNetwork(t, nil)
	letters := func(n int) []string {
		group := make([]string, n)
		for i := range group {
			group[i] = fmt.Sprintf("node-%02d:1", i)
		}
		return group
	}
	third := json.Number("0.333333333333")
	// The sizes of the groups; what is left is the rest (D9).
	for name, test := range map[string]struct {
		of     int
		ratios []any
		sizes  []int
	}{
		"fifths of 8":                     {8, []any{0.2, 0.2, 0.2, 0.2, 0.2}, []int{2, 1, 2, 1, 2, 0}},
		"fifths of 7":                     {7, []any{0.2, 0.2, 0.2, 0.2, 0.2}, []int{1, 2, 1, 2, 1, 0}},
		"thirds of 8":                     {8, []any{third, third, third}, []int{3, 2, 3, 0}},
		"halves of 7":                     {7, []any{0.5, 0.5}, []int{4, 3, 0}},
		"halves of 3":                     {3, []any{0.5, 0.5}, []int{2, 1, 0}},
		"tenths, which make 1 in decimal": {10, []any{0.1, 0.7, 0.1, 0.1}, []int{1, 7, 1, 1, 0}},
		"a hair above 1":                  {4, []any{0.5, json.Number("0.5000000001")}, []int{2, 2, 0}},
		"a part":                          {10, []any{0.25}, []int{3, 7}},
		"nobody":                          {5, []any{0, 0}, []int{0, 0, 5}},
		"everybody":                       {5, []any{1}, []int{5, 0}},
		"of nobody":                       {0, []any{0.5}, []int{0, 0}},
		"no ratios":                       {3, []any{}, []int{3}},
	} {
		t.Run(name, func(t *testing.T) {
			e := n.run(step("sample", params{"group": letters(test.of), "ratios": test.ratios})).mustEnd(t, orchestrator.CodeOK)
			var sizes []int
			var all []string
			for i := range test.ratios {
				group := outputOf[[]string](t, e, 0, fmt.Sprintf("group%d", i+1))
				sizes = append(sizes, len(group))
				all = append(all, group...)
			}
			rest := outputOf[[]string](t, e, 0, "rest")
			mustEqual(t, "sizes", test.sizes, append(sizes, len(rest)))
			mustEqual(t, "all of them, once", letters(test.of), append([]string{}, sorted(append(all, rest...))...))
			for _, name := range []string{"rest", "group1", "group2"} {
				if slices.Contains(e.outputs(t, 0, name), "null") {
					t.Errorf("%s without an element is null, want []", name)
				}
			}
		})
	}

	t.Run("the seed decides, not the order", func(t *testing.T) {
		choices := map[string]bool{}
		for seed := range uint64(3) {
			first := ""
			group := letters(20)
			for range 2 {
				e := n.run(step("sample", params{"group": group, "ratios": []float64{0.5}}), options{seed: seed}).mustEnd(t, orchestrator.CodeOK)
				choice := fmt.Sprint(e.outputs(t, 0, "group1"))
				if first != "" {
					mustEqual(t, "the choice with the same seed", first, choice)
				}
				first = choice
				slices.Reverse(group)
			}
			choices[first] = true
		}
		mustEqual(t, "choices of three seeds", 3, len(choices))
	})

	t.Run("two samples of one run are not the same choice", func(t *testing.T) {
		same := step("sample", params{"group": letters(20), "ratios": []float64{0.5}})
		e := n.run(script(same, same)).mustEnd(t, orchestrator.CodeOK)
		if first, second := fmt.Sprint(e.outputs(t, 0, "group1")), fmt.Sprint(e.outputs(t, 1, "group1")); first == second {
			t.Errorf("both chose %s", first)
		}
	})

	t.Run("what a check refuses", func(t *testing.T) {
		for want, ratios := range map[string][]float64{
			"the ratios sum to 1.100000": {0.6, 0.5},
			"ratio 2 is 1.500000":        {0, 1.5},
			"-0.5":                       {-0.5},
		} {
			mustSay(t, n.findings(step("sample", params{"group": letters(3), "ratios": ratios})), want)
		}
		writeFile(t, "ratios.out", `{"time":"2024-05-01T10:00:00Z","step":0,"name":"ratio","multi":true,"value":0.6}`,
			`{"time":"2024-05-01T10:00:00Z","step":0,"name":"ratio","multi":true,"value":0.5}`)
		e := n.run(step("sample", params{"group": letters(3), "ratios": output(0, "ratio").with(params{"file": "ratios.out"})})).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "sum to 1.1")
	})
}

// A wait is measured by what happened on the network before and after it.
func TestWait(t *testing.T) {
	const slot = 30 * time.Second
	n := newNetwork(t, func(o *simnet.Options) { o.Nodes, o.Producers, o.Slot = 1, 1, slot })
	n.config.SlotDuration = slot
	mark := step("set-zkapp-soft-limit", params{"nodes": n.Nodes(), "limit": 1})
	marks := func() (last, before time.Time) {
		set := toldOf[simnet.LimitSet](n)
		return set[len(set)-1].at, set[len(set)-2].at
	}
	slotAt := func(at time.Time) int { return int(at.Sub(n.Genesis()) / slot) }

	for name, test := range map[string]struct {
		params params
		span   time.Duration
	}{
		"minutes":           {params{"min": 2}, 2 * time.Minute},
		"seconds":           {params{"sec": 90}, 90 * time.Second},
		"both":              {params{"min": 1, "sec": 30}, 90 * time.Second},
		"nothing":           {params{}, 0},
		"a written integer": {params{"sec": json.Number("6e1")}, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			n.run(script(mark, step("wait", test.params), mark)).mustEnd(t, orchestrator.CodeOK)
			if last, before := marks(); last.Sub(before) < test.span {
				t.Errorf("it waited %s, want %s", last.Sub(before), test.span)
			}
		})
	}

	t.Run("for a slot", func(t *testing.T) {
		until := slotAt(n.clock.Now()) + 2
		n.run(script(step("wait", params{"slot": until}), mark)).mustEnd(t, orchestrator.CodeOK)
		if last, _ := marks(); slotAt(last) < until {
			t.Errorf("it went on in slot %d, want %d", slotAt(last), until)
		}
	})
	t.Run("for a time after a slot", func(t *testing.T) {
		until := slotAt(n.clock.Now()) + 1
		n.run(script(step("wait", params{"slot": until, "min": 1, "sec": 30}), mark)).mustEnd(t, orchestrator.CodeOK)
		if last, _ := marks(); last.Sub(n.Genesis()) < time.Duration(until)*slot+90*time.Second {
			t.Errorf("it went on at %s", last)
		}
	})
	t.Run("for a slot that has passed", func(t *testing.T) {
		e := n.run(script(step("wait", params{"slot": 1}), mark)).mustEnd(t, orchestrator.CodeOK)
		mustSay(t, e.log, "the slot has passed, going on at once")
	})

	t.Run("until it is interrupted (D10)", func(t *testing.T) {
		o := interruptedAt(t, "step begins")
		n.run(step("wait", params{"min": 1_000_000}), o).mustEnd(t, 130)
	})

	t.Run("what a check refuses (D10)", func(t *testing.T) {
		for name, test := range map[string]struct {
			params params
			want   string
		}{
			"negative minutes":      {params{"min": -1}, "min cannot be negative"},
			"negative seconds":      {params{"sec": -1}, "sec cannot be negative"},
			"negative slot":         {params{"slot": -1}, "slot cannot be negative"},
			"minutes that overflow": {params{"min": 2_000_000_000}, "longer than a century"},
			"slots that overflow":   {params{"slot": 2_000_000_000}, "longer than a century"},
		} {
			t.Run(name, func(t *testing.T) { mustSay(t, n.findings(step("wait", test.params)), test.want) })
		}
		n.config.Genesis = time.Time{}
		mustSay(t, n.findings(step("wait", params{"slot": 9})), "needs genesisTimestamp")
		if found := n.findings(step("wait", params{"min": 9})); found != "" {
			t.Errorf("a wait without a slot needs no genesis: %s", found)
		}
	})
}
