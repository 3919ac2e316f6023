package api_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/api"
	"github.com/purser-pay/purser/modules/outbox"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/webhook"
)

const (
	endpoints  = "/v1/webhook_endpoints"
	anEndpoint = "we_01h455vb4pex5vsknk084sn02q"
	shopHook   = `{"url":"https://shop.example/hook"}`
)

// hook is an endpoint as a merchant sees it.
type hook struct {
	ID           string            `json:"id"`
	Object       string            `json:"object"`
	Livemode     bool              `json:"livemode"`
	URL          string            `json:"url"`
	Events       []string          `json:"events"`
	Description  *string           `json:"description"`
	Metadata     map[string]string `json:"metadata"`
	Status       string            `json:"status"`
	StatusReason *string           `json:"status_reason"`
	FailingSince *string           `json:"failing_since"`
	Secrets      []hookSecret      `json:"secrets"`
	CreatedAt    string            `json:"created_at"`
	UpdatedAt    string            `json:"updated_at"`
	Secret       *string           `json:"secret"`
}

type hookSecret struct {
	CreatedAt string  `json:"created_at"`
	ExpiresAt *string `json:"expires_at"`
	PublicKey string  `json:"public_key"`
}

// hook reads an answer that must be an endpoint.
func (d *door) hook(w *httptest.ResponseRecorder, status int) (h hook) {
	d.t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &h); err != nil || w.Code != status || h.Object != "webhook_endpoint" {
		d.t.Fatalf("got %d %s (%v), want %d and an endpoint", w.Code, w.Body, err, status)
	}
	wantHeaders(d.t, w)
	return h
}

func (d *door) newHook(body, key string, headers ...string) hook {
	d.t.Helper()
	return d.hook(d.do("POST", endpoints, body, append(headers, "Idempotency-Key", key)...), 201)
}

func (d *door) getHook(id string) hook {
	d.t.Helper()
	w := d.do("GET", endpoints+"/"+id, "")
	if strings.Contains(w.Body.String(), `"secret":`) {
		d.t.Errorf("reading shows a secret: %s", w.Body)
	}
	return d.hook(w, 200)
}

func TestEndpoint(t *testing.T) {
	d := newDoorWithStore(t)
	got := d.newHook(`{"url":"https://shop.example/hook?a=<b>","events":["refund.failed","payment.succeeded"],"description":"the\ntill","metadata":{"a":"ü\u2028<"}}`, "k")
	text, at := "the\ntill", "2026-03-01T12:00:00Z"
	want := hook{
		ID: got.ID, Object: "webhook_endpoint", URL: "https://shop.example/hook?a=<b>", Events: []string{"refund.failed", "payment.succeeded"},
		Description: &text, Metadata: map[string]string{"a": "ü\u2028<"}, Status: "enabled", CreatedAt: at, UpdatedAt: at,
		Secrets: got.Secrets, Secret: got.Secret,
	}
	if diff := cmp.Diff(want, got); diff != "" || !payment.IsID("we", got.ID) {
		t.Errorf("created (-want +got):\n%s", diff)
	}
	if len(got.Secrets) != 1 || got.Secrets[0].ExpiresAt != nil || !strings.HasPrefix(got.Secrets[0].PublicKey, "whpk_") || !strings.HasPrefix(*got.Secret, "whsec_") {
		t.Errorf("secrets %+v, secret %v; want one that does not expire", got.Secrets, got.Secret)
	}
	want.Secret = nil
	if diff := cmp.Diff(want, d.getHook(got.ID)); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
	stored := d.stored(got.ID)
	d.signedBy(stored, []string{*got.Secret, got.Secrets[0].PublicKey}, true)
	if log := d.log.String(); !strings.Contains(log, `"act":"created"`) || !strings.Contains(log, `"host":"shop.example"`) || strings.Contains(log, "a=") {
		t.Errorf("the log is %s, want the act and the host alone", log)
	}

	w := d.do("DELETE", endpoints+"/"+got.ID, "")
	if want := `{"id":"` + got.ID + `","object":"webhook_endpoint","deleted":true}`; w.Code != 200 || w.Body.String() != want {
		t.Errorf("delete: %d %s, want 200 %s", w.Code, w.Body, want)
	}
	wantProblem(t, d.do("DELETE", endpoints+"/"+got.ID, ""), payment.CodeNotFound, "")
	wantProblem(t, d.do("GET", endpoints+"/"+got.ID, ""), payment.CodeNotFound, "")
}

// stored reads an endpoint from the store.
func (d *door) stored(id string) (e payment.Endpoint) {
	d.t.Helper()
	err := d.store.View(d.t.Context(), func(r store.Reader) (err error) {
		e, err = r.Endpoint(id)
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return e
}

// change writes an endpoint as the gateway itself does.
func (d *door) change(id string, fn func(*payment.Endpoint)) {
	d.t.Helper()
	err := d.store.Update(d.t.Context(), func(tx store.Tx) error {
		e, err := tx.Endpoint(id)
		if err != nil {
			return err
		}
		fn(&e)
		e.Version++
		return tx.PutEndpoint(&e)
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

// signedBy signs a delivery as the gateway does, and asks whether each of the
// keys that a merchant was shown takes it.
func (d *door) signedBy(e payment.Endpoint, keys []string, want bool) {
	d.t.Helper()
	var secrets []webhook.Secret
	for _, s := range e.Live(d.now) {
		plain, err := d.cfg.Box.Open(s.Sealed, []byte(e.ID))
		if err != nil {
			d.t.Fatal(err)
		}
		secret, err := webhook.ParseSecret(plain)
		if err != nil {
			d.t.Fatal(err)
		}
		secrets = append(secrets, secret)
	}
	signature, err := webhook.Sign("evt_1", d.now, []byte("{}"), secrets...)
	if err != nil {
		d.t.Fatal(err)
	}
	h := http.Header{webhook.HeaderID: {"evt_1"}, webhook.HeaderTimestamp: {fmt.Sprint(d.now.Unix())}, webhook.HeaderSignature: {signature}}
	for _, key := range keys {
		v, err := webhook.NewVerifier(key)
		if err != nil {
			d.t.Fatal(err)
		}
		if err := v.Verify(h, []byte("{}"), d.now); (err == nil) != want {
			d.t.Errorf("a delivery verifies by %.10s…: %v, want %v", key, err, want)
		}
	}
}

func TestEndpointRefuses(t *testing.T) {
	const invalid = payment.CodeInvalidRequest
	with := func(name, value string) string {
		return `{"url":"https://shop.example/hook","` + name + `":` + value + `}`
	}
	url := func(s string) string { return `{"url":"` + s + `"}` }
	tests := []struct {
		name, body string
		code       payment.Code
		param      string
		created    bool // wrong for a new endpoint alone
	}{
		{"no URL", `{}`, invalid, "url", true},
		{"null URL", `{"url":null}`, invalid, "url", true},
		{"no body", ``, payment.CodeInvalidJSON, "", false},
		{"URL as a number", `{"url":1}`, invalid, "url", false},
		{"empty URL", url(""), invalid, "url", false},
		{"plain http", url("http://shop.example/"), invalid, "url", false},
		{"plain http where https is allowed", url("http://127.0.0.1/"), invalid, "url", false},
		{"another scheme", url("ftp://shop.example/"), invalid, "url", false},
		{"no scheme", url("shop.example/hook"), invalid, "url", false},
		{"user", url("https://a:b@shop.example/"), invalid, "url", false},
		{"fragment", url("https://shop.example/#a"), invalid, "url", false},
		{"private address", url("https://10.0.0.1/"), invalid, "url", false},
		{"metadata service", url("https://169.254.169.254/latest"), invalid, "url", false},
		{"private IPv6", url("https://[fd00::1]/"), invalid, "url", false},
		{"IPv4 in IPv6", url("https://[::ffff:10.0.0.1]/"), invalid, "url", false},
		{"old form of an address", url("https://0x0a.1/"), invalid, "url", false},
		{"long URL", url("https://shop.example/" + strings.Repeat("x", 2048)), invalid, "url", false},
		{"space", url("https://shop.example/a b"), invalid, "url", false},
		{"no events", with("events", `[]`), invalid, "events", false},
		{"events as a string", with("events", `"*"`), invalid, "events", false},
		{"event as a number", with("events", `[1]`), invalid, "events.0", false},
		{"null event", with("events", `[null]`), invalid, "events", false},
		{"unknown event", with("events", `["payment.paid"]`), invalid, "events", false},
		{"all and one", with("events", `["*","payment.failed"]`), invalid, "events", false},
		{"event twice", with("events", `["payment.failed","payment.failed"]`), invalid, "events", false},
		{"long description", with("description", quoted(501)), invalid, "description", false},
		{"many metadata", with("metadata", metadata(51)), invalid, "metadata", false},
		{"metadata null", with("metadata", `{"k":null}`), invalid, "metadata.k", true},
		{"unknown field", with("enabled", `true`), invalid, "enabled", false},
		{"duplicate", `{"url":"https://a.example","url":"https://b.example"}`, payment.CodeInvalidJSON, "url", false},
		{"secret of one's own", with("secret", `"whsec_x"`), invalid, "secret", false},
		{"card number", with("description", `"4242424242424242"`), payment.CodePANNotAllowed, "description", false},
		{"status at creation", with("status", `"disabled"`), invalid, "status", true},
	}
	d := newDoorWithStore(t)
	there := d.newHook(shopHook, "there").ID
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantProblem(t, d.do("POST", endpoints, tt.body), tt.code, tt.param)
			if !tt.created {
				wantProblem(t, d.do("PATCH", endpoints+"/"+there, tt.body), tt.code, tt.param)
			}
		})
	}
	for body, param := range map[string]string{
		`{"status":"paused"}`: "status", `{"status":""}`: "status", `{"livemode":true}`: "livemode", `{"secrets":[]}`: "secrets",
	} {
		wantProblem(t, d.do("PATCH", endpoints+"/"+there, body), invalid, param)
	}
	for _, body := range []string{`{"overlap_seconds":-1}`, `{"overlap_seconds":604801}`, `{"overlap_seconds":"1h"}`, `{"overlap_seconds":1.5}`} {
		wantProblem(t, d.do("POST", endpoints+"/"+there+"/rotate", body), invalid, "overlap_seconds")
	}
	wantProblem(t, d.do("POST", endpoints+"/"+there+"/test", `{"event":"x"}`), invalid, "event")
	for _, target := range []string{
		endpoints + "?type=x", endpoints + "?status=on", endpoints + "?cursor=evt_1", endpoints + "?limit=0", endpoints + "/" + there + "?x=1",
		endpoints + "/" + there + "/deliveries?event=x", endpoints + "/" + there + "/deliveries?status=x",
	} {
		_, query, _ := strings.Cut(target, "?")
		param, _, _ := strings.Cut(query, "=")
		wantProblem(t, d.do("GET", target, ""), invalid, param)
	}
	wantProblem(t, d.do("POST", endpoints, shopHook, "Idempotency-Key", ""), payment.CodeKeyInvalid, "Idempotency-Key")
	if got := d.stored(there); got.Version != 1 {
		t.Errorf("the endpoint was written %d times, want once", got.Version)
	}
	if got := d.do("GET", endpoints, ""); strings.Count(got.Body.String(), `"object":"webhook_endpoint"`) != 1 {
		t.Errorf("refused calls left endpoints behind: %s", got.Body)
	}
}

// TestEndpointWalls holds that every route is closed to another merchant, to
// the other mode and to keys without the scope, and is the same as for an
// endpoint that does not exist.
func TestEndpointWalls(t *testing.T) {
	d := newDoorWithStore(t)
	_, _, events := fill(d)
	id := d.newHook(shopHook, "k").ID
	foreign := d.newHook(shopHook, "k", "Authorization", "Bearer "+d.keys["other"]).ID
	tests := []struct {
		method, path, body string
		writes             bool
	}{
		{"GET", endpoints + "/{id}", "", false},
		{"PATCH", endpoints + "/{id}", `{"description":"x"}`, true},
		{"DELETE", endpoints + "/{id}", "", true},
		{"POST", endpoints + "/{id}/rotate", "", true},
		{"POST", endpoints + "/{id}/test", "", true},
		{"GET", endpoints + "/{id}/deliveries", "", false},
	}
	for n, tt := range tests {
		key := fmt.Sprint("w", n)
		ask := func(id string, headers ...string) *httptest.ResponseRecorder {
			return d.do(tt.method, strings.ReplaceAll(tt.path, "{id}", id), tt.body, append(headers, "Idempotency-Key", key)...)
		}
		unknown := wantProblem(t, ask(anEndpoint), payment.CodeNotFound, "")
		for _, name := range []string{"other", "live"} {
			if p := wantProblem(t, ask(id, "Authorization", "Bearer "+d.keys[name]), payment.CodeNotFound, ""); p.Detail != unknown.Detail {
				t.Errorf("%s %s as %s: %q, want as of an unknown one: %q", tt.method, tt.path, name, p.Detail, unknown.Detail)
			}
		}
		wantProblem(t, ask("we_1"), payment.CodeNotFound, "")
		wantProblem(t, ask(id, "Authorization", "Bearer "+d.keys["read"]), payment.CodeInsufficientScope, "")
		w := ask(id, "Authorization", "Bearer "+d.keys["hooks"])
		if tt.writes {
			wantProblem(t, w, payment.CodeInsufficientScope, "")
		} else if w.Code != 200 {
			t.Errorf("%s %s with webhooks:read: %d %s", tt.method, tt.path, w.Code, w.Body)
		}
	}
	resend := "/v1/events/" + events[0] + "/resend"
	for _, name := range []string{"other", "live"} {
		wantProblem(t, d.do("POST", resend, "", "Authorization", "Bearer "+d.keys[name]), payment.CodeNotFound, "")
		if _, ids := d.list(endpoints, "Authorization", "Bearer "+d.keys[name]); slices.Contains(ids, id) {
			t.Errorf("%s sees the shop's endpoint", name)
		}
	}
	wantProblem(t, d.do("POST", resend, "", "Authorization", "Bearer "+d.keys["hooks"]), payment.CodeInsufficientScope, "")
	wantProblem(t, d.do("POST", resend, `{"endpoint":"`+foreign+`"}`), payment.CodeNotFound, "endpoint")
	wantProblem(t, d.do("POST", resend, `{"endpoint":"`+anEndpoint+`"}`), payment.CodeNotFound, "endpoint")
	wantProblem(t, d.do("POST", resend, `{"endpoint":"x"}`), payment.CodeInvalidRequest, "endpoint")
	wantProblem(t, d.do("POST", "/v1/events/evt_01h455vb4pex5vsknk084sn02q/resend", ""), payment.CodeNotFound, "")
	if len(d.tester.tried) > 0 {
		t.Errorf("tried %v, want none", d.tester.tried)
	}
	if got := d.stored(id); got.Version != 1 {
		t.Errorf("the endpoint was written %d times, want once", got.Version)
	}
}

func TestEndpointPatch(t *testing.T) {
	d := newDoorWithStore(t)
	made := d.newHook(`{"url":"https://shop.example/hook","description":"a","metadata":{"a":"1","b":"2"}}`, "k")
	made.Secret = nil
	text := func(s string) *string { return &s }
	steps := []struct {
		body string
		want func(*hook)
	}{
		{`{}`, func(*hook) {}},
		{`{"url":null,"events":null,"description":null,"metadata":null,"status":null}`, func(*hook) {}},
		{`{"url":"https://127.0.0.1:9/x"}`, func(h *hook) { h.URL = "https://127.0.0.1:9/x" }},
		{`{"events":["payment.failed"]}`, func(h *hook) { h.Events = []string{"payment.failed"} }},
		{`{"description":"b"}`, func(h *hook) { h.Description = text("b") }},
		{`{"metadata":{"a":null,"b":"","c":"3"}}`, func(h *hook) { h.Metadata = map[string]string{"c": "3"} }},
		{`{"events":["*"],"description":""}`, func(h *hook) { h.Events, h.Description = []string{"*"}, nil }},
		{`{"status":"disabled"}`, func(h *hook) { h.Status, h.StatusReason = "disabled", text("disabled by the merchant") }},
		{`{"status":"enabled"}`, func(h *hook) { h.Status, h.StatusReason = "enabled", nil }},
	}
	want := made
	for _, tt := range steps {
		d.now = d.now.Add(time.Second)
		tt.want(&want)
		want.UpdatedAt = d.now.Format(time.RFC3339)
		if diff := cmp.Diff(want, d.hook(d.do("PATCH", endpoints+"/"+made.ID, tt.body), 200)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.body, diff)
		}
		if diff := cmp.Diff(want, d.getHook(made.ID)); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", tt.body, diff)
		}
	}
	d.change(made.ID, func(e *payment.Endpoint) {
		e.Status, e.Reason, e.FailingSince = payment.EndpointPaused, "it failed for 3 days", start.Add(time.Hour)
	})
	paused := d.getHook(made.ID)
	if paused.Status != "paused" || *paused.StatusReason != "it failed for 3 days" || *paused.FailingSince != "2026-03-01T13:00:00Z" {
		t.Errorf("paused: %+v", paused)
	}
	if got := d.hook(d.do("PATCH", endpoints+"/"+made.ID, `{"status":"enabled"}`), 200); got.Status != "enabled" || got.StatusReason != nil || got.FailingSince != nil {
		t.Errorf("enabled again: %+v, want a fresh start", got)
	}
	var many []string
	for i := range 49 {
		many = append(many, fmt.Sprintf(`"k%d":"v"`, i))
	}
	d.hook(d.do("PATCH", endpoints+"/"+made.ID, `{"metadata":{`+strings.Join(many, ",")+`}}`), 200)
	wantProblem(t, d.do("PATCH", endpoints+"/"+made.ID, `{"metadata":{"x":"1"}}`), payment.CodeInvalidRequest, "metadata")
}

// TestEndpointPatchRace: callers at once each change their own fields, and none
// is lost.
func TestEndpointPatchRace(t *testing.T) {
	d := newDoorWithStore(t)
	id := d.newHook(shopHook, "k").ID
	want := map[string]string{}
	var wg sync.WaitGroup
	for n := range 16 {
		name := fmt.Sprint("k", n)
		want[name] = "v"
		wg.Go(func() {
			if w := d.do("PATCH", endpoints+"/"+id, `{"metadata":{"`+name+`":"v"}}`); w.Code != 200 {
				t.Errorf("patch: %d %s", w.Code, w.Body)
			}
		})
	}
	wg.Wait()
	if got := d.stored(id); !maps.Equal(got.Metadata, want) || got.Version != 17 {
		t.Errorf("got version %d and %v, want 17 and %v", got.Version, got.Metadata, want)
	}
}

func TestEndpointLimit(t *testing.T) {
	d := newDoorWithStore(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	codes := map[int]int{}
	for n := range payment.MaxEndpoints + 4 {
		wg.Go(func() {
			w := d.do("POST", endpoints, shopHook, "Idempotency-Key", fmt.Sprint("k", n))
			mu.Lock()
			defer mu.Unlock()
			codes[w.Code]++
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[int]int{201: payment.MaxEndpoints, 422: 4}, codes); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	wantProblem(t, d.do("POST", endpoints, shopHook, "Idempotency-Key", "one-more"), payment.CodeTooManyEndpoints, "")
	d.newHook(shopHook, "live", "Authorization", "Bearer "+d.keys["live"])
	_, ids := d.list(endpoints)
	d.do("DELETE", endpoints+"/"+ids[0], "")
	d.newHook(shopHook, "one-more") // a refusal consumed no key
}

func TestEndpointList(t *testing.T) {
	d := newDoorWithStore(t)
	var all []string
	for n := range 5 {
		d.now = start.Add(time.Duration(n) * time.Minute)
		all = append([]string{d.newHook(shopHook, fmt.Sprint("k", n)).ID}, all...)
	}
	d.do("PATCH", endpoints+"/"+all[1], `{"status":"disabled"}`)
	for target, want := range map[string][]string{
		"":                                     all,
		"?status=disabled":                     all[1:2],
		"?status=enabled":                      {all[0], all[2], all[3], all[4]},
		"?status=paused":                       {},
		"?limit=5":                             all,
		"?created_after=2026-03-01T12:03:00Z":  all[:1],
		"?created_before=2026-03-01T12:01:00Z": all[4:],
		"?created_after=2026-03-01T12:00:00Z&created_before=2026-03-01T12:04:00Z": all[1:4],
	} {
		if _, got := d.list(endpoints + target); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", target, got, want)
		}
	}
	var got []string
	for target := endpoints + "?limit=2"; target != ""; {
		page, ids := d.list(target)
		got, target = append(got, ids...), ""
		if page.NextCursor != nil {
			target = endpoints + "?limit=2&cursor=" + *page.NextCursor
		}
	}
	if !slices.Equal(got, all) {
		t.Errorf("in pages: got %v, want %v", got, all)
	}
}

// TestRotate holds who signs when: at most two secrets, the older until the
// overlap ends.
func TestRotate(t *testing.T) {
	d := newDoorWithStore(t)
	made := d.newHook(shopHook, "k")
	first := []string{*made.Secret, made.Secrets[0].PublicKey}
	rotate := func(key, body string) (hook, []string) {
		t.Helper()
		h := d.hook(d.do("POST", endpoints+"/"+made.ID+"/rotate", body, "Idempotency-Key", key), 200)
		return h, []string{*h.Secret, h.Secrets[0].PublicKey}
	}
	h, second := rotate("r1", "")
	if len(h.Secrets) != 2 || *h.Secrets[1].ExpiresAt != "2026-03-02T12:00:00Z" || h.Secrets[0].ExpiresAt != nil || *h.Secret == *made.Secret {
		t.Errorf("rotated: %+v, want the old one for 24 h", h.Secrets)
	}
	d.signedBy(d.stored(made.ID), append(first, second...), true)
	d.now = start.Add(24*time.Hour - time.Millisecond)
	d.signedBy(d.stored(made.ID), first, true)
	d.now = start.Add(24 * time.Hour)
	d.signedBy(d.stored(made.ID), first, false)
	d.signedBy(d.stored(made.ID), second, true)
	if got := d.getHook(made.ID); len(got.Secrets) != 1 || got.Secrets[0].PublicKey != second[1] {
		t.Errorf("after the overlap: %+v, want the new one alone", got.Secrets)
	}

	_, third := rotate("r2", `{"overlap_seconds":604800}`)
	h, fourth := rotate("r3", `{"overlap_seconds":60}`)
	if len(h.Secrets) != 2 || *h.Secrets[1].ExpiresAt != d.now.Add(time.Minute).Format(time.RFC3339) {
		t.Errorf("rotated twice: %+v, want two secrets, the older for a minute", h.Secrets)
	}
	d.signedBy(d.stored(made.ID), second, false)
	d.signedBy(d.stored(made.ID), append(third, fourth...), true)
	h, fifth := rotate("r4", `{"overlap_seconds":0}`)
	if len(h.Secrets) != 1 {
		t.Errorf("rotated at once: %+v, want one secret", h.Secrets)
	}
	d.signedBy(d.stored(made.ID), fourth, false)
	d.signedBy(d.stored(made.ID), fifth, true)
}

// TestSecretIsToldOnce: within ten minutes a replay is the first answer byte for
// byte, after that it says null, and the store never holds the secret in clear.
func TestSecretIsToldOnce(t *testing.T) {
	d := newDoorWithStore(t)
	made := d.newHook(shopHook, "made")
	for _, tt := range []struct{ name, path, body string }{
		{"create", endpoints, `{"url":"https://shop.example/hook","description":"ü\u2028<&>","metadata":{"a":"\t\"\\","z":"ü"}}`},
		{"rotate", endpoints + "/" + made.ID + "/rotate", `{"overlap_seconds":5}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d.now = start
			ask := func(key string) *httptest.ResponseRecorder {
				return d.do("POST", tt.path, tt.body, "Idempotency-Key", key)
			}
			first := ask(tt.name)
			var h hook
			if err := json.Unmarshal(first.Body.Bytes(), &h); err != nil || h.Secret == nil {
				t.Fatalf("got %d %s, want a secret", first.Code, first.Body)
			}
			if first.Header().Get("Idempotent-Replayed") != "" {
				t.Error("the first answer says that it is a replay")
			}
			for _, after := range []time.Duration{0, time.Minute, 10*time.Minute - time.Millisecond} {
				d.now = start.Add(after)
				w := ask(`"` + tt.name + `"`)
				if w.Code != first.Code || !bytes.Equal(w.Body.Bytes(), first.Body.Bytes()) || w.Header().Get("Idempotent-Replayed") != "true" ||
					w.Header().Get("Content-Type") != "application/json" {
					t.Errorf("after %s: %d %v\n%s\nwant the first answer\n%s", after, w.Code, w.Header(), w.Body, first.Body)
				}
			}
			want := strings.Replace(first.Body.String(), `"secret":"`+*h.Secret+`"`, `"secret":null`, 1)
			for _, after := range []time.Duration{10 * time.Minute, 29 * 24 * time.Hour} {
				d.now = start.Add(after)
				if w := ask(tt.name); w.Code != first.Code || w.Body.String() != want {
					t.Errorf("after %s: %d\n%s\nwant\n%s", after, w.Code, w.Body, want)
				}
			}
			d.now = start
			wantProblem(t, d.do("POST", endpoints, `{"url":"https://other.example"}`, "Idempotency-Key", tt.name), payment.CodeKeyReused, "")
			var key store.IdempotencyKey
			err := d.store.View(t.Context(), func(r store.Reader) (err error) {
				key, err = r.Key(store.KeyScope{Merchant: d.shop.ID, Mode: payment.Test, Key: tt.name})
				return err
			})
			if err != nil || bytes.Contains(key.Body, []byte("whsec_")) || bytes.Contains(key.Body, []byte((*h.Secret)[10:30])) {
				t.Errorf("the store keeps %s (%v), want no secret", key.Body, err)
			}
			if strings.Contains(d.log.String(), *h.Secret) {
				t.Errorf("the log holds the secret: %s", d.log)
			}
		})
	}
	if got := len(mustList(d)); got != 2 {
		t.Errorf("%d endpoints, want 2: replays make none", got)
	}
}

func mustList(d *door) []string {
	_, ids := d.list(endpoints)
	return ids
}

// TestReplayOutlivesItsEndpoint: a first answer is the answer even when what it
// tells of is gone, or would be refused by now.
func TestReplayOutlivesItsEndpoint(t *testing.T) {
	d := newDoorWithStore(t)
	const body = `{"url":"https://127.0.0.1/hook"}`
	first := d.newHook(body, "k")
	rotated := d.do("POST", endpoints+"/"+first.ID+"/rotate", "", "Idempotency-Key", "r")
	d.do("DELETE", endpoints+"/"+first.ID, "")
	if w := d.do("POST", endpoints+"/"+first.ID+"/rotate", "", "Idempotency-Key", "r"); !bytes.Equal(w.Body.Bytes(), rotated.Body.Bytes()) {
		t.Errorf("got %d %s, want the first answer", w.Code, w.Body)
	}
	strict := d.cfg
	strict.Targets = webhook.Targets{}
	d.api = benchAPI(&door{cfg: strict}, d.engine)
	if again := d.newHook(body, "k"); again.ID != first.ID {
		t.Errorf("got another endpoint %s, want the first answer", again.ID)
	}
	wantProblem(t, d.do("POST", endpoints, body, "Idempotency-Key", "new"), payment.CodeInvalidRequest, "url")
	none := d.do("POST", endpoints, shopHook, "Idempotency-Key", "-")
	if none.Code != 201 {
		t.Errorf("without a key: %d %s, want 201", none.Code, none.Body)
	}
}

func TestTestEndpoint(t *testing.T) {
	d := newDoorWithStore(t)
	id := d.newHook(shopHook, "k").ID
	d.do("PATCH", endpoints+"/"+id, `{"status":"disabled"}`)
	test := func(key string) *httptest.ResponseRecorder {
		return d.do("POST", endpoints+"/"+id+"/test", "", "Idempotency-Key", key)
	}
	want := `{"id":"whd_00000000000000000000000000","object":"webhook_delivery","livemode":false,"endpoint":"` + id + `","event":null,` +
		`"type":"webhook.test","try":1,"delivered":true,"http_status":204,"error":null,"took_ms":12,"next_try_at":null,"created_at":"2026-03-01T12:00:00Z"}`
	for _, replayed := range []string{"", "true"} {
		w := test("t1")
		if w.Code != 200 || w.Body.String() != want || w.Header().Get("Idempotent-Replayed") != replayed {
			t.Errorf("got %d %s %v, want 200 %s, replayed %q", w.Code, w.Body, w.Header(), want, replayed)
		}
	}
	if got := test("t2").Header().Get("Server-Timing"); !strings.HasSuffix(got, "psp;dur=12.00") {
		t.Errorf("Server-Timing %q, want the endpoint's 12 ms", got)
	}
	if w := test("-"); w.Code != 200 || len(d.tester.tried) != 3 {
		t.Errorf("without a key: %d %s; tried %d times, want 3", w.Code, w.Body, len(d.tester.tried))
	}

	d.tester.during = func() {
		d.tester.during = nil
		wantProblem(t, test("slow"), payment.CodeKeyInUse, "")
		d.now = d.now.Add(2 * time.Minute) // the lease has run out: the first is taken for dead
		if w := test("slow"); w.Code != 200 || w.Header().Get("Idempotent-Replayed") != "" {
			t.Errorf("taken over: %d %s", w.Code, w.Body)
		}
		d.now = start
	}
	if w := test("slow"); w.Code != 200 {
		t.Errorf("slow: %d %s", w.Code, w.Body)
	}

	d.tester.err = errors.New("the log cannot be written")
	wantProblem(t, test("t3"), payment.CodeInternal, "")
	d.tester.err = nil
	if w := test("t3"); w.Code != 200 || w.Header().Get("Idempotent-Replayed") != "" {
		t.Errorf("after a failure: %d %s, want another try: the key was given back", w.Code, w.Body)
	}
	none := d.cfg
	none.Tester = nil
	d.api = benchAPI(&door{cfg: none}, d.engine)
	wantProblem(t, test("t4"), payment.CodeNotSupported, "")
}

func TestDeliveriesAndResend(t *testing.T) {
	d := newDoorWithStore(t)
	_, _, events := fill(d)
	all := d.newHook(shopHook, "all").ID
	narrow := d.newHook(`{"url":"https://shop.example/2","events":["refund.failed"]}`, "narrow").ID
	off := d.newHook(shopHook, "off").ID
	d.do("PATCH", endpoints+"/"+off, `{"status":"disabled"}`)
	d.newHook(shopHook, "live", "Authorization", "Bearer "+d.keys["live"])
	ids := &payment.IDs{Now: func() time.Time { return d.now }}
	var lines []string
	for n := range 3 {
		line := payment.Delivery{
			ID: ids.New("whd"), Merchant: d.shop.ID, Mode: payment.Test, Endpoint: []string{all, narrow}[n/2], Event: events[n], Type: payment.EventPaymentSucceeded,
			Try: 1, Status: 503, Error: "the endpoint answered 503", CreatedAt: start.Add(time.Duration(n) * time.Second), Next: start.Add(time.Hour),
		}
		if err := d.store.Update(t.Context(), func(tx store.Tx) error { return tx.PutDelivery(line) }); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line.ID)
	}
	for target, want := range map[string][]string{
		all + "/deliveries":                       {lines[1], lines[0]},
		all + "/deliveries?event=" + events[1]:    lines[1:2],
		all + "/deliveries?limit=1":               lines[1:2],
		narrow + "/deliveries":                    lines[2:],
		off + "/deliveries":                       {},
		narrow + "/deliveries?event=" + events[0]: {},
	} {
		if _, got := d.list(endpoints + "/" + target); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", target, got, want)
		}
	}

	queued := func() (ids []string) {
		items, err := d.store.Lease(t.Context(), store.Outbound, d.now, 100, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range items {
			ids = append(ids, i.ID)
			if err := d.store.Update(t.Context(), func(tx store.Tx) error { return tx.Dequeue(store.Outbound, i.ID) }); err != nil {
				t.Fatal(err)
			}
		}
		return ids
	}
	queued()
	for n, tt := range []struct {
		body string
		want []string
	}{
		{``, []string{all}},
		{`{"endpoint":null}`, []string{all}},
		{`{"endpoint":"` + all + `"}`, []string{all}},
		{`{"endpoint":"` + narrow + `"}`, []string{narrow}},
	} {
		for range 2 { // once, and its replay
			w := d.do("POST", "/v1/events/"+events[0]+"/resend", tt.body, "Idempotency-Key", fmt.Sprint("r", n))
			want := `{"object":"event_resend","event":"` + events[0] + `","endpoints":["` + strings.Join(tt.want, `","`) + `"]}`
			if w.Code != 200 || w.Body.String() != want {
				t.Errorf("resend %s: %d %s, want %s", tt.body, w.Code, w.Body, want)
			}
		}
		var want []string
		for _, id := range tt.want {
			want = append(want, store.OutboundID(events[0], id))
		}
		if got := queued(); !slices.Equal(got, want) {
			t.Errorf("resend %s: queued %v, want %v", tt.body, got, want)
		}
	}
	wantProblem(t, d.do("POST", "/v1/events/"+events[0]+"/resend", `{"endpoint":"`+off+`"}`), payment.CodeInvalidState, "")
	if got := queued(); len(got) > 0 {
		t.Errorf("a refused resend queued %v", got)
	}
	d.do("DELETE", endpoints+"/"+all, "")
	if w := d.do("POST", "/v1/events/"+events[0]+"/resend", "", "Idempotency-Key", "-"); w.Code != 200 || !strings.Contains(w.Body.String(), `"endpoints":[]`) {
		t.Errorf("resend to nobody: %d %s, want 200 and no endpoint", w.Code, w.Body)
	}
}

// TestDeliveredToTheEnd lets the real outbox try an endpoint that was set up
// here: what arrives is signed by the keys that the answers showed.
func TestDeliveredToTheEnd(t *testing.T) {
	d := newDoorWithStore(t)
	d.now = time.Now() // the receiver's clock is a real one
	got := make(chan *http.Request, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		got <- r
	}))
	defer receiver.Close()
	targets := webhook.Targets{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowHTTP: true}
	client := outbox.NewClient(outbox.ClientConfig{Targets: targets})
	defer client.Close()
	cfg := d.cfg
	cfg.Targets, cfg.Tester = targets, outbox.New(outbox.Config{Store: d.store, Box: cfg.Box, Client: client, IDs: cfg.IDs})
	d.api = api.New(cfg)

	made := d.newHook(`{"url":"`+receiver.URL+`/hook"}`, "k")
	rotated := d.hook(d.do("POST", endpoints+"/"+made.ID+"/rotate", "", "Idempotency-Key", "r"), 200)
	w := d.do("POST", endpoints+"/"+made.ID+"/test", "", "Idempotency-Key", "t")
	var line struct {
		ID        string
		Delivered bool
		Status    int `json:"http_status"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &line); err != nil || w.Code != 200 || !line.Delivered || line.Status != 200 {
		t.Fatalf("test: %d %s, want delivered", w.Code, w.Body)
	}
	r := <-got
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{*made.Secret, *rotated.Secret, rotated.Secrets[0].PublicKey, rotated.Secrets[1].PublicKey} {
		v, err := webhook.NewVerifier(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Verify(r.Header, body, time.Now()); err != nil {
			t.Errorf("by %.6s…: %v", key, err)
		}
	}
	if _, ids := d.list(endpoints + "/" + made.ID + "/deliveries"); !slices.Equal(ids, []string{line.ID}) {
		t.Errorf("the log has %v, want %s", ids, line.ID)
	}
}
