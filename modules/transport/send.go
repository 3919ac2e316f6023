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
	"time"

	"github.com/purser-pay/purser/modules/connector"
)

// encoded is a request that is ready to be sent, more than once if need be:
// every send bears the same bytes.
type encoded struct {
	method string
	url    *url.URL
	header http.Header
	body   []byte
}

// encode has the connector build the request, once for the exchange, with a
// token where the PSP wants one. fresh tells that the token was fetched for it.
func (r *run) encode(ctx context.Context) (fresh bool, err error) {
	if r.req != nil {
		return false, nil
	}
	c := r.call
	if source, ok := r.account.Connector.(connector.TokenSource); ok {
		if c.Token, fresh, err = r.room.tokens.get(ctx, r.t, r.room, source, c); err != nil {
			return false, err
		}
	}
	req, err := encode(r.account.Connector, c)
	if err != nil {
		return fresh, fmt.Errorf("encode: %w", err)
	}
	e, err := r.t.prepare(r.room, req)
	if err != nil {
		return fresh, err
	}
	r.call, r.req = c, e
	return fresh, nil
}

func encode(codec connector.Connector, c connector.Call) (req *http.Request, err error) {
	defer guard(&err)
	return codec.Encode(c)
}

func decode(codec connector.Connector, c connector.Call, r connector.Response) (result connector.Result, err error) {
	defer guard(&err)
	return codec.Decode(c, r)
}

// prepare checks where a connector's request goes and takes its body over.
func (t *Transport) prepare(room *room, req *http.Request) (*encoded, error) {
	if req == nil || req.URL == nil {
		return nil, errors.New("encode: the connector built no request")
	}
	if err := room.hosts.check(req); err != nil {
		return nil, err
	}
	e := &encoded{method: req.Method, url: req.URL, header: req.Header}
	if e.method == "" {
		e.method = http.MethodGet
	}
	if e.header == nil {
		e.header = http.Header{}
	}
	e.header.Set("User-Agent", t.agent)
	if req.Body == nil || req.Body == http.NoBody {
		return e, nil
	}
	body, err := readCapped(req.Body, req.ContentLength, MaxRequest)
	if err != nil {
		return nil, fmt.Errorf("encode: request body: %w", err)
	}
	e.body = body
	return e, nil
}

// request makes the request of one send.
//
// Its body is never nil or http.NoBody, and it has no GetBody: by
// Request.isReplayable and http2shouldRetryRequest those are what net/http asks
// before it silently sends a request again on another connection, a POST with
// an Idempotency-Key and an empty body included. The price: a POST without
// content is sent chunked, and over HTTP/2 a GET bears an empty DATA frame.
// net/http knows a wrapped bytes.Reader, and still writes header and body at
// once.
func (e *encoded) request(ctx context.Context) *http.Request {
	req := &http.Request{
		Method: e.method, URL: e.url, Host: e.url.Host, Header: e.header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(bytes.NewReader(e.body)), ContentLength: int64(len(e.body)),
	}
	return req.WithContext(ctx)
}

// arrival is what came back of one round trip.
type arrival struct {
	response connector.Response
	// left tells that a byte of the request may have left us.
	left      bool
	reused    bool      // the connection was kept alive from an earlier request
	connected time.Time // when a connection was had; zero = never, or not known
	err       error
}

// roundTrip sends the request once and reads the answer to its end.
//
// What answers only after the time is over is no answer: net/http closes the
// connection then, and while it does it still takes what comes, so that it may
// be a word about our hanging up.
func (room *room) roundTrip(ctx context.Context, e *encoded, now func() time.Time) arrival {
	if err := ctx.Err(); err != nil {
		return arrival{err: err}
	}
	p := &probe{now: now}
	resp, err := room.tripper.RoundTrip(e.request(httptrace.WithClientTrace(ctx, p.trace())))
	if err != nil {
		left := p.left(room.traces)
		return arrival{left: left, reused: p.reused, connected: p.connected, err: err}
	}
	a := arrival{left: true, reused: p.reused, connected: p.connected}
	if err := ctx.Err(); err != nil {
		a.err = errors.Join(fmt.Errorf("answer %d came late: %w", resp.StatusCode, err), resp.Body.Close())
		return a
	}
	a.response = connector.Response{StatusCode: resp.StatusCode, Header: resp.Header}
	a.response.Body, err = readCapped(resp.Body, resp.ContentLength, MaxAnswer)
	if err != nil {
		a.err = fmt.Errorf("read answer %d: %w", resp.StatusCode, err)
	}
	return a
}

// readCapped reads b to its end, at most limit bytes, and closes it. size is
// what the sender says that it will be; negative = unknown.
func readCapped(b io.ReadCloser, size int64, limit int) ([]byte, error) {
	defer b.Close() //nolint:errcheck // nothing depends on it: what counts was read
	if size > int64(limit) {
		return nil, fmt.Errorf("%w: %d bytes, over %d", ErrTooLarge, size, limit)
	}
	var buf bytes.Buffer
	if size > 0 {
		buf.Grow(int(size) + bytes.MinRead) // room for the read that finds the end
	}
	n, err := buf.ReadFrom(io.LimitReader(b, int64(limit)+1))
	switch {
	case n > int64(limit):
		return nil, fmt.Errorf("%w: over %d bytes", ErrTooLarge, limit)
	case err != nil:
		return nil, err
	}
	return buf.Bytes(), nil
}
