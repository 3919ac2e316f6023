package token_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	json "github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/token"
)

const (
	issuerName = "https://idp.example"
	keysURL    = "https://idp.example/jwks.json"
	merA       = "mer_01h455vb4pex5vsknk084sn02q"
	merB       = "mer_01h455vb4pex5vsknk084sn02r"
)

// signer is a private key and what it is called.
type signer struct {
	alg, kid string
	key      crypto.Signer
}

var (
	anEC, anotherEC = sync.OnceValue(newEC), sync.OnceValue(newEC)
	anRSA           = sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	anEd            = sync.OnceValue(func() crypto.Signer { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)) })
)

func newEC() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func es() signer  { return signer{"ES256", "ec", anEC()} }
func es2() signer { return signer{"ES256", "ec2", anotherEC()} }
func ps() signer  { return signer{"PS256", "rsa", anRSA()} }
func rs() signer  { return signer{"RS256", "rsa", anRSA()} }
func ed() signer  { return signer{"EdDSA", "ed", anEd()} }

func b64(b []byte) string  { return base64.RawURLEncoding.EncodeToString(b) }
func b64s(s string) string { return b64([]byte(s)) }

// sign makes a signature by alg, whatever the header says.
func (s signer) sign(signed string) []byte {
	sum := sha256.Sum256([]byte(signed))
	switch s.alg {
	case "ES256":
		r, z, err := ecdsa.Sign(rand.Reader, s.key.(*ecdsa.PrivateKey), sum[:])
		if err != nil {
			panic(err)
		}
		return append(r.FillBytes(make([]byte, 32)), z.FillBytes(make([]byte, 32))...)
	case "PS256":
		return must(rsa.SignPSS(rand.Reader, s.key.(*rsa.PrivateKey), crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
	case "RS256":
		return must(rsa.SignPKCS1v15(rand.Reader, s.key.(*rsa.PrivateKey), crypto.SHA256, sum[:]))
	default:
		return must(s.key.Sign(rand.Reader, []byte(signed), crypto.Hash(0)))
	}
}

// raw signs a header and a payload of any text.
func (s signer) raw(header, payload string) string {
	signed := b64s(header) + "." + b64s(payload)
	return signed + "." + b64(s.sign(signed))
}

func (s signer) header() string {
	return fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"at+jwt"}`, s.alg, s.kid)
}

// token signs claims.
func (s signer) token(c claims) string { return s.raw(s.header(), c.text()) }

// jwk is the public key, with whatever members come in addition or instead.
func (s signer) jwk(change claims) string {
	m := claims{"kid": s.kid, "alg": s.alg, "use": "sig"}
	switch k := s.key.Public().(type) {
	case *ecdsa.PublicKey:
		p := must(k.Bytes())
		m["kty"], m["crv"], m["x"], m["y"] = "EC", "P-256", b64(p[1:33]), b64(p[33:])
	case *rsa.PublicKey:
		m["kty"], m["n"], m["e"] = "RSA", b64(k.N.Bytes()), "AQAB"
	case ed25519.PublicKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", b64(k)
	}
	return m.with(change).text()
}

// setOf is a key set.
func setOf(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

// claims are those of a token, or the members of any object.
type claims map[string]any

// absent removes a member.
type absent struct{}

func (c claims) with(change claims) claims {
	c = maps.Clone(c)
	for name, v := range change {
		if v == (absent{}) {
			delete(c, name)
		} else {
			c[name] = v
		}
	}
	return c
}

func (c claims) text() string {
	return string(must(json.Marshal(map[string]any(c), json.Deterministic(true))))
}

// good are claims that are taken.
func good(now time.Time) claims {
	return claims{
		"iss": issuerName, "aud": "payments-api", "sub": "shop-1", "client_id": "till", "jti": "j-1",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"merchant": merA, "mode": "test", "scope": "openid payments:write payments:read",
	}
}

// idp publishes a key set, and may fail at it.
type idp struct {
	mu      sync.Mutex
	body    string
	status  int           // 0 = 200
	err     error         // instead of an answer
	after   time.Duration // of work; the request's end ends it
	moved   string        // where the answer comes from in truth
	fetches int
	at      []time.Time
}

func (i *idp) set(change func(*idp)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(i)
}

func (i *idp) publish(keys ...string) { i.set(func(i *idp) { i.body, i.err = setOf(keys...), nil }) }

func (i *idp) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

func (i *idp) Do(req *http.Request) (*http.Response, error) {
	i.mu.Lock()
	i.fetches++
	i.at = append(i.at, time.Now())
	after := i.after
	i.mu.Unlock()
	if after > 0 {
		select {
		case <-time.After(after):
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err != nil {
		return nil, i.err
	}
	resp := &http.Response{StatusCode: http.StatusOK, Request: req, Body: io.NopCloser(strings.NewReader(i.body))}
	if i.status != 0 {
		resp.StatusCode = i.status
	}
	if i.moved != "" {
		resp.Request = must(http.NewRequest(http.MethodGet, i.moved, http.NoBody))
	}
	return resp, nil
}

// anIssuer is an issuer with the defaults of the tests.
func anIssuer() token.Issuer {
	return token.Issuer{
		Name: issuerName, Audiences: []string{"payments-api"}, JWKS: keysURL, Merchants: []string{merA},
		Modes: []payment.Mode{payment.Test},
	}
}

// news is a change that a verifier told of.
type news struct {
	issuer string
	err    error
}

// rig is a verifier of one issuer, in a bubble in which time stands still but
// where a test lets it pass.
type rig struct {
	*token.Verifier
	t       *testing.T // the bubble's
	idp     *idp
	changes chan news
}

// inBubble runs a test on a verifier that has its keys.
func inBubble(t *testing.T, change func(*token.Config, *idp), test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, change)
		if err := r.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		synctest.Wait()
		test(r)
	})
}

func newRig(t *testing.T, change func(*token.Config, *idp)) *rig {
	t.Helper()
	r := &rig{t: t, idp: &idp{body: setOf(es().jwk(nil), ps().jwk(nil), ed().jwk(nil))}, changes: make(chan news, 100)}
	cfg := token.Config{
		Issuers: []token.Issuer{anIssuer()}, Client: r.idp, Now: time.Now, Chance: func() float64 { return 0 },
		Changed: func(issuer string, err error) { r.changes <- news{issuer, err} },
	}
	if change != nil {
		change(&cfg, r.idp)
	}
	v, err := token.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Verifier = v
	return r
}

func (r *rig) takes(t *testing.T, text string) token.Identity {
	t.Helper()
	id, err := r.Verify(t.Context(), text)
	if err != nil {
		t.Fatalf("Verify: %v, want the token taken", err)
	}
	return id
}

func (r *rig) refuses(t *testing.T, text string, want error) {
	t.Helper()
	id, err := r.Verify(t.Context(), text)
	if !errors.Is(err, want) {
		t.Fatalf("Verify = %+v, %v; want %v", id, err, want)
	}
}

// told returns what the verifier tells next, or fails.
func (r *rig) told(t *testing.T) error {
	t.Helper()
	synctest.Wait()
	select {
	case n := <-r.changes:
		if n.issuer != issuerName {
			t.Errorf("told of the issuer %q, want %q", n.issuer, issuerName)
		}
		return n.err
	default:
		t.Fatal("told of nothing")
		return nil
	}
}
