package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// job is one item in memory.
type job struct {
	item            store.Item
	event, endpoint string
	leased          time.Time
	// due is when it comes back, where it is put off.
	due time.Time
}

// ours tells whether the lease still keeps the item from others.
func (j *job) ours(now time.Time) bool { return now.Before(j.leased.Add(hold)) }

// admit starts what may start, lets wait what may wait, and puts the rest off.
func (o *Outbox) admit(ctx context.Context, items []store.Item) {
	if len(items) == 0 {
		return
	}
	now := o.cfg.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, i := range items {
		event, endpoint, ok := store.CutOutboundID(i.ID)
		if !ok {
			event, endpoint = i.ID, "" // no such endpoint: it is dropped
		}
		j := job{item: i, event: event, endpoint: endpoint, leased: now}
		if o.held[i.ID] {
			continue // its first lease has run out in memory; that one counts
		}
		o.held[i.ID] = true
		l := o.line(endpoint, now)
		if !l.takes(now, len(o.held) < maxHeld/2) {
			o.delay(l, j, now)
			continue
		}
		l.waiting = append(l.waiting, j)
		o.list(l)
	}
	o.pump(ctx)
}

// line returns what is known of an endpoint. The caller holds the lock, as for
// all methods without one of their own.
func (o *Outbox) line(endpoint string, now time.Time) *line {
	l := o.lines[endpoint]
	if l == nil {
		l = &line{endpoint: endpoint}
		l.reset()
		o.lines[endpoint] = l
	}
	l.used = now
	return l
}

// list puts a line among those that are ready, at the end.
func (o *Outbox) list(l *line) {
	if !l.listed && l.ready() {
		l.listed = true
		o.ready = append(o.ready, l)
	}
}

// pump starts tries for as long as there are places: one of each line in turn.
func (o *Outbox) pump(ctx context.Context) {
	now := o.cfg.Now()
	for o.quick < o.cfg.Concurrency && len(o.ready) > 0 {
		l := o.ready[0]
		o.ready[0] = nil
		o.ready = o.ready[1:]
		l.listed = false
		if !l.ready() {
			continue
		}
		j := l.waiting[0]
		l.waiting[0] = job{}
		l.waiting = l.waiting[1:]
		if now.Sub(j.leased) > startBy {
			o.delay(l, j, now)
		} else {
			l.running++
			o.quick++
			o.wg.Go(func() { o.work(ctx, l, j) })
		}
		o.list(l)
	}
}

// delay puts an item off that cannot wait in memory any longer.
func (o *Outbox) delay(l *line, j job, now time.Time) {
	j.due = l.place(now, o.cfg.Chance())
	o.late = append(o.late, j)
	nudge(o.off)
}

// clear puts off all that waits for one endpoint.
func (o *Outbox) clear(l *line, now time.Time) {
	for _, j := range l.waiting {
		o.delay(l, j, now)
	}
	l.waiting = nil
}

// work makes one try, and makes room for others if it lasts.
func (o *Outbox) work(ctx context.Context, l *line, j job) {
	lasts := false // it has moved to the slow ones
	var timer *time.Timer
	over := false
	o.mu.Lock()
	timer = time.AfterFunc(slowAfter, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		switch {
		case over:
		case o.slow >= slowShare*o.cfg.Concurrency:
			timer.Reset(slowAfter)
		default:
			lasts = true
			o.quick--
			o.slow++
			l.took = max(l.took, slowAfter)
			if l.width == 1 {
				o.clear(l, o.cfg.Now())
			}
			o.pump(ctx)
		}
	})
	o.mu.Unlock()

	t := o.attempt(ctx, j)
	timer.Stop()
	o.mu.Lock()
	over = true
	if lasts {
		o.slow--
	} else {
		o.quick--
	}
	o.finish(l, j, t)
	o.pump(ctx)
	o.mu.Unlock()
	if t != nil && t.recorded {
		o.tell(t)
	}
}

// finish takes in what came of a job; t is nil where nothing was sent.
func (o *Outbox) finish(l *line, j job, t *try) {
	now := o.cfg.Now()
	l.running--
	l.used = now
	delete(o.held, j.item.ID)
	if t != nil {
		if l.url != t.endpoint.URL {
			l.reset()
			l.url = t.endpoint.URL
		}
		l.learn(now, t.answer, t.took, o.cfg.PerEndpoint, o.cfg.Chance())
		if t.answer.result != Delivered {
			o.clear(l, now)
		}
	}
	o.list(l)
	if o.stuck {
		o.Wake()
	}
}

// giveBack takes what waits in memory out of it, due now for any other process.
func (o *Outbox) giveBack() {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.cfg.Now()
	for _, l := range o.lines {
		for _, j := range l.waiting {
			j.due = now
			o.late = append(o.late, j)
		}
		l.waiting, l.listed = nil, false
	}
	o.ready = nil
}

// putOffAlways puts off what is to be, beside Run: nothing that is due waits for
// it.
func (o *Outbox) putOffAlways(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.off:
			o.putOff(context.WithoutCancel(ctx))
		}
	}
}

// putOff gives items back to the queue, one transaction for many. No try is
// counted. What its endpoint no longer wants leaves the queue here, without a
// try.
func (o *Outbox) putOff(ctx context.Context) {
	o.mu.Lock()
	off := o.late
	o.late = nil
	o.mu.Unlock()
	for len(off) > 0 {
		n := min(batch, len(off))
		o.putOffBatch(ctx, off[:n])
		off = off[n:]
	}
}

func (o *Outbox) putOffBatch(ctx context.Context, off []job) {
	var renewed map[string]bool
	var dropped int
	err := o.cfg.Store.Update(ctx, func(tx store.Tx) error {
		renewed, dropped = map[string]bool{}, 0
		endpoints := map[string]*payment.Endpoint{}
		now := o.cfg.Now()
		for _, j := range off {
			e, known := endpoints[j.endpoint]
			if !known {
				found, err := tx.Endpoint(j.endpoint)
				switch {
				case err == nil:
					e = &found
				case !errors.Is(err, store.ErrNotFound):
					return fmt.Errorf("read endpoint: %w", err)
				}
				endpoints[j.endpoint] = e
			}
			if !j.ours(now) {
				continue
			}
			if e == nil || e.Status != payment.EndpointEnabled {
				if err := o.drop(tx, j, e); err != nil {
					return err
				}
				dropped++
				continue
			}
			if o.renewed(e) {
				renewed[e.ID], j.due = true, now
			}
			next := j.item
			next.Due = j.due
			if err := tx.Return(store.Outbound, j.item, &next); err != nil {
				return fmt.Errorf("put off: %w", err)
			}
		}
		return nil
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, j := range off {
		delete(o.held, j.item.ID)
	}
	if err != nil {
		// They are due again when their leases end.
		o.cfg.Log.Error("webhooks cannot be put off", slog.String("error", err.Error()))
		return
	}
	for id := range renewed {
		if l := o.lines[id]; l != nil {
			l.reset()
			l.url = ""
		}
	}
	if len(renewed) > 0 || o.stuck {
		o.Wake()
	}
	if dropped > 0 {
		o.cfg.Observer.Dropped(dropped)
	}
}

// renewed tells whether what is held against an endpoint is no longer true: its
// URL is another, or somebody has cleared its failures, as the merchant does who
// enables it again, or another process that has delivered. It is asked inside a
// transaction: so nothing of the store may be called with the lock held.
func (o *Outbox) renewed(e *payment.Endpoint) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.lines[e.ID]
	return l != nil && l.url != "" && (l.url != e.URL || l.failures >= holdAfter && e.FailingSince.IsZero())
}

// drop takes an item out of the queue for good. Where the gateway itself stopped
// the endpoint, the log says so; e is nil where there is none any more.
func (o *Outbox) drop(tx store.Tx, j job, e *payment.Endpoint) error {
	if err := tx.Dequeue(store.Outbound, j.item.ID); err != nil {
		return fmt.Errorf("drop: %w", err)
	}
	if e == nil || e.Status != payment.EndpointPaused {
		return nil
	}
	event, err := tx.Event(j.event)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read event: %w", err)
	}
	err = tx.PutDelivery(payment.Delivery{
		ID: o.cfg.IDs.New(payment.PrefixDelivery), Merchant: e.Merchant, Mode: e.Mode, Endpoint: e.ID, Event: event.ID,
		Type: event.Type, Try: past(j.item).Tries + 1, Error: "not tried: the endpoint is paused", CreatedAt: o.cfg.Now(),
	})
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	return nil
}
