package check

import (
	"crypto/sha256"
	"encoding/binary"
)

// Hash is a node of a hash tree.
type Hash [sha256.Size]byte

// The first byte of what is hashed keeps rows and nodes apart.
const rowPrefix, nodePrefix = 0, 1

// HashRow is the leaf of row index of C: SHA-256 over a zero byte, the index as 8 bytes and the row's entries as 4 bytes each, little-endian.
func HashRow(index uint64, row []byte) Hash {
	hash := sha256.New()
	var start [9]byte
	start[0] = rowPrefix
	binary.LittleEndian.PutUint64(start[1:], index)
	hash.Write(start[:])
	hash.Write(row)
	return Hash(hash.Sum(nil))
}

func hashNode(left, right Hash) Hash {
	var content [1 + 2*sha256.Size]byte
	content[0] = nodePrefix
	copy(content[1:], left[:])
	copy(content[1+sha256.Size:], right[:])
	return sha256.Sum256(content[:])
}

// Tree is the hash tree over the rows of C: each level pairs the hashes of the one below, left with right, and one that is left over goes up
// as it is.
type Tree struct {
	levels [][]Hash
}

// NewTree builds the tree over at least one leaf, and keeps leaves.
func NewTree(leaves []Hash) Tree {
	levels := [][]Hash{leaves}
	for len(leaves) > 1 {
		above := make([]Hash, 0, (len(leaves)+1)/2)
		for i := 0; i+1 < len(leaves); i += 2 {
			above = append(above, hashNode(leaves[i], leaves[i+1]))
		}
		if len(leaves)%2 == 1 {
			above = append(above, leaves[len(leaves)-1])
		}
		levels = append(levels, above)
		leaves = above
	}
	return Tree{levels: levels}
}

// Root commits to every row.
func (t Tree) Root() Hash {
	return t.levels[len(t.levels)-1][0]
}

// Path are the hashes beside the way from a leaf to the root, from below. Levels on which it has none beside it are left out.
func (t Tree) Path(index uint64) []Hash {
	var path []Hash
	for _, level := range t.levels[:len(t.levels)-1] {
		if beside := index ^ 1; beside < uint64(len(level)) {
			path = append(path, level[beside])
		}
		index /= 2
	}
	return path
}

// rootOf climbs from a leaf of a tree over this many leaves; false when the path has not the length that it must have there.
func rootOf(leaf Hash, index, leaves uint64, path []Hash) (Hash, bool) {
	for ; leaves > 1; leaves = (leaves + 1) / 2 {
		if beside := index ^ 1; beside < leaves {
			if len(path) == 0 {
				return Hash{}, false
			}
			if beside < index {
				leaf = hashNode(path[0], leaf)
			} else {
				leaf = hashNode(leaf, path[0])
			}
			path = path[1:]
		}
		index /= 2
	}
	return leaf, len(path) == 0
}
