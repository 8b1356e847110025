package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"provingground/fetcher"
	"provingground/fetcher/store"
	"provingground/internal/privatepg/pgtest"
	"provingground/internal/soak"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/simnet"
	"provingground/orchestrator/simnet/simnettest"
	"provingground/schema"
)

const (
	runOne = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
	runTwo = "6ba7b811-9dad-11d1-80b4-00c04fd430c8"
)

func at(second int) time.Time { return simnettest.Genesis().Add(time.Duration(second) * time.Second) }

func checkpoint(id int, name string, second int) itn.Log {
	return itn.Log{ID: id, Timestamp: at(second), Message: name}
}

func controls(id int, keysAndValues ...string) itn.Log {
	log := itn.Log{ID: id, Timestamp: at(id), Message: "@control"}
	for i := 0; i < len(keysAndValues); i += 2 {
		log.Metadata = append(log.Metadata, itn.LogMetadatum{Item: keysAndValues[i], Value: json.RawMessage(keysAndValues[i+1])})
	}
	return log
}

// batch is one of a node in its first run.
func batch(node string, entries ...itn.Log) fetcher.Batch {
	b := fetcher.Batch{Node: node, Entries: entries, Cursor: fetcher.Cursor{ServerUUID: runOne, Next: 1}}
	if len(entries) > 0 {
		last := entries[len(entries)-1]
		b.Cursor.Next, b.Cursor.LastTime = last.ID+1, last.Timestamp
	}
	return b
}

func save(tb testing.TB, s *store.Store, batches ...fetcher.Batch) {
	tb.Helper()
	for _, b := range batches {
		if err := s.Save(tb.Context(), b); err != nil {
			tb.Fatal(err)
		}
	}
}

// tables are what derives from a deployment's entries, without ids.
func tables(tb testing.TB, d *database, deployment int64) map[string]string {
	tb.Helper()
	contents := map[string]string{}
	for name, query := range map[string]string{
		"block_trace": `SELECT block_id, trace_started_at, trace_completed_at, total_time, source, status, blockchain_length, global_slot, metadata_json
			FROM block_trace WHERE deployment_id = $1 ORDER BY block_id`,
		"block_trace_checkpoint": `SELECT b.block_id, c.source, main_trace, is_control, name, started_at, c.metadata_json, call_id, gossip
			FROM block_trace_checkpoint c JOIN block_trace b USING (deployment_id, block_trace_id) WHERE deployment_id = $1
			ORDER BY c.source, block_trace_checkpoint_id`,
		"tx_traces":        "SELECT action, time, diff, sender, reason FROM tx_traces WHERE deployment_id = $1 ORDER BY block_trace_checkpoint_id",
		"sw_traces":        "SELECT action, time, fst_work_id, snd_work_id, fee, prover, sender, reason, fst_work_tx_hash FROM sw_traces WHERE deployment_id = $1 ORDER BY block_trace_checkpoint_id",
		"sw_interruptions": "SELECT block_id, time, at, reason, fst_work_id FROM sw_interruptions i JOIN block_trace USING (deployment_id, block_trace_id) WHERE deployment_id = $1 ORDER BY 1",
		"unique_txs":       "SELECT hash, type, memo, time FROM unique_txs WHERE deployment_id = $1 ORDER BY hash",
		"block":            "SELECT state_hash, previous_state_hash, blockchain_length, global_slot, first_received, canonical FROM block WHERE deployment_id = $1 ORDER BY 1",
		"block_txs":        "SELECT hash, type, memo, block_received, result, state_hash FROM block_txs WHERE deployment_id = $1 ORDER BY hash",
		"uniq_sws":         "SELECT fst_work_id, snd_work_id, fee, prover, sender, time_added, time_received, time_scheduled FROM uniq_sws WHERE deployment_id = $1 ORDER BY 1, 2",
		"data":             "SELECT value FROM data WHERE deployment_id = $1",
		"log_entry":        "SELECT server_uuid, log_id, logged_at, process, message, metadata FROM log_entry WHERE deployment_id = $1 ORDER BY server_uuid, log_id",
		"log_gap":          "SELECT server_uuid, from_id, to_id, time_before, time_after, reason FROM log_gap WHERE deployment_id = $1 ORDER BY server_uuid, from_id",
		"log_malformed":    "SELECT server_uuid, log_id, reason, raw FROM log_malformed WHERE deployment_id = $1 ORDER BY server_uuid, log_id",
		"log_cursor":       "SELECT server_uuid, next_id, entries, lost, last_time FROM log_cursor WHERE deployment_id = $1 ORDER BY server_uuid",
	} {
		contents[name] = one[string](tb, d, "SELECT coalesce(string_agg(to_jsonb(q)::text, E'\\n'), '') FROM ("+query+") AS q", deployment)
	}
	return contents
}

// TestAnyCuttingGivesTheSame stores a log with holes and a restart, cut into batches at random, by one store and by several in turns.
func TestAnyCuttingGivesTheSame(t *testing.T) {
	t.Parallel()
	var logs []simnet.KeptLog
	faults, err := simnet.ParseFaults("restart:127.0.0.2@5")
	if err != nil {
		t.Fatal(err)
	}
	inVirtualTime(t, simnet.Options{Nodes: 2, Producers: 2, Slot: 30 * time.Second, RestartAfter: 10 * time.Second, Faults: faults}, func(w *world) {
		w.load(1, "exp-0-0", 0.3, 3)
		w.Pass(5 * time.Minute)
		logs = slices.DeleteFunc(w.KeptLogs(), func(l simnet.KeptLog) bool { return l.Node != w.Nodes()[0] })
	})
	if len(logs) != 2 {
		t.Fatalf("%d runs of the daemon, want 2", len(logs))
	}
	db := newDatabase(t)
	stores := []*store.Store{db.open(t, store.Options{}), db.open(t, store.Options{Connections: 1})}
	random := rand.New(rand.NewPCG(7, 8))
	var want map[string]string
	for round := range 1 + soak.Rounds(t) {
		deployment := deploy(t, stores)
		node := fmt.Sprint("node-", round)
		largest := 1 << 20
		if round > 0 {
			largest = 1 + random.IntN(1200)
		}
		turn := 0
		for _, b := range cut(logs, node, func(int) int { return 1 + random.IntN(largest) }) {
			if random.IntN(5) == 0 {
				turn++
			}
			save(t, stores[turn%2], b)
		}
		got := tables(t, db, deployment)
		if round == 0 {
			want = got
			for name, content := range want {
				if content == "" && name != "sw_interruptions" {
					t.Errorf("table %s is empty", name)
				}
			}
			continue
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Fatalf("batches of up to %d entries (-one +cut):\n%.4000s", largest, diff)
		}
	}
}

// deploy has the stores use a new deployment.
func deploy(t *testing.T, stores []*store.Store) int64 {
	t.Helper()
	deployment, err := stores[0].NewDeployment(t.Context(), json.RawMessage(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stores {
		if err := s.Use(t.Context(), deployment); err != nil {
			t.Fatal(err)
		}
	}
	return deployment
}

// cut makes batches of the runs of a daemon. Of every 397 entries one is lost and one malformed.
func cut(runs []simnet.KeptLog, node string, size func(i int) int) []fetcher.Batch {
	var batches []fetcher.Batch
	for r, run := range runs {
		if r > 0 {
			before := batches[len(batches)-1].Cursor
			batches = append(batches, fetcher.Batch{
				Node: node, Cursor: fetcher.Cursor{ServerUUID: run.ServerUUID, Next: 1},
				Restart: &fetcher.Restart{Before: before.ServerUUID, After: run.ServerUUID, Seen: at(0)},
				Gaps:    []fetcher.Gap{{ServerUUID: before.ServerUUID, From: before.Next, Before: before.LastTime, Reason: fetcher.GapRestart}},
			})
		}
		next := fetcher.Batch{Node: node}
		left := size(0)
		for i, log := range run.Logs {
			switch log.ID % 397 {
			case 50:
				next.Gaps = append(next.Gaps, fetcher.Gap{ServerUUID: run.ServerUUID, From: log.ID, To: log.ID, Reason: fetcher.GapDropped})
				continue // the cursor comes to lie behind it with the next entry
			case 20:
				next.Malformed = append(next.Malformed, fetcher.Malformed{ID: log.ID, Reason: "no message", Raw: "{}"})
			default:
				next.Entries = append(next.Entries, log)
			}
			if left--; left <= 0 || i == len(run.Logs)-1 {
				next.Cursor = fetcher.Cursor{ServerUUID: run.ServerUUID, Next: log.ID + 1, LastTime: run.Logs[i].Timestamp}
				batches = append(batches, next)
				next, left = fetcher.Batch{Node: node}, size(i)
			}
		}
	}
	return batches
}

func TestBadValuesLoseNothing(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	s := db.open(t, store.Options{})
	long := strings.Repeat("long ✂ ", 2000)
	quoted := func(text string) string {
		plain, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		return string(plain)
	}
	entries := []itn.Log{
		controls(1, "current_block", quoted("3N"+strings.Repeat("x", 200))),
		controls(2, "block_metadata", `{"blockchain_length":"99999999999999999999","global_slot":["Since_genesis","4294967296"]}`),
		controls(3, "block_metadata", `{"blockchain_length":"7","global_slot":"8","previous_state_hash":`+quoted(long)+`,"transactions":[`+
			`[`+quoted(long)+`,`+quoted("7mX"+long)+`,`+quoted(long)+`,["Applied"]],["payment","7mX","memo",["`+strings.Repeat("F", 100)+`"]],["fee_transfer",["Applied"]]]}`),
		checkpoint(4, "External_block_received", 4),
		{ID: 5, Message: "Before_the_epoch", Timestamp: time.Date(-4000, 1, 1, 0, 0, 0, 0, time.UTC)},
		{ID: 6, Message: "Far_away", Timestamp: time.Date(290000, 1, 1, 0, 0, 0, 0, time.UTC)},
		{ID: 7, Message: "No_time"},
		{ID: 8, Message: "nul\x00 and \xff", Timestamp: at(8)},
		{ID: 9, Message: "", Timestamp: at(9)},
		{ID: 10, Message: "Known_to_nobody", Timestamp: at(10), Process: "archive\x00"},
		controls(11, "metadata", `{"text":"\u0000 \ud800","\u0000":1}`),
		controls(12, "metadata", `{"number":1e400000,"small":1e-400000}`),
		controls(13, "metadata", strings.Repeat("[", 9000)+strings.Repeat("]", 9000)),
		controls(14, "metadata", `not JSON`),
		controls(15, "metadata", ``),
		controls(16),
		controls(17, "a", "1", "a", "2"),
		controls(18, strings.Repeat("key", 5000), `"v"`),
		controls(19, "current_call_id", "99999999999"),
		checkpoint(20, "Snark_work_received", 20),
		controls(21, "metadata", `{"work_ids":[1,2],"fee":`+quoted(long)+`,"prover":`+quoted(long)+`,"sender":`+quoted(long)+`,"reason":`+quoted(long)+`,"txs":[[`+quoted(long)+`,`+quoted(long)+`,`+quoted(long)+`]]}`),
		checkpoint(22, "Snark_work_added", 22),
		controls(23, "metadata", `{"work_ids":[4294967296]}`),
		checkpoint(24, "Transaction_diff_received", 24),
		controls(25, "metadata", `{"diff":[[`+quoted(long)+`,`+quoted(long)+`,`+quoted(long)+`],["payment","",""]],"sender":`+quoted(long)+`}`),
		checkpoint(26, "Transaction_diff_"+strings.Repeat("z", 200), 26),
		controls(27, "metadata", `{"diff":[["payment","7mY","memo"]]}`),
		controls(28, "block_metadata", `{"interrupt_get_completed_work_at":1,"interrupt_get_completed_work_reason":`+quoted(long)+`,"interrupt_get_completed_work_ids":[3]}`),
		{ID: 29, Message: strings.Repeat("Name", 500), Timestamp: at(29)},
		{ID: 30, Message: "With_metadata", Timestamp: at(30), Metadata: []itn.LogMetadatum{{Item: "a", Value: json.RawMessage("1")}}},
		checkpoint(31, "Breadcrumb_integrated", 31),
	}
	b := batch("node", entries...)
	b.Malformed = []fetcher.Malformed{{ID: 0, Reason: "no \x00 id", Raw: "\xff"}, {ID: -5, Reason: "the id is not positive"}}
	b.Gaps = []fetcher.Gap{{ServerUUID: runOne, From: 0, To: -3}, {ServerUUID: runOne, From: 1, To: 0, Before: time.Date(300000, 1, 1, 0, 0, 0, 0, time.UTC)}}
	save(t, s, b, b)
	equal(t, db, "SELECT count(*) FROM log_entry", int64(len(entries)))
	equal(t, db, "SELECT count(*) FROM log_malformed", int64(2))
	equal(t, db, "SELECT count(*) FROM log_problem", int64(0))
	equal(t, db, "SELECT string_agg(log_id::text, ' ' ORDER BY log_id) FROM log_entry WHERE logged_at IS NULL", "5 6 7")
	equal(t, db, "SELECT string_agg(log_id::text, ' ' ORDER BY log_id) FROM log_entry WHERE damaged", "8 10 11 12 13 14 15")
	equal(t, db, "SELECT metadata->>'metadata' FROM log_entry WHERE log_id = 12", `{"number":1e400000,"small":1e-400000}`)
	equal(t, db, "SELECT metadata::text FROM log_entry WHERE log_id = 17", `{"a": 2}`)
	equal(t, db, "SELECT message FROM log_entry WHERE log_id = 8", "nul� and �")
	equal(t, db, "SELECT status || ' ' || blockchain_length || ' ' || global_slot FROM block_trace WHERE block_id LIKE '3N%'", "Success 7 8")
	equal(t, db, "SELECT count(*) FROM unique_txs", int64(2)) // the long one and the empty one
	equal(t, db, "SELECT count(*) FROM block_tx", int64(2))
	equal(t, db, "SELECT count(*) FROM sw_traces", int64(1))
	equal(t, db, "SELECT count(*) FROM sw_interruptions", int64(1))
	equal(t, db, "SELECT length(sender) || right(sender, 9) FROM sw_traces", "255…"+one[string](t, db, "SELECT right(sender, 8) FROM sw_traces"))
	if counts := s.Counts(); counts.Cut == 0 || counts.Unread == 0 || counts.Entries != uint64(len(entries)) || counts.Underived != 0 {
		t.Errorf("counts %+v", counts)
	}
}

// TestDerivedValueThatIsRefused has the database refuse what is derived from the entries of one of two nodes that are stored together.
func TestDerivedValueThatIsRefused(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	s := db.open(t, store.Options{Connections: 1})
	block := controls(1, "current_block", `"3Nblock"`)
	save(t, s, batch("good", block, checkpoint(2, "External_block_received", 2)), batch("bad", block, checkpoint(2, "External_block_received", 2)))
	db.execute(t, "ALTER TABLE block_trace_checkpoint ADD CHECK (name <> 'Poison')")
	errs := make(chan error)
	for _, b := range []fetcher.Batch{
		batch("good", checkpoint(3, "Validate_transition", 3)),
		batch("bad", checkpoint(3, "Poison", 3), checkpoint(4, "Validate_transition", 4)),
	} {
		go func() { errs <- s.Save(t.Context(), b) }()
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	save(t, s, batch("bad", controls(5, "current_block", `"3Nblock"`), checkpoint(6, "Breadcrumb_integrated", 6)))
	equal(t, db, "SELECT string_agg(message, ' ' ORDER BY log_id) FROM log_entry JOIN log_node USING (node_id) WHERE node_name = 'bad'",
		"@control External_block_received Poison Validate_transition @control Breadcrumb_integrated")
	equal(t, db, `SELECT string_agg(c.name, ' ' ORDER BY block_trace_checkpoint_id) FROM block_trace_checkpoint c JOIN block_trace USING (block_trace_id)
		WHERE node_name = 'bad'`, "External_block_received Breadcrumb_integrated")
	equal(t, db, `SELECT string_agg(c.name, ' ' ORDER BY block_trace_checkpoint_id) FROM block_trace_checkpoint c JOIN block_trace USING (block_trace_id)
		WHERE node_name = 'good'`, "External_block_received Validate_transition")
	equal(t, db, "SELECT node_name || ' ' || from_id || ' ' || to_id FROM log_problem JOIN log_node USING (node_id)", "bad 3 4")
	if got := s.Counts().Underived; got != 1 {
		t.Errorf("%d batches without anything derived, want 1", got)
	}
}

func TestEntryThatIsRefused(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	s := db.open(t, store.Options{})
	save(t, s, batch("other", checkpoint(1, "First", 1)))
	db.execute(t, "ALTER TABLE log_entry ADD CHECK (message <> 'Poison')")
	if err := s.Save(t.Context(), batch("node", checkpoint(1, "Poison", 1))); !errors.Is(err, fetcher.ErrPermanent) {
		t.Errorf("error %v, want one that is permanent", err)
	}
	save(t, s, batch("node", checkpoint(1, "Good", 1)))
	equal(t, db, "SELECT string_agg(message, ' ' ORDER BY message) FROM log_entry", "First Good")
}

func TestRunsOfADaemon(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	s := db.open(t, store.Options{})
	odd := "NOT a uuid \x00"
	restart := func(before, after string, next int) fetcher.Batch {
		return fetcher.Batch{
			Node: "node", Cursor: fetcher.Cursor{ServerUUID: after, Next: 1}, Restart: &fetcher.Restart{Before: before, After: after, Seen: at(50)},
			Gaps: []fetcher.Gap{{ServerUUID: before, From: next, Before: at(2), Reason: fetcher.GapRestart}},
		}
	}
	second := batch("node", checkpoint(1, "Again", 60))
	second.Cursor.ServerUUID = odd
	first := batch("node", checkpoint(1, "One", 1), checkpoint(2, "Two", 2))
	late := batch("node", checkpoint(2, "Two", 2), checkpoint(3, "Three", 3)) // another fetcher had it before the restart
	save(t, s, first, first, restart(runOne, odd, 3), restart(runOne, odd, 3), second, late, second)
	equal(t, db, "SELECT string_agg(message, ' ' ORDER BY message) FROM log_entry", "Again One Three Two")
	equal(t, db, "SELECT count(*) FROM node_restarts WHERE time = '2024-05-01 10:00:50Z'", int64(1))
	equal(t, db, "SELECT string_agg(from_id || ' ' || coalesce(to_id::text, '?') || ' ' || reason, ',') FROM log_gap", "4 ? restart")
	cursor, err := s.Cursor(t.Context(), "node")
	if want := (fetcher.Cursor{ServerUUID: "NOT a uuid �", Next: 2, LastTime: at(60)}); err != nil || cursor != want {
		t.Errorf("cursor %+v, %v, want %+v", cursor, err, want)
	}
	// Back and forth, as behind an address of two daemons; then another fetcher tells of a run without saying that it is another one.
	save(t, s, restart(odd, runOne, 2), batch("node", checkpoint(3, "Three", 3), checkpoint(4, "Four", 4)))
	third := batch("node", checkpoint(1, "Third", 70))
	third.Cursor.ServerUUID = runTwo
	save(t, s, third)
	equal(t, db, "SELECT count(*) FROM node_restarts", int64(3))
	equal(t, db, "SELECT string_agg(message, ' ' ORDER BY message) FROM log_entry", "Again Four One Third Three Two")
	equal(t, db, "SELECT from_id FROM log_gap WHERE server_uuid = $1 ORDER BY from_id DESC LIMIT 1", int64(5), runOne)
}

func TestDeployments(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	s := db.open(t, store.Options{})
	if s.Deployment() != 1 {
		t.Errorf("the first deployment is %d", s.Deployment())
	}
	save(t, s, batch("node", checkpoint(1, "One", 1), checkpoint(2, "Two", 2)))
	second, err := s.NewDeployment(t.Context(), json.RawMessage(`{"name":"second"}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Use(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	cursor, err := s.Cursor(t.Context(), "node")
	if want := batch("node", checkpoint(2, "Two", 2)).Cursor; err != nil || cursor != want {
		t.Errorf("cursor %+v, %v, want %+v", cursor, err, want)
	}
	save(t, s, batch("node", checkpoint(2, "Two", 2), checkpoint(3, "Three", 3)))
	if err := s.Use(t.Context(), 1); err != nil { // back: what is stored since then is not stored again
		t.Fatal(err)
	}
	save(t, s, batch("node", checkpoint(3, "Three", 3), checkpoint(4, "Four", 4)))
	equal(t, db, "SELECT string_agg(deployment_id || message, ' ' ORDER BY log_id) FROM log_entry", "1One 1Two 2Three 1Four")
	if err := s.Use(t.Context(), 99); err == nil || !strings.Contains(err.Error(), "no deployment 99") {
		t.Errorf("using a deployment that is not there: %v", err)
	}
	if other := db.open(t, store.Options{}); other.Deployment() != second {
		t.Errorf("the newest deployment is %d, want %d", other.Deployment(), second)
	}
	if _, err := store.Open(t.Context(), db.uri, store.Options{Deployment: 77}); err == nil {
		t.Error("a deployment that is not there was opened")
	}
	// A deployment that is dropped under a store is an error, and one that may go away.
	db.execute(t, "SELECT drop_deployment(1)")
	if err := s.Save(t.Context(), batch("node", checkpoint(5, "Five", 5))); err == nil || errors.Is(err, fetcher.ErrPermanent) {
		t.Errorf("saving in a deployment that is gone: %v", err)
	}
}

func TestDaysBegin(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	now := time.Date(2026, 11, 20, 23, 59, 59, 0, time.UTC)
	s := db.open(t, store.Options{Now: func() time.Time { return now }})
	save(t, s, batch("node", checkpoint(1, "One", 1)))
	now = now.Add(2 * time.Second)
	save(t, s, batch("node", checkpoint(1, "One", 1), checkpoint(2, "Two", 2)))
	equal(t, db, "SELECT string_agg(message || ' ' || loaded_on, ', ' ORDER BY log_id) FROM log_entry", "One 2026-11-20, Two 2026-11-21")
	db.execute(t, "SELECT drop_days_before('2026-11-22')") // also the partition that the store knows of
	save(t, s, batch("node", checkpoint(3, "Three", 3)))
	equal(t, db, "SELECT string_agg(message, ', ') FROM log_entry", "Three")
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	empty := pgtest.Database(t)
	if _, err := store.Open(t.Context(), empty, store.Options{}); !errors.Is(err, schema.ErrNotMigrated) {
		t.Errorf("an empty database: %v", err)
	}
	for _, uri := range []string{
		"postgresql://user:S3cretPass@127.0.0.1:1/db", "postgresql://user:S3cretPass@[::1/db", "user=u password=S3cretPass host=127.0.0.1 port=1",
		"postgresql://user:S3cretPass@127.0.0.1:99999999/db", "host=/nowhere password='S3cretPass' sslmode=wrong",
	} {
		_, err := store.Open(t.Context(), uri, store.Options{})
		if err == nil {
			t.Errorf("%s was opened", uri)
		}
		if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, "S3cret") {
			t.Errorf("the password is in %q", text)
		}
	}
}

func TestCloseAndContext(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	s := db.open(t, store.Options{})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Save(ended, batch("node", checkpoint(1, "One", 1))); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("saving with a context that has ended: %v", err)
	}
	s.Close()
	s.Close()
	if err := s.Save(t.Context(), batch("node", checkpoint(1, "One", 1))); !errors.Is(err, store.ErrClosed) {
		t.Errorf("saving in a closed store: %v", err)
	}
}

func TestSaveNodes(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	now := at(100)
	s := db.open(t, store.Options{Now: func() time.Time { return now }})
	producer := true
	one := fetcher.NodeStatus{
		NodeName: "a", IP: "10.0.0.1", GraphQLPort: 3086, SubmitterPK: "B62q", Name: "first", Active: true, State: fetcher.Running,
		IsBlockProducer: &producer, LastSuccess: at(99),
	}
	other := fetcher.NodeStatus{NodeName: "b", State: fetcher.Backoff, LastError: "refused \x00"}
	if err := s.SaveNodes(t.Context(), []fetcher.NodeStatus{one, other, one}); err != nil {
		t.Fatal(err)
	}
	now = at(200)
	one.IsBlockProducer, one.LastSuccess, one.Active, one.State, one.LastError = nil, time.Time{}, false, fetcher.Stopped, "gone"
	if err := s.SaveNodes(t.Context(), []fetcher.NodeStatus{one}); err != nil {
		t.Fatal(err)
	}
	equal(t, db, `SELECT concat_ws(' ', host, port, submitter, display_name, is_block_producer, state, listed, read_at = '2024-05-01 10:01:39Z',
		last_error, last_seen = '2024-05-01 10:01:40Z') FROM log_node WHERE node_name = 'a'`, "10.0.0.1 3086 B62q first t stopped f t gone t")
	equal(t, db, "SELECT concat_ws(' ', state, listed, host, last_error) FROM log_node WHERE node_name = 'b'", "backoff f refused �")
}
