package framing_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/purser-pay/purser/modules/framing"
)

// get is a sound request of HTTP/1.1, to be spoiled.
func get(target string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Host = "pay.example.com"
	return r
}

// post has a body of some length, which nobody reads here.
func post(name, value string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/v1/payments", strings.NewReader("{}"))
	r.Host = "pay.example.com"
	r.Header[name] = strings.Split(value, "|")
	return r
}

func newer(r *http.Request) *http.Request {
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
	return r
}

func older(r *http.Request) *http.Request {
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.0", 1, 0
	return r
}

func method(m string) *http.Request {
	r := get("/v1/payments")
	r.Method = m
	return r
}

func fields(n int) *http.Request {
	r := get("/v1/payments")
	for i := range n / 2 {
		r.Header["X-"+strconv.Itoa(i)] = []string{"a", "b"}
	}
	return r
}

func TestCheck(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		request *http.Request
		want    int    // status; 0 = it passes
		param   string // of the problem
	}{
		{"a sound request", get("/v1/payments?limit=1"), 0, ""},
		{"a sound request with a body", post("Content-Type", "application/json"), 0, ""},
		{"HEAD", method("HEAD"), 0, ""},
		{"OPTIONS", method("OPTIONS"), 0, ""},
		{"PUT", method("PUT"), 0, ""},
		{"TRACE", method("TRACE"), 405, ""},
		{"CONNECT", method("CONNECT"), 405, ""},
		{"a method of our own", method("BREW"), 405, ""},
		{"a method in lower case", method("get"), 405, ""},

		{"100 fields", fields(100), 0, ""},
		{"101 fields or more", fields(102), 431, ""},

		{"Connection in HTTP/1.1", post("Connection", "keep-alive"), 0, ""},
		{"Connection in HTTP/2", newer(post("Connection", "keep-alive")), 400, "Connection"},
		{"Proxy-Connection in HTTP/2", newer(post("Proxy-Connection", "close")), 400, "Proxy-Connection"},
		{"Keep-Alive in HTTP/2", newer(post("Keep-Alive", "1")), 400, "Keep-Alive"},
		{"Transfer-Encoding in HTTP/2", newer(post("Transfer-Encoding", "chunked")), 400, "Transfer-Encoding"},
		{"Upgrade in HTTP/2", newer(post("Upgrade", "websocket")), 400, "Upgrade"},
		{"TE: trailers in HTTP/2", newer(post("Te", "trailers")), 0, ""},
		{"another TE in HTTP/2", newer(post("Te", "gzip")), 400, "TE"},
		{"two TE in HTTP/2", newer(post("Te", "trailers|trailers")), 400, "TE"},
		{"another TE in HTTP/1.1", post("Te", "gzip"), 0, ""},

		{"HTTP/1.0", older(get("/healthz")), 0, ""},
		{"HTTP/1.0 with a body", older(post("Content-Type", "application/json")), 400, ""},

		{"two Content-Types", post("Content-Type", "application/json|application/json"), 400, "Content-Type"},
		{"gzip", post("Content-Encoding", "gzip"), 415, "Content-Encoding"},
		{"a list with br", post("Content-Encoding", "identity, BR"), 415, "Content-Encoding"},
		{"zstd in a second line", post("Content-Encoding", "identity|zstd"), 415, "Content-Encoding"},
		{"identity is the door's affair", post("Content-Encoding", "identity"), 0, ""},
		{"100-continue", post("Expect", "100-Continue"), 0, ""},
		{"another expectation", post("Expect", "200-ok"), 417, "Expect"},
		{"two expectations", post("Expect", "100-continue|100-continue"), 417, "Expect"},
		{"method override", post("X-Http-Method-Override", "DELETE"), 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := framing.Limits{}.Check(tt.request)
			switch {
			case p == nil && tt.want != 0:
				t.Errorf("it passes, want %d", tt.want)
			case p != nil && (p.Status != tt.want || p.Param != tt.param):
				t.Errorf("got %d %q: %s, want %d %q", p.Status, p.Param, p.Detail, tt.want, tt.param)
			}
		})
	}
}

func TestFieldsLimit(t *testing.T) {
	t.Parallel()
	l := framing.Limits{Fields: 4}
	if p := l.Check(fields(4)); p != nil {
		t.Errorf("4 of 4 fields: %d %s, want none", p.Status, p.Detail)
	}
	if p := l.Check(fields(6)); p == nil || p.Status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("6 of 4 fields: %v, want 431", p)
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	good := []string{
		"pay.example.com", "PAY.example.com.", "pay.example.com:443", "localhost:8443", "purser_1:80", "10.0.0.1", "[::1]",
		"[2001:db8::1]:443", "pay.example.com:", strings.Repeat("a", 255),
	}
	bad := []string{
		"user@pay.example.com", "pay.example.com/path", "pay.example.com:0", "pay.example.com:65536", "pay.example.com:443443",
		"pay.example.com:http", "pay.example.com:80:80", "a,b", "a b", "a%2eb", "...", ":443", "[::1", "[::1]x", "[10.0.0.1]", "[fe80::1%25eth0]",
		"::1", "pay.exämple.com", "a\x00b", "a\tb", "a;b", "[]", strings.Repeat("a", 256), "a+b",
	}
	for _, host := range good {
		r := get("/")
		r.Host = host
		if p := (framing.Limits{}).Check(r); p != nil {
			t.Errorf("host %q is refused: %s", host, p.Detail)
		}
	}
	for _, host := range bad {
		r := get("/")
		r.Host = host
		if p := (framing.Limits{}).Check(r); p == nil || p.Status != http.StatusBadRequest || p.Param != "Host" {
			t.Errorf("host %q: %v, want 400 for Host", host, p)
		}
	}
	r := get("/")
	r.Host = ""
	if p := (framing.Limits{}).Check(r); p == nil {
		t.Error("HTTP/1.1 without a host passes")
	}
	if p := (framing.Limits{}).Check(older(r)); p != nil {
		t.Errorf("HTTP/1.0 without a host is refused: %s", p.Detail)
	}
	for value, want := range map[string]bool{"pay.example.com": true, "other.example.com": false, "pay.example.com|pay.example.com": false} {
		r := newer(get("/"))
		r.Header["Host"] = strings.Split(value, "|")
		if p := (framing.Limits{}).Check(r); (p == nil) != want {
			t.Errorf("HTTP/2 with the field host: %s: passes = %t, want %t", value, p == nil, want)
		}
	}
}

// absolute is a request whose target has the absolute form.
func absolute(target, local, name string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.TLS = nil
	if name != "" {
		r.TLS = &tls.ConnectionState{ServerName: strings.TrimPrefix(name, "-")}
	}
	if local != "" {
		addr, err := net.ResolveTCPAddr("tcp", local)
		if err != nil {
			panic(err)
		}
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, addr))
	}
	return r
}

func TestAbsoluteForm(t *testing.T) {
	t.Parallel()
	tests := []struct {
		target, local, sni string // sni "-" = TLS without one
		want               bool
	}{
		{"https://pay.example.com/", "10.0.0.1:443", "pay.example.com", true},
		{"https://PAY.example.com:443/", "10.0.0.1:443", "pay.example.com", true},
		{"https://other.example.com/", "10.0.0.1:443", "pay.example.com", false},
		{"http://pay.example.com/", "10.0.0.1:443", "pay.example.com", false},
		{"https://10.0.0.1/", "10.0.0.1:443", "-", true},
		{"https://10.0.0.2/", "10.0.0.1:443", "-", false},
		{"http://10.0.0.1:8080/", "10.0.0.1:8080", "", true},
		{"http://[::1]:8080/", "[::1]:8080", "", true},
		{"http://localhost:8080/", "127.0.0.1:8080", "", true},
		{"http://localhost:8080/", "10.0.0.1:8080", "", false},
		{"http://pay.example.com/", "10.0.0.1:8080", "", false},
		{"https://10.0.0.1:8080/", "10.0.0.1:8080", "", false},
		{"ftp://10.0.0.1:8080/", "10.0.0.1:8080", "-", false},
		{"http://user@10.0.0.1:8080/", "10.0.0.1:8080", "", false},
		{"http://10.0.0.1:8080/", "", "", false},
	}
	for _, tt := range tests {
		p := framing.Limits{}.Check(absolute(tt.target, tt.local, tt.sni))
		if (p == nil) != tt.want {
			t.Errorf("%s at %s, SNI %q: %v, want it to pass: %t", tt.target, tt.local, tt.sni, p, tt.want)
		}
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	good := []string{
		"/", "/v1/payments", "/v1/payments/", "/v1/payments/pay_1?a=b/../c", "/return/a.b..c", "/v1/proxy/stripe/v1/a%20b",
		"/x/%C3%A4", "/x/100%25", "/...", "/x/a;b=c", "/x/a%3Ab", "/" + strings.Repeat("a", 8000),
	}
	bad := []string{
		"/v1//payments", "//", "/v1/./payments", "/v1/../payments", "/v1/..", "/.", "/v1/%2e%2e/x", "/v1/%2E", "/v1/.%2e/x",
		"/v1%2fpayments", "/v1%2Fpayments", `/v1\payments`, "/v1%5cpayments", "/x%00", "/x%0d%0aX:1", "/x%7f", "/x/%c0%ae",
		"/x/%ff", "/v1/%252e%252e/x", "/v1%252fpayments", "/v1/..;/x", "/v1/.;a=b/x", "/x#y",
	}
	at := func(path string) *framing.Problem {
		// As the server does, which httptest.NewRequest is too polite for.
		r := get("/")
		u, err := parseTarget(path)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		r.RequestURI, r.URL = path, u
		return framing.Limits{}.Check(r)
	}
	for _, path := range good {
		if p := at(path); p != nil {
			t.Errorf("%s is refused: %s", path, p.Detail)
		}
	}
	for _, path := range bad {
		if p := at(path); p == nil || p.Status != http.StatusBadRequest {
			t.Errorf("%s: %v, want 400", path, p)
		}
	}
	star := get("/")
	star.RequestURI, star.URL.Path = "*", "*"
	if p := (framing.Limits{}).Check(star); p == nil {
		t.Error("GET * passes")
	}
	star.Method = http.MethodOptions
	if p := (framing.Limits{}).Check(star); p != nil {
		t.Errorf("OPTIONS * is refused: %s", p.Detail)
	}
}
