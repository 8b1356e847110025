//go:build linux

package process_test

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"provingground/snarkpool/supervise/process"
)

// TestIdentity ends a child and watches what is said of it.
func TestIdentity(t *testing.T) {
	boot, err := process.BootID()
	if err != nil {
		t.Fatal(err)
	}
	pidfd := -1
	pid, err := syscall.ForkExec("/bin/sleep", []string{"a (strange) name", "600"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{PidFD: &pidfd, Setsid: true}})
	if err != nil {
		t.Fatal(err)
	}
	h, err := process.Child(pid, pidfd, boot)
	if err != nil {
		t.Fatal(err)
	}
	other, err := process.Open(h.Identity())
	if err != nil {
		t.Fatal(err)
	}
	if _, ended, err := h.Wait(); ended || err != nil || h.Dead() {
		t.Errorf("alive: ended %v, %v", ended, err)
	}
	if err := other.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	fds := []unix.PollFd{{Fd: int32(h.FD()), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds, 60_000); err != nil {
		t.Fatal(err)
	}
	exit, ended, err := h.Wait()
	if err != nil || !ended || exit != (process.Exit{Known: true, Code: -1, Signal: "SIGKILL"}) {
		t.Errorf("dead: %+v, %v, %v", exit, ended, err)
	}
	for _, h := range []*process.Handle{h, other} {
		if err := h.Signal(unix.SIGKILL); !errors.Is(err, process.ErrGone) {
			t.Errorf("signal to the dead: %v", err)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := process.Open(h.Identity()); !errors.Is(err, process.ErrGone) {
		t.Errorf("open the dead: %v", err)
	}
}

func TestOwnStat(t *testing.T) {
	stat, err := process.ReadStat(os.Getpid())
	if err != nil || stat.StartTicks == 0 || stat.ResidentBytes == 0 {
		t.Errorf("%+v, %v", stat, err)
	}
	session, err := unix.Getsid(0)
	if err != nil || session != stat.Session {
		t.Errorf("session %d, the kernel says %d, %v", stat.Session, session, err)
	}
}
