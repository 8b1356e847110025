package evidence

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/orchestrator/simnet"
	"provingground/orchestrator/simnet/simnettest"
)

// Both sources gather the same of the same network, what is missing included.
func TestBothSourcesGatherTheSame(t *testing.T) {
	options := simnet.Options{
		Nodes: 3, Producers: 2, Seed: 5, Slot: 10 * time.Second, Latency: time.Second, ProofTime: 8 * time.Second, MaxLogs: 5000, RestartAfter: 5 * time.Second, KeepJournal: true,
		Faults: []simnet.Fault{
			{Kind: simnet.FaultRestart, Node: "127.0.0.3", Slot: 6}, {Kind: simnet.FaultDropLogs, Node: "127.0.0.4", Percent: 5, Slot: 4},
		},
	}
	rehearseBoth(t, options, time.Second, func(r *rehearsal) {
		senders := simnettest.Senders(r, 12)
		r.begin()
		r.payments(0, "exp-0", 0, 10, 1, senders[:4], senders[5].PublicKey())
		r.Pass(100 * time.Second)
		r.settle()
		if err := r.stored.SaveNodes(r.ctx, r.collector.Nodes()); err != nil {
			t.Fatal(err)
		}
		held := memoryFiles{}
		r.memory.Files = held
		dir := filepath.Join(t.TempDir(), "logs")
		asked := Gathering{
			Nodes: append(r.Nodes(), "127.0.0.99:1"), From: r.clock.Now().Add(-time.Minute), To: r.clock.Now().Add(-5 * time.Second), Clock: r.clock, Dir: dir,
		}
		told := map[string][]Gathered{}
		for name, source := range r.sources {
			gathered, err := source.Gather(r.ctx, asked)
			if err != nil {
				t.Fatal(err)
			}
			told[name] = gathered
		}
		if diff := cmp.Diff(told["memory"], told["database"]); diff != "" {
			t.Errorf("gathered (-memory +database):\n%s", diff)
		}
		if one := told["memory"][2]; one.Lost == 0 || one.Traces < 3 || one.Entries < 100 {
			t.Errorf("of a node with gaps: %+v", one)
		}
		wanted, got := map[string]any{}, map[string]any{}
		for path, content := range held {
			wanted[path] = contentOf(t, path, content)
		}
		if err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			got[path] = contentOf(t, path, string(content))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wanted, got); diff != "" {
			t.Errorf("files (-memory +database):\n%.6000s", diff)
		}
		if len(wanted) < 3*3 {
			t.Errorf("there are %d files", len(wanted))
		}
	})
}

// contentOf is what is in a file, without the deployment.
func contentOf(t *testing.T, path, content string) any {
	t.Helper()
	texts := []string{content}
	if strings.HasSuffix(path, ".jsonl") {
		texts = strings.Split(strings.TrimSpace(content), "\n")
	}
	values := make([]any, len(texts))
	for i, text := range texts {
		if err := json.Unmarshal([]byte(text), &values[i]); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	if list, ok := values[0].([]any); ok && strings.HasSuffix(path, ".json") {
		for _, one := range list {
			if object, ok := one.(map[string]any); ok {
				delete(object, "deployment_id")
			}
		}
	}
	return values
}

// Node names come from strangers: whatever they are, a node's files lie in a folder of its own in the directory.
func TestFoldersDoNotEscape(t *testing.T) {
	g := Gathering{Dir: "run.logs/kept"}
	seen := map[string]string{}
	for i, name := range []string{
		"B62abcde-10.0.0.1-3085", "-10.0.0.1-3085", "", ".", "..", "...", "../x", "a/../../x", "/etc", `a\b`, "a/b", "a_b", "a\x00b", "a\nb", "a b", strings.Repeat("é", 200), strings.Repeat("é", 201),
	} {
		address := string(rune('a'+i)) + ":1"
		folder := g.folder(address, name)
		base := filepath.Base(folder)
		if filepath.Dir(folder) != filepath.FromSlash(g.Dir) || len(base) > 255 || strings.Trim(base, ".") == "" || strings.ContainsAny(base, "/\\\x00\n ") {
			t.Errorf("%q goes to %q", name, folder)
		}
		if other, taken := seen[folder]; taken {
			t.Errorf("%q and %q go to %q", other, name, folder)
		}
		seen[folder] = name
	}
	if got, want := g.folder("x:1", "B62abcde-10.0.0.1-3085"), filepath.Join(g.Dir, "B62abcde-10.0.0.1-3085"); got != want {
		t.Errorf("a usual name goes to %q, want %q", got, want)
	}
}
