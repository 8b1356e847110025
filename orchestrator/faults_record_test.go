package orchestrator_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"provingground/internal/soak"
	"provingground/orchestrator"
	"provingground/orchestrator/record"
	"provingground/orchestrator/simnet"
)

// brittle is a record file, or standard output, that fails at one write or flush and at all later ones. It knows what of it is on disk.
type brittle struct {
	writes, flushes int // so many succeed; negative: all
	err             error

	mu      sync.Mutex
	text    bytes.Buffer
	durable int // bytes that were flushed
	failed  bool
}

func (b *brittle) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed || b.writes == 0 {
		b.failed = true
		n, _ := b.text.Write(p[:len(p)/2]) // as much as there was room for
		return n, b.err
	}
	b.writes--
	return b.text.Write(p)
}

func (b *brittle) Sync() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed || b.flushes == 0 {
		b.failed = true
		return b.err
	}
	b.flushes--
	b.durable = b.text.Len()
	return nil
}

func (b *brittle) hasFailed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed
}

// onDisk returns what a power cut would leave.
func (b *brittle) onDisk() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text.Bytes()[:b.durable])
}

// newEverythingNetwork starts a network for the script of everything. It returns the public keys of the fee payers of its two loads.
func newEverythingNetwork(t *testing.T, old int) (n *network, payers, zpayers []string) {
	t.Helper()
	n, payers = newLoadNetwork(t, 6, func(o *simnet.Options) {
		o.Old = old
		zpayers = fundedKeys(t, o, "zkeys", 4)
	})
	return n, payers, zpayers
}

// everything is a script with one of each call to a node that leaves something behind. At its end there are a load of zkApp commands on two
// nodes, a limit on three and an isolation of three.
func (n *network) everything(name string) string {
	return script(discoverAndLoadKeys(), // 0, 1
		step("load-keys", params{"dir": "zkeys"}),  // 2
		paymentsOn(params{"experimentName": name}), // 3
		step("set-zkapp-soft-limit", params{"nodes": n.Nodes()[:3], "limit": 3}),
		step("isolate", params{"nodes": n.Nodes()[3:]}), // 5
		step("wait", params{"sec": 1}),
		step("stop", params{"receipts": output(3, "receipt")}), // 7
		step("zkapp-txs", someZkapps().with(params{"experimentName": name, "tps": 1, "minTps": 0.5, "gap": 20, "feePayers": output(2, "key")})),
	)
}

var numberInHeader = regexp.MustCompile(`Sequencing (\S+) (\d+)$`)

// TestTheRecordCannotBeWritten lets the record file, its flushes and standard output fail, each at every point of a run. Every call that
// leaves something behind was on disk before it was made; after the failure none is made any more, what there is is undone, and the run
// ends with 3 (D5).
func TestTheRecordCannotBeWritten(t *testing.T) {
	n, _, _ := newEverythingNetwork(t, 2)
	for what, at := range map[string]func(k int) (file, out *brittle){
		"w": func(k int) (*brittle, *brittle) {
			return &brittle{writes: k, flushes: -1, err: syscall.ENOSPC}, &brittle{writes: -1, flushes: -1}
		},
		"f": func(k int) (*brittle, *brittle) {
			return &brittle{writes: -1, flushes: k, err: syscall.EIO}, &brittle{writes: -1, flushes: -1}
		},
		"o": func(k int) (*brittle, *brittle) {
			return &brittle{writes: -1, flushes: -1}, &brittle{writes: k, flushes: -1, err: syscall.EPIPE}
		},
	} {
		t.Run(map[string]string{"w": "disk full", "f": "flush fails", "o": "standard output closed"}[what], func(t *testing.T) {
			stride := 1 + 10/soak.Rounds(t) // every point at ROUNDS=10 or more
			for k := 0; ; k += stride {
				file, out := at(k)
				failing := file
				if what == "o" {
					failing = out
				}
				late := &safeBuffer{}
				e := n.try(n.everything(fmt.Sprint(what, k)), trial{
					file: func(record.File) record.File { return file }, stdout: out,
					step: func(number int, action string) {
						if failing.hasFailed() {
							fmt.Fprintf(late, "step %d (%s) began\n", number, action)
						}
					},
					between: func(x exchange) (*http.Response, error) {
						if number := numberInHeader.FindStringSubmatch(x.Header.Get("Authorization")); x.mutates() && number != nil {
							intent := fmt.Sprintf(`"serverUuid":"%s","sequenceNumber":%s`, number[1], number[2])
							if !strings.Contains(file.onDisk(), intent) {
								fmt.Fprintf(late, "%s was sent to %s, and its intent is not on disk\n", x.operation, x.node)
							}
						}
						return x.pass()
					},
				})
				if text := late.String(); text != "" {
					t.Errorf("at %d: %s", k, text)
				}
				if !failing.hasFailed() { // the run came to its end before
					e.mustEnd(t, orchestrator.CodeOK)
					if err := os.WriteFile("whole.record", file.text.Bytes(), 0o600); err != nil {
						t.Fatal(err)
					}
					if result, _ := n.stop("whole.record", trial{}); result.Code != orchestrator.CodeOK {
						t.Fatalf("stop: %d, %v", result.Code, result.Remains)
					}
					if k == 0 {
						t.Fatal("nothing failed")
					}
					return
				}
				e.mustEnd(t, orchestrator.CodeStep)
				if !errors.Is(e.Err, failing.err) || strings.Count(e.Err.Error(), "cannot be recorded") != 1 {
					t.Errorf("at %d: %v does not say once what failed", k, e.Err)
				}
				n.mustBeReported(t, e.Result)
				n.mustNotOverlap(t)
			}
		})
	}
}

// TestARealFullDevice: the first line finds no room, so nothing at all is sent.
func TestARealFullDevice(t *testing.T) {
	n := newNetwork(t, nil)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	reader, closed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer closed.Close()
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		trial trial
		want  error
	}{
		"record file":     {trial{file: func(record.File) record.File { return full }}, syscall.ENOSPC},
		"standard output": {trial{stdout: full}, syscall.ENOSPC},
		"a closed pipe":   {trial{stdout: closed}, syscall.EPIPE},
	} {
		t.Run(name, func(t *testing.T) {
			e := n.try(step("set-zkapp-soft-limit", params{"nodes": n.Nodes(), "limit": 3}), test.trial).mustEnd(t, orchestrator.CodeStep)
			if !errors.Is(e.Err, test.want) {
				t.Errorf("the run ended with %v, want %v", e.Err, test.want)
			}
			mustEqual(t, "times that the error says so", 1, strings.Count(e.Err.Error(), "cannot be recorded"))
			mustEqual(t, "requests", 0, len(toldOf[simnet.RequestAnswered](n)))
		})
	}
}
