//go:build linux

package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unitKeys are the keys that our units may hold, by their sections: those that systemd 252 knows, of which make verify-units convinces itself where
// systemd is installed. DelegateSubgroup came with 254.
func unitKeys() map[string][]string {
	return map[string][]string{
		"Unit": {"Description", "Wants", "After", "StartLimitIntervalSec"},
		"Service": {
			"Type", "ExecStart", "ExecStartPre", "Environment", "EnvironmentFile", "StateDirectory", "StateDirectoryMode", "Restart", "RestartSec", "KillMode",
			"TimeoutStopSec", "OOMPolicy", "Delegate", "DelegateSubgroup", "TasksMax", "LimitNOFILE", "LimitNPROC", "LimitCORE", "OOMScoreAdjust",
		},
		"Install": {"WantedBy"},
	}
}

// parseUnit reads a unit strictly (systemd.syntax(7)), and returns its values by SECTION.KEY.
func parseUnit(t *testing.T, text string) map[string]string {
	t.Helper()
	known, values, section := unitKeys(), make(map[string]string), ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		key, value, assigned := strings.Cut(line, "=")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = strings.Trim(line, "[]")
			if known[section] == nil {
				t.Errorf("there is no section %q", line)
			}
		case !assigned || strings.HasSuffix(line, "\\") || strings.TrimSpace(line) != line:
			t.Errorf("neither section, comment nor assignment: %q", line)
		case !slices.Contains(known[section], key):
			t.Errorf("[%s] has no key %q", section, key)
		default:
			if _, twice := values[section+"."+key]; twice {
				t.Errorf("[%s] has %s twice", section, key)
			}
			values[section+"."+key] = value
		}
	}
	return values
}

// TestUnits: what is rendered is a unit, says what the agent relies on, and starts the program as it wants to be started.
func TestUnits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pool := filepath.Join(dir, "pool.json")
	if err := os.WriteFile(pool, []byte(`{"version": 1, "name": "p", "hosts": [{"match": {"labels": {"role": "prover"}}, "pools": {"cpu": {"workers": 1}}}],
 "pools": {"cpu": {"kind": "fed", "command": ["snarkpool", "prove", "gnark"], "threads": 1}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		want map[string]string // "" is a key that must not be there
	}{
		{"usual", nil, map[string]string{"Service.StateDirectory": "snarkpool", "Service.DelegateSubgroup": "", "Service.ExecStartPre": ""}},
		{"newer systemd", []string{"-systemd", "254"}, map[string]string{"Service.DelegateSubgroup": "agent"}},
		{"other places", []string{"-state", "/srv/pool", "-binary", "/opt/snarkpool", "-metrics", "", "-pool-file", "/opt/pool.json"}, map[string]string{
			"Service.ExecStartPre": "/bin/mkdir -p /srv/pool", "Service.StateDirectory": "",
			"Service.ExecStart": "/opt/snarkpool agent -state /srv/pool -host bm3 -label hardware=epyc -label role=prover $SNARKPOOL_OPTIONS /opt/pool.json",
		}},
		{"pinned", []string{"-sha256", strings.Repeat("0a", 32), "-pool-file", "https://pool.example.org/pool.json"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			out := filepath.Join(dir, strings.ReplaceAll(test.name, " ", "-"))
			line, err := parse(append([]string{"render", "systemd", pool, "-out", out, "-host", "bm3,role=prover,hardware=epyc"}, test.args...))
			if err != nil {
				t.Fatal(err)
			}
			if err := line.verb.run(t.Context(), call{program: program{stdout: t.Output(), stderr: os.Stderr}, options: line.options, arguments: line.arguments}); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(filepath.Join(out, "bm3", unitName))
			if err != nil {
				t.Fatal(err)
			}
			values := parseUnit(t, string(text))
			want := map[string]string{
				"Service.KillMode": "process", "Service.Delegate": "yes", "Service.Restart": "always", "Unit.StartLimitIntervalSec": "0", "Service.OOMPolicy": "continue",
				"Service.TasksMax": "infinity", "Service.LimitNOFILE": "65536", "Service.EnvironmentFile": "-" + environmentFile, "Install.WantedBy": "multi-user.target",
			}
			maps.Copy(want, test.want)
			for key, value := range want {
				if values[key] != value {
					t.Errorf("%s is %q, want %q", key, values[key], value)
				}
			}
			words := strings.Fields(strings.ReplaceAll(values["Service.ExecStart"], "$SNARKPOOL_OPTIONS", ""))
			started, err := parse(words[1:])
			if err != nil || started.verb.name != "agent" || started.options.host != "bm3" || started.options.labels["hardware"] != "epyc" {
				t.Errorf("the program does not understand %q: %v", values["Service.ExecStart"], err)
			}
		})
	}
}
