package framing_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/framing"
	"github.com/purser-pay/purser/modules/payment"
)

// patience bounds what must come at once.
const patience = 10 * time.Second

// door answers with what it could read, or does not read at all.
type door struct {
	deaf bool
	// gone is closed when the context of a request has ended before its answer.
	gone chan struct{}
	// wait is for whoever answers late.
	wait chan struct{}
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if d.deaf {
		http.Error(w, "deaf", http.StatusNotFound)
		return
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		w.Write([]byte("broken"))
		return
	}
	if d.wait != nil {
		select {
		case <-d.wait:
		case <-r.Context().Done():
			close(d.gone)
		}
	}
	w.Write(append([]byte("read "), b...))
}

// serve opens a server of net/http, and returns how to talk to it.
func serve(t *testing.T, h framing.Handler) func(text string) net.Conn {
	t.Helper()
	h.IDs = new(payment.IDs)
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return func(text string) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// answers reads to the end of the connection.
func answers(t *testing.T, c net.Conn) (statuses []int, bodies []string) {
	t.Helper()
	br := bufio.NewReader(c)
	for {
		resp, err := http.ReadResponse(br, nil)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return statuses, bodies
		}
		if err != nil {
			t.Fatalf("after %v: %v, want an answer or the end", statuses, err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode >= 200 {
			statuses, bodies = append(statuses, resp.StatusCode), append(bodies, string(b))
		}
	}
}

const (
	head   = " /x HTTP/1.1\r\nHost: localhost\r\n"
	second = "GET" + head + "Connection: close\r\n\r\n"
)

// TestConnections holds which requests may be followed by another one.
func TestConnections(t *testing.T) {
	t.Parallel()
	const chunked = "POST" + head + "Transfer-Encoding: chunked\r\n"
	tests := []struct {
		name string
		deaf bool
		sent string
		want []int
		body string // of the first answer; "" = whatever
	}{
		{"a whole body", false, "POST" + head + "Content-Length: 5\r\n\r\nhello" + second, []int{200, 200}, "read hello"},
		{"no body", false, "GET" + head + "\r\n" + second, []int{200, 200}, "read "},
		{"chunks", false, chunked + "\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n" + second, []int{200}, "read hello"},
		{"chunks that nobody reads", true, chunked + "\r\n5\r\nhello\r\n0\r\n\r\n" + second, []int{404}, ""},
		{"chunks and a length", false, chunked + "Content-Length: 3\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + second, []int{200}, "read hello"},
		{"chunks and trailers", false, chunked + "Trailer: X-A\r\n\r\n5\r\nhello\r\n0\r\nX-A: b\r\n\r\n" + second, []int{200}, "read hello"},
		{"a broken size", false, chunked + "\r\n5x\r\nhello\r\n0\r\n\r\n" + second, []int{400}, ""},
		{"a broken size that nobody reads", true, chunked + "\r\n5x\r\nhello\r\n0\r\n\r\n" + second, []int{400}, ""},
		{"a chunk that is too long", false, chunked + "\r\n3\r\nhello\r\n0\r\n\r\n" + second, []int{400}, ""},
		{"too many chunks", false, chunked + "\r\n" + strings.Repeat("8\r\nabcdefgh\r\n", 9) + "0\r\n\r\n" + second, []int{413}, ""},
		{"as many chunks as may be", false, chunked + "\r\n" + strings.Repeat("8\r\nabcdefgh\r\n", 8) + "0\r\n\r\n", []int{200}, ""},
		{"a body that nobody reads", true, "POST" + head + "Content-Length: 5\r\n\r\nhello" + second, []int{404}, ""},
		{"no body, and nobody reads", true, "GET" + head + "\r\n" + second, []int{404, 404}, ""},
		{"a refusal", false, "GET /x/../y HTTP/1.1\r\nHost: localhost\r\n\r\n" + second, []int{400}, ""},
		{"a refusal of a body", false, "POST" + head + "Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello" + second, []int{415}, ""},
		{"HTTP/1.0 that wants to stay", false, "GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + second, []int{200, 200}, ""},
		{"HTTP/1.0 with a coding", false, "POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello" + second, []int{400}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			send := serve(t, framing.Handler{Next: &door{deaf: tt.deaf}, Limits: framing.Limits{Chunked: 64}})
			statuses, bodies := answers(t, send(tt.sent))
			if diff := cmp.Diff(tt.want, statuses); diff != "" {
				t.Errorf("statuses (-want +got):\n%s%q", diff, bodies)
			}
			if tt.body != "" && len(bodies) > 0 && bodies[0] != tt.body {
				t.Errorf("got %q, want %q", bodies[0], tt.body)
			}
		})
	}
}

// TestSlowBody holds that a body has an end, and how long an answered one is
// listened to.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	const slow = "POST" + head + "Content-Length: 10\r\n\r\nhello"
	tests := []struct {
		name   string
		deaf   bool
		sent   string
		limits framing.Limits
		want   int
	}{
		{"the door waits for the body", false, slow, framing.Limits{Body: 50 * time.Millisecond}, 400},
		{"chunks are waited for", true, "POST" + head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhel", framing.Limits{Body: 50 * time.Millisecond}, 400},
		{"the door does not wait", true, slow, framing.Limits{Linger: 50 * time.Millisecond}, 404},
		{"a refusal does not wait", false, strings.Replace(slow, "Content-", "Content-Encoding: br\r\nContent-", 1), framing.Limits{Linger: 50 * time.Millisecond}, 415},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			send := serve(t, framing.Handler{Next: &door{deaf: tt.deaf}, Limits: tt.limits})
			began := time.Now()
			statuses, _ := answers(t, send(tt.sent))
			if diff := cmp.Diff([]int{tt.want}, statuses); diff != "" {
				t.Errorf("statuses (-want +got):\n%s", diff)
			}
			if took := time.Since(began); took > patience/2 {
				t.Errorf("the connection ended after %s", took)
			}
		})
	}
}

// TestTimeForBodiesIsNotForAnswers holds that a caller whose body has arrived may
// wait for its answer as long as that takes.
func TestTimeForBodiesIsNotForAnswers(t *testing.T) {
	t.Parallel()
	d := &door{gone: make(chan struct{}), wait: make(chan struct{})}
	const limit = 20 * time.Millisecond
	send := serve(t, framing.Handler{Next: d, Limits: framing.Limits{Body: limit}})
	c := send("POST" + head + "Connection: close\r\nContent-Length: 5\r\n\r\nhello")
	select {
	case <-d.gone:
		t.Error("the request ended with the time for its body")
	case <-time.After(5 * limit): // that nothing happens has no other sign
		close(d.wait)
	}
	if statuses, bodies := answers(t, c); len(statuses) != 1 || statuses[0] != 200 {
		t.Errorf("got %v %q, want 200", statuses, bodies)
	}
}

// TestRefusals holds the form of what is refused.
func TestRefusals(t *testing.T) {
	t.Parallel()
	ids := &payment.IDs{Now: func() time.Time { return time.UnixMilli(1) }, Random: bytes.NewReader(make([]byte, 64))}
	still := func() time.Time { return time.UnixMilli(1) }
	h := framing.Handler{Next: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it passed") }), IDs: ids, Now: still}
	r := httptest.NewRequest(http.MethodTrace, "http://localhost/x", nil)
	rec := httptest.NewRecorder()
	rec.Header().Set("Etag", "left over")
	h.ServeHTTP(rec, r)
	var got map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, rec.Body)
	}
	id := rec.Header().Get("Request-Id")
	if !payment.IsID(payment.PrefixRequest, id) {
		t.Errorf("Request-Id %q is none", id)
	}
	want := map[string]any{
		"type": "https://github.com/purser-pay/purser/blob/main/docs/errors.md#method_not_allowed", "title": "The resource does not take this method.",
		"status": 405.0, "detail": "Nothing here takes this method.", "code": "method_not_allowed", "request_id": id, "retryable": false,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problem (-want +got):\n%s", diff)
	}
	wantHeader := http.Header{
		"Allow": {"DELETE, GET, HEAD, PATCH, POST, PUT"}, "Cache-Control": {"no-store"}, "Connection": {"close"},
		"Content-Length": rec.Header()["Content-Length"], "Content-Type": {"application/problem+json"}, "Request-Id": {id},
		"X-Content-Type-Options": {"nosniff"}, "Server-Timing": {"total;dur=0.00, psp;dur=0.00"},
	}
	if diff := cmp.Diff(wantHeader, rec.Header()); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
}

// TestRefusalsTellTheirTime holds that every refusal says how long it took, from the
// request's head to the answer.
func TestRefusalsTellTheirTime(t *testing.T) {
	t.Parallel()
	two := post("Content-Type", "application/json|application/json")
	gzip := post("Content-Encoding", "gzip")
	broken := post("Content-Type", "application/json")
	broken.Body, broken.ContentLength, broken.TransferEncoding = io.NopCloser(iotest.ErrReader(errors.New("broken"))), -1, []string{"chunked"}
	for name, r := range map[string]*http.Request{
		"TRACE": method("TRACE"), "two types": two, "gzip": gzip, "HTTP/1.0 with a body": older(post("Content-Type", "application/json")), "broken chunks": broken,
	} {
		now := time.UnixMilli(0)
		h := framing.Handler{Next: new(door), IDs: new(payment.IDs), Now: func() time.Time {
			now = now.Add(1500 * time.Microsecond)
			return now
		}}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if got, want := rec.Header().Get("Server-Timing"), "total;dur=1.50, psp;dur=0.00"; rec.Code < 400 || got != want {
			t.Errorf("%s: %d with Server-Timing %q, want a refusal with %q", name, rec.Code, got, want)
		}
	}
}

// resources is a door that has one resource.
type resources struct{ http.Handler }

func (resources) Allow(r *http.Request) string {
	if r.URL.Path == "/v1/payments" {
		return "GET, POST"
	}
	return ""
}

// TestAllow holds that a door says what its resources take, and is asked nothing else.
func TestAllow(t *testing.T) {
	t.Parallel()
	const all = "DELETE, GET, HEAD, PATCH, POST, PUT"
	passed := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it passed") })
	for _, tt := range []struct {
		name string
		door http.Handler
		path string
		want string
	}{
		{"a resource", resources{passed}, "/v1/payments", "GET, POST"},
		{"no resource", resources{passed}, "/nothing", all},
		{"a door that does not know", passed, "/v1/payments", all},
	} {
		for _, m := range []string{http.MethodTrace, "BREW"} {
			rec := httptest.NewRecorder()
			framing.Handler{Next: tt.door, IDs: new(payment.IDs)}.ServeHTTP(rec, httptest.NewRequest(m, tt.path, nil))
			if got := rec.Header().Get("Allow"); rec.Code != 405 || got != tt.want {
				t.Errorf("%s: %s: %d with Allow %q, want 405 with %q", tt.name, m, rec.Code, got, tt.want)
			}
		}
	}
}

// TestForStatus holds that every status has a code of the table, of its class.
func TestForStatus(t *testing.T) {
	t.Parallel()
	for status := 400; status < 600; status++ {
		p := framing.ForStatus(status)
		info := p.Code.Info()
		switch {
		case p.Status != status || p.Title == "" || !strings.HasSuffix(p.Type, "#"+string(p.Code)):
			t.Errorf("%d: %+v", status, p)
		case info.Code != p.Code:
			t.Errorf("%d: code %s is not in the table", status, p.Code)
		case info.Status/100 != status/100:
			t.Errorf("%d: code %s is of another class: %d", status, p.Code, info.Status)
		}
	}
	for _, status := range []int{0, 200, 399, 600} {
		if p := framing.ForStatus(status); p.Status != 500 || p.Code != payment.CodeInternal {
			t.Errorf("%d: %d %s, want 500 internal_error", status, p.Status, p.Code)
		}
	}
	retry := []int{}
	for status := 400; status < 600; status++ {
		if framing.ForStatus(status).Retryable && http.StatusText(status) != "" {
			retry = append(retry, status)
		}
	}
	for _, status := range []int{408, 429, 500, 502, 503, 504} {
		if !slices.Contains(retry, status) {
			t.Errorf("%d is not retryable", status)
		}
	}
	for _, status := range []int{400, 404, 421, 431, 501, 505} {
		if slices.Contains(retry, status) {
			t.Errorf("%d is retryable", status)
		}
	}
	rec := httptest.NewRecorder()
	framing.ForStatus(503).Write(rec)
	if got := rec.Header().Get("Retry-After"); got != "1" {
		t.Errorf("503: Retry-After %q, want 1", got)
	}
	rec = httptest.NewRecorder()
	framing.ForStatus(401).Write(rec)
	if got := rec.Header().Get("WWW-Authenticate"); got == "" {
		t.Error("401 has no challenge")
	}
}

// BenchmarkHandler measures a payment's way through.
func BenchmarkHandler(b *testing.B) {
	ids := new(payment.IDs)
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil {
			io.Copy(io.Discard, r.Body)
		}
		w.WriteHeader(http.StatusCreated)
	})
	text := strings.Repeat("x", 300)
	body := strings.NewReader(text)
	r := httptest.NewRequest(http.MethodPost, "/v1/payments", body)
	for _, name := range []string{"Authorization", "Idempotency-Key", "Content-Type", "User-Agent", "Accept"} {
		r.Header.Set(name, "application/json")
	}
	h := framing.Handler{Next: next, IDs: ids}
	rec := httptest.NewRecorder()
	closer := io.NopCloser(body)
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(text)
		r.Body = closer
		h.ServeHTTP(rec, r)
	}
}
