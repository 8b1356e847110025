// Package standin plays the two executables that an experiment calls beside the nodes' ITN ports, on a simulated network: the mina
// executable, of which it knows what experiments use, and the control program that restarts nodes.
//
// [Mina] and [Control] are the programs: they take a command line, and return an exit code. What they do to the network goes through
// [Controls]: a simnet.Network in the same process, or one in another process, which [Serve] opens on a unix socket and [Dial] reaches.
package standin

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"provingground/internal/mina"
)

// Controls is what the programs do to a network. A host is an IP address; the empty one is the network's first node.
type Controls interface {
	FundAccounts(ctx context.Context, host string, payer mina.PublicKey, keys []mina.PublicKey, amount, fee mina.Nanomina) error
	Balance(ctx context.Context, host string, key mina.PublicKey) (mina.Nanomina, error)
	Unlock(ctx context.Context, host string, key mina.PublicKey, password string) error
	SendPayment(ctx context.Context, host string, sender, receiver mina.PublicKey, amount, fee mina.Nanomina, memo string) error
	Restart(ctx context.Context, host string, clean bool) error
}

// Call is one call of a program.
type Call struct {
	Args     []string // without the program's name
	Getenv   func(name string) (value string, set bool)
	Stdout   io.Writer
	Stderr   io.Writer
	Files    Files
	Controls Controls
	// Random is where new keys come from; nil is the system's chance.
	Random io.Reader
	// MinFee is the least fee that itn-create-accounts takes, in nanomina.
	MinFee mina.Nanomina
}

// Files is where key files lie.
type Files interface {
	// Read returns the content of a key file.
	Read(path string) ([]byte, error)
	// Write writes a key file that only its owner may read, or, not being secret, its public companion. It replaces an older one and makes
	// missing directories.
	Write(path string, content []byte, secret bool) error
}

// Disk is the Files of this machine.
type Disk struct{}

// Read reads a file.
func (Disk) Read(path string) ([]byte, error) {
	return os.ReadFile(path) //nolint:gosec // the path is the caller's own argument, and the error names it
}

// Write writes a file, with the modes that Mina demands (keyfiles, section 2).
func (Disk) Write(path string, content []byte, secret bool) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if secret {
		mode = 0o600
	}
	return os.WriteFile(path, content, mode)
}

// errUsage is a command line that the program does not understand.
var errUsage = errors.New("this stand-in for mina knows: advanced itn-create-accounts, client get-balance, client send-payment, accounts unlock")

// Mina is the mina executable. It exits 0 when everything was done, and 1 when not, with the reason on standard error.
func Mina(ctx context.Context, call Call) (code int) {
	var err error
	words, rest := call.Args, []string(nil)
	if len(words) > 2 {
		words, rest = words[:2], words[2:]
	}
	switch strings.Join(words, " ") {
	case "advanced itn-create-accounts":
		err = call.createAccounts(ctx, rest)
	case "client get-balance":
		err = call.balance(ctx, rest)
	case "client send-payment":
		err = call.sendPayment(ctx, rest)
	case "accounts unlock":
		err = call.unlock(ctx, rest)
	default:
		err = errUsage
	}
	return call.exit(err)
}

// Control is the control program: "restart HOST" and "redeploy HOST", the second of which throws the node's chain away. It returns once the
// restart is under way, not when the node is back.
func Control(ctx context.Context, call Call) (code int) {
	if len(call.Args) != 2 || call.Args[0] != "restart" && call.Args[0] != "redeploy" {
		return call.exit(errors.New("usage: control restart|redeploy HOST"))
	}
	err := call.Controls.Restart(ctx, call.Args[1], call.Args[0] == "redeploy")
	if err == nil {
		_, err = fmt.Fprintf(call.Stdout, "%s of %s requested\n", call.Args[0], call.Args[1])
	}
	return call.exit(err)
}

func (c Call) exit(err error) int {
	if err == nil {
		return 0
	}
	_, _ = fmt.Fprintln(c.Stderr, err)
	return 1
}

// parse reads flags, of which those named must be given.
func parse(set *flag.FlagSet, args []string, needed ...string) error {
	set.SetOutput(io.Discard)
	if err := set.Parse(args); err != nil {
		return err
	}
	if set.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	given := make(map[string]bool)
	set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for _, name := range needed {
		if !given[name] {
			return fmt.Errorf("missing required flag: -%s", name)
		}
	}
	return nil
}

// password returns the one that the environment holds, which may be empty but must be set.
func (c Call) password() (string, error) {
	password, set := c.Getenv("MINA_PRIVKEY_PASS")
	if !set {
		return "", errors.New("the environment variable MINA_PRIVKEY_PASS is not set")
	}
	return password, nil
}

// createAccounts makes key files and funds their accounts (itn-graphql, section 5). The files are written first, so that a run that fails
// leaves files that own nothing.
func (c Call) createAccounts(ctx context.Context, args []string) error {
	set := flag.NewFlagSet("itn-create-accounts", flag.ContinueOnError)
	amount := set.Uint64("amount", 0, "")
	fee := set.Uint64("fee", 0, "")
	count := set.Int("num-accounts", 0, "")
	prefix := set.String("key-prefix", "", "")
	from := set.String("privkey-path", "", "")
	port := set.String("daemon-port", "", "")
	if err := parse(set, args, "amount", "fee", "num-accounts", "key-prefix", "privkey-path"); err != nil {
		return err
	}
	if features, _ := c.Getenv("ITN_FEATURES"); features != "1" {
		return errors.New("itn-create-accounts needs ITN_FEATURES=1 in the environment")
	}
	password, err := c.password()
	if err != nil {
		return err
	}
	if mina.Nanomina(*fee) < c.MinFee {
		return fmt.Errorf("the fee of %d nanomina is under the minimum of %d", *fee, c.MinFee)
	}
	if *count < 1 || *count > 100_000 {
		return fmt.Errorf("%d accounts: give 1 to 100000", *count)
	}
	host, err := hostOf(*port)
	if err != nil {
		return err
	}
	content, err := c.Files.Read(*from)
	if err != nil {
		return fmt.Errorf("reading the fee payer's key file: %w", err)
	}
	payer, err := mina.OpenKeyFile(content, []byte(password))
	if err != nil {
		return fmt.Errorf("opening the fee payer's key file %s: %w", *from, err)
	}
	keys := make([]mina.PublicKey, 0, *count)
	for i := range *count {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		key, err := c.writeKey(fmt.Sprintf("%s-%d", *prefix, i), password)
		if err != nil {
			return err
		}
		keys = append(keys, key)
	}
	if err := c.Controls.FundAccounts(ctx, host, payer.PublicKey(), keys, mina.Nanomina(*amount), mina.Nanomina(*fee)); err != nil {
		return fmt.Errorf("funding the new accounts: %w", err)
	}
	_, err = fmt.Fprintf(c.Stdout, "Created %d accounts\n", *count)
	return err
}

// writeKey makes a key pair and writes its two files.
func (c Call) writeKey(path, password string) (mina.PublicKey, error) {
	random := c.Random
	if random == nil {
		random = rand.Reader
	}
	key, err := mina.GeneratePrivateKey(random)
	if err != nil {
		return mina.PublicKey{}, fmt.Errorf("making a key: %w", err)
	}
	return key.PublicKey(), WriteKey(c.Files, path, key, password)
}

// WriteKey writes a key's two files: the sealed one, made with the smallest Argon2 cost, which protects nothing but is quick, and PATH.pub.
func WriteKey(files Files, path string, key mina.PrivateKey, password string) error {
	sealed, err := mina.SealKeyFile(key, []byte(password), mina.SmallestKeyFileCost(), rand.Reader)
	if err != nil {
		return fmt.Errorf("sealing the key file %s: %w", path, err)
	}
	if err := files.Write(path, sealed, true); err != nil {
		return fmt.Errorf("writing a key file: %w", err)
	}
	if err := files.Write(path+".pub", []byte(key.PublicKey().String()+"\n"), false); err != nil {
		return fmt.Errorf("writing a public key file: %w", err)
	}
	return nil
}

// balance prints a balance, as the orchestrator reads it (orchestrator-scripts, section 3.12).
func (c Call) balance(ctx context.Context, args []string) error {
	set := flag.NewFlagSet("get-balance", flag.ContinueOnError)
	key, server := keyFlag(set, "public-key"), set.String("rest-server", "", "")
	if err := parse(set, args, "public-key"); err != nil {
		return err
	}
	host, err := hostOf(*server)
	if err != nil {
		return err
	}
	balance, err := c.Controls.Balance(ctx, host, *key)
	if err != nil {
		return fmt.Errorf("reading the balance: %w", err)
	}
	_, err = fmt.Fprintf(c.Stdout, "Balance: %s mina\n", balance)
	return err
}

// unlock unlocks a key in a node's wallet.
func (c Call) unlock(ctx context.Context, args []string) error {
	set := flag.NewFlagSet("unlock", flag.ContinueOnError)
	key, server := keyFlag(set, "public-key"), set.String("rest-server", "", "")
	if err := parse(set, args, "public-key"); err != nil {
		return err
	}
	host, err := hostOf(*server)
	if err != nil {
		return err
	}
	password, err := c.password()
	if err != nil {
		return err
	}
	if err := c.Controls.Unlock(ctx, host, *key, password); err != nil {
		return fmt.Errorf("unlocking the account: %w", err)
	}
	_, err = fmt.Fprintf(c.Stdout, "Unlocked account!\nPublic key: %s\n", key)
	return err
}

// sendPayment sends from a key that was unlocked.
func (c Call) sendPayment(ctx context.Context, args []string) error {
	set := flag.NewFlagSet("send-payment", flag.ContinueOnError)
	sender, receiver := keyFlag(set, "sender"), keyFlag(set, "receiver")
	amount, fee := amountFlag(set, "amount"), amountFlag(set, "fee")
	memo, server := set.String("memo", "", ""), set.String("rest-server", "", "")
	if err := parse(set, args, "sender", "receiver", "amount", "fee"); err != nil {
		return err
	}
	host, err := hostOf(*server)
	if err != nil {
		return err
	}
	if err := c.Controls.SendPayment(ctx, host, *sender, *receiver, *amount, *fee, *memo); err != nil {
		return fmt.Errorf("sending the payment: %w", err)
	}
	_, err = fmt.Fprintln(c.Stdout, "Dispatched payment")
	return err
}

// keyFlag declares a flag that takes a public key.
func keyFlag(set *flag.FlagSet, name string) *mina.PublicKey {
	var key mina.PublicKey
	set.Func(name, "", func(text string) (err error) {
		key, err = mina.ParsePublicKey(text)
		return err
	})
	return &key
}

// amountFlag declares a flag that takes an amount in MINA.
func amountFlag(set *flag.FlagSet, name string) *mina.Nanomina {
	var amount mina.Nanomina
	set.Func(name, "", func(text string) (err error) {
		amount, err = mina.ParseMina(text)
		return err
	})
	return &amount
}

// hostOf takes the node's host from what names a server: nothing or a port (the first node), HOST:PORT, or a URL.
func hostOf(server string) (string, error) {
	if server == "" {
		return "", nil
	}
	if _, err := strconv.ParseUint(server, 10, 16); err == nil {
		return "", nil
	}
	if strings.Contains(server, "://") {
		u, err := url.Parse(server)
		if err != nil || u.Hostname() == "" {
			return "", fmt.Errorf("the server %q is no URL with a host", server)
		}
		return nodeOn(u.Hostname()), nil
	}
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		return "", fmt.Errorf("the server %q is neither a port, nor HOST:PORT, nor a URL", server)
	}
	return nodeOn(host), nil
}

// nodeOn returns the host of a node. The machine's own name is the first node, as a bare port is: no node has that address.
func nodeOn(host string) string {
	if host == "127.0.0.1" || host == "localhost" || host == "::1" {
		return ""
	}
	return host
}
