package ledger_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/snarkpool/ledger"
)

func openSpool(t testing.TB, dir string, options ledger.SpoolOptions) *ledger.Spool {
	t.Helper()
	s, err := ledger.OpenSpool(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeSpool(t testing.TB, s *ledger.Spool) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func event(text string) ledger.Entry {
	return ledger.Entry{Event: &ledger.Event{At: start, Host: "bm1", Event: "test", Cause: text}}
}

// causes returns the texts of the entries that wait, and their numbers.
func causes(t failer, s *ledger.Spool) (texts []string, seqs []uint64) {
	t.Helper()
	entries, err := s.Read(1 << 20)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	for _, e := range entries {
		texts, seqs = append(texts, e.Entry.Event.Cause), append(seqs, e.Seq)
	}
	return texts, seqs
}

// TestSpoolAsAQueue compares a spool that is closed, opened, filled and emptied in any order with a plain list.
func TestSpoolAsAQueue(t *testing.T) {
	t.Parallel()
	top, checks := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		checks++
		dir := filepath.Join(top, strconv.Itoa(checks))
		options := ledger.SpoolOptions{SegmentBytes: rapid.Int64Range(100, 3000).Draw(t, "segment")}
		s, err := ledger.OpenSpool(dir, options)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		id := s.ID()
		var want []string
		var first, next uint64 = 1, 1 // numbers of the first entry that waits, and of the next
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				var entries []ledger.Entry
				for range rapid.IntRange(1, 5).Draw(t, "entries") {
					text := strings.Repeat("x", rapid.IntRange(0, 500).Draw(t, "length")) + fmt.Sprint(next)
					entries = append(entries, event(text))
					want = append(want, text)
					next++
				}
				if err := s.Append(entries...); err != nil {
					t.Fatal(err)
				}
			},
			"forget": func(t *rapid.T) {
				n := rapid.IntRange(0, len(want)).Draw(t, "entries")
				first, want = first+uint64(n), want[n:]
				if err := s.Forget(first - 1); err != nil {
					t.Fatal(err)
				}
				if err := s.Forget(next); err == nil {
					t.Fatal("entries that are not there were forgotten")
				}
			},
			"reopen": func(t *rapid.T) {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if s, err = ledger.OpenSpool(dir, options); err != nil {
					t.Fatal(err)
				}
				// Files go as a whole: what was forgotten may come again, and is known by its number.
				if n := s.State().Entries; n < uint64(len(want)) {
					t.Fatalf("%d entries wait, want at least %d", n, len(want))
				}
				if err := s.Forget(first - 1); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) {
				got, seqs := causes(t, s)
				if diff := cmp.Diff(want, got, emptyIsNil); diff != "" {
					t.Fatalf("entries (-want +got):\n%s", diff)
				}
				if len(seqs) > 0 && (seqs[0] != first || seqs[len(seqs)-1] != next-1) {
					t.Fatalf("numbers %d to %d, want %d to %d", seqs[0], seqs[len(seqs)-1], first, next-1)
				}
				if state := s.State(); state.Entries != uint64(len(want)) || s.ID() != id || len(state.Notes) > 0 {
					t.Fatalf("spool %s, state %+v", s.ID(), state)
				}
			},
		})
	})
}

var emptyIsNil = cmp.Transformer("list", func(list []string) string { return strings.Join(list, "\n") })

func segments(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.spool"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// TestTornTail cuts the last file of a spool at every byte, and leaves garbage of every length.
func TestTornTail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openSpool(t, dir, ledger.SpoolOptions{})
	var ends []int64
	for i := range 3 {
		if err := s.Append(event(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, s.State().Bytes)
	}
	closeSpool(t, s)
	path := segments(t, dir)[0]
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(torn []byte, whole int, clean bool) {
		t.Helper()
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		s := openSpool(t, dir, ledger.SpoolOptions{})
		defer closeSpool(t, s)
		if got, _ := causes(t, s); len(got) != whole || (len(s.State().Notes) == 0) != clean {
			t.Errorf("of %d bytes %d entries were read, want %d; notes %q", len(torn), len(got), whole, s.State().Notes)
		}
		if err := s.Append(event("next")); err != nil {
			t.Fatal(err)
		}
		if _, seqs := causes(t, s); len(seqs) != whole+1 || seqs[whole] != uint64(whole+1) {
			t.Errorf("numbers %v after %d whole entries", seqs, whole)
		}
	}
	for cut := range len(content) + 1 {
		whole := 0
		for _, end := range ends {
			if int64(cut) >= end {
				whole++
			}
		}
		clean := cut == 0 || whole > 0 && int64(cut) == ends[whole-1]
		try(content[:cut], whole, clean)
	}
	for n := 1; n < 40; n++ {
		try(append(append([]byte{}, content...), make([]byte, n)...), 3, false)
		try(append(append([]byte{}, content...), []byte(strings.Repeat("\xff", n))...), 3, false)
	}
	flipped := append([]byte{}, content...)
	flipped[ends[1]+20] ^= 1
	try(flipped, 2, false)
}

func TestDamagedSpool(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	small := ledger.SpoolOptions{SegmentBytes: 1}
	s := openSpool(t, dir, small)
	for i := range 3 {
		if err := s.Append(event(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	closeSpool(t, s)
	paths := segments(t, dir)
	content, err := os.ReadFile(paths[1])
	if err != nil {
		t.Fatal(err)
	}
	damaged := append([]byte{}, content...)
	damaged[20] ^= 1
	if err := os.WriteFile(paths[1], damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	var damage *ledger.DamageError
	if _, err := ledger.OpenSpool(dir, small); !errors.As(err, &damage) || damage.Path != paths[1] || damage.Offset != 0 || damage.Lost != int64(len(content)) {
		t.Errorf("got %v, want the damage in the middle", err)
	}
	if err := os.Remove(paths[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.OpenSpool(dir, small); err == nil || !strings.Contains(err.Error(), "entries 2 to 2") {
		t.Errorf("got %v, want that a file is missing", err)
	}
	if err := os.WriteFile(paths[1], content, 0o600); err != nil {
		t.Fatal(err)
	}
	s = openSpool(t, dir, small)
	if got, _ := causes(t, s); len(got) != 3 {
		t.Errorf("entries %q after mending", got)
	}
	closeSpool(t, s)
	if err := os.WriteFile(filepath.Join(dir, "identity"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.OpenSpool(dir, small); err == nil || !strings.Contains(err.Error(), "identity") {
		t.Errorf("got %v, want that the identity is gone", err)
	}
}

func TestSpoolIsHeldOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openSpool(t, dir, ledger.SpoolOptions{})
	if _, err := ledger.OpenSpool(dir, ledger.SpoolOptions{}); !errors.Is(err, ledger.ErrSpoolHeld) {
		t.Errorf("got %v, want ErrSpoolHeld", err)
	}
	closeSpool(t, s)
	if err := s.Append(event("x")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("append to a closed spool: %v", err)
	}
	if err := s.Forget(0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("forget in a closed spool: %v", err)
	}
	closeSpool(t, openSpool(t, dir, ledger.SpoolOptions{}))
}

func TestFullSpool(t *testing.T) {
	t.Parallel()
	s := openSpool(t, t.TempDir(), ledger.SpoolOptions{MaxBytes: 8 << 20})
	defer closeSpool(t, s)
	lease := ledger.Lease{Job: job("j1"), Epoch: 1}
	p := proofOf(lease, a, ledger.Valid)
	p.Proof = make([]byte, ledger.MaxProofBytes)
	entries := 0
	for s.State().HasRoom(1) {
		if err := s.Append(ledger.Entry{Proof: &p}); err != nil {
			t.Fatalf("a spool that said it has room: %v", err)
		}
		entries++
	}
	if entries < 4 {
		t.Errorf("8 MiB hold %d of the largest proofs", entries)
	}
	for {
		if err := s.Append(ledger.Entry{Proof: &p}); err != nil {
			if !errors.Is(err, ledger.ErrFull) {
				t.Errorf("got %v, want ErrFull", err)
			}
			break
		}
		entries++
	}
	if got := s.State(); got.Entries != uint64(entries) || got.Bytes > got.MaxBytes || got.Failed != nil {
		t.Errorf("state %+v after %d entries", got, entries)
	}
	if err := s.Append(event("a small one still fits")); err != nil {
		t.Error(err)
	}
	list, err := s.Read(1)
	if err != nil || len(list) != 1 || len(list[0].Entry.Proof.Proof) != ledger.MaxProofBytes {
		t.Fatalf("%d entries, %v", len(list), err)
	}
	if err := s.Forget(uint64(entries) + 1); err != nil {
		t.Fatal(err)
	}
	if got := s.State(); !got.HasRoom(4) || got.Bytes > 0 {
		t.Errorf("state %+v after everything was forgotten", got)
	}
	p.Proof = make([]byte, ledger.MaxProofBytes+1)
	if err := s.Append(ledger.Entry{Proof: &p}); err == nil || errors.Is(err, ledger.ErrFull) {
		t.Errorf("a proof that is too long: %v", err)
	}
}

func TestSpoolOfManyWriters(t *testing.T) {
	t.Parallel()
	s := openSpool(t, t.TempDir(), ledger.SpoolOptions{SegmentBytes: 2000})
	defer closeSpool(t, s)
	const writers, each = 8, 40
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			for k := range each {
				if err := s.Append(event(fmt.Sprintf("%d %d", i, k))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	next := map[int]int{}
	seen, last := 0, uint64(0)
	for seen < writers*each {
		if err := s.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		for {
			texts, seqs := causes(t, s)
			if len(texts) == 0 {
				break
			}
			for i, text := range texts {
				var writer, k int
				if _, err := fmt.Sscan(text, &writer, &k); err != nil || next[writer] != k || seqs[i] != last+1 {
					t.Fatalf("%q with number %d after %d; of this writer %d is next (%v)", text, seqs[i], last, next[writer], err)
				}
				next[writer]++
				last = seqs[i]
				seen++
			}
			if err := s.Forget(last); err != nil {
				t.Fatal(err)
			}
		}
	}
	<-done
}

// appendForEver tells on standard output each entry that is on the disk.
func appendForEver(dir string) error {
	s, err := ledger.OpenSpool(dir, ledger.SpoolOptions{SegmentBytes: 5000})
	if err != nil {
		return err
	}
	for i := 1; ; i++ {
		if err := s.Append(event(strconv.Itoa(i))); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(os.Stdout, i); err != nil {
			return err
		}
	}
}

// TestWriterKilled kills a process that appends without pause: what it was told is on the disk must be there.
func TestWriterKilled(t *testing.T) {
	t.Parallel()
	for round := range 5 {
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), writerOf+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		told := 0
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if told, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatalf("the writer said %q", lines.Text())
			}
			if told == 100+37*round {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil || told < 100 {
			t.Fatalf("the writer ended with %v after %d entries", err, told)
		}
		s := openSpool(t, dir, ledger.SpoolOptions{})
		texts, _ := causes(t, s)
		if len(texts) < told {
			t.Errorf("%d entries are there, %d were promised", len(texts), told)
		}
		for i, text := range texts {
			if text != strconv.Itoa(i+1) {
				t.Fatalf("entry %d is %q", i+1, text)
			}
		}
		closeSpool(t, s)
	}
}

func TestEntriesThatAreRefused(t *testing.T) {
	t.Parallel()
	s := openSpool(t, t.TempDir(), ledger.SpoolOptions{})
	defer closeSpool(t, s)
	good := func() ledger.Proof { return proofOf(ledger.Lease{Job: job("j1"), Epoch: 1}, a, "") }
	proof := func(change func(*ledger.Proof)) ledger.Entry {
		p := good()
		change(&p)
		return ledger.Entry{Proof: &p}
	}
	bad := -1.0
	both := proof(func(*ledger.Proof) {})
	both.Event = event("x").Event
	for name, entry := range map[string]ledger.Entry{
		"nothing": {}, "two things": both,
		"no job": proof(func(p *ledger.Proof) { p.Job = "" }), "NUL": proof(func(p *ledger.Proof) { p.Job = "\x00" }), "not UTF-8": proof(func(p *ledger.Proof) { p.Job = "\xff" }),
		"no worker": proof(func(p *ledger.Proof) { p.Worker = "bm1" }), "epoch 0": proof(func(p *ledger.Proof) { p.Epoch = 0 }), "no proof": proof(func(p *ledger.Proof) { p.Proof = nil }),
		"a verdict of its own": proof(func(p *ledger.Proof) { p.Verdict = "probably" }), "negative time": proof(func(p *ledger.Proof) { p.Seconds = &bad }),
		"no time": {Event: &ledger.Event{Host: "bm1", Event: "x"}}, "bad detail": {Event: &ledger.Event{At: start, Host: "bm1", Event: "x", Detail: []byte("{")}},
	} {
		if err := s.Append(event("before"), entry); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if got := s.State().Entries; got != 0 {
		t.Errorf("%d entries of appends that were refused", got)
	}
	if err := s.Append(event(strings.Repeat("ż", 10000) + "\x00")); err != nil {
		t.Errorf("text for people is cut, not refused: %v", err)
	}
}
