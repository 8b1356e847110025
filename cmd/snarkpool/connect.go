//go:build linux

package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"provingground/cmd/internal/boot"
	"provingground/snarkpool/control"
)

// socketName is what the socket is called in the state directory.
const socketName = "control.sock"

// state returns the agent's state directory.
func (c call) state() (string, error) {
	if c.stateDir != "" {
		return filepath.Abs(c.stateDir)
	}
	if os.Geteuid() == 0 {
		return "/var/lib/snarkpool", nil
	}
	if home := c.env("XDG_STATE_HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, "snarkpool"), nil
	}
	home := c.env("HOME")
	if home == "" {
		return "", boot.Usagef("there is neither HOME nor XDG_STATE_HOME: name the state directory with -state")
	}
	return filepath.Join(home, ".local", "state", "snarkpool"), nil
}

// socketPath returns the path of the agent's socket.
func (c call) socketPath() (string, error) {
	if c.socket != "" {
		return c.socket, nil
	}
	state, err := c.state()
	return filepath.Join(state, socketName), err
}

// connectingOnly is connecting without the state directory, for verbs that have it already.
func connectingOnly(o *options, set *flag.FlagSet) {
	whole := flag.NewFlagSet("", flag.ContinueOnError)
	connecting(o, whole)
	for _, name := range []string{"socket", "agent", "key", "ca"} {
		f := whole.Lookup(name)
		set.Var(f.Value, f.Name, f.Usage)
	}
}

// socketed is the socket alone, for the agent.
func socketed(o *options, set *flag.FlagSet) {
	set.StringVar(&o.socket, "socket", "", "`PATH` of the socket to listen on; default control.sock in the state directory")
}

// named tells whether an agent was named on the command line, where a verb also works without one.
func (c call) named() bool { return c.given["socket"] || c.given["agent"] }

const (
	maxKeyFile = 4 << 10 // bytes
	maxCAFile  = 4 << 20
)

// connect returns a client of the agent that the options name. Close it.
func (c call) connect() (*control.Client, error) {
	if c.agent == "" {
		for _, name := range []string{"key", "ca"} {
			if c.given[name] {
				return nil, boot.Usagef("-%s is for an agent elsewhere: name it with -agent HOST:PORT", name)
			}
		}
		path, err := c.socketPath()
		if err != nil {
			return nil, err
		}
		return control.NewLocal(path), nil
	}
	if c.given["socket"] {
		return nil, boot.Usagef("-agent and -socket exclude each other")
	}
	name, address, named := strings.Cut(c.agent, "@")
	if !named {
		address = name
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" {
		return nil, boot.Usagef("-agent %s: give [NAME@]HOST:PORT, such as bm7:8470", c.agent)
	}
	if !named {
		name = host
	}
	if c.keyFile == "" {
		return nil, boot.Usagef("-key FILE is missing: the file with the base64 of the 32-byte seed of your Ed25519 key")
	}
	key, err := c.readKey()
	if err != nil {
		return nil, err
	}
	var roots *x509.CertPool
	if c.ca != "" {
		text, _, err := boot.ReadSmall(c.ca, maxCAFile)
		if err != nil {
			return nil, boot.Usagef("-ca: %w", err)
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return nil, boot.Usagef("-ca %s holds no certificate in PEM", c.ca)
		}
	}
	client, err := control.NewRemote(address, name, key, roots)
	if err != nil {
		return nil, boot.Usagef("-agent: %w: write NAME@HOST:PORT, with NAME its host's name in the pool file", err)
	}
	return client, nil
}

func (c call) readKey() (control.Key, error) {
	text, mode, err := boot.ReadSmall(c.keyFile, maxKeyFile)
	if err != nil {
		return control.Key{}, boot.Usagef("the key file: %w", err)
	}
	key, err := control.ParseKey(string(text))
	if err != nil {
		return control.Key{}, boot.Usagef("the key file %s: %w", c.keyFile, err)
	}
	if mode.IsRegular() && mode.Perm()&0o077 != 0 {
		c.warn("others can read the key in %s: chmod 600 %s", c.keyFile, c.keyFile)
	}
	return key, nil
}

// warn writes a warning to standard error.
func (c call) warn(format string, args ...any) {
	_, _ = fmt.Fprintf(c.stderr, "snarkpool: warning: "+format+"\n", args...)
}

// target returns the workers that the command line names; all of them where it names none.
func (c call) target() (control.Target, error) {
	if len(c.arguments) == 0 {
		return control.Target{}, nil
	}
	target, err := control.ParseTarget(c.arguments[0])
	if err != nil {
		return target, boot.Usage(err)
	}
	return target, nil
}

// ask connects, and has ask speak to the agent.
func (c call) ask(ctx context.Context, ask func(*control.Client) error) error {
	client, err := c.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	return signalled(ctx, ask(client))
}

// print writes a value as one line of JSON.
func (c call) print(value any) error {
	encoder := json.NewEncoder(c.stdout)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value) //nolint:wrapcheck // says that standard output failed
}
