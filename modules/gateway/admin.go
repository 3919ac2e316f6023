package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/caddyserver/caddy/v2"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

func init() { caddy.RegisterModule(new(Admin)) }

// Admin serves operators, and the commands of purser, under /payments/ of
// Caddy's admin endpoint, and keeps /debug/ of it shut unless the app's option
// profiling opens it. It is never reachable on a public listener, and has no options.
type Admin struct{ mux *http.ServeMux }

var (
	_ caddy.AdminRouter = (*Admin)(nil)
	_ caddy.Provisioner = (*Admin)(nil)
)

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.payments", New: func() caddy.Module { return new(Admin) }}
}

// maxAdminBody bounds a request's body, in bytes.
const maxAdminBody = 64 << 10

// call is one request of an operator, to the app that runs at that moment.
type call struct {
	*App
	w       http.ResponseWriter
	r       *http.Request
	audited *bool // the act was written down
}

// adminRoute is a method and path, and what an operator does there; reading has
// no name, and is not written down.
type adminRoute struct {
	pattern, act string
	serve        func(call) error
}

var adminRoutes = []adminRoute{
	{"GET /payments/merchants", "", listMerchants},
	{"POST /payments/merchants", "merchants.create", createMerchant},
	{"GET /payments/keys", "", listKeys},
	{"POST /payments/keys", "keys.create", createKey},
	{"POST /payments/keys/{id}/rotate", "keys.rotate", rotateKey},
	{"POST /payments/keys/{id}/revoke", actRevokeKey, revokeKey},
	{"DELETE /payments/keys/{id}", actRevokeKey, revokeKey},
	{"GET /payments/token_revocations", "", listTokenRevocations},
	{"POST /payments/token_revocations", actRevokeTokens, revokeTokens},
	{"GET /payments/payments", "", listPayments},
	{"GET /payments/payments/{id}", "", getPayment},
	{"POST /payments/payments/{id}/sync", "payments.sync", syncPayment},
	{"POST /payments/payments/{id}/resolve", "payments.resolve", resolvePayment},
	{"GET /payments/events", "", listEvents},
	{"POST /payments/events/{id}/resend", actResendEvent, resendEvent},
	{"GET /payments/webhook_endpoints", "", listEndpoints},
	{"GET /payments/accounts", "", listAccounts},
	{"POST /payments/accounts/{name}/disable", "accounts.disable", disableAccount},
	{"POST /payments/accounts/{name}/enable", "accounts.enable", enableAccount},
	{"POST /payments/accounts/{name}/test", "accounts.test", testAccount},
	{"GET /payments/freeze", "", showFreeze},
	{"POST /payments/freeze", "freeze", freeze},
	{"POST /payments/unfreeze", "unfreeze", unfreeze},
	{"GET /payments/reconcile", "", showReconciliation},
	{"POST /payments/reconcile", "reconcile", reconcilePayments},
	{"GET /payments/store/backup", "", showBackup},
	{"POST /payments/store/backup", "store.backup", backUpStore},
	{"POST /payments/reload", "reload", reload},
}

const (
	actRevokeKey    = "keys.revoke"
	actRevokeTokens = "tokens.revoke"
)

// Provision builds the routes. Caddy keeps no state in an admin module: each
// request finds the running app by itself.
func (a *Admin) Provision(ctx caddy.Context) error {
	a.mux = http.NewServeMux()
	for _, route := range adminRoutes {
		a.mux.Handle(route.pattern, adminHandler(route))
	}
	if _, err := Running(); err == nil {
		// The endpoint is this configuration's from here on, even where it is refused:
		// what runs shall be seen all the same.
		return counters.register(ctx.GetMetricsRegistry())
	}
	return nil
}

// Routes hands every path under /payments/ to the admin's own routes, and stands
// before Caddy's under /debug/.
func (a *Admin) Routes() []caddy.AdminRoute {
	return append(debugRoutes(), caddy.AdminRoute{Pattern: "/payments/", Handler: caddy.AdminHandlerFunc(a.serve)})
}

// failed is how a route's error gets out of a http.ServeMux.
type failed struct {
	http.ResponseWriter
	err error
}

// Unwrap serves http.ResponseController.
func (f *failed) Unwrap() http.ResponseWriter { return f.ResponseWriter }

func (a *Admin) serve(w http.ResponseWriter, r *http.Request) error {
	if _, pattern := a.mux.Handler(r); pattern == "" {
		return a.noRoute(w, r)
	}
	f := &failed{ResponseWriter: w}
	a.mux.ServeHTTP(f, r)
	return f.err
}

// noRoute answers as Caddy's admin endpoint does, in JSON.
func (a *Admin) noRoute(w http.ResponseWriter, r *http.Request) error {
	probe := &http.Request{Method: r.Method, URL: r.URL, Host: r.Host}
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		probe.Method = method
		if _, pattern := a.mux.Handler(probe); pattern != "" {
			w.Header().Set("Allow", method)
			return apiError(http.StatusMethodNotAllowed, errors.New("method not allowed"))
		}
	}
	return apiError(http.StatusNotFound, errors.New("there is no such thing under /payments/"))
}

func adminHandler(route adminRoute) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f, _ := w.(*failed)
		app, err := Running()
		if err == nil {
			r.Body = http.MaxBytesReader(w, r.Body, maxAdminBody)
			c := call{app, w, r, new(bool)}
			if err = route.serve(c); err != nil && route.act != "" && !*c.audited {
				// It was refused before it came to anything.
				c.audit(route.act, r.PathValue("id")+r.PathValue("name"), err)
			}
		}
		if err != nil && f != nil {
			f.err = adminFailure(err)
		}
	}
}

func apiError(status int, err error) error { return caddy.APIError{HTTPStatus: status, Err: err} }

// adminFailure finds the status of an error.
func adminFailure(err error) error {
	var problem *payment.Error
	var tooLarge *http.MaxBytesError
	var done caddy.APIError
	switch {
	case errors.As(err, &done):
		return done
	case errors.As(err, &problem):
		return apiError(problem.Code.Info().Status, err)
	case errors.As(err, &tooLarge):
		return apiError(http.StatusRequestEntityTooLarge, err)
	case errors.Is(err, store.ErrNotFound):
		return apiError(http.StatusNotFound, err)
	case errors.Is(err, store.ErrCursor), errors.Is(err, access.ErrIssue), errors.Is(err, errRequest):
		return apiError(http.StatusBadRequest, err)
	case errors.Is(err, store.ErrConflict):
		return apiError(http.StatusConflict, err)
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, ErrNotRunning):
		return apiError(http.StatusServiceUnavailable, err)
	default:
		return apiError(http.StatusInternalServerError, err)
	}
}

// errRequest is wrapped by what is wrong with an operator's request.
var errRequest = errors.New("bad request")

// read takes the request's JSON body; no body leaves v as it is.
func (c call) read(v any) error {
	b, err := io.ReadAll(c.r.Body)
	if err != nil {
		return fmt.Errorf("read the body: %w", err)
	}
	if len(b) == 0 {
		return nil
	}
	if err := jsonv2.Unmarshal(b, v, jsonv2.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("%w: %w", errRequest, err)
	}
	return nil
}

// write answers with JSON.
func (c call) write(status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_, err = c.w.Write(append(b, '\n'))
	if err != nil {
		// The head is out: an error could no longer be answered.
		c.log.Warn("an admin answer was cut off", slog.Any("error", err))
	}
	return nil
}

// page is the form of a list.
type page struct {
	Object     string  `json:"object"`
	Data       any     `json:"data"`
	HasMore    bool    `json:"has_more"`
	NextCursor *string `json:"next_cursor"`
}

func (c call) list(data any, cursor string) error {
	p := page{Object: "list", Data: data, HasMore: cursor != ""}
	if cursor != "" {
		p.NextCursor = &cursor
	}
	return c.write(http.StatusOK, p)
}
