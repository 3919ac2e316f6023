package api

import (
	"bytes"
	"io"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/guard"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/signature"
)

const (
	proxyPath  = "/v1/proxy/"
	proxyRoute = "/v1/proxy/{account}/{path}"
)

// pass hands a call on to the own API of a PSP, after the checks that every call
// goes through. Its body is read here only where it is signed; else it streams.
func (a *API) pass(rq *request) (response, error) {
	rq.route = proxyRoute
	rq.call.Route = rq.http.Method + " " + proxyRoute
	if rq.http.ContentLength > maxPassed {
		return response{}, payment.Errorf(payment.CodeBodyTooLarge, "A body that is passed through has at most %d bytes.", maxPassed)
	}
	if err := a.cfg.Guard.Arrive(rq.call); err != nil {
		return response{}, err
	}
	if err := a.enter(rq, access.ProxyUse); err != nil {
		return response{}, err
	}
	if a.cfg.Proxy == nil {
		return response{}, payment.Errorf(payment.CodeNotFound, notFoundDetail)
	}
	to, err := a.cfg.Proxy.Find(rq.principal, rq.http)
	if isCode(err, payment.CodeMethodNotAllowed) {
		rq.w.Header().Set("Allow", proxyMethods)
	}
	if err != nil {
		return response{}, err
	}
	if err := a.verifyPassed(rq); err != nil {
		return response{}, err
	}
	account, path := to.Target()
	f := guard.Facts{Account: account, Proxy: rq.http.Method + " " + path}
	if _, err := a.cfg.Guard.Police(rq.call, a.cfg.Guard.Rules(), f); err != nil {
		return response{}, err
	}
	rq.tellLimits()
	if err := to.Serve(rq.w, rq.call); err != nil {
		return response{}, err
	}
	return response{sent: true}, nil
}

// proxyMethods are those that pass.
const proxyMethods = "DELETE, GET, HEAD, PATCH, POST, PUT"

// maxPassed bounds the body of a call that is passed through, in bytes.
const maxPassed = 1 << 20

// verifyPassed checks the signature of a call that is passed through. A body whose
// digest is to be compared is read whole, and put back.
func (a *API) verifyPassed(rq *request) error {
	h := rq.http.Header
	var body []byte
	if len(h[signature.HeaderDigest]) > 0 || signature.Present(h) {
		var err error
		if body, err = readBody(rq.w, rq.http); err != nil {
			return err
		}
		rq.http.Body = io.NopCloser(bytes.NewReader(body))
		rq.http.ContentLength = int64(len(body))
		rq.call.HTTP = rq.http
	}
	return a.cfg.Guard.Verify(rq.call, body)
}

// describePassed mentions the pass-through, whose answers are the PSP's own.
func describePassed(paths *members[pathItem]) {
	refusals := problems([]payment.Code{
		payment.CodeInvalidRequest, payment.CodeUnauthenticated, payment.CodeInsufficientScope, payment.CodePolicyDenied, payment.CodeNotFound,
		payment.CodeBodyTooLarge, payment.CodeNotSupported, payment.CodePANNotAllowed, payment.CodeRateLimited, payment.CodeInternal,
		payment.CodePSPUnavailable, payment.CodePSPNoAnswer, payment.CodeStoreUnavailable, payment.CodeOverloaded,
	})
	call := func(id string) *operation {
		return &operation{
			OperationID: id, Tags: []string{"proxy"}, Summary: "Call the PSP's own API",
			Description: "Nothing passes until a policy of the operator's allows the method and the path. The caller's credentials are taken off, and the " +
				"account's put in. The answer is the PSP's, whatever its status.\n\nScope: `" + string(access.ProxyUse) + "`.",
			Security:  credentials(string(access.ProxyUse)),
			Responses: append(members[*answer]{{"default", &answer{Description: "The PSP's own answer.", Headers: headers("Request-Id")}}}, refusals...),
		}
	}
	paths.add(proxyRoute, pathItem{
		Parameters: []*parameter{
			{Name: "account", In: "path", Required: true, Description: "The connector account's name.", Schema: accountName("")},
			{Name: "path", In: "path", Required: true, Description: "The PSP's own path, slashes included.", Schema: text("").long(1, 2048)},
		},
		Get: call("passGet"), Head: call("passHead"), Post: call("passPost"), Put: call("passPut"), Patch: call("passPatch"), Delete: call("passDelete"),
	})
}
