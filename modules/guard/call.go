package guard

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/ratelimit"
	"github.com/purser-pay/purser/modules/signature"
)

// step is one of the checks.
type step uint8

const (
	arrived step = 1 << iota
	authenticated
	admitted
	verified
	policed
)

// Call is one request on its way through the checks. It belongs to the request's
// goroutine.
type Call struct {
	HTTP *http.Request
	// ID is the request's, req_….
	ID string
	// Route is the method and the pattern, such as "POST /v1/payments".
	Route string
	// Began is when the call began.
	Began time.Time
	// From is the sender's address; the zero address where it is not known.
	From netip.Addr
	// Principal is who calls, once [Guard.Authenticate] has passed.
	Principal access.Principal
	// MTLS tells that the connection has a client certificate that is good.
	MTLS bool
	// DPoP tells that the caller has proved to hold the key of its token.
	DPoP bool
	// Signed is the request's signature, once [Guard.Verify] has passed; nil = there
	// is none.
	Signed *signature.Result
	// Limits are the windows that counted the call.
	Limits []ratelimit.State

	message signature.Message  // what was signed, for the response
	room    [4]ratelimit.State // of Limits: more windows are rare
	taken   step
	refused error
	done    []func()
}

// once takes a step, if nobody has taken it yet. A call that one step has refused is
// refused by all that come after it, whoever asks.
func (c *Call) once(s step, take func() error) error {
	if c.refused == nil && c.taken&s == 0 {
		c.taken |= s
		c.refused = take()
	}
	return c.refused
}

// Land ends the call for those who count calls in flight.
func (c *Call) Land() {
	for _, done := range c.done {
		done()
	}
	c.done = nil
}

// Leave has f called when the call ends.
func (c *Call) Leave(f func()) { c.done = append(c.done, f) }

type callKey struct{}

// Begin returns the call of a request: the one that an earlier handler of the
// same request began, or a new one with an ID of ids. owner tells that
// it is new, so that the caller has to end it by [Call.Land].
func (g *Guard) Begin(r *http.Request, ids *payment.IDs) (c *Call, owner bool) {
	if c, ok := r.Context().Value(callKey{}).(*Call); ok {
		c.HTTP = r
		return c, false
	}
	return &Call{HTTP: r, ID: ids.New(payment.PrefixRequest), Began: g.cfg.Now(), From: g.cfg.Client(r)}, true
}

// Attach returns the call's request, from which later handlers get the call.
func (c *Call) Attach() *http.Request {
	c.HTTP = c.HTTP.WithContext(context.WithValue(c.HTTP.Context(), callKey{}, c))
	return c.HTTP
}
