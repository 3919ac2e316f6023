package api

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/ratelimit"
)

// Limiter is what the door asks before it works; [ratelimit.Limiter] is the real
// one.
type Limiter interface {
	// Arrive decides over a call of which only the sender's address is known.
	Arrive(ctx context.Context, from netip.Addr) (ratelimit.Verdict, error)
	// Admit decides over a call whose sender was authenticated.
	Admit(ctx context.Context, c ratelimit.Caller) (ratelimit.Verdict, error)
}

// arrive counts a call by its sender's address.
func (a *API) arrive(rq *request) error {
	if a.cfg.Limiter == nil {
		return nil
	}
	v, err := a.cfg.Limiter.Arrive(rq.http.Context(), a.cfg.Client(rq.http))
	return rq.limit(v, err)
}

// admit counts a call by who makes it.
func (a *API) admit(rq *request, ep endpoint) error {
	if a.cfg.Limiter == nil {
		return nil
	}
	v, err := a.cfg.Limiter.Admit(rq.http.Context(), ratelimit.Caller{
		Merchant: rq.principal.Merchant, Mode: string(rq.principal.Mode), Key: rq.principal.Key,
		Route: ep.method + " " + rq.route, Rates: rq.principal.RateLimits,
	})
	return rq.limit(v, err)
}

// limit keeps a verdict for the answer, and refuses where it does.
func (rq *request) limit(v ratelimit.Verdict, err error) error {
	rq.done = append(rq.done, v.Done)
	rq.limits = append(rq.limits, v.States...)
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
	ratelimit.Key: "key", ratelimit.Merchant: "merchant", ratelimit.Route: "kind", ratelimit.Address: "address",
}

// land ends a call for those who count calls in flight.
func (rq *request) land() {
	for _, done := range rq.done {
		done()
	}
}

// remote is the address of the connection; the zero address where it has none.
func remote(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr()
}

// Serves tells whether a method and a pattern, such as "POST /v1/payments", is
// one of the calls that merchants make.
func Serves(call string) bool {
	for i := range routes {
		for _, ep := range routes[i].endpoints {
			if !ep.open && ep.method+" "+routes[i].pattern == call {
				return true
			}
		}
	}
	return false
}
