package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
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
	count   int64
}

const (
	epochMicros = 946_684_800_000_000 // in microseconds since 1970
	epochDays   = 10_957              // in days since 1970
)

// row begins a row; the values of all columns follow.
func (r *rows) row() {
	if r.count == 0 {
		r.data = append(r.data, "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	}
	r.count++
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

// send copies the rows into their table.
func (r *rows) send(ctx context.Context, conn *pgx.Conn) error {
	if r.count == 0 {
		return nil
	}
	r.data = binary.BigEndian.AppendUint16(r.data, math.MaxUint16)
	sql := "COPY " + r.table + " (" + r.columns + ") FROM STDIN (FORMAT binary)"
	tag, err := conn.PgConn().CopyFrom(ctx, bytes.NewReader(r.data), sql)
	if err != nil {
		return fmt.Errorf("copying %d rows to %s: %w", r.count, r.table, err)
	}
	if tag.RowsAffected() != r.count {
		return fmt.Errorf("copying %d rows to %s: %d arrived", r.count, r.table, tag.RowsAffected())
	}
	return nil
}
