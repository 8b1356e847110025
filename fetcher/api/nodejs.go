package api

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// The existing experiments API is a program for Node.js, whose PostgreSQL library gives bigint and numeric as strings, an interval as an
// object of its parts that are not zero, and times as JavaScript writes them, in UTC with milliseconds. Its clients expect that.

// interval is an interval in an answer.
type interval pgtype.Interval

// ScanInterval reads it from the database.
func (i *interval) ScanInterval(read pgtype.Interval) error {
	*i = interval(read)
	return nil
}

// MarshalJSON writes an object such as {"hours":1,"minutes":5}; what is zero is left out, milliseconds may have a fraction.
func (i interval) MarshalJSON() ([]byte, error) {
	var parts []string
	add := func(name string, value int64) {
		if value != 0 {
			parts = append(parts, fmt.Sprintf("%q:%d", name, value))
		}
	}
	add("years", int64(i.Months/12))
	add("months", int64(i.Months%12))
	add("days", int64(i.Days))
	const second = int64(time.Second / time.Microsecond)
	add("hours", i.Microseconds/(3600*second))
	add("minutes", i.Microseconds/(60*second)%60)
	add("seconds", i.Microseconds/second%60)
	if fraction := i.Microseconds % second; fraction != 0 {
		parts = append(parts, `"milliseconds":`+strconv.FormatFloat(float64(fraction)/1000, 'f', -1, 64))
	}
	return []byte("{" + strings.Join(parts, ",") + "}"), nil
}

// instant is a point in time in an answer, of type timestamptz, or timestamp in UTC.
type instant struct {
	time.Time

	infinite bool
}

// ScanTimestamptz reads it from the database.
func (i *instant) ScanTimestamptz(read pgtype.Timestamptz) error {
	*i = instant{read.Time, read.InfinityModifier != pgtype.Finite}
	return nil
}

// ScanTimestamp reads it from the database.
func (i *instant) ScanTimestamp(read pgtype.Timestamp) error {
	*i = instant{read.Time, read.InfinityModifier != pgtype.Finite}
	return nil
}

// MarshalJSON writes such as "2026-11-20T12:00:00.000Z", and null for the times before or after all others.
func (i instant) MarshalJSON() ([]byte, error) {
	if i.infinite {
		return []byte("null"), nil
	}
	return []byte(i.UTC().Format(`"2006-01-02T15:04:05.000Z"`)), nil
}
