package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"provingground/internal/privatepg/pgtest"
	"provingground/orchestrator"
)

// TestTransactionsCommand shows the transactions of testdata/transactions.jsonl, with the logs of testdata/transactions.sql, in every form.
func TestTransactionsCommand(t *testing.T) {
	uri := migrated(t)
	logs, err := os.ReadFile(filepath.Join("testdata", "transactions.sql"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), string(logs)); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	const seed = `"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="`
	with := func(fields string) (config string) {
		t.Helper()
		config = filepath.Join(t.TempDir(), "config.json")
		if err := os.WriteFile(config, []byte(`{"key":`+seed+`,`+fields+`}`), 0o600); err != nil {
			t.Fatal(err)
		}
		return config
	}
	config := with(`"onlineURL":"http://h/v1/online","dbUri":"` + uri + `"`)
	record := filepath.Join("testdata", "transactions.jsonl")
	call := func(code int, args ...string) (out, log string) {
		t.Helper()
		var stdout bytes.Buffer
		stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
		if err != nil {
			t.Fatal(err)
		}
		defer stderr.Close()
		if got := (program{args: append([]string{"transactions"}, args...), stdout: &stdout, stderr: stderr, getenv: os.LookupEnv}).run(t.Context()); got != code {
			t.Errorf("%v: exit %d, want %d", args, got, code)
		}
		said, err := os.ReadFile(stderr.Name())
		if err != nil {
			t.Fatal(err)
		}
		return stdout.String(), string(said)
	}
	for name, args := range map[string][]string{
		"transactions.txt":  {record, config},
		"rejected.txt":      {"-state", "rejected,missing,failed", record, config},
		"transactions.csv":  {"-format", "csv", record, config},
		"none.txt":          {"-state", "unknown", record, config},
		"transactions.json": {"-format", "json", "-state", "included", "-state", "unseen", record, config},
	} {
		got, log := call(orchestrator.CodeOK, args...)
		if log != "" {
			t.Errorf("%s: %s", name, log)
		}
		path := filepath.Join("testdata", "transactions", name)
		if _, update := os.LookupEnv("UPDATE"); update {
			if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	for _, test := range []struct {
		code int
		args []string
		want string
	}{
		{orchestrator.CodeUsage, []string{record}, "it takes the record of the run and the configuration"},
		{orchestrator.CodeUsage, []string{config, record}, "the record comes first"},
		{orchestrator.CodeUsage, []string{"-format", "xml", record, config}, "-format is text, csv or json"},
		{orchestrator.CodeUsage, []string{"-state", "lost", record, config}, `"lost" is none of included, failed`},
		{orchestrator.CodeStep, []string{config, config}, "no record of a run"},
		{orchestrator.CodeStep, []string{"absent.record", config}, "open the record"},
		{orchestrator.CodeUsage, []string{record, with(`"onlineURL":"http://h/v1/online"`)}, "add dbUri"},
		{orchestrator.CodeStep, []string{record, with(`"onlineURL":"http://other/v1/online","dbUri":"` + uri + `"`)}, "give the configuration of that run"},
		{orchestrator.CodeStep, []string{record, with(`"onlineURL":"http://h/v1/online","dbUri":"postgres://u:hunter2@127.0.0.1:1/x"`)}, "is it running, and is that its address?"},
		{orchestrator.CodeStep, []string{record, with(`"onlineURL":"http://h/v1/online","dbUri":"` + pgtest.Database(t) + `"`)}, "fetcher migrate --db-uri"},
	} {
		if out, log := call(test.code, test.args...); out != "" || !strings.Contains(log, test.want) || strings.Contains(log, "hunter2") {
			t.Errorf("%v: %s%s\nwant %s", test.args, out, log, test.want)
		}
	}
}
