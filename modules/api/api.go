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
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/guard"
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

// Proxy passes calls through to the own API of a PSP.
type Proxy interface {
	// Find tells where a call is to go, if the caller has an account there. The error
	// is a [*payment.Error].
	Find(p access.Principal, r *http.Request) (Passage, error)
}

// Passage is where one call is to be passed through to.
type Passage interface {
	// Target is the connector account, and the path at the PSP with its encodings.
	Target() (account, path string)
	// Serve passes the call on and answers it. An error has sent nothing to the
	// caller.
	Serve(w http.ResponseWriter, c *guard.Call) error
}

// Config is what the door stands on. All fields are required but Tester, Targets,
// Random, Starting, Stopping, Origin, Proxy, Shed and Version.
type Config struct {
	Engine Engine
	// Guard decides who may call.
	Guard *guard.Guard
	// Proxy passes calls through; nil passes none.
	Proxy Proxy
	// Shed lets a call in, or tells how long it is to wait because there is too much
	// to do; nil lets everybody in.
	Shed  func(p access.Principal, method, route string) (leave func(), wait time.Duration)
	Store store.Store // for lists and events; the engine reads the rest
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
	// Starting tells that nothing runs yet but what is about to: /readyz then answers
	// 503. Nil never does.
	Starting func() bool
	// Stopping tells that the server of a request has begun to stop: /readyz then
	// sends balancers elsewhere while all else is still answered. Nil = never.
	Stopping func(*http.Request) bool
	// Origin tells the address under which a caller reached the gateway, such
	// as "https://pay.example.com"; nil takes it from the request itself.
	Origin func(*http.Request) string
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
		cfg.Origin = guard.Origin
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
	// call is the request on its way through the guard's steps; owner tells that it
	// was begun here.
	call  *guard.Call
	owner bool
	// ep is what was asked for.
	ep endpoint
	// principal is set once the caller is known.
	principal access.Principal
	// ruling is what the policies leave.
	ruling guard.Ruling
	// unread is why the policies could not read the body.
	unread error
	// retry is what Retry-After asks for; 0 = it is not there.
	retry time.Duration
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
	sent        bool          // somebody else has answered
	psp         time.Duration // spent waiting for PSPs
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rq := a.begin(w, r)
	h := w.Header()
	rq.head(h)
	if r.ProtoMajor == 1 && len(r.TransferEncoding) > 0 {
		// RFC 9112 §6.1: where Content-Length came along as well, the message may
		// be an attempt at request smuggling, and the Go server has removed the
		// evidence. So no chunked request is followed by another.
		h.Set("Connection", "close")
	}
	if rq.owner {
		defer rq.call.Land()
	}
	defer a.recover(rq)
	res, err := a.handle(rq)
	switch {
	case err != nil:
		res = a.problem(rq, err)
	case res.sent:
		return
	}
	a.write(rq, res)
}

// begin puts together what a request needs. The call belongs to it, unless a
// handler before it has begun it.
func (a *API) begin(w http.ResponseWriter, r *http.Request) *request {
	rq := &request{http: r, w: w, start: a.cfg.Now()}
	rq.call, rq.owner = a.cfg.Guard.Begin(r, a.cfg.IDs)
	rq.reqID, rq.principal = rq.call.ID, rq.call.Principal
	return rq
}

// head sets what every answer has. Names are in their canonical form.
func (rq *request) head(h http.Header) {
	h["Request-Id"] = []string{rq.reqID}
	h["Cache-Control"], h["X-Content-Type-Options"] = noStore, noSniff
}

// All answers share these; nobody writes into a header's values.
var noStore, noSniff = []string{"no-store"}, []string{"nosniff"}

// Refuse answers a request with an error, as the door itself does. It is for the
// handlers that run single steps of the guard's.
func (a *API) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	rq := a.begin(w, r)
	rq.head(w.Header())
	a.write(rq, a.problem(rq, err))
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
// be here at all, scope, signature, policies; then the endpoint validates and looks
// at the Idempotency-Key.
func (a *API) handle(rq *request) (response, error) {
	if strings.HasPrefix(rq.http.URL.EscapedPath(), proxyPath) {
		return a.pass(rq)
	}
	ep, err := a.find(rq)
	rq.ep, rq.call.Route = ep, ep.method+" "+rq.route
	switch {
	case err != nil:
	case ep.body:
		rq.body, err = readBody(rq.w, rq.http)
		defer clear(rq.body) // card data stays no longer than it must
	default:
		err = skipBody(rq.w, rq.http)
	}
	if err != nil && classify(err).Code == payment.CodeBodyTooLarge {
		return response{}, err
	}
	// What is not found and what cannot be read count as well.
	if !ep.probe {
		if err := a.cfg.Guard.Arrive(rq.call); err != nil {
			return response{}, err
		}
	}
	if err != nil {
		return response{}, err
	}
	if ep.open {
		return ep.serve(a, rq)
	}
	if err := a.enter(rq, ep.scope); err != nil {
		return response{}, err
	}
	if ep.prefix != "" && !payment.IsID(ep.prefix, rq.id) {
		return response{}, payment.Errorf(payment.CodeNotFound, notFoundDetail)
	}
	if err := a.cfg.Guard.Verify(rq.call, rq.body); err != nil {
		return response{}, err
	}
	if err := a.police(rq); err != nil {
		return response{}, err
	}
	return ep.serve(a, rq)
}

// enter finds out who calls, and whether they may call this, now.
func (a *API) enter(rq *request, need access.Scope) error {
	if err := a.cfg.Guard.Authenticate(rq.call); err != nil {
		return err
	}
	rq.principal = rq.call.Principal
	if err := a.cfg.Guard.Admit(rq.call); err != nil {
		return err
	}
	if err := refusePANs(rq.http); err != nil {
		return err
	}
	if !rq.principal.Has(need) {
		return payment.Errorf(payment.CodeInsufficientScope, "This call needs the scope %s.", need)
	}
	if a.cfg.Shed == nil {
		return nil
	}
	leave, wait := a.cfg.Shed(rq.principal, rq.http.Method, rq.call.Route)
	if leave == nil {
		return &payment.Error{
			Code: payment.CodeOverloaded, RetryAfter: wait,
			Detail: "There is more to do than can be done now. Repeat the call with the same Idempotency-Key, as late as Retry-After says.",
		}
	}
	rq.call.Leave(leave)
	return nil
}

// write sends a response, once.
func (a *API) write(rq *request, res response) {
	h := rq.w.Header()
	if res.contentType == "" {
		res.contentType = contentJSON
	}
	h.Set("Content-Type", res.contentType)
	rq.tellLimits()
	if res.replayed {
		h.Set("Idempotent-Replayed", "true")
	}
	h.Set("Content-Length", strconv.Itoa(len(res.body)))
	if err := a.cfg.Guard.Sign(rq.call, res.status, h, res.body); err != nil {
		// What was done is done, and the caller sees that the signature is not there.
		a.cfg.Log.Error("answer not signed", slog.String("request_id", rq.reqID), slog.String("error", err.Error()))
	}
	h.Set(payment.HeaderTiming, payment.ServerTiming(a.cfg.Now().Sub(rq.call.Began), res.psp))
	rq.w.WriteHeader(res.status)
	if _, err := rq.w.Write(res.body); err != nil {
		// The caller has gone. What was done is recorded, and a repeat with the
		// same Idempotency-Key hears of it.
		return
	}
}

// tellLimits sets the fields that tell of the caller's limits.
func (rq *request) tellLimits() {
	if policy, limit := ratelimit.FieldsAfter(rq.call.Limits, rq.retry); policy != "" {
		h, values := rq.w.Header(), [...]string{policy, limit}
		h["Ratelimit-Policy"], h["Ratelimit"] = values[:1:1], values[1:]
	}
}
