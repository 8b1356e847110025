package simnet

import (
	"cmp"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"provingground/internal/clock"
	"provingground/internal/mina"
)

// Options say what network to simulate. What has a default takes it at its zero value.
type Options struct {
	// Nodes is the number of nodes, 1 to 10,000. Node i (from 0) has the host 127.0.0.2 + i.
	Nodes int
	// Producers is how many of them produce blocks: the first ones. 0 makes a network without blocks.
	Producers int
	// Old is how many of them are older daemons, which know neither commit nor handles (itn-graphql, section 4.8): the last ones.
	Old int

	// Slot is the length of a slot in network time, at least 36 ms; 3 minutes by default.
	Slot time.Duration
	// Latency is the network time that a block or command takes from one node to all others; a 180th of a slot by default.
	Latency time.Duration
	// Seed decides every random choice of the network: who wins which slot, fees, keys; together with Genesis UUIDs.
	Seed uint64
	// Clock is the network's time; [clock.Wall] by default.
	Clock *clock.Clock
	// Genesis is the network time at which slot 0 began, not in the future; by default the time of New.
	Genesis time.Time

	// ITNKeys are the signers that the nodes' ITN ports accept; at least one.
	ITNKeys []ed25519.PublicKey
	// Port is the ITN port of every node, 3086 by default.
	Port uint16
	// ListPort is the port of 127.0.0.1 on which the network serves the online list itself; 8081 by default.
	ListPort uint16
	// MaxLogs bounds each node's internal log, in entries; 500 by default (itn-graphql, section 1).
	MaxLogs int
	// KeepLogs keeps every entry of every daemon's internal log besides, for [Network.KeptLogs]. It is meant for tests: memory then grows with
	// the length of the run.
	KeepLogs bool

	// BlockCapacity is the number of commands that a block holds; 128 by default.
	BlockCapacity int
	// PoolSize is the number of commands that a node's pool holds; 3,000 by default.
	PoolSize int
	// MinFee is the least fee that a pool takes, in nanomina; DefaultMinFee by default.
	MinFee mina.Nanomina

	// SnarkCoordinators is how many nodes have SNARK work proven, each all of it: the first ones after the producers. 1 by default, none when
	// negative.
	SnarkCoordinators int
	// ProofTime is the network time from the scheduling of SNARK work to its proof, a quarter more or less; a third of a slot by default.
	ProofTime time.Duration
	// Coordinator is the address (HOST:PORT) at which the first of these nodes gives its work to provers outside, instead of having it proven by
	// the model: package provingground/snarkpool/coordinator is the protocol. Whoever reaches the address may use it. Empty for none.
	Coordinator string
	// ReassignmentWait is the network time after which work that was given to a prover outside may be given to another one; 420 s by default
	// (snark-worker, section 6).
	ReassignmentWait time.Duration

	// RestartAfter is the network time until a stopped node returns: 2 slots by default, never when negative.
	RestartAfter time.Duration
	// RestartAfterClean is the same for a node whose chain was thrown away; 10 slots by default.
	RestartAfterClean time.Duration

	// UptimeURL takes the nodes' signed reports (uptime, section 1). When it is empty the network serves the online list itself.
	UptimeURL string

	// Accounts exist from genesis on, besides the producers' own.
	Accounts map[mina.PublicKey]mina.Nanomina
	// WalletPassword unlocks the keys of Accounts in the nodes' wallets.
	WalletPassword string
	// Faults are how the network misbehaves; see [ParseFaults].
	Faults []Fault

	// Journal takes the ground-truth journal as lines of JSON; nil writes none.
	Journal io.Writer
	// KeepJournal keeps the journal's entries in memory, for [Network.History]. It then grows with the length of the run.
	KeepJournal bool
	// JournalNodes puts into the journal, too, what each single node traces of each block, command and SNARK work. It makes the journal as many
	// times longer as there are nodes.
	JournalNodes bool
	// LogJournal takes every entry of every daemon's internal log as lines of JSON, with those that the queues drop: see [LogLine] and
	// [ReadLogLines]. nil writes none. Every entry is then spelled out, also where nobody reads it.
	LogJournal io.Writer
	// Logger takes what an operator would miss; nil is silent.
	Logger *zap.Logger
}

// DefaultMinFee is the least fee that pools take, as on Mina's networks: 0.001 MINA.
const DefaultMinFee mina.Nanomina = 1_000_000

// maxNodes keeps a mistyped number of nodes from taking the machine's memory.
const maxNodes = 10_000

// Check reports everything that is wrong with the options, as New does.
func (o Options) Check() error {
	_, err := o.resolve()
	return err
}

// resolve checks the options and fills in the defaults.
func (o Options) resolve() (Options, error) {
	o.Slot = cmp.Or(o.Slot, 3*time.Minute)
	o.Latency = cmp.Or(o.Latency, o.Slot/180)
	o.Port = cmp.Or(o.Port, 3086)
	o.ListPort = cmp.Or(o.ListPort, 8081)
	o.MaxLogs = cmp.Or(o.MaxLogs, 500)
	o.BlockCapacity = cmp.Or(o.BlockCapacity, 128)
	o.PoolSize = cmp.Or(o.PoolSize, 3000)
	o.MinFee = cmp.Or(o.MinFee, DefaultMinFee)
	o.SnarkCoordinators = cmp.Or(o.SnarkCoordinators, 1)
	o.ProofTime = cmp.Or(o.ProofTime, o.Slot/3)
	o.ReassignmentWait = cmp.Or(o.ReassignmentWait, 420*time.Second)
	o.RestartAfter = cmp.Or(o.RestartAfter, 2*o.Slot)
	o.RestartAfterClean = cmp.Or(o.RestartAfterClean, 10*o.Slot)
	o.Logger = cmp.Or(o.Logger, zap.NewNop())
	o.Clock = cmp.Or(o.Clock, clock.Wall())
	if o.Genesis.IsZero() {
		o.Genesis = o.Clock.Now()
	}
	o.Genesis = o.Genesis.UTC()
	return o, o.validate()
}

func (o Options) validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(o.Nodes >= 1 && o.Nodes <= maxNodes, "%d nodes: give 1 to %d", o.Nodes, maxNodes)
	check(o.Producers >= 0 && o.Producers <= max(o.Nodes, 0), "%d producers of %d nodes", o.Producers, o.Nodes)
	check(o.Old >= 0 && o.Old <= max(o.Nodes, 0), "%d old nodes of %d", o.Old, o.Nodes)
	check(o.Slot >= 36*time.Millisecond && o.Slot <= 24*time.Hour, "a slot of %v: give 36ms to 24h", o.Slot)
	check(o.Slot%time.Millisecond == 0, "a slot of %v: give whole milliseconds", o.Slot)
	check(o.Latency > 0, "a latency of %v: give one above 0", o.Latency)
	check(o.MaxLogs > 0, "an internal log of %d entries: give at least 1", o.MaxLogs)
	check(o.BlockCapacity > 0, "a block capacity of %d commands: give at least 1", o.BlockCapacity)
	check(o.SnarkCoordinators <= max(o.Nodes, 1), "%d SNARK coordinators of %d nodes", o.SnarkCoordinators, o.Nodes)
	check(o.ProofTime > 0, "a proof time of %v: give one above 0", o.ProofTime)
	check(o.ReassignmentWait > 0, "a reassignment wait of %v: give one above 0", o.ReassignmentWait)
	if o.Coordinator != "" {
		host, port, err := net.SplitHostPort(o.Coordinator)
		number, bad := strconv.ParseUint(port, 10, 16)
		check(err == nil && host != "" && bad == nil && number > 0, "the coordinator's address %q is not HOST:PORT", o.Coordinator)
		check(o.SnarkCoordinators > 0, "a coordinator's address, but no SNARK coordinator")
	}
	check(o.PoolSize > 0, "a pool of %d commands: give at least 1", o.PoolSize)
	check(len(o.ITNKeys) > 0, "no ITN key: nobody could use the nodes' ports")
	for i, key := range o.ITNKeys {
		check(len(key) == ed25519.PublicKeySize, "ITN key %d has %d bytes, not %d", i, len(key), ed25519.PublicKeySize)
	}
	check(!o.Genesis.After(o.Clock.Now()), "genesis %s lies in the future", o.Genesis.Format(time.RFC3339))
	if o.UptimeURL != "" {
		u, err := url.Parse(o.UptimeURL)
		check(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "", "the uptime URL %q is not an http URL", o.UptimeURL)
	}
	// Half of the range leaves room for the coinbases of more blocks than anybody will simulate.
	supply := mina.Nanomina(0)
	for _, balance := range o.Accounts {
		if supply += balance; supply > math.MaxInt64 || balance > math.MaxInt64 {
			check(false, "the accounts own more than %d nanomina together", int64(math.MaxInt64))
			break
		}
	}
	for _, fault := range o.Faults {
		if err := fault.check(o.Nodes); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

type genesisAccount struct {
	text    string
	balance mina.Nanomina
}

func sortedAccounts(accounts map[mina.PublicKey]mina.Nanomina) []genesisAccount {
	sorted := make([]genesisAccount, 0, len(accounts))
	for key, balance := range accounts {
		sorted = append(sorted, genesisAccount{key.String(), balance})
	}
	slices.SortFunc(sorted, func(a, b genesisAccount) int { return cmp.Compare(a.text, b.text) })
	return sorted
}

// host returns the loopback address of a node.
func host(index int) string {
	n := index + 2 // 127.0.0.1 is left to others
	return fmt.Sprintf("127.%d.%d.%d", n>>16&255, n>>8&255, n&255)
}

// makeNodes makes the nodes' identities.
func (n *Network) makeNodes() error {
	var stakes uint64
	for i := range n.opts.Nodes {
		var seed [32]byte
		for j := range 4 {
			word := mix(n.opts.Seed, purposeKey, uint64(i), uint64(j))
			for k := range 8 {
				seed[8*j+k] = byte(word >> (8 * k))
			}
		}
		key, err := mina.GeneratePrivateKey(rand.NewChaCha8(seed))
		if err != nil {
			return fmt.Errorf("making the key of node %d: %w", i, err)
		}
		node := &node{
			net: n, index: i, host: host(i), peerID: peerID(n.opts.Seed, i), key: key,
			account: n.accounts.id(key.PublicKey().String()), older: i >= n.opts.Nodes-n.opts.Old,
		}
		node.address = fmt.Sprintf("%s:%d", node.host, n.opts.Port)
		if i < n.opts.Producers {
			// Half a million to a million and a half, about a million on average.
			node.staked = 500_000 + mix(n.opts.Seed, purposeStake, uint64(i))%1_000_001
			stakes += node.staked
		}
		n.nodes = append(n.nodes, node)
		n.byAddress[node.address], n.byHost[node.host], n.byPeerID[node.peerID] = node, node, node
	}
	for i := range max(n.opts.SnarkCoordinators, 0) {
		n.nodes[(n.opts.Producers+i)%len(n.nodes)].proves = true
	}
	if n.opts.Coordinator != "" {
		n.coordinator = newCoordinatorPort(n, n.nodes[n.opts.Producers%len(n.nodes)])
	}
	for _, node := range n.nodes {
		node.stake = float64(node.staked) / float64(max(stakes, 1))
	}
	return nil
}

func (n *Network) addresses() []string {
	addresses := make([]string, 0, len(n.nodes))
	for _, node := range n.nodes {
		addresses = append(addresses, node.address)
	}
	return addresses
}

// peerID returns a text of the form of a libp2p peer ID (base58 of an identity multihash of an Ed25519 key).
func peerID(seed uint64, index int) string {
	id := []byte{0x00, 0x24, 0x08, 0x01, 0x12, 0x20}
	for i := range 4 {
		word := mix(seed, purposePeer, uint64(index), uint64(i))
		for j := range 8 {
			id = append(id, byte(word>>(8*j)))
		}
	}
	return base58(id)
}
