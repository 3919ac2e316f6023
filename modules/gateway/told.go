package gateway

import (
	"context"
	"log/slog"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// toldStore tells of the payment events of transactions that were committed: to
// the metrics, and to the log of the configuration that runs. What a run that
// was thrown away would have written is not told.
type toldStore struct {
	store.Store
	meter *meter
	// log returns the logger of the present configuration, which the store
	// outlives; nil where there is none.
	log func() *slog.Logger
	// wake is called after a commit that may have queued webhooks.
	wake func()
}

// told is one event, with what the payment was in the same transaction.
type told struct {
	event   payment.Event
	status  payment.Status
	outcome payment.Outcome
	account string
}

// Update runs fn in a transaction.
func (s toldStore) Update(ctx context.Context, fn func(store.Tx) error) error {
	var (
		written []told
		queued  bool
	)
	err := s.Store.Update(ctx, func(tx store.Tx) error {
		written, queued = written[:0], false
		return fn(toldTx{tx, &written, &queued})
	})
	if err == nil {
		if queued || len(written) > 0 {
			s.wake()
		}
		for i := range written {
			s.meter.event(written[i].event.Type)
			s.tell(ctx, &written[i])
		}
	}
	return err
}

// tell logs one event. It has no card data, no name and no address: the object
// itself stays out.
func (s toldStore) tell(ctx context.Context, t *told) {
	log := s.log()
	if log == nil || !log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	e := &t.event
	log.LogAttrs(ctx, slog.LevelInfo, "payment event",
		slog.String("event", e.ID), slog.String("type", string(e.Type)), slog.String("payment", e.Payment),
		slog.String("status", string(t.status)), slog.String("outcome", string(t.outcome)), slog.String("account", t.account),
		slog.String("merchant", e.Merchant), slog.String("mode", string(e.Mode)), slog.Int64("sequence", e.Sequence))
}

type toldTx struct {
	store.Tx
	written *[]told
	queued  *bool
}

// Enqueue puts an item into a queue, and remembers that webhooks wait.
func (t toldTx) Enqueue(q store.Queue, i store.Item) error {
	*t.queued = *t.queued || q == store.Outbound
	return t.Tx.Enqueue(q, i)
}

// PutEvent writes an event and remembers it.
func (t toldTx) PutEvent(e payment.Event) error {
	err := t.Tx.PutEvent(e)
	if err == nil {
		e.Object = nil
		*t.written = append(*t.written, told{event: e})
	}
	return err
}

// PutPayment writes a payment, and completes what is told of its events.
func (t toldTx) PutPayment(p *payment.Payment) error {
	err := t.Tx.PutPayment(p)
	if err != nil {
		return err
	}
	account := p.Account
	if a := p.Current(); a != nil {
		account = a.Account
	}
	for i := range *t.written {
		w := &(*t.written)[i]
		if w.event.Payment == p.ID {
			w.status, w.outcome, w.account = p.Status, p.Outcome, account
		}
	}
	return nil
}
