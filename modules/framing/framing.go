// Package framing stands before the doors: it refuses HTTP that two programs
// could read in two ways, bounds what a caller can make the gateway wait for,
// and gives what it refuses the form of every other error. What net/http and
// Caddy hold by themselves it does not hold again; docs/http.md has the whole.
package framing

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/purser-pay/purser/modules/payment"
)

// The limits where [Limits] says nothing.
const (
	DefaultFields  = 100
	DefaultChunked = 256 << 10
	DefaultBody    = 30 * time.Second
	DefaultLinger  = time.Second
)

// Limits bound one request. The zero value is the limits by default.
type Limits struct {
	// Fields is how many header field lines there may be; 0 = [DefaultFields].
	Fields int
	// Chunked is how many bytes a chunked body of HTTP/1.1 may have;
	// 0 = [DefaultChunked]. It is read in whole before the door opens.
	Chunked int64
	// Body is how long a body may take to arrive; 0 = [DefaultBody].
	Body time.Duration
	// Linger is how long an answered request of HTTP/1 may go on sending its body,
	// lest the answer be lost with the connection; 0 = [DefaultLinger].
	Linger time.Duration
}

func (l Limits) fields() int {
	if l.Fields > 0 {
		return l.Fields
	}
	return DefaultFields
}

func (l Limits) chunked() int64 {
	if l.Chunked > 0 {
		return l.Chunked
	}
	return DefaultChunked
}

func (l Limits) body() time.Duration {
	if l.Body > 0 {
		return l.Body
	}
	return DefaultBody
}

func (l Limits) linger() time.Duration {
	if l.Linger > 0 {
		return l.Linger
	}
	return DefaultLinger
}

// Resources are doors that know which methods a resource takes.
type Resources interface {
	// Allow is the Allow field for what a request asks for; "" = there is no resource.
	Allow(r *http.Request) string
}

// Handler lets sound requests pass to a door. It is safe for concurrent use.
//
// Two rules of it end connections of HTTP/1: after a chunked request none is
// read (RFC 9112 §6.1: a Content-Length may have come along, which net/http
// takes away without a word), and neither after an answer that came before its
// request was read to the end.
type Handler struct {
	// Next is the door. One of [Resources] is asked what a refused method's resource
	// takes.
	Next http.Handler
	// IDs makes the Request-Id of what is refused here.
	IDs    *payment.IDs
	Limits Limits
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// ServeHTTP refuses the request, or passes it on.
func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := h.now()
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		if !h.refused(w, r, began) {
			h.Next.ServeHTTP(w, r)
		}
		return
	}
	b := h.watch(w, r)
	defer b.end()
	r.Body = b
	if r.ProtoMajor == 1 {
		w = &answer{ResponseWriter: w, body: b}
	}
	p := h.Limits.Check(r)
	if p == nil && r.ProtoMajor == 1 && len(r.TransferEncoding) > 0 {
		w.Header().Set("Connection", "close")
		var read []byte
		read, p = h.readAhead(r)
		defer clear(read) // it may hold a card number, no longer than it must
		r.Body = io.NopCloser(bytes.NewReader(read))
	}
	if p != nil {
		h.refuse(w, r, *p, began)
		return
	}
	h.Next.ServeHTTP(w, r)
}

// readAhead takes a chunked body as a whole, so that broken chunks are refused
// whatever the request asks for. Its trailer fields are dropped (RFC 9110 §6.5.1:
// nothing here is defined to be sent as one).
func (h Handler) readAhead(r *http.Request) ([]byte, *Problem) {
	limit := h.Limits.chunked()
	var buf bytes.Buffer
	_, err := buf.ReadFrom(io.LimitReader(r.Body, limit+1))
	r.Trailer = nil
	_, over := errors.AsType[*http.MaxBytesError](err)
	switch {
	case over || int64(buf.Len()) > limit:
		return buf.Bytes(), refusal(http.StatusRequestEntityTooLarge, "", "A body in chunks is too large to be taken.")
	case err != nil:
		return buf.Bytes(), refusal(http.StatusBadRequest, "", "The body ended early, or its chunks are broken.")
	}
	return buf.Bytes(), nil
}

// Refused answers a request whose head is not sound, and tells whether it did. It
// is for handlers that stand before others than a door.
func (h Handler) Refused(w http.ResponseWriter, r *http.Request) bool {
	return h.refused(w, r, h.now())
}

func (h Handler) refused(w http.ResponseWriter, r *http.Request, began time.Time) bool {
	p := h.Limits.Check(r)
	if p != nil {
		h.refuse(w, r, *p, began)
	}
	return p != nil
}

// refuse answers, and reads nothing more from an HTTP/1 connection.
func (h Handler) refuse(w http.ResponseWriter, r *http.Request, p Problem, began time.Time) {
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	if door, ok := h.Next.(Resources); ok && p.Status == http.StatusMethodNotAllowed {
		if allow := door.Allow(r); allow != "" {
			w.Header().Set("Allow", allow)
		}
	}
	p.RequestID, p.Took = h.IDs.New(payment.PrefixRequest), h.now().Sub(began)
	p.Write(w)
}

func (h Handler) now() time.Time {
	if h.Now != nil {
		return h.Now()
	}
	return time.Now() //nolint:forbidigo // the default of the clock that is handed in
}
