package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/purser-pay/purser/modules/connector"
)

const (
	// MaxPassing is how many passed requests an account may have under way. They
	// have places of their own: payments do not wait behind them.
	MaxPassing = 128
	// maxBuffered is the largest body that is read before anything is sent, so
	// that a slow or broken caller costs no connection; larger ones are streamed.
	maxBuffered = 64 << 10
)

var (
	// ErrInDoubt tells that a byte of a passed request may have left, and that no
	// answer to it came.
	ErrInDoubt = errors.New("the request may have been sent")
	// ErrBody tells that the body of a passed request could not be read: the
	// caller broke off.
	ErrBody = errors.New("body could not be read")
)

// Passing is a caller's request for a PSP's own API.
type Passing struct {
	Method string
	// Path is as it came, escaped, and begins with "/"; whoever passes it has
	// checked it.
	Path  string
	Query string // as it came, without "?"
	// Header is the caller's; what the connector does not list is left out.
	Header http.Header
	Body   io.Reader // nil = none
	Length int64     // of Body in bytes; negative = unknown
	Nonce  [16]byte  // for [connector.Call]; only where the connector signs
}

// Passage is the way through to one account's PSP. It is safe for concurrent
// use.
type Passage struct {
	t       *Transport
	room    *room
	account *connector.Account
	codec   connector.Passer
	pass    connector.Pass
	call    connector.Call // what is the same for every request
	base    url.URL
	headers []string
	agent   []string // the value of User-Agent
	slots   chan struct{}
	// rewinds tells that net/http may repeat a request without a body by itself,
	// whatever its header: so it is over HTTP/2, and with clients of others.
	rewinds bool
}

// Passage opens the way through to an account's PSP. It is an error that wraps
// [connector.ErrUnsupported] where the connector is no [connector.Passer].
func (t *Transport) Passage(a *connector.Account) (*Passage, error) {
	codec, ok := a.Connector.(connector.Passer)
	if !ok {
		return nil, fmt.Errorf("connector %s passes nothing: %w", a.Connector.Spec().Name, connector.ErrUnsupported)
	}
	r, err := t.room(a)
	if err != nil {
		return nil, (&run{t: t, account: a}).redact(err)
	}
	base, err := url.Parse(a.Base()) // newHosts has looked at it
	if err != nil {
		return nil, (&run{t: t, account: a}).redact(err)
	}
	p := &Passage{
		t: t, room: r, account: a, codec: codec, pass: codec.Pass(), base: *base,
		call:  connector.Call{BaseURL: a.Base(), Livemode: a.Mode.Live()},
		agent: []string{t.agent}, slots: make(chan struct{}, MaxPassing),
	}
	if err := p.pass.Check(); err != nil {
		return nil, fmt.Errorf("connector %s: %w", r.spec.Name, err)
	}
	p.headers = p.pass.Request()
	own, known := r.tripper.(*http.Transport)
	p.rewinds = !known || own.Protocols == nil || own.Protocols.HTTP2() || own.Protocols.UnencryptedHTTP2()
	return p, nil
}

// Pass is what the connector lets through.
func (p *Passage) Pass() connector.Pass { return p.pass }

// Theirs tells whether u is at an address that the account may reach.
func (p *Passage) Theirs(u *url.URL) bool {
	return p.room.hosts.check(&http.Request{URL: u}) == nil
}

// Base is the PSP's address that paths are appended to.
func (p *Passage) Base() url.URL { return p.base }

// Do sends in once, with the account's credentials, and returns the answer as it
// comes: its body is still to be read, and must be closed. Each wait for the PSP,
// for its header and for the next bytes of its body, may last the account's
// timeout. Redirects are not followed.
//
// Errors hold nothing secret. ErrInDoubt among them says that the PSP may have
// acted; without it, nothing was sent. A *[connector.PassError], ErrTooLarge and
// ErrBody are the caller's fault, and ErrBusy is everybody's.
func (p *Passage) Do(ctx context.Context, in Passing) (*http.Response, error) {
	r := run{t: p.t, room: p.room, account: p.account, call: p.call}
	resp, left, err := p.do(ctx, &r, in)
	if err == nil {
		return resp, nil
	}
	if refused, ok := errors.AsType[*connector.PassError](err); ok {
		return nil, refused
	}
	e := &Error{text: cleanText(err.Error(), r.secrets())}
	for _, s := range slices.Concat(sentinels, []error{ErrBody}) {
		if errors.Is(err, s) {
			e.is = append(e.is, s)
		}
	}
	if left {
		e.is = append(e.is, ErrInDoubt)
	}
	e.timeout = errors.Is(err, os.ErrDeadlineExceeded)
	return nil, e
}

// do tells with an error whether a byte may have left.
func (p *Passage) do(ctx context.Context, r *run, in Passing) (resp *http.Response, left bool, err error) {
	b, err := p.body(in)
	if err != nil {
		return nil, false, err
	}
	if source, ok := p.account.Connector.(connector.TokenSource); ok {
		r.call.Now = p.t.cfg.Now()
		if r.call.Token, _, err = p.room.tokens.get(ctx, p.t, p.room, source, r.call); err != nil {
			return nil, false, err
		}
	}
	req, err := p.request(r, in, b)
	if err != nil {
		return nil, false, err
	}
	select {
	case p.slots <- struct{}{}:
	default:
		return nil, false, ErrBusy
	}
	resp, left, err = p.send(ctx, req, b)
	if err != nil {
		<-p.slots
		return nil, left, err
	}
	if resp.StatusCode == http.StatusUnauthorized {
		r.forgetToken() // the next call fetches another
	}
	return resp, true, nil
}

// send makes the one round trip.
func (p *Passage) send(ctx context.Context, req *http.Request, b body) (resp *http.Response, left bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	watch := &passed{passage: p, cancel: cancel}
	watch.timer = time.AfterFunc(p.account.Exchange(), watch.expire)
	seen := &probe{now: p.t.cfg.Now}
	resp, err = p.room.tripper.RoundTrip(req.WithContext(httptrace.WithClientTrace(ctx, seen.trace())))
	watch.timer.Stop()
	if err == nil && ctx.Err() != nil { // see roundTrip
		err = errors.Join(ctx.Err(), resp.Body.Close())
	}
	if err == nil && resp.StatusCode == http.StatusSwitchingProtocols {
		err = errors.Join(errors.New("the PSP switched protocols unasked"), resp.Body.Close())
		cancel()
		return nil, true, err
	}
	if err != nil {
		left = seen.left(p.room.traces)
		gone := ctx.Err() != nil && !watch.late.Load()
		cancel()
		switch cause := b.cause(); {
		case watch.late.Load():
			err = fmt.Errorf("no answer within %s: %w", p.account.Exchange(), os.ErrDeadlineExceeded)
		case gone:
			err = context.Canceled
		case cause != nil:
			err = cause
		}
		return nil, left, err
	}
	watch.ReadCloser, resp.Body = resp.Body, watch
	return resp, true, nil
}

// request builds the PSP's request, up to its context.
func (p *Passage) request(r *run, in Passing, b body) (*http.Request, error) {
	path, err := url.PathUnescape(in.Path)
	if err != nil || !strings.HasPrefix(path, "/") {
		return nil, &connector.PassError{Param: "path", Detail: "The path is malformed."}
	}
	u := p.base
	u.Path, u.RawPath, u.RawQuery = p.base.Path+path, p.base.EscapedPath()+in.Path, in.Query
	req := &http.Request{
		Method: in.Method, URL: &u, Header: p.pick(in.Header), Host: u.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	r.call.Now, r.call.Nonce = p.t.cfg.Now(), in.Nonce
	signed, err := authorizePass(p.codec, r.call, req, b.whole(p.pass.Signs))
	r.req = &encoded{header: req.Header} // for the redaction of errors
	if err != nil {
		return nil, fmt.Errorf("authorize: %w", err)
	}
	if p.pass.Signs {
		b.bytes = signed
	}
	if u.Scheme != p.base.Scheme || u.Host != p.base.Host || req.Host != p.base.Host || u.User != nil || u.Opaque != "" || req.URL != &u {
		return nil, fmt.Errorf("%w: the connector sent a passed request elsewhere", ErrHost)
	}
	p.attach(req, b)
	return req, nil
}

func authorizePass(codec connector.Passer, c connector.Call, req *http.Request, body []byte) (signed []byte, err error) {
	defer guard(&err)
	return codec.Authorize(c, req, body)
}

// pick takes what passes out of the caller's header. A field that the caller's
// Connection names was meant for us alone (RFC 9110 §7.6.1).
func (p *Passage) pick(in http.Header) http.Header {
	out := make(http.Header, 8) // as many as a small map holds; more are rare
	for _, name := range p.headers {
		if v := in[name]; len(v) > 0 {
			out[name] = slices.Clip(v)
		}
	}
	for _, line := range in["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			out.Del(strings.TrimSpace(name))
		}
	}
	out["User-Agent"] = p.agent
	return out
}

// keyHeaders make net/http repeat a request by itself, under just this spelling.
var keyHeaders = []string{"Idempotency-Key", "X-Idempotency-Key"}

// attach gives req its body so that net/http sends it once and no more: not
// even where a kept connection dies, where it repeats requests without a body
// that bear an Idempotency-Key, and every GET. (The rules are those of
// Request.isReplayable, transportRequest.shouldRetryRequest and
// http2shouldRetryRequest.)
func (p *Passage) attach(req *http.Request, b body) {
	switch {
	case b.stream != nil:
		req.Body, req.ContentLength = b.stream, b.length
	case len(b.bytes) > 0:
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(b.bytes)), int64(len(b.bytes))
	case p.rewinds:
		// As in encoded.request; a POST without content is sent chunked.
		req.Body = io.NopCloser(bytes.NewReader(nil))
	case req.Method == http.MethodGet || req.Method == http.MethodHead || req.Method == http.MethodOptions:
		// A body that cannot be rewound and has no content. With the coding named,
		// net/http does not first wait for a byte of it, and writes no length.
		req.Body, req.TransferEncoding = io.NopCloser(bytes.NewReader(nil)), []string{"identity"}
	default:
		// No body, so that "Content-Length: 0" is sent, which some PSPs insist on.
		// net/http looks for the key by its canonical name; on the wire, names have
		// no case.
		req.Body = http.NoBody
		for _, name := range keyHeaders {
			if v, ok := req.Header[name]; ok {
				delete(req.Header, name)
				req.Header[strings.ToLower(name)] = v
			}
		}
	}
}

// body is a caller's: whole, or as it comes.
type body struct {
	bytes  []byte
	stream *streamed
	length int64 // of stream; negative = unknown
}

// body reads what is small or must be signed, and leaves the rest to be
// streamed.
func (p *Passage) body(in Passing) (body, error) {
	limit := p.pass.Limit()
	switch {
	case in.Body == nil || in.Length == 0:
		return body{}, nil
	case in.Length > limit:
		return body{}, fmt.Errorf("%w: %d bytes, over %d", ErrTooLarge, in.Length, limit)
	case p.pass.Signs || (in.Length > 0 && in.Length <= maxBuffered):
	default:
		return body{stream: &streamed{from: in.Body, left: limit}, length: in.Length}, nil
	}
	if in.Length > 0 {
		whole := make([]byte, in.Length)
		if n, err := io.ReadFull(in.Body, whole); errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return body{}, fmt.Errorf("%w: %d bytes of %d", ErrBody, n, in.Length)
		} else if err != nil {
			return body{}, unread(err)
		}
		return body{bytes: whole}, nil
	}
	whole, err := io.ReadAll(io.LimitReader(in.Body, limit+1))
	switch {
	case int64(len(whole)) > limit:
		return body{}, fmt.Errorf("%w: over %d bytes", ErrTooLarge, limit)
	case err != nil:
		return body{}, unread(err)
	default:
		return body{bytes: whole}, nil
	}
}

// whole is the body for a connector that signs it; never nil there.
func (b *body) whole(signs bool) []byte {
	switch {
	case !signs:
		return nil
	case b.bytes == nil:
		return []byte{}
	default:
		return b.bytes
	}
}

// cause is why the stream broke off; nil where it did not.
func (b *body) cause() error {
	if b.stream == nil {
		return nil
	}
	if err := b.stream.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// unread words the failure of a caller's body.
func unread(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fmt.Errorf("%w: over the server's bound", ErrTooLarge)
	}
	return ErrBody // what the caller did wrong is of no interest, and may quote them
}

// streamed is a body that goes on as it comes, up to its bound. It has no
// Close: the server closes what it gave us.
type streamed struct {
	from   io.Reader
	left   int64
	failed atomic.Pointer[error]
}

// Read breaks off where the body passes its bound.
func (s *streamed) Read(b []byte) (int, error) {
	n, err := s.from.Read(b)
	if s.left -= int64(n); s.left < 0 {
		err = fmt.Errorf("%w: over the bound", ErrTooLarge)
	} else if err != nil && err != io.EOF { //nolint:errorlint // a reader's end is io.EOF itself
		err = unread(err)
	}
	if err != nil && err != io.EOF { //nolint:errorlint // as above
		s.failed.Store(&err)
		return 0, err
	}
	return n, err
}

// Close does nothing.
func (s *streamed) Close() error { return nil }

// passed is the answer's body, and the watch over the time that it takes.
type passed struct {
	io.ReadCloser
	passage *Passage
	cancel  context.CancelFunc
	timer   *time.Timer
	late    atomic.Bool
	closed  bool
}

func (b *passed) expire() {
	b.late.Store(true)
	b.cancel()
}

// Read waits for the account's timeout at the most. It has no words of the
// network's in its error.
func (b *passed) Read(p []byte) (int, error) {
	b.timer.Reset(b.passage.account.Exchange())
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	switch {
	case err == nil || err == io.EOF:
		return n, err
	case b.late.Load():
		return n, fmt.Errorf("the answer stopped for %s: %w", b.passage.account.Exchange(), os.ErrDeadlineExceeded)
	case errors.Is(err, context.Canceled):
		return n, fmt.Errorf("the caller has gone: %w", context.Canceled)
	default:
		return n, errors.New("the answer broke off")
	}
}

// Close gives the place back.
func (b *passed) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel()
	<-b.passage.slots
	return err
}
