package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"provingground/dsl"
	"provingground/orchestrator"
)

// settings are the flags -set NAME=VALUE.
type settings []dsl.Setting

// add takes one flag.
func (s *settings) add(text string) error {
	name, value, ok := strings.Cut(text, "=")
	name = strings.TrimSpace(name)
	if !ok || name == "" {
		return errors.New("write -set NAME=VALUE, such as -set rate=1.2tps")
	}
	if slices.ContainsFunc(*s, func(other dsl.Setting) bool { return other.Name == name }) {
		return fmt.Errorf("%s is set twice", name)
	}
	*s = append(*s, dsl.Setting{Name: name, Value: strings.TrimSpace(value)})
	return nil
}

// reading is how a script is read: what the caller set, and where env() looks.
func (p program) reading(set settings, env func(string) (string, bool)) dsl.LowerOptions {
	return dsl.LowerOptions{Signatures: orchestrator.Signatures(), Metrics: orchestrator.Metrics(), Settings: set, Env: env}
}
