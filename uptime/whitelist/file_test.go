package whitelist_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"provingground/uptime/whitelist"
)

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFileContent(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, content string
		want          []string
		wrong         string // parts of the error, separated by |
	}{
		{"empty", "", nil, ""},
		{"comments alone", "# nobody\n\n  # yet", nil, ""},
		{"keys", first + "\n" + second + "\n", []string{first, second}, ""},
		{"no line feed at the end, spaces, comments, carriage returns, one twice", "# us\r\n\t" + first + "  # first\r\n\r\n" + second + "#second\r\n" + first, []string{first, second}, ""},
		{"JSON", `["` + first + `", "` + third + `"]`, []string{first, third}, ""},
		{"JSON of several lines", "\n [\n\"" + first + "\"\n,\n\"" + third + "\" ]\n\n", []string{first, third}, ""},
		{"JSON without entries", "[]", nil, ""},
		{"a line that is no key", first + "\n\n" + broken + "\n" + second, nil, "line 3: neither a public key nor a comment"},
		{"several", broken + "\n" + second + "\nnonsense\n", nil, "line 1:|line 3:"},
		{"many", strings.Repeat("?\n", 25), nil, "line 1:|line 10:|and 15 more"},
		{"two keys in a line", first + " " + second, nil, "line 1:"},
		{"a private key", "EKEEpMELfQkMbJDt2fB4cFXKwSf1x4t7YD4twREy5yuJ84HBZtF9", nil, "line 1:"},
		{"HTML", "<html>\n<body>not found</body></html>", nil, "line 1:|line 2:"},
		{"JSON with another kind of entry", "[\n\"" + first + "\",\n7]", nil, "line 3: an entry that is no string"},
		{"JSON with null", "[null]", nil, "line 1: an entry that is no string"},
		{"JSON in JSON", "[[]]", nil, "line 1: an entry that is no string"},
		{"JSON with a wrong key", "[\n\"" + first + "\",\n\"" + broken + "\"]", nil, "line 3: no public key"},
		{"JSON that is cut off", "[\"" + first + "\",\n", nil, "line 2: not the JSON array"},
		{"JSON without its end", "[\"" + first + "\"\n", nil, "line 2: not the JSON array"},
		{"JSON that is none", "[\n" + first + "]", nil, "line 2: not the JSON array"},
		{"JSON with a comma too many", "[\"" + first + "\",]", nil, "line 1: not the JSON array"},
		{"something behind JSON", "[]\n[]", nil, "line 2: not the JSON array"},
		{"an object", "{\"whitelist\": []}", nil, "line 1:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "whitelist")
			write(t, path, test.content)
			list := whitelist.NewFile(path, whitelist.Options{})
			err := list.Refresh(t.Context())
			holds(t, list, test.want...)
			if test.wrong == "" {
				if err != nil {
					t.Error(err)
				}
				healthy(t, list, "")
				return
			}
			if err == nil || !errors.Is(list.Healthy(), err) {
				t.Fatalf("got %v, healthy says %v", err, list.Healthy())
			}
			for part := range strings.SplitSeq(path+"|"+test.wrong, "|") {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got %v, want %s", err, part)
				}
			}
			if strings.Contains(err.Error(), "EK") || strings.Contains(err.Error(), "body") {
				t.Errorf("%v quotes the file", err)
			}
		})
	}
}

func TestFileNotThereAndTooLong(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "whitelist")
	log, logs := newLog()
	list := whitelist.NewFile(path, whitelist.Options{Log: log})
	healthy(t, list, "not been loaded yet")
	for range 2 {
		if err := list.Refresh(t.Context()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v, want that there is no such file", err)
		}
	}
	healthy(t, list, path)
	if !list.Loaded().IsZero() {
		t.Error("it was never loaded")
	}
	logged(t, logs, "the whitelist cannot be read")
	write(t, path, first+"\n"+strings.Repeat("#", 16<<20))
	if err := list.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("got %v, want that it is too long", err)
	}
	logged(t, logs, "the whitelist cannot be read")
	holds(t, list)
	write(t, path, "")
	if err := list.Refresh(t.Context()); err != nil {
		t.Error(err)
	}
	logged(t, logs, "the whitelist was loaded", "the whitelist is empty")
}

// TestFileThatChanges changes the file in every way while Run looks at it every 5 s.
func TestFileThatChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "whitelist")
		write(t, path, first)
		log, logs := newLog()
		list := whitelist.NewFile(path, whitelist.Options{Log: log})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			list.Run(ctx)
			close(ended)
		}()
		look := func() {
			t.Helper()
			wait(t, 5*time.Second+300*time.Millisecond)
		}
		wait(t, time.Second)
		holds(t, list, first)
		healthy(t, list, "")
		logged(t, logs, "the whitelist was loaded")
		began := list.Loaded()

		look()
		logged(t, logs)
		if !list.Loaded().After(began) {
			t.Error("a file that was looked at and is the same is as old as before")
		}

		write(t, path, second) // the same length, and perhaps the same time
		look()
		holds(t, list, second)
		logged(t, logs, "the whitelist was loaded")

		write(t, path+".new", first+"\n"+second)
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		look()
		holds(t, list, first, second)
		logged(t, logs, "the whitelist was loaded")

		loaded := list.Loaded()
		write(t, path, first+"\n"+broken)
		look()
		look()
		holds(t, list, first, second)
		healthy(t, list, "line 2")
		logged(t, logs, "the whitelist cannot be read")
		if !list.Loaded().Equal(loaded) {
			t.Error("a list that cannot be read gets newer")
		}

		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		look()
		look()
		holds(t, list, first, second)
		healthy(t, list, "no such file")
		logged(t, logs, "the whitelist cannot be read")

		write(t, path, first+"\n"+second) // as before
		look()
		holds(t, list, first, second)
		healthy(t, list, "")
		logged(t, logs, "the whitelist was loaded")

		write(t, path, "")
		look()
		holds(t, list)
		healthy(t, list, "")
		logged(t, logs, "the whitelist was loaded", "the whitelist is empty")
		cancel()
		<-ended
	})
}

// wait lets time pass.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
}

// TestFileThatIsBeingWritten looks at a file at a moment when only half of it is there.
func TestFileThatIsBeingWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "whitelist")
		write(t, path, first)
		list := whitelist.NewFile(path, whitelist.Options{})
		if err := list.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		write(t, path, "") // emptied
		done := make(chan error)
		go func() { done <- list.Refresh(t.Context()) }()
		synctest.Wait() // until it waits for the file to settle
		write(t, path, first+"\n"+second)
		if err := <-done; err != nil {
			t.Error(err)
		}
		holds(t, list, first)
		if err := list.Refresh(t.Context()); err != nil {
			t.Error(err)
		}
		holds(t, list, first, second)

		write(t, path, "")
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("stopped")
		cancel(stopped)
		if err := list.Refresh(ctx); !errors.Is(err, stopped) {
			t.Errorf("got %v, want the cause of the context's end", err)
		}
		holds(t, list, first, second)
		healthy(t, list, "")
	})
}

func FuzzFile(f *testing.F) {
	for _, content := range []string{"", first, "# x\n" + first + " # y\n" + second, `["` + first + `"]`, "[", "[]x", "[1]", broken, "\n[\"\\u0042\"]", "[\"\n\"]"} {
		f.Add(content)
	}
	path := filepath.Join(f.TempDir(), "whitelist")
	f.Fuzz(func(t *testing.T, content string) {
		write(t, path, content)
		list := whitelist.NewFile(path, whitelist.Options{})
		err := list.Refresh(t.Context())
		if err != nil && list.Size() != 0 {
			t.Errorf("%d keys of a file that is refused: %v", list.Size(), err)
		}
		if err == nil && list.Size() > strings.Count(content, "B62")+strings.Count(content, "\\u") {
			t.Errorf("%d keys of %q", list.Size(), content)
		}
	})
}
