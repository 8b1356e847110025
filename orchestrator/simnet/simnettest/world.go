// Package simnettest gives tests a simulated network on a virtual clock, with keys for its nodes' ports, load to put on it, and a
// collector that reads its logs. Only tests import it.
package simnettest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"provingground/fetcher"
	"provingground/internal/clock"
	"provingground/internal/mina"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/simnet"
	"provingground/uptime"
)

// TB is what a *testing.T, a *testing.B and a *rapid.T have in common.
type TB interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// tries is how often a node that is down is asked to take load, a second of network time apart.
const tries = 200

// World is a simulated network on a virtual clock. Use it within the function that [Live] calls.
type World struct {
	*simnet.Network
	Options simnet.Options
	Clock   *clock.Clock
	Reader  itn.Key // two keys that the nodes accept: sequence numbers of one do not disturb the other
	Loader  itn.Key

	t   TB
	ctx context.Context //nolint:containedctx // a world lives in one call of Live
}

// Genesis is when slot 0 of every such network begins.
func Genesis() time.Time { return time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC) }

// Key makes an ITN key, another one for each fill.
func Key(t TB, fill byte) (itn.Key, ed25519.PublicKey) {
	t.Helper()
	seed := bytes.Repeat([]byte{fill}, ed25519.SeedSize)
	key, err := itn.ParseKey(base64.StdEncoding.EncodeToString(seed))
	if err != nil {
		t.Fatal(err)
	}
	public, ok := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	if !ok {
		t.Fatal("no Ed25519 key")
	}
	return key, public
}

// Senders makes private keys, the same ones each time.
func Senders(t TB, count int) []mina.PrivateKey {
	t.Helper()
	random := rand.NewChaCha8([32]byte{7})
	keys := make([]mina.PrivateKey, count)
	for i := range keys {
		key, err := mina.GeneratePrivateKey(random)
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = key
	}
	return keys
}

// Rich gives accounts to senders, with all that they may need.
func Rich(senders []mina.PrivateKey) map[mina.PublicKey]mina.Nanomina {
	accounts := make(map[mina.PublicKey]mina.Nanomina, len(senders))
	for _, sender := range senders {
		accounts[sender.PublicKey()] = 1_000_000_000_000_000
	}
	return accounts
}

// Live runs f with a started network, in which time passes while f waits for it ([World.Pass]), and stops the network. The options' clock
// and ITN keys are set here.
func Live(t TB, options simnet.Options, f func(w *World)) {
	t.Helper()
	virtual := clock.NewVirtual(Genesis())
	options.Clock = virtual.Clock()
	reader, readerPublic := Key(t, 1)
	loader, loaderPublic := Key(t, 2)
	options.ITNKeys = []ed25519.PublicKey{readerPublic, loaderPublic}
	virtual.Run(func() {
		network, err := simnet.New(options)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // the context of a whole test
		defer cancel()
		if err := network.Start(ctx); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := network.Stop(); err != nil {
				t.Errorf("stopping the network: %v", err)
			}
		}()
		_, ctx = options.Clock.Group(ctx, 0)
		f(&World{Network: network, Options: options, Clock: options.Clock, Reader: reader, Loader: loader, t: t, ctx: ctx})
	})
}

// Ctx ends with the world; a test's own context ends before its world is stopped.
func (w *World) Ctx() context.Context { return w.ctx }

// Pass lets network time pass.
func (w *World) Pass(span time.Duration) {
	w.t.Helper()
	if err := w.Clock.Sleep(w.ctx, span); err != nil {
		w.t.Fatal(err)
	}
}

// Load has place put load on a node by the key for load, again and again while the node is down.
func (w *World) Load(node int, place func(client *itn.Client) error) {
	w.t.Helper()
	client := itn.New(w.Nodes()[node], w.Loader, itn.Options{Transport: w.Transport(), Turn: w.Clock.Turn()})
	defer client.Close()
	for try := 1; ; try++ {
		err := place(client)
		switch {
		case err == nil:
			return
		case try == tries:
			w.t.Fatalf("no load on %s: %v", w.Nodes()[node], err)
		}
		w.Pass(time.Second)
	}
}

// Payments has a node send payments of 1 nanomina, from a sender to itself, with memos PREFIX-0, PREFIX-1 and so on.
func (w *World) Payments(node int, sender mina.PrivateKey, prefix string, tps float64, minutes int) {
	w.t.Helper()
	w.Load(node, func(client *itn.Client) error {
		_, err := client.SchedulePayments(w.ctx, itn.PaymentsDetails{
			Senders: []itn.PrivateKey{itn.NewPrivateKey(sender.Base58())}, Receiver: sender.PublicKey().String(),
			Amount: 1, MinFee: 10_000_000, MaxFee: 10_000_000, MemoPrefix: prefix, TPS: tps, DurationMin: minutes,
		}, "", nil)
		return err
	})
}

// Listed is what discovery finds.
func (w *World) Listed() fetcher.Fixed {
	w.t.Helper()
	var nodes fetcher.Fixed
	for i, address := range w.Nodes() {
		nodes = append(nodes, Entry(w.t, address, w.Submitters()[i].String()))
	}
	return nodes
}

// Entry is a node in the online list, by its address HOST:PORT.
func Entry(t TB, address, submitter string) uptime.Node {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uptime.Node{RemoteAddr: host, ControlPort: uint16(number), Submitter: submitter}
}

// Names maps addresses to the names under which the nodes' logs are stored.
func (w *World) Names() map[string]string {
	w.t.Helper()
	names := make(map[string]string)
	for i, node := range w.Listed() {
		names[w.Nodes()[i]] = fetcher.NodeName(node.Submitter, node.RemoteAddr, node.ControlPort)
	}
	return names
}

// Dial makes clients that take turns on the clock, with the key for reading.
func (w *World) Dial(address string) *itn.Client {
	return itn.New(address, w.Reader, itn.Options{Transport: fetcher.Transport(w.Transport()), Turn: w.Clock.Turn()})
}

// Collect runs a collector, whose options name the same clock, until stop is called, which returns when it has ended.
func Collect(ctx context.Context, t TB, options fetcher.Options) (collector *fetcher.Collector, stop func()) {
	t.Helper()
	collector, err := fetcher.New(options)
	if err != nil {
		t.Fatal(err)
	}
	group, ctx := options.Clock.Group(ctx, 0)
	ctx, cancel := context.WithCancel(ctx)
	group.Go(func() error { return collector.Run(ctx) })
	return collector, func() {
		cancel()
		if err := group.Wait(); err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}
