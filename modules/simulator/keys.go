package simulator

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
)

const alipayKeyBits = 2048

// alipayKey reads Alipay's own key, or makes one when it is first asked for.
func alipayKey(text []byte) (func() *rsa.PrivateKey, error) {
	if len(text) == 0 {
		return sync.OnceValue(func() *rsa.PrivateKey {
			k, err := rsa.GenerateKey(rand.Reader, alipayKeyBits)
			if err != nil { // cannot happen: since Go 1.24 the reader never fails
				return &rsa.PrivateKey{}
			}
			return k
		}), nil
	}
	der, err := derOf(text)
	if err != nil {
		return nil, fmt.Errorf("alipay key: %w", err)
	}
	k, err := x509.ParsePKCS1PrivateKey(der)
	if err != nil {
		parsed, err := x509.ParsePKCS8PrivateKey(der)
		if err != nil {
			return nil, fmt.Errorf("alipay key: %w", err)
		}
		var ok bool
		if k, ok = parsed.(*rsa.PrivateKey); !ok {
			return nil, errors.New("alipay key: not an RSA key")
		}
	}
	return func() *rsa.PrivateKey { return k }, nil
}

// derOf reads PEM, or the bare base64 that Alipay's console shows.
func derOf(text []byte) ([]byte, error) {
	if block, _ := pem.Decode(text); block != nil {
		return block.Bytes, nil
	}
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		return nil, errors.New("neither PEM nor base64")
	}
	return der, nil
}

// AlipayPublicKeyPEM is the public half of Alipay's own key, for the account's
// alipay_public_key.
func (s *Simulator) AlipayPublicKeyPEM() string {
	der, err := x509.MarshalPKIXPublicKey(&s.key().PublicKey)
	if err != nil {
		return "" // only a key that could not be made
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// SetAlipayMerchantKey registers the public key of an app, as PEM or as the
// bare base64 of its DER. Until the first is registered, every signature is
// taken; from then on each app's requests must verify.
func (s *Simulator) SetAlipayMerchantKey(appID string, public []byte) error {
	if appID == "" {
		return errors.New("alipay merchant key: no app_id")
	}
	der, err := derOf(public)
	if err != nil {
		return fmt.Errorf("alipay merchant key: %w", err)
	}
	k, err := x509.ParsePKCS1PublicKey(der)
	if err != nil {
		parsed, err := x509.ParsePKIXPublicKey(der)
		if err != nil {
			return fmt.Errorf("alipay merchant key: %w", err)
		}
		var ok bool
		if k, ok = parsed.(*rsa.PublicKey); !ok {
			return errors.New("alipay merchant key: not an RSA key")
		}
	}
	s.alipay.SetMerchantKey(appID, k)
	return nil
}
