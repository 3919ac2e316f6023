package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

const (
	// syncEvery is how often a merchant, or a payer, may make the gateway ask a PSP
	// about one payment.
	syncEvery = 2 * time.Second
	// maxAsked bounds the memory of that.
	maxAsked = 10_000
)

// Payment returns a payment; with sync, the PSP is asked first (at most once in
// 2 s for each payment).
func (e *Engine) Payment(ctx context.Context, s Scope, id string, sync bool) (payment.Payment, error) {
	p, err := e.read(ctx, s, id)
	if err != nil || !sync || !e.mayAsk(id) {
		return p, err
	}
	if err := e.lookAt(ctx, &p); err != nil {
		return p, err
	}
	return e.read(ctx, s, id)
}

func (e *Engine) read(ctx context.Context, s Scope, id string) (p payment.Payment, err error) {
	err = e.view(ctx, func(r store.Reader) (err error) {
		p, err = own(r, s, id)
		return err
	})
	return p, err
}

// mayAsk keeps a merchant from asking a PSP all the time: id is the payment's, or
// says who else asks, and after which payment.
func (e *Engine) mayAsk(id string) bool {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if last, ok := e.asked[id]; ok && now.Sub(last) < syncEvery {
		return false
	}
	if len(e.asked) >= maxAsked {
		maps.DeleteFunc(e.asked, func(_ string, t time.Time) bool { return now.Sub(t) >= syncEvery })
	}
	if len(e.asked) >= maxAsked {
		return false
	}
	e.asked[id] = now
	return true
}

// RefundOf returns the payment that holds refund id.
func (e *Engine) RefundOf(ctx context.Context, s Scope, id string) (payment.Payment, error) {
	var p payment.Payment
	err := e.view(ctx, func(r store.Reader) (err error) {
		p, err = r.RefundPayment(id)
		if errors.Is(err, store.ErrNotFound) || err == nil && (p.Merchant != s.Merchant || p.Mode != s.Mode) {
			p = payment.Payment{}
			return payment.Errorf(payment.CodeNotFound, "there is no refund %.40q", id)
		}
		return err
	})
	return p, err
}

// Patch changes metadata, description and reference. While the first answer of
// the PSP is out, it must wait: a repeat of the call has to be the same request.
func (e *Engine) Patch(ctx context.Context, s Scope, id string, in Patch) (payment.Payment, error) {
	var p payment.Payment
	err := e.update(ctx, func(tx store.Tx) (err error) {
		if p, err = own(tx, s, id); err != nil {
			return err
		}
		if c := p.Current(); c != nil && c.Status == payment.AttemptPending {
			return inProgress("the payment provider has not answered yet")
		}
		m, was := mark(&p), p
		if in.Description != nil {
			p.Description = *in.Description
		}
		if in.Reference != nil {
			p.Reference = *in.Reference
		}
		p.Metadata = merge(p.Metadata, in.Metadata)
		if len(p.Metadata) > maxMetadata {
			return payment.Invalid("metadata", "more than %d keys", maxMetadata)
		}
		if p.Description == was.Description && p.Reference == was.Reference && maps.Equal(p.Metadata, was.Metadata) {
			return nil
		}
		if _, err = e.save(tx, m, &p, ""); err != nil {
			return fmt.Errorf("patch: %w", err)
		}
		return nil
	})
	return p, err
}

const maxMetadata = 50

func merge(old, change map[string]string) map[string]string {
	if len(change) == 0 {
		return old
	}
	merged := maps.Clone(old)
	if merged == nil {
		merged = map[string]string{}
	}
	for k, v := range change {
		if v == "" {
			delete(merged, k)
		} else {
			merged[k] = v
		}
	}
	return merged
}
