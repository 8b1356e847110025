package store_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"provingground/fetcher"
	"provingground/fetcher/store"
	"provingground/fetcher/trace"
	"provingground/internal/clock"
	"provingground/internal/mina"
	"provingground/internal/privatepg/pgtest"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/simnet"
	"provingground/schema"
	"provingground/schema/existing"
)

// benchBatch is how many entries a node's answer has when it is asked, as the collector means to, before half its queue of 500 is overwritten.
const benchBatch = 250

// benchLogs are the logs of a simulated network of 16 nodes: seven minutes, with three-minute slots whose blocks are nearly full of payments, with
// gossip, SNARK work, and the prover's and verifier's records. The nodes are fetched in turns.
func benchLogs(b *testing.B) []fetcher.Batch {
	b.Helper()
	seed := bytes.Repeat([]byte{7}, ed25519.SeedSize)
	key, err := itn.ParseKey(base64.StdEncoding.EncodeToString(seed))
	if err != nil {
		b.Fatal(err)
	}
	sender, err := mina.GeneratePrivateKey(rand.NewChaCha8([32]byte{1}))
	if err != nil {
		b.Fatal(err)
	}
	virtual := clock.NewVirtual(time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC))
	options := simnet.Options{
		Nodes: 16, Producers: 4, Seed: 7, Clock: virtual.Clock(), KeepLogs: true, MaxLogs: 500,
		ITNKeys:  []ed25519.PublicKey{ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)},
		Accounts: map[mina.PublicKey]mina.Nanomina{sender.PublicKey(): 1_000_000_000_000_000},
	}
	var logs []simnet.KeptLog
	virtual.Run(func() {
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		network, err := simnet.New(options)
		if err != nil {
			b.Error(err)
			return
		}
		if err := network.Start(ctx); err != nil {
			b.Error(err)
			return
		}
		_, sleeping := options.Clock.Group(ctx, 0)
		client := itn.New(network.Nodes()[3], key, itn.Options{Transport: network.Transport(), Turn: options.Clock.Turn()})
		_, err = client.SchedulePayments(sleeping, itn.PaymentsDetails{
			Senders: []itn.PrivateKey{itn.NewPrivateKey(sender.Base58())}, Receiver: sender.PublicKey().String(),
			Amount: 1, MinFee: 10_000_000, MaxFee: 10_000_000, MemoPrefix: "bench-0-0", TPS: 0.65, DurationMin: 6,
		}, "", nil)
		if err != nil {
			b.Error(err)
		}
		if err := options.Clock.Sleep(sleeping, 7*time.Minute); err != nil {
			b.Error(err)
		}
		logs = network.KeptLogs()
		if err := network.Stop(); err != nil {
			b.Error(err)
		}
	})
	var batches []fetcher.Batch
	for _, log := range logs {
		for entries := range slices.Chunk(log.Logs, benchBatch) {
			last := entries[len(entries)-1]
			batches = append(batches, fetcher.Batch{
				Node: log.Node, Entries: entries, Cursor: fetcher.Cursor{ServerUUID: log.ServerUUID, Next: last.ID + 1, LastTime: last.Timestamp},
			})
		}
	}
	slices.SortStableFunc(batches, func(x, y fetcher.Batch) int { return x.Cursor.Next/benchBatch - y.Cursor.Next/benchBatch })
	if b.Failed() || len(batches) == 0 {
		b.Fatal("no logs")
	}
	return batches
}

// benchRecords are the same batches as records, for the existing consumer, which reads those of the daemon itself only; and how many there are.
func benchRecords(b *testing.B, batches []fetcher.Batch) (records [][]trace.Record, count int) {
	b.Helper()
	for _, batch := range batches {
		var list []trace.Record
		for _, log := range batch.Entries {
			if log.Process != "" {
				continue
			}
			items := make([]trace.Item, len(log.Metadata))
			for i, one := range log.Metadata {
				items[i] = trace.Item{Key: one.Item, Value: one.Value}
			}
			record, err := trace.NewControl(trace.Main, int64(log.ID), items)
			if len(items) == 0 {
				record, err = trace.NewCheckpoint(trace.Main, int64(log.ID), log.Message, log.Timestamp)
			}
			if err != nil {
				b.Fatal(err)
			}
			list = append(list, record)
		}
		records, count = append(records, list), count+len(list)
	}
	return records, count
}

// benchOf are the batches of some of the nodes: the existing schema takes its time.
func benchOf(batches []fetcher.Batch, nodes int) []fetcher.Batch {
	names := map[string]bool{}
	var some []fetcher.Batch
	for _, batch := range batches {
		if len(names) < nodes {
			names[batch.Node] = true
		}
		if names[batch.Node] {
			some = append(some, batch)
		}
	}
	return some
}

// benchTable is a table's rows of one deployment, in the binary form of COPY.
type benchTable struct {
	name, columns string
	rows          [][]byte
}

// benchTables are what COPY is measured with: the entries, and what was made of each of them. The derived tables are not among them.
func benchTables(b *testing.B, conn *pgx.Conn, deployment int64) []benchTable {
	b.Helper()
	var tables []benchTable
	for _, name := range []string{"log_entry", "block_trace", "block_trace_checkpoint", "tx_traces", "sw_traces"} {
		table := benchTable{name: name}
		if err := conn.QueryRow(b.Context(), `SELECT string_agg(quote_ident(attname), ', ' ORDER BY attname = 'deployment_id', attnum) FROM pg_attribute
			WHERE attrelid = $1::regclass AND attnum > 0 AND attgenerated = ''`, name).Scan(&table.columns); err != nil {
			b.Fatal(err)
		}
		var copied bytes.Buffer
		if _, err := conn.PgConn().CopyTo(b.Context(), &copied,
			fmt.Sprintf("COPY (SELECT %s FROM %s WHERE deployment_id = %d) TO STDOUT (FORMAT binary)", table.columns, name, deployment)); err != nil {
			b.Fatal(err)
		}
		for rest := copied.Bytes()[19:]; binary.BigEndian.Uint16(rest) != math.MaxUint16; {
			size := 2
			for range binary.BigEndian.Uint16(rest) {
				if field := int32(binary.BigEndian.Uint32(rest[size:])); field > 0 {
					size += int(field)
				}
				size += 4
			}
			table.rows, rest = append(table.rows, rest[:size]), rest[size:]
		}
		tables = append(tables, table)
	}
	return tables
}

// in returns part i of n of the table's rows as data for COPY, as rows of another deployment, which is the last column.
func (t benchTable) in(deployment int64, i, n int) []byte {
	data := []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	for _, row := range t.rows[len(t.rows)*i/n : len(t.rows)*(i+1)/n] {
		data = binary.BigEndian.AppendUint32(append(data, row[:len(row)-4]...), uint32(deployment))
	}
	return binary.BigEndian.AppendUint16(data, math.MaxUint16)
}

// benchCopy is COPY of tables in a number of transactions, on some connections at once.
type benchCopy struct {
	conns []*pgx.Conn
	sql   []string
	data  [][][]byte // by transaction and table
}

func newBenchCopy(conns []*pgx.Conn, tables []benchTable, prefix string, deployment int64, transactions int) benchCopy {
	c := benchCopy{conns: conns, data: make([][][]byte, transactions)}
	for _, table := range tables {
		c.sql = append(c.sql, fmt.Sprintf("COPY %s%s (%s) FROM STDIN (FORMAT binary)", prefix, table.name, table.columns))
		for i := range c.data {
			c.data[i] = append(c.data[i], table.in(deployment, i, transactions))
		}
	}
	return c
}

func (c benchCopy) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for first, conn := range c.conns {
		group.Go(func() error {
			for i := first; i < len(c.data); i += len(c.conns) {
				if err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
					for table, sql := range c.sql {
						if _, err := tx.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(c.data[i][table]), sql); err != nil {
							return err
						}
					}
					return nil
				}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func benchConn(b *testing.B, uri string) *pgx.Conn {
	b.Helper()
	conn, err := pgx.Connect(b.Context(), uri)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := conn.Close(context.WithoutCancel(b.Context())); err != nil {
			b.Error(err)
		}
	})
	return conn
}

func benchExec(b *testing.B, conn *pgx.Conn, sql string, arguments ...any) {
	b.Helper()
	if _, err := conn.Exec(b.Context(), sql, arguments...); err != nil {
		b.Fatalf("%s: %v", sql, err)
	}
}

// BenchmarkSave stores the logs of a simulated network, from decoded answers to committed rows with everything derived from them, and beside it, in
// the same run, what it is measured against. A row is an entry of a node's log; all rates count those, whatever rows they become.
//
// Either the nodes' batches come one after another, on one connection and in one transaction each, or those of all nodes at once, as they do from a
// collector, on the connections that a store has by default; it may put 4,000 entries into a transaction.
//
//   - of-copy: Save against COPY of what Save put into log_entry, block_trace, block_trace_checkpoint, tx_traces and sw_traces, byte for byte, into the
//     same tables with the same indexes, on as many connections and in transactions of as many entries.
//   - of-bare-copy: the same against COPY into tables without any index or key.
//   - times-triggers: Save against the existing schema with its triggers (package existing), fed by one INSERT per row as the existing consumer
//     does, though with one transaction per batch. It is given the logs of four of the nodes, and stores less of them: no entries, and nothing of prover and verifier, whose entries its rate leaves out.
//   - times-triggers-copy: against the same schema fed by COPY, which is the faster and gives wrong pool events (package existing).
func BenchmarkSave(b *testing.B) {
	batches := benchLogs(b)
	entries := 0
	for _, batch := range batches {
		entries += len(batch.Entries)
	}
	for _, mode := range []struct {
		name               string
		atOnce             bool
		connections        int
		entriesTransaction int // of COPY
	}{
		{name: "one-by-one", connections: 1, entriesTransaction: benchBatch},
		{name: "all-at-once", atOnce: true, connections: 4, entriesTransaction: 4000},
	} {
		b.Run(mode.name, func(b *testing.B) {
			uri := pgtest.Database(b)
			if err := schema.Migrate(b.Context(), uri); err != nil {
				b.Fatal(err)
			}
			saved, err := store.Open(b.Context(), uri, store.Options{Connections: int32(mode.connections)})
			if err != nil {
				b.Fatal(err)
			}
			defer saved.Close()
			conns := make([]*pgx.Conn, mode.connections)
			for i := range conns {
				conns[i] = benchConn(b, uri)
			}
			theirs := benchConn(b, pgtest.Database(b))
			benchExec(b, theirs, existing.Schema)

			var save, copied, bare, triggers, triggersCopy time.Duration
			fewer := benchOf(batches, 4)
			records, recordCount := benchRecords(b, fewer)
			for round := 0; b.Loop(); round++ {
				deployment, err := saved.NewDeployment(b.Context(), []byte("{}"))
				if err != nil {
					b.Fatal(err)
				}
				if err := saved.Use(b.Context(), deployment); err != nil {
					b.Fatal(err)
				}
				ours := slices.Clone(batches)
				for i := range ours {
					ours[i].Node = fmt.Sprintf("%s-%d", ours[i].Node, round)
				}
				save += benchSave(b, saved, ours, mode.atOnce)

				b.StopTimer()
				tables := benchTables(b, conns[0], deployment)
				if got := len(tables[0].rows); got != entries {
					b.Fatalf("%d entries stored, want %d", got, entries)
				}
				var another int64
				if err := conns[0].QueryRow(b.Context(), "SELECT create_deployment('{}')").Scan(&another); err != nil {
					b.Fatal(err)
				}
				benchExec(b, conns[0], "SELECT ensure_day($1, day) FROM partition_day WHERE deployment_id = $2", another, deployment)
				copied += benchTime(b, newBenchCopy(conns, tables, "", another, entries/mode.entriesTransaction).run)
				for _, table := range tables {
					benchExec(b, conns[0], "DROP TABLE IF EXISTS bare_"+table.name)
					benchExec(b, conns[0], "CREATE TABLE bare_"+table.name+" AS SELECT "+table.columns+" FROM "+table.name+" WITH NO DATA")
				}
				bare += benchTime(b, newBenchCopy(conns, tables, "bare_", another, entries/mode.entriesTransaction).run)
				benchExec(b, conns[0], "SELECT drop_deployment($1)", deployment)
				benchExec(b, conns[0], "SELECT drop_deployment($1)", another)

				if !mode.atOnce { // that would have deadlocks, for the triggers of two nodes lock the same transactions
					triggers += benchExisting(b, theirs, fewer, records, (*existing.Consumer).Insert)
					triggersCopy += benchExisting(b, theirs, fewer, records, (*existing.Consumer).Copy)
				}
				b.StartTimer()
			}
			rate := func(count int, took time.Duration) float64 { return float64(b.N) * float64(count) / took.Seconds() }
			b.ReportMetric(rate(entries, save), "rows/s")
			b.ReportMetric(rate(entries, copied), "copy-rows/s")
			b.ReportMetric(rate(entries, bare), "bare-copy-rows/s")
			b.ReportMetric(copied.Seconds()/save.Seconds(), "of-copy")
			b.ReportMetric(bare.Seconds()/save.Seconds(), "of-bare-copy")
			if !mode.atOnce {
				b.ReportMetric(rate(recordCount, triggers), "triggers-rows/s")
				b.ReportMetric(rate(recordCount, triggersCopy), "triggers-copy-rows/s")
				b.ReportMetric(rate(entries, save)/rate(recordCount, triggers), "times-triggers")
				b.ReportMetric(rate(entries, save)/rate(recordCount, triggersCopy), "times-triggers-copy")
			}
		})
	}
}

func benchTime(b *testing.B, do func(context.Context) error) time.Duration {
	b.Helper()
	began := time.Now()
	if err := do(b.Context()); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

// benchSave saves batches one after another, or those of different nodes at once.
func benchSave(b *testing.B, saved *store.Store, batches []fetcher.Batch, atOnce bool) time.Duration {
	b.Helper()
	return benchTime(b, func(ctx context.Context) error {
		queues := map[string][]fetcher.Batch{}
		for _, batch := range batches {
			queue := ""
			if atOnce {
				queue = batch.Node
			}
			queues[queue] = append(queues[queue], batch)
		}
		group, ctx := errgroup.WithContext(ctx)
		for _, queue := range queues {
			group.Go(func() error {
				for _, batch := range queue {
					if err := saved.Save(ctx, batch); err != nil {
						return err
					}
				}
				return nil
			})
		}
		return group.Wait()
	})
}

// benchExisting stores the batches in an emptied existing schema.
func benchExisting(b *testing.B, conn *pgx.Conn, batches []fetcher.Batch, records [][]trace.Record,
	feed func(*existing.Consumer, context.Context, []trace.Record) error,
) time.Duration {
	b.Helper()
	benchExec(b, conn, "TRUNCATE "+strings.Join([]string{
		"deployment", "block_trace", "block_trace_checkpoint", "data", "last_block_trace_gossip_checkpoint", "tx_traces", "sw_traces",
		"unique_txs", "block_txs", "uniq_sws", "sw_interruptions",
	}, ", "))
	benchExec(b, conn, "INSERT INTO deployment VALUES (1, '{}')")
	consumers := map[string]*existing.Consumer{}
	return benchTime(b, func(ctx context.Context) error {
		for i, batch := range batches {
			if consumers[batch.Node] == nil {
				consumers[batch.Node] = existing.NewConsumer(conn, 1, batch.Node, 1+1_000_000*len(consumers))
			}
			if err := feed(consumers[batch.Node], ctx, records[i]); err != nil {
				return err
			}
		}
		return nil
	})
}
