package fetcher

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"

	"provingground/orchestrator/itn"
)

const (
	// inMemory is how many bytes an answer is taken to occupy for each byte of its length, decoded.
	inMemory = 4
	// firstAnswer is how long a node's first answer is taken to be before it is there, in bytes, unless memory for so many is short.
	firstAnswer = 128 << 10
	// maxSkip bounds how many IDs are given up in search of an answer that is short enough.
	maxSkip = 1 << 20
	// maxOdd bounds how many malformed entries without a usable ID are recorded of a run.
	maxOdd = 1000
	// lastSave is how long the store may take for what is in hand when a reader is told to stop, wall time.
	lastSave = 10 * time.Second
)

// reader reads one node's log.
//
//	connecting ──auth──► running ──failure──► backoff ──pause──► connecting
//	     │                  │                    │
//	     └──────────────────┴─────── told to ────┴─────────────► stopped
type reader struct {
	*Collector
	node   *node
	name   string
	client *itn.Client
	random *rand.Rand
	pace   pace

	loaded   bool // the cursor was read from the store
	cursor   Cursor
	failures int       // in a row
	last     time.Time // when the last answer of this run was asked for, wall time; zero before the first
	answer   int64     // length that the next answer is expected to have
	wasLong  bool      // the last answer was a long one, so that the next one waits for the turn before it is asked for
	hasLong  bool      // it has the turn of long answers
	odd      map[int]bool
}

// read reads a node until ctx ends.
func (c *Collector) read(ctx context.Context, n *node) {
	defer c.ended(n)
	r := &reader{
		Collector: c, node: n, name: n.status.NodeName, client: c.opts.Dial(n.address), random: c.randomOf(n),
		answer: min(firstAnswer, max(1, c.opts.MemoryBytes/inMemory/int64(c.opts.Concurrency))),
		pace:   pace{queue: c.opts.QueueSize, low: c.opts.MinInterval, high: c.opts.Interval},
	}
	defer r.client.Close()
	for {
		r.setState(Connecting)
		err := r.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		r.failures++
		pause := backoff{c.opts.BackoffMin, c.opts.BackoffMax}.after(r.failures, r.random)
		if _, final := errors.AsType[*itn.UnauthorizedError](err); final {
			pause = c.opts.BackoffMax // until somebody gives the node our key
		}
		r.trouble(Backoff, err)
		c.opts.Log.Warn("a node's log cannot be read", zap.String("node", r.name), zap.Int("failures", r.failures),
			zap.Duration("pause", pause), zap.Error(err))
		if c.opts.Clock.SleepWall(ctx, pause) != nil {
			return
		}
	}
}

// follow authenticates and then asks again and again, until something fails or ctx ends.
func (r *reader) follow(ctx context.Context) error {
	if !r.loaded {
		cursor, err := r.opts.Store.Cursor(ctx, r.name)
		if err != nil {
			return fmt.Errorf("reading the cursor of node %s from the store: %w", r.name, err)
		}
		cursor.Next = max(cursor.Next, 1)
		r.cursor, r.loaded = cursor, true
		r.update(func(s *NodeStatus) { s.LastLogID = cursor.Next - 1 })
	}
	if err := r.authenticate(ctx); err != nil {
		return err
	}
	restarted := false
	for {
		began := r.opts.Clock.Wall()
		err := r.poll(ctx, began)
		switch {
		case err == nil:
			restarted, r.failures = false, 0
			r.update(func(s *NodeStatus) { s.State, s.LastError, s.LastSuccess = Running, "", began })
			if err := r.opts.Clock.SleepWall(ctx, r.pace.interval()-r.opts.Clock.Wall().Sub(began)); err != nil {
				return err
			}
		case errors.Is(err, errOtherRun) && !restarted && ctx.Err() == nil:
			restarted = true
			if err := r.authenticate(ctx); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// request runs one request within the bound of its kind: nodes that do not answer keep only each other waiting.
func (r *reader) request(ctx context.Context, send func(ctx context.Context) error) error {
	gate := r.requesting
	if r.failures > 0 {
		gate = r.probing
	}
	if err := gate.take(ctx, 1); err != nil {
		return err
	}
	defer gate.give(1)
	err := send(ctx)
	r.counters.count(func(m *Metrics) {
		m.Requests++
		if err != nil {
			m.RequestErrors++
		}
	})
	return err
}

// authenticate learns which run of the daemon is there. Another one than the cursor's is stored as a restart before anything is asked
// of it.
func (r *reader) authenticate(ctx context.Context) error {
	var daemon itn.Identity
	if err := r.expectLong(ctx); err != nil {
		return err
	}
	x := &exchange{long: r.takeLong}
	err := r.request(ctx, func(ctx context.Context) (err error) {
		daemon, err = r.client.Auth(x.in(ctx))
		return err
	})
	r.giveLong()
	if err != nil {
		return err
	}
	r.update(func(s *NodeStatus) { s.IsBlockProducer = &daemon.BlockProducer })
	if other := r.claim(r.node, daemon.ServerUUID); other != "" {
		return fmt.Errorf("node %s is the same daemon as %s, which is read already (server UUID %s)", r.name, other, daemon.ServerUUID)
	}
	if daemon.ServerUUID == r.cursor.ServerUUID {
		return nil
	}
	before := r.cursor
	after := Cursor{ServerUUID: daemon.ServerUUID, Next: 1}
	r.last, r.odd = time.Time{}, nil
	r.pace.begin()
	if before.ServerUUID == "" {
		r.cursor = after
		return nil
	}
	r.opts.Log.Info("a daemon was restarted", zap.String("node", r.name), zap.String("server_uuid", after.ServerUUID))
	return r.save(ctx, Batch{
		Node: r.name, Cursor: after, Restart: &Restart{before.ServerUUID, after.ServerUUID, r.opts.Clock.Wall()},
		Gaps: []Gap{{ServerUUID: before.ServerUUID, From: before.Next, Before: before.LastTime, Reason: GapRestart}},
	})
}

// poll asks for what is new, stores it, and has the node forget it.
func (r *reader) poll(ctx context.Context, began time.Time) error {
	stored, err := r.fetch(ctx, began)
	if stored && r.opts.Flush {
		r.flush(ctx)
	}
	return err
}

// fetch asks for what is new and stores it, if there is anything.
func (r *reader) fetch(ctx context.Context, began time.Time) (stored bool, err error) {
	if err := r.expectLong(ctx); err != nil {
		return false, err
	}
	defer r.giveLong()
	held := r.answer * inMemory
	if err := r.memory.take(ctx, held); err != nil {
		return false, err
	}
	defer func() { r.memory.give(held) }()

	cursor := r.cursor
	logs, malformed, size, err := r.ask(ctx, cursor.Next)
	var given *Gap
	if errors.Is(err, itn.ErrAnswerTooLarge) && ctx.Err() == nil {
		var start int
		start, logs, malformed, size, err = r.askForLess(ctx, cursor.Next, err)
		given = &Gap{
			ServerUUID: cursor.ServerUUID, From: cursor.Next, To: start - 1, Before: cursor.LastTime, Reason: GapTooLarge,
		}
		cursor.Next = start
	}
	if err != nil {
		return false, err
	}
	r.wasLong = size > usualAnswer
	r.memory.grow(size*inMemory - held)
	held, r.answer = size*inMemory, min(max(size, 1), usualAnswer)

	found := sift(cursor, logs, malformed, r.opts.Clock.Now())
	if given != nil {
		if len(found.entries) > 0 {
			given.After = found.entries[0].Timestamp
		}
		found.gaps = slices.Insert(found.gaps, 0, *given)
	}
	found.malformed = slices.DeleteFunc(found.malformed, func(m Malformed) bool { return r.toldBefore(m.ID, found.next) })
	r.counters.count(func(m *Metrics) {
		m.Bytes += uint64(size)
		m.Repeated += uint64(found.repeated)
		m.Mended += uint64(found.mended)
		m.OddTimes += uint64(found.oddTimes)
		if found.outOfOrder {
			m.OutOfOrder++
		}
	})
	if found.repeated > 0 || found.outOfOrder {
		r.opts.Log.Warn("a node told entries twice or out of order", zap.String("node", r.name),
			zap.Int("repeated", found.repeated), zap.Bool("out_of_order", found.outOfOrder))
	}
	if !r.last.IsZero() {
		r.pace.observe(found.next-r.cursor.Next, began.Sub(r.last))
	}
	r.last = began
	if found.next == r.cursor.Next && len(found.malformed) == 0 {
		return false, nil
	}
	if err := r.save(ctx, Batch{
		Node: r.name, Entries: found.entries, Malformed: found.malformed, Gaps: found.gaps,
		Cursor: Cursor{ServerUUID: cursor.ServerUUID, Next: found.next, LastTime: found.lastTime},
	}); err != nil {
		return false, err
	}
	return true, nil
}

// ask asks for the entries from an ID on. An answer that the client cannot read as a whole is read entry by entry. size is the
// answer's length in bytes.
func (r *reader) ask(ctx context.Context, start int) (logs []itn.Log, malformed []Malformed, size int64, err error) {
	x := &exchange{serverUUID: r.cursor.ServerUUID, long: r.takeLong}
	kept := r.hasLong // an earlier answer that is kept has the turn
	err = r.request(ctx, func(ctx context.Context) error {
		logs, err = r.client.InternalLogs(x.in(ctx), start)
		if errors.Is(err, itn.ErrUnreadableAnswer) {
			var unsalvageable error
			if logs, malformed, unsalvageable = salvage(x.body.Bytes()); unsalvageable == nil {
				err = nil
			}
		}
		return err
	})
	if err == nil && !x.guarded {
		err = errors.New("the client that Options.Dial made does not send its requests through fetcher.Transport")
	}
	if err != nil && !kept {
		r.giveLong()
	}
	return logs, malformed, int64(x.body.Len()), err
}

// expectLong waits for the turn of long answers where one is likely, before there is anything in which others would be kept waiting: a request
// under way, or memory.
func (r *reader) expectLong(ctx context.Context) error {
	if !r.wasLong {
		return nil
	}
	return r.takeLong(ctx)
}

// takeLong waits for the turn of long answers, which are in memory one at a time.
func (r *reader) takeLong(ctx context.Context) error {
	r.wasLong = true
	if r.hasLong {
		return nil
	}
	if err := r.long.take(ctx, 1); err != nil {
		return fmt.Errorf("waiting until other nodes' long answers are stored: %w", err)
	}
	r.hasLong = true
	return nil
}

func (r *reader) giveLong() {
	if r.hasLong {
		r.hasLong = false
		r.long.give(1)
	}
}

// askForLess finds the smallest ID from which on the answer is not too long, for entries can be asked for up to the last one only. It
// returns that ID and the answer.
func (r *reader) askForLess(ctx context.Context, next int, tooLarge error) (
	start int, logs []itn.Log, malformed []Malformed, size int64, err error,
) {
	r.counters.count(func(m *Metrics) { m.TooLarge++ })
	low, high := next, 0 // from low on it is too long, from high on it is not, once that is known
	for step := 1; high == 0 || high-low > 1; step *= 2 {
		try := low + (high-low)/2
		if high == 0 {
			if step > maxSkip {
				return 0, nil, nil, 0, fmt.Errorf("node %s, also asked for later entries only: %w", r.name, tooLarge)
			}
			try = next + step
		}
		l, m, s, err := r.ask(ctx, try)
		switch {
		case err == nil:
			high, logs, malformed, size = try, l, m, s
		case errors.Is(err, itn.ErrAnswerTooLarge):
			low = try
		default:
			return 0, nil, nil, 0, err
		}
	}
	// The search took a while. Entries are given up only if their answer is still too long.
	if _, _, _, err := r.ask(ctx, low); err == nil {
		return 0, nil, nil, 0, fmt.Errorf("node %s, whose answers were too long for a while: %w", r.name, tooLarge)
	} else if !errors.Is(err, itn.ErrAnswerTooLarge) {
		return 0, nil, nil, 0, err
	}
	r.opts.Log.Warn("entries are given up, the node's answer with them is too long", zap.String("node", r.name), zap.Int("from", next),
		zap.Int("to", high-1))
	return high, logs, malformed, size, nil
}

// toldBefore reports whether a malformed entry was recorded already, which its ID does not tell. Their number is bounded.
func (r *reader) toldBefore(id, next int) bool {
	if id > 0 && id < next {
		return false
	}
	if r.odd[id] || len(r.odd) >= maxOdd {
		return true
	}
	if r.odd == nil {
		r.odd = make(map[int]bool)
	}
	r.odd[id] = true
	return false
}

// save stores a batch, trying again for as long as the store may take it later. Of a batch that it refuses for good it takes what it can,
// and the entry that it refuses is stored as malformed. When ctx ends, the batch is given to the store for the last time.
func (r *reader) save(ctx context.Context, batch Batch) error {
	saving, done := outlasting(ctx, lastSave)
	defer done()
	err := r.saveWithin(ctx, saving, batch)
	if err != nil && ctx.Err() != nil {
		r.counters.count(func(m *Metrics) { m.Unsaved++ })
		r.opts.Log.Warn("what was read is not stored; it will be asked for again", zap.String("node", r.name), zap.Int("entries", len(batch.Entries)), zap.Error(err))
		return context.Cause(ctx)
	}
	return err
}

// outlasting returns a context that ends some time after another one.
func outlasting(ctx context.Context, by time.Duration) (_ context.Context, done func()) {
	lasting, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(by)
		defer timer.Stop()
		select {
		case <-timer.C:
			end(context.Cause(ctx))
		case <-lasting.Done():
		}
	})
	return lasting, func() {
		stop()
		end(nil)
	}
}

// saveWithin stores a batch. Each call of the store may take until saving ends; when ctx has ended, a failing one is the last.
func (r *reader) saveWithin(ctx, saving context.Context, batch Batch) error {
	for failures := 1; ; failures++ {
		last := ctx.Err() != nil
		err := r.opts.Store.Save(saving, batch)
		switch {
		case err == nil:
			return r.committed(batch)
		case errors.Is(err, ErrPermanent):
			return r.saveInParts(ctx, saving, batch, err)
		case last || saving.Err() != nil:
			return err
		}
		r.counters.count(func(m *Metrics) { m.StoreErrors++ })
		err = fmt.Errorf("storing %d entries of node %s: %w", len(batch.Entries), r.name, err)
		r.trouble(Running, err)
		pause := backoff{r.opts.BackoffMin, r.opts.BackoffMax}.after(failures, r.random)
		r.opts.Log.Warn("the store fails; the batch is kept and tried again", zap.String("node", r.name), zap.Duration("pause", pause), zap.Error(err))
		_ = r.opts.Clock.SleepWall(ctx, pause) // called off, the next one is the last
	}
}

// saveInParts stores what can be stored of a batch that was refused for good.
func (r *reader) saveInParts(ctx, saving context.Context, batch Batch, refusal error) error {
	r.counters.count(func(m *Metrics) { m.StoreRefusals++ })
	switch len(batch.Entries) {
	case 0:
		return fmt.Errorf("storing the cursor of node %s, without any entry: %w", r.name, refusal)
	case 1:
		r.opts.Log.Error("the store refuses an entry; it is stored as malformed", zap.String("node", r.name),
			zap.Int("log_id", batch.Entries[0].ID), zap.Error(refusal))
		batch.Malformed = append(slices.Clip(batch.Malformed), asMalformed(batch.Entries[0], refusal))
		batch.Entries = nil
		return r.saveWithin(ctx, saving, batch)
	}
	first, second := batch.halves()
	if err := r.saveWithin(ctx, saving, first); err != nil {
		return err
	}
	return r.saveWithin(ctx, saving, second)
}

// halves cuts a batch of two entries or more in two, each with the gaps and malformed entries that lie before its last entry.
func (b Batch) halves() (first, second Batch) {
	middle := len(b.Entries) / 2
	last := b.Entries[middle-1]
	first, second = b, b
	first.Entries, second.Entries = b.Entries[:middle], b.Entries[middle:]
	first.Cursor.Next, first.Cursor.LastTime = last.ID+1, last.Timestamp
	first.Malformed, second.Malformed, first.Gaps, second.Gaps = nil, nil, nil, nil
	second.Restart = nil
	for _, malformed := range b.Malformed {
		if malformed.ID <= last.ID {
			first.Malformed = append(first.Malformed, malformed)
		} else {
			second.Malformed = append(second.Malformed, malformed)
		}
	}
	for _, gap := range b.Gaps {
		if gap.From < last.ID {
			first.Gaps = append(first.Gaps, gap)
		} else {
			second.Gaps = append(second.Gaps, gap)
		}
	}
	return first, second
}

// committed takes note of a stored batch.
func (r *reader) committed(batch Batch) error {
	r.cursor = batch.Cursor
	lost, unknown := r.tellGaps(batch.Gaps)
	r.counters.count(func(m *Metrics) {
		m.Batches++
		m.Entries += uint64(len(batch.Entries))
		m.Malformed += uint64(len(batch.Malformed))
		m.Gaps += uint64(len(batch.Gaps))
		m.LostEntries += uint64(lost)
		if batch.Restart != nil {
			m.Restarts++
		}
	})
	r.update(func(s *NodeStatus) {
		s.LastLogID = batch.Cursor.Next - 1
		s.LostEntries += lost
		s.LostUnknown += unknown
	})
	if r.opts.Archive == nil || len(batch.Entries) == 0 {
		return nil
	}
	if err := r.opts.Archive.Write(r.name, batch.Entries); err != nil { // the store has them
		r.counters.count(func(m *Metrics) { m.ArchiveErrors++ })
		r.opts.Log.Warn("raw lines could not be kept", zap.String("node", r.name), zap.Error(err))
	}
	return nil
}

// tellGaps logs the gaps of one answer in one line, however many they are; table log_gap has each of them. It returns how many entries are
// missing, and of how many gaps the length is not known.
func (r *reader) tellGaps(gaps []Gap) (lost, unknown int) {
	if len(gaps) == 0 {
		return 0, 0
	}
	first, last := gaps[0], gaps[len(gaps)-1]
	var reasons []string
	for _, gap := range gaps {
		count, known := gap.Missing()
		lost += count
		if !known {
			unknown++
		}
		if !slices.Contains(reasons, string(gap.Reason)) {
			reasons = append(reasons, string(gap.Reason))
		}
	}
	fields := []zap.Field{
		zap.String("node", r.name), zap.String("server_uuid", first.ServerUUID), zap.Int("gaps", len(gaps)), zap.Int("entries", lost),
		zap.Int("from", first.From), zap.Int("to", last.To), zap.Strings("reasons", reasons),
	}
	if unknown > 0 {
		fields = append(fields, zap.Int("gaps_of_unknown_length", unknown))
	}
	r.opts.Log.Warn("entries are missing", fields...)
	return lost, unknown
}

// flush has the node forget what is stored. It may fail: the node's queue is bounded anyhow, and a daemon that was restarted
// shows at the next request.
func (r *reader) flush(ctx context.Context) {
	x := &exchange{serverUUID: r.cursor.ServerUUID, long: r.takeLong}
	defer r.giveLong()
	err := r.request(ctx, func(ctx context.Context) error {
		_, err := r.client.FlushInternalLogs(x.in(ctx), r.cursor.Next-1)
		return err
	})
	r.counters.count(func(m *Metrics) {
		if m.Flushes++; err != nil {
			m.FlushErrors++
		}
	})
	if err != nil {
		r.opts.Log.Debug("a node did not flush its log", zap.String("node", r.name), zap.Error(err))
	}
}

func (r *reader) update(change func(s *NodeStatus)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.node.status)
}

func (r *reader) setState(state State) { r.update(func(s *NodeStatus) { s.State = state }) }

// trouble shows what is wrong.
func (r *reader) trouble(state State, err error) {
	r.update(func(s *NodeStatus) { s.State, s.LastError = state, mendText(err.Error()) })
}
