package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"provingground/fetcher"
	"provingground/orchestrator/itn"
)

// FuzzEntry converts an entry to a row of log_entry, and reads the row as PostgreSQL would.
func FuzzEntry(f *testing.F) {
	f.Add(int64(1), int64(1_700_000_000), "External_block_received", "", "", []byte(nil))
	f.Add(int64(2), int64(1_700_000_000), "@control", "prover", "metadata", []byte(`{"work_ids":[1]}`))
	f.Add(int64(3), int64(-1), "nul\x00 \xff", "archive\x00", "\x00", []byte(`"\u0000 \ud800"`))
	f.Add(int64(4), int64(1<<60), "@control", "", "number", []byte(`1e400000`))
	f.Add(int64(5), int64(0), "@control", "", "deep", []byte(strings.Repeat("[", 300)+strings.Repeat("]", 300)))
	f.Add(int64(6), int64(0), "@control", "", "no JSON", []byte(`{`))
	store := &Store{}
	f.Fuzz(func(t *testing.T, id, unix int64, message, process, item string, value []byte) {
		log := itn.Log{ID: int(id), Timestamp: time.Unix(unix, 0), Message: message, Process: process}
		if item != "" {
			log.Metadata = []itn.LogMetadatum{{Item: item, Value: value}}
		}
		w := store.newWrite(&deployment{id: 7}, &fetcher.Batch{}, newNode("node", 8), time.Unix(1_700_000_000, 0).UTC())
		e := w.entryOf(&log)
		w.entry(log.ID, instant(log.Timestamp), &e)
		columns := fieldsOf(t, &w.entries)
		if got := int64(binary.BigEndian.Uint64(columns[3])); got != id {
			t.Errorf("id %d became %d", id, got)
		}
		if at := columns[6]; at != nil {
			when := time.UnixMicro(int64(binary.BigEndian.Uint64(at)) + epochMicros).UTC()
			if when.Year() < 1970 || when.Year() > 9999 || when.Unix() != unix {
				t.Errorf("second %d became %v", unix, when)
			}
		}
		for _, i := range []int{7, 8} {
			if !utf8.Valid(columns[i]) || bytes.IndexByte(columns[i], 0) >= 0 {
				t.Errorf("column %d is %q", i, columns[i])
			}
		}
		if text := string(columns[8]); utf8.ValidString(message) && !strings.Contains(message, "\x00") && text != message {
			t.Errorf("message %q became %q", message, text)
		}
		switch metadata := columns[9]; {
		case (metadata == nil) != (item == ""):
			t.Errorf("metadata of %q are %q", item, metadata)
		case metadata != nil:
			if metadata[0] != 1 || !json.Valid(metadata[1:]) || !utf8.Valid(metadata) {
				t.Errorf("metadata %q", metadata)
			}
			var object map[string]any
			decoder := json.NewDecoder(bytes.NewReader(metadata[1:]))
			decoder.UseNumber()
			if err := decoder.Decode(&object); err != nil || len(object) != 1 {
				t.Errorf("metadata %q: %v", metadata, err)
			}
			for key := range object {
				if strings.Contains(key, "\x00") {
					t.Errorf("key %q", key)
				}
			}
		}
	})
}

// fieldsOf reads the columns of the only row; nil is null.
func fieldsOf(t *testing.T, r *rows) [][]byte {
	t.Helper()
	data := r.data
	if len(r.starts) != 1 || binary.BigEndian.Uint16(data) != uint16(r.width) {
		t.Fatalf("%d rows, %q", len(r.starts), data)
	}
	data = data[2:]
	columns := make([][]byte, r.width)
	for i := range columns {
		length := binary.BigEndian.Uint32(data)
		data = data[4:]
		if length != math.MaxUint32 {
			columns[i], data = data[:length:length], data[length:]
		}
	}
	if len(data) != 0 {
		t.Fatalf("%d bytes are left", len(data))
	}
	return columns
}
