package main

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/cmd/internal/boot"
	"provingground/internal/mina"
)

// settingsOf reads a command line and an environment with DIR for a new directory, in which c.json holds a configuration.
func settingsOf(t *testing.T, args, configuration string, env map[string]string) (s settings, dir string, err error) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "c.json"), []byte(configuration), 0o644); err != nil {
		t.Fatal(err)
	}
	in := func(text string) string { return strings.ReplaceAll(text, "DIR", dir) }
	line, wrong := parse(strings.Fields(in(args)))
	s, err = program{getenv: func(name string) (string, bool) { value, ok := env[name]; return in(value), ok }}.settings(line)
	return s, dir, errors.Join(wrong, err)
}

func networks(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func TestSettings(t *testing.T) {
	const memory = `{"in_memory": true, "whitelist": ["B62a", "B62b"]}` // as the existing service takes it
	configured := map[string]string{"CONFIG_FILE": "DIR/c.json"}
	base := func(change func(*settings)) settings {
		s := settings{network: mina.Mainnet, listen: ":8080", retention: 20 * time.Minute, perHour: 120, logLevel: "info"}
		change(&s)
		return s
	}
	for _, test := range []struct {
		name, args, config string
		env                map[string]string
		want               settings
	}{
		{"as today", "", memory, configured, base(func(s *settings) { s.whitelist = []string{"B62a", "B62b"} })},
		{"the name of the main network", "-config DIR/c.json", memory, map[string]string{"NETWORK": "mainnet", "CONFIG_FILE": "DIR/none"}, base(func(s *settings) {
			s.whitelist = []string{"B62a", "B62b"}
		})},
		{"any other name", "-config DIR/c.json", memory, map[string]string{"NETWORK": "devnet", "AWS_CREDENTIALS_FILE": "aws.json"}, base(func(s *settings) {
			s.network, s.awsFile, s.whitelist = mina.Testnet, "aws.json", []string{"B62a", "B62b"}
		})},
		{"submissions in S3 as well", "", `{"aws": {"region": "r", "account_id": "1", "prefix": "p"}, "whitelist": [], "gsheet_id": ""}`, configured, base(func(s *settings) {
			s.aws, s.whitelist = &awsConfig{"r", "1", "p"}, []string{}
		})},
		{"the environment alone", "-whitelist-file keys", "", map[string]string{"CONFIG_AWS_REGION": "r", "CONFIG_AWS_ACCOUNT_ID": "1", "CONFIG_AWS_PREFIX": "p"}, base(func(s *settings) {
			s.aws, s.whitelistFile = &awsConfig{"r", "1", "p"}, "keys"
		})},
		{
			"all that is new", "", `{"IN_MEMORY": false, "db_uri": "postgresql://me@h/d", "whitelist_database": true, "whitelist_file": null, "retention": "90s",
				"requests_per_pk_hourly": 3.6e2, "trusted_proxies": ["10.1.2.3/8", "::ffff:192.0.2.1", "2001:db8::1"]}`, configured,
			base(func(s *settings) {
				s.databaseURI, s.whitelistDatabase, s.retention, s.perHour = "postgresql://me@h/d", true, 90*time.Second, 360
				s.proxies = networks("10.0.0.0/8", "192.0.2.1/32", "2001:db8::1/128")
			}),
		},
		{
			"options count in place of keys", "-db-uri postgresql://me@h/d2 -retention 2h -per-hour 9 -trusted-proxy 192.0.2.0/24 -whitelist-file keys -listen 127.0.0.1:0 -log-level debug",
			`{"in_memory": true, "retention": "1m", "requests_per_pk_hourly": 1, "trusted_proxies": ["10.0.0.0/8"], "whitelist": ["B62a"]}`, configured,
			base(func(s *settings) {
				s.databaseURI, s.retention, s.perHour, s.proxies, s.whitelistFile = "postgresql://me@h/d2", 2*time.Hour, 9, networks("192.0.2.0/24"), "keys"
				s.listen, s.logLevel, s.notes = "127.0.0.1:0", "debug", []string{"in_memory does not count: -db-uri names a database"}
			}),
		},
		{"everybody a proxy", "", `{"whitelist": [], "trusted_proxies": ["0.0.0.0/0"]}`, configured, base(func(s *settings) {
			s.whitelist, s.proxies = []string{}, networks("0.0.0.0/0")
			s.warnings = []string{"every address is trusted as a proxy (0.0.0.0/0): whoever reaches the port can say where a node is"}
		})},
	} {
		got, _, err := settingsOf(t, test.args, test.config, test.env)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		got.secrets = nil
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(settings{}, awsConfig{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// TestPasswords: a database's password is masked in the log, and the operator is told where others see it.
func TestPasswords(t *testing.T) {
	for _, test := range []struct{ args, config, warns string }{
		{"-db-uri postgresql://me:hunter22@h/d -whitelist-file k", "{}", "the password in -db-uri"},
		{"-db-uri postgresql://h/d?password=hunter22 -whitelist-file k", "{}", "the password in -db-uri"},
		{"-config DIR/c.json", `{"whitelist": [], "db_uri": "host=h password=hunter22"}`, "chmod 600 DIR/c.json"},
		{"-db-uri postgresql://me@h:5432/d -whitelist-file k", "{}", ""},
		{"-db-uri postgresql://me:@h/d -whitelist-file k", "{}", ""},
	} {
		s, dir, err := settingsOf(t, test.args, test.config, nil)
		if err != nil {
			t.Errorf("%s: %v", test.args, err)
			continue
		}
		warnings := strings.Join(s.warnings, "\n")
		if want := strings.ReplaceAll(test.warns, "DIR", dir); (want == "") != (warnings == "") || !strings.Contains(warnings, want) || strings.Contains(warnings, "hunter22") {
			t.Errorf("%s: warnings %q", test.args, warnings)
		}
		if masked := s.secrets.Text("it is hunter22"); test.warns != "" && strings.Contains(masked, "hunter22") {
			t.Errorf("%s: the log would show %q", test.args, masked)
		}
	}
}

// TestSettingsRefuse: all that is wrong is said at once, with its place and what to do, and without secrets.
func TestSettingsRefuse(t *testing.T) {
	for _, test := range []struct {
		name, args, config string
		env                map[string]string
		says               []string
	}{
		{"nothing", "", "", nil, []string{"nothing says whose reports are taken", "-config or CONFIG_FILE", "-whitelist-file"}},
		{"no file", "-config DIR/none", "", nil, []string{"the configuration cannot be read", "/none: no such file"}},
		{"a directory", "-config DIR", "", nil, []string{"the configuration cannot be read", "is a directory"}},
		{"no JSON", "-config DIR/c.json", `{"whitelist": [}`, nil, []string{"does not decode", "c.json:1:16"}},
		{"a key twice", "-config DIR/c.json", `{"whitelist": [], "whitelist": []}`, nil, []string{"c.json:1:19: this is given twice"}},
		{"no object", "-config DIR/c.json", `[]`, nil, []string{"c.json:1:1: "}},
		{"a password without quotes", "-config DIR/c.json", `{"db_uri": hunter22}`, nil, []string{"c.json:1:12: this is no JSON value"}},
		{"every key", "-config DIR/c.json", `{
 "in_memory": "true", "in_Memory": false,
 "aws": {"region": "", "account": "1", "account_id": 1, "prefix": "p"},
 "whitelst": [], "whitelist": [1, "B62a"],
 "whitelist_file": 3, "whitelist_database": 1,
 "db_uri": {}, "gsheet_id": "1XB",
 "trusted_proxies": ["10.0.0.0/33", 7, "::ffff:10.0.0.0/104", "fe80::1%eth0"],
 "retention": 20, "requests_per_pk_hourly": 0, "Requests_per_pk_hourly": "120",
 "network_name": "devnet", "verify_signature_disabled": true, "sing": "song"
}`, nil, []string{
			"c.json:2:15: in_memory is a string, not a boolean (write true or false, without quotes)", `c.json:2:23: "in_memory" is given twice`,
			`c.json:3:24: aws has no key "account" (did you mean "account_id"?)`, "c.json:3:54: account_id is a number", "c.json:3:9: aws needs region", "aws needs account_id",
			`c.json:4:2: the configuration has no key "whitelst" (did you mean "whitelist"?)`, "c.json:4:32: whitelist holds a number, not a string",
			"c.json:5:20: whitelist_file is a number", "c.json:5:45: whitelist_database is a number",
			"c.json:6:12: db_uri is an object", "c.json:6:16: gsheet_id: Google sheets are not read here (write the public keys into a file",
			"c.json:7:22: this is no network", "c.json:7:37: this", "c.json:7:40: this", "c.json:7:63: this",
			`c.json:8:15: retention is not such a time: write it like "20m" (give a time such as 20m, from 1m0s to 24h0m0s)`,
			"c.json:8:45: requests_per_pk_hourly is not such a number (give a number from 1 to 1000000)", "c.json:8:74: requests_per_pk_hourly is not",
			`"network_name" (the environment's NETWORK`, `"verify_signature_disabled" (there is no service that verifies no signatures)`, `"sing" (it has aws, db_uri, gsheet_id`,
		}},
		{"two whitelists", "-config DIR/c.json", `{"whitelist": [], "whitelist_file": "k"}`, nil, []string{"exactly one of whitelist, whitelist_file and whitelist_database"}},
		{"no whitelist", "-config DIR/c.json", `{}`, nil, []string{"/c.json: exactly one of"}},
		{"no database", "-config DIR/c.json", `{"whitelist_database": true}`, nil, []string{"whitelist_database needs a database"}},
		{"no store", "-config DIR/c.json", `{"whitelist": [], "in_memory": false}`, nil, []string{"in_memory is false", "-db-uri"}},
		{"two stores", "-config DIR/c.json", `{"whitelist": [], "in_memory": true, "db_uri": "postgresql:///d"}`, nil, []string{"keep one of them"}},
		{"a sheet", "", "", map[string]string{"CONFIG_GSHEET_ID": "1XB"}, []string{"CONFIG_GSHEET_ID", "unset it", "-whitelist-file"}},
		{"capitals", "-whitelist-file k", "", map[string]string{"NETWORK": "Mainnet"}, []string{`NETWORK is "Mainnet": write mainnet, in lower case`}},
		{"capitals and a space", "-whitelist-file k", "", map[string]string{"NETWORK": "MAINNET "}, []string{`NETWORK is "MAINNET ": write mainnet, in lower case and without spaces`}},
		{"half of AWS", "-whitelist-file k", "", map[string]string{"CONFIG_AWS_PREFIX": "p"}, []string{"CONFIG_AWS_PREFIX is set, and CONFIG_AWS_REGION, CONFIG_AWS_ACCOUNT_ID is not"}},
		{"the command line", "-whitelist-file k -retention 1s -per-hour 0 -trusted-proxy nobody -listen 8080 -log-level chatty -db-uri mysql://me:hunter22@h/d stray", "", nil, []string{
			"-retention 1s: give", "-per-hour 0: give", "-trusted-proxy nobody: give", "-listen 8080: give HOST:PORT", "-log-level chatty: it is one of", "-db-uri is no PostgreSQL URI",
			`what is "stray"?`,
		}},
		{"bad once", "-retention x -per-hour y -listen= -log-level= -whitelist-file= -db-uri", "", nil, []string{
			"-retention x: give", "-per-hour y: give", "-listen: it is empty", "-log-level: it is empty", "-whitelist-file: it is empty", "-db-uri needs a value",
		}},
		{"a URI in the file", "-config DIR/c.json", `{"whitelist": [], "db_uri": "postgresql://me:hunter22@h:port/d"}`, nil, []string{"c.json: db_uri is no PostgreSQL URI"}},
	} {
		_, _, err := settingsOf(t, test.args, test.config, test.env)
		var usage *boot.UsageError
		if !errors.As(err, &usage) {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		for _, want := range test.says {
			if strings.Count(err.Error(), want) != 1 {
				t.Errorf("%s does not say %q once:\n%v", test.name, want, err)
			}
		}
		if strings.Contains(err.Error(), "hunter22") {
			t.Errorf("%s shows a secret: %v", test.name, err)
		}
		if test.name == "bad once" && strings.Count(err.Error(), "\n") != len(test.says)-1 {
			t.Errorf("%s: something is said twice:\n%v", test.name, err)
		}
	}
}

// FuzzConfig: whatever is in the file, it is understood or refused.
func FuzzConfig(f *testing.F) {
	f.Add(`{"in_memory": true, "whitelist": ["B62a"]}`)
	f.Add(`{"aws": {}, "trusted_proxies": [null, "::/0"], "retention": "1e9h", "requests_per_pk_hourly": 1e400}`)
	path := filepath.Join(f.TempDir(), "c.json")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := readConfig(path)
		if err == nil && (c.perHour < 0 || c.retention < 0) {
			t.Errorf("%q: %+v", text, c)
		}
	})
}
