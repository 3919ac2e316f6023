package connector

import (
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// Passer is implemented by connectors through which a merchant may call the
// PSP's own API: the gateway passes a request on as it came, with the account's
// credentials in place of the caller's. It never decides what such a request
// may do; a policy does, by method and path.
type Passer interface {
	// Pass says what goes through. It returns the same value on every call.
	Pass() Pass

	// Authorize puts the account's credentials on r, whose URL is the PSP's with
	// the caller's path and query, and whose Header holds what [Pass] lets through
	// and nothing else. It may change both, but not where r goes.
	//
	// body is the caller's where [Pass.Signs], and what is returned is sent in its
	// place; elsewhere body is nil, and so is what is returned: the body is not
	// looked at. Op, Step, Done, Reference, Key and Sent of c are zero.
	//
	// An error that is a [PassError] is the caller's fault and is told to them;
	// one that wraps [ErrUnsupported] says that the PSP's API is not open this
	// way. Any other is ours. Nothing was sent in any case.
	Authorize(c Call, r *http.Request, body []byte) ([]byte, error)
}

// Pass is what goes through a [Passer]. Its zero value lets through what every
// API needs, see [Pass.Request] and [Pass.Response], and a body of 1 MiB.
type Pass struct {
	// RequestHeaders go to the PSP and ResponseHeaders come back, beyond those
	// that always do; in canonical form. All others are left out.
	RequestHeaders, ResponseHeaders []string
	// MaxBody bounds the caller's body, in bytes; 0 = 1 MiB. Where Signs it is at
	// most [MaxSigned], which is also the default there.
	MaxBody int64
	// Signs tells that Authorize needs the whole body.
	Signs bool
}

// Bounds of a caller's body, in bytes.
const (
	DefaultPassBody = 1 << 20
	MaxSigned       = 64 << 10
)

// Limit returns how large a caller's body may be, in bytes.
func (p Pass) Limit() int64 {
	switch {
	case p.MaxBody > 0:
		return p.MaxBody
	case p.Signs:
		return MaxSigned
	default:
		return DefaultPassBody
	}
}

var (
	passedRequest  = []string{"Accept", "Accept-Encoding", "Accept-Language", "Content-Type"}
	passedResponse = []string{
		"Content-Disposition", "Content-Encoding", "Content-Language", "Content-Length", "Content-Type", "Etag",
		"Last-Modified", "Location", "Retry-After", "Vary",
	}
)

// Request lists every header that goes to the PSP.
func (p Pass) Request() []string { return slices.Concat(passedRequest, p.RequestHeaders) }

// Response lists every header that comes back from the PSP.
func (p Pass) Response() []string { return slices.Concat(passedResponse, p.ResponseHeaders) }

// neverPassed are credentials of callers, what says who they are, what the
// framing of messages is made of, and what a browser would take for the
// gateway's own word on its site. A name that ends in "-" stands for all that
// begin so.
var neverPassed = []string{
	"Authorization", "Cookie", "Cookie2", "Dpop", "Proxy-", "Purser-", "Set-Cookie", "Set-Cookie2", "Signature", "Signature-", "Www-Authenticate", "X-Api-Key",
	"Client-Cert", "Client-Cert-", "Forwarded", "Via", "X-Forwarded-", "X-Merchant-", "X-Payments-", "X-Purser-", "X-Real-Ip",
	"Connection", "Expect", "Host", "Http2-Settings", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent",
	"Access-Control-", "Alt-Svc", "Clear-Site-Data", "Content-Security-Policy", "Nel", "Refresh", "Report-To", "Reporting-Endpoints",
	"Service-Worker-Allowed", "Sourcemap", "Strict-Transport-Security", "X-Accel-", "X-Sendfile",
}

// Check refuses a Pass that would let through what must not pass.
func (p Pass) Check() error {
	for _, name := range slices.Concat(p.RequestHeaders, p.ResponseHeaders) {
		if name == "" || textproto.CanonicalMIMEHeaderKey(name) != name {
			return fmt.Errorf("header %q is not in canonical form", name)
		}
		for _, never := range neverPassed {
			if name == never || (strings.HasSuffix(never, "-") && strings.HasPrefix(name, never)) {
				return fmt.Errorf("header %s may never pass", name)
			}
		}
	}
	if slices.Contains(p.RequestHeaders, "Content-Length") {
		return fmt.Errorf("header Content-Length may never pass")
	}
	if p.MaxBody < 0 || (p.Signs && p.MaxBody > MaxSigned) {
		return fmt.Errorf("a body of %d bytes is not 0 … %d", p.MaxBody, MaxSigned)
	}
	return nil
}

// PassError refuses a caller's request, in words for the caller. They are the
// connector's own, and hold nothing of a secret.
type PassError struct {
	Param  string // what is at fault: a parameter or a header
	Detail string // a sentence
}

// Error writes both.
func (e *PassError) Error() string { return e.Param + ": " + e.Detail }
