package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// A node that stands still in the midst of an update holds up nobody who only reads
// the settings that it has read: neither those whose update is refused, nor, behind
// them, everybody else.
func TestNobodyWaitsForReaders(t *testing.T) {
	dsn := schema(t)
	still, node := open(t, Config{DSN: dsn}), open(t, Config{DSN: dsn})
	if err := node.Update(t.Context(), func(tx store.Tx) error { return tx.PutSetting("x", "") }); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	claim := func(tx store.Tx, name string) error {
		_, _, err := tx.ClaimKey(store.IdempotencyKey{
			KeyScope: store.KeyScope{Merchant: "mer_a", Mode: payment.Test, Key: name}, Lease: now.Add(time.Minute), Success: 201, Expires: now.Add(time.Hour),
		}, now)
		if err != nil {
			return err
		}
		_, err = tx.Setting("frozen")
		return ignore(err, store.ErrNotFound)
	}
	stands, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- still.Update(context.WithoutCancel(t.Context()), func(tx store.Tx) error {
			err := claim(tx, "still")
			select {
			case <-stands: // it may be the second time
			default:
				close(stands)
			}
			<-goOn
			return err
		})
	}()
	<-stands
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	refusal := errors.New("refused")
	refused := make(chan error, 1)
	go func() {
		refused <- node.Update(ctx, func(tx store.Tx) error {
			if err := claim(tx, "refused"); err != nil {
				return err
			}
			return refusal
		})
	}()
	if err := <-refused; !errors.Is(err, refusal) {
		t.Errorf("an update that is refused: got %v, want %v", err, refusal)
	}
	if err := node.Update(ctx, func(tx store.Tx) error { return claim(tx, "good") }); err != nil {
		t.Errorf("an update that is not: %v", err)
	}
	close(goOn)
	if err := <-ended; err != nil {
		t.Errorf("the one that stood still: %v", err)
	}
}

// waitForLock returns once somebody who uses the tables of a schema waits for a lock.
func waitForLock(t *testing.T, dsn DSN) {
	t.Helper()
	watcher, err := pgx.Connect(t.Context(), string(dsn))
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Close(context.WithoutCancel(t.Context()))
	for waiting := 0; waiting == 0; {
		err := watcher.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks AS w WHERE NOT w.granted AND EXISTS (
			SELECT FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
			WHERE l.pid = w.pid AND c.relnamespace = current_schema()::regnamespace)`).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Who writes a setting after a look at all payments, as an operator's command may,
// and who creates a payment under a setting do not wait for each other in a ring: the
// server would let both wait for a second, and then end one of them.
func TestSettingsComeFirst(t *testing.T) {
	dsn := schema(t)
	node, operator := open(t, Config{DSN: dsn, patience: calm}), open(t, Config{DSN: dsn, patience: calm})
	p := a("pay_x", 1)
	stands, goOn := make(chan struct{}), make(chan struct{})
	creates, changes := 0, 0
	ended := make(chan error, 2)
	go func() {
		ended <- node.Update(context.WithoutCancel(t.Context()), func(tx store.Tx) error {
			if creates++; creates > 1 {
				return errors.New("it was run again")
			}
			_, err := tx.Setting("frozen")
			close(stands)
			<-goOn
			return errors.Join(ignore(err, store.ErrNotFound), tx.PutPayment(p))
		})
	}()
	<-stands
	go func() {
		ended <- operator.Update(context.WithoutCancel(t.Context()), func(tx store.Tx) error {
			changes++
			_, err := tx.Active("stripe")
			return errors.Join(err, tx.PutSetting("frozen", "yes"))
		})
	}()
	waitForLock(t, dsn)
	close(goOn)
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if creates != 1 || changes != 2 {
		t.Errorf("the create was run %d times and the change %d times, want 1 and 2: boldly, and carefully", creates, changes)
	}
}

// Who takes an item off a queue after a look at its payment, and who writes the payment
// and the item, do not wait for each other in a ring.
func TestPaymentsComeBeforeQueues(t *testing.T) {
	dsn := schema(t)
	looker, writer := open(t, Config{DSN: dsn, patience: calm}), open(t, Config{DSN: dsn, patience: calm})
	p := a("pay_x", 1)
	item := store.Item{ID: p.ID, Due: time.Now()}
	if err := looker.Update(t.Context(), func(tx store.Tx) error {
		return errors.Join(tx.PutPayment(p), tx.Enqueue(store.Recover, item))
	}); err != nil {
		t.Fatal(err)
	}
	stands, goOn := make(chan struct{}), make(chan struct{})
	runs := 0
	ended := make(chan error, 2)
	go func() {
		ended <- writer.Update(context.WithoutCancel(t.Context()), func(tx store.Tx) error {
			if runs++; runs > 1 {
				return errors.New("the writer was run again")
			}
			next := *p
			next.Version = 2
			err := tx.PutPayment(&next)
			_, readErr := tx.Payment(p.ID) // the write leaves, and locks the payment
			close(stands)
			<-goOn
			return errors.Join(err, readErr, tx.Dequeue(store.Recover, item.ID))
		})
	}()
	<-stands
	go func() {
		ended <- looker.Update(context.WithoutCancel(t.Context()), func(tx store.Tx) error {
			_, err := tx.Payment(p.ID)
			return errors.Join(err, tx.Dequeue(store.Recover, item.ID))
		})
	}()
	waitForLock(t, dsn)
	close(goOn)
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
