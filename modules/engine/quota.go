package engine

import (
	"fmt"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// Quota is a sum that a call may not exceed: the amount of a day's payments, say.
type Quota struct {
	Counter string    // names the sum, at most [store.MaxCounterName] bytes
	Limit   int64     // in the currency's minor unit
	Expires time.Time // when the sum may be forgotten
	// Policy is the rule that says so, for the refusal.
	Policy string
}

// spend adds an amount to every quota, in the transaction of the intent: what is
// refused counts nowhere, and what was begun counts whatever comes of it.
func spend(tx store.Tx, quotas []Quota, amount int64, now time.Time) error {
	for i := range quotas {
		q := &quotas[i]
		_, err := tx.AddToCounter(store.Addition{Counter: q.Counter, Delta: amount, Limit: q.Limit, Expires: q.Expires}, now)
		if over, ok := store.IsLimit(err); ok {
			e := payment.Errorf(payment.CodePolicyDenied, "the day's amount is limited to %d, and %d of it are left", over.Limit, over.Rest())
			e.Policy = q.Policy
			return e
		}
		if err != nil {
			return fmt.Errorf("quota: %w", err)
		}
	}
	return nil
}
