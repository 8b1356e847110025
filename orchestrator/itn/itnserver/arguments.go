package itnserver

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"provingground/internal/mina"
)

// Base58check version bytes of Mina's keys (keyfiles, section on base58check).
const (
	privateKeyVersion = 0x5A
	publicKeyVersion  = 0xCB
)

// A constant value of a request is nil, bool, string, enum, json.Number, []any or map[string]any, whether it stood in the
// text or in the variables. A json.Number is an integer when it has neither point nor exponent.
type enum string

// values are the coerced arguments of a field or fields of an input object, by name: nil, bool, int, float64, string,
// uint64 (Fee and CurrencyAmount), values or []any of these.
type values map[string]any

// value returns a coerced value, or the zero value of T for one that is null. That it is a T otherwise is the schema's
// promise.
func value[T any](v values, name string) T {
	found, _ := v[name].(T)
	return found
}

// optional returns a coerced value of nullable type, nil for null.
func optional[T any](v values, name string) *T {
	if found, ok := v[name].(T); ok {
		return &found
	}
	return nil
}

// list returns a coerced list.
func list[T any](v values, name string) []T {
	items := value[[]any](v, name)
	typed := make([]T, len(items))
	for i, item := range items {
		typed[i], _ = item.(T)
	}
	return typed
}

// variables are the values that a request has for the variables of its text.
type variables map[string]any

// variablesOf joins the defaults of the text with what was sent, which wins (itn-graphql, section 2.5).
func variablesOf(operation *ast.OperationDefinition, sent map[string]any) variables {
	joined := variables{}
	for _, definition := range operation.VariableDefinitions {
		if definition.DefaultValue != nil {
			joined[definition.Variable], _ = joined.constant(definition.DefaultValue)
		}
	}
	maps.Copy(joined, sent)
	return joined
}

// constant evaluates a value of the text. It fails with the name of a variable that has no value.
func (v variables) constant(written *ast.Value) (constant any, missing string) {
	switch written.Kind {
	case ast.Variable:
		sent, found := v[written.Raw]
		if !found {
			return nil, written.Raw
		}
		return sent, ""
	case ast.IntValue, ast.FloatValue:
		return json.Number(written.Raw), ""
	case ast.BooleanValue:
		return written.Raw == "true", ""
	case ast.EnumValue:
		return enum(written.Raw), ""
	case ast.ListValue:
		items := make([]any, len(written.Children))
		for i, child := range written.Children {
			if items[i], missing = v.constant(child.Value); missing != "" {
				return nil, missing
			}
		}
		return items, ""
	case ast.ObjectValue:
		fields := make(map[string]any, len(written.Children))
		for _, child := range written.Children {
			if fields[child.Name], missing = v.constant(child.Value); missing != "" {
				return nil, missing
			}
		}
		return fields, ""
	case ast.StringValue, ast.BlockValue:
		return written.Raw, ""
	case ast.NullValue:
	}
	return nil, ""
}

// coercion turns the arguments of one root field into values, by the daemon's rules (itn-graphql, section 2.5).
type coercion struct {
	schema *ast.Schema
	field  string // the root field, which every error text names
}

// argumentError is the text of an argument that does not coerce.
type argumentError string

func (e argumentError) Error() string { return string(e) }

// arguments coerces what a field was given, in the order of the schema; the first error wins. Arguments that the schema
// does not know are ignored.
func (c coercion) arguments(defined ast.ArgumentDefinitionList, given ast.ArgumentList, vars variables) (values, error) {
	coerced := values{}
	for _, definition := range defined {
		var constant any
		written := given.ForName(definition.Name)
		if written != nil {
			var missing string
			if constant, missing = vars.constant(written.Value); missing != "" {
				return nil, argumentError("Missing variable `" + missing + "`")
			}
		}
		var err error
		coerced[definition.Name], err = c.value(definition.Name, definition.Type, constant, written != nil)
		if err != nil {
			return nil, err
		}
	}
	return coerced, nil
}

// value coerces one constant to a type. name is the innermost argument or input field.
func (c coercion) value(name string, wanted *ast.Type, constant any, given bool) (any, error) {
	switch {
	case constant == nil && wanted.NonNull:
		return nil, c.expected(name, wanted.String(), constant, given)
	case constant == nil:
		return nil, nil // GraphQL's null
	case wanted.Elem != nil:
		items, isList := constant.([]any)
		if !isList {
			items = []any{constant} // a single value is a list of one
		}
		coerced := make([]any, len(items))
		for i, item := range items {
			var err error
			if coerced[i], err = c.value(name, wanted.Elem, item, true); err != nil {
				return nil, err
			}
		}
		return coerced, nil
	}

	definition := c.schema.Types[wanted.NamedType]
	if definition.Kind == ast.InputObject {
		fields, isObject := constant.(map[string]any)
		if !isObject {
			return nil, c.expected(name, wanted.NamedType, constant, given)
		}
		coerced := values{}
		for _, field := range definition.Fields {
			inner, given := fields[field.Name]
			var err error
			if coerced[field.Name], err = c.value(field.Name, field.Type, inner, given); err != nil {
				return nil, err
			}
		}
		return coerced, nil
	}
	coerced, ok := scalar(wanted.NamedType, constant)
	if !ok {
		return nil, c.expected(name, wanted.NamedType, constant, given)
	}
	return coerced, nil
}

func (c coercion) expected(name, typeName string, constant any, given bool) error {
	found := "but not provided"
	if given {
		found = "found " + constantText(constant)
	}
	return argumentError(fmt.Sprintf("Argument `%s` of type `%s` expected on field `%s`, %s.", name, typeName, c.field, found))
}

// scalar coerces a constant that is not null to a scalar type.
func scalar(name string, constant any) (any, bool) {
	number, _ := constant.(json.Number)
	text, isText := constant.(string)
	switch name {
	case "Int":
		integer, err := strconv.Atoi(number.String())
		return integer, err == nil
	case "Float":
		float, err := number.Float64()
		return float, err == nil
	case "Boolean":
		boolean, ok := constant.(bool)
		return boolean, ok
	case "Fee", "CurrencyAmount":
		return laxUint64(text), isText
	case "PrivateKey":
		_, err := mina.DecodeBase58Check(privateKeyVersion, text)
		return text, isText && err == nil
	case "PublicKey":
		_, err := mina.DecodeBase58Check(publicKeyVersion, text)
		return text, isText && err == nil
	default:
		return text, isText
	}
}

// laxUint64 reads a number as the daemon reads amounts: leading digits count and the rest is ignored, a minus sign wraps,
// too large saturates (itn-graphql, section 3.1). No digits are 0, which that section leaves open.
func laxUint64(text string) uint64 {
	digits, negative := strings.CutPrefix(text, "-")
	end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		digits = digits[:end]
	}
	if digits == "" {
		return 0
	}
	number, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return math.MaxUint64
	}
	if negative {
		return -number
	}
	return number
}

// constantText writes a constant as the daemon's error texts quote it.
func constantText(constant any) string {
	switch typed := constant.(type) {
	case nil:
		return "null"
	case string:
		return `"` + typed + `"`
	case []any:
		items := make([]string, len(typed))
		for i, item := range typed {
			items[i] = constantText(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case map[string]any:
		fields := make([]string, 0, len(typed))
		for _, name := range slices.Sorted(maps.Keys(typed)) {
			fields = append(fields, name+": "+constantText(typed[name]))
		}
		return "{" + strings.Join(fields, ", ") + "}"
	default:
		return fmt.Sprint(typed)
	}
}
