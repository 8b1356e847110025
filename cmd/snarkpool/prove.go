//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"provingground/cmd/internal/boot"
	"provingground/snarkpool/worker"
	"provingground/snarkpool/worker/gnark"
)

// gnarkKeys is what the directory of the gnark worker's keys is called in the state directory.
const gnarkKeys = "gnark-keys"

// gnarkOptions returns which keys the gnark worker uses.
func (c call) gnarkOptions() (gnark.Options, error) {
	if c.verifyingKey != "" {
		if err := worker.CheckDigest(c.verifyingKey); err != nil {
			return gnark.Options{}, boot.Usagef("-verifying-key: %w", err)
		}
	}
	if c.given["links"] && (c.links < 1 || c.links > 1_000_000) {
		return gnark.Options{}, boot.Usagef("-links %d: give 1 to 1000000", c.links)
	}
	directory := c.keyDirectory
	if directory == "" {
		state, err := c.state()
		if err != nil {
			return gnark.Options{}, err
		}
		directory = filepath.Join(state, gnarkKeys)
	}
	return gnark.Options{KeyDirectory: directory, VerifyingKey: c.verifyingKey, Links: c.links}, nil
}

// sameKeys says on a command line which keys they are.
func sameKeys(o gnark.Options) []string {
	arguments := []string{"-keys", o.KeyDirectory}
	if o.VerifyingKey != "" {
		arguments = append(arguments, "-verifying-key", o.VerifyingKey)
	}
	if o.Links != 0 {
		arguments = append(arguments, "-links", fmt.Sprint(o.Links))
	}
	return arguments
}

func proveGnarkVerb(ctx context.Context, c call) (err error) {
	options, err := c.gnarkOptions()
	if err != nil {
		return err
	}
	if err := inheritsPipes(); err != nil {
		return err
	}
	jobs, proofs, err := worker.Inherited()
	if err != nil {
		return boot.Usage(err)
	}
	defer func() { err = errors.Join(err, proofs.Close()) }()
	return signalled(ctx, gnark.ProverMain(ctx, jobs, proofs, options))
}

// inheritsPipes refuses to prove for nobody. Without an agent, the descriptors may be some of this process's own.
func inheritsPipes() error {
	for _, fd := range []int{worker.JobsDescriptor, worker.ProofsDescriptor} {
		var stat unix.Stat_t
		if err := unix.Fstat(fd, &stat); err != nil || stat.Mode&unix.S_IFMT != unix.S_IFIFO && stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
			return boot.Usagef("descriptor %d is no pipe: a fed worker is started by snarkpool agent, which gives it jobs there", fd)
		}
	}
	return nil
}

func verifyGnarkVerb(ctx context.Context, c call) error {
	options, err := c.gnarkOptions()
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(int(c.stdin.Fd()), true); err != nil { // else its end could not interrupt a read
		return fmt.Errorf("standard input: %w", err)
	}
	return signalled(ctx, gnark.VerifierMain(ctx, os.NewFile(c.stdin.Fd(), "questions"), c.stdout, options))
}

// kimchiDirectory is the option of the verbs of the Kimchi worker.
func kimchiDirectory(o *options, set *flag.FlagSet) {
	set.StringVar(&o.directory, "dir", "/usr/local/lib/snarkpool/kimchi", "`DIR` in which the Kimchi worker is installed: snarkpool/worker/kimchi after make kimchi")
}

func proveKimchiVerb(_ context.Context, c call) error { return c.becomeNode("worker.mjs") }

func verifyKimchiVerb(_ context.Context, c call) error { return c.becomeNode("verifier.mjs") }

// becomeNode puts Node.js with a program of the Kimchi worker in the place of this process. o1js uses its native prover unless the environment says
// otherwise.
func (c call) becomeNode(program string) error {
	node, err := exec.LookPath("node")
	if err != nil {
		return boot.Usagef("the Kimchi worker needs Node.js 18.14 or newer: %w", err)
	}
	path := filepath.Join(c.directory, program)
	for _, needed := range []string{path, filepath.Join(c.directory, "node_modules", "o1js")} {
		if _, err := os.Stat(needed); err != nil {
			return boot.Usagef("the Kimchi worker is not installed in %s: %w: run make kimchi, and name its directory with -dir", c.directory, err)
		}
	}
	environment := os.Environ()
	if c.env("O1JS_BACKEND") == "" {
		environment = append(environment, "O1JS_BACKEND=native")
	}
	if err := unix.Exec(node, []string{"node", path}, environment); err != nil {
		return fmt.Errorf("starting %s: %w", node, err)
	}
	return nil
}
