package engine

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// begin appends an attempt to p and makes it findable by its reference. seed is
// what the reference derives from: the caller's key, or what stands for it.
func (e *Engine) begin(tx store.Tx, p *payment.Payment, a payment.Attempt, seed string) (*payment.Attempt, error) {
	if len(p.Attempts) >= payment.MaxAttempts {
		return nil, payment.Errorf(payment.CodeInvalidState, "the payment has had %d operations, which is the limit", payment.MaxAttempts)
	}
	now := e.now()
	a.ID = e.cfg.IDs.New(payment.PrefixAttempt)
	a.Status, a.Outcome = payment.AttemptPending, payment.Known
	a.StartedAt, a.Sent = now, now
	parts := []string{p.Merchant, string(p.Mode), seed, string(a.Kind), strconv.Itoa(count(p, a.Kind))}
	for range 2 {
		a.Reference = e.derive(parts...)
		err := tx.PutRef(store.Ref{Account: a.Account, Reference: a.Reference, Payment: p.ID, Attempt: a.ID})
		if err == nil {
			p.Attempts = append(p.Attempts, a)
			return &p.Attempts[len(p.Attempts)-1], nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return nil, fmt.Errorf("put reference: %w", err)
		}
		// The merchant has used the key before, and it has lapsed since: this is
		// another payment, and must not meet the PSP's memory of that one.
		parts = append(parts, a.ID)
	}
	return nil, fmt.Errorf("attempt %s: reference taken twice", a.ID)
}

func count(p *payment.Payment, k payment.Kind) (n int) {
	for i := range p.Attempts {
		if p.Attempts[i].Kind == k {
			n++
		}
	}
	return n
}

// beginAuthorize writes the intent to try a payment at an account.
func (e *Engine) beginAuthorize(tx store.Tx, p *payment.Payment, acct *connector.Account, plan *payment.Plan, j *job) (*payment.Attempt, error) {
	a, err := e.begin(tx, p, payment.Attempt{
		Kind: payment.KindAuthorize, Amount: p.Amount.Minor, Account: acct.Name, Connector: acct.Connector.Spec().Name,
		Origin: payment.OriginMerchant, Routing: plan, PublicURL: j.publicURL,
	}, j.seed())
	if err != nil {
		return nil, err
	}
	steps := connector.StepsOf(acct.Connector, e.authorize(p, a, j.transient))
	a.Step = steps[0].Name
	p.Charge = a.ID
	return a, nil
}

// seed is what the references of a job's attempts derive from.
func (j *job) seed() string {
	if j.key != nil {
		return j.key.Key
	}
	return j.payment
}

// beginVoid writes the intent to void, close or reverse a charge, and returns
// its attempt.
func (e *Engine) beginVoid(tx store.Tx, p *payment.Payment, charge *payment.Attempt, why payment.Purpose, origin payment.Origin, seed string) (string, error) {
	if seed == "" {
		seed = charge.ID
	}
	acct, err := e.accountOf(charge)
	if err != nil {
		return "", err
	}
	a, err := e.begin(tx, p, payment.Attempt{
		Kind: payment.KindVoid, Amount: charge.Amount - charge.Captured, Account: charge.Account, Connector: charge.Connector,
		Origin: origin, Charge: charge.ID, Purpose: why,
	}, seed)
	if err != nil {
		return "", err
	}
	return e.start(p, a, acct)
}

// voidOpen tells whether a void of the charge is under way.
func voidOpen(p *payment.Payment, charge string) bool {
	for i := range p.Attempts {
		if a := &p.Attempts[i]; a.Kind == payment.KindVoid && a.Charge == charge && a.Status.Open() {
			return true
		}
	}
	return false
}
