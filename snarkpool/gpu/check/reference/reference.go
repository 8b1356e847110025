// Package reference is a checker (package gpu/check) that computes on the CPU: it runs everywhere, is what a checker for a GPU is compared
// with, and shows how to write one. It speaks the same protocol to the letter, and holds its matrices in the host's memory.
package reference

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"provingground/snarkpool/gpu/check"
)

// lineLimit bounds the agent's lines. The longest is a challenge, of about 8 bytes for each row asked for.
const lineLimit = 1 << 20

// Serve answers one agent, on all CPUs, until it says bye or its lines end. It returns nil after bye.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	var task check.Task
	if err := check.ReadLine(lines, lineLimit, &task); err != nil {
		return fmt.Errorf("reading the task: %w", err)
	}
	if task.Type != check.TypeTask || task.Protocol != check.Protocol {
		return fmt.Errorf("the first message is %q of protocol %d, not a task of protocol %d", task.Type, task.Protocol, check.Protocol)
	}
	p, err := Multiply(ctx, task)
	if err != nil {
		return errors.Join(err, check.WriteLine(out, check.Answer{Type: check.TypeFailed, Reason: err.Error()}))
	}
	root := p.Tree.Root()
	if err := check.WriteLine(out, check.Answer{Type: check.TypeCommitment, Root: fmt.Sprintf("%x", root[:])}); err != nil {
		return err
	}
	var challenge check.Challenge
	if err := check.ReadLine(lines, lineLimit, &challenge); err != nil {
		return fmt.Errorf("reading the challenge: %w", err)
	}
	if challenge.Type != check.TypeChallenge {
		return fmt.Errorf("%q came where the challenge was due", challenge.Type)
	}
	vector, err := check.ParseSeed(challenge.Vector)
	if err != nil {
		return fmt.Errorf("the challenge: %w", err)
	}
	if err := check.WriteLine(out, check.Products(p.Times(ctx, vector))); err != nil {
		return err
	}
	for _, index := range challenge.Rows {
		if index >= task.Rows {
			return fmt.Errorf("the challenge: row %d of %d", index, task.Rows)
		}
		if err := check.WriteLine(out, check.Row(index, p.Row(index), p.Tree.Path(index))); err != nil {
			return err
		}
	}
	var bye check.Bye
	if err := check.ReadLine(lines, lineLimit, &bye); err != nil {
		return fmt.Errorf("waiting for bye: %w", err)
	}
	runtime.KeepAlive(p) // the matrices are held until here
	return nil
}

// Product is C = A·B with its hash tree, and the two factors, which are held for as long as it is.
type Product struct {
	shape check.Shape
	a, b  []int8
	c     []int32
	// Tree is the hash tree over the rows of C.
	Tree check.Tree
}

// Multiply makes a task's matrices and multiplies them. It gives up when ctx ends.
func Multiply(ctx context.Context, task check.Task) (*Product, error) {
	seed, err := check.ParseSeed(task.Seed)
	if err != nil {
		return nil, err
	}
	shape := task.Shape
	if shape.Rows == 0 || shape.Rows > check.MaxSide || shape.Columns == 0 || shape.Columns > check.MaxSide || shape.Inner == 0 || shape.Inner > check.MaxInner {
		return nil, fmt.Errorf("matrices of %d × %d × %d are out of bounds", shape.Rows, shape.Inner, shape.Columns)
	}
	p := &Product{shape: shape, a: make([]int8, shape.Rows*shape.Inner), b: make([]int8, shape.Inner*shape.Columns),
		c: make([]int32, shape.Rows*shape.Columns)}
	matrices := check.NewMatrices(seed, shape)
	each(ctx, shape.Inner, func(index uint64) { matrices.RowOfB(index, p.rowOfB(index)) })
	leaves := make([]check.Hash, shape.Rows)
	each(ctx, shape.Rows, func(index uint64) {
		a, c := p.a[index*shape.Inner:][:shape.Inner], p.c[index*shape.Columns:][:shape.Columns]
		matrices.RowOfA(index, a)
		k := uint64(0)
		for ; k+4 <= shape.Inner; k += 4 {
			add4(c, [4]int32{int32(a[k]), int32(a[k+1]), int32(a[k+2]), int32(a[k+3])}, p.rowOfB(k), p.rowOfB(k+1), p.rowOfB(k+2), p.rowOfB(k+3))
		}
		for ; k < shape.Inner; k++ {
			for j, value := range p.rowOfB(k) {
				c[j] += int32(a[k]) * int32(value)
			}
		}
		leaves[index] = check.HashRow(index, p.Row(index))
	})
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("multiplying: %w", context.Cause(ctx))
	}
	p.Tree = check.NewTree(leaves)
	return p, nil
}

func (p *Product) rowOfB(index uint64) []int8 {
	return p.b[index*p.shape.Columns:][:p.shape.Columns]
}

// add4 adds four rows of B, each with its factor, to a row of C: with four at a time C is read and written a quarter as often.
func add4(c []int32, factors [4]int32, b0, b1, b2, b3 []int8) {
	b0, b1, b2, b3 = b0[:len(c)], b1[:len(c)], b2[:len(c)], b3[:len(c)]
	for j := range c {
		c[j] += factors[0]*int32(b0[j]) + factors[1]*int32(b1[j]) + factors[2]*int32(b2[j]) + factors[3]*int32(b3[j])
	}
}

// Row is row index of C, 4 bytes for each entry, little-endian.
func (p *Product) Row(index uint64) []byte {
	row := make([]byte, 0, 4*p.shape.Columns)
	for _, value := range p.c[index*p.shape.Columns:][:p.shape.Columns] {
		row = binary.LittleEndian.AppendUint32(row, uint32(value))
	}
	return row
}

// Times is C·r for the vector of a seed.
func (p *Product) Times(ctx context.Context, seed check.Seed) []uint64 {
	vector := check.Vector(seed, p.shape.Columns)
	products := make([]uint64, p.shape.Rows)
	each(ctx, p.shape.Rows, func(index uint64) {
		products[index] = check.Dot(p.c[index*p.shape.Columns:][:p.shape.Columns], vector)
	})
	return products
}

// each calls do for each row on all CPUs, and stops early when ctx ends.
func each(ctx context.Context, count uint64, do func(index uint64)) {
	workers := uint64(runtime.GOMAXPROCS(0))
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for index := worker; index < count && ctx.Err() == nil; index += workers {
				do(index)
			}
		})
	}
	group.Wait()
}
