package standin_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"provingground/internal/clock"
	"provingground/internal/mina"
	"provingground/orchestrator/simnet"
	"provingground/orchestrator/simnet/standin"
)

const aMina = mina.Nanomina(1_000_000_000)

// drawer holds key files in memory.
type drawer map[string][]byte

func (d drawer) Read(path string) ([]byte, error) {
	content, ok := d[path]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return content, nil
}

func (d drawer) Write(path string, content []byte, _ bool) error {
	d[path] = content
	return nil
}

// desk is where the programs are called.
type desk struct {
	testing.TB
	network  *simnet.Network
	clock    *clock.Clock
	controls standin.Controls
	files    drawer
	keys     []mina.PrivateKey
	env      map[string]string
}

// atDesk runs f with a network on a virtual clock, two rich keys and their files.
func atDesk(t *testing.T, f func(d *desk)) {
	t.Helper()
	random := bytes.NewReader(bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7}, 100))
	d := &desk{TB: t, files: drawer{}, env: map[string]string{"MINA_PRIVKEY_PASS": "pw", "ITN_FEATURES": "1"}}
	funded := make(map[mina.PublicKey]mina.Nanomina)
	for i := range 2 {
		key, err := mina.GeneratePrivateKey(random)
		if err != nil {
			t.Fatal(err)
		}
		if err := standin.WriteKey(d.files, fmt.Sprintf("rich-%d", i), key, "pw"); err != nil {
			t.Fatal(err)
		}
		d.keys = append(d.keys, key)
		funded[key.PublicKey()] = 1000 * aMina
	}
	virtual := clock.NewVirtual(time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC))
	virtual.Run(func() {
		network, err := simnet.New(simnet.Options{
			Nodes: 3, Producers: 1, Slot: 10 * time.Second, Clock: virtual.Clock(), KeepJournal: true, Accounts: funded, WalletPassword: "pw",
			ITNKeys: []ed25519.PublicKey{make([]byte, ed25519.PublicKeySize)},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := network.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := network.Stop(); err != nil {
				t.Error(err)
			}
		}()
		d.network, d.clock, d.controls = network, virtual.Clock(), network
		f(d)
	})
}

// mina calls the program with a command line, in which KEY0 and KEY1 stand for the rich public keys.
func (d *desk) mina(ctx context.Context, line string) (code int, stdout, stderr string) {
	d.Helper()
	return d.call(ctx, standin.Mina, line)
}

func (d *desk) call(ctx context.Context, program func(context.Context, standin.Call) int, line string) (code int, stdout, stderr string) {
	d.Helper()
	for i, key := range d.keys {
		line = strings.ReplaceAll(line, fmt.Sprintf("KEY%d", i), key.PublicKey().String())
	}
	var out, errs bytes.Buffer
	code = program(ctx, standin.Call{
		Args: strings.Fields(line), Stdout: &out, Stderr: &errs, Files: d.files, Controls: d.controls, MinFee: simnet.DefaultMinFee,
		Getenv: func(name string) (string, bool) {
			value, set := d.env[name]
			return value, set
		},
	})
	if (code == 0) != (errs.Len() == 0) {
		d.Errorf("%s exits %d and prints %q on standard error", line, code, errs.String())
	}
	for _, key := range d.keys {
		if strings.Contains(out.String()+errs.String(), key.Base58()) {
			d.Errorf("%s prints a private key", line)
		}
	}
	return code, out.String(), errs.String()
}

const create = "advanced itn-create-accounts --amount 100000000007 --fee 1000000000 --num-accounts 10 --key-prefix fund/key --privkey-path rich-0"

func TestCreateAccounts(t *testing.T) {
	atDesk(t, func(d *desk) {
		if code, _, stderr := d.mina(t.Context(), create+" --daemon-port 127.0.0.3:8301"); code != 0 {
			t.Fatal(stderr)
		}
		for i := range 10 {
			path := fmt.Sprintf("fund/key-%d", i)
			key, err := mina.OpenKeyFile(d.files[path], []byte("pw"))
			if err != nil {
				t.Fatal(err)
			}
			if public := string(d.files[path+".pub"]); public != key.PublicKey().String()+"\n" {
				t.Errorf("%s.pub holds %q", path, public)
			}
			if code, stdout, _ := d.mina(t.Context(), "client get-balance --public-key "+key.PublicKey().String()); code != 0 || stdout != "Balance: 9 mina\n" {
				t.Errorf("exits %d, prints %q", code, stdout)
			}
		}
		if _, more := d.files["fund/key-10"]; more {
			t.Error("more files than accounts were written")
		}
		for _, entry := range d.network.History() {
			if fact, ok := entry.Fact.(simnet.FundingStarted); ok && (entry.Node != "127.0.0.3:3086" || fact.Operation != "itn-create-accounts" || fact.NumAccounts != 10) {
				t.Errorf("journal: %+v", entry)
			}
		}
	})
}

func TestCreateAccountsRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		change map[string]string // of the command line
		env    map[string]string
		files  bool // are left behind
	}{
		"no password set":   {env: map[string]string{"ITN_FEATURES": "1"}},
		"wrong password":    {env: map[string]string{"ITN_FEATURES": "1", "MINA_PRIVKEY_PASS": "other"}},
		"no ITN features":   {env: map[string]string{"MINA_PRIVKEY_PASS": "pw"}},
		"fee under minimum": {change: map[string]string{"--fee 1000000000": "--fee 999999"}},
		"missing flag":      {change: map[string]string{"--amount 100000000007": ""}},
		"unknown flag":      {change: map[string]string{"--amount": "--sum"}},
		"no number":         {change: map[string]string{"--amount 100000000007": "--amount 1e11"}},
		"no account":        {change: map[string]string{"--num-accounts 10": "--num-accounts 0"}},
		"no key file":       {change: map[string]string{"rich-0": "poor-0"}},
		"stray argument":    {change: map[string]string{"rich-0": "rich-0 stray"}},
		"bad port":          {change: map[string]string{"rich-0": "rich-0 --daemon-port host"}},
		// What is found out only with the daemon leaves files that own nothing.
		"more than the balance": {change: map[string]string{"100000000007": "999000000000"}, files: true},
		"unknown host":          {change: map[string]string{"rich-0": "rich-0 --daemon-port 10.0.0.1:8301"}, files: true},
	} {
		t.Run(name, func(t *testing.T) {
			atDesk(t, func(d *desk) {
				if test.env != nil {
					d.env = test.env
				}
				line := create
				for old, changed := range test.change {
					line = strings.ReplaceAll(line, old, changed)
				}
				if code, _, stderr := d.mina(t.Context(), line); code != 1 || stderr == "" {
					t.Errorf("exits %d with %q", code, stderr)
				}
				if _, left := d.files["fund/key-0"]; left != test.files {
					t.Errorf("key files were left behind: %v, want %v", left, test.files)
				}
				for _, entry := range d.network.History() {
					if _, ok := entry.Fact.(simnet.CommandSent); ok {
						t.Errorf("something was sent: %+v", entry)
					}
				}
			})
		})
	}
}

func TestRotation(t *testing.T) {
	atDesk(t, func(d *desk) {
		pay := "client send-payment --sender KEY0 --receiver KEY1 --amount 100.5 --fee 2 --memo rotation --rest-server "
		if code, _, stderr := d.mina(t.Context(), pay+"http://127.0.0.2:3085"); code != 1 || !strings.Contains(stderr, "locked") {
			t.Errorf("paying from a locked account exits %d with %q", code, stderr)
		}
		if code, _, stderr := d.mina(t.Context(), "accounts unlock --public-key KEY0 --rest-server 3085"); code != 0 {
			t.Errorf("unlocking: %s", stderr)
		}
		if code, _, stderr := d.mina(t.Context(), pay+"127.0.0.2:3085"); code != 0 {
			t.Errorf("paying: %s", stderr)
		}
		if err := d.clock.Sleep(t.Context(), 2*time.Minute); err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string]string{"KEY0": "Balance: 897.5 mina\n", "KEY1": "Balance: 1100.5 mina\n"} {
			if code, stdout, _ := d.mina(t.Context(), "client get-balance --public-key "+key+" --rest-server http://127.0.0.4:3085"); code != 0 || stdout != want {
				t.Errorf("%s: exits %d, prints %q", key, code, stdout)
			}
		}
		d.env["MINA_PRIVKEY_PASS"] = "wrong"
		for _, line := range []string{
			"accounts unlock --public-key KEY1", "accounts unlock --public-key nonsense", "accounts unlock", "client get-balance --public-key KEY0 --rest-server http://",
			"client get-balance --public-key KEY0 --rest-server 127.0.0.99:3085", "client send-payment --sender KEY0", "client stop-daemon", "", "advanced",
			strings.ReplaceAll(pay, "100.5", "100.5555555555"),
		} {
			if code, _, _ := d.mina(t.Context(), line); code != 1 {
				t.Errorf("%q exits %d", line, code)
			}
		}
	})
}

func TestControl(t *testing.T) {
	atDesk(t, func(d *desk) {
		if code, _, stderr := d.call(t.Context(), standin.Control, "restart 127.0.0.2"); code != 0 {
			t.Errorf("restart: %s", stderr)
		}
		if code, _, stderr := d.call(t.Context(), standin.Control, "redeploy 127.0.0.3"); code != 0 {
			t.Errorf("redeploy: %s", stderr)
		}
		if diff := cmp.Diff([]string{"127.0.0.2:3086", "127.0.0.3:3086"}, d.network.History().Down()); diff != "" {
			t.Errorf("down (-want +got):\n%s", diff)
		}
		for _, line := range []string{"restart 10.0.0.1", "restart", "start 127.0.0.2", ""} {
			if code, _, _ := d.call(t.Context(), standin.Control, line); code != 1 {
				t.Errorf("%q exits %d", line, code)
			}
		}
	})
}

// Through the control socket the programs do the same.
func TestControlSocket(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	path := filepath.Join(t.TempDir(), "control.sock")
	network, err := simnet.New(simnet.Options{
		Nodes: 2, KeepJournal: true, WalletPassword: "pw", ITNKeys: []ed25519.PublicKey{make([]byte, ed25519.PublicKeySize)},
		Accounts: map[mina.PublicKey]mina.Nanomina{richKey(t).PublicKey(): 1000 * aMina},
	})
	if err != nil {
		t.Fatal(err)
	}
	server, err := standin.Serve(t.Context(), path, network)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has the mode %v (%v)", info.Mode(), err)
	}
	d := &desk{TB: t, network: network, controls: standin.Dial(path), files: drawer{}, keys: []mina.PrivateKey{richKey(t)}, env: map[string]string{
		"MINA_PRIVKEY_PASS": "pw", "ITN_FEATURES": "1",
	}}
	if err := standin.WriteKey(d.files, "rich-0", richKey(t), "pw"); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"client get-balance --public-key KEY0 --rest-server 127.0.0.3:1": "Balance: 1000 mina\n",
		"accounts unlock --public-key KEY0":                              "Unlocked account!\nPublic key: KEY0\n",
	} {
		if code, stdout, stderr := d.mina(t.Context(), line); code != 0 || strings.ReplaceAll(stdout, d.keys[0].PublicKey().String(), "KEY0") != want {
			t.Errorf("%s exits %d, prints %q and %q", line, code, stdout, stderr)
		}
	}
	if code, _, stderr := d.mina(t.Context(), "client send-payment --sender KEY0 --receiver KEY0 --amount 1 --fee 1"); code != 0 {
		t.Error(stderr)
	}
	if code, _, stderr := d.mina(t.Context(), strings.ReplaceAll(create, "100000000007", "9990000000000")); code != 1 || !strings.Contains(stderr, "Insufficient funds") {
		t.Errorf("exits %d: %s", code, stderr)
	}
	// A caller that goes away leaves no further funding behind it.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	go func() {
		code, _, _ := d.mina(ctx, create)
		done <- code
	}()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for len(facts[simnet.FundingStarted](network.History())) != 1 {

		<-ticker.C
	}
	cancel()
	if code := <-done; code != 1 {
		t.Errorf("an interrupted run exits %d", code)
	}
	if code, _, stderr := d.call(t.Context(), standin.Control, "restart 127.0.0.3"); code != 0 {
		t.Error(stderr)
	}
	if code, _, stderr := d.call(t.Context(), standin.Control, "restart 127.0.0.99"); code != 1 || !strings.Contains(stderr, "127.0.0.99") {
		t.Errorf("exits %d: %s", code, stderr)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if code, _, stderr := d.call(t.Context(), standin.Control, "restart 127.0.0.2"); code != 1 || !strings.Contains(stderr, "still running") {
		t.Errorf("without a network exits %d: %s", code, stderr)
	}
	if _, err := standin.Serve(t.Context(), filepath.Join(t.TempDir(), strings.Repeat("x", 120)), network); err == nil {
		t.Error("a path that no socket can have was taken")
	}
}

func facts[F simnet.Fact](h simnet.History) (found []F) {
	for _, entry := range h {
		if fact, ok := entry.Fact.(F); ok {
			found = append(found, fact)
		}
	}
	return found
}

func richKey(t testing.TB) mina.PrivateKey {
	t.Helper()
	key, err := mina.GeneratePrivateKey(bytes.NewReader(bytes.Repeat([]byte{9}, 1000)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestKeyFilesOnDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "key-0")
	if err := standin.WriteKey(standin.Disk{}, path, richKey(t), ""); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{path: 0o600, path + ".pub": 0o644, filepath.Dir(path): fs.ModeDir | 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode() != mode {
			t.Errorf("%s has the mode %v (%v), want %v", name, info.Mode(), err, mode)
		}
	}
	content, err := standin.Disk{}.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := mina.OpenKeyFile(content, nil); err != nil || key != richKey(t) {
		t.Errorf("the key file does not hold the key (%v)", err)
	}
}
