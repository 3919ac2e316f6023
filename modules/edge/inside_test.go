package edge

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// usual is a request of a merchant's, with ten header fields.
func usual(target string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, target, nil)
	r.Host, r.TLS = "pay.example.com", &tls.ConnectionState{ServerName: "pay.example.com"}
	r.Header = http.Header{
		"Authorization": {"Bearer pur_live_06h2c3yxb5r019t67r1fz3a5fc_0123456789012345678901234567890123456789"}, "Content-Type": {"application/json"},
		"Idempotency-Key": {"9b2c5e3f-1f3f-4f0a-9f6d-0a4e8c7b6d5f"}, "Content-Length": {"231"}, "Accept": {"*/*"}, "Accept-Encoding": {"gzip"},
		"User-Agent": {"shop-backend/4.12 (linux; go1.26)"}, "Traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		"X-Forwarded-For": {"203.0.113.7"}, "X-Forwarded-Proto": {"https"},
	}
	first := *r // as Caddy keeps it
	return r.WithContext(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, first))
}

// TestSecretive holds which requests stay out of the access log.
func TestSecretive(t *testing.T) {
	const pan, key = "4242424242424242", "pur_live_06h2c3yxb5r019t67r1fz3a5fc_0123456789abcdef"
	field := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = []string{"", value} }
	}
	tests := []struct {
		name   string
		target string
		change func(*http.Request)
		want   bool
	}{
		{"a usual one", "/v1/payments", nil, false},
		{"an ID", "/v1/payments/pay_06h2c3yxb5r019t67r1fz3a5fc?sync=true", nil, false},
		{"a time", "/v1/payments?created_after=2026-01-01T00%3A00%3A00%2B01%3A00", nil, false},
		{"thirteen digits that are no card's", "/v1/payments?t=1732862778123", nil, false},
		{"a card in the query", "/v1/payments?q=" + pan, nil, true},
		{"a card in the path", "/v1/payments/" + pan, nil, true},
		{"a card with spaces", "/v1/payments?q=4242+4242%204242+4242", nil, true},
		{"a card whose digits are escaped", "/v1/payments?q=%34242424242424242", nil, true},
		{"a card beside what is no escape", "/v1/payments?a=%zz&q=%34242424242424242", nil, true},
		{"a key in the query", "/v1/account?key=" + key, nil, true},
		{"a key that is escaped", "/v1/account?key=pur%5flive%5F06h2c3yxb5r019t67r1fz3a5fc_01", nil, true},
		{"a key in the path", "/" + key, nil, true},
		{"a key behind letters", "/v1/account?x" + key, nil, true},
		{"a PSP's key", "/v1/account?k=sk_live_abcdef", nil, true},
		{"a payer who is back", "/return/0123456789abcdef", nil, true},
		{"a payer who is back, escaped", "/%72eturn/0123456789abcdef", nil, true},
		{"a payer at a site's folder", "/pay/return/0123456789abcdef", nil, true},
		{"what was rewritten", "/v1/payments/" + pan, func(r *http.Request) { r.URL.Path, r.RequestURI = "/v1/payments", "/v1/payments" }, true},
		{"X-Api-Key", "/v1/account", field("X-Api-Key", key), true},
		{"Idempotency-Key", "/v1/payments", field("Idempotency-Key", "order "+pan), true},
		{"a field of one's own", "/v1/payments", field("X-Card", "4242-4242-4242-4242"), true},
		{"a field's name", "/v1/payments", field("4242-4242-4242-4242", ""), true},
		{"what Caddy redacts", "/v1/payments", field("Cookie", key), false},
		{"where a payer came from", "/favicon.ico", field("Referer", "https://pay.example.com/return/0123456789abcdef"), true},
		{"the host", "/v1/payments", func(r *http.Request) { r.Host = pan }, true},
		{"the method", "/v1/payments", func(r *http.Request) { r.Method = key }, true},
		{"the name that TLS was asked for", "/v1/payments", func(r *http.Request) { r.TLS.ServerName = pan + ".example.com" }, true},
	}
	for _, tt := range tests {
		r := usual(tt.target)
		if tt.change != nil {
			tt.change(r)
		}
		if got := secretive(r); got != tt.want {
			t.Errorf("%s: got %t, want %t", tt.name, got, tt.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { secretive(usualOne) }); n != 0 {
		t.Errorf("a usual request costs %v allocations, want none", n)
	}
}

var usualOne = usual("/v1/payments/pay_06h2c3yxb5r019t67r1fz3a5fc/capture")

// BenchmarkSecretive is what each request costs that tells no secret.
func BenchmarkSecretive(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if secretive(usualOne) {
			b.Fatal("it is taken for a secret")
		}
	}
}
