// Package gpu knows the GPUs of one machine: what they are ([Device]), how they are ([Reading]), what went wrong ([Event]), and what follows
// from it ([Health]). It only ever looks: nothing here, nor anywhere else in this module, changes a GPU's settings, and a test holds every
// file to that.
//
// Where readings come from is the caller's choice, and the methods are the same everywhere:
//
//	List(ctx) ([]Device, error)            what is there
//	Read(ctx, uuid) (Reading, error)       one GPU's figures now
//	Events(ctx, func(Event)) error         faults, as they happen, until ctx ends
//
// Package gpu/nvml asks NVIDIA's driver (build tag nvml, cgo), package gpu/gpufake is several GPUs for tests, and [None] is a machine
// without any, which says why. A figure that a GPU does not give is absent, with its reason in Missing: unknown is not zero.
//
// A fault becomes an order in two pure steps: an [XIDTable] says which [Class] a code belongs to, and [Health.Step] says what to do about
// it. Whether a GPU may be trusted with work at all is settled by package gpu/check, which has it compute something that can be verified.
// All of this follows the document snark-pool, section 6.
package gpu
