//go:build nvml && linux && cgo

package nvml

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"provingground/snarkpool/gpu"
)

// ErrClosed is what questions after [Reader.Close] fail with.
var ErrClosed = errors.New("the reader of GPUs is closed")

// Reader asks NVIDIA's driver. It is safe for concurrent use; questions are asked one at a time.
type Reader struct {
	library library
	// turn is held while a question is with the driver, and watch while events are waited for. What stands below belongs to turn's holder.
	turn, watch  chan struct{}
	open, closed bool
}

// Open returns a reader, which loads the driver's library with the first question. It is the caller's to close.
func Open() *Reader {
	return newReader(nvml.New())
}

func newReader(library library) *Reader {
	return &Reader{library: library, turn: make(chan struct{}, 1), watch: make(chan struct{}, 1)}
}

// Close waits until the driver has answered what it was asked, and lets go of it. It gives up when ctx ends, as it does when the driver
// hangs or [Reader.Events] has not been ended; the library then stays loaded. Closing twice is harmless.
func (r *Reader) Close(ctx context.Context) error {
	select {
	case r.watch <- struct{}{}:
		defer func() { <-r.watch }()
	case <-ctx.Done():
		return fmt.Errorf("closing the reader of GPUs: events are still waited for: %w", context.Cause(ctx))
	}
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return fmt.Errorf("closing the reader of GPUs: the driver does not answer: %w", context.Cause(ctx))
	}
	r.closed = true
	if !r.open {
		return nil
	}
	r.open = false
	if answer := r.library.Shutdown(); answer != nvml.SUCCESS {
		return fmt.Errorf("closing the reader of GPUs: %s", why(answer))
	}
	return nil
}

// List returns the GPUs that the driver lists, by its index. Where some cannot be read, it returns the others together with an error that
// names those; it fails with a [*gpu.UnavailableError] where there is nothing to ask.
func (r *Reader) List(ctx context.Context) ([]gpu.Device, error) {
	return ask(ctx, r, "listing GPUs", func() ([]gpu.Device, error) {
		driver, answer := r.library.SystemGetDriverVersion()
		if answer != nvml.SUCCESS {
			driver = ""
		}
		count, answer := r.library.DeviceGetCount()
		if answer != nvml.SUCCESS {
			return nil, fmt.Errorf("counting them: %s", why(answer))
		}
		devices := make([]gpu.Device, 0, count)
		var problems []error
		for index := range count {
			described, err := r.describe(index)
			if err != nil {
				problems = append(problems, fmt.Errorf("GPU %d: %w", index, err))
				continue
			}
			described.Driver = driver
			devices = append(devices, described)
		}
		return devices, errors.Join(problems...)
	})
}

// Read returns the figures of a GPU, or of one MIG part of one. It fails with [gpu.ErrGone] for a GPU that the driver does not know or has
// lost, and with a [*gpu.UnavailableError] where there is nothing to ask.
func (r *Reader) Read(ctx context.Context, uuid string) (gpu.Reading, error) {
	return ask(ctx, r, "reading GPU "+uuid, func() (gpu.Reading, error) {
		handle, answer := r.library.DeviceGetHandleByUUID(uuid)
		switch answer {
		case nvml.SUCCESS:
		case nvml.ERROR_NOT_FOUND, nvml.ERROR_INVALID_ARGUMENT, nvml.ERROR_GPU_IS_LOST:
			return gpu.Reading{}, gpu.ErrGone
		default:
			return gpu.Reading{}, errors.New(why(answer))
		}
		return r.figures(uuid, handle)
	})
}

// ask puts one question to the driver, and gives up on the answer when ctx ends. The question's goroutine then lives on until the driver
// answers, and holds the turn: whoever asks next, Close included, waits for it.
func ask[T any](ctx context.Context, r *Reader, what string, question func() (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return none, fmt.Errorf("%s: the driver has not answered an earlier question: %w", what, context.Cause(ctx))
	}
	type reply struct {
		value T
		err   error
	}
	replies := make(chan reply, 1)
	go func() {
		defer func() { <-r.turn }()
		if err := r.begin(); err != nil {
			replies <- reply{err: err}
			return
		}
		value, err := question()
		replies <- reply{value, err}
	}()
	select {
	case got := <-replies:
		if got.err != nil {
			return got.value, fmt.Errorf("%s: %w", what, got.err)
		}
		return got.value, nil
	case <-ctx.Done():
		return none, fmt.Errorf("%s: the driver does not answer: %w", what, context.Cause(ctx))
	}
}

// begin loads the library unless it is loaded. Nothing may be asked of it, not even to shut down, before that has succeeded.
func (r *Reader) begin() error {
	if r.closed {
		return ErrClosed
	}
	if r.open {
		return nil
	}
	if answer := r.library.Init(); answer != nvml.SUCCESS {
		return &gpu.UnavailableError{Reason: why(answer)}
	}
	r.open = true
	return nil
}

func (r *Reader) gather() *gatherer {
	return &gatherer{lookup: r.library.Extensions().LookupSymbol}
}

// The widest machine that an affinity is asked for.
const maxCPUs, maxNodes = 8192, 1024

func (r *Reader) describe(index int) (gpu.Device, error) {
	handle, answer := r.library.DeviceGetHandleByIndex(index)
	if answer != nvml.SUCCESS {
		return gpu.Device{}, lostOr(answer)
	}
	var d device = handle
	uuid, answer := d.GetUUID()
	if answer != nvml.SUCCESS {
		return gpu.Device{}, lostOr(answer)
	}
	g := r.gather()
	result := gpu.Device{UUID: uuid, Index: index,
		LinkGeneration:    figure(g, "link_generation", "nvmlDeviceGetCurrPcieLinkGeneration", d.GetCurrPcieLinkGeneration),
		LinkWidth:         figure(g, "link_width", "nvmlDeviceGetCurrPcieLinkWidth", d.GetCurrPcieLinkWidth),
		MaxLinkGeneration: figure(g, "max_link_generation", "nvmlDeviceGetMaxPcieLinkGeneration", d.GetMaxPcieLinkGeneration),
		MaxLinkWidth:      figure(g, "max_link_width", "nvmlDeviceGetMaxPcieLinkWidth", d.GetMaxPcieLinkWidth),
	}
	if name := figure(g, "model", "nvmlDeviceGetName", d.GetName); name != nil {
		result.Model = *name
	}
	if memory := figure(g, "memory_bytes", "nvmlDeviceGetMemoryInfo", d.GetMemoryInfo); memory != nil {
		result.MemoryBytes = &memory.Total
	}
	if pci := figure(g, "pci", "nvmlDeviceGetPciInfo", d.GetPciInfo); pci != nil {
		result.PCI = fmt.Sprintf("%04x:%02x:%02x.0", pci.Domain, pci.Bus, pci.Device)
	}
	if nodes := figure(g, "node", "nvmlDeviceGetMemoryAffinity", func() ([]uint, nvml.Return) {
		return d.GetMemoryAffinity(maxNodes, nvml.AFFINITY_SCOPE_NODE)
	}); nodes != nil {
		if set := members(*nodes); len(set) == 1 {
			result.Node = &set[0]
		} else {
			g.lack("node", fmt.Sprintf("the driver names %d memory nodes", len(set)))
		}
	}
	if cpus := figure(g, "cpus", "nvmlDeviceGetCpuAffinity", func() ([]uint, nvml.Return) { return d.GetCpuAffinity(maxCPUs) }); cpus != nil {
		result.CPUs = members(*cpus)
	}
	if capability := figure(g, "compute_capability", "nvmlDeviceGetCudaComputeCapability", func() (string, nvml.Return) {
		major, minor, answer := d.GetCudaComputeCapability()
		return fmt.Sprintf("%d.%d", major, minor), answer
	}); capability != nil {
		result.ComputeCapability = *capability
	}
	result.MIGEnabled = figure(g, "mig_enabled", "nvmlDeviceGetMigMode", func() (bool, nvml.Return) {
		current, _, answer := d.GetMigMode()
		return current == int(nvml.DEVICE_MIG_ENABLE), answer
	})
	if result.MIGEnabled != nil && *result.MIGEnabled {
		result.MIG = r.parts(g, d)
	}
	result.Missing = g.missing
	if g.lost {
		return gpu.Device{}, gpu.ErrGone
	}
	return result, nil
}

// parts are the MIG devices of a divided GPU. Their indexes may have gaps.
func (r *Reader) parts(g *gatherer, d device) []gpu.MIGDevice {
	most := figure(g, "mig", "nvmlDeviceGetMaxMigDeviceCount", d.GetMaxMigDeviceCount)
	if most == nil {
		return nil
	}
	var parts []gpu.MIGDevice
	for index := range *most {
		handle, answer := d.GetMigDeviceHandleByIndex(index)
		if answer == nvml.ERROR_NOT_FOUND || answer == nvml.ERROR_INVALID_ARGUMENT {
			continue
		}
		if answer != nvml.SUCCESS {
			g.lack("mig", fmt.Sprintf("part %d: %s", index, why(answer)))
			continue
		}
		var part device = handle
		uuid, answer := part.GetUUID()
		if answer != nvml.SUCCESS {
			g.lack("mig", fmt.Sprintf("part %d: %s", index, why(answer)))
			continue
		}
		own := r.gather() // what one part lacks is not worth a line of the inventory
		described := gpu.MIGDevice{UUID: uuid,
			GPUInstance:     figure(own, "gpu_instance", "nvmlDeviceGetGpuInstanceId", part.GetGpuInstanceId),
			ComputeInstance: figure(own, "compute_instance", "nvmlDeviceGetComputeInstanceId", part.GetComputeInstanceId)}
		if name := figure(own, "model", "nvmlDeviceGetName", part.GetName); name != nil {
			described.Model = *name
		}
		if memory := figure(own, "memory_bytes", "nvmlDeviceGetMemoryInfo", part.GetMemoryInfo); memory != nil {
			described.MemoryBytes = &memory.Total
		}
		parts = append(parts, described)
	}
	return parts
}

func (r *Reader) figures(uuid string, d device) (gpu.Reading, error) {
	g := r.gather()
	result := gpu.Reading{UUID: uuid,
		TemperatureCelsius: figure(g, "temperature_celsius", "nvmlDeviceGetTemperature", func() (uint32, nvml.Return) {
			return d.GetTemperature(nvml.TEMPERATURE_GPU)
		}),
		PowerMilliwatts: figure(g, "power_milliwatts", "nvmlDeviceGetPowerUsage", func() (uint64, nvml.Return) {
			milliwatts, answer := d.GetPowerUsage()
			return uint64(milliwatts), answer
		}),
		EnergyMillijoules: figure(g, "energy_millijoules", "nvmlDeviceGetTotalEnergyConsumption", d.GetTotalEnergyConsumption),
		ECCEnabled: figure(g, "ecc_enabled", "nvmlDeviceGetEccMode", func() (bool, nvml.Return) {
			current, _, answer := d.GetEccMode()
			return current == nvml.FEATURE_ENABLED, answer
		}),
		ECCCorrected: figure(g, "ecc_corrected", "nvmlDeviceGetTotalEccErrors", func() (uint64, nvml.Return) {
			return d.GetTotalEccErrors(nvml.MEMORY_ERROR_TYPE_CORRECTED, nvml.VOLATILE_ECC)
		}),
		ECCUncorrected: figure(g, "ecc_uncorrected", "nvmlDeviceGetTotalEccErrors", func() (uint64, nvml.Return) {
			return d.GetTotalEccErrors(nvml.MEMORY_ERROR_TYPE_UNCORRECTED, nvml.VOLATILE_ECC)
		}),
		RemappedRows: figure(g, "remapped_rows", "nvmlDeviceGetRemappedRows", func() (gpu.RemappedRows, nvml.Return) {
			corrected, uncorrected, pending, failed, answer := d.GetRemappedRows()
			return gpu.RemappedRows{Corrected: corrected, Uncorrected: uncorrected, Pending: pending, Failed: failed}, answer
		}),
	}
	if memory := figure(g, "memory", "nvmlDeviceGetMemoryInfo", d.GetMemoryInfo); memory != nil {
		result.MemoryTotalBytes, result.MemoryUsedBytes, result.MemoryFreeBytes = &memory.Total, &memory.Used, &memory.Free
	}
	if use := figure(g, "utilisation_percent", "nvmlDeviceGetUtilizationRates", d.GetUtilizationRates); use != nil {
		result.UtilisationPercent, result.MemoryUtilisationPercent = &use.Gpu, &use.Memory
	}
	if reasons := figure(g, "throttle", "nvmlDeviceGetCurrentClocksThrottleReasons", d.GetCurrentClocksThrottleReasons); reasons != nil {
		result.Throttle = throttle(*reasons)
	}
	if running := figure(g, "processes", "nvmlDeviceGetComputeRunningProcesses", d.GetComputeRunningProcesses); running != nil {
		result.Processes = processes(*running)
	}
	result.Missing = g.missing
	if g.lost {
		return gpu.Reading{}, gpu.ErrGone
	}
	return result, nil
}

func lostOr(answer nvml.Return) error {
	if answer == nvml.ERROR_GPU_IS_LOST {
		return gpu.ErrGone
	}
	return errors.New(why(answer))
}

// members are the numbers of the bits that are set in a mask of 64-bit words.
func members(mask []uint) []int {
	var set []int
	for word, value := range mask {
		for ; value != 0; value &= value - 1 {
			set = append(set, word*bits.UintSize+bits.TrailingZeros(value))
		}
	}
	return set
}

// throttle names the reasons for lowered clocks, sorted. "idle" is among them: a GPU at rest lowers its clocks too.
func throttle(reasons uint64) []string {
	names := map[uint64]string{
		nvml.ClocksThrottleReasonGpuIdle:                   "idle",
		nvml.ClocksThrottleReasonApplicationsClocksSetting: "application clocks",
		nvml.ClocksThrottleReasonSwPowerCap:                "power cap",
		nvml.ClocksThrottleReasonHwSlowdown:                "hardware slowdown",
		nvml.ClocksThrottleReasonSyncBoost:                 "sync boost",
		nvml.ClocksThrottleReasonSwThermalSlowdown:         "software thermal slowdown",
		nvml.ClocksThrottleReasonHwThermalSlowdown:         "hardware thermal slowdown",
		nvml.ClocksThrottleReasonHwPowerBrakeSlowdown:      "hardware power brake",
		nvml.ClocksThrottleReasonDisplayClockSetting:       "display clocks",
	}
	result := []string{}
	for bit := uint64(1); bit != 0; bit <<= 1 {
		if reasons&bit == 0 {
			continue
		}
		name, ok := names[bit]
		if !ok {
			name = fmt.Sprintf("reason %#x", bit)
		}
		result = append(result, name)
	}
	slices.Sort(result)
	return result
}

func processes(running []nvml.ProcessInfo) []gpu.Process {
	result := make([]gpu.Process, 0, len(running))
	for _, process := range running {
		found := gpu.Process{PID: int(process.Pid)}
		if process.UsedGpuMemory != math.MaxUint64 { // the driver's "not available"
			found.MemoryBytes = new(process.UsedGpuMemory)
		}
		result = append(result, found)
	}
	return result
}
