package token

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	// proofWindow is how old a proof may be. One from a clock that goes ahead of
	// ours may lie [skew] ahead.
	proofWindow = 60 * time.Second
	maxProofID  = 128  // bytes of jti
	maxTarget   = 2048 // bytes of htu
)

// ProofAlgorithms are those that a DPoP proof may be signed with: the ones of
// FAPI 2.0 (§5.4.1), for the challenge (RFC 9449 §7.1).
var ProofAlgorithms = []string{"ES256", "EdDSA", "PS256"}

// Proof is a DPoP proof, and what it must prove.
type Proof struct {
	// Fields are all DPoP header fields of the request.
	Fields []string
	// Method and URL are those of the request, as its caller addressed it; a query
	// may be there.
	Method, URL string
	// AccessToken is the token that came with it.
	AccessToken string
	// KeyThumbprint is the token's [Identity.ProofKey].
	KeyThumbprint string
}

// ProofResult is what a proof leaves behind.
type ProofResult struct {
	// ID names the proof among those of all keys: the key's thumbprint, ":", and
	// the proof's jti. A proof is good once (RFC 9449 §11.1): whoever asked for the
	// verification must remember the ID and refuse what comes again.
	ID string
	// Expires is until when it must be remembered, by clocks that differ by 10 s.
	Expires time.Time
}

// VerifyProof makes the twelve checks of RFC 9449 §4.3, but for nonce, which we
// never ask for. It fails with [ErrProof] (wrapped). That the proof has not been
// seen before is for the caller to check.
func (v *Verifier) VerifyProof(p Proof) (ProofResult, error) {
	r, err := p.verify(v.cfg.Now())
	if err != nil {
		return ProofResult{}, fmt.Errorf("%w: %w", ErrProof, err)
	}
	return r, nil
}

func (p *Proof) verify(now time.Time) (ProofResult, error) {
	if len(p.Fields) != 1 {
		return ProofResult{}, errors.New("there is not exactly one DPoP field")
	}
	c, err := parseCompact(p.Fields[0])
	if err != nil {
		return ProofResult{}, err
	}
	typ, _, err := c.header.text("typ")
	switch {
	case err != nil:
		return ProofResult{}, err
	case typ != "dpop+jwt":
		return ProofResult{}, errors.New("typ is not dpop+jwt")
	case !slices.Contains(ProofAlgorithms, c.alg):
		return ProofResult{}, errAlgorithm
	}
	jwk, err := parseObject(c.header["jwk"])
	if err != nil {
		return ProofResult{}, fmt.Errorf("jwk: %w", err)
	}
	k, err := parseKey(jwk)
	if err != nil {
		return ProofResult{}, fmt.Errorf("jwk: %w", err)
	}
	// Before the signature: a stranger's key costs no arithmetic.
	if subtle.ConstantTimeCompare([]byte(k.thumbprint), []byte(p.KeyThumbprint)) != 1 {
		return ProofResult{}, errors.New("the token is not bound to its key")
	}
	if err := c.verify(k); err != nil {
		return ProofResult{}, err
	}
	claims, err := parseObject(c.payload)
	if err != nil {
		return ProofResult{}, err
	}
	return p.checkClaims(claims, k, now)
}

// checkClaims checks the claims of a proof whose signature is right.
func (p *Proof) checkClaims(claims object, k *key, now time.Time) (ProofResult, error) {
	jti, err := claims.label("jti", maxProofID)
	if err != nil {
		return ProofResult{}, err
	}
	htm, _, err := claims.text("htm")
	if err != nil {
		return ProofResult{}, err
	}
	htu, _, err := claims.text("htu")
	if err != nil {
		return ProofResult{}, err
	}
	ath, _, err := claims.text("ath")
	if err != nil {
		return ProofResult{}, err
	}
	iat, err := claims.date("iat")
	if err != nil {
		return ProofResult{}, err
	}
	hash := sha256.Sum256([]byte(p.AccessToken))
	switch {
	case jti == "":
		return ProofResult{}, errors.New("jti is missing")
	case htm == "" || htm != p.Method:
		return ProofResult{}, errors.New("htm is not the request's method")
	case !sameTarget(htu, p.URL):
		return ProofResult{}, errors.New("htu is not the request's URL")
	case iat.IsZero():
		return ProofResult{}, errors.New("iat is missing")
	case iat.After(now.Add(skew)) || iat.Before(now.Add(-proofWindow)):
		return ProofResult{}, errors.New("iat is too old or lies ahead")
	case subtle.ConstantTimeCompare([]byte(ath), []byte(base64URL.EncodeToString(hash[:]))) != 1:
		return ProofResult{}, errors.New("ath is not the hash of the token")
	}
	return ProofResult{ID: k.thumbprint + ":" + jti, Expires: iat.Add(proofWindow + skew)}, nil
}

func sameTarget(claimed, actual string) bool {
	a, aOK := normalize(claimed)
	b, bOK := normalize(actual)
	return aOK && bOK && a == b
}

// normalize writes a URL without query and fragment so that equal ones are alike
// (RFC 9449 §4.3, RFC 3986 §6.2.2 and §6.2.3): scheme and host in lower case,
// without the default port, escapes in upper case where there must be any, and an
// empty path as "/". Dots in the path stay: which resource such a path leads to is
// not for a proof to decide.
func normalize(raw string) (string, bool) {
	if len(raw) > maxTarget || strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", false
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil {
		return "", false
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	switch {
	case u.Scheme != "https" && u.Scheme != "http", host == "":
		return "", false
	case u.Scheme == "https" && port == "443", u.Scheme == "http" && port == "80":
		port = ""
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" {
		host += ":" + port
	}
	path := normalizePath(u.EscapedPath())
	if path == "" {
		path = "/"
	}
	return u.Scheme + "://" + host + path, true
}

// normalizePath undoes the escapes that need not be, and writes the others in
// upper case. The path is one that net/url has found to be sound.
func normalizePath(path string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c != '%' || i+2 >= len(path) {
			b.WriteByte(c)
			continue
		}
		hex := strings.ToUpper(path[i+1 : i+3])
		i += 2
		c = byte(strings.IndexByte(digits, hex[0])<<4 | strings.IndexByte(digits, hex[1])) //nolint:gosec // two digits are a byte
		if isBase64URL(string(c)) || c == '.' || c == '~' {                                // RFC 3986 §2.3
			b.WriteByte(c)
		} else {
			b.WriteString("%" + hex)
		}
	}
	return b.String()
}
