package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connectors/stripe"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// lateStore cannot be read before its time.
type lateStore struct {
	store.Store
	from time.Time
}

func (s lateStore) View(context.Context, func(store.Reader) error) error {
	if time.Now().Before(s.from) {
		return store.ErrUnavailable
	}
	return nil
}

func (lateStore) Close() error { return nil }

// A node that starts waits for a database that lets nobody in, also where that begins
// when the store was opened already; and not for ever.
func TestStartWaitsForTheStore(t *testing.T) {
	for away, want := range map[time.Duration]error{20 * time.Second: nil, 40 * time.Second: store.ErrUnavailable} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			told := &toldChanges{heard: make(chan func(news), 1), ended: make(chan struct{})}
			key := groundKey(t.Name())
			_, err := openGround(t.Context(), key, func(context.Context, *slog.Logger) (*opened, error) {
				return &opened{Store: lateStore{from: began.Add(away)}, changes: told}, nil
			}, slog.New(slog.DiscardHandler))
			if !errors.Is(err, want) {
				t.Errorf("with a store that is away for %v: got %v, want %v", away, err, want)
			}
			if took := time.Since(began); took < min(away, openPatience) || took > openPatience+time.Second {
				t.Errorf("with a store that is away for %v it took %v", away, took)
			}
			if err == nil {
				err = drop(grounds, key)
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// unchangedStore knows these accounts, and bears neither a write nor a look at payments.
type unchangedStore struct {
	store.Store
	knownTx
}

func (s unchangedStore) Update(_ context.Context, fn func(store.Tx) error) error {
	return fn(s.knownTx)
}

type knownTx struct {
	store.Tx
	known string
}

func (t knownTx) Setting(string) (string, error) { return t.known, nil }

// A reload with the accounts of before writes nothing, and counts no payments: on
// PostgreSQL, creates would wait for it.
func TestUnchangedAccountsAreNotWritten(t *testing.T) {
	t.Parallel()
	a := &App{accounts: map[string]*connector.Account{"acme": {Name: "acme", Connector: new(stripe.Connector), Mode: payment.Test}}}
	known, err := json.Marshal(a.described())
	if err != nil {
		t.Fatal(err)
	}
	a.ground = &ground{store: unchangedStore{knownTx: knownTx{known: string(known)}}}
	if err := a.rememberAccounts(t.Context()); err != nil {
		t.Error(err)
	}
}
