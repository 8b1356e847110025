package service

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http"

	"go.uber.org/zap/zapcore"

	"provingground/uptime"
)

// outcome is what became of a submission; its text is a label in the metrics and in the log.
type outcome string

const (
	taken         outcome = "accepted"
	noLength      outcome = "no_length"
	tooLong       outcome = "too_long"
	badForwarded  outcome = "malformed_forwarded_for"
	limited       outcome = "address_limited"
	noMemory      outcome = "no_memory"
	bodySlow      outcome = "body_too_slow"
	bodyBroken    outcome = "body_incomplete"
	malformed     outcome = "malformed"
	fieldMissing  outcome = "field_missing"
	stranger      outcome = "not_registered"
	noWhitelist   outcome = "no_whitelist"
	future        outcome = "in_future"
	tooOld        outcome = "too_old"
	busy          outcome = "busy"
	badSignature  outcome = "invalid_signature"
	tooMany       outcome = "too_many"
	replayed      outcome = "replayed"
	full          outcome = "store_full"
	unavailable   outcome = "store_unavailable"
	failed        outcome = "failed"
	archiveFailed outcome = "archive_failed"
	clientGone    outcome = "client_gone"
)

// outcomes are all of them.
func outcomes() []outcome {
	return []outcome{
		taken, noLength, tooLong, badForwarded, limited, noMemory, bodySlow, bodyBroken, malformed, fieldMissing, stranger, noWhitelist, future, tooOld, busy,
		badSignature, tooMany, replayed, full, unavailable, failed, archiveFailed, clientGone,
	}
}

// verdict is what follows from an outcome.
type verdict struct {
	status  int
	message string // of the answer; empty for an empty body
	// charged tells whether the address answers for it. What a node can do to itself alone, and what is our own fault, is not.
	charged bool
	level   zapcore.Level // of the log
}

// verdict gives status and message of uptime, section 4, and where that has none, our own.
func (o outcome) verdict() verdict {
	const ours = "Unexpected server error"
	refused := func(status int, message string) verdict {
		return verdict{status: status, message: message, charged: true, level: zapcore.InfoLevel}
	}
	unable := func(status int, message string) verdict {
		return verdict{status: status, message: message, level: zapcore.WarnLevel}
	}
	switch o {
	case taken:
		return verdict{status: http.StatusOK, level: zapcore.DebugLevel}
	case noLength:
		return refused(http.StatusLengthRequired, "")
	case tooLong:
		return refused(http.StatusRequestEntityTooLarge, "")
	case badForwarded:
		return unable(http.StatusBadRequest, "X-Forwarded-For is malformed")
	case limited:
		return verdict{status: http.StatusTooManyRequests, message: "Too many refused submissions from this address", level: zapcore.InfoLevel}
	case noMemory:
		return unable(http.StatusServiceUnavailable, "Too many submissions are being received")
	case bodySlow:
		return refused(http.StatusRequestTimeout, "Error reading the body")
	case bodyBroken:
		return refused(http.StatusBadRequest, "Error reading the body")
	case malformed:
		return refused(http.StatusBadRequest, "Error decoding payload")
	case fieldMissing:
		return refused(http.StatusBadRequest, "One of required fields wasn't provided")
	case stranger:
		return refused(http.StatusUnauthorized, "Submitter is not registered")
	case noWhitelist:
		return unable(http.StatusServiceUnavailable, "The whitelist is not loaded")
	case future:
		return refused(http.StatusBadRequest, "Field created_at is a timestamp in future")
	case tooOld:
		return refused(http.StatusBadRequest, "Field created_at is too old: send a new report, and compare the node's clock")
	case busy:
		return unable(http.StatusServiceUnavailable, "Too many submissions are being verified")
	case badSignature:
		return refused(http.StatusUnauthorized, "Invalid signature")
	case tooMany:
		return verdict{status: http.StatusTooManyRequests, message: "Too many requests per hour", level: zapcore.InfoLevel}
	case replayed:
		return refused(http.StatusConflict, "This submission was received before")
	case full:
		return unable(http.StatusServiceUnavailable, "The service is full")
	case unavailable:
		return unable(http.StatusServiceUnavailable, "The service cannot store submissions just now")
	case clientGone:
		return verdict{status: http.StatusServiceUnavailable, message: ours, level: zapcore.DebugLevel}
	case failed, archiveFailed:
		return verdict{status: http.StatusInternalServerError, message: ours, level: zapcore.ErrorLevel}
	}
	return verdict{status: http.StatusInternalServerError, message: ours, level: zapcore.ErrorLevel}
}

// cost is what a submission of which so many bytes were read costs its address. Too many of a key are no fault of the address while they are of the
// usual size; large ones would have the processors busy without end.
func (o outcome) cost(read int) int {
	cost := min(read/firstPart, math.MaxInt16)
	switch {
	case o.verdict().charged:
		return 1 + cost
	case o == tooMany:
		return cost
	}
	return 0
}

// outcomeOf finds the outcome of an error; one that is not known is a fault on our side.
func outcomeOf(err error) outcome {
	for _, known := range []struct {
		err     error
		outcome outcome
	}{
		{context.Canceled, clientGone}, // whatever else went wrong because of it
		{net.ErrClosed, clientGone},    // by us, to make room or at the end: no fault of the client
		{errForwarded, badForwarded},
		{errNoMemory, noMemory},
		{errBodySlow, bodySlow},
		{errBodyBroken, bodyBroken},
		{uptime.ErrMissingField, fieldMissing},
		{uptime.ErrMalformed, malformed},
		{errSignature, badSignature},
		{ErrReplayed, replayed},
		{ErrTooMany, tooMany},
		{ErrFull, full},
		{ErrUnavailable, unavailable},
		{errBusy, busy},
	} {
		if errors.Is(err, known.err) {
			return known.outcome
		}
	}
	return failed
}
