package itnserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"

	"github.com/vektah/gqlparser/v2/ast"
)

// object is a value of an output type: its fields are read when the request selects them. A field's value is nil, string,
// int, bool, *int, json.RawMessage, a slice of these, object or []object.
type object struct {
	typeName string
	field    func(name string) (value any, known bool)
}

// validationError is the text of a request that the schema does not allow.
type validationError string

func (e validationError) Error() string { return string(e) }

// execution is one GraphQL request on its way through a Server.
type execution struct {
	server    *Server
	document  *ast.QueryDocument
	variables variables
	sequenced bool
	flat      map[*ast.Field][]*ast.Field // what was found to be selected of the object that a field holds
}

// execute runs a request text and answers as itn-graphql, section 2.5, has it.
func (s *Server) execute(ctx context.Context, request graphqlRequest, sequenced bool) Answer {
	document, err := s.documents.parse(*request.query)
	if err != nil {
		return jsonAnswer(err.Error()) // a bare string, not an object
	}
	operation, err := selectOperation(document, request.operationName)
	if err != nil {
		return errorAnswer(err, "")
	}
	run := execution{
		server: s, document: document, variables: variablesOf(operation, request.variables), sequenced: sequenced,
		flat: make(map[*ast.Field][]*ast.Field),
	}
	root := s.documents.schema.Query
	switch operation.Operation {
	case ast.Mutation:
		root = s.documents.schema.Mutation
	case ast.Subscription:
		return run.subscription(operation)
	case ast.Query:
	}
	return run.root(ctx, root, operation)
}

func selectOperation(document *ast.QueryDocument, name *string) (*ast.OperationDefinition, error) {
	switch {
	case len(document.Operations) == 0:
		return nil, validationError("No operation found")
	case name == nil && len(document.Operations) == 1:
		return document.Operations[0], nil
	case name == nil:
		return nil, validationError("Operation name required")
	}
	for _, operation := range document.Operations {
		if operation.Name == *name {
			return operation, nil
		}
	}
	return nil, validationError("Operation not found")
}

// subscription answers null for whatever field is asked: the daemon's subscription type has none.
func (e execution) subscription(operation *ast.OperationDefinition) Answer {
	fields := e.fields("subscription", operation.SelectionSet, nil)
	if len(fields) != 1 {
		return errorAnswer(validationError("Subscriptions only allow exactly one selection for the operation."), "")
	}
	return jsonAnswer(map[string]any{fields[0].Alias: nil})
}

// root runs the root fields in order, all of them, also after one has failed; the first failure is the answer.
func (e execution) root(ctx context.Context, root *ast.Definition, operation *ast.OperationDefinition) Answer {
	var body bytes.Buffer
	body.WriteString(`{"data":{`)
	var answer Answer
	var failure error
	var failed *ast.Field
	var lastField string
	for i, field := range e.fields(root.Name, operation.SelectionSet, nil) {
		lastField = field.Name
		if i > 0 {
			body.WriteByte(',')
		}
		writeJSON(&body, field.Alias)
		body.WriteByte(':')
		if err := e.rootField(ctx, root, field, &body); err != nil && failure == nil {
			failure, failed = err, field
		}
	}
	refusal, isRefusal := errors.AsType[Refusal](failure)
	_, isInvalid := errors.AsType[validationError](failure)
	_, isArgument := errors.AsType[argumentError](failure)
	switch {
	case failure == nil:
		body.WriteString("}}")
		answer = Answer{Status: http.StatusOK, Body: body.Bytes()}
	case isRefusal && isNullable(root, failed):
		answer = nullableErrorAnswer(refusal, failed.Alias)
	case isRefusal, isInvalid, isArgument:
		answer = errorAnswer(failure, failed.Alias)
	default:
		answer = Answer{Raised: true}
	}
	answer.Operation = lastField
	return answer
}

func isNullable(root *ast.Definition, field *ast.Field) bool {
	definition := root.Fields.ForName(field.Name)
	return definition != nil && !definition.Type.NonNull
}

func (e execution) rootField(ctx context.Context, root *ast.Definition, field *ast.Field, out *bytes.Buffer) error {
	if field.Name == "__typename" {
		writeJSON(out, root.Name)
		return nil
	}
	definition := root.Fields.ForName(field.Name)
	if definition == nil || e.server.older && isNewerOnly(root.Name, field.Name) {
		return undefinedField(field.Name, root.Name)
	}
	rules := coercion{e.server.documents.schema, field.Name}
	coerced, err := rules.arguments(definition.Arguments, field.Arguments, e.variables)
	if err != nil {
		return err
	}
	if !e.sequenced && field.Name != "auth" {
		return Refusal("Missing sequence information")
	}
	result, err := e.server.resolve(ctx, field.Name, coerced)
	if err != nil {
		return err
	}
	return e.write(out, result, field)
}

// fields flattens a selection to the fields that apply to a type. inside names the fragments around it, of which none is
// entered again.
func (e execution) fields(typeName string, selection ast.SelectionSet, inside []string) []*ast.Field {
	var flat []*ast.Field
	for _, selected := range selection {
		switch selected := selected.(type) {
		case *ast.Field:
			flat = append(flat, selected)
		case *ast.InlineFragment:
			if selected.TypeCondition == "" || selected.TypeCondition == typeName {
				flat = append(flat, e.fields(typeName, selected.SelectionSet, inside)...)
			}
		case *ast.FragmentSpread:
			fragment := e.document.Fragments.ForName(selected.Name)
			if fragment != nil && fragment.TypeCondition == typeName && !slices.Contains(inside, selected.Name) {
				around := append(slices.Clone(inside), selected.Name)
				flat = append(flat, e.fields(typeName, fragment.SelectionSet, around)...)
			}
		}
	}
	return flat
}

// selected returns what is selected of the object that a field holds. The field's objects are of one type.
func (e execution) selected(typeName string, field *ast.Field) []*ast.Field {
	fields, known := e.flat[field]
	if !known {
		fields = e.fields(typeName, field.SelectionSet, nil)
		e.flat[field] = fields
	}
	return fields
}

// write writes what a field was resolved to as JSON, of objects what was selected.
func (e execution) write(out *bytes.Buffer, resolved any, of *ast.Field) error {
	switch resolved := resolved.(type) {
	case object:
		return e.writeObject(out, resolved, e.selected(resolved.typeName, of))
	case []object:
		out.WriteByte('[')
		for i, item := range resolved {
			if i > 0 {
				out.WriteByte(',')
			}
			if err := e.writeObject(out, item, e.selected(item.typeName, of)); err != nil {
				return err
			}
		}
		out.WriteByte(']')
	default:
		writeJSON(out, resolved)
	}
	return nil
}

func (e execution) writeObject(out *bytes.Buffer, resolved object, fields []*ast.Field) error {
	out.WriteByte('{')
	for i, field := range fields {
		if i > 0 {
			out.WriteByte(',')
		}
		writeJSON(out, field.Alias)
		out.WriteByte(':')
		if field.Name == "__typename" {
			writeJSON(out, resolved.typeName)
			continue
		}
		inner, known := resolved.field(field.Name)
		if !known || e.server.older && isNewerOnly(resolved.typeName, field.Name) {
			return undefinedField(field.Name, resolved.typeName)
		}
		if err := e.write(out, inner, field); err != nil {
			return err
		}
	}
	out.WriteByte('}')
	return nil
}

func undefinedField(field, typeName string) error {
	return validationError("Field '" + field + "' is not defined on type '" + typeName + "'")
}

// writeJSON writes a value that always marshals; only a resolver's JSON metadata could fail to, and becomes null. Long answers hold little but short
// texts and numbers, which are written at once.
func writeJSON(out *bytes.Buffer, v any) {
	switch v := v.(type) {
	case string:
		if isPlain(v) {
			out.WriteByte('"')
			out.WriteString(v)
			out.WriteByte('"')
			return
		}
	case json.RawMessage:
		if last := len(v) - 1; last > 0 && v[0] == '"' && v[last] == '"' && isPlain(v[1:last]) {
			out.Write(v)
			return
		}
	case int:
		out.Write(strconv.AppendInt(out.AvailableBuffer(), int64(v), 10))
		return
	}
	encoded, err := json.Marshal(v)
	if err != nil {
		encoded = []byte("null")
	}
	out.Write(encoded)
}

// isPlain reports whether a text is the same in JSON, but for the quotes around it.
func isPlain[T string | json.RawMessage](text T) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

func jsonAnswer(v any) Answer {
	var body bytes.Buffer
	writeJSON(&body, v)
	return Answer{Status: http.StatusOK, Body: body.Bytes()}
}

// errorAnswer answers a failure: a refusal with its path, an argument without one, an invalid request without data.
func errorAnswer(failure error, alias string) Answer {
	message := map[string]any{"message": failure.Error()}
	body := map[string]any{"errors": []any{message}}
	if _, isRefusal := errors.AsType[Refusal](failure); isRefusal {
		message["path"] = []string{alias}
	}
	if _, isInvalid := errors.AsType[validationError](failure); !isInvalid {
		body["data"] = nil
	}
	answer := jsonAnswer(body)
	answer.Refused, answer.Message = true, failure.Error()
	return answer
}

func nullableErrorAnswer(refusal Refusal, alias string) Answer {
	answer := jsonAnswer(map[string]any{
		"errors": []any{map[string]any{"message": refusal.Error(), "path": []string{alias}}},
		"data":   map[string]any{alias: nil},
	})
	answer.Refused, answer.Message = true, refusal.Error()
	return answer
}
