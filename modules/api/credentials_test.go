package api_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/payment"
)

func TestCredentials(t *testing.T) {
	d := newDoor(t)
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	key := d.keys["test"]
	tests := []struct {
		name   string
		fields []string
		ok     bool
	}{
		{"bearer", []string{"Bearer " + key}, true},
		{"bearer in capitals", []string{"BEARER " + key}, true},
		{"two spaces", []string{"Bearer  " + key}, true},
		{"basic", []string{basic(key + ":")}, true},
		{"basic with password", []string{basic(key + ":secret")}, false},
		{"basic without colon", []string{basic(key)}, false},
		{"basic, key as password", []string{basic(":" + key)}, false},
		{"basic, not base64", []string{"Basic !!!"}, false},
		{"none", nil, false},
		{"empty", []string{""}, false},
		{"scheme alone", []string{"Bearer"}, false},
		{"key alone", []string{key}, false},
		{"two fields", []string{"Bearer " + key, "Bearer " + key}, false},
		{"two keys", []string{"Bearer " + key + ", Bearer " + key}, false},
		{"digest", []string{"Digest " + key}, false},
		{"mistyped", []string{"Bearer " + strings.Replace(key, key[40:42], "zz", 1)}, false},
		{"cut", []string{"Bearer " + key[:len(key)-1]}, false},
		{"long", []string{"Bearer " + strings.Repeat("a", 5000)}, false},
		{"token", []string{"Bearer eyJhbGciOiJub25lIn0.e30."}, false},
		{"tab", []string{"Bearer\t" + key}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/v1/account", nil)
			r.Header["Authorization"] = tt.fields
			w := d.serve(r)
			if tt.ok {
				if w.Code != 200 {
					t.Errorf("got %d %s, want 200", w.Code, w.Body)
				}
				return
			}
			wantProblem(t, w, payment.CodeUnauthenticated, "")
			if w.Header().Get("WWW-Authenticate") == "" {
				t.Error("no WWW-Authenticate")
			}
			if strings.Contains(w.Body.String(), key[36:60]) {
				t.Errorf("the answer holds the key: %s", w.Body)
			}
		})
	}
	if strings.Contains(d.log.String(), "pur_") {
		t.Errorf("the log holds a key:\n%s", d.log)
	}
}

func TestExpiredKey(t *testing.T) {
	d := newDoor(t)
	brief := []string{"Authorization", "Bearer " + d.keys["brief"]}
	if w := d.do("GET", "/v1/account", "", brief...); w.Code != 200 {
		t.Fatalf("got %d %s, want 200", w.Code, w.Body)
	}
	d.now = start.Add(time.Minute)
	wantProblem(t, d.do("GET", "/v1/account", "", brief...), payment.CodeUnauthenticated, "")
}

func TestKeyInURL(t *testing.T) {
	d := newDoor(t)
	key := d.keys["test"]
	for _, target := range []string{
		"/v1/account?key=" + key, "/v1/account?" + key, "/v1/payments/" + key,
		"/v1/account?key=" + strings.Replace(key, "pur_", "pur%5F", 1), "/v1/payments/" + strings.Replace(key, "pur_", "%70ur_", 1),
	} {
		for _, header := range []string{"Bearer " + key, "-"} { // a good credential beside it does not help
			wantProblem(t, d.do("GET", target, "", "Authorization", header), payment.CodeUnauthenticated, "")
		}
	}
	if d.log.Len() > 0 {
		t.Errorf("logged:\n%s", d.log)
	}
	d.wantUntouched()
}

func TestScopes(t *testing.T) {
	tests := []struct{ method, path, body, scope string }{
		{"POST", "/v1/payments", create(), "payments:write"},
		{"PATCH", "/v1/payments/" + aPayment, "{}", "payments:write"},
		{"POST", "/v1/payments/" + aPayment + "/confirm", "", "payments:write"},
		{"POST", "/v1/payments/" + aPayment + "/capture", "", "payments:write"},
		{"POST", "/v1/payments/" + aPayment + "/cancel", "", "payments:write"},
		{"POST", "/v1/refunds", `{"payment":"` + aPayment + `"}`, "refunds:write"},
		{"GET", "/v1/refunds", "", "refunds:read"},
		{"GET", "/v1/refunds/" + aRefund, "", "refunds:read"},
		{"GET", "/v1/events", "", "events:read"},
		{"GET", "/v1/events/evt_01h455vb4pex5vsknk084sn02q", "", "events:read"},
		{"GET", "/v1/account", "", "account:read"},
	}
	d := newDoor(t)
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			p := wantProblem(t, d.do(tt.method, tt.path, tt.body, "Authorization", "Bearer "+d.keys["read"]), payment.CodeInsufficientScope, "")
			if !strings.Contains(p.Detail, tt.scope) {
				t.Errorf("detail %q does not name %s", p.Detail, tt.scope)
			}
			d.wantUntouched()
		})
	}
	if w := d.do("GET", "/v1/payments", "", "Authorization", "Bearer "+d.keys["read"]); w.Code != 200 {
		t.Errorf("with the scope: %d %s, want 200", w.Code, w.Body)
	}
}

// TestOrder holds the order of checks: each row breaks one more rule than the
// row before, and hears of that.
func TestOrder(t *testing.T) {
	d := newDoor(t)
	bad := []string{"Authorization", "Bearer " + d.keys["read"], "Idempotency-Key", "-"}
	wantProblem(t, d.do("POST", "/v1/payments", create(), "Idempotency-Key", "-"), payment.CodeKeyRequired, "")
	wantProblem(t, d.do("POST", "/v1/payments", create("amount", "0"), "Idempotency-Key", "-"), payment.CodeInvalidRequest, "amount")
	wantProblem(t, d.do("POST", "/v1/payments", create("amount", "0"), bad...), payment.CodeInsufficientScope, "")
	wantProblem(t, d.do("POST", "/v1/payments", create("amount", "0"), "Authorization", "-", "Idempotency-Key", "-"), payment.CodeUnauthenticated, "")
	wantProblem(t, d.do("POST", "/v1/payments", strings.Repeat("x", 1<<17), "Authorization", "-", "Idempotency-Key", "-"), payment.CodeBodyTooLarge, "")
	d.wantUntouched()
}
