package access

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"strings"

	"github.com/purser-pay/purser/modules/payment"
)

// The text of an API key, from left to right: "pur_", the mode and "_", the
// 26 characters of the key's ID, "_", 32 characters of secret and 6 of
// checksum. The fixed prefix and the checksum let secret scanners find a leaked
// key without asking us.
const (
	keyPrefix     = "pur_"
	idLength      = 26
	secretLength  = 32 // 32 × log2(62) = 190 bits
	crcLength     = 6  // 62^6 > 2^32
	keyLength     = len(keyPrefix) + len("test_") + idLength + 1 + secretLength + crcLength
	base62        = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	exampleMarker = "EXAMPLE"
)

// ErrMalformedKey refuses a text that is not an API key. It never quotes the
// text: a mistyped key is still most of a key.
var ErrMalformedKey = errors.New("not an API key")

// ParsedKey is an API key whose form and checksum are right. Whether it was
// ever issued is for [Directory.Authenticate] to say. It prints without its
// secret.
type ParsedKey struct {
	ID   string // "key_…"
	Mode payment.Mode
	text string
}

// String writes the key's ID alone.
func (p ParsedKey) String() string { return p.ID }

// GoString hides the secret from %#v.
func (p ParsedKey) GoString() string { return p.ID }

// LogValue hides the secret from slog.
func (p ParsedKey) LogValue() slog.Value { return slog.StringValue(p.ID) }

// Hash is what is stored of the key: HMAC-SHA256 of its whole text under the
// pepper. The secret has 190 bits, so no slow hash is needed.
func (p ParsedKey) Hash(pepper []byte) [sha256.Size]byte {
	mac := hmac.New(sha256.New, pepper)
	mac.Write([]byte(p.text))
	var sum [sha256.Size]byte
	mac.Sum(sum[:0])
	return sum
}

// ParseKey reads the text of an API key. It fails with [ErrMalformedKey]
// (wrapped) on anything that was not printed by [NewSecret], above all on a
// typo, which the checksum finds; and on the keys of documentation, which say
// EXAMPLE.
func ParseKey(text string) (ParsedKey, error) {
	if len(text) != keyLength {
		return ParsedKey{}, fmt.Errorf("%w: wrong length", ErrMalformedKey)
	}
	mode := payment.Test
	rest, ok := strings.CutPrefix(text, keyPrefix+"test_")
	if !ok {
		mode = payment.Live
		if rest, ok = strings.CutPrefix(text, keyPrefix+"live_"); !ok {
			return ParsedKey{}, fmt.Errorf("%w: wrong prefix", ErrMalformedKey)
		}
	}
	id, secret := payment.PrefixKey+"_"+rest[:idLength], rest[idLength+1:]
	if rest[idLength] != '_' || !payment.IsID(payment.PrefixKey, id) || strings.Trim(secret, base62) != "" {
		return ParsedKey{}, fmt.Errorf("%w: wrong form", ErrMalformedKey)
	}
	body, sum := text[:keyLength-crcLength], text[keyLength-crcLength:]
	if checksum(body) != sum {
		return ParsedKey{}, fmt.Errorf("%w: its checksum is wrong, so it is mistyped", ErrMalformedKey)
	}
	if strings.Contains(secret, exampleMarker) {
		return ParsedKey{}, fmt.Errorf("%w: it is an example of the documentation", ErrMalformedKey)
	}
	return ParsedKey{ID: id, Mode: mode, text: text}, nil
}

// NewSecret makes the text of a key: id is "key_…". It fails where random
// fails, and on an id or a mode that no key can have.
func NewSecret(random io.Reader, id string, mode payment.Mode) (string, error) {
	if !payment.IsID(payment.PrefixKey, id) || (mode != payment.Test && mode != payment.Live) {
		return "", errors.New("a key needs a key ID and a mode")
	}
	for {
		secret, err := randomText(random, secretLength)
		if err != nil {
			return "", fmt.Errorf("draw a secret: %w", err)
		}
		if strings.Contains(secret, exampleMarker) { // once in 10^12; it would be refused
			continue
		}
		body := keyPrefix + string(mode) + "_" + id[len(payment.PrefixKey)+1:] + "_" + secret
		return body + checksum(body), nil
	}
}

// randomText draws n characters of base62, each equally likely.
func randomText(random io.Reader, n int) (string, error) {
	const fair = 256 - 256%len(base62) // above it a remainder would favor the first characters
	var out bytes.Buffer
	draw := make([]byte, n)
	for out.Len() < n {
		if _, err := io.ReadFull(random, draw); err != nil {
			return "", err
		}
		for _, b := range draw {
			if int(b) < fair && out.Len() < n {
				out.WriteByte(base62[int(b)%len(base62)])
			}
		}
	}
	return out.String(), nil
}

// checksum is the CRC-32 (IEEE) of s in base62, padded with zeros.
func checksum(s string) string {
	n := crc32.ChecksumIEEE([]byte(s))
	var out [crcLength]byte
	for i := crcLength - 1; i >= 0; i-- {
		out[i] = base62[n%uint32(len(base62))]
		n /= uint32(len(base62))
	}
	return string(out[:])
}
