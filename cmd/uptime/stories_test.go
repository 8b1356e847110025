package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestStories plays the stories of testdata/script: calls of the program that end by themselves, with standard output, standard error and exit code
// apart. Beside the commands of testscript they know
//
//	exits CODE uptime ARG…   run the program to its end
func TestStories(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"), RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			executable, err := os.Executable()
			if err != nil {
				return err
			}
			bin := filepath.Join(env.WorkDir, ".bin")
			if err := errors.Join(os.Mkdir(bin, 0o700), os.Symlink(executable, filepath.Join(bin, "uptime"))); err != nil {
				return err
			}
			env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Setenv(asProgram, "1")
			env.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector would let each process sleep a second at its end
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": func(ts *testscript.TestScript, negated bool, args []string) {
				if negated || len(args) < 2 {
					ts.Fatalf("usage: exits CODE PROGRAM ARG…")
				}
				code := 0
				err := ts.Exec(args[1], args[2:]...)
				var ended interface{ ExitCode() int }
				if errors.As(err, &ended) {
					code = ended.ExitCode()
				} else {
					ts.Check(err)
				}
				if fmt.Sprint(code) != args[0] {
					ts.Fatalf("exit code %d, not %s", code, args[0])
				}
			},
		},
		Deadline: time.Now().Add(2 * time.Minute), // a program that does not end is told to, and its story fails
	})
}
