package orchestrator_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"provingground/internal/mina"
	"provingground/orchestrator"
	"provingground/orchestrator/simnet"
)

// fundingCalls keeps the calls of the mina executable, and may have some of them fail before the program does anything.
type fundingCalls struct {
	programs
	fail func(call int, c orchestrator.Command) error // nil: none

	mu    sync.Mutex
	calls []orchestrator.Command
}

func (f *fundingCalls) Run(ctx context.Context, c orchestrator.Command) error {
	f.mu.Lock()
	f.calls = append(f.calls, c)
	call := len(f.calls)
	f.mu.Unlock()
	if f.fail != nil {
		if err := f.fail(call, c); err != nil {
			return err
		}
	}
	return f.programs.Run(ctx, c)
}

// flags returns the values that the calls gave to an option, sorted; "" where it was missing.
func (f *fundingCalls) flags(name string) []string {
	var values []string
	for _, c := range f.calls {
		value := ""
		if i := slices.Index(c.Args, name); i >= 0 {
			value = c.Args[i+1]
		}
		values = append(values, value)
	}
	return sorted(values)
}

// through returns options of a run that calls its programs by way of f.
func (n *network) through(f *fundingCalls) options {
	f.programs = programs{n}
	return options{seed: 1, change: func(w *orchestrator.World) { w.Programs = f }}
}

// newFundingNetwork starts a network with three more funding keys, private-keys/key-1 to key-3. Their public keys are returned in the
// order of the files, that of key-0 first.
func newFundingNetwork(t *testing.T, change func(*simnet.Options)) (*network, []string) {
	t.Helper()
	var public []string
	n := newNetwork(t, func(o *simnet.Options) {
		for key := range o.Accounts {
			public = append(public, key.String())
		}
		for i, key := range newKeys(t, 3) {
			writeKey(t, fmt.Sprintf("private-keys/key-%d", i+1), key, "")
			o.Accounts[key.PublicKey()] = rich
			public = append(public, key.PublicKey().String())
		}
		o.Nodes, o.Producers, o.Slot = 3, 2, 30*time.Second // short slots, so that the accounts are soon there
		if change != nil {
			change(o)
		}
	})
	return n, public
}

// fund spells a step that makes so many keys under a prefix out of funding keys, by their numbers.
func fund(prefix string, num int, from ...int) string {
	files := make([]string, len(from))
	for i, k := range from {
		files[i] = fmt.Sprintf("private-keys/key-%d", k)
	}
	return step("fund-keys", params{"amount": num * 10_000_000_000, "fee": 1_000_000_000, "prefix": prefix, "num": num, "privkeys": files})
}

// mustOwn fails the test unless the key files of a directory are these, open with the password, and own so much each on the network.
func (n *network) mustOwn(t *testing.T, dir, password string, names []string, each uint64) {
	t.Helper()
	files, err := orchestrator.Disk{}.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	balances := map[string]uint64{}
	for _, account := range toldOf[simnet.AccountCreated](n) {
		balances[account.fact.PublicKey] = account.fact.Balance
	}
	var found []string
	for _, name := range files {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".pub") {
			continue
		}
		found = append(found, name)
		key, err := mina.OpenKeyFile(content, []byte(password))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		public, err := os.ReadFile(filepath.Join(dir, name+".pub"))
		if err != nil || string(bytes.TrimSpace(public)) != key.PublicKey().String() {
			t.Errorf("%s.pub holds %q: %v", name, public, err)
		}
		if got := balances[key.PublicKey().String()]; got != each {
			t.Errorf("%s owns %d nanomina, want %d", name, got, each)
		}
	}
	mustEqual(t, "key files", sorted(names), found)
}

func TestFundKeys(t *testing.T) {
	t.Run("the remainder goes to the first funding keys", func(t *testing.T) {
		n, public := newFundingNetwork(t, nil)
		f := &fundingCalls{}
		// 7 nanomina of the amount are left over, for 10 accounts get the same each (D44).
		n.run(script(
			step("fund-keys", params{
				"amount": 100_000_000_007, "fee": 1_000_000_000, "prefix": "new/key", "num": 10, "passwordEnv": "PW",
				"privkeys": []string{"private-keys/key-0", "private-keys/key-1", "private-keys/key-2", "private-keys/key-3"},
			}),
			step("wait", params{"min": 3}),
		), n.through(f)).mustEnd(t, orchestrator.CodeOK)
		type job struct {
			Payer  string
			Num    int
			Amount uint64
			Fee    uint64
		}
		var jobs []job
		for _, started := range toldOf[simnet.FundingStarted](n) {
			jobs = append(jobs, job{started.fact.FeePayer, started.fact.NumAccounts, started.fact.Amount, started.fact.Fee})
		}
		want := []job{
			{public[0], 3, 30_000_000_000, 1_000_000_000},
			{public[1], 3, 30_000_000_000, 1_000_000_000},
			{public[2], 2, 20_000_000_000, 1_000_000_000},
			{public[3], 2, 20_000_000_000, 1_000_000_000},
		}
		byPayer := func(a, b job) int { return cmp.Compare(a.Payer, b.Payer) }
		slices.SortFunc(want, byPayer)
		slices.SortFunc(jobs, byPayer)
		mustEqual(t, "jobs", want, jobs)
		n.mustOwn(t, "new", "", []string{
			"key-0-0", "key-0-1", "key-0-2", "key-1-0", "key-1-1", "key-1-2", "key-2-0", "key-2-1", "key-3-0", "key-3-1",
		}, 9_000_000_000)
		for _, c := range f.calls { // D43: beside the program's own environment
			mustEqual(t, "environment", []string{"MINA_PRIVKEY_PASS=", "ITN_FEATURES=1"}, c.Env)
		}
		mustEqual(t, "daemon ports", []string{"", "", "", ""}, f.flags("--daemon-port"))
	})

	t.Run("with a password", func(t *testing.T) {
		n, _ := newFundingNetwork(t, nil)
		writeKey(t, "private-keys/locked", newKeys(t, 1)[0], "correct horse")
		content, err := os.ReadFile("private-keys/key-0")
		if err != nil {
			t.Fatal(err)
		}
		key, err := mina.OpenKeyFile(content, nil)
		if err != nil {
			t.Fatal(err)
		}
		writeKey(t, "private-keys/locked", key, "correct horse")
		e := n.run(script(
			step("fund-keys", params{
				"amount": 5_000_000_000, "fee": 1_000_000, "prefix": "new/key", "num": 1, "privkeys": []string{"private-keys/locked"}, "passwordEnv": "PASS",
			}),
			step("load-keys", params{"dir": "new", "passwordEnv": "PASS"}),
		)).mustEnd(t, orchestrator.CodeOK)
		n.mustOwn(t, "new", "correct horse", []string{"key-0-0"}, 4_000_000_000)
		if strings.Contains(e.out+e.log, "correct horse") {
			t.Error("the password is in the output")
		}
	})

	t.Run("steps that share a funding key take turns", func(t *testing.T) {
		n, public := newFundingNetwork(t, nil)
		n.config.FundDaemonPorts = []string{"8301", "8302", "8303"}
		// The first two run together, then the other two: each waits for its companion.
		meet := map[string]chan struct{}{"a": make(chan struct{}), "c": make(chan struct{})}
		companion := map[string]string{"b": "a", "d": "c"}
		f := &fundingCalls{fail: func(_ int, c orchestrator.Command) error {
			dir := filepath.Dir(c.Args[slices.Index(c.Args, "--key-prefix")+1])
			alone, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			select {
			case <-meet[companion[dir]]: // of the second one
			case meet[dir] <- struct{}{}: // of the first one
			case <-alone.Done():
				return errors.New("its companion does not come")
			}
			return nil
		}}
		n.run(script(
			fund("a/key", 2, 0), fund("b/key", 2, 1), `"a comment does not end the batch"`, fund("c/key", 2, 0), fund("d/key", 2, 2),
			step("load-keys", params{"dir": "d"}), // ends the batch, and needs what it made
		), n.through(f)).mustEnd(t, orchestrator.CodeOK)
		for _, dir := range []string{"a", "b", "c", "d"} {
			n.mustOwn(t, dir, "", []string{"key-0-0", "key-0-1"}, 9_000_000_000)
		}
		var payers []string
		running := map[string]string{} // funding key of each job
		for _, entry := range n.History() {
			switch fact := entry.Fact.(type) {
			case simnet.FundingStarted:
				for _, other := range running {
					if other == fact.FeePayer {
						t.Error("one funding key is in two jobs at one time")
					}
				}
				running[fact.Handle] = fact.FeePayer
				payers = append(payers, fact.FeePayer)
			case simnet.FundingEnded:
				delete(running, fact.Handle)
			}
		}
		mustEqual(t, "first two funding keys", sorted(public[:2]), sorted(payers[:2]))
		mustEqual(t, "last two funding keys", sorted([]string{public[0], public[2]}), sorted(payers[2:]))
		mustEqual(t, "daemon ports (D46)", []string{"8301", "8301", "8302", "8303"}, f.flags("--daemon-port"))
	})

	t.Run("each funding key has its daemon port", func(t *testing.T) { // D46
		n, _ := newFundingNetwork(t, nil)
		n.config.FundDaemonPorts = []string{"8301", "8302"}
		f := &fundingCalls{}
		n.run(fund("a/key", 3, 0, 1, 2), n.through(f)).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "daemon ports", []string{"8301", "8301", "8302"}, f.flags("--daemon-port"))
	})

	t.Run("a failure before anything was written is tried again", func(t *testing.T) {
		n, _ := newFundingNetwork(t, nil)
		n.config.FundDaemonPorts = []string{"8301", "8302"}
		f := &fundingCalls{fail: func(call int, _ orchestrator.Command) error {
			if call > 2 {
				return nil
			}
			return &orchestrator.ExitError{Program: "mina", Code: 1, Last: "no daemon"}
		}}
		n.run(fund("a/key", 2, 0), n.through(f)).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "daemon ports, one after the other", []string{"8301", "8301", "8302"}, f.flags("--daemon-port"))
		mustEqual(t, "jobs", 1, len(toldOf[simnet.FundingStarted](n)))
		n.mustOwn(t, "a", "", []string{"key-0-0", "key-0-1"}, 9_000_000_000)
	})

	t.Run("a failure after key files were written is not", func(t *testing.T) { // D40, D42
		n, public := newFundingNetwork(t, nil)
		f := &fundingCalls{}
		f.fail = func(_ int, c orchestrator.Command) error {
			if !slices.Contains(c.Args, "private-keys/key-1") {
				return nil
			}
			if err := f.programs.Run(context.WithoutCancel(t.Context()), c); err != nil {
				return err
			}
			return &orchestrator.ExitError{Program: "mina", Code: 1, Last: "the connection broke"}
		}
		e := n.run(fund("a/key", 4, 0, 1), n.through(f)).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "private-keys/key-1", "the connection broke", "a/key-1-0 to a/key-1-1", "look at the balances")
		var payers []string
		for _, started := range toldOf[simnet.FundingStarted](n) {
			payers = append(payers, started.fact.FeePayer)
		}
		mustEqual(t, "each funding key paid once", sorted(public[:2]), sorted(payers))
		// The other funding key's run was not cut off.
		n.mustOwn(t, "a", "", []string{"key-0-0", "key-0-1", "key-1-0", "key-1-1"}, 9_000_000_000)
	})

	t.Run("five attempts in all", func(t *testing.T) {
		n, _ := newFundingNetwork(t, nil)
		f := &fundingCalls{fail: func(int, orchestrator.Command) error {
			return &orchestrator.ExitError{Program: "mina", Code: 1, Last: "no daemon"}
		}}
		e := n.run(script(fund("a/key", 2, 0), step("set-zkapp-soft-limit", params{"nodes": n.Nodes(), "limit": 1})), n.through(f)).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "test:1:", "step 0: fund-keys failed", "no daemon")
		mustEqual(t, "calls", 5, len(f.calls))
		if set := toldOf[simnet.LimitSet](n); len(set) > 0 { // D3
			t.Errorf("the script went on after its batch had failed: %v", set)
		}
	})

	t.Run("an interruption ends the pauses (D11)", func(t *testing.T) {
		n, _ := newFundingNetwork(t, nil)
		f := &fundingCalls{fail: func(int, orchestrator.Command) error {
			return &orchestrator.ExitError{Program: "mina", Code: 1, Last: "no daemon"}
		}}
		o := interruptedAt(t, "funding failed before it wrote a key file, trying again")
		calls := n.through(f).change
		interrupt := o.change
		o.change = func(w *orchestrator.World) { calls(w); interrupt(w) }
		n.run(fund("a/key", 2, 0), o).mustEnd(t, 130)
		mustEqual(t, "calls", 1, len(f.calls))
	})

	t.Run("the whole batch is checked before any of it runs", func(t *testing.T) { // D45
		n, _ := newFundingNetwork(t, nil)
		if err := os.Mkdir("there", 0o700); err != nil {
			t.Fatal(err)
		}
		e := n.run(script(fund("a/key", 1, 0), fund("there/key", 1, 1))).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "test:2:", "step 1", "there exists already")
		e = n.run(script(fund("a/key", 1, 0), step("fund-keys", params{
			"amount": 9_000_000_000, "fee": 1, "prefix": "b/key", "num": 1, "privkeys": []string{"private-keys/key-1"}, "passwordEnv": "ABSENT",
		}))).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "test:2:", `"ABSENT"`)
		e = n.run(script(fund("a/key", 1, 0), fund("./a/key", 1, 1))).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "test:2:", "prefix", "step 0")
		e = n.run(script(fund("a/key", 1, 0), fund("b/key", 1, 1), fund("a/key", 1, 0))).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "test:3:", "prefix", "step 0")
		if started := toldOf[simnet.FundingStarted](n); len(started) > 0 {
			t.Errorf("money was moved: %v", started)
		}
		if _, err := os.Stat("a"); err == nil {
			t.Error("key files were written")
		}
	})

	t.Run("two steps may fill one directory", func(t *testing.T) {
		n, _ := newFundingNetwork(t, nil)
		n.run(script(fund("a/one", 1, 0), fund("a/two", 1, 1))).mustEnd(t, orchestrator.CodeOK)
		n.mustOwn(t, "a", "", []string{"one-0-0", "two-0-0"}, 9_000_000_000)
	})

	t.Run("what cannot work", func(t *testing.T) {
		n, _ := newFundingNetwork(t, nil)
		base := params{"amount": 9_000_000_000, "fee": 1, "prefix": "a/key", "num": 2, "privkeys": []string{"private-keys/key-0"}}
		for name, test := range map[string]struct {
			params params
			want   string
		}{
			"one key twice (D41)":             {params{"privkeys": []string{"private-keys/key-0", "./private-keys/key-0"}}, "given twice"},
			"no funding key":                  {params{"privkeys": []string{}}, "privkeys is empty"},
			"no account (D44)":                {params{"num": 0}, "num must be above 0"},
			"a negative number of accounts":   {params{"num": -1}, "num must be above 0"},
			"less than the creation fee each": {params{"num": 9}, "its creation alone takes 1 MINA"},
			"a directory for a prefix":        {params{"prefix": "a/"}, "prefix is a directory"},
			"no amount":                       {params{"amount": nil}, "amount"},
		} {
			t.Run(name, func(t *testing.T) {
				mustSay(t, n.findings(step("fund-keys", base.with(test.params))), "test:1:", test.want)
			})
		}
	})
}

func TestFundKeysThroughANode(t *testing.T) {
	for name, configure := range map[string]func(*orchestrator.Config){
		"because the mina executable is missing": func(c *orchestrator.Config) { c.MinaExec = "absent" },
		"because the configuration says so":      func(c *orchestrator.Config) { c.FundThrough = "node" },
	} {
		t.Run(name, func(t *testing.T) {
			n, public := newFundingNetwork(t, func(o *simnet.Options) { o.Old = 2 })
			configure(&n.config)
			f := &fundingCalls{}
			n.run(script(
				step("fund-keys", params{
					"amount": 30_000_000_000, "fee": 1_000_000, "prefix": "new/key", "num": 3,
					"privkeys": []string{"private-keys/key-0", "private-keys/key-1"},
				}),
				step("load-keys", params{"dir": "new"}),
			), n.through(f)).mustEnd(t, orchestrator.CodeOK)
			mustEqual(t, "calls of programs", 0, len(f.calls))
			started := toldOf[simnet.FundingStarted](n)
			var payers []string
			for _, s := range started {
				payers = append(payers, s.fact.FeePayer)
				if s.node != n.Nodes()[0] || s.fact.Operation != "createAccounts" || s.fact.Amount != uint64(s.fact.NumAccounts)*10_000_000_000 || s.fact.Fee != 1_000_000 {
					t.Errorf("job %+v on %s", s.fact, s.node)
				}
			}
			mustEqual(t, "funding keys", sorted(public[:2]), sorted(payers))
			n.mustOwn(t, "new", "", []string{"key-0-0", "key-0-1", "key-1-0"}, 9_000_000_000)
		})
	}

	t.Run("no node is new enough", func(t *testing.T) {
		n, _ := newFundingNetwork(t, func(o *simnet.Options) { o.Old = 3 })
		n.config.MinaExec = "absent"
		e := n.run(fund("new/key", 1, 0)).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), `no executable "absent"`, "none of 3 online nodes is new enough", "set minaExec")
	})

	t.Run("only the executable may be used", func(t *testing.T) {
		n, _ := newFundingNetwork(t, nil)
		n.config.MinaExec, n.config.FundThrough = "absent", "mina"
		e := n.run(fund("new/key", 1, 0)).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "no executable absent")
		if started := toldOf[simnet.FundingStarted](n); len(started) > 0 {
			t.Errorf("accounts were created: %v", started)
		}
	})

	t.Run("a funding key that cannot be opened", func(t *testing.T) {
		n, _ := newFundingNetwork(t, nil)
		n.config.FundThrough = "node"
		writeKey(t, "private-keys/locked", newKeys(t, 1)[0], "correct horse")
		e := n.run(step("fund-keys", params{
			"amount": 9_000_000_000, "fee": 1, "prefix": "a/key", "num": 1, "privkeys": []string{"private-keys/locked"},
		})).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "private-keys/locked")
	})

	t.Run("a resumed run waits for the accounts too", func(t *testing.T) {
		n, _ := newFundingNetwork(t, func(o *simnet.Options) { o.Slot = 4 * time.Minute })
		n.config.FundThrough = "node"
		text := script(fund("new/key", 2, 0), step("set-zkapp-soft-limit", params{"nodes": n.Nodes()}))
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		w := &wire{asked: func(query string) {
			if strings.Contains(query, "scheduledTransactions") {
				cancel(&orchestrator.Interrupted{Signal: syscall.SIGINT})
			}
		}}
		o := n.tapped(w)
		o.ctx = ctx
		first := n.run(text, o).mustEnd(t, 130)
		n.run(text, options{resume: first.path}).mustEnd(t, orchestrator.CodeOK)
		ended := toldOf[simnet.FundingEnded](n)
		if len(ended) != 1 || ended[0].fact.Reason != simnet.EndDone {
			t.Fatalf("jobs ended: %+v, want one that is done", ended)
		}
		for _, set := range toldOf[simnet.LimitSet](n) {
			if set.at.Before(ended[0].at) {
				t.Error("the next step began before the accounts were there")
			}
		}
	})

	t.Run("a reply that is lost does not fund twice", func(t *testing.T) {
		// Before the request can be repeated, half a second (five minutes of network time) passes, in which the job ends.
		n, _ := newFundingNetwork(t, func(o *simnet.Options) { o.Faults = mustParse(t, "lose-reply:*/createAccounts#1; slow:*/auth=500ms") })
		n.config.FundThrough = "node"
		e := n.run(fund("new/key", 2, 0)).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "reply lost")
		mustEqual(t, "jobs", 1, len(toldOf[simnet.FundingStarted](n)))
	})

	t.Run("the node restarts meanwhile", func(t *testing.T) {
		n, _ := newFundingNetwork(t, func(o *simnet.Options) { o.RestartAfter, o.Slot = time.Second, 20*time.Hour })
		n.config.FundThrough = "node"
		e := n.run(fund("new/key", 2, 0), options{seed: 1, change: func(w *orchestrator.World) {
			w.Files = restarting{n: n, host: n.Hosts()[0]}
		}})
		ended := toldOf[simnet.FundingEnded](n)
		if len(ended) != 1 || ended[0].fact.Reason != simnet.EndKilled {
			t.Fatalf("the job ended with %+v, want killed", ended)
		}
		e.mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "nobody knows whether these accounts were funded", "new/key-0-")
	})
}

// restarting are files of which the first key that is written makes a node restart.
type restarting struct {
	orchestrator.Disk
	n    *network
	host string
}

func (r restarting) Create(path string, content []byte) error {
	if strings.HasSuffix(path, "-0-0") {
		if err := r.n.Restart(r.n.t.Context(), r.host, false); err != nil {
			return err
		}
	}
	return r.Disk.Create(path, content)
}
