// Package workdir writes the directory that makes a simulated network usable by programs that know nothing of it:
//
//	config.json          configuration of the orchestrator
//	itn-key, fetcher-key seeds of the ITN keys that the nodes accept, one for each program that speaks to them
//	private-keys/key-0…  key files of rich accounts, and their .pub files
//	uptime.json          configuration of an uptime service that admits the nodes
//	bin/mina             stand-in for the mina executable
//	bin/control          stand-in for the control program
//	control.sock         by which the stand-ins reach the network (made by standin.Serve)
//	journal.jsonl        the ground-truth journal
package workdir

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"provingground/internal/mina"
	"provingground/orchestrator/simnet/standin"
)

// Dir is the directory of one simulated network. All paths in it are absolute.
type Dir struct {
	path     string
	password string
	keys     []mina.PrivateKey
	itn      []ed25519.PrivateKey
}

// itnKeyNames are the files of the ITN keys.
func itnKeyNames() []string { return []string{"itn-key", "fetcher-key"} }

// New makes the directory with the keys of so many accounts, sealed with a password. The accounts' keys come from the seed, so that the same
// seed makes the same network; the ITN keys are drawn anew each time. It refuses a directory that holds a network's files already.
func New(path string, accounts int, password string, seed uint64) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("the directory %s: %w", path, err)
	}
	d := &Dir{path: path, password: password}
	for _, name := range []string{d.Config(), d.Journal(), d.Socket()} {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is in the way: the directory holds an earlier simulated network; choose another directory, or remove this one if nothing in it is needed any more", name)
		}
	}
	for _, sub := range []string{"", "private-keys", "bin"} {
		if err := os.MkdirAll(d.file(sub), 0o700); err != nil {
			return nil, fmt.Errorf("making the directory: %w", err)
		}
	}
	var start [32]byte
	copy(start[:], "funded accounts")
	binary.LittleEndian.PutUint64(start[24:], seed)
	random := mathrand.NewChaCha8(start)
	for i := range accounts {
		key, err := mina.GeneratePrivateKey(random)
		if err != nil {
			return nil, fmt.Errorf("making a key: %w", err)
		}
		if err := standin.WriteKey(standin.Disk{}, d.file("private-keys", fmt.Sprintf("key-%d", i)), key, password); err != nil {
			return nil, err
		}
		d.keys = append(d.keys, key)
	}
	for _, name := range itnKeyNames() {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("making an ITN key: %w", err)
		}
		if err := os.WriteFile(d.file(name), []byte(base64.StdEncoding.EncodeToString(key.Seed())+"\n"), 0o600); err != nil {
			return nil, fmt.Errorf("writing an ITN key: %w", err)
		}
		d.itn = append(d.itn, key)
	}
	return d, nil
}

func (d *Dir) file(names ...string) string {
	return filepath.Join(append([]string{d.path}, names...)...)
}

// Config is the path of the orchestrator's configuration.
func (d *Dir) Config() string { return d.file("config.json") }

// Journal is the path of the ground-truth journal.
func (d *Dir) Journal() string { return d.file("journal.jsonl") }

// Socket is the path of the control socket.
func (d *Dir) Socket() string { return d.file("control.sock") }

// Uptime is the path of the uptime service's configuration.
func (d *Dir) Uptime() string { return d.file("uptime.json") }

// Discard removes what keeps New from using the directory again, after a network that never came to life.
func (d *Dir) Discard() error {
	var errs []error
	for _, name := range []string{d.Config(), d.Journal(), d.Socket()} {
		if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// ITNKeys returns the public halves of the ITN keys.
func (d *Dir) ITNKeys() []ed25519.PublicKey {
	keys := make([]ed25519.PublicKey, 0, len(d.itn))
	for _, key := range d.itn {
		public, _ := key.Public().(ed25519.PublicKey)
		keys = append(keys, public)
	}
	return keys
}

// Accounts returns the accounts of the key files, each with a balance.
func (d *Dir) Accounts(balance mina.Nanomina) map[mina.PublicKey]mina.Nanomina {
	accounts := make(map[mina.PublicKey]mina.Nanomina, len(d.keys))
	for _, key := range d.keys {
		accounts[key.PublicKey()] = balance
	}
	return accounts
}

// Network is what the written files say of the running network.
type Network struct {
	Executable string // that plays the stand-ins, called as: EXECUTABLE stand-in PROGRAM SOCKET ARGUMENT…
	OnlineURL  string
	Slot       time.Duration
	Genesis    time.Time
	ClockScale float64
	Hosts      []string // of nodes whose client ports take funding orders
	Submitters []mina.PublicKey
}

// uptime is the configuration of an uptime service. A network whose time runs fast reports more often than such a service takes it from a key by itself.
func (n Network) uptime(whitelist []string) map[string]any {
	const (
		reportSlots  = 5   // between two reports of a node (uptime, section 1)
		usualPerHour = 120 // what a service takes of one key (uptime, section 4)
	)
	config := map[string]any{"in_memory": true, "whitelist": whitelist}
	perHour := time.Hour.Seconds() * n.ClockScale / (reportSlots * n.Slot.Seconds())
	if enough := math.Ceil(2 * perHour); enough > usualPerHour { // twice: a node reports after a restart, too
		config["requests_per_pk_hourly"] = int(enough)
	}
	return config
}

// Write writes the files that speak of the running network.
func (d *Dir) Write(network Network) error {
	ports := make([]string, 0, len(network.Hosts))
	for _, host := range network.Hosts {
		ports = append(ports, host+":8301")
	}
	whitelist := make([]string, 0, len(network.Submitters))
	for _, key := range network.Submitters {
		whitelist = append(whitelist, key.String())
	}
	return errors.Join(
		d.writeJSON(d.Config(), map[string]any{
			"keyFile":          d.file(itnKeyNames()[0]),
			"onlineURL":        network.OnlineURL,
			"slotDurationMs":   network.Slot.Milliseconds(),
			"genesisTimestamp": network.Genesis.UTC().Format(time.RFC3339Nano),
			"clockScale":       network.ClockScale,
			"minaExec":         d.file("bin", "mina"),
			"controlExec":      d.file("bin", "control"),
			"fundDaemonPorts":  ports,
		}),
		d.writeJSON(d.Uptime(), network.uptime(whitelist)),
		d.writeProgram("mina", network.Executable),
		d.writeProgram("control", network.Executable),
	)
}

func (d *Dir) writeJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.WriteFile(path, append(text, '\n'), 0o644) //nolint:gosec // holds no secret; the error names the path
}

// writeProgram writes a stand-in: a script, so that it is one file whatever the executable is called.
func (d *Dir) writeProgram(name, executable string) error {
	script := fmt.Sprintf("#!/bin/sh\nexec %s stand-in %s %s \"$@\"\n", quote(executable), name, quote(d.Socket()))
	return os.WriteFile(d.file("bin", name), []byte(script), 0o755) //nolint:gosec // has to be executable; the error names the path
}

// quote makes one word of the shell of a text.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
