package transport

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/purser-pay/purser/modules/connector"
)

// probeConnector knows a probe of one word: the answer's body is its detail.
type probeConnector struct {
	*fakeConnector
	quotes bool // the error quotes what it should not
}

func (f probeConnector) EncodeProbe(c connector.Call) (*http.Request, error) {
	if c.Op != nil || c.Key != "" || c.Reference != "" || c.Nonce == ([16]byte{}) || c.Now.IsZero() {
		return nil, fmt.Errorf("the probe's call is %+v", c)
	}
	req, err := http.NewRequest(http.MethodGet, c.BaseURL+"/whoami", http.NoBody)
	if err == nil {
		req.Header.Set("Authorization", "Bearer "+f.Key.Reveal())
	}
	return req, err
}

func (f probeConnector) DecodeProbe(_ connector.Call, r connector.Response) (connector.Probe, error) {
	switch {
	case f.quotes:
		return connector.Probe{}, errors.New("the key " + f.Key.Reveal())
	case string(r.Body) == "panic":
		panic("a bug")
	case r.StatusCode == http.StatusOK, r.StatusCode == http.StatusUnauthorized:
		return connector.Probe{Accepted: r.StatusCode == http.StatusOK, Detail: string(r.Body)}, nil
	default:
		return connector.Probe{}, fmt.Errorf("status %d", r.StatusCode)
	}
}

// TestProbe holds that a probe is sent once, and that only an answer that was
// understood says anything of the credentials.
func TestProbe(t *testing.T) {
	const key = "sk_test_CANARY_of_the_probe"
	tests := []struct {
		name     string
		status   int
		body     string
		quotes   bool
		accepted bool
		detail   string
		fails    string
	}{
		{"accepted", 200, "welcome", false, true, "welcome", ""},
		{"refused", 401, "who are you?", false, false, "who are you?", ""},
		{"detail quotes the key", 401, "no key " + key, false, false, "no key [redacted]", ""},
		{"error quotes the key", 200, "", true, false, "", "the key [redacted]"},
		{"in trouble", 500, "", false, false, "", "status 500"},
		{"throttled", 429, "", false, false, "", "status 429"},
		{"panic", 200, "panic", false, false, "", "panicked"},
		{"too large", 200, strings.Repeat("x", MaxAnswer+1), false, false, "", "too large"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			base := httpPSP(t, func(w http.ResponseWriter, r *http.Request) {
				asked++
				if r.Method != http.MethodGet || r.Header.Get("Authorization") != "Bearer "+key {
					t.Errorf("asked by %s with %q", r.Method, r.Header.Get("Authorization"))
				}
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.body))
			})
			h := newHarness(t, probeConnector{&fakeConnector{Key: connector.NewSecret(key)}, tt.quotes}, base, nil)
			p, ok := h.Probe(t.Context(), h.account, [16]byte{1})
			if !ok || asked != 1 || p.Status != tt.status {
				t.Errorf("got ok %v, status %d, asked %d times; want one answer of %d", ok, p.Status, asked, tt.status)
			}
			if p.Accepted != tt.accepted || p.Detail != tt.detail || (p.Err == nil) != (tt.fails == "") {
				t.Errorf("got %+v, want accepted %v, %q, and an error with %q", p, tt.accepted, tt.detail, tt.fails)
			}
			if tt.fails != "" && p.Err != nil && !strings.Contains(p.Err.Error(), tt.fails) {
				t.Errorf("got the error %v, want %q in it", p.Err, tt.fails)
			}
			if len(h.seen.all) != 0 {
				t.Errorf("the observer heard of %v", h.seen.all)
			}
		})
	}
}

// TestProbeOfNobody holds what is said where no answer comes, where the request
// may not go, and where the connector knows no probe.
func TestProbeOfNobody(t *testing.T) {
	codec := probeConnector{&fakeConnector{Key: connector.NewSecret("sk_test_1234")}, false}
	h := newHarness(t, codec, "http://127.0.0.1:1", nil)
	if p, ok := h.Probe(t.Context(), h.account, [16]byte{1}); !ok || p.Accepted || p.Status != 0 || p.Err == nil || !strings.Contains(p.Err.Error(), "refused") {
		t.Errorf("nobody listens: got %+v, %v", p, ok)
	}
	h = newHarness(t, codec, "http://psp.example", nil)
	if p, _ := h.Probe(t.Context(), h.account, [16]byte{1}); !errors.Is(p.Err, ErrHost) {
		t.Errorf("plain HTTP to a stranger: got %+v, want ErrHost", p)
	}
	h = newHarness(t, &fakeConnector{}, "http://127.0.0.1:1", nil)
	if p, ok := h.Probe(t.Context(), h.account, [16]byte{1}); ok {
		t.Errorf("no Prober: got %+v", p)
	}
}

// probeWithToken wants a token before its probe.
type probeWithToken struct {
	tokenConnector
	probeConnector
}

func (p probeWithToken) Spec() connector.Spec { return p.tokenConnector.Spec() }
func (p probeWithToken) Encode(c connector.Call) (*http.Request, error) {
	return p.tokenConnector.Encode(c)
}

func (p probeWithToken) Decode(c connector.Call, r connector.Response) (connector.Result, error) {
	return p.tokenConnector.Decode(c, r)
}

func (p probeWithToken) EncodeProbe(c connector.Call) (*http.Request, error) {
	req, err := p.probeConnector.EncodeProbe(c)
	if err == nil {
		req.Header.Set("Authorization", "Bearer "+c.Token.Reveal())
	}
	return req, err
}

// TestProbeFetchesItsToken holds that a token which is kept proves nothing: each
// probe gets its own, and says where none is to be had.
func TestProbeFetchesItsToken(t *testing.T) {
	fetched, closed := 0, false
	base := httpPSP(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/token":
			_, _ = fmt.Fprint(w, r.Header.Get("Authorization") == fmt.Sprintf("Bearer token-%d", fetched))
		case closed:
			w.WriteHeader(http.StatusUnauthorized)
		default:
			fetched++
			_, _ = fmt.Fprintf(w, "token-%d", fetched)
		}
	})
	f := newTokenConnector()
	h := newHarness(t, probeWithToken{f, probeConnector{f.fakeConnector, false}}, base, nil)
	for want := 1; want < 3; want++ {
		if p, _ := h.Probe(t.Context(), h.account, [16]byte{1}); !p.Accepted || p.Detail != "true" || fetched != want {
			t.Errorf("probe %d: got %+v after %d tokens", want, p, fetched)
		}
	}
	closed = true
	if p, _ := h.Probe(t.Context(), h.account, [16]byte{1}); p.Accepted || p.Err == nil || !strings.Contains(p.Err.Error(), "no access token") {
		t.Errorf("no token: got %+v", p)
	}
}
