package orchestrator_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"provingground/dsl"
	"provingground/internal/mina"
	"provingground/internal/redact"
	"provingground/orchestrator"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/simnet"
)

// password has characters that JSON and Go write differently inside quotes.
const password = `correct "horse" \ battery <staple>`

// secrets are what must be in no text that a run shows, by what they are.
type secrets struct {
	mu    sync.Mutex
	known map[string]string // the secret, and what it is
}

func (s *secrets) add(what string, values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, value := range values {
		s.known[value] = what
	}
}

// in returns what of the secrets is in a text, in any of the ways in which a program may write it.
func (s *secrets) in(text string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []string
	for secret, what := range s.known {
		quoted, _ := json.Marshal(secret)
		once := string(quoted[1 : len(quoted)-1])
		quoted, _ = json.Marshal(once)
		for _, spelling := range []string{
			secret, once, string(quoted[1 : len(quoted)-1]), strings.Trim(fmt.Sprintf("%q", secret), `"`), fmt.Sprintf("%x", secret),
			base64.StdEncoding.EncodeToString([]byte(secret)),
		} {
			if strings.Contains(text, spelling) {
				found = append(found, what)
				break
			}
		}
	}
	return found
}

// mustNotBeIn fails the test if a text holds a secret.
func (s *secrets) mustNotBeIn(t *testing.T, where, text string) {
	t.Helper()
	if found := s.in(text); len(found) > 0 {
		t.Errorf("%s shows %v:\n%.2000s", where, found, text)
	}
}

// addKeyFiles adds the private keys of the key files in a directory.
func (s *secrets) addKeyFiles(t *testing.T, dir, password string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, file := range files {
		if strings.HasSuffix(file, ".pub") {
			continue
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		key, err := mina.OpenKeyFile(content, []byte(password))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		s.add("a private key of "+dir, key.Base58())
		count++
	}
	if count == 0 {
		t.Fatalf("no key file in %s", dir)
	}
}

// talkative are programs that print the password that they are given, and fail where they are told to.
type talkative struct {
	orchestrator.Programs
	failing string // in the arguments
}

func (p talkative) Run(ctx context.Context, c orchestrator.Command) error {
	for _, variable := range c.Env {
		if value, ok := strings.CutPrefix(variable, "MINA_PRIVKEY_PASS="); ok {
			c.Line("Using password "+value+" from the environment", true)
			c.Line(fmt.Sprintf("debug: env %q", c.Env), false)
			if strings.Contains(strings.Join(c.Args, " "), p.failing) {
				return &orchestrator.ExitError{Program: "mina", Code: 1, Last: "the password " + value + " opens nothing"}
			}
		}
	}
	return p.Programs.Run(ctx, c)
}

// signature finds the signature in an Authorization header.
var signature = regexp.MustCompile(`^Signature \S+ (\S+)`)

// shown is everything that a run shows, by where.
type shown map[string]string

// runInSecret runs a script as the command does, at debug level with printRequests; masks say whether what leaves the process is masked.
func (n *network) runInSecret(t *testing.T, text string, s *secrets, masks bool, failing string) (ending, shown) {
	t.Helper()
	redactor := &redact.Redactor{}
	redactor.Add(n.seed)
	mask := redactor.Text
	if !masks {
		mask = func(text string) string { return text }
	}
	log, raw, console := &safeBuffer{}, &safeBuffer{}, &safeBuffer{}
	encoder := zapcore.NewJSONEncoder(zap.NewDevelopmentEncoderConfig())
	sink := zapcore.AddSync(writerFunc(func(p []byte) (int, error) { return log.Write([]byte(mask(string(p)))) }))
	logger := zap.New(zapcore.NewTee(zapcore.NewCore(encoder, sink, zap.DebugLevel), zapcore.NewCore(encoder, zapcore.AddSync(raw), zap.DebugLevel)))
	masked := redactor.Writer(console)
	e := n.try(text, trial{
		world: func(w *orchestrator.World) {
			w.Log, w.Console, w.Programs = logger, masked, talkative{w.Programs, failing}
			w.Shown = logger
			w.Hide, w.Mask = redactor.Add, mask
			if !masks {
				w.Console = console
			}
			key, err := itn.ParseKey(n.config.Key)
			if err != nil {
				t.Fatal(err)
			}
			transport := itn.NewTransport()
			t.Cleanup(transport.CloseIdleConnections)
			w.Dial = func(address string) *itn.Client {
				return itn.New(address, key, itn.Options{
					Transport: meddler{transport, func(x exchange) (*http.Response, error) {
						if parts := signature.FindStringSubmatch(x.Header.Get("Authorization")); parts != nil {
							s.add("a signature", parts[1])
						} else {
							t.Errorf("no signature in the header of %s", x.operation)
						}
						return x.pass()
					}}, RequestTimeout: n.config.RequestTimeout, Logger: logger, LogRequests: true,
				})
			}
		},
	})
	if err := masked.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(e.path)
	if err != nil {
		t.Fatal(err)
	}
	all := shown{
		"standard output": e.out, "the record": string(file), "the log": log.String(), "the log before it is masked": raw.String(), "the console": console.String(),
		"the result": fmt.Sprintf("%v\n%+v\n%#v", e.Result, e.Result, e.Result),
	}
	if e.Err != nil {
		all["the error"] = fmt.Sprintf("%v\n%+v\n%#v\n%q", e.Err, e.Err, e.Err, e.Err)
	}
	for _, left := range e.Remains {
		all["what remains"] += left.String() + "\n"
	}
	return e, all
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestNoSecretIsShown runs what has to do with secrets, some of it to its failure: key files under a password, executables that print it,
// and nodes that quote private keys in their errors. Nothing of it is in anything that the run shows (D28).
func TestNoSecretIsShown(t *testing.T) {
	n, pubkeys := newLoadNetwork(t, 6, func(o *simnet.Options) {
		faulty(t, "quote-key:127.0.0.3; quote-key:*/scheduleZkappCommands; lose-reply:127.0.0.4/schedulePayments#1", 2)(o)
		locked := newKeys(t, 1)[0]
		writeKey(t, "locked/key", locked, password)
		o.Accounts[locked.PublicKey()] = rich
		o.WalletPassword = password
	})
	n.env["SECRET"] = password
	n.config.PrintRequests, n.config.LogLevel = true, "debug"
	s := &secrets{known: map[string]string{}}
	s.add("the ITN key", n.seed)
	s.add("the password", password)
	s.addKeyFiles(t, "keys", "")
	s.addKeyFiles(t, "locked", password)
	s.addKeyFiles(t, "private-keys", "")

	fund := step("fund-keys", params{
		"amount": 40_000_000_000, "fee": 1_000_000, "prefix": "made/key", "num": 2, "privkeys": []string{"locked/key"}, "passwordEnv": "SECRET",
	})
	load := script(discoverAndLoadKeys(), step("load-keys", params{"dir": "made", "passwordEnv": "SECRET"}), paymentsOn(nil))
	rotate := step("rotate-balance", params{
		"pubkeys": pubkeys[:2], "servers": []string{"", ""}, "mapping": []int{1, 0}, "ratio": 0.5, "passwordEnv": "SECRET",
	})
	zkapps := step("zkapp-txs", someZkapps().with(params{"feePayers": output(2, "key")}))
	for _, test := range []struct {
		name, text string
		failing    string
		code       int
		said       string // must have happened, or the test tests nothing
		where      string
	}{
		{"funding", fund, "nothing", orchestrator.CodeOK, "Using password ***", "the console"},
		{"load", load, "nothing", orchestrator.CodeOK, "Cannot schedule with the key EK…(masked)", "the log"},
		{"a program fails", script(load, rotate), "get-balance", orchestrator.CodeStep, "the password *** opens nothing", "the error"},
		{"a program fails for one", script(load, rotate, failing()), "--sender " + pubkeys[0], orchestrator.CodeStep, "the password *** opens nothing", "the log"},
		{"nodes refuse", script(load, zkapps), "nothing", orchestrator.CodeStep, "EK…(masked)", "the record"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e, all := n.runInSecret(t, test.text, s, true, test.failing)
			e.mustEnd(t, test.code)
			if test.name == "funding" {
				s.addKeyFiles(t, "made", password)
			}
			mustSay(t, all[test.where], test.said)
			for where, text := range all {
				s.mustNotBeIn(t, where, text)
			}
			n.try(step("stop-all-scheduled", params{"nodes": n.Nodes()[:4]}), trial{})
		})
	}
	for _, what := range []string{"a signature", "a private key of keys", "a private key of made", "a private key of locked", "the password", "the ITN key"} {
		if !slicesContainsValue(s.known, what) {
			t.Errorf("the test does not know %s", what)
		}
	}

	// That the search finds what there is: the same without masks, and each secret in a text around it.
	_, all := n.runInSecret(t, script(load, rotate), s, false, "get-balance")
	for _, where := range []string{"the error", "the console", "the log"} {
		if len(s.in(all[where])) == 0 {
			t.Errorf("without masks %s shows no secret: the search finds nothing\n%s", where, all[where])
		}
	}
	for secret, what := range s.known {
		for _, text := range []string{secret, "x" + secret + "y", fmt.Sprintf("%q", secret), fmt.Sprintf("%x", secret)} {
			if found := s.in(text); len(found) == 0 {
				t.Errorf("%s is not found in %q", what, text)
			}
		}
	}
}

func slicesContainsValue(known map[string]string, what string) bool {
	for _, is := range known {
		if is == what {
			return true
		}
	}
	return false
}

// TestKeyFilesThatCannotBeOpened: what is wrong is said, with the file, and neither key nor password (D15, D47, D48).
func TestKeyFilesThatCannotBeOpened(t *testing.T) {
	n := newNetwork(t, nil)
	keys := newKeys(t, 3)
	s := &secrets{known: map[string]string{}}
	s.add("the ITN key", n.seed)
	s.add("the right password", password)
	s.add("the wrong password", "a wrong password")
	for _, key := range keys {
		s.add("a private key", key.Base58())
	}
	n.env["SECRET"], n.env["WRONG"] = password, "a wrong password"
	writeKey(t, "locked/key-0", keys[0], password)
	writeKey(t, "locked/key-1", keys[1], password)
	writeKey(t, "dangling/key-0", keys[0], "")
	if err := os.Symlink("nowhere", "dangling/key-1"); err != nil {
		t.Fatal(err)
	}
	writeKey(t, "damaged/key-0", keys[0], "")
	writeKey(t, "naked/key-0", keys[0], "")
	for path, text := range map[string]string{
		"damaged/key-1": `{"box_primitive":"xsalsa20poly1305","pw_primitive":"argon2i","nonce":"` + keys[1].Base58() + `"}`,
		"damaged/key-2": `{"` + keys[1].Base58(),
		"naked/key-1":   keys[2].Base58() + "\n", // not a key file, but a key
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		load params
		code int
		said []string
	}{
		"wrong password":         {params{"dir": "locked", "passwordEnv": "WRONG"}, orchestrator.CodeStep, []string{"locked/key-0", "locked/key-1", "password"}},
		"no password":            {params{"dir": "locked"}, orchestrator.CodeStep, []string{"locked/key-0", "locked/key-1"}},
		"the variable is unset":  {params{"dir": "locked", "passwordEnv": "UNSET"}, orchestrator.CodeStep, []string{`"UNSET"`}},
		"cannot be read":         {params{"dir": "dangling"}, orchestrator.CodeStep, []string{"dangling/key-1"}},
		"damaged":                {params{"dir": "damaged"}, orchestrator.CodeStep, []string{"damaged/key-1", "damaged/key-2"}},
		"a key in place of file": {params{"dir": "naked"}, orchestrator.CodeOK, nil},
		"the right password":     {params{"dir": "locked", "passwordEnv": "SECRET"}, orchestrator.CodeOK, nil},
	} {
		t.Run(name, func(t *testing.T) {
			e, all := n.runInSecret(t, step("load-keys", test.load), s, true, "nothing")
			e.mustEnd(t, test.code)
			if e.Err != nil {
				mustSay(t, e.Err.Error(), test.said...)
			}
			for where, text := range all {
				s.mustNotBeIn(t, where, text)
			}
		})
	}
}

// TestKeysInTheScript: private keys that a script spells out are in no finding, no plan and no record.
func TestKeysInTheScript(t *testing.T) {
	n, _ := newLoadNetwork(t, 1, nil)
	s := &secrets{known: map[string]string{}}
	var texts []string
	for _, key := range newKeys(t, 2) {
		texts = append(texts, key.Base58())
		s.add("a private key", key.Base58())
	}
	good := somePayments().with(params{"feePayers": texts, "nodes": n.Nodes()})
	for name, wrong := range map[string]params{
		"an unknown parameter":    good.with(params{"receiverr": "x"}),
		"a key in a wrong place":  good.with(params{"receiver": texts[0]}),
		"a key as a number":       good.with(params{"amount": texts[0]}),
		"a key as the name":       good.with(params{"experimentName": texts[0]}),
		"a broken key":            good.with(params{"feePayers": []string{texts[0], texts[1][:len(texts[1])-1] + "0"}}),
		"a key that is cut":       good.with(params{"feePayers": []string{texts[0][:45]}}),
		"a key as a parameter":    good.with(params{texts[0]: 1}),
		"a key as a list of keys": good.with(params{"feePayers": texts[0]}),
	} {
		t.Run(name, func(t *testing.T) {
			parsed, err := dsl.ReadJSON("test", strings.NewReader(step("payments", wrong)))
			if err != nil {
				t.Fatal(err)
			}
			plan, found := orchestrator.Compile(parsed, orchestrator.CompileOptions{Config: &n.config})
			for _, format := range []dsl.Format{dsl.AsText, dsl.AsJSON, dsl.AsGitHub} {
				var text strings.Builder
				if err := found.Write(&text, format); err != nil {
					t.Fatal(err)
				}
				s.mustNotBeIn(t, string(format), text.String())
			}
			for _, f := range found {
				s.mustNotBeIn(t, "the finding as an error", f.Error())
			}
			if plan == nil {
				return
			}
			e := n.try(step("payments", wrong), trial{})
			s.mustNotBeIn(t, "standard output", e.out)
			s.mustNotBeIn(t, "the log", e.log)
			if e.Err != nil {
				s.mustNotBeIn(t, "the error", e.Err.Error())
			}
		})
	}
	plan := n.compile(step("payments", good))
	forecast, err := plan.Forecast(&n.config, 0)
	if err != nil {
		t.Fatal(err)
	}
	for what, write := range map[string]func(*strings.Builder) error{
		"the plan as text": func(b *strings.Builder) error { return forecast.WriteText(b) },
		"the plan as JSON": func(b *strings.Builder) error { return forecast.WriteJSON(b) },
	} {
		var text strings.Builder
		if err := write(&text); err != nil {
			t.Fatal(err)
		}
		s.mustNotBeIn(t, what, text.String())
	}
	s.mustNotBeIn(t, "the plan in Go", fmt.Sprintf("%v", plan))
}
