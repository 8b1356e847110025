package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"provingground/dsl"
)

// The actions that only compute: join, except, sample (orchestrator-scripts, section 3.8).

func joinAction() Action {
	const groups = 9
	params := make([]dsl.Param, groups)
	for i := range params {
		params[i] = dsl.Param{Name: "group" + strconv.Itoa(i+1), Kind: dsl.Any, List: true, Doc: "a list; its elements come after those of the groups before it"}
	}
	return Action{
		computes: true,
		Signature: dsl.Signature{
			Action: "join", Doc: "Puts lists together, in order, without dropping repeated elements.", Params: params,
			Outputs: []dsl.Output{{Name: "group", Kind: dsl.Any, List: true, Multi: true, Doc: "all elements"}},
			Main:    "group",
		},
		sizes: func(c *checking) map[string]int {
			total := 0
			for _, p := range params {
				n, known := c.size(p.Name)
				if !known {
					return nil
				}
				total += n
			}
			return map[string]int{"group": total}
		},
		run: func(_ context.Context, t *task) error {
			var all []json.RawMessage
			for _, p := range params {
				all = append(all, t.args.elements(p.Name)...)
			}
			if err := t.args.err(); err != nil {
				return err
			}
			if t.step.secret {
				t.secrets("group", all)
				return nil
			}
			return outputList(t, "group", all)
		},
	}
}

func exceptAction() Action {
	return Action{
		computes: true,
		Signature: dsl.Signature{
			Action: "except", Doc: "Leaves out of a list what another list holds.",
			Params: []dsl.Param{
				{Name: "group", Kind: dsl.Address, List: true, Doc: "the list"},
				{Name: "except", Kind: dsl.Address, List: true, Doc: "what is left out of it"},
			},
			Outputs: []dsl.Output{{Name: "group", Kind: dsl.Address, List: true, Multi: true, Doc: "the rest, in order"}},
			Main:    "group",
		},
		run: func(_ context.Context, t *task) error {
			group, out := t.args.texts("group"), map[string]bool{}
			for _, address := range t.args.texts("except") {
				out[address] = true
			}
			rest := slices.DeleteFunc(group, func(address string) bool { return out[address] })
			return errors.Join(t.args.err(), outputList(t, "group", rest))
		},
	}
}

// mostGroups bounds the groups of a sample or an allotment of slots whose number the script does not show.
const mostGroups = 64

// numbered returns outputs with the same name and numbers from first on: as many as the literal list of that parameter has elements.
func numbered(param, name string, first int, o dsl.Output) func(*dsl.Step) []dsl.Output {
	return func(step *dsl.Step) []dsl.Output {
		n := mostGroups
		if a, ok := step.Arg(param); !ok {
			n = 0
		} else if a.Literal() {
			n = len(a.Value.Items)
		}
		outputs := make([]dsl.Output, n)
		for i := range outputs {
			outputs[i] = o
			outputs[i].Name = name + strconv.Itoa(first+i)
		}
		return outputs
	}
}

func sampleAction() Action {
	return Action{
		computes: true,
		Signature: dsl.Signature{
			Action: "sample", Doc: "Divides a list by chance into groups of given shares.",
			Params: []dsl.Param{
				{Name: "group", Kind: dsl.Word, List: true, Doc: "the list"},
				{Name: "ratios", Kind: dsl.Ratio, List: true, Required: true, Doc: "the share of each group, from 0 to 1; together at most 1"},
			},
			Outputs:  []dsl.Output{{Name: "rest", Kind: dsl.Address, List: true, Doc: "what is in no group"}},
			Numbered: numbered("ratios", "group", 1, dsl.Output{Kind: dsl.Address, List: true, Doc: "the group of that ratio"}),
		},
		check: func(c *checking) {
			a, ok := c.step.Arg("ratios")
			if !ok || !a.Literal() {
				return
			}
			ratios := make([]*big.Rat, len(a.Value.Items))
			for i, item := range a.Value.Items {
				ratios[i], _ = dsl.Decimal(item.Text)
			}
			if err := checkRatios(ratios); err != nil {
				c.report("ratios", "", "%v", err)
			}
		},
		forecast: func(f *forecasting) forecast {
			a, ok := f.step.Arg("ratios")
			if !ok || !a.Literal() {
				return forecast{}
			}
			var shares []string
			for i := range a.Value.Items {
				share, ok := dsl.Decimal(a.Value.Items[i].Text)
				if !ok {
					return forecast{}
				}
				text := decimalText(share.Mul(share, big.NewRat(100, 1))) + "%"
				if n, known := f.sizes[outputKey{step: f.step.Number, name: "group" + strconv.Itoa(i+1)}]; known {
					text += fmt.Sprintf(" (%d)", n)
				}
				shares = append(shares, text)
			}
			return forecast{does: strings.Join(shares, ", ") + " by chance"}
		},
		sizes: func(c *checking) map[string]int {
			n, known := c.size("group")
			a, ok := c.step.Arg("ratios")
			if !known || !ok || !a.Literal() {
				return nil
			}
			ratios := make([]*big.Rat, len(a.Value.Items))
			for i, item := range a.Value.Items {
				if ratios[i], ok = dsl.Decimal(item.Text); !ok {
					return nil
				}
			}
			sizes := map[string]int{}
			from := 0
			for i, to := range boundaries(n, ratios) {
				sizes["group"+strconv.Itoa(i+1)] = to - from
				from = to
			}
			sizes["rest"] = n - from
			return sizes
		},
		run: func(_ context.Context, t *task) error {
			group, ratios := t.args.texts("group"), t.args.decimals("ratios")
			if err := errors.Join(t.args.err(), checkRatios(ratios)); err != nil {
				return err
			}
			slices.Sort(group) // the same nodes make the same choice, whatever their order
			t.chance("sample").Shuffle(len(group), func(i, j int) { group[i], group[j] = group[j], group[i] })
			from := 0
			for i, to := range boundaries(len(group), ratios) {
				if err := t.output("group"+strconv.Itoa(i+1), inOrder(group[from:to])); err != nil {
					return err
				}
				from = to
			}
			return t.output("rest", inOrder(group[from:]))
		},
	}
}

// inOrder returns the elements in order. It is never nil, for that would be null in the output and not a list.
func inOrder(elements []string) []string {
	ordered := append([]string{}, elements...)
	slices.Sort(ordered)
	return ordered
}

// checkRatios reports shares that are not from 0 to 1, or more than 1 together. What floating point makes of tenths is forgiven.
func checkRatios(ratios []*big.Rat) error {
	total, one := new(big.Rat), big.NewRat(1, 1)
	for i, r := range ratios {
		if r.Sign() < 0 || r.Cmp(one) > 0 {
			return fmt.Errorf("ratio %d is %s, and must be from 0 to 1", i+1, r.FloatString(6))
		}
		total.Add(total, r)
	}
	if total.Cmp(new(big.Rat).Add(one, big.NewRat(1, 1_000_000_000))) > 0 {
		return fmt.Errorf("the ratios sum to %s, above 1", total.FloatString(6))
	}
	return nil
}

// boundaries returns where each group ends: the sum of the shares so far, rounded. So the sizes always fit.
func boundaries(n int, ratios []*big.Rat) []int {
	ends := make([]int, len(ratios))
	total := new(big.Rat)
	for i, r := range ratios {
		total.Add(total, r)
		exact := new(big.Rat).Mul(total, big.NewRat(int64(n), 1))
		ends[i] = min(n, int(floor(exact.Add(exact, big.NewRat(1, 2))).Int64()))
	}
	return ends
}
