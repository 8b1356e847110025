package dsl_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"provingground/dsl"
)

func FuzzParse(f *testing.F) {
	for _, slip := range slips {
		f.Add([]byte(slip.text))
	}
	f.Add(testFile(f, "churn.script"))
	f.Fuzz(func(t *testing.T, text []byte) {
		tree, found := dsl.Parse("text", text)
		for _, finding := range found {
			if s := finding.Span; s.Start < 0 || s.End < s.Start || s.End > len(text) || finding.Message == "" || finding.Source != tree.Source {
				t.Fatalf("a finding at %v of %d bytes: %v", s, len(text), finding)
			}
		}
		if err := found.Write(&bytes.Buffer{}, dsl.AsText); err != nil {
			t.Fatal(err)
		}
		once := tree.Format() // of a broken script: what could be read of it
		if found != nil {
			return
		}
		again, found := dsl.Parse("text", once)
		if found != nil {
			t.Fatalf("%v in\n%s", found, once)
		}
		if diff := cmp.Diff(tree, again, withoutPlaces()); diff != "" {
			t.Fatalf("(-before +after)\n%s", diff)
		}
		if len(tree.Remarks) != len(again.Remarks) {
			t.Fatalf("%d comments became %d in\n%s", len(tree.Remarks), len(again.Remarks), once)
		}
		if twice := again.Format(); !bytes.Equal(once, twice) {
			t.Fatalf("formatting once more changes (-once +twice)\n%s", cmp.Diff(string(once), string(twice)))
		}
	})
}

func FuzzParseValue(f *testing.F) {
	for _, text := range []string{"1.2tps", "[a, {b: 1}]", "-1 ?? 2..3 mina", `"${a}"`, "f(x: not a)", "5m30s", "(", "a b"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		e, found := dsl.ParseValue(dsl.NewSource("-set", text))
		if (e == nil) != found.Errors() {
			t.Fatalf("%v and %v", e, found)
		}
		for _, finding := range found {
			if s := finding.Span; s.Start < 0 || s.End < s.Start || s.End > len(text) {
				t.Fatalf("a finding at %v of %d bytes: %v", s, len(text), finding)
			}
		}
	})
}
