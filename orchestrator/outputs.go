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
	id   string // name of the step, in place of its number, in an earlier run
}

// outputs keeps the outputs of steps as long as a later step refers to them. Safe for concurrent use.
type outputs struct {
	mu     sync.Mutex
	wanted map[outputKey]int // the last item of the script that refers to an output
	held   map[outputKey]*value
	lists  map[outputKey]bool              // the outputs that steps refer to and that are lists, one line for each element
	done   map[int]bool                    // by step, whether it is finished
	asked  map[int]asked                   // by step, where some of the nodes that it asked did not answer
	all    bool                            // keep every output: what later steps refer to is not known yet
	files  map[string]map[outputKey]*value // outputs of earlier runs, by file
}

func newOutputs() *outputs {
	return &outputs{
		wanted: map[outputKey]int{}, held: map[outputKey]*value{},
		files: map[string]map[outputKey]*value{}, asked: map[int]asked{}, lists: map[outputKey]bool{}, done: map[int]bool{},
	}
}

// asked is how many nodes a step asked, and how many of them did not answer.
type asked struct {
	Asked  int `json:"asked"`
	Silent int `json:"silent"`
}

// silence says how many nodes a step asked and how many did not answer.
func (o *outputs) silence(step int, a asked) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked[step] = a
}

// want says that the script's item of that index refers to an output of this run.
func (o *outputs) want(ref *dsl.Ref, item int) {
	key := outputKey{step: ref.Step, name: ref.Name}
	o.wanted[key] = max(o.wanted[key], item)
}

// askedBy returns how many nodes the step of an output asked, and how many did not answer.
func (o *outputs) askedBy(ref *dsl.Ref) asked {
	o.mu.Lock()
	defer o.mu.Unlock()
	if ref.File != "" {
		return asked{}
	}
	return o.asked[ref.Step]
}

// finish says that a step is finished: what it has not given out by now it does not.
func (o *outputs) finish(step int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.lists) > 0 {
		o.done[step] = true
	}
}

// empty reports whether an output is a list without an element: its step is finished, and gave out none.
func (o *outputs) empty(ref *dsl.Ref) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return ref.File == "" && o.done[ref.Step] && o.lists[outputKey{step: ref.Step, name: ref.Name}]
}

// forget drops what a step gave out: it is tried again.
func (o *outputs) forget(step int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key := range o.held {
		if key.step == step {
			delete(o.held, key)
		}
	}
	delete(o.asked, step)
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

// drop forgets outputs that nothing refers to any more.
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
	key := outputKey{step: ref.Step, name: ref.Name}
	if ref.StepID != "" {
		key = outputKey{id: ref.StepID, name: ref.Name}
	}
	v, ok := held[key]
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
		key := outputKey{step: l.Step, name: l.Name}
		v := held[key]
		if v == nil {
			v = &value{}
			held[key] = v
			if l.ID != "" {
				held[outputKey{id: l.ID, name: l.Name}] = v
			}
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
