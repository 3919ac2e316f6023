package transport

import (
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// maxReference bounds a name that a PSP gives, in bytes. The longest that is
// documented is far below.
const maxReference = 255

// integrity holds an answer against the call: what contradicts what was asked
// is no answer to trust, whatever it says.
func integrity(c connector.Call, r connector.Result) error {
	if err := legal(c.Op, r.State); err != nil {
		return err
	}
	refs := []struct{ name, value string }{
		{"psp_reference", r.PSPReference},
		{"step_reference", r.StepReference},
		{"network_transaction_id", r.NetworkTransactionID},
	}
	if r.Charge != nil {
		refs = append(refs, []struct{ name, value string }{
			{"charge.psp_reference", r.Charge.PSPReference},
			{"charge.reference", r.Charge.Reference},
		}...)
	}
	for _, ref := range refs {
		if !reference(ref.value) {
			return fmt.Errorf("%w: %s is over %d bytes or not plain text", ErrIntegrity, ref.name, maxReference)
		}
	}
	asked, charge := amounts(c.Op)
	if !r.Amount.IsZero() && !asked.IsZero() && r.Amount != asked {
		return fmt.Errorf("%w: asked for %s, answered for %s", ErrIntegrity, asked, r.Amount)
	}
	if r.Charge == nil {
		return nil
	}
	return totals(*r.Charge, charge, c.Livemode)
}

// legal refuses states that no answer to op may have.
func legal(op payment.Operation, s connector.State) error {
	switch s {
	case connector.Succeeded, connector.Pending, connector.ActionRequired, connector.Declined,
		connector.Canceled, connector.Rejected, connector.StepDone:
		return nil
	case connector.NotFound:
		if op.Kind() == payment.KindSync {
			return nil
		}
	}
	return fmt.Errorf("%w: state %.40q answers no %s", ErrIntegrity, string(s), op.Kind())
}

// amounts tells for how much op is and how much the charge is that it makes or
// acts on; zero = not to be compared.
func amounts(op payment.Operation) (asked, charge payment.Money) {
	switch op := op.(type) {
	case payment.Authorize:
		return op.Amount, op.Amount
	case payment.Capture:
		return op.Amount, op.Charge.Amount
	case payment.GiveBack:
		return op.Amount, op.Charge.Amount
	case payment.Void:
		return payment.Money{}, op.Charge.Amount
	case payment.Sync:
		if op.Of == payment.KindRefund {
			return op.Amount, op.Charge.Amount
		}
		return payment.Money{}, op.Charge.Amount
	}
	return payment.Money{}, payment.Money{}
}

// totals checks the PSP's view of a charge against what it was to be.
func totals(c connector.Charge, want payment.Money, livemode bool) error {
	switch {
	case c.Livemode != nil && *c.Livemode != livemode:
		return fmt.Errorf("%w: livemode %t, asked in %t", ErrIntegrity, *c.Livemode, livemode)
	case !c.Amount.IsZero() && !want.IsZero() && c.Amount != want:
		return fmt.Errorf("%w: the charge is of %s, and was to be of %s", ErrIntegrity, c.Amount, want)
	case c.Authorized < 0 || c.Captured < 0 || c.Refunded < 0:
		return fmt.Errorf("%w: a total of the charge is negative", ErrIntegrity)
	}
	if c.Amount.IsZero() {
		c.Amount = want
	}
	if !c.Amount.IsZero() && c.Captured > c.Amount.Minor {
		return fmt.Errorf("%w: %s captured of %s", ErrIntegrity, c.Amount.With(c.Captured), c.Amount)
	}
	return nil
}

func reference(s string) bool {
	if len(s) > maxReference || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}
