package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"provingground/cmd/internal/boot"
	"provingground/internal/mina"
	"provingground/internal/privatepg"
	"provingground/internal/privatepg/pgtest"
	"provingground/schema"
	"provingground/uptime"
)

// connect connects to a database for the length of the test.
func connect(t *testing.T, uri string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// TestAsToday: the existing service's configuration and environment do, and its readers find what they know.
func TestAsToday(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 3)
	config := writeConfig(t, map[string]any{"in_memory": true, "whitelist": []string{
		nodes[0].key.PublicKey().String(), "no key", nodes[1].key.PublicKey().String(),
	}})
	p := start(t, []string{"CONFIG_FILE=" + config})
	if first, _, _ := strings.Cut(p.stderr.String(), "\n"); !strings.Contains(first, "made for test networks") {
		t.Errorf("the first line does not say whose signatures count: %s", first)
	}
	if !strings.Contains(p.stderr.String(), "WARN") || !strings.Contains(p.stderr.String(), "whitelist") {
		t.Errorf("what is no key is not told:\n%s", &p.stderr)
	}
	if status, list := p.get(t, "/v1/online"); status != http.StatusOK || strings.TrimSpace(list) != "[]" {
		t.Errorf("before the first report: %d %s", status, list)
	}
	report := nodes[0].report(t)
	for _, step := range []struct {
		body   []byte
		status int
		says   string
	}{
		{report, http.StatusOK, `{"status":"ok"}`},
		{report, http.StatusConflict, "This submission was received before"},
		{nodes[2].report(t), http.StatusUnauthorized, "Submitter is not registered"},
		{[]byte("{}"), http.StatusBadRequest, "One of required fields wasn't provided"},
	} {
		if status, says := p.submit(t, step.body); status != step.status || !strings.Contains(says, step.says) {
			t.Errorf("%d %s, want %d %s", status, says, step.status, step.says)
		}
	}
	want := fmt.Sprintf(`[{"graphql_control_port":3086,"remote_addr":"127.0.0.1","submitter":"%s"}]`, nodes[0].key.PublicKey())
	await(t, "the list to be "+want, func() bool { // it is not made anew at once
		status, list := p.get(t, "/v1/online")
		return status == http.StatusOK && strings.TrimSpace(list) == want
	})
	for path, says := range map[string]string{"/health": `"status":"ok"`, "/metrics": "\nprocess_resident_memory_bytes "} {
		if status, body := p.get(t, path); status != http.StatusOK || !strings.Contains(body, says) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if code := p.stop(t, syscall.SIGTERM); code != boot.CodeOK {
		t.Errorf("exits %d\n%s", code, &p.stderr)
	}
	if strings.Contains(p.stderr.String(), "7mX") {
		t.Errorf("the log shows a signature:\n%s", &p.stderr)
	}
}

// TestMainNetwork: without NETWORK, and with its name, signatures count that were made for the main network, and only those.
func TestMainNetwork(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 1)
	keys := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, keys, nodes...)
	for _, env := range []string{"NETWORK=", "NETWORK=mainnet"} {
		p := start(t, []string{env}, "-whitelist-file", keys)
		if first, _, _ := strings.Cut(p.stderr.String(), "\n"); !strings.Contains(first, "made for the main network") {
			t.Errorf("%s: the first line does not say whose signatures count: %s", env, first)
		}
		if status, says := p.submit(t, nodes[0].report(t)); status != http.StatusUnauthorized {
			t.Errorf("%s: a test network's report: %d %s", env, status, says)
		}
		if status, says := p.submit(t, nodes[0].sign(t, mina.Mainnet, time.Now())); status != http.StatusOK {
			t.Errorf("%s: the main network's report: %d %s", env, status, says)
		}
	}
}

// TestRetention: a report that is older than the retention says nothing of the node now.
func TestRetention(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 1)
	keys := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, keys, nodes...)
	for _, test := range []struct {
		args   []string
		status int
	}{{nil, http.StatusOK}, {[]string{"-retention", "1m"}, http.StatusBadRequest}} {
		p := start(t, nil, append(test.args, "-whitelist-file", keys)...)
		if status, says := p.submit(t, nodes[0].sign(t, mina.Testnet, time.Now().Add(-90*time.Second))); status != test.status {
			t.Errorf("with %q a report of 90 s ago: %d %s, want %d", test.args, status, says, test.status)
		}
	}
}

// TestKilled: killed, or ended in order, and started anew on its database: nobody goes offline, and nothing that it has received is taken again.
func TestKilled(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 20)
	keys := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, keys, nodes...)
	uri := pgtest.Database(t)
	p := start(t, nil, "-db-uri", uri, "-whitelist-file", keys, "-per-hour", "3")
	var reports [][]byte
	for _, n := range nodes {
		reports = append(reports, n.report(t))
	}
	for i, report := range reports {
		if status, says := p.submit(t, report); status != http.StatusOK {
			t.Fatalf("report %d: %d %s", i, status, says)
		}
	}
	before := p.online(t)
	if count := strings.Count(before, `"submitter"`); count != len(nodes) {
		t.Fatalf("%d nodes are online: %s", count, before)
	}
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT} {
		code := p.stop(t, signal)
		if want := map[bool]int{true: -1, false: boot.CodeOK}[signal == syscall.SIGKILL]; code != want {
			t.Errorf("%s: exits %d\n%s", signal, code, &p.stderr)
		}
		p = start(t, nil, "-db-uri", uri, "-whitelist-file", keys, "-per-hour", "3")
		if diff := cmp.Diff(before, p.online(t)); diff != "" {
			t.Errorf("%s: the list before and after (-before +after):\n%s", signal, diff)
		}
		for i, report := range reports {
			if status, says := p.submit(t, report); status != http.StatusConflict {
				t.Errorf("%s: report %d again: %d %s", signal, i, status, says)
			}
		}
		if diff := cmp.Diff(before, p.online(t)); diff != "" {
			t.Errorf("%s: repeated reports change the list (-before +after):\n%s", signal, diff)
		}
	}
	// What a key may still send within the hour survives, too: three in all.
	for i, want := range []int{http.StatusOK, http.StatusOK, http.StatusTooManyRequests} {
		if status, says := p.submit(t, node{nodes[0].key, fmt.Sprintf("another%d", i+1)}.report(t)); status != want {
			t.Errorf("report %d of one key: %d %s, want %d", i+2, status, says, want)
		}
	}
}

// TestKilledUnderLoad: whatever was answered with 200 before a kill is known after it.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 40)
	keys := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, keys, nodes...)
	uri := pgtest.Database(t)
	p := start(t, nil, "-db-uri", uri, "-whitelist-file", keys)
	var mu sync.Mutex
	taken := make(map[string][]byte) // reports that were answered with 200, by submitter
	enough := make(chan struct{})
	var reporters sync.WaitGroup
	for _, n := range nodes {
		report := n.report(t)
		reporters.Go(func() {
			status, _, err := uptime.Submit(t.Context(), &http.Transport{DisableKeepAlives: true}, p.url+"/v1/submit", report)
			if err != nil || status != http.StatusOK {
				return // the kill came first
			}
			mu.Lock()
			defer mu.Unlock()
			if taken[n.key.PublicKey().String()] = report; len(taken) == 10 {
				close(enough)
			}
		})
	}
	<-enough
	p.kill()
	reporters.Wait()
	p = start(t, nil, "-db-uri", uri, "-whitelist-file", keys)
	list := p.online(t)
	for submitter, report := range taken {
		if !strings.Contains(list, submitter) {
			t.Errorf("%s went offline by the kill", submitter)
		}
		if status, says := p.submit(t, report); status != http.StatusConflict {
			t.Errorf("the report of %s again: %d %s", submitter, status, says)
		}
	}
}

// TestWhitelistFile: a changed file counts while the service runs; one with a fault changes nothing, and is told of.
func TestWhitelistFile(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 2)
	keys := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, keys, nodes[0])
	p := start(t, nil, "-whitelist-file", keys)
	peers := 0
	expect := func(what string, statuses ...int) {
		t.Helper()
		for i, want := range statuses {
			peers++
			if status, says := p.submit(t, node{nodes[i].key, fmt.Sprintf("peer%d", peers)}.report(t)); status != want {
				t.Errorf("%s: node %d: %d %s, want %d", what, i, status, says, want)
			}
		}
	}
	said := func(what string, times int) {
		t.Helper()
		await(t, fmt.Sprintf("%q to be said %d times", what, times), func() bool { return strings.Count(p.stderr.String(), what) == times })
	}
	const loaded, broken = "the whitelist was loaded", "the whitelist cannot be read"
	said(loaded, 1)
	expect("the first list", http.StatusOK, http.StatusUnauthorized)
	writeKeys(t, keys, nodes[1])
	said(loaded, 2)
	expect("the second list", http.StatusUnauthorized, http.StatusOK)
	if err := os.WriteFile(keys, []byte("B62 is no key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	said(broken, 1)
	expect("a broken list", http.StatusUnauthorized, http.StatusOK)
	// The keys of before count: whoever starts services anew by their health must not do it now, when it would not start.
	if status, says := p.get(t, "/health"); status != http.StatusOK || !strings.Contains(says, "the whitelist cannot be read any more") {
		t.Errorf("its health: %d %s", status, says)
	}
	writeKeys(t, keys, nodes...)
	said(loaded, 3)
	expect("the third list", http.StatusOK, http.StatusOK)
}

// TestDatabaseWhitelist: rows of the table count while the service runs.
func TestDatabaseWhitelist(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 1)
	uri := pgtest.Database(t)
	config := writeConfig(t, map[string]any{"db_uri": uri, "whitelist_database": true})
	p := start(t, nil, "-config", config)
	if status, says := p.submit(t, nodes[0].report(t)); status != http.StatusUnauthorized {
		t.Errorf("with an empty table: %d %s", status, says)
	}
	if _, err := connect(t, uri).Exec(t.Context(), "INSERT INTO uptime_whitelist (submitter) VALUES ($1)", nodes[0].key.PublicKey().String()); err != nil {
		t.Fatal(err)
	}
	await(t, "the row to be read", func() bool { return strings.Count(p.stderr.String(), "the whitelist was loaded") == 2 })
	if status, says := p.submit(t, nodes[0].report(t)); status != http.StatusOK {
		t.Errorf("with the row: %d %s", status, says)
	}
}

// TestDatabaseAway: while the database is away reports are refused with 503, and it goes on by itself when the database is back.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 1)
	keys := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, keys, nodes...)
	home := pgtest.Dir(t)
	server, err := privatepg.Start(t.Context(), privatepg.Options{Dir: home})
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, nil, "-db-uri", server.URI(), "-whitelist-file", keys)
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	report := nodes[0].report(t)
	if status, says := p.submit(t, report); status != http.StatusServiceUnavailable {
		t.Errorf("a report without a database: %d %s", status, says)
	}
	await(t, "its health to be bad", func() bool {
		status, _ := p.get(t, "/health")
		return status == http.StatusServiceUnavailable
	})
	if server, err = privatepg.Start(t.Context(), privatepg.Options{Dir: home}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	await(t, "the report to be taken", func() bool {
		status, _ := p.submit(t, report)
		return status == http.StatusOK
	})
	await(t, "its health to be good", func() bool {
		status, _ := p.get(t, "/health")
		return status == http.StatusOK
	})
	if code := p.stop(t, syscall.SIGTERM); code != boot.CodeOK {
		t.Errorf("exits %d\n%s", code, &p.stderr)
	}
}

// TestNewerDatabase: a database of a later version is left alone.
func TestNewerDatabase(t *testing.T) {
	t.Parallel()
	uri := pgtest.Database(t)
	if err := schema.Migrate(t.Context(), uri); err != nil {
		t.Fatal(err)
	}
	if _, err := connect(t, uri).Exec(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999999, true)"); err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, keys)
	code, output := ends(t, nil, "-db-uri", uri, "-whitelist-file", keys)
	if code != boot.CodeFailure || !strings.Contains(output, "999999") {
		t.Errorf("exits %d: %s", code, output)
	}
}

// TestTrustedProxy: the header counts from a proxy that is named, and from nobody else.
func TestTrustedProxy(t *testing.T) {
	t.Parallel()
	nodes := newNodes(t, 1)
	keys := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, keys, nodes...)
	for proxy, want := range map[string]string{"127.0.0.0/8": "192.0.2.7", "192.0.2.0/24": "127.0.0.1"} {
		p := start(t, nil, "-whitelist-file", keys, "-trusted-proxy", proxy)
		through := roundTripper(func(r *http.Request) (*http.Response, error) {
			r.Header.Set("X-Forwarded-For", "198.51.100.1, 192.0.2.7")
			return (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
		})
		if status, says, err := uptime.Submit(t.Context(), through, p.url+"/v1/submit", nodes[0].report(t)); err != nil || status != http.StatusOK {
			t.Fatalf("%d %s, %v", status, says, err)
		}
		if list := p.online(t); !strings.Contains(list, `"remote_addr":"`+want+`"`) {
			t.Errorf("with %s as proxies: %s, want %s", proxy, list, want)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestArchive: with aws, submissions and blocks go to S3, and a report that cannot be kept is not taken.
func TestArchive(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	objects, broken := make(map[string]int64), false
	s3 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case broken:
			w.WriteHeader(http.StatusForbidden)
		case r.Method == http.MethodPut:
			objects[r.URL.Path] = r.ContentLength
		case objects[r.URL.Path] == 0:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer s3.Close()
	nodes := newNodes(t, 2)
	config := writeConfig(t, map[string]any{
		"aws":       map[string]any{"region": "us-west-2", "account_id": "123", "prefix": "testworld"},
		"whitelist": []string{nodes[0].key.PublicKey().String(), nodes[1].key.PublicKey().String()},
	})
	p := start(t, []string{"CONFIG_FILE=" + config, "AWS_ENDPOINT_URL=" + s3.URL, "AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=hunter22"})
	if status, says := p.submit(t, nodes[0].report(t)); status != http.StatusOK {
		t.Errorf("%d %s\n%s", status, says, &p.stderr)
	}
	mu.Lock()
	var submissions, blocks int
	for path := range objects {
		switch {
		case strings.HasPrefix(path, "/123-block-producers-uptime/testworld/submissions/") && strings.HasSuffix(path, "-"+nodes[0].key.PublicKey().String()+".json"):
			submissions++
		case strings.HasPrefix(path, "/123-block-producers-uptime/testworld/blocks/") && strings.HasSuffix(path, ".dat"):
			blocks++
		}
	}
	if submissions != 1 || blocks != 1 || len(objects) != 2 {
		t.Errorf("S3 holds %v", objects)
	}
	broken = true
	mu.Unlock()
	if status, says := p.submit(t, nodes[1].report(t)); status != http.StatusInternalServerError && status != http.StatusServiceUnavailable {
		t.Errorf("a report that cannot be kept: %d %s", status, says)
	}
	if strings.Contains(p.stderr.String(), "hunter22") {
		t.Errorf("the log shows a secret:\n%s", &p.stderr)
	}
}

// TestSecondSignal: a request that does not end is waited for at the first signal, and not at the second.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	keys := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, keys)
	p := start(t, nil, "-whitelist-file", keys)
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The server asks for the body, so it is in the request.
	if _, err := fmt.Fprintf(conn, "POST /v1/submit HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		t.Fatalf("%q, %v", line, err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, "the first signal to be seen", func() bool { return strings.Contains(p.stderr.String(), "a second signal leaves at once") })
	if code := p.stop(t, syscall.SIGTERM); code != 128+int(syscall.SIGTERM) {
		t.Errorf("exits %d\n%s", code, &p.stderr)
	}
}

// TestPortInUse: it is said which one, and what to do.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	keys := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, keys)
	p := start(t, nil, "-whitelist-file", keys)
	address := strings.TrimPrefix(p.url, "http://")
	code, output := ends(t, nil, "-whitelist-file", keys, "-listen", address)
	if code != boot.CodeUsage || !strings.Contains(output, address) || !strings.Contains(output, "choose another one with -listen ADDRESS") {
		t.Errorf("exits %d: %s", code, output)
	}
}
