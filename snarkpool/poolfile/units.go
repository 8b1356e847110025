package poolfile

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"provingground/dsl"
)

// Bytes is an amount of memory in bytes. Its text is a number and a unit of 1024 to some power: 7GiB, 1.5TiB, 0B.
type Bytes uint64

// The units of [Bytes].
const (
	KiB Bytes = 1 << 10
	MiB Bytes = 1 << 20
	GiB Bytes = 1 << 30
	TiB Bytes = 1 << 40
)

var errNotBytes = errors.New("memory is written like 7GiB, with KiB, MiB, GiB or TiB")

// ParseBytes reads such a text. The amount is a whole number of bytes and below 8 EiB.
func ParseBytes(text string) (Bytes, error) {
	i := strings.LastIndexAny(text, "0123456789.") + 1
	number, unit := text[:i], text[i:]
	value, ok := dsl.Decimal(number)
	if !ok || value.Sign() < 0 || strings.ContainsAny(number, "eE") {
		return 0, errNotBytes
	}
	units := map[string]Bytes{"B": 1, "KiB": KiB, "MiB": MiB, "GiB": GiB, "TiB": TiB}
	size, ok := units[unit]
	if !ok {
		for _, known := range []string{"KiB", "MiB", "GiB", "TiB"} {
			if given := strings.TrimSpace(unit); given != "" && strings.EqualFold(given[:1], known[:1]) {
				return 0, fmt.Errorf("did you mean %s%s? %w", number, known, errNotBytes)
			}
		}
		return 0, errNotBytes
	}
	value.Mul(value, new(big.Rat).SetUint64(uint64(size)))
	if !value.IsInt() {
		return 0, errors.New("that is no whole number of bytes")
	}
	if !value.Num().IsInt64() {
		return 0, errors.New("that is more memory than there can be")
	}
	return Bytes(value.Num().Int64()), nil
}

// String returns the amount in the largest unit that it is a whole number of; [ParseBytes] reads it back.
func (b Bytes) String() string {
	for _, unit := range []struct {
		name string
		size Bytes
	}{{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}} {
		if b >= unit.size && b%unit.size == 0 {
			return strconv.FormatUint(uint64(b/unit.size), 10) + unit.name
		}
	}
	return strconv.FormatUint(uint64(b), 10) + "B"
}

// Round returns the amount as a person reads it, in GiB with one decimal, or in MiB below one: 62.5GiB.
func (b Bytes) Round() string {
	unit, name := GiB, "GiB"
	if b < GiB {
		unit, name = MiB, "MiB"
	}
	return strconv.FormatFloat(math.Floor(10*float64(b)/float64(unit))/10, 'f', -1, 64) + name
}

// MarshalText returns the text that String does.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads what [ParseBytes] does.
func (b *Bytes) UnmarshalText(text []byte) error {
	parsed, err := ParseBytes(string(text))
	if err != nil {
		return err
	}
	*b = parsed
	return nil
}

// maxDuration bounds the file's durations, so that sums of them stay representable.
const maxDuration = 366 * 24 * time.Hour

// parseDuration reads a duration such as 500ms, 5m, 1h30m: positive, at most a year.
func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return 0, errors.New("a duration is written like 500ms, 30s, 5m or 1h30m")
	case d <= 0:
		return 0, errors.New("a duration must be above 0")
	case d > maxDuration:
		return 0, errors.New("a duration is at most a year, 8784h")
	}
	return d, nil
}
