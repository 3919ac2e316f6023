package guard

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/signature"
	"github.com/purser-pay/purser/modules/store"
)

// Verify holds a request to its signature and its Content-Digest. A credential
// that has a signing key signs every request that changes something; who has
// none may sign nothing, for a signature that nobody checks is a false comfort.
// body is the whole content.
func (g *Guard) Verify(c *Call, body []byte) error {
	return c.once(verified, func() error { return g.verify(c, body) })
}

func (g *Guard) verify(c *Call, body []byte) error {
	header := c.HTTP.Header
	if len(header[signature.HeaderInput]) == 0 { // else it is checked with the signature
		if err := signature.CheckDigest(header, body); err != nil {
			return payment.Invalid(signature.HeaderDigest, "%s.", sentence(err))
		}
	}
	signing := c.Principal.Signing
	switch present := signature.Present(header); {
	case !present && (signing == nil || reads(c.HTTP.Method)):
		return nil
	case !present:
		return unauthenticated("Requests of this key that change something are signed, and this one is not.")
	case signing == nil:
		return unauthenticated("The request is signed, and the credential has no signing key that could have done so.")
	}
	key, err := g.keys.of(signing, g.cfg.Secret)
	if err != nil {
		return &payment.Error{Code: payment.CodeInternal, Detail: "The signing key cannot be read.", Err: err}
	}
	c.message = g.message(c, body)
	result, err := signature.Verify(&c.message, key, g.cfg.Profile, g.cfg.Now())
	switch {
	case errors.Is(err, signature.ErrDigest):
		return payment.Invalid(signature.HeaderDigest, "%s.", sentence(err))
	case errors.Is(err, signature.ErrMalformed):
		return payment.Invalid(signatureHeader(header), "%s.", sentence(err))
	case err != nil:
		return unauthenticated("%s.", sentence(err))
	}
	nonce := store.Nonce{Space: "sig:" + key.ID(), Value: result.Nonce, Expires: result.Remember}
	if err := g.spend(c.HTTP.Context(), nonce, "nonce of the signature"); err != nil {
		return err
	}
	c.Signed = &result
	return nil
}

// signatureHeader is the field that bears a request's signature.
func signatureHeader(h http.Header) string {
	if len(h[signature.HeaderSignature]) == 0 && len(h[signature.HeaderInput]) == 0 {
		return signature.HeaderSimple
	}
	return signature.HeaderSignature
}

// message is the request as its caller sent it.
func (g *Guard) message(c *Call, body []byte) signature.Message {
	m := signature.FromRequest(g.cfg.Original(c.HTTP), body)
	m.Scheme, _, _ = strings.Cut(g.cfg.Origin(c.HTTP), ":")
	return m
}

// reads tells the methods that change nothing (RFC 9110 §9.2.1).
func reads(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// sentence makes an error of package signature one for callers: its texts name
// parts of a message, and never their values.
func sentence(err error) string {
	s := err.Error()
	return strings.ToUpper(s[:1]) + s[1:]
}

// keyring remembers what signing keys were read from: reading one takes longer
// than using it.
type keyring struct {
	mu   sync.RWMutex
	keys map[string]ringed
}

type ringed struct {
	from *access.SigningKey // a new one is another pointer
	key  signature.Key
}

// maxRing bounds the keyring. Beyond it, it begins anew.
const maxRing = 4096

func (r *keyring) of(k *access.SigningKey, secret func(*access.SigningKey) ([]byte, error)) (signature.Key, error) {
	r.mu.RLock()
	held, ok := r.keys[k.KeyID]
	r.mu.RUnlock()
	if ok && held.from == k {
		return held.key, nil
	}
	key, err := read(k, secret)
	if err != nil {
		return key, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys == nil || len(r.keys) >= maxRing {
		r.keys = map[string]ringed{}
	}
	r.keys[k.KeyID] = ringed{k, key}
	return key, nil
}

func read(k *access.SigningKey, secret func(*access.SigningKey) ([]byte, error)) (signature.Key, error) {
	if k.Algorithm != access.HMACSHA256 {
		text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.PublicKey})
		return signature.ParsePublicKey(k.KeyID, text)
	}
	if secret == nil {
		return signature.Key{}, errors.New("secrets of signing keys cannot be opened")
	}
	b, err := secret(k)
	if err != nil {
		return signature.Key{}, fmt.Errorf("open the secret of %s: %w", k.KeyID, err)
	}
	defer clear(b)
	return signature.NewSecretKey(k.KeyID, b)
}

// Sign signs a response where its request asks for that by Accept-Signature, and
// was authenticated: with the caller's own secret where it has one, else with the
// gateway's key. It sets header fields, so it comes before the status is written.
func (g *Guard) Sign(c *Call, status int, header http.Header, body []byte) error {
	if c.Principal.Merchant == "" {
		return nil
	}
	wish, ok := signature.WantsSignature(c.HTTP.Header)
	if !ok {
		return nil
	}
	key, err := g.signer(c.Principal.Signing)
	if err != nil || key.IsZero() {
		return err
	}
	if c.message.Header == nil {
		c.message = g.message(c, nil)
	}
	r := signature.Response{Status: status, Header: header, Body: body}
	return signature.SignResponse(&c.message, &r, key, g.cfg.Profile, g.cfg.Now(), wish)
}

func (g *Guard) signer(k *access.SigningKey) (signature.SigningKey, error) {
	if k.Kind() != access.HMACSHA256 || g.cfg.Secret == nil || g.cfg.Profile == signature.FAPI { // which takes no secrets
		return g.cfg.Sign, nil
	}
	b, err := g.cfg.Secret(k)
	if err != nil {
		return signature.SigningKey{}, fmt.Errorf("open the secret of %s: %w", k.KeyID, err)
	}
	defer clear(b)
	return signature.NewSecretSigner(k.KeyID, b)
}

// ResponseKey is the public part of the key that responses are signed with; the
// zero key where there is none.
func (g *Guard) ResponseKey() signature.Key {
	if g.cfg.Sign.IsZero() {
		return signature.Key{}
	}
	return g.cfg.Sign.Public()
}
