package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
)

// endpoint is one method of a route.
type endpoint struct {
	method string
	scope  access.Scope
	// open endpoints ask for no credential.
	open bool
	// probe endpoints are asked by machines that watch, and count for no limit.
	probe bool
	// body tells that the request's body is read; elsewhere a small one is ignored.
	body  bool
	serve func(*API, *request) (response, error)
	// creates endpoints make a payment, and what they leave out has defaults.
	creates bool
	// amount is what a call on a payment is about where it does not say it; nil = it
	// is about no amount.
	amount func(*payment.Payment) int64
	// prefix is the route's.
	prefix string
}

// route is a path, in which the segment {id} stands for an ID.
type route struct {
	pattern string
	// prefix is that of the IDs that {id} stands for.
	prefix    string
	segments  []string
	endpoints []endpoint
}

// routes is everything that the door serves.
var routes = compile([]route{
	{pattern: "/v1/payments", endpoints: []endpoint{
		{method: "POST", scope: access.PaymentsWrite, body: true, serve: (*API).createPayment, creates: true},
		{method: "GET", scope: access.PaymentsRead, serve: (*API).listPayments},
	}},
	{pattern: "/v1/payments/{id}", prefix: payment.PrefixPayment, endpoints: []endpoint{
		{method: "GET", scope: access.PaymentsRead, serve: (*API).getPayment},
		{method: "PATCH", scope: access.PaymentsWrite, body: true, serve: (*API).patchPayment},
	}},
	{pattern: "/v1/payments/{id}/confirm", prefix: payment.PrefixPayment, endpoints: []endpoint{
		{method: "POST", scope: access.PaymentsWrite, body: true, serve: (*API).confirmPayment, amount: wholeAmount},
	}},
	{pattern: "/v1/payments/{id}/capture", prefix: payment.PrefixPayment, endpoints: []endpoint{
		{method: "POST", scope: access.PaymentsWrite, body: true, serve: (*API).capturePayment, amount: capturableRest},
	}},
	{pattern: "/v1/payments/{id}/cancel", prefix: payment.PrefixPayment, endpoints: []endpoint{
		{method: "POST", scope: access.PaymentsWrite, body: true, serve: (*API).cancelPayment},
	}},
	{pattern: "/v1/refunds", endpoints: []endpoint{
		{method: "POST", scope: access.RefundsWrite, body: true, serve: (*API).createRefund, amount: refundableRest},
		{method: "GET", scope: access.RefundsRead, serve: (*API).listRefunds},
	}},
	{pattern: "/v1/refunds/{id}", prefix: payment.PrefixRefund, endpoints: []endpoint{
		{method: "GET", scope: access.RefundsRead, serve: (*API).getRefund},
	}},
	{pattern: "/v1/events", endpoints: []endpoint{
		{method: "GET", scope: access.EventsRead, serve: (*API).listEvents},
	}},
	{pattern: "/v1/events/{id}", prefix: payment.PrefixEvent, endpoints: []endpoint{
		{method: "GET", scope: access.EventsRead, serve: (*API).getEvent},
	}},
	{pattern: "/v1/events/{id}/resend", prefix: payment.PrefixEvent, endpoints: []endpoint{
		{method: "POST", scope: access.WebhooksWrite, body: true, serve: (*API).resendEvent},
	}},
	{pattern: "/v1/webhook_endpoints", endpoints: []endpoint{
		{method: "POST", scope: access.WebhooksWrite, body: true, serve: (*API).createEndpoint},
		{method: "GET", scope: access.WebhooksRead, serve: (*API).listEndpoints},
	}},
	{pattern: "/v1/webhook_endpoints/{id}", prefix: payment.PrefixEndpoint, endpoints: []endpoint{
		{method: "GET", scope: access.WebhooksRead, serve: (*API).getEndpoint},
		{method: "PATCH", scope: access.WebhooksWrite, body: true, serve: (*API).patchEndpoint},
		{method: "DELETE", scope: access.WebhooksWrite, serve: (*API).deleteEndpoint},
	}},
	{pattern: "/v1/webhook_endpoints/{id}/rotate", prefix: payment.PrefixEndpoint, endpoints: []endpoint{
		{method: "POST", scope: access.WebhooksWrite, body: true, serve: (*API).rotateEndpoint},
	}},
	{pattern: "/v1/webhook_endpoints/{id}/test", prefix: payment.PrefixEndpoint, endpoints: []endpoint{
		{method: "POST", scope: access.WebhooksWrite, body: true, serve: (*API).testEndpoint},
	}},
	{pattern: "/v1/webhook_endpoints/{id}/deliveries", prefix: payment.PrefixEndpoint, endpoints: []endpoint{
		{method: "GET", scope: access.WebhooksRead, serve: (*API).listDeliveries},
	}},
	{pattern: "/v1/account", endpoints: []endpoint{
		{method: "GET", scope: access.AccountRead, serve: (*API).getAccount},
	}},
	{pattern: "/healthz", endpoints: []endpoint{{method: "GET", open: true, probe: true, serve: (*API).health}}},
	{pattern: "/readyz", endpoints: []endpoint{{method: "GET", open: true, probe: true, serve: (*API).ready}}},
	{pattern: "/openapi.json", endpoints: []endpoint{{method: "GET", open: true, serve: (*API).openAPI}}},
	{pattern: "/docs", endpoints: []endpoint{{method: "GET", open: true, serve: (*API).docs}}},
})

func compile(rs []route) []route {
	for i := range rs {
		rs[i].segments = strings.Split(rs[i].pattern[1:], "/")
	}
	return rs
}

// find returns the endpoint of a request. Paths are taken literally: nothing is
// cleaned, unescaped or redirected, so that every door reads the same path.
func (a *API) find(rq *request) (endpoint, error) {
	path := rq.http.URL.EscapedPath()
	for i := range routes {
		id, ok := routes[i].match(path)
		if !ok {
			continue
		}
		rq.route, rq.id = routes[i].pattern, id
		method := rq.http.Method
		if method == http.MethodHead {
			method = http.MethodGet // net/http leaves the body out
		}
		for _, ep := range routes[i].endpoints {
			if ep.method == method {
				ep.prefix = routes[i].prefix
				return ep, nil
			}
		}
		rq.w.Header().Set("Allow", routes[i].allow())
		return endpoint{}, payment.Errorf(payment.CodeMethodNotAllowed, "This resource takes %s.", routes[i].allow())
	}
	return endpoint{}, payment.Errorf(payment.CodeNotFound, notFoundDetail)
}

func (r *route) match(path string) (id string, ok bool) {
	for _, want := range r.segments {
		if path == "" || path[0] != '/' {
			return "", false
		}
		var have string
		have, path = path[1:], ""
		if slash := strings.IndexByte(have, '/'); slash >= 0 {
			have, path = have[:slash], have[slash:]
		}
		switch {
		case want == "{id}" && have != "":
			id = have
		case want != have:
			return "", false
		}
	}
	return id, path == ""
}

// Allow is the Allow field for what a request asks for; "" = there is no such
// resource.
func (a *API) Allow(r *http.Request) string {
	path := r.URL.EscapedPath()
	if strings.HasPrefix(path, proxyPath) {
		return proxyMethods
	}
	for i := range routes {
		if _, ok := routes[i].match(path); ok {
			return routes[i].allow()
		}
	}
	return ""
}

func (r *route) allow() string {
	var methods []string
	for _, ep := range r.endpoints {
		methods = append(methods, ep.method)
		if ep.method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}
