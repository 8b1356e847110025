package itn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"go.uber.org/zap"
)

// Before is called with the turn held, right before each sending of a mutation, also of one that is repeated under another
// number. It is the place to record the attempt; an error of it stops the request unsent.
type Before func(Attempt) error

// request is a sequenced operation on its way to the node. It may be sent more than once, each time under another number.
type request struct {
	message
	before Before // may be nil

	// repeatable requests do no harm when they are done twice: queries, and mutations whose second time changes nothing.
	repeatable bool

	// newerOnly requests fail with ErrNotSupported on older daemons.
	newerOnly bool

	// A handle chosen by the caller goes to newer daemons, in this document. Empty means none.
	handle         string
	handleDocument string
	repeatUntil    time.Time // see PaymentsDetails
}

// sending is one request as it was sent under one number.
type sending struct {
	attempt    Attempt
	withHandle bool
	reply      reply
}

// do runs a sequenced operation by the rules of the package comment.
func (c *Client) do(ctx context.Context, request request) error {
	release, err := c.take(ctx)
	if err != nil {
		return &NotSentError{request.operation, c.address, err}
	}
	defer release()

	turnedAway := false // once already, by 412
	var lostReply error // of an earlier sending
	for {
		sent, err := c.sendSequenced(ctx, request)
		switch {
		case err != nil && lostReply != nil:
			return &NoAnswerError{request.operation, c.address, then(lostReply, err)}
		case err != nil:
			return &NotSentError{request.operation, c.address, err}
		}
		switch sent.reply.verdict {
		case refused:
			switch {
			case !isUnknownForm(sent.reply.err):
				return sent.reply.err
			case request.newerOnly:
				return fmt.Errorf("%w: %w", ErrNotSupported, sent.reply.err)
			case !sent.withHandle:
				return sent.reply.err
			}
			c.session.ignoresHandles = true // and ask in the older form
		case outOfSequence:
			if turnedAway {
				return sent.reply.err
			}
			turnedAway = true
		case lost:
			switch {
			case !request.repeatable:
				return c.settle(ctx, request, sent)
			case lostReply != nil || errors.Is(sent.reply.err, ErrAnswerTooLarge):
				return &NoAnswerError{request.operation, c.address, then(lostReply, sent.reply.err)}
			}
			lostReply = sent.reply.err
		case answered, unauthorized, unsent:
			return sent.reply.err
		}
	}
}

// sendSequenced sends a request once, under the next number, after an auth where none is known. Its error means that the
// request certainly did not leave; it holds no NotSentError, for an earlier sending of the same request may have left.
func (c *Client) sendSequenced(ctx context.Context, request request) (sending, error) {
	if !c.session.known {
		if _, reply := c.authenticate(ctx); reply.err != nil {
			return sending{}, fmt.Errorf("auth before it: %w", reply.err)
		}
	}
	if request.newerOnly && !c.session.newer {
		return sending{}, ErrNotSupported
	}
	sent := sending{
		attempt:    Attempt{c.address, c.session.serverUUID, c.session.next},
		withHandle: request.handle != "" && c.session.newer && !c.session.ignoresHandles,
	}
	outgoing := request.message
	if sent.withHandle {
		outgoing.document = request.handleDocument
		outgoing.variables = maps.Clone(outgoing.variables)
		outgoing.variables["handle"] = request.handle
	}
	if request.before != nil {
		if err := request.before(sent.attempt); err != nil {
			return sending{}, fmt.Errorf("before sending: %w", err)
		}
	}
	sent.reply = c.send(ctx, outgoing, c.sequenced(sent.attempt), numberField(sent.attempt))
	switch sent.reply.verdict {
	case answered, refused:
		c.session.next++ // 65535 wraps to 0
	case lost, outOfSequence:
		c.session.known = false
	case unsent:
		return sending{}, sent.reply.err
	case unauthorized:
	}
	return sent, nil
}

func numberField(attempt Attempt) zap.Field {
	return zap.Uint16("sequence_number", attempt.SequenceNumber)
}

// isUnknownForm tells whether a daemon refused the form of a request, for a reason that another daemon may not have.
func isUnknownForm(err error) bool {
	refusal, ok := errors.AsType[*RefusedError](err)
	return ok && refusal.beforeResolver && !refusal.Everywhere()
}

// authenticate runs auth, unsequenced, and takes over what it says. It is asked again, once, in the older form when the daemon
// refuses the newer one, and once when the reply was lost, unless it took all the time or space there is.
func (c *Client) authenticate(ctx context.Context) (Identity, reply) {
	var lostReply error
	for {
		var identity Identity // of this answer only
		reply := c.send(ctx, authMessage(!c.session.older, &identity), c.unsequenced())
		_, isRefusal := errors.AsType[*RefusedError](reply.err)
		spent := errors.Is(reply.err, context.DeadlineExceeded) || errors.Is(reply.err, ErrAnswerTooLarge)
		switch {
		case reply.verdict == answered:
			c.adopt(identity)
			return identity, reply
		case isRefusal && !c.session.older:
			c.session.older = true
		case reply.verdict == lost && lostReply == nil && !spent:
			lostReply = reply.err
		default:
			reply.err = then(lostReply, reply.err)
			return Identity{}, reply
		}
	}
}

// adopt takes over what an unsequenced auth said.
func (c *Client) adopt(identity Identity) {
	if identity.ServerUUID != c.session.serverUUID {
		c.session.ignoresHandles = false // another run may be another build
	}
	c.session.known = true
	c.session.serverUUID = identity.ServerUUID
	c.session.next = identity.SequenceNumber
	c.session.newer = identity.Newer
}

// then joins two errors, of which either may be nil, in one line.
func then(first, second error) error {
	switch {
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return fmt.Errorf("%w; then: %w", first, second)
}
