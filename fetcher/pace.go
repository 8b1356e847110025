package fetcher

import (
	"math/rand/v2"
	"time"
)

// pace says when to ask a node again: before half its queue is overwritten at the rate at which it logged lately.
type pace struct {
	queue     int // entries that the node holds
	low, high time.Duration
	rate      float64       // entries per second of wall time
	span      time.Duration // over which that was seen last; 0 when nothing was seen of this run of the daemon yet
}

// observe takes in that a node logged so many entries in a time. A rise counts at once, a fall little by little: what came in a burst
// comes in a burst again.
func (p *pace) observe(entries int, span time.Duration) {
	if span <= 0 {
		return
	}
	p.span = span
	rate := float64(entries) / span.Seconds()
	p.rate = max(rate, 0.8*p.rate+0.2*rate)
}

// interval is the time from one request's beginning to the next one's. It begins with the shortest and at most doubles: what a node
// logs in ten seconds is not known before it was seen for five.
func (p *pace) interval() time.Duration {
	interval := min(p.high, max(p.low, 2*p.span))
	safe := float64(p.queue) / 2 / p.rate // +Inf at rest
	if safe < interval.Seconds() {
		interval = time.Duration(safe * float64(time.Second))
	}
	return max(p.low, interval)
}

// begin says that another run of the daemon begins, of which nothing was seen yet.
func (p *pace) begin() { p.span = 0 }

// backoff is the pause after failures: the first about low, each twice the one before, never above high, and each between
// half and the whole of that, so that nodes which failed together do not come back together.
type backoff struct{ low, high time.Duration }

// after returns the pause after a number of failures in a row, from 1.
func (b backoff) after(failures int, random *rand.Rand) time.Duration {
	pause := b.low
	for i := 1; i < failures && pause < b.high; i++ {
		pause *= 2
	}
	pause = min(pause, b.high)
	return pause/2 + time.Duration(random.Int64N(int64(pause/2)+1))
}
