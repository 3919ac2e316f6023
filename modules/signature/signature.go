// Package signature proves that an HTTP message was made by the holder of a key,
// and was not changed on its way: HTTP Message Signatures (RFC 9421) over a
// Content-Digest (RFC 9530), and a simple scheme of one header for those who
// have no library. It signs and verifies requests, and responses to them.
//
// What it does not do is to remember: that a nonce is good once is its caller's
// to see to, after [Verify] and before anything is done. [Result] says which
// nonce of which key it is, and how long it counts.
package signature

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

// The headers of both schemes.
const (
	HeaderInput     = "Signature-Input"  // RFC 9421 §4.1
	HeaderSignature = "Signature"        // RFC 9421 §4.2
	HeaderDigest    = "Content-Digest"   // RFC 9530 §2
	HeaderAccept    = "Accept-Signature" // RFC 9421 §5.1
	HeaderSimple    = "Purser-Signature"
)

const (
	headerAuthorization  = "Authorization"
	headerContentType    = "Content-Type"
	headerIdempotencyKey = "Idempotency-Key"
	headerDPoP           = "Dpop" // RFC 9449, as net/http writes it
)

// The limits of what a caller may make us read. Sizes are in bytes.
const (
	MaxSignatures = 4       // of one message
	MaxComponents = 32      // of one signature
	MaxField      = 8 << 10 // all lines of Signature-Input, or of Signature, together
	MaxValue      = 16 << 10
	MaxBase       = 64 << 10

	maxSimple = 256
	maxDigest = 1 << 10
	maxAccept = 1 << 10
)

// The times of a signature.
const (
	MaxAge     = 300 * time.Second // in profile [Standard]
	MaxAgeFAPI = 60 * time.Second
	MaxAhead   = 10 * time.Second // of the signer's clock before ours
)

// The lengths of an RFC 9421 nonce, in visible ASCII characters. Those of the
// simple scheme are narrower.
const (
	MinNonce = 8
	MaxNonce = 128
)

// What may be wrong with a message. Each error of this package is one of these,
// and its text tells the message's sender what to mend: it names parts of the
// message, and never their values.
var (
	// ErrMalformed: the fields are not what RFC 9421 or the simple scheme say,
	// or exceed a limit. The sender gets 400.
	ErrMalformed = errors.New("malformed signature")
	// ErrInvalid: the signature does not prove this message; it covers too
	// little, is too old, or was made with another key. The sender gets 401.
	ErrInvalid = errors.New("invalid signature")
	// ErrDigest: Content-Digest is malformed, or is not the body's. The sender
	// gets 400.
	ErrDigest = errors.New("wrong content digest")
	// ErrKey: a text that is no key, or a key that may not be used so.
	ErrKey = errors.New("unusable signing key")
	// ErrMessage: a message that cannot be signed.
	ErrMessage = errors.New("a message that cannot be signed")
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// Profile is what is asked of a signature beyond that it verifies.
type Profile uint8

// The profiles.
const (
	// Standard takes every algorithm, and signatures up to [MaxAge] old.
	Standard Profile = iota
	// FAPI is the draft "FAPI 2.0 HTTP Signatures": asymmetric keys alone,
	// [MaxAgeFAPI], @target-uri, and a tag that says what the signature is for.
	FAPI
)

// String names the profile.
func (p Profile) String() string {
	if p == FAPI {
		return "fapi"
	}
	return "standard"
}

func (p Profile) maxAge() time.Duration {
	if p == FAPI {
		return MaxAgeFAPI
	}
	return MaxAge
}

// tags of the profiles. A request's in Standard is the signer's own affair.
const (
	tagRequestFAPI  = "fapi-2-request"
	tagResponseFAPI = "fapi-2-response"
	tagResponse     = "purser-response"
)

func (p Profile) requestTag() string {
	if p == FAPI {
		return tagRequestFAPI
	}
	return ""
}

func (p Profile) responseTag() string {
	if p == FAPI {
		return tagResponseFAPI
	}
	return tagResponse
}

// Scheme is how a message is signed.
type Scheme string

// The schemes.
const (
	RFC9421 Scheme = "rfc9421"
	Simple  Scheme = "simple"
)

// Result is what a signature that verifies says of itself.
type Result struct {
	Scheme Scheme
	KeyID  string
	// Nonce is good once for this key, whatever the scheme. That of a response
	// may be empty.
	Nonce   string
	Created time.Time // in whole seconds
	// Remember is until when a request's nonce must be remembered, this moment
	// included. It allows for another node's clock, and is the same in every
	// profile, so that one may take the place of another.
	Remember time.Time
	Label    string // of RFC 9421; it means nothing
	Tag      string // of RFC 9421; "" if there is none
}

func remember(created time.Time) time.Time { return created.Add(MaxAge + MaxAhead) }

// Present tells whether a message bears a signature of either scheme, or a part
// of one. What it bears may still be malformed.
func Present(h http.Header) bool { return hasRFC(h) || len(h[HeaderSimple]) > 0 }

func hasRFC(h http.Header) bool { return len(h[HeaderInput]) > 0 || len(h[HeaderSignature]) > 0 }

// NewNonce draws a nonce that is good for both schemes: 128 bits in 22
// characters. A nil random is crypto/rand; another one is for tests.
func NewNonce(random io.Reader) (string, error) {
	if random == nil {
		random = rand.Reader
	}
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("draw a nonce: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b[:]), nil
}

// Wish is a caller's wish for a signed response: Accept-Signature, RFC 9421 §5.
// Which components are covered is not the caller's to choose.
type Wish struct {
	Label string // for the response's signature
	Nonce string // to be repeated in it; "" if the caller sent none
}

// WantsSignature reads Accept-Signature. What cannot be read, or is longer than
// 1 KiB, is no wish; of several the first counts.
func WantsSignature(h http.Header) (Wish, bool) {
	lines := h[HeaderAccept]
	if len(lines) == 0 || size(lines) > maxAccept {
		return Wish{}, false
	}
	wishes, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil || len(wishes.Names()) == 0 {
		return Wish{}, false
	}
	w := Wish{Label: wishes.Names()[0]}
	member, _ := wishes.Get(w.Label)
	list, ok := member.(httpsfv.InnerList)
	if !ok {
		return Wish{}, false
	}
	if v, ok := list.Params.Get("nonce"); ok {
		if w.Nonce, ok = v.(string); !ok || !isNonce(w.Nonce) {
			return Wish{}, false
		}
	}
	return w, true
}

func isNonce(s string) bool {
	return len(s) >= MinNonce && len(s) <= MaxNonce && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// size is the length of a field's lines when they are joined by ", ".
func size(lines []string) int {
	n := 0
	for _, l := range lines {
		n += len(l) + len(", ")
	}
	return n
}
