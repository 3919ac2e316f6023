package edge_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddyserver/caddy/v2"
)

type frozen struct {
	Frozen  bool
	Reason  string
	By      string
	Warning string
}

// reload loads the configuration again. It ends connections that were kept, and
// a POST without a key is not sent again.
func (w *world) reload(t testing.TB) {
	t.Helper()
	if err := w.load(t); err != nil {
		t.Fatal(err)
	}
	w.client.CloseIdleConnections()
}

// TestFreeze holds that a freeze stops new payments and nothing else, also over
// a reload.
func TestFreeze(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	held := card(1999)
	held["capture_method"] = "manual"
	var p struct{ ID, Status string }
	if status, body, _, err := w.call("POST", "/v1/payments", "held", held); err != nil || json.Unmarshal(body, &p) != nil || p.Status != "requires_capture" {
		t.Fatalf("create: %d %s %v", status, body, err)
	}
	var f frozen
	w.operate(t, http.StatusOK, "POST", "/payments/freeze", object{"reason": "the PSP's month end"}, &f)
	if !f.Frozen || f.Reason != "the PSP's month end" || !strings.HasPrefix(f.By, "address 127.0.0.1:") {
		t.Errorf("freeze says %+v", f)
	}
	w.reload(t)
	status, body, header, err := w.call("POST", "/v1/payments", "late", card(500))
	var problem struct {
		Code      string
		Retryable bool
	}
	if err != nil || json.Unmarshal(body, &problem) != nil || status != http.StatusServiceUnavailable || problem.Code != "frozen" || !problem.Retryable {
		t.Errorf("a new payment: %d %s %v, want 503 frozen", status, body, err)
	}
	if header.Get("Retry-After") == "" {
		t.Error("the refusal has no Retry-After")
	}
	if got := w.metric(t, "purser_frozen"); got != 1 {
		t.Errorf("purser_frozen is %d, want 1", got)
	}
	if status, body, _, err := w.call("POST", "/v1/payments/"+p.ID+"/capture", "capture", object{}); err != nil || status != http.StatusOK {
		t.Errorf("capture while frozen: %d %s %v, want 200", status, body, err)
	}
	if status, body, _, err := w.call("POST", "/v1/refunds", "refund", object{"payment": p.ID}); err != nil || status != http.StatusCreated {
		t.Errorf("refund while frozen: %d %s %v, want 201", status, body, err)
	}
	var list struct{ Freeze frozen }
	w.operate(t, http.StatusOK, "GET", "/payments/accounts", nil, &list)
	if !list.Freeze.Frozen {
		t.Errorf("the list of accounts shows %+v, want a freeze", list.Freeze)
	}
	w.operate(t, http.StatusOK, "POST", "/payments/unfreeze", nil, &f)
	if f.Frozen || f.Warning != "" {
		t.Errorf("unfreeze says %+v", f)
	}
	// The refused payment used its key up as little as any other refusal.
	if status, body, _, err := w.call("POST", "/v1/payments", "late", card(500)); err != nil || status != http.StatusCreated {
		t.Errorf("the same payment again: %d %s %v, want 201", status, body, err)
	}
	if got := w.metric(t, "purser_frozen"); got != 0 {
		t.Errorf("purser_frozen is %d, want 0", got)
	}
}

// act is a line of the audit.
type act struct {
	Logger, Act, Object, Result, Reason string
}

// audit reads what was written down.
func (w *world) audit(t *testing.T) (acts []act, text string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, "audit"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var a struct {
			act
			Msg, Who, From string
		}
		if err := json.Unmarshal(line, &a); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if a.Msg != "audit" || !strings.HasPrefix(a.From, "127.0.0.1:") || a.Who != "address "+a.From {
			t.Errorf("a line that does not say who and from where: %s", line)
		}
		acts = append(acts, a.act)
	}
	return acts, string(b)
}

// TestAudit holds that every act is written down by a logger of its own, done or
// not, and that nothing secret is in it.
func TestAudit(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	id := w.pay(t, "a")
	const pan, stranger = "4000056655665556", "pur_live_00000000000000000000000000_canaryCANARYcanaryCANARYcanary1aAaAaA"
	_, keyID, _ := strings.Cut(w.keyID(t), " ")
	for _, tt := range []struct {
		status int
		path   string
		in     any
	}{
		{200, "/payments/accounts/stripe/disable", nil},
		{200, "/payments/accounts/stripe/enable", nil},
		{404, "/payments/accounts/nobody/enable", nil},
		{404, "/payments/keys/" + stranger + "/revoke", nil},
		{409, "/payments/payments/" + id + "/resolve", object{"as": "failed", "reason": "the payer of " + pan + " called"}},
		{400, "/payments/payments/" + id + "/resolve", object{"as": w.key, "reason": "x"}},
		{400, "/payments/keys", object{"merchant": w.key, "mode": "test", "secret": secrets["pepper"]}},
		{400, "/payments/keys/" + keyID + "/rotate", object{"overlap": secrets["stripe_key"]}},
		{200, "/payments/freeze", object{"reason": "leaked: " + secrets["stripe_key"]}},
		{200, "/payments/unfreeze", nil},
		{400, "/payments/store/backup", object{"file": "here.db"}},
		{200, "/payments/reload", nil},
		{200, "/payments/accounts/stripe/test", nil},
	} {
		w.operate(t, tt.status, "POST", tt.path, tt.in, nil)
	}
	w.operate(t, 200, "GET", "/payments/keys", nil, nil) // reading is no act
	stop(t)
	got, text := w.audit(t)
	const done, refused = "done", "refused"
	want := []act{
		{Act: "merchants.create", Object: w.merchant, Result: done},
		{Act: "keys.create", Object: keyID, Result: done},
		{Act: "accounts.disable", Object: "stripe", Result: done},
		{Act: "accounts.enable", Object: "stripe", Result: done},
		{Act: "accounts.enable", Object: "nobody", Result: refused},
		{Act: "keys.revoke", Object: "pur_live_[redacted]", Result: refused},
		{Act: "payments.resolve", Object: id, Result: refused, Reason: "the payer of [redacted] called"},
		{Act: "payments.resolve", Object: id, Result: refused},
		{Act: "keys.create", Result: refused},
		{Act: "keys.rotate", Object: keyID, Result: refused},
		{Act: "freeze", Object: "payments", Result: done, Reason: "leaked: sk_test_[redacted]"},
		{Act: "unfreeze", Object: "payments", Result: done},
		{Act: "store.backup", Result: refused},
		{Act: "reload", Object: "files", Result: done},
		{Act: "accounts.test", Object: "stripe", Result: done},
	}
	for i := range want {
		want[i].Logger = "payments.audit"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the audit (-want +got):\n%s", diff)
	}
	for name, secret := range map[string]string{
		"the API key": w.key, "a stranger's key": "canaryCANARY", "the card number": pan,
		"the pepper": secrets["pepper"], "the PSP's key": secrets["stripe_key"],
	} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is in the audit", name)
		}
	}
	log, err := os.ReadFile(filepath.Join(w.dir, "log"))
	if err != nil || strings.Count(string(log), `"logger":"payments.audit"`) != len(want) {
		t.Errorf("the default log has another audit (%v)", err)
	}
	if strings.Contains(string(log), "may be cut off") {
		t.Error("Caddy does not let an operator's request take its time")
	}
}

// keyID is the ID of the world's key, behind its merchant's.
func (w *world) keyID(t *testing.T) string {
	t.Helper()
	var list struct {
		Data []struct{ ID, Merchant string }
	}
	w.operate(t, http.StatusOK, "GET", "/payments/keys", nil, &list)
	if len(list.Data) != 1 {
		t.Fatalf("%d keys, want 1", len(list.Data))
	}
	return list.Data[0].Merchant + " " + list.Data[0].ID
}

// TestDebugIsShut holds that the admin endpoint tells nothing under /debug/, by
// whichever method, unless the option profiling says so.
func TestDebugIsShut(t *testing.T) {
	w := newWorld(t)
	paths := map[string]int{ // with profiling
		"/debug/pprof/": 200, "/debug/pprof/heap": 200, "/debug/pprof/goroutine?debug=2": 200, "/debug/pprof/cmdline": 200,
		"/debug/pprof/symbol": 200, "/debug/pprof/trace?seconds=0.01": 200, "/debug/vars": 200,
		"/debug/pprof/nothing": 404, "/debug/pprof/heap/": 404, "/debug/pprof/a/b": 404, "/debug/": 404,
	}
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}
	look := func(path string, want int) {
		t.Helper()
		if status, body, err := w.sure("GET", path, nil); err != nil || status != want {
			t.Errorf("GET %s: %d %.200s %v, want %d", path, status, body, err, want)
		}
	}
	shut := func() {
		t.Helper()
		for path := range paths {
			look(path, 404)
		}
		look("/debug/pprof/profile?seconds=1", 404)
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/pprof/profile", "/debug/pprof/symbol", "/debug/pprof/trace", "/debug/vars"} {
			for _, method := range methods {
				if status, body, err := w.sure(method, path, nil); err != nil || status != 404 {
					t.Errorf("%s %s: %d %.200s %v, want 404", method, path, status, body, err)
				}
			}
		}
	}
	w.start(t)
	shut()
	w.options = object{"profiling": true}
	if err := w.load(t); err != nil {
		t.Fatal(err)
	}
	for path, want := range paths {
		look(path, want)
	}
	if err := caddy.Load([]byte(`{"admin":{"listen":"`+w.admin+`","config":{"persist":false}}}`), true); err != nil {
		t.Fatal(err)
	}
	shut() // no app runs
}

// TestRequestMetrics holds that requests and commits are counted over reloads,
// and that callers cannot make up labels.
func TestRequestMetrics(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	growing := map[string]int64{ // in each round
		`purser_requests_total{method="POST",route="/v1/payments",status_class="2xx"}`:        1,
		`purser_requests_total{method="GET",route="/v1/payments/{id}",status_class="2xx"}`:    1,
		`purser_requests_total{method="GET",route="/v1/payments/{id}",status_class="4xx"}`:    1,
		`purser_requests_total{method="POST",route="/webhooks/{account}",status_class="4xx"}`: 1,
		`purser_requests_total{method="other",route="other",status_class="4xx"}`:              2,
		`purser_request_seconds_count{route="/v1/payments"}`:                                  1,
		`purser_payments_total{status="succeeded"}`:                                           1,
		`purser_psp_calls_total{account="stripe",operation="authorize",outcome="answered"}`:   2,
	}
	before := map[string]int64{}
	for series := range growing {
		before[series] = w.metric(t, series)
	}
	commits := w.metric(t, "purser_store_commits_total")
	for round := range int64(2) {
		id := w.pay(t, "round-"+string(rune('a'+round)))
		for _, rq := range [][2]string{
			{"GET", "/v1/payments/" + id},
			{"GET", "/v1/payments/pay_00000000000000000000000000"},
			{"POST", "/webhooks/nobody"},
			{"BREW", "/coffee/" + id},
			{"X-" + id[4:], "/v1/../" + id},
		} {
			if _, _, _, err := w.call(rq[0], rq[1], "", nil); err != nil {
				t.Fatalf("%s %s: %v", rq[0], rq[1], err)
			}
		}
		for series, n := range growing {
			if got := w.metric(t, series) - before[series]; got != n*(round+1) {
				t.Errorf("round %d: %s grew by %d, want %d", round, series, got, n*(round+1))
			}
		}
		now := w.metric(t, "purser_store_commits_total")
		if now <= commits || w.metric(t, "purser_store_batch_size_count") != now {
			t.Errorf("round %d: %d commits after %d, and %d batches", round, now, commits, w.metric(t, "purser_store_batch_size_count"))
		}
		commits = now
		w.reload(t)
	}
}

// TestReadinessIsShared holds that whoever asks for readiness without end does not have
// the store write without end.
func TestReadinessIsShared(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	const asked = 200
	before, began := w.metric(t, "purser_store_commits_total"), time.Now()
	for range asked {
		if status, body, _ := w.send(t, "GET", "/readyz", "", nil); status != http.StatusOK {
			t.Fatalf("readyz: %d %s", status, body)
		}
	}
	most := int64(time.Since(began)/(250*time.Millisecond)) + 20 // others write as well
	if got := w.metric(t, "purser_store_commits_total") - before; got > most {
		t.Errorf("%d questions were %d commits, want at most %d", asked, got, most)
	}
}

// TestPaymentEventsAreLogged holds that each event is one line, in the log of
// the configuration that runs, and that no payer is in it.
func TestPaymentEventsAreLogged(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	w.pay(t, "a")
	w.reload(t)
	id := w.pay(t, "b")
	stop(t)
	b, err := os.ReadFile(filepath.Join(w.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	type line struct {
		Msg, Level, Logger, Payment, Type, Status, Outcome, Account, Merchant, Mode string
	}
	var got []line
	for text := range bytes.Lines(b) {
		var l line
		if json.Unmarshal(text, &l) == nil && l.Msg == "payment event" {
			got = append(got, l)
			if bytes.Contains(text, []byte("4242")) || bytes.Contains(text, []byte("2034")) {
				t.Errorf("card data in %s", text)
			}
		}
	}
	want := line{"payment event", "info", "payments", id, "payment.succeeded", "succeeded", "known", "stripe", w.merchant, "test"}
	if len(got) != 2 {
		t.Fatalf("%d events are logged, want 2: %v", len(got), got)
	}
	if diff := cmp.Diff(want, got[1]); diff != "" {
		t.Errorf("the line (-want +got):\n%s", diff)
	}
}

// TestEventsOfOperators holds the filters of the list.
func TestEventsOfOperators(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	id := w.pay(t, "a")
	w.pay(t, "b")
	for query, want := range map[string]int{
		"": 2, "?payment=" + id: 1, "?type=payment.succeeded": 2, "?type=payment.failed": 0, "?limit=1": 1,
		"?merchant=" + w.merchant: 2, "?merchant=mer_00000000000000000000000000": 0, "?mode=live": 0,
		"?created_after=2100-01-01T00:00:00Z": 0,
	} {
		var list struct {
			Data []struct {
				ID, Object, Type, Payment string
				Data                      struct{ ID string }
			}
		}
		w.operate(t, http.StatusOK, "GET", "/payments/events"+query, nil, &list)
		if len(list.Data) != want {
			t.Errorf("%s: %d events, want %d", query, len(list.Data), want)
		}
		for _, e := range list.Data {
			if e.Object != "event" || e.Data.ID != e.Payment || !strings.HasPrefix(e.ID, "evt_") {
				t.Errorf("%s: %+v", query, e)
			}
		}
	}
	for _, query := range []string{"?type=payment.sunny", "?payment=x", "?color=red", "?limit=0", "?limit=x", "?mode=dream", "?created_after=now"} {
		w.operate(t, http.StatusBadRequest, "GET", "/payments/events"+query, nil, nil)
	}
}

// TestVersion holds that callers hear the binary's version, and never Caddy's.
func TestVersion(t *testing.T) {
	w := newWorld(t)
	was := caddy.CustomVersion
	t.Cleanup(func() { caddy.CustomVersion = was })
	caddy.CustomVersion = "1.2.3-test"
	w.start(t)
	for path, want := range map[string]string{"/healthz": `"version":"1.2.3-test"`, "/openapi.json": `"version":"1.2.3-test"`} {
		if status, body, _ := w.send(t, "GET", path, "", nil); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %.200s, want %s", path, status, body, want)
		}
	}
}
