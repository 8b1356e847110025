package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"provingground/orchestrator"
)

// shellScript writes an executable shell script and returns its path.
func shellScript(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// runProgram runs a shell script and returns what it printed: lines of standard output after ">", of standard error after "!".
func runProgram(ctx context.Context, t *testing.T, text string, args ...string) (string, error) {
	t.Helper()
	var printed strings.Builder
	err := orchestrator.Executables{}.Run(ctx, orchestrator.Command{
		Path: shellScript(t, text), Args: args, Env: []string{"MINA_PRIVKEY_PASS=secret", "ITN_FEATURES=1"},
		Line: func(text string, own bool) {
			mark := "!"
			if own {
				mark = ">"
			}
			fmt.Fprintln(&printed, mark+text)
		},
	})
	return printed.String(), err
}

func TestExecutables(t *testing.T) {
	t.Run("environment and arguments (D43)", func(t *testing.T) {
		t.Setenv("PARENT", "kept")
		printed, err := runProgram(t.Context(), t, `echo "$PARENT $MINA_PRIVKEY_PASS $ITN_FEATURES $1 $2"`, "two words", "three")
		mustEqual(t, "printed", ">kept secret 1 two words three\n", printed)
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("lines of both streams, the last one unfinished", func(t *testing.T) {
		printed, err := runProgram(t.Context(), t, "echo one; echo two; printf three")
		mustEqual(t, "printed", ">one\n>two\n>three\n", printed)
		if err != nil {
			t.Error(err)
		}
		printed, err = runProgram(t.Context(), t, "echo one >&2")
		mustEqual(t, "printed", "!one\n", printed)
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("a program that goes on after what matters (D13)", func(t *testing.T) {
		printed, err := runProgram(t.Context(), t, `echo "Balance: 5 mina"; i=0; while [ $i -lt 20000 ]; do echo "line $i of many"; i=$((i+1)); done`)
		if err != nil || strings.Count(printed, "\n") != 20001 {
			t.Errorf("%d lines: %v", strings.Count(printed, "\n"), err)
		}
	})
	t.Run("a line without end", func(t *testing.T) {
		_, err := runProgram(t.Context(), t, `head -c 3000000 /dev/zero | tr '\0' x; echo; echo done`)
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("exit code", func(t *testing.T) {
		_, err := runProgram(t.Context(), t, "echo why >&2; exit 7", "advanced", "itn-create-accounts", "--amount", "5")
		var exit *orchestrator.ExitError
		if !errors.As(err, &exit) || exit.Code != 7 || exit.Last != "why" {
			t.Fatalf("%#v", err)
		}
		mustSay(t, err.Error(), "advanced itn-create-accounts ended with exit code 7: why")
		if strings.Contains(err.Error(), "--amount") {
			t.Errorf("the arguments are in %v", err)
		}
	})
	t.Run("ended by a signal", func(t *testing.T) {
		_, err := runProgram(t.Context(), t, "kill -9 $$")
		var exit *orchestrator.ExitError
		if !errors.As(err, &exit) || exit.Code != -1 {
			t.Errorf("%#v", err)
		}
	})
	t.Run("cancelled, and with it what it has started (D13, D56)", func(t *testing.T) {
		why := errors.New("the step is over")
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		told := filepath.Join(t.TempDir(), "told")
		err := orchestrator.Executables{}.Run(ctx, orchestrator.Command{
			Path: shellScript(t, `(trap 'echo > "$1"; exit' TERM; echo ready; while :; do sleep 0.05; done) & wait`), Args: []string{told},
			Line: func(string, bool) { cancel(why) },
		})
		if !errors.Is(err, why) {
			t.Errorf("ended with %v", err)
		}
		if _, err := os.Stat(told); err != nil {
			t.Errorf("the program's own child was not told to end: %v", err)
		}
	})
	t.Run("missing", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "absent")
		if err := (orchestrator.Executables{}).Find(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("found with %v", err)
		}
		if err := (orchestrator.Executables{}).Find("sh"); err != nil {
			t.Error(err)
		}
		if err := (orchestrator.Executables{}).Run(t.Context(), orchestrator.Command{Path: path}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("ran with %v", err)
		}
	})
}
