// Package redact masks secrets in text that leaves the process: log lines, error texts, output of other programs.
//
// Text knows secrets by their shape: Mina private keys and the material of an Authorization header of the ITN port. A
// Redactor also knows values that were registered with it, such as passwords and the ITN key's seed, and can stand in front
// of a writer of lines. Masking is the last line of defence: types that hold secrets mask themselves.
package redact

import "strings"

const (
	maskedKey       = "EK…(masked)"
	maskedSignature = "Signature (masked)"

	// minRun is how many characters behind EK make a private key of it, and behind "Signature" the key of a header. A
	// private key has 50 and a header's key 44; this also catches one that was cut or mistyped.
	minRun = 40
)

// Text masks whatever in text has the shape of a base58check private key (EK and at least 40 more base58 characters, unless
// they stand inside a public key or a state hash) or of the words behind "Signature" in an Authorization header (itn-graphql,
// section 2). Masking twice changes nothing more.
func Text(text string) string {
	// Signatures first: one may contain what looks like a key.
	text = maskRuns(text, "Signature ", headerLength, maskedSignature)
	return maskRuns(text, "EK", keyLength, maskedKey)
}

// keyLength measures the rest of a private key behind its EK; negative means that it is none.
func keyLength(before, behind string) int {
	run := prefixLength(behind, isBase58)
	start := len(before)
	for start > 0 && isBase58(before[start-1]) {
		start--
	}
	if run < minRun || public(before[start:], len(before)-start+len("EK")+run) {
		return -1
	}
	return run
}

// public reports whether a base58 word that begins so and has that many characters is a public key or a state hash, in which EK may stand by
// chance (keyfiles, section 1).
func public(beginning string, length int) bool {
	return strings.HasPrefix(beginning, "B62") && length == 55 || strings.HasPrefix(beginning, "3N") && length == 52
}

// headerLength measures key and signature behind the word; the sequencing words that may follow are public.
func headerLength(_, behind string) int {
	key := prefixLength(behind, isBase64)
	if key < minRun {
		return -1
	}
	if rest := behind[key:]; strings.HasPrefix(rest, " ") {
		return key + 1 + prefixLength(rest[1:], isBase64)
	}
	return key
}

// maskRuns replaces each occurrence of prefix, with what length says belongs to it, by the mask. A negative length means
// that the occurrence is none.
func maskRuns(text, prefix string, length func(before, behind string) int, mask string) string {
	var masked strings.Builder
	done := 0 // so much of the text is in masked
	for at := 0; ; {
		start := strings.Index(text[at:], prefix)
		if start < 0 {
			break
		}
		start += at
		at = start + len(prefix)
		if run := length(text[:start], text[at:]); run >= 0 {
			at += run
			masked.WriteString(text[done:start])
			masked.WriteString(mask)
			done = at
		}
	}
	if done == 0 {
		return text // the common case costs no copy
	}
	masked.WriteString(text[done:])
	return masked.String()
}

func prefixLength(text string, allowed func(byte) bool) int {
	length := 0
	for length < len(text) && allowed(text[length]) {
		length++
	}
	return length
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

func isBase58(c byte) bool {
	return isAlphanumeric(c) && c != '0' && c != 'O' && c != 'I' && c != 'l'
}

func isBase64(c byte) bool {
	return isAlphanumeric(c) || c == '+' || c == '/' || c == '='
}
