package poolfile

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"provingground/dsl"
)

// MaxBytes bounds a pool file.
const MaxBytes = 1 << 20

// Bounds of numbers in a pool file.
const (
	maxWorkers = 10_000
	maxCores   = 65_536
)

// Variables returns what may stand as ${name} in a pool's command and environment, and is known when a worker is placed.
func Variables() []string {
	return []string{"coordinator", "gpus", "host", "index", "name", "pool", "threads"}
}

// Parse reads a pool file and fills in its defaults. Every error is in the error returned, one a line, with its place, in the order of the
// places.
func Parse(content []byte) (File, error) {
	return parse("pool file", content)
}

func parse(name string, content []byte) (File, error) {
	if len(content) > MaxBytes {
		return File{}, fmt.Errorf("%s is larger than %d bytes", name, MaxBytes)
	}
	if !utf8.Valid(content) {
		return File{}, fmt.Errorf("%s is not UTF-8", name)
	}
	r := reader{source: dsl.NewSource(name, content)}
	object, err := dsl.ParseObject(r.source)
	if err != nil {
		return File{}, fmt.Errorf("the pool file does not decode: %w", err)
	}
	file := r.file(object)
	if len(r.wrong) > 0 {
		var wrong []error
		for _, f := range r.wrong.Sort() {
			wrong = append(wrong, f)
		}
		return File{}, fmt.Errorf("the pool file is wrong:\n%w", errors.Join(wrong...))
	}
	sum := sha256.Sum256(content)
	file.Digest = hex.EncodeToString(sum[:])
	return file, nil
}

// reader takes a tree of JSON values into a file, and collects what is wrong with it.
type reader struct {
	source *dsl.Source
	wrong  dsl.Findings
}

func (r *reader) report(span dsl.Span, hint, format string, args ...any) {
	r.wrong = append(r.wrong, dsl.Finding{Source: r.source, Span: span, Step: -1, Message: fmt.Sprintf(format, args...), Hint: hint})
}

func (r *reader) file(object dsl.Value) File {
	f := File{
		Pools: map[string]Pool{},
		Restart: Restart{
			MinUptime: 30 * time.Second, Initial: 500 * time.Millisecond, Max: time.Minute,
			CrashLoop: CrashLoop{Exits: 5, Within: 5 * time.Minute},
		},
		StartsPerSecond: 50, Warmups: 4,
		Pause: Pause{HardMax: time.Minute},
	}
	var hosts *dsl.Value
	given := r.object(object, "the pool file", fields{
		"version":           r.number(&f.Version, 1, 1),
		"name":              r.name(&f.Name),
		"control":           r.group(fields{"keys_file": r.text(&f.Control.KeysFile)}),
		"database":          r.database(&f.Database),
		"hosts":             func(_ string, v dsl.Value) { hosts = &v },
		"pools":             r.pools(f.Pools),
		"restart":           r.restart(&f.Restart),
		"starts_per_second": r.number(&f.StartsPerSecond, 1, maxWorkers),
		"warmups":           r.number(&f.Warmups, 1, maxWorkers),
		"pause":             r.group(fields{"hard_max": r.duration(&f.Pause.HardMax)}),
	})
	for _, name := range []string{"version", "name", "hosts", "pools"} {
		if !given[name] {
			r.report(dsl.Span{Start: object.Start, End: object.Start + 1}, "", "the pool file needs %s", name)
		}
	}
	if hosts != nil { // after the pools, which they name
		f.Hosts = r.hosts(*hosts, f.Pools)
	}
	return f
}

// fields are the keys of an object, each with the function that takes its value.
type fields map[string]func(name string, v dsl.Value)

// object takes an object's values, and says which keys it has, or was meant to have.
func (r *reader) object(v dsl.Value, what string, known fields) map[string]bool {
	given := map[string]bool{}
	if v.Shape != dsl.Object {
		r.report(v.Span, "", "%s is %s, not an object", what, v.Shape)
		return given
	}
	names := slices.Sorted(maps.Keys(known))
	for _, f := range v.Fields {
		take, ok := known[f.Key]
		switch {
		case !ok:
			meant := dsl.Suggest(f.Key, names)
			r.report(f.KeySpan, cmp.Or(meant, "it has "+strings.Join(names, ", ")), "%s has no key %q", what, f.Key)
			for _, name := range names { // one finding is enough for a key misspelt
				given[name] = given[name] || meant != "" && dsl.Suggest(f.Key, []string{name}) == meant
			}
		case given[f.Key]:
			r.report(f.KeySpan, "keep one of them", "%q is given twice", f.Key)
		default:
			take(f.Key, f.Value)
		}
		given[f.Key] = true
	}
	return given
}

// group takes an object that is named as its key is.
func (r *reader) group(known fields) func(string, dsl.Value) {
	return func(name string, v dsl.Value) { r.object(v, name, known) }
}

// each calls take for each key of an object whose keys are names of the file's own.
func (r *reader) each(v dsl.Value, what string, take func(f dsl.Field)) {
	if v.Shape != dsl.Object {
		r.report(v.Span, "", "%s is %s, not an object", what, v.Shape)
		return
	}
	seen := map[string]bool{}
	for _, f := range v.Fields {
		if seen[f.Key] {
			r.report(f.KeySpan, "keep one of them", "%q is given twice", f.Key)
			continue
		}
		seen[f.Key] = true
		take(f)
	}
}

func (r *reader) text(into *string) func(string, dsl.Value) {
	return func(name string, v dsl.Value) {
		switch {
		case v.Shape != dsl.String:
			r.report(v.Span, "", "%s is %s, not a string", name, v.Shape)
		case v.Text == "":
			r.report(v.Span, "leave the key out instead", "%s is empty", name)
		case strings.ContainsRune(v.Text, 0):
			r.report(v.Span, "", "%s holds a NUL character", name)
		default:
			*into = v.Text
		}
	}
}

// name takes a name that also is a part of workers' names, of file names and of metrics' labels.
func (r *reader) name(into *string) func(string, dsl.Value) {
	return func(name string, v dsl.Value) {
		r.text(into)(name, v)
		if *into != "" && !validName(*into) {
			r.report(v.Span, nameHint, "%s cannot be %q", name, *into)
		}
	}
}

const nameHint = "a name begins with a letter or a digit and holds letters, digits, '.', '_' and '-', at most 63"

func validName(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	return name != "" && len(name) <= 63 && strings.Contains(letters, name[:1]) && strings.Trim(name, letters+"._-") == ""
}

func (r *reader) oneOf(into *string, known ...string) func(string, dsl.Value) {
	return func(name string, v dsl.Value) {
		if v.Shape != dsl.String {
			r.report(v.Span, "it is one of "+strings.Join(known, ", "), "%s is %s, not a string", name, v.Shape)
			return
		}
		if !slices.Contains(known, v.Text) {
			r.report(v.Span, cmp.Or(dsl.Suggest(v.Text, known), "it is one of "+strings.Join(known, ", ")), "%s cannot be %q", name, v.Text)
			return
		}
		*into = v.Text
	}
}

func (r *reader) number(into *int, least, most int) func(string, dsl.Value) {
	return func(name string, v dsl.Value) {
		whole, ok := dsl.WholeNumber(v.Text)
		if v.Shape != dsl.Number || !ok {
			r.report(v.Span, withoutQuotes(v), "%s is not a whole number", name)
			return
		}
		if !whole.IsInt64() || whole.Int64() < int64(least) || whole.Int64() > int64(most) {
			wanted := fmt.Sprintf("from %d to %d", least, most)
			if least == most {
				wanted = fmt.Sprint(least)
			}
			r.report(v.Span, "", "%s is %s, not %s", name, wanted, v.Text)
			return
		}
		*into = int(whole.Int64())
	}
}

// withoutQuotes is what to do about a string that stands where a number should.
func withoutQuotes(v dsl.Value) string {
	if v.Shape == dsl.String {
		return "write a number, without quotes"
	}
	return ""
}

func (r *reader) hours(into *float64) func(string, dsl.Value) {
	return func(name string, v dsl.Value) {
		number, ok := dsl.Decimal(v.Text)
		if v.Shape != dsl.Number || !ok {
			r.report(v.Span, withoutQuotes(v), "%s is not a number", name)
			return
		}
		hours, _ := number.Float64()
		if hours <= 0 || hours > maxDuration.Hours() || math.IsNaN(hours) {
			r.report(v.Span, "leave it out for never", "%s is above 0 and at most %g hours, not %s", name, maxDuration.Hours(), v.Text)
			return
		}
		*into = hours
	}
}

func (r *reader) duration(into *time.Duration) func(string, dsl.Value) {
	return func(name string, v dsl.Value) {
		if v.Shape != dsl.String {
			r.report(v.Span, "a duration is a string like \"5m\"", "%s is %s, not a duration", name, v.Shape)
			return
		}
		d, err := parseDuration(v.Text)
		if err != nil {
			r.report(v.Span, err.Error(), "%s is not %q", name, v.Text)
			return
		}
		*into = d
	}
}

func (r *reader) bytes(into *Bytes) func(string, dsl.Value) {
	return func(name string, v dsl.Value) {
		if v.Shape != dsl.String {
			r.report(v.Span, "memory is a string like \"7GiB\"", "%s is %s, not an amount of memory", name, v.Shape)
			return
		}
		b, err := ParseBytes(v.Text)
		if err != nil {
			r.report(v.Span, err.Error(), "%s is not %q", name, v.Text)
			return
		}
		*into = b
	}
}

func (r *reader) texts(into *[]string) func(string, dsl.Value) {
	return func(name string, v dsl.Value) {
		if v.Shape != dsl.List {
			r.report(v.Span, "write it in [ ]", "%s is %s, not a list of strings", name, v.Shape)
			return
		}
		for _, item := range v.Items {
			switch {
			case item.Shape != dsl.String:
				r.report(item.Span, "", "%s holds %s, not a string", name, item.Shape)
			case strings.ContainsRune(item.Text, 0):
				r.report(item.Span, "", "%s holds a NUL character", name)
			default:
				*into = append(*into, item.Text)
			}
		}
	}
}

func (r *reader) database(into *string) func(string, dsl.Value) {
	return func(name string, v dsl.Value) {
		if v.Shape != dsl.String || !strings.HasPrefix(v.Text, "env:") && !strings.HasPrefix(v.Text, "file:") || strings.HasSuffix(v.Text, ":") {
			// The text is not shown: it may be an address with its password.
			r.report(v.Span, "write env:NAME or file:PATH", "%s does not say where its address is; a pool file holds no secrets", name)
			return
		}
		*into = v.Text
	}
}

func (r *reader) restart(into *Restart) func(string, dsl.Value) {
	return func(name string, v dsl.Value) {
		r.object(v, name, fields{
			"min_uptime": r.duration(&into.MinUptime), "initial": r.duration(&into.Initial), "max": r.duration(&into.Max),
			"crash_loop": r.group(fields{"exits": r.number(&into.CrashLoop.Exits, 1, maxWorkers), "within": r.duration(&into.CrashLoop.Within)}),
		})
		if into.Max < into.Initial {
			r.report(v.Span, "", "restart: max, %s, is below initial, %s", into.Max, into.Initial)
		}
	}
}

func (r *reader) pools(into map[string]Pool) func(string, dsl.Value) {
	return func(what string, v dsl.Value) {
		r.each(v, what, func(f dsl.Field) {
			if !validName(f.Key) {
				r.report(f.KeySpan, nameHint, "a pool cannot be named %q", f.Key)
			}
			into[f.Key] = r.pool(f)
		})
		if v.Shape == dsl.Object && len(v.Fields) == 0 {
			r.report(v.Span, "", "there is no pool in pools")
		}
	}
}

func (r *reader) pool(f dsl.Field) Pool {
	p := Pool{Verify: VerifyAll, SMT: SMTSiblings, NUMA: NUMAStrict, MaxUnavailable: 1}
	at := map[string]dsl.Span{}
	place := func(take func(string, dsl.Value)) func(string, dsl.Value) {
		return func(name string, v dsl.Value) {
			at[name] = v.Span
			take(name, v)
		}
	}
	what := fmt.Sprintf("pool %q", f.Key)
	given := r.object(f.Value, what, fields{
		"kind":        r.oneOf(&p.Kind, KindFed, KindMina),
		"command":     r.command(&p.Command),
		"coordinator": place(r.text(&p.Coordinator)),
		"verify":      place(r.oneOf(&p.Verify, VerifyAll, VerifySample, VerifyNone)),
		"drain":       place(r.oneOf(&p.Drain, DrainFeed, DrainCoordinatorFile, DrainGate, DrainSignal)),
		"threads":     r.number(&p.Threads, 1, maxCores),
		"smt":         r.oneOf(&p.SMT, SMTSiblings, SMTShare, SMTOff),
		"numa":        r.oneOf(&p.NUMA, NUMAStrict, NUMAPrefer),
		"memory": func(name string, v dsl.Value) {
			r.object(v, name, fields{"high": r.bytes(&p.Memory.High), "max": r.bytes(&p.Memory.Max)})
			if p.Memory.Max > 0 && p.Memory.High > p.Memory.Max {
				r.report(v.Span, "", "memory: high, %s, is above max, %s", p.Memory.High, p.Memory.Max)
			}
		},
		"requires":       r.group(fields{"cpu_flags": r.texts(&p.Requires.CPUFlags)}),
		"proof_deadline": r.duration(&p.ProofDeadline),
		"recycle": r.group(fields{
			"after_hours": r.hours(&p.Recycle.AfterHours), "after_proofs": r.number(&p.Recycle.AfterProofs, 1, math.MaxInt32),
			"above_memory": r.bytes(&p.Recycle.AboveMemory),
		}),
		"gpu": func(name string, v dsl.Value) {
			p.GPU = &GPU{Count: 1, Check: CheckRequire}
			r.object(v, name, fields{
				"count": r.number(&p.GPU.Count, 1, 64), "memory_free": r.bytes(&p.GPU.MemoryFree),
				"check": r.oneOf(&p.GPU.Check, CheckRequire, CheckSkip),
			})
		},
		"env":             r.env(&p),
		"max_unavailable": r.number(&p.MaxUnavailable, 1, maxWorkers),
		"log_rules":       r.rules(&p.LogRules),
	})
	if f.Value.Shape != dsl.Object {
		return p
	}
	for _, name := range []string{"kind", "command", "threads"} {
		if !given[name] {
			r.report(f.KeySpan, "", "%s needs %s", what, name)
		}
	}
	r.kind(f, &p, at)
	return p
}

// kind checks what only one kind of pool has, and fills in the default that depends on it.
func (r *reader) kind(f dsl.Field, p *Pool, at map[string]dsl.Span) {
	given := func(name string) bool { _, ok := at[name]; return ok }
	switch p.Kind {
	case KindMina:
		if !given("coordinator") {
			r.report(f.KeySpan, "", "pool %q needs coordinator: its workers fetch their work there", f.Key)
		}
		if given("verify") {
			r.report(at["verify"], "the coordinator verifies it", "a pull worker's proof does not pass through the pool, so pool %q has no verify", f.Key)
		}
		p.Verify = ""
		p.Drain = cmp.Or(p.Drain, DrainCoordinatorFile)
		if p.Drain == DrainFeed {
			r.report(at["drain"], "", "drain: feed is for fed workers; pool %q fetches its own work", f.Key)
		}
	case KindFed:
		if given("coordinator") {
			r.report(at["coordinator"], "", "fed workers have no coordinator: pool %q gets its work from the agent", f.Key)
		}
		if p.Drain = cmp.Or(p.Drain, DrainFeed); p.Drain != DrainFeed && p.Drain != DrainSignal {
			r.report(at["drain"], "", "drain: %s is for pull workers; pool %q is fed", p.Drain, f.Key)
		}
	}
}

func (r *reader) command(into *[]string) func(string, dsl.Value) {
	return func(name string, v dsl.Value) {
		r.texts(into)(name, v)
		if v.Shape != dsl.List {
			return
		}
		if len(v.Items) == 0 || v.Items[0].Shape == dsl.String && v.Items[0].Text == "" {
			r.report(v.Span, "", "%s names no executable", name)
		}
		for _, item := range v.Items {
			r.variables(item)
		}
	}
}

// variables checks the ${…} in a text.
func (r *reader) variables(v dsl.Value) {
	rest := v.Text
	for {
		_, behind, found := strings.Cut(rest, "${")
		if !found {
			return
		}
		name, after, closed := strings.Cut(behind, "}")
		if !closed {
			r.report(v.Span, "close it: ${threads}", "a ${ without its }")
			return
		}
		if known := Variables(); !slices.Contains(known, name) {
			r.report(v.Span, cmp.Or(dsl.Suggest(name, known), "there are "+strings.Join(known, ", ")), "there is no variable ${%s}", name)
		}
		rest = after
	}
}

func (r *reader) env(p *Pool) func(string, dsl.Value) {
	return func(what string, v dsl.Value) {
		p.Env = map[string]string{}
		r.each(v, what, func(f dsl.Field) {
			if f.Key == "" || strings.ContainsAny(f.Key, "=\x00") {
				r.report(f.KeySpan, "", "an environment variable cannot be named %q", f.Key)
			}
			if f.Key == "CUDA_VISIBLE_DEVICES" {
				r.report(f.KeySpan, "leave it out: a worker sees the GPUs that it was given", "CUDA_VISIBLE_DEVICES is the plan's to set")
			}
			if f.Value.Shape != dsl.String || strings.ContainsRune(f.Value.Text, 0) {
				r.report(f.Value.Span, "write it in quotes", "%s is %s, not a text for the environment", f.Key, f.Value.Shape)
				return
			}
			r.variables(f.Value)
			p.Env[f.Key] = f.Value.Text
		})
	}
}

func (r *reader) rules(into *map[string]string) func(string, dsl.Value) {
	return func(what string, v dsl.Value) {
		*into = map[string]string{}
		r.each(v, what, func(f dsl.Field) {
			var pattern string
			r.text(&pattern)(f.Key, f.Value)
			if _, err := regexp.Compile(pattern); err != nil {
				r.report(f.Value.Span, "", "%s is no regular expression: %v", f.Key, err)
			}
			(*into)[f.Key] = pattern
		})
	}
}

func (r *reader) hosts(v dsl.Value, pools map[string]Pool) []HostRule {
	if v.Shape != dsl.List {
		r.report(v.Span, "write it in [ ]", "hosts is %s, not a list of rules", v.Shape)
		return nil
	}
	var rules []HostRule
	for _, item := range v.Items {
		rule := r.host(item, pools)
		for _, earlier := range rules {
			if earlier.Match.shadows(rule.Match) {
				r.report(item.Span, "the first rule that matches is taken; put this one before it", "no host can come to this rule: an earlier one matches all that it does")
				break
			}
		}
		rules = append(rules, rule)
	}
	if len(v.Items) == 0 {
		r.report(v.Span, "", "there is no rule in hosts, so no host has a worker")
	}
	return rules
}

func (r *reader) host(v dsl.Value, pools map[string]Pool) HostRule {
	rule := HostRule{Reserve: Reserve{Memory: GiB}, Pools: map[string]Share{}}
	var cores int
	given := r.object(v, "a host's rule", fields{
		"match": func(name string, v dsl.Value) {
			r.object(v, name, fields{"host": r.text(&rule.Match.Host), "labels": r.labels(&rule.Match)})
		},
		"reserve": func(name string, v dsl.Value) {
			if r.object(v, name, fields{"cores": r.number(&cores, 0, maxCores), "memory": r.bytes(&rule.Reserve.Memory)})["cores"] {
				rule.Reserve.Cores = &cores
			}
		},
		"pools": func(name string, v dsl.Value) {
			r.each(v, name, func(f dsl.Field) {
				pool, ok := pools[f.Key]
				if !ok {
					names := slices.Sorted(maps.Keys(pools))
					r.report(f.KeySpan, cmp.Or(dsl.Suggest(f.Key, names), "there are "+strings.Join(names, ", ")), "there is no pool %q", f.Key)
				}
				rule.Pools[f.Key] = r.share(f, pool, ok)
			})
		},
	})
	for _, name := range []string{"match", "pools"} {
		if v.Shape == dsl.Object && !given[name] {
			r.report(v.Span, "", "a host's rule needs %s", name)
		}
	}
	return rule
}

func (r *reader) labels(into *Match) func(string, dsl.Value) {
	return func(what string, v dsl.Value) {
		into.Labels = map[string]string{}
		r.each(v, what, func(f dsl.Field) {
			if f.Value.Shape != dsl.String {
				r.report(f.Value.Span, "", "label %s is %s, not a string", f.Key, f.Value.Shape)
			}
			into.Labels[f.Key] = f.Value.Text
		})
	}
}

func (r *reader) share(f dsl.Field, pool Pool, known bool) Share {
	var share Share
	var workers int
	given := r.object(f.Value, fmt.Sprintf("a host's pool %q", f.Key), fields{
		"workers": func(name string, v dsl.Value) {
			if share.Auto = v.Shape == dsl.String && v.Text == "auto"; share.Auto {
				return
			}
			if v.Shape == dsl.String {
				r.report(v.Span, "", "%s is a number or \"auto\", not %q", name, v.Text)
				return
			}
			r.number(&workers, 0, maxWorkers)(name, v)
			share.Workers = &workers
		},
		"workers_per_gpu": func(name string, v dsl.Value) {
			r.number(&share.PerGPU, 1, 64)(name, v)
			if known && pool.GPU == nil {
				r.report(v.Span, "give it gpu, or a number of workers", "pool %q uses no GPU", f.Key)
			}
			if known && pool.GPU != nil && pool.GPU.Count > 1 {
				r.report(v.Span, "give a number of workers, or \"auto\"", "a worker of pool %q uses %d GPUs", f.Key, pool.GPU.Count)
			}
		},
	})
	if f.Value.Shape == dsl.Object && given["workers"] == given["workers_per_gpu"] {
		r.report(f.Value.Span, "", "exactly one of workers and workers_per_gpu says how many workers of pool %q", f.Key)
	}
	return share
}
