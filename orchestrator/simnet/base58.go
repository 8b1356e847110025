package simnet

import (
	"math/big"
	"slices"
)

// base58 spells bytes in the alphabet of Bitcoin, without a check sum, as libp2p peer IDs are (keyfiles, section 1, has the alphabet).
func base58(in []byte) string {
	const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	var reversed []byte
	for value, base, digit := new(big.Int).SetBytes(in), big.NewInt(58), new(big.Int); value.Sign() > 0; {
		value.DivMod(value, base, digit)
		reversed = append(reversed, alphabet[digit.Int64()])
	}
	for _, b := range in {
		if b != 0 {
			break
		}
		reversed = append(reversed, alphabet[0])
	}
	slices.Reverse(reversed)
	return string(reversed)
}
