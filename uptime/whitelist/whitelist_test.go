package whitelist_test

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"provingground/internal/mina"
	"provingground/internal/privatepg/pgtest"
	"provingground/uptime/service"
	"provingground/uptime/whitelist"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(pgtest.Goroutine)) }

// The submitters of the signature vectors (uptime, section 3.3), and one of them with a character changed.
const (
	first  = "B62qkaKV3BLvLTf7nYXRehSaZAd36NWijt3MEmy2QgHRavboeRGtBMN"
	second = "B62qn4kByk45GFDMHwVf2smYEVTehGN638UBHMaQzyLJf52wtdtCjRA"
	third  = "B62qkgvrx8WoDqTzXaUm2vqBRbkiqTts35Z9n4XcrFez1KG3MHKHTbn"
	broken = "B62qkaKV3BLvLTf7nYXRehSaZAd36NWijt3MEmy2QgHRavboeRGtBMM"
)

var (
	_ service.Whitelist = (*whitelist.Static)(nil)
	_ service.Whitelist = (*whitelist.File)(nil)
	_ service.Whitelist = (*whitelist.Database)(nil)
)

func public(t testing.TB, text string) mina.PublicKey {
	t.Helper()
	key, err := mina.ParsePublicKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// holds checks that a list has these of the three keys, and no other.
func holds(t *testing.T, list service.Whitelist, texts ...string) {
	t.Helper()
	for _, text := range []string{first, second, third} {
		want := strings.Contains(strings.Join(texts, " "), text)
		if got := list.Contains(public(t, text)); got != want {
			t.Errorf("contains %s: %t", text, got)
		}
	}
	if list.Contains(mina.PublicKey{}) {
		t.Error("contains no key")
	}
	if list.Size() != len(texts) {
		t.Errorf("size %d, want %d", list.Size(), len(texts))
	}
}

// healthy checks that a list is healthy, or that it says why not.
func healthy(t *testing.T, list service.Whitelist, want string) {
	t.Helper()
	err := list.Healthy()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("healthy: %v, want %q", err, want)
	}
}

func newLog() (*zap.Logger, *observer.ObservedLogs) {
	core, logs := observer.New(zapcore.InfoLevel)
	return zap.New(core), logs
}

// logged checks the messages since the last call, by their beginnings.
func logged(t *testing.T, logs *observer.ObservedLogs, want ...string) {
	t.Helper()
	entries := logs.TakeAll()
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Message)
	}
	if len(got) != len(want) {
		t.Errorf("logged %q, want %q", got, want)
		return
	}
	for i := range got {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("logged %q, want %q", got, want)
		}
	}
}

func TestStatic(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name    string
		entries []string
		want    []string
		ignored []string
	}{
		{"none", nil, nil, nil},
		{"keys", []string{first, second}, []string{first, second}, nil},
		{"one twice", []string{first, first}, []string{first}, nil},
		{
			"others among them", []string{"", first, broken, " " + second, "EKEEpMELfQkMbJDt2fB4cFXKwSf1x4t7YD4twREy5yuJ84HBZtF9"},
			[]string{first}, []string{"entry 0:", "entry 2:", "entry 3:", "entry 4:"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			list := whitelist.NewStatic(test.entries, now)
			holds(t, list, test.want...)
			healthy(t, list, "")
			if !list.Loaded().Equal(now) {
				t.Errorf("loaded %s", list.Loaded())
			}
			ignored := list.Ignored()
			if len(ignored) != len(test.ignored) {
				t.Fatalf("ignored %v", ignored)
			}
			for i, err := range ignored {
				if !strings.Contains(err.Error(), test.ignored[i]) || strings.Contains(err.Error(), "EK") {
					t.Errorf("ignored %v, want %s", err, test.ignored[i])
				}
			}
		})
	}
}

func BenchmarkContains(b *testing.B) {
	var entries []string
	for range 1000 {
		key, err := mina.GeneratePrivateKey(rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		entries = append(entries, key.PublicKey().String())
	}
	list := whitelist.NewStatic(entries, time.Now())
	stranger := public(b, first)
	b.ReportAllocs()
	for b.Loop() {
		if list.Contains(stranger) {
			b.Fatal("contains a stranger")
		}
	}
}
