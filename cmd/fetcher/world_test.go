package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
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
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"provingground/cmd/internal/privatedb"
	"provingground/fetcher"
	"provingground/internal/mina"
	"provingground/internal/privatepg/pgtest"
	"provingground/orchestrator/itn"
)

// asProgram makes the test binary play the program.
const asProgram = "FETCHER_AS_PROGRAM"

// built are programs that are built once for this test binary, without the race detector: the simulated network and the fetcher whose
// memory is measured.
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
		if built.dir, built.err = os.MkdirTemp("", "provingground-fetcher-test-"); built.err != nil { //nolint:usetesting // it outlives the test that makes it
			return
		}
		out, err := exec.Command("go", "build", "-o", built.dir+"/", "provingground/cmd/simnet", "provingground/cmd/fetcher").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("building: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, name)
}

// await waits until something is so; the test's own time limit ends it.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
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

// network is a simulated network in a process of its own.
type network struct {
	cmd       *exec.Cmd
	dir       string
	nodes     []string // HOST:PORT
	onlineURL string
	genesis   string
	scale     float64
	stderr    text
}

// startNetwork starts a network that writes down each entry of its nodes' logs, and returns when it is ready.
func startNetwork(t *testing.T, flags ...string) *network {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "net")
	return startNetworkIn(t, dir, append(flags, "-log-journal", (&network{dir: dir}).logJournal())...)
}

// startNetworkIn starts a network in a directory that it makes, and returns when it is ready.
func startNetworkIn(t *testing.T, dir string, flags ...string) *network {
	t.Helper()
	n := &network{dir: dir}
	n.cmd = exec.CommandContext(t.Context(), binary(t, "simnet"), append([]string{"-dir", n.dir, "-port", freePort(t), "-list-port", freePort(t)}, flags...)...)
	n.cmd.Stderr = &n.stderr
	stdout, err := n.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n.cmd.ProcessState == nil {
			_ = n.cmd.Process.Kill()
			_ = n.cmd.Wait()
		}
	})
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if lines.Text() == "ready" {
			n.readConfig(t)
			return n
		}
		if node, ok := strings.CutPrefix(lines.Text(), "node "); ok {
			node, _, _ = strings.Cut(node, " ")
			n.nodes = append(n.nodes, node)
		}
	}
	_ = n.cmd.Wait()
	t.Fatalf("the network ended before it was ready: %s", &n.stderr)
	return nil
}

func (n *network) logJournal() string { return filepath.Dir(n.dir) + "/logs.jsonl" }

func (n *network) readConfig(t *testing.T) {
	t.Helper()
	var config struct {
		OnlineURL, GenesisTimestamp string
		ClockScale                  float64
	}
	content, err := os.ReadFile(filepath.Join(n.dir, "config.json"))
	if err == nil {
		err = json.Unmarshal(content, &config)
	}
	if err != nil {
		t.Fatal(err)
	}
	n.onlineURL, n.genesis, n.scale = config.OnlineURL, config.GenesisTimestamp, config.ClockScale
}

// stop ends the network in order, which completes its journals.
func (n *network) stop(t *testing.T) {
	t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := n.cmd.Wait(); err != nil {
		t.Fatalf("the network: %v\n%s", err, &n.stderr)
	}
}

// restart ends the daemon of a node, which returns by itself.
func (n *network) restart(t *testing.T, node string) {
	t.Helper()
	host, _, _ := strings.Cut(node, ":")
	if out, err := exec.CommandContext(t.Context(), filepath.Join(n.dir, "bin", "control"), "restart", host).CombinedOutput(); err != nil {
		t.Fatalf("restarting %s: %v\n%s", node, err, out)
	}
}

// load has nodes send payments, so many each second of network time.
func (n *network) load(t *testing.T, node string, key int, tps float64) {
	t.Helper()
	itnKey := n.key(t, "itn-key")
	client := itn.New(node, itnKey, itn.Options{})
	defer client.Close()
	sender, err := os.ReadFile(filepath.Join(n.dir, "private-keys", fmt.Sprintf("key-%d", key)))
	if err != nil {
		t.Fatal(err)
	}
	private, public := openKey(t, sender)
	if _, err := client.SchedulePayments(t.Context(), itn.PaymentsDetails{
		Senders: []itn.PrivateKey{itn.NewPrivateKey(private)}, Receiver: public, Amount: 1, MinFee: 1e8, MaxFee: 1e8,
		MemoPrefix: fmt.Sprintf("load-0-%d", key), TPS: tps, DurationMin: 60 * 24 * 7,
	}, "", nil); err != nil {
		t.Fatalf("load on %s: %v", node, err)
	}
}

func (n *network) key(t *testing.T, file string) itn.Key {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(n.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	key, err := itn.ParseKey(strings.TrimSpace(string(content)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// process is a fetcher in a process of its own.
type process struct {
	cmd    *exec.Cmd
	dir    string // of -o
	url    string // of its port
	stderr text
	ended  chan struct{}
	err    error // of its end
}

// outputDir returns a directory for -o, which the user of a private PostgreSQL can enter.
func outputDir(t *testing.T) string {
	t.Helper()
	return filepath.Join(pgtest.Dir(t), "out")
}

// call makes a call of the program: of this test binary, or of a built one.
func call(t *testing.T, executable string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	if executable == "" {
		var err error
		if executable, err = os.Executable(); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(executable, args...)
	cmd.Env = append(append(os.Environ(), asProgram+"=1"), env...)
	return cmd
}

// discovery are the arguments of a fetcher on a network.
func (n *network) discovery(dir string, flags ...string) []string {
	return append([]string{"-k", filepath.Join(n.dir, "fetcher-key"), "-o", dir, "--genesis", n.genesis, "--clock-scale", fmt.Sprint(n.scale), "discovery"}, flags...)
}

// startFetcher starts a fetcher on the network; executable is empty for this test binary.
func (n *network) startFetcher(t *testing.T, executable, dir string, flags ...string) *process {
	t.Helper()
	return start(t, executable, dir, []string{"ONLINE_URL=" + n.onlineURL, "FETCH_INTERVAL_MS=2000"}, n.discovery(dir, flags...)...)
}

// start starts a fetcher on a port of its own.
func start(t *testing.T, executable, dir string, env []string, args ...string) *process {
	t.Helper()
	listen := "127.0.0.1:" + freePort(t)
	p := &process{dir: dir, url: "http://" + listen, ended: make(chan struct{})}
	p.cmd = call(t, executable, env, append(args, "--listen", listen)...)
	p.cmd.Stderr = &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() { p.kill() })
	return p
}

// kill ends it without a chance to do anything, if it has not ended yet.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
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

// get asks its port, and returns status and body; status 0 when there was no answer.
func (p *process) get(t *testing.T, method, path, body string) (int, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return 0, nil
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, nil
	}
	return response.StatusCode, answer
}

// nodes asks for the nodes; nil while it does not answer.
func (p *process) nodes(t *testing.T) (nodes []fetcher.NodeStatus) {
	t.Helper()
	if status, body := p.get(t, http.MethodGet, "/nodes", ""); status == http.StatusOK {
		if err := json.Unmarshal(body, &nodes); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
	}
	return nodes
}

// awaitNodes waits until so many nodes' logs are being read and all that they had logged at some moment is stored.
func (p *process) awaitNodes(t *testing.T, count int) {
	t.Helper()
	await(t, fmt.Sprintf("%d nodes to be read; the fetcher says\n%s", count, &p.stderr), func() bool {
		select {
		case <-p.ended:
			t.Fatalf("the fetcher ended: %v\n%s", p.err, &p.stderr)
		default:
		}
		read := 0
		for _, node := range p.nodes(t) {
			if node.State == fetcher.Running && node.LastLogID > 0 {
				read++
			}
		}
		return read >= count
	})
}

// database connects to a fetcher's private database.
func connect(t *testing.T, dir string) *pgx.Conn {
	t.Helper()
	uri, err := os.ReadFile(filepath.Join(dir, privatedb.Note))
	if err != nil {
		t.Fatal(err)
	}
	return connectTo(t, strings.TrimSpace(string(uri)))
}

func connectTo(t *testing.T, uri string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// number asks a database for one number.
func number(t *testing.T, conn *pgx.Conn, query string, args ...any) (n int64) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// exitCode runs a call to its end.
func exitCode(t *testing.T, cmd *exec.Cmd) (code int, output string) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// openKey opens a key file with the empty password.
func openKey(t *testing.T, content []byte) (private, public string) {
	t.Helper()
	key, err := mina.OpenKeyFile(content, nil)
	if err != nil {
		t.Fatal(err)
	}
	return key.Base58(), key.PublicKey().String()
}

// unpack writes a packed file to a path whose folder it makes.
func unpack(t *testing.T, packed, path string) {
	t.Helper()
	file, err := os.Open(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	reader, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}
