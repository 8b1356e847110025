//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"provingground/cmd/internal/boot"
	"provingground/snarkpool/poolfile"
)

func rendering(o *options, set *flag.FlagSet) {
	set.StringVar(&o.out, "out", "", "write to this `DIR`, which is made where there is none")
	set.Func("host", "a host that the pool file matches by label, as `NAME[,KEY=VALUE…]`; may be repeated. Those that it names are known", func(text string) error {
		if name, _, _ := strings.Cut(text, ","); !isUnitName(name) {
			return errors.New("give NAME, or NAME,KEY=VALUE")
		}
		o.hosts = append(o.hosts, text)
		return nil
	})
	set.StringVar(&o.binary, "binary", "/usr/local/bin/snarkpool", "`PATH` of this program on the hosts")
	set.StringVar(&o.poolPath, "pool-file", "/etc/snarkpool/pool.json", "`PATH` or https address of the pool file on the hosts")
	set.StringVar(&o.sha256, "sha256", "", "have agents refuse the pool file unless this is its sha256, in `HEX`; an address needs this or -publisher")
	set.StringVar(&o.publisher, "publisher", "", "have agents refuse the pool file unless it is signed by this Ed25519 key, in `BASE64`")
	set.StringVar(&o.stateDir, "state", "/var/lib/snarkpool", "`DIR` of all that survives the agent, on the hosts")
	set.StringVar(&o.metrics, "metrics", "127.0.0.1:9478", "where agents show metrics, `HOST:PORT`; empty for nowhere")
	set.IntVar(&o.systemd, "systemd", 252, "version of systemd on the hosts, a number; from 254 on the kernel keeps memory limits, too")
}

// renderedFile is one file that render writes; with -json it is printed.
type renderedFile struct {
	Path string `json:"path"` // below -out
	Host string `json:"host,omitempty"`
	text string
}

func renderVerb(ctx context.Context, c call) error {
	if c.out == "" && !c.dryRun {
		return boot.Usagef("-out DIR is missing: it says where to write the units")
	}
	if err := c.checkRendering(); err != nil {
		return err
	}
	text, _, err := boot.ReadSmall(c.arguments[0], poolfile.MaxBytes)
	if err != nil {
		return boot.Usagef("the pool file: %w", err)
	}
	file, err := poolfile.Parse(text)
	if err != nil {
		return boot.Usage(inFile(c.arguments[0], err))
	}
	hosts, err := c.renderedHosts(file)
	if err != nil {
		return err
	}
	var files []renderedFile
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		files = append(files, renderedFile{Path: path.Join(name, unitName), Host: name, text: c.unit(file, name, hosts[name])})
	}
	files = append(files, renderedFile{Path: "pool.json", text: string(text)}, renderedFile{Path: "README.md", text: c.unitReadme(file, slices.Sorted(maps.Keys(hosts)))})
	for _, f := range files {
		if !c.dryRun {
			if err := ctx.Err(); err != nil {
				return signalled(ctx, err)
			}
			if err := writeFile(filepath.Join(c.out, f.Path), f.text); err != nil {
				return err
			}
		}
		var err error
		switch {
		case c.json:
			err = c.print(f)
		case c.dryRun:
			_, err = fmt.Fprintf(c.stdout, "would write %s\n", f.Path)
		default:
			_, err = fmt.Fprintln(c.stdout, filepath.Join(c.out, f.Path))
		}
		if err != nil {
			return err //nolint:wrapcheck // says that standard output failed
		}
	}
	return nil
}

// writeFile writes a file whole or not at all.
func writeFile(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // units are no secret
		return boot.Usage(err)
	}
	part := path + ".part"
	if err := os.WriteFile(part, []byte(text), 0o644); err != nil { //nolint:gosec // units are no secret
		return boot.Usage(errors.Join(err, os.RemoveAll(part)))
	}
	return os.Rename(part, path)
}

// renderedHosts returns the hosts to render for, with their labels: those that the pool file names, and those of the command line.
func (c call) renderedHosts(file poolfile.File) (map[string]map[string]string, error) {
	hosts := make(map[string]map[string]string)
	byLabel := false
	for _, rule := range file.Hosts {
		if rule.Match.Host != "" {
			hosts[rule.Match.Host] = maps.Clone(rule.Match.Labels)
		} else {
			byLabel = true
		}
	}
	given := make(map[string]bool)
	for _, text := range c.hosts {
		words := strings.Split(text, ",")
		if given[words[0]] {
			return nil, boot.Usagef("-host %s is there twice", words[0])
		}
		given[words[0]] = true
		labels, err := labelsOf(words[1:])
		if err != nil {
			return nil, err
		}
		hosts[words[0]] = labels
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(hosts)) {
		if _, err := file.ForHost(name, hosts[name]); err != nil {
			errs = append(errs, boot.Usagef("host %s%s: %w (give its labels with -host NAME,KEY=VALUE)", name, labelText(hosts[name]), err))
		}
		if !isUnitName(name) {
			errs = append(errs, boot.Usagef("host %q: a unit needs a name of letters, digits, '.', '_' and '-'", name))
		}
		for key, value := range hosts[name] {
			if !isUnitName(key) || !isUnitName(value) {
				errs = append(errs, boot.Usagef("host %s: label %s=%s: a unit needs letters, digits, '.', '_' and '-'", name, key, value))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	switch {
	case len(hosts) == 0:
		return nil, boot.Usagef("the pool file names no host: name those that it matches by label with -host NAME,KEY=VALUE")
	case byLabel && len(c.hosts) == 0:
		c.warn("the pool file also matches hosts by label: name those with -host NAME,KEY=VALUE")
	}
	return hosts, nil
}

// isUnitName tells whether a text can stand in a unit without quotes.
func isUnitName(text string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	return text != "" && text[0] != '-' && strings.Trim(text, letters) == ""
}

// checkRendering checks what goes into units as it is.
func (c call) checkRendering() error {
	var errs []error
	for name, value := range map[string]string{"binary": c.binary, "state": c.stateDir, "pool-file": c.poolPath, "metrics": c.metrics, "sha256": c.sha256, "publisher": c.publisher} {
		if strings.ContainsAny(value, " \t\n\"'\\%$;") {
			errs = append(errs, boot.Usagef("-%s %q: a unit cannot hold it as it is: leave out spaces, quotes, backslashes, %%, $ and ;", name, value))
		}
	}
	for name, value := range map[string]string{"binary": c.binary, "state": c.stateDir} {
		if !filepath.IsAbs(value) || filepath.Clean(value) != value {
			errs = append(errs, boot.Usagef("-%s %q: give a clean absolute path", name, value))
		}
	}
	if remote := strings.HasPrefix(c.poolPath, "https://"); !remote && !filepath.IsAbs(c.poolPath) {
		errs = append(errs, boot.Usagef("-pool-file %q: give an absolute path, or an https address", c.poolPath))
	} else if remote && c.sha256 == "" && c.publisher == "" {
		errs = append(errs, boot.Usagef("-pool-file %s: an address needs -sha256 or -publisher", c.poolPath))
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}
