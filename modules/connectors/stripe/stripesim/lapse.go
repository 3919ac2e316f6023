package stripesim

import (
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

// lapse lets a hold go that nobody can capture any more, as Stripe does by itself.
func (d *Dialect) lapse(charge *books.Charge) {
	done, err := d.b.Update(Connector, charge.Account, charge.PSPReference, func(p *books.Charge) error {
		if p.Status != payment.RequiresCapture {
			return books.ErrState
		}
		p.CancelReason = "automatic"
		return p.Void(d.b.Now())
	})
	if err != nil {
		return // captured or canceled meanwhile
	}
	d.emit(books.OpVoid, "charge.expired", &done, "")
	d.emit(books.OpVoid, "payment_intent.canceled", &done, "")
}
