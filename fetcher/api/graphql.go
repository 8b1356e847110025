package api

import (
	"context"
	_ "embed" // for consumer.graphql
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/jackc/pgx/v5"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
)

//go:embed consumer.graphql
var consumerSchema string

func loadSchema(text string) (*ast.Schema, error) {
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "consumer.graphql", Input: text})
	if err != nil {
		return nil, fmt.Errorf("loading the GraphQL schema: %w", err)
	}
	return schema, nil
}

// Bounds of a GraphQL request. The introspection queries of common clients have about 300 tokens and 200 selections, 15 deep.
const (
	maxTokens     = 2000
	maxSelections = 1000 // with fragments written out
	maxDepth      = 50
	maxFields     = 20 // of the root: each is a query to the database
	maxErrors     = 20 // in an answer
)

// graphqlRequest is the body of a request.
type graphqlRequest struct {
	Query         *string        `json:"query"`
	OperationName *string        `json:"operationName"`
	Variables     map[string]any `json:"variables"`
}

func (s *Server) graphql(w http.ResponseWriter, r *http.Request) error {
	node := r.PathValue("node_name")
	request, err := readGraphQL(r)
	if err == nil {
		err = checkText("the node's name", node)
	}
	if err != nil {
		return refuseQuery(w, err)
	}
	run := execution{server: s, schema: s.schema, node: node}
	if node != "" {
		run.schema = s.ofNode
	}
	if errs := run.prepare(request); len(errs) > 0 {
		return answerErrors(w, http.StatusBadRequest, errs)
	}
	if node != "" {
		// What else may be wrong, such as a database that is away, the answer says itself.
		if err := s.mustKnowAnywhere(r.Context(), node); err != nil && asProblem(err).status == http.StatusNotFound {
			return refuseQuery(w, err)
		}
	}
	return run.answer(r.Context(), w)
}

func readGraphQL(r *http.Request) (graphqlRequest, error) {
	var request graphqlRequest
	if r.Method == http.MethodPost {
		if err := readJSON(r, &request); err != nil {
			return request, err
		}
	} else {
		parameters := r.URL.Query()
		if parameters.Has("query") {
			query := parameters.Get("query")
			request.Query = &query
		}
		if name := parameters.Get("operationName"); name != "" {
			request.OperationName = &name
		}
		if text := parameters.Get("variables"); text != "" {
			if err := decode("variables", []byte(text), &request.Variables); err != nil {
				return request, err
			}
		}
	}
	if request.Query == nil {
		return request, badRequest("query is missing")
	}
	return request, nil
}

// refuseQuery answers a request that is wrong before GraphQL begins.
func refuseQuery(w http.ResponseWriter, err error) error {
	return answerErrors(w, asProblem(err).status, gqlerror.List{gqlerror.Errorf("%s", err.Error())})
}

// answerErrors answers a request that was not run.
func answerErrors(w http.ResponseWriter, status int, errs gqlerror.List) error {
	return writeJSON(w, status, map[string]any{"errors": errs[:min(len(errs), maxErrors)]})
}

// execution is one request on its way.
type execution struct {
	server    *Server
	schema    *ast.Schema
	node      string // of the path; may be empty
	document  *ast.QueryDocument
	operation *ast.OperationDefinition
	variables map[string]any
	fields    []*ast.Field
}

// prepare reads, bounds and checks the request.
func (e *execution) prepare(request graphqlRequest) gqlerror.List {
	document, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: *request.Query}, maxTokens)
	if err != nil {
		return gqlerror.List{graphqlError(err)}
	}
	e.document = document
	// Before anything else, since rules and execution write fragments out.
	if err := e.bound(); err != nil {
		return gqlerror.List{graphqlError(err)}
	}
	if errs := validator.ValidateWithRules(e.schema, document, nil); len(errs) > 0 {
		return errs
	}
	if e.operation, err = e.choose(request.OperationName); err != nil {
		return gqlerror.List{graphqlError(err)}
	}
	if e.variables, err = validator.VariableValues(e.schema, e.operation, request.Variables); err != nil {
		return gqlerror.List{graphqlError(err)}
	}
	if e.fields, err = e.collect(e.operation.SelectionSet, nil); err != nil {
		return gqlerror.List{graphqlError(err)}
	}
	if len(e.fields) > maxFields {
		return gqlerror.List{gqlerror.ErrorPosf(e.operation.Position, "more than %d fields in one query", maxFields)}
	}
	return nil
}

// graphqlError gives an error the form that answers have.
func graphqlError(err error) *gqlerror.Error {
	if known, is := errors.AsType[*gqlerror.Error](err); is {
		return known
	}
	return gqlerror.Errorf("%s", err.Error())
}

func (e *execution) choose(name *string) (*ast.OperationDefinition, error) {
	wanted := ""
	if name != nil {
		wanted = *name
	}
	operation := e.document.Operations.ForName(wanted)
	switch {
	case operation == nil && wanted == "":
		return nil, errors.New("operationName is missing: the query has several operations")
	case operation == nil:
		return nil, fmt.Errorf("the query has no operation %q", wanted)
	case operation.Operation != ast.Query:
		return nil, gqlerror.ErrorPosf(operation.Position, "only queries are served, not %ss", operation.Operation)
	}
	return operation, nil
}

// size of selections with their fragments written out.
type size struct{ count, depth int }

// bound refuses a document that is too large with its fragments written out, or without end.
func (e *execution) bound() error {
	if len(e.document.Operations) == 0 {
		return errors.New("the query has no operation")
	}
	known := map[string]*size{} // nil while it is being reckoned
	for _, operation := range e.document.Operations {
		if _, err := e.sizeOf(operation.SelectionSet, known); err != nil {
			return err
		}
	}
	for _, fragment := range e.document.Fragments {
		if _, err := e.sizeOf(fragment.SelectionSet, known); err != nil {
			return err
		}
	}
	return nil
}

func (e *execution) sizeOf(selections ast.SelectionSet, known map[string]*size) (size, error) {
	var total size
	for _, selected := range selections {
		var inner size
		var err error
		switch selected := selected.(type) {
		case *ast.Field:
			inner, err = e.sizeOf(selected.SelectionSet, known)
		case *ast.InlineFragment:
			inner, err = e.sizeOf(selected.SelectionSet, known)
		case *ast.FragmentSpread:
			inner, err = e.sizeOfFragment(selected, known)
		}
		if err != nil {
			return size{}, err
		}
		total = size{total.count + 1 + inner.count, max(total.depth, inner.depth+1)}
		if total.count > maxSelections || total.depth > maxDepth {
			return size{}, gqlerror.ErrorPosf(selected.GetPosition(), "the query has more than %d selections or is more than %d deep", maxSelections, maxDepth)
		}
	}
	return total, nil
}

func (e *execution) sizeOfFragment(spread *ast.FragmentSpread, known map[string]*size) (size, error) {
	fragment := e.document.Fragments.ForName(spread.Name)
	if fragment == nil {
		return size{}, nil // the rules have an error for it
	}
	if found, begun := known[spread.Name]; begun {
		if found == nil {
			return size{}, gqlerror.ErrorPosf(spread.Position, "fragment %q is within itself", spread.Name)
		}
		return *found, nil
	}
	known[spread.Name] = nil
	found, err := e.sizeOf(fragment.SelectionSet, known)
	known[spread.Name] = &found
	return found, err
}

// collect gives the fields of selections, fragments written out, each response key once. The rules saw to it that fields of one key are
// the same; what they select is joined.
func (e *execution) collect(selections ast.SelectionSet, fields []*ast.Field) ([]*ast.Field, error) {
	for _, selected := range selections {
		var directives ast.DirectiveList
		var inner ast.SelectionSet
		var field *ast.Field
		switch selected := selected.(type) {
		case *ast.Field:
			directives, field = selected.Directives, selected
		case *ast.InlineFragment:
			directives, inner = selected.Directives, selected.SelectionSet
		case *ast.FragmentSpread:
			directives, inner = selected.Directives, selected.Definition.SelectionSet
		}
		included, err := e.included(directives)
		if err != nil {
			return nil, err
		}
		switch {
		case !included:
		case field == nil:
			if fields, err = e.collect(inner, fields); err != nil {
				return nil, err
			}
		default:
			fields = join(fields, field)
		}
	}
	return fields, nil
}

func join(fields []*ast.Field, field *ast.Field) []*ast.Field {
	for i, known := range fields {
		if known.Alias == field.Alias {
			both := *known
			both.SelectionSet = append(append(ast.SelectionSet{}, known.SelectionSet...), field.SelectionSet...)
			fields[i] = &both
			return fields
		}
	}
	return append(fields, field)
}

func (e *execution) included(directives ast.DirectiveList) (bool, error) {
	for _, directive := range directives {
		if directive.Name != "skip" && directive.Name != "include" {
			continue
		}
		condition, err := e.constant(directive.Arguments.ForName("if").Value)
		if err != nil {
			return false, err
		}
		if holds, isBoolean := condition.(bool); !isBoolean || holds == (directive.Name == "skip") {
			return false, nil
		}
	}
	return true, nil
}

// constant evaluates a value that stands in the text.
func (e *execution) constant(written *ast.Value) (any, error) {
	value, err := written.Value(e.variables)
	if err != nil {
		return nil, gqlerror.ErrorPosf(written.Position, "%s cannot be read", written.String())
	}
	return value, nil
}

// arguments are the coerced arguments of a field that were given and are not null: int64, string or bool.
type arguments map[string]any

func (e *execution) arguments(field *ast.Field) (arguments, error) {
	given := arguments{}
	for _, defined := range field.Definition.Arguments {
		written := defined.DefaultValue
		if argument := field.Arguments.ForName(defined.Name); argument != nil {
			if _, has := e.variables[argument.Value.Raw]; has || argument.Value.Kind != ast.Variable {
				written = argument.Value
			}
		}
		if written == nil {
			continue
		}
		value, err := e.constant(written)
		if err != nil {
			return nil, err
		}
		switch value := value.(type) {
		case nil:
		case int64:
			if value != int64(int32(value)) {
				return nil, badRequest("%s: %d is not an Int of GraphQL, which has 32 bits", defined.Name, value)
			}
			given[defined.Name] = value
		case string:
			if err := checkText(defined.Name, value); err != nil {
				return nil, err
			}
			if defined.Type.NamedType == "Int" {
				return nil, badRequest("%s: a number is expected, not a text", defined.Name)
			}
			given[defined.Name] = value
		default:
			given[defined.Name] = value
		}
	}
	return given, nil
}

// answer runs the fields one after another and sends what they gave. A field that fails is null, and the others are not affected.
func (e *execution) answer(ctx context.Context, w http.ResponseWriter) error {
	out := answer{limit: e.server.limits.answerBytes}
	var errs gqlerror.List
	status := http.StatusOK
	separator := literal(`{"data":{`)
	for _, field := range e.fields {
		if err := out.addAll(separator, field.Alias, literal(":")); err != nil {
			return err
		}
		separator = ","
		before := out.Len()
		if err := e.field(ctx, field, &out); err != nil {
			out.Truncate(before)
			_, _ = out.WriteString("null")
			known := asProblem(err)
			e.server.note(known)
			if known.retry {
				status = http.StatusServiceUnavailable
				w.Header().Set("Retry-After", fmt.Sprint(retrySeconds))
			}
			failed := gqlerror.ErrorPosf(field.Position, "%s", known.text)
			failed.Path = ast.Path{ast.PathName(field.Alias)}
			errs = append(errs, failed)
		}
	}
	if separator != "," {
		_, _ = out.WriteString(string(separator))
	}
	_, _ = out.WriteString("}")
	if len(errs) > 0 {
		list, err := json.Marshal(errs)
		if err != nil {
			return fmt.Errorf("writing the errors of a query: %w", err)
		}
		_, _ = out.WriteString(`,"errors":` + string(list))
	}
	_, _ = out.WriteString("}")
	return out.send(w, status)
}

// field writes the value of one field of the root.
func (e *execution) field(ctx context.Context, field *ast.Field, out *answer) error {
	switch field.Name {
	case "__typename", "__schema", "__type":
		return e.introspect(field, out)
	}
	given, err := e.arguments(field)
	if err != nil {
		return err
	}
	if _, has := given["node_name"]; !has && e.node != "" {
		given["node_name"] = e.node
	}
	run := e.server.queryOf(field.Name)
	return e.server.read(ctx, func(ctx context.Context, tx pgx.Tx) error { return run(ctx, tx, given, out) })
}
