package edge

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/purser-pay/purser/modules/api"
)

// observe serves a request and counts it.
func (d *doors) observe(h http.Handler, w http.ResponseWriter, r *http.Request) {
	route, method := routeLabel(r.URL.EscapedPath()), methodLabel(r.Method)
	began := time.Now()
	seen := &observed{ResponseWriter: w}
	h.ServeHTTP(seen, r)
	if seen.status == 0 {
		seen.status = http.StatusOK // as net/http takes silence
	}
	d.app.ObserveRequest(route, method, seen.status, time.Since(began))
}

// observed remembers the status of an answer.
type observed struct {
	http.ResponseWriter
	status int // 0 = none was sent
}

// WriteHeader sends the status.
func (o *observed) WriteHeader(status int) {
	if o.status == 0 && status >= http.StatusOK { // before it there may be some of 1xx
		o.status = status
	}
	o.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the body, and before it the status where nobody has.
func (o *observed) Write(b []byte) (int, error) {
	if o.status == 0 {
		o.status = http.StatusOK
	}
	return o.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (o *observed) Unwrap() http.ResponseWriter { return o.ResponseWriter }

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
