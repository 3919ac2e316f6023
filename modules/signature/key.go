package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"sync"
)

// Algorithm is a name of RFC 9421 §3.3. It belongs to a key; what a message says
// of it can only be the same.
type Algorithm string

// The algorithms.
const (
	HMACSHA256      Algorithm = "hmac-sha256"
	Ed25519         Algorithm = "ed25519"
	ECDSAP256SHA256 Algorithm = "ecdsa-p256-sha256"
	RSAPSSSHA512    Algorithm = "rsa-pss-sha512"
)

// The bounds of keys.
const (
	MinSecret  = 16 // bytes; 128 bits of a secret that is all chance
	MaxSecret  = 512
	MinRSABits = 2048
	MaxRSABits = 8192 // each verification costs the square of it
	maxKeyID   = 128
	maxPEM     = 16 << 10
)

// p256Half is the length of each of the two numbers of an ECDSA signature.
const p256Half = 32

// Key verifies signatures. It is safe for concurrent use, and prints without
// anything secret. The zero value verifies nothing.
type Key struct {
	id        string
	algorithm Algorithm
	// A function, because fmt looks into every field but that of a function.
	of func() *material
}

// material is the secret of HMAC, or a public key.
type material struct {
	secret []byte
	public crypto.PublicKey
	macs   sync.Pool // of hash.Hash: keyed states, for reuse
}

// NewSecretKey makes a key of HMAC-SHA256. Its bytes are the characters of the
// secret as it was printed, [MinSecret] … [MaxSecret] of them. id is 1 … 128
// visible ASCII characters.
func NewSecretKey(id string, secret []byte) (Key, error) {
	if len(secret) < MinSecret || len(secret) > MaxSecret {
		return Key{}, fmt.Errorf("%w: a secret has %d … %d bytes", ErrKey, MinSecret, MaxSecret)
	}
	m := &material{secret: append([]byte(nil), secret...)}
	m.macs.New = func() any { return hmac.New(sha256.New, m.secret) }
	return newKey(id, HMACSHA256, m)
}

// ParsePublicKey reads a public key: one PEM block "PUBLIC KEY" (RFC 7468 §13)
// of Ed25519, ECDSA over P-256, or RSA of [MinRSABits] … [MaxRSABits]. It does
// not take a certificate, whose dates and issuer it could not vouch for.
func ParsePublicKey(id string, pemText []byte) (Key, error) {
	der, err := onePEM(pemText, "PUBLIC KEY")
	if err != nil {
		return Key{}, err
	}
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return Key{}, fmt.Errorf("%w: the PEM block holds no public key", ErrKey)
	}
	return publicKey(id, public)
}

func publicKey(id string, public crypto.PublicKey) (Key, error) {
	algorithm, err := AlgorithmOf(public)
	if err != nil {
		return Key{}, err
	}
	return newKey(id, algorithm, &material{public: public})
}

// AlgorithmOf tells which algorithm a public key is for: an [ed25519.PublicKey],
// an [*ecdsa.PublicKey] on P-256, or an [*rsa.PublicKey] of [MinRSABits] …
// [MaxRSABits] with an odd exponent of at least 65537. All others are [ErrKey].
func AlgorithmOf(public crypto.PublicKey) (Algorithm, error) {
	switch k := public.(type) {
	case ed25519.PublicKey:
		return Ed25519, nil
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return "", fmt.Errorf("%w: an ECDSA key must be on P-256, not on %s", ErrKey, k.Curve.Params().Name)
		}
		return ECDSAP256SHA256, nil
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < MinRSABits || n > MaxRSABits {
			return "", fmt.Errorf("%w: an RSA key has %d … %d bits, not %d", ErrKey, MinRSABits, MaxRSABits, n)
		}
		if k.E < 1<<16+1 || k.E%2 == 0 || k.N.Bit(0) == 0 {
			return "", fmt.Errorf("%w: an RSA key has an odd modulus, and an odd exponent of at least 65537", ErrKey)
		}
		return RSAPSSSHA512, nil
	default:
		return "", fmt.Errorf("%w: it is one of Ed25519, ECDSA on P-256 or RSA, not a %T", ErrKey, public)
	}
}

func newKey(id string, algorithm Algorithm, m *material) (Key, error) {
	if id == "" || len(id) > maxKeyID || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Key{}, fmt.Errorf("%w: a key's ID is 1 … %d visible ASCII characters", ErrKey, maxKeyID)
	}
	return Key{id, algorithm, func() *material { return m }}, nil
}

// onePEM returns what is in the single block of a text.
func onePEM(text []byte, kinds ...string) ([]byte, error) {
	if len(text) > maxPEM {
		return nil, fmt.Errorf("%w: more than %d bytes of PEM", ErrKey, maxPEM)
	}
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, fmt.Errorf("%w: no PEM block", ErrKey)
	case len(strings.TrimSpace(string(rest))) > 0:
		return nil, fmt.Errorf("%w: more than one PEM block", ErrKey)
	}
	if slices.Contains(kinds, block.Type) {
		return block.Bytes, nil
	}
	hint := ""
	switch {
	case block.Type == "CERTIFICATE":
		hint = "; openssl x509 -noout -pubkey prints a certificate's key"
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		hint = "; a private key belongs to its owner alone: openssl pkey -pubout prints the public one"
	}
	return nil, fmt.Errorf("%w: the PEM block must be %q%s", ErrKey, kinds[0], hint)
}

// ID is the keyid of the key's signatures.
func (k Key) ID() string { return k.id }

// Algorithm is the only one that the key verifies.
func (k Key) Algorithm() Algorithm { return k.algorithm }

// IsZero tells that there is no key.
func (k Key) IsZero() bool { return k.of == nil }

// PEM returns the public key for others to verify with; nil for a secret one.
func (k Key) PEM() []byte {
	if k.IsZero() || k.algorithm == HMACSHA256 {
		return nil
	}
	der, err := x509.MarshalPKIXPublicKey(k.of().public)
	if err != nil { // it was parsed from, or made for, this form
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// verify checks a signature over base. RFC 9421 §3.3.1 – §3.3.6 say how long each
// signature is; one of another length is no signature.
func (k Key) verify(base, signature []byte) bool {
	if k.IsZero() {
		return false
	}
	m := k.of()
	switch public := m.public.(type) {
	case nil:
		return k.algorithm == HMACSHA256 && m.verifyMAC(base, signature)
	case ed25519.PublicKey:
		return len(signature) == ed25519.SignatureSize && ed25519.Verify(public, base, signature)
	case *ecdsa.PublicKey:
		if len(signature) != 2*p256Half {
			return false
		}
		sum := sha256.Sum256(base)
		r, s := new(big.Int).SetBytes(signature[:p256Half]), new(big.Int).SetBytes(signature[p256Half:])
		return ecdsa.Verify(public, sum[:], r, s)
	case *rsa.PublicKey:
		sum := sha512.Sum512(base)
		return rsa.VerifyPSS(public, crypto.SHA512, sum[:], signature, pssOptions()) == nil
	default:
		return false
	}
}

// pssOptions are those of RFC 9421 §3.3.1: the salt is as long as the hash.
func pssOptions() *rsa.PSSOptions {
	return &rsa.PSSOptions{SaltLength: sha512.Size, Hash: crypto.SHA512}
}

func (m *material) mac(message []byte) (sum [sha256.Size]byte) {
	h := m.macs.Get().(hash.Hash)
	h.Reset()
	_, _ = h.Write(message) // a hash takes everything
	h.Sum(sum[:0])
	m.macs.Put(h)
	return sum
}

func (m *material) verifyMAC(message, signature []byte) bool {
	sum := m.mac(message)
	return hmac.Equal(sum[:], signature) // in constant time
}

// Format hides the secret from every verb.
func (k Key) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, k.id+" ("+string(k.algorithm)+")")
}

// LogValue hides the secret from slog.
func (k Key) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", k.id), slog.String("algorithm", string(k.algorithm)))
}
