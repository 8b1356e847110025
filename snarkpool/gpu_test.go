//go:build linux

package snarkpool_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"provingground/snarkpool"
	"provingground/snarkpool/control"
	"provingground/snarkpool/gpu"
	"provingground/snarkpool/gpu/gpufake"
)

// TestGPUs fences GPUs by hand and by faults: their workers have no process meanwhile, and a check brings them back. A fence survives the agent.
func TestGPUs(t *testing.T) {
	fake := gpufake.New(gpufake.Devices(2, 24<<30, 1)...)
	var failing atomic.Bool
	table, err := gpu.BuiltInXIDTable()
	if err != nil {
		t.Fatal(err)
	}
	change := func(o *snarkpool.Options) {
		o.GPUs, o.XIDs = fake, table
		o.CheckGPU = func(context.Context, gpu.Device) error {
			if failing.Load() {
				return errors.New("it multiplied wrongly")
			}
			return nil
		}
	}
	file := strings.Replace(poolFile(2, `"1ms", "right"`, `, "gpu": {"count": 1}`), `{"workers": 2}`, `{"workers_per_gpu": 1}`, 1)
	w := newWorld(t, file, change)
	w.awaitState("bm7/cpu/0", "idle")
	w.awaitState("bm7/cpu/1", "idle")
	if s := w.worker("bm7/cpu/0"); len(s.GPUs) != 1 || s.GPUs[0] != "GPU-fake-0" {
		t.Errorf("%+v", s)
	}

	w.gpu(control.OpGPUFence, "GPU-fake-0")
	w.awaitState("bm7/cpu/0", "blocked")
	w.stop()
	w.start(change)
	w.awaitState("bm7/cpu/1", "idle")
	if s := w.worker("bm7/cpu/0"); s.State != "blocked" {
		t.Errorf("another agent lifted the fence: %+v", s)
	}
	w.gpu(control.OpGPUUnfence, "GPU-fake-0")
	w.awaitState("bm7/cpu/0", "idle")

	failing.Store(true)
	w.gpu(control.OpGPUCheck, "GPU-fake-1")
	w.awaitState("bm7/cpu/1", "blocked")
	if s := w.worker("bm7/cpu/1"); !strings.Contains(s.Reason, "multiplied wrongly") {
		t.Errorf("%+v", s)
	}
	failing.Store(false)
	w.gpu(control.OpGPUUnfence, "GPU-fake-1")
	w.awaitState("bm7/cpu/1", "idle")

	failing.Store(true)
	if err := fake.Emit(t.Context(), gpu.Event{UUID: "GPU-fake-0", Kind: gpu.KindXID, XID: 99_999}); err != nil { // Unknown codes fence.
		t.Fatal(err)
	}
	w.awaitState("bm7/cpu/0", "blocked")
	fake.Vanish("GPU-fake-1")
	w.awaitState("bm7/cpu/1", "blocked")
	w.source.addFakes(1)
	failing.Store(false)
	w.gpu(control.OpGPUUnfence, "GPU-fake-0")
	w.source.awaitAll(t)
}

// gpu gives a command about one GPU.
func (w *world) gpu(operation control.Operation, uuid string) {
	w.Helper()
	if _, err := w.Change(w.Context(), control.Command{Operation: operation, Arguments: control.Arguments{GPU: uuid, Reason: "a test"}}); err != nil {
		w.Fatal(err)
	}
}
