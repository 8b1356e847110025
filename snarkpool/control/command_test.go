package control_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"provingground/snarkpool/control"
)

func TestTarget(t *testing.T) {
	t.Parallel()
	labels := map[string]string{"role": "prover"}
	for text, want := range map[string]string{ // which of these workers
		"all": "bm7/cpu/0 bm7/gpu/0 bm8/cpu/10", "bm7": "bm7/cpu/0 bm7/gpu/0", "cpu": "bm7/cpu/0 bm8/cpu/10", "host=bm8": "bm8/cpu/10", "pool=gpu": "bm7/gpu/0",
		"bm7/cpu": "bm7/cpu/0", "bm8/cpu/10": "bm8/cpu/10", "bm8/cpu/1": "", "host=cpu": "", "pool=bm7": "", "label=role=prover": "bm7/cpu/0 bm7/gpu/0 bm8/cpu/10",
		"label=role=other": "", "label=project=x": "", "host=all": "",
	} {
		target, err := control.ParseTarget(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var got []string
		for _, worker := range []string{"bm7/cpu/0", "bm7/gpu/0", "bm8/cpu/10"} {
			if target.Matches(worker, labels) {
				got = append(got, worker)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: selects %v, want %s", text, got, want)
		}
		if target.String() != text {
			t.Errorf("%s is written as %s", text, target)
		}
	}
	for _, text := range []string{"", " ", "a b", "a/b/c", "a/b/01", "a/b/-1", "a/b/1/2", "label=x", "label=x=", "label==y", "host=", "pool=a/b", "name=x", "/", "a/", "ä", strings.Repeat("x", 300)} {
		if target, err := control.ParseTarget(text); err == nil || !strings.Contains(err.Error(), "is no target") {
			t.Errorf("%q: got %v, %v", text, target, err)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, text := range []string{"all", "bm7", "bm7/cpu/0", "label=a=b", "host=x"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		target, err := control.ParseTarget(text)
		if err == nil && target.String() != text {
			t.Errorf("%q is written as %q", text, target)
		}
	})
}

func TestRoles(t *testing.T) {
	t.Parallel()
	order := []control.Role{"", control.RoleReader, control.RoleOperator, control.RoleAdmin}
	for i, has := range order {
		for j, needs := range order {
			if want := j > 0 && i >= j; has.May(needs) != want {
				t.Errorf("%q may what %q may: %v", has, needs, !want)
			}
		}
	}
	for operation, want := range map[control.Operation]control.Role{
		control.OpStatus: control.RoleReader, control.OpLogs: control.RoleReader, control.OpDrain: control.RoleOperator, control.OpStop: control.RoleOperator,
		control.OpGPUFence: control.RoleOperator, control.OpGPUUnfence: control.RoleAdmin, control.OpApply: control.RoleAdmin, "explode": "",
	} {
		if got := (control.Command{Operation: operation}).Role(); got != want {
			t.Errorf("%s needs %q, want %q", operation, got, want)
		}
	}
	for _, operation := range control.Operations() {
		if (control.Command{Operation: operation}).Role() == "" {
			t.Errorf("%s needs no role", operation)
		}
	}
}

// TestValidateTellsEverything has several things wrong at once.
func TestValidateTellsEverything(t *testing.T) {
	t.Parallel()
	err := control.Command{
		Operation: control.OpApply, Target: target(t, "bm7"), Agent: "a b",
		Arguments: control.Arguments{Follow: true, Reason: "two\nlines", Digest: "abc", Last: -1, Max: -1},
	}.Validate()
	for _, want := range []string{"no target", "no argument follow", "no argument last", "printable", "sha256", "name of an agent", "no expiry", "negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not tell %q", err, want)
		}
	}
}

// TestCommandComesBack writes commands as JSON and reads them.
func TestCommandComesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		texts := []string{"all", "bm7", "pool=cpu", "bm7/cpu/3", "label=a=b"}
		target, err := control.ParseTarget(rapid.SampledFrom(texts).Draw(t, "target"))
		if err != nil {
			t.Fatal(err)
		}
		command := control.Command{
			Operation: rapid.SampledFrom(control.Operations()).Draw(t, "operation"), Target: target, Agent: "bm7", DryRun: rapid.Bool().Draw(t, "dry run"),
			Expiry: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "expiry"), 0).UTC(),
			Arguments: control.Arguments{
				Max: control.Duration(rapid.Int64Range(0, 1<<50).Draw(t, "max")), Reason: rapid.String().Draw(t, "reason"), Last: rapid.Int().Draw(t, "last"),
			},
		}
		encoded, err := json.Marshal(command)
		if err != nil {
			t.Fatal(err)
		}
		var back control.Command
		if err := json.Unmarshal(encoded, &back); err != nil || back != command {
			t.Fatalf("%s came back as %+v, %v", encoded, back, err)
		}
	})
}

func TestKeyShowsItsPublicHalfOnly(t *testing.T) {
	t.Parallel()
	const seed = "SzhpFfwa6RMFQTLLTyoriUJrUXYY9kyYxbNu5DsCm1k=" // itn-graphql, section 2.7
	key, err := control.ParseKey(seed + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if key.PublicKey() != "BaG9HYTNxkqyX7haFnz/HXL9FhYwS4gdQ7uYWiStgoY=" {
		t.Errorf("public half %s", key.PublicKey())
	}
	encoded, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{fmt.Sprintf("%v %+v %#v %s %q %x %d", key, key, key, key, key, key, []any{&key, struct{ k control.Key }{key}}), string(encoded)} {
		if strings.Contains(shown, seed) || strings.Contains(shown, "4b386915fc") {
			t.Errorf("the seed is shown: %s", shown)
		}
	}
	for _, text := range []string{"", "abc", seed[:40], strings.Replace(seed, "k=", "l=", 1), strings.TrimRight(seed, "=")} {
		if _, err := control.ParseKey(text); err == nil || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestServersThatCannotBe(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]control.Options{
		"no name":     {Operator: &operator{}, Audit: &audit{}},
		"bad name":    {Name: "a b", Operator: &operator{}, Audit: &audit{}},
		"no operator": {Name: "bm7", Audit: &audit{}},
		"no audit":    {Name: "bm7", Operator: &operator{}},
	} {
		if _, err := control.NewServer(options); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := control.NewRemote("127.0.0.1:1", "bm7", control.Key{}, nil); err == nil {
		t.Error("a client without a key")
	}
	if _, err := control.NewRemote("127.0.0.1:1", "", newSigner(t).key, nil); err == nil {
		t.Error("a client without an agent's name")
	}
}
