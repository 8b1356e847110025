package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"provingground/cmd/internal/boot"
	"provingground/cmd/internal/privatedb"
	"provingground/fetcher"
	"provingground/internal/privatepg"
	"provingground/internal/privatepg/pgtest"
	"provingground/orchestrator/itn/itntest"
	"provingground/schema"
)

// TestUsage: what the program says to whoever calls it wrongly, or asks.
func TestUsage(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte(seed()), 0o600); err != nil {
		t.Fatal(err)
	}
	twice := filepath.Join(dir, "twice")
	if err := errors.Join(os.Mkdir(twice, 0o700), os.WriteFile(filepath.Join(twice, "internal-trace.jsonl"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args string
		code int
		says string
	}{
		{"", boot.CodeUsage, "usage: fetcher -k KEYFILE"},
		{"help", boot.CodeOK, "--retain-days N"},
		{"discovery --help", boot.CodeOK, "ONLINE_URL"},
		{"version", boot.CodeOK, "fetcher "},
		{"help --frob", boot.CodeUsage, "there is no option --frob\nfetcher help lists"},
		{"discovery --frob", boot.CodeUsage, "there is no option --frob\n-o DIR is missing"},
		{"-k KEY -o OUT discovery", boot.CodeUsage, "ONLINE_URL"},
		{"-k NONE -o OUT node-address-port 127.0.0.1 -p 9", boot.CodeUsage, "the key file"},
		{"-k KEY -o OUT --log-level chatty node-address-port 127.0.0.1 -p 9", boot.CodeUsage, "chatty"},
		{"-k KEY -o OUT --listen 203.0.113.1:9 node-address-port 127.0.0.1 -p 9", boot.CodeUsage, "--listen ADDRESS"},
		{"-k KEY -o OUT --db-uri postgresql://me:hunter22@127.0.0.1:1/x?connect_timeout=5 --listen 127.0.0.1:0 node-address-port 127.0.0.1 -p 9", boot.CodeFailure, "127.0.0.1:1"},
		{"migrate --db-uri postgresql://me:hunter22@127.0.0.1:1/x?connect_timeout=5", boot.CodeFailure, "127.0.0.1:1"},
		{"migrate --db-uri postgresql://me:hunter22@127.0.0.1:1/x?connect_timeout=5", boot.CodeFailure, "fetcher: warning: everybody on this machine can see the password"},
		{"process -o OUT TWICE/internal-trace.jsonl TWICE/../twice/internal-trace.jsonl", boot.CodeUsage, "is the same file as"},
		{"process -o OUT x.jsonl.gz", boot.CodeUsage, "gunzip it first"},
		{"process -o OUT NONE/internal-trace.jsonl", boot.CodeUsage, "NONE/internal-trace.jsonl"},
	} {
		args := strings.NewReplacer("KEY", key, "OUT", filepath.Join(dir, "out"), "NONE", filepath.Join(dir, "none"), "TWICE", twice).Replace(test.args)
		code, output := exitCode(t, call(t, "", []string{"ONLINE_URL=", "AWS_PREFIX=", "AWS_BUCKET="}, strings.Fields(args)...))
		says := strings.ReplaceAll(test.says, "NONE", filepath.Join(dir, "none"))
		if code != test.code || !strings.Contains(output, says) {
			t.Errorf("fetcher %s exits %d, want %d and %q:\n%s", args, code, test.code, says, output)
		}
		if strings.Contains(output, "hunter22") || strings.Contains(output, seed()) {
			t.Errorf("fetcher %s shows a secret:\n%s", args, output)
		}
		if strings.Count(output, "dial tcp 127.0.0.1:1") > 1 {
			t.Errorf("fetcher %s says twice that it cannot connect:\n%s", args, output)
		}
	}
}

func TestMigrate(t *testing.T) {
	uri := pgtest.Database(t)
	for range 2 {
		code, output := exitCode(t, call(t, "", nil, "migrate", "--db-uri", uri))
		if want := fmt.Sprintf("the database is of version %d\n", schema.Latest()); code != boot.CodeOK || output != want {
			t.Errorf("exits %d: %s", code, output)
		}
	}
	if err := schema.Check(t.Context(), connectTo(t, uri)); err != nil {
		t.Error(err)
	}
}

// TestFetcher is a whole life: from nothing, through a stop and a start, to the rows.
func TestFetcher(t *testing.T) {
	n := startNetwork(t, "-nodes", "4", "-producers", "2", "-slot", "20s", "-clock-scale", "10", "-seed", "3", "-keys", "1", "-max-logs", "50000")
	n.load(t, n.nodes[0], 0, 0.1)
	dir := outputDir(t)
	names := filepath.Join(t.TempDir(), "names.json")
	if err := os.WriteFile(names, []byte(`{}`), 0o600); err != nil {
		t.Fatal(err)
	}
	p := n.startFetcher(t, "", dir, "-n", names, "--keep-lines", "6MiB", "--retain-days", "2", "--log-level", "debug")
	p.awaitNodes(t, 4)

	// Another one on the same directory is told whose it is; the first one's database can be used.
	code, output := exitCode(t, call(t, "", []string{"ONLINE_URL=" + n.onlineURL}, n.discovery(dir, "--listen", "127.0.0.1:0")...))
	if code != boot.CodeUsage || !strings.Contains(output, fmt.Sprintf("process %d", p.cmd.Process.Pid)) {
		t.Errorf("a second fetcher exits %d: %s", code, output)
	}
	locks, err := filepath.Glob(filepath.Join(dir, "provingground-*.lock"))
	if err != nil || len(locks) != 1 {
		t.Fatalf("locks %q, %v", locks, err)
	}
	if info, err := os.Stat(locks[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the lock file: %v, %v", info, err)
	}
	uri, err := os.ReadFile(filepath.Join(dir, privatedb.Note))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, privatedb.Note)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if !strings.Contains(p.stderr.String(), "psql \""+strings.TrimSpace(string(uri))) {
		t.Errorf("it does not say how to connect:\n%s", &p.stderr)
	}

	// The port.
	for _, test := range []struct{ method, path, body, says string }{
		{http.MethodGet, "/health", "", ``},
		{http.MethodGet, "/metrics", "", "\nfetcher_store_underived_batches_total 0\n"}, {http.MethodGet, "/metrics", "", "\nprocess_resident_memory_bytes "},
		{http.MethodGet, "/gaps", "", ""},
		{http.MethodPost, "/graphql", `{"query": "{ deployments }"}`, `"deployments"`},
		{http.MethodGet, "/api/experiments", "", ""},
		{http.MethodPost, "/freeze", "", ""},
	} {
		if status, body := p.get(t, test.method, test.path, test.body); status != http.StatusOK || !strings.Contains(string(body), test.says) {
			t.Errorf("%s %s: %d %s", test.method, test.path, status, body)
		}
	}
	if _, body := p.get(t, http.MethodGet, "/nodes", ""); strings.Count(string(body), `"frozen":true`) != 4 || !strings.Contains(p.stderr.String(), "frozen: no node is read until") {
		t.Errorf("a freeze is told of in neither /nodes nor the log: %s\n%s", body, &p.stderr)
	}
	await(t, "the nodes to be let alone", func() bool {
		for _, node := range p.nodes(t) {
			if node.State != fetcher.Stopped {
				return false
			}
		}
		return true
	})
	if status, body := p.get(t, http.MethodPost, "/unfreeze", ""); status != http.StatusOK {
		t.Errorf("unfreeze: %d %s", status, body)
	}
	n.catchUp(t, p)
	lines, err := filepath.Glob(filepath.Join(dir, "*", "internal-trace.jsonl"))
	if err != nil || len(lines) != 4 {
		t.Errorf("raw lines are kept in %q, %v", lines, err)
	}
	if code := p.stop(t, syscall.SIGTERM); code != boot.CodeOK {
		t.Errorf("exits %d\n%s", code, &p.stderr)
	}
	if strings.Contains(p.stderr.String(), strings.TrimSpace(readFile(t, filepath.Join(n.dir, "fetcher-key")))) {
		t.Error("the log shows the key")
	}
	if _, err := os.Stat(filepath.Join(dir, privatedb.Note)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", privatedb.Note, err)
	}
	server, err := privatepg.Start(t.Context(), privatepg.Options{Dir: filepath.Join(dir, privatedb.Dir)})
	if err != nil {
		t.Fatalf("the database was left in use: %v", err)
	}
	before := number(t, connectTo(t, server.URI()), "SELECT count(*) FROM log_entry")
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}

	// A second one goes on where the first one ended.
	p = n.startFetcher(t, "", dir)
	p.awaitNodes(t, 4)
	conn := connect(t, dir)
	await(t, "block traces", func() bool { return number(t, conn, "SELECT count(*) FROM block_trace WHERE status = 'Success'") > 0 })
	n.catchUp(t, p)
	n.stop(t)
	f := n.truth(t).compare(t, conn)
	if f.rows <= int(before) || f.gaps != 0 || f.runs != 4 {
		t.Errorf("after the second start: %+v, before it there were %d rows", f, before)
	}
	if producers := number(t, conn, "SELECT count(*) FROM log_node WHERE is_block_producer AND read_at IS NOT NULL"); producers != 2 {
		t.Errorf("%d block producers", producers)
	}
	if deployments := number(t, conn, "SELECT count(*) FROM deployment"); deployments != 1 {
		t.Errorf("%d deployments", deployments)
	}
	if code := p.stop(t, os.Interrupt); code != boot.CodeOK {
		t.Errorf("exits %d\n%s", code, &p.stderr)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestOutsideDatabase: a server of somebody else's goes away for a while, and a new deployment takes what comes after it.
func TestOutsideDatabase(t *testing.T) {
	home := pgtest.Dir(t)
	server, err := privatepg.Start(t.Context(), privatepg.Options{Dir: home})
	if err != nil {
		t.Fatal(err)
	}
	n := startNetwork(t, "-nodes", "3", "-producers", "1", "-slot", "20s", "-clock-scale", "10", "-seed", "4", "-keys", "1", "-max-logs", "50000")
	p := n.startFetcher(t, "", t.TempDir(), "--db-uri", server.URI(), "--flush")
	p.awaitNodes(t, 3)
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "the fetcher to notice", func() bool {
		for _, node := range p.nodes(t) {
			if node.LastError != "" {
				return true
			}
		}
		return false
	})
	if status, _ := p.get(t, http.MethodGet, "/health", ""); status != http.StatusServiceUnavailable {
		t.Errorf("without a database its health is %d", status)
	}
	if server, err = privatepg.Start(t.Context(), privatepg.Options{Dir: home}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	n.catchUp(t, p)
	status, body := p.get(t, http.MethodPost, "/api/deployments", `{"data": {"why": "a test"}}`)
	if status != http.StatusOK && status != http.StatusCreated {
		t.Errorf("a new deployment: %d %s", status, body)
	}
	n.catchUp(t, p)
	conn := connectTo(t, server.URI())
	await(t, "entries of the second deployment", func() bool {
		return number(t, conn, "SELECT count(DISTINCT deployment_id) FROM log_entry") == 2
	})
	n.stop(t)
	if f := n.truth(t).compare(t, conn); f.gaps != 0 || f.runs != 3 || f.rows == 0 {
		t.Errorf("%+v", f)
	}
	if code := p.stop(t, syscall.SIGTERM); code != boot.CodeOK {
		t.Errorf("exits %d\n%s", code, &p.stderr)
	}
}

// TestHostileNode: a node that answers a hundred megabytes, and a list entry without an address, cost the others nothing.
func TestHostileNode(t *testing.T) {
	n := startNetwork(t, "-nodes", "3", "-producers", "1", "-slot", "20s", "-clock-scale", "10", "-seed", "5", "-keys", "1", "-max-logs", "50000")
	hostile := itntest.New(t, itntest.Options{})
	huge := make([]itntest.Behaviour, 50)
	for i := range huge {
		huge[i] = itntest.HugeBody(100 << 20)
	}
	hostile.Script("auth", huge...)
	host, port, _ := strings.Cut(hostile.Listen(), ":")
	list := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		entries := []map[string]any{{"remote_addr": "nowhere", "submitter": "B62a"}, {"remote_addr": host, "graphql_control_port": json.Number(port), "submitter": "B62b"}}
		for _, node := range n.nodes {
			host, port, _ := strings.Cut(node, ":")
			entries = append(entries, map[string]any{"remote_addr": host, "graphql_control_port": json.Number(port), "submitter": "B62" + host})
		}
		if err := json.NewEncoder(w).Encode(entries); err != nil {
			t.Error(err)
		}
	}))
	defer list.Close()
	dir := outputDir(t)
	p := start(t, binary(t, "fetcher"), dir, []string{"ONLINE_URL=" + list.URL, "FETCH_INTERVAL_MS=2000"}, n.discovery(dir)...)
	p.awaitNodes(t, 3)
	var bad fetcher.NodeStatus
	await(t, "the hostile node to be found out", func() bool {
		for _, node := range p.nodes(t) {
			if node.SubmitterPK == "B62b" {
				bad = node
			}
		}
		return bad.LastError != ""
	})
	if bad.State == fetcher.Running || bad.LastLogID != 0 {
		t.Errorf("the hostile node: %+v", bad)
	}
	n.catchUp(t, p)
	n.stop(t)
	if f := n.truth(t).compare(t, connect(t, dir)); f.gaps != 0 || f.runs != 3 {
		t.Errorf("%+v", f)
	}
	if peak := memoryOf(t, p.cmd.Process.Pid); peak > 200_000_000 {
		t.Errorf("%d bytes resident", peak)
	}
	if code := p.stop(t, syscall.SIGTERM); code != boot.CodeOK {
		t.Errorf("exits %d\n%s", code, &p.stderr)
	}
}

// TestSecondSignal: a server that does not stop keeps the fetcher from ending at the first signal, and not at the second.
func TestSecondSignal(t *testing.T) {
	dir := outputDir(t)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(seed()), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "", dir, nil, "-k", key, "-o", dir, "node-address-port", "127.0.0.1", "-p", "9")
	await(t, "the fetcher to collect", func() bool { return strings.Contains(p.stderr.String(), "collecting") })
	if !killServer(t, dir, syscall.SIGSTOP) {
		t.Fatal("no server runs")
	}
	defer killServer(t, dir, syscall.SIGCONT)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, "the first signal to be seen", func() bool { return strings.Contains(p.stderr.String(), "a second signal leaves at once") })
	if code := p.stop(t, syscall.SIGTERM); code != 128+int(syscall.SIGTERM) {
		t.Errorf("exits %d\n%s", code, &p.stderr)
	}
}

// TestClosedDirectory: a private PostgreSQL whose user cannot enter the directory says which one is closed.
func TestClosedDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		return // only root's server runs as somebody else
	}
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(closed, "key")
	if err := os.WriteFile(key, []byte(seed()), 0o600); err != nil {
		t.Fatal(err)
	}
	code, output := exitCode(t, call(t, "", nil, "-k", key, "-o", filepath.Join(closed, "out"), "--listen", "127.0.0.1:0", "node-address-port", "127.0.0.1", "-p", "9"))
	if code != boot.CodeFailure || !strings.Contains(output, "enter") {
		t.Errorf("exits %d:\n%s", code, output)
	}
	if _, err := os.Stat(filepath.Join(closed, "out", privatedb.Dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a server that never was leaves its directory: %v", err)
	}
}

// TestProcess loads the public sample, raw lines and what is left without the repeated ones (internal-trace, section 3.5).
func TestProcess(t *testing.T) {
	dir := outputDir(t)
	trace := filepath.Join(t.TempDir(), "Xg8TyLZ1-10.0.0.7-3086", "internal-trace.jsonl")
	unpack(t, filepath.Join("..", "..", "fetcher", "trace", "testdata", "internal-trace.jsonl.gz"), trace)
	var said []string
	for range 2 { // loading twice stores nothing twice
		code, output := exitCode(t, call(t, "", nil, "process", "-o", dir, trace))
		if code != boot.CodeOK {
			t.Fatalf("exits %d: %s", code, output)
		}
		said = append(said, output)
	}
	for i, stored := range []string{"; 4283 entries stored now", "; 0 entries stored now"} {
		for _, want := range []string{
			"Xg8TyLZ1-10.0.0.7-3086: 1 file, 4488 lines, 205 of them repeat the line before, 0 are no records" + stored + " in deployment 1",
			"rows 4376 4171", "events and their metadata 3122 2920", "Snark_work_received 730 730", "Snark_work_accepted 11 11", "Snark_work_rejected 921 719",
		} {
			if !strings.Contains(strings.Join(strings.Fields(said[i]), " "), want) {
				t.Errorf("call %d does not say %q:\n%s", i+1, want, said[i])
			}
		}
	}
}

// TestProcessRubbish: what is no record is told, and where nothing is, that is a failure; records beside it are stored.
func TestProcessRubbish(t *testing.T) {
	uri := pgtest.Database(t)
	dir := t.TempDir()
	write := func(node, content string) string {
		path := filepath.Join(dir, node, "internal-trace.jsonl")
		if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, rubbish, empty := write("a", "[\"One\",1.5]\nrubbish\n[\"Two\",2.5]\n"), write("b", strings.Join(strings.Split("abcdefghijkl", ""), "\n")+"\n"), write("c", "")
	packed := write("d", "\x1f\x8b\x08\x00")
	for _, test := range []struct {
		files []string
		code  int
		says  []string
	}{
		{[]string{good}, boot.CodeOK, []string{
			"node a: 1 file, 3 lines, 0 of them repeat the line before, 1 are no records; 2 entries stored now in deployment 1",
			"a/internal-trace.jsonl, line 2 is no trace record: ", "all that are records are stored",
		}},
		{[]string{empty}, boot.CodeOK, []string{"node c: 1 file, 0 lines"}},
		{[]string{"--deployment", "new", good, rubbish, empty}, boot.CodeFailure, []string{
			"2 entries stored now in deployment 2", "b/internal-trace.jsonl, line 10 is no trace record", "fetcher: 2 more lines are none",
			"b/internal-trace.jsonl: none of its lines is a trace record",
		}},
		{[]string{packed}, boot.CodeFailure, []string{"gunzip it first"}},
	} {
		code, output := exitCode(t, call(t, "", nil, append([]string{"process", "--db-uri", uri}, test.files...)...))
		for _, want := range test.says {
			if !strings.Contains(output, want) {
				t.Errorf("%q does not say %q:\n%s", test.files, want, output)
			}
		}
		if code != test.code || strings.Contains(output, "a/internal-trace.jsonl: none") || strings.Contains(output, "c/internal-trace.jsonl: none") {
			t.Errorf("%q exits %d, want %d:\n%s", test.files, code, test.code, output)
		}
	}
}

// TestDescribe: the process comes from a file's name, the node from its folder's, the age from its first time.
func TestDescribe(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	long := `{"x":"` + strings.Repeat("x", 200<<10) + "\"}\n"
	paths := []string{
		write("b/internal-trace.jsonl", `{"rotated_log_start": 300.5}`+"\n"),
		write("b/internal-trace.jsonl.0", long+`["Late",200.25]`+"\n"),
		write("b/internal-trace.jsonl.10", `{"mina_node_metadata":{}}`+"\n"+`["Early",100.5]`),
		write("b/verifier-internal-trace.jsonl", `["V",1.5]`), write("a/prover-internal-trace.jsonl", `["P",9.5]`),
	}
	files, err := describeAll(paths, "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		got = append(got, fmt.Sprintf("%s %s %s %v", f.node, f.process, filepath.Base(f.path), f.began))
	}
	want := []string{
		"a prover prover-internal-trace.jsonl 9.5", "b main internal-trace.jsonl.10 100.5", "b main internal-trace.jsonl.0 200.25",
		"b main internal-trace.jsonl 300.5", "b verifier verifier-internal-trace.jsonl 1.5",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if f, err := describe(write("c/internal-trace.jsonl", "no times\n"), "name"); err != nil || f.node != "name" || f.began < 1e9 {
		t.Errorf("a file without times: %+v, %v", f, err)
	}
	if _, err := describe("/internal-trace.jsonl", ""); err == nil || !strings.Contains(err.Error(), "--name NODE") {
		t.Errorf("a file of no folder: %v", err)
	}
	var usage *boot.UsageError
	_, err = describeAll([]string{filepath.Join(dir, "trace.txt"), filepath.Join(dir, "none.jsonl"), write("d.jsonl/x", "")[:len(dir)+8]}, "n")
	if !errors.As(err, &usage) || !strings.Contains(err.Error(), "trace.txt: the name") || !strings.Contains(err.Error(), "none.jsonl") || !strings.Contains(err.Error(), "not a file") {
		t.Errorf("what is no trace file: %v", err)
	}
}
