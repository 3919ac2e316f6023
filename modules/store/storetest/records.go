package storetest

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
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

	some := func(ids ...string) []access.Merchant {
		return must(t, b, func(r store.Reader) ([]access.Merchant, error) { return r.MerchantsByID(ids) })
	}
	equal(t, "none of the merchants", some(), []access.Merchant(nil))
	equal(t, "some of the merchants", some(old.ID, "mer_unknown", "mer_\x00\xff", old.ID), []access.Merchant{old})

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

	some := func(ids ...string) []access.Key {
		keys := must(t, b, func(r store.Reader) ([]access.Key, error) { return r.APIKeysByID(ids) })
		slices.SortFunc(keys, func(a, b access.Key) int { return strings.Compare(a.ID, b.ID) })
		return keys
	}
	equal(t, "none of the keys", some(), []access.Key(nil))
	equal(t, "keys that are not there", some("key_unknown", "key_\x00\xff", ""), []access.Key(nil))
	equal(t, "some of the keys", some(other.ID, "key_unknown", old.ID, other.ID), []access.Key{old, other})
	b.update(t, func(tx store.Tx) error {
		other.Name = "renamed"
		if err := tx.PutAPIKey(other); err != nil {
			return err
		}
		keys, err := tx.APIKeysByID([]string{other.ID})
		equal(t, "a key in the midst of its change", keys, []access.Key{other})
		return err
	})
}

// testAPIKeyGuards: all that limits a key is kept, and what was taken away is gone.
func testAPIKeyGuards(t *testing.T, b *bench) {
	plain := access.Key{ID: "key_a", Merchant: "mer_a", Mode: payment.Test, CreatedAt: start, PepperID: "0a1b2c3d"}
	secret, public := plain, plain
	secret.ID = "key_b"
	secret.AllowIP = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8::/48"), netip.MustParsePrefix("192.0.2.7/32")}
	secret.Signing = &access.SigningKey{KeyID: secret.ID, Algorithm: access.HMACSHA256, SealedSecret: []byte("sealed\x00\xff")}
	secret.RateLimits = []access.Rate{{Limit: 5, Period: time.Second}}
	public.ID = "key_c"
	public.Signing = &access.SigningKey{KeyID: public.ID, Algorithm: access.Ed25519, PublicKey: []byte("der\x00\xff")}
	b.update(t, func(tx store.Tx) error {
		return errors.Join(tx.PutAPIKey(plain), tx.PutAPIKey(secret), tx.PutAPIKey(public))
	})
	list := func() []access.Key {
		return must(t, b, func(r store.Reader) ([]access.Key, error) { return r.APIKeys("") })
	}
	equal(t, "keys", list(), []access.Key{plain, secret, public})
	equal(t, "one key", must(t, b, func(r store.Reader) (access.Key, error) { return r.APIKey(secret.ID) }), secret)

	secret.PepperID, secret.Hash, secret.AllowIP = "11111111", [32]byte{5}, secret.AllowIP[:1]
	public.Signing, public.PepperID = nil, ""
	b.update(t, func(tx store.Tx) error { return errors.Join(tx.PutAPIKey(secret), tx.PutAPIKey(public)) })
	equal(t, "changed keys", list(), []access.Key{plain, secret, public})
}

// testAPIKeyUse: the last use only moves forward, and lives apart from all else.
func testAPIKeyUse(t *testing.T, b *bench) {
	k := access.Key{ID: "key_a", Merchant: "mer_a", Mode: payment.Test, CreatedAt: start, LastUsedAt: start.Add(time.Hour)}
	b.update(t, func(tx store.Tx) error { return tx.PutAPIKey(k) })
	use := func(id string, at time.Time) {
		t.Helper()
		b.update(t, func(tx store.Tx) error { return tx.UseAPIKey(id, at) })
	}
	want := func(what string, at time.Time) {
		t.Helper()
		got := must(t, b, func(r store.Reader) (access.Key, error) { return r.APIKey(k.ID) })
		k.LastUsedAt = at
		equal(t, what, got, k)
	}
	want("a new key", time.Time{})
	use("key_unknown", start)
	use(k.ID, start.Add(time.Minute+time.Microsecond))
	want("used", start.Add(time.Minute))
	use(k.ID, start)
	want("used at an earlier time", start.Add(time.Minute))
	use(k.ID, start.Add(time.Hour))
	want("used later", start.Add(time.Hour))
	k.RevokedAt, k.LastUsedAt = start.Add(time.Hour), start
	b.update(t, func(tx store.Tx) error { return tx.PutAPIKey(k) })
	want("written by one who knows of an earlier use", start.Add(time.Hour))
}

// testTokenRevocations: one selector has one time, the latest, and loses it in the end.
func testTokenRevocations(t *testing.T, b *bench) {
	sweeper, ok := b.Store.(sweeper)
	if !ok {
		t.Fatalf("%T cannot be swept: what was revoked would pile up", b.Store)
	}
	revoked := func(issuer string, claim access.TokenClaim, value string, after time.Duration) access.TokenRevocation {
		return access.TokenRevocation{
			TokenSelector: access.TokenSelector{Issuer: issuer, Claim: claim, Value: value}, RevokedAt: start.Add(after),
		}
	}
	put := func(all ...access.TokenRevocation) {
		t.Helper()
		b.update(t, func(tx store.Tx) error {
			for _, r := range all {
				if err := tx.PutTokenRevocation(r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	all := func() []access.TokenRevocation { return must(t, b, store.Reader.TokenRevocations) }
	equal(t, "none", all(), []access.TokenRevocation(nil))

	one, who := revoked("https://a", access.ByTokenID, "x", 0), revoked("https://a", access.BySubject, "x", time.Hour)
	everything := revoked("https://a", access.ByIssuer, "", time.Minute)
	other := revoked("https://b", access.ByTokenID, "x", time.Second)
	put(who, everything, other, one)
	equal(t, "all", all(), []access.TokenRevocation{one, other, everything, who})
	read := func(s access.TokenSelector) func(store.Reader) (access.TokenRevocation, error) {
		return func(r store.Reader) (access.TokenRevocation, error) { return r.TokenRevocation(s) }
	}
	for _, r := range all() {
		equal(t, "one", must(t, b, read(r.TokenSelector)), r)
	}
	for _, s := range []access.TokenSelector{
		{Issuer: "https://a", Claim: access.ByClientID, Value: "x"},
		{Issuer: "https://b", Claim: access.BySubject, Value: "x"},
		{Issuer: "https://a", Claim: access.BySubject, Value: "X"},
		{Issuer: "https://a", Claim: access.ByTokenID, Value: "x\x00"},
		{},
	} {
		_, err := get(t, b, read(s))
		wantError(t, "unknown", err, store.ErrNotFound)
	}

	put(revoked("https://a", access.BySubject, "x", time.Minute))
	equal(t, "an earlier one", must(t, b, read(who.TokenSelector)), who)
	who.RevokedAt = start.Add(2 * time.Hour)
	put(who)
	equal(t, "a later one", must(t, b, read(who.TokenSelector)), who)

	for _, step := range []struct {
		after time.Duration
		limit int
		want  []access.TokenRevocation
	}{
		{-time.Millisecond, 9, []access.TokenRevocation{one, other, everything, who}},
		{0, 9, []access.TokenRevocation{other, everything, who}},
		{time.Hour, 1, []access.TokenRevocation{everything, who}},
		{time.Hour, 9, []access.TokenRevocation{who}},
	} {
		if _, err := sweeper.Sweep(t.Context(), start.Add(access.TokenRevocationAge+step.after), step.limit); err != nil {
			t.Fatal(err)
		}
		equal(t, "left after "+step.after.String(), all(), step.want)
	}
}

// testRehash: of what a directory knows of a key only the hash is stored.
func testRehash(t *testing.T, b *bench) {
	held := access.Key{
		ID: "key_a", Merchant: "mer_a", Mode: payment.Live, CreatedAt: start, RevokedAt: start.Add(time.Hour), PepperID: "00000001",
		AllowIP: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	}
	b.update(t, func(tx store.Tx) error { return tx.PutAPIKey(held) })
	told := held
	told.RevokedAt, told.AllowIP, told.Hash, told.PepperID = time.Time{}, nil, [32]byte{9}, "00000002"
	again := told
	again.Hash = [32]byte{8}
	for _, k := range []access.Key{told, again, {ID: "key_gone", PepperID: "00000002"}} {
		wantError(t, "rehash", store.Rehash(t.Context(), b, k), nil)
	}
	held.Hash, held.PepperID = told.Hash, told.PepperID
	equal(t, "keys", must(t, b, func(r store.Reader) ([]access.Key, error) { return r.APIKeys("") }), []access.Key{held})
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
