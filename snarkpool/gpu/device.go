package gpu

import (
	"errors"
	"fmt"
)

// ErrGone is what a reading of a GPU fails with that is not there, or no longer: its driver calls it lost, or does not know its UUID.
var ErrGone = errors.New("the GPU is gone")

// Reasons why a machine has no readings at all, as an [UnavailableError] carries them.
const (
	// NoSupport is a binary built without the tag nvml.
	NoSupport = "no NVML support built in"
	// NoDriver is a machine without NVIDIA's driver, or with one that is not loaded.
	NoDriver = "no driver"
)

// UnavailableError says why GPUs cannot be read on this machine. Callers go on without GPUs, and show the reason.
type UnavailableError struct {
	// Reason is [NoSupport], [NoDriver], or what the driver says.
	Reason string
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("reading GPUs: %s", e.Reason)
}

// Device is one GPU as it stands in the inventory. Pointers are nil where the driver does not say; Missing has the reason under the field's
// JSON name.
type Device struct {
	// UUID names the GPU for good, such as GPU-5b2f…; workers see it under this name in CUDA_VISIBLE_DEVICES.
	UUID  string `json:"uuid"`
	Model string `json:"model,omitempty"`
	// Index is the driver's number of the GPU. It may change with a reboot.
	Index int `json:"index"`
	// MemoryBytes is its whole memory.
	MemoryBytes *uint64 `json:"memory_bytes,omitempty"`
	// PCI is its address as sysfs spells it, such as 0000:3b:00.0.
	PCI string `json:"pci,omitempty"`
	// LinkGeneration and LinkWidth are those of the PCI link now, which a GPU at rest may lower; the others are the most that GPU and slot
	// allow together.
	LinkGeneration    *int `json:"link_generation,omitempty"`
	LinkWidth         *int `json:"link_width,omitempty"`
	MaxLinkGeneration *int `json:"max_link_generation,omitempty"`
	MaxLinkWidth      *int `json:"max_link_width,omitempty"`
	// Node is the memory node of the host that the GPU is attached to.
	Node *int `json:"node,omitempty"`
	// CPUs are the host's CPUs near to it, ascending.
	CPUs []int `json:"cpus,omitempty"`
	// ComputeCapability is CUDA's, such as 9.0.
	ComputeCapability string `json:"compute_capability,omitempty"`
	// Driver is the version of the driver.
	Driver string `json:"driver,omitempty"`
	// MIGEnabled says that the GPU is divided; MIG are its parts, each with a UUID of its own.
	MIGEnabled *bool       `json:"mig_enabled,omitempty"`
	MIG        []MIGDevice `json:"mig,omitempty"`
	// Missing says of each absent field, by its JSON name, why it is absent.
	Missing map[string]string `json:"missing,omitempty"`
}

// MIGDevice is one part of a divided GPU, which a worker can be given like a whole one.
type MIGDevice struct {
	UUID            string  `json:"uuid"`
	Model           string  `json:"model,omitempty"`
	MemoryBytes     *uint64 `json:"memory_bytes,omitempty"`
	GPUInstance     *int    `json:"gpu_instance,omitempty"`
	ComputeInstance *int    `json:"compute_instance,omitempty"`
}

// Reading is one GPU's figures at one moment. Pointers are nil, and Throttle too, where the GPU does not give the figure; Missing has the
// reason under the field's JSON name.
type Reading struct {
	UUID             string  `json:"uuid"`
	MemoryTotalBytes *uint64 `json:"memory_total_bytes,omitempty"`
	MemoryUsedBytes  *uint64 `json:"memory_used_bytes,omitempty"`
	MemoryFreeBytes  *uint64 `json:"memory_free_bytes,omitempty"`
	// UtilisationPercent is the share of the last sample period in which something ran, 0 to 100; the other is that of its memory interface.
	UtilisationPercent       *uint32 `json:"utilisation_percent,omitempty"`
	MemoryUtilisationPercent *uint32 `json:"memory_utilisation_percent,omitempty"`
	TemperatureCelsius       *uint32 `json:"temperature_celsius,omitempty"`
	PowerMilliwatts          *uint64 `json:"power_milliwatts,omitempty"`
	// EnergyMillijoules counts from the loading of the driver; two readings make the energy between them ([EnergyPerProof]).
	EnergyMillijoules *uint64 `json:"energy_millijoules,omitempty"`
	// Throttle are the reasons for which its clocks are lowered now, sorted; empty and not nil when there are none.
	Throttle []string `json:"throttle,omitzero"`
	// ECCEnabled says whether memory errors are corrected at all; the counts are since the loading of the driver.
	ECCEnabled     *bool         `json:"ecc_enabled,omitempty"`
	ECCCorrected   *uint64       `json:"ecc_corrected,omitempty"`
	ECCUncorrected *uint64       `json:"ecc_uncorrected,omitempty"`
	RemappedRows   *RemappedRows `json:"remapped_rows,omitempty"`
	// Processes are those that compute on the GPU; empty and not nil when there are none.
	Processes []Process `json:"processes,omitzero"`
	// Missing says of each absent field, by its JSON name, why it is absent.
	Missing map[string]string `json:"missing,omitempty"`
}

// RemappedRows are the rows of memory that a GPU replaced by spare ones.
type RemappedRows struct {
	Corrected   int `json:"corrected"`
	Uncorrected int `json:"uncorrected"`
	// Pending says that a row is replaced with the GPU's next reset, Failed that one could not be: the GPU wants replacing.
	Pending bool `json:"pending"`
	Failed  bool `json:"failed"`
}

// Process is a process that computes on a GPU.
type Process struct {
	// PID is the host's number of it, whatever namespace the process lives in.
	PID int `json:"pid"`
	// MemoryBytes is nil when the driver does not say.
	MemoryBytes *uint64 `json:"memory_bytes,omitempty"`
}
