package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"provingground/internal/privatepg/pgtest"
	"provingground/orchestrator"
	"provingground/schema"
)

// migrated returns the URI of a fresh database with our tables.
func migrated(t *testing.T) string {
	t.Helper()
	uri := pgtest.Database(t)
	if err := schema.Migrate(t.Context(), uri); err != nil {
		t.Fatal(err)
	}
	return uri
}

// useDatabase names a database in the network's configuration.
func (n *network) useDatabase(t *testing.T, uri string) {
	t.Helper()
	text, err := os.ReadFile(n.config)
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	config["dbUri"] = uri
	if text, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// stored returns everything that a database holds of runs, one row a line.
func stored(t *testing.T, uri string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	var text strings.Builder
	for _, table := range []string{"run", "run_step", "run_output", "run_verdict", "run_load"} {
		rows, err := conn.Query(t.Context(), "SELECT to_jsonb(t) - 'deployment_id' FROM "+table+" t ORDER BY 1")
		if err != nil {
			t.Fatal(err)
		}
		all, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range all {
			fmt.Fprintln(&text, table, row)
		}
	}
	return text.String()
}

// call runs the command to its end, and returns what it wrote; the exit code must be this one.
func (n *network) call(t *testing.T, code int, args ...string) (out, log string) {
	t.Helper()
	cmd := n.command(t, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if got := exitCode(t, cmd.Run()); got != code {
		t.Fatalf("%v: exit %d, want %d\n%s%s", args, got, code, &stdout, &stderr)
	}
	return stdout.String(), stderr.String()
}

// TestHistoryOfARun: what a run stores while it goes on is what is made of its record afterwards, and holds no secret.
func TestHistoryOfARun(t *testing.T) {
	n := newNetwork(t, t.TempDir(), usualScale, nil)
	live, later := migrated(t), migrated(t)
	n.useDatabase(t, live)
	r := n.newCrashRun(blocksScript, "h", 0)
	cmd, log := r.start(t, r.out, "-seed", "5", n.config)
	if code := exitCode(t, cmd.Run()); code != orchestrator.CodeOK {
		t.Fatalf("exit %d\n%s", code, log)
	}
	recordPath := r.out + ".record"
	got := stored(t, live)
	n.useDatabase(t, later)
	out, _ := n.call(t, orchestrator.CodeOK, "history", recordPath, n.config)
	if !strings.HasSuffix(out, " lines: stored\n") {
		t.Errorf("it says %q", out)
	}
	if diff := cmp.Diff(stored(t, later), got); diff != "" {
		t.Errorf("the history that was kept (+) is not that of the record (-)\n%s", diff)
	}
	for _, want := range []string{`"outcome": "succeeded"`, `run_verdict`, `"kind": "payments"`, `"undone": "stopped by the script"`, `run_output`, `"experiment": "h", "resumed_at"`} {
		if !strings.Contains(got, want) {
			t.Errorf("the history lacks %s\n%s", want, got)
		}
	}
	for row := range strings.Lines(got) {
		var step struct {
			Began *time.Time `json:"started_at"`
			Ended *time.Time `json:"ended_at"`
		}
		if text, is := strings.CutPrefix(row, "run_step "); is && !strings.Contains(row, `"outcome": "skipped"`) {
			if err := json.Unmarshal([]byte(text), &step); err != nil || step.Began == nil || step.Ended == nil || step.Ended.Before(*step.Began) {
				t.Errorf("%v: nobody knows how long this step took: %s", err, row)
			}
		}
	}
	if out, _ = n.call(t, orchestrator.CodeOK, "history", recordPath, n.config); !strings.HasSuffix(out, " is in the database already\n") {
		t.Errorf("the second time it says %q", out)
	}
	for _, secret := range n.secrets(t) {
		if secret == "" || strings.Contains(got, secret) {
			t.Errorf("the history holds the secret %q", secret)
		}
	}
}

// secrets returns the ITN key, what private keys begin with, and what the database's address begins with.
func (n *network) secrets(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(n.config)
	if err != nil {
		t.Fatal(err)
	}
	var config struct{ Key, KeyFile string }
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	if config.Key == "" {
		key, err := os.ReadFile(config.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		config.Key = strings.TrimSpace(string(key))
	}
	return []string{config.Key, "EK", "postgres://"}
}

// TestHistoryOfAKilledRun kills the orchestrator at several lines of its record. The command history completes what it had stored; a resumed run's
// history takes its place, and the record from before does not bring it back.
func TestHistoryOfAKilledRun(t *testing.T) {
	n := newNetwork(t, t.TempDir(), usualScale, nil)
	for _, line := range []int{1, 7, 30, 45} {
		live, later := migrated(t), migrated(t)
		n.useDatabase(t, live)
		r := n.newCrashRun(blocksScript, fmt.Sprintf("k%d", line), line%19)
		r.killedAt(t, line)
		n.call(t, orchestrator.CodeOK, "history", r.out+".record", n.config)
		n.useDatabase(t, later)
		n.call(t, orchestrator.CodeOK, "history", r.out+".record", n.config)
		if diff := cmp.Diff(stored(t, later), stored(t, live)); diff != "" {
			t.Errorf("killed at line %d: the history (+) is not that of the record (-)\n%s", line, diff)
		}
		if strings.Contains(stored(t, live), "outcome\": \"succeeded") {
			t.Errorf("killed at line %d: it succeeded", line)
		}

		n.useDatabase(t, live)
		resumed := r.mustResume(t, line)
		n.useDatabase(t, later)
		n.call(t, orchestrator.CodeOK, "history", resumed+".record", n.config)
		n.call(t, orchestrator.CodeOK, "history", r.out+".record", n.config)
		got := stored(t, live)
		if diff := cmp.Diff(stored(t, later), got); diff != "" {
			t.Errorf("resumed after line %d: the history (+) is not that of the record (-)\n%s", line, diff)
		}
		if strings.Count(got, "\nrun ")+strings.Count(got[:4], "run ") != 1 || !strings.Contains(got, `"outcome": "succeeded"`) {
			t.Errorf("resumed after line %d: not one run that succeeded\n%s", line, got)
		}

		n.useDatabase(t, live)
		r.mustStop(t, resumed)
		for row := range strings.Lines(stored(t, live)) {
			if strings.Contains(row, `"result": "done"`) && strings.Contains(row, `"undone": null`) {
				t.Errorf("resumed after line %d and stopped: load goes on: %s", line, row)
			}
		}
	}
}
