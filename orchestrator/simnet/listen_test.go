package simnet_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"provingground/internal/clock"
	"provingground/internal/mina"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/simnet"
)

// freePort returns a port that nobody listens on.
func freePort(t testing.TB) uint16 {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatal("no TCP address")
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return address.AddrPort().Port()
}

// overTCP runs f with a network that listens, on a clock that runs fast.
func overTCP(t *testing.T, options simnet.Options, scale float64, f func(w *world)) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	options.Genesis = time.Now().UTC()
	scaled, err := clock.Scaled(options.Genesis, scale)
	if err != nil {
		t.Fatal(err)
	}
	options.Clock, options.ITNKeys, options.KeepJournal = scaled, itnKeys(t), true
	options.Port, options.ListPort = freePort(t), freePort(t)
	network, err := simnet.New(options)
	if err != nil {
		t.Fatal(err)
	}
	if err := network.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := network.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	f(&world{TB: t, Network: network, clock: scaled})
	if err := network.Stop(); err != nil {
		t.Error(err)
	}
	for _, address := range append(network.Nodes(), fmt.Sprintf("127.0.0.1:%d", options.ListPort)) {
		if err := connect(t, address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("after the end %s answers a connection with %v", address, err)
		}
	}
	goleak.VerifyNone(t, before)
}

func connect(t *testing.T, address string) error {
	t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	if err == nil {
		err = conn.Close()
	}
	return err
}

func TestOverTCP(t *testing.T) {
	senders := keys(t, 4)
	// Two slots take a tenth of a second.
	overTCP(t, simnet.Options{Nodes: 20, Producers: 5, Slot: 10 * time.Second, Accounts: accounts(senders, 1000*aMina)}, 200, func(w *world) {
		key, err := itn.ParseKey(base64.StdEncoding.EncodeToString(itnKey().Seed()))
		if err != nil {
			t.Fatal(err)
		}
		transport := itn.NewTransport()
		defer transport.CloseIdleConnections()
		clients := make([]*itn.Client, 20)
		var all sync.WaitGroup
		for i, address := range w.Nodes() {
			clients[i] = itn.New(address, key, itn.Options{Transport: transport})
			all.Go(func() {
				identity, err := clients[i].Auth(t.Context())
				if err != nil || identity.BlockProducer != (i < 5) || !identity.Newer {
					t.Errorf("node %d says %+v, %v", i, identity, err)
				}
			})
		}
		all.Wait()
		handle, err := clients[0].SchedulePayments(t.Context(), itn.PaymentsDetails{
			Senders: itnPrivateKeys(senders), Receiver: senders[0].PublicKey().String(), Amount: 1, MinFee: 1e9, MaxFee: 1e9,
			MemoPrefix: "tcp-0-0", TPS: 1, DurationMin: 1,
		}, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := clients[1].StopDaemon(t.Context(), 5*time.Second, false, nil); err != nil {
			t.Fatal(err)
		}
		w.pass(6 * time.Second)
		w.History() // lets happen what is due, should the network's own goroutine be late
		// Connections to a node that is down are refused, kept ones are cut.
		if err := connect(t, w.Nodes()[1]); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a connection to a node that is down: %v", err)
		}
		var notSent *itn.NotSentError
		if _, err := clients[1].Auth(t.Context()); !errors.As(err, &notSent) {
			t.Errorf("a request to a node that is down: %v", err)
		}
		w.pass(20 * time.Second)
		w.History()
		if _, err := clients[1].Auth(t.Context()); err != nil {
			t.Errorf("after its restart the node answers %v", err)
		}
		w.pass(2 * time.Minute)
		schedules := w.History().Schedules()
		if len(schedules) != 1 || schedules[0].Handle != handle || schedules[0].Ended == nil || schedules[0].Ended.Sent != 60 {
			t.Errorf("schedules: %+v", schedules)
		}
		if included := len(w.History().Memos()); included != 60 {
			t.Errorf("%d payments are included, want 60", included)
		}
		logs, err := clients[2].InternalLogs(t.Context(), 1)
		if err != nil || len(logs) == 0 {
			t.Errorf("%d entries of the internal log, %v", len(logs), err)
		}
		status, body := w.onlineOverTCP()
		if status != http.StatusOK || strings.Count(body, "submitter") != 20 {
			t.Errorf("online list: %d %s", status, body)
		}
	})
}

func itnPrivateKeys(keys []mina.PrivateKey) []itn.PrivateKey {
	var converted []itn.PrivateKey
	for _, key := range keys {
		converted = append(converted, itn.NewPrivateKey(key.Base58()))
	}
	return converted
}

func (w *world) onlineOverTCP() (status int, body string) {
	w.Helper()
	request, err := http.NewRequestWithContext(w.Context(), http.MethodGet, w.OnlineURL(), nil)
	if err != nil {
		w.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		w.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode, readAll(w, response)
}

func TestFaultsOverTCP(t *testing.T) {
	senders := keys(t, 4)
	faults, err := simnet.ParseFaults("lose-reply:127.0.0.2/schedulePayments#1; cut-body:127.0.0.3/internalLogs#1; refuse:127.0.0.4; hang:127.0.0.5/auth#1; slow:127.0.0.6/auth=20ms#1; restart-before:127.0.0.3/slotsWon#1")
	if err != nil {
		t.Fatal(err)
	}
	overTCP(t, simnet.Options{Nodes: 5, Accounts: accounts(senders, 1000*aMina), Faults: faults}, 10, func(w *world) {
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		at := func(i int) *client { return &client{TB: t, address: w.Nodes()[i], transport: transport} }

		losing := at(0)
		losing.authenticate()
		if _, err := losing.send(true, schedulePayments, payments(senders, nil)); err == nil {
			t.Error("the reply was not lost")
		}
		if len(w.History().Schedules()) != 1 {
			t.Error("the request was not acted on")
		}
		cutting := at(1)
		cutting.authenticate()
		if _, err := cutting.send(true, `{ internalLogs(startLogId: 1) { id } }`, nil); err == nil {
			t.Error("the body was not cut short")
		}
		if read, err := cutting.send(true, slotsWon, nil); err != nil || read.status != http.StatusPreconditionFailed {
			t.Errorf("a request after a restart is answered %d, %v", read.status, err)
		}
		if err := connect(t, w.Nodes()[2]); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a refused connection: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := at(3).sendIn(ctx, false, `{ auth { serverUuid } }`, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a hung request: %v", err)
		}
		at(3).authenticate()
		before := time.Now()
		at(4).authenticate()
		if took := time.Since(before); took < 20*time.Millisecond {
			t.Errorf("a slow request took %v of wall time", took)
		}
	})
}

// Somebody else takes the port of a node that is down: it cannot come back, and the network's end says so.
func TestPortTakenMeanwhile(t *testing.T) {
	genesis := time.Now().UTC()
	scaled, err := clock.Scaled(genesis, 100)
	if err != nil {
		t.Fatal(err)
	}
	network, err := simnet.New(simnet.Options{
		Nodes: 2, Slot: 20 * time.Second, Clock: scaled, Genesis: genesis, ITNKeys: itnKeys(t), Port: freePort(t), ListPort: freePort(t), KeepJournal: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := network.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := network.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := network.Restart(t.Context(), network.Hosts()[1], false); err != nil {
		t.Fatal(err)
	}
	var config net.ListenConfig
	taken, err := config.Listen(t.Context(), "tcp", network.Nodes()[1])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	if err := scaled.Sleep(t.Context(), 41*time.Second); err != nil {
		t.Fatal(err)
	}
	network.History()
	if err := network.Stop(); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), network.Nodes()[1]) {
		t.Errorf("the end of the network reports %v", err)
	}
}

func TestPortsInUse(t *testing.T) {
	var config net.ListenConfig
	taken, err := config.Listen(t.Context(), "tcp", "127.0.0.3:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	address, _ := taken.Addr().(*net.TCPAddr)
	network, err := simnet.New(simnet.Options{
		Nodes: 3, Port: address.AddrPort().Port(), ListPort: freePort(t), ITNKeys: []ed25519.PublicKey{itnPublicKey(t)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := network.Listen(t.Context()); err == nil {
		t.Error("a network that was not started listens")
	}
	if err := network.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := network.Listen(t.Context()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a port in use: %v", err)
	}
	if err := connect(t, network.Nodes()[0]); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the ports opened before the failure stayed open: %v", err)
	}
	if err := network.Stop(); err != nil {
		t.Error(err)
	}
}
