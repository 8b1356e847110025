package itntest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"provingground/orchestrator/itn"
	"provingground/orchestrator/itn/itnserver"
)

// Stub is a Resolver that remembers what it was asked, and acts just enough to be asked again: handles are held until they
// are stopped or the daemon restarts. Safe for concurrent use.
type Stub struct {
	mu       sync.Mutex
	auth     itnserver.Auth
	slots    []int
	logs     []itn.Log
	refusals map[string]error
	handles  map[string]bool
	created  map[string]itn.CreatedAccounts
	calls    []Call
}

// Call is one operation that reached the Stub.
type Call struct {
	Operation string
	Input     any // its details, handle, limit, …; nil for queries without argument
}

// NewStub returns a block producer with nothing to tell.
func NewStub() *Stub {
	return &Stub{
		auth: itnserver.Auth{
			Libp2pPort: 8302, PeerID: "12D3KooWTest", BlockProducer: true, CommitID: "0123456789abcdef",
		},
		refusals: map[string]error{},
		handles:  map[string]bool{},
		created:  map[string]itn.CreatedAccounts{},
	}
}

// SetAuth changes what the node says about itself.
func (s *Stub) SetAuth(auth itnserver.Auth) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth = auth
}

// SetSlots sets the slots won.
func (s *Stub) SetSlots(slots ...int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slots = slots
}

// SetLogs sets the internal log.
func (s *Stub) SetLogs(logs ...itn.Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs = logs
}

// Fail makes an operation fail with err, an itnserver.Refusal or ErrRaise, from now on; nil ends that.
func (s *Stub) Fail(operation string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals[operation] = err
}

// Calls returns what reached the Stub, auth excepted.
func (s *Stub) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Handles returns the handles held, sorted.
func (s *Stub) Handles() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.handles))
}

// forget is what a restart does to a daemon's memory.
func (s *Stub) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.handles)
	clear(s.created)
}

// begin records a call and returns the error that it shall fail with. The caller holds the lock.
func (s *Stub) begin(operation string, input any) error {
	s.calls = append(s.calls, Call{operation, input})
	return s.refusals[operation]
}

// hold registers the chosen handle, or one of its own.
func (s *Stub) hold(chosen *string) string {
	handle := fmt.Sprintf("4ff2c1b0-0000-4000-8000-%012d", len(s.calls))
	if chosen != nil {
		handle = *chosen
	}
	s.handles[handle] = true
	return handle
}

// Auth implements itnserver.Resolver, as do the methods below.
func (s *Stub) Auth(context.Context) itnserver.Auth {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.auth
}

// SlotsWon returns what SetSlots set.
func (s *Stub) SlotsWon(context.Context) ([]int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slots, s.begin("slotsWon", nil)
}

// InternalLogs returns what SetLogs set, from startLogID on.
func (s *Stub) InternalLogs(_ context.Context, startLogID int) ([]itn.Log, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var logs []itn.Log
	for _, log := range s.logs {
		if log.ID >= startLogID {
			logs = append(logs, log)
		}
	}
	return logs, s.begin("internalLogs", startLogID)
}

// FlushInternalLogs removes entries.
func (s *Stub) FlushInternalLogs(_ context.Context, endLogID int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.logs)
	s.logs = slices.DeleteFunc(slices.Clone(s.logs), func(log itn.Log) bool { return log.ID <= endLogID })
	return before - len(s.logs), s.begin("flushInternalLogs", endLogID)
}

// SchedulePayments holds a handle.
func (s *Stub) SchedulePayments(_ context.Context, details itn.PaymentsDetails, handle *string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("schedulePayments", details); err != nil {
		return "", err
	}
	return s.hold(handle), nil
}

// ScheduleZkappCommands holds a handle.
func (s *Stub) ScheduleZkappCommands(
	_ context.Context, details itn.ZkappCommandsDetails, handle *string,
) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("scheduleZkappCommands", details); err != nil {
		return "", err
	}
	return s.hold(handle), nil
}

// StopScheduledTransactions lets go of a handle.
func (s *Stub) StopScheduledTransactions(_ context.Context, handle string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("stopScheduledTransactions", handle); err != nil {
		return err
	}
	if !s.handles[handle] {
		return itnserver.UnknownHandle(handle)
	}
	delete(s.handles, handle)
	return nil
}

// UpdateGating records the update.
func (s *Stub) UpdateGating(_ context.Context, update itn.GatingUpdate) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begin("updateGating", update)
}

// StopDaemon records the delay, and stops nothing.
func (s *Stub) StopDaemon(_ context.Context, delay time.Duration, cleanConfig bool) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "/config", s.begin("stopDaemon", Stop{delay, cleanConfig})
}

// Stop is the Input of the Call stopDaemon.
type Stop struct {
	Delay time.Duration
	Clean bool
}

// ZkAppCommandLimit answers the limit it was given.
func (s *Stub) ZkAppCommandLimit(_ context.Context, limit *int) (*int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return limit, s.begin("zkAppCommandLimit", limit)
}

// ScheduledTransactions returns the handles held, sorted.
func (s *Stub) ScheduledTransactions(context.Context) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.handles)), s.begin("scheduledTransactions", nil)
}

// CreateAccounts makes accounts whose keys are only texts, or returns those of the running job.
func (s *Stub) CreateAccounts(
	_ context.Context, details itn.CreateAccountsDetails, handle *string,
) (itn.CreatedAccounts, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("createAccounts", details); err != nil {
		return itn.CreatedAccounts{}, err
	}
	held := s.hold(handle)
	created, running := s.created[held]
	if !running {
		created.Handle = held
		for i := range details.NumAccounts {
			created.Accounts = append(created.Accounts, itn.Account{
				PublicKey: fmt.Sprintf("B62-%s-%d", held, i), PrivateKey: itn.NewPrivateKey(fmt.Sprintf("EK-%s-%d", held, i)),
			})
		}
		s.created[held] = created
	}
	return created, nil
}
