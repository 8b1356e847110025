//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"provingground/cmd/internal/boot"
	"provingground/cmd/internal/privatedb"
	"provingground/schema"
	"provingground/snarkpool/ledger"
)

// labelText writes labels behind something; nothing for none.
func labelText(labels map[string]string) string {
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		text.WriteString(" " + key + "=" + labels[key])
	}
	return text.String()
}

// labelsOf reads KEY=VALUE words.
func labelsOf(words []string) (map[string]string, error) {
	labels := make(map[string]string)
	for _, word := range words {
		key, value, found := strings.Cut(word, "=")
		if !found || key == "" || value == "" {
			return nil, boot.Usagef("%q is no label: write KEY=VALUE, such as role=prover", word)
		}
		labels[key] = value
	}
	return labels, nil
}

// maxURI bounds a file that holds a database's URI, in bytes.
const maxURI = 16 << 10

// resolveURI returns the database's URI from postgresql://…, env:NAME or file:PATH.
func (c call) resolveURI(name, text string) (string, error) {
	uri := text
	if variable, ok := strings.CutPrefix(text, "env:"); ok {
		if uri = c.env(variable); uri == "" {
			return "", boot.Usagef("%s %s: the variable is empty", name, text)
		}
	} else if path, ok := strings.CutPrefix(text, "file:"); ok {
		content, _, err := boot.ReadSmall(path, maxURI)
		if err != nil {
			return "", boot.Usagef("%s: %w", name, err)
		}
		uri = strings.TrimSpace(string(content))
	}
	checked, err := boot.CheckDatabaseURI(name, uri)
	if err != nil {
		return "", boot.Usage(err)
	}
	if checked.Shown && uri == text {
		c.warn("everybody on this machine can see the password in -db-uri: use env:NAME or file:PATH, or put it into PGPASSWORD or ~/.pgpass")
	}
	return uri, nil
}

// databaseOf returns the URI of the pool's database: of -db-uri, or of the private one of an agent that runs here.
func (c call) databaseOf() (string, error) {
	if c.databaseURI != "" {
		return c.resolveURI("-db-uri", c.databaseURI)
	}
	state, err := c.state()
	if err != nil {
		return "", err
	}
	note := filepath.Join(state, privatedb.Note)
	content, _, err := boot.ReadSmall(note, maxURI)
	if errors.Is(err, fs.ErrNotExist) {
		return "", boot.Usagef("-db-uri is missing, and no agent with a private database runs here: %s is not there", note)
	}
	if err != nil {
		return "", fmt.Errorf("reading how to connect to the private database: %w", err)
	}
	return strings.TrimSpace(string(content)), nil
}

// withLedger opens the pool's database, and has use speak to its ledger.
func (c call) withLedger(ctx context.Context, use func(*ledger.Ledger) error) error {
	uri, err := c.databaseOf()
	if err != nil {
		return err
	}
	config, err := pgxpool.ParseConfig(uri)
	if err != nil {
		return errors.New("the database's URI cannot be read") // the cause may quote a password
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connecting to the database: %w", err)
	}
	defer pool.Close()
	if err := schema.Check(ctx, pool); err != nil {
		return fmt.Errorf("the pool's database: %w", err)
	}
	return signalled(ctx, use(ledger.New(pool)))
}

// hostChange is what host add and host remove print with -json.
type hostChange struct {
	Host   string            `json:"host"`
	Labels map[string]string `json:"labels,omitempty"`
	Done   string            `json:"done"` // added, relabelled, removed
	DryRun bool              `json:"dry_run,omitempty"`
}

func hostAddVerb(ctx context.Context, c call) error {
	labels, err := labelsOf(c.arguments[1:])
	if err != nil {
		return err
	}
	return c.withLedger(ctx, func(l *ledger.Ledger) error {
		change := hostChange{Host: c.arguments[0], Labels: labels, Done: "added", DryRun: c.dryRun}
		hosts, err := l.Hosts(ctx, nil)
		if err != nil {
			return err //nolint:wrapcheck // says it all
		}
		if slices.ContainsFunc(hosts, func(h ledger.Host) bool { return h.Host == change.Host }) {
			change.Done = "relabelled"
		}
		if !c.dryRun {
			if err := l.AddHost(ctx, change.Host, labels); err != nil {
				return err //nolint:wrapcheck // says it all
			}
		}
		return c.printHost(change)
	})
}

func hostRemoveVerb(ctx context.Context, c call) error {
	return c.withLedger(ctx, func(l *ledger.Ledger) error {
		change := hostChange{Host: c.arguments[0], Done: "removed", DryRun: c.dryRun}
		hosts, err := l.Hosts(ctx, nil)
		if err != nil {
			return err //nolint:wrapcheck // says it all
		}
		if !slices.ContainsFunc(hosts, func(h ledger.Host) bool { return h.Host == change.Host }) {
			return boot.Usagef("%s: %w", change.Host, ledger.ErrUnknownHost)
		}
		if !c.dryRun {
			if err := l.RemoveHost(ctx, change.Host); err != nil {
				return err //nolint:wrapcheck // says it all
			}
		}
		return c.printHost(change)
	})
}

func (c call) printHost(change hostChange) error {
	if c.json {
		return c.print(change)
	}
	dry := ""
	if change.DryRun {
		dry = "dry run, nothing was changed: "
	}
	_, err := fmt.Fprintf(c.stdout, "%shost %s %s%s\n", dry, change.Host, change.Done, labelText(change.Labels))
	return err //nolint:wrapcheck // says that standard output failed
}

func hostListVerb(ctx context.Context, c call) error {
	labels, err := labelsOf(c.arguments)
	if err != nil {
		return err
	}
	return c.withLedger(ctx, func(l *ledger.Ledger) error {
		hosts, err := l.Hosts(ctx, labels)
		if err != nil {
			return err //nolint:wrapcheck // says it all
		}
		var rows [][]string
		for _, host := range hosts {
			if c.json {
				if err := c.print(host); err != nil {
					return err
				}
				continue
			}
			silent, digest := "never spoke", ""
			if host.SilentFor != nil {
				silent = "silent for " + ago(*host.SilentFor)
				if *host.SilentFor < 2*time.Minute {
					silent = "spoke " + ago(*host.SilentFor) + " ago"
				}
			}
			if host.FileDigest != nil {
				digest = "pool file " + (*host.FileDigest)[:min(12, len(*host.FileDigest))]
			}
			rows = append(rows, []string{host.Host, silent, digest, strings.TrimSpace(labelText(host.Labels))})
		}
		_, err = fmt.Fprint(c.stdout, table(nil, rows, 0))
		return err //nolint:wrapcheck // says that standard output failed
	})
}
