package adyen

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
	if pass.Signs {
		t.Error("the body would be buffered, and nothing signs it")
	}
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	const key = "AQEpassing"
	live := (&Connector{}).Spec().LiveURL
	tests := []struct {
		name  string
		c     Connector
		call  connector.Call
		wants string // part of the error; "" = none
	}{
		{"test", Connector{APIKey: connector.NewSecret(key)}, connector.Call{BaseURL: "https://checkout-test.adyen.com"}, ""},
		{"live", Connector{APIKey: connector.NewSecret(key), LivePrefix: "abc"}, connector.Call{BaseURL: "https://abc.example/checkout", Livemode: true}, ""},
		{"live at nobody's address", Connector{APIKey: connector.NewSecret(key)}, connector.Call{BaseURL: live, Livemode: true}, "live_prefix"},
		{"no key", Connector{}, connector.Call{}, "no api_key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/v72/paymentMethods"}, Header: http.Header{
				"X-Api-Key": {"theirs"}, "Idempotency-Key": {"k"},
			}}
			_, err := tt.c.Authorize(tt.call, r, nil)
			if (err == nil) != (tt.wants == "") || (err != nil && !strings.Contains(err.Error(), tt.wants)) {
				t.Fatalf("got %v, want %q", err, tt.wants)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(http.Header{"X-Api-Key": {key}, "Idempotency-Key": {"k"}}, r.Header); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
		})
	}
}
