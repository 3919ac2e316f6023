package framing

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// TestTricks sends whole requests that mean something else than they seem to.
func TestTricks(t *testing.T) {
	g := open(t)
	const path = "/v1/payments/"
	many := make([]string, 120)
	for i := range many {
		many[i] = "X-" + strconv.Itoa(i) + ": y"
	}
	tests := []struct {
		name, method, target string
		fields               []string
		want                 int
	}{
		{"an ordinary call", "GET", "/v1/account", nil, 200},
		{"a second Authorization", "GET", "/v1/account", []string{"Authorization: Bearer pur_test_x"}, 401},
		{"a key in the URL", "GET", "/v1/account?key=" + g.key, nil, 401},
		{"a method in a field", "GET", "/v1/account", []string{"X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: DELETE"}, 200},
		{"a method in the query", "GET", "/v1/account?_method=DELETE", nil, 400},
		{"TRACE", "TRACE", "/v1/account", nil, 405},
		{"a method in lower case", "get", "/v1/account", nil, 405},
		{"OPTIONS", "OPTIONS", "/v1/account", nil, 405},
		{"PUT", "PUT", "/v1/account", nil, 405},
		{"a range", "GET", "/v1/account", []string{"Range: bytes=0-1"}, 200},
		{"another host, forwarded", "GET", "/v1/account", []string{"X-Forwarded-Host: evil.example.com", "Forwarded: host=evil.example.com"}, 200},
		{"another path, rewritten", "GET", "/v1/account", []string{"X-Original-URL: /nowhere", "X-Rewrite-URL: /nowhere"}, 200},
		{"a path with dots", "GET", "/v1/./account", nil, 400},
		{"a path that goes up", "GET", "/docs/../v1/account", nil, 400},
		{"escaped dots", "GET", "/docs/%2e%2e/v1/account", nil, 400},
		{"an escaped slash", "GET", "/v1%2faccount", nil, 400},
		{"a backslash", "GET", `/v1\account`, nil, 400},
		{"two slashes", "GET", "//v1/account", nil, 400},
		{"escaped twice", "GET", "/v1/%252e%252e/account", nil, 400},
		{"a NUL", "GET", "/v1/account%00", nil, 400},
		{"overlong UTF-8", "GET", "/v1/%c0%ae%c0%ae/account", nil, 400},
		{"a fragment", "GET", "/v1/account#x", nil, 400},
		{"an escaped letter", "GET", "/v1/%61ccount", nil, 404},
		{"another case", "GET", "/V1/account", nil, 404},
		{"a slash at the end", "GET", "/v1/account/", nil, 404},
		{"no path", "GET", "*", nil, 400},
		{"the absolute form", "GET", "http://" + g.plain + "/v1/account", nil, 200},
		{"the absolute form of another scheme", "GET", "https://" + g.plain + "/v1/account", nil, 400},
		{"the absolute form of another host", "GET", "http://other.example.com/v1/account", nil, 400},
		{"the absolute form with a user", "GET", "http://u@" + g.plain + "/v1/account", nil, 400},
		{"120 fields", "GET", "/v1/account", many, 431},
		{"an upgrade to HTTP/2", "GET", "/v1/account", []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"}, 200},
		{"a websocket", "GET", "/v1/account", []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}, 200},
		{"a foreign payment", "GET", path + "pay_00000000000000000000000000", nil, 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := ask(t, g.connect(t, ""), g.request(g.plain, tt.method, tt.target, "", tt.fields...))
			if a == nil {
				t.Fatalf("the connection ended without an answer, want %d", tt.want)
			}
			if a.StatusCode != tt.want {
				t.Errorf("got %d %s, want %d", a.StatusCode, a.body, tt.want)
			}
			if a.StatusCode >= 400 {
				checkProblem(t, a)
			} else if !json.Valid(a.body) {
				t.Errorf("half an answer: %s", a.body)
			}
			if strings.Contains(string(a.body), g.key) {
				t.Error("the answer holds the key")
			}
		})
	}
}

// TestHosts sends names of hosts that are none. Whatever becomes of them, no
// resource answers.
func TestHosts(t *testing.T) {
	g := open(t)
	for _, host := range []string{
		"user@" + g.plain, g.plain + "/path", g.plain + "," + g.plain, "127.0.0.1:99999", "127.0.0.1:http", "127.0.0.1:80:80", "[127.0.0.1]",
		"::1", "127.0.0.1 evil", "127.0.0.1#evil", "127.0.0.1?evil", `127.0.0.1\evil`, "127.0.0.1%00", "...", "127.0.0.1;a", "127.1", "2130706433",
	} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			a := ask(t, g.connect(t, ""), g.request(host, http.MethodGet, "/v1/account", ""))
			if a != nil && a.StatusCode != http.StatusBadRequest && a.StatusCode != http.StatusMisdirectedRequest {
				t.Errorf("got %d %s, want 400 or 421", a.StatusCode, a.body)
			}
		})
	}
	for _, field := range []string{"Host: " + g.plain, "Host: other.example.com"} {
		if a := ask(t, g.connect(t, ""), g.request(g.plain, http.MethodGet, "/v1/account", "", field)); a == nil || a.StatusCode != http.StatusBadRequest {
			t.Errorf("a second %s: %v, want 400", field, a)
		}
	}
}

// TestNoCORS holds that no browser's script of another origin may ask or read.
func TestNoCORS(t *testing.T) {
	g := open(t)
	for _, method := range []string{"OPTIONS", "GET", "POST"} {
		for _, path := range []string{"/", "/v1/payments", "/v1/account", "/healthz", "/openapi.json", "/docs", "/webhooks/stripe", "/return/x"} {
			a := ask(t, g.connect(t, ""), g.request(g.plain, method, path, "",
				"Origin: https://evil.example.com", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization"))
			if a == nil {
				t.Fatalf("%s %s: no answer", method, path)
			}
			for name := range a.Header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s %s: %s: %s", method, path, name, a.Header[name])
				}
			}
			if method == "OPTIONS" && a.StatusCode/100 != 4 {
				t.Errorf("OPTIONS %s: %d, want a refusal", path, a.StatusCode)
			}
			if a.StatusCode == http.StatusMethodNotAllowed && a.Header.Get("Allow") == "" {
				t.Errorf("%s %s: 405 without Allow", method, path)
			}
		}
	}
}

// TestChunkedBodyIsRead holds that chunks make the payment that they spell, and
// that their trailers do not.
func TestChunkedBodyIsRead(t *testing.T) {
	g := open(t)
	c, key := g.connect(t, ""), freshKey()
	text := g.request(g.plain, http.MethodPost, "/v1/payments", "", "Idempotency-Key: "+key, "Content-Type: application/json",
		"Transfer-Encoding: chunked", "Trailer: Idempotency-Key") +
		"A;name=value\r\n{\"amount\":\r\n25\r\n123,\"currency\":\"EUR\",\"confirm\":false}\r\n0\r\nIdempotency-Key: other\r\n\r\n"
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(c)
	a := next(t, br, http.MethodPost)
	if a == nil {
		t.Fatal("the connection ended without an answer")
	}
	var p struct{ Amount int }
	if err := json.Unmarshal(a.body, &p); err != nil || a.StatusCode != http.StatusCreated || p.Amount != 123 {
		t.Errorf("got %d %s, want 201 and the amount 123", a.StatusCode, a.body)
	}
	if !a.Close || !closed(t, br) {
		t.Error("the connection is open after a chunked body")
	}
	header, err := g.call(http.MethodPost, "/v1/payments", key, `{"amount":123,"currency":"EUR","confirm":false}`, nil)
	if err != nil || header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the same without chunks: %v, replayed %q; want the same payment", err, header.Get("Idempotent-Replayed"))
	}
}
