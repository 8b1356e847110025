package boot_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"provingground/cmd/internal/boot"
)

func TestRun(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		work func() error
		code int
		says string
	}{
		"well":  {func() error { return nil }, boot.CodeOK, ""},
		"usage": {func() error { return fmt.Errorf("first: %w", boot.Usagef("give %d", 1)) }, boot.CodeUsage, "prog: first: give 1\nprog help\n"},
		"one of several": {
			func() error { return errors.Join(errors.New("a"), boot.Usage(errors.New("b"))) }, boot.CodeUsage, "prog: a\nb\nprog help\n",
		},
		"failure": {func() error { return errors.New("a\nb\na") }, boot.CodeFailure, "prog: a\nb\n"},
	} {
		var out strings.Builder
		if code := boot.Run(&out, "prog", "prog help", test.work); code != test.code || out.String() != test.says {
			t.Errorf("%s: %d %q", name, code, out.String())
		}
	}
	var out strings.Builder
	if code := boot.Run(&out, "prog", "", func() error { panic("lost") }); code != boot.CodeInternal || !strings.HasPrefix(out.String(), "prog: error inside the program: lost\n") {
		t.Errorf("a fault: %d %q", code, out.String())
	}
}

func TestReadSmall(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, mode, err := boot.ReadSmall(path, 5); err != nil || string(text) != "12345" || mode.Perm() != 0o600 {
		t.Errorf("%q %v, %v", text, mode, err)
	}
	if _, _, err := boot.ReadSmall(path, 4); err == nil || !strings.Contains(err.Error(), "longer than 4 bytes") {
		t.Errorf("a long one: %v", err)
	}
	if _, _, err := boot.ReadSmall(path+"s", 4); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
}

// What is wrong with a database's URI is named, and never a piece of its password.
func TestCheckDatabaseURI(t *testing.T) {
	t.Parallel()
	for uri, says := range map[string]string{
		"postgresql://me:hunter22@h/d?sslmode=foo": "-db is no PostgreSQL URI: cannot parse `it`: failed to configure TLS (sslmode is invalid)",
		"postgresql://me:/hunter22@h/d":            "-db has an @ behind its first /",
		"mysql://me:hunter22@h/d":                  "-db is no PostgreSQL URI: give postgresql://USER@HOST",
	} {
		if _, err := boot.CheckDatabaseURI("-db", uri); err == nil || !strings.HasPrefix(err.Error(), says) || strings.Contains(err.Error(), "hunter22") {
			t.Errorf("%s: %v, want %q", uri, err, says)
		}
	}
	for uri, shown := range map[string]bool{
		"postgresql://me:hunter22@h/d": true, "postgresql://h/d?password=hunter22": true, "host=h password=hunter22": true,
		"postgresql://me@h/d": false, "postgresql://me:@h/d": false, "postgresql://h:5432/d": false, "host=h": false,
	} {
		got, err := boot.CheckDatabaseURI("-db", uri)
		if err != nil || got.Shown != shown || shown && got.Password != "hunter22" {
			t.Errorf("%s: %v, %v", uri, got.Shown, err)
		}
	}
}
