package api

import (
	"maps"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
)

// described is an object of the introspection: its value for a field of its type, of the kinds bool, string, []string, described,
// []described, or nil. Nothing in the schema is deprecated.
type described struct {
	typeName string
	value    func(field string) any
}

// introspect writes __schema, __type or __typename.
func (e *execution) introspect(field *ast.Field, out *answer) error {
	switch field.Name {
	case "__typename":
		return out.add(e.schema.Query.Name)
	case "__schema":
		return e.writeDescribed(e.describeSchema(), field.SelectionSet, out)
	}
	given, err := e.arguments(field)
	if err != nil {
		return err
	}
	definition := e.schema.Types[given.text("name")]
	if definition == nil {
		return out.add(nil)
	}
	return e.writeDescribed(e.describeDefinition(definition), field.SelectionSet, out)
}

func (e *execution) writeDescribed(object described, selections ast.SelectionSet, out *answer) error {
	fields, err := e.collect(selections, nil)
	if err != nil {
		return err
	}
	separator := literal("{")
	for _, field := range fields {
		if err := out.addAll(separator, field.Alias, literal(":")); err != nil {
			return err
		}
		separator = ","
		if err := e.writeDescribedField(object, field, out); err != nil {
			return err
		}
	}
	if separator == "{" {
		return out.addAll(literal("{}"))
	}
	return out.addAll(literal("}"))
}

func (e *execution) writeDescribedField(object described, field *ast.Field, out *answer) error {
	if field.Name == "__typename" {
		return out.add(object.typeName)
	}
	switch value := object.value(field.Name).(type) {
	case described:
		return e.writeDescribed(value, field.SelectionSet, out)
	case []described:
		if err := out.addAll(literal("[")); err != nil {
			return err
		}
		for i, one := range value {
			if i > 0 {
				if err := out.addAll(literal(",")); err != nil {
					return err
				}
			}
			if err := e.writeDescribed(one, field.SelectionSet, out); err != nil {
				return err
			}
		}
		return out.addAll(literal("]"))
	default:
		return out.add(value)
	}
}

func (e *execution) describeSchema() described {
	return described{"__Schema", func(field string) any {
		switch field {
		case "types":
			return e.describeAll(slices.Sorted(maps.Keys(e.schema.Types)))
		case "queryType":
			return e.describeDefinition(e.schema.Query)
		case "directives":
			var all []described
			for _, name := range slices.Sorted(maps.Keys(e.schema.Directives)) {
				all = append(all, e.describeDirective(e.schema.Directives[name]))
			}
			return all
		}
		return nil // no mutations, no subscriptions
	}}
}

func (e *execution) describeAll(names []string) []described {
	all := make([]described, 0, len(names))
	for _, name := range names {
		all = append(all, e.describeDefinition(e.schema.Types[name]))
	}
	return all
}

func (e *execution) describeDirective(directive *ast.DirectiveDefinition) described {
	return described{"__Directive", func(field string) any {
		switch field {
		case "name":
			return directive.Name
		case "description":
			return textOrNull(directive.Description)
		case "locations":
			return directive.Locations
		case "args":
			return e.describeArguments(directive.Arguments)
		case "isRepeatable":
			return directive.IsRepeatable
		}
		return nil
	}}
}

func (e *execution) describeDefinition(definition *ast.Definition) described {
	return described{"__Type", func(field string) any {
		switch field {
		case "kind":
			return string(definition.Kind)
		case "name":
			return definition.Name
		case "description":
			return textOrNull(definition.Description)
		case "fields":
			if definition.Kind != ast.Object {
				return nil
			}
			return e.describeFields(definition.Fields)
		case "interfaces":
			if definition.Kind != ast.Object {
				return nil
			}
			return []described{} // the schema has none
		case "enumValues":
			if definition.Kind != ast.Enum {
				return nil
			}
			return e.describeEnumValues(definition.EnumValues)
		}
		return nil // the schema has no interfaces, unions and input objects
	}}
}

func (e *execution) describeFields(fields ast.FieldList) []described {
	all := []described{}
	for _, one := range fields {
		if one.Name == "__schema" || one.Name == "__type" {
			continue // of every root, and of no schema
		}
		all = append(all, described{"__Field", func(field string) any {
			switch field {
			case "name":
				return one.Name
			case "description":
				return textOrNull(one.Description)
			case "args":
				return e.describeArguments(one.Arguments)
			case "type":
				return e.describeType(one.Type)
			case "isDeprecated":
				return false
			}
			return nil
		}})
	}
	return all
}

func (e *execution) describeArguments(list ast.ArgumentDefinitionList) []described {
	all := []described{}
	for _, one := range list {
		all = append(all, described{"__InputValue", func(field string) any {
			switch field {
			case "name":
				return one.Name
			case "description":
				return textOrNull(one.Description)
			case "type":
				return e.describeType(one.Type)
			case "defaultValue":
				if one.DefaultValue != nil {
					return one.DefaultValue.String()
				}
			case "isDeprecated":
				return false
			}
			return nil
		}})
	}
	return all
}

func (e *execution) describeEnumValues(values ast.EnumValueList) []described {
	all := []described{}
	for _, one := range values {
		all = append(all, described{"__EnumValue", func(field string) any {
			switch field {
			case "name":
				return one.Name
			case "description":
				return textOrNull(one.Description)
			case "isDeprecated":
				return false
			}
			return nil
		}})
	}
	return all
}

// describeType gives a type as it is used: NON_NULL and LIST stand around the type that they are of.
func (e *execution) describeType(used *ast.Type) described {
	kind, inner := "", described{}
	switch {
	case used.NonNull:
		nullable := *used
		nullable.NonNull = false
		kind, inner = "NON_NULL", e.describeType(&nullable)
	case used.Elem != nil:
		kind, inner = "LIST", e.describeType(used.Elem)
	default:
		return e.describeDefinition(e.schema.Types[used.NamedType])
	}
	return described{"__Type", func(field string) any {
		switch field {
		case "kind":
			return kind
		case "ofType":
			return inner
		}
		return nil
	}}
}

func textOrNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}
