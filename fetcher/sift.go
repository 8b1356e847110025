package fetcher

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"provingground/orchestrator/itn"
)

// Bounds of what is believed and kept.
const (
	// maxJump is how far an ID may lie behind the one before it: more entries than a node logs in a month.
	maxJump = 1 << 31
	// maxRaw bounds Malformed.Raw, in bytes.
	maxRaw = 4 << 10
)

// sifted is what an answer comes to.
type sifted struct {
	entries    []itn.Log
	malformed  []Malformed
	gaps       []Gap
	next       int       // for the cursor
	lastTime   time.Time // for the cursor
	repeated   int       // entries that were asked for before, or twice in the answer
	outOfOrder bool
	mended     int // entries of which a text or value could not be stored as it was
	oddTimes   int // entries whose timestamp cannot be right; they are kept as they are
}

// sift makes of an answer what is to be stored after cursor. It changes its arguments' elements. now is the network time.
func sift(cursor Cursor, logs []itn.Log, malformed []Malformed, now time.Time) sifted {
	s := sifted{next: cursor.Next, lastTime: cursor.LastTime}
	byID := func(a, b itn.Log) int { return cmp.Compare(a.ID, b.ID) }
	if s.outOfOrder = !slices.IsSortedFunc(logs, byID); s.outOfOrder {
		slices.SortStableFunc(logs, byID)
	}
	s.entries = logs[:0]
	previous := cursor.Next - 1
	for _, log := range logs {
		switch {
		case log.ID <= 0:
			malformed = append(malformed, Malformed{ID: log.ID, Reason: "the id is not positive"})
			continue
		case log.ID <= previous:
			s.repeated++
			continue
		case log.ID-previous > maxJump:
			malformed = append(malformed, Malformed{ID: log.ID, Reason: "the id is absurdly large"})
			continue
		}
		previous = log.ID
		if mendLog(&log) {
			s.mended++
		}
		if log.Timestamp.Year() < 2000 || log.Timestamp.After(now.Add(24*time.Hour)) {
			s.oddTimes++
		}
		s.entries = append(s.entries, log)
	}
	slices.SortStableFunc(malformed, func(a, b Malformed) int { return cmp.Compare(a.ID, b.ID) })
	s.malformed = slices.CompactFunc(malformed, func(a, b Malformed) bool { return a.ID == b.ID })
	s.malformed = slices.DeleteFunc(s.malformed, func(m Malformed) bool {
		_, stored := slices.BinarySearchFunc(s.entries, m.ID, func(log itn.Log, id int) int { return cmp.Compare(log.ID, id) })
		known := stored || m.ID > 0 && m.ID < cursor.Next
		if known {
			s.repeated++
		}
		return known
	})
	s.findGaps(cursor)
	return s
}

// findGaps goes through the IDs of entries and malformed ones, merged. What is malformed beyond belief is passed over.
func (s *sifted) findGaps(cursor Cursor) {
	bad := s.malformed
	for len(bad) > 0 && bad[0].ID <= 0 {
		bad = bad[1:]
	}
	unended := 0 // gaps from here on still lack After
	step := func(id int) {
		if id > s.next {
			reason := GapDropped
			if s.next == 1 {
				reason = GapBeforeFirst
			}
			s.gaps = append(s.gaps, Gap{
				ServerUUID: cursor.ServerUUID, From: s.next, To: id - 1, Before: s.lastTime, Reason: reason,
			})
		}
		s.next = id + 1
	}
	stepBad := func(before int) {
		for len(bad) > 0 && bad[0].ID < before && bad[0].ID-s.next < maxJump {
			step(bad[0].ID)
			bad = bad[1:]
		}
	}
	for _, entry := range s.entries {
		stepBad(entry.ID)
		step(entry.ID)
		for ; unended < len(s.gaps); unended++ {
			s.gaps[unended].After = entry.Timestamp
		}
		s.lastTime = entry.Timestamp
	}
	stepBad(s.next + maxJump)
}

// mendLog makes an entry storable and reports whether it had to be changed.
func mendLog(log *itn.Log) bool {
	mended := false
	text := func(s *string) {
		if fit := mendText(*s); fit != *s {
			*s, mended = fit, true
		}
	}
	text(&log.Message)
	text(&log.Process)
	for i := range log.Metadata {
		text(&log.Metadata[i].Item)
		if value, changed := mendJSON(log.Metadata[i].Value); changed {
			log.Metadata[i].Value, mended = value, true
		}
	}
	return mended
}

// mendText replaces what a PostgreSQL text cannot hold: NUL, and bytes that are no UTF-8.
func mendText(text string) string {
	if strings.IndexByte(text, 0) < 0 && utf8.ValidString(text) {
		return text
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// mendJSON replaces what a PostgreSQL jsonb cannot hold: NUL and lone surrogates in strings, and bytes that are no UTF-8. An absent value
// becomes null. What needs no mending keeps its bytes.
func mendJSON(value json.RawMessage) (mended json.RawMessage, changed bool) {
	switch {
	case len(value) == 0:
		return json.RawMessage("null"), true
	case utf8.Valid(value) && !bytes.Contains(value, []byte(`\u0000`)) && !hasSurrogate(value):
		return value, false
	}
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.UseNumber()
	var decoded any
	if err := decoder.Decode(&decoded); err != nil { // it came out of a JSON text, so this is depth or nothing
		return json.RawMessage(`"\ufffd"`), true
	}
	encoded, err := json.Marshal(withoutNUL(decoded))
	if err != nil {
		return json.RawMessage(`"\ufffd"`), true
	}
	return encoded, true
}

// hasSurrogate tells whether there may be half a character, written \ud800 to \udfff.
func hasSurrogate(value []byte) bool {
	return bytes.Contains(value, []byte(`\ud`)) || bytes.Contains(value, []byte(`\uD`))
}

func withoutNUL(value any) any {
	switch value := value.(type) {
	case string:
		return mendText(value)
	case []any:
		for i := range value {
			value[i] = withoutNUL(value[i])
		}
		return value
	case map[string]any:
		mended := make(map[string]any, len(value))
		for key, held := range value {
			mended[mendText(key)] = withoutNUL(held)
		}
		return mended
	}
	return value
}

// cut shortens a text to a number of bytes.
func cut(text string, bytes int) string {
	if len(text) <= bytes {
		return text
	}
	return strings.ToValidUTF8(text[:bytes], "")
}

// asMalformed is the record of an entry that the store refused.
func asMalformed(log itn.Log, reason error) Malformed {
	raw, err := json.Marshal(log)
	if err != nil {
		raw = nil // its JSON values are not even that
	}
	return Malformed{ID: log.ID, Reason: mendText(cut(fmt.Sprintf("the store refused it: %v", reason), maxRaw)), Raw: cut(string(raw), maxRaw)}
}
