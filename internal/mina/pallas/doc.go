// Package pallas is the arithmetic under Mina's keys and legacy signatures: the two fields of the Pallas curve, its points, and the
// legacy Poseidon hash over its base field (poseidon-legacy).
//
//	curve          y² = x³ + 5 over the integers modulo p, the base field Fp
//	p              0x40000000000000000000000000000000224698fc094cf91b992d30ed00000001
//	q              0x40000000000000000000000000000000224698fc0994a8dd8c46eb2100000001, the number of points; scalars are in Fq
//	generator G    (1, 12418654782883325593414442427049395787963493412651469444558597405572177144507)
//
// All values are plain, immutable and safe for concurrent use. Nothing here hides secrets from an observer of time, caches or power:
// the operations on scalars take a time that depends on them. That is enough for test networks, where keys guard nothing of worth,
// and for checking signatures, where there is no secret.
//
// Read limbs.go first for the numbers, then field.go, curve.go, multiply.go and poseidon.go. The constants in tables.go are derived
// from the curve and from the published parameters by a test.
package pallas
