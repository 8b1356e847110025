package itntest

import (
	"bytes"

	"provingground/internal/mina"
	"provingground/orchestrator/itn"
)

// PrivateKey returns a well-formed private key that belongs to nobody, another one for each n.
func PrivateKey(n byte) itn.PrivateKey {
	payload := append([]byte{1}, bytes.Repeat([]byte{n}, 32)...)
	return itn.NewPrivateKey(mina.EncodeBase58Check(0x5A, payload))
}

// PublicKey returns a well-formed public key that belongs to nobody, another one for each n.
func PublicKey(n byte) string {
	payload := append([]byte{1, 1}, bytes.Repeat([]byte{n}, 33)...)
	return mina.EncodeBase58Check(0xCB, payload)
}
