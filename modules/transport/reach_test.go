package transport

import (
	"net/http"
	"strings"
	"testing"

	"github.com/purser-pay/purser/modules/connector"
)

// TestReach holds that a host is asked for nothing, that any answer will do, and
// what is told of it.
func TestReach(t *testing.T) {
	var asked []*http.Request
	s, ca := tlsPSP(t, nil, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r)
		w.WriteHeader(http.StatusUnauthorized)
	})
	tests := []struct {
		name, base string
		options    HTTPOptions
		status     int
		fails      string
	}{
		{"trusted", s.URL + "/v1", HTTPOptions{RootCAFiles: []string{ca}}, http.StatusUnauthorized, ""},
		{"another authority", s.URL, HTTPOptions{}, 0, "certificate"},
		{"plain", httpPSP(t, func(http.ResponseWriter, *http.Request) {}), HTTPOptions{}, http.StatusOK, ""},
		{"nobody there", "http://127.0.0.1:1", HTTPOptions{}, 0, "refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t, &fakeConnector{}, tt.base, nil)
			h.cfg.Tripper = func(*connector.Account) (http.RoundTripper, error) { return NewTripper(tt.options) }
			found, err := h.Reach(t.Context(), h.account)
			if err != nil || len(found) == 0 {
				t.Fatalf("got %v, %v", found, err)
			}
			r := found[0]
			for _, other := range found {
				if strings.HasPrefix(tt.base, strings.TrimSuffix(other.URL, "/")) {
					r = other
				}
			}
			if tt.fails == "" && (r.Err != nil || r.Status != tt.status || r.Address == "" || (r.TLS == "") != strings.HasPrefix(tt.base, "http:")) {
				t.Errorf("got %+v, want status %d", r, tt.status)
			}
			if tt.fails != "" && (r.Err == nil || !strings.Contains(r.Err.Error(), tt.fails)) {
				t.Errorf("got %v, want an error with %q", r.Err, tt.fails)
			}
			if (r.TLS != "") != !r.NotAfter.IsZero() {
				t.Errorf("TLS %q and a certificate until %s", r.TLS, r.NotAfter)
			}
		})
	}
	if len(asked) != 1 || asked[0].Method != http.MethodHead || asked[0].URL.Path != "/" || asked[0].Header.Get("Authorization") != "" {
		t.Errorf("the PSP was asked %v, want one bare HEAD", asked)
	}
	h := newHarness(t, &fakeConnector{}, "http://psp.example", nil)
	if _, err := h.Reach(t.Context(), h.account); err == nil {
		t.Error("a host that is not allowed was asked")
	}
}
