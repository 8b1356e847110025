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
			Params: []dsl.Param{{Name: "limit", Kind: dsl.Int}, {Name: "onlyBPs", Kind: dsl.Flag}},
			Outputs: []dsl.Output{
				{Name: "participant", Kind: dsl.Address, List: true, Multi: true}, {Name: "first", Kind: dsl.Address},
			},
		},
		{
			Action:  "load-keys",
			Params:  []dsl.Param{{Name: "dir", Kind: dsl.Path, Required: true, Doc: "the directory"}, {Name: "passwordEnv", Kind: dsl.EnvName}},
			Outputs: []dsl.Output{{Name: "key", Kind: dsl.PrivateKey, List: true, Multi: true, Sensitive: true}},
		},
		{
			Action: "payments",
			Params: []dsl.Param{
				{Name: "experimentName", Kind: dsl.Word},
				{Name: "tps", Kind: dsl.Rate, Required: true, Doc: "the rate"},
				{Name: "minTps", Kind: dsl.Rate},
				{Name: "durationMin", Kind: dsl.Int, Required: true, Doc: "how long"},
				{Name: "minFee", Kind: dsl.Nanomina},
				{Name: "maxFee", Kind: dsl.Nanomina},
				{Name: "amount", Kind: dsl.Nanomina},
				{Name: "receiver", Kind: dsl.PublicKey, Required: true, Doc: "who is paid", Valid: func(v dsl.Value) string {
					if !strings.HasPrefix(v.Text, "B62") {
						return "is no public key"
					}
					return ""
				}},
				{Name: "feePayers", Kind: dsl.PrivateKey, List: true, Required: true, Doc: "who pays"},
				{Name: "nodes", Kind: dsl.Address, List: true, Required: true, Doc: "where"},
				{Name: "minPlaced", Kind: dsl.Ratio},
			},
			Outputs: []dsl.Output{{Name: "receipt", Kind: dsl.Receipt, List: true, Multi: true}},
		},
		{Action: "stop", Params: []dsl.Param{{Name: "receipts", Kind: dsl.Receipt, List: true, Required: true, Doc: "what to stop"}}},
		{
			Action: "sample",
			Params: []dsl.Param{{Name: "group", Kind: dsl.Word, List: true}, {Name: "ratios", Kind: dsl.Ratio, List: true}},
			Outputs: []dsl.Output{
				{Name: "rest", Kind: dsl.Address, List: true},
			},
			Numbered: func(step *dsl.Step) []dsl.Output {
				ratios, _ := step.Arg("ratios")
				outputs := make([]dsl.Output, len(ratios.Value.Items))
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
		},
		{
			Action:  "join",
			Params:  []dsl.Param{{Name: "group1", Kind: dsl.Any, List: true}, {Name: "group2", Kind: dsl.Any, List: true}},
			Outputs: []dsl.Output{{Name: "group", Kind: dsl.Any, List: true, Multi: true}},
		},
		{
			Action:  "count",
			Params:  []dsl.Param{{Name: "of", Kind: dsl.Any}, {Name: "limit", Kind: dsl.Int, Nullable: true, Required: true, Doc: "null is no limit"}},
			Outputs: []dsl.Output{{Name: "count", Kind: dsl.Int}},
		},
		{Action: "wait", Params: []dsl.Param{{Name: "min", Kind: dsl.Int}, {Name: "sec", Kind: dsl.Int}, {Name: "slot", Kind: dsl.Int}}},
		{Action: "nothing"},
	}
}
