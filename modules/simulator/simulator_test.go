package simulator_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/simulator"
	"github.com/purser-pay/purser/modules/simulator/books"
)

const reference = "a0000000000000000000000000000001"

type bench struct {
	t     *testing.T
	clock *books.Clock
	sim   *simulator.Simulator
	srv   *httptest.Server
}

func open(t *testing.T) *bench {
	t.Helper()
	clock := books.NewClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	sim, err := simulator.New(simulator.Config{Now: clock.Now, AfterFunc: clock.AfterFunc, Seed: 3, Client: http.DefaultClient})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(sim)
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
		srv.Close()
	})
	return &bench{t, clock, sim, srv}
}

// do makes a request; a body that begins with { is JSON, another a form.
func (x *bench) do(method, path, body string, header ...string) (int, map[string]any) {
	x.t.Helper()
	req, err := http.NewRequestWithContext(x.t.Context(), method, x.srv.URL+path, strings.NewReader(body))
	if err != nil {
		x.t.Fatal(err)
	}
	if body != "" && body[0] != '{' {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Authorization", "Bearer sk_test_1")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := x.srv.Client().Do(req)
	if err != nil {
		x.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		x.t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(raw, &v); err != nil {
		x.t.Fatalf("%s %s: %v: %s", method, path, err, raw)
	}
	return res.StatusCode, v
}

func (x *bench) ok(method, path, body string) map[string]any {
	x.t.Helper()
	status, v := x.do(method, path, body)
	if status != http.StatusOK {
		x.t.Fatalf("%s %s: got status %d, want 200: %v", method, path, status, v)
	}
	return v
}

func (x *bench) pay(token string) map[string]any {
	x.t.Helper()
	return x.ok("POST", "/stripe/v1/payment_intents", url.Values{
		"amount": {"1000"}, "currency": {"usd"}, "confirm": {"true"}, "capture_method": {"manual"}, "payment_method": {token},
		"payment_method_types[]": {"card"}, "metadata[purser_reference]": {reference}, "return_url": {"https://shop.example/"},
	}.Encode())
}

func (x *bench) charge() map[string]any {
	x.t.Helper()
	all, _ := x.ok("GET", "/_sim/books", "")["charges"].([]any)
	if len(all) != 1 {
		x.t.Fatalf("got %d charges, want 1", len(all))
	}
	return all[0].(map[string]any)
}

func TestBooksOverHTTP(t *testing.T) {
	t.Parallel()
	x := open(t)
	if all := x.ok("GET", "/_sim/books", "")["charges"].([]any); len(all) != 0 {
		t.Errorf("got %v, want empty books", all)
	}
	pi := x.pay("pm_card_visa")
	got := x.charge()
	want := map[string]any{
		"connector": "stripe", "reference": reference, "psp_reference": pi["id"], "currency": "USD",
		"authorized": 1000.0, "captured": 0.0, "refunded": 0.0, "status": "requires_capture",
	}
	for name, v := range want {
		if got[name] != v {
			t.Errorf("got %s %v, want %v", name, got[name], v)
		}
	}
	if d := cmp.Diff(map[string]any{"authorize": map[string]any{"received": 1.0, "executed": 1.0}}, got["requests"]); d != "" {
		t.Errorf("requests (-want +got):\n%s", d)
	}
}

func TestFaultsOverHTTP(t *testing.T) {
	t.Parallel()
	x := open(t)
	for _, bad := range []string{
		`{"fault":"earthquake"}`, `{"fault":"429","operation":"dance"}`, `{"fault":"429","connector":"bank"}`,
		`{"fault":"429","times":-1}`, `{"fault":"429","probability":1.5}`, `{"fault":"429","speed":1}`, `{`,
		`{"fault":"429","times":0}`, `{"fault":"429","probability":0}`, `{"fault":"429","times":2,"probability":0.5}`,
		`{"fault":"429","times":0,"probability":0.5}`, `{"fault":"429","struck":1}`, `{"fault":"429","times":1.5}`,
	} {
		if status, _ := x.do("POST", "/_sim/faults", bad); status != http.StatusBadRequest {
			t.Errorf("%s: got status %d, want 400", bad, status)
		}
	}
	x.ok("POST", "/_sim/faults", `{"connector":"stripe","operation":"authorize","fault":"429","times":2}`)
	for range 2 {
		if status, _ := x.do("GET", "/stripe/v1/payment_intents", "", "Authorization", "Bearer sk_test_1"); status != http.StatusOK {
			t.Errorf("got status %d for a query, want 200", status)
		}
		if status, _ := x.do("POST", "/stripe/v1/payment_intents", "amount=1000&currency=usd"); status != http.StatusTooManyRequests {
			t.Errorf("got status %d, want 429", status)
		}
	}
	x.pay("pm_card_visa")
	x.ok("POST", "/_sim/faults", `{"fault":"429","probability":1}`)
	for range 3 {
		x.do("POST", "/stripe/v1/payment_intents", "amount=1000&currency=usd")
	}
	want := map[string]any{"fault": "429", "probability": 1.0, "struck": 3.0}
	if d := cmp.Diff([]any{want}, x.ok("GET", "/_sim/faults", "")["faults"]); d != "" {
		t.Errorf("faults (-want +got):\n%s", d)
	}
	x.ok("DELETE", "/_sim/faults", "")
	x.ok("POST", "/_sim/faults", `{"fault":"429"}`)
	if got := len(x.ok("GET", "/_sim/faults", "")["faults"].([]any)); got != 1 {
		t.Errorf("got %d faults, want 1", got)
	}
	x.ok("DELETE", "/_sim/faults", "")
	if got := len(x.ok("GET", "/_sim/faults", "")["faults"].([]any)); got != 0 {
		t.Errorf("got %d faults, want none", got)
	}
}

func TestChallengesOverHTTP(t *testing.T) {
	t.Parallel()
	x := open(t)
	x.pay("pm_card_threeDSecure2Required")
	open := x.ok("GET", "/_sim/challenges", "")["challenges"].([]any)
	if len(open) != 1 {
		t.Fatalf("got %d challenges, want 1", len(open))
	}
	id := open[0].(map[string]any)["id"].(string)
	if status, _ := x.do("POST", "/_sim/challenges/"+id, `{"result":"maybe"}`); status != http.StatusBadRequest {
		t.Errorf("got status %d, want 400", status)
	}
	if status, _ := x.do("POST", "/_sim/challenges/chl_x", `{"result":"fail"}`); status != http.StatusNotFound {
		t.Errorf("got status %d, want 404", status)
	}
	x.ok("POST", "/_sim/challenges/"+reference, `{"result":"succeed"}`)
	if got := x.charge()["status"]; got != "requires_capture" {
		t.Errorf("got %v, want requires_capture", got)
	}
	if status, _ := x.do("POST", "/_sim/challenges/"+id, `{"result":"fail"}`); status != http.StatusConflict {
		t.Errorf("got status %d for a second decision, want 409", status)
	}
}

func TestControlIsForLoopback(t *testing.T) {
	t.Parallel()
	x := open(t)
	for name, change := range map[string]func(*http.Request){
		"from afar":  func(r *http.Request) { r.RemoteAddr = "192.0.2.1:1234" },
		"by a page":  func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
		"cross-site": func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"rebound":    func(r *http.Request) { r.Host = "evil.example:12180" },
		"no address": func(r *http.Request) { r.RemoteAddr = "" },
	} {
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:12180/_sim/reset", nil)
		r.RemoteAddr = "127.0.0.1:1234"
		change(r)
		w := httptest.NewRecorder()
		x.sim.ServeHTTP(w, r)
		if w.Code != http.StatusForbidden {
			t.Errorf("%s: got status %d, want 403", name, w.Code)
		}
	}
	for _, addr := range []string{"127.0.0.1:1234", "[::1]:1234"} {
		r := httptest.NewRequest(http.MethodGet, "http://localhost:12180/_sim/books", nil)
		r.RemoteAddr = addr
		w := httptest.NewRecorder()
		x.sim.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			t.Errorf("%s: got status %d, want 200", addr, w.Code)
		}
	}
}

func TestAdvanceAndReset(t *testing.T) {
	t.Parallel()
	x := open(t)
	x.pay("pm_card_later")
	if got := x.ok("POST", "/_sim/advance", "")["advanced"]; got != 1.0 {
		t.Errorf("got %v advanced, want 1", got)
	}
	if got := x.charge()["status"]; got != "requires_capture" {
		t.Errorf("got %v, want requires_capture", got)
	}
	requests := x.ok("GET", "/_sim/requests?connector=stripe&reference="+reference, "")["requests"].([]any)
	if len(requests) != 1 {
		t.Errorf("got %v, want one reference", requests)
	}
	x.ok("POST", "/_sim/reset", "")
	if all := x.ok("GET", "/_sim/books", "")["charges"].([]any); len(all) != 0 {
		t.Errorf("got %v after a reset, want none", all)
	}
}

func TestKeep(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "books.json")
	x := open(t)
	if err := x.sim.Keep(file, x.clock.AfterFunc); err != nil {
		t.Fatal(err)
	}
	first := x.pay("pm_card_later")
	x.clock.Advance(time.Second) // as if killed after that
	y := open(t)
	if err := y.sim.Keep(file, y.clock.AfterFunc); err != nil {
		t.Fatal(err)
	}
	if got := y.charge(); got["psp_reference"] != first["id"] || got["status"] != "processing" {
		t.Errorf("got %v, want %v in processing", got, first["id"])
	}
	y.ok("POST", "/_sim/advance", "")
	if got := y.charge()["status"]; got != "requires_capture" {
		t.Errorf("got %v, want requires_capture: the task was lost", got)
	}
	if second := y.pay("pm_card_visa"); second["id"] == first["id"] {
		t.Error("an identifier was made twice")
	}
}

// TestDocumented holds docs/simulator.md to the tables in the code.
func TestDocumented(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	rows := []string{}
	for _, c := range books.Cards {
		rows = append(rows, "| "+c.Number+" | `"+c.Token+"` | "+c.Means+" |\n")
	}
	for _, p := range append(slices.Clone(books.AuthCodes), books.QRAmounts...) {
		rows = append(rows, "| `"+p.Suffix+"` | "+p.Means+" |\n")
	}
	for _, k := range books.FaultKinds {
		rows = append(rows, "`"+string(k)+"`")
	}
	for _, want := range rows {
		if !strings.Contains(page, want) {
			t.Errorf("docs/simulator.md lacks %q", want)
		}
	}
}

func TestStripeAtTheRoot(t *testing.T) {
	t.Parallel()
	x := open(t)
	if got := x.ok("POST", "/v1/payment_intents", "amount=1000&currency=usd")["object"]; got != "payment_intent" {
		t.Errorf("got %v, want a payment_intent", got)
	}
}

func TestAlipayKeys(t *testing.T) {
	t.Parallel()
	x := open(t)
	public := x.ok("GET", "/_sim/keys", "")["alipay_public_key"].(string)
	if public != x.sim.AlipayPublicKeyPEM() || !strings.Contains(public, "PUBLIC KEY") {
		t.Errorf("got %q, want the simulator's key", public)
	}
	query := url.Values{
		"app_id": {"1"}, "method": {"alipay.trade.query"}, "charset": {"utf-8"}, "sign_type": {"RSA2"}, "sign": {"x"},
		"timestamp": {"2026-11-23 20:00:00"}, "version": {"1.0"}, "biz_content": {`{"out_trade_no":"a"}`},
	}.Encode()
	ask := func() any {
		t.Helper()
		v := x.ok("POST", "/alipay/gateway.do", query)["alipay_trade_query_response"].(map[string]any)
		return v["sub_code"]
	}
	if got := ask(); got != "ACQ.TRADE_NOT_EXIST" {
		t.Errorf("got %v while no key is registered, want ACQ.TRADE_NOT_EXIST", got)
	}
	body, err := json.Marshal(map[string]string{"app_id": "1", "public_key": public})
	if err != nil {
		t.Fatal(err)
	}
	x.ok("POST", "/_sim/keys", string(body))
	if got := ask(); got != "isv.invalid-signature" {
		t.Errorf("got %v, want isv.invalid-signature", got)
	}
	if status, _ := x.do("POST", "/_sim/keys", `{"app_id":"1","public_key":"bm90IGEga2V5"}`); status != http.StatusBadRequest {
		t.Errorf("got status %d for a key that is none, want 400", status)
	}
}
