package inbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/inbox"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

const canary = "whsec_canary"

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// mute is a connector whose PSP never calls.
type mute struct{ connector.Connector }

// signer is a connector that takes the signature "good", and reads what the
// body says: "bad" fails, "none" is of no interest.
type signer struct{ connector.Connector }

func (signer) VerifyWebhook(d connector.Delivery) error {
	if !d.Now.Equal(start) || d.Method != http.MethodPost || !strings.HasPrefix(d.URL, "/webhooks/acme?x=") {
		return fmt.Errorf("delivery is not as it came: %v %v %v", d.Now, d.Method, d.URL)
	}
	if d.Header.Get("Signature") != "good" {
		return fmt.Errorf("acme: %w", connector.ErrSignature)
	}
	return nil
}

func (signer) DecodeWebhook(d connector.Delivery) ([]connector.Event, error) {
	switch string(d.Body) {
	case "bad":
		return nil, errors.New("acme: mystery about 4242 4242 4242 4242")
	case "none":
		return nil, nil
	case "panic":
		panic("oops")
	}
	return []connector.Event{{ID: string(d.Body)}}, nil
}

func (signer) Acknowledge() connector.Acknowledgement {
	return connector.Acknowledgement{StatusCode: 202, ContentType: "text/plain", Body: "[accepted]"}
}

type fakeEngine struct {
	received []string
	returned []string
	query    map[string][]string
	location string
	err      error
	canceled bool
	psp      time.Duration
}

func (f *fakeEngine) Receive(ctx context.Context, account string, events []connector.Event) error {
	for _, e := range events {
		f.received = append(f.received, account+":"+e.ID)
	}
	f.canceled = ctx.Err() != nil
	return f.err
}

func (f *fakeEngine) Return(_ context.Context, token string, query map[string][]string) (string, time.Duration, error) {
	f.returned, f.query = append(f.returned, token), query
	return f.location, f.psp, f.err
}

type door struct {
	*inbox.Inbox
	engine *fakeEngine
	log    bytes.Buffer
	now    time.Time
}

func newDoor() *door {
	d := &door{now: start, engine: &fakeEngine{location: "https://shop.example/done?payment=pay_1&status=succeeded"}}
	accounts := map[string]*connector.Account{
		"acme": {Name: "acme", Connector: signer{}}, "mute": {Name: "mute", Connector: mute{}}, "other": {Name: "other", Connector: signer{}},
	}
	d.Inbox = inbox.New(inbox.Config{
		Engine:  d.engine,
		Account: func(name string) (*connector.Account, bool) { a, ok := accounts[name]; return a, ok },
		IDs:     &payment.IDs{Now: func() time.Time { return start }},
		Now:     func() time.Time { return d.now },
		Log:     slog.New(slog.NewJSONHandler(&d.log, nil)),
	})
	return d
}

func (d *door) do(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

func wantHeaders(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	h := w.Header()
	if !payment.IsID("req", h.Get("Request-Id")) || h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" ||
		h.Get("Server-Timing") != "total;dur=0.00, psp;dur=0.00" {
		t.Errorf("headers %v", h)
	}
}

func TestWebhooks(t *testing.T) {
	big := strings.Repeat("b", 256<<10)
	tests := []struct {
		name, method, target, signature, body string
		err                                   error
		code                                  payment.Code // "" = acknowledged
		received                              []string
		log                                   string
	}{
		{"good", "POST", "/webhooks/acme?x=1", "good", "evt 1", nil, "", []string{"acme:evt 1"}, ""},
		{"of no interest", "POST", "/webhooks/acme?x=1", "good", "none", nil, "", nil, ""},
		{"forged", "POST", "/webhooks/acme?x=1", "bad", canary, nil, payment.CodeUnauthenticated, nil, "webhook does not verify"},
		{"unsigned", "POST", "/webhooks/acme?x=1", "", canary, nil, payment.CodeUnauthenticated, nil, "webhook does not verify"},
		{"not to be read", "POST", "/webhooks/acme?x=1", "good", "bad", nil, payment.CodeInternal, nil, "webhook cannot be read"},
		{"panic", "POST", "/webhooks/acme?x=1", "good", "panic", nil, payment.CodeInternal, nil, "panic while serving"},
		{"store down", "POST", "/webhooks/acme?x=1", "good", "evt 1", fmt.Errorf("put: %w", store.ErrUnavailable), payment.CodeStoreUnavailable, []string{"acme:evt 1"}, "webhook cannot be stored"},
		{"commit uncertain", "POST", "/webhooks/acme?x=1", "good", "evt 1", store.ErrUncertain, payment.CodeStoreUnavailable, []string{"acme:evt 1"}, "webhook cannot be stored"},
		{"conflict", "POST", "/webhooks/acme?x=1", "good", "evt 1", store.ErrConflict, payment.CodeStoreUnavailable, []string{"acme:evt 1"}, "webhook cannot be stored"},
		{"engine fails", "POST", "/webhooks/acme?x=1", "good", "evt 1", errors.New("boom"), payment.CodeInternal, []string{"acme:evt 1"}, "webhook cannot be stored"},
		{"engine refuses", "POST", "/webhooks/acme?x=1", "good", "evt 1", payment.Errorf(payment.CodeNotFound, "x"), payment.CodeInternal, []string{"acme:evt 1"}, "webhook cannot be stored"},
		{"256 KiB", "POST", "/webhooks/acme?x=1", "good", big, nil, "", []string{"acme:" + big}, ""},
		{"256 KiB and one", "POST", "/webhooks/acme?x=1", "good", big + "b", nil, payment.CodeBodyTooLarge, nil, ""},
		{"unknown account", "POST", "/webhooks/nobody", "good", "evt 1", nil, payment.CodeNotFound, nil, ""},
		{"account without webhooks", "POST", "/webhooks/mute", "good", "evt 1", nil, payment.CodeNotFound, nil, ""},
		{"no account", "POST", "/webhooks/", "good", "evt 1", nil, payment.CodeNotFound, nil, ""},
		{"escaped account", "POST", "/webhooks/%61cme", "good", "evt 1", nil, payment.CodeNotFound, nil, ""},
		{"deeper path", "POST", "/webhooks/acme/x", "good", "evt 1", nil, payment.CodeNotFound, nil, ""},
		{"GET", "GET", "/webhooks/acme?x=1", "good", "", nil, payment.CodeMethodNotAllowed, nil, ""},
		{"elsewhere", "POST", "/v1/payments", "good", "evt 1", nil, payment.CodeNotFound, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDoor()
			d.engine.err = tt.err
			w := d.do(tt.method, tt.target, tt.body, "Signature", tt.signature, "Authorization", canary)
			wantHeaders(t, w)
			if diff := cmp.Diff(tt.received, d.engine.received); diff != "" {
				t.Errorf("received (-want +got):\n%.300s", diff)
			}
			if log := d.log.String(); !strings.Contains(log, tt.log) || tt.log == "" && log != "" || strings.Contains(log, canary) || strings.Contains(log, "4242 4242") {
				t.Errorf("log %q, want %q and no secret", log, tt.log)
			}
			if tt.code == "" {
				if w.Code != 202 || w.Body.String() != "[accepted]" || w.Header().Get("Content-Type") != "text/plain" {
					t.Errorf("got %d %q, want the PSP's own acknowledgement", w.Code, w.Body)
				}
				return
			}
			var p struct {
				Type, Code string
				Status     int
				RequestID  string `json:"request_id"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatalf("%v in %s", err, w.Body)
			}
			if w.Code != tt.code.Info().Status || p.Status != w.Code || p.Code != string(tt.code) || !strings.HasSuffix(p.Type, p.Code) || p.RequestID != w.Header().Get("Request-Id") {
				t.Errorf("got %d %s, want %s", w.Code, w.Body, tt.code)
			}
			if got := w.Header().Get("Retry-After"); (got != "") != (w.Code == 503) {
				t.Errorf("Retry-After %q with %d", got, w.Code)
			}
			if strings.Contains(w.Body.String(), canary) || strings.Contains(w.Body.String(), "mystery") {
				t.Errorf("the answer echoes: %s", w.Body)
			}
		})
	}
}

func TestChunkedWebhook(t *testing.T) {
	for size, status := range map[int]int{10: 202, 256<<10 + 1: 413} {
		d := newDoor()
		r := httptest.NewRequest(http.MethodPost, "/webhooks/acme?x=1", strings.NewReader(strings.Repeat("b", size)))
		r.Header.Set("Signature", "good")
		r.ContentLength, r.TransferEncoding = -1, []string{"chunked"}
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		if w.Code != status || w.Header().Get("Connection") != "close" {
			t.Errorf("%d bytes: got %d %v, want %d and Connection: close", size, w.Code, w.Header(), status)
		}
	}
}

// TestPSPHangsUp: once verified, news is stored whether the PSP waits or not.
func TestPSPHangsUp(t *testing.T) {
	d := newDoor()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, "POST", "/webhooks/acme?x=1", strings.NewReader("evt 1"))
	r.Header.Set("Signature", "good")
	d.ServeHTTP(httptest.NewRecorder(), r)
	if len(d.engine.received) != 1 || d.engine.canceled {
		t.Errorf("received %v with a canceled context: %v", d.engine.received, d.engine.canceled)
	}
}

// TestFloodOfForgeries holds that forged webhooks are logged at once and then seldom,
// for each account by itself, and that the log tells how many it leaves out.
func TestFloodOfForgeries(t *testing.T) {
	d := newDoor()
	for _, tt := range []struct {
		name    string
		account string
		after   time.Duration
		n       int
		want    []int64 // left out, by line
	}{
		{"the first ones", "acme", 0, 50, []int64{0}},
		{"another account", "other", 0, 50, []int64{0}},
		{"soon after", "acme", 9 * time.Second, 50, nil},
		{"later", "acme", time.Second, 50, []int64{99}},
		{"much later", "acme", time.Hour, 1, []int64{49}},
		{"a clock set back", "acme", -time.Minute, 2, []int64{0}},
		{"the other one", "other", 0, 1, []int64{49}},
	} {
		d.log.Reset()
		d.now = d.now.Add(tt.after)
		for range tt.n {
			if w := d.do("POST", "/webhooks/"+tt.account, "evt 1"); w.Code != 401 {
				t.Fatalf("%s: got %d %s, want 401", tt.name, w.Code, w.Body)
			}
		}
		if diff := cmp.Diff(tt.want, d.leftOut(t, tt.account)); diff != "" {
			t.Errorf("%s: left out, by line (-want +got):\n%s", tt.name, diff)
		}
	}
}

// leftOut reads the log's warnings about an account: how many were left out before
// each.
func (d *door) leftOut(t *testing.T, account string) (list []int64) {
	t.Helper()
	for line := range strings.Lines(d.log.String()) {
		var told struct {
			Level, Msg, Account string
			Skipped             int64 `json:"not_told_before"`
		}
		if err := json.Unmarshal([]byte(line), &told); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if told.Level != "WARN" || told.Msg != "webhook does not verify" || told.Account != account {
			t.Errorf("logged %s, want the warning about %s", line, account)
		}
		list = append(list, told.Skipped)
	}
	return list
}

func TestAllow(t *testing.T) {
	for path, want := range map[string]string{"/webhooks/acme": "POST", "/return/abc": "GET, POST", "/v1/payments": ""} {
		if got := newDoor().Allow(httptest.NewRequest("BREW", path, nil)); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

// TestReturnTellsItsTime holds that the wait for the PSP is told apart from our own.
func TestReturnTellsItsTime(t *testing.T) {
	d := newDoor()
	d.engine.psp = 12_340 * time.Microsecond
	if got, want := d.do("GET", "/return/abc", "").Header().Get("Server-Timing"), "total;dur=0.00, psp;dur=12.34"; got != want {
		t.Errorf("Server-Timing %q, want %q", got, want)
	}
}

func TestReturn(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	tests := []struct {
		name, method, target, contentType, body string
		err                                     error
		location                                string
		status                                  int
		token                                   string
		query                                   map[string][]string
	}{
		{"get", "GET", "/return/abc?redirectResult=x%3D", "", "", nil, "https://shop.example/", 303, "abc", map[string][]string{"redirectResult": {"x="}}},
		{"post", "POST", "/return/abc?a=1", form, "MD=2&a=3", nil, "https://shop.example/", 303, "abc", map[string][]string{"MD": {"2"}, "a": {"3"}}},
		{"post with charset", "POST", "/return/abc", form + "; charset=utf-8", "MD=2", nil, "https://shop.example/", 303, "abc", map[string][]string{"MD": {"2"}}},
		{"post of JSON", "POST", "/return/abc", "application/json", "{}", nil, "https://shop.example/", 303, "abc", map[string][]string{}},
		{"deep token", "GET", "/return/acme/abc-_.~", "", "", nil, "http://localhost:3000/", 303, "acme/abc-_.~", map[string][]string{}},
		{"unknown token", "GET", "/return/abc", "", "", payment.Errorf(payment.CodeNotFound, "no"), "", 404, "abc", map[string][]string{}},
		{"unknown in the store", "GET", "/return/abc", "", "", store.ErrNotFound, "", 404, "abc", map[string][]string{}},
		{"store down", "GET", "/return/abc", "", "", store.ErrUnavailable, "", 503, "abc", map[string][]string{}},
		{"engine fails", "GET", "/return/abc", "", "", errors.New("boom"), "", 500, "abc", map[string][]string{}},
		{"no address", "GET", "/return/abc?payment=pay_1", "", "", nil, "", 200, "abc", map[string][]string{"payment": {"pay_1"}}},
		{"no host", "GET", "/return/abc", "", "", nil, "/here", 500, "abc", map[string][]string{}},
		{"script for address", "GET", "/return/abc", "", "", nil, "javascript:alert(1)", 500, "abc", map[string][]string{}},
		{"no token", "GET", "/return/", "", "", nil, "", 404, "", nil},
		{"markup", "GET", "/return/%3Cscript%3E", "", "", nil, "", 404, "", nil},
		{"long token", "GET", "/return/" + strings.Repeat("a", 513), "", "", nil, "", 404, "", nil},
		{"long query", "GET", "/return/abc?a=" + strings.Repeat("a", 17<<10), "", "", nil, "", 404, "", nil},
		{"bad query", "GET", "/return/abc?a=%zz", "", "", nil, "", 404, "", nil},
		{"bad form", "POST", "/return/abc", form, "a=%zz", nil, "", 404, "", nil},
		{"large form", "POST", "/return/abc", form, "a=" + strings.Repeat("a", 65<<10), nil, "", 404, "", nil},
		{"head", "HEAD", "/return/abc", "", "", nil, "", 405, "", nil},
		{"put", "PUT", "/return/abc", "", "", nil, "", 405, "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDoor()
			d.engine.err, d.engine.location = tt.err, tt.location
			w := d.do(tt.method, tt.target, tt.body, "Content-Type", tt.contentType)
			wantHeaders(t, w)
			if w.Code != tt.status {
				t.Errorf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			if token := strings.Join(d.engine.returned, " "); token != tt.token {
				t.Errorf("token %q, want %q", token, tt.token)
			}
			if diff := cmp.Diff(tt.query, d.engine.query); diff != "" {
				t.Errorf("query (-want +got):\n%s", diff)
			}
			switch h := w.Header(); {
			case tt.status == http.StatusSeeOther:
				if h.Get("Location") != tt.location {
					t.Errorf("Location %q, want %q", h.Get("Location"), tt.location)
				}
			case tt.status == http.StatusMethodNotAllowed:
				if h.Get("Allow") != "GET, POST" {
					t.Errorf("Allow %q", h.Get("Allow"))
				}
			default:
				if !strings.HasPrefix(h.Get("Content-Type"), "text/html") || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("Location") != "" {
					t.Errorf("the page's headers are %v", h)
				}
				if body := w.Body.String(); strings.Contains(body, "script") || strings.Contains(body, "boom") || strings.Contains(body, "abc") || strings.Contains(body, "pay_1") {
					t.Errorf("the page echoes: %s", body)
				}
				if done := strings.Contains(w.Body.String(), "You may close this page."); done != (tt.status == http.StatusOK) {
					t.Errorf("the page says %s", w.Body)
				}
			}
			if logged := d.log.Len() > 0; logged != (tt.status >= 500) {
				t.Errorf("log %q with %d", d.log.String(), tt.status)
			}
		})
	}
}
