package minalog_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/snarkpool/worker/minalog"
)

func TestSpansAsCorePrintsThem(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"12.3s": 12300 * time.Millisecond, "1.5m": 90 * time.Second, "350ms": 350 * time.Millisecond, "1_234.5ms": 1234500 * time.Microsecond,
		"17us": 17 * time.Microsecond, "9ns": 9, "2h": 2 * time.Hour, "1d": 24 * time.Hour, "1m12.5s": 72500 * time.Millisecond, "0s": 0,
	} {
		if got, err := minalog.ParseSpan(text); err != nil || got != want {
			t.Errorf("%s: %v %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "s", "12", "1.2.3s", "5 parsecs", "-1s", "1e99d", strings.Repeat("9", 400) + "d"} {
		if got, err := minalog.ParseSpan(text); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

const (
	received      = `{"timestamp":"2024-05-01 10:00:00.000000Z","level":"Info","message":"SNARK work $work_ids received from $address. Starting proof generation","metadata":{"work_ids":[11,12],"address":"10.0.0.1:8301"}}`
	baseText      = `{"timestamp":"2024-05-01 10:00:12.000000Z","message":"Base SNARK generated in $elapsed for $transaction_type transaction with $zkapp_command_count zkapp_command and $proof_zkapp_command_count proof zkapp_command","metadata":{"elapsed":"11.5s","transaction_type":"Signed_command"}}`
	baseSeconds   = `{"timestamp":"2024-05-01 10:00:12.000000Z","message":"Base SNARK generated in $time for $transaction_type transaction with $zkapp_command_count zkapp_command and $proof_zkapp_command_count proof zkapp_command","metadata":{"time":11.5,"transaction_type":["Signed_command"]}}`
	merge         = `{"timestamp":"2024-05-01 10:00:20.000000Z","message":"Merge SNARK generated in $time","metadata":{"time":"0s"}}`
	submitted     = `{"timestamp":"2024-05-01 10:00:20.500000Z","message":"Submitted completed SNARK work $work_ids to $address","metadata":{"work_ids":[11,12],"address":"10.0.0.1:8301"}}`
	submitError   = `{"timestamp":"2024-05-01 10:00:21.000000Z","level":"Error","message":"Error submitting work: ((rpc_error (Connection_closed)))"}`
	slashed       = `{"timestamp":"2024-05-01 10:00:21.000000Z","message":"Result $work_ids slashed by $address","metadata":{"work_ids":[11,12],"address":"10.0.0.1:8301"}}`
	wrongShape    = `{"timestamp":"2024-05-01 10:00:21.000000Z","message":"Result $work_ids rejected by $address since it has wrong shape","metadata":{"work_ids":[11,12]}}`
	performError  = `{"timestamp":"2024-05-01 10:00:21.000000Z","message":"Error performing work: (Failure \"no memory\")"}`
	noJobs        = `{"timestamp":"2024-05-01 10:00:30.000000Z","message":"No jobs available. Napping for $time seconds","metadata":{"time":6.1}}`
	getError      = `{"timestamp":"2024-05-01 10:00:30.000000Z","message":"Error getting work: ((rpc_error (Connection_closed)))"}`
	terminated    = `{"timestamp":"2024-05-01 10:00:31.000000Z","message":"Received signal to terminate. Aborting snark worker process","metadata":{}}`
	shuttingDown  = `(monitor.ml.Error (Failure "Shutting down. Error using the RPC call, get_work,: (Unix.Unix_error \"Connection refused\")"))`
	oldReceived   = `{"timestamp":"2020-05-01 10:00:00.000000Z","message":"SNARK work received from $address. Starting proof generation","metadata":{"address":"10.0.0.1:8301"}}`
	oldSubmitted  = `{"timestamp":"2020-05-01 10:00:09.000000Z","message":"Submitted completed SNARK work to $address","metadata":{"address":"10.0.0.1:8301"}}`
	oldBase       = `{"timestamp":"2020-05-01 10:00:08.000000Z","message":"Base SNARK generated in $time","metadata":{"time":"7.25s"}}`
	partReceived  = `{"timestamp":"2025-05-01 10:00:00.000000Z","message":"SNARK work $work_ids received from $address. Starting proof generation","metadata":{"work_ids":{"source":{},"target":{}},"address":"10.0.0.1:8301"}}`
	partGenerated = `{"timestamp":"2025-05-01 10:00:05.000000Z","message":"Subzkapp SNARK generated in $elapsed of kind $kind","metadata":{"elapsed":"4.5s","kind":["Segment"]}}`
)

func TestWhatCameOfTheWork(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		lines []string
		ends  bool
		want  []string
	}{
		"delivered, times as text":         {lines: []string{noJobs, received, baseText, merge, submitted, noJobs}, want: []string{"ready", "received 2", "proof base 11.5s Signed_command", "proof merge cached", "delivered 2 wall 20s"}},
		"delivered, times as seconds":      {lines: []string{received, baseSeconds, merge, submitted, received}, want: []string{"ready", "received 2", "proof base 11.5s Signed_command", "proof merge cached", "delivered 2 wall 20s", "received 2"}},
		"delivered, the oldest lines":      {lines: []string{oldReceived, oldBase, oldSubmitted, oldReceived}, want: []string{"ready", "received 0", "proof base 7.25s ", "delivered 1 wall 8.5s", "received 0"}},
		"delivered, part of a zkApp":       {lines: []string{partReceived, partGenerated, submitted, noJobs}, want: []string{"ready", "received 1", "proof sub_zkapp 4.5s Segment", "delivered 1 wall 0s"}},
		"delivered, then no coordinator":   {lines: []string{received, submitted, getError}, want: []string{"ready", "received 2", "delivered 2 wall 20s", "error"}},
		"refused after submitted":          {lines: []string{received, submitted, slashed, noJobs}, want: []string{"ready", "received 2", "refused 2"}},
		"refused without submitted":        {lines: []string{received, baseText, wrongShape, noJobs}, want: []string{"ready", "received 2", "proof base 11.5s Signed_command", "refused 2"}},
		"older: submit error last":         {lines: []string{received, submitted, submitError, noJobs}, want: []string{"ready", "received 2", "error", "unconfirmed 2"}},
		"newer: submit error, then taken":  {lines: []string{received, submitError, submitted, noJobs}, want: []string{"ready", "received 2", "error", "delivered 2 wall 20s"}},
		"submit error, then refused":       {lines: []string{received, submitted, submitError, slashed, noJobs}, want: []string{"ready", "received 2", "error", "refused 2"}},
		"proving failed":                   {lines: []string{received, performError, noJobs}, want: []string{"ready", "received 2", "failed 2"}},
		"terminated while proving":         {lines: []string{received, terminated}, ends: true, want: []string{"ready", "received 2", "ending", "lost 2"}},
		"died while submitting":            {lines: []string{received, submitted}, ends: true, want: []string{"ready", "received 2", "unconfirmed 2"}},
		"coordinator gone":                 {lines: []string{getError, shuttingDown}, ends: true, want: []string{"error", "ending"}},
		"lines of no concern":              {lines: []string{"", "garbage", `{"message":"Snark worker working directory $dir"}`, `{"message":7}`, "[]", "null"}, ends: true},
		"proof and submission out of turn": {lines: []string{baseText, submitted, noJobs}, want: []string{"proof base 11.5s Signed_command", "ready"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, follow(t, test.lines, test.ends)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestEveryWorkHasOneEnd: whatever lines come in whatever order, each received work ends once, and is delivered only if the lines allow it.
func TestEveryWorkHasOneEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOf(rapid.SampledFrom([]string{received, baseText, baseSeconds, merge, submitted, submitError, slashed, wrongShape, performError, noJobs,
			getError, terminated, oldReceived, partReceived, "noise"})).Draw(t, "lines")
		began, ended, delivered := 0, 0, 0
		for _, event := range follow(t, lines, true) {
			switch word, _, _ := strings.Cut(event, " "); word {
			case "received":
				began++
			case "delivered":
				delivered++
				ended++
			case "refused", "unconfirmed", "failed", "lost":
				ended++
			}
			if ended > began {
				t.Fatalf("more works ended than began: %v", lines)
			}
		}
		if began != ended {
			t.Fatalf("%d works began, %d ended: %v", began, ended, lines)
		}
		said := 0
		for _, line := range lines {
			if line == submitted {
				said++
			}
		}
		if delivered > said {
			t.Fatalf("%d delivered, submitted said %d times", delivered, said)
		}
	})
}

func TestPatternsCanBeReplaced(t *testing.T) {
	t.Parallel()
	rules, err := minalog.Compile(minalog.Patterns{NoJobs: "^nothing to do$"})
	if err != nil {
		t.Fatal(err)
	}
	if got := rules.Read([]byte("nothing to do")).Said; got != minalog.NoJobs {
		t.Errorf("a line of another release was read as %v", got)
	}
	if got := rules.Read([]byte(noJobs)).Said; got != minalog.Nothing {
		t.Errorf("the replaced text was read as %v", got)
	}
	_, err = minalog.Compile(minalog.Patterns{Received: "(", Merge: "["})
	if err == nil || !strings.Contains(err.Error(), "received") || !strings.Contains(err.Error(), "merge") {
		t.Errorf("two wrong patterns: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	for _, line := range []string{received, baseText, baseSeconds, merge, submitted, shuttingDown, partReceived, "", "{"} {
		f.Add([]byte(line))
	}
	rules, err := minalog.Compile(minalog.Patterns{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		line := rules.Read(text)
		if line.Elapsed != nil && *line.Elapsed < 0 {
			t.Errorf("a proof took %v", *line.Elapsed)
		}
		if line.Elapsed != nil && line.Said != minalog.Generated {
			t.Errorf("a line that speaks of no proof has a time")
		}
	})
}

func BenchmarkRead(b *testing.B) {
	rules, err := minalog.Compile(minalog.Patterns{})
	if err != nil {
		b.Fatal(err)
	}
	line := []byte(baseText)
	b.ReportAllocs()
	for b.Loop() {
		if rules.Read(line).Said != minalog.Generated {
			b.Fatal("not read")
		}
	}
}

// follow runs lines through a machine and returns its events in words.
func follow(t rapid.TB, lines []string, ends bool) []string {
	t.Helper()
	rules, err := minalog.Compile(minalog.Patterns{})
	if err != nil {
		t.Fatal(err)
	}
	var machine minalog.Machine
	var events, more []minalog.Event
	for _, line := range lines {
		machine, more = machine.Next(rules.Read([]byte(line)))
		events = append(events, more...)
	}
	if ends {
		machine, more = machine.End(time.Time{})
		events = append(events, more...)
		if machine.State() != minalog.Ended {
			t.Fatalf("an ended process is %v", machine.State())
		}
	}
	var words []string
	for _, e := range events {
		words = append(words, inWords(e))
	}
	return words
}

func inWords(e minalog.Event) string {
	switch e.Kind {
	case minalog.Ready:
		return "ready"
	case minalog.WorkReceived:
		return fmt.Sprintf("received %d", len(e.WorkIDs))
	case minalog.ProofMade:
		if e.Cached {
			return fmt.Sprintf("proof %s cached", e.Proof)
		}
		return fmt.Sprintf("proof %s %v %s", e.Proof, *e.Elapsed, e.Transaction)
	case minalog.Delivered:
		if e.Wall == nil {
			return fmt.Sprintf("delivered %d", e.Proofs)
		}
		return fmt.Sprintf("delivered %d wall %v", e.Proofs, *e.Wall)
	case minalog.NotDelivered:
		return fmt.Sprintf("refused %d", e.Proofs)
	case minalog.Unconfirmed:
		return fmt.Sprintf("unconfirmed %d", e.Proofs)
	case minalog.Failed:
		return fmt.Sprintf("failed %d", e.Proofs)
	case minalog.Lost:
		return fmt.Sprintf("lost %d", e.Proofs)
	case minalog.CoordinatorError:
		return "error"
	case minalog.WorkerEnding:
		return "ending"
	}
	return "unknown event"
}
