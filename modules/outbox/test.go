package outbox

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// EventTest is the type of the event that [Outbox.Test] makes up. No endpoint
// can ask for it, and no list shows one.
const EventTest payment.EventType = "webhook.test"

// Test sends a made-up event to an endpoint, once and now, whatever its status,
// and returns the line of the log that it wrote. That the endpoint answered
// badly or not at all is no error. An endpoint that is held back is given
// another chance if it answered well.
func (o *Outbox) Test(ctx context.Context, e payment.Endpoint) (payment.Delivery, error) {
	select {
	case o.tests <- struct{}{}:
		defer func() { <-o.tests }()
	case <-ctx.Done():
		return payment.Delivery{}, ctx.Err()
	}
	object, err := json.Marshal(map[string]string{"id": e.ID, "object": "webhook_endpoint"})
	if err != nil {
		return payment.Delivery{}, fmt.Errorf("test webhook: %w", err)
	}
	start := o.cfg.Now()
	event := payment.Event{
		ID: o.cfg.IDs.New(payment.PrefixEvent), Type: EventTest, Merchant: e.Merchant, Mode: e.Mode, CreatedAt: start, Object: object,
	}
	body, err := event.Body()
	if err != nil {
		return payment.Delivery{}, err
	}
	// A caller who hangs up does not end it: the log is to tell what happened.
	ctx = context.WithoutCancel(ctx)
	a, err := o.post(ctx, &e, event.ID, start, body)
	if err != nil {
		return payment.Delivery{}, fmt.Errorf("test webhook: %w", err)
	}
	d := payment.Delivery{
		ID: o.cfg.IDs.New(payment.PrefixDelivery), Merchant: e.Merchant, Mode: e.Mode, Endpoint: e.ID, Type: EventTest,
		Try: 1, Delivered: a.result == Delivered, Status: a.status, Error: a.why, CreatedAt: start, Took: o.cfg.Now().Sub(start),
	}
	if err := o.cfg.Store.Update(ctx, func(tx store.Tx) error { return tx.PutDelivery(d) }); err != nil {
		return payment.Delivery{}, fmt.Errorf("test webhook: %w", err)
	}
	if d.Delivered {
		o.mu.Lock()
		if l := o.lines[e.ID]; l != nil {
			l.reset()
		}
		o.mu.Unlock()
	}
	return d, nil
}
