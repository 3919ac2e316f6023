package framing

import (
	"net/http"
	"strconv"
	"time"

	json "github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/payment"
)

// problemBase begins the type of every problem: the page that explains the code.
const problemBase = "https://github.com/purser-pay/purser/blob/main/docs/errors.md#"

// Problem is an error in the form that the whole gateway has (RFC 9457). It holds
// nothing of a request or of an error's cause.
type Problem struct {
	Type      string       `json:"type"`
	Title     string       `json:"title"`
	Status    int          `json:"status"`
	Detail    string       `json:"detail,omitzero"`
	Code      payment.Code `json:"code"`
	Param     string       `json:"param,omitzero"` // a header field
	RequestID string       `json:"request_id"`
	Retryable bool         `json:"retryable"`
	// Took is how long it took to come to it.
	Took time.Duration `json:"-"`
}

// codes are those that a status alone is enough to tell.
var codes = map[int]payment.Code{
	http.StatusUnauthorized:          payment.CodeUnauthenticated,
	http.StatusForbidden:             payment.CodePolicyDenied,
	http.StatusNotFound:              payment.CodeNotFound,
	http.StatusMethodNotAllowed:      payment.CodeMethodNotAllowed,
	http.StatusRequestEntityTooLarge: payment.CodeBodyTooLarge,
	http.StatusUnsupportedMediaType:  payment.CodeUnsupportedMediaType,
	http.StatusTooManyRequests:       payment.CodeRateLimited,
}

const unreachable = "The gateway was not reached, or did not answer in time. Repeat the call with the same Idempotency-Key."

var details = map[int]string{
	http.StatusBadRequest:                  "The request is malformed.",
	http.StatusForbidden:                   "This server does not serve this to you.",
	http.StatusNotFound:                    "There is nothing at this address.",
	http.StatusMethodNotAllowed:            "Nothing here takes this method.",
	http.StatusRequestTimeout:              "The request took too long to arrive.",
	http.StatusRequestEntityTooLarge:       "The body is larger than this server takes.",
	http.StatusRequestURITooLong:           "The request's target is longer than this server takes.",
	http.StatusMisdirectedRequest:          "This server does not serve the host that the request names.",
	http.StatusRequestHeaderFieldsTooLarge: "The header fields are more than this server takes.",
	http.StatusBadGateway:                  unreachable,
	http.StatusServiceUnavailable:          unreachable,
	http.StatusGatewayTimeout:              unreachable,
}

// ForStatus is the problem of a layer that knows no more than a status, 400 … 599;
// another one is 500. A status that no code stands for has the code of its class:
// invalid_request or internal_error.
func ForStatus(status int) Problem {
	if status < 400 || status > 599 {
		status = http.StatusInternalServerError
	}
	code, ok := codes[status]
	switch {
	case ok:
	case status < 500:
		code = payment.CodeInvalidRequest
	default:
		code = payment.CodeInternal
	}
	info := code.Info()
	p := Problem{
		Type: problemBase + string(code), Title: info.Title, Status: status, Detail: details[status], Code: code,
		Retryable: info.Retryable || status == http.StatusRequestTimeout,
	}
	if status == http.StatusNotImplemented || status == http.StatusHTTPVersionNotSupported {
		p.Retryable = false
	}
	if p.Detail == "" {
		p.Detail = http.StatusText(status)
	}
	return p
}

func refusal(status int, param, detail string) *Problem {
	p := ForStatus(status)
	p.Param, p.Detail = param, detail
	return &p
}

// Write sends the problem, in place of whatever answer was begun and not sent.
func (p Problem) Write(w http.ResponseWriter) {
	h := w.Header()
	for _, name := range []string{"Content-Encoding", "Content-Language", "Content-Range", "Etag", "Last-Modified", "Trailer"} {
		h.Del(name)
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Request-Id", p.RequestID)
	h.Set(payment.HeaderTiming, payment.ServerTiming(p.Took, 0))
	switch {
	case p.Status == http.StatusUnauthorized && h.Get("WWW-Authenticate") == "":
		h.Set("WWW-Authenticate", `Bearer realm="purser"`)
	case p.Status == http.StatusMethodNotAllowed && h.Get("Allow") == "":
		h.Set("Allow", allowed)
	case p.Status == http.StatusUnsupportedMediaType && p.Param == "Content-Encoding":
		h.Set("Accept-Encoding", "identity") // RFC 9110 §15.5.16
	case p.Status == http.StatusServiceUnavailable && h.Get("Retry-After") == "":
		h.Set("Retry-After", "1")
	}
	b, err := json.Marshal(&p)
	if err != nil { // a text that is not UTF-8; the status says enough
		b = []byte(`{"status":` + strconv.Itoa(p.Status) + `,"code":"` + string(p.Code) + `"}`)
	}
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(b) //nolint:gosec // G705: it is JSON and said to be; a caller that is gone cannot be told so
}
