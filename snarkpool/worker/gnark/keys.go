//go:build linux

package gnark

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/consensys/gnark/backend/groth16"
	"golang.org/x/sys/unix"
)

// Options says which keys to use.
type Options struct {
	// KeyDirectory keeps one pair of keys for each circuit; it is made if it is missing.
	KeyDirectory string
	// VerifyingKey is the digest of the one verifying key to use. Empty takes the directory's, and makes a pair where there is none.
	VerifyingKey string
	// Links is the length of the chain of hashes, and with it the weight of a proof: 330 constraints a link. 0 = 64.
	Links int
}

const (
	provingFile   = "proving.key"
	verifyingFile = "verifying.key"
	digestsFile   = "digests.json" // written last: a directory that has it is whole
	lockFile      = "lock"
)

// digests are the SHA-256 of the two files, in lower-case hex.
type digests struct {
	ProvingKey   string `json:"proving_key"`
	VerifyingKey string `json:"verifying_key"`
}

// ErrDamagedKeys says that a key on disk is not the one that was written.
var ErrDamagedKeys = errors.New("the key on disk is damaged")

// ErrOtherKeys says that the key directory has no keys, or others than [Options] names.
var ErrOtherKeys = errors.New("the key directory does not hold the keys of this pool")

// EnsureKeys makes the keys if the directory has none, which takes some seconds, and returns the digest of the verifying key: SHA-256 in
// lower-case hex. Several processes may call it at once: one makes the keys, the others wait for it and use the same. Where [Options] names
// a verifying key nothing is made, and any other is [ErrOtherKeys].
func EnsureKeys(ctx context.Context, options Options) (string, error) {
	known, err := options.readDigests()
	if options.VerifyingKey != "" && (errors.Is(err, fs.ErrNotExist) || err == nil && known.VerifyingKey != options.VerifyingKey) {
		return "", fmt.Errorf("%w: %s must hold verifying key %s: copy the directory from the machine that made it", ErrOtherKeys,
			options.KeyDirectory, options.VerifyingKey)
	}
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return known.VerifyingKey, err
	}
	if err := os.MkdirAll(options.KeyDirectory, 0o755); err != nil { //nolint:gosec // the keys are public
		return "", fmt.Errorf("make the key directory: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(options.KeyDirectory, lockFile))
	if err != nil {
		return "", fmt.Errorf("make the keys: %w", err)
	}
	defer unlock()
	if known, err = options.readDigests(); errors.Is(err, fs.ErrNotExist) { // nobody was quicker
		known, err = options.make()
	}
	if err != nil {
		return "", fmt.Errorf("make the keys: %w", err)
	}
	return known.VerifyingKey, nil
}

// directory is where the keys of this circuit are.
func (o Options) directory() string { return filepath.Join(o.KeyDirectory, o.circuit()) }

func (o Options) readDigests() (digests, error) {
	path := filepath.Join(o.directory(), digestsFile)
	content, err := os.ReadFile(path) //nolint:gosec // a path of the operator's choice
	if err != nil {
		return digests{}, fmt.Errorf("read the keys' digests: %w", err)
	}
	var d digests
	if err := json.Unmarshal(content, &d); err != nil || len(d.ProvingKey) != 64 || len(d.VerifyingKey) != 64 {
		return digests{}, o.damaged(digestsFile)
	}
	return d, nil
}

func (o Options) damaged(file string) error {
	return fmt.Errorf("%s: %w: remove the directory and copy it from another machine of the pool, or stop the pool and let one worker make new keys", filepath.Join(o.directory(), file), ErrDamagedKeys)
}

// make runs the set-up and puts the keys in place, whole or not at all.
func (o Options) make() (digests, error) {
	system, err := o.compile()
	if err != nil {
		return digests{}, err
	}
	proving, verifying, err := groth16.Setup(system)
	if err != nil {
		return digests{}, fmt.Errorf("set up circuit %s: %w", o.circuit(), err)
	}
	scratch, err := os.MkdirTemp(o.KeyDirectory, ".making-")
	if err != nil {
		return digests{}, err
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // after the rename there is nothing left to remove
	var d digests
	if d.ProvingKey, err = writeFile(filepath.Join(scratch, provingFile), proving.WriteRawTo); err != nil {
		return digests{}, err
	}
	if d.VerifyingKey, err = writeFile(filepath.Join(scratch, verifyingFile), verifying.WriteTo); err != nil {
		return digests{}, err
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return digests{}, err
	}
	if _, err := writeFile(filepath.Join(scratch, digestsFile), bytes.NewReader(append(text, '\n')).WriteTo); err != nil {
		return digests{}, err
	}
	if err := os.Chmod(scratch, 0o755); err != nil { //nolint:gosec // the keys are public, and workers may run as another user
		return digests{}, err
	}
	// A directory without digests cannot be ours and whole: it is what a crash of an older release, or a person, left.
	if err := os.RemoveAll(o.directory()); err != nil {
		return digests{}, err
	}
	return d, os.Rename(scratch, o.directory())
}

// writeFile writes a file down to the disk and returns its digest.
func writeFile(path string, write func(io.Writer) (int64, error)) (string, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // the keys are public
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	_, err = write(io.MultiWriter(file, hash))
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// readKey reads a key and refuses it unless its digest is the one noted when it was made.
func (o Options) readKey(file, digest string, read func(io.Reader) (int64, error)) error {
	content, err := os.ReadFile(filepath.Join(o.directory(), file)) //nolint:gosec // a path of the operator's choice
	if err != nil {
		return fmt.Errorf("read a key: %w", err)
	}
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != strings.ToLower(digest) {
		return o.damaged(file)
	}
	if _, err := read(bytes.NewReader(content)); err != nil {
		return fmt.Errorf("read %s: %w", filepath.Join(o.directory(), file), err)
	}
	return nil
}

// lock waits until this process alone holds the lock file. The kernel lets go of it when the process ends, however it ends.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644) //nolint:gosec // an empty file
	if err != nil {
		return nil, err
	}
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for %s: %w", path, context.Cause(ctx)), file.Close())
		}
	}
}
