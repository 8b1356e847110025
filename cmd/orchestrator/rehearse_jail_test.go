package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// jailEnv says what the test binary is to do when TestRehearsalTouchesNothing calls it.
const jailEnv = "PROVINGGROUND_TEST_JAIL"

// TestRehearsalTouchesNothing rehearses a script that funds, loads, restarts and pays, in an empty directory, without environment, in a
// process that the kernel kills when it touches the machine. It calls itself for that.
func TestRehearsalTouchesNothing(t *testing.T) {
	if jailed := os.Getenv(jailEnv); jailed != "" {
		if err := jail(); err != nil {
			t.Fatal(err)
		}
		args := []string{"rehearse", "-seed", "1", "-nodes", "12", "-v", "-faults", "restart:127.0.0.4@20"}
		if jailed == "check" {
			args = []string{"check", "a.script"}
		}
		p := program{args: args, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: func(name string) (string, bool) {
			panic("it looks at the environment: " + name)
		}}
		if code := p.run(t.Context()); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		return
	}
	t.Parallel()
	call := func(what string) (*exec.Cmd, *bytes.Buffer) {
		cmd := alone(t)
		cmd.Args = append(cmd.Args, "-test.run=^TestRehearsalTouchesNothing$")
		cmd.Env = []string{jailEnv + "=" + what, "GORACE=atexit_sleep_ms=0"}
		cmd.Stdin = bytes.NewReader(generated(t, "rotation"))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		return cmd, &stderr
	}
	cmd, stderr := call("rehearse")
	if out, err := cmd.Output(); err != nil || !strings.Contains(string(out), `"_end"`) {
		t.Fatalf("%v\n%s\n%s", err, lastOf(string(out), 2000), lastOf(stderr.String(), 2000))
	}
	if left, err := os.ReadDir(cmd.Dir); err != nil || len(left) > 0 {
		t.Errorf("it left %v: %v", left, err)
	}

	// The jail is one: a command that opens a file dies in it.
	cmd, _ = call("check")
	if code := exitCode(t, cmd.Run()); code != -int(syscall.SIGSYS) {
		t.Errorf("a command that opens a file ends with %d in jail", code)
	}
}

// jail lets the kernel kill this process when it opens, makes or removes a file, makes a socket or starts a program, from now on and in all
// its threads.
func jail() error {
	const number = 0 // of the system call: the first field of what the filter sees
	forbidden := []uint32{
		unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_MKDIRAT, unix.SYS_UNLINKAT, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINKAT,
		unix.SYS_SYMLINKAT, unix.SYS_SOCKET, unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_FLOCK, unix.SYS_TRUNCATE, unix.SYS_FCHMODAT,
	}
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number}}
	for i, call := range forbidden {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jt: uint8(len(forbidden) - i)})
	}
	filter = append(filter,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_KILL_PROCESS})
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return fmt.Errorf("filter system calls: %w", errno)
	}
	return nil
}
