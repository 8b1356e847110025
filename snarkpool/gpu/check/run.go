//go:build linux

package check

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Failure is why a check was not passed.
type Failure string

// The failures.
const (
	// Crashed is a checker that ended before it was told to, or not with exit code 0.
	Crashed Failure = "crashed"
	// GaveUp is a checker that said why it cannot go on.
	GaveUp Failure = "gave up"
	// CommittedLate and AnsweredLate are a checker that took longer than it was given. It may hang.
	CommittedLate Failure = "committed late"
	AnsweredLate  Failure = "answered late"
	// WrongResult is a product that is wrong: the GPU computes wrongly, or its memory forgets.
	WrongResult Failure = "wrong result"
	// NotCommitted is a row that is not the one committed to: the checker did not compute what it says.
	NotCommitted Failure = "not what was committed to"
	// TooLittleMemory is a checker that used less memory than the task takes.
	TooLittleMemory Failure = "too little memory"
	// BrokeProtocol is a checker that does not speak the protocol.
	BrokeProtocol Failure = "broke the protocol"
)

// Options are what a check needs.
type Options struct {
	// Command starts the checker; its first word is looked up in PATH.
	Command []string
	// Env is its whole environment, such as CUDA_VISIBLE_DEVICES=GPU-….
	Env []string
	// Shape is the task's size ([ShapeFor]).
	Shape Shape
	// ChallengedRows is how many rows it is asked for; 0 means 16. More than there are rows means each of them about once.
	ChallengedRows int
	// CommitWithin and AnswerWithin are how long it may take for each; 0 means 10 and 2 minutes.
	CommitWithin, AnswerWithin time.Duration
	// UsedMemory tells how many bytes of the memory in question a process uses. It is asked once the checker has committed; nil means that
	// nobody looks. It must give up when its context ends.
	UsedMemory func(ctx context.Context, pid int) (uint64, error)
	// Random gives seeds and challenges; nil means crypto/rand. A checker that can foretell it can cheat.
	Random io.Reader
}

// Verdict is what came of a check.
type Verdict struct {
	Passed bool `json:"passed"`
	// Failure and Reason say why not: its kind, and in words, with the checker's last words on standard error.
	Failure Failure `json:"failure,omitempty"`
	Reason  string  `json:"reason,omitempty"`
	Shape   Shape   `json:"shape"`
	// MemoryBytes is what the task takes, UsedBytes what the checker was seen to use; nil when nobody looked, or could not.
	MemoryBytes uint64  `json:"memory_bytes"`
	UsedBytes   *uint64 `json:"used_bytes,omitempty"`
	// Unseen is why nobody could see what it used. The check passes all the same, and says so.
	Unseen string `json:"unseen,omitempty"`
	// CommitSeconds and AnswerSeconds are what the checker took for each; 0 when it did not come to that.
	CommitSeconds float64 `json:"commit_seconds"`
	AnswerSeconds float64 `json:"answer_seconds"`
}

var errLate = errors.New("the checker took too long")

// stderrKept is how much of a checker's standard error a verdict can show.
const stderrKept = 2048

// exitWithin is how long a checker may take to exit after bye, and lastWordsWithin how long its last words may take once it was killed:
// something that it left behind may hold its standard error.
const exitWithin, lastWordsWithin = 10 * time.Second, time.Second

// Run starts a checker and has it prove its GPU. Whatever a checker does ends in a verdict; the error is for what is not the checker's doing:
// options that make no sense, a command that cannot be started, a context that ended. The checker and its process group are gone when Run
// returns.
func Run(ctx context.Context, options Options) (Verdict, error) {
	if err := options.Shape.check(); err != nil {
		return Verdict{}, fmt.Errorf("checking a GPU: %w", err)
	}
	if len(options.Command) == 0 {
		return Verdict{}, errors.New("checking a GPU: no checker is configured")
	}
	if options.Random == nil {
		options.Random = rand.Reader
	}
	if options.ChallengedRows == 0 {
		options.ChallengedRows = 16
	}
	if options.CommitWithin == 0 {
		options.CommitWithin = 10 * time.Minute
	}
	if options.AnswerWithin == 0 {
		options.AnswerWithin = 2 * time.Minute
	}
	r := run{options: options, verdict: Verdict{Shape: options.Shape, MemoryBytes: options.Shape.MemoryBytes()}}
	if err := r.draw(r.seed[:], r.vector[:]); err != nil {
		return Verdict{}, err
	}
	failure, err := r.do(ctx)
	if err != nil {
		return Verdict{}, fmt.Errorf("checking a GPU with %s: %w", options.Command[0], err)
	}
	if failure != nil {
		r.verdict.Failure, r.verdict.Reason = failure.kind, failure.reason
		return r.verdict, nil
	}
	r.verdict.Passed = true
	return r.verdict, nil
}

// failed is a checker's failure on its way up to Run.
type failed struct {
	kind   Failure
	reason string
}

type run struct {
	options      Options
	seed, vector Seed
	verdict      Verdict
	in           io.WriteCloser
	pipe         io.Closer // out's end
	out          *bufio.Reader
	pid          int
}

func (r *run) draw(into ...[]byte) error {
	for _, bytes := range into {
		if _, err := io.ReadFull(r.options.Random, bytes); err != nil {
			return fmt.Errorf("checking a GPU: drawing random numbers: %w", err)
		}
	}
	return nil
}

// do starts the checker, speaks with it, and ends it.
func (r *run) do(ctx context.Context) (*failed, error) {
	command := exec.CommandContext(context.WithoutCancel(ctx), r.options.Command[0], r.options.Command[1:]...) //nolint:gosec // the operator's own command, from the pool file
	command.Env = r.options.Env
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.WaitDelay = lastWordsWithin
	last := &tail{limit: stderrKept}
	command.Stderr = last
	in, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	r.in, r.pipe, r.out, r.pid = in, out, bufio.NewReader(out), command.Process.Pid

	failure, err := r.talk(ctx)
	if failure == nil && err == nil {
		failure, err = r.leave(ctx)
	}
	r.kill() // what it left behind, or itself; until Wait its number is nobody else's
	waited := command.Wait()
	if err != nil {
		return nil, err
	}
	if failure == nil && waited != nil {
		failure = &failed{Crashed, "after its answers"}
	}
	if failure == nil {
		return nil, nil
	}
	if failure.kind == Crashed && waited != nil {
		failure.reason += ": " + waited.Error()
	}
	if words := last.String(); words != "" {
		failure.reason += "; its last words: " + words
	}
	return failure, nil
}

// kill ends the checker's process group. It is called only while the checker has not been waited for.
func (r *run) kill() {
	_ = syscall.Kill(-r.pid, syscall.SIGKILL) // fails when nothing is left of it, which is as well
}

// talk is the protocol, up to bye.
func (r *run) talk(ctx context.Context) (*failed, error) {
	var root Hash
	began := time.Now()
	failure, err := r.within(ctx, r.options.CommitWithin, CommittedLate, func() (*failed, error) {
		task := Task{Type: TypeTask, Protocol: Protocol, Seed: r.seed.String(), Shape: r.options.Shape, MemoryBytes: r.verdict.MemoryBytes}
		if failure := r.tell(task); failure != nil {
			return failure, nil
		}
		answer, failure := r.hear(TypeCommitment)
		if failure != nil {
			return failure, nil
		}
		var whole bool
		if root, whole = decodeHash(answer.Root); !whole {
			return &failed{BrokeProtocol, "its commitment is not 64 hexadecimal digits"}, nil
		}
		r.verdict.CommitSeconds = time.Since(began).Seconds()
		return nil, nil
	})
	if failure != nil || err != nil {
		return failure, err
	}
	if failure := r.look(ctx); failure != nil {
		return failure, nil
	}
	v, err := newVerifier(ctx, r.seed, r.vector, r.options.Shape)
	if err != nil {
		return nil, context.Cause(ctx)
	}
	challenge := Challenge{Type: TypeChallenge, Vector: r.vector.String(), Rows: make([]uint64, r.options.ChallengedRows)}
	for i := range challenge.Rows {
		var number [8]byte
		if err := r.draw(number[:]); err != nil {
			return nil, err
		}
		challenge.Rows[i] = binary.LittleEndian.Uint64(number[:]) % r.options.Shape.Rows
	}
	began = time.Now()
	return r.within(ctx, r.options.AnswerWithin, AnsweredLate, func() (*failed, error) {
		if failure := r.tell(challenge); failure != nil {
			return failure, nil
		}
		answer, failure := r.hear(TypeProducts)
		if failure != nil {
			return failure, nil
		}
		if kind, reason := v.products(answer); kind != "" {
			return &failed{kind, reason}, nil
		}
		for _, index := range challenge.Rows {
			if answer, failure = r.hear(TypeRow); failure != nil {
				return failure, nil
			}
			if kind, reason := v.row(answer, index, root); kind != "" {
				return &failed{kind, reason}, nil
			}
		}
		r.verdict.AnswerSeconds = time.Since(began).Seconds()
		return nil, nil
	})
}

// within has a part of the talk end in time: the pipes are closed under it when it does not.
func (r *run) within(ctx context.Context, limit time.Duration, late Failure, part func() (*failed, error)) (*failed, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errLate)
	defer cancel()
	ended := context.AfterFunc(ctx, func() { // what waits on a pipe must not wait for something that holds its other end
		r.kill()
		_ = r.in.Close()
		_ = r.pipe.Close()
	})
	defer ended()
	failure, err := part()
	switch {
	case failure == nil && err == nil || ctx.Err() == nil:
		return failure, err
	case errors.Is(context.Cause(ctx), errLate):
		return &failed{late, fmt.Sprintf("it was given %s", limit)}, nil
	default:
		return nil, context.Cause(ctx)
	}
}

// look compares the memory that the checker uses, while it must hold its matrices, with what they take.
func (r *run) look(ctx context.Context) *failed {
	if r.options.UsedMemory == nil {
		r.verdict.Unseen = "nobody looked"
		return nil
	}
	used, err := r.options.UsedMemory(ctx, r.pid)
	if err != nil {
		r.verdict.Unseen = err.Error()
		return nil
	}
	r.verdict.UsedBytes = &used
	if used < r.verdict.MemoryBytes {
		return &failed{TooLittleMemory, fmt.Sprintf("it uses %d bytes where its matrices take %d", used, r.verdict.MemoryBytes)}
	}
	return nil
}

// leave says bye, and gives the checker time to exit.
func (r *run) leave(ctx context.Context) (*failed, error) {
	return r.within(ctx, exitWithin, Crashed, func() (*failed, error) {
		_ = WriteLine(r.in, Bye{Type: TypeBye}) // a checker that is gone already has its exit code to tell
		_ = r.in.Close()
		var more Answer
		if err := ReadLine(r.out, r.options.Shape.lineLimit(), &more); !errors.Is(err, io.EOF) {
			return &failed{BrokeProtocol, "it went on after its answers"}, nil
		}
		// its end, without taking its exit code from Wait
		for {
			err := unix.Waitid(unix.P_PID, r.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
			if err == nil {
				return nil, nil
			}
			if !errors.Is(err, unix.EINTR) {
				return nil, fmt.Errorf("waiting for its end: %w", err)
			}
		}
	})
}

func (r *run) tell(message any) *failed {
	if err := WriteLine(r.in, message); err != nil {
		return &failed{Crashed, "it does not listen: " + err.Error()}
	}
	return nil
}

func (r *run) hear(kind string) (Answer, *failed) {
	var answer Answer
	err := ReadLine(r.out, r.options.Shape.lineLimit(), &answer)
	switch {
	case errors.Is(err, ErrLine):
		return answer, &failed{BrokeProtocol, err.Error()}
	case err != nil:
		return answer, &failed{Crashed, "it ended before its " + kind}
	case answer.Type == TypeFailed:
		return answer, &failed{GaveUp, answer.Reason}
	case answer.Type != kind:
		return answer, &failed{BrokeProtocol, fmt.Sprintf("%q came where its %s was due", answer.Type, kind)}
	}
	return answer, nil
}

// tail keeps the last bytes written to it.
type tail struct {
	mu    sync.Mutex
	limit int
	kept  []byte
}

// Write never fails.
func (t *tail) Write(content []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, content...)
	if excess := len(t.kept) - t.limit; excess > 0 {
		t.kept = append(t.kept[:0], t.kept[excess:]...)
	}
	return len(content), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(strings.TrimSpace(string(t.kept)), "�")
}
