package alipay

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"
)

// keyPair is the application's private key and Alipay's public one.
type keyPair struct {
	private *rsa.PrivateKey
	public  *rsa.PublicKey
}

// minKeyBits is what Alipay wants of an RSA2 key.
const minKeyBits = 2048

// The errors say nothing of the key's content.
var (
	errKeyEmpty  = errors.New("key is missing")
	errKeyFormat = errors.New("key is neither PEM nor base64 of a DER key")
	errKeyKind   = errors.New("key is not an RSA key of 2048 bits or more")
)

// sign makes an RSA2 signature: SHA256withRSA, PKCS #1 v1.5, base64. The
// padding is deterministic, so that no randomness is needed.
func (k *keyPair) sign(text string) (string, error) {
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(nil, k.private, crypto.SHA256, sum[:])
	if err != nil {
		return "", errors.New("signing failed") // crypto/rsa's own words may tell of the key
	}
	return base64.StdEncoding.EncodeToString(sig), nil
}

// verify tells whether sig is Alipay's RSA2 signature of text. Of the ways to
// write a signature in base64 it takes one alone: package base64 would skip line
// breaks even where it is strict.
func (k *keyPair) verify(text []byte, sig string) bool {
	if strings.ContainsAny(sig, "\r\n") {
		return false
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(sig)
	if err != nil {
		return false
	}
	sum := sha256.Sum256(text)
	return rsa.VerifyPKCS1v15(k.public, crypto.SHA256, sum[:], raw) == nil
}

// der takes the DER out of PEM, or out of bare base64 as Alipay's key tool
// writes it, with or without line breaks.
func der(s string) ([]byte, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return nil, errKeyEmpty
	}
	if strings.HasPrefix(s, "-----BEGIN") {
		block, rest := pem.Decode([]byte(s))
		if block == nil || strings.TrimSpace(string(rest)) != "" {
			return nil, errKeyFormat
		}
		return block.Bytes, nil
	}
	b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		return nil, errKeyFormat
	}
	return b, nil
}

func parsePrivate(s string) (*rsa.PrivateKey, error) {
	b, err := der(s)
	if err != nil {
		return nil, err
	}
	if key, err := x509.ParsePKCS1PrivateKey(b); err == nil {
		return strongPrivate(key)
	}
	key, err := x509.ParsePKCS8PrivateKey(b)
	if err != nil {
		return nil, errKeyFormat
	}
	if key, ok := key.(*rsa.PrivateKey); ok {
		return strongPrivate(key)
	}
	return nil, errKeyKind
}

func strongPrivate(key *rsa.PrivateKey) (*rsa.PrivateKey, error) {
	if key.N.BitLen() < minKeyBits {
		return nil, errKeyKind
	}
	return key, nil
}

func parsePublic(s string) (*rsa.PublicKey, error) {
	b, err := der(s)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKIXPublicKey(b)
	if err != nil {
		return nil, errKeyFormat
	}
	if key, ok := key.(*rsa.PublicKey); ok && key.N.BitLen() >= minKeyBits {
		return key, nil
	}
	return nil, errKeyKind
}
