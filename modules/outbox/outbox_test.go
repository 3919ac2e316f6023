package outbox

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/webhook"
)

// verify holds what a merchant got against what was to be sent.
func verify(t *testing.T, got received, e payment.Event, now time.Time, keys ...string) {
	t.Helper()
	for _, key := range keys {
		v, err := webhook.NewVerifier(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Verify(got.header, got.body, now); err != nil {
			t.Errorf("verify with %s…: %v", key[:6], err)
		}
	}
	body, err := e.Body()
	if err != nil {
		t.Fatal(err)
	}
	if string(got.body) != string(body) {
		t.Errorf("body: got %s, want %s", got.body, body)
	}
	for name, want := range map[string]string{
		"Webhook-Id": e.ID, "Content-Type": "application/json", "User-Agent": "Purser/1.2.3", "Cookie": "", "Accept-Encoding": "",
	} {
		if got := got.header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestDelivery(t *testing.T) {
	r := newRig(t)
	m := r.serve(nil)
	e, secret := r.add("mer_a", m.URL+"/hook?a=1")
	_, _ = r.add("mer_b", m.URL+"/other")
	event := r.emit("mer_a", 1)[0]
	r.run(r.Outbox)
	r.heard.until(t, "delivered", func() bool { return r.heard.tried[Delivered] == 1 })

	got := m.all()
	if len(got) != 1 {
		t.Fatalf("got %d requests, want 1", len(got))
	}
	verify(t, got[0], event, r.clock.Now(), secret.Symmetric(), secret.Public())
	if _, queued := r.due(); queued {
		t.Error("the queue is not empty")
	}
	want := []payment.Delivery{{
		Merchant: "mer_a", Mode: payment.Test, Endpoint: e.ID, Event: event.ID, Type: payment.EventPaymentSucceeded,
		Try: 1, Delivered: true, Status: 200, CreatedAt: started,
	}}
	if diff := cmp.Diff(want, r.log(e.ID), cmpopts.IgnoreFields(payment.Delivery{}, "ID")); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if got := r.endpoint(e.ID); got.Version != 1 {
		t.Errorf("a delivery that went well wrote the endpoint: version %d", got.Version)
	}
}

// An event that comes while the outbox sleeps is delivered when it is woken.
func TestWake(t *testing.T) {
	r := newRig(t)
	m := r.serve(nil)
	r.add("mer_a", m.URL)
	r.run(r.Outbox)
	for n := 1; n <= 20; n++ {
		r.emit("mer_a", 1)
		r.Wake()
		r.heard.until(t, "delivered", func() bool { return r.heard.tried[Delivered] == n })
	}
}

func TestAnswers(t *testing.T) {
	header := func(status int, h map[string]string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for k, v := range h {
				w.Header().Set(k, v)
			}
			w.WriteHeader(status)
		}
	}
	elsewhere := map[string]string{"Location": "/elsewhere"}
	tests := []struct {
		name   string
		answer http.HandlerFunc
		result Result
		want   payment.Delivery
		status payment.EndpointStatus
	}{
		{"201", header(201, nil), Delivered, payment.Delivery{Delivered: true, Status: 201}, payment.EndpointEnabled},
		{"204", header(204, nil), Delivered, payment.Delivery{Delivered: true, Status: 204}, payment.EndpointEnabled},
		{"a long body", func(w http.ResponseWriter, _ *http.Request) {
			w.Write(make([]byte, 1<<20))
		}, Delivered, payment.Delivery{Delivered: true, Status: 200}, payment.EndpointEnabled},
		{"301", header(301, elsewhere), Rejected, payment.Delivery{
			Status: 301, Error: "it answered 301: a redirect is not followed", Next: started.Add(5 * time.Second),
		}, payment.EndpointEnabled},
		{"307", header(307, elsewhere), Rejected, payment.Delivery{
			Status: 307, Error: "it answered 307: a redirect is not followed", Next: started.Add(5 * time.Second),
		}, payment.EndpointEnabled},
		{"400", header(400, nil), Rejected, payment.Delivery{
			Status: 400, Error: "it answered 400", Next: started.Add(5 * time.Second),
		}, payment.EndpointEnabled},
		{"500", header(500, nil), Rejected, payment.Delivery{
			Status: 500, Error: "it answered 500", Next: started.Add(5 * time.Second),
		}, payment.EndpointEnabled},
		{"410", header(410, nil), Rejected, payment.Delivery{Status: 410, Error: "it answered 410"}, payment.EndpointDisabled},
		{"Retry-After", header(503, map[string]string{"Retry-After": "120"}), Rejected, payment.Delivery{
			Status: 503, Error: "it answered 503", Next: started.Add(2 * time.Minute),
		}, payment.EndpointEnabled},
		{"Retry-After, a date", header(429, map[string]string{"Retry-After": started.Add(time.Minute).Format(http.TimeFormat)}), Rejected, payment.Delivery{
			Status: 429, Error: "it answered 429", Next: started.Add(time.Minute),
		}, payment.EndpointEnabled},
		{"Retry-After, too long", header(503, map[string]string{"Retry-After": "999999"}), Rejected, payment.Delivery{
			Status: 503, Error: "it answered 503", Next: started.Add(MaxRetryAfter),
		}, payment.EndpointEnabled},
		{"Retry-After, sooner than ours", header(503, map[string]string{"Retry-After": "1"}), Rejected, payment.Delivery{
			Status: 503, Error: "it answered 503", Next: started.Add(5 * time.Second),
		}, payment.EndpointEnabled},
		{"it hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, Unreachable, payment.Delivery{
			Error: "the host closed the connection before it answered", Next: started.Add(5 * time.Second),
		}, payment.EndpointEnabled},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			m := r.serve(test.answer)
			e, _ := r.add("mer_a", m.URL+"/hook")
			event := r.emit("mer_a", 1)[0]
			r.run(r.Outbox)
			r.heard.until(t, "tried", func() bool { return r.heard.tried[test.result] == 1 })
			test.want.Merchant, test.want.Mode, test.want.Endpoint, test.want.Event = "mer_a", payment.Test, e.ID, event.ID
			test.want.Type, test.want.Try, test.want.CreatedAt = event.Type, 1, started
			if diff := cmp.Diff([]payment.Delivery{test.want}, r.log(e.ID), cmpopts.IgnoreFields(payment.Delivery{}, "ID")); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
			due, queued := r.due()
			if queued != !test.want.Next.IsZero() || queued && !due.Equal(test.want.Next) {
				t.Errorf("queue: got %v %v, want %v", due, queued, test.want.Next)
			}
			got := r.endpoint(e.ID)
			if got.Status != test.status || got.FailingSince.IsZero() != (test.want.Delivered || test.status != payment.EndpointEnabled) {
				t.Errorf("endpoint: got %s, failing since %v", got.Status, got.FailingSince)
			}
			if n := len(m.all()); n != 1 {
				t.Errorf("got %d requests, want 1", n)
			}
			if test.status == payment.EndpointDisabled && (got.Reason == "" || len(r.heard.stopped) != 1 || r.heard.dropped != 1) {
				t.Errorf("stopped: got %q, %v, %d dropped", got.Reason, r.heard.stopped, r.heard.dropped)
			}
		})
	}
}

// An event is tried on and on, at the delays of the table, with the same ID and
// a fresh timestamp; then the endpoint is paused.
func TestScheduleAndPause(t *testing.T) {
	r := newRig(t)
	m := r.serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	e, secret := r.add("mer_a", m.URL)
	event := r.emit("mer_a", 1)[0]
	r.run(r.Outbox)
	want := started
	for n := 1; ; n++ {
		r.heard.until(t, fmt.Sprint("try ", n), func() bool { return r.heard.tried[Rejected] == n })
		got := m.all()
		verify(t, got[n-1], event, r.clock.Now(), secret.Symmetric())
		d := r.log(e.ID)[n-1]
		if d.Try != n || !d.CreatedAt.Equal(want) {
			t.Errorf("try %d: got number %d at %v, want %v", n, d.Try, d.CreatedAt, want)
		}
		if n > len(Delays) {
			if !d.Next.IsZero() {
				t.Errorf("after the last try: got another at %v", d.Next)
			}
			break
		}
		if w := want.Add(Delays[n-1]); !d.Next.Equal(w) {
			t.Fatalf("after try %d: got the next at %v, want %v", n, d.Next, w)
		}
		want = d.Next
		// What holds the endpoint back in memory must not hold this one item up.
		if due, _ := r.due(); !due.Equal(want) {
			t.Fatalf("queue: got %v, want %v", due, want)
		}
		r.clock.add(want.Sub(r.clock.Now()))
		// A hold that is longer than the delay puts it off without a try.
		r.forgetHolds()
		r.Wake()
	}
	if took := want.Sub(started); took < nearly || took > Lifetime {
		t.Errorf("the tries took %v, want %v … %v", took, nearly, Lifetime)
	}
	got := r.endpoint(e.ID)
	if got.Status != payment.EndpointPaused || !strings.Contains(got.Reason, "2026-07-01T12:00:00Z") || !got.FailingSince.Equal(started) {
		t.Errorf("endpoint: got %s, %q, failing since %v", got.Status, got.Reason, got.FailingSince)
	}
	if len(r.heard.stopped) != 1 || r.heard.stopped[0].ID != e.ID {
		t.Errorf("observer: got %v stopped, want %s", r.heard.stopped, e.ID)
	}
	if got.Version != 3 {
		t.Errorf("endpoint: got version %d, want 3: when it began to fail and when it was paused", got.Version)
	}
	if _, queued := r.due(); queued {
		t.Error("the queue is not empty")
	}
}

func (r *rig) forgetHolds() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lines {
		l.notBefore = time.Time{}
	}
}

// An endpoint that answers again is failing no longer.
func TestRecovery(t *testing.T) {
	r := newRig(t)
	bad := make(chan bool, 1)
	bad <- true
	m := r.serve(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-bad:
			w.WriteHeader(http.StatusInternalServerError)
		default:
		}
	})
	e, _ := r.add("mer_a", m.URL)
	r.emit("mer_a", 1)
	r.run(r.Outbox)
	r.heard.until(t, "failed", func() bool { return r.heard.tried[Rejected] == 1 })
	if got := r.endpoint(e.ID).FailingSince; !got.Equal(started) {
		t.Errorf("failing since: got %v, want %v", got, started)
	}
	r.clock.add(5 * time.Second)
	r.Wake()
	r.heard.until(t, "delivered", func() bool { return r.heard.tried[Delivered] == 1 })
	if got := r.endpoint(e.ID); !got.FailingSince.IsZero() || got.Version != 3 {
		t.Errorf("got failing since %v, version %d; want never, 3", got.FailingSince, got.Version)
	}
}

// What nobody wants any more leaves the queue without a request.
func TestUnwanted(t *testing.T) {
	disable := func(status payment.EndpointStatus) func(*rig, string) {
		return func(r *rig, id string) { r.change(id, func(e *payment.Endpoint) { e.Status = status }) }
	}
	tests := []struct {
		name   string
		change func(r *rig, endpoint string)
		logged int
	}{
		{"deleted", func(r *rig, id string) { r.update(func(tx store.Tx) error { return tx.DeleteEndpoint(id) }) }, 0},
		{"disabled", disable(payment.EndpointDisabled), 0},
		{"paused", disable(payment.EndpointPaused), 3},
		{"of another merchant", func(r *rig, id string) {
			r.change(id, func(e *payment.Endpoint) { e.Merchant = "mer_b" })
		}, 0},
		{"no such event", func(r *rig, id string) {
			r.update(func(tx store.Tx) error {
				return tx.Enqueue(store.Outbound, store.Item{ID: store.OutboundID("evt_unknown", id), Due: started})
			})
			r.change(id, func(e *payment.Endpoint) { e.Status = payment.EndpointDisabled })
		}, 0},
		{"no ID of ours", func(r *rig, id string) {
			r.update(func(tx store.Tx) error { return tx.Enqueue(store.Outbound, store.Item{ID: "nonsense", Due: started}) })
			r.change(id, func(e *payment.Endpoint) { e.Status = payment.EndpointDisabled })
		}, 0},
	}
	for _, test := range tests {
		for _, held := range []bool{false, true} {
			t.Run(fmt.Sprint(test.name, ", held back ", held), func(t *testing.T) {
				r := newRig(t)
				m := r.serve(nil)
				e, _ := r.add("mer_a", m.URL)
				r.emit("mer_a", 3)
				test.change(r, e.ID)
				if held {
					r.mu.Lock()
					r.line(e.ID, started).notBefore = started.Add(time.Hour)
					r.mu.Unlock()
				}
				r.run(r.Outbox)
				want := 3
				if strings.HasPrefix(test.name, "no ") {
					want = 4
				}
				if held && test.name == "of another merchant" {
					return // only a try looks at that
				}
				r.heard.until(t, "dropped", func() bool { return r.heard.dropped == want })
				if _, queued := r.due(); queued {
					t.Error("the queue is not empty")
				}
				if got := len(r.log(e.ID)); got != test.logged {
					t.Errorf("log: got %d lines, want %d", got, test.logged)
				}
				if got := len(m.all()); got != 0 {
					t.Errorf("got %d requests, want none", got)
				}
			})
		}
	}
}

// While a secret is rotated out, both sign; once it has expired, only the new
// one does.
func TestRotation(t *testing.T) {
	r := newRig(t)
	m := r.serve(nil)
	e, old := r.add("mer_a", m.URL)
	var fresh webhook.Secret
	r.change(e.ID, func(e *payment.Endpoint) {
		fresh = r.secret(e)
		e.Secrets[1].ExpiresAt = started.Add(time.Hour)
	})
	event := r.emit("mer_a", 1)[0]
	r.run(r.Outbox)
	r.heard.until(t, "delivered", func() bool { return r.heard.tried[Delivered] == 1 })
	verify(t, m.all()[0], event, r.clock.Now(), fresh.Symmetric(), fresh.Public(), old.Symmetric(), old.Public())

	r.clock.add(time.Hour)
	event = r.emit("mer_a", 1)[0]
	r.Wake()
	r.heard.until(t, "delivered again", func() bool { return r.heard.tried[Delivered] == 2 })
	got := m.all()[1]
	verify(t, got, event, r.clock.Now(), fresh.Symmetric(), fresh.Public())
	v, err := webhook.NewVerifier(old.Symmetric(), old.Public())
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Verify(got.header, got.body, r.clock.Now()); !errors.Is(err, webhook.ErrSignature) {
		t.Errorf("the old secret after its end: got %v, want %v", err, webhook.ErrSignature)
	}
}

func TestTest(t *testing.T) {
	r := newRig(t)
	status := 200
	m := r.serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	e, secret := r.add("mer_a", m.URL, func(e *payment.Endpoint) { e.Status = payment.EndpointDisabled })
	d, err := r.Test(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	want := payment.Delivery{
		ID: d.ID, Merchant: "mer_a", Mode: payment.Test, Endpoint: e.ID, Type: EventTest, Try: 1, Delivered: true, Status: 200, CreatedAt: started,
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Errorf("delivery (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]payment.Delivery{want}, r.log(e.ID)); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	got := m.all()[0]
	v, err := webhook.NewVerifier(secret.Symmetric())
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Verify(got.header, got.body, started); err != nil {
		t.Errorf("verify: %v", err)
	}
	body := fmt.Sprintf(`{"id":%q,"object":"event","type":"webhook.test","created_at":"2026-07-01T12:00:00Z","livemode":false,`+
		`"sequence":0,"data":{"object":{"id":%q,"object":"webhook_endpoint"}}}`, got.header.Get("Webhook-Id"), e.ID)
	if string(got.body) != body {
		t.Errorf("body: got %s, want %s", got.body, body)
	}
	status = 500
	if d, err = r.Test(t.Context(), e); err != nil || d.Delivered || d.Status != 500 || !d.Next.IsZero() {
		t.Errorf("an endpoint that fails: got %+v, %v", d, err)
	}
	if _, queued := r.due(); queued {
		t.Error("a test is in the queue")
	}
	if got := r.endpoint(e.ID); got.Version != 1 {
		t.Errorf("a test wrote the endpoint: version %d", got.Version)
	}
}

// Neither log holds what is no business of the operator's: bodies, URLs (which
// may bear a token), secrets.
func TestLogsAreClean(t *testing.T) {
	r := newRig(t)
	m := r.serve(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusGone)
		w.Write([]byte("endpoint says"))
	})
	e, secret := r.add("mer_a", m.URL+"/hook?token=tok123")
	r.emit("mer_a", 1)
	r.run(r.Outbox)
	r.heard.until(t, "stopped", func() bool { return len(r.heard.stopped) == 1 })
	text := r.logs.String() + fmt.Sprintf("%+v", r.log(e.ID))
	for _, leak := range []string{"tok123", "endpoint says", "pay_1", strings.TrimPrefix(secret.Symmetric(), "whsec_")} {
		if strings.Contains(text, leak) {
			t.Errorf("a log holds %q: %s", leak, text)
		}
	}
	if !strings.Contains(text, "webhook endpoint stopped") {
		t.Errorf("log: got %s", text)
	}
}
