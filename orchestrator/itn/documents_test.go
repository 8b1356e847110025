package itn

import (
	"os"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"provingground/schema"
)

func checkDocument(t *testing.T, text string) gqlerror.List {
	t.Helper()
	loaded, err := gqlparser.LoadSchema(&ast.Source{Name: "itn.graphql", Input: schema.ITN})
	if err != nil {
		t.Fatalf("loading the schema: %v", err)
	}
	document, errs := gqlparser.LoadQueryWithRules(loaded, text, nil)
	if errs == nil && (len(document.Operations) != 1 || len(document.Operations[0].SelectionSet) != 1) {
		t.Errorf("not exactly one operation with one root field (itn-graphql, section 2.5): %s", text)
	}
	return errs
}

func TestDocumentsFitTheSchema(t *testing.T) {
	files, err := os.ReadDir("documents")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 15 {
		t.Fatalf("only %d documents", len(files))
	}
	for _, file := range files {
		t.Run(file.Name(), func(t *testing.T) {
			text, err := os.ReadFile("documents/" + file.Name())
			if err != nil {
				t.Fatal(err)
			}
			if errs := checkDocument(t, string(text)); errs != nil {
				t.Error(errs)
			}
		})
	}
}

// TestTheCheckCatchesDrift proves that the test above can fail.
func TestTheCheckCatchesDrift(t *testing.T) {
	for _, test := range []struct{ name, document, old, new string }{
		{"misspelt field", authDocument, "serverUuid", "serverUUID"},
		{"misspelt operation", slotsWonDocument, "  slotsWon", "  slotsWin"},
		{"misspelt argument", flushInternalLogsDocument, "endLogId:", "endLogID:"},
		{"undeclared variable", flushInternalLogsDocument, "($endLogId: Int!)", ""},
		{"another type", flushInternalLogsDocument, "Int!", "String!"},
		{"missing argument", schedulePaymentsDocument, "(input: $input)", ""},
		{"object without selection", authDocument, "auth {\n    serverUuid", "auth\n    slotsWon"},
	} {
		t.Run(test.name, func(t *testing.T) {
			drifted := strings.Replace(test.document, test.old, test.new, 1)
			if drifted == test.document {
				t.Fatalf("%q is not in the document", test.old)
			}
			if errs := checkDocument(t, drifted); errs == nil {
				t.Errorf("not caught: %s", drifted)
			}
		})
	}
}
