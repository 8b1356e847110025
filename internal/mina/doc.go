// Package mina holds what Mina's tools share as bytes and text: amounts, base58check, keys, key files and legacy signatures. It
// speaks to no network and imports nothing else of this project.
//
//   - [Nanomina] is an exact amount; [ParseMina] reads "0.1".
//   - [PrivateKey] ("EK…") and [PublicKey] ("B62…") are read by [ParsePrivateKey] and [ParsePublicKey], or from password-protected
//     files by [OpenKeyFile] and, many at a time, [OpenKeyFiles]. [SealKeyFile] writes such a file.
//   - [PrivateKey.Sign] and [PublicKey.Verify] make and check the legacy signatures of byte strings that nodes put on their
//     uptime submissions.
//   - [EncodeBase58Check] and [DecodeBase58Check] are the text form of all these, and of hashes and memos.
//
// A private key shows itself only through [PrivateKey.Base58] and [SealKeyFile]: printing, logging or marshalling one, also inside
// another value, gives a mask. No error of this package repeats a key, a password or a signature.
//
// Signing is made for the simulated network and for tools. It is not hardened against an observer of its timing or power use, so
// keys that guard anything of worth do not belong here.
//
// Formats and algorithms are those of keyfiles, uptime section 3 and poseidon-legacy. The arithmetic is in
// package pallas below this one.
package mina
