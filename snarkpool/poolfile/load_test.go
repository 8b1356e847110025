package poolfile_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"provingground/snarkpool/poolfile"
)

// server serves one file and its signature, until told to be away.
type server struct {
	*httptest.Server
	content, signature atomic.Pointer[[]byte]
	away               atomic.Bool
}

func serve(t *testing.T) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content := s.content.Load()
		if strings.HasSuffix(r.URL.Path, ".sig") {
			content = s.signature.Load()
		}
		if s.away.Load() || content == nil {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write(*content)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestLoadPath(t *testing.T) {
	example := read(t, "pool.json")
	path := filepath.Join("testdata", "pool.json")
	digest := fmt.Sprintf("%x", sha256.Sum256(example))
	file, err := poolfile.Load(t.Context(), poolfile.Source{Location: path, Pin: poolfile.Pin{SHA256: digest}})
	if err != nil || file.Digest != digest || file.Stale != "" {
		t.Errorf("%v %+v", err, file)
	}
	for name, source := range map[string]poolfile.Source{
		"not the sha256":       {Location: path, Pin: poolfile.Pin{SHA256: strings.Repeat("0", 64)}},
		"no signature":         {Location: path, Pin: poolfile.Pin{PublicKey: make(ed25519.PublicKey, 32)}},
		"no file":              {Location: filepath.Join(t.TempDir(), "none.json")},
		"an unpinned address":  {Location: "https://127.0.0.1:1/pool.json"},
		"an address in clear":  {Location: "http://127.0.0.1:1/pool.json", Pin: poolfile.Pin{SHA256: digest}},
		"a folder for a file":  {Location: "testdata"},
		"mistakes in the file": {Location: filepath.Join("testdata", "wrong.json")},
	} {
		if _, err := poolfile.Load(t.Context(), source); err == nil {
			t.Errorf("%s: it is loaded", name)
		}
	}
}

func TestLoadSigned(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t)
	publish := func(content []byte) {
		signature := []byte(base64.StdEncoding.EncodeToString(ed25519.Sign(private, content)) + "\n")
		s.content.Store(&content)
		s.signature.Store(&signature)
	}
	cache := filepath.Join(t.TempDir(), "pool.cache")
	source := poolfile.Source{Location: s.URL + "/pool.json", Pin: poolfile.Pin{PublicKey: public}, Cache: cache, Client: s.Client()}
	if _, err := poolfile.Load(t.Context(), source); err == nil {
		t.Fatal("nothing there, nothing cached, and it is loaded")
	}
	first := read(t, "pool.json")
	publish(first)
	file, err := poolfile.Load(t.Context(), source)
	if err != nil || file.Stale != "" || file.Uncached != "" {
		t.Fatalf("%v %q %q", err, file.Stale, file.Uncached)
	}
	digest := file.Digest
	stale := func(name, why string) {
		t.Helper()
		file, err := poolfile.Load(t.Context(), source)
		if err != nil || file.Digest != digest || !strings.Contains(file.Stale, why) {
			t.Errorf("%s: %v, stale %q, want %q", name, err, file.Stale, why)
		}
	}
	s.away.Store(true)
	stale("away", "503")
	s.away.Store(false)
	changed := []byte(strings.Replace(string(first), `"warmups": 4`, `"warmups": 8`, 1))
	s.content.Store(&changed) // with the signature of the other
	stale("tampered with", "not by the public key")
	publish(read(t, "wrong.json"))
	stale("full of mistakes", "the pool file is wrong")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := poolfile.Load(ctx, source); err == nil {
		t.Error("a load that was cancelled loads")
	}
	publish(changed)
	if file, err = poolfile.Load(t.Context(), source); err != nil || file.Warmups != 8 || file.Stale != "" {
		t.Errorf("%v %+v", err, file)
	}
	s.away.Store(true)
	if err := os.WriteFile(cache, []byte(`{"content":"e30=","signature":""}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := poolfile.Load(t.Context(), source); err == nil || !strings.Contains(err.Error(), "last good copy") {
		t.Errorf("a cache that was tampered with is used: %v", err)
	}
	s.away.Store(false)
	source.Cache = filepath.Join(t.TempDir(), "none", "pool.cache")
	if file, err = poolfile.Load(t.Context(), source); err != nil || file.Uncached == "" {
		t.Errorf("a cache that cannot be written: %v %q", err, file.Uncached)
	}
}
