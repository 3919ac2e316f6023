package sqlite

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// Event implements [store.Reader].
func (r *reader) Event(id string) (payment.Event, error) {
	b := r.c.bind(qEvent)
	b.text(id)
	if err := one("read event", &b); err != nil {
		return payment.Event{}, err
	}
	defer b.reset()
	return scanEvent(b.s, 0)
}

// scanEvent reads the columns of qEvent, the first of which stands at n.
func scanEvent(s *sqlite3.Stmt, n int) (payment.Event, error) {
	return payment.Event{
		ID: s.ColumnText(n), Type: payment.EventType(s.ColumnText(n + 1)),
		Merchant: s.ColumnText(n + 2), Mode: payment.Mode(s.ColumnText(n + 3)),
		Payment: s.ColumnText(n + 4), Sequence: s.ColumnInt64(n + 5),
		CreatedAt: column(s, n+6), Object: s.ColumnBlob(n+7, nil),
	}, nil
}

// PutEvent implements [store.Tx].
func (t *tx) PutEvent(e payment.Event) error {
	b := t.c.bind(qPutEvent)
	b.text(e.ID)
	b.text(string(e.Type))
	b.text(e.Merchant)
	b.text(string(e.Mode))
	b.text(e.Payment)
	b.int(e.Sequence)
	b.time(e.CreatedAt)
	b.blob(e.Object)
	if err := t.once("put event", &b, store.ErrConflict); err != nil {
		return err
	}
	b = t.c.bind(qFanOut)
	b.text(string(store.Outbound))
	b.text(e.ID)
	b.time(e.CreatedAt)
	b.text(e.Merchant)
	b.text(string(e.Mode))
	b.text(string(e.Type))
	_, err := t.wrote("fan out event", &b)
	return err
}

// Merchant implements [store.Reader].
func (r *reader) Merchant(id string) (m access.Merchant, err error) {
	b := r.c.bind(qMerchant)
	b.text(id)
	if err := one("read merchant", &b); err != nil {
		return m, err
	}
	defer b.reset()
	return scanMerchant(b.s)
}

// Merchants implements [store.Reader].
func (r *reader) Merchants() ([]access.Merchant, error) {
	b := r.c.bind(qMerchants)
	return all("list merchants", &b, scanMerchant)
}

// MerchantsByID implements [store.Reader].
func (r *reader) MerchantsByID(ids []string) ([]access.Merchant, error) { return some(ids, r.Merchant) }

func scanMerchant(s *sqlite3.Stmt) (m access.Merchant, err error) {
	if err := json.Unmarshal(s.ColumnRawText(0), &m); err != nil {
		return m, fmt.Errorf("sqlite: stored merchant: %w", err)
	}
	return m, nil
}

// PutMerchant implements [store.Tx].
func (t *tx) PutMerchant(m access.Merchant) error {
	data, err := t.c.encode(m)
	if err != nil {
		return fmt.Errorf("sqlite: encode merchant: %w", err)
	}
	b := t.c.bind(qPutMerchant)
	b.text(m.ID)
	b.time(m.CreatedAt)
	b.json(data)
	_, err = t.wrote("put merchant", &b)
	return err
}

// APIKey implements [store.Reader].
func (r *reader) APIKey(id string) (k access.Key, err error) {
	b := r.c.bind(qAPIKey)
	b.text(id)
	if err := one("read api key", &b); err != nil {
		return k, err
	}
	defer b.reset()
	return scanAPIKey(b.s)
}

// APIKeys implements [store.Reader].
func (r *reader) APIKeys(merchant string) ([]access.Key, error) {
	if merchant == "" {
		b := r.c.bind(qAllAPIKeys)
		return all("list api keys", &b, scanAPIKey)
	}
	b := r.c.bind(qAPIKeys)
	b.text(merchant)
	return all("list api keys", &b, scanAPIKey)
}

// APIKeysByID implements [store.Reader].
func (r *reader) APIKeysByID(ids []string) ([]access.Key, error) { return some(ids, r.APIKey) }

// scanAPIKey reads apiKeyColumns.
func scanAPIKey(s *sqlite3.Stmt) (k access.Key, err error) {
	if err := json.Unmarshal(s.ColumnRawText(0), &k); err != nil {
		return k, fmt.Errorf("sqlite: stored api key: %w", err)
	}
	if n := copy(k.Hash[:], s.ColumnRawBlob(1)); n != len(k.Hash) {
		return access.Key{}, fmt.Errorf("sqlite: stored hash has %d bytes", n)
	}
	k.PepperID, k.AllowIP, k.LastUsedAt = s.ColumnText(2), nil, time.Time{}
	for text := range strings.FieldsSeq(s.ColumnText(3)) {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return access.Key{}, fmt.Errorf("sqlite: stored network: %w", err)
		}
		k.AllowIP = append(k.AllowIP, network)
	}
	k.Signing = access.NewSigningKey(k.ID, access.Algorithm(s.ColumnText(4)), s.ColumnBlob(5, nil))
	if s.ColumnType(6) != sqlite3.NULL {
		k.LastUsedAt = column(s, 6)
	}
	return k, nil
}

// PutAPIKey implements [store.Tx].
func (t *tx) PutAPIKey(k access.Key) error {
	networks := make([]string, len(k.AllowIP))
	for i, network := range k.AllowIP {
		networks[i] = network.String()
	}
	b := t.c.bind(qPutAPIKey)
	b.text(k.ID)
	b.text(k.Merchant)
	b.time(k.CreatedAt)
	b.blob(k.Hash[:])
	b.text(k.PepperID)
	b.text(strings.Join(networks, " "))
	b.text(string(k.Signing.Kind()))
	b.blob(k.Signing.Material())
	k.PepperID, k.AllowIP, k.Signing, k.LastUsedAt = "", nil, nil, time.Time{} // they have columns
	data, err := t.c.encode(k)
	if err != nil {
		return fmt.Errorf("sqlite: encode api key: %w", err)
	}
	b.json(data)
	_, err = t.wrote("put api key", &b)
	return err
}

// UseAPIKey implements [store.Tx].
func (t *tx) UseAPIKey(id string, at time.Time) error {
	b := t.c.bind(qUseAPIKey)
	b.text(id)
	b.time(at)
	_, err := t.wrote("note use of api key", &b)
	return err
}

// TokenRevocation implements [store.Reader].
func (r *reader) TokenRevocation(s access.TokenSelector) (access.TokenRevocation, error) {
	b := r.c.bind(qTokenRevocation)
	b.text(s.Issuer)
	b.text(string(s.Claim))
	b.text(s.Value)
	if err := one("read token revocation", &b); err != nil {
		return access.TokenRevocation{}, err
	}
	defer b.reset()
	return scanTokenRevocation(b.s)
}

// TokenRevocations implements [store.Reader].
func (r *reader) TokenRevocations() ([]access.TokenRevocation, error) {
	b := r.c.bind(qTokenRevocations)
	return all("list token revocations", &b, scanTokenRevocation)
}

func scanTokenRevocation(s *sqlite3.Stmt) (access.TokenRevocation, error) {
	of := access.TokenSelector{Issuer: s.ColumnText(0), Claim: access.TokenClaim(s.ColumnText(1)), Value: s.ColumnText(2)}
	return access.TokenRevocation{TokenSelector: of, RevokedAt: column(s, 3)}, nil
}

// PutTokenRevocation implements [store.Tx].
func (t *tx) PutTokenRevocation(r access.TokenRevocation) error {
	b := t.c.bind(qPutTokenRevocation)
	b.text(r.Issuer)
	b.text(string(r.Claim))
	b.text(r.Value)
	b.time(r.RevokedAt)
	_, err := t.wrote("put token revocation", &b)
	return err
}

// Setting implements [store.Reader].
func (r *reader) Setting(name string) (string, error) {
	b := r.c.bind(qSetting)
	b.text(name)
	if err := one("read setting", &b); err != nil {
		return "", err
	}
	defer b.reset()
	return b.s.ColumnText(0), nil
}

// PutSetting implements [store.Tx].
func (t *tx) PutSetting(name, value string) error {
	b := t.c.bind(qPutSetting)
	b.text(name)
	b.text(value)
	_, err := t.wrote("put setting", &b)
	return err
}

// some reads the records of these IDs that are there. A look-up takes microseconds: no
// other process is asked.
func some[T any](ids []string, read func(id string) (T, error)) (there []T, err error) {
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		one, err := read(id)
		switch {
		case err == nil:
			there = append(there, one)
		case !errors.Is(err, store.ErrNotFound):
			return nil, err
		}
	}
	return there, nil
}

// all reads every row of a query.
func all[T any](op string, b *binder, scan func(*sqlite3.Stmt) (T, error)) ([]T, error) {
	var rows []T
	for {
		ok, err := b.row()
		if err != nil || !ok {
			return rows, fault(op, err)
		}
		one, err := scan(b.s)
		if err != nil {
			return nil, errors.Join(err, b.s.Reset())
		}
		rows = append(rows, one)
	}
}
