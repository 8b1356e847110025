package dsl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Read reads a script in either of its spellings: its beginning decides (script-language). One in the script language is checked and
// lowered as [Tree.Lower] does, with its syntax errors alone when there are any; the steps of a JSON step stream are for the [Checker]. The
// script is nil when its text cannot be read. The error is a failure to read from r.
func Read(name string, r io.Reader, o LowerOptions) (*Script, Findings, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read script %s: %w", name, err)
	}
	if len(text) > MaxBytes {
		return nil, Findings{tooLarge(name)}, nil
	}
	if list := beginsList(text); list >= 0 {
		source := NewSource(name, text)
		return nil, Findings{finding(source, Span{list, list + 1}, -1, "remove [, ] and the commas between the steps", "a JSON step stream is steps one after the other, not a list")}, nil
	}
	if !isJSON(text) {
		tree, found := Parse(name, text)
		if found.Errors() {
			return nil, found, nil
		}
		script, more := tree.Lower(o)
		return script, append(found, more...), nil
	}
	script, err := ReadJSON(name, bytes.NewReader(text))
	var wrong Finding
	if errors.As(err, &wrong) {
		return nil, Findings{wrong}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	var found Findings
	for _, s := range o.Settings {
		source := settingSource(s)
		found = append(found, finding(source, Span{0, len(s.Value)}, -1, "", "a JSON script has no params to set"))
	}
	return script, found, nil
}

// beginsList returns where a JSON list begins that is given as a script; -1 when none is.
func beginsList(text []byte) int {
	rest := bytes.TrimLeft(bytes.TrimPrefix(text, []byte(byteOrderMark)), " \t\r\n")
	if !bytes.HasPrefix(rest, []byte("[")) || !bytes.HasPrefix(bytes.TrimLeft(rest[1:], " \t\r\n"), []byte("{")) {
		return -1
	}
	return len(text) - len(rest)
}

// isJSON reports whether a script begins as a JSON step stream does.
func isJSON(text []byte) bool {
	text = bytes.TrimLeft(bytes.TrimPrefix(text, []byte(byteOrderMark)), " \t\r\n")
	rest, null := bytes.CutPrefix(text, []byte("null"))
	switch {
	case len(text) == 0:
		return false
	case null: // and no name that begins so
		return len(rest) == 0 || !isNamePart(rest[0])
	default:
		return text[0] == '{' || text[0] == '"'
	}
}

func isNamePart(c byte) bool {
	return c == '_' || c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
