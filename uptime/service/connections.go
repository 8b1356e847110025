package service

import (
	fifo "container/list" // list is the online list here
	"net"
	"net/netip"
	"sync"
)

// limits of connections, as the metrics call them.
const (
	limitAll     = "all"
	limitAddress = "address"
	limitNetwork = "network"
)

// bounded is a listener with so many connections at once, so many of one address, and so many of one IPv6 network of 48 bits, in which a single client
// may have all 64-bit prefixes. When there are as many as may be, the one that has waited longest for a header or a next request is closed for
// the newcomer, who may be an honest client; one whose request is under way is not. Where all have requests under way the newcomer is closed.
type bounded struct {
	net.Listener

	service *Service

	mu   sync.Mutex
	all  *room
	some map[origin]*room // without those of trusted proxies
}

// room is for the connections of one address or network, or for all.
type room struct {
	limit   string    // as the metrics call it
	of      origin    // zero for all
	most    int       // connections
	taken   int       // of them
	waiting fifo.List // those without a request under way, the one that has waited longest first; of *placed
}

// placed is a connection that was let in. What follows hall is guarded by its lock.
type placed struct {
	net.Conn

	hall  *bounded
	seats []seat
	left  bool
}

// seat is a connection's place in one room.
type seat struct {
	room *room
	turn *fifo.Element // among those that wait; nil while a request is under way
}

func (s *Service) bound(listener net.Listener) *bounded {
	most := s.options.Limits.Connections
	return &bounded{Listener: listener, service: s, all: &room{limit: limitAll, most: most}, some: map[origin]*room{}}
}

// Accept waits for a connection that may stay.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err // as the server knows it: it tells by it whether to go on
		}
		entered, displaced, limit := b.enter(conn)
		if displaced != nil {
			b.service.metrics.displaced.WithLabelValues(limit).Inc()
			_ = displaced.Close() // nobody waits for an answer
		}
		if entered != nil {
			return entered, nil
		}
		b.service.metrics.refused.WithLabelValues(limit).Inc()
		_ = conn.Close() // nothing was written
	}
}

// enter lets a connection in, if need be in place of another one, which is to be closed. limit says which one was reached. A place that is made in a
// narrow room is one in the wider ones, too, so there is at most one to close, and then the connection is let in.
func (b *bounded) enter(conn net.Conn) (entered, displaced *placed, limit string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	rooms := b.rooms(conn)
	for _, r := range rooms {
		victim, ok := r.yield()
		if !ok {
			return nil, nil, r.limit
		}
		if victim != nil {
			displaced, limit = victim, r.limit
			b.remove(victim)
		}
	}
	entered = &placed{Conn: conn, hall: b}
	for _, r := range rooms {
		r.taken++
		entered.seats = append(entered.seats, seat{room: r})
		if r != b.all {
			b.some[r.of] = r
		}
	}
	entered.wait()
	b.service.metrics.connections.Inc()
	return entered, displaced, limit
}

// rooms are those that a connection is to enter, the narrowest first; new ones are not known yet.
func (b *bounded) rooms(conn net.Conn) []*room {
	address, err := connectionAddress(conn.RemoteAddr().String())
	if err == nil && b.service.proxies.trust(address) {
		return []*room{b.all}
	}
	find := func(limit string, of origin, most int) *room {
		if known := b.some[of]; known != nil {
			return known
		}
		return &room{limit: limit, of: of, most: most}
	}
	most := b.service.options.Limits.ConnectionsPerAddress
	rooms := []*room{find(limitAddress, originOf(address), most)}
	if address.Is6() {
		rooms = append(rooms, find(limitNetwork, origin(netip.PrefixFrom(address, 48).Masked()), 2*most))
	}
	return append(rooms, b.all)
}

// yield tells whether there is room for one more connection, and which one is to be closed for it, if any.
func (r *room) yield() (victim *placed, ok bool) {
	if r.taken < r.most {
		return nil, true
	}
	if first := r.waiting.Front(); first != nil {
		victim, ok = first.Value.(*placed)
	}
	return victim, ok
}

// remove counts a connection out, once. It is called with the lock.
func (b *bounded) remove(p *placed) {
	if p.left {
		return
	}
	p.left = true
	p.work()
	for _, s := range p.seats {
		if s.room.taken--; s.room.taken == 0 && s.room != b.all {
			delete(b.some, s.room.of)
		}
	}
	b.service.metrics.connections.Dec()
}

// wait notes that a connection has no request under way. It is called with the lock, as is work.
func (p *placed) wait() {
	for i := range p.seats {
		if s := &p.seats[i]; s.turn == nil {
			s.turn = s.room.waiting.PushBack(p)
		}
	}
}

// work notes that a connection does not wait any more.
func (p *placed) work() {
	for i := range p.seats {
		if s := &p.seats[i]; s.turn != nil {
			s.room.waiting.Remove(s.turn)
			s.turn = nil
		}
	}
}

// began and ended note that a request's header was read, and that its answer was written and another request may come.
func (p *placed) began() {
	p.hall.mu.Lock()
	defer p.hall.mu.Unlock()
	p.work()
}

func (p *placed) ended() {
	p.hall.mu.Lock()
	defer p.hall.mu.Unlock()
	if !p.left {
		p.wait()
	}
}

// Close counts the connection out.
func (p *placed) Close() error {
	defer func() {
		p.hall.mu.Lock()
		defer p.hall.mu.Unlock()
		p.hall.remove(p)
	}()
	return p.Conn.Close()
}
