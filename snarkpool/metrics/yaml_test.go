package metrics_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// yamlLine is one line of the small part of YAML that the alert rules keep to: block mappings, block sequences of mappings, and scalars on one line, plain
// or in double quotes. Whatever goes beyond it is an error, so what passes here means the same to every reader of YAML.
type yamlLine struct {
	number, indent int
	text           string
}

// parseYAML returns maps, slices and strings.
func parseYAML(content string) (any, error) {
	var lines []yamlLine
	for i, text := range strings.Split(content, "\n") {
		trimmed := strings.TrimLeft(text, " ")
		if trimmed == "" || strings.HasPrefix(trimmed, "#") {
			continue
		}
		if strings.ContainsAny(text, "\t\r") || strings.HasSuffix(text, " ") {
			return nil, fmt.Errorf("line %d: a tab, a carriage return or a space at the end", i+1)
		}
		lines = append(lines, yamlLine{i + 1, len(text) - len(trimmed), trimmed})
	}
	value, rest, err := parseBlock(lines)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("line %d: indented otherwise than what is before", rest[0].number)
	}
	return value, err
}

// parseBlock reads the lines with the indentation of the first, and what belongs to them.
func parseBlock(lines []yamlLine) (any, []yamlLine, error) {
	if len(lines) == 0 {
		return nil, nil, fmt.Errorf("nothing where a value should be")
	}
	if strings.HasPrefix(lines[0].text, "- ") {
		return parseSequence(lines)
	}
	return parseMapping(lines)
}

func parseSequence(lines []yamlLine) (any, []yamlLine, error) {
	items, indent := []any{}, lines[0].indent
	for len(lines) > 0 && lines[0].indent == indent && strings.HasPrefix(lines[0].text, "- ") {
		lines[0].indent += 2
		lines[0].text = lines[0].text[2:]
		item, rest, err := parseMapping(lines)
		if err != nil {
			return nil, nil, err
		}
		items, lines = append(items, item), rest
	}
	return items, lines, nil
}

func parseMapping(lines []yamlLine) (any, []yamlLine, error) {
	mapping, indent := map[string]any{}, lines[0].indent
	for len(lines) > 0 && lines[0].indent == indent && !strings.HasPrefix(lines[0].text, "- ") {
		line := lines[0]
		key, text, found := strings.Cut(line.text, ":")
		if _, twice := mapping[key]; !found || twice || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz_") != "" {
			return nil, nil, fmt.Errorf("line %d: no key of its own: %q", line.number, line.text)
		}
		lines = lines[1:]
		if text == "" {
			if len(lines) == 0 || lines[0].indent <= indent {
				return nil, nil, fmt.Errorf("line %d: no value", line.number)
			}
			value, rest, err := parseBlock(lines)
			if err != nil {
				return nil, nil, err
			}
			mapping[key], lines = value, rest
			continue
		}
		value, err := parseScalar(text)
		if err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", line.number, err)
		}
		mapping[key] = value
	}
	return mapping, lines, nil
}

func parseScalar(text string) (string, error) {
	value, spaced := strings.CutPrefix(text, " ")
	switch {
	case !spaced || value == "" || strings.HasPrefix(value, " "):
		return "", fmt.Errorf("one space and a value must follow the colon")
	case strings.HasPrefix(value, `"`):
		var quoted string // the double-quoted form of JSON is YAML's too
		err := json.Unmarshal([]byte(value), &quoted)
		return quoted, err
	case strings.ContainsAny(value[:1], "[]{}&*!|>'%@`-?#,:") || strings.Contains(value, ": ") || strings.Contains(value, " #") || strings.HasSuffix(value, ":"):
		return "", fmt.Errorf("a plain value that YAML may read otherwise: %q", value)
	}
	return value, nil
}

func TestParseYAML(t *testing.T) {
	t.Parallel()
	got, err := parseYAML("# a\ngroups:\n  - name: x\n    rules:\n      - alert: A\n        expr: up{job=\"b\"} == 0\n        labels:\n          severity: \"in\\\"fo\"\n      - alert: B\n")
	want := map[string]any{"groups": []any{map[string]any{
		"name": "x", "rules": []any{
			map[string]any{"alert": "A", "expr": `up{job="b"} == 0`, "labels": map[string]any{"severity": `in"fo`}},
			map[string]any{"alert": "B"},
		},
	}}}
	if diff := cmp.Diff(any(want), got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, content := range []string{"a: b: c", "a: {b}", "a: 'b'", "a:\n", "a: b\n  c: d", "a: b\na: c", "\ta: b", "a: b ", "a:b", "a: \"b", "a: b #c", "just text", "a: |\n  b"} {
		if got, err := parseYAML(content); err == nil {
			t.Errorf("%q is read as %v", content, got)
		}
	}
}
