package edge

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/purser-pay/purser/modules/api"
)

// observe serves a request and counts it.
func (d *doors) observe(h http.Handler, w http.ResponseWriter, r *http.Request) {
	route, method := routeLabel(r.URL.EscapedPath()), methodLabel(r.Method)
	began := time.Now()
	rec := caddyhttp.NewResponseRecorder(w, nil, nil) // it keeps nothing but the status
	h.ServeHTTP(rec, r)
	status := rec.Status()
	if status == 0 {
		status = http.StatusOK // as net/http takes it
	}
	d.app.ObserveRequest(route, method, status, time.Since(began))
}

// routeLabel is one of a fixed number of labels, whatever callers ask for.
func routeLabel(path string) string {
	switch {
	case strings.HasPrefix(path, "/webhooks/"):
		return "/webhooks/{account}"
	case strings.HasPrefix(path, "/return/"):
		return "/return/{path}"
	default:
		return api.Pattern(path)
	}
}

var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

// methodLabel bounds the methods in the same way.
func methodLabel(method string) string {
	if slices.Contains(methods, method) {
		return method
	}
	return api.Unrouted
}
