package webhook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Tolerance is how far the clock of a receiver may be from the timestamp.
const Tolerance = 5 * time.Minute

// Bounds of what a verifier reads.
const (
	// MaxSignatures bounds the signatures in one header.
	MaxSignatures = 32
	// maxID bounds a message's ID, in bytes.
	maxID = 256
	// maxTimestamp bounds the digits of a timestamp: until the year 5138.
	maxTimestamp = 11
	// The bounds of a symmetric key, in bytes.
	minKey, maxKey = 24, 64
)

// The errors of verifying.
var (
	// ErrKey: a key that is neither "whsec_…" nor "whpk_…".
	ErrKey = errors.New("a webhook key is whsec_ or whpk_ and base64")
	// ErrHeader: a header is missing, doubled or malformed.
	ErrHeader = errors.New("webhook header missing or malformed")
	// ErrTime: the timestamp is too far from now: an old message that is sent
	// again, or a clock that is wrong.
	ErrTime = errors.New("webhook timestamp out of tolerance")
	// ErrSignature: none of the signatures is right.
	ErrSignature = errors.New("webhook signature does not match")
)

// Verifier is the receiver's side of [Sign]. It is safe for concurrent use. It
// has no memory: that a message comes twice is for the receiver to notice, by
// its ID.
type Verifier struct {
	of func() *verifying // a function, because no verb looks into one
}

type verifying struct {
	symmetric [][]byte
	public    []ed25519.PublicKey
}

// NewVerifier takes the keys that a merchant was shown: "whsec_…" for v1,
// "whpk_…" for v1a; without a prefix, it is a key for v1. A message is good if
// any of the keys says so.
func NewVerifier(keys ...string) (Verifier, error) {
	v := &verifying{}
	for _, text := range keys {
		asymmetric := strings.HasPrefix(text, prefixPublic)
		bare := strings.TrimPrefix(strings.TrimPrefix(text, prefixPublic), prefixSymmetric)
		key, err := base64.StdEncoding.Strict().DecodeString(bare)
		switch {
		case err != nil: // its error would quote the key
			return Verifier{}, ErrKey
		case asymmetric && len(key) == ed25519.PublicKeySize:
			v.public = append(v.public, key)
		case !asymmetric && len(key) >= minKey && len(key) <= maxKey:
			v.symmetric = append(v.symmetric, key)
		default:
			return Verifier{}, ErrKey
		}
	}
	if len(keys) == 0 {
		return Verifier{}, ErrKey
	}
	return Verifier{func() *verifying { return v }}, nil
}

// Verify tells whether a delivery is genuine and fresh: the error is nil, or
// [ErrHeader], [ErrTime] or [ErrSignature]. The body is that of the request,
// byte for byte.
func (v Verifier) Verify(h http.Header, body []byte, now time.Time) error {
	if v.of == nil {
		return ErrKey
	}
	id, timestamp, signatures, err := read(h)
	if err != nil {
		return err
	}
	// It has digits only, and few.
	at, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrHeader, HeaderTimestamp)
	}
	if apart := now.Sub(time.Unix(at, 0)).Abs(); apart > Tolerance {
		return ErrTime
	}
	message := content(id, timestamp, body)
	for _, s := range signatures {
		if v.of().matches(s, message) {
			return nil
		}
	}
	return ErrSignature
}

// read takes the three headers, of which each must be there once.
func read(h http.Header) (id, timestamp string, signatures []string, err error) {
	one := func(name string, good func(string) bool) string {
		if v := h.Values(name); len(v) == 1 && good(v[0]) {
			return v[0]
		}
		if err == nil {
			err = fmt.Errorf("%w: %s", ErrHeader, name)
		}
		return ""
	}
	id = one(HeaderID, validID)
	timestamp = one(HeaderTimestamp, validTimestamp)
	list := one(HeaderSignature, func(s string) bool { return s != "" && strings.Count(s, " ") < MaxSignatures })
	if err != nil {
		return "", "", nil, err
	}
	return id, timestamp, strings.Split(list, " "), nil
}

func (v *verifying) matches(signature string, message []byte) bool {
	label, text, _ := strings.Cut(signature, ",")
	got, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return false
	}
	switch label {
	case labelHMAC:
		for _, key := range v.symmetric {
			if hmac.Equal(got, mac(key, message)) {
				return true
			}
		}
	case labelEd25519:
		for _, key := range v.public {
			if len(got) == ed25519.SignatureSize && ed25519.Verify(key, message, got) {
				return true
			}
		}
	}
	return false
}

// validID allows what is visible in ASCII, but the dot, at which the signed
// content is put together.
func validID(id string) bool {
	return id != "" && len(id) <= maxID && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' || r == '.' })
}

// validTimestamp allows one way to write a number.
func validTimestamp(s string) bool {
	return s != "" && len(s) <= maxTimestamp && strings.Trim(s, "0123456789") == "" && (s == "0" || s[0] != '0')
}
