package gpufake_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"provingground/snarkpool/gpu"
	"provingground/snarkpool/gpu/gpufake"
)

func TestAGPUVanishesAndReturns(t *testing.T) {
	f := gpufake.New(gpufake.Devices(4, 24<<30, 2)...)
	devices, err := f.List(t.Context())
	if err != nil || len(devices) != 4 || *devices[3].Node != 1 {
		t.Fatalf("List = %+v, %v", devices, err)
	}
	f.Change("GPU-fake-1", func(r *gpu.Reading) { r.EnergyMillijoules = new(uint64(9)) })
	if reading, err := f.Read(t.Context(), "GPU-fake-1"); err != nil || *reading.EnergyMillijoules != 9 || *reading.MemoryFreeBytes != 24<<30 {
		t.Errorf("Read = %+v, %v", reading, err)
	}
	f.Vanish("GPU-fake-1")
	if devices, err = f.List(t.Context()); err != nil || len(devices) != 3 {
		t.Errorf("List = %+v, %v", devices, err)
	}
	for _, uuid := range []string{"GPU-fake-1", "GPU-nobody"} {
		if _, err := f.Read(t.Context(), uuid); !errors.Is(err, gpu.ErrGone) {
			t.Errorf("Read(%s) = %v", uuid, err)
		}
	}
	f.Return("GPU-fake-1")
	if _, err := f.Read(t.Context(), "GPU-fake-1"); err != nil {
		t.Error(err)
	}
}

func TestAFakeDriverHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := gpufake.New(gpufake.Devices(1, 1, 1)...)
		release := f.Hang()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := f.List(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("List = %v", err)
		}
		release()
		if _, err := f.List(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestEventsReachWhoWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := gpufake.New()
		if err := f.Emit(t.Context(), gpu.Event{}); err == nil {
			t.Error("an event that nobody watched for was reported")
		}
		ctx, cancel := context.WithCancel(t.Context())
		var got []gpu.Event
		ended := make(chan error)
		go func() { ended <- f.Events(ctx, func(event gpu.Event) { got = append(got, event) }) }()
		synctest.Wait()
		want := gpu.Event{UUID: "GPU-1", Kind: gpu.KindXID, XID: 79}
		if err := f.Emit(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Events = %v", err)
		}
		if len(got) != 1 || got[0] != want {
			t.Errorf("events %+v", got)
		}
	})
}
