package edge_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() { caddy.RegisterModule(new(witness)) }

// witness stands before the gateway, and looks at what is left of a request's
// header when the gateway has answered.
type witness struct{}

var (
	seenMu sync.Mutex
	seen   http.Header
)

func (*witness) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.purser_test_witness", New: func() caddy.Module { return new(witness) }}
}

func (*witness) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	err := next.ServeHTTP(w, r)
	seenMu.Lock()
	defer seenMu.Unlock()
	seen = r.Header.Clone()
	return err
}

// witnessed is the world's configuration with the witness in it.
func witnessed(t *testing.T, w *world) []byte {
	t.Helper()
	var config object
	if err := json.Unmarshal(w.config(t), &config); err != nil {
		t.Fatal(err)
	}
	server := config["apps"].(object)["http"].(object)["servers"].(object)["test"].(object)
	routes := server["routes"].([]any)
	server["routes"] = append([]any{object{"handle": []object{{"handler": "purser_test_witness"}}}}, routes...)
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCallersDoNotSpeakForProxies holds that fields by which parts of a pipeline
// tell who calls do not come in from outside, in whatever spelling.
func TestCallersDoNotSpeakForProxies(t *testing.T) {
	w := newWorld(t)
	if err := caddy.Load(witnessed(t, w), true); err != nil {
		t.Fatal(err)
	}
	gone := []string{
		"Client-Cert", "Client-Cert-Chain", "client-cert", "X-SSL-Client-Cert", "X-Ssl-Client-S-Dn", "x-ssl-client-verify", "X-Client-Cert",
		"X-Client-DN", "X-Client-Verify", "X-Forwarded-Client-Cert", "X-Merchant-Id", "X-Purser-Mode", "X-Payments-Scope",
		"X_SSL_Client_Cert", "X.Merchant.Id",
	}
	kept := []string{"X-Other", "Client-Hint", "X-Clients"}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.public+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(gone, kept...) {
		req.Header[name] = []string{"evil"}
	}
	resp, err := w.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	seenMu.Lock()
	defer seenMu.Unlock()
	for _, name := range gone {
		for have := range seen {
			if strings.EqualFold(have, name) {
				t.Errorf("%s has come in as %s", name, have)
			}
		}
	}
	for _, name := range kept {
		if seen.Get(name) != "evil" {
			t.Errorf("%s was taken away, as nobody asked for", name)
		}
	}
}

// TestFramingStandsBeforeEveryDoor asks each handler for what only package framing
// refuses, and looks for the request among those that are counted.
func TestFramingStandsBeforeEveryDoor(t *testing.T) {
	for handler, path := range map[string]string{
		"payments_gateway": "/v1/%2e%2e/x", "payments_api": "/v1/%2e%2e/x", "payments_webhooks": "/webhooks/%2e%2e/x",
	} {
		t.Run(handler, func(t *testing.T) {
			w := newWorld(t)
			w.handler = handler
			if err := w.load(t); err != nil {
				t.Fatal(err)
			}
			route := "other"
			if handler == "payments_webhooks" {
				route = "/webhooks/{account}"
			}
			series := `purser_requests_total{method="GET",route="` + route + `",status_class="4xx"}`
			before := w.metric(t, series)
			c, err := net.Dial("tcp", w.public)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: "+w.public+"\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusBadRequest || !resp.Close || !strings.Contains(string(body), "segment of dots") {
				t.Errorf("got %d %s %v, close = %t; want 400 for the dots, and true", resp.StatusCode, body, err, resp.Close)
			}
			if n := w.metric(t, series) - before; n != 1 {
				t.Errorf("%s grew by %d, want 1", series, n)
			}
		})
	}
}

// TestErrorsOfTheServer holds that errors of Caddy's own have our form also where a
// configuration says nothing of errors, after reloads as before, and that what it
// says goes first.
func TestErrorsOfTheServer(t *testing.T) {
	w := newWorld(t)
	ask := func() (int, string) {
		c, err := net.Dial("tcp", w.public)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost:\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	for range 2 {
		if err := w.load(t); err != nil {
			t.Fatal(err)
		}
		if status, body := ask(); status != http.StatusBadRequest || !strings.Contains(body, `"code":"invalid_request"`) {
			t.Errorf("no host: %d %s, want 400 as a problem", status, body)
		}
	}
	var config object
	if err := json.Unmarshal(w.config(t), &config); err != nil {
		t.Fatal(err)
	}
	server := config["apps"].(object)["http"].(object)["servers"].(object)["test"].(object)
	server["errors"] = object{"routes": []object{{"handle": []object{{"handler": "static_response", "status_code": 400, "body": "my own"}}, "terminal": true}}}
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(b, true); err != nil {
		t.Fatal(err)
	}
	if status, body := ask(); status != http.StatusBadRequest || body != "my own" {
		t.Errorf("no host, with errors routes: %d %s, want the operator's own", status, body)
	}
}
