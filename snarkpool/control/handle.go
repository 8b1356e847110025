package control

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"provingground/internal/redact"
)

// answer is the body of every answer but a stream.
type answer struct {
	Result json.RawMessage `json:"result,omitempty"`
	Error  *answerError    `json:"error,omitempty"`
}

type answerError struct {
	Reason  Reason `json:"reason"`
	Message string `json:"message"`
}

// ServeHTTP handles one request; [Server.Serve] calls it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != path {
		http.NotFound(w, r)
		return
	}
	ctx := r.Context()
	entry := Entry{ID: uuid.NewString(), At: s.options.Now().UTC(), Agent: s.options.Name}
	entry.Via, entry.Remote = remoteOf(ctx, r)
	command, who, refusal := s.accept(w, r, &entry)
	if refusal != nil {
		s.recordRefusal(ctx, entry, refusal)
		s.answer(w, nil, refusal)
		return
	}
	form, _ := formOf(command.Operation)
	places := s.commands
	if form.kind == streaming {
		places = s.streams
	}
	select {
	case places <- struct{}{}:
		defer func() { <-places }()
	default:
		refusal := refuse(Busy, "%d commands or streams are under way already: try again later", cap(places))
		s.recordRefusal(ctx, entry, refusal)
		s.answer(w, nil, refusal)
		return
	}
	switch {
	case command.Operation == OpAuth:
		s.answer(w, s.auth(who), nil)
	case form.kind == streaming:
		s.stream(ctx, w, command, who, entry)
	default:
		s.do(ctx, w, command, entry)
	}
}

func (s *Server) auth(who caller) Identity {
	identity := Identity{Agent: s.options.Name, Name: who.name, Role: who.role}
	identity.ServerUUID, identity.SequenceNumber = s.numbers.peek(who.key)
	return identity
}

// do has a command done that is answered at once.
func (s *Server) do(ctx context.Context, w http.ResponseWriter, command Command, entry Entry) {
	changes := command.Operation.Changes()
	if changes {
		entry.Outcome = OutcomeAccepted
		if err := s.record(ctx, entry); err != nil {
			refusal := refuse(NotAudited, "the audit could not take note of it, so it was not done: look at the agent's log")
			entry.Outcome, entry.Reason, entry.Message = OutcomeRefused, refusal.Reason, refusal.Message
			_ = s.record(ctx, entry) // it is logged, and there is nothing left to refuse
			s.answer(w, nil, refusal)
			return
		}
	}
	var result any
	var err error
	switch {
	case changes:
		var change Change
		change, err = s.options.Operator.Change(ctx, command)
		entry.Message = change.Summary
		result = change
	case command.Operation == OpStatus:
		result, err = s.options.Operator.Status(ctx, command.Target)
	default:
		result, err = s.options.Operator.Report(ctx, command.Operation)
	}
	failure := failureOf(ctx, err)
	s.recordEnd(ctx, entry, failure)
	s.answer(w, result, failure)
}

// failureOf makes of an agent's error what may be told; nil of nil.
func failureOf(ctx context.Context, err error) *RefusedError {
	if err == nil {
		return nil
	}
	if refusal, ok := errors.AsType[*RefusedError](err); ok {
		return &RefusedError{refusal.Reason, redact.Text(refusal.Message)}
	}
	if cause, ok := errors.AsType[*RefusedError](context.Cause(ctx)); ok {
		return cause
	}
	if ctx.Err() != nil {
		return refuse(Failed, "the caller went away before the end; what was begun goes on")
	}
	return refuse(Failed, "%s", redact.Text(err.Error()))
}

// answer writes a result or a refusal.
func (s *Server) answer(w http.ResponseWriter, result any, refusal *RefusedError) {
	var body answer
	status := http.StatusOK
	if refusal == nil {
		encoded, err := json.Marshal(result)
		if err != nil {
			refusal = refuse(Failed, "it was done, but its result cannot be shown: %v", err)
		}
		body.Result = encoded
	}
	if refusal != nil {
		body.Error = &answerError{refusal.Reason, refusal.Message}
		status = refusal.Reason.status()
	}
	encoded, err := json.Marshal(body)
	if err != nil { // a RawMessage that is no JSON was found above
		s.options.Log.Error("an answer cannot be encoded", zap.Error(err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime))
	w.WriteHeader(status)
	_, _ = w.Write(append(encoded, '\n')) // the caller has gone away
}

// recordRefusal tells the audit of a command that was refused before it was begun.
func (s *Server) recordRefusal(ctx context.Context, entry Entry, refusal *RefusedError) {
	if entry.Who == "" {
		enter, omitted := s.strangers.enter(s.options.Now())
		if !enter {
			return
		}
		entry.Omitted = omitted
	}
	entry.Outcome, entry.Reason, entry.Message = OutcomeRefused, refusal.Reason, refusal.Message
	_ = s.record(ctx, entry) // it is logged, and the command is refused anyway
}

// recordEnd tells the audit what became of a command that was begun.
func (s *Server) recordEnd(ctx context.Context, entry Entry, failure *RefusedError) {
	entry.Outcome = OutcomeDone
	if failure != nil {
		entry.Outcome, entry.Reason, entry.Message = OutcomeFailed, failure.Reason, failure.Message
		if failure.Reason == Declined {
			entry.Outcome = OutcomeRefused
		}
	}
	_ = s.record(ctx, entry) // it is logged, and cannot be undone
}

// record tells the audit, also after the caller has gone away.
func (s *Server) record(ctx context.Context, entry Entry) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditTime)
	defer cancel()
	entry.Took = max(s.options.Now().Sub(entry.At), 0)
	entry.Message = redact.Text(entry.Message)
	if entry.Command != nil {
		command := *entry.Command
		command.Arguments.Reason = redact.Text(command.Arguments.Reason) // people paste anything
		entry.Command = &command
	}
	err := s.options.Audit.Record(ctx, entry)
	if err != nil {
		s.options.Log.Error("the audit did not take note of a command", zap.Any("entry", entry), zap.Error(err))
	}
	return err
}
