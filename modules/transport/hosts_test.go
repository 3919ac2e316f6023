package transport

import (
	"errors"
	"net/http"
	"testing"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

func TestHosts(t *testing.T) {
	tests := []struct {
		name, base string
		mode       payment.Mode
		hosts      []string
		url        string
		host       string // overrides the request's Host
		ok         bool
	}{
		{name: "base", base: "https://api.psp.example", url: "https://api.psp.example/v1", ok: true},
		{name: "base, live", base: "https://api.psp.example", mode: payment.Live, url: "https://api.psp.example/v1", ok: true},
		{name: "case, port and final dot", base: "https://api.psp.example/", url: "https://API.psp.example.:443/v1", ok: true},
		{name: "listed", base: "https://api.psp.example", hosts: []string{"auth.psp.example"}, url: "https://auth.psp.example/token", ok: true},
		{name: "listed with port", base: "https://api.psp.example", hosts: []string{"auth.psp.example:8443"}, url: "https://auth.psp.example:8443/", ok: true},
		{name: "another port", base: "https://api.psp.example", url: "https://api.psp.example:8443/"},
		{name: "another host", base: "https://api.psp.example", url: "https://evil.example/"},
		{name: "subdomain", base: "https://psp.example", url: "https://evil.psp.example/"},
		{name: "prefix", base: "https://psp.example", url: "https://psp.example.evil.example/"},
		{name: "user", base: "https://psp.example", url: "https://user:pw@psp.example/"},
		{name: "user that looks like the host", base: "https://psp.example", url: "https://psp.example@evil.example/"},
		{name: "downgrade", base: "https://psp.example", url: "http://psp.example/"},
		{name: "other scheme", base: "https://psp.example", url: "ftp://psp.example/"},
		{name: "Host header", base: "https://psp.example", url: "https://psp.example/", host: "evil.example"},
		{name: "no host", base: "https://psp.example", url: "https:///x"},
		{name: "loopback", base: "http://127.0.0.1:9", mode: payment.Test, url: "http://127.0.0.1:9/x", ok: true},
		{name: "loopback, IPv6", base: "http://[::1]:9", mode: payment.Test, url: "http://[::1]:9/x", ok: true},
		{name: "loopback by name", base: "http://localhost:9", mode: payment.Test, url: "http://localhost:9/x", ok: true},
		{name: "loopback, other port", base: "http://127.0.0.1:9", mode: payment.Test, url: "http://127.0.0.1:8/x"},
		{name: "loopback, live", base: "http://127.0.0.1:9", mode: payment.Live, url: "http://127.0.0.1:9/x"},
		{name: "plain, not loopback", base: "http://psp.example", mode: payment.Test, url: "http://psp.example/"},
		{name: "name that begins like loopback", base: "http://127.0.0.1.evil.example", mode: payment.Test, url: "http://127.0.0.1.evil.example/"},
		{name: "no base", base: "", url: "https://psp.example/"},
		{name: "base with user", base: "https://u:p@psp.example", url: "https://psp.example/"},
		{name: "listed nonsense", base: "https://psp.example", hosts: []string{"a/b"}, url: "https://psp.example/"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.mode == "" {
				tt.mode = payment.Test
			}
			a := &connector.Account{Connector: &fakeConnector{hosts: tt.hosts}, Mode: tt.mode, BaseURL: tt.base}
			req, err := http.NewRequest(http.MethodPost, tt.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.host != "" {
				req.Host = tt.host
			}
			h, err := newHosts(a, a.Connector.Spec())
			if err == nil {
				err = h.check(req)
			}
			if (err == nil) != tt.ok || (err != nil && !errors.Is(err, ErrHost)) {
				t.Errorf("got %v, want ok %t", err, tt.ok)
			}
		})
	}
}

func TestForbiddenHostIsNotSent(t *testing.T) {
	hits := 0
	elsewhere := httpPSP(t, func(http.ResponseWriter, *http.Request) { hits++ })
	f := &fakeConnector{encode: func(connector.Call) (*http.Request, error) {
		return http.NewRequest(http.MethodPost, elsewhere, nil)
	}}
	h := newHarness(t, f, "http://127.0.0.1:1", nil)
	x := h.do(authorize())
	if x.Outcome != notSent || !errors.Is(x.Err, ErrHost) || hits != 0 {
		t.Errorf("got %v, %v, %d requests; want not_sent, ErrHost, 0", x.Outcome, x.Err, hits)
	}
}
