package books_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/simulator/books"
)

type delivery struct{ Body, Signature string }

// receiver is a merchant that answers with the statuses given, then 200.
func receiver(t *testing.T, statuses ...int) (*httptest.Server, func() delivery) {
	t.Helper()
	got := make(chan delivery, 64)
	todo := make(chan int, len(statuses))
	for _, s := range statuses {
		todo <- s
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		select {
		case s := <-todo:
			w.WriteHeader(s)
		default:
		}
		got <- delivery{string(body), r.Header.Get("Signature")}
	}))
	t.Cleanup(srv.Close)
	return srv, func() delivery {
		t.Helper()
		select {
		case d := <-got:
			return d
		case <-time.After(10 * time.Second):
			t.Fatal("no webhook")
			return delivery{}
		}
	}
}

func client(c *books.Config) { c.Client = &http.Client{} }

func notice(url, body string) books.Notice {
	return books.Notice{
		Connector: "stripe", Op: books.OpAuthorize, Subject: "pi", URL: url, ContentType: "text/plain", Body: []byte(body),
		Sign: func(secret string, body []byte, _ time.Time) http.Header {
			return http.Header{"Signature": {secret + string(body)}}
		},
	}
}

func TestWebhookFaults(t *testing.T) {
	t.Parallel()
	for kind, want := range map[books.FaultKind][]delivery{
		"":                     {{"a", "a"}, {"b", "b"}, {"c", "c"}},
		books.WebhookDuplicate: {{"a", "a"}, {"a", "a"}, {"b", "b"}, {"c", "c"}},
		books.WebhookReorder:   {{"b", "b"}, {"a", "a"}, {"c", "c"}},
		books.WebhookLate:      {{"b", "b"}, {"c", "c"}, {"a", "a"}},
		books.WebhookUnsigned:  {{"a", ""}, {"b", "b"}, {"c", "c"}},
		books.WebhookNever:     {{"b", "b"}, {"c", "c"}},
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			b, clock := open(t, client)
			srv, next := receiver(t)
			if kind != "" {
				if err := b.Faults.Add(books.Fault{Kind: kind, Operation: "authorize", DelayMS: 1000}); err != nil {
					t.Fatal(err)
				}
			}
			for _, body := range []string{"a", "b", "c"} {
				b.Webhooks.Send(notice(srv.URL, body))
			}
			var got []delivery
			for i := range want {
				if kind == books.WebhookLate && i == 2 {
					clock.Advance(time.Second)
				}
				got = append(got, next())
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("deliveries (-want +got):\n%s", d)
			}
		})
	}
}

func TestWebhookRetries(t *testing.T) {
	t.Parallel()
	b, clock := open(t, client, func(c *books.Config) { c.RetryWaits = []time.Duration{time.Second, time.Minute} })
	srv, next := receiver(t, 500, 404, 302)
	_, armed := clock.Armed()
	b.Webhooks.Send(notice(srv.URL, "a"))
	next()
	<-armed
	_, armed = clock.Armed()
	clock.Advance(time.Second)
	next()
	<-armed
	clock.Advance(time.Minute)
	next()
	b.Webhooks.Send(notice(srv.URL, "b")) // queued behind: once it is out, the other's fate is booked
	next()
	if got := b.Webhooks.Stats(); got.GivenUp != 1 || got.Sent < 3 {
		t.Errorf("got %+v, want three tries and one given up", got)
	}
}

func TestWebhookEndpoints(t *testing.T) {
	t.Parallel()
	b, _ := open(t, client)
	srv, next := receiver(t)
	if b.Webhooks.Wanted("stripe", "acct_1") {
		t.Error("a webhook is wanted, and nobody registered")
	}
	for range 2 { // the second replaces the first
		if _, err := b.Webhooks.Register(books.Endpoint{Connector: "stripe", Account: "acct_1", URL: srv.URL, Secret: "s"}); err != nil {
			t.Fatal(err)
		}
	}
	if b.Webhooks.Wanted("stripe", "acct_2") || b.Webhooks.Wanted("alipay", "acct_1") || !b.Webhooks.Wanted("stripe", "acct_1") {
		t.Error("the wrong account's webhooks are wanted")
	}
	other := notice("", "x")
	other.Account = "acct_2"
	b.Webhooks.Send(other)
	mine := notice("", "a")
	mine.Account = "acct_1"
	b.Webhooks.Send(mine)
	if d := cmp.Diff(delivery{"a", "sa"}, next()); d != "" {
		t.Errorf("delivery (-want +got):\n%s", d)
	}
	b.Webhooks.Unregister("alipay")
	if n := len(b.Webhooks.Endpoints()); n != 1 {
		t.Errorf("got %d endpoints, want 1", n)
	}
	b.Webhooks.Unregister("")
	if n := len(b.Webhooks.Endpoints()); n != 0 {
		t.Errorf("got %d endpoints, want none", n)
	}
}

func TestHeldWebhooksAreReleasedByAdvance(t *testing.T) {
	t.Parallel()
	b, _ := open(t, client)
	srv, next := receiver(t)
	if err := b.Faults.Add(books.Fault{Kind: books.WebhookReorder}); err != nil {
		t.Fatal(err)
	}
	b.Webhooks.Send(notice(srv.URL, "a"))
	if n := b.Webhooks.Stats().Held; n != 1 {
		t.Errorf("got %d held, want 1", n)
	}
	if n := b.Advance(); n != 1 {
		t.Errorf("got %d advanced, want 1", n)
	}
	if got := next().Body; got != "a" {
		t.Errorf("got %q, want a", got)
	}
}
