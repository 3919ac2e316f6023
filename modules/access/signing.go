package access

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/purser-pay/purser/modules/signature"
)

// Algorithm is how requests are signed, by its name in RFC 9421 §3.3.
type Algorithm = signature.Algorithm

// The algorithms.
const (
	HMACSHA256      = signature.HMACSHA256
	Ed25519         = signature.Ed25519
	ECDSAP256SHA256 = signature.ECDSAP256SHA256
	RSAPSSSHA512    = signature.RSAPSSSHA512
)

// Bounds of an RSA key, in bits: less is weak, more is slow.
const (
	MinRSABits = signature.MinRSABits
	MaxRSABits = signature.MaxRSABits
)

// MaxPublicKeyFile bounds the text of a public key, in bytes.
const MaxPublicKeyFile = 16 << 10

// SigningKey is what requests under an API key are signed with. Its algorithm is
// fixed when it is made: what a request says of it can only agree.
type SigningKey struct {
	// KeyID is the API key's own ID: a signature made with another key is of no use
	// beside this credential.
	KeyID     string    `json:"keyid"`
	Algorithm Algorithm `json:"algorithm"`
	// PublicKey verifies; PKIX, ASN.1 DER. Nil for [HMACSHA256].
	PublicKey []byte `json:"public_key,omitempty"`
	// SealedSecret is the secret of [HMACSHA256], sealed in the context of the key's
	// ID; nil for the others. What was sealed are the characters of the secret as
	// they were shown, and they are the HMAC's key.
	SealedSecret []byte `json:"-"`
}

// NewSigningKey puts together what [SigningKey.Kind] and [SigningKey.Material]
// took apart. No algorithm makes no key.
func NewSigningKey(keyID string, kind Algorithm, material []byte) *SigningKey {
	switch kind {
	case "":
		return nil
	case HMACSHA256:
		return &SigningKey{KeyID: keyID, Algorithm: kind, SealedSecret: material}
	default:
		return &SigningKey{KeyID: keyID, Algorithm: kind, PublicKey: material}
	}
}

// Kind is the algorithm; "" for no key.
func (k *SigningKey) Kind() Algorithm {
	if k == nil {
		return ""
	}
	return k.Algorithm
}

// Material is what verifies: the public key, or the sealed secret.
func (k *SigningKey) Material() []byte {
	switch {
	case k == nil:
		return nil
	case k.Algorithm == HMACSHA256:
		return k.SealedSecret
	default:
		return k.PublicKey
	}
}

// Public returns the key that verifies: an [ed25519.PublicKey], an
// [*ecdsa.PublicKey] on P-256, or an [*rsa.PublicKey]. It fails for [HMACSHA256],
// and where key and algorithm do not belong together.
func (k *SigningKey) Public() (crypto.PublicKey, error) {
	if k.Kind() == "" || k.Algorithm == HMACSHA256 {
		return nil, errors.New("the signing key has no public key")
	}
	public, kind, err := readPublicKey(k.PublicKey)
	if err != nil {
		return nil, err
	}
	if kind != k.Algorithm {
		return nil, fmt.Errorf("the signing key is one of %s, not of %s", kind, k.Algorithm)
	}
	return public, nil
}

// ParsePublicKey reads the public key of a signer from PEM ("BEGIN PUBLIC KEY",
// RFC 7468 §13): Ed25519, ECDSA on P-256, or RSA of [MinRSABits] … [MaxRSABits].
// It returns the key in DER, and the algorithm that such a key is for. No error
// quotes the text, which might be a private key.
func ParsePublicKey(text []byte) (der []byte, kind Algorithm, err error) {
	if len(text) > MaxPublicKeyFile {
		return nil, "", fmt.Errorf("a public key has at most %d bytes", MaxPublicKeyFile)
	}
	block, rest := pem.Decode(text)
	switch {
	case bytes.Contains(text, []byte("PRIVATE KEY")):
		return nil, "", errors.New("this is a private key: keep it to yourself, and give the public one (openssl pkey -in FILE -pubout)")
	case block == nil:
		return nil, "", errors.New("not a public key in PEM, which begins with -----BEGIN PUBLIC KEY-----")
	case block.Type == "CERTIFICATE":
		return nil, "", errors.New("this is a certificate: give its public key (openssl x509 -in FILE -pubkey -noout)")
	case block.Type == "RSA PUBLIC KEY":
		return nil, "", errors.New("this is a public key in PKCS #1: convert it (openssl rsa -RSAPublicKey_in -in FILE -pubout)")
	case block.Type != "PUBLIC KEY":
		return nil, "", fmt.Errorf("the PEM holds a %.30q, not a PUBLIC KEY", block.Type)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, "", errors.New("there is something behind the public key; give one key alone")
	}
	public, kind, err := readPublicKey(block.Bytes)
	if err != nil {
		return nil, "", err
	}
	if der, err = x509.MarshalPKIXPublicKey(public); err != nil {
		return nil, "", fmt.Errorf("public key: %w", err)
	}
	return der, kind, nil
}

// readPublicKey reads a key in DER and finds the algorithm that it is for.
func readPublicKey(der []byte) (crypto.PublicKey, Algorithm, error) {
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, "", errors.New("the public key is damaged, or of a kind that is not known")
	}
	kind, err := signature.AlgorithmOf(public)
	return public, kind, err
}

// The text of a signing secret: "pss_" and 43 characters of base62, which are 256
// bits. Its characters are the HMAC's key.
const (
	signingPrefix       = "pss_"
	signingSecretLength = 43 // × log2(62) = 256.03 bits
)

// NewSigningSecret makes the secret of an [HMACSHA256] key.
func NewSigningSecret(random io.Reader) (string, error) {
	secret, err := randomText(random, signingSecretLength)
	if err != nil {
		return "", fmt.Errorf("draw a signing secret: %w", err)
	}
	return signingPrefix + secret, nil
}

// IsSigningSecret tells whether a text has the form of a signing secret.
func IsSigningSecret(s string) bool {
	secret, ok := strings.CutPrefix(s, signingPrefix)
	return ok && len(secret) == signingSecretLength && strings.Trim(secret, base62) == ""
}
