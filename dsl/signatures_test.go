package dsl_test

import (
	"strconv"
	"strings"

	"provingground/dsl"
)

// signatures returns a few actions like the real ones, so that each rule of the checker has one to try it on.
func signatures() []dsl.Signature {
	return []dsl.Signature{
		{
			Action: "discovery",
			Params: []dsl.Param{{Name: "limit", Kind: dsl.Int}, {Name: "onlyBPs", Kind: dsl.Flag, Script: "only-block-producers"}},
			Outputs: []dsl.Output{
				{Name: "participant", Kind: dsl.Address, List: true, Multi: true}, {Name: "first", Kind: dsl.Address},
			},
			Main: "participant",
		},
		{
			Action:  "load-keys",
			Params:  []dsl.Param{{Name: "dir", Kind: dsl.Path, Required: true, Doc: "the directory"}, {Name: "passwordEnv", Kind: dsl.EnvName}},
			Outputs: []dsl.Output{{Name: "key", Kind: dsl.PrivateKey, List: true, Multi: true, Sensitive: true}},
			Main:    "key",
		},
		{
			Action: "payments",
			Params: []dsl.Param{
				{Name: "experimentName", Kind: dsl.Word, Absent: dsl.ExperimentName},
				{Name: "tps", Kind: dsl.Rate, Required: true, Unit: "transactions per second", Doc: "the rate"},
				{Name: "minTps", Kind: dsl.Rate, Absent: "0.01"},
				{Name: "durationMin", Kind: dsl.Int, Script: "duration", Unit: "minutes", Required: true, Doc: "how long"},
				{Name: "minFee", Kind: dsl.Nanomina, Script: "fee", End: dsl.LowerEnd, Unit: "nanomina"},
				{Name: "maxFee", Kind: dsl.Nanomina, Script: "fee", End: dsl.UpperEnd, Unit: "nanomina"},
				{Name: "amount", Kind: dsl.Nanomina, Unit: "nanomina"},
				{Name: "receiver", Kind: dsl.PublicKey, Required: true, Doc: "who is paid", Valid: func(v dsl.Value) string {
					if !strings.HasPrefix(v.Text, "B62") {
						return "is not a public key"
					}
					return ""
				}},
				{Name: "feePayers", Kind: dsl.PrivateKey, List: true, Required: true, Doc: "who pays"},
				{Name: "nodes", Kind: dsl.Address, List: true, Required: true, Doc: "where"},
				{Name: "minPlaced", Kind: dsl.Ratio},
			},
			Outputs: []dsl.Output{{Name: "receipt", Kind: dsl.Receipt, List: true, Multi: true}},
			Main:    "receipt",
		},
		{Action: "stop", Params: []dsl.Param{{Name: "receipts", Kind: dsl.Receipt, List: true, Required: true, Doc: "what to stop"}}},
		{
			Action: "sample",
			Params: []dsl.Param{{Name: "group", Kind: dsl.Word, List: true}, {Name: "ratios", Kind: dsl.Ratio, List: true}},
			Outputs: []dsl.Output{
				{Name: "rest", Kind: dsl.Address, List: true},
			},
			Numbered: func(step *dsl.Step) []dsl.Output {
				ratios, given := step.Arg("ratios")
				n := len(ratios.Value.Items)
				if given && !ratios.Literal() {
					n = 9
				}
				outputs := make([]dsl.Output, n)
				for i := range outputs {
					outputs[i] = dsl.Output{Name: "group" + strconv.Itoa(i+1), Kind: dsl.Address, List: true}
				}
				return outputs
			},
		},
		{
			Action:  "except",
			Params:  []dsl.Param{{Name: "group", Kind: dsl.Address, List: true}, {Name: "except", Kind: dsl.Address, List: true}},
			Outputs: []dsl.Output{{Name: "group", Kind: dsl.Address, List: true, Multi: true}},
			Main:    "group",
		},
		{
			Action:  "join",
			Params:  []dsl.Param{{Name: "group1", Kind: dsl.Any, List: true}, {Name: "group2", Kind: dsl.Any, List: true}},
			Outputs: []dsl.Output{{Name: "group", Kind: dsl.Any, List: true, Multi: true}},
			Main:    "group",
		},
		{
			Action:  "count",
			Params:  []dsl.Param{{Name: "of", Kind: dsl.Any}, {Name: "limit", Kind: dsl.Int, Nullable: true, Required: true, Doc: "null is no limit"}},
			Outputs: []dsl.Output{{Name: "count", Kind: dsl.Int}},
			Main:    "count",
		},
		{Action: "wait", Params: []dsl.Param{
			{Name: "min", Kind: dsl.Int, Unit: "minutes", Positional: true}, {Name: "sec", Kind: dsl.Int, Unit: "seconds", Positional: true},
			{Name: "slot", Kind: dsl.Int, Unit: "slot"},
			{Name: "past", Kind: dsl.Word, Words: []string{"ok", "error"}, Default: "ok", Absent: `"error"`},
		}},
		{
			Action:  "slots-won",
			Params:  []dsl.Param{{Name: "nodes", Kind: dsl.Address, List: true, Required: true, Doc: "who is asked"}},
			Outputs: []dsl.Output{{Name: "slotsWon", Kind: dsl.SlotsWon, List: true, Multi: true}},
			Main:    "slotsWon",
		},
		{
			Action: "allocate-slots",
			Params: []dsl.Param{
				{Name: "groups", Kind: dsl.Int, List: true, Required: true, Doc: "the weights"},
				{Name: "slotsWon", Kind: dsl.SlotsWon, List: true, Required: true, Doc: "the slots"},
				{Name: "minSlots", Kind: dsl.Int, Unit: "slots"},
			},
			Outputs: []dsl.Output{{Name: "nextEmptySlot", Kind: dsl.Int}, {Name: "lastSlot", Kind: dsl.Int}},
		},
		{Action: "snark-pool", Params: []dsl.Param{{Name: "target", Kind: dsl.Word}, {Name: "pause", Kind: dsl.Flag}, {Name: "workers", Kind: dsl.Int}}},
		{Action: "nothing"},
	}
}

// metrics returns a few metrics like the real ones.
func metrics() []dsl.Metric {
	return []dsl.Metric{
		{Name: "tx.rejected", Scoped: true}, {Name: "tx.latency.p95", Unit: dsl.UnitSecond, Scoped: true}, {Name: "tx.rate", Unit: dsl.UnitTPS},
		{Name: "chain.longest-gap", Unit: dsl.UnitSlot},
	}
}
