package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	godiff "github.com/rogpeppe/go-internal/diff"
	"golang.org/x/sys/unix"

	"provingground/dsl"
	"provingground/orchestrator"
)

// The commands that work on the text of scripts: fmt and convert.

func fmtCommand(_ context.Context, p program, args []string) (int, error) {
	set := p.flags("fmt")
	write := set.Bool("w", false, "write the files in their canonical layout")
	diff := set.Bool("d", false, "show what would change, and exit 2 when something would")
	files, err := p.parse(set, args)
	switch {
	case err != nil:
		return orchestrator.CodeUsage, err
	case *write && *diff:
		return orchestrator.CodeUsage, usagef("-w and -d together: one writes, the other only looks")
	case *write && len(files) == 0:
		return orchestrator.CodeUsage, usagef("-w needs a FILE to write")
	}
	if len(files) == 0 {
		text, err := readText(p.input())
		if err != nil {
			return orchestrator.CodeUsage, fmt.Errorf("read standard input: %w", err)
		}
		return p.format("stdin", text, *diff, nil)
	}
	code := orchestrator.CodeOK
	var unread []error // one file that cannot be read does not keep the others from being formatted
	for _, name := range files {
		text, err := readTextFile(name)
		if err != nil {
			unread = append(unread, fmt.Errorf("the script cannot be read: %w", err))
			continue
		}
		var rewrite func([]byte) error
		if *write {
			rewrite = func(text []byte) error { return replaceFile(name, text) }
		}
		one, err := p.format(name, text, *diff, rewrite)
		if err != nil {
			return one, errors.Join(append(unread, err)...)
		}
		code = max(code, one)
	}
	if len(unread) > 0 {
		return orchestrator.CodeUsage, errors.Join(unread...)
	}
	return code, nil
}

// format shows a script in its canonical layout, or what would change, or hands it over to be written.
func (p program) format(name string, text []byte, diff bool, rewrite func([]byte) error) (int, error) {
	if dsl.IsJSON(text) {
		return orchestrator.CodeUsage, fmt.Errorf("%s is a JSON step stream, which has no canonical layout; orchestrator convert -to script makes a script of it", name)
	}
	tree, found := dsl.Parse(name, text)
	if found.Errors() {
		return orchestrator.CodeScript, found.Write(p.stderr, dsl.AsText) //nolint:wrapcheck // says it all
	}
	formatted := tree.Format()
	changed := !bytes.Equal(formatted, text)
	var err error
	code := orchestrator.CodeOK
	switch {
	case diff:
		_, err = p.stdout.Write(godiff.Diff(name, text, name+" (formatted)", formatted)) // nothing for equal texts
		if changed {
			code = orchestrator.CodeScript
		}
	case rewrite == nil:
		_, err = p.stdout.Write(formatted)
	case changed:
		err = rewrite(formatted)
	}
	if err != nil {
		return orchestrator.CodeStep, err
	}
	return code, nil
}

// replaceFile puts a new text into a file, all of it or nothing, with the permissions that it has.
func replaceFile(name string, text []byte) (err error) {
	target, err := filepath.EvalSymlinks(name) // a link stays one
	if err != nil {
		return err //nolint:wrapcheck // names operation and path
	}
	info, err := os.Stat(target)
	if err != nil {
		return err //nolint:wrapcheck // names operation and path
	}
	if err := unix.Access(target, unix.W_OK); err != nil { // renaming would replace it all the same
		return fmt.Errorf("write %s: %w", name, err)
	}
	file, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = file.Write(text)
	err = errors.Join(err, file.Chmod(info.Mode().Perm()), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), target)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), os.Remove(file.Name()))
	}
	return nil
}

func convertCommand(_ context.Context, p program, args []string) (int, error) {
	set := p.flags("convert")
	to := set.String("to", "", "the spelling that is wanted: `json` or script")
	var given settings
	set.Func("set", "a parameter of the script, as `NAME=VALUE`; it is written out in JSON", given.add)
	positional, err := p.parse(set, args)
	if err := errors.Join(err, tooMany(positional, 0)); err != nil {
		return orchestrator.CodeUsage, err
	}
	if *to != "json" && *to != "script" {
		return orchestrator.CodeUsage, usagef("-to is json or script, not %q", *to)
	}
	text, err := readText(p.input())
	if err != nil {
		return orchestrator.CodeUsage, fmt.Errorf("read standard input: %w", err)
	}
	converted, found, err := p.convert("stdin", text, *to, given)
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	if err := found.Write(p.stderr, dsl.AsText); err != nil {
		return orchestrator.CodeStep, err //nolint:wrapcheck // says it all
	}
	if found.Errors() {
		return orchestrator.CodeScript, nil
	}
	if _, err := p.stdout.Write(converted); err != nil {
		return orchestrator.CodeStep, err
	}
	return orchestrator.CodeOK, nil
}

// convert writes a script in the other spelling. One that is in that spelling already stays as it is. What is wrong with it is found first: half
// a script is not converted.
func (p program) convert(name string, text []byte, to string, set settings) ([]byte, dsl.Findings, error) {
	script, found, err := dsl.Read(name, bytes.NewReader(text), p.reading(set, nil))
	if err != nil || found.Errors() {
		return nil, found, err //nolint:wrapcheck // says it all
	}
	if _, all := orchestrator.Compile(script, orchestrator.CompileOptions{Found: found}); all.Errors() {
		return nil, all, nil
	}
	switch {
	case script.Language == (to == "script") && len(set) == 0:
		return text, nil, nil
	case to == "json":
		converted, found := script.ToJSON(orchestrator.Signatures())
		return converted, found, nil
	case script.Language:
		return nil, nil, usagef("-set works when a script is converted to JSON")
	}
	tree, found := script.ToTree(orchestrator.Signatures())
	if found.Errors() {
		return nil, found, nil
	}
	return tree.Format(), found, nil
}

// readText reads a script's text; one that is too large is cut where dsl notices that it is.
func readText(from io.Reader) ([]byte, error) {
	return io.ReadAll(io.LimitReader(from, dsl.MaxBytes+1)) //nolint:wrapcheck // the caller says what was read
}

func readTextFile(name string) (_ []byte, err error) {
	file, err := os.Open(name) //nolint:gosec // the caller's own argument
	if err != nil {
		return nil, err //nolint:wrapcheck // names operation and path
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return readText(file)
}
