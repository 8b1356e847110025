package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"provingground/orchestrator/simnet"
)

var update = flag.Bool("update", false, "write what the command says now into the stories' golden files")

// TestStories plays the stories of testdata/script: calls of the command as its users make them, with standard output, standard error and
// exit code apart. Beside the commands of testscript they know:
//
//	lonely                        a configuration whose online list counts what is asked of it and of its one node, which refuses everything
//	network [old] [FAULTS]        a simulated network, its directory being the current one; old makes all its nodes older daemons
//	exits CODE PROGRAM ARG…       run a program to its end; -9 is the end by signal 9
//	begin NAME [<FILE|<-] PROGRAM ARG…   start one; with <- its standard input comes from says
//	says NAME TEXT, hangs-up NAME        give it a line of standard input; end that
//	awaits NAME out|err REGEXP    wait until it has written that
//	signals NAME INT|TERM|KILL
//	ends NAME CODE                wait for its end; NAME.out and NAME.err hold what it wrote
//	requests N|some               how many requests the lonely list and node have seen
//	schedules N, running N        how many schedules the simulated nodes ever accepted, and how many run and were not told to stop
//	nested FILE LEVELS, sized FILE MIB   write a script with lists in lists, and a large one
func TestStories(t *testing.T) {
	t.Parallel()
	commands := map[string]func(*testscript.TestScript, bool, []string){}
	for name, do := range map[string]storyCommand{
		"lonely": lonely, "network": storyNetwork, "exits": exits, "begin": begin, "says": says, "hangs-up": hangsUp, "awaits": awaits,
		"signals": signals, "ends": ends, "requests": requests, "schedules": schedules, "running": running, "nested": nested, "sized": sized,
	} {
		commands[name] = do.run
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"), Setup: setUpStory, Cmds: commands, UpdateScripts: *update, RequireUniqueNames: true,
		Deadline: time.Now().Add(5 * time.Minute), // a program that hangs is told to end then, and its story fails
	})
}

// story is what the commands of one story share.
type story struct {
	t        testing.TB
	env      []string // of the programs that begin starts
	network  *network
	requests *atomic.Int64 // of the lonely list and node
	begun    map[string]*process
}

type storyKey struct{}

func setUpStory(env *testscript.Env) error {
	t, ok := env.T().(testing.TB)
	if !ok {
		return errors.New("testscript does not give its test")
	}
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	bin := filepath.Join(env.WorkDir, ".bin")
	if err := errors.Join(os.Mkdir(bin, 0o700), os.Symlink(executable, filepath.Join(bin, "orchestrator"))); err != nil {
		return err
	}
	env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
	env.Setenv(playEnv, "orchestrator")
	env.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector would let each process sleep a second at its end
	env.Setenv("PW", "")
	env.Values[storyKey{}] = &story{t: t, env: env.Vars, begun: map[string]*process{}}
	return nil
}

// storyCommand is a command of stories. It returns what is wrong.
type storyCommand func(*testscript.TestScript, *story, []string) error

func (do storyCommand) run(ts *testscript.TestScript, negated bool, args []string) {
	s, ok := ts.Value(storyKey{}).(*story)
	if !ok || negated {
		ts.Fatalf("the story was not set up, or this command takes no !")
	}
	ts.Check(do(ts, s, args))
}

// want reports a wrong number of arguments.
func want(args []string, n int, usage string) error {
	if len(args) != n {
		return fmt.Errorf("%d arguments; usage: %s", len(args), usage)
	}
	return nil
}

func lonely(ts *testscript.TestScript, s *story, _ []string) error {
	s.requests = &atomic.Int64{}
	mux := http.NewServeMux()
	server := httptest.NewUnstartedServer(mux)
	address, ok := server.Listener.Addr().(*net.TCPAddr)
	if !ok {
		return errors.New("the server has no TCP address")
	}
	mux.HandleFunc("/v1/online", func(w http.ResponseWriter, _ *http.Request) {
		s.requests.Add(1)
		_, _ = fmt.Fprintf(w, `[{"remote_addr":"127.0.0.1","graphql_control_port":%d}]`, address.Port)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		s.requests.Add(1)
		http.Error(w, "go away", http.StatusUnauthorized)
	})
	server.Start()
	ts.Defer(server.Close)
	config, err := json.MarshalIndent(map[string]any{
		"keyFile": "itn-key", "onlineURL": server.URL + "/v1/online", "slotDurationMs": 180000,
		"genesisTimestamp": time.Now().UTC().Format(time.RFC3339Nano), "clockScale": 36000, // pauses between attempts are network time
	}, "", "  ")
	return errors.Join(err, os.WriteFile(ts.MkAbs("config.json"), config, 0o600),
		os.WriteFile(ts.MkAbs("itn-key"), []byte("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"), 0o600))
}

func storyNetwork(ts *testscript.TestScript, s *story, args []string) error {
	old := len(args) > 0 && args[0] == "old"
	if old {
		args = args[1:]
	}
	faults, err := simnet.ParseFaults(strings.Join(args, ";"))
	if err != nil {
		return err
	}
	s.network = newNetwork(s.t, ts.MkAbs("."), usualScale, func(o *simnet.Options) {
		o.Faults = faults
		if old {
			o.Old = o.Nodes
		}
	})
	return nil
}

func wantCode(ended error, wanted string) error {
	got, err := codeOf(ended)
	if err == nil && strconv.Itoa(got) != wanted {
		err = fmt.Errorf("exit code %d, not %s", got, wanted)
	}
	return err
}

func exits(ts *testscript.TestScript, _ *story, args []string) error {
	if len(args) < 2 {
		return errors.New("usage: exits CODE PROGRAM ARG…")
	}
	return wantCode(ts.Exec(args[1], args[2:]...), args[0])
}

// process is a program that a story has begun.
type process struct {
	cmd      *exec.Cmd
	in       io.WriteCloser
	out, err *transcript
	ended    chan struct{} // closed at its end
	how      error         // how it ended, from then on
}

// transcript is what a program writes, to be waited for.
type transcript struct {
	mu   sync.Mutex
	text []byte
	more chan struct{} // closed with the next text
}

func newTranscript() *transcript { return &transcript{more: make(chan struct{})} }

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	close(t.more)
	t.more = make(chan struct{})
	return len(p), nil
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

// await waits until the text matches or the program has ended.
func (t *transcript) await(ctx context.Context, re *regexp.Regexp, ended <-chan struct{}) error {
	for {
		t.mu.Lock()
		matched, more := re.Match(t.text), t.more
		t.mu.Unlock()
		if matched {
			return nil
		}
		select {
		case <-more:
		case <-ended:
			if re.MatchString(t.String()) {
				return nil
			}
			return fmt.Errorf("it ended without writing %q:\n%s", re, t)
		case <-ctx.Done():
			return fmt.Errorf("%w: it has not written %q:\n%s", context.Cause(ctx), re, t)
		}
	}
}

// patience is how long a story waits for a program that it has begun.
const patience = 2 * time.Minute

func (s *story) patient() (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(s.t.Context(), patience, fmt.Errorf("no end within %s", patience))
}

func begin(ts *testscript.TestScript, s *story, args []string) error {
	if len(args) < 2 {
		return errors.New("usage: begin NAME [<FILE|<-] PROGRAM ARG…")
	}
	name, args, from := args[0], args[1:], os.DevNull
	if strings.HasPrefix(args[0], "<") {
		from, args = args[0][1:], args[1:]
	}
	if len(args) == 0 || s.begun[name] != nil {
		return fmt.Errorf("%q has no program, or is under way already", name)
	}
	if args[0] == "orchestrator" {
		args[0] = filepath.Join(ts.Getenv("WORK"), ".bin", "orchestrator")
	}
	p := &process{out: newTranscript(), err: newTranscript(), ended: make(chan struct{})}
	p.cmd = exec.CommandContext(s.t.Context(), args[0], args[1:]...)
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = ts.MkAbs("."), s.env, p.out, p.err
	if from == "-" {
		in, err := p.cmd.StdinPipe()
		if err != nil {
			return err
		}
		p.in = in
	} else {
		file, err := os.Open(ts.MkAbs(from))
		if err != nil {
			return err
		}
		defer file.Close()
		p.cmd.Stdin = file
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go func() {
		p.how = p.cmd.Wait()
		close(p.ended)
	}()
	ts.Defer(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
	s.begun[name] = p
	return nil
}

// find returns a program that was begun.
func (s *story) find(name string) (*process, error) {
	p := s.begun[name]
	if p == nil {
		return nil, fmt.Errorf("no program %q was begun", name)
	}
	return p, nil
}

func says(_ *testscript.TestScript, s *story, args []string) error {
	if err := want(args, 2, "says NAME TEXT"); err != nil {
		return err
	}
	p, err := s.find(args[0])
	if err != nil {
		return err
	}
	_, err = io.WriteString(p.in, args[1]+"\n")
	return err
}

func hangsUp(_ *testscript.TestScript, s *story, args []string) error {
	if err := want(args, 1, "hangs-up NAME"); err != nil {
		return err
	}
	p, err := s.find(args[0])
	if err != nil {
		return err
	}
	return p.in.Close()
}

func awaits(_ *testscript.TestScript, s *story, args []string) error {
	if err := want(args, 3, "awaits NAME out|err REGEXP"); err != nil {
		return err
	}
	p, err := s.find(args[0])
	if err != nil {
		return err
	}
	re, err := regexp.Compile("(?m)" + args[2])
	if err != nil {
		return err
	}
	from := p.out
	if args[1] == "err" {
		from = p.err
	}
	ctx, cancel := s.patient()
	defer cancel()
	return from.await(ctx, re, p.ended)
}

func signals(_ *testscript.TestScript, s *story, args []string) error {
	if err := want(args, 2, "signals NAME INT|TERM|KILL"); err != nil {
		return err
	}
	p, err := s.find(args[0])
	if err != nil {
		return err
	}
	known := map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}
	return p.cmd.Process.Signal(known[args[1]])
}

func ends(ts *testscript.TestScript, s *story, args []string) error {
	if err := want(args, 2, "ends NAME CODE"); err != nil {
		return err
	}
	p, err := s.find(args[0])
	if err != nil {
		return err
	}
	ctx, cancel := s.patient()
	defer cancel()
	select {
	case <-p.ended:
	case <-ctx.Done():
		return fmt.Errorf("%w; it wrote:\n%s%s", context.Cause(ctx), p.out, p.err)
	}
	delete(s.begun, args[0])
	ts.Logf("[%s.out]\n%s[%s.err]\n%s", args[0], p.out, args[0], p.err)
	return errors.Join(wantCode(p.how, args[1]),
		os.WriteFile(ts.MkAbs(args[0]+".out"), []byte(p.out.String()), 0o600), os.WriteFile(ts.MkAbs(args[0]+".err"), []byte(p.err.String()), 0o600))
}

func requests(_ *testscript.TestScript, s *story, args []string) error {
	if err := want(args, 1, "requests N|some"); err != nil {
		return err
	}
	if s.requests == nil {
		return errors.New("there is no lonely list")
	}
	seen := int(s.requests.Load())
	if args[0] == "some" && seen > 0 || args[0] == strconv.Itoa(seen) {
		return nil
	}
	return fmt.Errorf("%d requests, not %s", seen, args[0])
}

func schedules(_ *testscript.TestScript, s *story, args []string) error {
	return s.count("schedules", simnet.History.Schedules, args)
}

func running(_ *testscript.TestScript, s *story, args []string) error {
	return s.count("running", simnet.History.Unstopped, args)
}

// count compares the number of some schedules of the network with the one that a command names.
func (s *story) count(what string, of func(simnet.History) []simnet.Schedule, args []string) error {
	if err := want(args, 1, what+" N"); err != nil {
		return err
	}
	if s.network == nil {
		return errors.New("there is no network")
	}
	if found := of(s.network.History()); strconv.Itoa(len(found)) != args[0] {
		return fmt.Errorf("%s: %d, not %s: %v", what, len(found), args[0], found)
	}
	return nil
}

func nested(ts *testscript.TestScript, _ *story, args []string) error {
	if err := want(args, 2, "nested FILE LEVELS"); err != nil {
		return err
	}
	levels, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	text := fmt.Sprintf(`{"action":"join","params":{"group1":%s%s}}`+"\n", strings.Repeat("[", levels), strings.Repeat("]", levels))
	return os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600)
}

func sized(ts *testscript.TestScript, _ *story, args []string) error {
	if err := want(args, 2, "sized FILE MIB"); err != nil {
		return err
	}
	mebibytes, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	line := append(bytes.Repeat([]byte(" "), 1<<20-1), '\n')
	return os.WriteFile(ts.MkAbs(args[0]), append(bytes.Repeat(line, mebibytes), "{}\n"...), 0o600)
}
