package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/api"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

func newRequest(d *door, method, target, body string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+d.keys["test"])
	r.Header.Set("Idempotency-Key", "order-1")
	return r
}

func TestEngineErrors(t *testing.T) {
	secret := errors.New("dial 10.0.0.7: card 4242424242424242")
	tests := []struct {
		name       string
		err        error
		code       payment.Code
		param      string
		retryAfter string
		logged     bool
	}{
		{"state", payment.Errorf(payment.CodeInvalidState, "it is canceled"), payment.CodeInvalidState, "", "", false},
		{"wrapped", fmt.Errorf("engine: %w", payment.Errorf(payment.CodeNoAccount, "none")), payment.CodeNoAccount, "", "", false},
		{"param", payment.Invalid("account", "unknown"), payment.CodeInvalidRequest, "account", "", false},
		{"in use", payment.Errorf(payment.CodeKeyInUse, "running"), payment.CodeKeyInUse, "", "1", false},
		{"in use for long", &payment.Error{Code: payment.CodeKeyInUse, Detail: "running", RetryAfter: 2100 * time.Millisecond}, payment.CodeKeyInUse, "", "3", false},
		{"reused", payment.Errorf(payment.CodeKeyReused, "other body"), payment.CodeKeyReused, "", "", false},
		{"too large", payment.Errorf(payment.CodeAmountTooLarge, "5 left"), payment.CodeAmountTooLarge, "", "", false},
		{"frozen", payment.Errorf(payment.CodeFrozen, "frozen"), payment.CodeFrozen, "", "1", true},
		{"not found", fmt.Errorf("read: %w", store.ErrNotFound), payment.CodeNotFound, "", "", false},
		{"unavailable", fmt.Errorf("write: %w", store.ErrUnavailable), payment.CodeStoreUnavailable, "", "1", true},
		{"uncertain", fmt.Errorf("write: %w", store.ErrUncertain), payment.CodeStoreUnavailable, "", "1", true},
		{"deadline", context.DeadlineExceeded, payment.CodeStoreUnavailable, "", "1", true},
		{"hung up", context.Canceled, payment.CodeStoreUnavailable, "", "1", false},
		{"unknown", secret, payment.CodeInternal, "", "", true},
		{"internal with cause", &payment.Error{Code: payment.CodeInternal, Detail: "failed", Err: secret}, payment.CodeInternal, "", "", true},
		{"a code that is not in the table", payment.Errorf("made_up", "x"), payment.CodeInternal, "", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDoor(t)
			d.engine.err = tt.err
			w := d.do("POST", "/v1/payments", create())
			wantProblem(t, w, tt.code, tt.param)
			if got := w.Header().Get("Retry-After"); got != tt.retryAfter {
				t.Errorf("Retry-After %q, want %q", got, tt.retryAfter)
			}
			if strings.Contains(w.Body.String(), "10.0.0.7") {
				t.Errorf("the answer holds the cause: %s", w.Body)
			}
			if lines := strings.Count(d.log.String(), "\n"); lines != map[bool]int{true: 1}[tt.logged] {
				t.Errorf("%d lines logged, want %v:\n%s", lines, tt.logged, d.log)
			}
			if strings.Contains(d.log.String(), visa) || strings.Contains(d.log.String(), d.keys["test"]) {
				t.Errorf("the log holds a secret:\n%s", d.log)
			}
			if tt.logged && !strings.Contains(d.log.String(), w.Header().Get("Request-Id")) {
				t.Errorf("the log does not name the request:\n%s", d.log)
			}
		})
	}
}

func TestPanic(t *testing.T) {
	for _, value := range []any{"card " + visa, errors.New("boom"), 7} {
		d := newDoor(t)
		d.engine.panics = value
		w := d.do("POST", "/v1/payments", create())
		wantProblem(t, w, payment.CodeInternal, "")
		if log := d.log.String(); !strings.Contains(log, "panic while serving") || strings.Contains(log, visa) {
			t.Errorf("log: %s", log)
		}
		if strings.Contains(w.Body.String(), "goroutine") || strings.Contains(w.Body.String(), "boom") {
			t.Errorf("the answer tells of the inside: %s", w.Body)
		}
	}
	d := newDoor(t)
	d.engine.panics = http.ErrAbortHandler
	defer func() {
		if recover() == nil {
			t.Error("http.ErrAbortHandler was swallowed")
		}
	}()
	d.do("POST", "/v1/payments", create())
}

// downStore is a store out of reach.
type downStore struct{ store.Store }

func (downStore) View(context.Context, func(store.Reader) error) error {
	return fmt.Errorf("view: %w", store.ErrUnavailable)
}

func (downStore) Ping(context.Context) error { return errors.New("disk gone") }

func TestStoreDown(t *testing.T) {
	d := newDoorOn(t, downStore{})
	for _, path := range []string{"/v1/payments", "/v1/refunds", "/v1/events", "/v1/events/evt_01h455vb4pex5vsknk084sn02q", "/readyz"} {
		w := d.do("GET", path, "")
		wantProblem(t, w, payment.CodeStoreUnavailable, "")
		if w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", path)
		}
	}
	// Whether a body whose time has passed is a repeat cannot be told: not 400.
	wantProblem(t, d.do("POST", "/v1/payments", create("expires_at", `"2026-03-01T11:00:00Z"`)), payment.CodeStoreUnavailable, "")
	d.wantUntouched()
	if w := d.do("GET", "/healthz", "", "Authorization", "-"); w.Code != 200 || w.Body.String() != `{"status":"ok","version":"1.2.3"}` {
		t.Errorf("healthz: %d %s", w.Code, w.Body)
	}
}

func TestReady(t *testing.T) {
	d := newDoorWithStore(t)
	for _, tt := range []struct {
		starting, stopping bool
		status             int
		body               string
	}{
		{false, false, 200, `{"status":"ready"}`},
		{true, false, 503, `{"status":"starting"}`},
		{false, true, 503, `{"status":"stopping"}`},
	} {
		d.cfg.Starting = func() bool { return tt.starting }
		d.cfg.Stopping = func(*http.Request) bool { return tt.stopping }
		d.api = api.New(d.cfg)
		if w := d.do("GET", "/readyz", "", "Authorization", "-"); w.Code != tt.status || w.Body.String() != tt.body {
			t.Errorf("readyz: got %d %s, want %d %s", w.Code, w.Body, tt.status, tt.body)
		}
	}
}

// TestReplayAfterExpiry: what was valid when it was first sent still finds its
// answer when its own time has passed.
func TestReplayAfterExpiry(t *testing.T) {
	const expiring = `"number":"4242424242424242","exp_month":12,"exp_year":2026`
	for _, tt := range []struct{ body, param string }{
		{create("expires_at", `"2026-03-01T13:00:00Z"`), "expires_at"},
		{create("payment_method", card(expiring)), "payment_method.exp_year"},
		{create("payment_method", nestedForm.write("card", expiring)), "payment_method.card.exp_year"},
	} {
		body := tt.body
		d := newDoorWithStore(t)
		if w := d.do("POST", "/v1/payments", body); w.Code != 201 {
			t.Fatalf("got %d %s, want 201", w.Code, w.Body)
		}
		claim := d.engine.calls[0].Claim
		d.now = start.AddDate(1, 0, 0)
		wantProblem(t, d.do("POST", "/v1/payments", body), payment.CodeInvalidRequest, tt.param)
		err := d.store.Update(t.Context(), func(tx store.Tx) error {
			_, _, err := tx.ClaimKey(store.IdempotencyKey{
				KeyScope:    store.KeyScope{Merchant: claim.Merchant, Mode: claim.Mode, Key: claim.Key},
				Fingerprint: claim.Fingerprint, Payment: aPayment, Object: aPayment, Success: 201,
				Lease: d.now, Expires: d.now.Add(time.Hour),
			}, d.now)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if w := d.do("POST", "/v1/payments", body); w.Code != 201 || len(d.engine.calls) != 2 {
			t.Errorf("the repeat: %d %s, want the engine's answer", w.Code, w.Body)
		}
		if w := d.do("POST", "/v1/payments", strings.Replace(body, "1999", "1998", 1)); w.Code != 400 {
			t.Errorf("another body under the key: %d %s, want 400", w.Code, w.Body)
		}
	}
}

const golden = `{"type":"https://github.com/purser-pay/purser/blob/main/docs/errors.md#invalid_request",` +
	`"title":"The request is not valid.","status":400,"detail":"An amount is 1 to 999999999999, in the minor unit of its currency.",` +
	`"code":"invalid_request","param":"amount","request_id":"%s","retryable":false}`

func TestGoldenProblem(t *testing.T) {
	d := newDoor(t)
	w := d.do("POST", "/v1/payments", create("amount", "0"))
	if want := fmt.Sprintf(golden, w.Header().Get("Request-Id")); w.Body.String() != want {
		t.Errorf("got\n%s\nwant\n%s", w.Body, want)
	}
	w = d.do("GET", "/nowhere", "")
	if want := fmt.Sprintf(`{"type":"https://github.com/purser-pay/purser/blob/main/docs/errors.md#not_found","title":"There is no such thing.",`+
		`"status":404,"detail":"There is no such object, or it is not yours, or not of this key's mode.","code":"not_found","request_id":"%s","retryable":false}`,
		w.Header().Get("Request-Id")); w.Body.String() != want {
		t.Errorf("got\n%s\nwant\n%s", w.Body, want)
	}
}
