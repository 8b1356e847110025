package store

import (
	"bytes"
	"encoding/json"
	"strings"

	"provingground/fetcher/trace"
	"provingground/orchestrator/itn"
)

// maxKept is how much is kept of a JSON value that jsonb does not take, in characters.
const maxKept = 16 << 10

// control is the message of entries that are no checkpoints (itn-graphql, section 6).
const control = "@control"

// entry is an entry of a log as it is stored.
type entry struct {
	message, process string
	metadata         []byte // nil without items
	damaged          bool
	record           trace.Record
	err              error // why it is no trace record
}

// entryOf converts an entry. Nothing of it can keep the row from being stored.
func (c *counter) entryOf(log *itn.Log) entry {
	e := entry{message: clean(log.Message), process: clean(log.Process)}
	e.damaged = strings.Contains(e.message, replacement) || strings.Contains(e.process, replacement)
	process, err := trace.ParseProcess(log.Process)
	e.err = err
	if len(log.Metadata) > 0 {
		record := c.controlOf(process, int64(log.ID), log.Metadata, &e.damaged)
		e.metadata = objectOf(record.Control)
		e.damaged = e.damaged || bytes.Contains(e.metadata, []byte(replacement)) || bytes.Contains(e.metadata, []byte(`\ufffd`))
		if e.err == nil && log.Message == control {
			e.record = record
			return e
		}
	}
	switch {
	case e.err != nil:
	case log.Message == control:
		e.record, e.err = trace.NewControl(process, int64(log.ID), nil) // says that there are no items
	default:
		e.record, e.err = trace.NewCheckpoint(process, int64(log.ID), log.Message, log.Timestamp)
	}
	return e
}

// controlOf makes a record of items. A value that jsonb does not take becomes a string that shows it.
func (c *counter) controlOf(process trace.Process, id int64, metadata []itn.LogMetadatum, damaged *bool) trace.Record {
	items := make([]trace.Item, len(metadata))
	for i, m := range metadata {
		items[i] = trace.Item{Key: m.Item, Value: m.Value}
	}
	record, err := trace.NewControl(process, id, items)
	if err == nil {
		return record
	}
	*damaged = true
	for i := range items {
		if _, err := trace.NewControl(process, id, items[i:i+1]); err != nil {
			items[i].Value = quote(c.fit(clean(string(items[i].Value)), maxKept))
		}
	}
	record, err = trace.NewControl(process, id, items)
	if err != nil {
		record.Control = nil // cannot happen: strings are taken
	}
	return record
}

// objectOf writes items as one JSON object.
func objectOf(items []trace.Item) []byte {
	size := 2
	for _, item := range items {
		size += len(item.Key) + len(item.Value) + 4
	}
	object := append(make([]byte, 0, size), '{')
	for i, item := range items {
		if i > 0 {
			object = append(object, ',')
		}
		object = appendQuoted(object, item.Key)
		object = append(object, ':')
		object = append(object, item.Value...)
	}
	return append(object, '}')
}

// appendQuoted appends a text as a JSON string.
func appendQuoted(dst []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x80 {
			return append(dst, quote(text)...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, text...)
	return append(dst, '"')
}

// quote makes a JSON string of a text.
func quote(text string) json.RawMessage {
	quoted, err := json.Marshal(text)
	if err != nil {
		return json.RawMessage(`""`) // cannot happen: strings always encode
	}
	return quoted
}
