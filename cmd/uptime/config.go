package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"provingground/cmd/internal/boot"
	"provingground/dsl"
)

// config is a configuration file (uptime, section 4.3), with what is new here. What a file does not give has its zero value.
type config struct {
	inMemory          *bool // nil: not said
	aws               *awsConfig
	databaseURI       string
	whitelist         []string // keys; nil: not given, unlike an empty list
	whitelistFile     string
	whitelistDatabase bool
	proxies           []netip.Prefix
	retention         time.Duration
	perHour           int

	private bool // nobody but its owner can read the file
}

// awsConfig says where in S3 submissions are kept (uptime, section 6.1).
type awsConfig struct {
	region    string
	accountID string
	prefix    string
}

// maxConfig bounds a configuration file, in bytes: a whitelist of a hundred thousand keys fits.
const maxConfig = 8 << 20

// readConfig reads a configuration file and checks each of its keys. Every finding is in the error, with its place, in the order of the places.
// Keys are told without regard to upper and lower case, as the existing service does it.
func readConfig(path string) (config, error) {
	text, mode, err := boot.ReadSmall(path, maxConfig)
	if err != nil {
		return config{}, fmt.Errorf("the configuration cannot be read: %w", err)
	}
	source := dsl.NewSource(path, text)
	object, err := dsl.ParseObject(source)
	if err != nil {
		return config{}, fmt.Errorf("the configuration does not decode: %w", unquoted(err))
	}
	r := configReader{source: source}
	r.read(object)
	r.config.private = !mode.IsRegular() || mode.Perm()&0o077 == 0
	var wrong []error
	for _, f := range r.wrong.Sort() {
		wrong = append(wrong, f)
	}
	return r.config, errors.Join(wrong...)
}

// unquoted leaves out of a complaint what it quotes from the text: that may be a password, written without its quotes.
func unquoted(err error) error {
	f, is := errors.AsType[dsl.Finding](err)
	if !is || f.Span.End <= f.Span.Start+1 || f.Span.End > len(f.Source.Text) {
		return err
	}
	f.Message = strings.ReplaceAll(f.Message, string(f.Source.Text[f.Span.Start:f.Span.End]), "this")
	return f
}

type configReader struct {
	source *dsl.Source
	config config
	wrong  dsl.Findings
}

func (r *configReader) report(span dsl.Span, hint, format string, args ...any) {
	r.wrong = append(r.wrong, dsl.Finding{Source: r.source, Span: span, Step: -1, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// keys are the configuration's keys, each with the function that takes its value.
func (r *configReader) keys() map[string]func(dsl.Field) {
	c := &r.config
	return map[string]func(dsl.Field){
		"in_memory": func(f dsl.Field) {
			var yes bool
			r.boolean(&yes)(f)
			c.inMemory = &yes
		},
		"aws":                r.aws,
		"db_uri":             r.text(&c.databaseURI),
		"whitelist":          r.whitelist,
		"whitelist_file":     r.text(&c.whitelistFile),
		"whitelist_database": r.boolean(&c.whitelistDatabase),
		"gsheet_id": func(f dsl.Field) {
			if f.Value.Shape != dsl.String || f.Value.Text != "" {
				r.report(f.KeySpan, noSheetHint, "gsheet_id: Google sheets are not read here")
			}
		},
		"trusted_proxies": func(f dsl.Field) {
			if f.Value.Shape != dsl.List {
				r.report(f.Value.Span, "write it in [ ]", "trusted_proxies is %s, not a list of networks", f.Value.Shape)
			}
			for _, item := range f.Value.Items {
				network, err := proxyNetwork(item.Text)
				if item.Shape != dsl.String || err != nil {
					r.report(item.Span, proxyHint, "this is no network of proxies")
				}
				c.proxies = append(c.proxies, network)
			}
		},
		"retention": func(f dsl.Field) {
			d, err := time.ParseDuration(f.Value.Text)
			if f.Value.Shape != dsl.String || err != nil || !retainable(d) {
				r.report(f.Value.Span, expected("retention"), `retention is not such a time: write it like "20m"`)
			}
			c.retention = d
		},
		"requests_per_pk_hourly": func(f dsl.Field) {
			whole, ok := dsl.WholeNumber(f.Value.Text)
			if f.Value.Shape != dsl.Number || !ok || !whole.IsInt64() || !countable(whole.Int64()) {
				r.report(f.Value.Span, expected("per-hour"), "requests_per_pk_hourly is not such a number")
				return
			}
			c.perHour = int(whole.Int64())
		},
	}
}

const (
	noSheetHint = `write the public keys into a file, one on each line, and name it in whitelist_file: it is read again whenever it changes`
	proxyHint   = `write it like "10.0.0.0/8", or an address`
)

// elsewhere says what to do about keys that the other existing service has (uptime, section 4.3).
func elsewhere() map[string]string {
	return map[string]string{
		"network_name":                  "the environment's NETWORK names the network, mainnet or another one",
		"delegation_whitelist_list":     "the list is the key whitelist",
		"delegation_whitelist_column":   noSheetHint,
		"delegation_whitelist_disabled": "there is no service without a whitelist",
		"verify_signature_disabled":     "there is no service that verifies no signatures",
		"aws_keyspaces":                 "give a PostgreSQL database in db_uri",
		"postgresql":                    "write it as db_uri: postgresql://USER@HOST:PORT/DATABASE",
		"filesystem":                    "submissions are kept in S3 (aws) or PostgreSQL (db_uri)",
	}
}

func (r *configReader) read(object dsl.Value) {
	keys := r.keys()
	names := slices.Sorted(maps.Keys(keys))
	seen := make(map[string]bool)
	for _, f := range object.Fields {
		i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, f.Key) })
		if i < 0 {
			r.report(f.KeySpan, cmp.Or(elsewhere()[strings.ToLower(f.Key)], dsl.Suggest(f.Key, names), "it has "+strings.Join(names, ", ")),
				"the configuration has no key %q", f.Key)
			continue
		}
		if seen[names[i]] {
			r.report(f.KeySpan, "keep one of them", "%q is given twice", names[i])
		}
		seen[names[i]] = true
		if f.Value.Shape != dsl.Null {
			f.Key = names[i]
			keys[names[i]](f)
		}
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

func (r *configReader) boolean(into *bool) func(dsl.Field) {
	return func(f dsl.Field) {
		if f.Value.Shape != dsl.Bool {
			r.report(f.Value.Span, "write true or false, without quotes", "%s is %s, not a boolean", f.Key, f.Value.Shape)
		}
		*into = f.Value.Text == "true"
	}
}

// whitelist takes the list of keys. What in it is no key is not an error of the configuration: existing ones work although they hold some.
func (r *configReader) whitelist(f dsl.Field) {
	if f.Value.Shape != dsl.List {
		r.report(f.Value.Span, "write it in [ ]", "whitelist is %s, not a list of public keys", f.Value.Shape)
		return
	}
	r.config.whitelist = make([]string, 0, len(f.Value.Items))
	for _, item := range f.Value.Items {
		if item.Shape != dsl.String {
			r.report(item.Span, "", "whitelist holds %s, not a string", item.Shape)
			continue
		}
		r.config.whitelist = append(r.config.whitelist, item.Text)
	}
}

func (r *configReader) aws(f dsl.Field) {
	if f.Value.Shape != dsl.Object {
		r.report(f.Value.Span, "", "aws is %s, not an object", f.Value.Shape)
		return
	}
	aws := &awsConfig{}
	names := []string{"region", "account_id", "prefix"}
	texts := []*string{&aws.region, &aws.accountID, &aws.prefix}
	for _, field := range f.Value.Fields {
		i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, field.Key) })
		if i < 0 {
			r.report(field.KeySpan, cmp.Or(dsl.Suggest(field.Key, names), "it has "+strings.Join(names, ", ")), "aws has no key %q", field.Key)
			continue
		}
		r.text(texts[i])(field)
	}
	for i, name := range names {
		if *texts[i] == "" {
			r.report(f.Value.Span, "", "aws needs %s", name)
		}
	}
	r.config.aws = aws
}

// The bounds of what can be chosen.
const (
	leastRetention = time.Minute
	mostRetention  = 24 * time.Hour
	mostPerHour    = 1_000_000
)

func retainable(d time.Duration) bool { return d >= leastRetention && d <= mostRetention }
func countable(n int64) bool          { return n >= 1 && n <= mostPerHour }

// proxyNetwork reads a network of proxies, or the address of one.
func proxyNetwork(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	if network.Addr().Is4In6() {
		return netip.Prefix{}, errors.New("a network of IPv4 addresses is written without ::ffff: before it")
	}
	return network.Masked(), nil
}
