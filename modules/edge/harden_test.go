package edge_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
)

// TestHarden loads servers that are not fit for payments, and one that says
// nothing about it.
func TestHarden(t *testing.T) {
	g := newGuardedWorld(t)
	policy := func(key string, value any) func(object) {
		return func(site object) {
			site["tls_connection_policies"] = []object{{"default_sni": "localhost", key: value}}
		}
	}
	tests := []struct {
		name   string
		change func(object)
		want   string // "" = it is taken
	}{
		{"nothing said", func(site object) { delete(site, "protocols"); policy("default_sni", "localhost")(site) }, ""},
		{"0-RTT off", func(site object) { site["allow_0rtt"] = false }, ""},
		{"0-RTT on", func(site object) { site["allow_0rtt"] = true }, "allow_0rtt is on"},
		{"good ciphers", policy("cipher_suites", []string{
			"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
		}), ""},
		{"CBC", policy("cipher_suites", []string{"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"}), "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA lacks"},
		{"no forward secrecy", policy("cipher_suites", []string{"TLS_RSA_WITH_AES_128_GCM_SHA256"}), "TLS_RSA_WITH_AES_128_GCM_SHA256 lacks"},
		{"credentials in the log", func(site object) { site["logs"] = object{"should_log_credentials": true} }, "log_credentials is on"},
		{"secrets in a file", policy("insecure_secrets_log", filepath.Join(g.dir, "secrets")), "insecure_secrets_log is on"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := caddy.Load(g.altered(t, test.change), true)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want an error with %q", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			app, err := caddy.ActiveContext().AppIfConfigured("http")
			if err != nil {
				t.Fatal(err)
			}
			if early := app.(*caddyhttp.App).Servers["test"].Allow0RTT; early == nil || *early {
				t.Error("early data is allowed")
			}
		})
	}
}

// TestForwardedFor holds whose address counts behind a proxy that is trusted, for a
// key that one network alone may use: never what the caller says of itself.
func TestForwardedFor(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	var key struct{ Key string }
	w.operate(t, http.StatusCreated, "POST", "/payments/keys", object{"merchant": w.merchant, "mode": "test", "allow_ip": []string{"192.0.2.1"}}, &key)
	tests := []struct {
		proxies   []string
		forwarded string
		want      int
	}{
		{[]string{"127.0.0.1/32"}, "192.0.2.1", 200},
		{[]string{"127.0.0.1/32"}, "198.51.100.9, 192.0.2.1", 200},
		{[]string{"127.0.0.1/32"}, "192.0.2.1, 198.51.100.7", 401},
		{[]string{"127.0.0.1/32", "198.51.100.7/32"}, "192.0.2.1, 198.51.100.7", 200},
		{[]string{"198.51.100.7/32"}, "192.0.2.1", 401},
		{nil, "192.0.2.1", 401},
	}
	for _, tt := range tests {
		config := w.site(t, func(server object) {
			if tt.proxies != nil {
				server["trusted_proxies"] = object{"source": "static", "ranges": tt.proxies}
			}
		})
		if err := caddy.Load(config, true); err != nil {
			t.Fatal(err)
		}
		status, body, _ := w.send(t, "GET", "/v1/account", "", map[string]string{"Authorization": "Bearer " + key.Key, "X-Forwarded-For": tt.forwarded})
		if status != tt.want {
			t.Errorf("proxies %v, X-Forwarded-For %q: %d %s, want %d", tt.proxies, tt.forwarded, status, body, tt.want)
		}
	}
}

// TestHardenAnswer looks at what every answer says, or does not.
func TestHardenAnswer(t *testing.T) {
	g := newGuardedWorld(t)
	ask := func(host string) http.Header {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://localhost/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := g.caller(t, nil).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.Header
	}
	sites := []struct {
		name string
		own  string // a site's own Strict-Transport-Security
		host string
		want string
	}{
		{"by default", "", "pay.example.com", "max-age=31536000"},
		{"with a port", "", "pay.example.com:8443", "max-age=31536000"},
		{"a developer's", "", "localhost:8443", ""},
		{"the site's own", "max-age=60", "pay.example.com", "max-age=60"},
	}
	for _, s := range sites {
		t.Run(s.name, func(t *testing.T) {
			if err := caddy.Load(g.altered(t, func(site object) {
				site["tls_connection_policies"] = []object{{"default_sni": "localhost"}}
				if s.own != "" {
					site["routes"] = append([]any{object{"handle": []object{{
						"handler": "headers", "response": object{"set": object{"Strict-Transport-Security": []string{s.own}}},
					}}}}, site["routes"].([]any)...)
				}
			}), true); err != nil {
				t.Fatal(err)
			}
			h := ask(s.host)
			if got := h.Get("Strict-Transport-Security"); got != s.want {
				t.Errorf("got Strict-Transport-Security %q, want %q", got, s.want)
			}
			if got, there := h["Server"]; there {
				t.Errorf("got Server %q, want none", got)
			}
		})
	}
}
