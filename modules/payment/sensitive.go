package payment

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what a secret or a card number prints as, whatever the verb.
const Redacted = "[redacted]"

// ErrSensitive is the answer to an attempt at marshaling a [Sensitive].
var ErrSensitive = errors.New("card data cannot be marshaled")

// Sensitive is card data: a number or a verification code. It lives in memory
// for one call. It prints as "[redacted]" and refuses to be marshaled, so that
// no log, store or answer can hold it by accident. It is held by a pointer, so
// that a struct printed with it in an unexported field, where fmt cannot call a
// method, shows an address.
type Sensitive struct{ value *string }

// NewSensitive wraps card data as soon as it is read.
func NewSensitive(value string) Sensitive { return Sensitive{&value} }

// Reveal returns the data itself, for the codec that writes it on the wire.
func (s Sensitive) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero tells that there is none.
func (s Sensitive) IsZero() bool { return s.Reveal() == "" }

// String hides the data.
func (Sensitive) String() string { return Redacted }

// Format hides the data from every verb, those for numbers included.
func (Sensitive) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// LogValue hides the data from slog.
func (Sensitive) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalJSON fails with [ErrSensitive].
func (Sensitive) MarshalJSON() ([]byte, error) { return nil, ErrSensitive }

// MarshalText fails with [ErrSensitive].
func (Sensitive) MarshalText() ([]byte, error) { return nil, ErrSensitive }

// MarshalBinary fails with [ErrSensitive].
func (Sensitive) MarshalBinary() ([]byte, error) { return nil, ErrSensitive }

// UnmarshalText takes the data from an input document.
func (s *Sensitive) UnmarshalText(b []byte) error {
	*s = NewSensitive(string(b))
	return nil
}
