package orchestrator

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"provingground/dsl"
	"provingground/internal/mina"
)

// args are a step's arguments with their references resolved. The typed readers return the zero value for an argument that is missing
// or null, as the existing tool does; what cannot be read is collected, and err returns it.
type args struct {
	values map[string]value
	wrong  *[]error
}

func newArgs() args { return args{values: map[string]value{}, wrong: &[]error{}} }

// err returns everything that the readers could not read.
func (a args) err() error { return errors.Join(*a.wrong...) }

func (a args) fail(name, format string, values ...any) {
	*a.wrong = append(*a.wrong, fmt.Errorf("parameter %q: "+format, append([]any{name}, values...)...))
}

// null reports whether the argument is missing or null.
func (a args) null(name string) bool {
	v, ok := a.values[name]
	return !ok || v.list == nil && (len(v.one) == 0 || string(v.one) == "null")
}

func (a args) text(name string) string {
	var text string
	a.decode(name, &text)
	return text
}

func (a args) flag(name string) bool {
	var flag bool
	a.decode(name, &flag)
	return flag
}

func (a args) decode(name string, into any) {
	if a.null(name) {
		return
	}
	v := a.values[name]
	if v.list != nil {
		a.fail(name, "a list stands where one value is wanted")
		return
	}
	if err := json.Unmarshal(v.one, into); err != nil {
		a.fail(name, "%v", shapeError(err))
	}
}

// shapeError rewords the decoder's complaint without the value, which may be a secret.
func shapeError(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("%s stands where %s is wanted", wrong.Value, wrong.Type)
	}
	return errors.New("broken JSON")
}

func (a args) integer(name string) int {
	if a.null(name) {
		return 0
	}
	n, ok := integerOf(a.values[name].one)
	if !ok {
		a.fail(name, "not a whole number in the range of 32 bits")
	}
	return n
}

// integerOf reads a whole number in the range of 32 bits, in whatever form it is written (1e3, 10.0).
func integerOf(text json.RawMessage) (int, bool) {
	whole, ok := dsl.WholeNumber(string(text))
	if !ok || !whole.IsInt64() || whole.Int64() != int64(int32(whole.Int64())) {
		return 0, false
	}
	return int(whole.Int64()), true
}

func (a args) nanomina(name string) mina.Nanomina {
	if a.null(name) {
		return 0
	}
	whole, ok := dsl.WholeNumber(string(a.values[name].one))
	if !ok || !whole.IsUint64() {
		a.fail(name, "not an amount in nanomina")
		return 0
	}
	return mina.Nanomina(whole.Uint64())
}

func (a args) decimal(name string) *big.Rat {
	if a.null(name) {
		return new(big.Rat)
	}
	number, ok := dsl.Decimal(string(a.values[name].one))
	if !ok {
		a.fail(name, "not a number")
		return new(big.Rat)
	}
	return number
}

// elements returns the elements of a list argument.
func (a args) elements(name string) []json.RawMessage {
	if a.null(name) {
		return nil
	}
	v := a.values[name]
	if v.list == nil { // a single output may hold a list
		if err := json.Unmarshal(v.one, &v.list); err != nil {
			a.fail(name, "%v", shapeError(err))
		}
	}
	return v.list
}

// elementsOf returns the elements of a list argument as values of type T.
func elementsOf[T any](a args, name string) []T {
	raw := a.elements(name)
	elements := make([]T, len(raw))
	for i, r := range raw {
		if err := json.Unmarshal(r, &elements[i]); err != nil {
			a.fail(name, "element %d: %v", i, shapeError(err))
			return nil
		}
	}
	return elements
}

func (a args) texts(name string) []string { return elementsOf[string](a, name) }

func (a args) integers(name string) []int {
	raw := a.elements(name)
	numbers := make([]int, len(raw))
	for i, r := range raw {
		n, ok := integerOf(r)
		if !ok {
			a.fail(name, "element %d is not a whole number in the range of 32 bits", i)
			return nil
		}
		numbers[i] = n
	}
	return numbers
}

// keys returns private keys. Their texts never reach an error.
func (a args) keys(name string) []mina.PrivateKey {
	texts := a.texts(name)
	keys := make([]mina.PrivateKey, len(texts))
	for i, text := range texts {
		key, err := mina.ParsePrivateKey(strings.TrimSpace(text))
		if err != nil {
			a.fail(name, "element %d is not a private key", i)
			return nil
		}
		keys[i] = key
	}
	return keys
}

func (a args) decimals(name string) []*big.Rat {
	raw := a.elements(name)
	numbers := make([]*big.Rat, len(raw))
	for i, r := range raw {
		number, ok := dsl.Decimal(string(r))
		if !ok {
			a.fail(name, "element %d is not a number", i)
			return nil
		}
		numbers[i] = number
	}
	return numbers
}
