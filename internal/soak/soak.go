// Package soak tells random tests how often to repeat. Only tests import it.
package soak

import (
	"os"
	"strconv"
)

// Full is the number of rounds from which on a test runs with its full numbers; make soak asks for it.
const Full = 100

// defaultRounds is for when nobody says anything, as in make test.
const defaultRounds = 10

// failer is a test: a *testing.T, *testing.B or *rapid.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Rounds returns how often a random test repeats: ROUNDS in the environment, or 10. Anything but a number above 0 fails the test.
func Rounds(t failer) int {
	t.Helper()
	text, ok := os.LookupEnv("ROUNDS")
	if !ok {
		return defaultRounds
	}
	number, err := strconv.Atoi(text)
	if err != nil || number < 1 {
		t.Fatalf("ROUNDS=%q is not a number above 0", text)
	}
	return number
}
