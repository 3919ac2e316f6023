package guard_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/clientcert"
	"github.com/purser-pay/purser/modules/guard"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/ratelimit"
	"github.com/purser-pay/purser/modules/signature"
	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/token"
)

const (
	shop  = "mer_01h455vb4pex5vsknk084sn02q"
	other = "mer_01h455vb4pex5vsknk084sn02r"
	keyID = "key_01h455vb4pex5vsknk084sn02q"
	// goodKey has the form that the directory below takes; what a key is made of is
	// package access's affair.
	goodKey  = "pur_test_01h455vb4pex5vsknk084sn02q_good"
	goodJWT  = "eyJhbGciOiJFUzI1NiJ9.e30.c2ln"
	boundJWT = "eyJhbGciOiJFUzI1NiJ9.e30.Ym91bmQ"
	certJWT  = "eyJhbGciOiJFUzI1NiJ9.e30.Y2VydA"
	lostJWT  = "eyJhbGciOiJFUzI1NiJ9.e30.bG9zdA"
	orphan   = "eyJhbGciOiJFUzI1NiJ9.e30.bm9ib2R5"
	secret   = "pss_0123456789abcdefghijklmnopqrstuvwxyz"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// directory knows one merchant's key.
type directory struct {
	tried   int
	signing *access.SigningKey
	err     error
}

func (d *directory) AuthenticateFrom(_ context.Context, text string, _ netip.Addr) (access.Principal, error) {
	d.tried++
	switch {
	case d.err != nil:
		return access.Principal{}, d.err
	case text != goodKey:
		return access.Principal{}, access.ErrWrongKey
	}
	return access.Principal{Merchant: shop, Mode: payment.Test, By: access.ByKey, Key: keyID, Scopes: access.DefaultScopes(), Signing: d.signing}, nil
}

func (d *directory) Merchant(id string) (access.Merchant, bool) {
	return access.Merchant{ID: id}, id == shop
}

// tokens knows what the constants above stand for.
type tokens struct{ proofs []token.Proof }

func (t *tokens) Verify(_ context.Context, text string) (token.Identity, error) {
	id := token.Identity{Issuer: "https://idp.example", Subject: "till", Merchant: shop, Mode: payment.Test, Scopes: []access.Scope{access.PaymentsRead}}
	switch text {
	case goodJWT:
	case boundJWT:
		id.ProofKey = "thumb"
	case certJWT:
		id.CertificateThumbprint = clientcert.Thumbprint(leaf)
	case orphan:
		id.Merchant = other
	case lostJWT:
		return token.Identity{}, token.ErrUnavailable
	default:
		return token.Identity{}, token.ErrInvalid
	}
	return id, nil
}

func (t *tokens) VerifyProof(p token.Proof) (token.ProofResult, error) {
	t.proofs = append(t.proofs, p)
	if len(p.Fields) != 1 || p.Fields[0] == "bad" {
		return token.ProofResult{}, token.ErrProof
	}
	return token.ProofResult{ID: "thumb:" + p.Fields[0], Expires: start.Add(time.Minute)}, nil
}

// revocations says of the one token that is asked about what it was told to.
type revocations struct{ err error }

func (r revocations) Check(_ context.Context, n access.TokenNames) error {
	if want := (access.TokenNames{Issuer: "https://idp.example", Subject: "till"}); n != want {
		return fmt.Errorf("asked about %+v, want %+v", n, want)
	}
	return r.err
}

var leaf, foreign, plain = &x509.Certificate{Raw: []byte("a")}, &x509.Certificate{Raw: []byte("b")}, &x509.Certificate{Raw: []byte("c")}

// certificates vouches for leaf, which is the shop's, and for plain, which is
// nobody's.
type certificates struct{ of clientcert.Identity }

func (certificates) Check(_ context.Context, presented []*x509.Certificate) error {
	if presented[0] == foreign {
		return clientcert.ErrForeign
	}
	return nil
}

func (c certificates) Identify(l *x509.Certificate) (clientcert.Identity, bool) {
	return c.of, l == leaf
}

// world is a guard and what it stands on.
type world struct {
	cfg    guard.Config
	dir    *directory
	tokens *tokens
	spent  map[string]bool
	spend  error
	told   []guard.Refusal
	now    time.Time
}

func newWorld() *world {
	w := &world{dir: &directory{}, tokens: &tokens{}, spent: map[string]bool{}, now: start}
	w.cfg = guard.Config{
		Directory: w.dir, Tokens: w.tokens, Now: func() time.Time { return w.now },
		Certificates: certificates{clientcert.Identity{Merchant: shop, Mode: payment.Test, Scopes: []access.Scope{access.EventsRead}, Name: "dns:till"}},
		Spend: func(_ context.Context, n store.Nonce) error {
			if w.spend != nil {
				return w.spend
			}
			if w.spent[n.Space+n.Value] {
				return store.ErrConflict
			}
			w.spent[n.Space+n.Value] = true
			return nil
		},
		Secret:  func(*access.SigningKey) ([]byte, error) { return []byte(secret), nil },
		Refused: func(r guard.Refusal) { w.told = append(w.told, r) },
	}
	return w
}

// call begins one; headers are name and value in turn.
func (w *world) call(method, target, body string, cert *x509.Certificate, headers ...string) (*guard.Guard, *guard.Call) {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.RemoteAddr = "192.0.2.7:1234"
	if cert != nil {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	g := guard.New(w.cfg)
	c, _ := g.Begin(r, new(payment.IDs))
	return g, c
}

func codeOf(err error) payment.Code {
	pe, ok := errors.AsType[*payment.Error](err)
	if !ok {
		return ""
	}
	return pe.Code
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	const auth, plainly, invalid = "Authorization", `Bearer realm="purser"`, `Bearer realm="purser", error="invalid_token"`
	proof := `DPoP error="invalid_dpop_proof", algs="` + strings.Join(token.ProofAlgorithms, " ") + `"`
	tests := []struct {
		name    string
		target  string
		cert    *x509.Certificate
		headers []string
		change  func(*world)
		by      access.Means // "" = refused
		code    payment.Code // unauthenticated where nothing is said
		// challenge is the WWW-Authenticate; "" = the test does not look
		challenge string
	}{
		{name: "a key", headers: []string{auth, "Bearer " + goodKey}, by: access.ByKey},
		{name: "a key that is not good", challenge: plainly, headers: []string{auth, "Bearer " + goodKey + "x"}},
		{name: "the store is away", headers: []string{auth, "Bearer " + goodKey}, change: func(w *world) { w.dir.err = access.ErrNotLoaded }, code: payment.CodeStoreUnavailable},
		{name: "nothing", challenge: plainly},
		{name: "a key in the URL", target: "/v1/account?key=pur_test_x", headers: []string{auth, "Bearer " + goodKey}},
		{name: "a key in the URL, escaped", target: "/v1/account?key=pur%5Ftest%5Fx", headers: []string{auth, "Bearer " + goodKey}},
		{name: "two fields", headers: []string{auth, "Bearer " + goodKey, auth, "Bearer " + goodKey}},
		{name: "a key as DPoP", challenge: proof, headers: []string{auth, "DPoP " + goodKey}},
		{name: "a key and a proof", headers: []string{auth, "Bearer " + goodKey, "DPoP", "p"}},

		{name: "a key as Basic", headers: []string{auth, basicOf(goodKey)}, by: access.ByKey},
		{name: "a token as Basic", headers: []string{auth, basicOf(goodJWT)}, challenge: plainly},

		{name: "a token", headers: []string{auth, "Bearer " + goodJWT}, by: access.ByToken},
		{name: "a token that is not good", challenge: invalid, headers: []string{auth, "Bearer " + goodJWT + "x"}},
		{name: "a token whose issuer is away", headers: []string{auth, "Bearer " + lostJWT}, code: payment.CodeStoreUnavailable},
		{name: "a token for nobody that we know", headers: []string{auth, "Bearer " + orphan}},
		{name: "a token that was revoked", challenge: invalid, headers: []string{auth, "Bearer " + goodJWT}, change: func(w *world) { w.cfg.Revocations = revocations{access.ErrTokenRevoked} }},
		{name: "a token beside one that was revoked", headers: []string{auth, "Bearer " + goodJWT}, change: func(w *world) { w.cfg.Revocations = revocations{} }, by: access.ByToken},
		{name: "a token of which nobody knows whether it was revoked", headers: []string{auth, "Bearer " + goodJWT}, change: func(w *world) { w.cfg.Revocations = revocations{access.ErrNotLoaded} }, code: payment.CodeStoreUnavailable},
		{name: "a token where none are taken", headers: []string{auth, "Bearer " + goodJWT}, change: func(w *world) { w.cfg.Tokens = nil }},
		{name: "a token that is not bound, as DPoP", challenge: proof, headers: []string{auth, "DPoP " + goodJWT, "DPoP", "p"}},
		{name: "a token that is not bound, with a proof", challenge: proof, headers: []string{auth, "Bearer " + goodJWT, "DPoP", "p"}},
		{name: "a bound token with its proof", headers: []string{auth, "DPoP " + boundJWT, "DPoP", "p"}, by: access.ByToken},
		{name: "a bound token as Bearer", challenge: proof, headers: []string{auth, "Bearer " + boundJWT, "DPoP", "p"}},
		{name: "a bound token without a proof", challenge: proof, headers: []string{auth, "DPoP " + boundJWT}},
		{name: "a bound token with a wrong proof", challenge: proof, headers: []string{auth, "DPoP " + boundJWT, "DPoP", "bad"}},
		{name: "a proof that was used", challenge: proof, headers: []string{auth, "DPoP " + boundJWT, "DPoP", "p"}, change: func(w *world) { w.spent["dpop"+"thumb:p"] = true }},
		{name: "a proof that cannot be remembered", headers: []string{auth, "DPoP " + boundJWT, "DPoP", "p"}, change: func(w *world) { w.spend = store.ErrUnavailable }, code: payment.CodeStoreUnavailable},
		{name: "a token of the connection's certificate", cert: leaf, headers: []string{auth, "Bearer " + certJWT}, by: access.ByToken},
		{name: "a token of another certificate", challenge: invalid, cert: plain, headers: []string{auth, "Bearer " + certJWT}},
		{name: "a token of a certificate, without one", challenge: invalid, headers: []string{auth, "Bearer " + certJWT}},

		{name: "a certificate that is the merchant's", cert: leaf, by: access.ByCertificate},
		{name: "a certificate that is nobody's", cert: plain},
		{name: "a certificate that is nobody's, and a key", cert: plain, headers: []string{auth, "Bearer " + goodKey}, by: access.ByKey},
		{name: "a certificate that is not ours, and a key", cert: foreign, headers: []string{auth, "Bearer " + goodKey}},
		{name: "a certificate and a key of one merchant", cert: leaf, headers: []string{auth, "Bearer " + goodKey}, by: access.ByKey},
		{name: "a certificate and a key of two merchants", cert: leaf, headers: []string{auth, "Bearer " + goodKey}, change: func(w *world) {
			w.cfg.Certificates = certificates{clientcert.Identity{Merchant: other, Mode: payment.Test}}
		}},
		{name: "a certificate and a key of two modes", cert: leaf, headers: []string{auth, "Bearer " + goodKey}, change: func(w *world) {
			w.cfg.Certificates = certificates{clientcert.Identity{Merchant: shop, Mode: payment.Live}}
		}},
		{name: "a certificate of a merchant that is not there", cert: leaf, change: func(w *world) {
			w.cfg.Certificates = certificates{clientcert.Identity{Merchant: other, Mode: payment.Test}}
		}},
		{name: "a certificate where none count", cert: leaf, change: func(w *world) { w.cfg.Certificates = nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			if tt.change != nil {
				tt.change(w)
			}
			target := tt.target
			if target == "" {
				target = "/v1/account"
			}
			g, c := w.call("GET", target, "", tt.cert, tt.headers...)
			err := g.Authenticate(c)
			if tt.by != "" {
				if err != nil || c.Principal.By != tt.by || c.Principal.Merchant != shop {
					t.Errorf("got %+v, %v; want the shop by %s", c.Principal, err, tt.by)
				}
				return
			}
			want := tt.code
			if want == "" {
				want = payment.CodeUnauthenticated
			}
			if codeOf(err) != want || c.Principal.Merchant != "" {
				t.Fatalf("got %v as %+v, want %s and nobody", err, c.Principal, want)
			}
			pe, _ := errors.AsType[*payment.Error](err)
			if got := door(pe.Challenge); tt.challenge != "" && got != tt.challenge {
				t.Errorf("WWW-Authenticate is %s, want %s", got, tt.challenge)
			}
		})
	}
}

// door is what the door says where the guard does not.
func door(challenge string) string {
	if challenge == "" {
		return `Bearer realm="purser"`
	}
	return challenge
}

// basicOf is an Authorization field by HTTP Basic, without a password.
func basicOf(user string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"))
}

// What the proof is held against is the request as its caller addressed it.
func TestProofIsOfTheRequest(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.cfg.Origin = func(*http.Request) string { return "https://pay.example.com" }
	g, c := w.call("POST", "/v1/payments?x=1", "{}", nil, "Authorization", "DPoP "+boundJWT, "DPoP", "p")
	if err := g.Authenticate(c); err != nil {
		t.Fatal(err)
	}
	want := []token.Proof{{Fields: []string{"p"}, Method: "POST", URL: "https://pay.example.com/v1/payments", AccessToken: boundJWT, KeyThumbprint: "thumb"}}
	if diff := cmp.Diff(want, w.tokens.proofs); diff != "" || !c.DPoP {
		t.Errorf("proof (-want +got), DPoP %t:\n%s", c.DPoP, diff)
	}
}

// Who guesses is kept waiting before anything is looked up, and the merchant who
// calls from elsewhere notices nothing.
func TestThrottle(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.cfg.Throttle = access.NewThrottle(access.Limits{Pair: 3})
	g := guard.New(w.cfg)
	try := func(from, key string) error {
		r := httptest.NewRequest(http.MethodGet, "/v1/account", nil)
		r.RemoteAddr = from + ":1"
		r.Header.Set("Authorization", "Bearer "+key)
		c, _ := g.Begin(r, new(payment.IDs))
		return g.Authenticate(c)
	}
	for i := range 3 {
		if err := try("192.0.2.1", goodKey+"x"); codeOf(err) != payment.CodeUnauthenticated {
			t.Fatalf("guess %d: %v", i, err)
		}
	}
	looked := w.dir.tried
	err := try("192.0.2.1", goodKey+"x")
	pe, ok := errors.AsType[*payment.Error](err)
	if !ok || pe.Code != payment.CodeRateLimited || pe.RetryAfter <= 0 || w.dir.tried != looked {
		t.Errorf("the fourth guess: %v after %d look-ups, want rate_limited after %d", err, w.dir.tried, looked)
	}
	if err := try("198.51.100.1", goodKey); err != nil {
		t.Errorf("the merchant, from elsewhere: %v", err)
	}
	w.now = w.now.Add(time.Hour)
	if err := try("192.0.2.1", goodKey); err != nil {
		t.Errorf("the right key, an hour later: %v", err)
	}
}

// Who has the secret of a key does not guess, whatever else is wrong, and waits for
// nothing.
func TestNoGuesses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err     error
		headers []string
	}{
		"a key that has ended":        {err: fmt.Errorf("%w: %s is revoked", access.ErrUnauthenticated, keyID)},
		"another network":             {err: fmt.Errorf("%w: %s from 192.0.2.1", access.ErrNetwork, keyID)},
		"a typo":                      {err: fmt.Errorf("%w: %w", access.ErrUnauthenticated, access.ErrMalformedKey)},
		"a proof beside the key":      {headers: []string{"DPoP", "p"}},
		"the directory is not loaded": {err: access.ErrNotLoaded},
	} {
		w := newWorld()
		w.cfg.Throttle = access.NewThrottle(access.Limits{Pair: 3})
		w.dir.err = tt.err
		for i := range 20 {
			g, c := w.call("GET", "/v1/account", "", nil, append([]string{"Authorization", "Bearer " + goodKey}, tt.headers...)...)
			if err := g.Authenticate(c); err == nil || codeOf(err) == payment.CodeRateLimited {
				t.Errorf("%s, call %d: %v, want a refusal without waiting", name, i, err)
				break
			}
		}
	}
}

// TestVerify signs requests with the key's own secret, and changes one thing.
func TestVerify(t *testing.T) {
	t.Parallel()
	const body = `{"amount":1999}`
	hmac := &access.SigningKey{KeyID: keyID, Algorithm: access.HMACSHA256}
	signer, err := signature.NewSecretSigner(keyID, []byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	sign := func(r *http.Request, at time.Time, nonce string) {
		m := signature.FromRequest(r, []byte(body))
		if err := signature.SignRequest(&m, signer, signature.Standard, at, nonce); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name   string
		method string // POST where nothing is said
		key    *access.SigningKey
		before func(*world, *http.Request) // the request is signed after it
		after  func(*world, *http.Request)
		bare   bool // not signed
		want   payment.Code
		param  string // of the problem
	}{
		{name: "signed", key: hmac},
		{name: "not signed, by a key that signs", key: hmac, bare: true, want: payment.CodeUnauthenticated},
		{name: "a reading that is not signed", key: hmac, bare: true, method: "GET"},
		{name: "not signed, by a key that does not sign", bare: true},
		{name: "signed, by a key that does not sign", want: payment.CodeUnauthenticated},
		{name: "the body is another", key: hmac, after: func(_ *world, r *http.Request) {
			r.Header.Set("Content-Digest", strings.Replace(r.Header.Get("Content-Digest"), "sha-256=:", "sha-256=:A", 1))
		}, want: payment.CodeInvalidRequest, param: "Content-Digest"},
		{name: "a header is another", key: hmac, after: func(_ *world, r *http.Request) { r.Header.Set("Idempotency-Key", "b") }, want: payment.CodeUnauthenticated},
		{name: "too old", key: hmac, after: func(w *world, _ *http.Request) { w.now = w.now.Add(6 * time.Minute) }, want: payment.CodeUnauthenticated},
		{name: "no signature at all in it", key: hmac, after: func(_ *world, r *http.Request) { r.Header.Set("Signature", "!") }, want: payment.CodeInvalidRequest, param: "Signature"},
		{name: "the simple scheme, malformed", key: hmac, bare: true, after: func(_ *world, r *http.Request) { r.Header.Set("Purser-Signature", "!") }, want: payment.CodeInvalidRequest, param: "Purser-Signature"},
		{name: "used before", key: hmac, after: func(w *world, _ *http.Request) { w.spent["sig:"+keyID+"nonce-of-this-one"] = true }, want: payment.CodeUnauthenticated},
		{name: "cannot be remembered", key: hmac, after: func(w *world, _ *http.Request) { w.spend = store.ErrUnavailable }, want: payment.CodeStoreUnavailable},
		{name: "nothing remembers", key: hmac, after: func(w *world, _ *http.Request) { w.cfg.Spend = nil }, want: payment.CodeStoreUnavailable},
		{name: "a digest that is not the body's, unsigned", bare: true, after: func(_ *world, r *http.Request) {
			r.Header.Set("Content-Digest", "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:")
		}, want: payment.CodeInvalidRequest, param: "Content-Digest"},
		{name: "profile fapi takes no secret", key: hmac, before: func(w *world, _ *http.Request) { w.cfg.Profile = signature.FAPI }, want: payment.CodeUnauthenticated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.dir.signing = tt.key
			method := tt.method
			if method == "" {
				method = "POST"
			}
			_, c := w.call(method, "/v1/payments", body, nil, "Authorization", "Bearer "+goodKey, "Content-Type", "application/json", "Idempotency-Key", "a")
			for n, f := range []func(*world, *http.Request){tt.before, tt.after} {
				if n == 1 && !tt.bare {
					sign(c.HTTP, w.now, "nonce-of-this-one")
				}
				if f != nil {
					f(w, c.HTTP)
				}
			}
			g := guard.New(w.cfg)
			if err := g.Authenticate(c); err != nil {
				t.Fatal(err)
			}
			spent := len(w.spent)
			err := g.Verify(c, []byte(body))
			if codeOf(err) != tt.want || (tt.want == "" && err != nil) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if pe, ok := errors.AsType[*payment.Error](err); ok && pe.Param != tt.param {
				t.Errorf("param is %q, want %q", pe.Param, tt.param)
			}
			if signed := c.Signed != nil; signed != (tt.want == "" && !tt.bare) {
				t.Errorf("signed %t", signed)
			}
			if tt.want != "" && len(w.spent) != spent {
				t.Error("a request that was refused has spent its nonce")
			}
		})
	}
}

// A response is signed where its request asks for it: with the caller's secret, or
// with the gateway's key.
func TestSignResponse(t *testing.T) {
	t.Parallel()
	own, err := signature.NewSecretSigner("gateway", []byte("a secret that stands for the gateway's key"))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := signature.NewSecretKey(keyID, []byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		key  *access.SigningKey
		asks bool
		with signature.Key // zero = not signed
	}{
		{"a secret of the caller's", &access.SigningKey{KeyID: keyID, Algorithm: access.HMACSHA256}, true, theirs},
		{"no key of the caller's", nil, true, own.Public()},
		{"nobody asked", nil, false, signature.Key{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.dir.signing, w.cfg.Sign = tt.key, own
			headers := []string{"Authorization", "Bearer " + goodKey}
			if tt.asks {
				headers = append(headers, "Accept-Signature", `s=("@status");nonce="their-own-nonce"`)
			}
			g, c := w.call("GET", "/v1/account", "", nil, headers...)
			if err := g.Authenticate(c); err != nil {
				t.Fatal(err)
			}
			if err := g.Verify(c, nil); err != nil {
				t.Fatal(err)
			}
			h := http.Header{"Content-Type": {"application/json"}}
			if err := g.Sign(c, 200, h, []byte(`{"a":1}`)); err != nil {
				t.Fatal(err)
			}
			if tt.with.IsZero() {
				if signature.Present(h) {
					t.Errorf("signed though nobody asked: %v", h)
				}
				return
			}
			m := signature.FromRequest(c.HTTP, nil)
			r := signature.Response{Status: 200, Header: h, Body: []byte(`{"a":1}`)}
			got, err := signature.VerifyResponse(&m, &r, tt.with, signature.Standard, w.now)
			if err != nil || got.Nonce != "their-own-nonce" {
				t.Errorf("nonce %q, %v", got.Nonce, err)
			}
			r.Status = 201
			if _, err := signature.VerifyResponse(&m, &r, tt.with, signature.Standard, w.now); err == nil {
				t.Error("the signature does for another status")
			}
		})
	}
}

// Each step is taken once for a call, by whichever handler comes first, and the
// call travels with its request.
func TestStepsAreTakenOnce(t *testing.T) {
	t.Parallel()
	w := newWorld()
	count := &counting{}
	w.cfg.Limiter = count
	g, c := w.call("GET", "/v1/account", "", nil, "Authorization", "Bearer "+goodKey)
	r := c.Attach()
	again, owner := guard.New(w.cfg).Begin(r, new(payment.IDs))
	if again != c || owner || !payment.IsID(payment.PrefixRequest, again.ID) {
		t.Fatalf("the second handler got %v, owner %t", again, owner)
	}
	for _, call := range []*guard.Call{c, again} {
		for _, step := range []func(*guard.Call) error{g.Arrive, g.Authenticate, g.Admit, func(c *guard.Call) error { return g.Verify(c, nil) }} {
			if err := step(call); err != nil {
				t.Fatal(err)
			}
		}
	}
	if count.arrived != 1 || count.admitted != 1 || w.dir.tried != 1 {
		t.Errorf("%d arrivals, %d admissions, %d look-ups; want one of each", count.arrived, count.admitted, w.dir.tried)
	}
	// What one handler has refused, the next does not let in.
	g, c = w.call("GET", "/v1/account", "", nil)
	for range 2 {
		if err := g.Authenticate(c); codeOf(err) != payment.CodeUnauthenticated {
			t.Errorf("without a credential: %v", err)
		}
	}
	if err := g.Admit(c); codeOf(err) != payment.CodeUnauthenticated {
		t.Errorf("the step after the refusal: %v", err)
	}
	landed := 0
	c.Leave(func() { landed++ })
	c.Land()
	c.Land()
	if landed != 1 {
		t.Errorf("the call ended %d times", landed)
	}
}

// counting lets everybody in.
type counting struct{ arrived, admitted int }

func (l *counting) Arrive(context.Context, netip.Addr) (ratelimit.Verdict, error) {
	l.arrived++
	return ratelimit.Verdict{}, nil
}

func (l *counting) Admit(context.Context, ratelimit.Caller) (ratelimit.Verdict, error) {
	l.admitted++
	return ratelimit.Verdict{}, nil
}

func (l *counting) Refine(context.Context, ratelimit.Caller, []ratelimit.Extra) (ratelimit.Verdict, error) {
	return ratelimit.Verdict{}, nil
}
