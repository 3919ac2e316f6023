// Package proxy passes merchants' requests through to the own API of a payment
// service provider, with the account's credentials in place of the caller's. It
// stands on the reverse proxy of the standard library, which copies the answer;
// what leaves, leaves through package transport.
//
// Who calls, how often, and by which policy is settled before a request comes
// here. What is settled here is that it goes to the PSP of the account and
// nowhere else, that nothing of the caller's goes along but what the connector
// lists, and that it is sent once: there are no repeats, and no redirect is
// followed.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/transport"
)

// Config is what the pass-through stands on. Accounts, Passage, Now and Random
// are required.
type Config struct {
	// Accounts are all there are, by name.
	Accounts map[string]*connector.Account
	// Passage opens the way through to an account's PSP. It is called once for
	// each account whose connector passes anything.
	Passage func(*connector.Account) (*transport.Passage, error)
	// Disabled tells whether an operator took an account out of use; nil = none is.
	Disabled func(account string) bool
	Now      func() time.Time
	// Random makes nonces, for connectors that sign.
	Random io.Reader
	// Done hears of every call, at its end, by many goroutines at a time; it must
	// not block. Nil = nobody does.
	Done func(Call, Done)
}

// Call is one request on its way, as far as those before have settled it.
type Call struct {
	Merchant  string
	Mode      payment.Mode
	RequestID string    // ours; goes into the answer
	Began     time.Time // when the request came; zero = now
	Target
}

// Done is what came of a call. It holds no secret, and nothing of what was said.
type Done struct {
	Method string
	Status int           // as the caller saw it; 0 = the caller is told Err
	Bytes  int64         // of the answer's body
	Took   time.Duration // as long as the call was here
	PSP    time.Duration // until the PSP's header; 0 = it was not asked
	Err    error         // nil where the PSP's answer went to its end
}

// Proxy passes requests through. It is safe for concurrent use.
type Proxy struct {
	cfg      Config
	handler  httputil.ReverseProxy
	passages map[string]*passage
}

// passage is the way through to an account, and what comes back on it.
type passage struct {
	*transport.Passage
	signs   bool
	headers []header
}

// New returns a pass-through.
func New(cfg Config) (*Proxy, error) {
	p := &Proxy{cfg: cfg, passages: map[string]*passage{}}
	for name, a := range cfg.Accounts {
		if _, ok := a.Connector.(connector.Passer); !ok {
			continue
		}
		way, err := cfg.Passage(a)
		if err != nil {
			return nil, fmt.Errorf("account %s: %w", name, err)
		}
		p.passages[name] = &passage{Passage: way, signs: way.Pass().Signs, headers: answered(way.Pass())}
	}
	p.handler = httputil.ReverseProxy{
		Transport:  tripper{},
		Rewrite:    func(*httputil.ProxyRequest) {}, // the transport makes the request
		BufferPool: buffers{},
		// Its failures are the flight's, which tells of them by itself.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {},
		ErrorLog:     log.New(io.Discard, "", 0),
	}
	return p, nil
}

// Account is [Find] among the accounts of the configuration.
func (p *Proxy) Account(name, merchant string, mode payment.Mode) (*connector.Account, error) {
	return Find(p.cfg.Accounts, name, merchant, mode)
}

// Serve passes r through and answers it. Its error is a [payment.Error], and
// tells that nothing was written: the answer is the caller's to make. Everything
// that was to be settled before is looked at once more, policies apart.
//
// Where the PSP's answer breaks off, Serve panics with [http.ErrAbortHandler], as
// net/http wants it.
func (p *Proxy) Serve(w http.ResponseWriter, r *http.Request, c Call) (err error) {
	f := &flight{ResponseWriter: w, proxy: p, request: r, call: c, began: p.cfg.Now()}
	if f.call.Began.IsZero() {
		f.call.Began = f.began
	}
	if p.cfg.Done != nil {
		defer f.land(&err)
	}
	if f.way, err = p.way(r, c); err != nil {
		return err
	}
	defer f.breakOff()
	p.handler.ServeHTTP(f, f.inner())
	switch {
	case f.status != 0:
		return nil // the PSP's answer
	case f.err != nil && r.Context().Err() != nil:
		f.WriteHeader(statusGone)
		return nil
	case f.err != nil:
		return problem(f.err, r.Method)
	default: // the handler did not come to its transport
		return &payment.Error{Code: payment.CodeInternal, Detail: "The request could not be passed through."}
	}
}

// statusGone is for logs and metrics: the caller went before there was an answer.
// (It is nginx's and Caddy's number for that.)
const statusGone = 499

// way finds the passage of a call that may take it.
func (p *Proxy) way(r *http.Request, c Call) (*passage, error) {
	if err := check(r, c.Path); err != nil {
		return nil, err
	}
	a, err := p.Account(c.Account, c.Merchant, c.Mode)
	if err != nil {
		return nil, err
	}
	if !reads(r.Method) {
		if err := Closed(a, r.Method, p.cfg.Disabled != nil && p.cfg.Disabled(a.Name)); err != nil {
			return nil, err
		}
	}
	return p.passages[c.Account], nil
}

// flight is one call under way, and the writer of its answer.
type flight struct {
	http.ResponseWriter
	proxy   *Proxy
	request *http.Request // the caller's
	call    Call
	way     *passage
	began   time.Time
	psp     time.Duration
	status  int
	bytes   int64
	err     error
}

type flightKey struct{}

// inner is what the handler sees of the request: the method, and nothing that it
// could log or pass on. The rest waits in the flight for the transport.
func (f *flight) inner() *http.Request {
	r := f.request.WithContext(context.WithValue(f.request.Context(), flightKey{}, f))
	r.URL = &innerURL
	r.RequestURI = ""
	r.Host = f.call.Account
	r.Header = innerHeader
	r.Trailer = nil
	r.Body, r.ContentLength, r.TransferEncoding = http.NoBody, 0, nil
	r.RemoteAddr = "@" // as on a Unix socket: there is no X-Forwarded-For to make
	r.TLS = nil
	return r
}

// All calls share these: the handler works on copies.
var (
	innerURL    = url.URL{Path: Prefix}
	innerHeader = http.Header{"User-Agent": {""}}
)

// Unwrap lets [http.ResponseController] find the writer's other talents.
func (f *flight) Unwrap() http.ResponseWriter { return f.ResponseWriter }

// WriteHeader remembers the status.
func (f *flight) WriteHeader(status int) {
	if f.status == 0 && status >= 200 {
		f.status = status
	}
	f.ResponseWriter.WriteHeader(status)
}

// Write counts.
func (f *flight) Write(b []byte) (int, error) {
	n, err := f.ResponseWriter.Write(b)
	f.bytes += int64(n)
	if err != nil && f.err == nil {
		f.err = context.Canceled // the caller has gone
	}
	return n, err
}

// breakOff lets the caller have what came of an answer that broke off, so that it
// sees that one had begun. It runs while Serve panics.
func (f *flight) breakOff() {
	if f.err != nil && f.status != 0 {
		_ = http.NewResponseController(f.ResponseWriter).Flush() // there may be nobody to have it
	}
}

// land tells Done. It runs also where the answer is cut off.
func (f *flight) land(err *error) {
	d := Done{Method: f.request.Method, Status: f.status, Bytes: f.bytes, Took: f.proxy.cfg.Now().Sub(f.began), PSP: f.psp, Err: f.err}
	if *err != nil {
		d.Err = *err
	}
	f.proxy.cfg.Done(f.call, d)
}

// tripper is the transport of the handler.
type tripper struct{}

// RoundTrip sends the flight of a request's context. The answer's header goes to
// the caller from here, and the handler has the body alone.
func (tripper) RoundTrip(req *http.Request) (*http.Response, error) {
	f, ok := req.Context().Value(flightKey{}).(*flight)
	if !ok {
		return nil, errors.New("no call to pass through")
	}
	in := transport.Passing{
		Method: f.request.Method, Path: f.call.Path, Query: f.request.URL.RawQuery, Header: f.request.Header,
		Body: f.request.Body, Length: f.request.ContentLength,
	}
	if f.way.signs {
		if _, err := io.ReadFull(f.proxy.cfg.Random, in.Nonce[:]); err != nil {
			f.err = fmt.Errorf("nonce: %w", err)
			return nil, f.err
		}
	}
	sent := f.proxy.cfg.Now()
	// The caller's own context: that of req has a trace of the handler's, which
	// httptrace would join with ours by reflection.
	resp, err := f.way.Do(f.request.Context(), in)
	now := f.proxy.cfg.Now()
	f.psp = now.Sub(sent)
	if err != nil {
		f.err = err
		return nil, err
	}
	f.answer(resp, now)
	// A new one: net/http would put trailers into the old one.
	return &http.Response{
		Status: resp.Status, StatusCode: resp.StatusCode, Proto: resp.Proto, ProtoMajor: resp.ProtoMajor, ProtoMinor: resp.ProtoMinor,
		Header: http.Header{}, Body: &watched{resp.Body, f}, ContentLength: resp.ContentLength, Request: req,
	}, nil
}

// watched remembers why an answer broke off.
type watched struct {
	io.ReadCloser
	f *flight
}

func (b *watched) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.f.err = err
	}
	return n, err
}

// buffers lends the handler what it copies bodies with.
type buffers struct{}

const bufferSize = 32 << 10 // bytes; more than nearly every answer of a PSP has

var pool = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// Get lends a buffer.
func (buffers) Get() []byte {
	b, _ := pool.Get().(*[bufferSize]byte)
	return b[:]
}

// Put takes a buffer back, empty.
func (buffers) Put(b []byte) {
	clear(b) // one merchant's data does not wait for the next call in memory
	pool.Put((*[bufferSize]byte)(b))
}
