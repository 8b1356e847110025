//go:build nvml && linux && cgo

package nvml

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxh100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/server"
	"github.com/google/go-cmp/cmp"

	"provingground/snarkpool/gpu"
)

// complete gives a mock device the answers that go-nvml's servers leave out, which would panic.
func complete(d *server.Device) {
	d.GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) {
		return nvml.Memory{Total: d.MemoryInfo.Total, Used: 1 << 30, Free: d.MemoryInfo.Total - 1<<30}, nvml.SUCCESS
	}
	d.GetPciInfoFunc = func() (nvml.PciInfo, nvml.Return) {
		return nvml.PciInfo{Domain: 1, Bus: 0x3b + uint32(d.Index), Device: 0}, nvml.SUCCESS
	}
	d.GetCurrPcieLinkGenerationFunc = func() (int, nvml.Return) { return 1, nvml.SUCCESS }
	d.GetCurrPcieLinkWidthFunc = func() (int, nvml.Return) { return 16, nvml.SUCCESS }
	d.GetMaxPcieLinkGenerationFunc = func() (int, nvml.Return) { return 5, nvml.SUCCESS }
	d.GetMaxPcieLinkWidthFunc = func() (int, nvml.Return) { return 16, nvml.SUCCESS }
	d.GetMemoryAffinityFunc = func(int, nvml.AffinityScope) ([]uint, nvml.Return) {
		return []uint{1 << (d.Index / 4)}, nvml.SUCCESS
	}
	d.GetCpuAffinityFunc = func(int) ([]uint, nvml.Return) { return []uint{0b101, 1 << 63}, nvml.SUCCESS }
	d.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{Gpu: 97, Memory: 12}, nvml.SUCCESS }
	d.GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 61, nvml.SUCCESS }
	d.GetPowerUsageFunc = func() (uint32, nvml.Return) { return 412_345, nvml.SUCCESS }
	d.GetTotalEnergyConsumptionFunc = func() (uint64, nvml.Return) { return 5_000_000_000, nvml.SUCCESS }
	d.GetCurrentClocksThrottleReasonsFunc = func() (uint64, nvml.Return) {
		return nvml.ClocksThrottleReasonSwPowerCap | nvml.ClocksThrottleReasonHwThermalSlowdown | 1<<40, nvml.SUCCESS
	}
	d.GetEccModeFunc = func() (nvml.EnableState, nvml.EnableState, nvml.Return) {
		return nvml.FEATURE_ENABLED, nvml.FEATURE_ENABLED, nvml.SUCCESS
	}
	d.GetTotalEccErrorsFunc = func(kind nvml.MemoryErrorType, _ nvml.EccCounterType) (uint64, nvml.Return) {
		return map[nvml.MemoryErrorType]uint64{nvml.MEMORY_ERROR_TYPE_CORRECTED: 7, nvml.MEMORY_ERROR_TYPE_UNCORRECTED: 1}[kind], nvml.SUCCESS
	}
	d.GetRemappedRowsFunc = func() (int, int, bool, bool, nvml.Return) { return 2, 1, true, false, nvml.SUCCESS }
	d.GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) {
		return []nvml.ProcessInfo{{Pid: 41, UsedGpuMemory: 1 << 20}, {Pid: 42, UsedGpuMemory: math.MaxUint64}}, nvml.SUCCESS
	}
}

// machine is one of go-nvml's servers with its GPUs completed.
func machine(t *testing.T, s *server.Server) (*Reader, []*server.Device) {
	t.Helper()
	devices := make([]*server.Device, len(s.Devices))
	for i, d := range s.Devices {
		devices[i] = d.(*server.Device)
		complete(devices[i])
	}
	r := newReader(s)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return r, devices
}

func TestInventoryOfNVIDIAsMockServers(t *testing.T) {
	for name, build := range map[string]func() *server.Server{"A100": dgxa100.New, "H100": dgxh100.New} {
		t.Run(name, func(t *testing.T) {
			r, mocks := machine(t, build())
			devices, err := r.List(t.Context())
			if err != nil || len(devices) != 8 {
				t.Fatalf("List = %d GPUs, %v", len(devices), err)
			}
			model, _ := mocks[5].GetName()
			major, minor, _ := mocks[5].GetCudaComputeCapability()
			want := gpu.Device{UUID: mocks[5].UUID, Model: model, Index: 5, MemoryBytes: new(mocks[5].MemoryInfo.Total), PCI: "0001:40:00.0",
				LinkGeneration: new(1), LinkWidth: new(16), MaxLinkGeneration: new(5), MaxLinkWidth: new(16), Node: new(1),
				CPUs: []int{0, 2, 127}, ComputeCapability: fmt.Sprintf("%d.%d", major, minor), Driver: "550.54.15", MIGEnabled: new(false)}
			if diff := cmp.Diff(want, devices[5]); diff != "" {
				t.Errorf("GPU 5 (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAReadingInItsUnits(t *testing.T) {
	r, mocks := machine(t, dgxh100.New())
	got, err := r.Read(t.Context(), mocks[2].UUID)
	if err != nil {
		t.Fatal(err)
	}
	total := mocks[2].MemoryInfo.Total
	want := gpu.Reading{UUID: mocks[2].UUID, MemoryTotalBytes: &total, MemoryUsedBytes: new(uint64(1 << 30)), MemoryFreeBytes: new(total - 1<<30),
		UtilisationPercent: new(uint32(97)), MemoryUtilisationPercent: new(uint32(12)), TemperatureCelsius: new(uint32(61)),
		PowerMilliwatts: new(uint64(412_345)), EnergyMillijoules: new(uint64(5_000_000_000)),
		Throttle:   []string{"hardware thermal slowdown", "power cap", "reason 0x10000000000"},
		ECCEnabled: new(true), ECCCorrected: new(uint64(7)), ECCUncorrected: new(uint64(1)),
		RemappedRows: &gpu.RemappedRows{Corrected: 2, Uncorrected: 1, Pending: true},
		Processes:    []gpu.Process{{PID: 41, MemoryBytes: new(uint64(1 << 20))}, {PID: 42}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reading (-want +got):\n%s", diff)
	}
}

func TestWhatAGPUDoesNotGiveIsAbsentWithItsReason(t *testing.T) {
	s := dgxh100.New()
	r, mocks := machine(t, s)
	mocks[0].GetPowerUsageFunc = func() (uint32, nvml.Return) { return 0, nvml.ERROR_NOT_SUPPORTED }
	mocks[0].GetTotalEccErrorsFunc = func(nvml.MemoryErrorType, nvml.EccCounterType) (uint64, nvml.Return) {
		return 0, nvml.ERROR_NO_PERMISSION
	}
	mocks[0].GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{}, nvml.ERROR_UNKNOWN }
	mocks[0].GetRemappedRowsFunc = nil // calling it would panic, as calling a missing symbol ends the process
	s.LookupSymbolFunc = func(symbol string) error {
		if symbol == "nvmlDeviceGetRemappedRows" {
			return errors.New("undefined symbol")
		}
		return nil
	}
	got, err := r.Read(t.Context(), mocks[0].UUID)
	if err != nil {
		t.Fatal(err)
	}
	if got.PowerMilliwatts != nil || got.ECCCorrected != nil || got.UtilisationPercent != nil || got.RemappedRows != nil {
		t.Errorf("figures that the GPU did not give are there: %+v", got)
	}
	want := map[string]string{"power_milliwatts": "not supported", "ecc_corrected": "no permission", "ecc_uncorrected": "no permission",
		"utilisation_percent": "the driver answers error 999", "remapped_rows": missingSymbol}
	if diff := cmp.Diff(want, got.Missing); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
}

func TestMIGPartsAreListed(t *testing.T) {
	r, mocks := machine(t, dgxa100.New())
	part := &mock.Device{
		GetUUIDFunc:              func() (string, nvml.Return) { return "MIG-1", nvml.SUCCESS },
		GetNameFunc:              func() (string, nvml.Return) { return "A100 MIG 1g.5gb", nvml.SUCCESS },
		GetMemoryInfoFunc:        func() (nvml.Memory, nvml.Return) { return nvml.Memory{Total: 5 << 30}, nvml.SUCCESS },
		GetGpuInstanceIdFunc:     func() (int, nvml.Return) { return 9, nvml.SUCCESS },
		GetComputeInstanceIdFunc: func() (int, nvml.Return) { return 0, nvml.ERROR_NOT_SUPPORTED },
	}
	mocks[1].GetMigModeFunc = func() (int, int, nvml.Return) { return int(nvml.DEVICE_MIG_ENABLE), 1, nvml.SUCCESS }
	mocks[1].GetMaxMigDeviceCountFunc = func() (int, nvml.Return) { return 7, nvml.SUCCESS }
	mocks[1].GetMigDeviceHandleByIndexFunc = func(index int) (nvml.Device, nvml.Return) {
		if index == 3 {
			return part, nvml.SUCCESS
		}
		return nil, nvml.ERROR_NOT_FOUND
	}
	devices, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []gpu.MIGDevice{{UUID: "MIG-1", Model: "A100 MIG 1g.5gb", MemoryBytes: new(uint64(5 << 30)), GPUInstance: new(9)}}
	if diff := cmp.Diff(want, devices[1].MIG); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
}

func TestAVanishedGPU(t *testing.T) {
	r, mocks := machine(t, dgxh100.New())
	mocks[3].GetUUIDFunc = func() (string, nvml.Return) { return "", nvml.ERROR_GPU_IS_LOST }
	mocks[4].GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) { return nvml.Memory{}, nvml.ERROR_GPU_IS_LOST }

	devices, err := r.List(t.Context())
	if len(devices) != 6 || !errors.Is(err, gpu.ErrGone) || !strings.Contains(err.Error(), "GPU 3") || !strings.Contains(err.Error(), "GPU 4") {
		t.Errorf("List = %d GPUs, %v; want the 6 others, and an error that names 3 and 4", len(devices), err)
	}
	for _, uuid := range []string{mocks[4].UUID, "GPU-nobody-knows"} {
		if _, err := r.Read(t.Context(), uuid); !errors.Is(err, gpu.ErrGone) {
			t.Errorf("Read(%s) = %v, want %v", uuid, err, gpu.ErrGone)
		}
	}
	if _, err := r.Read(t.Context(), mocks[0].UUID); err != nil {
		t.Errorf("another GPU: %v", err)
	}
}

// The machine of the tests has no driver, or has one under its usual name; this name exists nowhere.
func TestNoDriver(t *testing.T) {
	r := newReader(nvml.New(nvml.WithLibraryPath("libnvidia-ml-that-is-nowhere.so.1")))
	for range 2 { // the second question finds no library either, and does not end the process
		var unavailable *gpu.UnavailableError
		if _, err := r.List(t.Context()); !errors.As(err, &unavailable) || unavailable.Reason != gpu.NoDriver {
			t.Errorf("List = %v, want %q", err, gpu.NoDriver)
		}
	}
	if err := r.Events(t.Context(), func(gpu.Event) {}); err == nil || !strings.Contains(err.Error(), gpu.NoDriver) {
		t.Errorf("Events = %v, want %q", err, gpu.NoDriver)
	}
	for range 2 {
		if err := r.Close(t.Context()); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	if _, err := r.Read(t.Context(), "GPU-1"); !errors.Is(err, ErrClosed) {
		t.Errorf("Read after Close = %v", err)
	}
}

func TestADriverThatFailsToStart(t *testing.T) {
	for answer, want := range map[nvml.Return]string{
		nvml.ERROR_DRIVER_NOT_LOADED:       gpu.NoDriver,
		nvml.ERROR_LIB_RM_VERSION_MISMATCH: "differ in version",
		nvml.ERROR_UNKNOWN:                 "error 999",
	} {
		s := dgxh100.New()
		loads := false
		s.InitFunc = func() nvml.Return {
			if loads {
				return nvml.SUCCESS
			}
			return answer
		}
		r, _ := machine(t, s)
		var unavailable *gpu.UnavailableError
		if _, err := r.List(t.Context()); !errors.As(err, &unavailable) || !strings.Contains(unavailable.Reason, want) {
			t.Errorf("List = %v, want %q", err, want)
		}
		loads = true
		if devices, err := r.List(t.Context()); err != nil || len(devices) != 8 {
			t.Errorf("after the driver was loaded: %d GPUs, %v", len(devices), err)
		}
	}
}

func TestAHungDriverCostsOneThreadAndNoCaller(t *testing.T) {
	r, mocks := machine(t, dgxh100.New())
	asked, release := make(chan struct{}), make(chan struct{})
	mocks[0].GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) {
		close(asked)
		<-release
		return 50, nvml.SUCCESS
	}
	errStop := errors.New("enough")
	ctx, stop := context.WithCancelCause(t.Context())
	go func() {
		<-asked
		stop(errStop)
	}()
	if _, err := r.Read(ctx, mocks[0].UUID); !errors.Is(err, errStop) {
		t.Fatalf("Read = %v, want %v", err, errStop)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.List(short); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "earlier question") {
		t.Errorf("List beside a hung question = %v", err)
	}
	if err := r.Close(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close beside a hung question = %v", err)
	}
	close(release)
	if _, err := r.Read(t.Context(), mocks[1].UUID); err != nil {
		t.Errorf("once the driver answers again: %v", err)
	}
}

// eventSet is a set of events that says what the test gives it.
func eventSet(answers chan reported) *mock.EventSet {
	return &mock.EventSet{
		WaitFunc: func(milliseconds uint32) (nvml.EventData, nvml.Return) {
			timer := time.NewTimer(time.Duration(milliseconds) * time.Millisecond)
			defer timer.Stop()
			select {
			case answer := <-answers:
				return answer.data, answer.answer
			case <-timer.C:
				return nvml.EventData{}, nvml.ERROR_TIMEOUT
			}
		},
		FreeFunc: func() nvml.Return { return nvml.SUCCESS },
	}
}

type reported struct {
	data   nvml.EventData
	answer nvml.Return
}

func TestEvents(t *testing.T) {
	s := dgxh100.New()
	r, mocks := machine(t, s)
	answers := make(chan reported)
	set := eventSet(answers)
	s.EventSetCreateFunc = func() (nvml.EventSet, nvml.Return) { return set, nvml.SUCCESS }
	for i, d := range mocks {
		d.GetSupportedEventTypesFunc = func() (uint64, nvml.Return) {
			if i == 7 {
				return nvml.EventTypePState, nvml.SUCCESS
			}
			return math.MaxUint64, nvml.SUCCESS
		}
		d.RegisterEventsFunc = func(types uint64, _ nvml.EventSet) nvml.Return {
			if types != nvml.EventTypeXidCriticalError|nvml.EventTypeDoubleBitEccError {
				t.Errorf("registered for %#x", types)
			}
			return nvml.SUCCESS
		}
	}
	got := make(chan gpu.Event)
	ended := make(chan error)
	go func() { ended <- r.Events(t.Context(), func(event gpu.Event) { got <- event }) }()

	expect := func(want gpu.Event) {
		t.Helper()
		if diff := cmp.Diff(want, <-got); diff != "" {
			t.Errorf("event (-want +got):\n%s", diff)
		}
	}
	expect(gpu.Event{UUID: mocks[7].UUID, Kind: gpu.KindUnwatched, Detail: "not supported"})
	if err := r.Events(t.Context(), func(gpu.Event) {}); !errors.Is(err, ErrWatched) {
		t.Errorf("a second watcher: %v", err)
	}
	answers <- reported{nvml.EventData{Device: mocks[2], EventType: nvml.EventTypeXidCriticalError, EventData: 79}, nvml.SUCCESS}
	expect(gpu.Event{UUID: mocks[2].UUID, Kind: gpu.KindXID, XID: 79})
	answers <- reported{nvml.EventData{Device: mocks[3], EventType: nvml.EventTypeDoubleBitEccError}, nvml.SUCCESS}
	expect(gpu.Event{UUID: mocks[3].UUID, Kind: gpu.KindECC})
	answers <- reported{nvml.EventData{Device: mocks[6], EventType: nvml.EventTypeXidCriticalError, EventData: 13}, nvml.SUCCESS}
	expect(gpu.Event{UUID: mocks[6].UUID, Kind: gpu.KindXID, XID: 13})

	// the GPU that is lost cannot say its name any more
	mocks[5].GetUUIDFunc = func() (string, nvml.Return) { return "", nvml.ERROR_GPU_IS_LOST }
	mocks[5].GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) { return nvml.Memory{}, nvml.ERROR_GPU_IS_LOST }
	answers <- reported{answer: nvml.ERROR_GPU_IS_LOST}
	expect(gpu.Event{UUID: mocks[5].UUID, Kind: gpu.KindLost})
	if err := <-ended; !errors.Is(err, gpu.ErrGone) {
		t.Errorf("Events = %v, want %v", err, gpu.ErrGone)
	}
	if len(set.FreeCalls()) != 1 {
		t.Errorf("the set of events was let go %d times", len(set.FreeCalls()))
	}

	// watching anew ends with its context
	ctx, stop := context.WithCancelCause(t.Context())
	go func() { ended <- r.Events(ctx, func(event gpu.Event) { got <- event }) }()
	expect(gpu.Event{UUID: mocks[7].UUID, Kind: gpu.KindUnwatched, Detail: "not supported"})
	errStop := errors.New("enough")
	stop(errStop)
	if err := <-ended; !errors.Is(err, errStop) {
		t.Errorf("Events = %v, want %v", err, errStop)
	}
}

func TestALostGPUThatNobodyAdmitsTo(t *testing.T) {
	s := dgxh100.NewWithGPUs()
	r, _ := machine(t, s)
	answers := make(chan reported, 1)
	answers <- reported{answer: nvml.ERROR_GPU_IS_LOST}
	s.EventSetCreateFunc = func() (nvml.EventSet, nvml.Return) { return eventSet(answers), nvml.SUCCESS }
	var got []gpu.Event
	err := r.Events(t.Context(), func(event gpu.Event) { got = append(got, event) })
	if !errors.Is(err, gpu.ErrGone) || len(got) != 1 || got[0] != (gpu.Event{Kind: gpu.KindLost}) {
		t.Errorf("Events = %v, with %v", err, got)
	}
}
