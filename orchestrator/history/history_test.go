package history_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"pgregory.net/rapid"

	"provingground/internal/privatepg"
	"provingground/internal/privatepg/pgtest"
	"provingground/orchestrator/history"
	"provingground/orchestrator/record"
	"provingground/schema"
)

// migrated returns the URI of a fresh database with our tables.
func migrated(t testing.TB) string {
	t.Helper()
	uri := pgtest.Database(t)
	if err := schema.Migrate(t.Context(), uri); err != nil {
		t.Fatal(err)
	}
	return uri
}

// connect returns a connection that ends with the test.
func connect(t testing.TB, uri string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// fataler is what tests and properties have in common.
type fataler interface {
	Helper()
	Fatal(args ...any)
}

// stored returns everything that a database holds of runs, one row a line.
func stored(ctx context.Context, t fataler, conn *pgx.Conn) string {
	t.Helper()
	var text strings.Builder
	for _, table := range []string{"run", "run_step", "run_output", "run_verdict", "run_load"} {
		rows, err := conn.Query(ctx, "SELECT to_jsonb(t) FROM "+table+" t ORDER BY 1")
		if err != nil {
			t.Fatal(err)
		}
		all, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range all {
			fmt.Fprintln(&text, table, row)
		}
	}
	return text.String()
}

func mustImport(t testing.TB, uri, text string) []history.Run {
	t.Helper()
	runs, err := history.Import(t.Context(), uri, "run.record", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

// recorded returns a record of a real run of a script with blocks, retries and claims: killed in its middle, or the same run resumed to its end.
func recorded(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// golden compares a text with a file of testdata; UPDATE in the environment writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if _, update := os.LookupEnv("UPDATE"); update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got)\n%s", name, diff)
	}
}

func TestImport(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"killed", "resumed", "synthetic"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			uri := migrated(t)
			text := recorded(t, name)
			runs := mustImport(t, uri, text)
			if len(runs) != 1 || !runs[0].Stored || runs[0].Lines != int64(strings.Count(text, "\n")) {
				t.Errorf("runs %+v", runs)
			}
			golden(t, name+".rows", stored(t.Context(), t, connect(t, uri)))
		})
	}
}

// TestImportAgain: a record that has come as far changes nothing, one of the same run that has come less far neither, and a continuation takes the
// place of what went before it.
func TestImportAgain(t *testing.T) {
	t.Parallel()
	uri := migrated(t)
	conn := connect(t, uri)
	killed, resumed := recorded(t, "killed"), recorded(t, "resumed")
	mustImport(t, uri, killed)
	before := stored(t.Context(), t, conn)
	for _, text := range []string{killed, killed[:len(killed)/2], killed + killed} {
		for _, run := range mustImport(t, uri, text) {
			if run.Stored {
				t.Errorf("%d lines were stored again", run.Lines)
			}
		}
	}
	if diff := cmp.Diff(before, stored(t.Context(), t, conn)); diff != "" {
		t.Error(diff)
	}
	if runs := mustImport(t, uri, resumed); !runs[0].Stored {
		t.Error("the continuation was not stored")
	}
	after := stored(t.Context(), t, conn)
	if runs := mustImport(t, uri, killed); runs[0].Stored {
		t.Error("the record from before was stored over its continuation")
	}
	if diff := cmp.Diff(after, stored(t.Context(), t, conn)); diff != "" {
		t.Error(diff)
	}
	if runs := mustImport(t, uri, killed+resumed+recorded(t, "synthetic")); len(runs) != 3 || runs[0].Stored || runs[1].Stored || !runs[2].Stored {
		t.Errorf("of a file with two runs: %+v", runs)
	}
}

// TestHistoryIsThatOfTheLongestRecord: whatever pieces of a record are imported in whatever order, cut in the middle of a line or not, the history is
// that of the one which has come furthest.
func TestHistoryIsThatOfTheLongestRecord(t *testing.T) {
	t.Parallel()
	uri, other := migrated(t), migrated(t)
	conn, reference := connect(t, uri), connect(t, other)
	whole := recorded(t, "synthetic") // of which every prefix is a record
	first := strings.Index(whole, "\n") + 1
	ctx := t.Context()
	rapid.Check(t, func(t *rapid.T) {
		cuts := rapid.SliceOfN(rapid.IntRange(first, len(whole)), 1, 4).Draw(t, "cuts")
		furthest := 0
		for _, c := range []*pgx.Conn{conn, reference} {
			if _, err := c.Exec(ctx, "DELETE FROM run"); err != nil {
				t.Fatal(err)
			}
		}
		for _, cut := range cuts {
			if _, err := history.Import(ctx, uri, "run.record", strings.NewReader(whole[:cut])); err != nil {
				t.Fatal(err)
			}
			furthest = max(furthest, cut)
		}
		if _, err := history.Import(ctx, other, "run.record", strings.NewReader(whole[:furthest])); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(stored(ctx, t, reference), stored(ctx, t, conn)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	uri := migrated(t)
	const line = `{"time":"2024-05-01T10:00:00Z","step":0,"name":"participant","value":"a"}` + "\n"
	const begins = `{"time":"2024-05-01T10:00:00Z","step":-1,"name":"_run","value":{"seed":1}}` + "\n"
	for _, test := range []struct{ name, uri, text, want string }{
		{"not of this program", uri, line, "run.record, line 1: it does not begin with the line _run"},
		{"nothing", uri, "", "run.record: no record of a run"},
		{"garbage inside", uri, begins + "garbage\n" + line, "run.record, line 2, is no line of a record"},
		{"a value of another shape", uri, begins + `{"time":"2024-05-01T10:00:00Z","step":-1,"name":"_end","value":"x"}` + "\n" + line, "line 2: _end of step -1 does not decode"},
		{"not migrated", pgtest.Database(t), begins, "fetcher migrate --db-uri"},
		{"no address", "postgres://u:hunter2@[/x", begins, "dbUri is no address of a PostgreSQL database"},
		{"nobody there", "postgres://u:hunter2@127.0.0.1:1/x", begins, "is it running, and is that its address?"},
		{"a private database that is gone", "postgresql:///provingground?host=" + t.TempDir() + "&user=postgres", begins, "lives only while that fetcher runs"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := history.Import(t.Context(), test.uri, "run.record", strings.NewReader(test.text))
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "hunter2") {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if (test.name == "nothing") != errors.Is(err, record.ErrNoRecord) || (test.name == "not migrated") != errors.Is(err, schema.ErrNotMigrated) {
				t.Errorf("it is another error: %v", err)
			}
		})
	}
	t.Cleanup(func() {
		// The tests are done by then.
		conn, err := pgx.Connect(context.WithoutCancel(t.Context()), uri)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
		if left := stored(context.WithoutCancel(t.Context()), t, conn); left != "" {
			t.Errorf("a record that was refused left\n%s", left)
		}
	})
}

// TestDeployment: a run belongs to the newest deployment when it began, or else to the first that was made before its last line.
func TestDeployment(t *testing.T) {
	t.Parallel()
	const text = `{"time":"2024-05-01T10:00:00Z","step":-1,"name":"_run","value":{"seed":1}}` + "\n" +
		`{"time":"2024-05-01T12:00:00Z","step":-1,"name":"_end","value":{"code":0}}` + "\n"
	for _, test := range []struct {
		name string
		made []string
		want int // 0 for none
	}{
		{"none", nil, 0},
		{"two before", []string{"2024-04-01", "2024-05-01", "2024-05-02"}, 2},
		{"during", []string{"2024-05-01T11:00:00Z", "2024-05-01T11:30:00Z"}, 1},
		{"after", []string{"2024-05-01T13:00:00Z"}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			uri := migrated(t)
			conn := connect(t, uri)
			for _, at := range test.made {
				if _, err := conn.Exec(t.Context(), "SELECT create_deployment('{}')"); err != nil {
					t.Fatal(err)
				}
				if _, err := conn.Exec(t.Context(), "UPDATE deployment SET created_at = $1::text::timestamptz WHERE deployment_id = get_max_deployment_id()", at); err != nil {
					t.Fatal(err)
				}
			}
			mustImport(t, uri, text)
			var got int
			if err := conn.QueryRow(t.Context(), "SELECT coalesce(deployment_id, 0) FROM run").Scan(&got); err != nil || got != test.want {
				t.Errorf("deployment %d, %v, want %d", got, err, test.want)
			}
		})
	}
}

// growing is a record file that grows.
type growing struct {
	file  *os.File
	lines []string // that are to come
}

func newGrowing(t testing.TB, text string) *growing {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "run.record"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	})
	return &growing{file: file, lines: strings.SplitAfter(text, "\n")}
}

// grow writes so many lines, and wakes the follower after each.
func (g *growing) grow(t testing.TB, lines int, f *history.Follower) {
	t.Helper()
	for _, line := range g.lines[:lines] {
		if _, err := g.file.WriteString(line); err != nil {
			t.Fatal(err)
		}
		f.Wake()
	}
	g.lines = g.lines[lines:]
}

// await waits until the database has so many lines of the run; the test's own time limit ends it.
func await(t testing.TB, conn *pgx.Conn, lines int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for got := 0; got < lines; {
		if err := conn.QueryRow(t.Context(), "SELECT coalesce(max(lines), 0) FROM run").Scan(&got); err != nil {
			t.Fatal(err)
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal(context.Cause(t.Context()))
		}
	}
}

// finish closes a follower in time.
func finish(t testing.TB, f *history.Follower) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return f.Close(ctx)
}

// TestFollow: the history of a run that goes on is stored as it goes on, and in the end is that of its record.
func TestFollow(t *testing.T) {
	t.Parallel()
	uri, other := migrated(t), migrated(t)
	conn := connect(t, uri)
	text := recorded(t, "resumed")
	g := newGrowing(t, text)
	f, err := history.Follow(t.Context(), uri, g.file.Name(), zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	g.grow(t, 1, f)
	await(t, conn, 1)
	g.grow(t, 50, f)
	await(t, conn, 51)
	mustImport(t, uri, recorded(t, "synthetic")) // another run is none of its business
	g.grow(t, 20, f)
	mustImport(t, uri, text) // nor is it disturbed by one who gets further
	g.grow(t, len(g.lines), f)
	if err := finish(t, f); err != nil {
		t.Fatal(err)
	}
	mustImport(t, other, text+recorded(t, "synthetic"))
	if diff := cmp.Diff(stored(t.Context(), t, connect(t, other)), stored(t.Context(), t, conn)); diff != "" {
		t.Error(diff)
	}
}

// TestFollowOvertaken: who follows a record from before the run was continued leaves the continuation alone.
func TestFollowOvertaken(t *testing.T) {
	t.Parallel()
	uri := migrated(t)
	conn := connect(t, uri)
	mustImport(t, uri, recorded(t, "resumed"))
	before := stored(t.Context(), t, conn)
	g := newGrowing(t, recorded(t, "killed"))
	f, err := history.Follow(t.Context(), uri, g.file.Name(), zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	g.grow(t, len(g.lines), f)
	if err := finish(t, f); err == nil || !strings.Contains(err.Error(), "a later continuation") {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(before, stored(t.Context(), t, conn)); diff != "" {
		t.Error(diff)
	}
}

// TestFollowWhileTheDatabaseIsAway: the database comes after the run has begun, is stopped and started again in its middle, and nothing is missing.
func TestFollowWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	start := func() *privatepg.Server {
		t.Helper()
		server, err := privatepg.Start(t.Context(), privatepg.Options{Dir: dir, Settings: map[string]string{"fsync": "off"}})
		if err != nil {
			t.Fatal(err)
		}
		return server
	}
	stop := func(s *privatepg.Server) {
		t.Helper()
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	server := start()
	uri := server.URI()
	stop(server)

	text := recorded(t, "resumed")
	g := newGrowing(t, text)
	f, err := history.Follow(t.Context(), uri, g.file.Name(), zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	g.grow(t, 20, f)
	server = start() // without tables at first
	if err := schema.Migrate(t.Context(), uri); err != nil {
		t.Fatal(err)
	}
	look := func(lines int) {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), uri)
		if err != nil {
			t.Fatal(err)
		}
		await(t, conn, lines)
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	look(20)
	stop(server)
	g.grow(t, 20, f)
	server = start()
	look(40)
	g.grow(t, len(g.lines), f)
	if err := finish(t, f); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	got := stored(t.Context(), t, conn)
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := migrated(t)
	mustImport(t, other, text)
	if diff := cmp.Diff(stored(t.Context(), t, connect(t, other)), got); diff != "" {
		t.Error(diff)
	}

	// At the end of a run it is away for good: that is said in time, and what was recorded completes the history later.
	stop(server)
	g = newGrowing(t, recorded(t, "synthetic"))
	if f, err = history.Follow(t.Context(), uri, g.file.Name(), zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	g.grow(t, len(g.lines), f)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := f.Close(ctx); err == nil {
		t.Error("the history is complete without a database")
	}
	server = start()
	if runs := mustImport(t, uri, recorded(t, "synthetic")); !runs[0].Stored {
		t.Error("the record did not complete the history")
	}
	stop(server)
}

func TestFollowRefusesWhatIsNoDatabase(t *testing.T) {
	_, err := history.Follow(t.Context(), "postgres://u:hunter2@[/x", "run.record", zap.NewNop())
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}

// TestSecretsStayMasked writes outputs with secrets through the record's own writer: what it masks is masked in the history.
func TestSecretsStayMasked(t *testing.T) {
	t.Parallel()
	const secret = "correct horse battery staple"
	var text bytes.Buffer
	w := record.NewWriter(&text, nil, func(s string) string { return strings.ReplaceAll(s, secret, "…(masked)") }, nil)
	value, err := json.Marshal(map[string]string{"password": secret})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC)
	if err := w.Write(
		record.Line{Time: at, Step: -1, Name: "_run", Multi: true, Value: json.RawMessage(`{"seed":1}`)},
		record.Line{Time: at, Step: 0, Action: "x", Name: "answer", Value: value},
	); err != nil {
		t.Fatal(err)
	}
	uri := migrated(t)
	mustImport(t, uri, text.String())
	got := stored(t.Context(), t, connect(t, uri))
	if strings.Contains(got, secret) || !strings.Contains(got, "…(masked)") {
		t.Errorf("the history holds\n%s", got)
	}
}

func BenchmarkImport(b *testing.B) {
	uri := migrated(b)
	conn := connect(b, uri)
	var text strings.Builder
	text.WriteString(`{"time":"2024-05-01T10:00:00Z","step":-1,"name":"_run","value":{"seed":1}}` + "\n")
	for i := range 20_000 {
		fmt.Fprintf(&text, `{"time":"2024-05-01T10:00:01Z","step":%d,"action":"payments","name":"receipt","multi":true,"value":{"address":"10.0.0.1:3086","handle":"7b6a1c1e"}}`+"\n", i/100)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Exec(b.Context(), "DELETE FROM run"); err != nil {
			b.Fatal(err)
		}
		mustImport(b, uri, text.String())
	}
	b.ReportMetric(20_001*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}
