package privatepg

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// openDir returns a directory into which the server's user can go when the tests run as root; t.TempDir is closed to it.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "privatepg-test-") //nolint:usetesting // it says why
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// hasty are the settings of a server that no test takes the machine away from: killed processes lose nothing without fsync.
func hasty() map[string]string { return map[string]string{"fsync": "off"} }

// begin starts a server that the test's end stops.
func begin(t *testing.T, dir string) *Server {
	t.Helper()
	server, err := Start(t.Context(), Options{Dir: dir, Settings: hasty()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(t, server) })
	return server
}

func end(t *testing.T, server *Server) {
	t.Helper()
	if err := server.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

// exchange runs a query that gives one text.
func exchange(ctx context.Context, uri, sql string) (text string, err error) {
	conn, err := pgx.Connect(ctx, uri)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	return text, conn.QueryRow(ctx, sql).Scan(&text)
}

func wants(t *testing.T, server *Server, sql, want string) {
	t.Helper()
	got, err := exchange(t.Context(), server.URI(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if got != want {
		t.Errorf("%s: got %q, want %q", sql, got, want)
	}
}

const (
	store = "WITH made AS (INSERT INTO kept VALUES ('here') RETURNING x) SELECT x FROM made"
	read  = "SELECT string_agg(x, ' ') FROM kept"
)

func makeTable(t *testing.T, uri string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "CREATE TABLE kept (x text)"); err != nil {
		t.Fatal(err)
	}
}

func TestRestartKeepsData(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	first, err := Start(t.Context(), Options{Dir: dir}) // with all defaults
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(t, first) })
	makeTable(t, first.URI())
	wants(t, first, store, "here")
	wants(t, first, "SHOW listen_addresses", "")
	wants(t, first, "SHOW fsync", "on")
	wants(t, first, "SHOW synchronous_commit", "on")
	wants(t, first, "SELECT coalesce(host(inet_server_addr()), 'socket')", "socket")
	// Whoever runs the test, the server is an ordinary user's, and nobody else gets at its files.
	if uid, err := ownerOf(fmt.Sprintf("/proc/%d", first.PID())); err != nil || uid == 0 {
		t.Errorf("the server runs as user %d (%v)", uid, err)
	}
	for _, closed := range []string{"data", "socket"} {
		if info, err := os.Stat(filepath.Join(dir, closed)); err != nil || info.Mode().Perm()&0o007 != 0 {
			t.Errorf("%s is open to others: %v (%v)", closed, info.Mode(), err)
		}
	}
	end(t, first)
	end(t, first) // once more is harmless
	select {
	case <-first.Done():
	default:
		t.Error("Stop returned before the server had ended")
	}
	wants(t, begin(t, dir), read, "here")
}

func TestServerKilled(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	first := begin(t, dir)
	makeTable(t, first.URI())
	wants(t, first, store, "here")
	if err := syscall.Kill(first.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-first.Done()
	end(t, first)
	wants(t, begin(t, dir), read, "here")
}

// ownerEnv makes a copy of this test binary the owner of a server, which the test can kill.
const ownerEnv = "PRIVATEPG_TEST_OWNER_OF"

// TestOwner is no test by itself: it is what owner runs in another process, and returns at once elsewhere.
func TestOwner(t *testing.T) {
	dir := os.Getenv(ownerEnv)
	if dir == "" {
		return
	}
	server, err := Start(t.Context(), Options{Dir: dir, Settings: hasty()})
	if err != nil {
		fmt.Fprintf(os.Stdout, "refused: %s\n", strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	defer end(t, server)
	fmt.Fprintf(os.Stdout, "started: %d %s\n", server.PID(), server.URI())
	// Until the test says that it is enough, or is gone.
	_, err = io.Copy(io.Discard, os.Stdin)
	if err != nil {
		t.Error(err)
	}
}

// owner starts a process that owns a server in dir, as the user uid, and returns it with its first line.
func owner(t *testing.T, dir string, uid int) (*exec.Cmd, string) {
	t.Helper()
	// The test binary lies in a directory that is closed to other users.
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(openDir(t), "owner")
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^TestOwner$")
	cmd.Dir = filepath.Dir(program)
	cmd.Env = append(os.Environ(), ownerEnv+"="+dir)
	if uid != os.Getuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait() // it may have been killed
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the owner said nothing: %v", err)
	}
	return cmd, strings.TrimSpace(line)
}

// started takes what a started owner says apart.
func started(t *testing.T, line string) (pid int, uri string) {
	t.Helper()
	fields := strings.Fields(line)
	if len(fields) != 3 || fields[0] != "started:" {
		t.Fatalf("the owner says %q", line)
	}
	pid, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	return pid, fields[2]
}

func TestOwnerKilled(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	cmd, line := owner(t, dir, os.Getuid())
	pid, uri := started(t, line)
	makeTable(t, uri)
	if _, err := exchange(t.Context(), uri, store); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	// Nobody takes over here: the server ends because its owner has.
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for syscall.Kill(pid, 0) == nil {
		select {
		case <-ticker.C:
		case <-t.Context().Done():
			t.Fatal("the server outlives its owner")
		}
	}
	wants(t, begin(t, dir), read, "here")
}

func TestTakeOverAtOnceFromAKilledOwner(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	cmd, line := owner(t, dir, os.Getuid())
	_, uri := started(t, line)
	makeTable(t, uri)
	if _, err := exchange(t.Context(), uri, store); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	wants(t, begin(t, dir), read, "here")
}

func TestTwoOwners(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	begin(t, dir)
	_, err := Start(t.Context(), Options{Dir: dir})
	var held *HeldError
	if !errors.As(err, &held) || held.Holder.PID != os.Getpid() || held.Holder.Since.IsZero() {
		t.Errorf("got %v, want that this process holds it", err)
	}
	_, line := owner(t, dir, os.Getuid())
	if want := fmt.Sprintf("in use by process %d", os.Getpid()); !strings.HasPrefix(line, "refused:") || !strings.Contains(line, want) {
		t.Errorf("the other process says %q, want %q", line, want)
	}
}

// TestOrdinaryUser lets an ordinary user own a server: nobody when root runs the tests, otherwise whoever runs them.
func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	uid := os.Getuid()
	if uid == 0 {
		uid = 65534
		if err := os.Chown(dir, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	cmd, line := owner(t, dir, uid)
	pid, _ := started(t, line)
	if got, err := ownerOf(fmt.Sprintf("/proc/%d", pid)); err != nil || got != uid {
		t.Errorf("the server runs as user %d, want %d (%v)", got, uid, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	// The same directory afterwards, by whoever runs the tests: the data decides about the server's user.
	server := begin(t, dir)
	if got, err := ownerOf(fmt.Sprintf("/proc/%d", server.PID())); err != nil || got != uid {
		t.Errorf("the next server runs as user %d, want %d (%v)", got, uid, err)
	}
}

// TestOrphan leaves a server behind that does not know that its owner is gone.
func TestOrphan(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	first := begin(t, dir)
	end(t, first)
	home := layout{data: filepath.Join(dir, "data"), socket: filepath.Join(dir, "socket")}
	account, err := chooseAccount(dir, home.data)
	if err != nil {
		t.Fatal(err)
	}
	bin, err := chooseBinaries(t.Context(), home.data, searchDirs())
	if err != nil {
		t.Fatal(err)
	}
	orphan := exec.Command(filepath.Join(bin.dir, "postgres"), arguments(home, nil)...)
	orphan.Dir = home.data
	orphan.SysProcAttr = account.attributes(0)
	if err := orphan.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- orphan.Wait() }()
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for mainProcess(home.data) != orphan.Process.Pid {
		select {
		case <-ticker.C:
		case err := <-ended:
			t.Fatalf("the orphan ended: %v", err)
		}
	}
	wants(t, begin(t, dir), "SELECT 'yes'", "yes")
	<-ended
}

func TestWhatACrashLeaves(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	making := filepath.Join(dir, "data.making")
	if err := os.MkdirAll(filepath.Join(making, "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	first := begin(t, dir)
	if _, err := os.Stat(making); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the half-made data directory is still there (%v)", err)
	}
	end(t, first)
	// A process number that has been given to somebody else since.
	stale := fmt.Sprintf("%d\n%s\n", os.Getpid(), filepath.Join(dir, "data"))
	if err := os.WriteFile(filepath.Join(dir, "data", "postmaster.pid"), []byte(stale), 0o600); err != nil {
		t.Fatal(err)
	}
	wants(t, begin(t, dir), "SELECT 'yes'", "yes")
}

func TestLongDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(openDir(t), strings.Repeat("long", 40))
	server := begin(t, dir)
	wants(t, server, "SELECT 'yes'", "yes")
	socket, err := socketDir(dir, account{uid: -1})
	if err == nil {
		t.Errorf("%s was given to another user", socket)
	}
	end(t, server)
	name, err := chooseAccount(dir, filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	socket, err = socketDir(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(socket, dir) {
		t.Errorf("the socket is in %s", socket)
	}
	if err := os.RemoveAll(socket); err != nil {
		t.Error(err)
	}
}

func TestUnusableDirectory(t *testing.T) {
	t.Parallel()
	base := openDir(t)
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	closed := filepath.Join(base, "closed")
	if err := os.MkdirAll(filepath.Join(closed, "inner"), 0o700); err != nil {
		t.Fatal(err)
	}
	want := "choose another"
	if os.Getuid() == 0 {
		want = "cannot enter " + closed
	} else if err := os.Chmod(closed, 0o500); err != nil { // writable only for root
		t.Fatal(err)
	}
	for dir, want := range map[string]string{file: "file", filepath.Join(base, "no", "parent"): "create it", closed: want} {
		_, err := Start(t.Context(), Options{Dir: dir})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", dir, err, want)
		}
	}
}

func TestOtherVersion(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	end(t, begin(t, dir))
	if err := os.WriteFile(filepath.Join(dir, "data", "PG_VERSION"), []byte("9.6\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Options{Dir: dir})
	var version *VersionError
	if !errors.As(err, &version) || version.Made != "9.6" || len(version.Installed) == 0 {
		t.Errorf("got %v, want a VersionError", err)
	}
}

func TestNotInstalled(t *testing.T) {
	t.Parallel()
	old, empty := openDir(t), openDir(t)
	for _, program := range []string{"postgres", "initdb"} {
		if err := os.WriteFile(filepath.Join(old, program), []byte("#!/bin/sh\necho 'postgres (PostgreSQL) 14.9'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dirs := range [][]string{nil, {empty}, {empty, old}} {
		_, err := start(t.Context(), Options{Dir: openDir(t)}, dirs)
		if !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "apt-get install") {
			t.Errorf("%v: got %v, want ErrNotInstalled", dirs, err)
		}
	}
	found, err := installed(t.Context(), append([]string{old}, searchDirs()...))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 2 || found[0].major < oldest || found[len(found)-1].major != 14 {
		t.Errorf("found %+v, want the newest first", found)
	}
}

func TestServerThatCannotStart(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	_, err := Start(t.Context(), Options{Dir: dir, Settings: map[string]string{"fsync": "off", "shared_buffers": "nonsense"}})
	if err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("got %v, want what the server said", err)
	}
	// And it has left nothing that hinders.
	wants(t, begin(t, dir), "SELECT 'yes'", "yes")
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Options{Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
	wants(t, begin(t, dir), "SELECT 'yes'", "yes")
}

func TestStopInAHurry(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	first := begin(t, dir)
	makeTable(t, first.URI())
	wants(t, first, store, "here")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := first.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	select {
	case <-first.Done():
	default:
		t.Error("Stop returned before the server had ended")
	}
	wants(t, begin(t, dir), read, "here")
}

func TestDiskHint(t *testing.T) {
	t.Parallel()
	if got := diskHint("/proc"); !strings.Contains(got, "only 0 KiB are free") { // a file system without any room
		t.Errorf("got %q", got)
	}
	if got := diskHint(os.TempDir()); got != "" {
		t.Errorf("got %q for a disk with room", got)
	}
}
