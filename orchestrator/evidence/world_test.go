package evidence

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"time"

	"pgregory.net/rapid"
)

// A world is a small network with everything that its nodes logged, and what really happened. Statistics can be made of any part of the logs.
type world struct {
	nodes  []string
	began  Instant
	asked  Instant
	loads  []Load
	sent   []sentTx
	blocks []*minedBlock
	works  []Work // times of the truth; each node logs both
	logs   [][]logged
	ended  []*Gap // of the nodes that restarted: between the two lives of the daemon
	late   []bool // nodes that take part only some time after the run began
}

const (
	testSlot  = 180 * time.Second
	testBegan = Instant(1_760_000_000_000_000)
)

type sentTx struct {
	load, index int
	at          Instant
	rejected    bool
}

type minedBlock struct {
	hash     string
	parent   *minedBlock
	height   int
	slot     int64
	producer int
	holds    map[int]bool // transaction to whether it failed
}

func (b *minedBlock) has(tx int) bool {
	for ; b != nil; b = b.parent {
		if _, ok := b.holds[tx]; ok {
			return true
		}
	}
	return false
}

// logged is one entry of a node's log.
type logged struct {
	at   Instant
	what string // received, own, accepted, rejected, start, done, needed, work
	n    int    // transaction, block or work
	took time.Duration
}

func drawWorld(t *rapid.T) *world {
	w := &world{began: testBegan}
	draw := func(name string, low, high int) int { return rapid.IntRange(low, high).Draw(t, name) }
	for i := range draw("nodes", 2, 4) {
		w.nodes = append(w.nodes, fmt.Sprintf("10.0.0.%d:3085", i+1))
	}
	w.logs, w.ended, w.late = make([][]logged, len(w.nodes)), make([]*Gap, len(w.nodes)), make([]bool, len(w.nodes))
	steady := draw("steady", 1, len(w.nodes)) // the others send no load and produce no block, and may come late, restart, or log nothing
	log := func(node int, e logged) { w.logs[node] = append(w.logs[node], e) }
	millis := func(n int) Instant { return Instant(n) * 1000 }
	slots := draw("slots", 3, 9)
	end := w.began.plus(time.Duration(slots) * testSlot)
	w.asked = end.plus(time.Duration(draw("idle", 1, 170)) * time.Second)
	for l := range draw("loads", 1, 2) {
		kind := []Kind{Payments, Zkapps}[draw("kind", 0, 1)]
		from := w.began + millis(draw("from", 0, 200_000))
		seconds := draw("interval", 20, 90)
		length := draw("length", 1, 8)
		load := Load{
			Name: fmt.Sprintf("load-%d", draw("round", 0, 1)), Batch: l, Kind: kind, Node: w.nodes[draw("sender", 0, steady-1)],
			TPS: big.NewRat(1, int64(seconds)), From: from.Time(), Until: from.plus(time.Duration(length*seconds) * time.Second).Time(),
		}
		w.loads = append(w.loads, load)
		node := slices.Index(w.nodes, load.Node)
		for i := range length {
			if draw("skip", 0, 9) == 0 {
				continue // an index that was never sent
			}
			at := from.plus(time.Duration(i*seconds) * time.Second)
			if at >= w.asked {
				break
			}
			tx := sentTx{load: l, index: i, at: at, rejected: draw("reject", 0, 5) == 0}
			n := len(w.sent)
			w.sent = append(w.sent, tx)
			log(node, logged{at: at, what: "own", n: n})
			if tx.rejected {
				log(node, logged{at: at + 500, what: "rejected", n: n})
				continue
			}
			log(node, logged{at: at + 500, what: "accepted", n: n})
			for other := range w.nodes {
				if other != node {
					log(other, logged{at: at + 1000 + millis(draw("gossip", 1, 3000)), what: "received", n: n})
				}
			}
		}
	}
	tip := &minedBlock{hash: "base", height: 100, slot: 9}
	w.blocks = append(w.blocks, tip)
	done := make(map[int]Instant)
	for s := range slots {
		slot := int64(10 + s)
		start := w.began.plus(time.Duration(s) * testSlot)
		for range draw("blocks", 0, 2) {
			parent := tip
			if tip.parent != nil && slot <= tip.slot+1 && draw("fork", 0, 3) == 0 { // its producer has not heard of the tip yet
				parent = tip.parent
			}
			b := &minedBlock{
				hash: fmt.Sprintf("block-%d", len(w.blocks)), parent: parent, height: parent.height + 1, slot: slot,
				producer: draw("producer", 0, steady-1), holds: make(map[int]bool),
			}
			for n, tx := range w.sent {
				if !tx.rejected && tx.at+4_000_000 < start && !parent.has(n) && draw("take", 0, 2) > 0 {
					b.holds[n] = draw("fail", 0, 3) == 0
				}
			}
			n := len(w.blocks)
			w.blocks = append(w.blocks, b)
			for node := range w.nodes {
				at := start + millis(draw("begin", 1, 50))
				if node != b.producer {
					at = start + millis(draw("arrival", 5000, 12_000))
				}
				took := time.Duration(draw("took", 100, 4000)) * time.Millisecond
				log(node, logged{at: at, what: "start", n: n})
				done[n] = at.plus(took)
				log(node, logged{at: at.plus(took), what: "done", n: n, took: took})
			}
			if b.height > tip.height {
				tip = b
			}
		}
		if draw("work", 0, 1) == 1 {
			n := len(w.works)
			w.works = append(w.works, Work{})
			for node := range w.nodes {
				log(node, logged{at: start + millis(draw("needed", 13_000, 16_000)), what: "needed", n: n})
				log(node, logged{at: start + millis(draw("proved", 20_000, 170_000)), what: "work", n: n})
			}
		}
	}
	for node := range w.logs {
		slices.SortStableFunc(w.logs[node], func(a, b logged) int { return cmp.Compare(a.at, b.at) })
		w.logs[node] = slices.DeleteFunc(w.logs[node], func(e logged) bool { return e.at > w.asked })
	}
	for node := steady; node < len(w.nodes); node++ {
		from := w.began + millis(draw("down", 0, 400_000))
		up := from + millis(draw("up again", 1, 400_000))
		switch draw("life", 0, 3) {
		case 0: // up since before the run
		case 1:
			w.away(node, 0, up)
			w.late[node] = true
		case 2:
			w.away(node, from, up)
			w.ended[node] = &Gap{To: min(up, w.asked), Lost: -1}
			for _, e := range w.logs[node] {
				if e.at < from {
					w.ended[node].From = e.at
				}
			}
		case 3:
			w.logs[node] = nil
		}
	}
	return w
}

// away takes out of a node's log what it would have logged while its daemon is down, and while it is not in step with the network: until it has integrated a block.
func (w *world) away(node int, from, up Instant) {
	synced := never
	begun := make(map[int]bool)
	for _, e := range w.logs[node] {
		switch {
		case e.at < up:
		case e.what == "start":
			begun[e.n] = true
		case e.what == "done" && begun[e.n]:
			synced = min(synced, e.at)
		}
	}
	w.logs[node] = slices.DeleteFunc(w.logs[node], func(e logged) bool {
		block := e.what == "start" || e.what == "done"
		return e.at >= from && (e.at < up || e.at < synced && !block || block && !begun[e.n])
	})
}

// torn is a part of each node's log, and what is missing of it.
type torn struct {
	logs     [][]logged
	gaps     [][]Gap
	readTo   []Instant
	since    []Instant // 0: nothing was logged
	skew     []time.Duration
	renamed  []Instant // when the node got another name; 0: never
	deployed Instant
}

// early is a time before the run, since which nodes are there.
const early = testBegan - 10_000_000

func (w *world) whole() torn {
	n := len(w.nodes)
	part := torn{
		logs: w.logs, gaps: make([][]Gap, n), readTo: make([]Instant, n), since: make([]Instant, n), skew: make([]time.Duration, n), renamed: make([]Instant, n),
	}
	for i := range w.nodes {
		part.readTo[i], part.since[i] = w.asked, early
	}
	return part
}

// tear hides parts of the nodes' logs, as gaps and as the silence of nodes.
func (w *world) tear(t *rapid.T) torn {
	part := w.whole()
	part.logs = slices.Clone(w.logs)
	if rapid.IntRange(0, 5).Draw(t, "redeployed") == 0 {
		part.deployed = w.began + Instant(rapid.IntRange(1, int(w.asked-w.began)).Draw(t, "deployed"))
		for node := range part.logs {
			part.logs[node] = slices.DeleteFunc(slices.Clone(part.logs[node]), func(e logged) bool { return e.at < part.deployed })
		}
	}
	silenced := 0
	for node, entries := range part.logs {
		if ended := w.ended[node]; ended != nil {
			part.gaps[node] = append(part.gaps[node], *ended)
		}
		switch {
		case len(w.logs[node]) == 0:
			part.since[node] = 0
		case part.deployed != 0:
			part.since[node] = 0
			if len(entries) > 0 {
				part.since[node] = entries[0].at
			}
		case w.late[node] && rapid.Bool().Draw(t, "met late"):
			part.since[node] = w.logs[node][0].at
		}
		switch rapid.IntRange(0, 7).Draw(t, "odd") {
		case 0:
			part.skew[node] = time.Duration(rapid.SampledFrom([]int{-3600, -100, 100, 3600}).Draw(t, "skew")) * time.Second
		case 1:
			part.renamed[node] = w.began + Instant(rapid.IntRange(1, int(w.asked-w.began)).Draw(t, "renamed"))
		case 2: // it takes part, and logs nothing
			entries, part.logs[node], part.since[node], part.gaps[node] = nil, nil, 0, nil
		}
		var kept []logged
		cut := 0
		for range rapid.IntRange(0, 2).Draw(t, "gaps") {
			from := rapid.IntRange(cut, len(entries)).Draw(t, "from")
			to := rapid.IntRange(from, min(len(entries), from+rapid.SampledFrom([]int{1, 3, 40}).Draw(t, "length"))).Draw(t, "to")
			if from == to || to == len(entries) {
				continue
			}
			kept = append(kept, entries[cut:from]...)
			gap := Gap{To: entries[to].at, Lost: int64(to - from)}
			if from > 0 {
				gap.From = entries[from-1].at
			}
			if rapid.Bool().Draw(t, "restart") {
				gap.Lost = -1
			}
			part.gaps[node] = append(part.gaps[node], gap)
			cut = to
		}
		rest := entries[cut:]
		if silenced < len(w.nodes)-1 && len(rest) > 1 && rapid.IntRange(0, 3).Draw(t, "silent") == 0 {
			n := rapid.IntRange(1, len(rest)-1).Draw(t, "last")
			if w.asked.plus(-time.Second) > rest[n].at {
				part.readTo[node] = rest[n-1].at
				rest = rest[:n]
				silenced++
			}
		}
		part.logs[node] = append(kept, rest...)
	}
	return part
}

// statistics makes statistics of a part of the logs, as a source does.
func (w *world) statistics(part torn) *Statistics {
	s := &Statistics{
		Asked: w.asked, Began: w.began, Genesis: w.began.plus(-10 * testSlot), Slot: testSlot, Patience: time.Microsecond, Loads: make([]LoadLog, len(w.loads)),
		Deployed: part.deployed,
	}
	txs := make(map[int]*Transaction)
	tx := func(n int) *Transaction {
		if txs[n] == nil {
			txs[n] = &Transaction{Index: w.sent[n].index}
		}
		return txs[n]
	}
	known := make(map[int]*Block)
	works := make(map[int]*Work)
	earlier := func(old *Instant, at Instant) {
		if *old == 0 || at < *old {
			*old = at
		}
	}
	type integration struct {
		at Instant
		Integration
	}
	var integrated []integration
	read := func(log NodeLog, node int, entries []logged) {
		log.Address, log.Skew = w.nodes[node], part.skew[node]
		if up := log.upSince(); up != 0 && up < w.began && !w.late[node] {
			log.Hears = up + 1
		}
		started := make(map[int]bool)
		for _, e := range entries {
			e.at = e.at.plus(log.Skew)
			switch e.what {
			case "received", "own", "accepted", "rejected":
				earlier(&tx(e.n).Received, e.at)
				switch e.what {
				case "own":
					tx(e.n).Sent = e.at
				case "accepted":
					tx(e.n).Outcome = Accepted
				case "rejected":
					tx(e.n).Outcome = Rejected
				}
			case "start", "done":
				b := known[e.n]
				mined := w.blocks[e.n]
				if b == nil {
					b = &Block{Hash: mined.hash, Previous: mined.parent.hash, Height: mined.height, Slot: mined.slot}
					known[e.n] = b
				}
				earlier(&b.Received, e.at)
				if e.what == "start" {
					started[e.n] = true
					b.Produced = b.Produced || mined.producer == node
					continue
				}
				integrated = append(integrated, integration{e.at, Integration{log.Name, b.Hash}})
				if started[e.n] {
					if log.Hears == 0 && log.Since != 0 && e.at > log.upSince() {
						log.Hears = e.at
					}
					log.Traced++
					if mined.producer == node {
						s.Productions = append(s.Productions, e.took)
					} else {
						s.Applications = append(s.Applications, e.took)
					}
				}
			case "needed", "work":
				if works[e.n] == nil {
					works[e.n] = new(Work)
				}
				if e.what == "needed" {
					earlier(&works[e.n].Added, e.at)
				} else {
					earlier(&works[e.n].Received, e.at)
				}
			}
		}
		s.Nodes = append(s.Nodes, log)
	}
	for node, entries := range part.logs {
		log := NodeLog{Name: "-" + w.nodes[node], ReadTo: part.readTo[node], Since: part.since[node], Listed: true, Gaps: part.gaps[node]}
		at := part.renamed[node]
		if at == 0 {
			read(log, node, entries)
			continue
		}
		second := log
		second.Name, second.Since, second.Gaps = "new"+log.Name, 0, nil
		log.ReadTo, log.Listed = min(log.ReadTo, at), false
		first := slices.IndexFunc(entries, func(e logged) bool { return e.at >= at })
		if first < 0 {
			first = len(entries)
		} else {
			second.Since = entries[first].at
		}
		for _, gap := range part.gaps[node] {
			if gap.To >= at {
				second.Gaps = append(second.Gaps, gap)
			}
		}
		read(log, node, entries[:first])
		read(second, node, entries[first:])
	}
	for _, work := range works {
		s.Works = append(s.Works, *work)
	}
	slices.Sort(s.Applications)
	slices.Sort(s.Productions)
	s.Blocks = append(s.Blocks, Block{Hash: "base", Previous: "before", Height: 100, Slot: 9, Received: w.began - 1_000_000, Produced: true})
	var numbers []int
	for n := range known {
		numbers = append(numbers, n)
	}
	slices.SortFunc(numbers, func(a, b int) int { return cmp.Or(cmp.Compare(known[a].Height, known[b].Height), cmp.Compare(a, b)) })
	for _, n := range numbers {
		s.Blocks = append(s.Blocks, *known[n])
	}
	settle(s.Blocks)
	for i, b := range s.Blocks[1:] {
		s.Blocks[i+1].Received = max(b.Received, s.slotStart(b.Slot, 0))
	}
	for _, b := range s.Blocks {
		for _, mined := range w.blocks {
			if mined.hash != b.Hash || !b.Canonical {
				continue
			}
			for n, failed := range mined.holds {
				tx(n).Height, tx(n).Failed = b.Height, failed
			}
		}
	}
	for n := range w.sent {
		if txs[n] != nil {
			s.add(w.sent[n].load, *txs[n])
		}
	}
	slices.SortStableFunc(integrated, func(a, b integration) int { return cmp.Compare(a.at, b.at) })
	forked := Forked(s.Blocks)
	heights := make(map[string]int)
	for _, b := range s.Blocks {
		heights[b.Hash] = b.Height
	}
	for _, i := range integrated {
		if slices.Contains(forked, i.Hash) {
			s.Integrations = append(s.Integrations, i.Integration)
		}
		for k := range s.Nodes {
			n := &s.Nodes[k]
			if n.Name != i.Node {
				continue
			}
			if len(n.Tips) == 0 || heights[i.Hash] > heights[n.Tips[0]] {
				n.Tips = []string{i.Hash}
			} else if heights[i.Hash] == heights[n.Tips[0]] {
				n.Tips = append(n.Tips, i.Hash)
			}
		}
	}
	return s
}

// settle marks the best chain, as the database does.
func settle(blocks []Block) {
	better := func(a, b Block) int {
		return cmp.Or(cmp.Compare(b.Height, a.Height), cmp.Compare(a.Received, b.Received), cmp.Compare(a.Hash, b.Hash))
	}
	best := func(below int) int {
		at := -1
		for i, b := range blocks {
			if b.Height < below && (at < 0 || better(b, blocks[at]) < 0) {
				at = i
			}
		}
		return at
	}
	for at := best(1 << 30); at >= 0; {
		blocks[at].Canonical = true
		below := slices.IndexFunc(blocks, func(b Block) bool { return b.Hash == blocks[at].Previous })
		if below < 0 {
			below = best(blocks[at].Height)
		}
		at = below
	}
}
