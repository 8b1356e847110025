package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"provingground/internal/mina"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/simnet"
	"provingground/snarkpool/coordinator"
)

// asProgram makes the test binary play the program.
const asProgram = "SIMNET_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(run(context.Background(), os.Args[1:]))
	}
	os.Exit(m.Run())
}

func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), executable, args...)
	command.Env = append(os.Environ(), asProgram+"=1")
	return command
}

func freePort(t *testing.T) string {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// running is a started network.
type running struct {
	command *exec.Cmd
	dir     string
	port    string
	said    []string // up to "ready"
	stderr  *bytes.Buffer
}

func start(t *testing.T, flags ...string) *running {
	t.Helper()
	r := &running{dir: filepath.Join(t.TempDir(), "net"), port: freePort(t), stderr: &bytes.Buffer{}}
	r.command = program(t, append([]string{"-dir", r.dir, "-port", r.port, "-list-port", freePort(t)}, flags...)...)
	r.command.Stderr = r.stderr
	stdout, err := r.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if r.command.ProcessState == nil {
			_ = r.command.Process.Kill()
			_ = r.command.Wait()
		}
	})
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if r.said = append(r.said, lines.Text()); lines.Text() == "ready" {
			return r
		}
	}
	_ = r.command.Wait() // its exit says less than what it printed
	t.Fatalf("the program ended before it was ready: %s", r.stderr)
	return nil
}

// stop sends a signal and returns the exit code.
func (r *running) stop(t *testing.T, signal os.Signal) int {
	t.Helper()
	if err := r.command.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	err := r.command.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return r.command.ProcessState.ExitCode()
}

// standIn calls one of the programs in bin, as the orchestrator does.
func (r *running) standIn(t *testing.T, name string, args ...string) (code int, output string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), filepath.Join(r.dir, "bin", name), args...)
	command.Env = append(os.Environ(), asProgram+"=1", "MINA_PRIVKEY_PASS=", "ITN_FEATURES=1")
	out, err := command.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), string(out)
}

func get(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// A whole life: start, use by what the directory says, and stop without leftovers.
func TestSimnet(t *testing.T) {
	r := start(t, "-nodes", "6", "-producers", "3", "-old", "1", "-slot", "2s", "-clock-scale", "50", "-seed", "11", "-keys", "2",
		"-log-journal", filepath.Join(t.TempDir(), "logs.jsonl"), "-journal-nodes", "-snark-coordinators", "2", "-proof-time", "1s")
	var config struct {
		KeyFile, OnlineURL, GenesisTimestamp, MinaExec, ControlExec string
		SlotDurationMs                                              int
		ClockScale                                                  float64
		FundDaemonPorts                                             []string
	}
	text, err := os.ReadFile(filepath.Join(r.dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"node 127.0.0.2:" + r.port + " producer", "node 127.0.0.7:" + r.port + " old", "online list " + config.OnlineURL, "seed 11",
		"configuration " + filepath.Join(r.dir, "config.json"),
	} {
		if !slices.Contains(r.said, want) {
			t.Errorf("it does not say %q but %q", want, r.said)
		}
	}
	var online []struct {
		RemoteAddr string `json:"remote_addr"`
		Port       int    `json:"graphql_control_port"`
	}
	if err := json.Unmarshal([]byte(get(t, config.OnlineURL)), &online); err != nil || len(online) != 6 {
		t.Fatalf("online list: %v, %v", online, err)
	}

	// Fund a key with the stand-in, and let it send.
	prefix := filepath.Join(t.TempDir(), "funded", "key")
	code, output := r.standIn(t, "mina", "advanced", "itn-create-accounts", "--amount", "20000000000", "--fee", "1000000000", "--num-accounts", "2",
		"--key-prefix", prefix, "--privkey-path", filepath.Join(r.dir, "private-keys", "key-0"), "--daemon-port", config.FundDaemonPorts[1])
	if code != 0 {
		t.Fatalf("funding exits %d: %s", code, output)
	}
	content, err := os.ReadFile(prefix + "-1")
	if err != nil {
		t.Fatal(err)
	}
	sender, err := mina.OpenKeyFile(content, nil)
	if err != nil {
		t.Fatal(err)
	}
	if code, output := r.standIn(t, "mina", "client", "get-balance", "--public-key", sender.PublicKey().String(), "--rest-server", "http://127.0.0.7:3085"); code != 0 || output != "Balance: 9 mina\n" {
		t.Errorf("get-balance exits %d: %s", code, output)
	}
	client := itnClient(t, filepath.Join(r.dir, "itn-key"), fmt.Sprintf("%s:%d", online[0].RemoteAddr, online[0].Port))
	defer client.Close()
	handle, err := client.SchedulePayments(t.Context(), itn.PaymentsDetails{
		Senders: []itn.PrivateKey{itn.NewPrivateKey(sender.Base58())}, Receiver: sender.PublicKey().String(), Amount: 1, MinFee: 1e8, MaxFee: 1e8,
		MemoPrefix: "cmd-0-0", TPS: 1, DurationMin: 60,
	}, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	// The fetcher's key is another one, with a counter of its own.
	fetcher := itnClient(t, filepath.Join(r.dir, "fetcher-key"), fmt.Sprintf("%s:%d", online[0].RemoteAddr, online[0].Port))
	defer fetcher.Close()
	if logs, err := fetcher.InternalLogs(t.Context(), 1); err != nil || len(logs) == 0 {
		t.Errorf("the fetcher reads %d entries, %v", len(logs), err)
	}
	if code, output := r.standIn(t, "control", "restart", "127.0.0.4"); code != 0 {
		t.Errorf("control exits %d: %s", code, output)
	}
	if code, output := r.standIn(t, "control", "restart", "10.0.0.1"); code != 1 {
		t.Errorf("control exits %d: %s", code, output)
	}

	if code := r.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exits %d: %s", code, r.stderr)
	}
	var dialer net.Dialer
	for _, node := range online {
		if conn, err := dialer.DialContext(t.Context(), "tcp", fmt.Sprintf("%s:%d", node.RemoteAddr, node.Port)); err == nil {
			_ = conn.Close()
			t.Errorf("%s still listens", node.RemoteAddr)
		}
	}
	if _, err := os.Stat(filepath.Join(r.dir, "control.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the control socket is still there: %v", err)
	}
	journal, err := os.Open(filepath.Join(r.dir, "journal.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = journal.Close() }()
	history, err := simnet.ReadHistory(journal)
	if err != nil {
		t.Fatal(err)
	}
	if running := history.Running(); len(running) != 1 || running[0].Handle != handle {
		t.Errorf("the journal says that %+v were running", running)
	}
	if _, ok := history[len(history)-1].Fact.(simnet.NetworkStopped); !ok {
		t.Errorf("the journal ends with %+v", history[len(history)-1])
	}
	if _, err := time.Parse(time.RFC3339Nano, config.GenesisTimestamp); err != nil {
		t.Error(err)
	}
	if config.ClockScale != 50 || config.SlotDurationMs != 2000 {
		t.Errorf("configuration: %+v", config)
	}
}

func itnClient(t *testing.T, keyFile, address string) *itn.Client {
	t.Helper()
	text, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	seed := strings.TrimSpace(string(text))
	if decoded, err := base64.StdEncoding.DecodeString(seed); err != nil || len(decoded) != 32 {
		t.Fatalf("%s: %v", keyFile, err)
	}
	key, err := itn.ParseKey(seed)
	if err != nil {
		t.Fatal(err)
	}
	return itn.New(address, key, itn.Options{})
}

func TestInterrupt(t *testing.T) {
	if code := start(t, "-nodes", "1", "-producers", "1").stop(t, os.Interrupt); code != 0 {
		t.Errorf("exits %d", code)
	}
}

// A worker outside finds the coordinator where the program says it is.
func TestCoordinator(t *testing.T) {
	address := "127.0.0.1:" + freePort(t)
	r := start(t, "-nodes", "3", "-producers", "1", "-slot", "2s", "-clock-scale", "50", "-coordinator", address, "-reassignment-wait", "1m")
	if !slices.Contains(r.said, "coordinator http://"+address) {
		t.Errorf("it does not say where the coordinator is but %q", r.said)
	}
	client, err := coordinator.New("http://"+address, coordinator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var works []coordinator.Work
	for tick := time.NewTicker(20 * time.Millisecond); len(works) == 0; {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("no work came")
		}
		if works, err = client.Work(t.Context(), "bm7/cpu/0", 1); err != nil {
			t.Fatal(err)
		}
	}
	proof := coordinator.Proof{ID: works[0].ID, Worker: "bm7/cpu/0", Statement: works[0].Statement, Proof: []byte("proof")}
	if verdict, err := client.Deliver(t.Context(), proof); err != nil || verdict.Status != coordinator.Accepted {
		t.Errorf("the proof is judged %+v, %v", verdict, err)
	}
	if code := r.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exits %d: %s", code, r.stderr)
	}
	var out bytes.Buffer
	if err := show(filepath.Join(r.dir, "journal.jsonl"), &out); err != nil || !strings.Contains(out.String(), "bm7/cpu/0: 1 given, 0 reassigned for being late, 1 proofs accepted") {
		t.Errorf("shows %v\n%s", err, &out)
	}
}

func TestPasswordFromTheEnvironment(t *testing.T) {
	t.Setenv("SIMNET_TEST_PASSWORD", "secret")
	r := start(t, "-nodes", "1", "-producers", "0", "-keys", "1", "-password-env", "SIMNET_TEST_PASSWORD")
	content, err := os.ReadFile(filepath.Join(r.dir, "private-keys", "key-0"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mina.OpenKeyFile(content, []byte("secret")); err != nil {
		t.Error(err)
	}
	if code := r.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exits %d: %s", code, r.stderr)
	}
}

func TestUsage(t *testing.T) {
	for _, test := range []struct {
		args string
		code int
		says []string
	}{
		{"-help", 0, []string{"-clock-scale", "-faults"}},
		{"-nodes x", 1, []string{"-nodes"}},
		{"-nodes 0 -producers 3 -old 9 -clock-scale 0 -faults sulk:* -port 0 -keys 0 -slot 1ms -uptime-url ftp://x -password-env NO_SUCH_VARIABLE -coordinator nowhere stray", 1, []string{
			"-dir is missing", "0 nodes", "3 producers", "9 old", "-clock-scale", "sulk", "-port 0", "-keys 0", "slot of 1ms", "uptime URL", "NO_SUCH_VARIABLE", "stray", "\"nowhere\" is not HOST:PORT",
		}},
		{"stand-in nobody socket", 1, []string{"nobody"}},
		{"stand-in control /nonexistent/socket restart 127.0.0.2", 1, []string{"still running"}},
	} {
		command := program(t, strings.Fields(test.args)...)
		out, _ := command.CombinedOutput() // the code is looked at below
		if code := command.ProcessState.ExitCode(); code != test.code {
			t.Errorf("%s exits %d: %s", test.args, code, out)
		}
		for _, want := range test.says {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s does not say %q:\n%s", test.args, want, out)
			}
		}
	}
}

func TestADirectoryInUse(t *testing.T) {
	r := start(t, "-nodes", "1")
	command := program(t, "-dir", r.dir, "-nodes", "1", "-port", freePort(t), "-list-port", freePort(t))
	out, _ := command.CombinedOutput()
	if code := command.ProcessState.ExitCode(); code != 3 || !strings.Contains(string(out), "in the way") {
		t.Errorf("exits %d: %s", code, out)
	}
	dir := t.TempDir()
	for range 2 { // a failed start does not stand in the way of the next one
		other := program(t, "-dir", dir, "-nodes", "1", "-port", r.port, "-list-port", freePort(t))
		out, _ = other.CombinedOutput()
		if code := other.ProcessState.ExitCode(); code != 3 || !strings.Contains(string(out), "choose another one") {
			t.Errorf("a port in use exits %d: %s", code, out)
		}
	}
	if code := r.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exits %d: %s", code, r.stderr)
	}
}
