package poolfile_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/snarkpool/poolfile"
)

var update = flag.Bool("update", false, "write the golden files anew")

func read(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// The pool file that snark-pool, section 2 shows is read as it stands, with defaults for what it does not say.
func TestExample(t *testing.T) {
	got, err := poolfile.Parse(read(t, "pool.json"))
	if err != nil {
		t.Fatal(err)
	}
	two, six := 2, 6
	want := poolfile.File{
		Version: 1, Name: "itn-snark", Control: poolfile.Control{KeysFile: "control.pub"}, Database: "env:SNARKPOOL_DB",
		Hosts: []poolfile.HostRule{
			{
				Match:   poolfile.Match{Labels: map[string]string{"role": "prover"}},
				Reserve: poolfile.Reserve{Cores: &two, Memory: 8 * poolfile.GiB},
				Pools:   map[string]poolfile.Share{"cpu": {Auto: true}},
			},
			{
				Match:   poolfile.Match{Host: "bm7"},
				Reserve: poolfile.Reserve{Memory: poolfile.GiB},
				Pools:   map[string]poolfile.Share{"gpu": {PerGPU: 1}, "cpu": {Workers: &six}},
			},
		},
		Pools: map[string]poolfile.Pool{
			"cpu": {
				Kind:        "mina",
				Command:     []string{"mina", "internal", "snark-worker", "--proof-level", "full", "--shutdown-on-disconnect", "false", "--log-json"},
				Coordinator: "gate:coord1", Drain: "coordinator-file", Threads: 6, SMT: "siblings", NUMA: "strict",
				Memory:   poolfile.Memory{High: 7 * poolfile.GiB, Max: 8 * poolfile.GiB},
				Requires: poolfile.Requires{CPUFlags: []string{"bmi2", "avx"}}, ProofDeadline: 5 * time.Minute,
				Recycle: poolfile.Recycle{AfterHours: 12}, Env: map[string]string{"RAYON_NUM_THREADS": "${threads}"}, MaxUnavailable: 1,
			},
			"gpu": {
				Kind: "fed", Command: []string{"snarkpool", "prove", "gnark-icicle"}, Verify: "all", Drain: "feed", Threads: 4, SMT: "siblings", NUMA: "strict",
				GPU: &poolfile.GPU{Count: 1, MemoryFree: 20 * poolfile.GiB, Check: "require"}, MaxUnavailable: 1,
			},
		},
		Restart: poolfile.Restart{
			MinUptime: 30 * time.Second, Initial: 500 * time.Millisecond, Max: time.Minute,
			CrashLoop: poolfile.CrashLoop{Exits: 5, Within: 5 * time.Minute},
		},
		StartsPerSecond: 50, Warmups: 4, Pause: poolfile.Pause{HardMax: time.Minute},
		Digest: got.Digest,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if len(got.Digest) != 64 {
		t.Errorf("digest %q is no sha256", got.Digest)
	}
	smallest, err := poolfile.Parse([]byte(`{"version":1,"name":"p","hosts":[{"match":{},"pools":{"cpu":{"workers":1}}}],
		"pools":{"cpu":{"kind":"fed","command":["prover"],"threads":1}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Restart, smallest.Restart); diff != "" || smallest.StartsPerSecond != 50 || smallest.Warmups != 4 || smallest.Pause != want.Pause {
		t.Errorf("defaults: %+v %s", smallest, diff)
	}
}

// Every mistake is reported, with its place and with what to do.
func TestMistakes(t *testing.T) {
	_, err := poolfile.Parse(read(t, "wrong.json"))
	if err == nil {
		t.Fatal("a file full of mistakes is read")
	}
	path := filepath.Join("testdata", "wrong.txt")
	if *update {
		if err := os.WriteFile(path, []byte(err.Error()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(read(t, "wrong.txt")), err.Error()+"\n"); diff != "" {
		t.Errorf("run with -update if this is meant (-want +got)\n%s", diff)
	}
}

// One change to the example is one mistake.
func TestOneMistake(t *testing.T) {
	tests := []struct{ old, new, want string }{
		{`"version": 1`, `"version": 2`, `1:14: version is 1, not 2`},
		{`"env:SNARKPOOL_DB"`, `"postgres://pool:secret@db/pool"`, `a pool file holds no secrets (write env:NAME or file:PATH)`},
		{`"workers": "auto"`, `"workers": "many"`, `workers is a number or "auto", not "many"`},
		{`"workers": "auto"`, `"worker": "auto"`, `a host's pool "cpu" has no key "worker" (did you mean "workers"?)`},
		{`"workers_per_gpu": 1`, `"workers_per_gpu": 1, "workers": 2`, `exactly one of workers and workers_per_gpu`},
		{`"threads": 6`, `"thread": 6`, `pool "cpu" has no key "thread" (did you mean "threads"?)`},
		{`"threads": 6`, `"threads": "6"`, `threads is not a whole number (write a number, without quotes)`},
		{`"threads": 6`, `"threads": 0`, `threads is from 1 to 65536, not 0`},
		{`"smt": "siblings"`, `"smt": "sibling"`, `smt cannot be "sibling" (did you mean "siblings"?)`},
		{`"high": "7GiB"`, `"high": "7GB"`, `high is not "7GB" (did you mean 7GiB?`},
		{`"high": "7GiB"`, `"high": 7`, `high is a number, not an amount of memory (memory is a string like "7GiB")`},
		{`"high": "7GiB"`, `"high": "9GiB"`, `memory: high, 9GiB, is above max, 8GiB`},
		{`"proof_deadline": "5m"`, `"proof_deadline": "5 min"`, `proof_deadline is not "5 min" (a duration is written like 500ms, 30s, 5m or 1h30m)`},
		{`"proof_deadline": "5m"`, `"proof_deadline": "-5m"`, `a duration must be above 0`},
		{`"coordinator": "gate:coord1", `, ``, `pool "cpu" needs coordinator`},
		{`"verify": "all"`, `"verify": "all", "coordinator": "gate:a"`, `fed workers have no coordinator`},
		{`"verify": "all"`, `"drain": "gate"`, `drain: gate is for pull workers`},
		{`"drain": "coordinator-file"`, `"drain": "feed"`, `drain: feed is for fed workers`},
		{`"drain": "coordinator-file"`, `"verify": "all"`, `so pool "cpu" has no verify`},
		{`${threads}`, `${thread}`, `there is no variable ${thread} (did you mean "threads"?)`},
		{`${threads}`, `${threads`, `a ${ without its }`},
		{`"RAYON_NUM_THREADS": "${threads}"`, `"CUDA_VISIBLE_DEVICES": "0"`, `CUDA_VISIBLE_DEVICES is the plan's to set`},
		{`"RAYON_NUM_THREADS": "${threads}"`, `"RAYON_NUM_THREADS": 6`, `RAYON_NUM_THREADS is a number, not a text for the environment (write it in quotes)`},
		{`"gpu": {"workers_per_gpu": 1}`, `"cpu2": {"workers": 1}`, `there is no pool "cpu2" (did you mean "cpu"?)`},
		{`"cpu": {"workers": 6}`, `"cpu": {"workers_per_gpu": 6}`, `pool "cpu" uses no GPU`},
		{`"count": 1`, `"count": 2`, `a worker of pool "gpu" uses 2 GPUs`},
		{`{"match": {"host": "bm7"}`, `{"match": {"labels": {"role": "prover", "gpu": "h100"}}`, `no host can come to this rule`},
		{`"initial": "500ms"`, `"initial": "2m"`, `restart: max, 1m0s, is below initial, 2m0s`},
		{`"after_hours": 12`, `"after_hours": 0`, `after_hours is above 0 and at most 8784 hours, not 0 (leave it out for never)`},
		{`["snarkpool","prove","gnark-icicle"]`, `[]`, `command names no executable`},
		{`"name": "itn-snark"`, `"name": "itn/snark"`, `name cannot be "itn/snark"`},
		{`"warmups": 4`, `"warmups": 4, "warmups": 5`, `"warmups" is given twice`},
		{`"hard_max": "60s"} }`, `"hard_max": "60s"} `, `the pool file does not decode`},
		{`"drain": "coordinator-file"`, `"log_rules": {"ready": "("}`, `ready is no regular expression`},
	}
	example := string(read(t, "pool.json"))
	for _, test := range tests {
		text := strings.Replace(example, test.old, test.new, 1)
		if text == example {
			t.Fatalf("the example has no %s", test.old)
		}
		_, err := poolfile.Parse([]byte(text))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s\ngives  %v\nwanted %s", test.new, err, test.want)
			continue
		}
		if lines := strings.Count(err.Error(), "\n"); lines > 1 {
			t.Errorf("%s\ngives more than one finding: %v", test.new, err)
		}
		if strings.Contains(err.Error(), "secret@") {
			t.Errorf("a password is shown: %v", err)
		}
	}
	for _, text := range []string{"", "[]", "{", "\xff", "{}{}", strings.Repeat(" ", poolfile.MaxBytes+1)} {
		if _, err := poolfile.Parse([]byte(text)); err == nil {
			t.Errorf("%.20q is read", text)
		}
	}
}

func TestForHost(t *testing.T) {
	file, err := poolfile.Parse(read(t, "pool.json"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		host   string
		labels map[string]string
		want   string
	}{
		{"bm1", map[string]string{"role": "prover", "region": "eu"}, "rule 0: cpu"},
		{"bm7", map[string]string{"role": "prover"}, "rule 1: cpu gpu"}, // its name goes before its labels
		{"bm7", nil, "rule 1: cpu gpu"},
		{"bm1", map[string]string{"role": "builder"}, `no rule of the pool file matches host "bm1" with labels {role=builder}: add a rule to hosts, or give the host the labels of one`},
		{"bm1", nil, `no rule of the pool file matches host "bm1" with labels {}: add a rule to hosts, or give the host the labels of one`},
	}
	for _, test := range tests {
		pools, err := file.ForHost(test.host, test.labels)
		got := fmt.Sprintf("rule %d:", pools.Rule)
		for _, pool := range pools.Pools {
			got += " " + pool.Name
		}
		if err != nil {
			if !errors.Is(err, poolfile.ErrNoRule) {
				t.Errorf("%v is not ErrNoRule", err)
			}
			got = err.Error()
		} else if pools.FileDigest != file.Digest {
			t.Errorf("digest %q", pools.FileDigest)
		}
		if got != test.want {
			t.Errorf("%s %v: %s, want %s", test.host, test.labels, got, test.want)
		}
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]poolfile.Bytes{"7GiB": 7 << 30, "1.5GiB": 3 << 29, "0B": 0, "1024B": 1 << 10, "0.5KiB": 512, "2TiB": 2 << 40, "8MiB": 8 << 20} {
		if got, err := poolfile.ParseBytes(text); err != nil || got != want {
			t.Errorf("%s is %d: %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"7GB": "did you mean 7GiB?", "7 GiB": "did you mean 7GiB?", "7g": "did you mean 7GiB?", "7": "written like 7GiB", "-1GiB": "written like", "GiB": "written like",
		"0.3B": "no whole number", "9999999999TiB": "more memory than there can be", "1e3GiB": "written like", "": "written like", "7GiB ": "did you mean 7GiB?",
	} {
		if got, err := poolfile.ParseBytes(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %d: %v", text, got, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		b := poolfile.Bytes(rapid.Uint64Range(0, 1<<63-1).Draw(t, "bytes")) >> rapid.IntRange(0, 62).Draw(t, "down")
		if back, err := poolfile.ParseBytes(b.String()); err != nil || back != b {
			t.Fatalf("%d is %s is %d: %v", uint64(b), b, uint64(back), err)
		}
	})
	if got := (poolfile.Bytes(503) * poolfile.GiB / 8).Round(); got != "62.8GiB" {
		t.Error(got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(read(f, "pool.json"))
	f.Add(read(f, "wrong.json"))
	f.Add([]byte(`{"version":1,"name":"p","hosts":[{"match":{},"pools":{"cpu":{"workers":1}}}],"pools":{"cpu":{"kind":"fed","command":["p"],"threads":1}}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		file, err := poolfile.Parse(content)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without a text")
			}
			return
		}
		if file.Version != 1 || file.Name == "" || len(file.Pools) == 0 || len(file.Hosts) == 0 {
			t.Fatalf("incomplete and accepted: %+v", file)
		}
		for name, pool := range file.Pools {
			if pool.Threads < 1 || len(pool.Command) == 0 || pool.Drain == "" || (pool.Kind == poolfile.KindMina) != (pool.Coordinator != "") {
				t.Errorf("pool %s is incomplete and accepted: %+v", name, pool)
			}
		}
		for _, rule := range file.Hosts {
			for name, share := range rule.Pools {
				if _, ok := file.Pools[name]; !ok || share.Auto && (share.Workers != nil || share.PerGPU > 0) || !share.Auto && (share.Workers == nil) == (share.PerGPU == 0) {
					t.Errorf("share %+v of %s is accepted", share, name)
				}
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	content := read(b, "pool.json")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := poolfile.Parse(content); err != nil {
			b.Fatal(err)
		}
	}
}
