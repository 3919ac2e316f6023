package edge

import (
	"bytes"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/api"
	"github.com/purser-pay/purser/modules/framing"
	"github.com/purser-pay/purser/modules/guard"
	"github.com/purser-pay/purser/modules/payment"
)

// The parts of payments_gateway as handlers of their own, for a site that puts
// something between them or behind them. Each takes its step once for a request,
// whoever takes it first, and in whichever order they stand nobody gets past the
// API without all of them.

// Auth finds out who calls, by API key, token or client certificate, and refuses
// with 401 who does not say. The address's own limit is asked before.
//
// Handlers behind it find the caller in the placeholders {payments.merchant},
// {payments.mode}, {payments.key} and {payments.by}.
//
// Whatever is under /webhooks/ or /return/ is never authenticated, for PSPs and
// payers have no credential here. Neither are /healthz, /readyz, /openapi.json and
// /docs; what is under these is. Where nobody is, the placeholders are empty.
//
// Caddyfile:
//
//	payments_auth
type Auth struct{ doors }

// CaddyModule returns the Caddy module information.
func (*Auth) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.payments_auth", New: func() caddy.Module { return new(Auth) }}
}

// ServeHTTP lets the request pass, or refuses it.
func (a *Auth) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return a.step(w, r, next, func(c *guard.Call) error {
		if err := a.guard.Arrive(c); err != nil {
			return err
		}
		return a.guard.Authenticate(c)
	})
}

// RateLimit counts the call by its address, its key and its merchant, and refuses
// with 429 where one of the limits of the global option payments is used up. It
// authenticates where nobody has, and lets the same paths pass as payments_auth.
//
// Caddyfile:
//
//	payments_rate_limit
type RateLimit struct{ doors }

// CaddyModule returns the Caddy module information.
func (*RateLimit) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.payments_rate_limit", New: func() caddy.Module { return new(RateLimit) }}
}

// ServeHTTP lets the request pass, or refuses it.
func (l *RateLimit) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return l.step(w, r, next, l.admit)
}

// admit takes all steps up to the limits of key and merchant.
func (d *doors) admit(c *guard.Call) error {
	if err := d.guard.Arrive(c); err != nil {
		return err
	}
	if err := d.guard.Authenticate(c); err != nil {
		return err
	}
	return d.guard.Admit(c)
}

// Signature verifies the request's signature and its Content-Digest. A key that
// signs must sign what changes something; a signature of whoever has no signing
// key is refused. It reads the whole body, of at most 1 MiB. It lets the same paths
// pass as payments_auth.
//
// Caddyfile:
//
//	payments_signature
type Signature struct{ doors }

// CaddyModule returns the Caddy module information.
func (*Signature) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.payments_signature", New: func() caddy.Module { return new(Signature) }}
}

// ServeHTTP lets the request pass, or refuses it.
func (s *Signature) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return s.step(w, r, next, func(c *guard.Call) error {
		if err := s.admit(c); err != nil {
			return err
		}
		body, err := io.ReadAll(c.HTTP.Body)
		if err != nil {
			return payment.Errorf(payment.CodeInvalidRequest, "The body ended early, or has more than %d bytes.", maxBody)
		}
		c.HTTP.Body = io.NopCloser(bytes.NewReader(body))
		return s.guard.Verify(c, body)
	})
}

// Proxy passes calls under /v1/proxy/{account}/ through to the PSP's own API, after
// all the checks of payments_gateway. Other paths go to the next handler.
//
// Caddyfile:
//
//	payments_proxy
type Proxy struct{ doors }

// CaddyModule returns the Caddy module information.
func (*Proxy) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.payments_proxy", New: func() caddy.Module { return new(Proxy) }}
}

// ServeHTTP answers the request, or passes it on.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !under(r, proxyPaths) {
		return next.ServeHTTP(w, r)
	}
	return p.serve(p.api, w, r)
}

// step takes one step of the guard's, and hands the request on with what it
// found. What PSPs and payers call, and what anybody may read, has no caller to
// be found; but it may not name one either, and its path must be what it seems to
// be: a handler behind the step might clean or decode /docs/../private.
func (d *doors) step(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, take func(*guard.Call) error) error {
	w, tell := d.access.watch(w, r)
	defer tell()
	prepare(w, r)
	defer d.app.Use()()
	if (framing.Handler{Next: d.api, IDs: d.app.IDs()}).Refused(w, r) {
		return nil
	}
	if under(r, inboxPaths) || at(r, openPaths) {
		place(r, nobody)
		return next.ServeHTTP(w, r)
	}
	c, owner := d.guard.Begin(r, d.app.IDs())
	if owner {
		defer c.Land()
	}
	c.Route = routeOf(r)
	r = c.Attach()
	if err := take(c); err != nil {
		d.api.Refuse(w, r, err)
		return nil
	}
	w.Header().Set("Request-Id", c.ID)
	place(r, &c.Principal)
	return next.ServeHTTP(w, c.HTTP)
}

// routeOf is the method and the pattern of a request, as the limits name it.
func routeOf(r *http.Request) string {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	return method + " " + api.Pattern(r.URL.EscapedPath())
}

// nobody calls where no credential is asked for.
var nobody = new(access.Principal)

// place tells handlers behind the step who calls.
func place(r *http.Request, p *access.Principal) {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	repl.Set("payments.merchant", p.Merchant)
	repl.Set("payments.mode", string(p.Mode))
	repl.Set("payments.key", p.Key)
	repl.Set("payments.by", string(p.By))
}
