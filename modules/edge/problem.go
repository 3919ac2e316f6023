package edge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/purser-pay/purser/modules/framing"
	"github.com/purser-pay/purser/modules/payment"
)

func init() {
	caddy.RegisterModule(new(Problem))
	httpcaddyfile.RegisterHandlerDirective("payments_problem", parseProblem)
	// Behind everything else that answers.
	httpcaddyfile.RegisterDirectiveOrder("payments_problem", httpcaddyfile.After, "acme_server")
}

// Problem answers with an error in the form of the gateway's own: problem+json
// (RFC 9457) and a Request-Id. In handle_errors it is the error that another
// handler of Caddy, or Caddy itself, has returned; elsewhere it stands at the end
// of a site and answers what nothing else did, which Caddy would call 200. It
// says nothing of an error's cause; Caddy's log has that.
//
// It needs no payments app, so that a balancer before the gateways has it too.
//
// Caddyfile:
//
//	payments_problem [STATUS]
type Problem struct {
	// Status is the answer's where there is no error, 400 … 599; 0 = 404.
	Status int `json:"status,omitempty"`

	access *accessLog
}

// CaddyModule returns the Caddy module information.
func (*Problem) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.payments_problem", New: func() caddy.Module { return new(Problem) }}
}

func parseProblem(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next()
	p := new(Problem)
	if h.NextArg() {
		status, err := strconv.Atoi(h.Val())
		if err != nil || !isError(status) {
			return nil, h.Errf("payments_problem takes a status of 400 to 599, not %q", h.Val())
		}
		p.Status = status
	}
	if h.NextArg() {
		return nil, h.Errf("payments_problem takes one status, and no argument %q", h.Val())
	}
	for nesting := h.Nesting(); h.NextBlock(nesting); {
		return nil, h.Errf("payments_problem has no option %q", h.Val())
	}
	return p, nil
}

func isError(status int) bool { return status >= 400 && status <= 599 }

// Provision readies the log.
func (p *Problem) Provision(ctx caddy.Context) error {
	p.access = openAccessLog(ctx, ctx.Slogger())
	return nil
}

// Validate refuses a status that is no error.
func (p *Problem) Validate() error {
	if p.Status != 0 && !isError(p.Status) {
		return fmt.Errorf("payments_problem: status %d is not one of 400 to 599", p.Status)
	}
	return nil
}

// problemIDs makes the IDs of the answers of all configurations.
var problemIDs payment.IDs

// ServeHTTP answers.
func (p *Problem) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	w, tell := p.access.watch(w, r)
	defer tell()
	problem := p.problem(r)
	problem.RequestID = problemIDs.New(payment.PrefixRequest)
	if r.ProtoMajor == 1 && (r.ContentLength != 0 || problem.Status < 500) {
		// Nobody knows how much of its body was read, or whether the caller and we
		// read the same request. A balancer without nodes keeps its connections.
		w.Header().Set("Connection", "close")
	}
	problem.Write(w)
	return nil
}

// problem is what a request's error amounts to. Without one, whatever is wrong
// with the request itself goes before the handler's own status.
func (p *Problem) problem(r *http.Request) framing.Problem {
	if err, ok := r.Context().Value(caddyhttp.ErrorCtxKey).(error); ok {
		if he, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
			return framing.ForStatus(he.StatusCode)
		}
		return framing.ForStatus(http.StatusInternalServerError)
	}
	if found := (framing.Limits{}).Check(r); found != nil {
		return *found
	}
	switch {
	case r.Host == "": // HTTP/1.0; it asks for no site at all
		return framing.ForStatus(http.StatusBadRequest)
	case p.Status == 0:
		return framing.ForStatus(http.StatusNotFound)
	default:
		return framing.ForStatus(p.Status)
	}
}

// problemRoute is what a server does about errors that no handle_errors takes.
var problemRoute = json.RawMessage(`{"handler":"payments_problem"}`)

// shapeErrors gives the server on which a door stands our form of errors, whatever
// its sites leave out: those of a site without handle_errors, and those that are
// of no site, such as a request without a host. The server provisions its error
// routes after its handlers.
func shapeErrors(ctx caddy.Context) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || server == nil {
		return // the door stands on none, as in a test
	}
	if server.Errors == nil {
		server.Errors = new(caddyhttp.HTTPErrorConfig)
	}
	for _, r := range server.Errors.Routes {
		if len(r.MatcherSetsRaw) == 0 && len(r.HandlersRaw) == 1 && bytes.Equal(r.HandlersRaw[0], problemRoute) {
			return // another door was here
		}
	}
	server.Errors.Routes = append(server.Errors.Routes, caddyhttp.Route{HandlersRaw: []json.RawMessage{problemRoute}})
}

var (
	_ caddyhttp.MiddlewareHandler = (*Problem)(nil)
	_ caddy.Provisioner           = (*Problem)(nil)
	_ caddy.Validator             = (*Problem)(nil)
)
