package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"provingground/cmd/internal/boot"
	"provingground/internal/privatepg/pgtest"
)

// TestHealthOfARefusingNode: a fetcher whose only node refuses connections is not healthy, and says why.
func TestHealthOfARefusingNode(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(seed()), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "", t.TempDir(), nil, "-k", key, "-o", t.TempDir(), "--db-uri", pgtest.Database(t), "node-address-port", "127.0.0.1", "-p", "1")
	await(t, "the reason to be told", func() bool {
		status, body := p.get(t, http.MethodGet, "/health", "")
		return status == http.StatusServiceUnavailable && strings.Contains(string(body), "no node can be read: 1 in backoff") &&
			strings.Contains(string(body), "connection refused") && strings.Contains(string(body), `"never_read":1,"lag_seconds":null`)
	})
	if code := p.stop(t, syscall.SIGTERM); code != boot.CodeOK {
		t.Errorf("exits %d\n%s", code, &p.stderr)
	}
}
