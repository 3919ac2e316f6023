package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/webhook"
)

// How soon an item is tried again where the gateway itself failed: what it cannot
// sign needs somebody to mend it, and a store that was away is back in a moment.
const retryOwn, retryStore = time.Minute, time.Second

// nearly is the least that all tries of one event take, with jitter. If they
// were nothing but failures, the endpoint is paused with the last of them.
const nearly = Lifetime * 7 / 8

// history is the payload of an item that was tried before. The delays follow it,
// and not how often the item was handed out: that a process died, or that the
// store was away, is not the endpoint's failure, and may not make its next try a
// late one.
type history struct {
	// Since is when it was first tried.
	Since time.Time `json:"since"`
	// Tries that are in the log.
	Tries int `json:"tries"`
}

// past reads what an item went through. What was never tried has none.
func past(i store.Item) (h history) {
	if len(i.Payload) > 0 && json.Unmarshal(i.Payload, &h) != nil {
		return history{}
	}
	return h
}

// errStopped: the gateway ended in the middle of a try.
var errStopped = errors.New("stopped")

// try is one delivery under way.
type try struct {
	job      job
	event    payment.Event
	endpoint payment.Endpoint
	history  history // with this try
	start    time.Time
	took     time.Duration
	answer   answer
	// What follows is known when it is recorded, in the store.
	recorded bool
	last     bool              // there will be no other try, and it was not delivered
	stopped  *payment.Endpoint // the endpoint, where it was paused or disabled
}

// attempt makes one try and writes what came of it: the line of the log, the
// queue and, where that changes, the endpoint, in one transaction. It returns
// nil where nothing was sent.
func (o *Outbox) attempt(ctx context.Context, j job) *try {
	t := &try{job: j}
	err := o.cfg.Store.View(ctx, func(r store.Reader) (err error) {
		if t.endpoint, err = r.Endpoint(j.endpoint); err != nil {
			return err
		}
		t.event, err = r.Event(j.event)
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		o.abandon(ctx, j, nil)
		return nil
	case err != nil:
		o.fail(ctx, j, err)
		return nil
	case t.endpoint.Status != payment.EndpointEnabled || t.event.Merchant != t.endpoint.Merchant || t.event.Mode != t.endpoint.Mode:
		o.abandon(ctx, j, &t.endpoint)
		return nil
	}
	if err := o.send(ctx, t); err != nil {
		o.fail(ctx, j, err)
		return nil
	}
	err = o.cfg.Store.Update(context.WithoutCancel(ctx), func(tx store.Tx) error { return o.settle(tx, t) })
	if err != nil {
		// The item is due again when its lease ends.
		o.cfg.Log.Error("a webhook's delivery cannot be recorded", slog.String("event", j.event),
			slog.String("endpoint", j.endpoint), slog.String("error", err.Error()))
	}
	t.recorded = err == nil
	return t
}

// send signs and sends. Its errors are the gateway's own.
func (o *Outbox) send(ctx context.Context, t *try) error {
	body, err := t.event.Body()
	if err != nil {
		return err
	}
	t.start = o.cfg.Now()
	t.history = past(t.job.item)
	t.history.Tries++
	if t.history.Since.IsZero() {
		t.history.Since = t.start
	}
	t.answer, err = o.post(ctx, &t.endpoint, t.event.ID, t.start, body)
	t.took = o.cfg.Now().Sub(t.start)
	return err
}

// post signs with the live secrets, the newest first, and sends.
func (o *Outbox) post(ctx context.Context, e *payment.Endpoint, id string, at time.Time, body []byte) (a answer, err error) {
	live := e.Live(at)
	secrets := make([]webhook.Secret, 0, webhook.MaxLive)
	for _, s := range live[:min(len(live), webhook.MaxLive)] {
		plain, err := o.cfg.Box.Open(s.Sealed, []byte(e.ID))
		if err != nil {
			return a, fmt.Errorf("a secret of %s: %w", e.ID, err)
		}
		secret, err := webhook.ParseSecret(plain)
		if err != nil {
			return a, fmt.Errorf("a secret of %s: %w", e.ID, err)
		}
		secrets = append(secrets, secret)
	}
	signature, err := webhook.Sign(id, at, body, secrets...)
	if err != nil {
		return a, fmt.Errorf("sign for %s: %w", e.ID, err)
	}
	header := http.Header{
		webhook.HeaderID:        {id},
		webhook.HeaderTimestamp: {strconv.FormatInt(at.Unix(), 10)},
		webhook.HeaderSignature: {signature},
	}
	a = o.cfg.Client.post(ctx, e.URL, header, body)
	if ctx.Err() != nil && a.status == 0 {
		return a, errStopped
	}
	return a, nil
}

// settle writes what came of a try. It may be run more than once.
func (o *Outbox) settle(tx store.Tx, t *try) (err error) {
	now := o.cfg.Now()
	t.last = false
	d := payment.Delivery{
		ID: o.cfg.IDs.New(payment.PrefixDelivery), Merchant: t.endpoint.Merchant, Mode: t.endpoint.Mode,
		Endpoint: t.endpoint.ID, Event: t.event.ID, Type: t.event.Type, Try: t.history.Tries,
		Delivered: t.answer.result == Delivered, Status: t.answer.status, Error: t.answer.why,
		CreatedAt: t.start, Took: t.took,
	}
	next := o.again(t, now)
	if t.stopped, err = o.mark(tx, t, now, next.IsZero()); err != nil {
		return err
	}
	if t.stopped != nil {
		next = time.Time{}
	}
	switch {
	case d.Delivered, next.IsZero():
		t.last = !d.Delivered
		err = tx.Return(store.Outbound, t.job.item, nil) // a resend that came meanwhile stays
	case t.job.ours(now):
		d.Next = next
		item := t.job.item
		item.Due = next
		if item.Payload, err = json.Marshal(t.history); err == nil {
			err = tx.Return(store.Outbound, t.job.item, &item)
		}
	default:
		// The lease is over. Another process may have the item, or has delivered
		// it; to put it into the queue could bring it back to life.
		d.Next = now
	}
	if err == nil {
		err = tx.PutDelivery(d)
	}
	if err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}

// again returns when a failed item is tried again; zero = not any more.
func (o *Outbox) again(t *try, now time.Time) time.Time {
	pause, ok := next(t.history.Tries, o.cfg.Chance())
	if !ok || now.Sub(t.history.Since) >= Lifetime {
		return time.Time{}
	}
	return now.Add(max(pause, retryAfter(t.answer.retryAfter, now)))
}

// mark keeps the state of the endpoint, which it writes only where it changes.
func (o *Outbox) mark(tx store.Tx, t *try, now time.Time, last bool) (stopped *payment.Endpoint, err error) {
	delivered, gone := t.answer.result == Delivered, t.answer.status == http.StatusGone
	failing := t.endpoint.FailingSince
	if delivered && failing.IsZero() || !delivered && !gone && !failing.IsZero() && now.Sub(failing) < Lifetime && !last {
		return nil, nil
	}
	e, err := tx.Endpoint(t.endpoint.ID) // as it is now: the merchant may have written it
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read endpoint: %w", err)
	}
	if e.Status != payment.EndpointEnabled || e.URL != t.endpoint.URL {
		return nil, nil // the answer says nothing of what it is now
	}
	failing = e.FailingSince
	switch {
	case delivered && failing.IsZero():
		return nil, nil
	case delivered:
		e.FailingSince = time.Time{}
	case gone:
		e.Status, e.Reason = payment.EndpointDisabled, "It answered 410 Gone."
		stopped = &e
	case failing.IsZero():
		e.FailingSince = t.start
	case now.Sub(failing) >= Lifetime || last && now.Sub(failing) >= nearly:
		e.Status = payment.EndpointPaused
		e.Reason = "Every delivery has failed since " + failing.UTC().Format(time.RFC3339) + "."
		stopped = &e
	default:
		return nil, nil
	}
	e.Version++
	e.UpdatedAt = now
	if err := tx.PutEndpoint(&e); err != nil {
		return nil, fmt.Errorf("mark endpoint: %w", err)
	}
	return stopped, nil
}

// tell reports what is on disk now.
func (o *Outbox) tell(t *try) {
	if t.last {
		o.cfg.Observer.Dropped(1)
	}
	if e := t.stopped; e != nil {
		o.cfg.Log.Warn("webhook endpoint stopped", slog.String("endpoint", e.ID), slog.String("merchant", e.Merchant),
			slog.String("status", string(e.Status)), slog.String("reason", e.Reason))
		o.cfg.Observer.Stopped(*e)
	}
	o.cfg.Observer.Tried(t.answer.result, t.took)
}

// abandon drops one item that nobody wants any more.
func (o *Outbox) abandon(ctx context.Context, j job, e *payment.Endpoint) {
	err := o.cfg.Store.Update(ctx, func(tx store.Tx) error { return o.drop(tx, j, e) })
	if err != nil {
		o.cfg.Log.Error("a webhook cannot be dropped", slog.String("item", j.item.ID), slog.String("error", err.Error()))
		return
	}
	o.cfg.Observer.Dropped(1)
}

// fail puts an item back that the gateway could not try: that says nothing of
// the endpoint and counts as no try.
func (o *Outbox) fail(ctx context.Context, j job, cause error) {
	now := o.cfg.Now()
	pause := retryOwn
	if errors.Is(cause, store.ErrUnavailable) {
		pause = retryStore
	}
	leased := j.item
	j.item.Due = now.Add(vary(pause, o.cfg.Chance()))
	if errors.Is(cause, errStopped) || ended(ctx, cause) {
		j.item.Due = now // another process may take it at once
	} else {
		o.cfg.Log.Error("a webhook cannot be tried", slog.String("event", j.event), slog.String("endpoint", j.endpoint),
			slog.String("error", cause.Error()))
	}
	if !j.ours(now) {
		return
	}
	err := o.cfg.Store.Update(context.WithoutCancel(ctx), func(tx store.Tx) error { return tx.Return(store.Outbound, leased, &j.item) })
	if err != nil {
		o.cfg.Log.Warn("a webhook waits for its lease to end", slog.String("item", j.item.ID), slog.String("error", err.Error()))
	}
}
