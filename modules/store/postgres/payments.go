package postgres

import (
	"fmt"

	jsonv1 "github.com/go-json-experiment/json/v1" // reads in half the time of encoding/json, and the same
	"github.com/jackc/pgx/v5"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// Payment implements [store.Reader].
func (r *reader) Payment(id string) (payment.Payment, error) {
	return r.payment(source{"read payment", qPayment, "payments", versioned}, id)
}

// RefundPayment implements [store.Reader].
func (r *reader) RefundPayment(refund string) (payment.Payment, error) {
	return r.payment(source{"read payment of refund", qRefundPayment, "refunds", versioned}, refund)
}

func (r *reader) payment(from source, id string) (p payment.Payment, err error) {
	err = r.one(from, func(row pgx.Row) (err error) {
		p, err = scanPayment(row)
		return err
	}, id)
	if err != nil {
		return payment.Payment{}, err
	}
	r.saw("payments", p.ID, p.Version)
	return p, nil
}

// scanPayment reads data and version, and what more there is.
func scanPayment(row pgx.Row, more ...any) (p payment.Payment, err error) {
	var (
		data    []byte
		version int64
	)
	if err := row.Scan(append(more, &data, &version)...); err != nil {
		return p, err
	}
	if err := jsonv1.Unmarshal(data, &p); err != nil {
		return payment.Payment{}, fmt.Errorf("stored payment: %w", err)
	}
	p.Version = version
	return p, nil
}

// PutPayment implements [store.Tx].
func (t *tx) PutPayment(p *payment.Payment) error {
	data, err := encode("payment", p)
	if err != nil {
		return err
	}
	account := p.Account
	if c := p.Current(); c != nil {
		account = c.Account
	}
	w := wUpdatePayment
	args := []any{p.ID, p.Version, string(p.Status), string(p.Outcome), p.Reference, account, active(p), data}
	if p.Version == 1 {
		w = wInsertPayment
		args = append(args, p.Merchant, string(p.Mode), floor(p.CreatedAt))
	}
	if err := t.put("put payment", w, store.ErrConflict, args...); err != nil {
		return err
	}
	t.wroteOver("payments", p.ID, p.Version)
	for i := range p.Refunds { // a payment keeps its refunds for good
		r := &p.Refunds[i]
		err := t.put("put refund", wPutRefund, nil,
			r.ID, p.ID, p.Merchant, string(p.Mode), string(r.Status), string(r.Outcome), floor(r.CreatedAt))
		if err != nil {
			return err
		}
	}
	return t.putHoldings(p, account)
}

// putHoldings writes down what a payment rests on beside its current account.
// A payment that was never tried elsewhere costs nothing.
func (t *tx) putHoldings(p *payment.Payment, current string) error {
	elsewhere, accounts := false, []string{}
	for i := range p.Attempts {
		a := &p.Attempts[i]
		if a.Account == current {
			continue
		}
		elsewhere = true
		if a.Status.Open() || a.Outcome != payment.Known || a.Captured > a.Refunded {
			accounts = append(accounts, a.Account)
		}
	}
	if !elsewhere {
		return nil
	}
	return t.put("put holdings", wPutHoldings, nil, p.ID, accounts)
}

// active tells that a payment still needs its account.
func active(p *payment.Payment) bool {
	if !p.Status.Terminal() || p.Outcome != payment.Known || p.AmountCaptured() > p.AmountRefunded() {
		return true
	}
	for i := range p.Attempts {
		if p.Attempts[i].Status.Open() {
			return true
		}
	}
	return false
}

// Unresolved implements [store.Reader].
func (r *reader) Unresolved() (all []store.Unresolved, err error) {
	err = r.many("count unresolved", "payments", qUnresolved, nil, func(row pgx.Rows) error {
		var u store.Unresolved
		if err := row.Scan(&u.Account, &u.Count, instant(&u.Oldest)); err != nil {
			return err
		}
		all = append(all, u)
		return nil
	})
	return all, err
}

// Active implements [store.Reader].
func (r *reader) Active(account string) (active bool, err error) {
	if !storable(account) {
		return false, nil
	}
	err = r.many("look for active payments", "payments holdings", qActive, []any{account}, func(row pgx.Rows) error {
		return row.Scan(&active)
	})
	return active, err
}

// Ref implements [store.Reader].
func (r *reader) Ref(account, reference string) (store.Ref, error) {
	ref := store.Ref{Account: account, Reference: reference}
	err := r.one(source{"read reference", qRef, "refs", lasting},
		func(row pgx.Row) error { return row.Scan(&ref.Payment, &ref.Attempt) }, account, reference)
	if err != nil {
		return store.Ref{}, err
	}
	return ref, nil
}

// PutRef implements [store.Tx].
func (t *tx) PutRef(r store.Ref) error {
	n, err := t.write("put reference", wPutRef, r.Account, r.Reference, r.Payment, r.Attempt)
	if err != nil || n > 0 {
		return err
	}
	held, err := t.Ref(r.Account, r.Reference)
	if err == nil && held != r {
		err = store.ErrConflict
	}
	return err
}
