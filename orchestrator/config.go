package orchestrator

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"provingground/dsl"
	"provingground/internal/clock"
	"provingground/uptime"
)

// Config is the configuration of a run (orchestrator-scripts, section 4; programs, "orchestrator"). [ReadConfig] reads and checks it.
type Config struct {
	// Key is the base64 of the 32-byte Ed25519 seed that signs ITN requests. It is a secret.
	Key string
	// OnlineURL is where the uptime service lists the nodes that are online; exactly one of it and AWS is given.
	OnlineURL string
	// AWS is the bucket that the uptime service writes submissions to.
	AWS *AWS
	// URLOverrides are the templates of addresses of forwarded nodes.
	URLOverrides uptime.Overrides
	// FundDaemonPorts are values for the option --daemon-port of the mina executable; none leaves the option out.
	FundDaemonPorts []string
	// MinaExec is the mina executable; "mina" by default.
	MinaExec string
	// FundThrough says who creates accounts: "mina" the executable, "node" a newer node, "auto" (the default) the executable, or a newer
	// node when the executable cannot be found.
	FundThrough string
	// ControlExec is the executable that restarts nodes; "" when there is none.
	ControlExec string
	// SnarkPool is the agent of the pool of SNARK workers that scripts change; nil for none.
	SnarkPool *SnarkPoolConfig
	// SlotDuration is the network time of a slot; 0 when not known.
	SlotDuration time.Duration
	// Genesis is the network time of slot 0; the zero time when not known.
	Genesis time.Time
	// PrintRequests logs every request at debug level, without secrets.
	PrintRequests bool
	// LogLevel is debug, info (the default), warn, error, dpanic, panic or fatal.
	LogLevel string
	// LogFile gets the log as well; "" for none.
	LogFile string
	// DBURI is the database with the evidence; "" for none.
	DBURI string
	// RequestTimeout bounds one request, in wall time; 30 s by default.
	RequestTimeout time.Duration
	// Concurrency is how many nodes are spoken to at once; 64 by default.
	Concurrency int
	// ClockScale is how many times as fast as the wall a simulated network runs; 1 by default.
	ClockScale float64
	// Warnings are what a careful person would mend: a key that others can read.
	Warnings []string
}

// AWS says where in S3 the uptime service stores submissions (uptime, section 6.1).
type AWS struct {
	Region    string
	AccountID string
	Prefix    string
}

// SnarkPoolConfig says where the agent of a pool of SNARK workers is: at a socket of this machine or, for one elsewhere, at an address, where a key
// signs the commands.
type SnarkPoolConfig struct {
	// Socket is the path of its socket; exactly one of it and Agent is given.
	Socket string
	// Agent is NAME@HOST:PORT, or HOST:PORT where the host is the name.
	Agent string
	// KeyFile is the file with the base64 of the 32-byte seed of the Ed25519 key that may command the agent; Agent needs it.
	KeyFile string
	// CAFile is the file with the certificates, in PEM, that the agent's comes from; "" for those of the system.
	CAFile string
}

// Network names the network: runs on one machine with the same name exclude each other, and a record says of which network it is. It
// holds no password.
func (c Config) Network() string {
	if c.AWS != nil {
		return fmt.Sprintf("s3:%s/%s/%s", c.AWS.Region, c.AWS.AccountID, c.AWS.Prefix)
	}
	u, err := url.Parse(c.OnlineURL)
	if err != nil || u.User == nil {
		return c.OnlineURL
	}
	u.User = nil
	return u.String()
}

// Format shows the configuration without its secrets, whatever the verb.
func (c Config) Format(state fmt.State, verb rune) {
	type shown Config // has no Format
	for _, secret := range []*string{&c.Key, &c.DBURI} {
		if *secret != "" {
			*secret = masked
		}
	}
	if c.AWS == nil {
		c.OnlineURL = c.Network()
	}
	_, _ = fmt.Fprintf(state, fmt.FormatString(state, verb), shown(c))
}

// masked stands for a secret.
const masked = "…(masked)"

// Clock returns the network's clock.
func (c Config) Clock() (*clock.Clock, error) {
	return clock.Scaled(c.Genesis, c.ClockScale)
}

// maxConfig bounds a configuration and a key file.
const maxConfig = 1 << 20

// ReadConfig reads the configuration file at path and checks it. Every finding is in the error, with its place, in the order of the places;
// the ITN key is not. A key is read from the file or the variable that the configuration names; paths in it are relative to the current
// directory, as they are today.
func ReadConfig(path string, getenv func(string) (string, bool)) (Config, error) {
	text, private, err := readBounded(path)
	if err != nil {
		return Config{}, fmt.Errorf("the configuration cannot be read: %w", err)
	}
	source := dsl.NewSource(path, text)
	object, err := dsl.ParseObject(source)
	if err != nil {
		return Config{}, fmt.Errorf("the configuration does not decode: %w", unquoted(err))
	}
	c := Config{
		MinaExec: "mina", FundThrough: "auto", LogLevel: "info", RequestTimeout: 30 * time.Second, Concurrency: 64, ClockScale: 1,
	}
	r := configReader{source: source, config: &c}
	r.read(object, getenv)
	if r.given("key") && !private {
		c.Warnings = append(c.Warnings, fmt.Sprintf("%s holds the ITN key and others can read it: chmod 600 %s", path, path))
	}
	if len(r.wrong) == 0 {
		return c, nil
	}
	var wrong []error
	for _, f := range r.wrong.Sort() {
		wrong = append(wrong, f)
	}
	return Config{}, fmt.Errorf("the configuration is wrong:\n%w", errors.Join(wrong...))
}

// unquoted leaves out of a complaint what it quotes from the text: that may be the ITN key, written without its quotes.
func unquoted(err error) error {
	var f dsl.Finding
	if errors.As(err, &f) && f.Span.End > f.Span.Start+1 && f.Span.End <= len(f.Source.Text) {
		f.Message = strings.ReplaceAll(f.Message, string(f.Source.Text[f.Span.Start:f.Span.End]), "this")
		f.Hint = cmp.Or(f.Hint, "a string stands in double quotes")
		return f
	}
	return err
}

// readBounded reads a small file, and says whether nobody but its owner can read it.
func readBounded(path string) (text []byte, private bool, err error) {
	file, err := os.Open(path) //nolint:gosec // the path is the caller's own argument
	if err != nil {
		return nil, false, err //nolint:wrapcheck // names path and operation
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return nil, false, err //nolint:wrapcheck // names path and operation
	}
	text, err = io.ReadAll(io.LimitReader(file, maxConfig+1))
	if err != nil {
		return nil, false, err //nolint:wrapcheck // names path and operation
	}
	if len(text) > maxConfig {
		return nil, false, fmt.Errorf("%s is larger than %d bytes", path, maxConfig)
	}
	return text, info.Mode().Perm()&0o077 == 0 || info.Mode().Type() != 0 && info.Mode().Type()&fs.ModeDir == 0, nil
}

type configReader struct {
	source          *dsl.Source
	config          *Config
	fields          map[string]dsl.Value // what the configuration gives, by the keys' names; null is the absence of a value
	keyFile, keyEnv string
	wrong           dsl.Findings
}

func (r *configReader) given(name string) bool {
	_, ok := r.fields[name]
	return ok
}

// span returns the place of a key's value; of one that is not given, the beginning of the configuration.
func (r *configReader) span(name string) dsl.Span {
	if v, ok := r.fields[name]; ok {
		return v.Span
	}
	return dsl.Span{}
}

func (r *configReader) report(span dsl.Span, hint, format string, args ...any) {
	r.wrong = append(r.wrong, dsl.Finding{Source: r.source, Span: span, Step: -1, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// keys are the configuration's keys, each with the function that takes its value.
func (r *configReader) keys() map[string]func(dsl.Field) {
	c := r.config
	return map[string]func(dsl.Field){
		"key":             r.text(&c.Key),
		"keyFile":         r.text(&r.keyFile),
		"keyEnv":          r.text(&r.keyEnv),
		"onlineURL":       r.text(&c.OnlineURL),
		"aws":             r.aws,
		"urlOverrides":    r.texts((*[]string)(&c.URLOverrides)),
		"fundDaemonPorts": r.texts(&c.FundDaemonPorts),
		"minaExec":        r.text(&c.MinaExec),
		"fundThrough":     r.text(&c.FundThrough),
		"controlExec":     r.text(&c.ControlExec),
		"snarkPool":       r.snarkPool,
		"slotDurationMs":  r.milliseconds(&c.SlotDuration),
		"genesisTimestamp": func(f dsl.Field) {
			var text string
			r.text(&text)(f)
			if text == "" {
				return
			}
			t, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				r.report(f.Value.Span, "write it like 2024-05-01T10:00:00Z", "genesisTimestamp is not a time: %q", shown(text))
			}
			c.Genesis = t.UTC()
		},
		"printRequests": func(f dsl.Field) {
			if f.Value.Shape != dsl.Bool {
				r.report(f.Value.Span, cmp.Or(withoutQuotes(f.Value), "write true or false"), "printRequests is %s, not a boolean", f.Value.Shape)
			}
			c.PrintRequests = f.Value.Text == "true"
		},
		"logLevel":         r.text(&c.LogLevel),
		"logFile":          r.text(&c.LogFile),
		"dbUri":            r.text(&c.DBURI),
		"requestTimeoutMs": r.milliseconds(&c.RequestTimeout),
		"concurrency": func(f dsl.Field) {
			if n, ok := r.number(f); ok {
				c.Concurrency = n
			}
		},
		"clockScale": func(f dsl.Field) {
			number, ok := dsl.Decimal(f.Value.Text)
			if f.Value.Shape != dsl.Number || !ok {
				r.report(f.Value.Span, withoutQuotes(f.Value), "clockScale is not a number")
				return
			}
			c.ClockScale, _ = number.Float64()
		},
	}
}

func (r *configReader) read(object dsl.Value, getenv func(string) (string, bool)) {
	keys := r.keys()
	names := slices.Sorted(maps.Keys(keys))
	r.fields = map[string]dsl.Value{}
	for _, f := range object.Fields {
		i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, f.Key) })
		if i < 0 {
			r.report(f.KeySpan, cmp.Or(dsl.Suggest(f.Key, names), "it has "+strings.Join(names, ", ")), "the configuration has no key %q", shown(f.Key))
			continue
		}
		name := names[i]
		if r.given(name) {
			r.report(f.KeySpan, "keep one of them", "%q is given twice", name)
		}
		if f.Value.Shape != dsl.Null {
			r.fields[name] = f.Value
			keys[name](f)
		}
	}
	r.key(getenv)
	r.network()
	c := r.config
	if !slices.Contains([]string{"auto", "mina", "node"}, c.FundThrough) {
		r.report(r.span("fundThrough"), "", "fundThrough is auto, mina or node, not %q", shown(c.FundThrough))
	}
	if levels := []string{"debug", "info", "warn", "error", "dpanic", "panic", "fatal"}; !slices.Contains(levels, c.LogLevel) {
		r.report(r.span("logLevel"), cmp.Or(dsl.Suggest(c.LogLevel, levels), "it is one of "+strings.Join(levels, ", ")), "unknown logLevel %q", shown(c.LogLevel))
	}
	if c.Concurrency < 1 || c.Concurrency > 10000 {
		r.report(r.span("concurrency"), "", "concurrency is from 1 to 10000, not %d", c.Concurrency)
	}
	if c.RequestTimeout <= 0 {
		r.report(r.span("requestTimeoutMs"), "", "requestTimeoutMs must be above 0")
	}
	if c.SlotDuration < 0 {
		r.report(r.span("slotDurationMs"), "", "slotDurationMs cannot be negative")
	}
	if _, err := c.Clock(); err != nil {
		r.report(r.span("clockScale"), "clockScale is only for simulated networks", "%v", err)
	}
}

// network checks what says where the nodes are.
func (r *configReader) network() {
	c := r.config
	online := r.given("onlineURL") && (c.OnlineURL != "" || r.fields["onlineURL"].Shape != dsl.String) // "" has always been none
	if online == r.given("aws") {
		r.report(r.span("aws"), "", "exactly one of onlineURL and aws says where the list of nodes is")
	}
	if c.OnlineURL != "" {
		if _, err := uptime.NewOnlineList(c.OnlineURL, nil, 0); err != nil {
			r.report(r.span("onlineURL"), "", "%v", err)
		}
	}
	for i, template := range c.URLOverrides {
		if !strings.Contains(template, "{}") {
			c.Warnings = append(c.Warnings, fmt.Sprintf("urlOverrides has a template without {}: all nodes with ports from %d on have one address, %s",
				10000*(i+1), template))
		}
	}
}

// key takes the ITN key from where the configuration says: exactly one of key, keyFile and keyEnv.
func (r *configReader) key(getenv func(string) (string, bool)) {
	const itself = "the key itself goes into key"
	var from []string
	for _, name := range []string{"key", "keyFile", "keyEnv"} {
		if r.given(name) {
			from = append(from, name)
		}
	}
	if len(from) != 1 {
		place := dsl.Span{}
		if len(from) > 1 {
			place = r.span(from[1])
		}
		r.report(place, "", "exactly one of key, keyFile and keyEnv gives the ITN key")
		return
	}
	c, where := r.config, from[0]
	if r.fields[where].Shape != dsl.String {
		return // reported already
	}
	switch where {
	case "keyFile":
		text, private, err := readBounded(r.keyFile)
		if err != nil {
			if shown(r.keyFile) != r.keyFile { // the error would show it
				r.report(r.span(where), itself, "keyFile is not the name of a file")
				return
			}
			r.report(r.span(where), "", "keyFile cannot be read: %v", err)
			return
		}
		if !private {
			c.Warnings = append(c.Warnings, fmt.Sprintf("others can read the ITN key in %s: chmod 600 %s", r.keyFile, r.keyFile))
		}
		c.Key = strings.TrimSpace(string(text))
	case "keyEnv":
		text, ok := getenv(r.keyEnv)
		if !ok {
			hint := "set it, or give the key in key or keyFile"
			if shown(r.keyEnv) != r.keyEnv {
				hint = itself
			}
			r.report(r.span(where), hint, "the environment has no variable %q", shown(r.keyEnv))
			return
		}
		c.Key = strings.TrimSpace(text)
	}
	if seed, err := base64.StdEncoding.DecodeString(c.Key); err != nil || len(seed) != 32 {
		hint := "a file that holds it goes into keyFile"
		if where != "key" {
			hint = ""
		}
		r.report(r.span(where), hint, "the ITN key is not the base64 of 32 bytes")
	}
}

// shown is a text as a message may show it: what has the looks of a key, put in the wrong place, is masked.
func shown(text string) string {
	const least = 40 // a key has 44 characters; this many is a mistyped one, too
	base64 := func(r rune) bool {
		return r == '+' || r == '/' || r == '=' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	}
	if len(text) >= least && strings.IndexFunc(text, func(r rune) bool { return !base64(r) }) < 0 {
		return masked
	}
	return text
}

// withoutQuotes is what to do about a string that stands where a number or a boolean should.
func withoutQuotes(v dsl.Value) string {
	if v.Shape == dsl.String {
		return "write it without quotes"
	}
	return ""
}

func (r *configReader) text(into *string) func(dsl.Field) {
	return func(f dsl.Field) {
		if f.Value.Shape != dsl.String {
			r.report(f.Value.Span, "", "%s is %s, not a string", f.Key, f.Value.Shape)
			return
		}
		*into = f.Value.Text
	}
}

func (r *configReader) texts(into *[]string) func(dsl.Field) {
	return func(f dsl.Field) {
		if f.Value.Shape != dsl.List {
			r.report(f.Value.Span, "write it in [ ]", "%s is %s, not a list of strings", f.Key, f.Value.Shape)
			return
		}
		for _, item := range f.Value.Items {
			if item.Shape != dsl.String {
				r.report(item.Span, "", "%s holds %s, not a string", f.Key, item.Shape)
				continue
			}
			*into = append(*into, item.Text)
		}
	}
}

func (r *configReader) number(f dsl.Field) (int, bool) {
	whole, ok := dsl.WholeNumber(f.Value.Text)
	if f.Value.Shape != dsl.Number || !ok || !whole.IsInt64() || whole.Int64() > math.MaxInt32 || whole.Int64() < math.MinInt32 {
		r.report(f.Value.Span, withoutQuotes(f.Value), "%s is not a whole number", f.Key)
		return 0, false
	}
	return int(whole.Int64()), true
}

func (r *configReader) milliseconds(into *time.Duration) func(dsl.Field) {
	return func(f dsl.Field) {
		if n, ok := r.number(f); ok {
			*into = time.Duration(n) * time.Millisecond
		}
	}
}

func (r *configReader) aws(f dsl.Field) {
	aws := &AWS{}
	names := []string{"region", "account_id", "prefix"}
	given, ok := r.object(f, names, &aws.Region, &aws.AccountID, &aws.Prefix)
	if !ok {
		return
	}
	for i, name := range names {
		if !given[i] {
			r.report(f.Value.Span, "", "aws needs %s", name)
		}
	}
	r.config.AWS = aws
}

func (r *configReader) snarkPool(f dsl.Field) {
	pool := &SnarkPoolConfig{}
	if _, ok := r.object(f, []string{"socket", "agent", "keyFile", "caFile"}, &pool.Socket, &pool.Agent, &pool.KeyFile, &pool.CAFile); !ok {
		return
	}
	const hint = `write {"socket": "control.sock"}, or {"agent": "NAME@HOST:PORT", "keyFile": "FILE"}`
	switch {
	case (pool.Socket == "") == (pool.Agent == ""):
		r.report(f.Value.Span, hint, "exactly one of socket and agent says where the agent of snarkPool is")
	case pool.Agent != "" && pool.KeyFile == "":
		r.report(f.Value.Span, hint, "an agent elsewhere wants signed commands, and keyFile is missing")
	case pool.Socket != "" && (pool.KeyFile != "" || pool.CAFile != ""):
		r.report(f.Value.Span, hint, "keyFile and caFile are for an agent elsewhere: who may open its socket may command it")
	}
	r.config.SnarkPool = pool
}

// object takes the texts of an object, by its keys, and says which are given. It is false for what is no object, which is reported.
func (r *configReader) object(f dsl.Field, names []string, texts ...*string) (given []bool, ok bool) {
	if f.Value.Shape != dsl.Object {
		r.report(f.Value.Span, "", "%s is %s, not an object", f.Key, f.Value.Shape)
		return nil, false
	}
	given = make([]bool, len(names))
	for _, field := range f.Value.Fields {
		i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, field.Key) })
		if i < 0 {
			r.report(field.KeySpan, cmp.Or(dsl.Suggest(field.Key, names), "it has "+strings.Join(names, ", ")), "%s has no key %q", f.Key, shown(field.Key))
			continue
		}
		given[i] = true
		r.text(texts[i])(field)
	}
	return given, true
}

// RecordPath returns the default path of a run's record: beside the log file, or in the current directory.
func RecordPath(logFile string, began time.Time) string {
	return filepath.Join(filepath.Dir(logFile), "run-"+began.UTC().Format("20060102T150405.000000Z")+".record")
}
