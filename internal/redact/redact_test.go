package redact_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"provingground/internal/redact"
)

// key has the shape of a private key and belongs to nobody.
const key = "EKEnotAKeyJustTheShapeofone123456789abcdefghijkmnopqrs"

const (
	headerKey = "BaG9HYTNxkqyX7haFnz/HXL9FhYwS4gdQ7uYWiStgoY="
	signature = "LSy0n5XkS2wuTWuVQbFFs+H7gmR+BIE/bqlwFGVcFv0awYMXl48vuAfvYEqqnpAVSNXt8YH6n0YNew4i0pYUBg=="
)

func TestText(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"nothing secret", "node 10.0.4.9:3085 refused auth", "node 10.0.4.9:3085 refused auth"},
		{"empty", "", ""},
		{"key alone", key, "EK…(masked)"},
		{"key in a daemon's error", "of type `PrivateKey`, found \"" + key + "\".", "of type `PrivateKey`, found \"EK…(masked)\"."},
		{"two keys", key + "," + key, "EK…(masked),EK…(masked)"},
		{"key behind letters", "x" + key, "xEK…(masked)"},
		{"EK inside a public key", "B62q" + "EK" + strings.Repeat("a", 49), "B62q" + "EK" + strings.Repeat("a", 49)},
		{"EK inside a state hash", "3NEK" + strings.Repeat("a", 48), "3NEK" + strings.Repeat("a", 48)},
		{"key behind what begins like a public key", "B62" + key, "B62EK…(masked)"},
		{"public key, then a key", "B62qEK" + strings.Repeat("a", 49) + " " + key, "B62qEK" + strings.Repeat("a", 49) + " EK…(masked)"},
		{"EK behind EK", "EK " + key, "EK EK…(masked)"},
		{"shortest run", "EK" + strings.Repeat("a", 40), "EK…(masked)"},
		{"run too short", "EK" + strings.Repeat("a", 39), "EK" + strings.Repeat("a", 39)},
		{"run broken by a letter outside base58", "EK" + strings.Repeat("a", 39) + "0a", "EK" + strings.Repeat("a", 39) + "0a"},
		{"unsequenced header", "Signature " + headerKey + " " + signature, "Signature (masked)"},
		{
			"sequenced header",
			"[Signature " + headerKey + " " + signature + " ; Sequencing 24511be6-320d-4ef2-8dff-89916bcb6751 1]",
			"[Signature (masked) ; Sequencing 24511be6-320d-4ef2-8dff-89916bcb6751 1]",
		},
		{"header without signature", "Signature " + headerKey, "Signature (masked)"},
		{"a sentence", "Signature check failed", "Signature check failed"},
		{"signature with a key's shape inside", "Signature " + headerKey + " ab" + key + "+cd=", "Signature (masked)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := redact.Text(test.text)
			if got != test.want {
				t.Errorf("Text(%q)\n got %q\nwant %q", test.text, got, test.want)
			}
			if again := redact.Text(got); again != got {
				t.Errorf("masking twice gives %q, once %q", again, got)
			}
		})
	}
}

func TestRedactor(t *testing.T) {
	for _, test := range []struct {
		name    string
		secrets []string
		text    string
		want    string
	}{
		{"none registered", nil, "hunter22 " + key, "hunter22 EK…(masked)"},
		{"everywhere", []string{"hunter22"}, "hunter22, thunter22s", "***, t***s"},
		{"too short", []string{"abc"}, "abc", "abc"},
		{"inside another", []string{"hunter", "hunter22"}, "hunter22 hunter", "*** ***"},
		{"quoted as JSON", []string{`pass"word\`}, `{"p":"pass\"word\\"}`, `{"p":"***"}`},
		{"quoted as JSON for HTML", []string{"pass<word"}, "\"pass\\u003cword\"", `"***"`},
		{"quoted by %q", []string{"pass\x00word"}, fmt.Sprintf("%q", "pass\x00word"), `"***"`},
		{"each line", []string{"first line\nsecond line"}, "second line", "***"},
		{"made by masking", []string{"x***y", "secret"}, "xsecrety", "***"},
		{"part of a mask", []string{"masked"}, key, "EK…(***)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var redactor redact.Redactor
			for _, secret := range test.secrets {
				redactor.Add(secret)
			}
			if got := redactor.Text(test.text); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestRedactorShowsNoSecret(t *testing.T) {
	redactor := &redact.Redactor{}
	redactor.Add("hunter22")
	holder := struct{ R *redact.Redactor }{redactor}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, shown := range []string{fmt.Sprintf(verb, redactor), fmt.Sprintf(verb, holder)} {
			if strings.Contains(shown, "hunter22") || strings.Contains(shown, fmt.Sprintf("%x", "hunter22")) {
				t.Errorf("%s shows %s", verb, shown)
			}
		}
	}
	encoded, err := json.Marshal(redactor) //nolint:staticcheck // that there is nothing to see is the point
	if err != nil || bytes.Contains(encoded, []byte("hunter22")) {
		t.Errorf("JSON: %s, %v", encoded, err)
	}
}

func TestWriterMasksAcrossWrites(t *testing.T) {
	var redactor redact.Redactor
	redactor.Add("hunter22")
	rapid.Check(t, func(t *rapid.T) {
		text := "a hunter22\n" + key + "\nlast hunter22"
		var sink bytes.Buffer
		writer := redactor.Writer(&sink)
		for rest := text; rest != ""; {
			length := rapid.IntRange(1, len(rest)).Draw(t, "length")
			if n, err := writer.Write([]byte(rest[:length])); n != length || err != nil {
				t.Fatalf("Write: %d, %v", n, err)
			}
			rest = rest[length:]
		}
		if err := writer.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		if want := "a ***\nEK…(masked)\nlast ***"; sink.String() != want {
			t.Fatalf("got %q, want %q", sink.String(), want)
		}
	})
}

func TestWriterPassesWholeLines(t *testing.T) {
	var sink recordingSink
	writer := new(redact.Redactor).Writer(&sink)
	for _, piece := range []string{"one ", "line\ntwo\n", "thr"} {
		if _, err := writer.Write([]byte(piece)); err != nil {
			t.Fatalf("Write: %v", err)
		}
	}
	if got, want := strings.Join(sink.writes, "|"), "one line\n|two\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWriterLeavesOutALineTooLong(t *testing.T) {
	var sink bytes.Buffer
	writer := new(redact.Redactor).Writer(&sink)
	long := strings.Repeat("x", 1<<19)
	for _, piece := range []string{"before\n", long, long, key, "\nafter\n"} {
		if _, err := writer.Write([]byte(piece)); err != nil {
			t.Fatalf("Write: %v", err)
		}
	}
	want := "before\n(a line above 1 MiB is left out: it could not be searched for secrets)\nafter\n"
	if sink.String() != want {
		t.Errorf("got %.200q, want %q", sink.String(), want)
	}
}

func TestWriterReportsTheSinksError(t *testing.T) {
	broken := errors.New("disk full")
	writer := new(redact.Redactor).Writer(&recordingSink{err: broken})
	n, err := writer.Write([]byte("one\ntwo"))
	if !errors.Is(err, broken) || n != 0 {
		t.Errorf("got %d, %v, want 0 and the sink's error", n, err)
	}
}

func TestRedactorIsSafeForConcurrentUse(t *testing.T) {
	var redactor redact.Redactor
	var sink bytes.Buffer
	writer := redactor.Writer(&sink)
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			secret := fmt.Sprintf("secret%d", i)
			redactor.Add(secret)
			if _, err := writer.Write([]byte(secret + "\n")); err != nil {
				t.Errorf("Write: %v", err)
			}
		})
	}
	group.Wait()
	if want := strings.Repeat("***\n", 4); sink.String() != want {
		t.Errorf("got %q, want %q", sink.String(), want)
	}
}

func FuzzText(f *testing.F) {
	f.Add("", "")
	f.Add("Signature "+headerKey+" "+signature+" ; Sequencing 24511be6-320d-4ef2-8dff-89916bcb6751 1", "Sequencing")
	f.Add("found "+key, "masked")
	f.Add("x***y EK…(masked)", "***y")
	f.Add("line\nbreak", "line\nbreak")
	f.Fuzz(func(t *testing.T, text, secret string) {
		shaped := redact.Text(text)
		if again := redact.Text(shaped); again != shaped {
			t.Errorf("masking twice: %q, once: %q", again, shaped)
		}
		var redactor redact.Redactor
		redactor.Add(secret)
		masked := redactor.Text(text)
		if again := redactor.Text(masked); again != masked {
			t.Errorf("redacting twice: %q, once: %q", again, masked)
		}
		if len(secret) >= 4 && strings.Contains(masked, secret) {
			t.Errorf("%q survives in %q", secret, masked)
		}
	})
}

func BenchmarkText(b *testing.B) {
	line := `{"level":"debug","msg":"itn request","node":"10.0.4.9:3085","operation":"slotsWon"} found ` + key
	b.ReportAllocs()
	for b.Loop() {
		redact.Text(line)
	}
}

type recordingSink struct {
	writes []string
	err    error
}

func (s *recordingSink) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	s.writes = append(s.writes, string(p))
	return len(p), nil
}
