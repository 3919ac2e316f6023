package access

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/purser-pay/purser/modules/payment"
)

var (
	// ErrUnauthenticated refuses a credential. The text of what wraps it says
	// why, for logs; callers hear one and the same answer.
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrWrongKey is an [ErrUnauthenticated] of an ID that nobody has, or of a secret
	// that is not its own: what a guess comes to, and no key that was ever good.
	ErrWrongKey = fmt.Errorf("%w: unknown key or wrong secret", ErrUnauthenticated)
	// ErrNetwork is an [ErrUnauthenticated] of a key that is good, but not from the
	// caller's address. The caller is not told so: it may be a thief.
	ErrNetwork = fmt.Errorf("%w: not from this network", ErrUnauthenticated)
	// ErrNotLoaded tells that the directory has never been read, or may be out of
	// date and the store cannot be asked, so that nobody can be let in.
	ErrNotLoaded = errors.New("what is known of credentials is not loaded")
)

// Directory answers who a key belongs to without a look-up in the store: it
// holds a snapshot of all merchants and keys. [Directory.Refresh] replaces it as a
// whole; [Directory.CatchUp] makes the next one out of it and of what has changed, at
// a cost that does not grow with what has not. Where others write to the store as well, a key that they have
// only just made is looked up, and every key while this node has lost touch with them;
// see [Directory.Distrust]. Safe for concurrent use; Authenticate takes no lock.
type Directory struct {
	peppers  []*hasher // the current one first
	load     func(context.Context) ([]Merchant, []Key, error)
	now      func() time.Time
	dummy    [sha256.Size]byte // what an unknown key's hash is compared with
	refresh  sync.Mutex        // an older reading must not overwrite a newer one
	snapshot atomic.Pointer[snapshot]
	some     Some
	owed     ledger

	current func() bool // the snapshot may be believed; nil = always
	lookup  Lookup

	revoked  func(lag time.Duration)
	rehash   func(context.Context, Key)
	rehashed Usage // of which keys rehash was told
}

// Former names peppers under which keys may have been made beside the current
// one, at most [MaxFormer]: they are still good. Before a pepper becomes current
// it is named here at every node. Rehash, if it is not nil, is told of a key that
// has just proved good and whose hash is not of the current pepper, or does not say
// so: as it is to be stored from now on, but for what others may have changed
// meanwhile. It is told of one key at most once in [UsageEvery], in the midst of a
// call, and must not block. Former is called before the directory is used, if at
// all.
func (d *Directory) Former(peppers [][]byte, rehash func(ctx context.Context, k Key)) error {
	if len(peppers) > MaxFormer {
		return fmt.Errorf("at most %d former peppers", MaxFormer)
	}
	all := d.peppers[:1:1]
	for _, pepper := range peppers {
		h := newHasher(pepper)
		if slices.ContainsFunc(all, func(other *hasher) bool { return other.id == h.id }) {
			return errors.New("a pepper is named twice")
		}
		all = append(all, h)
	}
	d.peppers, d.rehash = all, rehash
	return nil
}

// Lookup reads one key and the merchant that it belongs to from the store. An
// unknown key, or one without a merchant, yields zero values and no error.
type Lookup func(ctx context.Context, key string) (Merchant, Key, error)

// Distrust makes the directory look up each key in the store while current
// answers false, as it should where a key may have been revoked elsewhere without
// our hearing of it. While it answers true, a key is looked up only where it is
// unknown and its ID is of the last seconds: whoever was handed it may be quicker than
// the news. It is called before the directory is used, if at all.
func (d *Directory) Distrust(current func() bool, lookup Lookup) {
	d.current, d.lookup = current, lookup
}

// find returns the key of an ID, and whether there is one and its merchant.
func (d *Directory) find(ctx context.Context, id string) (k Key, known, employed bool, err error) {
	s := d.snapshot.Load()
	if s == nil {
		return k, false, false, ErrNotLoaded
	}
	if d.current == nil || d.current() {
		found := s.keys.get(id)
		if known = found != nil; !known {
			found = &Key{} // it takes the same path
		}
		if known || d.lookup == nil || !young(id, d.now()) {
			return *found, known, s.merchants.get(found.Merchant) != nil, nil
		}
	}
	m, k, err := d.lookup(ctx, id)
	if err != nil {
		return k, false, false, fmt.Errorf("%w: %w", ErrNotLoaded, err)
	}
	return k, k.ID == id, m.ID != "" && m.ID == k.Merchant, nil
}

// youth is how long after its making a key may be unknown to a node that believes
// itself up to date: the news of it takes milliseconds, and clocks differ.
const youth = 10 * time.Second

// young tells whether the ID of a key says that it was made just now. Who makes such
// IDs up costs a look-up each, before [Throttle] holds him back.
func young(id string, now time.Time) bool {
	return now.Sub(payment.IDTime(id)).Abs() < youth
}

type snapshot struct {
	merchants *table[Merchant]
	keys      *table[Key]
}

// NewDirectory returns an empty directory. Pepper keys the hashes; load reads
// everything there is.
func NewDirectory(pepper []byte, load func(context.Context) ([]Merchant, []Key, error), now func() time.Time) *Directory {
	d := &Directory{peppers: []*hasher{newHasher(pepper)}, load: load, now: now}
	mac := hmac.New(sha256.New, pepper)
	mac.Write([]byte("no key has this hash"))
	mac.Sum(d.dummy[:0])
	d.owed.add(debt{everything: true})
	return d
}

// WatchRevocations has told called for each key that was revoked since the last
// reading, with how long ago that was: so long this node may have taken it. It is
// called before the directory is used, if at all.
func (d *Directory) WatchRevocations(told func(lag time.Duration)) { d.revoked = told }

// Authenticate is [Directory.AuthenticateFrom] for a caller whose address is not
// known, and from whom a key with a list of networks is therefore not taken.
func (d *Directory) Authenticate(ctx context.Context, text string) (Principal, error) {
	return d.AuthenticateFrom(ctx, text, netip.Addr{})
}

// AuthenticateFrom tells whose key a text is that came from an address. It fails
// with [ErrUnauthenticated] (wrapped) on all that is not a valid key now, [ErrWrongKey]
// and [ErrNetwork] among them, and with [ErrNotLoaded] before the first Refresh. An unknown ID and
// a wrong secret take the same path, so that the time taken does not tell which IDs
// exist. No error holds any part of the secret.
func (d *Directory) AuthenticateFrom(ctx context.Context, text string, from netip.Addr) (Principal, error) {
	if d.snapshot.Load() == nil {
		return Principal{}, ErrNotLoaded
	}
	parsed, err := ParseKey(text)
	if err != nil {
		return Principal{}, fmt.Errorf("%w: %w", ErrUnauthenticated, err)
	}
	return d.prove(ctx, parsed, from)
}

// prove looks a key up and checks all that makes it good.
func (d *Directory) prove(ctx context.Context, parsed ParsedKey, from netip.Addr) (Principal, error) {
	key, known, employed, err := d.find(ctx, parsed.ID)
	if err != nil {
		return Principal{}, err
	}
	want := key.Hash
	if !known {
		want = d.dummy
	}
	current, same := d.match(parsed, want, key.PepperID)
	now := d.now()
	switch {
	case !same || !known || key.Mode != parsed.Mode:
		return Principal{}, ErrWrongKey
	case !key.ExpiresAt.IsZero() && !now.Before(key.ExpiresAt):
		return Principal{}, fmt.Errorf("%w: %s has expired", ErrUnauthenticated, key.ID)
	case !key.RevokedAt.IsZero() && !now.Before(key.RevokedAt):
		return Principal{}, fmt.Errorf("%w: %s is revoked", ErrUnauthenticated, key.ID)
	case !employed:
		return Principal{}, fmt.Errorf("%w: %s belongs to no merchant", ErrUnauthenticated, key.ID)
	case !allowed(key.AllowIP, from):
		return Principal{}, fmt.Errorf("%w: %s from %s", ErrNetwork, key.ID, from)
	}
	if d.rehash != nil && (!current || key.PepperID == "") && d.rehashed.Due(key.ID, now) {
		k := key
		k.Hash, k.PepperID = d.peppers[0].hash(parsed), d.peppers[0].id
		d.rehash(ctx, k)
	}
	return Principal{
		Merchant: key.Merchant, Mode: key.Mode, By: ByKey, Key: key.ID, KeyCreatedAt: key.CreatedAt,
		Scopes: key.Scopes, RateLimits: key.RateLimits, Signing: key.Signing,
	}, nil
}

// match tells whether a key has a hash, and whether that is of the current pepper.
// A hash under each pepper is made in any case, so that the time taken does not
// tell which one it is.
func (d *Directory) match(parsed ParsedKey, want [sha256.Size]byte, pepperID string) (current, same bool) {
	for i, pepper := range d.peppers {
		got := pepper.hash(parsed)
		if hmac.Equal(got[:], want[:]) && (pepperID == "" || pepperID == pepper.id) {
			current, same = i == 0, true
		}
	}
	return current, same
}

// Merchant returns a merchant of the snapshot.
func (d *Directory) Merchant(id string) (Merchant, bool) {
	s := d.snapshot.Load()
	if s == nil {
		return Merchant{}, false
	}
	m := s.merchants.get(id)
	if m == nil {
		return Merchant{}, false
	}
	return *m, true
}
