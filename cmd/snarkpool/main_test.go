//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/consensys/gnark/logger"
	"github.com/rogpeppe/go-internal/testscript"

	"provingground/snarkpool/gpu"
	"provingground/snarkpool/gpu/check/reference"
	"provingground/snarkpool/supervise/launch"
	"provingground/snarkpool/topology/topologytest"
)

// asProgram in the environment makes the test binary the program, as does the name snarkpool.
const asProgram = "PROVINGGROUND_TEST_SNARKPOOL"

// asChecker in the environment makes the test binary a checker of GPUs.
const asChecker = "PROVINGGROUND_TEST_CHECKER"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(asChecker) != "":
		if err := reference.Serve(context.Background(), os.Stdin, os.Stdout); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	case len(os.Args) > 1 && os.Args[1] == launchVerb:
		os.Exit(launch.Main(os.Args[2:]))
	case os.Getenv(asProgram) != "" || filepath.Base(os.Args[0]) == "snarkpool":
		os.Exit(program{args: os.Args[1:], stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.LookupEnv}.run(context.Background()))
	}
	logger.Disable()
	os.Exit(m.Run())
}

// install puts this test binary, by the program's name, into a directory, and returns the PATH that begins with it.
func install(directory, path string) (string, error) {
	executable, err := os.Executable()
	if err != nil {
		return "", err
	}
	err = errors.Join(os.MkdirAll(directory, 0o755), os.Symlink(executable, filepath.Join(directory, "snarkpool")))
	return directory + string(filepath.ListSeparator) + path, err
}

// inventories writes the inventories of the machines that are written down, GPUs included, to a directory, as NAME.json.
func inventories(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range topologytest.Names() {
		d := topologytest.Describe(t, name)
		found := inventory{Machine: d.Read(t)}
		for i, g := range d.GPUs {
			memory := g.MemoryMiB << 20
			found.GPUs = append(found.GPUs, gpu.Device{UUID: g.UUID, Model: g.Model, Index: i, PCI: g.PCI, Node: &g.Node, MemoryBytes: &memory})
		}
		text, err := json.Marshal(found)
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, name+".json"), text, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// machines adds the trees of some machines to their inventories, as NAME.
func machines(t *testing.T, names ...string) string {
	t.Helper()
	dir := inventories(t)
	for _, name := range names {
		if err := os.Symlink(topologytest.Describe(t, name).Build(t), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestStories plays the stories of testdata/script: calls of the program that end by themselves, with standard output, standard error and exit code
// apart. MACHINES is the directory that machines fills. Beside the commands of testscript they know
//
//	exits CODE snarkpool ARG…   run the program to its end
func TestStories(t *testing.T) {
	t.Parallel()
	fixtures := machines(t, "epyc", "xeon-gpus", "laptop")
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"), RequireUniqueNames: true, UpdateScripts: os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			path, err := install(filepath.Join(env.WorkDir, ".bin"), env.Getenv("PATH"))
			if err != nil {
				return err
			}
			env.Setenv("PATH", path)
			env.Setenv("MACHINES", fixtures)
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
		Deadline: time.Now().Add(3 * time.Minute), // a program that does not end is told to, and its story fails
	})
}
