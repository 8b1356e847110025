package fetcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"provingground/orchestrator/itn"
)

// Archive takes the raw lines of what was stored, after it was stored: a copy for people, of which the end may be missing after a
// crash. It is called by many goroutines at once, but by one at a time for each node.
type Archive interface {
	Write(node string, entries []itn.Log) error
}

// Files is an Archive: a folder for each node with the files of log-fetcher, section 5. A file that is full is renamed to FILE.1, FILE.1 to
// FILE.2, and so on, and the oldest one is deleted.
type Files struct {
	Dir      string
	MaxBytes int64 // after which a file is full; 0 means 64 MiB
	Keep     int   // full files kept of each kind; 0 keeps none
}

// defaultFileBytes is the default of Files.MaxBytes.
const defaultFileBytes = 64 << 20

// Write appends entries to their processes' files. Those of a process that the format does not know are left out, and an error says so.
func (f Files) Write(node string, entries []itn.Log) error {
	folder := filepath.Join(f.Dir, folderName(node))
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return fmt.Errorf("keeping raw lines: %w", err)
	}
	lines := make(map[string][]byte)
	var errs []error
	for _, entry := range entries {
		var name string
		switch entry.Process {
		case "":
			name = "internal-trace.jsonl"
		case "prover", "verifier":
			name = entry.Process + "-internal-trace.jsonl"
		default:
			errs = append(errs, fmt.Errorf("keeping raw lines: log entry %d is of an unknown process %q", entry.ID, entry.Process))
			continue
		}
		line, err := traceLine(entry)
		if err != nil {
			errs = append(errs, fmt.Errorf("keeping raw lines: log entry %d: %w", entry.ID, err))
			continue
		}
		lines[name] = append(append(lines[name], line...), '\n')
	}
	for name, text := range lines {
		errs = append(errs, f.append(filepath.Join(folder, name), text))
	}
	return errors.Join(errs...)
}

// append adds lines to a file, in one write.
func (f Files) append(path string, lines []byte) (err error) {
	full := f.MaxBytes
	if full == 0 {
		full = defaultFileBytes
	}
	if info, err := os.Stat(path); err == nil && info.Size()+int64(len(lines)) > full {
		if err := f.rotate(path); err != nil {
			return err
		}
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640) //nolint:gosec // the operator's folder, and a name of ours
	if err != nil {
		return fmt.Errorf("keeping raw lines: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Write(lines); err != nil {
		return fmt.Errorf("keeping raw lines: %w", err)
	}
	return nil
}

func (f Files) rotate(path string) error {
	if f.Keep == 0 {
		return os.Remove(path)
	}
	numbered := func(i int) string {
		if i == 0 {
			return path
		}
		return path + "." + strconv.Itoa(i)
	}
	for i := f.Keep - 1; i >= 0; i-- {
		if err := os.Rename(numbered(i), numbered(i+1)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("rotating raw lines: %w", err)
		}
	}
	return nil
}

// folderName is a node's name without what would lead to another folder: a submitter is whatever somebody reported.
func folderName(node string) string {
	name := strings.Map(func(r rune) rune {
		if r == '/' || r == os.PathSeparator || r < ' ' {
			return '_'
		}
		return r
	}, node)
	return cut(name, 200)
}

// traceLine spells an entry as a line of a trace file: a checkpoint as its name and the time in floating seconds, which always have a
// decimal point; a control record as one object whose keys are in alphabetical order (log-fetcher, section 5).
func traceLine(entry itn.Log) ([]byte, error) {
	if entry.Message == "@control" {
		object := make(map[string]json.RawMessage, len(entry.Metadata))
		for _, metadatum := range entry.Metadata {
			object[metadatum.Item] = metadatum.Value
		}
		return json.Marshal(object)
	}
	micros, sign := entry.Timestamp.UnixMicro(), ""
	if micros < 0 {
		micros, sign = -micros, "-"
	}
	seconds := json.RawMessage(fmt.Sprintf("%s%d.%06d", sign, micros/1_000_000, micros%1_000_000))
	return json.Marshal([]any{entry.Message, seconds})
}
