package itn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Identity is what auth tells of a daemon (itn-graphql, section 3.2).
type Identity struct {
	ServerUUID     string // of this run of the daemon
	SequenceNumber uint16 // which this client's key must use next
	Libp2pPort     uint16 // external
	PeerID         string // empty when a newer daemon has none to tell
	BlockProducer  bool   // the node has block-producing keys
	CommitID       string // of the build; newer daemons only
	Newer          bool   // the daemon knows handles chosen by the caller, scheduledTransactions and createAccounts
}

// Auth asks the daemon who it is. It asks in the newer form first; a daemon that refused it is asked in the older form as
// long as the client lives. Its errors are those of a query: NotSentError, UnauthorizedError, NoAnswerError, RefusedError,
// StatusError.
func (c *Client) Auth(ctx context.Context) (Identity, error) {
	release, err := c.take(ctx)
	if err != nil {
		return Identity{}, &NotSentError{"auth", c.address, err}
	}
	defer release()
	identity, reply := c.authenticate(ctx)
	switch reply.verdict {
	case unsent:
		return Identity{}, &NotSentError{"auth", c.address, reply.err}
	case lost:
		return Identity{}, &NoAnswerError{"auth", c.address, reply.err}
	case answered, refused, unauthorized, outOfSequence:
	}
	return identity, reply.err
}

// SlotsWon returns the global slots that the node has won in the current epoch (itn-graphql, section 4.7). Errors are found
// with errors.Is: ErrNotBlockProducer, and ErrVRFNotCompleted, after which it can be asked again later.
func (c *Client) SlotsWon(ctx context.Context) ([]int, error) {
	var slots []int
	err := c.do(ctx, request{
		message:    message{"slotsWon", slotsWonDocument, nil, into("slotsWon", &slots)},
		repeatable: true,
	})
	return slots, err
}

// InternalLogs returns the retained log entries with an ID of at least startLogID, in increasing order (itn-graphql, section
// 6.1). It may fail with ErrAnswerTooLarge.
func (c *Client) InternalLogs(ctx context.Context, startLogID int) ([]Log, error) {
	var logs []Log
	err := c.do(ctx, request{
		message: message{"internalLogs", internalLogsDocument, map[string]any{"startLogId": startLogID}, func(data json.RawMessage) (err error) {
			logs, err = logsOf(data)
			return err
		}},
		repeatable: true,
	})
	return logs, err
}

// FlushInternalLogs removes the log entries up to endLogID and returns the daemon's text. When the reply is lost it is sent
// again, and the text then counts what the second request still found.
func (c *Client) FlushInternalLogs(ctx context.Context, endLogID int) (string, error) {
	var text string
	err := c.do(ctx, request{
		message: message{
			"flushInternalLogs", flushInternalLogsDocument, map[string]any{"endLogId": endLogID},
			into("flushInternalLogs", &text),
		},
		repeatable: true,
	})
	return text, err
}

// ScheduledTransactions returns the handles of the running schedulers and account-creation jobs (itn-graphql, section 4.8);
// on older daemons it fails with ErrNotSupported.
func (c *Client) ScheduledTransactions(ctx context.Context) ([]string, error) {
	var handles []string
	err := c.do(ctx, request{
		message: message{
			"scheduledTransactions", scheduledTransactionsDocument, nil, into("scheduledTransactions", &handles),
		},
		repeatable: true,
		newerOnly:  true,
	})
	return handles, err
}

// SchedulePayments starts a payment scheduler and returns its handle (itn-graphql, section 4.1). handle is the caller's
// choice, a UUID, for newer daemons; the daemon may return another all the same, and only the returned one counts. before
// may be nil. A LostReplyError tells whether the load may run.
func (c *Client) SchedulePayments(
	ctx context.Context, details PaymentsDetails, handle string, before Before,
) (string, error) {
	return c.schedule(ctx, request{
		message: message{
			operation: "schedulePayments", document: schedulePaymentsDocument, variables: inputVariable(wirePayments(details)),
		},
		before:         before,
		handle:         handle,
		handleDocument: schedulePaymentsHandleDocument,
		repeatUntil:    details.RepeatUntil,
	})
}

// ScheduleZkappCommands starts a zkApp command scheduler and returns its handle (itn-graphql, section 4.2). Otherwise it is
// like SchedulePayments.
func (c *Client) ScheduleZkappCommands(
	ctx context.Context, details ZkappCommandsDetails, handle string, before Before,
) (string, error) {
	return c.schedule(ctx, request{
		message: message{
			operation: "scheduleZkappCommands", document: scheduleZkappCommandsDocument,
			variables: inputVariable(wireZkappCommands(details)),
		},
		before:         before,
		handle:         handle,
		handleDocument: scheduleZkappCommandsHandleDocument,
		repeatUntil:    details.RepeatUntil,
	})
}

func (c *Client) schedule(ctx context.Context, request request) (string, error) {
	var returned string
	request.read = func(data json.RawMessage) error {
		if err := into(request.operation, &returned)(data); err != nil {
			return err
		}
		if request.handle != "" && returned != request.handle {
			c.session.ignoresHandles = true // so a repeat would not be harmless
		}
		return nil
	}
	err := c.do(ctx, request)
	return returned, err
}

// CreateAccounts makes accounts and has them funded in the background (itn-graphql, section 4.8). An empty handle leaves the
// choice to the daemon. before may be nil. On older daemons it fails with ErrNotSupported.
func (c *Client) CreateAccounts(
	ctx context.Context, details CreateAccountsDetails, handle string, before Before,
) (CreatedAccounts, error) {
	variables := inputVariable(wireCreateAccounts(details))
	variables["handle"] = nil
	var created wireCreatedAccounts
	err := c.do(ctx, request{
		message:        message{"createAccounts", createAccountsDocument, variables, into("createAccounts", &created)},
		before:         before,
		newerOnly:      true,
		handle:         handle,
		handleDocument: createAccountsDocument,
		repeatUntil:    details.RepeatUntil,
	})
	if err != nil {
		return CreatedAccounts{}, err
	}
	return created.accounts(), nil
}

// StopScheduledTransactions asks a scheduler to stop at its next tick (itn-graphql, section 4.3). errors.Is with
// ErrUnknownHandle means that there is nothing to stop. When the reply is lost it is sent again, for stopping twice is
// harmless.
func (c *Client) StopScheduledTransactions(ctx context.Context, handle string) error {
	var text string
	return c.do(ctx, request{
		message: message{
			"stopScheduledTransactions", stopScheduledTransactionsDocument, map[string]any{"handle": handle},
			into("stopScheduledTransactions", &text),
		},
		repeatable: true,
	})
}

// UpdateGating replaces the node's peers and isolation (itn-graphql, section 4.4). When it is refused since peers could not be
// added, the lists and the isolation are in force all the same. before may be nil.
func (c *Client) UpdateGating(ctx context.Context, update GatingUpdate, before Before) error {
	var text string
	return c.do(ctx, request{
		message: message{
			"updateGating", updateGatingDocument, inputVariable(wireGating(update)), into("updateGating", &text),
		},
		before: before,
	})
}

// StopDaemon ends the daemon after delay, which is rounded up to whole seconds; 0 leaves the daemon's default of 5 s, its
// least (itn-graphql, section 4.5). clean makes the next start bootstrap. It returns the daemon's text. before may be nil.
func (c *Client) StopDaemon(ctx context.Context, delay time.Duration, clean bool, before Before) (string, error) {
	var delaySeconds *int64
	if delay != 0 {
		seconds := int64((delay + time.Second - 1) / time.Second)
		delaySeconds = &seconds
	}
	var text string
	err := c.do(ctx, request{
		message: message{
			"stopDaemon", stopDaemonDocument, map[string]any{"delaySeconds": delaySeconds, "cleanConfig": clean},
			into("stopDaemon", &text),
		},
		before: before,
	})
	return text, err
}

// SetZkAppCommandLimit sets the soft limit of zkApp commands in a block that the node produces, or clears it with nil, and
// returns the limit now in force, nil for none (itn-graphql, section 4.6). before may be nil.
func (c *Client) SetZkAppCommandLimit(ctx context.Context, limit *int, before Before) (*int, error) {
	var inForce *int
	err := c.do(ctx, request{
		message: message{
			"zkAppCommandLimit", zkappCommandLimitDocument, map[string]any{"limit": limit},
			intoNullable("zkAppCommandLimit", &inForce),
		},
		before: before,
	})
	return inForce, err
}

func inputVariable(input map[string]any) map[string]any { return map[string]any{"input": input} }

// into returns a reader of one root field that must not be null.
func into[T any](field string, value *T) func(json.RawMessage) error {
	return func(data json.RawMessage) error {
		raw, err := rootField(data, field)
		if err != nil {
			return err
		}
		if string(raw) == "null" {
			return fmt.Errorf("field %s is null", field)
		}
		*value = *new(T) // nothing of an earlier answer remains
		return json.Unmarshal(raw, value)
	}
}

// intoNullable returns a reader of one root field that may be null.
func intoNullable[T any](field string, value **T) func(json.RawMessage) error {
	return func(data json.RawMessage) error {
		raw, err := rootField(data, field)
		if err != nil {
			return err
		}
		*value = nil
		return json.Unmarshal(raw, value)
	}
}

func rootField(data json.RawMessage, field string) (json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, err
	}
	raw, found := fields[field]
	if !found {
		return nil, errors.New("field " + field + " is missing")
	}
	return raw, nil
}

// authMessage asks auth, in the newer form or not, and reads the answer into identity.
func authMessage(newer bool, identity *Identity) message {
	document := authDocument
	if newer {
		document = authNewerDocument
	}
	return message{"auth", document, nil, func(data json.RawMessage) error {
		var answer wireAuth
		if err := into("auth", &answer)(data); err != nil {
			return err
		}
		read, err := answer.identity()
		read.Newer = newer
		*identity = read
		return err
	}}
}

// fenceMessage is the auth that decides an attempt; see decide. Only the daemon that the attempt was for may answer it.
func fenceMessage(attempt Attempt) message {
	return message{"auth", authDocument, nil, func(data json.RawMessage) error {
		var answer wireAuth
		if err := into("auth", &answer)(data); err != nil {
			return err
		}
		if answer.ServerUUID != attempt.ServerUUID {
			return errors.New("another daemon answers")
		}
		return nil
	}}
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// isServerUUID tells whether a text can be signed and sent as a server UUID: 36 characters, hex digits and dashes.
func isServerUUID(text string) bool {
	return len(text) == 36 && strings.Trim(text, "0123456789abcdef-") == ""
}
