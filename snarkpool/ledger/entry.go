package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxName   = 256     // bytes of names, as in the protocol of fed workers
	maxText   = 4 << 10 // bytes of texts for people; longer ones are cut
	maxDetail = 64 << 10
	// MaxProofBytes is the longest proof, 1 MiB: no line of the fed workers' protocol holds a longer one.
	MaxProofBytes = 1 << 20
)

// Verdict is what the independent verifier said of a proof. The zero value is none yet: only a [Spool] holds such a proof.
type Verdict string

// The verdicts.
const (
	Valid      Verdict = "valid"
	Unverified Verdict = "unverified" // it was not asked, because the worker is trusted so far
	Invalid    Verdict = "invalid"
)

// Proof is what a fed worker delivered for one lease.
type Proof struct {
	Job    string `json:"job"`
	Worker string `json:"worker"`
	// Epoch is that of the lease under which the worker was given the job.
	Epoch int64 `json:"epoch"`
	// Statement and VerifyingKey are what the proof is for, as [Job.Digest] and [Job].VerifyingKey.
	Statement    Digest `json:"statement"`
	VerifyingKey string `json:"verifying_key"`
	// Proof has at most MaxProofBytes.
	Proof []byte `json:"proof"`
	// Seconds is how long the worker says the proving took; nil when it did not say.
	Seconds *float64 `json:"seconds,omitempty"`
	Verdict Verdict  `json:"verdict,omitempty"`
	// At is when the agent received it, by the agent's clock.
	At time.Time `json:"at"`
}

// Failure says that a worker could not prove what was leased to it, or died over it. The job is leased again after a wait that grows with its
// failures, from 1 second to 10 minutes.
type Failure struct {
	Job    string    `json:"job"`
	Worker string    `json:"worker"`
	Epoch  int64     `json:"epoch"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// Distrust says that a worker delivers bad proofs: it gets no further leases, and those of its proofs that count unverified cease to. Its own
// leases run out, unless they are given back.
type Distrust struct {
	Worker string    `json:"worker"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// Pulled is work that a pull worker got from a coordinator and finished, read from its log.
type Pulled struct {
	Worker string `json:"worker"`
	// Proofs is how many proofs it held: one or two.
	Proofs int `json:"proofs"`
	// Delivered says that the coordinator accepted them.
	Delivered bool `json:"delivered"`
	// Seconds is how long the proving of all took; nil when not known, and when the worker had the proofs already.
	Seconds *float64  `json:"seconds,omitempty"`
	At      time.Time `json:"at"`
}

// Sample is what a worker used in a part of a minute. A nil field was not measured.
type Sample struct {
	Worker string    `json:"worker"`
	At     time.Time `json:"at"`
	// CPUSeconds and EnergyMillijoules add up over the samples of a minute; of MemoryBytes, resident, the largest is kept.
	CPUSeconds        *float64 `json:"cpu_seconds,omitempty"`
	MemoryBytes       *int64   `json:"memory_bytes,omitempty"`
	EnergyMillijoules *int64   `json:"energy_millijoules,omitempty"`
}

// Event is something that happened to a worker or a host, for the history.
type Event struct {
	At   time.Time `json:"at"`
	Host string    `json:"host"`
	// Worker is "" for what concerns the host.
	Worker string `json:"worker,omitempty"`
	// Event says what it is; From, To and Cause may be "".
	Event string `json:"event"`
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
	Cause string `json:"cause,omitempty"`
	// Detail is a JSON value, or empty.
	Detail json.RawMessage `json:"detail,omitempty"`
}

// Audit is a command that an agent was given, allowed or not.
type Audit struct {
	At    time.Time `json:"at"`
	Agent string    `json:"agent"`
	// Who is the public key that signed it, or the user behind the local socket; Role is "" when the key has none.
	Who       string `json:"who"`
	Role      string `json:"role,omitempty"`
	Operation string `json:"operation"`
	Target    string `json:"target"`
	Allowed   bool   `json:"allowed"`
	// Result is what came of it, or why it was refused; "" when not known.
	Result string `json:"result,omitempty"`
	// Detail is a JSON value without secrets, or empty.
	Detail json.RawMessage `json:"detail,omitempty"`
}

// Entry is one thing to be stored: exactly one field is set.
type Entry struct {
	Proof    *Proof    `json:"proof,omitempty"`
	Failure  *Failure  `json:"failure,omitempty"`
	Distrust *Distrust `json:"distrust,omitempty"`
	Pulled   *Pulled   `json:"pulled,omitempty"`
	Sample   *Sample   `json:"sample,omitempty"`
	Event    *Event    `json:"event,omitempty"`
	Audit    *Audit    `json:"audit,omitempty"`
}

// worker returns whom the entry is about and must be known in the ledger; "" for nobody.
func (e Entry) worker() string {
	switch {
	case e.Proof != nil:
		return e.Proof.Worker
	case e.Failure != nil:
		return e.Failure.Worker
	case e.Distrust != nil:
		return e.Distrust.Worker
	case e.Pulled != nil:
		return e.Pulled.Worker
	case e.Sample != nil:
		return e.Sample.Worker
	}
	return ""
}

// job returns what the entry may change; "" for none.
func (e Entry) job() string {
	switch {
	case e.Proof != nil:
		return e.Proof.Job
	case e.Failure != nil:
		return e.Failure.Job
	}
	return ""
}

// prepared returns the entry as it is stored: whatever PostgreSQL would refuse for ever is an error here, before anything is written, and
// texts for people are cut to their bound.
func (e Entry) prepared() (Entry, error) {
	set := 0
	var err error
	if e.Proof != nil {
		set, err = set+1, e.Proof.check()
	}
	if e.Failure != nil {
		f := *e.Failure
		f.Reason = forPeople(f.Reason)
		e.Failure, set = &f, set+1
		err = errors.Join(err, checkLease(f.Job, f.Worker, f.Epoch), checkTime(f.At))
	}
	if e.Distrust != nil {
		d := *e.Distrust
		d.Reason = forPeople(d.Reason)
		e.Distrust, set = &d, set+1
		err = errors.Join(err, checkWorker(d.Worker), checkTime(d.At))
	}
	if e.Pulled != nil {
		set++
		err = errors.Join(err, checkWorker(e.Pulled.Worker), checkAmount("seconds", e.Pulled.Seconds), checkTime(e.Pulled.At))
		if e.Pulled.Proofs < 1 || e.Pulled.Proofs > 1000 {
			err = errors.Join(err, fmt.Errorf("%d proofs at once", e.Pulled.Proofs))
		}
	}
	if e.Sample != nil {
		set, err = set+1, errors.Join(err, e.Sample.check())
	}
	if e.Event != nil {
		v := *e.Event
		v.Cause = forPeople(v.Cause)
		e.Event, set = &v, set+1
		err = errors.Join(err, v.check())
	}
	if e.Audit != nil {
		a := *e.Audit
		a.Who, a.Target, a.Operation, a.Result = forPeople(a.Who), forPeople(a.Target), forPeople(a.Operation), forPeople(a.Result)
		e.Audit, set = &a, set+1
		err = errors.Join(err, checkName("agent", a.Agent), checkOptional("role", a.Role), checkDetail(a.Detail), checkTime(a.At))
	}
	if set != 1 {
		err = errors.Join(err, fmt.Errorf("an entry holds one thing, not %d", set))
	}
	if err != nil {
		return Entry{}, fmt.Errorf("entry for the ledger: %w", err)
	}
	return e, nil
}

func (p Proof) check() error {
	err := errors.Join(checkLease(p.Job, p.Worker, p.Epoch), checkName("verifying key", p.VerifyingKey), checkAmount("seconds", p.Seconds), checkTime(p.At))
	if len(p.Proof) == 0 || len(p.Proof) > MaxProofBytes {
		err = errors.Join(err, fmt.Errorf("a proof of %d bytes: want 1 to %d", len(p.Proof), MaxProofBytes))
	}
	switch p.Verdict {
	case "", Valid, Unverified, Invalid:
	default:
		err = errors.Join(err, fmt.Errorf("no verdict: %q", p.Verdict))
	}
	return err
}

func (s Sample) check() error {
	err := errors.Join(checkWorker(s.Worker), checkAmount("CPU seconds", s.CPUSeconds), checkTime(s.At))
	for _, amount := range []*int64{s.MemoryBytes, s.EnergyMillijoules} {
		if amount != nil && (*amount < 0 || *amount > 1<<50) {
			err = errors.Join(err, fmt.Errorf("a sample of %d bytes or millijoules", *amount))
		}
	}
	return err
}

func (v Event) check() error {
	return errors.Join(checkName("host", v.Host), checkOptional("worker", v.Worker), checkName("event", v.Event), checkOptional("state", v.From),
		checkOptional("state", v.To), checkDetail(v.Detail), checkTime(v.At))
}

func checkLease(job, worker string, epoch int64) error {
	err := errors.Join(checkName("job", job), checkWorker(worker))
	if epoch < 1 {
		err = errors.Join(err, fmt.Errorf("epoch %d: leases count from 1", epoch))
	}
	return err
}

// checkWorker wants a name as plan.Worker has it: HOST/POOL/INDEX.
func checkWorker(name string) error {
	if strings.Count(name, "/") != 2 || strings.HasPrefix(name, "/") {
		return fmt.Errorf("worker %.*q is not HOST/POOL/INDEX", maxName, name)
	}
	return checkName("worker", name)
}

func checkName(what, name string) error {
	if name == "" {
		return fmt.Errorf("no %s", what)
	}
	return checkOptional(what, name)
}

func checkOptional(what, name string) error {
	if len(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return fmt.Errorf("%s %.*q must be text of at most %d bytes without control characters", what, maxName, name, maxName)
	}
	return nil
}

func checkAmount(what string, amount *float64) error {
	if amount != nil && (math.IsNaN(*amount) || *amount < 0 || *amount > 1e9) {
		return fmt.Errorf("%s: %v is not 0 to 1e9", what, *amount)
	}
	return nil
}

// checkTime wants what PostgreSQL can hold, and at least not the zero time.
func checkTime(at time.Time) error {
	if at.Year() < 2000 || at.Year() > 9999 {
		return fmt.Errorf("time %s", at)
	}
	return nil
}

// checkDetail wants what the type json takes; jsonb is more particular.
func checkDetail(detail json.RawMessage) error {
	if len(detail) == 0 {
		return nil
	}
	if len(detail) > maxDetail || !json.Valid(detail) || !utf8.Valid(detail) {
		return fmt.Errorf("detail must be one JSON value of at most %d bytes", maxDetail)
	}
	return nil
}

// forPeople makes text fit for a column: valid, bounded, without NUL.
func forPeople(text string) string {
	text = strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", "\uFFFD"), "\uFFFD")
	if len(text) <= maxText {
		return text
	}
	const mark = "…"
	end := maxText - len(mark)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}
