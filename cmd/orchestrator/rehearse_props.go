package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"provingground/internal/mina"
)

// How many accounts a rehearsal has to give away. A fortune, of which a simulated network can hold three, is shared by those of one sort: the
// accounts for funding keys, those for keys that are loaded, and those of public keys that the script names.
const (
	richAccounts     = 50 // for funding keys
	plainDirectories = 25 // the keys of so many directories have accounts
	fortune          = mina.Nanomina(2_500_000_000_000_000_000)
	mostNamed        = mina.Nanomina(5_000_000_000_000_000)
)

// errGivenAway says that a script takes more for granted than there are accounts.
var errGivenAway = errors.New("the rehearsal's accounts are all given away: the script takes too many keys for granted; make -keys smaller, or let the script make them with fund-keys")

// props are the key files and wallets of a rehearsal, all in memory. What a script takes for granted, and does not make itself, is made up
// when it is first asked for, with an account from genesis on. It is the Files of the engine and of the stand-in programs. Safe for
// concurrent use.
type props struct {
	keys int // in a directory that is made up

	mu     sync.Mutex
	chance *rand.ChaCha8
	rich   accounts // not given to anything yet
	plain  accounts
	files  map[string][]byte
	dirs   map[string]*directory
	said   []string // what was made up, in words
}

// accounts are some that own the same.
type accounts struct {
	keys    []mina.PrivateKey
	balance mina.Nanomina
}

// take gives one of them away.
func (a *accounts) take() (mina.PrivateKey, error) {
	if len(a.keys) == 0 {
		return mina.PrivateKey{}, errGivenAway
	}
	key := a.keys[0]
	a.keys = a.keys[1:]
	return key, nil
}

// directory is one that has files.
type directory struct {
	names  []string
	madeUp bool // the script takes it for granted; false: the script makes it
}

// newProps draws the accounts, and returns them for the genesis block as well, with those of the public keys that the script names: payments
// to an account that does not exist would fail, and wallets hold keys that have one.
func newProps(keys int, script []byte, chance *rand.ChaCha8) (*props, map[mina.PublicKey]mina.Nanomina, error) {
	p := &props{keys: keys, chance: chance, files: map[string][]byte{}, dirs: map[string]*directory{}}
	genesis := map[mina.PublicKey]mina.Nanomina{}
	named := publicKeys(script)
	for _, key := range named {
		genesis[key] = min(mostNamed, fortune/mina.Nanomina(len(named)))
	}
	if len(named) > 0 {
		p.said = append(p.said, fmt.Sprintf("accounts of %s that the script names, %s MINA in each, also in the nodes' wallets",
			counted(len(named), "public key"), genesis[named[0]]))
	}
	for _, into := range []struct {
		accounts *accounts
		count    int
	}{{&p.rich, richAccounts}, {&p.plain, plainDirectories * keys}} {
		into.accounts.balance = fortune / mina.Nanomina(into.count)
		for range into.count {
			key, err := mina.GeneratePrivateKey(chance)
			if err != nil {
				return nil, nil, fmt.Errorf("make a key: %w", err)
			}
			into.accounts.keys = append(into.accounts.keys, key)
			genesis[key.PublicKey()] = into.accounts.balance
		}
	}
	return p, genesis, nil
}

// publicKeys returns the public keys that stand in a text, each once, in the order in which they first do.
func publicKeys(text []byte) []mina.PublicKey {
	var keys []mina.PublicKey
	for _, found := range regexp.MustCompile(`\bB62[1-9A-HJ-NP-Za-km-z]{52}\b`).FindAll(text, -1) {
		if key, err := mina.ParsePublicKey(string(found)); err == nil && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// madeUp says in words what the script took for granted.
func (p *props) madeUp() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.said)
}

// at returns the directory of a path, made if need be. It is called with the lock held.
func (p *props) at(dir string, madeUp bool) *directory {
	d := p.dirs[dir]
	if d == nil {
		d = &directory{madeUp: madeUp}
		p.dirs[dir] = d
	}
	return d
}

// put keeps a file. It is called with the lock held.
func (p *props) put(name string, content []byte, madeUp bool) {
	if _, exists := p.files[name]; !exists {
		d := p.at(path.Dir(name), madeUp)
		d.names = append(d.names, path.Base(name))
	}
	p.files[name] = content
}

// seal makes the content of a key file.
func (p *props) seal(key mina.PrivateKey) ([]byte, error) {
	return mina.SealKeyFile(key, nil, mina.SmallestKeyFileCost(), p.chance) //nolint:wrapcheck // says it all
}

// makeUp puts so many key files of given-away accounts. It is called with the lock held.
func (p *props) makeUp(from *accounts, names ...string) error {
	for _, name := range names {
		key, err := from.take()
		if err != nil {
			return err
		}
		content, err := p.seal(key)
		if err != nil {
			return err
		}
		p.put(name, content, true)
	}
	return nil
}

// ReadFile returns a file's content. A file in no directory that the script has made is taken for that of a funding key, and made up.
func (p *props) ReadFile(name string) ([]byte, error) {
	name = path.Clean(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	if content, exists := p.files[name]; exists {
		return content, nil
	}
	if d := p.dirs[path.Dir(name)]; d != nil && !d.madeUp {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if err := p.makeUp(&p.rich, name); err != nil {
		return nil, fmt.Errorf("make up %s: %w", name, err)
	}
	p.said = append(p.said, fmt.Sprintf("%s, a key with %s MINA", name, p.rich.balance))
	return p.files[name], nil
}

// ReadDir returns the names of a directory's files, in their order. A directory that the script has not made is made up.
func (p *props) ReadDir(dir string) ([]string, error) {
	dir = path.Clean(dir)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.exists(dir) {
		names := make([]string, p.keys)
		for i := range names {
			names[i] = path.Join(dir, fmt.Sprintf("key-%03d", i))
		}
		if err := p.makeUp(&p.plain, names...); err != nil {
			return nil, fmt.Errorf("make up the keys in %s: %w", dir, err)
		}
		p.said = append(p.said, fmt.Sprintf("%s/ with %s, %s MINA in each", dir, counted(p.keys, "key"), p.plain.balance))
	}
	var names []string
	if d := p.dirs[dir]; d != nil {
		names = slices.Sorted(slices.Values(d.names))
	}
	return names, nil
}

// Exists reports whether there is anything at the path.
func (p *props) Exists(name string) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exists(path.Clean(name)), nil
}

func (p *props) exists(name string) bool {
	if p.files[name] != nil || p.dirs[name] != nil {
		return true
	}
	for dir := range p.dirs {
		if strings.HasPrefix(dir, name+"/") {
			return true
		}
	}
	return false
}

// Create writes a new file.
func (p *props) Create(name string, content []byte) error {
	name = path.Clean(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exists(name) {
		return &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	p.put(name, content, false)
	return nil
}

// Read returns a file's content, to a stand-in.
func (p *props) Read(name string) ([]byte, error) { return p.ReadFile(name) }

// Write keeps a file of a stand-in.
func (p *props) Write(name string, content []byte, _ bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put(path.Clean(name), bytes.Clone(content), false)
	return nil
}
