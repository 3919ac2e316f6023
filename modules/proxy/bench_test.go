package proxy

import (
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connectors/stripe"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/transport"
)

// stub answers as a PSP does, without a network.
type stub struct{ body string }

func (s stub) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: http.StatusOK, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(s.body)), Request: r,
		Header: http.Header{"Content-Type": {"application/json"}, "Content-Length": {"1700"}, "Date": {"x"}, "Request-Id": {"req_x"}, "Stripe-Version": {"x"}},
		Body:   io.NopCloser(strings.NewReader(s.body)),
	}, nil
}

func benchmark(b *testing.B, serve func(w http.ResponseWriter, r *http.Request)) {
	b.Helper()
	r := httptest.NewRequest(http.MethodPost, "/v1/proxy/own/v1/charges?expand[]=customer", nil)
	for name, v := range map[string]string{
		"Accept": "application/json", "Accept-Encoding": "gzip", "Authorization": "Bearer x", "Content-Type": "application/x-www-form-urlencoded",
		"Idempotency-Key": "k", "User-Agent": "shop",
	} {
		r.Header.Set(name, v)
	}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, &caddyhttp.Server{})
	b.ReportAllocs()
	for b.Loop() {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader("amount=1050&currency=eur")), 24
		w := httptest.NewRecorder()
		serve(w, r)
		if w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
}

// BenchmarkBare is Caddy's handler by itself, for comparison.
func BenchmarkBare(b *testing.B) {
	h := &reverseproxy.Handler{Transport: stub{strings.Repeat("x", 1700)}, Upstreams: reverseproxy.UpstreamPool{{Dial: "127.0.0.1:1"}}}
	if err := h.Provision(caddyContext); err != nil {
		b.Fatal(err)
	}
	defer h.Cleanup()
	benchmark(b, func(w http.ResponseWriter, r *http.Request) {
		if err := h.ServeHTTP(w, r, nil); err != nil {
			b.Fatal(err)
		}
	})
}

func BenchmarkServe(b *testing.B) {
	carrier := transport.New(transport.Config{Tripper: func(*connector.Account) (http.RoundTripper, error) { return stub{strings.Repeat("x", 1700)}, nil }})
	p, err := New(caddyContext, Config{
		Accounts: map[string]*connector.Account{"own": {
			Name: "own", Connector: &stripe.Connector{SecretKey: connector.NewSecret(stripeKey)}, Mode: payment.Test, Merchants: []string{merA}, BaseURL: "http://127.0.0.1:1",
		}},
		Passage: carrier.Passage, Now: time.Now, Random: rand.Reader, Done: func(Call, Done) {},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	benchmark(b, func(w http.ResponseWriter, r *http.Request) {
		target, _, err := Parse(r)
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Serve(w, r, Call{Merchant: merA, Mode: payment.Test, RequestID: requestID, Target: target}); err != nil {
			b.Fatal(err)
		}
	})
}
