package guard

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/clientcert"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/token"
)

const (
	headerAuthorization = "Authorization"
	headerDPoP          = "Dpop" // as net/http writes DPoP

	// maxAuthorization bounds the field, in bytes: a token may have 8 KiB.
	maxAuthorization = 8<<10 + 64

	badKey   = "The API key is not valid: unknown, expired or revoked, or not from this network."
	badToken = "The token is not valid."
)

// scheme is how a credential is presented.
type scheme uint8

const (
	bearer scheme = iota // RFC 6750
	basic                // RFC 7617: an API key is the user name
	dpop                 // RFC 9449 §7.1
)

func unauthenticated(format string, args ...any) *payment.Error {
	return payment.Errorf(payment.CodeUnauthenticated, format, args...)
}

// storeAway is the answer where only the store could tell whether a credential is
// good.
func storeAway(cause error) *payment.Error {
	return &payment.Error{
		Code: payment.CodeStoreUnavailable, Detail: "The store cannot be reached. Repeat the call with the same Idempotency-Key.", Err: cause,
	}
}

// Authenticate finds out who calls: by an API key, by a token, or by the client
// certificate of the connection, in this order. A certificate that stands for
// a merchant never goes with the credential of another.
func (g *Guard) Authenticate(c *Call) error {
	return c.once(authenticated, func() error { return g.authenticate(c) })
}

func (g *Guard) authenticate(c *Call) error {
	if keyInURL(c.HTTP.URL) {
		return unauthenticated("An API key never goes into a URL, where it is written into logs. Revoke this one, and send the next in the Authorization header.")
	}
	holder, mapped, err := g.certificate(c)
	if err != nil {
		return err
	}
	fields := c.HTTP.Header[headerAuthorization]
	if len(fields) == 0 && mapped {
		return g.byCertificate(c, holder)
	}
	how, text, err := credential(fields)
	if err != nil {
		return err
	}
	if err := g.prove(c, how, text); err != nil {
		return err
	}
	if p := &c.Principal; mapped && (holder.Merchant != p.Merchant || holder.Mode != p.Mode) {
		c.Principal = access.Principal{}
		return unauthenticated("The client certificate is another merchant's than the credential, or of the other mode.")
	}
	return nil
}

// prove takes a credential.
func (g *Guard) prove(c *Call, how scheme, text string) (err error) {
	switch {
	case g.cfg.Tokens != nil && how != basic && token.LooksLikeToken(text):
		err = g.byToken(c, how, text)
	case how == dpop:
		err = invalidProof("The scheme DPoP is for tokens that are bound to a key.", nil)
	default:
		err = g.unlessGuessing(c, text)
	}
	if err == nil && g.cfg.Used != nil {
		g.cfg.Used(c.Principal)
	}
	return err
}

// unlessGuessing takes an API key, unless its sender has guessed too often. Only what
// may be a guess is counted: whoever has a key's secret does not guess it, though the
// key has ended or is not for this network. Nor are tokens counted: nobody guesses a
// signature, and many callers of one address may have tokens that have just expired.
func (g *Guard) unlessGuessing(c *Call, text string) error {
	id, now := prefixOf(text), g.cfg.Now()
	if wait := g.cfg.Throttle.Wait(id, c.From, now); wait > 0 {
		e := payment.Errorf(payment.CodeRateLimited, "Too many credentials from this address were not valid. Wait as long as Retry-After says.")
		e.RetryAfter = wait
		return e
	}
	err := g.byKey(c, text)
	switch {
	case err == nil:
		g.cfg.Throttle.Succeeded(id, c.From, now)
	case errors.Is(err, access.ErrWrongKey): // not a typo either: that could never be good, and costs nothing
		g.cfg.Throttle.Failed(id, c.From, now)
	}
	return err
}

func (g *Guard) byKey(c *Call, text string) (err error) {
	if len(c.HTTP.Header[headerDPoP]) > 0 {
		return unauthenticated("A DPoP proof goes with a token, and an API key is none.")
	}
	c.Principal, err = g.cfg.Directory.AuthenticateFrom(c.HTTP.Context(), text, c.From)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, access.ErrNotLoaded):
		return storeAway(err)
	case errors.Is(err, access.ErrMalformedKey):
		return &payment.Error{Code: payment.CodeUnauthenticated, Detail: "The credential is not an API key, or it is mistyped.", Err: err}
	default:
		return &payment.Error{Code: payment.CodeUnauthenticated, Detail: badKey, Err: err}
	}
}

func (g *Guard) byToken(c *Call, how scheme, text string) error {
	id, err := g.cfg.Tokens.Verify(c.HTTP.Context(), text)
	switch {
	case errors.Is(err, token.ErrUnavailable):
		return &payment.Error{Code: payment.CodeStoreUnavailable, Detail: "The keys of the token's issuer cannot be had for now. Repeat the call.", Err: err}
	case err != nil:
		return invalidToken(err)
	}
	if err := g.unrevoked(c, &id); err != nil {
		return err
	}
	if _, ok := g.cfg.Directory.Merchant(id.Merchant); !ok {
		return invalidToken(errors.New("the token's merchant is not known here"))
	}
	if want := id.CertificateThumbprint; want != "" && want != thumbprint(c.HTTP) {
		e := unauthenticated("The token is bound to a client certificate, and this connection does not have it.")
		e.Challenge = bearerChallenge
		return e
	}
	if err := g.proof(c, how, text, &id); err != nil {
		return err
	}
	c.Principal = access.Principal{
		Merchant: id.Merchant, Mode: id.Mode, By: access.ByToken, Subject: subject(&id), Scopes: id.Scopes,
	}
	return nil
}

// unrevoked refuses a token that was revoked. It is asked for each call: the cache of
// verified tokens knows nothing of it.
func (g *Guard) unrevoked(c *Call, id *token.Identity) error {
	if g.cfg.Revocations == nil {
		return nil
	}
	err := g.cfg.Revocations.Check(c.HTTP.Context(), access.TokenNames{
		Issuer: id.Issuer, ID: id.ID, Subject: id.Subject, ClientID: id.ClientID, IssuedAt: id.IssuedAt,
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, access.ErrNotLoaded):
		return storeAway(err)
	default:
		return invalidToken(err)
	}
}

// bearerChallenge is told to who has sent a token that is not good (RFC 6750 §3).
const bearerChallenge = `Bearer realm="purser", error="invalid_token"` //nolint:gosec // G101: it tells what is wrong with a credential, and is none

// proofChallenge is told to whose proof is not good (RFC 9449 §7.1).
var proofChallenge = `DPoP error="invalid_dpop_proof", algs="` + strings.Join(token.ProofAlgorithms, " ") + `"`

// invalidToken is the one answer to all tokens that are not good.
func invalidToken(cause error) error {
	return &payment.Error{Code: payment.CodeUnauthenticated, Detail: badToken, Err: cause, Challenge: bearerChallenge}
}

// invalidProof answers whoever uses the scheme DPoP, or a proof, in another way than
// it is for.
func invalidProof(detail string, cause error) error {
	return &payment.Error{Code: payment.CodeUnauthenticated, Detail: detail, Err: cause, Challenge: proofChallenge}
}

// subject names a token's holder for logs and counters.
func subject(id *token.Identity) string {
	who := id.Subject
	if who == "" {
		who = id.ClientID
	}
	return id.Issuer + "#" + who
}

// proof holds a token that is bound to a key to the proof that it came with. One
// that is bound is good for no other scheme, and the scheme for no other token.
func (g *Guard) proof(c *Call, how scheme, text string, id *token.Identity) error {
	fields := c.HTTP.Header[headerDPoP]
	switch {
	case id.ProofKey == "" && how == bearer && len(fields) == 0:
		return nil
	case id.ProofKey == "":
		return invalidProof("The token is not bound to a key, so it is sent as Bearer and without a proof.", nil)
	case how != dpop:
		return invalidProof("The token is bound to a key: send it in the scheme DPoP, with a proof.", nil)
	}
	r, err := g.cfg.Tokens.VerifyProof(token.Proof{
		Fields: fields, Method: c.HTTP.Method, URL: g.cfg.Origin(c.HTTP) + g.cfg.Original(c.HTTP).URL.EscapedPath(),
		AccessToken: text, KeyThumbprint: id.ProofKey,
	})
	if err != nil {
		return invalidProof("The DPoP proof is not valid for this request.", err)
	}
	if err := g.spend(c.HTTP.Context(), store.Nonce{Space: "dpop", Value: r.ID, Expires: r.Expires}, "DPoP proof"); err != nil {
		if e, ok := errors.AsType[*payment.Error](err); ok && e.Code == payment.CodeUnauthenticated {
			e.Challenge = proofChallenge
		}
		return err
	}
	c.DPoP = true
	return nil
}

// thumbprint is that of the connection's client certificate; "" without one. TLS
// has proved that the client holds its key.
func thumbprint(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	return clientcert.Thumbprint(r.TLS.PeerCertificates[0])
}

// certificate looks at the client certificate of the connection, if there is one
// and if certificates are anything to us. It is looked at for each request: the
// connection may be older than a revocation.
func (g *Guard) certificate(c *Call) (holder clientcert.Identity, mapped bool, err error) {
	if g.cfg.Certificates == nil || c.HTTP.TLS == nil || len(c.HTTP.TLS.PeerCertificates) == 0 {
		return holder, false, nil
	}
	presented := c.HTTP.TLS.PeerCertificates
	if err := g.cfg.Certificates.Check(c.HTTP.Context(), presented); err != nil {
		return holder, false, &payment.Error{
			Code: payment.CodeUnauthenticated, Err: err,
			Detail: "The client certificate is not good: expired, revoked, of another authority, or its revocation cannot be found out.",
		}
	}
	c.MTLS = true
	holder, mapped = g.cfg.Certificates.Identify(presented[0])
	return holder, mapped, nil // one that stands for nobody still counts beside a key
}

func (g *Guard) byCertificate(c *Call, holder clientcert.Identity) error {
	if _, ok := g.cfg.Directory.Merchant(holder.Merchant); !ok {
		return &payment.Error{
			Code: payment.CodeUnauthenticated, Detail: "The client certificate stands for nobody here.",
			Err: errors.New("the certificate's merchant is not known here"),
		}
	}
	c.Principal = access.Principal{
		Merchant: holder.Merchant, Mode: holder.Mode, By: access.ByCertificate, Subject: holder.Name, Scopes: holder.Scopes,
	}
	return nil
}

// credential takes the credential out of the one Authorization field.
func credential(fields []string) (scheme, string, error) {
	if len(fields) == 0 {
		return 0, "", unauthenticated("Send an API key: Authorization: Bearer pur_…")
	}
	name, rest, _ := strings.Cut(fields[0], " ")
	rest = strings.Trim(rest, " ")
	if len(fields) > 1 || len(fields[0]) > maxAuthorization || rest == "" {
		return 0, "", unauthenticated("Send exactly one Authorization field: Bearer and an API key or a token.")
	}
	switch {
	case strings.EqualFold(name, "Bearer"):
		return bearer, rest, nil
	case strings.EqualFold(name, "DPoP"):
		return dpop, rest, nil
	case strings.EqualFold(name, "Basic"):
		plain, err := base64.StdEncoding.DecodeString(rest)
		user, password, colon := strings.Cut(string(plain), ":")
		if err != nil || !colon || password != "" {
			return 0, "", unauthenticated("With Basic, the API key is the user name and the password is empty.")
		}
		return basic, user, nil
	default:
		return 0, "", unauthenticated("The scheme of Authorization is Bearer, Basic or DPoP.")
	}
}

// prefixOf is the part of an API key by which guesses at it are counted: where a
// key has its ID. It need not be a key at all.
func prefixOf(text string) string {
	const before, id = len("pur_test_"), 26
	if !strings.HasPrefix(text, "pur_") || len(text) < before+id {
		return ""
	}
	return text[before : before+id]
}

// keyInURL tells whether a URL holds what looks like an API key, escaped or not.
func keyInURL(u *url.URL) bool {
	holds := func(s string) bool { return strings.Contains(s, "pur_test_") || strings.Contains(s, "pur_live_") }
	if holds(u.Path) || holds(u.RawQuery) {
		return true
	}
	if !strings.Contains(u.RawQuery, "%") {
		return false
	}
	plain, err := url.QueryUnescape(u.RawQuery)
	return err == nil && holds(plain)
}
