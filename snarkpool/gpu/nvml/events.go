//go:build nvml && linux && cgo

package nvml

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"provingground/snarkpool/gpu"
)

const (
	// waitSlice is how long one wait for an event lasts: an end of the context is seen that soon.
	waitSlice = 250 * time.Millisecond
	// waitGrace is how much longer a wait may take before its thread is given up as hung.
	waitGrace = time.Second
)

// ErrWatched is what a second [Reader.Events] at the same time fails with.
var ErrWatched = errors.New("the GPUs' events are watched already")

// watching is a set of events and what to call the GPUs in it, which a lost GPU cannot be asked any more.
type watching struct {
	set       nvml.EventSet
	names     map[nvml.Device]string
	unwatched []gpu.Event
}

// Events hands faults over as they happen, on the caller's goroutine, until ctx ends or the driver fails; it returns why. GPUs whose faults
// the driver does not report are handed over first, as [gpu.KindUnwatched]. After an error that is [gpu.ErrGone] the caller lists the GPUs
// anew and watches again. One call at a time.
func (r *Reader) Events(ctx context.Context, handle func(gpu.Event)) error {
	select {
	case r.watch <- struct{}{}:
	default:
		return ErrWatched
	}
	watched, err := ask(ctx, r, "watching GPUs", r.register)
	if err != nil {
		<-r.watch
		return err
	}
	for _, event := range watched.unwatched {
		handle(event)
	}
	events, ended := make(chan gpu.Event), make(chan error, 1)
	go func() { // ends within waitSlice of ctx's end, unless the driver hangs; Close waits for it through watch
		err := errors.Join(watched.wait(ctx, events), free(watched.set))
		<-r.watch
		ended <- err
	}()
	for {
		select {
		case event := <-events:
			handle(event)
		case err := <-ended:
			return err
		case <-ctx.Done():
			patience := time.NewTimer(waitSlice + waitGrace)
			defer patience.Stop()
			select {
			case <-ended:
				return context.Cause(ctx)
			case <-patience.C:
				return fmt.Errorf("watching GPUs: the driver does not answer: %w", context.Cause(ctx))
			}
		}
	}
}

func (r *Reader) register() (watching, error) {
	set, answer := r.library.EventSetCreate()
	if answer != nvml.SUCCESS {
		return watching{}, errors.New(why(answer))
	}
	watched := watching{set: set, names: make(map[nvml.Device]string)}
	count, answer := r.library.DeviceGetCount()
	if answer != nvml.SUCCESS {
		return watching{}, errors.Join(fmt.Errorf("counting them: %s", why(answer)), free(set))
	}
	for index := range count {
		handle, answer := r.library.DeviceGetHandleByIndex(index)
		if answer != nvml.SUCCESS {
			continue // List names it
		}
		var d device = handle
		uuid, answer := d.GetUUID()
		if answer != nvml.SUCCESS {
			continue
		}
		watched.names[handle] = uuid
		types, answer := d.GetSupportedEventTypes()
		if answer == nvml.SUCCESS {
			types &= nvml.EventTypeXidCriticalError | nvml.EventTypeDoubleBitEccError
			answer = nvml.ERROR_NOT_SUPPORTED
			if types&nvml.EventTypeXidCriticalError != 0 {
				answer = d.RegisterEvents(types, set)
			}
		}
		if answer != nvml.SUCCESS {
			watched.unwatched = append(watched.unwatched, gpu.Event{UUID: uuid, Kind: gpu.KindUnwatched, Detail: why(answer)})
		}
	}
	return watched, nil
}

func free(set nvml.EventSet) error {
	if answer := set.Free(); answer != nvml.SUCCESS {
		return fmt.Errorf("letting go of the GPUs' events: %s", why(answer))
	}
	return nil
}

func (w watching) wait(ctx context.Context, events chan<- gpu.Event) error {
	for ctx.Err() == nil {
		data, answer := w.set.Wait(uint32(waitSlice.Milliseconds()))
		var found []gpu.Event
		var failure error
		switch answer {
		case nvml.SUCCESS:
			found = []gpu.Event{w.event(data)}
		case nvml.ERROR_TIMEOUT:
			continue
		case nvml.ERROR_GPU_IS_LOST:
			found, failure = w.lost(), fmt.Errorf("watching GPUs: %w", gpu.ErrGone)
		default:
			return fmt.Errorf("watching GPUs: %s", why(answer))
		}
		for _, event := range found {
			select {
			case events <- event:
			case <-ctx.Done():
				return nil
			}
		}
		if failure != nil {
			return failure
		}
	}
	return nil
}

func (w watching) event(data nvml.EventData) gpu.Event {
	event := gpu.Event{UUID: w.names[data.Device], Kind: gpu.KindXID, XID: data.EventData}
	if data.EventType == nvml.EventTypeDoubleBitEccError {
		event.Kind, event.XID = gpu.KindECC, 0
	}
	return event
}

// lost finds out which GPUs the driver has lost, since the wait does not say. When none admits to it, any may be meant.
func (w watching) lost() []gpu.Event {
	var events []gpu.Event
	for handle, uuid := range w.names {
		var d device = handle
		if _, answer := d.GetMemoryInfo(); answer == nvml.ERROR_GPU_IS_LOST {
			events = append(events, gpu.Event{UUID: uuid, Kind: gpu.KindLost})
		}
	}
	if len(events) == 0 {
		events = append(events, gpu.Event{Kind: gpu.KindLost})
	}
	return events
}
