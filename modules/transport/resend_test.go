package transport

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

type deadlineCtx struct {
	context.Context
	at time.Time
}

func (d deadlineCtx) Deadline() (time.Time, bool) { return d.at, true }

// dyingPSP answers the first request of each connection and, having read the
// second, hangs up. It counts arrivals by method and path.
func dyingPSP(t *testing.T) (base string, arrivals func() []string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	var mu sync.Mutex
	var seen []string
	serve := func(c net.Conn) {
		defer c.Close()
		br := bufio.NewReader(c)
		for n := 0; ; n++ {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			mu.Lock()
			seen = append(seen, req.Method)
			mu.Unlock()
			if n == 1 {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsucceeded")
		}
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return "http://" + ln.Addr().String(), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), seen...)
	}
}

// A kept-alive connection that dies after the request was written tempts
// net/http to send the request again by itself.
func TestNoSilentResend(t *testing.T) {
	tests := []struct{ name, method, body string }{
		{"POST with Idempotency-Key", http.MethodPost, "amount=1"},
		{"POST with Idempotency-Key and no body", http.MethodPost, ""},
		{"PUT with Idempotency-Key and no body", http.MethodPut, ""},
		{"DELETE with Idempotency-Key", http.MethodDelete, ""},
		{"GET", http.MethodGet, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			base, arrivals := dyingPSP(t)
			f := &fakeConnector{encode: func(c connector.Call) (*http.Request, error) {
				var body io.Reader
				if tt.body != "" {
					body = strings.NewReader(tt.body)
				}
				req, err := http.NewRequest(tt.method, c.BaseURL+"/x", body)
				if err == nil {
					req.Header.Set("Idempotency-Key", "k")
				}
				return req, err
			}}
			h := newHarness(t, f, base, (&net.Dialer{}).DialContext)
			if x := h.do(authorize()); x.Outcome != answered {
				t.Fatalf("first exchange: %+v", x)
			}
			x := h.do(authorize())
			if got := arrivals(); len(got) != 2 || x.Sends != 1 || x.Outcome != unknown {
				t.Errorf("got %d arrivals, %d sends, %v (%v); want 2 (one of each exchange), 1, unknown", len(got), x.Sends, x.Outcome, x.Err)
			}
		})
	}
	// The control: without our body net/http does send again, so that the tests
	// above can fail.
	for _, method := range []string{http.MethodPost, http.MethodGet} {
		t.Run("control "+method, func(t *testing.T) {
			base, arrivals := dyingPSP(t)
			tripper, err := NewTripper(HTTPOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				req, err := http.NewRequestWithContext(t.Context(), method, base+"/x", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Idempotency-Key", "k")
				resp, err := tripper.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			if got := len(arrivals()); got != 3 {
				t.Errorf("got %d arrivals, want 3: net/http no longer sends again by itself, look at encoded.request", got)
			}
		})
	}
}

// A Sync is sent again by our own loop, on a fresh connection, and counted.
func TestSyncIsResentByUs(t *testing.T) {
	base, arrivals := dyingPSP(t)
	f := &fakeConnector{}
	h := newHarness(t, f, base, (&net.Dialer{}).DialContext)
	call := connector.Call{Op: payment.Sync{}}
	h.do(call)
	x := h.do(call)
	if got := len(arrivals()); got != 3 || x.Sends != 2 || x.Outcome != answered {
		t.Errorf("got %d arrivals, %d sends, %v; want 3, 2, answered", got, x.Sends, x.Outcome)
	}
}

// Where one kept-alive connection was dead, its like are not tried in turn.
func TestRepeatUsesAFreshConnection(t *testing.T) {
	base, arrivals := dyingPSP(t)
	f := &fakeConnector{}
	h := newHarness(t, f, base, (&net.Dialer{}).DialContext)
	call := connector.Call{Op: payment.Sync{}}
	const conns = MaxSends + 1
	tripper, err := h.room(h.account)
	if err != nil {
		t.Fatal(err)
	}
	var open []*http.Response
	for range conns { // as many connections as answers that nobody has read yet
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tripper.tripper.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, resp)
	}
	for _, resp := range open {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	x := h.do(call)
	if got := len(arrivals()) - conns; got != 2 || x.Sends != 2 || x.Outcome != answered {
		t.Errorf("got %d arrivals, %d sends, %v; want 2, 2, answered", got, x.Sends, x.Outcome)
	}
}

func TestWireShape(t *testing.T) {
	type shape struct {
		length, encoding, agent, accept string
	}
	tests := []struct {
		name, method, body string
		want               shape
	}{
		{"POST", http.MethodPost, "amount=1", shape{"8", "", "Purser/dev", ""}},
		{"empty POST", http.MethodPost, "", shape{"", "chunked", "Purser/dev", ""}},
		{"GET", http.MethodGet, "", shape{"", "", "Purser/dev", ""}},
		{"DELETE", http.MethodDelete, "", shape{"", "", "Purser/dev", ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got shape
			base := httpPSP(t, func(w http.ResponseWriter, r *http.Request) {
				got = shape{r.Header.Get("Content-Length"), strings.Join(r.TransferEncoding, ","), r.UserAgent(), r.Header.Get("Accept-Encoding")}
				w.Header().Set("Set-Cookie", "a=b")
				_, _ = io.WriteString(w, "succeeded")
			})
			f := &fakeConnector{encode: func(c connector.Call) (*http.Request, error) {
				return http.NewRequest(tt.method, c.BaseURL, strings.NewReader(tt.body))
			}}
			h := newHarness(t, f, base, (&net.Dialer{}).DialContext)
			if x := h.do(authorize()); x.Outcome != answered {
				t.Fatal(x.Err)
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	hits := 0
	base := httpPSP(t, func(w http.ResponseWriter, r *http.Request) {
		hits++
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	h := newHarness(t, &fakeConnector{}, base, (&net.Dialer{}).DialContext)
	if x := h.do(authorize()); x.Outcome != unknown || hits != 1 {
		t.Errorf("got %v after %d requests, want unknown after 1", x.Outcome, hits)
	}
}

// Encode runs once: every send bears the same bytes.
func TestRepeatsAreIdentical(t *testing.T) {
	var mu sync.Mutex
	var bodies []string
	base := httpPSP(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		bodies = append(bodies, string(b))
		w.WriteHeader(http.StatusInternalServerError)
	})
	encoded := 0
	f := &fakeConnector{promise: connector.Idempotency{By: connector.ByKey}}
	f.encode = func(c connector.Call) (*http.Request, error) {
		encoded++
		return encodePOST(c, "nonce="+strings.Repeat("x", encoded))
	}
	h := newHarness(t, f, base, (&net.Dialer{}).DialContext)
	h.do(authorize())
	mu.Lock()
	defer mu.Unlock()
	if encoded != 1 || strings.Join(bodies, " ") != "nonce=x nonce=x nonce=x" {
		t.Errorf("encoded %d times, PSP saw %q", encoded, bodies)
	}
}

// An answer that came when, and because, we hung up is none: "429" may then mean
// that the PSP gave up what it had begun, or that it did not. net/http may take
// such an answer where the end of the time is noticed late.
func TestAnswersToAHangUp(t *testing.T) {
	t.Parallel()
	late := roundTripper(func(r *http.Request) (*http.Response, error) {
		trace := httptrace.ContextClientTrace(r.Context())
		trace.GetConn("localhost:9")
		trace.GotConn(httptrace.GotConnInfo{})
		<-r.Context().Done()
		return &http.Response{StatusCode: http.StatusTooManyRequests, Body: http.NoBody}, nil
	})
	h := newHarness(t, newPasser(), "http://localhost:9", nil)
	h.cfg.Tripper = func(*connector.Account) (http.RoundTripper, error) { return late, nil }
	h.account.Timeout = time.Millisecond
	if x := h.do(authorize()); x.Outcome != unknown || x.Result.State != "" {
		t.Errorf("exchange: got %v %q (%v), want %v", x.Outcome, x.Result.State, x.Err, unknown)
	}
	p, err := h.passage()
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.Do(t.Context(), Passing{Method: "GET", Path: "/x"})
	if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(err, ErrInDoubt) {
		t.Errorf("passed: got %v, %v, want no answer in time, and doubt", resp, err)
	}
}

func TestCountedConn(t *testing.T) {
	a, b := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, b) }()
	c := &countedConn{Conn: a}
	start := c.begun()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if c.seal(start) {
		t.Error("sealed as unused after a write")
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Errorf("a failed seal must change nothing: %v", err)
	}
	if !c.seal(c.begun()) {
		t.Error("not sealed, although nothing was written since")
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, errSealed) {
		t.Errorf("got %v after the seal, want errSealed", err)
	}
	_ = a.Close()
	d := &countedConn{Conn: a}
	if _, err := d.Write([]byte("x")); err == nil || d.begun() != 0 {
		t.Errorf("a write that took nothing: got %d begun, %v", d.begun(), err)
	}
}

// silentTripper fails without a word to httptrace.
type silentTripper struct{ err error }

func (s silentTripper) RoundTrip(*http.Request) (*http.Response, error) { return nil, s.err }

func TestForeignTripperThatReportsNothingIsInDoubt(t *testing.T) {
	h := newHarness(t, &fakeConnector{}, "https://psp.example", nil)
	h.cfg.Tripper = func(*connector.Account) (http.RoundTripper, error) {
		return silentTripper{errors.New("boom")}, nil
	}
	if x := h.do(authorize()); x.Outcome != unknown || x.Sends != 1 {
		t.Errorf("got %v, %d sends; want unknown, 1", x.Outcome, x.Sends)
	}
	h = newHarness(t, &fakeConnector{}, "https://psp.example", nil)
	h.cfg.Tripper = func(*connector.Account) (http.RoundTripper, error) { return nil, errors.New("no certificate") }
	if x := h.do(authorize()); x.Outcome != notSent {
		t.Errorf("a tripper that cannot be made: got %v, want not_sent", x.Outcome)
	}
}
