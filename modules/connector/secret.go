package connector

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/purser-pay/purser/modules/payment"
)

// Secret is a credential that is configured by reference, such as
// "{env.STRIPE_KEY}" or "{file./run/secrets/stripe}". Configuration that is
// written out again (Caddy turns a Caddyfile into JSON, and its admin API shows
// that JSON) yields the reference; a log or a format verb yields "[redacted]";
// the credential itself is had from Reveal alone. Copies of a resolved secret are
// one secret: what one of them is given by [Secret.Replace], all of them have.
type Secret struct {
	ref  string
	held *atomic.Pointer[payment.Sensitive] // nil = not resolved
}

const literal = "{literal}"

// NewSecret returns a secret that is already resolved, for tests and for
// credentials that the gateway made itself.
func NewSecret(value string) Secret {
	s := Secret{ref: literal}
	s.hold(value)
	return s
}

// hold gives this secret a value, and copies that were made before none.
func (s *Secret) hold(value string) {
	v := payment.NewSensitive(value)
	s.held = new(atomic.Pointer[payment.Sensitive])
	s.held.Store(&v)
}

// ErrBareSecret refuses a credential that stands in the configuration itself.
var ErrBareSecret = errors.New("a secret is given by reference: {env.NAME} or {file./path}")

// String hides the credential from every verb.
func (Secret) String() string { return payment.Redacted }

// Format hides the credential from every verb, those for numbers included.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, payment.Redacted) }

// LogValue hides the credential from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(payment.Redacted) }

// MarshalText returns the reference.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.ref), nil }

// UnmarshalText takes a reference. A bare credential is refused with
// [ErrBareSecret], so that none can end up in a configuration file.
func (s *Secret) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		s.ref = ""
		return nil
	}
	if !bytes.HasPrefix(b, []byte("{")) || !bytes.HasSuffix(b, []byte("}")) {
		return ErrBareSecret
	}
	s.ref = string(b)
	return nil
}

// Resolve looks the reference up. An empty reference stays an empty secret.
func (s *Secret) Resolve(lookup func(ref string) (string, error)) error {
	if s.ref == "" || s.ref == literal {
		return nil
	}
	value, err := lookup(s.ref)
	if err != nil {
		return fmt.Errorf("resolve %s: %w", s.ref, err)
	}
	s.hold(value)
	return nil
}

// Replace gives a resolved secret, and all copies of it, another value. It is
// safe while others call Reveal.
func (s Secret) Replace(value string) {
	if s.held != nil {
		v := payment.NewSensitive(value)
		s.held.Store(&v)
	}
}

// Reference returns what was configured.
func (s Secret) Reference() string { return s.ref }

// IsZero tells that none was configured.
func (s Secret) IsZero() bool { return s.ref == "" && s.held == nil }

// Reveal returns the credential itself. Only codecs and verifiers call it.
func (s Secret) Reveal() string {
	if s.held == nil {
		return ""
	}
	return s.held.Load().Reveal()
}
