package signature

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"

	"github.com/dunglas/httpsfv"
)

// CheckDigest compares Content-Digest (RFC 9530 §2), where there is one, with the
// body: the bytes as they came, before any decoding. It is to be called for
// every request; [Verify] does it for those that are signed. All members of a
// known algorithm, sha-256 and sha-512, must match, and there must be one. The
// older Digest of RFC 3230 is not looked at.
func CheckDigest(h http.Header, body []byte) error {
	lines := h[HeaderDigest]
	if len(lines) == 0 {
		return nil
	}
	if len(lines) == 1 && isDigestLine(lines[0], body) {
		return nil // what nearly everybody sends, without the parser
	}
	if size(lines) > maxDigest {
		return fmt.Errorf("%w: Content-Digest is longer than %d bytes", ErrDigest, maxDigest)
	}
	digests, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil {
		return fmt.Errorf("%w: Content-Digest is no dictionary of RFC 9530", ErrDigest)
	}
	known := 0
	for _, name := range digests.Names() {
		member, _ := digests.Get(name)
		want, ok := digestOf(name, body)
		if !ok {
			continue
		}
		known++
		i, isItem := member.(httpsfv.Item)
		got, isBytes := i.Value.([]byte)
		if !isItem || !isBytes {
			return fmt.Errorf("%w: %s of Content-Digest is no byte sequence between colons", ErrDigest, name)
		}
		if subtle.ConstantTimeCompare(got, want) != 1 {
			return fmt.Errorf("%w: %s of Content-Digest is not that of the body", ErrDigest, name)
		}
	}
	if known == 0 {
		return fmt.Errorf("%w: Content-Digest has neither sha-256 nor sha-512", ErrDigest)
	}
	return nil
}

// The strict form of a Content-Digest of sha-256 alone.
const (
	digestOpen  = "sha-256=:"
	digestClose = ":"
)

var digestSize = len(digestOpen) + base64.StdEncoding.EncodedLen(sha256.Size) + len(digestClose)

func appendDigestLine(dst, body []byte) []byte {
	sum := sha256.Sum256(body)
	dst = base64.StdEncoding.AppendEncode(append(dst, digestOpen...), sum[:])
	return append(dst, digestClose...)
}

// isDigestLine tells whether a line is exactly what the body has for its digest.
// Where it is not, the line may still say the same in another form.
func isDigestLine(line string, body []byte) bool {
	if len(line) != digestSize {
		return false
	}
	var want [64]byte
	return subtle.ConstantTimeCompare([]byte(line), appendDigestLine(want[:0], body)) == 1
}

// digestOf knows the algorithms that RFC 9530 §5 calls fit to be attacked.
func digestOf(algorithm string, body []byte) ([]byte, bool) {
	switch algorithm {
	case "sha-256":
		sum := sha256.Sum256(body)
		return sum[:], true
	case "sha-512":
		sum := sha512.Sum512(body)
		return sum[:], true
	default:
		return nil, false
	}
}

// setDigest says in h what the body is.
func setDigest(h http.Header, body []byte) {
	h.Set(HeaderDigest, string(appendDigestLine(nil, body)))
}
