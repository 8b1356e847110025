package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// rows are rows in the binary format of COPY, which PostgreSQL's documentation of that command defines. Written by hand it takes no
// allocation per value.
type rows struct {
	table   string
	columns string // separated by commas
	width   int16  // number of columns
	data    []byte
	starts  []int // of rows, in data
}

const (
	epochMicros = 946_684_800_000_000 // in microseconds since 1970
	epochDays   = 10_957              // in days since 1970
)

// grow makes room for rows and their bytes.
func (r *rows) grow(count, size int) {
	r.starts, r.data = slices.Grow(r.starts, count), slices.Grow(r.data, size)
}

const (
	copyHead = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	copyTail = "\xff\xff"
)

// row begins a row; the values of all columns follow.
func (r *rows) row() {
	r.starts = append(r.starts, len(r.data))
	r.data = binary.BigEndian.AppendUint16(r.data, uint16(r.width))
}

func (r *rows) length(n int) { r.data = binary.BigEndian.AppendUint32(r.data, uint32(n)) }

func (r *rows) null() { r.data = binary.BigEndian.AppendUint32(r.data, math.MaxUint32) }

func (r *rows) int32(v int32) {
	r.length(4)
	r.data = binary.BigEndian.AppendUint32(r.data, uint32(v))
}

func (r *rows) int64(v int64) {
	r.length(8)
	r.data = binary.BigEndian.AppendUint64(r.data, uint64(v))
}

func (r *rows) float64(v float64) {
	r.length(8)
	r.data = binary.BigEndian.AppendUint64(r.data, math.Float64bits(v))
}

func (r *rows) bool(v bool) {
	r.length(1)
	if v {
		r.data = append(r.data, 1)
	} else {
		r.data = append(r.data, 0)
	}
}

func (r *rows) text(v string) {
	r.length(len(v))
	r.data = append(r.data, v...)
}

// textOrNull writes the empty text as null.
func (r *rows) textOrNull(v string) {
	if v == "" {
		r.null()
		return
	}
	r.text(v)
}

func (r *rows) jsonb(v []byte) {
	r.length(len(v) + 1)
	r.data = append(r.data, 1) // the version of the format
	r.data = append(r.data, v...)
}

func (r *rows) uuid(v [16]byte) {
	r.length(16)
	r.data = append(r.data, v[:]...)
}

// time writes a timestamptz. The zero time is null.
func (r *rows) time(v time.Time) {
	if v.IsZero() {
		r.null()
		return
	}
	r.int64(v.UnixMicro() - epochMicros)
}

// day writes the date of a time at midnight UTC.
func (r *rows) day(v time.Time) { r.int32(int32(v.Unix()/86400 - epochDays)) }

// The first column's place in a row is behind the number of columns and the value's length; the second's behind an int64 and its length.
const (
	firstColumn  = 2 + 4
	secondColumn = firstColumn + 8 + 4
)

// setFirst fills in the first column of a row, an int64 that was not known before.
func (r *rows) setFirst(row int, v int64) {
	binary.BigEndian.PutUint64(r.data[r.starts[row]+firstColumn:], uint64(v))
}

// setSecond fills in the second column, an int32.
func (r *rows) setSecond(row int, v int32) {
	binary.BigEndian.PutUint32(r.data[r.starts[row]+secondColumn:], uint32(v))
}

// send copies rows of one table into it, all in one command.
func send(ctx context.Context, conn *pgx.Conn, list []*rows) error {
	count, data := 0, make([]io.Reader, 0, len(list)+2)
	data = append(data, strings.NewReader(copyHead))
	for _, r := range list {
		count += len(r.starts)
		data = append(data, bytes.NewReader(r.data))
	}
	if count == 0 {
		return nil
	}
	data = append(data, strings.NewReader(copyTail))
	table := list[0].table
	tag, err := conn.PgConn().CopyFrom(ctx, io.MultiReader(data...), "COPY "+table+" ("+list[0].columns+") FROM STDIN (FORMAT binary)")
	if err != nil {
		return fmt.Errorf("copying %d rows to %s: %w", count, table, err)
	}
	if tag.RowsAffected() != int64(count) {
		return fmt.Errorf("copying %d rows to %s: %d arrived", count, table, tag.RowsAffected())
	}
	return nil
}
