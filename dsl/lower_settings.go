package dsl

import (
	"slices"
)

// This file gives params the values that the caller sets (-set NAME=VALUE).

// settingSource is the source of the value that the caller gives a param, for places in it.
func settingSource(s Setting) *Source { return NewSource("-set "+s.Name, []byte(s.Value)) }

// settings looks at what the caller sets, before the script is lowered.
func (l *lowering) settings() {
	if len(l.options.Settings) == 0 {
		return
	}
	l.values = map[string]string{}
	var params, constants []string
	for _, s := range l.tree.Statements {
		if b, ok := s.(*Binding); ok && b.Param {
			params = append(params, b.Name.Text)
		} else if ok {
			constants = append(constants, b.Name.Text)
		}
	}
	for _, s := range l.options.Settings {
		_, twice := l.values[s.Name]
		l.source = settingSource(s)
		whole := Span{0, len(s.Value)}
		if !slices.Contains(params, s.Name) { // the value may be a secret: what is wrong is the name
			l.source, whole = NewSource("-set", []byte(s.Name)), Span{0, len(s.Name)}
		}
		switch {
		case twice:
			l.report(whole, "keep one of them", "%s is set twice", s.Name)
		case slices.Contains(params, s.Name):
			l.script.Settings = append(l.script.Settings, s.Name+"="+s.Value)
		case slices.Contains(constants, s.Name):
			l.report(whole, "write param in place of let in the script", "%s is a let, and only a param can be set", s.Name)
		case len(params) == 0:
			l.report(whole, "", "the script has no param")
		default:
			l.report(whole, nearest(s.Name, params), "the script has no param %q", s.Name)
		}
		l.values[s.Name] = s.Value
	}
	l.source = l.tree.Source
}

// set returns the value that the caller gives a param in place of its own, which is of the same kind. Its places are those of its own.
func (l *lowering) set(name, setting string, own term) term {
	source := settingSource(Setting{name, setting})
	l.source = source
	defer func() { l.source = l.tree.Source }()
	known := l.names
	l.names = map[string]*named{} // it is a value of its own, and knows no names
	value := l.setting(own)
	l.names = known
	if value.class == classWrong {
		return term{Span: own.Span}
	}
	if value.secret || own.secret || own.envy { // its place is all that may be shown of it
		source = settingSource(Setting{name, masked})
	}
	value = moved(value, own.Span, source)
	value.set.alike = value.class == own.class
	return value
}

func (l *lowering) setting(own term) term {
	whole := Span{0, len(l.source.Text)}
	e, found := ParseValue(l.source)
	if own.class == classText { // what is no string of the language is the text itself
		if len(found) > 0 || e == nil || e.Op != OpString && (e.Op != OpCall || e.Text != "env") {
			if own.secret || own.envy {
				l.secret(string(l.source.Text))
			}
			return term{Span: whole, class: classText, text: string(l.source.Text), secret: own.secret || own.envy}
		}
	} else if len(found) > 0 {
		for _, f := range found {
			l.add(f)
		}
		return term{}
	}
	value := l.eval(e)
	switch {
	case value.class == classWrong:
		return term{}
	case value.live:
		return l.wrong(whole, "", "a param is a constant, and this is known only while the script runs")
	case own.class == classNone || value.class == own.class && value.unit == own.unit:
		if (own.secret || own.envy) && value.class == classText && !value.hidden {
			l.secret(value.text)
			value.secret = true
		}
		return value
	}
	hint := "write a value of that kind"
	switch {
	case own.class == classNumber && own.unit == UnitSecond:
		hint = "write a time, such as 5m"
	case own.class == classNumber:
		hint = "write " + own.describe() + ", such as " + own.shown()
	}
	return l.wrong(whole, hint, "in the script it is %s, and this is %s", own.describe(), value.describe())
}

// spot is a place in the value that the caller gives a param.
type spot struct {
	source *Source
	Span
	alike bool // it is of the kind that the script gives the param: that it does not suit is the script's fault
}

// own is a term as one that the script gives, where its kind is the script's.
func (t term) own() term {
	if t.set != nil && t.set.alike {
		t.set = nil
	}
	return t
}

// moved puts a term and all in it at a place, and keeps where in that source it stands.
func moved(t term, to Span, from *Source) term {
	t.set = &spot{source: from, Span: t.Span}
	if string(from.Text) == masked {
		t.set.Span = Span{0, len(masked)}
	}
	t.Span = to
	if t.list != nil {
		items := slices.Clone(*t.list)
		for i, item := range items {
			items[i] = moved(item, to, from)
		}
		t.list = &items
	}
	fields := slices.Clone(t.fields)
	for i, field := range fields {
		fields[i] = termField{field.name, to, moved(field.term, to, from)}
	}
	t.fields = fields
	return t
}
