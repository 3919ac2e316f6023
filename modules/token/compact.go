package token

import (
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// maxToken bounds a token and a proof, in bytes.
	maxToken = 8 << 10
	maxKeyID = 256 // bytes of kid
)

var (
	errSize      = errors.New("longer than 8 KiB")
	errForm      = errors.New("not three parts of unpadded base64url with two dots between them")
	errTrailing  = errors.New("a part is not the canonical base64url of its bytes")
	errAlgorithm = errors.New("the algorithm is not allowed")
	errExtension = errors.New("the header has a member that must be understood, and is not")
	errOwnKey    = errors.New("the header brings a key, or the address of one")
	errMisfit    = errors.New("the key is not one for this algorithm")
	errSignature = errors.New("the signature is wrong")
)

// methods are the signatures that are verified at all, and by what. Whoever
// verifies has a list of its own, of these.
var methods = map[string]jwt.SigningMethod{
	"RS256": jwt.SigningMethodRS256,
	"PS256": ps256,
	"ES256": jwt.SigningMethodES256,
	"EdDSA": jwt.SigningMethodEdDSA,
}

// ps256 takes a salt of 32 bytes alone (RFC 7518 §3.5); the library's own takes
// any.
var ps256 = &jwt.SigningMethodRSAPSS{
	SigningMethodRSA: &jwt.SigningMethodRSA{Name: "PS256", Hash: crypto.SHA256},
	Options:          &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256},
}

// compact is a JWS in the compact serialization (RFC 7515 §3.1), taken apart and
// not verified.
type compact struct {
	signed    string // the first two parts, as they came
	header    object
	alg       string
	kid       string
	named     bool // there is a kid
	payload   []byte
	signature []byte
}

// parseCompact takes a JWS apart. What is no compact JWS (a JWE has five parts,
// the JSON serialization none) ends here, and so does whatever must be
// understood to be safe: crit (RFC 7515 §4.1.11; no extension is known here),
// b64 (RFC 7797 is not for JWT), jku and x5u. x5c, x5t and cty say nothing to
// us and are not read.
func parseCompact(text string) (*compact, error) {
	if len(text) > maxToken {
		return nil, errSize
	}
	first, rest, _ := strings.Cut(text, ".")
	second, third, ok := strings.Cut(rest, ".")
	if !ok {
		return nil, errForm
	}
	c := &compact{signed: text[:len(first)+1+len(second)]}
	head, err := decode64(first)
	if err != nil {
		return nil, err
	}
	if c.payload, err = decode64(second); err != nil {
		return nil, err
	}
	if c.signature, err = decode64(third); err != nil {
		return nil, err
	}
	if c.header, err = parseObject(head); err != nil {
		return nil, err
	}
	return c, c.readHeader()
}

func (c *compact) readHeader() (err error) {
	for _, name := range []string{"crit", "b64"} {
		if _, there := c.header[name]; there {
			return errExtension
		}
	}
	for _, name := range []string{"jku", "x5u"} {
		if _, there := c.header[name]; there {
			return errOwnKey
		}
	}
	if c.alg, _, err = c.header.text("alg"); err != nil {
		return err
	}
	if methods[c.alg] == nil {
		return errAlgorithm
	}
	if c.kid, c.named, err = c.header.text("kid"); err != nil {
		return err
	}
	if len(c.kid) > maxKeyID {
		return errors.New("kid is too long")
	}
	return nil
}

// verify checks the signature with a key that must be one for the algorithm.
func (c *compact) verify(k *key) error {
	if !k.fits(c.alg) {
		return errMisfit
	}
	if methods[c.alg].Verify(c.signed, c.signature, k.public) != nil {
		return errSignature
	}
	return nil
}

// LooksLikeToken tells whether a credential has the form of a JWT, so that it is
// for [Verifier.Verify] to judge: three parts of base64url, of which the first
// begins as a JSON object does. It says nothing of whether it is one.
func LooksLikeToken(text string) bool {
	first, rest, _ := strings.Cut(text, ".")
	second, third, ok := strings.Cut(rest, ".")
	return ok && strings.HasPrefix(first, "eyJ") && second != "" && third != "" &&
		isBase64URL(first) && isBase64URL(second) && isBase64URL(third)
}

// isBase64URL tells whether s is of the alphabet. The decoder alone would skip
// line breaks.
func isBase64URL(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

var base64URL = base64.RawURLEncoding.Strict()

// decode64 decodes unpadded base64url in its canonical form: one text for the
// same bytes, not sixteen.
func decode64(s string) ([]byte, error) {
	if !isBase64URL(s) {
		return nil, errForm
	}
	b, err := base64URL.DecodeString(s)
	if err != nil {
		return nil, errTrailing
	}
	return b, nil
}
