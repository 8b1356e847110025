package trace

import (
	"cmp"
	"slices"
)

// jobKind numbers the rows of the table in internal-trace, section 3.1.
type jobKind int

const jobKinds = 4

// first returns the checkpoint that starts a job of this kind.
func (k jobKind) first() string {
	switch k {
	case 0:
		return "Verifier_verify_transaction_snarks"
	case 1:
		return "Verifier_verify_blockchain_snarks"
	case 2:
		return "Verifier_verify_commands"
	}
	return "Prover_extend_blockchain"
}

// last returns the checkpoint that ends it.
func (k jobKind) last() string { return k.first() + "_done" }

// parent returns the checkpoint of the daemon that asks for it.
func (k jobKind) parent() string {
	switch k {
	case 0:
		return "Verify_transaction_snarks"
	case 1:
		return "Verify_blockchain_snarks"
	case 2:
		return "Verify_commands"
	}
	return "Produce_state_transition_proof"
}

// kindOf returns the kind whose name, as given by one of its methods, is the checkpoint's.
func kindOf(checkpoint string, name func(jobKind) string) (jobKind, bool) {
	for kind := range jobKind(jobKinds) {
		if name(kind) == checkpoint {
			return kind, true
		}
	}
	return 0, false
}

// parent is a checkpoint of the main trace that jobs can belong to. Keys are short because these are most of a state.
type parent struct {
	Trace int64   `json:"t"` // 0 = retired since
	Seq   int64   `json:"s"`
	Main  bool    `json:"m,omitempty"`
	Time  float64 `json:"at"`
	Since float64 `json:"p"` // time that the main records had passed when it came
}

// job is a group of prover's or verifier's records with one call id.
type job struct {
	Process Process `json:"process"`
	Call    int64   `json:"call"`
	Kind    jobKind `json:"kind"`
	Rows    []Row   `json:"rows"`
	Last    int64   `json:"last"` // Seq of the last checkpoint
	Bytes   int     `json:"bytes"`
}

func (j *job) place() place {
	return place{process: j.Process, seq: j.Rows[0].Seq, id: j.Rows[0].ID}
}

func (j *job) started() float64 { return j.Rows[0].Time }

func (r *Reader) feedJob(out *batch, at place, record *Record) {
	if value := record.Value("current_call_id"); value != nil {
		call, ok := integerOf(value)
		if !ok {
			out.problem(at, "current_call_id is not from 0 to 2147483647")
		}
		r.state.JobCall[at.process] = call
	}
	call := r.state.JobCall[at.process]
	row := Row{Process: at.process, Seq: at.seq, ID: at.id, Call: call, Name: record.Checkpoint, Time: record.Time}
	if record.Checkpoint == "" {
		if row.Metadata = record.Value("metadata"); row.Metadata == nil {
			return
		}
		row.Name, row.Control = "metadata", true
	}
	i := slices.IndexFunc(r.state.Jobs, func(j *job) bool { return j.Process == at.process && j.Call == call })
	kind, starts := kindOf(record.Checkpoint, jobKind.first)
	if i >= 0 && starts && kind == r.state.Jobs[i].Kind {
		r.dropJob(out, i, "was started again before it ended")
		i = -1
	}
	if i < 0 && !starts {
		out.problem(at, "%s is not part of a job: its start is missing, or it came after the end", row.Name)
		return
	}
	if i < 0 {
		if len(r.state.Jobs) == r.options.Jobs {
			r.dropJob(out, 0, "has not ended and is the oldest of too many")
		}
		r.state.Jobs = append(r.state.Jobs, &job{Process: at.process, Call: call, Kind: kind})
		i = len(r.state.Jobs) - 1
	}
	j := r.state.Jobs[i]
	if row.Control {
		row.Of = j.Last
	} else {
		j.Last = row.Seq
	}
	j.Rows = append(j.Rows, row)
	size := 160 + len(row.Name) + len(row.Metadata)
	j.Bytes += size
	r.state.JobBytes += size
	if record.Checkpoint == j.Kind.last() {
		r.state.Jobs = slices.Delete(r.state.Jobs, i, i+1)
		r.state.Waiting = append(r.state.Waiting, j)
		r.attachWaiting(out, false)
	}
	for r.state.JobBytes > r.options.JobBytes {
		if len(r.state.Waiting) > 0 {
			r.attachOldest(out)
		} else {
			r.dropJob(out, 0, "is too large, with others that have not ended")
		}
	}
}

func (r *Reader) dropJob(out *batch, i int, why string) {
	j := r.state.Jobs[i]
	out.problem(j.place(), "%s of call %d %s", j.Kind.first(), j.Call, why)
	r.state.JobBytes -= j.Bytes
	r.state.Jobs = slices.Delete(r.state.Jobs, i, i+1)
}

func bytesOf(jobs []*job) (total int) {
	for _, j := range jobs {
		total += j.Bytes
	}
	return total
}

// addParent remembers a checkpoint that jobs can belong to.
func (r *Reader) addParent(t *traceState, row Row) {
	kind, isParent := kindOf(row.Name, jobKind.parent)
	if !isParent {
		return
	}
	ring := r.state.Parents[kind]
	if len(ring) >= r.options.Parents {
		ring = slices.Delete(ring, 0, len(ring)-r.options.Parents+1)
	}
	r.state.Parents[kind] = append(ring, parent{Trace: t.Number, Seq: row.Seq, Main: row.Main, Time: row.Time, Since: r.state.Passed})
}

func (r *Reader) renumberParents(from, to int64) {
	if from == 0 {
		return // never announced, so that it is no parent
	}
	for _, ring := range r.state.Parents {
		for i := range ring {
			if ring[i].Trace == from {
				ring[i].Trace = to
			}
		}
	}
}

// passTime takes in the time of a main checkpoint. Two in a row must be later for a time to be passed, so that a single absurd one does no harm.
func (r *Reader) passTime(out *batch, time float64) {
	passed := min(r.state.Previous, time)
	r.state.Previous = time
	if passed > r.state.Passed {
		if r.state.Passed == 0 {
			for _, t := range r.state.Open { // used before any time was known
				t.UsedTime = cmp.Or(t.UsedTime, passed)
			}
		}
		r.state.Passed = passed
		r.attachWaiting(out, false)
	}
}

// attachWaiting gives those jobs to their blocks whose start the main records have passed, or all.
func (r *Reader) attachWaiting(out *batch, all bool) {
	if len(r.state.Waiting) == 0 {
		return
	}
	r.state.Waiting = slices.DeleteFunc(r.state.Waiting, func(j *job) bool {
		if !all && j.started() >= r.state.Passed {
			return false
		}
		r.attach(out, j)
		return true
	})
	for len(r.state.Waiting) > r.options.Jobs {
		r.attachOldest(out)
	}
}

// attachOldest gives a job to its block although the main records may not have reached it.
func (r *Reader) attachOldest(out *batch) {
	j := r.state.Waiting[0]
	r.state.Waiting = slices.Delete(r.state.Waiting, 0, 1)
	out.problem(j.place(), "%s of call %d could not wait for the daemon's records to reach its time", j.Kind.first(), j.Call)
	r.attach(out, j)
}

// attach gives a job to the most recent parent not later than its start. Parents that came after the main records had passed the job's
// start do not count, so that it does not matter when the job's own records come.
func (r *Reader) attach(out *batch, j *job) {
	r.state.JobBytes -= j.Bytes
	start := j.started()
	for _, p := range slices.Backward(r.state.Parents[j.Kind]) {
		if p.Since > start || p.Time > start {
			continue
		}
		if p.Trace == 0 {
			break
		}
		for _, row := range j.Rows {
			row.Trace, row.Main, row.After = p.Trace, p.Main, p.Seq
			out.Rows = append(out.Rows, row)
		}
		return
	}
	out.problem(j.place(), "%s of call %d belongs to no %s that is remembered", j.Kind.first(), j.Call, j.Kind.parent())
}
