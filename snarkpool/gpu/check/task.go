package check

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/bits"
)

// Protocol is the version of the protocol, in the task.
const Protocol = 1

// The bounds of a task.
const (
	// MaxInner keeps sums of inner products of two signed bytes within 2^30, and thus exact in 32 bits.
	MaxInner = 1 << 16
	// MaxSide bounds rows and columns: C has at most 2^40 entries, 4 TiB.
	MaxSide = 1 << 20
	// DefaultInner makes the arithmetic of a check weigh about as much as moving its memory about.
	DefaultInner = 1024
)

// Prime is 2^61-1, modulo which products are compared.
const Prime = 1<<61 - 1

// Shape is the size of a task's matrices.
type Shape struct {
	Rows    uint64 `json:"rows"`
	Columns uint64 `json:"columns"`
	Inner   uint64 `json:"inner"`
}

// ShapeFor is the largest square C that fits into this much memory together with A and B. It fails when not even one row fits.
func ShapeFor(memoryBytes, inner uint64) (Shape, error) {
	if inner == 0 || inner > MaxInner {
		return Shape{}, fmt.Errorf("a check of %d bytes: inner side %d is not within 1 to %d", memoryBytes, inner, MaxInner)
	}
	// C takes 4·side², A and B take 2·inner·side: solved for side, begun above it and stepped down past rounding
	exact := (math.Sqrt(float64(inner)*float64(inner)+4*float64(memoryBytes)) - float64(inner)) / 4
	side := min(uint64(exact)+2, MaxSide)
	for side > 0 && (Shape{side, side, inner}).MemoryBytes() > memoryBytes {
		side--
	}
	if side == 0 {
		return Shape{}, fmt.Errorf("a check with inner side %d does not fit into %d bytes", inner, memoryBytes)
	}
	return Shape{Rows: side, Columns: side, Inner: inner}, nil
}

// MemoryBytes is what the three matrices take.
func (s Shape) MemoryBytes() uint64 {
	return 4*s.Rows*s.Columns + s.Inner*(s.Rows+s.Columns)
}

func (s Shape) check() error {
	if s.Rows == 0 || s.Rows > MaxSide || s.Columns == 0 || s.Columns > MaxSide || s.Inner == 0 || s.Inner > MaxInner {
		return fmt.Errorf("matrices of %d × %d × %d are not within the bounds %d × %d × %d", s.Rows, s.Inner, s.Columns, MaxSide, MaxInner, MaxSide)
	}
	return nil
}

// Seed is what matrices and vectors are made from.
type Seed [16]byte

// ParseSeed reads 32 hexadecimal digits.
func ParseSeed(text string) (Seed, error) {
	var seed Seed
	decoded, err := hex.DecodeString(text)
	if err != nil || len(decoded) != len(seed) {
		return Seed{}, errors.New("a seed is not 32 hexadecimal digits")
	}
	copy(seed[:], decoded)
	return seed, nil
}

// String is the seed's 32 hexadecimal digits.
func (s Seed) String() string {
	return hex.EncodeToString(s[:])
}

// halves are the streams of numbers that a seed gives: the first 8 bytes, little-endian, and the others.
func (s Seed) halves() (uint64, uint64) {
	return binary.LittleEndian.Uint64(s[:8]), binary.LittleEndian.Uint64(s[8:])
}

// word is number index of a stream: SplitMix64's output function over a counter, so that every part of a matrix can be made by itself.
func word(stream, index uint64) uint64 {
	z := stream + (index+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Matrices are A and B of a task, which are never held but made row by row. Byte i of a matrix, row after row, is byte i modulo 8, the least
// significant first, of number i / 8 of its stream: the seed's first half for A, its second for B.
type Matrices struct {
	shape Shape
	a, b  uint64
}

// NewMatrices returns the matrices of a seed.
func NewMatrices(seed Seed, shape Shape) Matrices {
	a, b := seed.halves()
	return Matrices{shape: shape, a: a, b: b}
}

// RowOfA fills row, of the inner side's length, with row index of A.
func (m Matrices) RowOfA(index uint64, row []int8) {
	fill(m.a, index*m.shape.Inner, row)
}

// RowOfB fills row, of as many entries as C has columns, with row index of B.
func (m Matrices) RowOfB(index uint64, row []int8) {
	fill(m.b, index*m.shape.Columns, row)
}

func fill(stream, from uint64, row []int8) {
	for i := 0; i < len(row); {
		at := from + uint64(i)
		value := word(stream, at/8) >> (8 * (at % 8))
		for range min(8-int(at%8), len(row)-i) {
			row[i] = int8(value)
			value >>= 8
			i++
		}
	}
}

// Vector is the challenge's vector of this length: entry i is the upper 61 bits of number i of the stream of the seed's first half, where
// 2^61-1 counts as 0.
func Vector(seed Seed, length uint64) []uint64 {
	stream, _ := seed.halves()
	vector := make([]uint64, length)
	for i := range vector {
		vector[i] = reduce(word(stream, uint64(i)) >> 3)
	}
	return vector
}

// Dot is the product of a row of C and a vector, modulo [Prime].
func Dot(row []int32, vector []uint64) uint64 {
	var sum uint64
	for i, value := range row {
		sum = reduce(sum + times(int64(value), vector[i]))
	}
	return sum
}

// DotBytes is the product of a row of A or B and a vector, modulo [Prime]. The row has at most [MaxSide] entries.
func DotBytes(row []int8, vector []uint64) uint64 {
	// halves of the vector's entries: no sum of 2^20 products of 7 by 32 bits leaves an int64, and one remainder at the end is enough
	var low, high int64
	for i, value := range row {
		low += int64(value) * int64(vector[i]&0xffffffff)
		high += int64(value) * int64(vector[i]>>32)
	}
	return reduce(times(low, 1) + times(high, 1<<32))
}

// times is value·x modulo [Prime], for an x below the prime.
func times(value int64, x uint64) uint64 {
	magnitude := uint64(value)
	if value < 0 {
		magnitude = -magnitude
	}
	high, low := bits.Mul64(magnitude, x) // below 2^63·2^61
	product := reduce(reduce(low&Prime+(high<<3&Prime|low>>61)) + high>>58)
	if value < 0 && product != 0 {
		return Prime - product
	}
	return product
}

// reduce brings a number below 2^62 below the prime.
func reduce(x uint64) uint64 {
	x = (x & Prime) + x>>61
	if x >= Prime {
		x -= Prime
	}
	return x
}
