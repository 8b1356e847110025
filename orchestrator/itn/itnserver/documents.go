package itnserver

import (
	"fmt"
	"sync"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"

	"provingground/schema"
)

// Bounds of what Documents keeps and parses. A client sends a dozen constant texts; these are for the one that does not.
const (
	maxDocuments      = 256
	maxDocumentTokens = 10_000
)

// Documents holds the parsed schema and a bounded number of parsed request texts, so that the Servers of a network parse
// each text once. Safe for concurrent use.
type Documents struct {
	schema *ast.Schema

	mu     sync.Mutex
	parsed map[string]*ast.QueryDocument
}

// NewDocuments parses the schema.
func NewDocuments() (*Documents, error) {
	loaded, err := gqlparser.LoadSchema(&ast.Source{Name: "itn.graphql", Input: schema.ITN})
	if err != nil {
		return nil, fmt.Errorf("itnserver: loading the ITN schema: %w", err)
	}
	return &Documents{schema: loaded, parsed: map[string]*ast.QueryDocument{}}, nil
}

// parse returns the document of a request text. The document is shared and must not be changed.
func (d *Documents) parse(text string) (*ast.QueryDocument, error) {
	d.mu.Lock()
	document, found := d.parsed[text]
	d.mu.Unlock()
	if found {
		return document, nil
	}
	document, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: text}, maxDocumentTokens)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.parsed) >= maxDocuments {
		clear(d.parsed)
	}
	d.parsed[text] = document
	return document, nil
}

// isNewerOnly tells whether older daemons lack a field of a type (itn-graphql, section 4.8).
func isNewerOnly(typeName, field string) bool {
	switch typeName + "." + field {
	case "query.scheduledTransactions", "mutation.createAccounts", "ItnAuth.commitId":
		return true
	}
	return false
}
