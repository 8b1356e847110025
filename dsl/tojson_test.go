package dsl_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"provingground/dsl"
)

// generated are scripts of the existing generator.
func generated(tb testing.TB) []string {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join("..", "cmd", "orchestrator", "testdata", "generated", "*.script"))
	if err != nil || len(files) != 4 {
		tb.Fatalf("%d scripts: %v", len(files), err)
	}
	return files
}

func readJSON(tb testing.TB, name string, text []byte) *dsl.Script {
	tb.Helper()
	script, err := dsl.ReadJSON(name, bytes.NewReader(text))
	if err != nil {
		tb.Fatal(err)
	}
	return script
}

// TestToJSONOfJSON: what the existing generator writes is written again just as it was, but for the form of a wait without parameters.
func TestToJSONOfJSON(t *testing.T) {
	for _, file := range generated(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, found := readJSON(t, file, text).ToJSON(nil)
		// Without signatures no action is known.
		if !found.Errors() || got != nil {
			t.Errorf("%s: %d findings", file, len(found))
		}
	}
	tests := []struct{ name, script, want string }{
		{"nothing", "", ""},
		{"spelling and layout", "{\"PARAMS\": {\"MIN\": 1e1,\n\"sec\" :null}, \"Action\":\"wait\" }", `{"action":"wait","params":{"min":1e1,"sec":null}}` + "\n"},
		{"no params", `{"action":"wait"} null "a<b>\u00e9\n"`, `{"action":"wait","params":{}}` + "\nnull\n" + `"a<b>é\n"` + "\n"},
		{
			"references", `{"action":"discovery"}{"action":"except","params":{"group":{"name":"participant","step":0,"type":"output","onEmpty":[ "a" ]},"except":{"type":"output","step":7,"name":"x","file":"s.out"}}}`,
			`{"action":"discovery","params":{}}` + "\n" +
				`{"action":"except","params":{"group":{"type":"output","step":-1,"name":"participant","onEmpty":["a"]},"except":{"type":"output","step":7,"name":"x","file":"s.out"}}}` + "\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, found := readJSON(t, "s", []byte(tt.script)).ToJSON(signatures())
			if diff := cmp.Diff(tt.want, string(got)); diff != "" || len(found) > 0 {
				t.Errorf("%v (-want +got)\n%s", found, diff)
			}
			for line := range strings.Lines(string(got)) {
				if !json.Valid([]byte(line)) {
					t.Errorf("%q is no JSON", line)
				}
			}
		})
	}
}
