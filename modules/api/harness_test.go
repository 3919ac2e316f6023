package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/api"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/guard"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/seal"
	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/store/sqlite"
	"github.com/purser-pay/purser/modules/webhook"
)

var (
	pepper = bytes.Repeat([]byte{7}, 32)
	start  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

const (
	aPayment = "pay_01h455vb4pex5vsknk084sn02q"
	aRefund  = "re_01h455vb4pex5vsknk084sn02q"
	visa     = "4242424242424242"
	// foreign has the form of a card number and is none of the published ones.
	foreign = "4929000000006"
)

var sameSensitive = cmp.Comparer(func(a, b payment.Sensitive) bool { return a.Reveal() == b.Reveal() })

// fakeEngine records what reaches it.
type fakeEngine struct {
	mu     sync.Mutex
	calls  []call
	answer engine.Answer
	object payment.Payment
	err    error
	panics any
}

type call struct {
	Op    string
	Claim engine.Claim
	Scope engine.Scope
	ID    string
	In    any
}

func (f *fakeEngine) record(c call) (engine.Answer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, c)
	if f.panics != nil {
		panic(f.panics)
	}
	return f.answer, f.err
}

func (f *fakeEngine) Create(_ context.Context, c engine.Claim, in engine.Create) (engine.Answer, error) {
	return f.record(call{Op: "create", Claim: c, In: in})
}

func (f *fakeEngine) Confirm(_ context.Context, c engine.Claim, id string, in engine.Confirm) (engine.Answer, error) {
	return f.record(call{Op: "confirm", Claim: c, ID: id, In: in})
}

func (f *fakeEngine) Capture(_ context.Context, c engine.Claim, id string, in engine.Capture) (engine.Answer, error) {
	return f.record(call{Op: "capture", Claim: c, ID: id, In: in})
}

func (f *fakeEngine) Cancel(_ context.Context, c engine.Claim, id string, in engine.Cancel) (engine.Answer, error) {
	return f.record(call{Op: "cancel", Claim: c, ID: id, In: in})
}

func (f *fakeEngine) Refund(_ context.Context, c engine.Claim, in engine.Refund) (engine.Answer, error) {
	return f.record(call{Op: "refund", Claim: c, In: in})
}

func (f *fakeEngine) Payment(_ context.Context, s engine.Scope, id string, sync bool) (payment.Payment, error) {
	_, err := f.record(call{Op: "payment", Scope: s, ID: id, In: sync})
	return f.object, err
}

func (f *fakeEngine) RefundOf(_ context.Context, s engine.Scope, id string) (payment.Payment, error) {
	_, err := f.record(call{Op: "refund_of", Scope: s, ID: id})
	return f.object, err
}

func (f *fakeEngine) Patch(_ context.Context, s engine.Scope, id string, in engine.Patch) (payment.Payment, error) {
	_, err := f.record(call{Op: "patch", Scope: s, ID: id, In: in})
	return f.object, err
}

// fakeTester says that every endpoint answers 204, and writes nothing.
type fakeTester struct {
	mu    sync.Mutex
	tried []string
	// during runs while a test is under way.
	during func()
	err    error
}

func (f *fakeTester) Test(_ context.Context, e payment.Endpoint) (payment.Delivery, error) {
	f.mu.Lock()
	f.tried = append(f.tried, e.ID)
	during := f.during
	f.mu.Unlock()
	if during != nil {
		during()
	}
	return payment.Delivery{
		ID: "whd_00000000000000000000000000", Merchant: e.Merchant, Mode: e.Mode, Endpoint: e.ID, Type: "webhook.test", Try: 1,
		Delivered: true, Status: 204, CreatedAt: start, Took: 12 * time.Millisecond,
	}, f.err
}

// door is an API with everything around it.
type door struct {
	t   testing.TB
	cfg api.Config
	api *api.API
	// guarding is what the guard stands on; reopen makes changes hold.
	guarding guard.Config
	engine   *fakeEngine
	store    store.Store
	log      *bytes.Buffer
	now      time.Time
	shop     access.Merchant
	tester   *fakeTester
	// keys are the texts of API keys, by what they are for.
	keys map[string]string
	ids  map[string]access.Key
}

// newDoor stands on a store that holds nothing.
func newDoor(t testing.TB) *door {
	t.Helper()
	return newDoorOn(t, emptyStore{})
}

// reopen builds the door anew, on a guard of its own.
func (d *door) reopen() {
	d.cfg.Guard = guard.New(d.guarding)
	d.api = api.New(d.cfg)
}

// emptyStore knows of nothing; whoever reads something else of it than a key or
// a page panics.
type emptyStore struct{ store.Store }

func (emptyStore) View(_ context.Context, fn func(store.Reader) error) error {
	return fn(emptyReader{})
}
func (emptyStore) Ping(context.Context) error { return nil }

type emptyReader struct{ store.Reader }

func (emptyReader) Key(store.KeyScope) (k store.IdempotencyKey, err error) {
	return k, store.ErrNotFound
}
func (emptyReader) Event(string) (e payment.Event, err error) { return e, store.ErrNotFound }
func (emptyReader) Payments(store.PaymentQuery) (p store.Page[payment.Payment], err error) {
	return p, nil
}

// newDoorWithStore stands on a real store.
func newDoorWithStore(t testing.TB) *door {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: t.TempDir() + "/purser.db"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return newDoorOn(t, s)
}

func newDoorOn(t testing.TB, s store.Store) *door {
	t.Helper()
	d := &door{
		t: t, store: s, tester: &fakeTester{}, log: &bytes.Buffer{}, now: start, keys: map[string]string{}, ids: map[string]access.Key{},
		engine: &fakeEngine{
			answer: engine.Answer{Status: 201, ContentType: "application/json", Body: []byte(`{"id":"x"}`), PSP: 1500 * time.Microsecond},
			object: payment.Payment{ID: aPayment, Mode: payment.Test, Refunds: []payment.Refund{{ID: aRefund, Amount: 5}}},
		},
	}
	clock := func() time.Time { return d.now }
	ids := &payment.IDs{Now: clock}
	issuer := access.Issuer{Pepper: pepper, Random: rand.Reader, IDs: ids, Now: clock}
	var merchants []access.Merchant
	var keys []access.Key
	merchant := func(name string) access.Merchant {
		m, err := issuer.CreateMerchant(name)
		if err != nil {
			t.Fatal(err)
		}
		merchants = append(merchants, m)
		return m
	}
	key := func(name string, r access.KeyRequest) {
		k, text, err := issuer.CreateKey(r)
		if err != nil {
			t.Fatal(err)
		}
		keys, d.keys[name], d.ids[name] = append(keys, k), text, k
	}
	d.shop = merchant("Shop")
	other := merchant("Other")
	key("test", access.KeyRequest{Merchant: d.shop.ID, Mode: payment.Test})
	key("live", access.KeyRequest{Merchant: d.shop.ID, Mode: payment.Live})
	key("hooks", access.KeyRequest{Merchant: d.shop.ID, Mode: payment.Test, Scopes: []access.Scope{access.WebhooksRead}})
	key("read", access.KeyRequest{Merchant: d.shop.ID, Mode: payment.Test, Scopes: []access.Scope{access.PaymentsRead}})
	key("other", access.KeyRequest{Merchant: other.ID, Mode: payment.Test})
	key("proxy", access.KeyRequest{Merchant: d.shop.ID, Mode: payment.Test, Scopes: []access.Scope{access.ProxyUse}})
	key("brief", access.KeyRequest{Merchant: d.shop.ID, Mode: payment.Test, ExpiresAt: start.Add(time.Minute)})
	directory := access.NewDirectory(pepper, func(context.Context) ([]access.Merchant, []access.Key, error) {
		return merchants, keys, nil
	}, clock)
	if err := directory.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	box, err := seal.New(nil, bytes.Repeat([]byte{9}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	d.guarding = guard.Config{Directory: directory, Now: clock}
	d.cfg = api.Config{
		Guard: guard.New(d.guarding),
		Box:   box, Tester: d.tester, Targets: webhook.Targets{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		Engine: d.engine, Store: s, Pepper: pepper, IDs: ids, Now: clock,
		Log: slog.New(slog.NewJSONHandler(d.log, nil)), Version: "1.2.3",
	}
	d.api = api.New(d.cfg)
	return d
}

// do sends a request as the test key, with JSON and an Idempotency-Key unless
// the headers say otherwise; "-" removes one.
func (d *door) do(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	d.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "Bearer "+d.keys["test"])
	if method == http.MethodPost {
		r.Header.Set("Idempotency-Key", "order-1")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		switch {
		case headers[i+1] == "-":
			r.Header.Del(headers[i])
		case strings.HasPrefix(headers[i+1], "+"):
			r.Header.Add(headers[i], headers[i+1][1:])
		default:
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	return d.serve(r)
}

func (d *door) serve(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	d.api.ServeHTTP(w, r)
	return w
}

type problem struct {
	Type, Title, Detail, Code, Param string
	Status                           int
	RequestID                        string `json:"request_id"`
	Retryable                        bool
}

// wantProblem checks everything that all problems have in common.
func wantProblem(t testing.TB, w *httptest.ResponseRecorder, code payment.Code, param string) problem {
	t.Helper()
	info := code.Info()
	var p problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("%d %s is not a problem: %v", w.Code, w.Body, err)
	}
	if w.Code != info.Status || p.Code != string(code) || p.Param != param {
		t.Errorf("got %d %q param %q (%s); want %d %q param %q", w.Code, p.Code, p.Param, p.Detail, info.Status, code, param)
	}
	want := problem{
		Type: api.ProblemBase + p.Code, Title: payment.Code(p.Code).Info().Title, Detail: p.Detail, Code: p.Code, Param: p.Param,
		Status: w.Code, RequestID: w.Header().Get("Request-Id"), Retryable: payment.Code(p.Code).Info().Retryable,
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("problem (-want +got):\n%s", diff)
	}
	if p.Detail == "" {
		t.Error("the problem has no detail")
	}
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q, want application/problem+json", got)
	}
	wantHeaders(t, w)
	return p
}

func wantHeaders(t testing.TB, w *httptest.ResponseRecorder) {
	t.Helper()
	h := w.Header()
	if !payment.IsID("req", h.Get("Request-Id")) {
		t.Errorf("Request-Id %q", h.Get("Request-Id"))
	}
	if got := h.Get("Server-Timing"); !strings.HasPrefix(got, "total;dur=") || !strings.Contains(got, ", psp;dur=") {
		t.Errorf("Server-Timing %q", got)
	}
	if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("security headers are missing: %v", h)
	}
}

// wantUntouched tells that nothing reached the engine.
func (d *door) wantUntouched() {
	d.t.Helper()
	if len(d.engine.calls) > 0 {
		d.t.Errorf("the engine was called: %+v", d.engine.calls)
	}
}

// rendering answers a create with a payment's object, as the engine does.
type rendering struct {
	*fakeEngine
	payment payment.Payment
}

func (r *rendering) Create(context.Context, engine.Claim, engine.Create) (engine.Answer, error) {
	body, err := r.payment.Object()
	return engine.Answer{Status: 201, ContentType: "application/json", Body: body}, err
}

func benchAPI(d *door, e api.Engine) *api.API {
	cfg := d.cfg
	cfg.Engine = e
	return api.New(cfg)
}
