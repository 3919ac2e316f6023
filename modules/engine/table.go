package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/purser-pay/purser/modules/payment"
)

// cause is why a payment moves.
type cause string

const (
	byCreate   cause = "create"
	byConfirm  cause = "confirm"
	byAnswer   cause = "answer"   // the PSP answered the call
	byQuery    cause = "query"    // we asked, and the PSP told
	byWebhook  cause = "webhook"  // the PSP told by itself
	byReversal cause = "reversal" // the PSP undid it at the engine's wish
	byCapture  cause = "capture"
	byCancel   cause = "cancel"
	byExpiry   cause = "expiry"
	byResolve  cause = "resolve" // an operator decided
)

// transition is one legal move.
type transition struct {
	from payment.Status // "" = the payment does not exist yet
	to   []payment.Status
	by   []cause
}

// transitions is the life of a payment, whole. A move that is not here is not
// made. docs/states.md is drawn from this table, so the picture cannot lie.
var transitions = []transition{
	{
		"",
		[]payment.Status{payment.RequiresPaymentMethod, payment.RequiresConfirmation, payment.Processing},
		[]cause{byCreate},
	},
	{payment.RequiresPaymentMethod, []payment.Status{payment.Processing}, []cause{byConfirm}},
	{payment.RequiresConfirmation, []payment.Status{payment.Processing}, []cause{byConfirm}},
	{payment.RequiresPaymentMethod, []payment.Status{payment.Canceled, payment.Expired}, []cause{byCancel, byExpiry}},
	{payment.RequiresConfirmation, []payment.Status{payment.Canceled, payment.Expired}, []cause{byCancel, byExpiry}},
	{
		payment.Processing,
		[]payment.Status{
			payment.Processing, payment.RequiresAction, payment.RequiresCapture,
			payment.Succeeded, payment.Failed, payment.Canceled, payment.Expired,
		},
		[]cause{byAnswer, byQuery, byWebhook, byReversal, byResolve},
	},
	{
		payment.RequiresAction,
		[]payment.Status{
			payment.RequiresAction, payment.Processing, payment.RequiresCapture,
			payment.Succeeded, payment.Failed, payment.Canceled, payment.Expired,
		},
		[]cause{byQuery, byWebhook, byCancel, byExpiry, byReversal, byResolve},
	},
	{
		payment.RequiresCapture,
		[]payment.Status{payment.RequiresCapture, payment.Succeeded, payment.Canceled, payment.Expired},
		[]cause{byCapture, byCancel, byExpiry, byQuery, byWebhook, byReversal, byResolve},
	},
}

// next is the only function that yields a new Status of a payment.
func next(from, to payment.Status, by cause) (payment.Status, error) {
	if from == to && !from.Terminal() {
		return to, nil
	}
	for _, t := range transitions {
		if t.from == from && slices.Contains(t.to, to) && slices.Contains(t.by, by) {
			return to, nil
		}
	}
	return from, fmt.Errorf("a payment that is %q cannot become %q by %s", from, to, by)
}

// allowedCalls says what a merchant may do, by status. Refunds depend on money,
// not on the status, and so do not stand here.
var allowedCalls = map[payment.Status][]string{
	payment.RequiresPaymentMethod: {"confirm", "cancel"},
	payment.RequiresConfirmation:  {"confirm", "cancel"},
	payment.RequiresAction:        {"cancel"},
	payment.Processing:            {"cancel"},
	payment.RequiresCapture:       {"capture", "cancel"},
}

// permit refuses a call that the state forbids, and says what is allowed.
func permit(p *payment.Payment, call string) error {
	allowed := allowedCalls[p.Status]
	if slices.Contains(allowed, call) {
		return nil
	}
	what := "nothing but refunds of captured money"
	if len(allowed) > 0 {
		what = strings.Join(allowed, ", ")
	}
	return payment.Errorf(payment.CodeInvalidState, "the payment is %s; %s is not allowed, allowed is: %s", p.Status, call, what)
}
