package dsl

import (
	"strings"
	"testing"

	"github.com/alecthomas/participle/v2/lexer"
)

// pieces reads all tokens of a text, and returns how many there are in each piece.
func pieces(t *testing.T, s *scanner) []int {
	t.Helper()
	var all []int
	s.pieces = true
	for n := 0; !s.ended; {
		token, err := s.Next()
		switch {
		case err != nil:
			t.Fatal(err)
		case token.Type == lexer.EOF:
			all = append(all, n)
			n = 0
		default:
			n++
		}
	}
	return all
}

func TestLongScriptsComeInPieces(t *testing.T) {
	const statements, tokens = 1000, 12 // let a = ( 1 \n + 2 ) \n f ( )
	s := newScanner(NewSource("text", []byte(strings.Repeat("let a = (1 # one\n\n + 2)\nf()\n", statements))))
	sum := 0
	for i, n := range pieces(t, s) {
		sum += n
		if n > pieceTokens+tokens {
			t.Errorf("piece %d has %d tokens", i, n)
		}
	}
	if sum != statements*(tokens-1) || len(s.remarks) != statements || s.faults != nil {
		t.Errorf("%d tokens, %d comments, %v", sum, len(s.remarks), s.faults)
	}
}

func TestNoStatementIsCutInTwo(t *testing.T) {
	for _, statement := range []string{
		"let\na\n=\n1 +\nf(x)", "expect a and\nb(c)\nwithin 5m {\n}", "parallel {\na()\nb = c()\n}", "on\nfailure {\n}", "a =\nb(\nc(\n), d)\nretry 5\nevery 2m",
		"limit rate <= 2,\nspend <= 3", "experiment\n\"a\"", "let a = not\nf()", "repeat 4 as\nr {\n}", "a = f() within\n5m", "search\nrate from 1 to 2 until within 3 {\n}",
	} {
		text := strings.Repeat(statement+"\n", pieceTokens)
		tree, found := Parse("text", []byte(text))
		one, _ := Parse("text", []byte(statement))
		if found != nil || len(tree.Statements) != pieceTokens*len(one.Statements) {
			t.Errorf("%d statements, %v of\n%s", len(tree.Statements), found, statement)
		}
	}
}

func TestAStatementHasItsBound(t *testing.T) {
	s := newScanner(NewSource("text", []byte("let a = "+strings.Repeat("-", maxPieceTokens))))
	got := pieces(t, s)
	if len(got) != 1 || got[0] > maxPieceTokens+1 || len(s.faults) != 1 || !s.refused {
		t.Errorf("pieces of %d tokens, %v", got, s.faults)
	}
}

func TestLexerOfParticiple(t *testing.T) {
	long := strings.Repeat("a = f(5m) # b\n", pieceTokens)
	lex, err := language{}.Lex("text", strings.NewReader(long))
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := lexer.ConsumeAll(lex)
	if err != nil {
		t.Fatal(err)
	}
	names := lexer.SymbolsByRune(language{})
	var got []string
	for _, token := range tokens {
		got = append(got, names[token.Type]+" "+token.Value)
	}
	if want := strings.Repeat("Name a,Sign =,Name f,Sign (,Number 5,Unit m,Sign ),", pieceTokens) + "EOF "; strings.Join(got, ",") != want {
		t.Errorf("%q, want %q", got, want)
	}
}
