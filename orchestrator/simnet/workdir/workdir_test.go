package workdir_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/internal/mina"
	"provingground/orchestrator/simnet/workdir"
)

func TestDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "it's a network")
	dir, err := workdir.New(path, 3, "pw", 7)
	if err != nil {
		t.Fatal(err)
	}
	submitter := slices.Collect(maps.Keys(dir.Accounts(1)))[0]
	if err := dir.Write(workdir.Network{
		Executable: "/opt/a b/simnet", OnlineURL: "http://127.0.0.1:8081/v1/online", Slot: 1500 * time.Millisecond,
		Genesis: time.Date(2024, 5, 1, 10, 0, 0, 500e6, time.UTC), ClockScale: 2.5, Hosts: []string{"127.0.0.2", "127.0.0.3"},
		Submitters: []mina.PublicKey{submitter},
	}); err != nil {
		t.Fatal(err)
	}

	modes := make(map[string]fs.FileMode)
	if err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		relative, _ := filepath.Rel(path, name)
		modes[relative] = info.Mode()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	want := map[string]fs.FileMode{
		".": fs.ModeDir | 0o700, "private-keys": fs.ModeDir | 0o700, "bin": fs.ModeDir | 0o700, "bin/mina": 0o755, "bin/control": 0o755,
		"config.json": 0o644, "uptime.json": 0o644, "itn-key": 0o600, "fetcher-key": 0o600,
	}
	for i := range 3 {
		want[fmt.Sprintf("private-keys/key-%d", i)], want[fmt.Sprintf("private-keys/key-%d.pub", i)] = 0o600, 0o644
	}
	if diff := cmp.Diff(want, modes); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}

	var config map[string]any
	readJSON(t, dir.Config(), &config)
	if diff := cmp.Diff(map[string]any{
		"keyFile": filepath.Join(path, "itn-key"), "onlineURL": "http://127.0.0.1:8081/v1/online", "slotDurationMs": 1500.0,
		"genesisTimestamp": "2024-05-01T10:00:00.5Z", "clockScale": 2.5, "minaExec": filepath.Join(path, "bin", "mina"),
		"controlExec": filepath.Join(path, "bin", "control"), "fundDaemonPorts": []any{"127.0.0.2:8301", "127.0.0.3:8301"},
	}, config); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	var uptime map[string]any
	readJSON(t, dir.Uptime(), &uptime)
	if diff := cmp.Diff(map[string]any{"in_memory": true, "whitelist": []any{submitter.String()}, "requests_per_pk_hourly": 2400.0}, uptime); diff != "" {
		t.Errorf("uptime's configuration (-want +got):\n%s", diff)
	}
	script, err := os.ReadFile(filepath.Join(path, "bin", "mina"))
	if err != nil {
		t.Fatal(err)
	}
	quoted := "'" + strings.ReplaceAll(dir.Socket(), "'", `'\''`) + "'"
	if diff := cmp.Diff("#!/bin/sh\nexec '/opt/a b/simnet' stand-in mina "+quoted+" \"$@\"\n", string(script)); diff != "" {
		t.Errorf("stand-in (-want +got):\n%s", diff)
	}

	// The keys are those of the files.
	for i, name := range []string{"itn-key", "fetcher-key"} {
		text, err := os.ReadFile(filepath.Join(path, name))
		if err != nil {
			t.Fatal(err)
		}
		seed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
		if err != nil || !dir.ITNKeys()[i].Equal(ed25519.NewKeyFromSeed(seed).Public()) {
			t.Errorf("%s does not hold its key (%v)", name, err)
		}
	}
	accounts := dir.Accounts(5)
	for i := range 3 {
		content, err := os.ReadFile(filepath.Join(path, "private-keys", fmt.Sprintf("key-%d", i)))
		if err != nil {
			t.Fatal(err)
		}
		key, err := mina.OpenKeyFile(content, []byte("pw"))
		if err != nil || accounts[key.PublicKey()] != 5 {
			t.Errorf("key file %d does not hold an account's key (%v)", i, err)
		}
	}
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

func TestAccountsComeFromTheSeed(t *testing.T) {
	made := func(seed uint64) *workdir.Dir {
		dir, err := workdir.New(t.TempDir(), 2, "", seed)
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	if diff := cmp.Diff(made(1).Accounts(1), made(1).Accounts(1)); diff != "" {
		t.Errorf("the same seed gives other accounts:\n%s", diff)
	}
	if cmp.Equal(made(1).Accounts(1), made(2).Accounts(1)) {
		t.Error("another seed gives the same accounts")
	}
	if made(1).ITNKeys()[0].Equal(made(1).ITNKeys()[0]) {
		t.Error("the ITN keys can be guessed from the seed")
	}
}

func TestAnEarlierNetworkIsInTheWay(t *testing.T) {
	path := t.TempDir()
	first, err := workdir.New(path, 1, "", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(first.Journal(), []byte("precious\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := workdir.New(path, 1, "", 1); err == nil || !strings.Contains(err.Error(), "journal.jsonl") {
		t.Errorf("an earlier network was overwritten: %v", err)
	}
}
