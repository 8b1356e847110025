package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"provingground/cmd/internal/boot"
	"provingground/fetcher"
	"provingground/internal/clock"
	"provingground/internal/redact"
	"provingground/orchestrator/itn"
	"provingground/uptime"
)

// settings are what a sub-command works with: the command line, files that it names, and the environment, all checked.
type settings struct {
	command   command
	directory string   // absolute; empty when process has none
	files     []string // of process
	name      string   // of process: the node that wrote the files; empty: by their directories

	key        itn.Key
	names      map[string]string // display names by submitter
	node       fetcher.Fixed     // of node-address-port
	onlineURL  string            // of discovery; empty: submissions
	bucket     string
	prefix     string
	awsFile    string // AWS_CREDENTIALS_FILE
	overrides  uptime.Overrides
	listen     []string
	origins    []string      // web sites whose pages may change something
	interval   time.Duration // 0 is the collector's default
	flush      bool
	queueSize  int
	lineBytes  int64 // raw lines that are kept on disk of each node; 0 keeps none
	retainDays int   // 0 keeps everything
	clock      *clock.Clock

	databaseURI   string // empty: a private one
	deployment    int64  // 0: the newest
	newDeployment bool

	logLevel string
	secrets  *redact.Redactor
	warnings []string // for the operator
	notes    []string // for whoever wonders: what is ignored
}

// defaultListen is where the existing tool's clients look for it (log-fetcher, section 6).
const defaultListen = ":4000"

// settings makes sense of the command line and the environment. All that is wrong is one *boot.UsageError.
func (p program) settings(line commandLine) (settings, error) {
	s := settings{
		command: line.command, name: orElse(line.name, p.env("MINA_NODE_NAME")), listen: line.listen, flush: line.flush, queueSize: line.queueSize,
		retainDays: line.retainDays, databaseURI: line.databaseURI, origins: line.origins, overrides: line.overrides, logLevel: line.logLevel,
		clock: clock.Wall(), secrets: &redact.Redactor{},
	}
	var errs []error
	check := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(s.setDatabase(line))
	if line.directory != "" {
		var err error
		s.directory, err = filepath.Abs(line.directory)
		check(err)
	}
	switch line.deployment {
	case "":
	case "new":
		s.newDeployment = true
	default:
		var err error
		s.deployment, err = strconv.ParseInt(line.deployment, 10, 32)
		need(err == nil && s.deployment > 0, `--deployment %s: give the number of a deployment, or "new"`, line.deployment)
	}
	switch line.command {
	case cmdMigrate:
		need(line.databaseURI != "" || line.bad["db-uri"], "--db-uri is missing: it says which database to bring to this version")
		need(len(line.arguments) == 0, "one argument too many: %q", line.arguments)
	case cmdProcess:
		need(s.directory != "" || s.databaseURI != "" || line.bad["output-dir-path"] || line.bad["db-uri"],
			"-o DIR or --db-uri URI is missing: one of them says which database takes the entries")
		need(len(line.arguments) > 0, "name the files: fetcher process -o DIR FILE…")
		s.files = line.arguments
	default:
		need(s.directory != "" || line.bad["output-dir-path"], "-o DIR is missing: it says where to keep what belongs to this fetcher")
		check(s.setNodes(line, p.env))
		if !line.bad["secret-key-path"] {
			check(s.setKey(line.keyFile))
		}
		check(s.setNames(line.names))
		check(s.setClock(line))
		check(s.setInterval(p.env("FETCH_INTERVAL_MS")))
		check(s.setLines(line.keepLines))
		need(s.queueSize >= 1 && s.queueSize <= 1_000_000 || line.bad["queue-size"], "--queue-size %d: %s", s.queueSize, expected("queue-size"))
		need(s.retainDays >= 1 && s.retainDays <= 36_500 || !line.given["retain-days"] || line.bad["retain-days"], "--retain-days %d: %s",
			s.retainDays, expected("retain-days"))
		if len(s.listen) == 0 {
			s.listen = []string{defaultListen}
		}
		for _, address := range s.listen {
			_, port, err := net.SplitHostPort(address)
			if err == nil {
				_, err = strconv.ParseUint(port, 10, 16)
			}
			need(err == nil, "--listen %s: give HOST:PORT, or :PORT for all addresses", address)
		}
		for _, origin := range s.origins {
			site, err := url.Parse(origin)
			need(err == nil && (site.Scheme == "http" || site.Scheme == "https") && site.Host != "" && origin == site.Scheme+"://"+strings.ToLower(site.Host),
				"--allow-origin %s: give a web site as browsers name it, without anything behind its host and port: https://dashboard.example.org", origin)
		}
		for _, name := range []string{"HANDLE_STATUS_CHANGE", "INTERNAL_TRACE_CONSUMER_EXE"} {
			if p.env(name) != "" {
				s.notes = append(s.notes, name+" is ignored: there is no consumer process any more, traces are read in this one")
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return s, boot.Usage(err)
	}
	return s, nil
}

// setDatabase checks the database's URI, and sees to it that its password is not shown.
func (s *settings) setDatabase(line commandLine) error {
	uri := line.databaseURI
	switch {
	case line.bad["db-uri"]:
		return nil
	case line.given["db-uri"] && uri == "":
		return errors.New("--db-uri is empty: give postgresql://…, or leave it out for a private PostgreSQL")
	case uri == "":
		return nil
	case strings.HasPrefix(uri, "sqlite3:"), strings.HasPrefix(uri, "sqlite:"):
		return errors.New("--db-uri: SQLite is not supported any more: give postgresql://…, or leave the option out, and a private PostgreSQL is started in the directory of -o")
	}
	checked, err := boot.CheckDatabaseURI("--db-uri", uri)
	if err != nil {
		return err
	}
	if checked.Password != "" {
		s.secrets.Add(checked.Password)
	}
	if checked.Shown {
		s.warnings = append(s.warnings, "everybody on this machine can see the password in --db-uri: put it into the environment variable PGPASSWORD or into ~/.pgpass")
	}
	return nil
}

// setNodes says where the nodes come from.
func (s *settings) setNodes(line commandLine, env func(string) string) error {
	if line.command == cmdAddress {
		if len(line.arguments) != 1 {
			return errors.New("node-address-port takes one address: fetcher -k KEYFILE -o DIR node-address-port ADDRESS -p PORT")
		}
		if line.bad["port"] {
			return nil
		}
		if line.port < 1 || line.port > math.MaxUint16 {
			return errors.New("node-address-port needs the node's ITN port: -p 1 to -p 65535")
		}
		s.node = fetcher.Fixed{{RemoteAddr: line.arguments[0], ControlPort: uint16(line.port)}}
		if _, err := s.overrides.Address(line.arguments[0], uint16(line.port)); err != nil {
			return fmt.Errorf("node-address-port: %w", err)
		}
		return nil
	}
	if len(line.arguments) > 0 {
		return fmt.Errorf("one argument too many: %q", line.arguments[0])
	}
	s.onlineURL = env("ONLINE_URL")
	if s.onlineURL != "" {
		if _, err := uptime.NewOnlineList(s.onlineURL, nil, 0); err != nil {
			return fmt.Errorf("ONLINE_URL: %w", err)
		}
		return nil
	}
	s.prefix, s.bucket, s.awsFile = env("AWS_PREFIX"), env("AWS_BUCKET"), env("AWS_CREDENTIALS_FILE")
	if s.prefix == "" || s.bucket == "" {
		return errors.New("discovery needs to know where nodes report: set ONLINE_URL to the uptime service's list (http://…/v1/online), or AWS_PREFIX and AWS_BUCKET to where it keeps submissions")
	}
	return nil
}

// maxKeyFile bounds a key file, in bytes.
const maxKeyFile = 4 << 10

// setKey reads the ITN key.
func (s *settings) setKey(path string) error {
	if path == "" {
		return errors.New("-k KEYFILE is missing: the file with the base64 of the 32-byte seed of the fetcher's ITN key")
	}
	text, mode, err := boot.ReadSmall(path, maxKeyFile)
	if err != nil {
		return fmt.Errorf("the key file: %w", err)
	}
	seed := strings.TrimSpace(string(text))
	if s.key, err = itn.ParseKey(seed); err != nil {
		return fmt.Errorf("the key file %s: %w", path, err)
	}
	s.secrets.Add(seed)
	if mode.IsRegular() && mode.Perm()&0o077 != 0 {
		s.warnings = append(s.warnings, fmt.Sprintf("others can read the ITN key in %s: chmod 600 %s", path, path))
	}
	return nil
}

// maxNames bounds the file of display names, in bytes.
const maxNames = 16 << 20

// setNames reads the display names.
func (s *settings) setNames(path string) error {
	if path == "" {
		return nil
	}
	text, _, err := boot.ReadSmall(path, maxNames)
	if err != nil {
		return fmt.Errorf("the names file: %w", err)
	}
	if err := json.Unmarshal(text, &s.names); err != nil {
		return fmt.Errorf("the names file %s is not a JSON object of names by public key: %w", path, err)
	}
	return nil
}

// setClock makes the network's clock.
func (s *settings) setClock(line commandLine) error {
	if line.genesis == "" {
		if line.given["clock-scale"] {
			return errors.New("--clock-scale needs --genesis: the time at which the network's clock and the wall's were the same")
		}
		return nil
	}
	genesis, err := time.Parse(time.RFC3339, line.genesis)
	if err != nil {
		return fmt.Errorf("--genesis %s: give a time such as 2026-11-20T12:00:00Z", line.genesis)
	}
	if line.bad["clock-scale"] {
		return nil
	}
	if s.clock, err = clock.Scaled(genesis, line.clockScale); err != nil {
		return fmt.Errorf("--clock-scale: %w", err)
	}
	return nil
}

// setInterval takes FETCH_INTERVAL_MS. What is no number is the default, as in the existing tool.
func (s *settings) setInterval(text string) error {
	if text == "" {
		return nil
	}
	const longest = 24 * time.Hour
	ms, err := strconv.ParseUint(text, 10, 64)
	if err != nil || ms == 0 || ms > uint64(longest.Milliseconds()) {
		s.warnings = append(s.warnings, fmt.Sprintf("FETCH_INTERVAL_MS is %q, which is no number of milliseconds from 1 to a day: taking the default of 10 s", text))
		return nil //nolint:nilerr // the existing tool's callers rely on it, and the warning says it
	}
	s.interval = time.Duration(ms) * time.Millisecond
	return nil
}

// leastLineBytes is the least that --keep-lines can be: the nodes' lines are kept in several files.
const leastLineBytes = 1 << 20

// setLines takes the size of --keep-lines.
func (s *settings) setLines(text string) error {
	if text == "" {
		return nil
	}
	number := strings.TrimRight(text, "kKMGTiB ")
	factors := map[string]int64{"": 1, "B": 1, "k": 1 << 10, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
	unit := strings.TrimSpace(strings.TrimPrefix(text, number))
	if len(unit) > 1 {
		unit = strings.TrimSuffix(strings.TrimSuffix(unit, "B"), "i")
	}
	factor, known := factors[unit]
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || !known || n > math.MaxInt64/factor || n*factor < leastLineBytes {
		return fmt.Errorf("--keep-lines %s: give a size of 1MiB or more, such as 200MiB or 5GiB", text)
	}
	s.lineBytes = n * factor
	return nil
}
