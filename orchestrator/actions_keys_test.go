package orchestrator_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"provingground/orchestrator"
	"provingground/orchestrator/simnet"
)

func TestLoadKeys(t *testing.T) {
	var public []string
	n := newNetwork(t, func(o *simnet.Options) {
		o.Nodes, o.Producers = 2, 1
		public = fundedKeys(t, o, "keys", 3)
		for i, key := range newKeys(t, 2) {
			o.Accounts[key.PublicKey()] = rich
			writeKey(t, fmt.Sprintf("secret/key-%d", i), key, "correct horse")
		}
	})
	// In the order of names: key-00, key-01, key-010, key-02.
	extra := newKeys(t, 1)[0]
	writeKey(t, "keys/key-010", extra, "")
	// What lies beside keys and is none, by its name or by its content.
	writeKey(t, "keys/key-00a.pub", extra, "")
	writeFile(t, "keys/README", "the keys of the last experiment")
	writeFile(t, "keys/.hidden", "{")
	if err := os.MkdirAll("keys/key-00-old", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(syscall.Mkfifo("keys/key-00-pipe", 0o600), os.Symlink("key-00-old", "keys/key-00-link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir("empty", 0o700); err != nil {
		t.Fatal(err)
	}
	// load schedules payments by the keys that a directory gives, and returns the public keys that the node got.
	load := func(t *testing.T, p params) (ending, []string) {
		t.Helper()
		e := n.run(script(
			step("load-keys", p),
			step("payments", somePayments().with(params{"feePayers": output(0, "key"), "nodes": n.Nodes()[:1]})),
			step("stop", params{"receipts": output(1, "receipt")}),
		)).mustEnd(t, orchestrator.CodeOK)
		if leaked := regexp.MustCompile(`EK[0-9A-Za-z]+`).FindString(e.out + e.log); leaked != "" {
			t.Errorf("a private key is in the output or the log: %.6s", leaked)
		}
		mustEqual(t, "printed keys", 0, len(e.outputs(t, 0, "key")))
		schedules := n.History().Schedules()
		return e, schedules[len(schedules)-1].Senders
	}

	t.Run("in the order of names", func(t *testing.T) {
		if err := os.Remove("keys/key-010"); err != nil { // it has no account
			t.Fatal(err)
		}
		e, senders := load(t, params{"dir": "keys"})
		mustEqual(t, "keys", public, senders)
		mustSay(t, e.log, "not a key file, left out", "README")
		if strings.Contains(e.log, ".pub") {
			t.Errorf("public keys beside the private ones are worth a word:\n%s", e.log)
		}
		writeKey(t, "keys/key-010", extra, "")
	})
	t.Run("no more than the limit", func(t *testing.T) {
		_, senders := load(t, params{"dir": "keys", "limit": 2})
		mustEqual(t, "keys", public[:2], senders)
	})
	t.Run("behind links", func(t *testing.T) {
		if err := errors.Join(os.Mkdir("links", 0o700), os.Symlink("../keys/key-01", "links/a"), os.Symlink("../keys/key-00", "links/b")); err != nil {
			t.Fatal(err)
		}
		_, senders := load(t, params{"dir": "links"})
		mustEqual(t, "keys", []string{public[1], public[0]}, senders)
	})
	t.Run("with a password", func(t *testing.T) {
		e, senders := load(t, params{"dir": "secret", "passwordEnv": "PASS"})
		mustEqual(t, "number of keys", 2, len(senders))
		if strings.Contains(e.out+e.log, "correct horse") {
			t.Error("the password is in the output")
		}
	})
	t.Run("with the empty password", func(t *testing.T) {
		_, senders := load(t, params{"dir": "keys", "limit": 1, "passwordEnv": "PW"})
		mustEqual(t, "keys", public[:1], senders)
	})

	for name, test := range map[string]struct {
		params params
		want   []string
	}{
		"a variable that is not set (D48)": {params{"dir": "keys", "passwordEnv": "ABSENT"}, []string{`no variable "ABSENT"`}},
		"a wrong password":                 {params{"dir": "keys", "passwordEnv": "PASS"}, []string{"key-00", "key-01", "key-010", "key-02"}},
		"a password that is missing":       {params{"dir": "secret"}, []string{"secret/key-0", "secret/key-1"}},
		"a directory that is missing":      {params{"dir": "absent"}, []string{"absent"}},
		"a directory without keys":         {params{"dir": "empty"}, []string{"no key file in empty"}},
		"a directory that is a file":       {params{"dir": "keys/README"}, []string{"keys/README"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := n.run(step("load-keys", test.params)).mustEnd(t, orchestrator.CodeStep)
			mustSay(t, e.Err.Error(), test.want...)
		})
	}
	for name, content := range map[string]string{
		"empty":            "",
		"cut off":          `{"box_primitive":"xsalsa20poly1305","pw_primitive":"argon2i","nonce":"8jGuTAxw3zx`,
		"of other content": `{"nodes": 5}`,
	} {
		t.Run("a damaged file, "+name, func(t *testing.T) {
			writeText(t, "keys/key-99", content)
			e := n.run(step("load-keys", params{"dir": "keys"})).mustEnd(t, orchestrator.CodeStep)
			mustSay(t, e.Err.Error(), "key-99")
			load(t, params{"dir": "keys", "limit": 2}) // beyond the limit it does not matter (D15)
		})
	}
	t.Run("a negative limit", func(t *testing.T) {
		mustSay(t, n.findings(step("load-keys", params{"dir": "keys", "limit": -1})), "limit cannot be negative")
	})
}
