// Package api is the merchants' door: an http.Handler that turns requests into
// calls of the engine and its answers into JSON. It decides nothing about
// money. Whatever it refuses has left nothing behind.
package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/ratelimit"
	"github.com/purser-pay/purser/modules/seal"
	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/webhook"
)

// Engine is what the door needs of package engine.
type Engine interface {
	Create(ctx context.Context, c engine.Claim, in engine.Create) (engine.Answer, error)
	Confirm(ctx context.Context, c engine.Claim, id string, in engine.Confirm) (engine.Answer, error)
	Capture(ctx context.Context, c engine.Claim, id string, in engine.Capture) (engine.Answer, error)
	Cancel(ctx context.Context, c engine.Claim, id string, in engine.Cancel) (engine.Answer, error)
	Refund(ctx context.Context, c engine.Claim, in engine.Refund) (engine.Answer, error)
	Payment(ctx context.Context, s engine.Scope, id string, sync bool) (payment.Payment, error)
	RefundOf(ctx context.Context, s engine.Scope, id string) (payment.Payment, error)
	Patch(ctx context.Context, s engine.Scope, id string, in engine.Patch) (payment.Payment, error)
}

// Directory is what the door needs to know of callers; [access.Directory] is
// the real one.
type Directory interface {
	// Authenticate tells whose key a text is.
	Authenticate(ctx context.Context, text string) (access.Principal, error)
	Merchant(id string) (access.Merchant, bool)
}

// Config is what the door stands on. All fields are required but Tester, Targets,
// Random, Stopping, Origin, Limiter, Client and Version.
type Config struct {
	Engine    Engine
	Directory Directory
	Store     store.Store // for lists and events; the engine reads the rest
	// Pepper keys the fingerprints of requests.
	Pepper []byte
	// Box seals the secrets of webhook endpoints, and answers that hold one.
	Box *seal.Box
	// Targets says where webhooks may go; zero = https at public addresses.
	Targets webhook.Targets
	// Tester tries webhook endpoints; nil refuses to.
	Tester Tester
	// Random makes secrets; nil is crypto/rand.
	Random io.Reader
	IDs    *payment.IDs
	Now    func() time.Time
	Log    *slog.Logger
	// Stopping tells that the server of a request has begun to stop: /readyz then
	// sends balancers elsewhere while all else is still answered. Nil = never.
	Stopping func(*http.Request) bool
	// Origin tells the address under which a caller reached the gateway, such
	// as "https://pay.example.com"; nil takes it from the request itself.
	Origin func(*http.Request) string
	// Limiter bounds how much callers may ask; nil bounds nothing.
	Limiter Limiter
	// Client tells a caller's address; nil takes that of the connection.
	Client func(*http.Request) netip.Addr
	// Version is shown by /healthz.
	Version string
}

// API serves the merchants. It is safe for concurrent use.
type API struct {
	cfg Config
	// reference is made when somebody first asks for it.
	reference func() reference
}

// New returns the door.
func New(cfg Config) *API {
	if cfg.Origin == nil {
		cfg.Origin = origin
	}
	if cfg.Client == nil {
		cfg.Client = remote
	}
	return &API{cfg: cfg, reference: sync.OnceValue(func() reference { return newReference(cfg.Version) })}
}

// request is one call on its way through the door.
type request struct {
	http  *http.Request
	w     http.ResponseWriter
	start time.Time
	reqID string
	route string // the pattern, for logs
	// id is the {id} of the route.
	id   string
	body []byte
	// principal is set once the caller is known.
	principal access.Principal
	// limits are the windows that counted the call.
	limits []ratelimit.State
	// done ends what counts calls in flight; see [API.limit].
	done []func()
}

// now is when the request began, as records keep it.
func (rq *request) now() time.Time { return rq.start.UTC().Truncate(time.Millisecond) }

func (rq *request) scope() engine.Scope {
	return engine.Scope{Merchant: rq.principal.Merchant, Mode: rq.principal.Mode}
}

// response is what goes back. Its body is whole before its first byte leaves,
// so that a failure on the way can still be told.
type response struct {
	status      int
	contentType string // "" = application/json
	body        []byte
	replayed    bool
	psp         time.Duration // spent waiting for PSPs
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rq := &request{http: r, w: w, start: a.cfg.Now(), reqID: a.cfg.IDs.New(payment.PrefixRequest)}
	h := w.Header()
	h.Set("Request-Id", rq.reqID)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.ProtoMajor == 1 && len(r.TransferEncoding) > 0 {
		// RFC 9112 §6.1: where Content-Length came along as well, the message may
		// be an attempt at request smuggling, and the Go server has removed the
		// evidence. So no chunked request is followed by another.
		h.Set("Connection", "close")
	}
	defer rq.land()
	defer a.recover(rq)
	res, err := a.handle(rq)
	if err != nil {
		res = a.problem(rq, err)
	}
	a.write(rq, res)
}

// recover turns a panic into an answer. Nothing has been written by then:
// write is the last step.
func (a *API) recover(rq *request) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v) // net/http's own way to cut a connection
	}
	// The value may hold anything, a card number included; its type does not.
	a.cfg.Log.Error("panic while serving",
		slog.String("request_id", rq.reqID), slog.String("route", rq.route),
		slog.String("panic", payment.MaskPANs(panicText(v))), slog.String("stack", string(debug.Stack())))
	a.write(rq, a.render(rq, &payment.Error{Code: payment.CodeInternal, Detail: internalDetail}))
}

// handle runs the checks in the order of the contract: size, the limit of the
// caller's address, authentication, the limits of key and merchant, what may not
// be here at all, scope; then the endpoint validates and looks at the
// Idempotency-Key.
func (a *API) handle(rq *request) (response, error) {
	ep, err := a.find(rq)
	if err == nil && ep.body {
		rq.body, err = readBody(rq.w, rq.http)
		defer clear(rq.body) // card data stays no longer than it must
	}
	if err != nil && classify(err).Code == payment.CodeBodyTooLarge {
		return response{}, err
	}
	// What is not found and what cannot be read count as well.
	if !ep.probe {
		if err := a.arrive(rq); err != nil {
			return response{}, err
		}
	}
	if err != nil {
		return response{}, err
	}
	if ep.open {
		return ep.serve(a, rq)
	}
	if err := a.authenticate(rq); err != nil {
		return response{}, err
	}
	if err := a.admit(rq, ep); err != nil {
		return response{}, err
	}
	if err := refusePANs(rq.http); err != nil {
		return response{}, err
	}
	if !rq.principal.Has(ep.scope) {
		return response{}, payment.Errorf(payment.CodeInsufficientScope, "This call needs the scope %s.", ep.scope)
	}
	if ep.prefix != "" && !payment.IsID(ep.prefix, rq.id) {
		return response{}, payment.Errorf(payment.CodeNotFound, notFoundDetail)
	}
	return ep.serve(a, rq)
}

// write sends a response, once.
func (a *API) write(rq *request, res response) {
	h := rq.w.Header()
	if res.contentType == "" {
		res.contentType = contentJSON
	}
	h.Set("Content-Type", res.contentType)
	if policy, limit := ratelimit.Fields(rq.limits); policy != "" {
		h.Set("RateLimit-Policy", policy)
		h.Set("RateLimit", limit)
	}
	if res.replayed {
		h.Set("Idempotent-Replayed", "true")
	}
	h.Set("Content-Length", strconv.Itoa(len(res.body)))
	h.Set("Server-Timing", serverTiming(a.cfg.Now().Sub(rq.start), res.psp))
	rq.w.WriteHeader(res.status)
	if _, err := rq.w.Write(res.body); err != nil {
		// The caller has gone. What was done is recorded, and a repeat with the
		// same Idempotency-Key hears of it.
		return
	}
}

// serverTiming tells what this request took: total − psp is the gateway's own
// part, in milliseconds.
func serverTiming(total, psp time.Duration) string {
	b := make([]byte, 0, 48)
	b = append(b, "total;dur="...)
	b = strconv.AppendFloat(b, float64(total.Microseconds())/1000, 'f', 2, 64)
	b = append(b, ", psp;dur="...)
	b = strconv.AppendFloat(b, float64(psp.Microseconds())/1000, 'f', 2, 64)
	return string(b)
}

// origin is the address under which the caller reached us. The caller is an
// authenticated merchant, who may only mislead their own payers.
func origin(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}
