package payment

import (
	"errors"
	"log/slog"
)

// Redacted is what a secret or a card number prints as, whatever the verb.
const Redacted = "[redacted]"

// ErrSensitive is the answer to an attempt at marshalling a [Sensitive].
var ErrSensitive = errors.New("card data cannot be marshalled")

// Sensitive is card data: a number or a verification code. It lives in memory
// for one call. It prints as "[redacted]" and refuses to be marshalled, so that
// no log, store or answer can hold it by accident.
type Sensitive struct{ value string }

// NewSensitive wraps card data as soon as it is read.
func NewSensitive(value string) Sensitive { return Sensitive{value} }

// Reveal returns the data itself, for the codec that writes it on the wire.
func (s Sensitive) Reveal() string { return s.value }

// IsZero tells that there is none.
func (s Sensitive) IsZero() bool { return s.value == "" }

// String hides the data.
func (Sensitive) String() string { return Redacted }

// GoString hides the data from %#v.
func (Sensitive) GoString() string { return Redacted }

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
	s.value = string(b)
	return nil
}
