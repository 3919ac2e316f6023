package framing

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// problem is an error as every layer must write it.
type problem struct {
	Type, Title, Detail, Code, Param string
	Status                           int
	RequestID                        string `json:"request_id"`
	Retryable                        *bool
}

// checkProblem holds the form of an answer that is an error, and returns it.
func checkProblem(t *testing.T, a *answer) problem {
	t.Helper()
	var p problem
	if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q, want application/problem+json: %.200s", got, a.body)
		return p
	}
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Errorf("%v in %s", err, a.body)
		return p
	}
	if p.Status != a.StatusCode || p.Title == "" || p.Detail == "" || p.Code == "" || p.Retryable == nil || !strings.HasSuffix(p.Type, "#"+p.Code) {
		t.Errorf("status %d with %s", a.StatusCode, a.body)
	}
	if id := a.Header.Get("Request-Id"); !strings.HasPrefix(id, "req_") || id != p.RequestID {
		t.Errorf("Request-Id %q and request_id %q, want the same", id, p.RequestID)
	}
	return p
}

// TestErrorsHaveOneShape asks Caddy's own layers for errors.
func TestErrorsHaveOneShape(t *testing.T) {
	g := open(t)
	elsewhere := "GET /v1/payments HTTP/1.1\r\nHost: other.example.com\r\n\r\n"
	tests := []struct {
		name, at, alpn, sent string
		want                 int
		code                 string
	}{
		{"no such path", g.plain, "", g.request(g.plain, "GET", "/nowhere", ""), 404, "not_found"},
		{"no such path, with one door", g.single, "", g.request(g.single, "GET", "/nowhere", ""), 404, "not_found"},
		{"the other door's path, with one door", g.single, "", g.request(g.single, "POST", "/webhooks/stripe", "{}"), 404, "not_found"},
		{"another host", g.plain, "", elsewhere, 421, "invalid_request"},
		{"another host over TLS", "127.0.0.1:" + port(g.secure), "http/1.1", elsewhere, 421, "invalid_request"},
		{"no host", g.plain, "", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "invalid_request"},
		{"no host, at a server without handle_errors", g.single, "", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "invalid_request"},
		{"another handler's error, without handle_errors", g.single, "", g.request(g.single, "GET", "/broken", ""), 503, "internal_error"},
		{"no host in HTTP/1.0", g.plain, "", "GET / HTTP/1.0\r\n\r\n", 400, "invalid_request"},
		{"a method of 40 letters", g.plain, "", g.request(g.plain, strings.Repeat("A", 40), "/", ""), 405, "method_not_allowed"},
		{"CONNECT", g.plain, "", "CONNECT other.example.com:443 HTTP/1.1\r\nHost: other.example.com:443\r\n\r\n", 405, "method_not_allowed"},
		{"another handler's error", g.plain, "", g.request(g.plain, "GET", "/broken", ""), 502, "internal_error"},
		{"a status without a code", g.plain, "", g.request(g.plain, "GET", "/teapot", ""), 418, "invalid_request"},
		{"HEAD of what is not there", g.plain, "", g.request(g.plain, "GET", "/webhooks", ""), 404, "not_found"},
		{"a webhook of nobody", g.plain, "", g.request(g.plain, "POST", "/webhooks/nobody", "{}"), 404, "not_found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := ask(t, dial(t, tt.at, tt.alpn), tt.sent)
			if a == nil {
				t.Fatal("the connection ended without an answer")
			}
			p := checkProblem(t, a)
			if a.StatusCode != tt.want || p.Code != tt.code {
				t.Errorf("got %d %s, want %d %s", a.StatusCode, p.Code, tt.want, tt.code)
			}
			if strings.Contains(string(a.body), "secret of the operator") {
				t.Errorf("the answer tells the error's cause: %s", a.body)
			}
			if a.StatusCode == http.StatusMethodNotAllowed && a.Header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
	if a := ask(t, g.connect(t, ""), g.request(g.plain, "GET", "/operators-own", "")); a == nil || a.StatusCode != http.StatusOK {
		t.Errorf("what the operator answers by themself: %v, want 200", a)
	}
}

// TestErrorsOfNetHTTP holds what is said of net/http's own errors in docs/http.md:
// they come before any handler, in plain text, and end the connection.
func TestErrorsOfNetHTTP(t *testing.T) {
	g := open(t)
	tests := []struct {
		name, sent string
		want       int
	}{
		{"no HTTP", "hello\r\n\r\n", 400},
		{"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400},
		{"a coding that nobody knows", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
		{"HTTP/3.0 in writing", "GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505},
		{"a large head", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 40<<10) + "\r\n\r\n", 431},
		{"a large target", "GET /" + strings.Repeat("x", 40<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", 431},
		{"10,000 fields", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 10000) + "\r\n", 431},
		{"another expectation", g.request(g.plain, "POST", "/v1/payments", "{}", "Expect: tea"), 417},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := ask(t, g.connect(t, ""), tt.sent)
			if a == nil {
				t.Fatal("the connection ended without an answer")
			}
			if a.StatusCode != tt.want || !a.Close || a.Header.Get("Request-Id") != "" {
				t.Errorf("got %d, close = %t, Request-Id %q; want %d, true and none", a.StatusCode, a.Close, a.Header.Get("Request-Id"), tt.want)
			}
		})
	}
	// RFC 9112 §3: at least 8000 octets of a request line.
	if a := ask(t, g.connect(t, ""), g.request(g.plain, "GET", "/healthz?"+strings.Repeat("x", 8000), "")); a == nil || a.StatusCode != http.StatusOK {
		t.Errorf("a target of 8000 octets: %v, want 200", a)
	}
	a := ask(t, dial(t, "127.0.0.1:"+port(g.secure), ""), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if a == nil || a.StatusCode != http.StatusBadRequest {
		t.Errorf("HTTP without TLS at the port of TLS: %v, want 400", a)
	}
}
