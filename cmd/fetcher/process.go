package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"provingground/cmd/internal/boot"
	"provingground/cmd/internal/privatedb"
	"provingground/fetcher/store"
	"provingground/fetcher/trace"
	"provingground/schema"
)

// traceFile is a file of trace records that a node wrote.
type traceFile struct {
	path    string
	node    string
	process trace.Process
	began   float64 // first time in it, seconds since 1970; that of its last change when there is none
}

// describe finds out what a file is: the process and the node by its name, its age by the first record that has a time.
func describe(path, node string) (f traceFile, err error) {
	f = traceFile{path: path, node: node, process: trace.Main}
	name := filepath.Base(path)
	if strings.HasSuffix(name, ".gz") {
		return f, fmt.Errorf("%s is gzip: gunzip it first", path)
	}
	if !regexp.MustCompile(`\.jsonl(\.[0-9]+)?$`).MatchString(name) {
		return f, fmt.Errorf("%s: the name of a trace file ends in .jsonl, or .jsonl.N when it was rotated", path)
	}
	for _, process := range []trace.Process{trace.Prover, trace.Verifier} {
		if strings.HasPrefix(name, process.String()+"-") {
			f.process = process
		}
	}
	if f.node == "" {
		if f.node, err = nodeOf(path); err != nil {
			return f, err
		}
	}
	file, err := os.Open(path) //nolint:gosec // the caller's own argument
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return f, err
	}
	if !info.Mode().IsRegular() {
		return f, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a file")}
	}
	f.began = float64(info.ModTime().UnixMicro()) / 1e6
	for lines := bufio.NewReaderSize(file, 64<<10); ; {
		line, err := lines.ReadSlice('\n')
		if at, ok := timeOf(line); ok {
			f.began = at
			return f, nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) { // a longer line has no time at its beginning
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return f, err
		}
	}
}

// timeOf returns the time of a record: of a checkpoint, or of the beginning of a rotated file (internal-trace, section 1).
func timeOf(line []byte) (seconds float64, ok bool) {
	var checkpoint []json.RawMessage
	if json.Unmarshal(line, &checkpoint) == nil && len(checkpoint) == 2 {
		return seconds, json.Unmarshal(checkpoint[1], &seconds) == nil
	}
	var rotated struct {
		Start *float64 `json:"rotated_log_start"`
	}
	if json.Unmarshal(line, &rotated) == nil && rotated.Start != nil {
		return *rotated.Start, true
	}
	return 0, false
}

// nodeOf returns the node that wrote a file: the folder's name.
func nodeOf(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	name := filepath.Base(filepath.Dir(path))
	if strings.Trim(name, string(filepath.Separator)+".") == "" {
		return "", fmt.Errorf("%s: which node wrote it? Say so with --name NODE", path)
	}
	return name, nil
}

// describeAll describes files, each node's oldest first.
func describeAll(paths []string, node string) (files []traceFile, err error) {
	var errs []error
	for _, path := range paths {
		f, err := describe(path, node)
		errs = append(errs, err)
		files = append(files, f)
	}
	errs = append(errs, named(paths)...)
	if err := errors.Join(errs...); err != nil {
		return nil, boot.Usage(err)
	}
	slices.SortStableFunc(files, func(a, b traceFile) int {
		return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(a.process, b.process), cmp.Compare(a.began, b.began))
	})
	return files, nil
}

// named returns an error for each file that is named a second time, under whatever path.
func named(paths []string) (errs []error) {
	infos := make([]os.FileInfo, len(paths))
	for i, path := range paths {
		var err error
		if infos[i], err = os.Stat(path); err != nil {
			continue // which describe has said
		}
		for j := range i {
			if infos[j] != nil && os.SameFile(infos[i], infos[j]) {
				errs = append(errs, fmt.Errorf("%s is the same file as %s: name it once", path, paths[j]))
				break
			}
		}
	}
	return errs
}

// process loads trace files.
func (p program) process(ctx context.Context, s settings) (err error) {
	files, err := describeAll(s.files, s.name)
	if err != nil {
		return err
	}
	log, err := boot.NewLog(p.stderr, s.logLevel, "", s.secrets.Text, false)
	if err != nil {
		return boot.Usage(err)
	}
	for _, warning := range s.warnings {
		log.Warn(warning)
	}
	uri := s.databaseURI
	if uri == "" {
		if err := os.MkdirAll(s.directory, 0o755); err != nil { //nolint:gosec // the private PostgreSQL's user has to pass through it
			return boot.Usage(err)
		}
		database, err := privatedb.Start(ctx, s.directory, "nodes' entries wait with the nodes", log.Named("postgres"))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, database.Stop(ctx)) }()
		uri = database.URI()
	}
	if err := schema.Migrate(ctx, uri); err != nil {
		return err
	}
	if s.newDeployment {
		if s.deployment, err = newDeployment(ctx, uri); err != nil {
			return err
		}
	}
	entries, err := store.Open(ctx, uri, store.Options{Deployment: s.deployment, Log: log.Named("store"), Connections: 1})
	if err != nil {
		return err
	}
	defer entries.Close()
	var useless []error
	for len(files) > 0 {
		node := files[0].node
		var own []store.TraceFile
		for len(files) > 0 && files[0].node == node {
			own = append(own, store.TraceFile{Path: files[0].path, Process: files[0].process})
			files = files[1:]
		}
		loaded, err := entries.Load(ctx, node, own)
		if err != nil {
			return err
		}
		if err := report(p.stdout, node, len(own), loaded); err != nil {
			return err
		}
		if loaded.Bad == 0 {
			continue
		}
		tellBad(p.stderr, loaded)
		for _, file := range own {
			useless = append(useless, worthless(file))
		}
	}
	return errors.Join(useless...)
}

// tellBad says which lines are no records. That it cannot be said is no reason to end.
func tellBad(w io.Writer, l store.Loaded) {
	for _, bad := range l.BadLines {
		_, _ = fmt.Fprintf(w, "fetcher: %s, line %d is no trace record: %v\n", bad.Path, bad.Line, bad.Reason)
	}
	if more := l.Bad - int64(len(l.BadLines)); more > 0 {
		_, _ = fmt.Fprintf(w, "fetcher: %d more lines are none\n", more)
	}
	_, _ = fmt.Fprintln(w, "fetcher: such lines are in table log_malformed; all that are records are stored")
}

// worthless returns an error when a file has lines and none is a record.
func worthless(f store.TraceFile) (err error) {
	content, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	lines := 0
	for _, err := range trace.NewLines(content, f.Process, trace.LineOptions{}).Records() {
		if _, bad := errors.AsType[*trace.LineError](err); !bad {
			return err
		}
		lines++
	}
	if lines == 0 {
		return nil
	}
	return fmt.Errorf("%s: none of its lines is a trace record: is it what a node wrote as internal trace?", f.Path)
}

// report says what came of a node's files.
func report(w io.Writer, node string, files int, l store.Loaded) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	plural := "s"
	if files == 1 {
		plural = ""
	}
	_, _ = fmt.Fprintf(table, "node %s: %d file%s, %d lines, %d of them repeat the line before, %d are no records; %d entries stored now in deployment %d\n\traw\twithout repeats\t\n",
		node, files, plural, l.Lines, l.Repeats, l.Bad, l.Stored, l.Deployment)
	row := func(what string, raw, unique int64) { _, _ = fmt.Fprintf(table, "%s\t%d\t%d\t\n", what, raw, unique) }
	row("traces", l.Raw.Traces, l.Unique.Traces)
	row("rows", l.Raw.Rows, l.Unique.Rows)
	row("of these, pool events and their metadata", l.Raw.Gossip, l.Unique.Gossip)
	for _, event := range slices.Sorted(maps.Keys(l.Raw.Events)) {
		row(event, l.Raw.Events[event], l.Unique.Events[event])
	}
	return table.Flush()
}
