package sqlite

import (
	"fmt"

	jsonv1 "github.com/go-json-experiment/json/v1" // reads in half the time of encoding/json, and the same
	"github.com/ncruces/go-sqlite3"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// reader is a [store.Reader] on a connection that has a transaction open.
type reader struct{ c *conn }

// tx is a [store.Tx] on the writer's connection.
type tx struct {
	reader
	// failed is the first write that failed for another reason than a conflict:
	// the transaction must not commit, whatever fn makes of the error.
	failed error
}

var (
	_ store.Reader = (*reader)(nil)
	_ store.Tx     = (*tx)(nil)
)

// wrote runs a write and tells how many rows it touched.
func (t *tx) wrote(op string, b *binder) (int64, error) {
	if err := b.run(); err != nil {
		t.failed = fault(op, err)
		return 0, t.failed
	}
	return t.c.db.Changes(), nil
}

// once runs a write that must touch a row, else it is none.
func (t *tx) once(op string, b *binder, none error) error {
	n, err := t.wrote(op, b)
	if err == nil && n == 0 {
		err = none
	}
	return err
}

// one runs a query for one row; the caller resets the binder after reading it.
func one(op string, b *binder) error {
	ok, err := b.row()
	if err != nil {
		return fault(op, err)
	}
	if !ok {
		return store.ErrNotFound
	}
	return nil
}

// Payment implements [store.Reader].
func (r *reader) Payment(id string) (payment.Payment, error) {
	b := r.c.bind(qPayment)
	b.text(id)
	return onePayment(&b)
}

// RefundPayment implements [store.Reader].
func (r *reader) RefundPayment(refund string) (payment.Payment, error) {
	b := r.c.bind(qRefundPayment)
	b.text(refund)
	return onePayment(&b)
}

func onePayment(b *binder) (payment.Payment, error) {
	if err := one("read payment", b); err != nil {
		return payment.Payment{}, err
	}
	defer b.reset()
	return scanPayment(b.s, 0)
}

// scanPayment reads data and version, which stand at column n and n+1.
func scanPayment(s *sqlite3.Stmt, n int) (p payment.Payment, err error) {
	if err := jsonv1.Unmarshal(s.ColumnRawText(n), &p); err != nil {
		return payment.Payment{}, fmt.Errorf("sqlite: stored payment: %w", err)
	}
	p.Version = s.ColumnInt64(n + 1)
	return p, nil
}

// PutPayment implements [store.Tx].
func (t *tx) PutPayment(p *payment.Payment) error {
	data, err := t.c.encode(p)
	if err != nil {
		return fmt.Errorf("sqlite: encode payment: %w", err)
	}
	account := p.Account
	if c := p.Current(); c != nil {
		account = c.Account
	}
	q := qUpdatePayment
	if p.Version == 1 {
		q = qInsertPayment
	}
	b := t.c.bind(q)
	b.int(p.Version)
	b.text(string(p.Status))
	b.text(string(p.Outcome))
	b.text(p.Reference)
	b.text(account)
	b.bool(active(p))
	b.json(data)
	b.text(p.ID)
	if q == qInsertPayment {
		b.text(p.Merchant)
		b.text(string(p.Mode))
		b.time(p.CreatedAt)
	} else {
		b.int(p.Version - 1)
	}
	if err := t.once("put payment", &b, store.ErrConflict); err != nil {
		return err
	}
	if err := t.putRefunds(p); err != nil {
		return err
	}
	return t.putHoldings(p, account)
}

// putRefunds never deletes: a payment keeps its refunds for good.
func (t *tx) putRefunds(p *payment.Payment) error {
	for i := range p.Refunds {
		r := &p.Refunds[i]
		b := t.c.bind(qPutRefund)
		b.text(r.ID)
		b.text(p.ID)
		b.text(p.Merchant)
		b.text(string(p.Mode))
		b.text(string(r.Status))
		b.text(string(r.Outcome))
		b.time(r.CreatedAt)
		if _, err := t.wrote("put refund", &b); err != nil {
			return err
		}
	}
	return nil
}

// putHoldings writes down what a payment rests on beside its current account.
// A payment that was never tried elsewhere costs nothing.
func (t *tx) putHoldings(p *payment.Payment, current string) error {
	elsewhere := false
	for i := range p.Attempts {
		elsewhere = elsewhere || p.Attempts[i].Account != current
	}
	if !elsewhere {
		return nil
	}
	b := t.c.bind(qDropHoldings)
	b.text(p.ID)
	if _, err := t.wrote("drop holdings", &b); err != nil {
		return err
	}
	for i := range p.Attempts {
		a := &p.Attempts[i]
		if a.Account == current || !holds(a) {
			continue
		}
		b := t.c.bind(qPutHolding)
		b.text(p.ID)
		b.text(a.Account)
		if _, err := t.wrote("put holding", &b); err != nil {
			return err
		}
	}
	return nil
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

// holds tells the same of one attempt.
func holds(a *payment.Attempt) bool {
	return a.Status.Open() || a.Outcome != payment.Known || a.Captured > a.Refunded
}

// Unresolved implements [store.Reader].
func (r *reader) Unresolved() ([]store.Unresolved, error) {
	var all []store.Unresolved
	b := r.c.bind(qUnresolved)
	for {
		ok, err := b.row()
		if err != nil || !ok {
			return all, fault("count unresolved", err)
		}
		all = append(all, store.Unresolved{
			Account: b.s.ColumnText(0), Count: b.s.ColumnInt(1), Oldest: column(b.s, 2),
		})
	}
}

// Active implements [store.Reader].
func (r *reader) Active(account string) (bool, error) {
	b := r.c.bind(qActive)
	b.text(account)
	if err := one("look for active payments", &b); err != nil {
		return false, err
	}
	defer b.reset()
	return b.s.ColumnBool(0), nil
}

// Ref implements [store.Reader].
func (r *reader) Ref(account, reference string) (store.Ref, error) {
	b := r.c.bind(qRef)
	b.text(account)
	b.text(reference)
	if err := one("read reference", &b); err != nil {
		return store.Ref{}, err
	}
	defer b.reset()
	return store.Ref{
		Account: account, Reference: reference,
		Payment: b.s.ColumnText(0), Attempt: b.s.ColumnText(1),
	}, nil
}

// PutRef implements [store.Tx].
func (t *tx) PutRef(r store.Ref) error {
	b := t.c.bind(qPutRef)
	b.text(r.Account)
	b.text(r.Reference)
	b.text(r.Payment)
	b.text(r.Attempt)
	n, err := t.wrote("put reference", &b)
	if err != nil || n > 0 {
		return err
	}
	held, err := t.Ref(r.Account, r.Reference)
	if err == nil && held != r {
		err = store.ErrConflict
	}
	return err
}
