package stripesim

import (
	"net/http"

	"github.com/purser-pay/purser/modules/simulator/books"
)

// apiError is Stripe's error object.
type apiError struct {
	status  int
	kind    string // type; "" = invalid_request_error
	code    string
	decline string
	advice  string
	network string
	message string
	param   string
	charge  string
	intent  []byte        // the PaymentIntent, rendered, where there is one
	wrong   func() []byte // the whole body with another amount; nil where it has none
}

// Error is what went wrong, for a log.
func (e *apiError) Error() string { return e.message }

func (e *apiError) body() []byte {
	kind := e.kind
	if kind == "" {
		kind = "invalid_request_error"
	}
	o := books.NewDocument(256 + len(e.intent)).Open("error")
	o.Some("advice_code", e.advice).Some("charge", e.charge).Some("code", e.code).Some("decline_code", e.decline)
	if e.code != "" {
		o.Text("doc_url", "https://docs.stripe.com/error-codes/"+e.code)
	}
	o.Text("message", e.message).Some("network_decline_code", e.network).Some("param", e.param)
	if e.intent != nil {
		o.Raw("payment_intent", e.intent)
	}
	return o.Text("type", kind).Close().Bytes()
}

func invalid(code, param, message string) *apiError {
	return &apiError{status: http.StatusBadRequest, code: code, param: param, message: message}
}

func missing(what, id, param string) *apiError {
	return &apiError{
		status: http.StatusNotFound, code: "resource_missing", param: param,
		message: "No such " + what + ": '" + id + "'",
	}
}

// wall is what Stripe's edge says.
var wall = books.Wall{
	Replays: true,
	E500:    func() books.Answer { return e500 },
	E429:    func() books.Answer { return e429 },
}

var (
	e500 = books.Answer{Status: http.StatusInternalServerError, Body: (&apiError{
		kind: "api_error", message: "An unknown error occurred.",
	}).body()}
	e429 = books.Answer{Status: http.StatusTooManyRequests, Body: (&apiError{
		code: "rate_limit", message: "Too many requests hit the API too quickly.",
	}).body()}
)
