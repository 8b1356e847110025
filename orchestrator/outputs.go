package orchestrator

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"syscall"

	"provingground/dsl"
	"provingground/orchestrator/record"
)

// value is what an argument or an output holds: one JSON value, or the elements of a list.
type value struct {
	one  json.RawMessage
	list []json.RawMessage // of a list; never nil then
}

// outputKey names an output of a run.
type outputKey struct {
	step int
	name string
}

// outputs keeps the outputs of steps as long as a later step refers to them. Safe for concurrent use.
type outputs struct {
	mu     sync.Mutex
	wanted map[outputKey]int // the last step that refers to an output
	held   map[outputKey]*value
	all    bool                            // keep every output: what later steps refer to is not known yet
	files  map[string]map[outputKey]*value // outputs of earlier runs, by file
}

func newOutputs() *outputs {
	return &outputs{
		wanted: map[outputKey]int{}, held: map[outputKey]*value{},
		files: map[string]map[outputKey]*value{},
	}
}

// want says that a step refers to an output.
func (o *outputs) want(ref *dsl.Ref, step int) {
	key := outputKey{ref.Step, ref.Name}
	o.wanted[key] = max(o.wanted[key], step)
}

// add takes over an output, or one more element of a list output, if any step refers to it.
func (o *outputs) add(key outputKey, multi bool, v json.RawMessage) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.wanted[key]; !ok && !o.all {
		return
	}
	held := o.held[key]
	if held == nil {
		held = &value{}
		o.held[key] = held
	}
	if multi {
		held.list = append(held.list, v)
		return
	}
	held.one = v
}

// drop forgets the outputs that no step after this one refers to.
func (o *outputs) drop(keys []outputKey) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, key := range keys {
		delete(o.held, key)
	}
}

// get returns what a reference refers to, and false where that does not exist.
func (o *outputs) get(ref *dsl.Ref) (value, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	held := o.held
	if ref.File != "" {
		held = o.files[ref.File]
	}
	v, ok := held[outputKey{ref.Step, ref.Name}]
	if !ok {
		return value{}, false
	}
	return *v, true
}

// load reads the outputs of an earlier run from its file.
func (o *outputs) load(path string) (err error) {
	if _, ok := o.files[path]; ok {
		return nil
	}
	// Without O_NONBLOCK, opening a pipe would wait for its writer.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the script names the file of an earlier run; nothing of it but outputs is used
	if err != nil {
		return fmt.Errorf("outputs of an earlier run: %w", err)
	}
	defer func() { _ = file.Close() }()
	const maxFile = 1 << 30
	switch info, err := file.Stat(); {
	case err != nil:
		return fmt.Errorf("outputs of an earlier run: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("outputs of an earlier run: %s is not a plain file", path)
	case info.Size() > maxFile:
		return fmt.Errorf("outputs of an earlier run: %s is larger than 1 GiB", path)
	}
	held := map[outputKey]*value{}
	_, err = record.Read(path, file, func(l record.Line) error {
		if !l.Output() {
			return nil
		}
		key := outputKey{l.Step, l.Name}
		v := held[key]
		if v == nil {
			v = &value{}
			held[key] = v
		}
		if l.Multi {
			v.list = append(v.list, l.Value)
		} else {
			v.one = l.Value
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("outputs of an earlier run: %w", err)
	}
	o.files[path] = held
	return nil
}
