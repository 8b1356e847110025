package itn

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// How long deciding may take, in wall time. It goes on when the context of the call has ended, so it must be short; and a
// daemon that is just busy answers within it.
const (
	decideTime  = 10 * time.Second
	decideTries = 5
	decidePause = 200 * time.Millisecond // before the second try, doubled before each further one
)

var (
	errDecideTime = fmt.Errorf("the node did not answer within %s", decideTime)
	errAmbiguous  = errors.New("the reply to an auth with its number was lost as well, so that either may have been accepted")
	errFreeNumber = errors.New("neither the request nor an auth with its number was accepted so far")
)

// Decide tells what became of a sequenced request whose reply was not seen, say because the program ended: the next sequenced
// request is auth under the same number (script-language, section 5). Call it before anything else is sent with that key,
// and only once, then record the outcome: the number is used up by deciding, and a later Decide would report Accepted. The
// error says why the outcome is Unknown, and is nil otherwise.
func (c *Client) Decide(ctx context.Context, attempt Attempt) (Outcome, error) {
	if attempt.Node != c.address {
		return Unknown, fmt.Errorf("deciding a request to node %s: this client speaks to %s", attempt.Node, c.address)
	}
	release, err := c.take(ctx)
	if err != nil {
		return Unknown, fmt.Errorf("deciding a request to node %s: %w", c.address, err)
	}
	defer release()
	ctx, cancel := context.WithTimeoutCause(ctx, decideTime, errDecideTime)
	defer cancel()
	outcome, err := c.decide(ctx, attempt)
	if err != nil {
		return outcome, fmt.Errorf("deciding a request to node %s: %w", c.address, err)
	}
	return outcome, nil
}

// settle decides a lost reply and, where that is harmless, repeats the request to get a definite answer. Deciding goes on for a
// short time when ctx has ended: the request has left, and it is better to know.
func (c *Client) settle(ctx context.Context, request request, sent sending) error {
	deciding, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), decideTime, errDecideTime)
	defer cancel()
	outcome, err := c.decide(deciding, sent.attempt)
	lostReply := &LostReplyError{request.operation, sent.attempt, outcome, then(sent.reply.err, err)}

	harmless := sent.withHandle && time.Now().Before(request.repeatUntil)
	if outcome != Accepted || !harmless || ctx.Err() != nil {
		return lostReply
	}
	repeating, cancel := context.WithDeadline(ctx, request.repeatUntil)
	defer cancel()
	again, err := c.sendSequenced(repeating, request)
	if err == nil && again.reply.verdict == answered {
		return nil
	}
	lostReply.cause = then(lostReply.cause, then(err, again.reply.err))
	return lostReply
}

// decide alternates between two questions until one of them tells. The fence is auth, sequenced with the number of the lost
// request: whichever of the two the daemon accepts, it will never accept the other. The look is auth, unsequenced: it tells
// the UUID and the number now expected, and can be asked at will.
//
// A fence whose own reply is lost may have taken the number, so a 412 after it would prove nothing. Hence it is repeated only
// when a look shows the number still free.
func (c *Client) decide(ctx context.Context, attempt Attempt) (Outcome, error) {
	c.session.known = false
	fence, fenceLost := true, false
	var failure error // of the latest try
	for try := range decideTries {
		if try > 0 {
			if err := wait(ctx, decidePause<<(try-1)); err != nil {
				return Unknown, then(failure, err)
			}
		}
		failure = nil
		if fence {
			reply := c.send(ctx, fenceMessage(attempt), c.sequenced(attempt), numberField(attempt))
			switch reply.verdict {
			case answered, refused:
				return NotAccepted, nil
			case unauthorized:
				return Unknown, reply.err
			case unsent:
				failure = reply.err
				continue
			case lost:
				failure, fenceLost = reply.err, true
			case outOfSequence:
			}
			fence = false
		}
		identity, reply := c.authenticate(ctx)
		switch {
		case reply.err != nil:
			failure = then(failure, reply.err)
		case identity.ServerUUID != attempt.ServerUUID:
			return Gone, nil
		case identity.SequenceNumber == attempt.SequenceNumber:
			failure, fence = then(failure, errFreeNumber), true
		case fenceLost:
			return Unknown, then(failure, errAmbiguous)
		default:
			return Accepted, nil
		}
	}
	return Unknown, failure
}

// wait pauses, or fails with the reason for which ctx ended.
func wait(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
