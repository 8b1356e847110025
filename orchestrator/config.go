package orchestrator

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
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

// Network names the network: runs on one machine with the same name exclude each other.
func (c Config) Network() string {
	if c.AWS != nil {
		return fmt.Sprintf("s3:%s/%s/%s", c.AWS.Region, c.AWS.AccountID, c.AWS.Prefix)
	}
	return c.OnlineURL
}

// Clock returns the network's clock.
func (c Config) Clock() (*clock.Clock, error) {
	return clock.Scaled(c.Genesis, c.ClockScale)
}

// maxConfig bounds a configuration and a key file.
const maxConfig = 1 << 20

// ReadConfig reads the configuration file at path and checks it. Every finding is in the error. A key is read from the file or the
// variable that the configuration names; paths in it are relative to the current directory, as they are today.
func ReadConfig(path string, getenv func(string) (string, bool)) (Config, error) {
	text, private, err := readBounded(path)
	if err != nil {
		return Config{}, fmt.Errorf("open the configuration: %w", err)
	}
	source := dsl.NewSource(path, text)
	object, err := dsl.ParseObject(source)
	if err != nil {
		return Config{}, fmt.Errorf("the configuration does not decode: %w", err)
	}
	c := Config{
		MinaExec: "mina", FundThrough: "auto", LogLevel: "info", RequestTimeout: 30 * time.Second, Concurrency: 64, ClockScale: 1,
	}
	r := configReader{source: source, config: &c}
	r.read(object, getenv)
	if c.Key != "" && r.has["key"] && !private {
		c.Warnings = append(c.Warnings, fmt.Sprintf("%s holds the ITN key and others can read it: chmod 600 %s", path, path))
	}
	return c, errors.Join(r.wrong...)
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
	source *dsl.Source
	config *Config
	has    map[string]bool
	wrong  []error
}

func (r *configReader) report(span dsl.Span, hint, format string, args ...any) {
	r.wrong = append(r.wrong, dsl.Finding{Source: r.source, Span: span, Step: -1, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// keys are the configuration's keys, each with the function that takes its value.
func (r *configReader) keys() map[string]func(dsl.Field) {
	c := r.config
	return map[string]func(dsl.Field){
		"key":             r.text(&c.Key),
		"keyFile":         func(dsl.Field) {}, // taken in key
		"keyEnv":          func(dsl.Field) {},
		"onlineURL":       r.text(&c.OnlineURL),
		"aws":             r.aws,
		"urlOverrides":    r.texts((*[]string)(&c.URLOverrides)),
		"fundDaemonPorts": r.texts(&c.FundDaemonPorts),
		"minaExec":        r.text(&c.MinaExec),
		"fundThrough":     r.text(&c.FundThrough),
		"controlExec":     r.text(&c.ControlExec),
		"slotDurationMs":  r.milliseconds(&c.SlotDuration),
		"genesisTimestamp": func(f dsl.Field) {
			var text string
			r.text(&text)(f)
			if text == "" {
				return
			}
			t, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				r.report(f.Value.Span, "write it like 2024-05-01T10:00:00Z", "genesisTimestamp is not a time: %q", text)
			}
			c.Genesis = t.UTC()
		},
		"printRequests": func(f dsl.Field) {
			if f.Value.Shape != dsl.Bool {
				r.report(f.Value.Span, "write true or false, without quotes", "printRequests is %s, not a boolean", f.Value.Shape)
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
				r.report(f.Value.Span, "", "clockScale is not a number")
				return
			}
			c.ClockScale, _ = number.Float64()
		},
	}
}

func (r *configReader) read(object dsl.Value, getenv func(string) (string, bool)) {
	keys := r.keys()
	names := make([]string, 0, len(keys))
	for name := range keys {
		names = append(names, name)
	}
	slices.Sort(names)
	r.has = map[string]bool{}
	spans := map[string]dsl.Span{}
	fields := map[string]dsl.Value{}
	for _, f := range object.Fields {
		i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, f.Key) })
		if i < 0 {
			r.report(f.KeySpan, dsl.Suggest(f.Key, names), "the configuration has no key %q", f.Key)
			continue
		}
		name := names[i]
		if r.has[name] {
			r.report(f.KeySpan, "keep one of them", "%q is given twice", name)
		}
		r.has[name], spans[name], fields[name] = true, f.Value.Span, f.Value
		if f.Value.Shape != dsl.Null {
			keys[name](f)
		}
	}
	whole := dsl.Span{Start: object.Start, End: object.Start + 1}
	span := func(name string) dsl.Span {
		if r.has[name] {
			return spans[name]
		}
		return whole
	}
	r.key(fields, span, getenv)
	c := r.config
	if (c.OnlineURL != "") == (c.AWS != nil) {
		r.report(whole, "", "exactly one of onlineURL and aws says where the list of nodes is")
	}
	if !slices.Contains([]string{"auto", "mina", "node"}, c.FundThrough) {
		r.report(span("fundThrough"), "", "fundThrough is auto, mina or node, not %q", c.FundThrough)
	}
	if levels := []string{"debug", "info", "warn", "error", "dpanic", "panic", "fatal"}; !slices.Contains(levels, c.LogLevel) {
		r.report(span("logLevel"), dsl.Suggest(c.LogLevel, levels), "unknown logLevel %q", c.LogLevel)
	}
	if c.Concurrency < 1 || c.Concurrency > 10000 {
		r.report(span("concurrency"), "", "concurrency is from 1 to 10000, not %d", c.Concurrency)
	}
	if c.RequestTimeout <= 0 {
		r.report(span("requestTimeoutMs"), "", "requestTimeoutMs must be above 0")
	}
	if c.SlotDuration < 0 {
		r.report(span("slotDurationMs"), "", "slotDurationMs cannot be negative")
	}
	if _, err := c.Clock(); err != nil {
		r.report(span("clockScale"), "clockScale is only for simulated networks", "%v", err)
	}
}

// key takes the ITN key from where the configuration says: exactly one of key, keyFile and keyEnv.
func (r *configReader) key(fields map[string]dsl.Value, span func(string) dsl.Span, getenv func(string) (string, bool)) {
	given := 0
	for _, name := range []string{"key", "keyFile", "keyEnv"} {
		if r.has[name] {
			given++
		}
	}
	if given != 1 {
		r.report(span("key"), "", "exactly one of key, keyFile and keyEnv gives the ITN key")
		return
	}
	c, where := r.config, "key"
	switch {
	case r.has["keyFile"]:
		where = "keyFile"
		path := fields["keyFile"].Text
		text, private, err := readBounded(path)
		if err != nil {
			r.report(span(where), "", "keyFile cannot be read: %v", err)
			return
		}
		if !private {
			c.Warnings = append(c.Warnings, fmt.Sprintf("others can read the ITN key in %s: chmod 600 %s", path, path))
		}
		c.Key = strings.TrimSpace(string(text))
	case r.has["keyEnv"]:
		where = "keyEnv"
		text, ok := getenv(fields["keyEnv"].Text)
		if !ok {
			r.report(span(where), "", "the environment has no variable %q", fields["keyEnv"].Text)
			return
		}
		c.Key = strings.TrimSpace(text)
	}
	if seed, err := base64.StdEncoding.DecodeString(c.Key); err != nil || len(seed) != 32 {
		r.report(span(where), "", "the ITN key is not the base64 of 32 bytes")
	}
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
		r.report(f.Value.Span, "", "%s is not a whole number", f.Key)
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
	if f.Value.Shape != dsl.Object {
		r.report(f.Value.Span, "", "aws is %s, not an object", f.Value.Shape)
		return
	}
	aws := &AWS{}
	known := map[string]*string{"region": &aws.Region, "account_id": &aws.AccountID, "prefix": &aws.Prefix}
	names := []string{"region", "account_id", "prefix"}
	for _, field := range f.Value.Fields {
		i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, field.Key) })
		if i < 0 {
			r.report(field.KeySpan, dsl.Suggest(field.Key, names), "aws has no key %q", field.Key)
			continue
		}
		r.text(known[names[i]])(field)
	}
	for _, name := range names {
		if *known[name] == "" {
			r.report(f.Value.Span, "", "aws needs %s", name)
		}
	}
	r.config.AWS = aws
}

// RecordPath returns the default path of a run's record: beside the log file, or in the current directory.
func RecordPath(logFile string, began time.Time) string {
	return filepath.Join(filepath.Dir(logFile), "run-"+began.UTC().Format("20060102T150405.000000Z")+".record")
}
