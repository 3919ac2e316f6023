package postgres

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// Event implements [store.Reader].
func (r *reader) Event(id string) (e payment.Event, err error) {
	err = r.one(source{"read event", qEvent, "events", lasting}, func(row pgx.Row) (err error) {
		e, err = scanEvent(row)
		return err
	}, id)
	return e, err
}

// scanEvent reads what more there is, and the columns of an event.
func scanEvent(row pgx.Row, more ...any) (e payment.Event, err error) {
	err = row.Scan(append(more, &e.ID, &e.Type, &e.Merchant, &e.Mode, &e.Payment, &e.Sequence,
		instant(&e.CreatedAt), &e.Object)...)
	return e, err
}

// PutEvent implements [store.Tx].
func (t *tx) PutEvent(e payment.Event) error {
	created := floor(e.CreatedAt)
	err := t.put("put event", wPutEvent, store.ErrConflict,
		e.ID, string(e.Type), e.Merchant, string(e.Mode), e.Payment, e.Sequence, created, e.Object)
	if err != nil {
		return err
	}
	return t.put("fan out event", wFanOut, nil,
		string(store.Outbound), e.ID, created, e.Merchant, string(e.Mode), string(e.Type))
}

// Enqueue implements [store.Tx].
func (t *tx) Enqueue(q store.Queue, i store.Item) error {
	return t.put("enqueue", wEnqueue, nil, string(q), i.ID, floor(i.Due), i.Tries, i.Payload)
}

// Dequeue implements [store.Tx].
func (t *tx) Dequeue(q store.Queue, id string) error {
	return t.put("dequeue", wDequeue, nil, string(q), id)
}

// Merchant implements [store.Reader].
func (r *reader) Merchant(id string) (m access.Merchant, err error) {
	err = r.one(source{"read merchant", qMerchant, "merchants", locked}, func(row pgx.Row) (err error) {
		m, err = scanMerchant(row)
		return err
	}, id)
	return m, err
}

// Merchants implements [store.Reader].
func (r *reader) Merchants() (all []access.Merchant, err error) {
	err = r.many("list merchants", "merchants", qMerchants, nil, func(row pgx.Rows) error {
		m, err := scanMerchant(row)
		all = append(all, m)
		return err
	})
	return all, err
}

// MerchantsByID implements [store.Reader].
func (r *reader) MerchantsByID(ids []string) (there []access.Merchant, err error) {
	err = r.many("read merchants", "merchants", qSomeMerchants, []any{allStorable(ids)}, func(row pgx.Rows) error {
		m, err := scanMerchant(row)
		there = append(there, m)
		return err
	})
	return there, err
}

func scanMerchant(row pgx.Row) (m access.Merchant, err error) {
	var data []byte
	if err := row.Scan(&data); err != nil {
		return m, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("stored merchant: %w", err)
	}
	return m, nil
}

// PutMerchant implements [store.Tx].
func (t *tx) PutMerchant(m access.Merchant) error {
	data, err := encode("merchant", m)
	if err != nil {
		return err
	}
	if err := t.put("put merchant", wPutMerchant, nil, m.ID, floor(m.CreatedAt), data); err != nil {
		return err
	}
	return t.notify(Change{MerchantChanged, m.ID})
}

// APIKey implements [store.Reader].
func (r *reader) APIKey(id string) (k access.Key, err error) {
	err = r.one(source{"read api key", qAccessKey, "api_keys", locked}, func(row pgx.Row) (err error) {
		k, err = scanAPIKey(row)
		return err
	}, id)
	return k, err
}

// APIKeys implements [store.Reader].
func (r *reader) APIKeys(merchant string) (all []access.Key, err error) {
	sql, args := qAllAccessKeys, []any(nil)
	if merchant != "" {
		sql, args = qAccessKeys, []any{merchant}
	}
	if !storable(merchant) {
		return nil, nil
	}
	err = r.many("list api keys", "api_keys", sql, args, func(row pgx.Rows) error {
		k, err := scanAPIKey(row)
		all = append(all, k)
		return err
	})
	return all, err
}

// APIKeysByID implements [store.Reader].
func (r *reader) APIKeysByID(ids []string) (there []access.Key, err error) {
	err = r.many("read api keys", "api_keys", qSomeAccessKeys, []any{allStorable(ids)}, func(row pgx.Rows) error {
		k, err := scanAPIKey(row)
		there = append(there, k)
		return err
	})
	return there, err
}

// scanAPIKey reads accessKeyColumns.
func scanAPIKey(row pgx.Row) (k access.Key, err error) {
	var (
		data, hash, signingKey []byte
		pepper, algorithm      string
		networks               []string
		used                   time.Time
	)
	if err := row.Scan(&data, &hash, &pepper, &networks, &algorithm, &signingKey, instant(&used)); err != nil {
		return k, err
	}
	if err := json.Unmarshal(data, &k); err != nil {
		return k, fmt.Errorf("stored api key: %w", err)
	}
	if n := copy(k.Hash[:], hash); n != len(k.Hash) {
		return access.Key{}, fmt.Errorf("stored hash has %d bytes", n)
	}
	k.PepperID, k.LastUsedAt, k.AllowIP = pepper, used, nil
	for _, text := range networks {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return access.Key{}, fmt.Errorf("stored network: %w", err)
		}
		k.AllowIP = append(k.AllowIP, network)
	}
	k.Signing = access.NewSigningKey(k.ID, access.Algorithm(algorithm), signingKey)
	return k, nil
}

// PutAPIKey implements [store.Tx].
func (t *tx) PutAPIKey(k access.Key) error {
	signing, networks := k.Signing, make([]string, len(k.AllowIP))
	for i, network := range k.AllowIP {
		networks[i] = network.String()
	}
	args := []any{k.ID, k.Merchant, floor(k.CreatedAt), k.Hash[:], nil, k.PepperID, networks, string(signing.Kind()), signing.Material()}
	k.PepperID, k.AllowIP, k.Signing, k.LastUsedAt = "", nil, nil, time.Time{} // they have columns
	data, err := encode("api key", k)
	if err != nil {
		return err
	}
	args[4] = data
	if err := t.put("put api key", wPutAPIKey, nil, args...); err != nil {
		return err
	}
	return t.notify(Change{APIKeyChanged, k.ID})
}

// UseAPIKey implements [store.Tx]. Nobody is told: what nodes know of a key is as
// true as before.
func (t *tx) UseAPIKey(id string, at time.Time) error {
	return t.put("note use of api key", wUseAPIKey, nil, id, floor(at))
}

// TokenRevocation implements [store.Reader].
func (r *reader) TokenRevocation(s access.TokenSelector) (v access.TokenRevocation, err error) {
	err = r.one(source{"read token revocation", qTokenRevocation, "token_revocations", locked}, func(row pgx.Row) (err error) {
		v, err = scanTokenRevocation(row)
		return err
	}, s.Issuer, string(s.Claim), s.Value)
	return v, err
}

// TokenRevocations implements [store.Reader].
func (r *reader) TokenRevocations() (all []access.TokenRevocation, err error) {
	err = r.many("list token revocations", "token_revocations", qTokenRevocations, nil, func(row pgx.Rows) error {
		v, err := scanTokenRevocation(row)
		all = append(all, v)
		return err
	})
	return all, err
}

func scanTokenRevocation(row pgx.Row) (v access.TokenRevocation, err error) {
	err = row.Scan(&v.Issuer, &v.Claim, &v.Value, instant(&v.RevokedAt))
	return v, err
}

// PutTokenRevocation implements [store.Tx].
func (t *tx) PutTokenRevocation(r access.TokenRevocation) error {
	err := t.put("put token revocation", wPutTokenRevocation, nil, r.Issuer, string(r.Claim), r.Value, floor(r.RevokedAt))
	if err != nil {
		return err
	}
	return t.notify(Change{TokensRevoked, r.Issuer})
}

// Setting implements [store.Reader].
func (r *reader) Setting(name string) (v string, err error) {
	err = r.one(source{"read setting", qSetting, "settings", shared},
		func(row pgx.Row) error { return row.Scan(&v) }, name)
	return v, err
}

// PutSetting implements [store.Tx].
func (t *tx) PutSetting(name, value string) error {
	*t.settles = true
	if err := t.put("put setting", wPutSetting, nil, name, value); err != nil {
		return err
	}
	return t.notify(Change{SettingChanged, name})
}

// notify tells every node of a change, if and when it is committed.
func (t *tx) notify(c Change) error {
	return t.put("notify", wNotify, nil, c.payload())
}

// Return implements [store.Tx].
func (t *tx) Return(q store.Queue, i store.Item, next *store.Item) error {
	args := []any{string(q), i.ID, floor(i.Due), i.Tries}
	if next == nil {
		return t.put("return", wReturn, nil, args...)
	}
	return t.put("return", wMove, nil, append(args, floor(next.Due), next.Tries, next.Payload)...)
}
