//go:build nvml && linux && cgo

package nvml

import (
	"fmt"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"provingground/snarkpool/gpu"
)

// library is what is asked of the driver as a whole. It is part of the allow-list: whoever adds a method here adds it to the test too.
type library interface {
	Init() nvml.Return
	Shutdown() nvml.Return
	Extensions() nvml.ExtendedInterface
	SystemGetDriverVersion() (string, nvml.Return)
	DeviceGetCount() (int, nvml.Return)
	DeviceGetHandleByIndex(index int) (nvml.Device, nvml.Return)
	DeviceGetHandleByUUID(uuid string) (nvml.Device, nvml.Return)
	EventSetCreate() (nvml.EventSet, nvml.Return)
}

// device is what is asked of one GPU: a narrow view of the library's own type, which can do far more than it should here.
type device interface {
	GetUUID() (string, nvml.Return)
	GetName() (string, nvml.Return)
	GetMemoryInfo() (nvml.Memory, nvml.Return)
	GetPciInfo() (nvml.PciInfo, nvml.Return)
	GetCurrPcieLinkGeneration() (int, nvml.Return)
	GetCurrPcieLinkWidth() (int, nvml.Return)
	GetMaxPcieLinkGeneration() (int, nvml.Return)
	GetMaxPcieLinkWidth() (int, nvml.Return)
	GetMemoryAffinity(nodes int, scope nvml.AffinityScope) ([]uint, nvml.Return)
	GetCpuAffinity(cpus int) ([]uint, nvml.Return)
	GetCudaComputeCapability() (int, int, nvml.Return)
	GetMigMode() (int, int, nvml.Return)
	GetMaxMigDeviceCount() (int, nvml.Return)
	GetMigDeviceHandleByIndex(index int) (nvml.Device, nvml.Return)
	GetGpuInstanceId() (int, nvml.Return)
	GetComputeInstanceId() (int, nvml.Return)
	GetUtilizationRates() (nvml.Utilization, nvml.Return)
	GetTemperature(sensor nvml.TemperatureSensors) (uint32, nvml.Return)
	GetPowerUsage() (uint32, nvml.Return)
	GetTotalEnergyConsumption() (uint64, nvml.Return)
	GetCurrentClocksThrottleReasons() (uint64, nvml.Return)
	GetEccMode() (nvml.EnableState, nvml.EnableState, nvml.Return)
	GetTotalEccErrors(kind nvml.MemoryErrorType, counter nvml.EccCounterType) (uint64, nvml.Return)
	GetRemappedRows() (int, int, bool, bool, nvml.Return)
	GetComputeRunningProcesses() ([]nvml.ProcessInfo, nvml.Return)
	GetSupportedEventTypes() (uint64, nvml.Return)
	RegisterEvents(types uint64, set nvml.EventSet) nvml.Return
}

// why says in words what the driver answered. The library's own texts are not used: it asks the driver for them, which may be unloaded by then.
func why(answer nvml.Return) string {
	switch answer {
	case nvml.ERROR_NOT_SUPPORTED:
		return "not supported"
	case nvml.ERROR_NO_PERMISSION:
		return "no permission"
	case nvml.ERROR_NOT_FOUND:
		return "not found"
	case nvml.ERROR_INVALID_ARGUMENT:
		return "invalid argument"
	case nvml.ERROR_FUNCTION_NOT_FOUND:
		return missingSymbol
	case nvml.ERROR_GPU_IS_LOST:
		return "the GPU is lost"
	case nvml.ERROR_DRIVER_NOT_LOADED, nvml.ERROR_LIBRARY_NOT_FOUND:
		return gpu.NoDriver
	case nvml.ERROR_LIB_RM_VERSION_MISMATCH:
		return "the driver in the kernel and its library differ in version; restart the machine after an update of the driver"
	case nvml.ERROR_INSUFFICIENT_POWER:
		return "the GPU's power cables are not attached"
	case nvml.ERROR_RESET_REQUIRED:
		return "the GPU wants a reset"
	default:
		return fmt.Sprintf("the driver answers error %d", int(answer))
	}
}

const missingSymbol = "this driver is too old for it"

// gatherer collects optional figures, and why the others are missing.
type gatherer struct {
	lookup  func(symbol string) error
	missing map[string]string
	lost    bool
}

// figure asks for one figure, unless the driver does not know the question.
func figure[T any](g *gatherer, field, symbol string, ask func() (T, nvml.Return)) *T {
	if g.lookup(symbol) != nil {
		g.lack(field, missingSymbol)
		return nil
	}
	value, answer := ask()
	if answer != nvml.SUCCESS {
		g.lost = g.lost || answer == nvml.ERROR_GPU_IS_LOST
		g.lack(field, why(answer))
		return nil
	}
	return &value
}

func (g *gatherer) lack(field, reason string) {
	if g.missing == nil {
		g.missing = make(map[string]string)
	}
	g.missing[field] = reason
}
