package dsl

import (
	"go/ast"
	goparser "go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestKeywordsAreTheLexers: the list has just the words that the lexer takes for keywords.
func TestKeywordsAreTheLexers(t *testing.T) {
	var lexers []string
	for _, declared := range parsed(t, "lexer.go").Decls {
		function, ok := declared.(*ast.FuncDecl)
		if !ok || function.Name.Name != "isKeyword" {
			continue
		}
		ast.Inspect(function, func(n ast.Node) bool {
			if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING {
				lexers = append(lexers, unquoted(t, text))
			}
			return true
		})
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(lexers)), slices.Sorted(slices.Values(Keywords()))); diff != "" {
		t.Errorf("the lexer's keywords (-) and Keywords (+):\n%s", diff)
	}
	for _, word := range Keywords() {
		if !isKeyword(word) {
			t.Errorf("%s is no keyword", word)
		}
	}
}

// TestUnitsAreTheTrees: the list has every unit that the tree has, and slot.
func TestUnitsAreTheTrees(t *testing.T) {
	units := []string{"slot"}
	for _, declared := range parsed(t, "tree.go").Decls {
		constants, ok := declared.(*ast.GenDecl)
		if !ok || constants.Tok != token.CONST {
			continue
		}
		for _, spec := range constants.Specs {
			value := spec.(*ast.ValueSpec)
			if kind, ok := value.Type.(*ast.Ident); !ok || kind.Name != "Unit" {
				continue
			}
			if text := unquoted(t, value.Values[0].(*ast.BasicLit)); text != "" {
				units = append(units, text)
			}
		}
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(units)), slices.Sorted(slices.Values(Units()))); diff != "" {
		t.Errorf("the tree's units (-) and Units (+):\n%s", diff)
	}
	for _, unit := range Units() {
		if tree, found := Parse("unit", []byte("let a = 3"+unit)); len(found) > 0 {
			t.Errorf("3%s: %v", unit, found)
		} else if e := tree.Statements[0].(*Binding).Value; e.Unit == NoUnit || !strings.HasPrefix(string(e.Unit), unit) {
			t.Errorf("3%s has the unit %q", unit, e.Unit)
		}
	}
}

func parsed(t *testing.T, name string) *ast.File {
	t.Helper()
	file, err := goparser.ParseFile(token.NewFileSet(), name, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func unquoted(t *testing.T, literal *ast.BasicLit) string {
	t.Helper()
	text, err := strconv.Unquote(literal.Value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
