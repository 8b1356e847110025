package service

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// failures keeps an account of refused submissions for each address that had any lately. It is bounded: the addresses that failed longest ago are
// forgotten, at worst some that go on and are noticed again. Safe for concurrent use.
type failures struct {
	burst     int
	perSecond rate.Limit
	most      int // addresses in each generation

	mu         sync.Mutex
	young, old map[origin]*account // once young is full it becomes old, and old is forgotten
}

// account is that of one address.
type account struct {
	*rate.Limiter

	spared *rate.Limiter // submissions that are looked at although the account is empty
}

// sparedPerSecond is how many submissions of an address whose account is empty are looked at all the same, for there may be honest nodes behind it.
const sparedPerSecond = 2

func newFailures(limits Limits) *failures {
	return &failures{
		burst: limits.Failures, perSecond: rate.Limit(limits.FailuresPerSecond), most: max(1, limits.Addresses/2),
		young: map[origin]*account{}, old: map[origin]*account{},
	}
}

// wait returns how long an address has to wait before it may submit, 0 if it may now.
func (f *failures) wait(of origin, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := f.find(of)
	if found == nil {
		return 0
	}
	left := found.TokensAt(now)
	if left >= 1 {
		return 0
	}
	return time.Duration(math.Ceil((1 - left) / float64(f.perSecond) * float64(time.Second)))
}

// spare tells whether a submission of an address that has to wait is looked at all the same, and counts it.
func (f *failures) spare(of origin, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := f.find(of)
	return found != nil && found.spared.AllowN(now, 1)
}

// mostDebt is how far an account may be overdrawn, in times of what it holds: many submissions may be under way when it becomes empty, and each is
// charged. Were it not so, every refill would let as many through again.
const mostDebt = 4

// charge takes cost off an address's account.
func (f *failures) charge(of origin, cost int, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := f.find(of)
	if found == nil {
		found = &account{rate.NewLimiter(f.perSecond, f.burst), rate.NewLimiter(sparedPerSecond, sparedPerSecond)}
	}
	if found.TokensAt(now) > -float64(mostDebt*f.burst) {
		found.ReserveN(now, min(cost, f.burst))
	}
	delete(f.old, of)
	if f.young[of] == nil && len(f.young) >= f.most {
		f.young, f.old = map[origin]*account{}, f.young
	}
	f.young[of] = found
}

func (f *failures) find(of origin) *account {
	if found := f.young[of]; found != nil {
		return found
	}
	return f.old[of]
}

// size is the number of addresses with an account.
func (f *failures) size() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.young) + len(f.old)
}
