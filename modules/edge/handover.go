package edge

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/purser-pay/purser/modules/gateway"
)

func init() {
	caddy.RegisterModule(new(Handover))
	httpcaddyfile.RegisterHandlerDirective("payments_handover", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return new(Handover), bare(h.Dispenser)
	})
	// Before whatever may answer.
	httpcaddyfile.RegisterDirectiveOrder("payments_handover", httpcaddyfile.Before, "tracing")
}

// Handover lets reloads of a site drop no request: its server's socket passes to the
// new configuration, and for 0.4 s the old one ends its HTTP/1.1 connections with an
// answer. And what tells a secret is kept out of the access log. The gateway's own
// handlers do both by themselves; this is for the balancer before them. It needs no
// payments app.
//
// Caddyfile:
//
//	payments_handover
type Handover struct {
	handover *gateway.Handover
	access   *accessLog
}

// CaddyModule returns the Caddy module information.
func (*Handover) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.payments_handover", New: func() caddy.Module { return new(Handover) }}
}

// Provision joins in the configuration's handover.
func (h *Handover) Provision(ctx caddy.Context) (err error) {
	h.access = openAccessLog(ctx, ctx.Slogger())
	h.handover, err = gateway.JoinHandover(ctx)
	return err
}

// ServeHTTP passes the request on.
func (h *Handover) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	w, tell := h.access.watch(w, r)
	defer tell()
	endConnection(h.handover, w, r)
	return next.ServeHTTP(w, r)
}

// endConnection has an answer end its connection where another configuration takes
// over. HTTP/2 has a word of its own for that.
func endConnection(h *gateway.Handover, w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 && h.Leaving() {
		w.Header().Set("Connection", "close")
	}
}

var (
	_ caddy.Provisioner           = (*Handover)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handover)(nil)
)
