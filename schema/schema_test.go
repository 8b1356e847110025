package schema_test

import (
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"provingground/schema"
)

func TestITNIsAValidSchema(t *testing.T) {
	loaded, err := gqlparser.LoadSchema(&ast.Source{Name: "itn.graphql", Input: schema.ITN})
	if err != nil {
		t.Fatalf("loading the ITN schema: %v", err)
	}
	// The root types have lower-case names (itn-graphql, section 3.2).
	if loaded.Query.Name != "query" || loaded.Mutation.Name != "mutation" {
		t.Errorf("root types are %q and %q, want query and mutation", loaded.Query.Name, loaded.Mutation.Name)
	}
	// Every operation of itn-graphql, section 4, with its result.
	for operation, result := range map[string]string{
		"auth": "ItnAuth!", "slotsWon": "[Int!]!", "internalLogs": "[ItnLog!]!", "scheduledTransactions": "[String!]!",
		"schedulePayments": "String!", "scheduleZkappCommands": "String!", "stopScheduledTransactions": "String!",
		"updateGating": "String!", "flushInternalLogs": "String!", "stopDaemon": "String!", "zkAppCommandLimit": "Int",
		"createAccounts": "ItnCreatedAccounts!",
	} {
		field := loaded.Query.Fields.ForName(operation)
		if field == nil {
			field = loaded.Mutation.Fields.ForName(operation)
		}
		if field == nil || field.Type.String() != result {
			t.Errorf("operation %s: got %v, want the result %s", operation, field, result)
		}
	}
}
