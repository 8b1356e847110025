package simnet

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"provingground/internal/mina"
)

// command is a user command: a payment, or a zkApp command reduced to what it moves. It is shared by all pools and blocks, and never
// changes once it was made (signed is spelled out when it is first needed).
type command struct {
	serial    uint64 // in the order of making
	kind      string // "payment", or "zkapp:UPDATES:PROOFS", as traces name it (internal-trace, section 2.2)
	sender    accountID
	nonce     uint32
	fee       mina.Nanomina
	memo      string
	moves     []move
	cost      mina.Nanomina // the fee and what the sender moves; [unpayable] when that overflows
	origin    *node         // where it was submitted
	schedule  string        // handle, empty for a command that no schedule sent
	submitted time.Time     // network time
	signed    string        // its signature, once it was asked for
}

// move takes an amount from one account to another. An account that does not exist yet is created, and the creation fee taken from what
// arrives.
type move struct {
	from, to accountID
	amount   mina.Nanomina
}

// unpayable is the cost of a command that no balance covers. It is above any supply that a network may have.
const unpayable = ^mina.Nanomina(0)

func (c *command) zkapp() bool { return c.kind != "payment" }

// totalCost is what the sender must own for the command to be taken into a pool.
func totalCost(sender accountID, fee mina.Nanomina, moves []move) mina.Nanomina {
	total := fee
	for _, m := range moves {
		if m.from != sender {
			continue
		}
		if total+m.amount < total {
			return unpayable
		}
		total += m.amount
	}
	return total
}

// signature returns a text of the form of the fee payer's signature, by which traces name a command. It is made up: nothing in the
// simulation looks into it (docs/simnet.md).
func (c *command) signature(seed uint64) string {
	if c.signed != "" {
		return c.signed
	}
	var in [24]byte
	binary.LittleEndian.PutUint64(in[:], seed)
	binary.LittleEndian.PutUint64(in[8:], c.serial)
	copy(in[16:], "sig-rx")
	rx := sha256.Sum256(in[:])
	copy(in[16:], "sig-s ")
	s := sha256.Sum256(in[:])
	rx[31] &= 0x3f // below the field's order, as a real one is
	s[31] &= 0x3f
	payload := append([]byte{1}, rx[:]...)
	c.signed = mina.EncodeBase58Check(versionSignature, append(payload, s[:]...))
	return c.signed
}

// Version bytes of base58check texts (keyfiles, section 1).
const (
	versionStateHash = 0x10
	versionSignature = 0x9A
	versionPublicKey = 0xCB
)
