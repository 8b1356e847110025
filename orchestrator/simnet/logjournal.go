package simnet

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"provingground/orchestrator/itn"
)

// LogLine is one line of Options.LogJournal: an entry of a daemon's internal log, written as it was traced, before its queue can drop it.
// What became of the entry is in the journal: LogsRead, LogsFlushed, LogsRetained, DaemonStopped.
type LogLine struct {
	Node       string            `json:"node"` // HOST:PORT
	ServerUUID string            `json:"serverUuid"`
	ID         int               `json:"id"`
	Time       time.Time         `json:"time"`              // network time, UTC, in whole microseconds
	Process    string            `json:"process,omitempty"` // "prover", "verifier", or empty for the daemon itself
	Message    string            `json:"message"`
	Metadata   []LogLineMetadata `json:"metadata,omitempty"`
}

// LogLineMetadata is one item of an entry's metadata.
type LogLineMetadata struct {
	Item  string          `json:"item"`
	Value json.RawMessage `json:"value"`
}

// ReadLogLines calls each with every line of what Options.LogJournal took, in order, and stops at its first error.
func ReadLogLines(from io.Reader, each func(LogLine) error) error {
	decoder := json.NewDecoder(bufio.NewReader(from))
	for n := 1; ; n++ {
		var line LogLine
		if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("log journal, line %d: %w", n, err)
		}
		if err := each(line); err != nil {
			return err
		}
	}
}

// logJournal writes the entries of all daemons' logs. It is used with the network's lock held.
type logJournal struct {
	out     *bufio.Writer
	failure error // the first one; nothing is written after it
}

func (j *logJournal) add(node *node, serverUUID string, entries []itn.Log) {
	for _, entry := range entries {
		if j.failure != nil {
			return
		}
		line := LogLine{
			Node: node.address, ServerUUID: serverUUID, ID: entry.ID, Time: entry.Timestamp, Process: entry.Process, Message: entry.Message,
		}
		for _, metadatum := range entry.Metadata {
			line.Metadata = append(line.Metadata, LogLineMetadata(metadatum))
		}
		text, err := json.Marshal(line)
		if err == nil {
			_, err = j.out.Write(append(text, '\n'))
		}
		j.failure = err
	}
}

// flush hands everything to the writer and returns the first failure there was.
func (j *logJournal) flush() error {
	if j.failure == nil {
		j.failure = j.out.Flush()
	}
	return j.failure
}
