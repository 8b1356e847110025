package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"provingground/internal/mina"
	"provingground/uptime"
)

// asProgram makes the test binary play the program.
const asProgram = "UPTIME_AS_PROGRAM"

// built are programs that are built once for this test binary, without the race detector.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// binary returns the path of a built program.
func binary(t *testing.T, name string) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "provingground-uptime-test-"); built.err != nil { //nolint:usetesting // it outlives the test that makes it
			return
		}
		out, err := exec.Command("go", "build", "-o", built.dir+"/", "provingground/cmd/simnet", "provingground/cmd/fetcher", "provingground/cmd/orchestrator").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("building: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, name)
}

// await waits until something is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for !so() {
		select {
		case <-tick.C:
		case <-end.Done():
			t.Fatalf("waiting for %s: %v", what, end.Err())
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// text is what a process says, while it says it.
type text struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.all.Write(p)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.all.String()
}

// process is a service in a process of its own.
type process struct {
	cmd    *exec.Cmd
	url    string
	stderr text
	ended  chan struct{}
}

// call makes a call of the program for a test network, on a port of its own.
func call(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(executable, append([]string{"-listen", "127.0.0.1:0"}, args...)...)
	cmd.Env = append(append(os.Environ(), asProgram+"=1", "NETWORK=testnet", "CONFIG_FILE=", "GORACE=atexit_sleep_ms=0"), env...)
	return cmd
}

// start starts a service, and returns when it serves.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{cmd: call(t, env, args...), ended: make(chan struct{})}
	p.cmd.Stderr = &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // its state says how it ended
	}()
	t.Cleanup(p.kill)
	serving := regexp.MustCompile(`serving .*"listen": "([^"]+)"`)
	await(t, "the service to serve", func() bool {
		select {
		case <-p.ended:
			t.Fatalf("the service ended:\n%s", &p.stderr)
		default:
		}
		found := serving.FindStringSubmatch(p.stderr.String())
		if found != nil {
			p.url = "http://" + found[1]
		}
		return found != nil
	})
	return p
}

// kill ends it without a chance to do anything, if it has not ended yet.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// ends runs the program to its end.
func ends(t *testing.T, env []string, args ...string) (code int, output string) {
	t.Helper()
	cmd := call(t, env, args...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// stop ends it by a signal, and returns its exit code.
func (p *process) stop(t *testing.T, signal os.Signal) int {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatalf("%v\n%s", err, &p.stderr)
	}
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

// get asks for a path, and returns status and body; status 0 when there was no answer.
func (p *process) get(t *testing.T, path string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(answer)
}

// online returns the list with all that it says of the nodes.
func (p *process) online(t *testing.T) string {
	t.Helper()
	status, list := p.get(t, "/v1/online?details=true")
	if status != http.StatusOK {
		t.Fatalf("the list: %d %s\n%s", status, list, &p.stderr)
	}
	return list
}

// submit submits a body, and returns what the service says.
func (p *process) submit(t *testing.T, body []byte) (status int, says string) {
	t.Helper()
	status, says, err := uptime.Submit(t.Context(), &http.Transport{DisableKeepAlives: true}, p.url+"/v1/submit", body)
	if err != nil {
		t.Fatalf("%v\n%s", err, &p.stderr)
	}
	return status, says
}

// node is one that reports.
type node struct {
	key  mina.PrivateKey
	peer string
}

// newNodes makes nodes, always the same.
func newNodes(t *testing.T, count int) []node {
	t.Helper()
	var nodes []node
	for i := range count {
		key, err := mina.GeneratePrivateKey(bytes.NewReader(bytes.Repeat([]byte{byte(i + 1)}, 1<<10)))
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, node{key, fmt.Sprintf("12D3KooW%d", i+1)})
	}
	return nodes
}

// report is what the node says of itself now, signed for a test network.
func (n node) report(t *testing.T) []byte {
	t.Helper()
	return n.sign(t, mina.Testnet, time.Now())
}

// sign is what the node says of itself at a time, signed for a network.
func (n node) sign(t *testing.T, network mina.NetworkID, at time.Time) []byte {
	t.Helper()
	body, err := uptime.Report{
		Block: []byte("a block"), CreatedAt: at, PeerID: n.peer, ControlPort: 3086, BuiltWithCommitSHA: "36e0198c", Version: 1,
	}.Sign(network, n.key)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// writeKeys writes a whitelist in place of a former one.
func writeKeys(t *testing.T, path string, nodes ...node) {
	t.Helper()
	lines := []string{"# who may report"}
	for _, n := range nodes {
		lines = append(lines, n.key.PublicKey().String())
	}
	if err := errors.Join(os.WriteFile(path+".new", []byte(strings.Join(lines, "\n")+"\n"), 0o600), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

// writeConfig writes a configuration, and returns its path.
func writeConfig(t *testing.T, config map[string]any) string {
	t.Helper()
	content, err := json.Marshal(config)
	path := filepath.Join(t.TempDir(), "uptime.json")
	if err := errors.Join(err, os.WriteFile(path, content, 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}
