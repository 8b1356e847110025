package gpu

import (
	"errors"
	"fmt"
)

// Reasons why there is no energy per proof.
var (
	// ErrNoEnergyCounter is a GPU that does not count its energy (those before Volta), or a reading without the count.
	ErrNoEnergyCounter = errors.New("the GPU gives no count of its energy")
	// ErrEnergyCounterReset is a count that went backwards: the driver was loaded anew in between.
	ErrEnergyCounterReset = errors.New("the GPU's count of energy began anew between the readings")
	// ErrNoProofs is a time in which nothing was proved: there is energy, and nothing to share it out to.
	ErrNoProofs = errors.New("no proof was finished between the readings")
)

// EnergyPerProof shares out the energy that one GPU used between two readings among the proofs finished on it in that time, in
// millijoules, rounded to the nearest. It is the energy of the whole GPU, its idle share included, and never that of the host. It fails
// with [ErrNoEnergyCounter], [ErrEnergyCounterReset] or [ErrNoProofs]; readings of two GPUs are a mistake of the caller.
func EnergyPerProof(before, after Reading, proofs uint64) (uint64, error) {
	switch {
	case before.UUID != after.UUID:
		return 0, fmt.Errorf("energy per proof: readings of two GPUs, %s and %s", before.UUID, after.UUID)
	case before.EnergyMillijoules == nil || after.EnergyMillijoules == nil:
		return 0, ErrNoEnergyCounter
	case *after.EnergyMillijoules < *before.EnergyMillijoules:
		return 0, ErrEnergyCounterReset
	case proofs == 0:
		return 0, ErrNoProofs
	}
	used := *after.EnergyMillijoules - *before.EnergyMillijoules
	whole, rest := used/proofs, used%proofs
	if rest >= proofs-rest {
		whole++
	}
	return whole, nil
}
