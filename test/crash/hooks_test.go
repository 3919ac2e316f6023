package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	ids "github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/webhook"
)

// hooks is a merchant's webhook endpoint. It refuses every tenth event when it
// comes first.
type hooks struct {
	url, endpoint string

	mu       sync.Mutex
	verifier webhook.Verifier
	ready    bool
	tried    map[string]int
	events   map[string]event // by ID
	forged   int
	slowest  time.Duration // from the event to its arrival
}

// event is what a webhook tells.
type event struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Sequence int64  `json:"sequence"`
	Data     struct {
		Object struct {
			ID, Object, Status string
			Payment            string
			Captured           int64 `json:"amount_captured"`
			Refunded           int64 `json:"amount_refunded"`
		}
	} `json:"data"`
}

// payment is whose the event is.
func (e *event) payment() string {
	if e.Data.Object.Object == "refund" {
		return e.Data.Object.Payment
	}
	return e.Data.Object.ID
}

// openHooks serves, and sets the endpoint up at the gateway.
func openHooks(ctx context.Context, t *testing.T, m *merchant) *hooks {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hooks{url: "http://" + l.Addr().String() + "/hook", tried: map[string]int{}, events: map[string]event{}}
	server := &http.Server{Handler: h, ReadHeaderTimeout: patience}
	go func() { _ = server.Serve(l) }() // it ends with Close
	t.Cleanup(func() { _ = server.Close() })
	var endpoint struct{ ID, Secret string }
	if err := m.post(ctx, "/v1/webhook_endpoints", "hooks", object{"url": h.url, "events": []string{"*"}}, &endpoint); err != nil {
		t.Fatal(err)
	}
	h.endpoint = endpoint.ID
	m.told = nil // its replay shows the secret no more
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.verifier, err = webhook.NewVerifier(endpoint.Secret); err != nil {
		t.Fatal(err)
	}
	h.ready = true
	return h
}

// ServeHTTP takes a delivery.
func (h *hooks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var e event
	if err := errors.Join(h.verifier.Verify(r.Header, body, time.Now()), json.Unmarshal(body, &e)); err != nil || !h.ready || e.ID != r.Header.Get("webhook-id") {
		h.forged++
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	h.tried[e.ID]++
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(e.ID)) // it cannot fail
	if h.tried[e.ID] == 1 && sum.Sum32()%10 == 0 {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	if _, again := h.events[e.ID]; !again {
		h.slowest = max(h.slowest, time.Since(ids.IDTime(e.ID)))
	}
	h.events[e.ID] = e
}

// missing lists the events of a list that have not arrived.
func (h *hooks) missing(all []event) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ids []string
	for i := range all {
		if _, ok := h.events[all[i].ID]; !ok {
			ids = append(ids, all[i].ID)
		}
	}
	return ids
}

// story tells what the gateway's log says of an event.
func (h *hooks) story(ctx context.Context, m *merchant, event string) string {
	tries, err := list[json.RawMessage](ctx, m, "/v1/webhook_endpoints/"+h.endpoint+"/deliveries?event="+event)
	if err != nil {
		return fmt.Sprintf("%s, whose log cannot be read: %v", event, err)
	}
	return fmt.Sprintf("%s, %s old, tries in the log: %s", event, time.Since(ids.IDTime(event)).Round(time.Second), tries)
}

// arrived waits until every event that the gateway has recorded has come, and
// compares the last of each payment with what the payment is now.
func (h *hooks) arrived(ctx context.Context, t *testing.T, m *merchant) (events, repeats int, slowest time.Duration) {
	t.Helper()
	all, err := list[event](ctx, m, "/v1/events?limit=100")
	if err != nil {
		t.Error(err)
		return 0, 0, 0
	}
	for deadline := time.Now().Add(patience); len(h.missing(all)) > 0 && time.Now().Before(deadline); {
		if !wait(ctx, 200*time.Millisecond) {
			break
		}
	}
	if missing := h.missing(all); len(missing) > 0 {
		t.Errorf("webhooks: %d of %d events have not arrived, the first of them %s", len(missing), len(all), h.story(ctx, m, missing[0]))
	}
	payments, err := list[payment](ctx, m, "/v1/payments?limit=100")
	if err != nil {
		t.Error(err)
		return 0, 0, 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.forged > 0 {
		t.Errorf("webhooks: %d deliveries did not verify", h.forged)
	}
	for _, n := range h.tried {
		repeats += n - 1
	}
	if wrong := h.contradictions(payments); len(wrong) > 0 {
		t.Errorf("webhooks: %d contradict the end, the first of them %s", len(wrong), wrong[0])
	}
	return len(all), repeats, h.slowest
}

// contradictions compares the last event of each payment, by its sequence, with
// the payment.
func (h *hooks) contradictions(payments []payment) (wrong []string) {
	last := map[string]event{}
	refunds := map[string]event{}
	for _, e := range h.events {
		to, key := last, e.payment()
		if e.Data.Object.Object == "refund" {
			to, key = refunds, e.Data.Object.ID
		}
		if e.Sequence > to[key].Sequence {
			to[key] = e
		}
	}
	for i := range payments {
		p := &payments[i]
		e, ok := last[p.ID]
		if !ok {
			continue // nothing was told of it, as of one that is still open
		}
		if e.Data.Object.Status != p.Status || e.Data.Object.Captured != p.Captured {
			wrong = append(wrong, fmt.Sprintf("%s is %s with %d captured, and its last event %s says %s with %d",
				p.ID, p.Status, p.Captured, e.ID, e.Data.Object.Status, e.Data.Object.Captured))
		}
		for _, r := range p.Refunds {
			if e, ok := refunds[r.ID]; ok && e.Data.Object.Status != r.Status {
				wrong = append(wrong, fmt.Sprintf("%s is %s, and its last event %s says %s", r.ID, r.Status, e.ID, e.Data.Object.Status))
			}
		}
	}
	return wrong
}
