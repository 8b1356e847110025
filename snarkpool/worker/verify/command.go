package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Command returns a Start for [Options] that runs an executable with arguments, its questions on standard input and its answers on standard
// output; what it writes to standard error goes to log, nil for nowhere. The process leads its own process group, which Close kills whole. The
// context of Start bounds the starting only; the process lives until Close.
func Command(name string, arguments, environment []string, log io.Writer) func(context.Context) (Process, error) {
	return func(ctx context.Context) (Process, error) {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		command := exec.Command(name, arguments...) //nolint:gosec,noctx // the operator's own verifier; it outlives this call and is ended by Close
		command.Env = environment
		command.Stderr = log
		command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		command.WaitDelay = time.Second // for a grandchild that left the group and holds standard error
		in, err := command.StdinPipe()
		if err != nil {
			return nil, err
		}
		out, err := command.StdoutPipe()
		if err != nil {
			return nil, errors.Join(err, in.Close())
		}
		if err := command.Start(); err != nil {
			return nil, fmt.Errorf("run %s: %w", name, err)
		}
		return &process{command: command, ReadCloser: out, in: in}, nil
	}
}

type process struct {
	command *exec.Cmd
	io.ReadCloser
	in   io.WriteCloser
	once sync.Once
}

func (p *process) Write(b []byte) (int, error) { return p.in.Write(b) }

func (p *process) Close() error {
	p.once.Do(func() {
		_ = p.in.Close()
		_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL) // not reaped yet, so the group is still ours
		_ = p.command.Wait()                                      // a killed process is no error; Wait closes the pipes
	})
	return nil
}
