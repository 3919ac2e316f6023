package pursercmd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/webhook"
)

// receiver is what a developer has on their own machine.
type receiver struct {
	*httptest.Server
	got    chan received
	status int
}

type received struct {
	header http.Header
	body   []byte
}

func newReceiver(t *testing.T, status int) *receiver {
	t.Helper()
	r := &receiver{got: make(chan received, 100), status: status}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		if status == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
		r.got <- received{req.Header, body}
	}))
	t.Cleanup(r.Close)
	return r
}

// next waits for a delivery.
func (r *receiver) next(t *testing.T) received {
	t.Helper()
	select {
	case got := <-r.got:
		return got
	case <-time.After(patience):
		t.Fatal("nothing was forwarded")
		return received{}
	}
}

// TestListen runs the command beside a gateway: what happens is forwarded,
// signed, and nothing of what happened before.
func TestListen(t *testing.T) {
	d := startDev(t, filepath.Join(t.TempDir(), "data"))
	before := d.post(t, "/v1/payments", "before", cardBody).want(t, 201, "requires_capture").ID
	r := newReceiver(t, http.StatusNoContent)
	cmd := purser(t, "listen", "--forward-to", r.URL+"/hook", "--merchant", d.info.Merchant,
		"--events", "payment.requires_capture,payment.succeeded", "--address", d.info.Admin)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it has ended already where the test went well
	out := bufio.NewScanner(stdout)
	var keys []string
	for out.Scan() && out.Text() != "ready" {
		if _, key, ok := strings.Cut(out.Text(), ": "); ok {
			keys = append(keys, strings.TrimSpace(key))
		}
	}
	if len(keys) != 2 || !strings.HasPrefix(keys[0], "whsec_") || !strings.HasPrefix(keys[1], "whpk_") {
		t.Fatalf("the keys are %q (%s), want a secret and a public key", keys, &errs)
	}
	id := d.post(t, "/v1/payments", "after", cardBody).want(t, 201, "requires_capture").ID
	d.post(t, "/v1/payments/"+before+"/capture", "capture", `{}`).want(t, 200, "succeeded")
	for _, want := range []struct{ kind, payment string }{{"payment.requires_capture", id}, {"payment.succeeded", before}} {
		got := r.next(t)
		var e struct {
			ID, Object, Type string
			Data             struct{ Object struct{ ID string } }
		}
		if err := json.Unmarshal(got.body, &e); err != nil || e.Object != "event" || e.Type != want.kind || e.Data.Object.ID != want.payment || got.header.Get("Webhook-Id") != e.ID {
			t.Errorf("got %v %s (%v), want %s of %s", got.header, got.body, err, want.kind, want.payment)
		}
		for _, key := range keys {
			v, err := webhook.NewVerifier(key)
			if err != nil {
				t.Fatal(err)
			}
			if err := v.Verify(got.header, got.body, time.Now()); err != nil {
				t.Errorf("by %.6s…: %v", key, err)
			}
		}
		if !out.Scan() || !strings.Contains(out.Text(), e.ID+"  "+want.kind+"  204  ") {
			t.Errorf("printed %q, want the delivery", out.Text())
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if out.Scan() {
		t.Errorf("printed %q after the end", out.Text())
	}
	if err := cmd.Wait(); err != nil || errs.Len() > 0 {
		t.Errorf("ended with %v, %s", err, &errs)
	}
	if len(r.got) > 0 {
		t.Errorf("more was forwarded: %s", (<-r.got).body)
	}
}

// fakeGateway is the admin endpoint's list of events, which tests fill.
type fakeGateway struct {
	*httptest.Server
	mu     sync.Mutex
	events []map[string]any // oldest first
	down   bool
	asked  chan url.Values
}

func newFakeGateway(t *testing.T) *fakeGateway {
	t.Helper()
	g := &fakeGateway{asked: make(chan url.Values, 1000)}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		q := r.URL.Query()
		g.asked <- q
		if g.down {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		if err := json.NewEncoder(w).Encode(g.page(q)); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(g.Close)
	return g
}

// page answers as the gateway does, but with pages of three.
func (g *fakeGateway) page(q url.Values) map[string]any {
	after, _ := time.Parse(time.RFC3339Nano, q.Get("created_after"))
	var found []map[string]any
	for _, e := range slices.Backward(g.events) {
		if at, _ := time.Parse(time.RFC3339Nano, fmt.Sprint(e["created_at"])); at.After(after) {
			found = append(found, e)
		}
	}
	skip := 0
	if c := q.Get("cursor"); c != "" {
		_, _ = fmt.Sscan(c, &skip)
	}
	found = found[min(skip, len(found)):]
	answer := map[string]any{"object": "list", "data": found, "has_more": false, "next_cursor": nil}
	if len(found) > 3 {
		answer["data"], answer["has_more"], answer["next_cursor"] = found[:3], true, fmt.Sprint(skip+3)
	}
	return answer
}

// happen records an event at a number of seconds.
func (g *fakeGateway) happen(id, kind string, second float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(second * float64(time.Second)))
	g.events = append(g.events, map[string]any{
		"id": id, "object": "event", "type": kind, "mode": "test", "sequence": 1, "created_at": at.Format(time.RFC3339Nano), "data": map[string]any{"id": "pay_1"},
	})
}

// follower is a listener whose ticks the test gives.
type follower struct {
	*listener
	tick      chan time.Time
	ended     chan error
	out, errs *bytes.Buffer
	cancel    context.CancelFunc
}

func follow(t *testing.T, g *fakeGateway, to string, types ...string) *follower {
	t.Helper()
	client, err := newAdminClient(strings.TrimPrefix(g.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	secret, err := webhook.NewSecret(nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	f := &follower{tick: make(chan time.Time), ended: make(chan error, 1), out: new(bytes.Buffer), errs: new(bytes.Buffer), cancel: cancel}
	f.listener = &listener{
		admin: client, to: to, secret: secret, types: types, filters: url.Values{"mode": {"test"}}, out: f.out, errs: f.errs, now: time.Now,
		http: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	go func() { f.ended <- f.run(ctx, f.tick) }()
	return f
}

// poll lets the listener look once. The next tick is taken only when it is done.
func (f *follower) poll(t *testing.T) {
	t.Helper()
	for range 2 {
		select {
		case f.tick <- time.Time{}:
		case err := <-f.ended:
			t.Fatalf("it ended: %v", err)
		case <-time.After(patience):
			t.Fatal("it does not look")
		}
	}
}

func (f *follower) stop(t *testing.T) {
	t.Helper()
	f.cancel()
	select {
	case err := <-f.ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
}

// TestListenFollows holds what is forwarded when: each event once and in order,
// over pages, late commits and a gateway that is away for a while.
func TestListenFollows(t *testing.T) {
	g, r := newFakeGateway(t), newReceiver(t, http.StatusOK)
	for n := range 8 {
		g.happen(fmt.Sprint("evt_old", n), "payment.succeeded", float64(n)/10)
	}
	f := follow(t, g, r.URL, "payment.succeeded", "payment.failed")
	f.poll(t)
	var got []string
	forwarded := func(want ...string) {
		t.Helper()
		f.poll(t)
		for len(r.got) > 0 {
			got = append(got, (<-r.got).header.Get("Webhook-Id"))
		}
		if !slices.Equal(got, want) {
			t.Errorf("forwarded %v, want %v", got, want)
		}
		got = nil
	}
	forwarded()
	g.happen("evt_1", "payment.succeeded", 5)
	g.happen("evt_2", "refund.failed", 5)
	g.happen("evt_3", "payment.failed", 5)
	forwarded("evt_1", "evt_3")
	g.happen("evt_late", "payment.failed", 2) // its transaction took longer than those of younger ones
	forwarded("evt_late")
	g.mu.Lock()
	g.down = true
	g.mu.Unlock()
	forwarded()
	var many []string
	for n := range 10 {
		many = append(many, fmt.Sprint("evt_m", n))
		g.happen(many[n], "payment.succeeded", float64(60+n))
	}
	forwarded()
	g.mu.Lock()
	g.down = false
	g.mu.Unlock()
	forwarded(many...)
	forwarded()
	f.stop(t)
	if want := "the gateway answers 502 Bad Gateway; waiting for it\nthe gateway is there again\n"; f.errs.String() != want {
		t.Errorf("said %q, want %q", f.errs, want)
	}
	if n := len(f.seen); n > 10 {
		t.Errorf("it remembers %d events, want the last 10 s alone", n)
	}
	if q := <-g.asked; q.Get("mode") != "test" || q.Get("limit") != "1" {
		t.Errorf("it asked first for %v", q)
	}
}

// TestListenTells holds the line of each delivery, whatever becomes of it.
func TestListenTells(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for _, tt := range []struct {
		name, to, want string
		json           bool
	}{
		{"refused", newReceiver(t, http.StatusInternalServerError).URL, "  evt_1  payment.failed  500  ", false},
		{"redirected", newReceiver(t, http.StatusFound).URL, "  302  ", false},
		{"nobody there", closed.URL, "connection refused", false},
		{"as JSON", newReceiver(t, http.StatusOK).URL, `{"event":"evt_1","type":"payment.failed","status":200,"took_ms":`, true},
		{"nobody there, as JSON", closed.URL, `"error":"dial tcp`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newFakeGateway(t)
			f := follow(t, g, tt.to)
			f.poll(t)
			f.json = tt.json
			g.happen("evt_1", "payment.failed", 1)
			f.poll(t)
			f.stop(t)
			_, line, _ := strings.Cut(f.out.String(), "ready\n")
			if strings.Count(line, "\n") != 1 || !strings.Contains(line, tt.want) {
				t.Errorf("printed %q, want one line with %s", line, tt.want)
			}
			if strings.Count(f.out.String(), f.secret.Symmetric()) != 1 {
				t.Errorf("the secret is not printed once: %s", f.out)
			}
		})
	}
}
