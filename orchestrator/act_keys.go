package orchestrator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"strings"

	"go.uber.org/zap"

	"provingground/dsl"
	"provingground/internal/mina"
)

// The action load-keys (orchestrator-scripts, section 3.5).

func loadKeysAction() Action {
	return Action{
		Signature: dsl.Signature{
			Action: "load-keys", Doc: "Opens the key files of a directory, in the order of their names.",
			Params: []dsl.Param{
				{Name: "dir", Kind: dsl.Path, Required: true, Doc: "the directory; files that end in .pub are left out"},
				{Name: "limit", Kind: dsl.Int, Default: "0, all", Doc: "at most this many keys"},
				{Name: "passwordEnv", Kind: dsl.EnvName, Default: "none: the empty password", Doc: "the variable with the password"},
			},
			Outputs: []dsl.Output{{Name: "key", Kind: dsl.PrivateKey, List: true, Multi: true, Sensitive: true, Doc: "the private keys; never printed or recorded"}},
			Main:    "key",
		},
		check: func(c *checking) {
			if n, ok := c.number("limit"); ok && n.Sign() < 0 {
				c.report("limit", "", "limit cannot be negative")
			}
		},
		forecast: func(f *forecasting) forecast {
			dir, ok := f.text("dir")
			if a, _ := f.step.Arg("dir"); !ok || a.Value.Secret {
				return forecast{}
			}
			if n, known := f.sizes[outputKey{step: f.step.Number, name: "key"}]; known {
				return forecast{does: fmt.Sprintf("%d keys from %s", n, dir)}
			}
			return forecast{does: "keys from " + dir}
		},
		sizes: func(c *checking) map[string]int {
			limit, ok := c.number("limit")
			dir, _ := c.text("dir")
			n := c.funded[filepath.Clean(dir)] // a step makes them in a directory that did not exist before
			if ok && limit.Sign() > 0 && limit.Num().IsInt64() && (n == 0 || limit.Num().Int64() < int64(n)) {
				n = int(min(limit.Num().Int64(), math.MaxInt32))
			}
			if n == 0 {
				return nil
			}
			return map[string]int{"key": n}
		},
		run: func(ctx context.Context, t *task) error {
			keys, err := t.loadKeys(ctx)
			if err != nil {
				return err
			}
			t.log.Info("keys loaded", zap.Int("keys", len(keys)))
			t.secrets("key", revealed(keys))
			return t.note(lineKeys, keysDigest(keys))
		},
	}
}

// reloadKeys loads the keys of a finished step again. They must be those that the record says were loaded.
func (t *task) reloadKeys(ctx context.Context, digest string) error {
	keys, err := t.loadKeys(ctx)
	if err != nil {
		return err
	}
	if keysDigest(keys) != digest {
		return errors.New("the key files are not those that the interrupted run loaded")
	}
	t.secrets("key", revealed(keys))
	return nil
}

// keysDigest identifies a list of keys by their public halves.
func keysDigest(keys []mina.PrivateKey) string {
	sum := sha256.New()
	for _, k := range keys {
		sum.Write([]byte(k.PublicKey().String()))
	}
	return fmt.Sprintf("%d %s", len(keys), hex.EncodeToString(sum.Sum(nil)))
}

// revealed returns the keys as JSON strings. Base58 has no character that JSON escapes.
func revealed(keys []mina.PrivateKey) []json.RawMessage {
	texts := make([]json.RawMessage, len(keys))
	for i, k := range keys {
		texts[i] = json.RawMessage(`"` + k.Base58() + `"`)
	}
	return texts
}

func (t *task) loadKeys(ctx context.Context) ([]mina.PrivateKey, error) {
	dir, limit := t.args.text("dir"), t.args.integer("limit")
	if err := t.args.err(); err != nil {
		return nil, err
	}
	if dir == "" || limit < 0 {
		return nil, errors.New("dir is empty or limit is negative")
	}
	password, err := t.password()
	if err != nil {
		return nil, err
	}
	names, err := t.world.Files.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the directory of keys: %w", err)
	}
	var paths []string
	contents := map[string][]byte{}
	var wrong []error
	for _, name := range names {
		if limit > 0 && len(paths) == limit {
			break
		}
		if strings.HasSuffix(name, ".pub") || strings.HasPrefix(name, ".") {
			continue
		}
		path := filepath.Join(dir, name)
		content, err := t.world.Files.ReadFile(path)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("read key file: %w", err))
			continue
		}
		if text := bytes.TrimSpace(content); len(text) > 0 && text[0] != '{' {
			t.log.Warn("not a key file, left out", zap.String("file", path))
			continue
		}
		paths = append(paths, path)
		contents[path] = content
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("there is no key file in %s", dir)
	}
	const memory = 1 << 30 // bytes; a real key takes 128 MiB to open
	keys, err := mina.OpenKeyFiles(ctx, paths, password, memory, runtime.GOMAXPROCS(0), func(path string) ([]byte, error) { return contents[path], nil })
	if err != nil {
		return nil, fmt.Errorf("open the key files in %s: %w", dir, err)
	}
	return keys, nil
}

// password returns the password that the parameter passwordEnv names; without the parameter, the empty one. A variable that is named and
// not set is an error: an empty password must be set on purpose.
func (t *task) password() ([]byte, error) {
	name := t.args.text("passwordEnv")
	if err := t.args.err(); err != nil || name == "" {
		return nil, err
	}
	password, ok := t.world.Getenv(name)
	if !ok {
		return nil, fmt.Errorf("the environment has no variable %q with the password: set it, empty if the password is empty", name)
	}
	t.world.Hide(password)
	return []byte(password), nil
}
