package control_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"provingground/snarkpool/control"
)

func TestKeysFile(t *testing.T) {
	t.Parallel()
	first, second := newSigner(t).key.PublicKey(), newSigner(t).key.PublicKey()
	tests := map[string]struct {
		content, want string
		mode          os.FileMode
	}{
		"good":           {first + " reader rita\n\t" + second + "\tadmin anna # both", "", 0o644},
		"empty":          {"# nobody\n", "", 0o600},
		"two words":      {first + " reader", "line 1: 2 words", 0o600},
		"not a key":      {"# a\nabc reader rita", "line 2: the first word", 0o600},
		"private half":   {strings.Repeat("A", 43) + "B= reader rita", "line 1: the first word", 0o600}, // not the one text of its bytes
		"not a role":     {first + " root rita", `line 1: "root" is no role`, 0o600},
		"not a name":     {first + " reader rita!", "line 1: \"rita!\" is no name", 0o600},
		"twice":          {first + " reader rita\n" + first + " admin anna", "line 2: this key stands there twice", 0o600},
		"one name twice": {first + " reader rita\n" + second + " admin rita", "line 2: the name rita is that of line 1", 0o600},
		"all at once":    {"a\nb\nc", "line 3", 0o600},
		"many":           {strings.Repeat("a\n", 50), "and 40 more", 0o600},
		"open to others": {first + " reader rita", "chmod go-w", 0o666},
		"endless":        {strings.Repeat("#\n", 600_000), "longer than", 0o600},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "control.pub")
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, test.mode); err != nil {
				t.Fatal(err)
			}
			_, err := control.LoadKeys(path)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("got %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path)):
				t.Errorf("got %v, want %q", err, test.want)
			case err != nil && (strings.Contains(err.Error(), first) || strings.Contains(err.Error(), second)):
				t.Errorf("it quotes a key: %v", err)
			}
		})
	}
	if _, err := control.LoadKeys(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there is no error")
	}
}

// TestKeysAreWatched changes the file under a server's hands.
func TestKeysAreWatched(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.ErrorLevel)
	w := newWorld(t, func(options *control.Options) { options.Log = zap.New(core) })
	drain := control.Command{Operation: control.OpDrain}
	change := func(who signer) error {
		_, err := w.remote(t, who).Change(t.Context(), drain)
		return err
	}
	if err := change(w.operatorKey); err != nil {
		t.Fatal(err)
	}
	used := w.identity(t, w.operatorKey).SequenceNumber

	w.writeKeys(t, w.operatorKey.key.PublicKey()+" reader otto")
	refusedFor(t, change(w.operatorKey), control.NotAllowed)
	w.writeKeys(t, w.admin.key.PublicKey()+" admin anna")
	refusedFor(t, change(w.operatorKey), control.Unauthorized)

	w.writeKeys(t, "nonsense")
	if err := change(w.admin); err != nil {
		t.Errorf("after a slip of the hand: %v", err)
	}
	refusedFor(t, change(w.operatorKey), control.Unauthorized)
	if err := os.Remove(w.keysFile); err != nil {
		t.Fatal(err)
	}
	if err := change(w.admin); err != nil {
		t.Errorf("without the file: %v", err)
	}

	w.writeKeys(t, w.operatorKey.key.PublicKey()+" operator otto")
	if err := change(w.operatorKey); err != nil {
		t.Errorf("allowed again: %v", err)
	}
	if now := w.identity(t, w.operatorKey).SequenceNumber; now <= used {
		t.Errorf("the number fell from %d to %d, so old commands could be sent again", used, now)
	}
	if logs.Len() > 0 {
		t.Errorf("logged %v", logs.All())
	}
}

// TestBadKeysAreLoggedOnce has a server without listeners look at a file that is bad, well, and bad again.
func TestBadKeysAreLoggedOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "control.pub")
	write := func(content string) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# nobody")
	keys, err := control.LoadKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.ErrorLevel)
	server, err := control.NewServer(control.Options{Name: "bm7", Operator: &operator{}, Audit: &audit{}, Keys: keys, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		ended := make(chan error)
		go func() { ended <- server.Serve(ctx) }()
		for step, content := range []string{"nonsense", "# nobody", "nonsense"} {
			write(content)
			pause(ctx, 15*time.Second)
			if want := (step + 2) / 2; logs.Len() != want {
				t.Errorf("step %d: %d logged, want %d", step, logs.Len(), want)
			}
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// pause lets virtual time pass.
func pause(ctx context.Context, span time.Duration) {
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
