package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
)

// SigningKey makes signatures. It is safe for concurrent use, and prints without
// anything secret. The zero value signs nothing.
type SigningKey struct {
	public Key
	// sign is also how the private key is hidden: nothing prints what a function
	// holds.
	sign func(base []byte) ([]byte, error)
}

// NewSecretSigner makes the signing counterpart of [NewSecretKey], under the same
// conditions.
func NewSecretSigner(id string, secret []byte) (SigningKey, error) {
	k, err := NewSecretKey(id, secret)
	if err != nil {
		return SigningKey{}, err
	}
	return SigningKey{k, func(base []byte) ([]byte, error) {
		sum := k.of().mac(base)
		return sum[:], nil
	}}, nil
}

// ParsePrivateKey reads a private key of the kinds that [ParsePublicKey] takes:
// one PEM block of PKCS #8, or the older forms that OpenSSL still writes for EC
// and RSA. An encrypted one it does not take.
func ParsePrivateKey(id string, pemText []byte) (SigningKey, error) {
	der, err := onePEM(pemText, "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY")
	if err != nil {
		return SigningKey{}, err
	}
	var private any
	if private, err = x509.ParsePKCS8PrivateKey(der); err != nil {
		if private, err = x509.ParseECPrivateKey(der); err != nil {
			private, err = x509.ParsePKCS1PrivateKey(der)
		}
	}
	signer, ok := private.(crypto.Signer)
	if err != nil || !ok { // err may quote the key
		return SigningKey{}, fmt.Errorf("%w: the PEM block holds no private key that signs", ErrKey)
	}
	return NewSigner(id, signer)
}

// NewSigner makes a signing key of a private one: Ed25519, ECDSA P-256 or RSA,
// under the same conditions as [ParsePublicKey].
func NewSigner(id string, private crypto.Signer) (SigningKey, error) {
	public, err := publicKey(id, private.Public())
	if err != nil {
		return SigningKey{}, err
	}
	k := SigningKey{public: public}
	switch p := private.(type) {
	case ed25519.PrivateKey:
		k.sign = func(base []byte) ([]byte, error) { return ed25519.Sign(p, base), nil }
	case *ecdsa.PrivateKey:
		k.sign = func(base []byte) ([]byte, error) { return signECDSA(p, base) }
	case *rsa.PrivateKey:
		k.sign = func(base []byte) ([]byte, error) {
			sum := sha512.Sum512(base)
			return rsa.SignPSS(rand.Reader, p, crypto.SHA512, sum[:], pssOptions())
		}
	default:
		return SigningKey{}, fmt.Errorf("%w: the private key must be in memory", ErrKey)
	}
	return k, nil
}

// signECDSA writes both numbers at their full length (RFC 9421 §3.3.4), not in
// the ASN.1 that Go prefers.
func signECDSA(private *ecdsa.PrivateKey, base []byte) ([]byte, error) {
	sum := sha256.Sum256(base)
	r, s, err := ecdsa.Sign(rand.Reader, private, sum[:])
	if err != nil {
		return nil, err
	}
	signature := make([]byte, 2*p256Half)
	r.FillBytes(signature[:p256Half])
	s.FillBytes(signature[p256Half:])
	return signature, nil
}

// ID is the keyid that signatures will bear.
func (k SigningKey) ID() string { return k.public.id }

// Public returns the key that verifies what this one signs. For HMAC it is the
// same secret.
func (k SigningKey) Public() Key { return k.public }

// IsZero tells that there is no key.
func (k SigningKey) IsZero() bool { return k.sign == nil }

// Format hides the key from every verb.
func (k SigningKey) Format(f fmt.State, verb rune) {
	_, _ = io.WriteString(f, "signing key ")
	k.public.Format(f, verb)
}

// LogValue hides the key from slog.
func (k SigningKey) LogValue() slog.Value { return k.public.LogValue() }
