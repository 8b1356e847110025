package poolfile

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Source is where a pool file comes from.
type Source struct {
	// Location is a path, or an https address.
	Location string
	// Pin is what the file must be; an address needs one.
	Pin Pin
	// Cache is the path that keeps the last good copy; "" for none. The folder must exist.
	Cache string
	// Client fetches an address; nil for one of its own that waits 30 s at most.
	Client *http.Client
}

// Pin says which file is the right one; the zero value takes any.
type Pin struct {
	// SHA256 is the file's sha256 as hex.
	SHA256 string
	// PublicKey is the Ed25519 key of whoever may publish files. The signature, over the file's bytes and in base64, is at the location with
	// .sig behind it. An older signed file passes too: who needs one file exactly pins its sha256.
	PublicKey ed25519.PublicKey
}

// Load fetches, verifies and parses a pool file. Where that fails and there is a last good copy that still passes the pin, it returns that
// copy, with [File.Stale] saying why; only without one it fails.
func Load(ctx context.Context, source Source) (File, error) {
	pair, file, err := source.fresh(ctx)
	if err == nil {
		if err := source.keep(pair); err != nil { // a full disk is no reason not to prove
			file.Uncached = fmt.Sprintf("the pool file's last good copy cannot be written: %v", err)
		}
		return file, nil
	}
	err = fmt.Errorf("the pool file %s cannot be used: %w", source.Location, err)
	if source.Cache == "" || ctx.Err() != nil {
		return File{}, err
	}
	file, cached := source.cached()
	if cached != nil {
		return File{}, errors.Join(err, fmt.Errorf("nor can its last good copy %s: %w", source.Cache, cached))
	}
	file.Stale = err.Error()
	return file, nil
}

// signed is a file's bytes with their signature, as the cache keeps them.
type signed struct {
	Content   []byte `json:"content"`
	Signature string `json:"signature,omitempty"`
}

func (s Source) fresh(ctx context.Context) (signed, File, error) {
	var pair signed
	get := func(location string) ([]byte, error) { return readFile(location) }
	if strings.Contains(s.Location, "://") {
		if !strings.HasPrefix(s.Location, "https://") {
			return pair, File{}, errors.New("its address does not begin with https://")
		}
		if s.Pin.SHA256 == "" && s.Pin.PublicKey == nil {
			return pair, File{}, errors.New("a file from an address needs a sha256 or a public key that it must pass")
		}
		get = func(location string) ([]byte, error) { return s.fetch(ctx, location) }
	}
	content, err := get(s.Location)
	if err != nil {
		return pair, File{}, err
	}
	pair.Content = content
	if s.Pin.PublicKey != nil {
		signature, err := get(s.Location + ".sig")
		if err != nil {
			return pair, File{}, fmt.Errorf("its signature: %w", err)
		}
		pair.Signature = strings.TrimSpace(string(signature))
	}
	file, err := s.Pin.parse(s.Location, pair)
	return pair, file, err
}

// parse reads a file that passes the pin.
func (p Pin) parse(name string, pair signed) (File, error) {
	if sum := sha256.Sum256(pair.Content); p.SHA256 != "" && !strings.EqualFold(p.SHA256, hex.EncodeToString(sum[:])) {
		return File{}, fmt.Errorf("its sha256 is %x, not the %s that it is pinned to", sum, p.SHA256)
	}
	if p.PublicKey != nil {
		signature, err := base64.StdEncoding.DecodeString(pair.Signature)
		if err != nil || len(p.PublicKey) != ed25519.PublicKeySize || !ed25519.Verify(p.PublicKey, pair.Content, signature) {
			return File{}, errors.New("its signature is not by the public key that it is pinned to")
		}
	}
	return parse(name, pair.Content)
}

func (s Source) fetch(ctx context.Context, location string) (content []byte, err error) {
	client := s.Client
	if client == nil {
		client = &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(request *http.Request, via []*http.Request) error {
			if request.URL.Scheme != "https" || len(via) > 5 {
				return errors.New("it is redirected to an address without https, or too often")
			}
			return nil
		}}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it is about
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it is about
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answers %s", answer.Status)
	}
	return bounded(answer.Body)
}

func readFile(path string) (content []byte, err error) {
	file, err := os.Open(path) //nolint:gosec // the path is the caller's own argument
	if err != nil {
		return nil, err //nolint:wrapcheck // names path and operation
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return bounded(file)
}

func bounded(from io.Reader) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(from, MaxBytes+1))
	if err == nil && len(content) > MaxBytes {
		err = fmt.Errorf("it is larger than %d bytes", MaxBytes)
	}
	return content, err //nolint:wrapcheck // says what it is about
}

// keep writes the last good copy, whole or not at all.
func (s Source) keep(pair signed) (err error) {
	if s.Cache == "" {
		return nil
	}
	content, err := json.Marshal(pair)
	if err != nil {
		return err //nolint:wrapcheck // cannot happen: bytes and a string
	}
	file, err := os.CreateTemp(filepath.Dir(s.Cache), filepath.Base(s.Cache)+".*")
	if err != nil {
		return err //nolint:wrapcheck // names path and operation
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), s.Cache)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

func (s Source) cached() (File, error) {
	content, err := os.ReadFile(s.Cache)
	if err != nil {
		return File{}, err //nolint:wrapcheck // names path and operation
	}
	var pair signed
	if err := json.Unmarshal(content, &pair); err != nil {
		return File{}, fmt.Errorf("it does not decode: %w", err)
	}
	return s.Pin.parse(s.Cache, pair)
}
