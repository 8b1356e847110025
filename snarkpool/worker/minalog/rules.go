package minalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Said is what a line says.
type Said uint8

// What the lines of a worker say; [Nothing] is a line of no concern here, which most are.
const (
	Nothing      Said = iota
	NoJobs            // the coordinator has no work
	Received          // work was received, proving begins
	Generated         // one proof is made
	Submitted         // the proofs are submitted, or about to be: see the package comment
	SubmitError       // submitting failed, and will be tried again
	PerformError      // proving failed
	GetWorkError      // asking for work failed, and will be tried again
	Refused           // the coordinator did not want the proofs
	Ending            // the worker is about to end
)

// Patterns are regular expressions (RE2) for the message of a line, with its $placeholders as logged; for a line that is not JSON, for the
// whole line. An empty one means the default. They are tried in the order of the fields.
type Patterns struct {
	NoJobs       string `json:"no_jobs,omitempty"`
	Received     string `json:"received,omitempty"`
	Base         string `json:"base,omitempty"`
	Merge        string `json:"merge,omitempty"`
	SubZkapp     string `json:"sub_zkapp,omitempty"`
	Submitted    string `json:"submitted,omitempty"`
	SubmitError  string `json:"submit_error,omitempty"`
	PerformError string `json:"perform_error,omitempty"`
	GetWorkError string `json:"get_work_error,omitempty"`
	Slashed      string `json:"slashed,omitempty"`
	WrongShape   string `json:"wrong_shape,omitempty"`
	ShuttingDown string `json:"shutting_down,omitempty"`
	Terminated   string `json:"terminated,omitempty"`
}

// ProofKind is a kind of SNARK work.
type ProofKind string

// The kinds that Mina's worker names.
const (
	Base     ProofKind = "base"
	Merge    ProofKind = "merge"
	SubZkapp ProofKind = "sub_zkapp"
)

// Line is what one line says.
type Line struct {
	Said Said
	// At is the worker's own time stamp; zero where the line has none.
	At time.Time
	// WorkIDs are the works the line speaks of, each as the JSON that was logged; empty where it names none, as the oldest workers do.
	WorkIDs []string
	// Address is the coordinator, for Received, Submitted and Refused.
	Address string
	// Kind is the kind of a Generated proof, and Elapsed the time its proving took, nil where it was not said.
	Kind    ProofKind
	Elapsed *time.Duration
	// Transaction is the transaction type of a base proof, or the part of a zkApp command; empty where it was not said.
	Transaction string
	// Text is the message, for errors and refusals; at most 512 bytes.
	Text string
}

// Rules read lines. They are safe for concurrent use.
type Rules struct{ rules []rule }

type rule struct {
	pattern *regexp.Regexp
	said    Said
	kind    ProofKind
}

// Compile makes rules of patterns. Every pattern that is no regular expression is named in the error.
func Compile(p Patterns) (*Rules, error) {
	var r Rules
	var wrong []error
	add := func(name, pattern, usual string, said Said, kind ProofKind) {
		if pattern == "" {
			pattern = usual
		}
		compiled, err := regexp.Compile(pattern)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("log pattern %s: %w", name, err))
			return
		}
		r.rules = append(r.rules, rule{compiled, said, kind})
	}
	add("no_jobs", p.NoJobs, `^No jobs available\.`, NoJobs, "")
	add("received", p.Received, `^SNARK work .*received from .*Starting proof generation`, Received, "")
	add("base", p.Base, `^Base SNARK generated in `, Generated, Base)
	add("merge", p.Merge, `^Merge SNARK generated in `, Generated, Merge)
	add("sub_zkapp", p.SubZkapp, `^Subzkapp SNARK generated in `, Generated, SubZkapp)
	add("submitted", p.Submitted, `^Submitted completed SNARK work`, Submitted, "")
	add("submit_error", p.SubmitError, `^Error submitting work`, SubmitError, "")
	add("perform_error", p.PerformError, `^Error performing work`, PerformError, "")
	add("get_work_error", p.GetWorkError, `^Error getting work`, GetWorkError, "")
	add("slashed", p.Slashed, ` slashed by `, Refused, "")
	add("wrong_shape", p.WrongShape, ` rejected by .* wrong shape`, Refused, "")
	add("shutting_down", p.ShuttingDown, `Shutting down\. Error using the RPC call`, Ending, "")
	add("terminated", p.Terminated, `^Received signal to terminate`, Ending, "")
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return &r, nil
}

type entry struct {
	Timestamp string                     `json:"timestamp"`
	Message   *string                    `json:"message"`
	Metadata  map[string]json.RawMessage `json:"metadata"`
}

// Read reads one line of standard output or error, without its newline. A line that says nothing of concern, garbage included, is a Line
// with [Nothing].
func (r *Rules) Read(text []byte) Line {
	var e entry
	message := strings.TrimSpace(string(text))
	if json.Unmarshal(text, &e) == nil && e.Message != nil {
		message = *e.Message
	}
	for _, rule := range r.rules {
		if !rule.pattern.MatchString(message) {
			continue
		}
		line := Line{Said: rule.said, At: readTime(e.Timestamp), WorkIDs: readIDs(e.Metadata["work_ids"]), Address: readText(e.Metadata["address"]), Kind: rule.kind}
		switch rule.said {
		case Generated:
			line.Elapsed = readElapsed(e.Metadata)
			line.Transaction = readText(e.Metadata["transaction_type"]) + readText(e.Metadata["kind"]) // a line has one or the other
		case SubmitError, PerformError, GetWorkError, Refused, Ending:
			line.Text = cut(message)
		default:
		}
		return line
	}
	return Line{}
}

func cut(text string) string {
	const most = 512
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

// readTime reads "2024-05-01 10:00:00.123456Z".
func readTime(text string) time.Time {
	at, err := time.Parse("2006-01-02 15:04:05.999999999Z07:00", text)
	if err != nil {
		return time.Time{}
	}
	return at
}

// readIDs reads one or two work ids: a list, or in newer workers a single object that stands for one work.
func readIDs(value json.RawMessage) []string {
	var list []json.RawMessage
	switch {
	case len(value) == 0 || string(value) == "null":
		return nil
	case json.Unmarshal(value, &list) == nil:
		ids := make([]string, 0, len(list))
		for _, id := range list {
			ids = append(ids, string(id))
		}
		return ids
	default:
		return []string{string(value)}
	}
}

// readText reads a JSON string, or a list that begins with one, which is how OCaml's variants are logged.
func readText(value json.RawMessage) string {
	var text string
	var variant []json.RawMessage
	if json.Unmarshal(value, &variant) == nil && len(variant) > 0 {
		value = variant[0]
	}
	if json.Unmarshal(value, &text) != nil {
		return ""
	}
	return text
}

// readElapsed finds the time a proof took under its two names, as text or as seconds; nil if it is not there.
func readElapsed(metadata map[string]json.RawMessage) *time.Duration {
	value, ok := metadata["elapsed"]
	if !ok {
		value = metadata["time"]
	}
	var seconds float64
	if len(value) > 0 && json.Unmarshal(value, &seconds) == nil {
		return fromSeconds(seconds)
	}
	var text string
	if json.Unmarshal(value, &text) != nil {
		return nil
	}
	elapsed, err := ParseSpan(text)
	if err != nil {
		return nil
	}
	return &elapsed
}

func fromSeconds(seconds float64) *time.Duration {
	const century = 100 * 365 * 24 * 3600
	if math.IsNaN(seconds) || seconds < 0 || seconds > century {
		return nil
	}
	elapsed := time.Duration(seconds * float64(time.Second))
	return &elapsed
}

// ParseSpan reads a time span as OCaml's Core prints it for people: numbers with units, such as 12.3s, 1.5m, 350ms or 1m12.5s, in which the
// digits may be grouped by underscores. Units are ns, us, ms, s, m, h and d.
func ParseSpan(text string) (time.Duration, error) {
	rest := strings.ReplaceAll(text, "_", "")
	total := 0.0
	for first := true; first || rest != ""; first = false {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789."))
		number, err := strconv.ParseFloat(rest[:digits], 64)
		if err != nil {
			return 0, fmt.Errorf("read time span %q: a number is missing", cut(text))
		}
		rest = rest[digits:]
		letters := len(rest) - len(strings.TrimLeft(rest, "nusmhd"))
		unit, err := unitSeconds(rest[:letters])
		if err != nil {
			return 0, fmt.Errorf("read time span %q: %w", cut(text), err)
		}
		rest = rest[letters:]
		total += number * unit
	}
	elapsed := fromSeconds(total)
	if elapsed == nil {
		return 0, fmt.Errorf("read time span %q: longer than a century", cut(text))
	}
	return *elapsed, nil
}

func unitSeconds(unit string) (float64, error) {
	switch unit {
	case "ns":
		return 1e-9, nil
	case "us":
		return 1e-6, nil
	case "ms":
		return 1e-3, nil
	case "s":
		return 1, nil
	case "m":
		return 60, nil
	case "h":
		return 3600, nil
	case "d":
		return 24 * 3600, nil
	default:
		return 0, fmt.Errorf("unknown unit %q", unit)
	}
}
