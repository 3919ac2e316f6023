// Package guard decides who may call, in one order that no configuration can
// change: how much its address may ask, who it is, how much that one may ask, what
// it has signed, and what the operator's policies say. The doors run these steps;
// what a request must be apart from that is theirs.
package guard

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/clientcert"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/policy"
	"github.com/purser-pay/purser/modules/ratelimit"
	"github.com/purser-pay/purser/modules/signature"
	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/token"
)

// Directory knows merchants and their API keys; [access.Directory] is the real
// one.
type Directory interface {
	// AuthenticateFrom tells whose key a text is that came from an address.
	AuthenticateFrom(ctx context.Context, text string, from netip.Addr) (access.Principal, error)
	Merchant(id string) (access.Merchant, bool)
}

// Tokens verifies JWTs and DPoP proofs; [token.Verifier] is the real one.
type Tokens interface {
	Verify(ctx context.Context, text string) (token.Identity, error)
	VerifyProof(p token.Proof) (token.ProofResult, error)
}

// Revocations knows which tokens were revoked; [access.RevokedTokens] is the real
// one.
type Revocations interface {
	// Check fails with [access.ErrTokenRevoked], and with [access.ErrNotLoaded] where
	// nobody can say.
	Check(ctx context.Context, n access.TokenNames) error
}

// Certificates knows the certificates of clients; [clientcert.Clients] is the
// real one.
type Certificates interface {
	// Check refuses a certificate that no authority of ours vouches for any longer.
	Check(ctx context.Context, presented []*x509.Certificate) error
	// Identify tells whom a certificate stands for; false = for nobody by itself.
	Identify(leaf *x509.Certificate) (clientcert.Identity, bool)
}

// Limiter bounds how much callers may ask; [ratelimit.Limiter] is the real one.
type Limiter interface {
	// Arrive decides over a call of which only the sender's address is known.
	Arrive(ctx context.Context, from netip.Addr) (ratelimit.Verdict, error)
	// Admit decides over a call whose sender was authenticated.
	Admit(ctx context.Context, c ratelimit.Caller) (ratelimit.Verdict, error)
	// Refine decides by the rates that policies add.
	Refine(ctx context.Context, c ratelimit.Caller, extra []ratelimit.Extra) (ratelimit.Verdict, error)
}

// Config is what the guard stands on. Directory and Now are required.
type Config struct {
	Directory Directory
	// Tokens, Certificates, Limiter and Throttle may be nil: then nobody calls by a
	// token or a certificate, nothing is bounded, and nobody is slowed down who
	// guesses.
	Tokens       Tokens
	Revocations  Revocations // nil = no token was revoked
	Certificates Certificates
	Limiter      Limiter
	Throttle     *access.Throttle
	// Policies returns the rules that hold now; nil, or nil rules, is none.
	Policies func() *policy.Set
	// Spend makes a nonce good once, for all nodes: [store.ErrConflict] for one that
	// was spent before. Nil refuses whatever has a nonce.
	Spend func(ctx context.Context, n store.Nonce) error
	// Secret opens the secret of a signing key; nil opens none.
	Secret func(k *access.SigningKey) ([]byte, error)
	// Profile is what is asked of signatures.
	Profile signature.Profile
	// Sign is the gateway's own key for responses; the zero key signs only what an
	// HMAC key of the caller can.
	Sign signature.SigningKey
	// Client tells a caller's address; nil takes that of the connection.
	Client func(*http.Request) netip.Addr
	// Origin tells the address under which a caller reached the gateway, such as
	// "https://pay.example.com"; nil takes it from the request itself.
	Origin func(*http.Request) string
	// Original is a request as it came, where the server has rewritten its target;
	// nil takes the request itself.
	Original func(*http.Request) *http.Request
	// Used hears who was let in by a credential; nil hears nothing.
	Used func(access.Principal)
	// Refused hears of each refusal; nil hears nothing.
	Refused func(Refusal)
	Now     func() time.Time
}

// Guard runs the steps. It is safe for concurrent use.
type Guard struct {
	cfg  Config
	keys keyring
}

// New returns a guard.
func New(cfg Config) *Guard {
	if cfg.Client == nil {
		cfg.Client = remote
	}
	if cfg.Origin == nil {
		cfg.Origin = Origin
	}
	if cfg.Original == nil {
		cfg.Original = func(r *http.Request) *http.Request { return r }
	}
	return &Guard{cfg: cfg}
}

// Merchant returns a merchant by its ID.
func (g *Guard) Merchant(id string) (access.Merchant, bool) { return g.cfg.Directory.Merchant(id) }

// remote is the address of the connection; the zero address where it has none.
func remote(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr()
}

// Origin is the address under which a caller reached the connection's own end.
func Origin(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// Arrive counts a call by its sender's address.
func (g *Guard) Arrive(c *Call) error {
	return c.once(arrived, func() error {
		if g.cfg.Limiter == nil {
			return nil
		}
		v, err := g.cfg.Limiter.Arrive(c.HTTP.Context(), c.From)
		return c.limit(v, err)
	})
}

// Admit counts a call by who makes it.
func (g *Guard) Admit(c *Call) error {
	return c.once(admitted, func() error {
		if g.cfg.Limiter == nil {
			return nil
		}
		v, err := g.cfg.Limiter.Admit(c.HTTP.Context(), c.caller())
		return c.limit(v, err)
	})
}

// caller is who calls, as counters name them.
func (c *Call) caller() ratelimit.Caller {
	p := &c.Principal
	who := p.Key
	if who == "" {
		who = string(p.By) + ":" + p.Subject
	}
	return ratelimit.Caller{Merchant: p.Merchant, Mode: string(p.Mode), Key: who, Route: c.Route, Rates: p.RateLimits}
}

// limit keeps a verdict for the answer, and refuses where it does.
func (c *Call) limit(v ratelimit.Verdict, err error) error {
	if leave := v.Leave(); leave != nil {
		c.done = append(c.done, leave)
	}
	if c.Limits == nil {
		c.Limits = c.room[:0]
	}
	c.Limits = append(c.Limits, v.States...)
	if err != nil {
		return &payment.Error{
			Code: payment.CodeStoreUnavailable, Err: err,
			Detail: "The counters of the rate limits cannot be reached. Repeat the call with the same Idempotency-Key.",
		}
	}
	s, refused := v.Refusal()
	if !refused {
		return nil
	}
	e := payment.Errorf(payment.CodeRateLimited, "There are too many calls of this %s. Nothing was done; wait as long as Retry-After says.", whose[s.Scope])
	e.RetryAfter = s.Retry
	return e
}

// whose names the scopes for a caller.
var whose = map[ratelimit.Scope]string{
	ratelimit.Key: "key", ratelimit.Merchant: "merchant", ratelimit.Route: "kind", ratelimit.Address: "address", ratelimit.Account: "account",
}

// spend makes a nonce good once. what names it for the caller.
func (g *Guard) spend(ctx context.Context, n store.Nonce, what string) error {
	unavailable := &payment.Error{
		Code: payment.CodeStoreUnavailable, Err: errors.New("there is no memory of nonces"),
		Detail: "Whether the " + what + " was used before cannot be found out now. Repeat the call with another one.",
	}
	if g.cfg.Spend == nil {
		return unavailable
	}
	switch err := g.cfg.Spend(ctx, n); {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrConflict):
		return payment.Errorf(payment.CodeUnauthenticated, "The %s was used before. Each request has one of its own, repeats too.", what)
	default:
		unavailable.Err = err
		return unavailable
	}
}
