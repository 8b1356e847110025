// Package gpufake is a machine with several GPUs that are not there: for tests, and for rehearsals on machines without any. It answers like
// package gpu/nvml, and can be told to lose a GPU, to get it back, to report a fault, and to hang like a driver.
package gpufake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"provingground/snarkpool/gpu"
)

// Fake is the machine. It is safe for concurrent use.
type Fake struct {
	mu       sync.Mutex
	devices  []gpu.Device
	readings map[string]gpu.Reading
	gone     map[string]bool
	hang     chan struct{}
	watchers map[int]chan gpu.Event
	next     int
}

// New returns a machine with these GPUs, each with all its memory free and no fault.
func New(devices ...gpu.Device) *Fake {
	f := &Fake{devices: slices.Clone(devices), readings: make(map[string]gpu.Reading), gone: make(map[string]bool),
		watchers: make(map[int]chan gpu.Event)}
	for _, device := range devices {
		reading := gpu.Reading{UUID: device.UUID, MemoryTotalBytes: device.MemoryBytes, MemoryFreeBytes: device.MemoryBytes,
			MemoryUsedBytes: new(uint64(0)), UtilisationPercent: new(uint32(0)), TemperatureCelsius: new(uint32(35)),
			PowerMilliwatts: new(uint64(70_000)), EnergyMillijoules: new(uint64(0)), Throttle: []string{}, Processes: []gpu.Process{}}
		f.readings[device.UUID] = reading
	}
	return f
}

// Devices makes count GPUs of this much memory, spread over memory nodes of the host in turn, with the UUIDs GPU-fake-0 and on.
func Devices(count int, memoryBytes uint64, nodes int) []gpu.Device {
	devices := make([]gpu.Device, count)
	for i := range devices {
		devices[i] = gpu.Device{UUID: fmt.Sprintf("GPU-fake-%d", i), Model: "Fake GPU", Index: i, MemoryBytes: new(memoryBytes),
			PCI: fmt.Sprintf("0000:%02x:00.0", 0x10+i), LinkGeneration: new(4), LinkWidth: new(16), MaxLinkGeneration: new(4),
			MaxLinkWidth: new(16), Node: new(i % max(nodes, 1)), ComputeCapability: "0.0", Driver: "fake", MIGEnabled: new(false)}
	}
	return devices
}

// List returns the GPUs that are there.
func (f *Fake) List(ctx context.Context) ([]gpu.Device, error) {
	if err := f.answer(ctx); err != nil {
		return nil, fmt.Errorf("listing GPUs: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.devices), func(d gpu.Device) bool { return f.gone[d.UUID] }), nil
}

// Read returns one GPU's figures as they were last set, or an error that is [gpu.ErrGone].
func (f *Fake) Read(ctx context.Context, uuid string) (gpu.Reading, error) {
	if err := f.answer(ctx); err != nil {
		return gpu.Reading{}, fmt.Errorf("reading GPU %s: %w", uuid, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	reading, ok := f.readings[uuid]
	if !ok || f.gone[uuid] {
		return gpu.Reading{}, fmt.Errorf("reading GPU %s: %w", uuid, gpu.ErrGone)
	}
	return reading, nil
}

// Events hands over what [Fake.Emit] reports, until ctx ends.
func (f *Fake) Events(ctx context.Context, handle func(gpu.Event)) error {
	events := make(chan gpu.Event)
	f.mu.Lock()
	id := f.next
	f.next++
	f.watchers[id] = events
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, id)
	}()
	for {
		select {
		case event := <-events:
			handle(event)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Close does nothing.
func (f *Fake) Close(context.Context) error {
	return nil
}

// Emit reports an event to everybody who watches, and returns once they have it.
func (f *Fake) Emit(ctx context.Context, event gpu.Event) error {
	f.mu.Lock()
	watchers := make([]chan gpu.Event, 0, len(f.watchers))
	for _, events := range f.watchers {
		watchers = append(watchers, events)
	}
	f.mu.Unlock()
	if len(watchers) == 0 {
		return errors.New("nobody watches the fake's events")
	}
	for _, events := range watchers {
		select {
		case events <- event:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Change sets a GPU's figures.
func (f *Fake) Change(uuid string, change func(*gpu.Reading)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	reading := f.readings[uuid]
	change(&reading)
	f.readings[uuid] = reading
}

// Vanish takes a GPU away, and Return brings it back.
func (f *Fake) Vanish(uuid string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone[uuid] = true
}

// Return brings a GPU back that vanished.
func (f *Fake) Return(uuid string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.gone, uuid)
}

// Hang makes every question wait, as a hung driver does, until the returned function is called. It is called once at a time.
func (f *Fake) Hang() (release func()) {
	hang := make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hang = hang
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.hang = nil
		close(hang)
	})
}

func (f *Fake) answer(ctx context.Context) error {
	f.mu.Lock()
	hang := f.hang
	f.mu.Unlock()
	if hang == nil {
		return ctx.Err()
	}
	select {
	case <-hang:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
