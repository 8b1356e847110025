package ledger

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// Standing is how far a worker is trusted. The zero value is a worker that nobody knows.
type Standing struct {
	Worker string
	// Verified is how many of its proofs were verified and found valid, since it was first seen or readmitted.
	Verified int64
	// BrokenAt is when it was found to deliver bad proofs; nil while it is trusted.
	BrokenAt *time.Time
	// BrokenReason is why; "" while it is trusted.
	BrokenReason string
}

// Standings returns the standing of all workers whose names begin with a prefix such as "bm7/", by name. Workers that never had a lease or an
// entry are not in it.
func (l *Ledger) Standings(ctx context.Context, prefix string) ([]Standing, error) {
	return query[Standing](ctx, l, "ask how far workers are trusted", `SELECT worker, verified, broken_at, coalesce(broken_reason, '') AS broken_reason
		FROM snark_pool_worker WHERE starts_with(worker, $1) ORDER BY worker`, prefix)
}

// Sampling says which proofs of a pool with sampled verification are verified: the share falls from all to Floor as trust rises, and a worker
// cannot know which.
type Sampling struct {
	// All is how many valid proofs a worker must have made before one is taken unverified, at least 1.
	All int64
	// Floor is the smallest share that is verified, above 0 and at most 1.
	Floor float64
	// Secret makes the choice unpredictable for workers; each agent has its own.
	Secret [32]byte
}

// DefaultSampling returns the usual rule: all of the first 20, one in twenty in the end.
func DefaultSampling(secret [32]byte) Sampling { return Sampling{All: 20, Floor: 0.05, Secret: secret} }

// Validate returns what is wrong with the rule, or nil.
func (s Sampling) Validate() error {
	if s.All < 1 || !(s.Floor > 0 && s.Floor <= 1) {
		return fmt.Errorf("sampling %d, %v: the first proofs must be at least 1, the floor above 0 and at most 1", s.All, s.Floor)
	}
	return nil
}

// Share returns the share of a worker's proofs that is verified, in (0, 1]: All / Verified, but at least Floor, and all of a worker that is
// broken. Since only verified proofs raise it, trust rises ever more slowly.
func (s Sampling) Share(standing Standing) float64 {
	if standing.BrokenAt != nil || standing.Verified < s.All {
		return 1
	}
	return max(s.Floor, float64(s.All)/float64(standing.Verified+1))
}

// MustVerify tells whether a proof must be verified. It depends on its arguments alone, so that asking again gives the same answer, and what is
// verified with a higher standing is verified with a lower one, too.
func (s Sampling) MustVerify(standing Standing, job string, epoch int64) bool {
	mac := hmac.New(sha256.New, s.Secret[:])
	var number [8]byte
	binary.LittleEndian.PutUint64(number[:], uint64(epoch))
	for _, part := range [][]byte{number[:], []byte(job)} {
		mac.Write(part) // a hash does not fail
	}
	// 53 bits make every value of a float64 in [0, 1) that is equally likely.
	draw := float64(binary.LittleEndian.Uint64(mac.Sum(nil))>>11) / (1 << 53)
	return draw < s.Share(standing)
}

// cutWorker returns host, pool and index of a worker's name.
func cutWorker(name string) (host, pool, index string) {
	host, rest, _ := strings.Cut(name, "/")
	pool, index, _ = strings.Cut(rest, "/")
	return host, pool, index
}
