package connector_test

import (
	"strings"
	"testing"

	"github.com/purser-pay/purser/modules/connector"
)

func TestPassCheck(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		pass connector.Pass
		want string // part of the error; "" = none
	}{
		{"nothing", connector.Pass{}, ""},
		{"a key and a version", connector.Pass{RequestHeaders: []string{"Idempotency-Key", "Stripe-Version"}, ResponseHeaders: []string{"Request-Id"}}, ""},
		{"not canonical", connector.Pass{RequestHeaders: []string{"idempotency-key"}}, "canonical"},
		{"no name", connector.Pass{RequestHeaders: []string{""}}, "canonical"},
		{"a credential", connector.Pass{RequestHeaders: []string{"Authorization"}}, "never pass"},
		{"a credential of PSPs", connector.Pass{RequestHeaders: []string{"X-Api-Key"}}, "never pass"},
		{"a proof", connector.Pass{RequestHeaders: []string{"Dpop"}}, "never pass"},
		{"a signature", connector.Pass{RequestHeaders: []string{"Signature-Input"}}, "never pass"},
		{"our signature", connector.Pass{RequestHeaders: []string{"Purser-Signature"}}, "never pass"},
		{"who calls", connector.Pass{RequestHeaders: []string{"X-Forwarded-For"}}, "never pass"},
		{"a client's certificate", connector.Pass{RequestHeaders: []string{"Client-Cert-Chain"}}, "never pass"},
		{"framing", connector.Pass{RequestHeaders: []string{"Transfer-Encoding"}}, "never pass"},
		{"another host", connector.Pass{RequestHeaders: []string{"Host"}}, "never pass"},
		{"a length", connector.Pass{RequestHeaders: []string{"Content-Length"}}, "never pass"},
		{"a length of the answer", connector.Pass{ResponseHeaders: []string{"Content-Length"}}, ""},
		{"a cookie", connector.Pass{ResponseHeaders: []string{"Set-Cookie"}}, "never pass"},
		{"an order to a web server", connector.Pass{ResponseHeaders: []string{"X-Accel-Redirect"}}, "never pass"},
		{"a rule of the site", connector.Pass{ResponseHeaders: []string{"Access-Control-Allow-Origin"}}, "never pass"},
		{"a large body", connector.Pass{MaxBody: 8 << 20}, ""},
		{"a large body that is signed", connector.Pass{MaxBody: connector.MaxSigned + 1, Signs: true}, "is not 0"},
		{"a negative body", connector.Pass{MaxBody: -1}, "is not 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.pass.Check()
			if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestPassAlways: what always passes obeys the same rule.
func TestPassAlways(t *testing.T) {
	t.Parallel()
	p := connector.Pass{}
	if err := (connector.Pass{RequestHeaders: p.Request(), ResponseHeaders: p.Response()}).Check(); err != nil {
		t.Error(err)
	}
}

func TestPassLimit(t *testing.T) {
	t.Parallel()
	for want, pass := range map[int64]connector.Pass{
		connector.DefaultPassBody: {}, connector.MaxSigned: {Signs: true}, 5: {MaxBody: 5}, 6: {MaxBody: 6, Signs: true},
	} {
		if got := pass.Limit(); got != want {
			t.Errorf("%+v: got %d, want %d", pass, got, want)
		}
	}
}
