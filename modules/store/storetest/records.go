package storetest

import (
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

func testMerchants(t *testing.T, b *bench) {
	equal(t, "no merchants", must(t, b, store.Reader.Merchants), []access.Merchant(nil))
	old := access.Merchant{ID: "mer_z", Name: "Old", CreatedAt: start}
	young := access.Merchant{ID: "mer_a", Name: "Young", CreatedAt: start.Add(time.Hour)}
	b.update(t, func(tx store.Tx) error { return tx.PutMerchant(young) })
	b.update(t, func(tx store.Tx) error { return tx.PutMerchant(old) })
	equal(t, "merchants", must(t, b, store.Reader.Merchants), []access.Merchant{old, young})

	old.Name = "Renamed"
	b.update(t, func(tx store.Tx) error { return tx.PutMerchant(old) })
	read := func(id string) func(store.Reader) (access.Merchant, error) {
		return func(r store.Reader) (access.Merchant, error) { return r.Merchant(id) }
	}
	equal(t, "merchant", must(t, b, read(old.ID)), old)
	_, err := get(t, b, read("mer_unknown"))
	wantError(t, "unknown merchant", err, store.ErrNotFound)
}

func testAPIKeys(t *testing.T, b *bench) {
	key := func(id, merchant string, age time.Duration) access.Key {
		return access.Key{
			ID: id, Merchant: merchant, Mode: payment.Live, Name: "till", Scopes: access.DefaultScopes(),
			Hash: [32]byte{7, 31: 8}, CreatedAt: start.Add(-age),
		}
	}
	old, young, other := key("key_b", "mer_a", 2*time.Hour), key("key_a", "mer_a", 0), key("key_c", "mer_b", time.Hour)
	for _, k := range []access.Key{young, other, old} {
		b.update(t, func(tx store.Tx) error { return tx.PutAPIKey(k) })
	}
	list := func(merchant string) []access.Key {
		return must(t, b, func(r store.Reader) ([]access.Key, error) { return r.APIKeys(merchant) })
	}
	equal(t, "keys of a", list("mer_a"), []access.Key{old, young})
	equal(t, "keys of all", list(""), []access.Key{old, other, young})
	equal(t, "keys of an unknown merchant", list("mer_c"), []access.Key(nil))

	old.RevokedAt, old.RotatedTo, old.Hash = start.Add(time.Minute), young.ID, [32]byte{9}
	b.update(t, func(tx store.Tx) error { return tx.PutAPIKey(old) })
	read := func(id string) func(store.Reader) (access.Key, error) {
		return func(r store.Reader) (access.Key, error) { return r.APIKey(id) }
	}
	equal(t, "key", must(t, b, read(old.ID)), old)
	_, err := get(t, b, read("key_unknown"))
	wantError(t, "unknown key", err, store.ErrNotFound)
}

func testSettings(t *testing.T, b *bench) {
	read := func(r store.Reader) (string, error) { return r.Setting("frozen") }
	_, err := get(t, b, read)
	wantError(t, "unset", err, store.ErrNotFound)
	for _, v := range []string{"true", "", "{\"by\":\"op\"}"} {
		b.update(t, func(tx store.Tx) error { return tx.PutSetting("frozen", v) })
		equal(t, "setting", must(t, b, read), v)
	}
}
