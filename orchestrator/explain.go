package orchestrator

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"unicode/utf8"

	"provingground/dsl"
	"provingground/internal/mina"
)

// ErrUnknownAction says that nothing of the script language has the name: no action, statement, function, metric or unit.
var ErrUnknownAction = errors.New("unknown name")

// explainWidth is how many characters a line of the reference has at most, names and examples aside.
const explainWidth = 96

// Explain writes the reference of an action, or of a statement, modifier, function, metric or unit of the script language; with an empty
// name the list of all. For another name the error is [ErrUnknownAction].
func Explain(w io.Writer, name string) error {
	var text strings.Builder
	name = strings.TrimSpace(name)
	action, isAction := FindAction(name)
	about, isTopic := findTopic(name)
	var err error
	switch {
	case name == "":
		explainAll(&text)
	case isAction:
		err = explainAction(&text, action)
	case isTopic:
		explainTopic(&text, about)
	default:
		err = explainParam(&text, name)
	}
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, text.String()); err != nil {
		return fmt.Errorf("write the reference: %w", err)
	}
	return nil
}

// explainAll lists everything that can be explained.
func explainAll(text *strings.Builder) {
	paragraph(text, "", `"orchestrator explain NAME" says more of each name below, with an example. The guide to the language is docs/language.md.`)
	rows := [][2]string{}
	for _, a := range Actions() {
		rows = append(rows, [2]string{a.Action, a.Doc})
	}
	table(text, "Actions: name = action(parameter: value, …)", rows)
	section := ""
	rows = nil
	for _, t := range topics() {
		if t.section != section && section != "" {
			table(text, section, rows)
			rows = nil
		}
		section = t.section
		rows = append(rows, [2]string{cmp.Or(t.form, t.names[0]), t.short})
	}
	table(text, section, rows)
}

// table writes rows of two columns under a heading. The second column is wrapped.
func table(text *strings.Builder, heading string, rows [][2]string) {
	fmt.Fprintf(text, "\n%s\n", heading)
	width := 0
	for _, row := range rows {
		width = max(width, utf8.RuneCountInString(row[0]))
	}
	for _, row := range rows {
		for i, line := range wrap(row[1], explainWidth-width-4) {
			first := row[0]
			if i > 0 {
				first = ""
			}
			fmt.Fprintf(text, "  %s%s  %s\n", first, strings.Repeat(" ", width-utf8.RuneCountInString(first)), line)
		}
	}
}

// paragraph writes a text, wrapped and indented.
func paragraph(text *strings.Builder, indent, what string) {
	for _, line := range wrap(what, explainWidth-len(indent)) {
		fmt.Fprintf(text, "%s%s\n", indent, line)
	}
}

// block writes lines as they stand, indented.
func block(text *strings.Builder, what string) {
	for line := range strings.Lines(strings.TrimRight(what, "\n")) {
		if line = strings.TrimRight(line, "\n"); line != "" {
			line = "  " + line
		}
		fmt.Fprintln(text, line)
	}
}

// wrap cuts a text into lines of at most so many characters, where it has blanks.
func wrap(text string, width int) []string {
	lines := []string{}
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

// explainParam says which actions have a parameter of that name, in whichever spelling.
func explainParam(text *strings.Builder, name string) error {
	var with []string
	for _, a := range Actions() {
		if slices.ContainsFunc(a.Params, func(p dsl.Param) bool {
			return strings.EqualFold(p.ScriptName(), name) || strings.EqualFold(p.Name, name)
		}) {
			with = append(with, a.Action)
		}
	}
	if len(with) == 0 {
		return fmt.Errorf("%w %q (%s)", ErrUnknownAction, name, cmp.Or(dsl.Suggest(name, Explained()), "orchestrator explain lists all that there are"))
	}
	paragraph(text, "", fmt.Sprintf("%s is a parameter of %s. \"orchestrator explain %s\" says what it is there.", name, strings.Join(with, ", "), with[0]))
	return nil
}

func explainTopic(text *strings.Builder, t topic) {
	fmt.Fprintln(text, cmp.Or(t.form, t.names[0]))
	for part := range strings.SplitSeq(strings.TrimSpace(t.text), "\n\n") {
		paragraph(text, "  ", part)
	}
	if t.example != "" {
		fmt.Fprintln(text, "\nexample")
		block(text, t.example)
	}
}

func explainAction(text *strings.Builder, a Action) error {
	fmt.Fprintln(text, a.Action)
	paragraph(text, "  ", a.Doc)
	example := exampleOf(a)
	fmt.Fprintln(text, "\nin the script language")
	block(text, example)
	if dsl.HoldsBlock(a.Action) {
		fmt.Fprintln(text, "\nIt has no spelling in the JSON stream.")
	} else {
		asJSON, err := exampleJSON(example)
		if err != nil {
			return fmt.Errorf("the example of %s: %w", a.Action, err)
		}
		fmt.Fprintln(text, "\nthe last step in JSON")
		block(text, asJSON)
	}
	if len(a.Params) > 0 {
		fmt.Fprintln(text, "\nparameters")
	}
	params := paramsOf(a)
	for i, p := range params {
		if i > 0 && i < len(params)-1 && params[i-1].doc == p.doc && params[i+1].doc == p.doc { // group2 to group8
			if i == 1 || params[i-2].doc != p.doc {
				fmt.Fprintln(text, "  …")
			}
			continue
		}
		p.explain(text)
	}
	explainOutputs(text, a)
	return nil
}

// scriptParam is a parameter as the script language sees it: both ends of a range are one, and so is what may stand there without a name.
type scriptParam struct {
	dsl.Param
	name  string // "" for a value without a name
	value string // an example, with its unit
	doc   string
	json  []dsl.Param // what it is in the JSON stream
}

// paramsOf returns an action's parameters as the script language sees them.
func paramsOf(a Action) []scriptParam {
	var params []scriptParam
	for _, p := range a.Params {
		same := func(other scriptParam) bool {
			return p.End != dsl.NoEnd && other.name == p.ScriptName() || p.Positional && other.Positional
		}
		if i := slices.IndexFunc(params, same); i >= 0 {
			params[i].json = append(params[i].json, p)
			if p.End != dsl.NoEnd {
				params[i].doc += " to " + p.Doc
			}
			continue
		}
		one := scriptParam{Param: p, name: p.ScriptName(), value: valueOf(a.Action, p), doc: scriptNames(a, p.Doc), json: []dsl.Param{p}}
		if p.Positional {
			one.name, one.doc = "", one.doc+", without a name"
		}
		params = append(params, one)
	}
	return params
}

// explain writes what there is to know of a parameter.
func (p scriptParam) explain(text *strings.Builder) {
	usage := strings.ReplaceAll(p.value, exampleKey, `"B62q…"`)
	if p.name != "" {
		usage = p.name + ": " + usage
	}
	state := "optional"
	switch {
	case p.Required:
		state = "required"
	case p.Absent != "":
		state = "default " + absentOf(p.Param)
	case p.Default != "":
		state = "default " + defaultOf(p.Param)
	}
	fmt.Fprintf(text, "  %-36s %s\n", usage, state)
	paragraph(text, "      ", fmt.Sprintf("%s (%s)", p.doc, p.kind()))
}

// kind says what a parameter's values are, and what they are in JSON where that differs.
func (p scriptParam) kind() string {
	kind := string(p.Kind)
	switch p.Kind {
	case dsl.Nanomina:
		kind = "amount"
	case dsl.Rate:
		kind = "rate"
	case dsl.Int:
		if p.Unit == "minutes" || p.Unit == "seconds" {
			kind = "time"
		}
		if p.Unit == "slots" || p.Unit == "slot" {
			kind = "slots"
		}
	default:
	}
	if p.List {
		kind = "list: " + kind
	}
	if len(p.Words) > 0 {
		kind = strings.Join(p.Words, " or ")
	}
	if in := p.inJSON(); in != "" {
		kind += "; in JSON " + in
	}
	if p.Absent != "" {
		kind += "; left out there it is " + cmp.Or(p.Default, "empty")
	}
	return kind
}

// inJSON says how the JSON stream spells a parameter; "" where it spells it in the same way.
func (p scriptParam) inJSON() string {
	names := make([]string, len(p.json))
	differs := false
	for i, one := range p.json {
		names[i] = one.Name
		differs = differs || one.Name != p.name
		switch unit := one.Unit; {
		case unit == "minutes", unit == "seconds", unit == "nanomina" && i == len(p.json)-1:
			names[i] += " in " + unit
			differs = true
		}
	}
	if !differs {
		return ""
	}
	return strings.Join(names, ", ")
}

// absentOf is what a parameter is that the script language leaves out, and that is not its zero value then.
func absentOf(p dsl.Param) string {
	switch {
	case p.Absent == dsl.ExperimentName:
		return `the experiment's name and the round: "first-0"`
	case p.Kind == dsl.Rate:
		return p.Absent + " tps"
	case len(p.Words) > 0:
		return strings.Trim(p.Absent, `"`)
	}
	return p.Absent
}

// defaultOf is a parameter's default as the script language writes it.
func defaultOf(p dsl.Param) string {
	number, isNumber := dsl.Decimal(p.Default)
	switch {
	case isNumber && p.Kind == dsl.Nanomina && number.IsInt() && number.Num().IsUint64():
		return mina.Nanomina(number.Num().Uint64()).String() + " mina"
	case isNumber && p.Kind == dsl.Ratio:
		return decimalText(number.Mul(number, big.NewRat(100, 1))) + "%"
	}
	if rest, ok := strings.CutPrefix(p.Default, "null"); ok {
		return "none" + rest
	}
	return p.Default
}

func explainOutputs(text *strings.Builder, a Action) {
	// An example of a list that decides how many outputs there are has two elements.
	two := dsl.Value{Items: make([]dsl.Value, 2)}
	outputs := a.OutputsOf(&dsl.Step{Args: []dsl.Arg{{Name: "ratios", Value: two}, {Name: "groups", Value: two}}})
	if len(outputs) == 0 {
		return
	}
	fmt.Fprintln(text, "\noutputs")
	step := stepName(a)
	for _, o := range outputs {
		usage := step + "." + dsl.Param{Name: o.Name}.ScriptName()
		if o.Name == a.Main {
			usage = step + ", or " + usage
		}
		var marks []string
		kind := string(o.Kind)
		switch {
		case o.Multi:
			kind = "list: " + kind
			marks = append(marks, "one line for each element")
		case o.List:
			kind = "list: " + kind
		}
		if o.Sensitive {
			marks = append(marks, "secret: never printed or recorded")
		}
		if script := (dsl.Param{Name: o.Name}).ScriptName(); script != o.Name {
			marks = append(marks, "in JSON "+o.Name)
		}
		fmt.Fprintf(text, "  %s\n", usage)
		paragraph(text, "      ", fmt.Sprintf("%s (%s)", o.Doc, strings.Join(append([]string{kind}, marks...), "; ")))
	}
	if a.Numbered != nil {
		fmt.Fprintln(text, "  … as many groups as the list has elements")
	}
}
