// Package edge puts the gateway's doors on Caddy's HTTP server: the merchants'
// API and the PSPs' inbox as handlers and Caddyfile directives.
package edge

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/purser-pay/purser/modules/api"
	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/framing"
	"github.com/purser-pay/purser/modules/gateway"
	"github.com/purser-pay/purser/modules/guard"
	"github.com/purser-pay/purser/modules/inbox"
)

func init() {
	caddy.RegisterModule(new(Gateway))
	caddy.RegisterModule(new(API))
	caddy.RegisterModule(new(Webhooks))
	caddy.RegisterModule(new(Auth))
	caddy.RegisterModule(new(RateLimit))
	caddy.RegisterModule(new(Signature))
	caddy.RegisterModule(new(Proxy))
	// Caddy keeps the order in which they are registered.
	directive("payments_auth", func() caddyhttp.MiddlewareHandler { return new(Auth) })
	directive("payments_rate_limit", func() caddyhttp.MiddlewareHandler { return new(RateLimit) })
	directive("payments_signature", func() caddyhttp.MiddlewareHandler { return new(Signature) })
	directive("payments_proxy", func() caddyhttp.MiddlewareHandler { return new(Proxy) })
	directive("payments_webhooks", func() caddyhttp.MiddlewareHandler { return new(Webhooks) })
	directive("payments_api", func() caddyhttp.MiddlewareHandler { return new(API) })
	directive("payments_gateway", func() caddyhttp.MiddlewareHandler { return new(Gateway) })
}

// directive registers a directive that takes neither arguments nor options. It
// stands behind Caddy's respond and metrics, so that a site may answer some
// paths by itself, and before its proxies and files.
func directive(name string, build func() caddyhttp.MiddlewareHandler) {
	httpcaddyfile.RegisterHandlerDirective(name, func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		if err := bare(h.Dispenser); err != nil {
			return nil, err
		}
		return build(), nil
	})
	httpcaddyfile.RegisterDirectiveOrder(name, httpcaddyfile.Before, "reverse_proxy")
}

// bare refuses everything behind a directive's name.
func bare(d *caddyfile.Dispenser) error {
	d.Next()
	name := d.Val()
	if d.NextArg() {
		return d.Errf("%s takes no argument %q", name, d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("%s has no option %q", name, d.Val())
	}
	return nil
}

// The paths of the two doors. What is under none of them belongs to the API of
// payments_gateway, which answers 404 in its own form.
var (
	inboxPaths = []string{"/webhooks/", "/return/"}
	proxyPaths = []string{"/v1/proxy/"}
	apiPaths   = []string{"/v1/"}
	// openPaths are those of the API that ask for no credential. There is nothing
	// under them.
	openPaths = []string{"/healthz", "/readyz", "/openapi.json", "/docs"}
)

// Gateway is the whole pipeline in its one right order: webhooks and returning
// payers go to the inbox, everything else to the merchants' API. It answers
// every request that reaches it, also what is not found.
//
// Caddyfile:
//
//	payments_gateway
type Gateway struct{ doors }

// CaddyModule returns the Caddy module information.
func (*Gateway) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.payments_gateway", New: func() caddy.Module { return new(Gateway) }}
}

// ServeHTTP answers the request.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if under(r, inboxPaths) {
		return g.serve(g.inbox, w, r)
	}
	return g.serve(g.api, w, r)
}

// API serves merchants alone: /v1/…, /healthz, /readyz, /openapi.json and
// /docs. Other paths go to the next handler.
//
// Caddyfile:
//
//	payments_api
type API struct{ doors }

// CaddyModule returns the Caddy module information.
func (*API) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.payments_api", New: func() caddy.Module { return new(API) }}
}

// ServeHTTP answers the request, or passes it on.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !under(r, apiPaths) && !at(r, openPaths) {
		return next.ServeHTTP(w, r)
	}
	return a.serve(a.api, w, r)
}

// Webhooks serves PSPs and the payers whom they send back alone: /webhooks/…
// and /return/…. Other paths go to the next handler.
//
// Caddyfile:
//
//	payments_webhooks
type Webhooks struct{ doors }

// CaddyModule returns the Caddy module information.
func (*Webhooks) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.payments_webhooks", New: func() caddy.Module { return new(Webhooks) }}
}

// ServeHTTP answers the request, or passes it on.
func (h *Webhooks) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !under(r, inboxPaths) {
		return next.ServeHTTP(w, r)
	}
	return h.serve(h.inbox, w, r)
}

// doors are the handlers of the core, on the payments app of the same
// configuration.
type doors struct {
	app      *gateway.App
	access   *accessLog
	handover *gateway.Handover
	guard    *guard.Guard
	api      *api.API
	inbox    http.Handler
	proxy    *passing
}

// Provision finds the payments app and builds the doors on it.
func (d *doors) Provision(ctx caddy.Context) error {
	v, err := ctx.AppIfConfigured("payments")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return errors.New("the payments app is not configured: the handler needs the global option payments")
	}
	if err != nil {
		return err
	}
	app, ok := v.(*gateway.App)
	if !ok {
		return fmt.Errorf("the payments app is a %T", v)
	}
	shapeErrors(ctx)
	if err := harden(ctx); err != nil {
		return err
	}
	if !app.Ready() { // the configuration is only checked
		return nil
	}
	if d.handover, err = gateway.JoinHandover(ctx); err != nil {
		return err
	}
	for call := range app.RateCosts {
		if !api.Serves(call) {
			return fmt.Errorf("rate_cost %s: there is no such call; it is a method and a path such as POST /v1/payments/{id}/capture", call)
		}
	}
	d.app, d.access = app, openAccessLog(ctx, app.Log())
	guarding := app.GuardConfig()
	guarding.Client, guarding.Origin, guarding.Original = client, origin, original
	d.guard = guard.New(guarding)
	if d.proxy, err = openPassing(app); err != nil {
		return err
	}
	d.api = api.New(api.Config{
		Engine: app.Engine(), Guard: d.guard, Proxy: d.proxy, Store: app.Store(), Pepper: app.Pepper(),
		Box: app.Box(), Tester: app.Outbox(), Starting: starting, Stopping: stopping, Targets: app.WebhookTargets(), IDs: app.IDs(), Now: time.Now, Log: app.Log(), Version: gateway.Version(),
		Origin: origin, Shed: app.Shed,
	})
	accounts := app.Accounts()
	d.inbox = inbox.New(inbox.Config{
		Engine:  app.Engine(),
		Account: func(name string) (*connector.Account, bool) { a, ok := accounts[name]; return a, ok },
		IDs:     app.IDs(), Now: time.Now, Log: app.Log(),
	})
	return nil
}

// starting tells that the first configuration of this process is on its way: Caddy
// starts a server before it has started everything else, and operators find nothing
// that runs until then.
func starting() bool {
	_, err := gateway.Running()
	return err != nil
}

// stopping tells that the server has begun to stop and still serves: Caddy's
// shutdown_delay.
func stopping(r *http.Request) bool {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return false
	}
	v, _ := repl.Get("http.shutting_down")
	down, _ := v.(bool)
	return down
}

// client is the address of a caller; behind the proxies that the server's option
// trusted_proxies names, it is the one that they tell.
func client(r *http.Request) netip.Addr {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return addr
}

// origin is the address under which a caller reached us: where a proxy that the
// server trusts says that it ended TLS, the scheme is https.
func origin(r *http.Request) string {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	if trusted && r.TLS == nil && r.Header.Get("X-Forwarded-Proto") == "https" {
		return "https://" + r.Host
	}
	return guard.Origin(r)
}

// original is a request as its caller sent it, whatever directives have rewritten
// since: that is what was signed.
func original(r *http.Request) *http.Request {
	first, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || first.URL == nil {
		return r
	}
	same := *r
	same.Method, same.URL, same.RequestURI = first.Method, first.URL, first.RequestURI
	return &same
}

// under tells whether a request's path begins with one of prefixes. The path is
// taken as it came, as the doors themselves take it.
func under(r *http.Request, prefixes []string) bool {
	path := r.URL.EscapedPath()
	for _, p := range prefixes {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}

// at tells whether a request's path is one of paths, taken as under takes it.
func at(r *http.Request, paths []string) bool {
	return slices.Contains(paths, r.URL.EscapedPath())
}

// maxBody bounds every body, in bytes, beneath the doors' own and tighter caps.
const maxBody = 1 << 20

// identityHeaders begin the names by which parts of a pipeline tell each other
// who calls. A caller may not speak for them.
var identityHeaders = []string{
	"X-Merchant-", "X-Purser-", "X-Payments-", "X-Forwarded-Client-Cert",
	// What a proxy that ends TLS tells of a client's certificate. TLS ends here.
	"Client-Cert", "X-Ssl-", "X-Client-",
}

// serve hands a request to a door. The doors answer all their failures by
// themselves, in the form that their callers read; Caddy's handle_errors is not
// for them.
func (d *doors) serve(h http.Handler, w http.ResponseWriter, r *http.Request) error {
	w, tell := d.access.watch(w, r)
	defer tell()
	prepare(w, r)
	hardenAnswer(w, r)
	endConnection(d.handover, w, r)
	// The configuration may end before the request does.
	defer d.app.Use()()
	d.observe(framing.Handler{Next: h, IDs: d.app.IDs()}, w, r)
	return nil
}

// prepare takes off a request what its sender may not say, and bounds its body.
func prepare(w http.ResponseWriter, r *http.Request) {
	for name := range r.Header {
		for _, prefix := range identityHeaders {
			if strings.HasPrefix(name, prefix) {
				r.Header.Del(name)
			}
		}
	}
	if r.Body != nil {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	}
}

var (
	_ caddyhttp.MiddlewareHandler = (*Gateway)(nil)
	_ caddyhttp.MiddlewareHandler = (*API)(nil)
	_ caddyhttp.MiddlewareHandler = (*Webhooks)(nil)
	_ caddyhttp.MiddlewareHandler = (*Auth)(nil)
	_ caddyhttp.MiddlewareHandler = (*RateLimit)(nil)
	_ caddyhttp.MiddlewareHandler = (*Signature)(nil)
	_ caddyhttp.MiddlewareHandler = (*Proxy)(nil)
	_ caddy.Provisioner           = (*doors)(nil)
)
