package store

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"provingground/fetcher"
	"provingground/fetcher/trace"
)

// TraceFile is a file that a daemon with internal tracing, or a fetcher, has written (internal-trace, section 1).
type TraceFile struct {
	Path    string
	Process trace.Process
	// KeepRepeats stores also lines that equal the line before. They are what a fetcher got twice (log-fetcher, section 7): nothing happened twice.
	KeepRepeats bool
}

// Loaded is what came of trace files.
type Loaded struct {
	Deployment int64     // to which they belong
	Lines      int64     // of all files
	Bad        int64     // lines that are no records
	BadLines   []BadLine // the first of them
	Repeats    int64     // lines that equal the line before
	Stored     int64     // entries that this call stored; the others were there
	Raw        Figures   // with the repeats
	Unique     Figures   // without them
}

// BadLine is a line that is no record.
type BadLine struct {
	Path   string
	Line   int64 // from 1
	Reason error // one of package trace's
}

// Figures are what the traces of files come to, whether this call stored them or an earlier one.
type Figures struct {
	Traces int64
	Rows   int64            // checkpoints and control records of traces
	Gossip int64            // of these, pool events and their metadata
	Events map[string]int64 // pool events with metadata, by the checkpoint's name
}

// loadEntries is how many entries Load stores in one transaction.
const loadEntries = 2000

const (
	// toldLines is how many bad lines Load tells of.
	toldLines = 10
	// maxRaw bounds what is kept of a bad line, in bytes.
	maxRaw = 4 << 10
)

// errPacked is what is wrong with a file that begins like one of gzip (RFC 1952, section 2.3.1).
var errPacked = errors.New("is gzip: gunzip it first")

// maxHead bounds how far into a file its first checkpoint is looked for, in bytes.
const maxHead = 1 << 20

// Load stores what is in a node's files, as if its log had been read: those of one process in the order in which they were written, as
// after rotation, and the processes' files side by side in the order of time. It stores a few thousand entries per transaction, and
// goes on after the last of them when it is called again with the same files, longer than before or not: nothing is stored twice.
//
// What makes a file the same file is the node, the process, and the lines up to the first checkpoint, whose time in microseconds no
// other file has. Neither the path, which changes when a file is rotated, copied or unzipped, nor the whole content, which grows, would
// do. The UUID made of these is the server UUID of the file's entries, and the number of a line is the entry's id.
//
// A line that is no record is stored as malformed, save a last line that has no end yet, which is left for the next call. Lines of which
// the database refuses what is derived are stored without that, as by Save. Of files without any line nothing is stored, not even the
// node. An error leaves stored what was stored before it.
func (s *Store) Load(ctx context.Context, name string, files []TraceFile) (Loaded, error) {
	l := &loading{Store: s, deployment: s.present.Load(), name: nodeName(name)}
	l.Loaded.Deployment = int64(l.id)
	for _, file := range files {
		if err := unpacked(file.Path); err != nil {
			return Loaded{}, err
		}
	}
	var err error
	if l.Raw, _, err = figuresOf(files, func(TraceFile) bool { return false }, new(int64), new(int64)); err != nil {
		return Loaded{}, err
	}
	var something bool
	if l.Unique, something, err = figuresOf(files, func(TraceFile) bool { return true }, &l.Lines, &l.Repeats); err != nil || !something {
		return l.Loaded, err
	}
	ids, err := s.nodeIDs(ctx, l.deployment, []string{l.name})
	if err != nil {
		return Loaded{}, s.masked("loading files of node "+l.name, err)
	}
	l.node = newNode(l.name, ids[l.name])
	l.node.begin()
	for _, file := range files {
		if err := l.open(ctx, file); err != nil {
			return Loaded{}, err
		}
	}
	err = l.load(ctx)
	return l.Loaded, s.masked("loading files of node "+l.name, err)
}

// unpacked refuses a file of gzip.
func unpacked(path string) (err error) {
	content, err := os.Open(path) //nolint:gosec // the caller's own argument
	if err != nil {
		return fmt.Errorf("reading a trace: %w", err)
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	var magic [2]byte
	_, err = io.ReadFull(content, magic[:])
	switch {
	case magic == [2]byte{0x1f, 0x8b}:
		return fmt.Errorf("%s %w", path, errPacked)
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("reading a trace: %w", err)
	}
	return nil
}

// loading is a call of Load.
type loading struct {
	*Store
	*deployment
	Loaded
	name  string
	node  *node
	files []*loadedFile
	lost  map[int64]string // blocks of open traces whose rows are not known, by number: they were stored by an earlier call
}

// loadedFile is a file that is being loaded.
type loadedFile struct {
	TraceFile
	server [16]byte
	next   int64 // line after the last that is stored
	known  bool  // whether there is a cursor
	// underived are ranges of lines, first and last, that an earlier call stored without anything derived from them.
	underived [][2]int64
}

// errUnderived marks lines of underived ranges: to the reader they are missing.
var errUnderived = errors.New("nothing was derived from this line")

func (f *loadedFile) isUnderived(number int64) bool {
	return slices.ContainsFunc(f.underived, func(r [2]int64) bool { return r[0] <= number && number <= r[1] })
}

// open finds out which file it is, and how far it is stored.
func (l *loading) open(ctx context.Context, file TraceFile) error {
	server, err := l.identify(file)
	if err != nil {
		return err
	}
	f := &loadedFile{TraceFile: file, server: server, next: 1}
	if slices.ContainsFunc(l.files, func(other *loadedFile) bool { return other.server == server }) {
		return fmt.Errorf("%s is given twice, or is a copy of another of the files", file.Path)
	}
	err = l.pool.QueryRow(ctx, "SELECT next_id FROM log_cursor WHERE deployment_id = $1 AND node_id = $2 AND server_uuid = $3",
		l.deployment.id, l.node.id, server).Scan(&f.next)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return l.masked("looking how far "+file.Path+" is loaded", err)
	}
	f.known = err == nil
	rows, err := l.pool.Query(ctx, "SELECT from_id, to_id FROM log_problem WHERE deployment_id = $1 AND node_id = $2 AND server_uuid = $3",
		l.id, l.node.id, server)
	if err == nil {
		var problem [2]int64
		_, err = pgx.ForEachRow(rows, []any{&problem[0], &problem[1]}, func() error {
			f.underived = append(f.underived, problem)
			return nil
		})
	}
	if err != nil {
		return l.masked("looking how far "+file.Path+" is loaded", err)
	}
	l.files = append(l.files, f)
	return nil
}

// identify makes the UUID of a file, see Load. It differs between deployments, so that a file can be loaded in each.
func (l *loading) identify(file TraceFile) (id [16]byte, err error) {
	content, err := os.Open(file.Path)
	if err != nil {
		return id, fmt.Errorf("reading a trace: %w", err)
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	digest := sha256.New()
	lines := bufio.NewReader(io.LimitReader(content, maxHead))
	for {
		line, err := lines.ReadBytes('\n')
		digest.Write(bytes.TrimSpace(line))
		if record, bad := trace.DecodeLine(file.Process, bytes.TrimSpace(line)); bad == nil && record.Checkpoint != "" || errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return id, fmt.Errorf("reading a trace: %w", err)
		}
	}
	return namedUUID(fmt.Sprint(l.id), l.name, file.Process.String(), hex.EncodeToString(digest.Sum(nil))), nil
}

// line is a record of a file, or a line that is none.
type line struct {
	file   int // index
	number int64
	record trace.Record
	bad    error
	raw    string // the beginning of a bad line
}

// lines goes through files of one process, one after the other, and afterwards tells how many lines were repeats.
func lines(files []TraceFile, process trace.Process, dropRepeats func(TraceFile) bool, read, repeats *int64) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		for i, file := range files {
			if file.Process == process && !linesOf(file, i, dropRepeats(file), read, repeats, yield) {
				return
			}
		}
	}
}

func linesOf(file TraceFile, index int, dropRepeats bool, read, repeats *int64, yield func(line, error) bool) (more bool) {
	content, err := os.Open(file.Path)
	if err != nil {
		yield(line{}, fmt.Errorf("reading a trace: %w", err))
		return false
	}
	defer content.Close() //nolint:errcheck // it was only read
	all := trace.NewLines(content, file.Process, trace.LineOptions{DropRepeats: dropRepeats})
	defer func() { *read, *repeats = *read+all.Read(), *repeats+all.Repeats() }()
	texts := &lineTexts{path: file.Path}
	defer texts.close()
	var held *line // a bad line, until it is known not to be the beginning of one that is being written
	for record, err := range all.Records() {
		one := line{file: index, number: record.ID, record: record}
		if held != nil && !yield(*held, nil) {
			return false
		}
		held = nil
		if bad, ok := errors.AsType[*trace.LineError](err); ok {
			one.number, one.bad = bad.Line, bad.Err
			if one.raw, err = texts.at(bad.Line); err != nil {
				yield(line{}, err)
				return false
			}
			held = &one
			continue
		}
		if err != nil {
			yield(line{}, fmt.Errorf("%s: %w", file.Path, err))
			return false
		}
		if !yield(one, nil) {
			return false
		}
	}
	if held == nil {
		return true
	}
	complete, err := endsLine(content)
	switch {
	case err != nil:
		yield(line{}, fmt.Errorf("%s: %w", file.Path, err))
		return false
	case !complete:
		*read--
		return true
	}
	return yield(*held, nil)
}

// lineTexts reads a file's bad lines once more, as text.
type lineTexts struct {
	path  string
	file  *os.File // opened for the first of them
	lines *bufio.Reader
	read  int64 // lines
}

// at returns the beginning of a line, which comes after those that were asked for before.
func (t *lineTexts) at(number int64) (_ string, err error) {
	if t.file == nil {
		if t.file, err = os.Open(t.path); err != nil {
			return "", fmt.Errorf("reading a trace: %w", err)
		}
		t.lines = bufio.NewReaderSize(t.file, maxRaw)
	}
	beginning := ""
	for ; t.read < number && err == nil; t.read++ {
		var text []byte
		text, err = t.lines.ReadSlice('\n')
		if t.read+1 == number {
			beginning = string(bytes.TrimSpace(text))
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = t.lines.ReadSlice('\n')
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("reading line %d of %s: %w", t.read, t.path, err)
	}
	return beginning, nil
}

func (t *lineTexts) close() {
	if t.file != nil {
		_ = t.file.Close() // it was only read
	}
}

// endsLine tells whether what was read of a file ends with the end of a line.
func endsLine(file *os.File) (bool, error) {
	read, err := file.Seek(0, io.SeekCurrent)
	if err != nil || read == 0 {
		return true, err
	}
	var last [1]byte
	if _, err := file.ReadAt(last[:], read-1); err != nil {
		return false, err
	}
	return last[0] == '\n', nil
}

// sideBySide goes through the processes' lines in the order of time. Lines without a time come right after the one before them.
func sideBySide(files []TraceFile, dropRepeats func(TraceFile) bool, read, repeats *int64) iter.Seq2[line, error] {
	type stream struct {
		next func() (line, error, bool)
		head line
		err  error
		time float64 // of the head, or the last known before
	}
	return func(yield func(line, error) bool) {
		var streams []*stream
		advance := func(s *stream) (ok bool) {
			if s.head, s.err, ok = s.next(); ok && s.head.record.Checkpoint != "" {
				s.time = s.head.record.Time
			}
			return ok
		}
		for _, process := range []trace.Process{trace.Main, trace.Prover, trace.Verifier} {
			next, stop := iter.Pull2(lines(files, process, dropRepeats, read, repeats))
			defer stop()
			if s := (&stream{next: next}); advance(s) {
				streams = append(streams, s)
			}
		}
		for len(streams) > 0 {
			first := slices.MinFunc(streams, func(a, b *stream) int { return cmp.Compare(a.time, b.time) })
			if !yield(first.head, first.err) || first.err != nil {
				return
			}
			if !advance(first) {
				streams = slices.DeleteFunc(streams, func(s *stream) bool { return s == first })
			}
		}
	}
}

// startsDaemon tells whether a record is what a daemon writes first (internal-trace, section 2).
func startsDaemon(record *trace.Record) bool {
	return record.Process == trace.Main && record.Value("mina_node_metadata") != nil
}

// follow feeds lines to a reader.
func follow(reader *trace.Reader, all []line, take func(trace.Changes)) {
	var records []trace.Record
	feed := func() {
		take(reader.Feed(records))
		records = nil
	}
	for i := range all {
		switch {
		case all[i].bad != nil:
			feed()
			take(reader.Lost())
			continue
		case startsDaemon(&all[i].record):
			feed()
			take(reader.Restarted())
		}
		records = append(records, all[i].record)
	}
	feed()
}

// figuresOf counts what files come to, and tells whether there is any line that is not empty.
func figuresOf(files []TraceFile, dropRepeats func(TraceFile) bool, read, repeats *int64) (f Figures, something bool, err error) {
	f.Events = map[string]int64{}
	reader := trace.NewReader(trace.Options{})
	chunk := make([]line, 0, loadEntries)
	for one, err := range sideBySide(files, dropRepeats, read, repeats) {
		if err != nil {
			return Figures{}, false, err
		}
		something = true
		if chunk = append(chunk, one); len(chunk) == loadEntries {
			follow(reader, chunk, f.add)
			chunk = chunk[:0]
		}
	}
	follow(reader, chunk, f.add)
	f.add(reader.Finish())
	return f, something, nil
}

func (f *Figures) add(c trace.Changes) {
	f.Rows += int64(len(c.Rows))
	for i := range c.Rows {
		if c.Rows[i].Gossip {
			f.Gossip++
		}
	}
	for i := range c.Traces {
		if c.Traces[i].Created {
			f.Traces++
		}
	}
	for i := range c.Renames {
		if c.Renames[i].Replaces != 0 {
			f.Traces--
		}
	}
	for i := range c.Gossip {
		if g := &c.Gossip[i]; g.Diff != nil || g.Work != nil {
			f.Events[string(g.Resource)+"_"+g.Action]++
		}
	}
}

// load stores the files.
func (l *loading) load(ctx context.Context) error {
	given := make([]TraceFile, len(l.files))
	for i, file := range l.files {
		given[i] = file.TraceFile
	}
	var chunk []line
	stored := func(one line) bool { return one.number < l.files[one.file].next }
	for one, err := range sideBySide(given, func(f TraceFile) bool { return !f.KeepRepeats }, new(int64), new(int64)) {
		if err != nil {
			return err
		}
		switch {
		case one.bad != nil:
			if l.Bad++; len(l.BadLines) < toldLines {
				l.BadLines = append(l.BadLines, BadLine{Path: given[one.file].Path, Line: one.number, Reason: one.bad})
			}
		case stored(one) && l.files[one.file].isUnderived(one.number):
			one.bad = errUnderived
		}
		if len(chunk) == loadEntries || len(chunk) > 0 && stored(chunk[0]) != stored(one) {
			if err := l.chunk(ctx, chunk, stored(chunk[0]), false); err != nil {
				return err
			}
			chunk = chunk[:0]
		}
		chunk = append(chunk, one)
	}
	if len(chunk) > 0 && stored(chunk[0]) {
		return l.chunk(ctx, chunk, true, true)
	}
	return l.chunk(ctx, chunk, false, true)
}

// chunk takes lines that are stored already, or stores some that are not.
func (l *loading) chunk(ctx context.Context, all []line, stored, last bool) error {
	w := l.newWrite(l.deployment, &fetcher.Batch{Node: l.name}, l.node, l.now().UTC())
	before, err := l.snapshot()
	if err != nil {
		return err
	}
	follow(l.node.reader, all, w.take)
	if last {
		w.take(l.node.reader.Finish())
	}
	if stored {
		l.pass(w)
		return ctx.Err()
	}
	if err := l.ensureDay(ctx, l.deployment, w.day); err != nil {
		return err
	}
	err = l.commit(ctx, w, all)
	if refused(err) {
		l.log.Warn("the database refuses what was derived from lines; they are stored without it", zap.String("node", l.name), zap.Error(err))
		l.counts.add(counter{underived: 1})
		if err := l.node.decode([]byte(before)); err != nil {
			return err
		}
		w = l.newWrite(l.deployment, &fetcher.Batch{Node: l.name}, l.node, l.now().UTC())
		w.refusals.derived = err
		w.take(l.node.reader.Lost())
		err = l.commit(ctx, w, all)
	}
	if err != nil {
		return err
	}
	for _, one := range all {
		l.files[one.file].next, l.files[one.file].known = one.number+1, true
	}
	l.Stored += int64(w.stored)
	l.counts.add(w.counter)
	return nil
}

// snapshot returns what is remembered of the node, for decode.
func (l *loading) snapshot() (string, error) {
	reader, err := l.node.reader.Export()
	if err != nil {
		return "", fmt.Errorf("the state of node %s: %w", l.name, err)
	}
	return l.node.encode(reader)
}

// commit stores lines in a transaction.
func (l *loading) commit(ctx context.Context, w *write, all []line) error {
	t := &transaction{Store: l.Store, deployment: l.deployment, writes: []*write{w}}
	err := l.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		t.conn = conn.Conn()
		return pgx.BeginFunc(ctx, conn, func(pgx.Tx) error { return l.store(ctx, t, w, all) })
	})
	if err == nil {
		l.seen.commit(&t.derived)
	}
	return err
}

// store stores lines, between the transaction's begin and its commit.
func (l *loading) store(ctx context.Context, t *transaction, w *write, all []line) error {
	// As whoever stores what the node says now.
	if _, err := t.conn.Exec(ctx, "SELECT FROM log_reader WHERE deployment_id = $1 AND node_id = $2 FOR UPDATE", l.id, l.node.id); err != nil {
		return fmt.Errorf("locking the node: %w", err)
	}
	if err := l.find(ctx, t); err != nil {
		return err
	}
	first, next := make([]int64, len(l.files)), make([]int64, len(l.files))
	counts := make([]int, len(l.files))
	queue := &pgx.Batch{}
	for i := range all {
		one := &all[i]
		file := l.files[one.file]
		next[one.file] = one.number + 1
		if one.bad != nil {
			queue.Queue(`INSERT INTO log_malformed (deployment_id, node_id, server_uuid, log_id, reason, raw, found_at)
				VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`, l.id, l.node.id, file.server, one.number, clean(one.bad.Error()),
				clean(one.raw), w.at)
			continue
		}
		if counts[one.file]++; counts[one.file] == 1 {
			first[one.file] = one.number
		}
		w.server = file.server
		e, at := entryOfRecord(&one.record)
		w.entry(int(one.number), at, &e)
	}
	w.trace()
	if err := t.copy(ctx, func(w *write) *rows { return &w.entries }); err != nil {
		return err
	}
	if err := t.writeTraces(ctx); err != nil {
		return err
	}
	for i, file := range l.files {
		if next[i] > 0 {
			l.queueCursor(queue, file, next[i], counts[i], w.at)
		}
		if refusal := w.refusals.derived; refusal != nil && counts[i] > 0 {
			w.server = file.server
			t.queueProblem(queue, w, int(first[i]), int(next[i]-1), refusal.Error(), w.at)
		}
	}
	if err := t.conn.SendBatch(ctx, queue).Close(); err != nil {
		return fmt.Errorf("moving the cursors of the files: %w", err)
	}
	return t.derive(ctx)
}

func (l *loading) queueCursor(queue *pgx.Batch, file *loadedFile, next int64, entries int, at time.Time) {
	if !file.known {
		queue.Queue(`INSERT INTO log_cursor (deployment_id, node_id, server_uuid, next_id, entries, started_at, updated_at, server_text)
			VALUES ($1, $2, $3, $4, $5, $6, $6, $7)`, l.id, l.node.id, file.server, next, entries, at, "file "+clean(file.Path))
		return
	}
	queue.Queue(`UPDATE log_cursor SET next_id = $5, entries = entries + $6, updated_at = $7
		WHERE deployment_id = $1 AND node_id = $2 AND server_uuid = $3 AND next_id = $4`,
		l.deployment.id, l.node.id, file.server, file.next, next, entries, at).Exec(movedBy(file.Path, 1))
}

// entryOfRecord makes a row of a record. Control records have no time in files.
func entryOfRecord(record *trace.Record) (entry, time.Time) {
	e := entry{message: record.Checkpoint}
	if record.Process != trace.Main {
		e.process = record.Process.String()
	}
	if record.Checkpoint != "" {
		return e, seconds(record.Time)
	}
	e.message, e.metadata = control, objectOf(record.Control)
	e.damaged = bytes.Contains(e.metadata, []byte(replacement))
	return e, time.Time{}
}

// pass takes note of what lines did that an earlier call has stored.
func (l *loading) pass(w *write) {
	if l.lost == nil {
		l.lost = map[int64]string{}
	}
	c := &w.traced.changes
	for i := range c.Traces {
		l.lost[c.Traces[i].Number] = c.Traces[i].Block
	}
	for _, rename := range c.Renames {
		l.lost[rename.Trace] = rename.To
		delete(l.lost, rename.Replaces)
	}
	w.gatherBlocks()
	for _, number := range c.Retired {
		delete(l.lost, number)
	}
}

// find looks up the rows of traces that an earlier call has stored.
func (l *loading) find(ctx context.Context, t *transaction) error {
	if len(l.lost) == 0 {
		return nil
	}
	blocks := make([]string, 0, len(l.lost))
	numbers := map[string]int64{}
	for number, block := range l.lost {
		blocks = append(blocks, block)
		numbers[block] = number
	}
	rows, err := t.conn.Query(ctx, "SELECT block_trace_id, block_id FROM block_trace WHERE deployment_id = $1 AND node_name = $2 AND block_id = ANY ($3)",
		l.id, l.name, blocks)
	if err != nil {
		return fmt.Errorf("looking up traces: %w", err)
	}
	var id int32
	var block string
	if _, err := pgx.ForEachRow(rows, []any{&id, &block}, func() error {
		l.node.traces[numbers[block]] = id
		return nil
	}); err != nil {
		return fmt.Errorf("looking up traces: %w", err)
	}
	l.lost = nil
	return nil
}
