package orchestrator_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/dsl"
	"provingground/orchestrator"
	"provingground/uptime"
)

// configKey is a seed as configurations hold it.
const configKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// leastConfig are the fields that every configuration must have.
const leastConfig = `"key":"` + configKey + `","onlineURL":"http://uptime.example:8080/v1/online"`

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func readConfig(t *testing.T, text string) (orchestrator.Config, error) {
	t.Helper()
	return orchestrator.ReadConfig(writeConfig(t, text), func(name string) (string, bool) { return configKey, name == "ITN_KEY" })
}

func mustReadConfig(t *testing.T, text string) orchestrator.Config {
	t.Helper()
	c, err := readConfig(t, text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return c
}

// compareConfigs shows the difference of two configurations. They hold no secret but the key of these tests.
func compareConfigs(got, want orchestrator.Config) string {
	type fields orchestrator.Config // has no Format
	return cmp.Diff(fields(want), fields(got))
}

// defaults is what a configuration without further keys means.
func defaults() orchestrator.Config {
	return orchestrator.Config{
		Key: configKey, OnlineURL: "http://uptime.example:8080/v1/online", MinaExec: "mina", FundThrough: "auto", LogLevel: "info",
		RequestTimeout: 30 * time.Second, Concurrency: 64, ClockScale: 1,
	}
}

func TestConfigDefaults(t *testing.T) {
	got := mustReadConfig(t, "{"+leastConfig+"}")
	if diff := compareConfigs(got, defaults()); diff != "" {
		t.Errorf("the least configuration (-want +got):\n%s", diff)
	}
}

// TestConfigKeys reads every key of the specification (orchestrator-scripts, section 4), and every one that we add (programs,
// "orchestrator").
func TestConfigKeys(t *testing.T) {
	genesis := time.Now().Add(-time.Hour).UTC().Truncate(time.Millisecond)
	for _, test := range []struct {
		field string
		want  func(*orchestrator.Config)
	}{
		{`"urlOverrides":["http-{}.example","{}.other"]`, func(c *orchestrator.Config) { c.URLOverrides = uptime.Overrides{"http-{}.example", "{}.other"} }},
		{`"urlOverrides":[]`, func(*orchestrator.Config) {}},
		{`"fundDaemonPorts":["8301","10.0.0.1:8301"]`, func(c *orchestrator.Config) { c.FundDaemonPorts = []string{"8301", "10.0.0.1:8301"} }},
		{`"minaExec":"/opt/mina"`, func(c *orchestrator.Config) { c.MinaExec = "/opt/mina" }},
		{`"controlExec":"./control"`, func(c *orchestrator.Config) { c.ControlExec = "./control" }},
		{`"slotDurationMs":180000`, func(c *orchestrator.Config) { c.SlotDuration = 3 * time.Minute }},
		{`"slotDurationMs":1.8e5`, func(c *orchestrator.Config) { c.SlotDuration = 3 * time.Minute }},
		{`"genesisTimestamp":"2024-05-01T10:00:00.5+02:00"`, func(c *orchestrator.Config) {
			c.Genesis = time.Date(2024, 5, 1, 8, 0, 0, 500_000_000, time.UTC)
		}},
		{`"printRequests":true`, func(c *orchestrator.Config) { c.PrintRequests = true }},
		{`"printRequests":false`, func(*orchestrator.Config) {}},
		{`"logLevel":"debug"`, func(c *orchestrator.Config) { c.LogLevel = "debug" }},
		{`"logLevel":"dpanic"`, func(c *orchestrator.Config) { c.LogLevel = "dpanic" }},
		{`"logFile":"logs/run.log"`, func(c *orchestrator.Config) { c.LogFile = "logs/run.log" }},
		// Ours.
		{`"dbUri":"postgres://db.example/evidence"`, func(c *orchestrator.Config) { c.DBURI = "postgres://db.example/evidence" }},
		{`"snarkPool":{"socket":"pool/control.sock"}`, func(c *orchestrator.Config) { c.SnarkPool = &orchestrator.SnarkPoolConfig{Socket: "pool/control.sock"} }},
		{`"snarkPool":{"Agent":"bm7@10.0.0.7:8470","keyFile":"k","caFile":"ca.pem"}`, func(c *orchestrator.Config) {
			c.SnarkPool = &orchestrator.SnarkPoolConfig{Agent: "bm7@10.0.0.7:8470", KeyFile: "k", CAFile: "ca.pem"}
		}},
		{`"requestTimeoutMs":1500`, func(c *orchestrator.Config) { c.RequestTimeout = 1500 * time.Millisecond }},
		{`"concurrency":8`, func(c *orchestrator.Config) { c.Concurrency = 8 }},
		{`"fundThrough":"node"`, func(c *orchestrator.Config) { c.FundThrough = "node" }},
		{`"clockScale":60.5,"genesisTimestamp":"` + genesis.Format(time.RFC3339Nano) + `"`, func(c *orchestrator.Config) {
			c.ClockScale, c.Genesis = 60.5, genesis
		}},
		// Null is the absence of a value, and the case of a key makes no difference, as in today's tool.
		{`"minaExec":null,"aws":null,"keyFile":null,"logLevel":null,"concurrency":null`, func(*orchestrator.Config) {}},
		{`"MINAEXEC":"m","controlexec":"c","FundDaemonPorts":["1"]`, func(c *orchestrator.Config) {
			c.MinaExec, c.ControlExec, c.FundDaemonPorts = "m", "c", []string{"1"}
		}},
	} {
		want := defaults()
		test.want(&want)
		if diff := compareConfigs(mustReadConfig(t, "{"+leastConfig+","+test.field+"}"), want); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.field, diff)
		}
	}
}

// TestConfigAWS reads the other way to list nodes. It names the network, and an empty onlineURL beside it is none.
func TestConfigAWS(t *testing.T) {
	c := mustReadConfig(t, `{"key":"`+configKey+`","onlineURL":"","aws":{"region":"us-west-2","Account_ID":"1234","prefix":"net"}}`)
	if diff := cmp.Diff(&orchestrator.AWS{Region: "us-west-2", AccountID: "1234", Prefix: "net"}, c.AWS); diff != "" {
		t.Errorf("aws (-want +got):\n%s", diff)
	}
	if got, want := c.Network(), "s3:us-west-2/1234/net"; got != want {
		t.Errorf("the network is %q, want %q", got, want)
	}
}

// TestConfigKeyPlaces takes the ITN key from each place that may hold it, and warns of what others can read.
func TestConfigKeyPlaces(t *testing.T) {
	const online = `"onlineURL":"http://uptime.example/v1/online"`
	file := filepath.Join(t.TempDir(), "itn-key")
	if err := os.WriteFile(file, []byte(" "+configKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fromFile := writeConfig(t, fmt.Sprintf(`{"keyFile":%q,%s}`, file, online))
	inline := writeConfig(t, "{"+leastConfig+"}")
	for _, test := range []struct {
		name, config string
		open         string // the file that others can read
		warning      string
	}{
		{name: "key", config: inline},
		{name: "key that others can read", config: inline, open: inline, warning: inline + " holds the ITN key and others can read it: chmod 600 " + inline},
		{name: "keyEnv", config: writeConfig(t, `{"keyEnv":"ITN_KEY",`+online+`}`)},
		{name: "keyFile", config: fromFile},
		{name: "a configuration without the key, for all to read", config: fromFile, open: fromFile},
		{name: "keyFile that others can read", config: fromFile, open: file, warning: "others can read the ITN key in " + file + ": chmod 600 " + file},
	} {
		if test.open != "" {
			if err := os.Chmod(test.open, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		c, err := orchestrator.ReadConfig(test.config, func(name string) (string, bool) { return configKey + "\n", name == "ITN_KEY" })
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if c.Key != configKey {
			t.Errorf("%s: the key is not the one given", test.name)
		}
		if got := strings.Join(c.Warnings, "\n"); got != test.warning {
			t.Errorf("%s: warnings %q, want %q", test.name, got, test.warning)
		}
	}
}

// TestConfigMistakes reads configurations with one mistake. The finding has a place, and nothing shows the key. The stories of the command
// have more of them.
func TestConfigMistakes(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{`{` + leastConfig + `,"logfile2":"x"}`, `the configuration has no key "logfile2" (did you mean "logFile"?)`},
		{`{` + leastConfig + `,"entirely":"x"}`, `the configuration has no key "entirely" (it has aws, clockScale, `},
		{`{` + leastConfig + `,"minaExec":"a","minaexec":"b"}`, `"minaExec" is given twice (keep one of them)`},
		{`{` + leastConfig + `,"printRequests":"true"}`, `printRequests is a string, not a boolean (write it without quotes)`},
		{`{` + leastConfig + `,"printRequests":1}`, `printRequests is a number, not a boolean (write true or false)`},
		{`{` + leastConfig + `,"minaExec":["a"]}`, `minaExec is a list, not a string`},
		{`{` + leastConfig + `,"concurrency":0}`, `concurrency is from 1 to 10000, not 0`},
		{`{` + leastConfig + `,"requestTimeoutMs":-1}`, `requestTimeoutMs must be above 0`},
		{`{` + leastConfig + `,"slotDurationMs":-1}`, `slotDurationMs cannot be negative`},
		{`{` + leastConfig + `,"slotDurationMs":9999999999}`, `slotDurationMs is not a whole number`},
		{`{` + leastConfig + `,"clockScale":0}`, `clock scale out of range: 0 is not a number above 0`},
		{`{` + leastConfig + `,"genesisTimestamp":5}`, `genesisTimestamp is a number, not a string`},
		{`{` + leastConfig + `,"keyEnv":"ITN_KEY"}`, `exactly one of key, keyFile and keyEnv gives the ITN key`},
		{`{` + leastConfig + `,"aws":{"region":"r","account_id":"a"}}`, `aws needs prefix`},
		{`{` + leastConfig + `,"snarkPool":"pool.sock"}`, `snarkPool is a string, not an object`},
		{`{` + leastConfig + `,"snarkPool":{}}`, `exactly one of socket and agent says where the agent of snarkPool is (write {"socket": "control.sock"}`},
		{`{` + leastConfig + `,"snarkPool":{"socket":"s","agent":"a:1","keyFile":"k"}}`, `exactly one of socket and agent`},
		{`{` + leastConfig + `,"snarkPool":{"agent":"a:1"}}`, `an agent elsewhere wants signed commands, and keyFile is missing`},
		{`{` + leastConfig + `,"snarkPool":{"socket":"s","keyFile":"k"}}`, `keyFile and caFile are for an agent elsewhere`},
		{`{` + leastConfig + `,"snarkPool":{"sockets":"s"}}`, `snarkPool has no key "sockets" (did you mean "socket"?)`},
		{`{"key":"` + configKey + `"}`, `exactly one of onlineURL and aws says where the list of nodes is`},
		{`{"key":"` + configKey + `","onlineURL":"uptime.example:8080"}`, `the address of the online list is not an http or https URL`},
		{`{"key":"` + configKey[1:] + `","onlineURL":"http://h/"}`, `the ITN key is not the base64 of 32 bytes (a file that holds it goes into keyFile)`},
		{`{"key":7,"onlineURL":"http://h/"}`, `key is a number, not a string`},
		{`{"key":` + configKey + `}`, `this is no JSON value (a string stands in double quotes)`},
		{`{"keyFile":"` + configKey + `","onlineURL":"http://h/"}`, `keyFile is not the name of a file (the key itself goes into key)`},
		{`{"keyEnv":"` + configKey + `","onlineURL":"http://h/"}`, `the environment has no variable "…(masked)" (the key itself goes into key)`},
		{`{"keyEnv":"UNSET","onlineURL":"http://h/"}`, `the environment has no variable "UNSET" (set it, or give the key in key or keyFile)`},
		{`{"` + configKey + `":1,` + leastConfig + `}`, `the configuration has no key "…(masked)"`},
		{`{"genesisTimestamp":"` + configKey + `",` + leastConfig + `}`, `genesisTimestamp is not a time: "…(masked)"`},
		{`{"logLevel":"` + configKey + `",` + leastConfig + `}`, `unknown logLevel "…(masked)"`},
		{`["key"]`, `a list stands where an object should`},
		{``, `the text ends where a JSON value should stand`},
		{`{` + leastConfig + `} {}`, `'{' stands where the end of the text should`},
	} {
		_, err := readConfig(t, test.text)
		var at dsl.Finding
		switch {
		case err == nil:
			t.Errorf("%s: no error", test.text)
		case !errors.As(err, &at):
			t.Errorf("%s: no place in %v", test.text, err)
		case !strings.Contains(err.Error(), test.want):
			t.Errorf("%s:\n%v\nlacks %s", test.text, err, test.want)
		case strings.Contains(err.Error(), configKey[1:12]):
			t.Errorf("%s: the key is shown: %v", test.text, err)
		}
	}
}

// TestConfigTooLarge does not read a file of any size into memory.
func TestConfigTooLarge(t *testing.T) {
	if _, err := readConfig(t, strings.Repeat(" ", 1<<20+1)); err == nil || !strings.Contains(err.Error(), "larger than 1048576 bytes") {
		t.Errorf("a configuration above 1 MiB: %v", err)
	}
}

// TestConfigHidesSecrets prints a configuration in every way that fmt knows.
func TestConfigHidesSecrets(t *testing.T) {
	c := mustReadConfig(t, `{"key":"`+configKey+`","onlineURL":"http://admin:hunter2@h/v1/online","dbUri":"postgres://u:hunter2@db/x"}`)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, value := range []any{c, &c, []orchestrator.Config{c}, struct{ C orchestrator.Config }{c}} {
			if text := fmt.Sprintf(verb, value); strings.Contains(text, configKey) || strings.Contains(text, "hunter2") {
				t.Errorf("%s of %T shows a secret", verb, value)
			}
		}
	}
	if text := fmt.Sprintf("%+v", c); !strings.Contains(text, "MinaExec:mina") {
		t.Errorf("the rest is not shown: %s", text)
	}
	if got, want := c.Network(), "http://h/v1/online"; got != want {
		t.Errorf("the network is %q, want %q", got, want)
	}
}

// TestConfigWarnsOfOverrides warns of a template that gives all nodes one address.
func TestConfigWarnsOfOverrides(t *testing.T) {
	c := mustReadConfig(t, `{`+leastConfig+`,"urlOverrides":["a-{}.example","b.example"]}`)
	want := []string{"urlOverrides has a template without {}: all nodes with ports from 20000 on have one address, b.example"}
	if diff := cmp.Diff(want, c.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// TestConfigAnyCase reads any key in any case.
func TestConfigAnyCase(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		spelling := []byte("controlExec")
		for i := range spelling {
			if rapid.Bool().Draw(rt, "upper") {
				spelling[i] = strings.ToUpper(string(spelling[i]))[0]
			} else {
				spelling[i] = strings.ToLower(string(spelling[i]))[0]
			}
		}
		path := filepath.Join(dir, "config.json")
		if err := os.WriteFile(path, fmt.Appendf(nil, `{%s,%q:"c"}`, leastConfig, spelling), 0o600); err != nil {
			rt.Fatal(err)
		}
		c, err := orchestrator.ReadConfig(path, os.LookupEnv)
		if err != nil || c.ControlExec != "c" {
			rt.Fatalf("%s: %q, %v", spelling, c.ControlExec, err)
		}
	})
}

func TestRecordPath(t *testing.T) {
	began := time.Date(2024, 5, 1, 12, 30, 0, 123_456_000, time.FixedZone("", 7200))
	for _, test := range []struct{ logFile, want string }{
		{"", "run-20240501T103000.123456Z.record"},
		{"run.log", "run-20240501T103000.123456Z.record"},
		{"/var/log/pg/run.log", "/var/log/pg/run-20240501T103000.123456Z.record"},
	} {
		if got := orchestrator.RecordPath(test.logFile, began); got != test.want {
			t.Errorf("beside the log file %q: %s, want %s", test.logFile, got, test.want)
		}
	}
}

// FuzzReadConfig reads anything: an error or a configuration, and never the key in an error.
func FuzzReadConfig(f *testing.F) {
	f.Add(`{` + leastConfig + `}`)
	f.Add(`{"key":` + configKey + `}`)
	f.Add(`{"keyEnv":"` + configKey + `"}`)
	f.Add(`{` + leastConfig + `,"aws":{"prefix":[[[]]]},"clockScale":1e400,"genesisTimestamp":"2024-05-01T10:00:00Z"}`)
	f.Add(`{"onlineURL":"http://[::1","key":"` + configKey + `"}`)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(dir, "config.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := orchestrator.ReadConfig(path, func(string) (string, bool) { return "", false })
		switch {
		case err != nil && strings.Contains(err.Error(), configKey):
			t.Errorf("the key is shown: %v", err)
		case err == nil && (c.Key == "" || c.Concurrency < 1 || c.RequestTimeout <= 0 || (c.OnlineURL == "") == (c.AWS == nil)):
			t.Errorf("taken for right: %v", c)
		}
	})
}
