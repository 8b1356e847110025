package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"provingground/cmd/internal/boot"
	"provingground/internal/mina"
	"provingground/internal/redact"
)

// settings are what the service works with: command line, configuration and environment, all checked.
type settings struct {
	network     mina.NetworkID
	listen      string
	databaseURI string // empty: memory
	aws         *awsConfig
	awsFile     string // AWS_CREDENTIALS_FILE

	// Exactly one of them says whose reports are taken.
	whitelist         []string // keys; nil: another one
	whitelistFile     string
	whitelistDatabase bool

	retention time.Duration
	perHour   int
	proxies   []netip.Prefix

	logLevel string
	secrets  *redact.Redactor
	warnings []string // for the operator
	notes    []string // for whoever wonders: what is ignored
}

// What is chosen where nobody says anything (uptime, sections 4 and 5).
const (
	defaultRetention = 20 * time.Minute
	defaultPerHour   = 120
)

// settings makes sense of the command line, the configuration and the environment. An option counts in place of the configuration's key. All
// that is wrong is one *boot.UsageError.
func (p program) settings(line commandLine) (settings, error) {
	s := settings{
		listen: line.listen, awsFile: p.env("AWS_CREDENTIALS_FILE"),
		retention: defaultRetention, perHour: defaultPerHour, logLevel: line.logLevel, secrets: &redact.Redactor{},
	}
	var errs []error
	check := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	var misspelt error
	s.network, misspelt = networkOf(p.env("NETWORK"))
	check(misspelt)
	path := line.config
	if path == "" {
		path = p.env("CONFIG_FILE")
	}
	read := p.configOfEnvironment
	if path != "" {
		read = func() (config, error) { return readConfig(path) }
	}
	c, unread := read()
	check(unread)
	check(s.setDatabase(line, c, path))
	if unread == nil { // else keys are missing because they could not be read
		check(s.setWhitelist(line, c, path))
		check(s.setStores(c))
	}
	s.retention, s.perHour, s.proxies = cmp.Or(c.retention, s.retention), cmp.Or(c.perHour, s.perHour), c.proxies
	if line.given["retention"] && !line.bad["retention"] {
		if s.retention = line.retention; !retainable(s.retention) {
			check(fmt.Errorf("-retention %s: %s", s.retention, expected("retention")))
		}
	}
	if line.given["per-hour"] && !line.bad["per-hour"] {
		if s.perHour = line.perHour; !countable(int64(s.perHour)) {
			check(fmt.Errorf("-per-hour %d: %s", s.perHour, expected("per-hour")))
		}
	}
	if line.given["trusted-proxy"] {
		s.proxies = nil
	}
	for _, text := range line.proxies {
		network, err := proxyNetwork(text)
		if err != nil {
			check(fmt.Errorf("-trusted-proxy %s: give a network such as 10.0.0.0/8, or an address", text))
		}
		s.proxies = append(s.proxies, network)
	}
	for _, network := range s.proxies {
		if network.IsValid() && network.Bits() == 0 {
			s.warnings = append(s.warnings, fmt.Sprintf("every address is trusted as a proxy (%s): whoever reaches the port can say where a node is", network))
		}
	}
	if !line.bad["listen"] {
		_, port, err := net.SplitHostPort(s.listen)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil {
			check(fmt.Errorf("-listen %s: give HOST:PORT, or :PORT for all addresses", s.listen))
		}
	}
	if levels := []string{"debug", "info", "warn", "error"}; !slices.Contains(levels, s.logLevel) && !line.bad["log-level"] {
		check(fmt.Errorf("-log-level %s: it is one of %s", s.logLevel, strings.Join(levels, ", ")))
	}
	if err := errors.Join(errs...); err != nil {
		return s, boot.Usage(err)
	}
	return s, nil
}

// networkOf returns the network whose signatures are verified. Unlike in the existing service, which takes any name for a test network's, the name
// mainnet is the main network's; and one that is nearly the same is an error, for whoever wrote it means the main network and would get a test network.
func networkOf(name string) (mina.NetworkID, error) {
	switch {
	case name == "" || name == "mainnet":
		return mina.Mainnet, nil
	case strings.EqualFold(strings.TrimSpace(name), "mainnet"):
		return 0, fmt.Errorf("NETWORK is %q: write mainnet, in lower case and without spaces, for the main network, or the name of a test network", name)
	}
	return mina.Testnet, nil
}

// configOfEnvironment is the configuration of those who have no file (uptime, section 4.3).
func (p program) configOfEnvironment() (config, error) {
	if p.env("CONFIG_GSHEET_ID") != "" {
		return config{}, errors.New("CONFIG_GSHEET_ID: Google sheets are not read here: unset it, write the public keys into a file, one on each line, and name it in -whitelist-file: it is read again whenever it changes")
	}
	names := []string{"CONFIG_AWS_REGION", "CONFIG_AWS_ACCOUNT_ID", "CONFIG_AWS_PREFIX"}
	var given, missing []string
	for _, name := range names {
		if p.env(name) == "" {
			missing = append(missing, name)
		} else {
			given = append(given, name)
		}
	}
	switch {
	case len(given) == 0:
		return config{}, nil
	case len(missing) > 0:
		return config{}, fmt.Errorf("%s is set, and %s is not: all three say where in S3 submissions are kept", given[0], strings.Join(missing, ", "))
	}
	return config{aws: &awsConfig{region: p.env(names[0]), accountID: p.env(names[1]), prefix: p.env(names[2])}}, nil
}

// setStores checks that something keeps the list.
func (s *settings) setStores(c config) error {
	s.aws = c.aws
	switch {
	case c.inMemory == nil:
		return nil
	case *c.inMemory && c.databaseURI != "":
		return errors.New("in_memory is true, and db_uri names a database: keep one of them")
	case *c.inMemory && s.databaseURI != "":
		s.notes = append(s.notes, "in_memory does not count: -db-uri names a database")
	case !*c.inMemory && s.databaseURI == "" && s.aws == nil:
		return errors.New("in_memory is false, and nothing else keeps the list: give db_uri, or -db-uri")
	}
	return nil
}

// setWhitelist checks that exactly one place says whose reports are taken.
func (s *settings) setWhitelist(line commandLine, c config, path string) error {
	s.whitelist, s.whitelistFile, s.whitelistDatabase = c.whitelist, c.whitelistFile, c.whitelistDatabase
	if line.given["whitelist-file"] {
		s.whitelist, s.whitelistFile, s.whitelistDatabase = nil, line.whitelistFile, false
		if line.bad["whitelist-file"] {
			return nil
		}
	}
	places := 0
	for _, given := range []bool{s.whitelist != nil, s.whitelistFile != "", s.whitelistDatabase} {
		if given {
			places++
		}
	}
	switch {
	case places == 0 && path == "":
		return errors.New("nothing says whose reports are taken: name a configuration with -config or CONFIG_FILE, or a list of public keys with -whitelist-file")
	case places != 1:
		return fmt.Errorf("%s: exactly one of whitelist, whitelist_file and whitelist_database says whose reports are taken", path)
	case s.whitelistDatabase && s.databaseURI == "" && !line.bad["db-uri"]:
		return fmt.Errorf("%s: whitelist_database needs a database: give db_uri, or -db-uri", path)
	}
	return nil
}

// setDatabase checks the database's URI, and sees to it that its password is not shown. What is wrong with a URI is not told in detail: it
// might show a piece of the password.
func (s *settings) setDatabase(line commandLine, c config, path string) error {
	if line.bad["db-uri"] {
		return nil
	}
	from := "-db-uri"
	if s.databaseURI = line.databaseURI; s.databaseURI == "" {
		s.databaseURI, from = c.databaseURI, path+": db_uri"
	}
	if s.databaseURI == "" {
		return nil
	}
	checked, err := boot.CheckDatabaseURI(from, s.databaseURI)
	if err != nil {
		return err
	}
	if checked.Password != "" {
		s.secrets.Add(checked.Password)
	}
	switch {
	case !checked.Shown:
	case from == "-db-uri":
		s.warnings = append(s.warnings, "everybody on this machine can see the password in -db-uri: put it into the environment variable PGPASSWORD or into ~/.pgpass")
	case !c.private:
		s.warnings = append(s.warnings, fmt.Sprintf("others can read the database's password in %s: chmod 600 %s", path, path))
	}
	return nil
}
