// Package webhook is Standard Webhooks, https://www.standardwebhooks.com: how a
// delivery to a merchant is signed and verified, by HMAC-SHA256 (v1) and by
// Ed25519 (v1a), and which URLs it may go to. It opens no connection.
package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// The headers of a delivery.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp" // seconds since 1970; that of the try
	HeaderSignature = "Webhook-Signature"
)

// SecretSize is the length of a secret's bytes.
const SecretSize = symmetricSize + ed25519.SeedSize

const symmetricSize = 32

// MaxLive bounds the secrets that sign one delivery: the new one, and the one
// that is rotated out.
const MaxLive = 2

// How keys are written, before their base64.
const (
	prefixSymmetric = "whsec_"
	prefixPublic    = "whpk_"
)

// How signatures are written, before their base64.
const (
	labelHMAC    = "v1"
	labelEd25519 = "v1a"
)

// The errors of secrets and signing.
var (
	// ErrSecret: bytes that are no secret.
	ErrSecret = errors.New("a webhook secret is 64 bytes")
	// ErrSecretMarshal is the answer to an attempt at marshaling a [Secret].
	ErrSecretMarshal = errors.New("a webhook secret cannot be marshaled")
	// ErrSecrets: none, or more than [MaxLive].
	ErrSecrets = errors.New("a delivery is signed with one or two secrets")
	// ErrMessage: an ID that cannot be signed, as it would be ambiguous, or a
	// time before 1970.
	ErrMessage = errors.New("a message that cannot be signed")
)

// Secret signs the deliveries to one endpoint, by both schemes. It prints as
// "[redacted]" and refuses to be marshaled. The zero value is no secret; it
// yields empty keys, and [Sign] refuses it.
type Secret struct {
	// A function, because no verb looks into one: in an unexported field fmt calls
	// no method, and "%s" shows even what a pointer points to.
	of func() *keys
}

type keys struct {
	symmetric [symmetricSize]byte
	private   ed25519.PrivateKey
}

// NewSecret makes a secret. A nil random is crypto/rand; another one is for
// tests.
func NewSecret(random io.Reader) (Secret, error) {
	if random == nil {
		random = rand.Reader
	}
	var b [SecretSize]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return Secret{}, fmt.Errorf("make webhook secret: %w", err)
	}
	return ParseSecret(b[:])
}

// ParseSecret takes what [Secret.Bytes] gave.
func ParseSecret(b []byte) (Secret, error) {
	if len(b) != SecretSize {
		return Secret{}, ErrSecret
	}
	k := &keys{symmetric: [symmetricSize]byte(b), private: ed25519.NewKeyFromSeed(b[symmetricSize:])}
	return Secret{func() *keys { return k }}, nil
}

// Bytes returns the secret itself, [SecretSize] bytes, to be sealed and kept.
func (s Secret) Bytes() []byte {
	if s.IsZero() {
		return nil
	}
	k := s.of()
	return append(k.symmetric[:len(k.symmetric):len(k.symmetric)], k.private.Seed()...)
}

// IsZero tells that there is none.
func (s Secret) IsZero() bool { return s.of == nil }

// Symmetric returns the key of v1 as the merchant is shown it: "whsec_…".
func (s Secret) Symmetric() string {
	if s.IsZero() {
		return ""
	}
	return prefixSymmetric + base64.StdEncoding.EncodeToString(s.of().symmetric[:])
}

// Public returns the public key of v1a: "whpk_…". It is no secret.
func (s Secret) Public() string {
	if s.IsZero() {
		return ""
	}
	return prefixPublic + base64.StdEncoding.EncodeToString(s.of().private[ed25519.SeedSize:])
}

// Sign returns the signatures of one message by both schemes: "v1,… v1a,…". A
// message that [Sign] refuses, and a zero secret, have none: "".
func (s Secret) Sign(id string, at time.Time, body []byte) string {
	signature, err := Sign(id, at, body, s)
	if err != nil {
		return ""
	}
	return signature
}

// Sign returns the value of [HeaderSignature]: the signatures of each live
// secret by both schemes, in the order of the secrets. id is the message's, not
// the try's; at is when it is sent.
func Sign(id string, at time.Time, body []byte, secrets ...Secret) (string, error) {
	if len(secrets) == 0 || len(secrets) > MaxLive {
		return "", ErrSecrets
	}
	if !validID(id) || at.Unix() < 0 {
		return "", ErrMessage
	}
	message := content(id, strconv.FormatInt(at.Unix(), 10), body)
	signatures := make([]string, 0, 2*len(secrets))
	for _, s := range secrets {
		if s.IsZero() {
			return "", ErrSecret
		}
		signatures = append(signatures,
			labelHMAC+","+base64.StdEncoding.EncodeToString(mac(s.of().symmetric[:], message)),
			labelEd25519+","+base64.StdEncoding.EncodeToString(ed25519.Sign(s.of().private, message)))
	}
	return strings.Join(signatures, " "), nil
}

// content is what is signed. Neither id nor timestamp holds a dot, so that no
// two messages look alike.
func content(id, timestamp string, body []byte) []byte {
	b := make([]byte, 0, len(id)+len(timestamp)+len(body)+2)
	b = append(b, id...)
	b = append(b, '.')
	b = append(b, timestamp...)
	b = append(b, '.')
	return append(b, body...)
}

func mac(key, message []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	return h.Sum(nil)
}

const redacted = "[redacted]"

// Format hides the secret from every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue hides the secret from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON fails with [ErrSecretMarshal].
func (Secret) MarshalJSON() ([]byte, error) { return nil, ErrSecretMarshal }

// MarshalText fails with [ErrSecretMarshal].
func (Secret) MarshalText() ([]byte, error) { return nil, ErrSecretMarshal }

// MarshalBinary fails with [ErrSecretMarshal].
func (Secret) MarshalBinary() ([]byte, error) { return nil, ErrSecretMarshal }
