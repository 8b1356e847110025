package store

import (
	"crypto/sha1" //nolint:gosec // UUIDs of version 5 are defined by it; nothing secret depends on it
	"crypto/sha256"
	"encoding/hex"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// Widths of columns, in characters (internal-trace, section 6.1), and of texts in an index, which takes no more than 2,704 bytes.
const (
	maxName      = 255 // node names, senders, provers, fees
	maxHash      = 128
	maxType      = 64
	maxMemo      = 600
	cutMark      = "…"
	cutDigestLen = 8
)

const replacement = "\uFFFD"

// fit shortens a text to a number of characters. What it cuts off shows by a mark, and a digest keeps different texts apart.
func (c *counter) fit(text string, characters int) string {
	if len(text) <= characters || utf8.RuneCountInString(text) <= characters {
		return text
	}
	c.cut++
	digest := sha256.Sum256([]byte(text))
	keep, end := characters-len([]rune(cutMark))-cutDigestLen, 0
	for i := range text {
		if keep == 0 {
			end = i
			break
		}
		keep--
	}
	return text[:end] + cutMark + hex.EncodeToString(digest[:cutDigestLen/2])
}

// clean replaces what a PostgreSQL text cannot hold: NUL, and bytes that are no UTF-8.
func clean(text string) string {
	if strings.IndexByte(text, 0) < 0 && utf8.ValidString(text) {
		return text
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, replacement), "\x00", replacement)
}

// instant returns a node's time if it can be one, in the years 1970 to 9999 as trace takes them, and else the zero time, which is null.
func instant(t time.Time) time.Time {
	if t.Unix() < 0 || t.Year() > 9999 {
		return time.Time{}
	}
	return t.UTC()
}

// seconds returns the time of seconds since 1970 in whole microseconds, as nodes write them.
func seconds(at float64) time.Time { return time.UnixMicro(int64(math.Round(at * 1e6))).UTC() }

// serverUUID returns the UUID under which a daemon's run is stored, and the text by which the daemon names it where that is not how
// the UUID is written.
func serverUUID(text string) (id [16]byte, unusual string) {
	plain := strings.ToLower(text)
	if len(plain) == 36 && plain[8] == '-' && plain[13] == '-' && plain[18] == '-' && plain[23] == '-' {
		if _, err := hex.Decode(id[:], []byte(strings.ReplaceAll(plain, "-", ""))); err == nil {
			if plain == text {
				return id, ""
			}
			return id, clean(text)
		}
	}
	return namedUUID(text), clean(text)
}

// namedUUID makes a UUID of version 5 (RFC 9562, section 5.5) from texts, in a name space of our own.
func namedUUID(texts ...string) (id [16]byte) {
	hash := sha1.New()                       //nolint:gosec // see above
	hash.Write([]byte("provingground log ")) // 16 bytes and more: no other name space begins like it
	for _, text := range texts {
		hash.Write([]byte(text))
		hash.Write([]byte{0})
	}
	copy(id[:], hash.Sum(nil))
	id[6] = id[6]&0x0f | 0x50
	id[8] = id[8]&0x3f | 0x80
	return id
}

// uuidText writes a UUID as PostgreSQL does.
func uuidText(id [16]byte) string {
	digits := hex.EncodeToString(id[:])
	return digits[:8] + "-" + digits[8:12] + "-" + digits[12:16] + "-" + digits[16:20] + "-" + digits[20:]
}
