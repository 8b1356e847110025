package orchestrator

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"provingground/dsl"
)

// ErrUnknownAction says that there is no action of the name.
var ErrUnknownAction = errors.New("unknown action")

// Explain writes the reference of an action, or with an empty name the list of all. For another name the error is [ErrUnknownAction].
func Explain(w io.Writer, name string) error {
	var text strings.Builder
	if name == "" {
		table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
		for _, a := range Actions() {
			_, _ = fmt.Fprintf(table, "%s\t%s\n", a.Action, a.Doc)
		}
		if err := table.Flush(); err != nil {
			return fmt.Errorf("write the list of actions: %w", err)
		}
	} else {
		action, ok := FindAction(name)
		if !ok {
			return fmt.Errorf("%w %q (%s)", ErrUnknownAction, name, cmp.Or(near(name), "orchestrator explain lists the actions"))
		}
		explain(&text, action)
	}
	if _, err := io.WriteString(w, text.String()); err != nil {
		return fmt.Errorf("write the reference: %w", err)
	}
	return nil
}

// near suggests the action that may be meant; "" when none is near.
func near(name string) string {
	var names []string
	for _, a := range Actions() {
		names = append(names, a.Action)
	}
	return dsl.Suggest(name, names)
}

func explain(text *strings.Builder, a Action) {
	fmt.Fprintf(text, "%s\n  %s\n", a.Action, a.Doc)
	if len(a.Params) > 0 {
		fmt.Fprintln(text, "\nparameters")
	}
	for _, p := range a.Params {
		kind := string(p.Kind)
		if p.List {
			kind = "list: " + kind
		}
		fmt.Fprintf(text, "  %s (%s)\n      %s", p.Name, kind, p.Doc)
		switch {
		case p.Required:
			fmt.Fprint(text, "; required")
		case p.Default != "":
			fmt.Fprintf(text, "; default %s", p.Default)
		}
		if p.Unit != "" {
			fmt.Fprintf(text, " [%s]", p.Unit)
		}
		fmt.Fprintln(text)
	}
	step := &dsl.Step{Args: []dsl.Arg{{Name: "ratios", Value: dsl.Value{Items: make([]dsl.Value, 2)}}, {Name: "groups", Value: dsl.Value{Items: make([]dsl.Value, 2)}}}}
	outputs := a.OutputsOf(step)
	if len(outputs) > 0 {
		fmt.Fprintln(text, "\noutputs")
	}
	for _, o := range outputs {
		var marks []string
		kind := string(o.Kind)
		switch {
		case o.Multi:
			marks = append(marks, "one line for each element")
		case o.List:
			kind = "list: " + kind
		}
		if o.Sensitive {
			marks = append(marks, "secret")
		}
		fmt.Fprintf(text, "  %s (%s)\n      %s\n", o.Name, strings.Join(append([]string{kind}, marks...), ", "), o.Doc)
	}
	if a.Numbered != nil {
		fmt.Fprintln(text, "  … as many groups as the list has elements")
	}
}
