package proxy

import (
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

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

func BenchmarkServe(b *testing.B) {
	carrier := transport.New(transport.Config{Tripper: func(*connector.Account) (http.RoundTripper, error) { return stub{strings.Repeat("x", 1700)}, nil }})
	p, err := New(Config{
		Accounts: map[string]*connector.Account{"own": {
			Name: "own", Connector: &stripe.Connector{SecretKey: connector.NewSecret(stripeKey)}, Mode: payment.Test, Merchants: []string{merA}, BaseURL: "http://127.0.0.1:1",
		}},
		Passage: carrier.Passage, Now: time.Now, Random: rand.Reader, Done: func(Call, Done) {},
	})
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/v1/proxy/own/v1/charges?expand[]=customer", nil)
	for name, v := range map[string]string{
		"Accept": "application/json", "Accept-Encoding": "gzip", "Authorization": "Bearer x", "Content-Type": "application/x-www-form-urlencoded",
		"Idempotency-Key": "k", "User-Agent": "shop",
	} {
		r.Header.Set(name, v)
	}
	b.ReportAllocs()
	for b.Loop() {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader("amount=1050&currency=eur")), 24
		target, _, err := Parse(r)
		if err != nil {
			b.Fatal(err)
		}
		w := httptest.NewRecorder()
		if err := p.Serve(w, r, Call{Merchant: merA, Mode: payment.Test, RequestID: requestID, Target: target}); err != nil || w.Code != http.StatusOK {
			b.Fatal(err, w.Code)
		}
	}
}
