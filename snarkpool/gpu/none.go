package gpu

import "context"

// None is a machine whose GPUs cannot be read, which says why. The zero value is of no use.
type None struct {
	// Reason is what every answer carries, such as [NoDriver].
	Reason string
}

// List returns an [*UnavailableError].
func (n None) List(context.Context) ([]Device, error) {
	return nil, &UnavailableError{Reason: n.Reason}
}

// Read returns an [*UnavailableError].
func (n None) Read(context.Context, string) (Reading, error) {
	return Reading{}, &UnavailableError{Reason: n.Reason}
}

// Events returns an [*UnavailableError] at once.
func (n None) Events(context.Context, func(Event)) error {
	return &UnavailableError{Reason: n.Reason}
}

// Close does nothing.
func (n None) Close(context.Context) error {
	return nil
}
