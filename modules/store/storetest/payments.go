package storetest

import (
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

func testPayment(t *testing.T, b *bench) {
	p := b.payment("mer_a", payment.Test)
	p.Reference, p.Description = "order-1", "tea — 茶"
	p.NextAction = &payment.NextAction{Type: payment.ActionRedirect, URL: "https://psp.example/3ds", Method: "GET"}
	p.Error = &payment.Failure{Code: payment.CardDeclined, Message: "The card was declined.", Advice: payment.UseAnotherMethod}
	p.ExpiresAt = b.now.Add(time.Hour + 123456*time.Nanosecond)
	b.refund(&p, payment.RefundPending)
	b.put(t, &p)
	equal(t, "payment", must(t, b, readPayment(p.ID)), p)

	got := must(t, b, readPayment(p.ID))
	got.Metadata["order"] = "changed"
	got.Attempts[0].Captured = 0
	equal(t, "payment after the caller changed its copy", must(t, b, readPayment(p.ID)), p)

	p.Version, p.Status, p.Metadata = 2, payment.Failed, nil
	b.put(t, &p)
	equal(t, "payment, version 2", must(t, b, readPayment(p.ID)), p)

	for _, id := range []string{"", "pay_unknown", p.ID + "x"} {
		_, err := get(t, b, readPayment(id))
		wantError(t, "payment "+strconv.Quote(id), err, store.ErrNotFound)
	}
}

func testCompareAndSwap(t *testing.T, b *bench) {
	for _, test := range []struct {
		name    string
		stored  int64 // 0 = absent
		version int64
		want    error
	}{
		{"insert", 0, 1, nil},
		{"insert twice", 1, 1, store.ErrConflict},
		{"insert over a later version", 3, 1, store.ErrConflict},
		{"next", 1, 2, nil},
		{"same again", 2, 2, store.ErrConflict},
		{"stale", 3, 2, store.ErrConflict},
		{"ahead", 1, 3, store.ErrConflict},
		{"update of an absent one", 0, 2, store.ErrConflict},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := b.payment("mer_a", payment.Test)
			for v := int64(1); v <= test.stored; v++ {
				p.Version, p.Description = v, "stored"
				b.put(t, &p)
			}
			p.Version, p.Description = test.version, "put"
			err := b.Update(t.Context(), func(tx store.Tx) error { return tx.PutPayment(&p) })
			wantError(t, "put", err, test.want)

			wantVersion, wantText := test.stored, "stored"
			if test.want == nil {
				wantVersion, wantText = test.version, "put"
			}
			got, err := get(t, b, readPayment(p.ID))
			if wantVersion == 0 {
				wantError(t, "read", err, store.ErrNotFound)
				return
			}
			if got.Version != wantVersion || got.Description != wantText {
				t.Errorf("got version %d %q, want %d %q", got.Version, got.Description, wantVersion, wantText)
			}
		})
	}
}

// testLostUpdates lets many callers raise one counter: half of them read in one
// transaction and write in another, half do both in one.
func testLostUpdates(t *testing.T, b *bench) {
	const callers = 64
	p := b.payment("mer_a", payment.Test)
	p.Sequence = 0
	b.put(t, &p)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for {
				err := raise(t, b, p.ID, i%2 == 0)
				if err == nil {
					return
				}
				if !errors.Is(err, store.ErrConflict) {
					t.Errorf("got error %v, want a conflict or none", err)
					return
				}
			}
		})
	}
	wg.Wait()
	got := must(t, b, readPayment(p.ID))
	if got.Sequence != callers || got.Version != callers+1 {
		t.Errorf("got count %d at version %d, want %d at version %d", got.Sequence, got.Version, callers, callers+1)
	}
}

func raise(t *testing.T, s store.Store, id string, apart bool) error {
	var p payment.Payment
	if apart {
		var err error
		if p, err = get(t, s, readPayment(id)); err != nil {
			return err
		}
	}
	return s.Update(t.Context(), func(tx store.Tx) (err error) {
		next := p // fn may run twice
		if !apart {
			if next, err = tx.Payment(id); err != nil {
				return err
			}
		}
		next.Version++
		next.Sequence++
		return tx.PutPayment(&next)
	})
}

func testRefs(t *testing.T, b *bench) {
	first := store.Ref{Account: "a", Reference: "r", Payment: "pay_1", Attempt: "att_1"}
	for _, test := range []struct {
		name string
		ref  store.Ref
		want error
	}{
		{"new", first, nil},
		{"same again", first, nil},
		{"other attempt", store.Ref{Account: "a", Reference: "r", Payment: "pay_1", Attempt: "att_2"}, store.ErrConflict},
		{"other payment", store.Ref{Account: "a", Reference: "r", Payment: "pay_2", Attempt: "att_1"}, store.ErrConflict},
		{"other account", store.Ref{Account: "b", Reference: "r", Payment: "pay_2", Attempt: "att_3"}, nil},
		{"other reference", store.Ref{Account: "a", Reference: "R", Payment: "pay_2", Attempt: "att_3"}, nil},
	} {
		err := b.Update(t.Context(), func(tx store.Tx) error { return tx.PutRef(test.ref) })
		wantError(t, test.name, err, test.want)
	}
	read := func(account, reference string) (store.Ref, error) {
		return get(t, b, func(r store.Reader) (store.Ref, error) { return r.Ref(account, reference) })
	}
	got, err := read("a", "r")
	wantError(t, "ref", err, nil)
	equal(t, "ref", got, first)
	_, err = read("c", "r")
	wantError(t, "ref of another account", err, store.ErrNotFound)
}

func testRefunds(t *testing.T, b *bench) {
	p, other := b.payment("mer_a", payment.Test), b.payment("mer_a", payment.Test)
	first := b.refund(&p, payment.RefundPending)
	b.put(t, &p, &other)
	second := b.refund(&p, payment.RefundPending)
	p.Version, p.Refunds[0].Status = 2, payment.RefundSucceeded
	b.put(t, &p)
	for _, id := range []string{first, second} {
		got := must(t, b, func(r store.Reader) (payment.Payment, error) { return r.RefundPayment(id) })
		equal(t, "payment of refund "+id, got, p)
	}
	_, err := get(t, b, func(r store.Reader) (payment.Payment, error) { return r.RefundPayment(p.ID) })
	wantError(t, "refund by a payment's id", err, store.ErrNotFound)

	for status, want := range map[payment.RefundStatus][]string{
		payment.RefundSucceeded: {first}, payment.RefundPending: {second}, payment.RefundFailed: nil,
	} {
		page := must(t, b, func(r store.Reader) (store.Page[store.RefundRow], error) {
			return r.Refunds(store.RefundQuery{Payment: p.ID, Status: status, Paging: store.Paging{Limit: 10}})
		})
		equal(t, "refunds that are "+string(status), refundIDs(page.Data), want)
	}
}

func testUnresolved(t *testing.T, b *bench) {
	unknown := func(account string) *payment.Payment {
		p := b.payment("mer_a", payment.Test)
		p.Attempts[0].Account, p.Outcome = account, payment.Unknown
		return &p
	}
	first, second, third, settled := unknown("a"), unknown("b"), unknown("a"), unknown("b")
	conflicted := unknown("c")
	conflicted.Outcome = payment.Conflicted
	b.put(t, third, second, first, settled, conflicted)
	settled.Version, settled.Outcome = 2, payment.Known
	b.put(t, settled)
	got := must(t, b, store.Reader.Unresolved)
	equal(t, "unresolved", got, []store.Unresolved{
		{Account: "a", Count: 2, Oldest: first.CreatedAt},
		{Account: "b", Count: 1, Oldest: second.CreatedAt},
	})
}

func testActive(t *testing.T, b *bench) {
	for _, test := range []struct {
		name   string
		change func(*payment.Payment)
		want   bool
	}{
		{"captured, refundable", func(*payment.Payment) {}, true},
		{"refunded", func(p *payment.Payment) {
			b.refund(p, payment.RefundSucceeded)
			p.Refunds[0].Amount, p.Attempts[0].Refunded = 1050, 1050
		}, false},
		{"refund pending", func(p *payment.Payment) {
			b.refund(p, payment.RefundPending)
			p.Refunds[0].Amount = 1050
		}, true},
		{"failed", func(p *payment.Payment) {
			p.Status, p.Attempts[0].Status, p.Attempts[0].Captured = payment.Failed, payment.AttemptFailed, 0
		}, false},
		{"processing", func(p *payment.Payment) {
			p.Status, p.Attempts[0].Status, p.Attempts[0].Captured = payment.Processing, payment.AttemptPending, 0
		}, true},
		{"failed, in doubt", func(p *payment.Payment) {
			p.Status, p.Outcome, p.Attempts[0].Captured = payment.Failed, payment.Unknown, 0
		}, true},
		{"failed elsewhere, money here", func(p *payment.Payment) {
			elsewhere := p.Attempts[0]
			elsewhere.ID, elsewhere.Account, elsewhere.Captured = b.ids.New(payment.PrefixAttempt), "elsewhere", 0
			p.Attempts, p.Charge = append(p.Attempts, elsewhere), elsewhere.ID
		}, true},
		{"succeeded elsewhere, failed here", func(p *payment.Payment) {
			elsewhere := p.Attempts[0]
			elsewhere.ID, elsewhere.Account = b.ids.New(payment.PrefixAttempt), "elsewhere"
			p.Attempts, p.Charge = append(p.Attempts, elsewhere), elsewhere.ID
			p.Attempts[0].Status, p.Attempts[0].Captured = payment.AttemptFailed, 0
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := b.payment("mer_a", payment.Test)
			p.Attempts[0].Account = "here: " + test.name
			account := p.Attempts[0].Account
			read := func() bool {
				return must(t, b, func(r store.Reader) (bool, error) { return r.Active(account) })
			}
			if read() {
				t.Error("before any payment: got active, want not")
			}
			p.Status, p.Attempts[0].Status = payment.Processing, payment.AttemptPending
			b.put(t, &p)
			p.Version, p.Status, p.Attempts[0].Status = 2, payment.Succeeded, payment.AttemptSucceeded
			test.change(&p)
			b.put(t, &p)
			if got := read(); got != test.want {
				t.Errorf("got active %v, want %v", got, test.want)
			}
		})
	}
}
