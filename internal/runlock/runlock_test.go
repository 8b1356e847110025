package runlock

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const network = "http://uptime.example.org:8080/v1/online"

var since = time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC)

// roleVariable names the environment variable that turns the test binary into a second process: see [child].
const roleVariable = "RUNLOCK_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(roleVariable); dir != "" {
		child(dir)
		return
	}
	os.Exit(m.Run())
}

// child tries to take the lock in dir, under a tight umask, says what came of it on standard output, and keeps the lock until its
// standard input ends or it is killed.
func child(dir string) {
	syscall.Umask(0o077)
	lock, err := Acquire(dir, network, "orchestrator run other.json", since)
	switch {
	case errors.As(err, new(*HeldError)):
		say("held " + err.Error())
	case errors.Is(err, fs.ErrPermission):
		say("refused " + err.Error())
	case err != nil:
		say("failed " + err.Error())
	default:
		say("locked")
		if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
			log.Fatal(err)
		}
		if err := lock.Release(); err != nil {
			log.Fatal(err)
		}
	}
}

func say(line string) {
	if _, err := os.Stdout.WriteString(line + "\n"); err != nil {
		log.Fatal(err)
	}
}

// process is a running second process.
type process struct {
	*exec.Cmd
	stdin io.Closer
	said  string // its first line: what came of its attempt
}

// start runs child in a second process. When the tests run as root it is another user's.
func start(t *testing.T, dir string) *process {
	t.Helper()
	// By this name the program is found even where another user may not look.
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"="+dir)
	cmd.Stderr = os.Stderr
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
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
		_ = cmd.Process.Kill() // it may have ended, and been waited for, in the test
		_ = cmd.Wait()
	})
	said, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the second process said %q, then %v", said, err)
	}
	return &process{Cmd: cmd, stdin: stdin, said: strings.TrimSpace(said)}
}

// sharedDir makes a directory like /tmp.
func sharedDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	return dir
}

func acquire(t *testing.T, dir string) *Lock {
	t.Helper()
	lock, err := Acquire(dir, network, "orchestrator run config.json", since)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { release(t, lock) })
	return lock
}

func release(t *testing.T, lock *Lock) {
	t.Helper()
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
}

func held(t *testing.T, dir string) *HeldError {
	t.Helper()
	lock, err := Acquire(dir, network, "orchestrator run second.json", since)
	var held *HeldError
	if !errors.As(err, &held) {
		t.Fatalf("Acquire of a held lock = %v, %v; want a HeldError", lock, err)
	}
	return held
}

func TestAcquireAndRelease(t *testing.T) {
	dir := t.TempDir()
	lock := acquire(t, dir)
	got := held(t, dir)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	want := &HeldError{Path: filepath.Join(dir, fileName(network)), Holder: Holder{
		PID: os.Getpid(), User: userName(os.Getuid()), Host: host, Since: since, Command: "orchestrator run config.json",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("HeldError (-want +got):\n%s", diff)
	}
	release(t, lock)
	release(t, lock)
	second := acquire(t, dir)
	release(t, lock) // now that somebody else has it
	if got := held(t, dir); got.Holder != want.Holder {
		t.Errorf("the holder is %+v; want %+v", got.Holder, want.Holder)
	}
	release(t, second)
	if content := readFile(t, want.Path); len(content) != 0 {
		t.Errorf("a released lock file says %q; want nothing", content)
	}
}

func TestReleaseFromManyGoroutines(t *testing.T) {
	dir := t.TempDir()
	lock := acquire(t, dir)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			release(t, lock)
		})
	}
	group.Wait()
	acquire(t, dir)
}

// TestOneOfManyWins lets many try at once where there is no file yet, and again where there is one.
func TestOneOfManyWins(t *testing.T) {
	dir := t.TempDir()
	for range 20 {
		const many = 8
		locks := make(chan *Lock, many)
		var group sync.WaitGroup
		for range many {
			group.Go(func() {
				lock, err := Acquire(dir, network, "orchestrator run", since)
				switch {
				case err == nil:
					locks <- lock
				case !errors.As(err, new(*HeldError)):
					t.Error(err)
				}
			})
		}
		group.Wait()
		close(locks)
		if len(locks) != 1 {
			t.Fatalf("%d of %d hold the lock; want 1", len(locks), many)
		}
		release(t, <-locks)
	}
}

func TestNetworksDoNotExcludeEachOther(t *testing.T) {
	same := []string{network, " " + network + "\n", "http://UPTIME.example.org:8080/v1/online", "http://user:secret@uptime.example.org:8080/v1/online#x"}
	for _, other := range same {
		if fileName(other) != fileName(network) {
			t.Errorf("%q has another lock than %q", other, network)
		}
	}
	dir := t.TempDir()
	for i, other := range []string{
		network, "http://uptime.example.org:8081/v1/online", "http://uptime.example.org:8080/v2/online", "https://uptime.example.org:8080/v1/online",
		"s3://one-bucket/network-a", "s3://one-bucket/network-b", "", "not a URL",
	} {
		lock, err := Acquire(dir, other, "orchestrator run", since)
		if err != nil {
			t.Fatalf("network %d, %q: %v", i, other, err)
		}
		defer release(t, lock)
	}
	for _, url := range []string{network, "../../etc/passwd", "a/b"} {
		if name := fileName(url); !filepath.IsLocal(name) || strings.ContainsRune(name, '/') || len(name) != len("provingground-0123456789abcdef.lock") {
			t.Errorf("fileName(%q) = %q; want a plain name", url, name)
		}
	}
}

func TestContent(t *testing.T) {
	dir := t.TempDir()
	lock, err := Acquire(dir, network, "orchestrator run\n"+strings.Repeat("x", 100_000), since.In(time.FixedZone("there", 7200)).Add(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer release(t, lock)
	var got map[string]any
	if err := json.Unmarshal(readFile(t, filepath.Join(dir, fileName(network))), &got); err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"pid": float64(os.Getpid()), "user": userName(os.Getuid()), "host": host, "since": "2024-05-01T10:00:00Z",
		"command": "orchestrator run\uFFFD" + strings.Repeat("x", 483) + "…",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
}

func TestDefaultDirectory(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	acquire(t, "")
	if _, err := os.Stat(filepath.Join(dir, fileName(network))); err != nil {
		t.Error(err)
	}
}

func TestContentThatMakesNoSense(t *testing.T) {
	tests := []struct{ name, content string }{
		{"empty", ""},
		{"not JSON", "\x00\xff garbage"},
		{"another shape", `[1, 2]`},
		{"null", `null`},
		{"no process", `{"user":"alice","since":"2024-05-01T10:00:00Z"}`},
		{"negative process", `{"pid":-1,"user":"alice","since":"2024-05-01T10:00:00Z"}`},
		{"no user", `{"pid":1,"since":"2024-05-01T10:00:00Z"}`},
		{"no time", `{"pid":1,"user":"alice"}`},
		{"half new, half old", `{"pid":1,"user":"alice","since":"2024-05-01T10:00:00Z"}` + "\n" + `run old.json"}`},
		{"long", strings.Repeat("x", 10_000)},
		{"endless", strings.Repeat(" ", 1<<20) + `{"pid":1,"user":"alice","since":"2024-05-01T10:00:00Z"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, fileName(network))
			// A file that somebody left behind does not hinder.
			writeFile(t, path, test.content)
			lock := acquire(t, dir)
			if got := held(t, dir); got.Holder.Command != "orchestrator run config.json" {
				t.Errorf("the holder is %+v; want what replaced the old content", got.Holder)
			}
			// Nor does one that is overwritten while it is held.
			writeFile(t, path, test.content)
			got := held(t, dir)
			if diff := cmp.Diff(&HeldError{Path: path}, got); diff != "" {
				t.Errorf("HeldError (-want +got):\n%s", diff)
			}
			release(t, lock)
		})
	}
}

func TestHeldErrorMessage(t *testing.T) {
	const advice = ": wait for it, interrupt it, or pass -concurrent"
	known := &HeldError{Path: "/tmp/x.lock", Holder: Holder{
		PID: 4711, User: "alice", Host: "admin-1", Since: since.In(time.FixedZone("there", 7200)), Command: "orchestrator run churn.json",
	}}
	want := "another run on this network is under way: held by alice, process 4711, since 2024-05-01T10:00:00Z, " +
		"running orchestrator run churn.json" + advice
	if got := known.Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	want = "another run on this network holds the lock /tmp/x.lock, which does not say whose it is" + advice
	if got := (&HeldError{Path: "/tmp/x.lock"}).Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestContentCannotSteerTheTerminal(t *testing.T) {
	dir := t.TempDir()
	acquire(t, dir)
	writeFile(t, filepath.Join(dir, fileName(network)),
		`{"pid":1,"user":"al\u001b[2Jice","host":"a\u0007","since":"2024-05-01T10:00:00Z","command":"`+strings.Repeat("é", 501)+`\r\n"}`)
	want := Holder{PID: 1, User: "al\uFFFD[2Jice", Host: "a\uFFFD", Since: since, Command: strings.Repeat("é", 500) + "…"}
	if diff := cmp.Diff(want, held(t, dir).Holder); diff != "" {
		t.Errorf("holder (-want +got):\n%s", diff)
	}
}

// TestWhatIsNoLockFile puts other things in the lock file's place; none may be written to.
func TestWhatIsNoLockFile(t *testing.T) {
	tests := []struct {
		name string
		put  func(path, precious string) error
		says string
	}{
		{"symbolic link", func(path, precious string) error { return os.Symlink(precious, path) }, "symbolic link"},
		{"dangling symbolic link", func(path, precious string) error { return os.Symlink(precious+"-none", path) }, "symbolic link"},
		{"hard link", func(path, precious string) error { return os.Link(precious, path) }, "not a regular file with one name"},
		{"pipe", func(path, _ string) error { return unix.Mkfifo(path, 0o666) }, "not a regular file with one name"},
		{"directory", func(path, _ string) error { return os.Mkdir(path, 0o777) }, "is a directory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path, precious := filepath.Join(dir, fileName(network)), filepath.Join(dir, "precious")
			writeFile(t, precious, "precious")
			if err := test.put(path, precious); err != nil {
				t.Fatal(err)
			}
			lock, err := Acquire(dir, network, "orchestrator run", since)
			if err == nil {
				t.Fatal(lock.Release(), "the lock was taken")
			}
			if errors.As(err, new(*HeldError)) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v; want an error that names %s and says %q", err, path, test.says)
			}
			if content := readFile(t, precious); string(content) != "precious" {
				t.Errorf("the file behind it now says %q", content)
			}
			if _, err := os.Lstat(precious + "-none"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a file was made through the link: %v", err)
			}
		})
	}
}

// TestRemovedFile takes the file away from under its holder, as a cleaner of /tmp does.
func TestRemovedFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, fileName(network))
	acquire(t, dir)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	release(t, acquire(t, dir))

	// A file that was removed between opening and locking: its lock would exclude nobody.
	stale, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeFile(t, stale) })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if locked, err := lock(stale, path); locked || err != nil {
		t.Errorf("lock of a removed file = %t, %v; want false", locked, err)
	}
	acquire(t, dir)
	if locked, err := lock(stale, path); locked || err != nil {
		t.Errorf("lock of a replaced file = %t, %v; want false", locked, err)
	}
}

func TestNoDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	if lock, err := Acquire(dir, network, "orchestrator run", since); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Acquire = %v, %v; want that the directory does not exist", lock, err)
	}
}

func TestSecondProcessIsHeldOff(t *testing.T) {
	dir := sharedDir(t)
	acquire(t, dir)
	second := start(t, dir)
	want := fmt.Sprintf("held by %s, process %d, since 2024-05-01T10:00:00Z, running orchestrator run config.json", userName(os.Getuid()), os.Getpid())
	if !strings.HasPrefix(second.said, "held ") || !strings.Contains(second.said, want) {
		t.Errorf("the second process says %q; want %q", second.said, want)
	}
}

// TestOnlyWriters: who cannot make files in the directory cannot open the lock file either.
func TestOnlyWriters(t *testing.T) {
	for mode, want := range map[fs.FileMode]fs.FileMode{0o755: 0o600, 0o700: 0o600, 0o775: 0o660, 0o777: 0o666} {
		dir := t.TempDir()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		acquire(t, dir)
		if info, err := os.Stat(filepath.Join(dir, fileName(network))); err != nil || info.Mode() != want {
			t.Errorf("in a directory of mode %o: %v, %v; want %o", mode, info.Mode(), err, want)
		}
	}
}

// TestLockEndsWithItsProcess kills a holder that, when the tests run as root, is another user and has a tight umask in any case.
func TestLockEndsWithItsProcess(t *testing.T) {
	dir := sharedDir(t)
	second := start(t, dir)
	if second.said != "locked" {
		t.Fatalf("the second process says %q; want that it has the lock", second.said)
	}
	info, err := os.Stat(filepath.Join(dir, fileName(network)))
	if err != nil || info.Mode() != 0o666 {
		t.Errorf("mode %v, %v; want 0666 whatever the umask", info.Mode(), err)
	}
	if got := held(t, dir).Holder; got.PID != second.Process.Pid || got.Command != "orchestrator run other.json" {
		t.Errorf("the holder is %+v; want process %d", got, second.Process.Pid)
	}
	if err := second.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err == nil {
		t.Error("the second process ended well; it was to be killed")
	}
	acquire(t, dir)
	if got := held(t, dir).Holder; got.PID != os.Getpid() {
		t.Errorf("the holder is %+v; want this process", got)
	}
}

func TestSecondProcessReleases(t *testing.T) {
	dir := sharedDir(t)
	second := start(t, dir)
	if second.said != "locked" {
		t.Fatalf("the second process says %q; want that it has the lock", second.said)
	}
	if err := second.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil {
		t.Fatal(err)
	}
	if content := readFile(t, filepath.Join(dir, fileName(network))); len(content) != 0 {
		t.Errorf("a released lock file says %q; want nothing", content)
	}
	acquire(t, dir)
}

// TestClosedFile leaves a file that the second process may not open.
func TestClosedFile(t *testing.T) {
	dir := sharedDir(t)
	path := filepath.Join(dir, fileName(network))
	writeFile(t, path, "")
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	second := start(t, dir)
	if want := "refused open run lock of " + userName(os.Getuid()); !strings.HasPrefix(second.said, want) {
		t.Errorf("the second process says %q; want %q", second.said, want)
	}
}

// FuzzRead holds that no content stops the reader, and that what it shows is fit for a terminal.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"pid":1,"user":"alice","host":"a","since":"2024-05-01T10:00:00Z","command":"orchestrator run"}`))
	f.Add([]byte(`{"pid":1,"user":"\u001b","since":"2024-05-01T10:00:00Z"}`))
	f.Add([]byte("{"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "lock")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer closeFile(t, file)
		message := (&HeldError{Path: "/tmp/x.lock", Holder: read(file)}).Error()
		if strings.ContainsFunc(message, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("the message holds what is not printable: %q", message)
		}
	})
}

func closeFile(t *testing.T, file *os.File) {
	t.Helper()
	if err := file.Close(); err != nil {
		t.Error(err)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
