package evidence

// This file says how much of the best chain is certain, although logs may be missing.

// chain is the best chain of the run's time.
type chain struct {
	canonical []Block // ascending, the one before the run first, if it is known
	first     int     // index of the first one of the run's time
	certain   map[int]bool
	at        map[int]Block
	// holes are the places where blocks of the best chain are in no log.
	holes  []hole
	opaque int64 // blocks of which no log shows the transactions
	// unseenTo is the time up to which the transactions of a block of the best chain may be in no log, 0 where there is none: there are holes, or one block may stand in for another.
	unseenTo Instant
}

// hole lies between two neighbouring blocks that are known: canonical[below] and canonical[below+1]. Either may be missing, at an end of the run's time.
type hole struct {
	below int
	// missing is how many heights have no block, and spare is 1 where the block below may be replaced by one that is in no log.
	missing, spare int64
	open           bool // at an end of the run's time: nobody knows how many
}

// chain works out what is certain. A block is, when every block above it is, down from the best tip, and each names the one below it as its parent. The tip is,
// when no other one can be in no log: producers are taken to hear of a block within a slot, so its rivals are of its own slot or the one before.
//
// Where blocks are missing, whatever lies below them is a guess of the database's: the longest that was seen. It is certain all the same where all
// blocks were seen, since the run began, and it is the only one at its height.
func (s *Statistics) chain(c *coverage) *chain {
	ch := &chain{certain: make(map[int]bool), at: make(map[int]Block)}
	at := make(map[int][]Block)
	for _, b := range s.Blocks {
		at[b.Height] = append(at[b.Height], b)
		if b.Canonical {
			if b.Received < s.Began {
				ch.first = len(ch.canonical) + 1
			}
			ch.canonical = append(ch.canonical, b)
			ch.at[b.Height] = b
		}
	}
	allSeen := c.lit <= s.Began
	last := len(ch.canonical) - 1
	if last < 0 {
		if !allSeen {
			ch.holes, ch.unseenTo = []hole{{below: -1, open: true}}, never
		}
		return ch
	}
	tip := ch.canonical[last]
	sure := true
	if !allSeen && (last < ch.first || c.lit > s.slotStart(tip.Slot-1, s.Began)) { // a chain as long, or longer, may be in no log
		sure = false
		ch.holes = append(ch.holes, hole{below: last, open: true})
		ch.unseenTo = never
	}
	tied := s.tied(c, tip, at[tip.Height], s.Blocks)
	for i := last; i >= 0; i-- {
		b := ch.canonical[i]
		switch {
		case i == last:
		case ch.canonical[i+1].Previous == b.Hash:
		default:
			above := ch.canonical[i+1]
			alone := len(at[b.Height]) == 1 && allSeen
			h := hole{below: i, missing: int64(above.Height - b.Height - 1)}
			if !alone || h.missing == 0 && above.Previous != "" {
				h.spare = 1
			}
			sure = alone && h.spare == 0 // everything below was seen, too
			if h.missing+h.spare > 0 {
				ch.holes = append(ch.holes, h)
				ch.unseenTo = max(ch.unseenTo, above.Received)
			}
		}
		if !sure && allSeen && len(at[b.Height]) == 1 && i < last && ch.canonical[i+1].Previous == b.Hash {
			sure = true
		}
		ch.certain[b.Height] = sure && !tied[b.Hash]
		if b.Opaque {
			ch.opaque++
			ch.unseenTo = max(ch.unseenTo, b.Received)
		}
		if tied[b.Hash] {
			ch.unseenTo = never
		}
	}
	if ch.first == 0 && !allSeen {
		ch.holes = append(ch.holes, hole{below: -1, open: true})
		ch.unseenTo = max(ch.unseenTo, ch.canonical[0].Received)
	}
	return ch
}

// tied returns those blocks of the best chain that are on it only because its tip was received before another one of the same height, where logs leave open which of
// them was.
func (s *Statistics) tied(c *coverage, tip Block, rivals, all []Block) map[string]bool {
	parents := make(map[string]string, len(all))
	for _, b := range all {
		parents[b.Hash] = b.Previous
	}
	tied := make(map[string]bool)
	for _, rival := range rivals {
		if rival.Hash == tip.Hash {
			continue
		}
		_, latest := s.received(c, tip)
		earliest, _ := s.received(c, rival)
		if latest < earliest {
			continue
		}
		if earliest == latest && !c.hidden(earliest, latest) {
			continue // the database's order counts
		}
		ancestors := make(map[string]bool)
		for hash := rival.Hash; hash != ""; hash = parents[hash] {
			ancestors[hash] = true
		}
		for hash := tip.Hash; hash != "" && !ancestors[hash]; hash = parents[hash] {
			tied[hash] = true
		}
	}
	return tied
}

// received returns between what times a block was first received. Nobody can have it before its slot begins.
func (s *Statistics) received(c *coverage, b Block) (earliest, latest Instant) {
	begin := min(s.slotStart(b.Slot, 0), b.Received)
	if len(c.skewed) > 0 { // whose time it is nobody knows
		return begin, max(b.Received, s.slotStart(b.Slot+1, never))
	}
	if b.Produced || c.settled(b.Received) && !c.hidden(begin, b.Received) {
		return b.Received, b.Received
	}
	return begin, b.Received
}

// mayHold reports whether a transaction that was sent no earlier than at a time may be in a block of the best chain that is in no log.
func (ch *chain) mayHold(sent Instant) bool { return sent <= ch.unseenTo }

// hidden returns between what the number of blocks of the best chain lies that are in no log; most is unlimited where nobody knows.
func (ch *chain) hidden() (fewest, most int64) {
	for _, h := range ch.holes {
		fewest += h.missing
		switch {
		case most == unlimited:
		case h.open:
			most = unlimited
		default:
			most += h.missing + h.spare
		}
	}
	return fewest, most
}
