package control_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"provingground/snarkpool/control"
)

func TestSocketIsClosedToOthersAndRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	info, err := os.Stat(w.socket)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := control.ListenSocket(w.socket); !errors.Is(err, control.ErrAlreadyRunning) {
		t.Errorf("a second agent: got %v", err)
	}
	if _, err := w.local(t).Identify(t.Context()); err != nil {
		t.Errorf("the first agent after the second: %v", err)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(w.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(w.socket), ".c*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestKilledAgent kills a process that listens, and listens in its place.
func TestKilledAgent(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), listenEnv+"="+path)
	child.Stderr = os.Stderr
	if _, err := child.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(output).ReadString('\n'); err != nil || line != "listening\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	if _, err := control.ListenSocket(path); !errors.Is(err, control.ErrAlreadyRunning) {
		t.Errorf("while it lives: got %v", err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // says that it was killed
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeSocket {
		t.Fatalf("it left no socket: %v", err)
	}
	client := control.NewLocal(path)
	defer client.Close()
	if _, err := client.Status(t.Context(), control.Target{}); !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("a client: got %v", err)
	}
	listener, err := control.ListenSocket(path)
	if err != nil {
		t.Fatalf("after its death: %v", err)
	}
	if err := listener.Close(); err != nil {
		t.Error(err)
	}
}

func TestSocketsThatCannotBe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	living, err := net.Listen("unix", filepath.Join(dir, "living"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = living.Close() }()
	for path, want := range map[string]string{
		file: "no socket", filepath.Join(dir, "living"): "another agent", filepath.Join(dir, strings.Repeat("x", 120)): "shorter directory",
		filepath.Join(dir, "none", "s"): "no such file",
	} {
		if _, err := control.ListenSocket(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != "precious" {
		t.Errorf("the file now: %q, %v", content, err)
	}
}

func TestOnlyTLS13(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	dial := func(version uint16) error {
		conn, err := tls.Dial("tcp", w.address, &tls.Config{RootCAs: w.roots, MinVersion: version, MaxVersion: version})
		if err == nil {
			err = conn.Close()
		}
		return err
	}
	if err := dial(tls.VersionTLS12); err == nil {
		t.Error("TLS 1.2 was accepted")
	}
	if err := dial(tls.VersionTLS13); err != nil {
		t.Error(err)
	}
}

func TestCertificateIsReadAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	dir := filepath.Dir(w.keysFile)
	certificate, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	old := w.roots
	if err := os.WriteFile(certificate, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.remote(t, w.reader).Identify(t.Context()); err != nil {
		t.Errorf("with half a certificate: %v", err)
	}
	w.roots = writeCertificate(t, certificate, key)
	ahead := time.Now().Add(time.Second)
	if err := os.Chtimes(certificate, ahead, ahead); err != nil {
		t.Fatal(err)
	}
	if _, err := w.remote(t, w.reader).Identify(t.Context()); err != nil {
		t.Errorf("with the new one: %v", err)
	}
	w.roots = old
	if _, err := w.remote(t, w.reader).Identify(t.Context()); err == nil {
		t.Error("the old one is still in use")
	}
	if _, err := control.ListenTLS("127.0.0.1:0", key, key); err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("no certificate: got %v", err)
	}
}

func TestPrivateKeyForAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certificate, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, certificate, key)
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := control.ListenTLS("127.0.0.1:0", certificate, key); err == nil || !strings.Contains(err.Error(), "chmod") {
		t.Errorf("got %v", err)
	}
}

// TestConnectionsAreBounded opens more than there may be: the further ones are closed, and those of before go on.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for range 64 {
		conn, err := net.Dial("tcp", w.address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
	}
	conn, err := net.Dial("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("one too many may stay")
	}
	if _, err := w.local(t).Identify(t.Context()); err != nil {
		t.Errorf("the socket: %v", err)
	}
}

func TestListenerThatFails(t *testing.T) {
	t.Parallel()
	server, err := control.NewServer(control.Options{Name: "bm7", Operator: &operator{}, Audit: &audit{}})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := control.ListenSocket(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := server.Serve(context.Background(), listener); err == nil {
		t.Error("a closed listener is no error")
	}
}
