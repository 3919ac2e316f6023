package postgres

import (
	"encoding/json"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// TestSpendNonceCut cuts the connection at the statement that spends a nonce. It is
// sent again, and knows its own row from another's: nobody is told that somebody
// else was faster because an answer was lost, and nobody else can spend it.
func TestSpendNonceCut(t *testing.T) {
	for _, test := range []struct {
		name   string
		at     cut
		refuse bool
		want   error
		spent  bool
	}{
		{"not cut", none, false, nil, true},
		{"before the server had it", before, false, nil, true},
		{"after the server did it", after, false, nil, true},
		{"before, and then nobody answers", before, true, store.ErrUnavailable, false},
		{"after, and then nobody answers", after, true, store.ErrUnavailable, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newProxy(t, schema(t))
			p.statement, p.tag = "INSERT INTO nonces", "INSERT 0 1\x00"
			s, direct := open(t, Config{DSN: p.dsn, Conns: 1}), open(t, Config{DSN: p.direct, patience: calm})
			now := time.Now()
			n := store.Nonce{Space: "s", Value: "before", Expires: now.Add(time.Hour)}
			if err := s.SpendNonce(t.Context(), n, now); err != nil {
				t.Fatal(err)
			}
			p.arm(test.at, test.refuse)
			n.Value = "cut"
			if err := s.SpendNonce(t.Context(), n, now); !errors.Is(err, test.want) {
				t.Errorf("got error %v, want %v", err, test.want)
			}
			if got, want := p.fired(), map[bool]int{true: 1, false: 0}[test.at != none]; got != want {
				t.Errorf("got %d cuts, want %d", got, want)
			}
			if err := direct.SpendNonce(t.Context(), n, now); errors.Is(err, store.ErrConflict) != test.spent {
				t.Errorf("for another: got error %v, want it spent %v", err, test.spent)
			}
		})
	}
}

// TestKeyOfOlderRelease: nodes of the release before write keys as they know them.
// What they do not know of is neither asked of them nor taken away by them.
func TestKeyOfOlderRelease(t *testing.T) {
	dsn := schema(t)
	s := open(t, Config{DSN: dsn, patience: calm})
	c, err := pgx.Connect(t.Context(), string(dsn))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	older := func(k access.Key) {
		t.Helper()
		k.AllowIP, k.Signing, k.PepperID, k.LastUsedAt = nil, nil, "", time.Time{}
		data, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Exec(t.Context(), `INSERT INTO api_keys (id, merchant, created, hash, data) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (id) DO UPDATE SET merchant = excluded.merchant, created = excluded.created,
				hash = excluded.hash, data = excluded.data`, k.ID, k.Merchant, k.CreatedAt, k.Hash[:], data)
		if err != nil {
			t.Fatal(err)
		}
	}
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	made := access.Key{ID: "key_a", Merchant: "mer_a", Mode: payment.Live, CreatedAt: start, Hash: [32]byte{1}}
	older(made)
	guarded := made
	guarded.ID, guarded.PepperID, guarded.LastUsedAt = "key_b", "0a1b2c3d", start
	guarded.AllowIP = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	guarded.Signing = &access.SigningKey{KeyID: guarded.ID, Algorithm: access.HMACSHA256, SealedSecret: []byte("sealed")}
	s.set(t, func(tx store.Tx) error { return errors.Join(tx.PutAPIKey(guarded), tx.UseAPIKey(guarded.ID, start)) })
	guarded.RevokedAt, guarded.RotatedTo = start.Add(time.Hour), "key_c"
	older(guarded)

	var got []access.Key
	err = s.View(t.Context(), func(r store.Reader) (err error) { got, err = r.APIKeys(""); return err })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]access.Key{made, guarded}, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("got the + lines, want the - lines:\n%s", diff)
	}
}
