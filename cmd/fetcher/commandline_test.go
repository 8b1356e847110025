package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/cmd/internal/boot"
	"provingground/fetcher"
)

func TestParse(t *testing.T) {
	given := func(names ...string) map[string]bool {
		m := make(map[string]bool)
		for _, name := range names {
			m[name] = true
		}
		return m
	}
	base := commandLine{queueSize: 500, clockScale: 1, logLevel: "info"}
	with := func(change func(*commandLine)) commandLine {
		line := base
		change(&line)
		return line
	}
	for args, want := range map[string]commandLine{
		"-k key -o out discovery": with(func(l *commandLine) {
			l.command, l.arguments, l.keyFile, l.directory, l.given = cmdDiscovery, []string{}, "key", "out", given("secret-key-path", "output-dir-path")
		}),
		"discovery --secret-key-path=key --output-dir-path out --node-names-map n.json": with(func(l *commandLine) {
			l.command, l.arguments, l.keyFile, l.directory, l.names = cmdDiscovery, []string{}, "key", "out", "n.json"
			l.given = given("secret-key-path", "output-dir-path", "node-names-map")
		}),
		"-host-overrides plain-{}.x another-{}.x discovery -listen :1 --listen=:2 -flush": with(func(l *commandLine) {
			l.command, l.arguments, l.overrides, l.listen, l.flush = cmdDiscovery, []string{}, []string{"plain-{}.x", "another-{}.x"}, []string{":1", ":2"}, true
			l.given = given("host-overrides", "listen", "flush")
		}),
		"discovery --host-overrides a b --host-overrides c --flush=false": with(func(l *commandLine) {
			l.command, l.arguments, l.overrides, l.given = cmdDiscovery, []string{}, []string{"a", "b", "c"}, given("host-overrides", "flush")
		}),
		"node-address-port 10.0.0.1 -p 3086": with(func(l *commandLine) {
			l.command, l.arguments, l.port, l.given = cmdAddress, []string{"10.0.0.1"}, 3086, given("port")
		}),
		"process -o out --name n -- -a b": with(func(l *commandLine) {
			l.command, l.arguments, l.directory, l.name, l.given = cmdProcess, []string{"-a", "b"}, "out", "n", given("output-dir-path", "name")
		}),
		"--db-uri postgresql:///x migrate": with(func(l *commandLine) {
			l.command, l.arguments, l.databaseURI, l.given = cmdMigrate, []string{}, "postgresql:///x", given("db-uri")
		}),
		"-k key --help": {command: cmdHelp}, "discovery -h": {command: cmdHelp}, "--version": {command: cmdVersion}, "-V": {command: cmdVersion},
	} {
		got, err := parse(strings.Fields(args))
		if err != nil {
			t.Errorf("%s: %v", args, err)
		} else if diff := cmp.Diff(want, got, cmp.AllowUnexported(commandLine{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", args, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for args, says := range map[string]string{
		"--secret-key-pth k discovery": `no option --secret-key-pth: did you mean "--secret-key-path"?`,
		"-x discovery":                 "no option -x",
		"--lisen=:1 discovery":         `no option --lisen: did you mean "--listen"?`,
		"-k":                           "-k needs a value",
		"-o out":                       "Name a command",
		"discover":                     `no command "discover": did you mean "discovery"?`,
		"sing":                         `no command "sing": it has discovery`,
		"discovery -p 3":               "--port means nothing to the command discovery",
		"process -k key f":             "--secret-key-path means nothing to the command process",
		"migrate -o x --flush":         "--flush means nothing to the command migrate\n--output-dir-path means nothing",
		"node-address-port a -p many":  "-p many: give the node's ITN port, 1 to 65535",
		"discovery --listen=":          "--listen: it is empty",
		"discovery --allow-origin=":    "--allow-origin: it is empty",
		"discovery --queue-size 1.5":   "--queue-size 1.5: give 1 to 1000000 entries",
		"discovery --queue-size=x":     "--queue-size x: give 1 to 1000000 entries",
		"discovery --retain-days x":    "--retain-days x: give 1 to 36500 days",
		"discovery --clock-scale fast": "--clock-scale fast: give a number",
		"discovery --flush=perhaps":    "--flush perhaps: give true or false",
		"-x 5 --lisen :1 --queue-size x discover -k": "no option -x\nthere is no option --lisen: did you mean \"--listen\"?\n--queue-size x: give 1 to 1000000 entries, as the nodes' --itn-max-logs\n" +
			"-k needs a value behind it\nthere is no command \"discover\"",
	} {
		_, err := parse(strings.Fields(args))
		var usage *boot.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want a usage error with %q", args, err, says)
		}
	}
}

// FuzzParse: whatever is written, a command line is either understood or refused as one.
func FuzzParse(f *testing.F) {
	f.Add("-k key -o out --host-overrides a b discovery")
	f.Add("--=\n-\n--\n-p=\nprocess")
	f.Fuzz(func(t *testing.T, text string) {
		line, err := parse(strings.Fields(text))
		var usage *boot.UsageError
		if err != nil && !errors.As(err, &usage) {
			t.Errorf("%q: %v", text, err)
		}
		if err == nil && line.command == "" {
			t.Errorf("%q: no command", text)
		}
	})
}

// seed is a key of tests.
func seed() string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)) }

// settingsOf reads a command line with an environment, on a directory with a key file.
func settingsOf(t *testing.T, args string, env map[string]string) (settings, string, error) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"key": seed() + "\n \t\n", "short": "c2hvcnQ=", "long": strings.Repeat("x", maxKeyFile+1), "names": `{"B62a": "alice"}`, "list": `["alice"]`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	line, wrong := parse(strings.Fields(strings.ReplaceAll(args, "DIR", dir)))
	s, err := program{getenv: func(name string) (string, bool) { value, ok := env[name]; return value, ok }}.settings(line)
	return s, dir, errors.Join(wrong, err)
}

func TestSettings(t *testing.T) {
	online := map[string]string{"ONLINE_URL": "http://127.0.0.1:8081/v1/online"}
	s, dir, err := settingsOf(t, "-k DIR/key -o DIR/out -n DIR/names --host-overrides a-{} b-{} discovery --keep-lines 6MiB --retain-days 3 --allow-origin https://a.example --allow-origin http://b.example:8080 --genesis 2026-01-02T03:04:05Z --clock-scale 60 --deployment 7",
		map[string]string{"ONLINE_URL": online["ONLINE_URL"], "FETCH_INTERVAL_MS": "500", "HANDLE_STATUS_CHANGE": "true"})
	if err != nil {
		t.Fatal(err)
	}
	if s.directory != filepath.Join(dir, "out") || s.onlineURL != online["ONLINE_URL"] || s.names["B62a"] != "alice" || s.interval != 500*time.Millisecond ||
		s.lineBytes != 6<<20 || s.retainDays != 3 || s.deployment != 7 || s.flush || s.queueSize != 500 || len(s.overrides) != 2 {
		t.Errorf("settings %+v", s)
	}
	if diff := cmp.Diff([]string{":4000"}, s.listen); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"https://a.example", "http://b.example:8080"}, s.origins); diff != "" {
		t.Error(diff)
	}
	if network := s.clock.FromWall(time.Date(2026, 1, 2, 3, 5, 5, 0, time.UTC)); !network.Equal(time.Date(2026, 1, 2, 4, 4, 5, 0, time.UTC)) {
		t.Errorf("a minute after genesis the network's clock says %v", network)
	}
	if len(s.warnings) != 0 || len(s.notes) != 1 || !strings.Contains(s.notes[0], "HANDLE_STATUS_CHANGE") {
		t.Errorf("warnings %q, notes %q", s.warnings, s.notes)
	}
	if masked := s.secrets.Text("the key " + seed()); strings.Contains(masked, seed()) {
		t.Errorf("the key is shown: %s", masked)
	}

	s, dir, err = settingsOf(t, "-k DIR/key -o DIR/out node-address-port 10.0.0.1 -p 3086 --deployment new --db-uri postgresql://me:hunter22@db/x", map[string]string{"FETCH_INTERVAL_MS": "soon"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fetcher.Fixed{{RemoteAddr: "10.0.0.1", ControlPort: 3086}}, s.node); diff != "" || !s.newDeployment || s.interval != 0 {
		t.Errorf("%s %+v", diff, s)
	}
	if len(s.warnings) != 2 || !strings.Contains(s.warnings[0], "the password in --db-uri") || !strings.Contains(s.warnings[1], `"soon"`) {
		t.Errorf("warnings %q", s.warnings)
	}
	if masked := s.secrets.Text("password=hunter22"); strings.Contains(masked, "hunter22") {
		t.Errorf("the password is shown: %s", masked)
	}

	if s, _, err = settingsOf(t, "-k DIR/key -o DIR/out discovery", map[string]string{"AWS_PREFIX": "p", "AWS_BUCKET": "b"}); err != nil || s.bucket != "b" || s.prefix != "p" {
		t.Errorf("submissions: %+v, %v", s, err)
	}
	if s, _, err = settingsOf(t, "process -o DIR f g", map[string]string{"MINA_NODE_NAME": "node"}); err != nil || s.name != "node" || len(s.files) != 2 {
		t.Errorf("process: %+v, %v", s, err)
	}
	if _, _, err = settingsOf(t, "migrate --db-uri postgresql:///x", nil); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(filepath.Join(dir, "key"), 0o644); err != nil {
		t.Fatal(err)
	}
	line, err := parse([]string{"-k", filepath.Join(dir, "key"), "-o", dir, "discovery"})
	if err != nil {
		t.Fatal(err)
	}
	s, err = program{getenv: func(name string) (string, bool) { value, ok := online[name]; return value, ok }}.settings(line)
	if err != nil || len(s.warnings) != 1 || !strings.Contains(s.warnings[0], "chmod 600 "+filepath.Join(dir, "key")) {
		t.Errorf("a key that others can read: %q, %v", s.warnings, err)
	}
}

// TestDatabaseURIs: what is wrong with a URI is named, and never a piece of its password.
func TestDatabaseURIs(t *testing.T) {
	const secret = "hunter22"
	for _, test := range []struct{ uri, says string }{
		{"postgresql://me:hunter22@h/d?sslmode=foo", "sslmode is invalid"},
		{"postgresql://h/d?connect_timeout=x", "invalid connect_timeout"},
		{"postgresql://me:hunter22@h:port/d", "invalid port"},
		{"postgresql://me:hunter22@h/d%zz", `"d%zz"`},
		{"postgresql://me:hunter22%zz@h/d", "password"},
		{"postgresql://me:/hunter22@h/d", "PGPASSWORD"},
		{"postgresql://me:1/x?hunter22@h/d", "PGPASSWORD"},
		{"postgresql://me@h/d?password=x&hunter22", "PGPASSWORD"},
		{"mysql://me:hunter22@h/d", "postgresql://USER@HOST"},
	} {
		_, _, err := settingsOf(t, "migrate --db-uri "+test.uri, nil)
		if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v, want it to say %q", test.uri, err, test.says)
		}
	}
	for uri, warned := range map[string]bool{
		"postgresql://me:hunter22@h/d": true, "postgresql://h/d?password=hunter22": true, "host=h password=hunter22": true,
		"postgresql://me@h/d": false, "postgresql://me:@h/d": false, "postgresql://h:5432/d": false, "host=h": false,
	} {
		line := commandLine{command: cmdMigrate, databaseURI: uri, given: map[string]bool{"db-uri": true}}
		s, err := program{getenv: func(string) (string, bool) { return "", false }}.settings(line)
		if err != nil || (len(s.warnings) == 1) != warned || strings.Contains(strings.Join(s.warnings, ""), secret) {
			t.Errorf("%s: warnings %q, %v", uri, s.warnings, err)
		}
	}
}

// TestSettingsRefuse: all that is wrong is said at once, with what to do, and without secrets.
func TestSettingsRefuse(t *testing.T) {
	for _, test := range []struct {
		args string
		env  map[string]string
		says []string
	}{
		{"discovery --queue-size 0 --listen 4000 --deployment old --keep-lines 5 --retain-days 0 --clock-scale 2", nil, []string{
			"-k KEYFILE is missing", "-o DIR is missing", "ONLINE_URL", "AWS_BUCKET", "--queue-size 0", "--listen 4000", "--deployment old", "--keep-lines 5",
			"--retain-days 0", "--clock-scale needs --genesis",
		}},
		{"-k DIR/short -o DIR -n DIR/list discovery --genesis yesterday", map[string]string{"ONLINE_URL": "ftp://x"}, []string{
			"the key file", "/short", "names file", "ONLINE_URL", "--genesis yesterday",
		}},
		{"-k DIR/key -o DIR discovery --allow-origin a.example --allow-origin https://b.example/ --allow-origin * --allow-origin https://C.example", nil, []string{
			"--allow-origin a.example:", "--allow-origin https://b.example/:", "--allow-origin *:", "--allow-origin https://C.example:",
		}},
		{"-k DIR/long -o DIR -n DIR/none discovery stray", nil, []string{"longer than", "no such file", `"stray"`}},
		{"-k DIR/key -o DIR node-address-port", nil, []string{"takes one address"}},
		{"-k DIR/key -o DIR node-address-port a b -p 1", nil, []string{"takes one address"}},
		{"-k DIR/key -o DIR node-address-port a -p 70000", nil, []string{"-p 1 to -p 65535"}},
		{"-k DIR/key -o DIR node-address-port ### -p 70", nil, []string{"node-address-port: "}},
		{"-k DIR/key -o DIR --genesis 2026-01-02T03:04:05Z --clock-scale 0 node-address-port a -p 70", nil, []string{"--clock-scale"}},
		{"process f --db-uri sqlite3://traces.db", nil, []string{"SQLite", "leave the option out"}},
		{"process", nil, []string{"-o DIR or --db-uri", "name the files"}},
		{"process -o DIR f --db-uri postgresql://me:hunter22@:x:y/z", nil, []string{"no PostgreSQL URI: cannot parse `it`: invalid port"}},
		{"-p many -o --queue-size discovery --queue-size x --retain-days y --clock-scale z --frob 3 --listen 4000", nil, []string{
			"-p many: give", "--queue-size x: give 1 to 1000000", "--retain-days y: give 1 to 36500", "--clock-scale z: give a number", "no option --frob", "--listen 4000: give",
			"--port means nothing to the command discovery", "-k KEYFILE is missing", "ONLINE_URL",
		}},
		{"migrate", nil, []string{"--db-uri is missing"}},
		{"migrate --db-uri=", nil, []string{"--db-uri is empty"}},
		{"migrate x --db-uri postgresql:///x", nil, []string{`"x"`}},
	} {
		_, _, err := settingsOf(t, test.args, test.env)
		if err != nil && strings.Count(err.Error(), "--queue-size x")+strings.Count(err.Error(), "--queue-size 0") > 1 {
			t.Errorf("%s says the same twice:\n%v", test.args, err)
		}
		var usage *boot.UsageError
		if !errors.As(err, &usage) {
			t.Errorf("%s: %v", test.args, err)
			continue
		}
		for _, want := range test.says {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s does not say %q:\n%v", test.args, want, err)
			}
		}
		for _, secret := range []string{"hunter22", "c2hvcnQ=", seed()} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s shows a secret: %v", test.args, err)
			}
		}
	}
}
