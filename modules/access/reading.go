package access

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Some reads those of the merchants and keys with these IDs that are there, all as of
// one moment, which is not before the call.
type Some func(ctx context.Context, merchants, keys []string) ([]Merchant, []Key, error)

// maxOwed bounds the merchants and keys that are read one by one. Of more than those
// it is as quick to read everything.
const maxOwed = 10_000

// debt is what has changed and is to be read.
type debt struct {
	everything      bool
	merchants, keys map[string]struct{}
}

func (o *debt) none() bool { return !o.everything && len(o.merchants)+len(o.keys) == 0 }

// add puts what is owed beside it, into o.
func (o *debt) add(more debt) {
	if o.everything = o.everything || more.everything; !o.everything {
		o.merchants, o.keys = union(o.merchants, more.merchants), union(o.keys, more.keys)
		o.everything = len(o.merchants)+len(o.keys) > maxOwed
	}
	if o.everything {
		o.merchants, o.keys = nil, nil
	}
}

func union(into, more map[string]struct{}) map[string]struct{} {
	if len(into) == 0 {
		return more
	}
	maps.Copy(into, more)
	return into
}

// ledger keeps a debt that many add to.
type ledger struct {
	mu   sync.Mutex
	owed debt
}

func (l *ledger) add(more debt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owed.add(more)
}

func (l *ledger) take() debt {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.owed
	l.owed = debt{}
	return all
}

// ReadSome lets [Directory.CatchUp] read what has changed alone. It is called before
// the directory is used, if at all; without it everything is read.
func (d *Directory) ReadSome(some Some) { d.some = some }

// KeyChanged notes, without reading it, that a key was written, "" for any number of
// keys and merchants. It is called after the commit: [Directory.CatchUp] reads what was
// noted before.
func (d *Directory) KeyChanged(id string) {
	d.owed.add(debt{everything: id == "", keys: map[string]struct{}{id: {}}})
}

// MerchantChanged is [Directory.KeyChanged] for a merchant.
func (d *Directory) MerchantChanged(id string) {
	d.owed.add(debt{everything: id == "", merchants: map[string]struct{}{id: {}}})
}

// CatchUp reads what was noted to have changed since it was read, and nothing where
// nothing was. At first everything has changed. Where it fails, the old snapshot stays,
// and what was noted is still to be read.
//
// No change is undone by a reading that was slower than another: they wait for each
// other, and each begins after the one before it was done, so that it finds whatever
// that one has found. What is noted in the midst of one is read by the next.
func (d *Directory) CatchUp(ctx context.Context) error {
	d.refresh.Lock()
	defer d.refresh.Unlock()
	owed := d.owed.take()
	switch {
	case owed.none():
		return nil
	case owed.everything || d.some == nil:
		return d.settle(owed, d.readAll(ctx))
	default:
		return d.settle(owed, d.readSome(ctx, owed))
	}
}

// Refresh reads all merchants and keys anew. Where that fails, the old snapshot stays.
func (d *Directory) Refresh(ctx context.Context) error {
	d.refresh.Lock()
	defer d.refresh.Unlock()
	return d.settle(d.owed.take(), d.readAll(ctx))
}

// settle puts back what a reading that failed leaves to be read.
func (d *Directory) settle(owed debt, err error) error {
	if err != nil {
		d.owed.add(owed)
		return fmt.Errorf("read the keys: %w", err)
	}
	return nil
}

func (d *Directory) readAll(ctx context.Context) error {
	merchants, keys, err := d.load(ctx)
	if err != nil {
		return err
	}
	old := d.snapshot.Swap(&snapshot{newTable(merchants, merchantID), newTable(keys, keyID)})
	d.tellRevoked(old, keys)
	return nil
}

func (d *Directory) readSome(ctx context.Context, owed debt) error {
	old := d.snapshot.Load() // there is one: until it was made, everything was owed
	merchantIDs, keyIDs := slices.Collect(maps.Keys(owed.merchants)), slices.Collect(maps.Keys(owed.keys))
	merchants, keys, err := d.some(ctx, merchantIDs, keyIDs)
	if err != nil {
		return err
	}
	d.snapshot.Store(&snapshot{
		old.merchants.with(merchantIDs, byID(merchants, merchantID)),
		old.keys.with(keyIDs, byID(keys, keyID)),
	})
	d.tellRevoked(old, keys)
	return nil
}

func merchantID(m *Merchant) string { return m.ID }
func keyID(k *Key) string           { return k.ID }

// byID names records. It copies them, so that one which stays for long does not keep
// those that were read with it.
func byID[V any](records []V, id func(*V) string) map[string]*V {
	named := make(map[string]*V, len(records))
	for i := range records {
		v := records[i]
		named[id(&v)] = &v
	}
	return named
}

// tellRevoked tells of those keys, as they were read, that were good in the old
// snapshot.
func (d *Directory) tellRevoked(old *snapshot, keys []Key) {
	if old == nil || d.revoked == nil {
		return
	}
	now := d.now()
	for i := range keys {
		k := &keys[i]
		was := old.keys.get(k.ID)
		if was != nil && was.RevokedAt.IsZero() && !k.RevokedAt.IsZero() && !k.RevokedAt.After(now) {
			d.revoked(now.Sub(k.RevokedAt))
		}
	}
}
