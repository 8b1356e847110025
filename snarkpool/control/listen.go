package control

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	localConnections  = 128
	remoteConnections = 64
	maxSocketPath     = 107 // bytes of an address's path in the kernel, without its end
)

// ErrAlreadyRunning says that an agent listens on a socket already.
var ErrAlreadyRunning = errors.New("another agent is running there")

// Listener is where a [Server] listens; [ListenSocket] and [ListenTLS] make one. Close it when no server serves it.
type Listener struct {
	net.Listener

	close func() error
}

// Close stops listening. Only the first call does something; all return its error.
func (l *Listener) Close() error { return l.close() }

// ListenSocket listens on a unix socket of mode 0600, in a directory that exists. The socket of an agent that died is replaced. One that is alive is
// [ErrAlreadyRunning]; who is alive is told by a lock on the file PATH.lock, which the kernel gives back when a process ends, and which stays.
func ListenSocket(path string) (*Listener, error) {
	fail := func(err error) (*Listener, error) { return nil, fmt.Errorf("control socket %s: %w", path, err) }
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600) //nolint:gosec // beside the socket that the operator names
	if err != nil {
		return fail(err)
	}
	listener, made, err := listenLocked(path, lock)
	if err != nil {
		return fail(errors.Join(err, lock.Close()))
	}
	return &Listener{bound(localListener{listener}, localConnections), sync.OnceValue(func() error {
		err := listener.Close()
		if now, statErr := os.Lstat(path); statErr == nil && os.SameFile(now, made) {
			err = errors.Join(err, os.Remove(path))
		}
		// Closing alone would leave the lock to a child that was forked at this moment, until it runs its own program.
		return errors.Join(err, unix.Flock(int(lock.Fd()), unix.LOCK_UN), lock.Close())
	})}, nil
}

// listenLocked returns also what the socket is, so as not to remove that of somebody else later.
func listenLocked(path string, lock *os.File) (*net.UnixListener, os.FileInfo, error) {
	err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil, fmt.Errorf("%w: stop it first, or choose another state directory", ErrAlreadyRunning)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("lock it: %w", err)
	}
	if err := checkStale(path); err != nil {
		return nil, nil, err
	}
	// Made in a directory of its own that nobody else can enter, since a socket is open to others until its mode is set.
	dir, err := os.MkdirTemp(filepath.Dir(path), ".c")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // empty by now, or of no use
	made := filepath.Join(dir, "s")
	if most := max(len(made), len(path)); most > maxSocketPath {
		return nil, nil, fmt.Errorf("its path would have %d bytes and a socket's has %d at most: choose a shorter directory", most, maxSocketPath)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	listener.SetUnlinkOnClose(false)
	err = os.Chmod(made, 0o600)
	var info os.FileInfo
	if err == nil {
		info, err = os.Lstat(made)
	}
	if err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		return nil, nil, errors.Join(err, listener.Close())
	}
	return listener, info, nil
}

// checkStale returns an error unless the path is free or the socket of a process that has ended.
func checkStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("there is something else that is no socket: remove it, or choose another path")
	}
	conn, err := net.DialTimeout("unix", path, time.Second) //nolint:noctx // answered by the kernel at once
	if err == nil {
		return errors.Join(fmt.Errorf("%w, without its lock: stop it first", ErrAlreadyRunning), conn.Close())
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return err
	}
	return nil
}

// ListenTLS listens for HTTPS at an address HOST:PORT, with TLS 1.3 and a certificate that is read again when its files change.
func ListenTLS(address, certificateFile, keyFile string) (*Listener, error) {
	fail := func(err error) (*Listener, error) { return nil, fmt.Errorf("control port %s: %w", address, err) }
	pair := &certificate{certificateFile: certificateFile, keyFile: keyFile}
	if err := pair.load(); err != nil {
		return fail(err)
	}
	if info, err := os.Stat(keyFile); err != nil || info.Mode().Perm()&0o007 != 0 {
		return fail(errors.Join(err, fmt.Errorf("everybody can use the private key in %s: chmod o-rwx it", keyFile)))
	}
	listener, err := net.Listen("tcp", address) //nolint:noctx // does not wait
	if err != nil {
		return fail(err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, GetCertificate: pair.get}
	return &Listener{tls.NewListener(bound(listener, remoteConnections), config), sync.OnceValue(listener.Close)}, nil
}

// certificate is a key pair in two files. Safe for concurrent use.
type certificate struct {
	certificateFile, keyFile string

	mu    sync.Mutex
	stamp [2]time.Time
	pair  *tls.Certificate
}

// load reads the files if they have changed. After an error the pair of before stays, for the one file may be new already and the other not yet.
func (c *certificate) load() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var stamp [2]time.Time
	for i, path := range []string{c.certificateFile, c.keyFile} {
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
		stamp[i] = info.ModTime()
	}
	if c.pair != nil && stamp == c.stamp {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.certificateFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", c.certificateFile, c.keyFile, err)
	}
	c.pair, c.stamp = &pair, stamp
	return nil
}

// get is for each handshake.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	_ = c.load() // the pair of before goes on
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pair, nil
}

// bounded is a listener with so many connections at once; any more are closed as they come.
type bounded struct {
	net.Listener

	places chan struct{}
}

func bound(listener net.Listener, connections int) net.Listener {
	return bounded{listener, make(chan struct{}, connections)}
}

// Accept waits for a connection that may stay.
func (b bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case b.places <- struct{}{}:
			return &placed{conn, sync.OnceFunc(func() { <-b.places })}, nil
		default:
			_ = conn.Close() // nothing was written
		}
	}
}

// placed is a connection that has a place.
type placed struct {
	net.Conn

	leave func()
}

// Close closes it and gives the place back.
func (p *placed) Close() error {
	defer p.leave()
	return p.Conn.Close()
}

// localListener is a unix socket that knows its callers.
type localListener struct{ *net.UnixListener }

// localConn is a connection over the socket; peer is nil when the kernel does not tell.
type localConn struct {
	*net.UnixConn

	peer *unix.Ucred
}

// Accept waits for a connection.
func (l localListener) Accept() (net.Conn, error) {
	conn, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	return &localConn{conn, peerOf(conn)}, nil
}

func peerOf(conn *net.UnixConn) *unix.Ucred {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	var peer *unix.Ucred
	err = raw.Control(func(fd uintptr) { peer, _ = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil {
		return nil
	}
	return peer
}
