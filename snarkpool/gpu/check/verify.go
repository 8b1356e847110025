package check

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
)

// verifier knows what a correct answer is: A·(B·r), which it computes once.
type verifier struct {
	shape    Shape
	matrices Matrices
	vector   []uint64
	expected []uint64
}

// newVerifier computes A·(B·r) on all CPUs. It gives up when ctx ends.
func newVerifier(ctx context.Context, seed, vector Seed, shape Shape) (*verifier, error) {
	v := &verifier{shape: shape, matrices: NewMatrices(seed, shape), vector: Vector(vector, shape.Columns)}
	between := make([]uint64, shape.Inner) // B·r
	if err := rows(ctx, shape.Inner, shape.Columns, func(index uint64, row []int8) {
		v.matrices.RowOfB(index, row)
		between[index] = DotBytes(row, v.vector)
	}); err != nil {
		return nil, err
	}
	v.expected = make([]uint64, shape.Rows)
	err := rows(ctx, shape.Rows, shape.Inner, func(index uint64, row []int8) {
		v.matrices.RowOfA(index, row)
		v.expected[index] = DotBytes(row, between)
	})
	return v, err
}

// rows calls do for each row of a matrix of bytes, with room for its entries, on all CPUs.
func rows(ctx context.Context, count, length uint64, do func(index uint64, row []int8)) error {
	workers := uint64(runtime.GOMAXPROCS(0))
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			row := make([]int8, length)
			for index := worker; index < count && ctx.Err() == nil; index += workers {
				do(index, row)
			}
		})
	}
	group.Wait()
	return ctx.Err()
}

// products says what is wrong with the message of C·r; "" when nothing is.
func (v *verifier) products(answer Answer) (Failure, string) {
	content, err := base64.StdEncoding.DecodeString(answer.Values)
	if err != nil || uint64(len(content)) != 8*v.shape.Rows {
		return BrokeProtocol, fmt.Sprintf("the products are not %d numbers of 8 bytes", v.shape.Rows)
	}
	var wrong, first uint64
	for i, expected := range v.expected {
		if binary.LittleEndian.Uint64(content[8*i:]) != expected {
			if wrong == 0 {
				first = uint64(i)
			}
			wrong++
		}
	}
	if wrong > 0 {
		return WrongResult, fmt.Sprintf("%d of %d rows of the product are wrong, the first is row %d", wrong, v.shape.Rows, first)
	}
	return "", ""
}

// row says what is wrong with the message of one row; "" when nothing is.
func (v *verifier) row(answer Answer, index uint64, root Hash) (Failure, string) {
	if answer.Index == nil || *answer.Index != index {
		return BrokeProtocol, fmt.Sprintf("row %d was asked for, and another one came", index)
	}
	content, err := base64.StdEncoding.DecodeString(answer.Values)
	if err != nil || uint64(len(content)) != 4*v.shape.Columns {
		return BrokeProtocol, fmt.Sprintf("row %d is not %d numbers of 4 bytes", index, v.shape.Columns)
	}
	path := make([]Hash, len(answer.Path))
	for i, text := range answer.Path {
		var whole bool
		if path[i], whole = decodeHash(text); !whole {
			return BrokeProtocol, fmt.Sprintf("row %d: a hash of its path is not 64 hexadecimal digits", index)
		}
	}
	if got, whole := rootOf(HashRow(index, content), index, v.shape.Rows, path); !whole || got != root {
		return NotCommitted, fmt.Sprintf("row %d is not the one committed to", index)
	}
	entries := make([]int32, v.shape.Columns)
	for i := range entries {
		entries[i] = int32(binary.LittleEndian.Uint32(content[4*i:]))
	}
	if Dot(entries, v.vector) != v.expected[index] {
		return WrongResult, fmt.Sprintf("row %d, which was committed to, is wrong", index)
	}
	return "", ""
}
