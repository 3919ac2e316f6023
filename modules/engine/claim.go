package engine

import (
	"fmt"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

const (
	// keyLife is how long an answer is kept under its Idempotency-Key.
	keyLife = 30 * 24 * time.Hour
	// leaseMargin is added to the account's timeout: after that a claimer that
	// has not answered is dead.
	leaseMargin = 10 * time.Second
	contentType = "application/json"
)

// claim takes the caller's key for a request about a payment. Where the key has
// its answer already, first holds it, and the caller commits and does nothing
// else: the answer may have been written just now, in place of a dead claimer.
func (e *Engine) claim(tx store.Tx, c Claim, pay, object string, success int, lease time.Duration) (key store.IdempotencyKey, first *Answer, err error) {
	now := e.now()
	key = store.IdempotencyKey{
		KeyScope: c.scope(), Fingerprint: c.Fingerprint, Payment: pay, Object: object,
		Lease: now.Add(lease + leaseMargin), Success: success, Expires: now.Add(keyLife),
	}
	held, claimed, err := tx.ClaimKey(key, now)
	switch {
	case err != nil:
		return key, nil, fmt.Errorf("claim key: %w", err)
	case claimed:
		return key, nil, nil
	case held.Fingerprint != c.Fingerprint:
		return key, nil, payment.Errorf(payment.CodeKeyReused, "this Idempotency-Key was used for a request with another route or body")
	case held.Status != 0:
		return held, answerOf(held), nil
	case now.Before(held.Lease):
		err := payment.Errorf(payment.CodeKeyInUse, "the first request with this Idempotency-Key is still running")
		err.RetryAfter = time.Second
		return key, nil, err
	}
	// The claimer is dead. The payment as it stands is the answer.
	if err := e.complete(tx, &held); err != nil {
		return key, nil, err
	}
	return held, answerOf(held), nil
}

// complete writes the answer of a key whose claimer has died.
func (e *Engine) complete(tx store.Tx, k *store.IdempotencyKey) error {
	p, err := tx.Payment(k.Payment)
	if err != nil {
		return fmt.Errorf("payment of a key: %w", err)
	}
	body, err := render(&p, k.Object)
	if err != nil {
		return err
	}
	return answer(tx, k, body)
}

// answer stores the first and only answer of a key.
func answer(tx store.Tx, k *store.IdempotencyKey, body []byte) error {
	k.Status, k.ContentType, k.Body, k.Lease = k.Success, contentType, body, time.Time{}
	if err := tx.PutKey(*k); err != nil {
		return fmt.Errorf("put answer: %w", err)
	}
	return nil
}

// render returns the JSON of the payment, or of one of its refunds.
func render(p *payment.Payment, object string) ([]byte, error) {
	var (
		body []byte
		err  error
	)
	if r := p.Refund(object); r != nil {
		body, err = p.RefundObject(r)
	} else {
		body, err = p.Object()
	}
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", object, err)
	}
	return body, nil
}

func answerOf(k store.IdempotencyKey) *Answer {
	return &Answer{Status: k.Status, ContentType: k.ContentType, Body: k.Body, Replayed: true}
}
