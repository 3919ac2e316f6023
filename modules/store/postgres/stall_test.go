package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

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
