package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connectors/stripe"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/transport"
)

// psp is a PSP that answers by f.
func psp(t testing.TB, f http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL
}

// everything is what a caller may try to get through.
func everything() http.Header {
	h := http.Header{}
	for _, name := range []string{
		"Authorization", "Cookie", "Proxy-Authorization", "Proxy-Connection", "Signature", "Signature-Input", "Purser-Signature", "Dpop", "Client-Cert",
		"Client-Cert-Chain", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Client-Cert", "Forwarded", "Via", "X-Real-Ip", "X-Api-Key",
		"X-Merchant-Id", "X-Purser-Merchant", "Stripe-Account", "Stripe-Context", "Te", "Trailer", "Keep-Alive", "Content-Digest", "X-Http-Method-Override",
		"X-Original-Url", "X-Rewrite-Url", "Early-Data", "Max-Forwards", "Range", "If-None-Match", "Origin", "Referer", "Traceparent",
	} {
		h.Set(name, callerKey)
	}
	for _, name := range []string{"Accept", "Accept-Encoding", "Accept-Language", "Content-Type", "Idempotency-Key", "Stripe-Version"} {
		h.Set(name, "their "+name)
	}
	return h
}

func TestRequestHeaders(t *testing.T) {
	t.Parallel()
	tests := []struct {
		account string
		want    http.Header
	}{
		{"stripe", http.Header{"Authorization": {"Bearer " + stripeKey}, "Stripe-Version": {"their Stripe-Version"}}},
		{"adyen", http.Header{"X-Api-Key": {adyenKey}}},
	}
	for _, tt := range tests {
		t.Run(tt.account, func(t *testing.T) {
			t.Parallel()
			var got http.Header
			w := newWorld(t, psp(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header })).open()
			resp, body := w.do("POST", tt.account+"/v1/x", everything(), strings.NewReader("a=b"))
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("got %d %s", resp.StatusCode, body)
			}
			tt.want["User-Agent"], tt.want["Content-Length"] = []string{"Purser/dev"}, []string{"3"}
			for _, name := range []string{"Accept", "Accept-Encoding", "Accept-Language", "Content-Type", "Idempotency-Key"} {
				tt.want.Set(name, "their "+name)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
		})
	}
}

func TestResponseHeaders(t *testing.T) {
	t.Parallel()
	passes := http.Header{
		"Content-Type": {"text/html"}, "Content-Length": {"5"}, "Content-Language": {"de"}, "Content-Disposition": {"inline"}, "Etag": {`"a"`},
		"Last-Modified": {"Mon, 01 Jan 2024 00:00:00 GMT"}, "Retry-After": {"7"}, "Vary": {"Accept"}, "Stripe-Version": {"v"}, "Stripe-Should-Retry": {"true"},
		"Original-Request": {"req_b"}, "Idempotent-Replayed": {"true"}, "Idempotency-Key": {"k"},
	}
	w := newWorld(t, psp(t, func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), passes)
		for _, name := range []string{
			"Set-Cookie", "Strict-Transport-Security", "Alt-Svc", "Access-Control-Allow-Origin", "Clear-Site-Data", "Content-Security-Policy", "Server", "Via",
			"X-Accel-Redirect", "X-Sendfile", "Refresh", "Link", "Keep-Alive", "Proxy-Authenticate", "Www-Authenticate", "X-Anything", "Nel", "Ratelimit", "Age",
		} {
			w.Header().Set(name, "canary")
		}
		w.Header().Set("Request-Id", "req_theirs")
		w.Header().Set("Server-Timing", "canary")
		w.Header().Set("Cache-Control", "public, max-age=9")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "<b>no")
	})).open()
	resp, _ := w.do("GET", "stripe/v1/x", nil, nil)
	if resp.StatusCode != http.StatusTeapot {
		t.Errorf("got status %d, want the PSP's", resp.StatusCode)
	}
	timing := resp.Header.Get("Server-Timing")
	if !strings.HasPrefix(timing, "total;dur=") || !strings.Contains(timing, ", psp;dur=") {
		t.Errorf("Server-Timing %q", timing)
	}
	want := passes.Clone()
	want.Set("Request-Id", requestID)
	want.Set("Psp-Request-Id", "req_theirs")
	want.Set("Cache-Control", "no-store")
	want.Set("X-Content-Type-Options", "nosniff")
	resp.Header.Del("Server-Timing")
	resp.Header.Del("Date")
	if diff := cmp.Diff(want, resp.Header); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	if d := w.last(); d.Status != 418 || d.Bytes != 5 || d.Err != nil || d.PSP <= 0 || d.Took < d.PSP || d.Method != http.MethodGet {
		t.Errorf("told %+v", d)
	}
}

// raw sends bytes as they are, and returns the answer's status and body.
func (w *world) raw(text string) (int, string) {
	w.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		w.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		w.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		w.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		w.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// Whatever a caller says of hosts, the request goes to the account's.
func TestHostIsTheAccounts(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"another Host":           "GET /v1/proxy/stripe/v1/x HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		"absolute form":          "GET http://evil.example/v1/proxy/stripe/v1/x HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		"absolute form, https":   "GET https://evil.example:1/v1/proxy/stripe/v1/x HTTP/1.1\r\nHost: other.example\r\n\r\n",
		"absolute form, a user":  "GET http://a:b@evil.example/v1/proxy/stripe/v1/x HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		"X-Forwarded-Host":       "GET /v1/proxy/stripe/v1/x HTTP/1.1\r\nHost: a\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\nForwarded: host=evil.example\r\n\r\n",
		"X-Original-URL":         "GET /v1/proxy/stripe/v1/x HTTP/1.1\r\nHost: a\r\nX-Original-Url: http://evil.example/\r\nX-Rewrite-Url: /evil\r\n\r\n",
		"HTTP/1.0 without Host":  "GET /v1/proxy/stripe/v1/x HTTP/1.0\r\n\r\n",
		"Connection names Host":  "GET /v1/proxy/stripe/v1/x HTTP/1.1\r\nHost: a\r\nConnection: host, authorization, user-agent\r\n\r\n",
		"TE and an early answer": "GET /v1/proxy/stripe/v1/x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nExpect: 100-continue\r\n\r\n",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var host, target, key string
			base := psp(t, func(w http.ResponseWriter, r *http.Request) {
				host, target, key = r.Host, r.RequestURI, r.Header.Get("Authorization")
			})
			w := newWorld(t, base+"/base").open()
			if status, body := w.raw(text); status != 200 {
				t.Fatalf("got %d %s", status, body)
			}
			if want := strings.TrimPrefix(base, "http://"); host != want || target != "/base/v1/x" || key != "Bearer "+stripeKey {
				t.Errorf("arrived at %q as %q with %q, want %q and /base/v1/x, with the account's key", host, target, key, want)
			}
		})
	}
}

// Nothing of these is sent.
func TestRefused(t *testing.T) {
	t.Parallel()
	var reached atomic.Int32
	w := newWorld(t, psp(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	retired := *w.accounts["stripe"]
	retired.Name, retired.Retired = "retired", true
	w.accounts["retired"] = &retired
	w.disabled["adyen"] = true
	w.open()
	tests := []struct{ name, text, want string }{
		{"dot segments", "GET /v1/proxy/stripe/v1/../x HTTP/1.1", "invalid_request path"},
		{"escaped slash", "GET /v1/proxy/stripe/v1%2fx HTTP/1.1", "invalid_request path"},
		{"empty segment", "GET /v1/proxy/stripe//evil.example/x HTTP/1.1", "invalid_request path"},
		{"backslash", `GET /v1/proxy/stripe/v1\x HTTP/1.1`, "invalid_request path"},
		{"bytes that are not ASCII", "GET /v1/proxy/stripe/\xff\xfe HTTP/1.1", "invalid_request path"},
		{"a fragment", "GET /v1/proxy/stripe/v1#x HTTP/1.1", "invalid_request path"},
		{"a fragment in the query", "GET /v1/proxy/stripe/v1?a#x HTTP/1.1", "invalid_request query"},
		{"a long path", "GET /v1/proxy/stripe/" + strings.Repeat("a", MaxPath) + " HTTP/1.1", "invalid_request path"},
		{"a card number in the path", "GET /v1/proxy/stripe/v1/4242424242424242 HTTP/1.1", "pan_not_allowed path"},
		{"a card number in the query", "GET /v1/proxy/stripe/v1?n=4242424242424242 HTTP/1.1", "pan_not_allowed query"},
		{"TRACE", "TRACE /v1/proxy/stripe/v1 HTTP/1.1", "method_not_allowed "},
		{"CONNECT", "CONNECT /v1/proxy/stripe/v1 HTTP/1.1", "method_not_allowed "},
		{"WebSocket", "GET /v1/proxy/stripe/v1 HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket", "invalid_request Upgrade"},
		{"h2c", "GET /v1/proxy/stripe/v1 HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", "invalid_request Upgrade"},
		{"unknown account", "GET /v1/proxy/none/v1 HTTP/1.1", "not_found "},
		{"another's account", "GET /v1/proxy/theirs/v1 HTTP/1.1", "not_found "},
		{"an account of all", "GET /v1/proxy/shared/v1 HTTP/1.1", "not_supported "},
		{"changing at a retired account", "POST /v1/proxy/retired/v1 HTTP/1.1\r\nContent-Length: 0", "not_supported "},
		{"changing at an account out of use", "DELETE /v1/proxy/adyen/v1 HTTP/1.1", "not_supported "},
		{"a large body", "POST /v1/proxy/stripe/v1 HTTP/1.1\r\nContent-Length: 1048577", "body_too_large "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, body := w.raw(tt.text + "\r\nHost: a\r\n\r\n")
			if status != 599 || body != tt.want {
				t.Errorf("got %d %q, want a refusal: %q", status, body, tt.want)
			}
		})
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d requests reached the PSP", n)
	}
	for _, account := range []string{"retired", "adyen"} {
		if resp, body := w.do("GET", account+"/v1/x", nil, nil); resp.StatusCode != http.StatusOK {
			t.Errorf("reading at %s: %d %s", account, resp.StatusCode, body)
		}
	}
	// Serve looks by itself, should nobody have looked before.
	for name, c := range map[string]Call{
		"invalid_request path": {Merchant: merA, Mode: payment.Test, Target: Target{"stripe", "/../x"}},
		"not_found ":           {Merchant: merB, Mode: payment.Test, Target: Target{"stripe", "/x"}},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if got := refusal(w.proxy.Serve(httptest.NewRecorder(), r, c)); got != name {
			t.Errorf("Serve: got %q, want %q", got, name)
		}
	}
}

func TestLocation(t *testing.T) {
	t.Parallel()
	const theirs = "{psp}"
	tests := []struct{ name, location, want string }{
		{"the PSP's", theirs + "/v1/y?a=b", theirs + "/v1/y?a=b"},
		{"absolute path", "/v1/y", theirs + "/v1/y"},
		{"relative", "y?a=b", theirs + "/base/v1/y?a=b"},
		{"query alone", "?a=b", theirs + "/base/v1/x?a=b"},
		{"elsewhere", "https://evil.example/v1/y", ""},
		{"without a scheme", "//evil.example/v1/y", ""},
		{"another port", "http://127.0.0.1:1/v1/y", ""},
		{"a user", "http://a:b@127.0.0.1/v1/y", ""},
		{"no URL of the web", "javascript:alert(1)", ""},
		{"malformed", "http://[::1", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var base string
			var reached atomic.Int32
			base = psp(t, func(w http.ResponseWriter, r *http.Request) {
				reached.Add(1)
				w.Header().Set("Location", strings.ReplaceAll(tt.location, theirs, base))
				w.WriteHeader(http.StatusTemporaryRedirect)
			})
			w := newWorld(t, base+"/base").open()
			resp, _ := w.do("POST", "stripe/v1/x", nil, strings.NewReader("a=b"))
			if got, want := resp.Header.Get("Location"), strings.ReplaceAll(tt.want, theirs, base); resp.StatusCode != http.StatusTemporaryRedirect || got != want {
				t.Errorf("got %d to %q, want 307 to %q", resp.StatusCode, got, want)
			}
			if n := reached.Load(); n != 1 {
				t.Errorf("%d requests, want one: the redirect was followed", n)
			}
		})
	}
}

// Trailers, early hints and what a HEAD answers stay what they are, or behind.
func TestOddAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, psp(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/trailer":
			w.Header().Set("Trailer", "X-Late")
			_, _ = io.WriteString(w, "body")
			_ = http.NewResponseController(w).Flush()
			w.Header().Set("X-Late", "canary")
		case "/hints":
			w.Header().Set("Link", "canary")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("Link")
			_, _ = io.WriteString(w, "body")
		case "/head":
			w.Header().Set("Content-Length", "1234")
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		}
	})).open()
	for _, tt := range []struct {
		method, path string
		status       int
		length       int64
		body         string
	}{
		{"GET", "trailer", 200, -1, "body"}, {"GET", "hints", 200, 4, "body"}, {"HEAD", "head", 200, 1234, ""}, {"DELETE", "none", 204, 0, ""},
	} {
		resp, body := w.do(tt.method, "stripe/"+tt.path, nil, nil)
		if resp.StatusCode != tt.status || resp.ContentLength != tt.length || body != tt.body {
			t.Errorf("%s: got %d, length %d, %q; want %+v", tt.path, resp.StatusCode, resp.ContentLength, body, tt)
		}
		if got := fmt.Sprint(resp.Trailer, resp.Header); strings.Contains(got, "canary") {
			t.Errorf("%s: got %s", tt.path, got)
		}
	}
}

// What the standard library and the server log of calls that pass, and of calls that
// do not, holds nothing that was said; and neither does what the audit is told.
func TestNothingIsLogged(t *testing.T) {
	var written lines
	log.SetOutput(&written) // the library's last resort; so this test runs alone
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	canaries := []string{stripeKey, adyenKey, callerKey, bodyText, "canary-query", "canary-answer", "canary-path", "their "}
	w := newWorld(t, psp(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "a=canary-answer")
		w.Header().Set("Stripe-Version", "canary-answer")
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "canary-answer"+r.Header.Get("Authorization"))
		_ = http.NewResponseController(w).Flush()
		if r.URL.Path == "/canary-path/breaks" {
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(make([]byte, 1000-len("canary-answer"+r.Header.Get("Authorization"))))
	}))
	down := *w.accounts["stripe"]
	down.Name, down.BaseURL = "down", "http://127.0.0.1:1"
	w.accounts["down"] = &down
	w.open()
	for _, path := range []string{"stripe/canary-path?q=canary-query", "adyen/canary-path?q=canary-query", "down/canary-path?q=canary-query"} {
		w.do("POST", path, everything(), strings.NewReader(bodyText))
		w.last()
	}
	req, err := http.NewRequest(http.MethodPost, w.url+"/v1/proxy/stripe/canary-path/breaks?q=canary-query", strings.NewReader(bodyText))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = everything()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the answer did not break off")
	}
	_ = resp.Body.Close()
	w.last()
	if d := w.done; len(d) != 4 || d[2].Err == nil || d[3].Err == nil {
		t.Fatalf("told %+v; want four calls, the last two with errors", d)
	}
	text := written.String() + w.log.String() + fmt.Sprintf("%+v", w.done)
	for _, canary := range canaries {
		if i := strings.Index(text, canary); i >= 0 {
			t.Errorf("%q is told: %.300s", canary, text[max(0, i-200):])
		}
	}
	if got := written.String(); got != "" {
		t.Errorf("the standard logger got %s", got)
	}
}

// lines is a log that many write to.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestNew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "http://127.0.0.1:1")
	w.accounts["mute"] = &connector.Account{Name: "mute", Connector: mute{&stripe.Connector{}}}
	w.open() // an account that passes nothing is none of its business
	if got := len(w.proxy.passages); got != len(w.accounts)-1 {
		t.Errorf("%d passages for %d accounts", got, len(w.accounts))
	}
	why := errors.New("no way")
	_, err := New(Config{Accounts: w.accounts, Passage: func(*connector.Account) (*transport.Passage, error) { return nil, why }, Now: time.Now})
	if !errors.Is(err, why) {
		t.Errorf("got %v, want it refused", err)
	}
}
