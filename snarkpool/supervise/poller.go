//go:build linux

package supervise

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// poller tells the loop which descriptors became readable: a pidfd when its process died, a launcher's line when it answered. One
// goroutine waits for all of them.
type poller struct {
	epoll, wake int
	ready       chan []token
}

// token names one registration for ever, unlike the descriptor, whose number is used again.
type token uint64

func newPoller() (*poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch processes: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch processes: %w", err), unix.Close(epoll))
	}
	p := &poller{epoll: epoll, wake: wake, ready: make(chan []token)}
	if err := p.watch(wake, 0); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *poller) close() error { return errors.Join(unix.Close(p.epoll), unix.Close(p.wake)) }

// watch reports t once when the descriptor is readable or at its end. Closing the descriptor ends it.
func (p *poller) watch(fd int, t token) error { return p.control(unix.EPOLL_CTL_ADD, fd, t) }

// again reports t once more.
func (p *poller) again(fd int, t token) error { return p.control(unix.EPOLL_CTL_MOD, fd, t) }

func (p *poller) control(operation, fd int, t token) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(uint32(t)), Pad: int32(uint32(t >> 32))}
	if err := unix.EpollCtl(p.epoll, operation, fd, &event); err != nil {
		return fmt.Errorf("watch descriptor %d: %w", fd, err)
	}
	return nil
}

// run delivers to ready until ctx ends.
func (p *poller) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		_, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // It fails only if it is full, and then it wakes as well.
	})
	defer stop()
	events := make([]unix.EpollEvent, 1024)
	for ctx.Err() == nil {
		n, err := unix.EpollWait(p.epoll, events, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for processes: %w", err)
		}
		ready := make([]token, 0, n)
		for _, e := range events[:n] {
			if t := token(uint32(e.Fd)) | token(uint32(e.Pad))<<32; t != 0 {
				ready = append(ready, t)
			}
		}
		select {
		case p.ready <- ready:
		case <-ctx.Done():
		}
	}
	return nil
}
