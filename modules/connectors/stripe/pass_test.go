package stripe

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/connector"
)

func TestPass(t *testing.T) {
	t.Parallel()
	pass := (*Connector)(nil).Pass()
	if err := pass.Check(); err != nil {
		t.Error(err)
	}
	for _, name := range pass.RequestHeaders {
		if strings.HasPrefix(name, "Stripe-") && name != "Stripe-Version" {
			t.Errorf("%s passes, and could speak for another account", name)
		}
	}
	if pass.Signs {
		t.Error("the body would be buffered, and nothing signs it")
	}
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	const key = "sk_test_passing"
	tests := []struct {
		name, key string
		given     http.Header
		want      http.Header // nil = an error
	}{
		{"the account's key and our version", key, http.Header{}, http.Header{"Authorization": {"Bearer " + key}, "Stripe-Version": {Version}}},
		{
			"the caller's version and key", key,
			http.Header{"Stripe-Version": {"2024-06-20"}, "Idempotency-Key": {"k"}},
			http.Header{"Authorization": {"Bearer " + key}, "Stripe-Version": {"2024-06-20"}, "Idempotency-Key": {"k"}},
		},
		{
			"a credential that got here", key,
			http.Header{"Authorization": {"Bearer theirs", "Basic theirs"}},
			http.Header{"Authorization": {"Bearer " + key}, "Stripe-Version": {Version}},
		},
		{"no key", "", http.Header{}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &Connector{}
			if tt.key != "" {
				s.SecretKey = connector.NewSecret(tt.key)
			}
			const address = "https://api.stripe.com/v1/charges?limit=3"
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			r := &http.Request{Method: http.MethodGet, URL: u, Header: tt.given}
			body, err := s.Authorize(connector.Call{}, r, nil)
			if (err == nil) != (tt.want != nil) || body != nil {
				t.Fatalf("got %v and body %q, want an error: %t", err, body, tt.want == nil)
			}
			if tt.want == nil {
				return
			}
			if diff := cmp.Diff(tt.want, r.Header); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
			if got := r.URL.String(); got != address {
				t.Errorf("URL %s, want %s", got, address)
			}
		})
	}
}
