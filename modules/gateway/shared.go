package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/outbox"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// grounds keeps what must outlive a configuration: a new one is provisioned and
// started while the old one still serves, and the store takes one owner alone.
var grounds = caddy.NewUsagePool()

// ground is a store and all that must be one of a kind beside it.
type ground struct {
	store store.Store
	// pings are shared by all doors.
	pings pings
	// sweep forgets what has lapsed, a bite at a time.
	sweep func(ctx context.Context, now time.Time, limit int) (int, error)
	// copier makes backups; nil = the store's driver has none.
	copier *copier
	// reconciler compares payments with their PSPs.
	reconciler *reconciler
	// relay tells the configurations what other nodes have written; nil = there are
	// no others.
	relay *relay
	// revoked are the tokens that were revoked.
	revoked *access.RevokedTokens
	// directories are those that were read of the store: two while a reload changes the
	// peppers, for then the old configuration and the new one have one each.
	directories directorySet
	// outbox is that of the configuration that started last: it is woken where there
	// is something to be told.
	outbox atomic.Pointer[outbox.Outbox]
	// started is the log of the configuration that started last. It need not be
	// the one that runs: a reload may fail after that.
	started atomic.Pointer[slog.Logger]
	// ids is one for all configurations: identifiers made by two generators in
	// the same millisecond would not sort by the time of their making.
	ids *payment.IDs
}

// log is where payments are told of: the log of the configuration that runs, or
// of the one that did or will, while the gateway stops or starts.
func (g *ground) log() *slog.Logger {
	if a, err := Running(); err == nil {
		return a.log
	}
	return g.started.Load()
}

// wake tells the outbox that something was queued.
func (g *ground) wake() {
	if o := g.outbox.Load(); o != nil {
		o.Wake()
	}
}

// hook has an outbox woken, the one of the configuration that starts, until unhook.
// Where that configuration does not follow after all, the one before it goes on.
func (g *ground) hook(o *outbox.Outbox) (unhook func()) {
	before := g.outbox.Swap(o)
	return func() { g.outbox.CompareAndSwap(o, before) }
}

// Destruct closes the store once the last configuration let it go.
func (g *ground) Destruct() error {
	g.relay.end()
	return g.store.Close()
}

// openGround loads a store from the pool, or opens it.
func openGround(ctx context.Context, key groundKey, open func(context.Context, *slog.Logger) (*opened, error), log *slog.Logger) (*ground, error) {
	g, err := pooled(grounds, key, func() (*ground, error) {
		o, err := open(ctx, log)
		if err != nil {
			return nil, err
		}
		g := &ground{
			sweep: o.sweep, copier: o.copier, reconciler: &reconciler{now: time.Now},
			ids: &payment.IDs{Now: time.Now, Random: rand.Reader},
		}
		g.store = toldStore{o.Store, counters, g.log, g.wake}
		g.relay = startRelay(o.changes)
		if err := g.knowRevoked(ctx, log); err != nil {
			return nil, errors.Join(err, g.Destruct())
		}
		return g, nil
	})
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return g, nil
}

// knowRevoked reads which tokens were revoked, and keeps up with it.
func (g *ground) knowRevoked(ctx context.Context, log *slog.Logger) error {
	g.revoked = access.NewRevokedTokens(allRevoked(g.store), time.Now)
	g.revoked.Watch(func(lag time.Duration) { counters.revocations.Observe(lag.Seconds()) })
	if g.relay != nil {
		g.revoked.Distrust(func() bool { return g.relay.live(tokensRevoked) }, someRevoked(g.store))
	}
	// Heard of before it is read: what changes in between is read again.
	_ = g.relay.hear(tokensRevoked, g.revoked.Refresh) // for as long as there is a relay
	return g.patiently(ctx, log, func() error { return g.revoked.Refresh(ctx) })
}

// allRevoked reads every revocation of tokens.
func allRevoked(s store.Store) func(context.Context) ([]access.TokenRevocation, error) {
	return func(ctx context.Context) (all []access.TokenRevocation, err error) {
		err = s.View(ctx, func(r store.Reader) (err error) {
			all, err = r.TokenRevocations()
			return err
		})
		return all, err
	}
}

// someRevoked reads those of the wanted revocations that are there.
func someRevoked(s store.Store) access.TokenLookup {
	return func(ctx context.Context, wanted []access.TokenSelector) (there []access.TokenRevocation, err error) {
		err = s.View(ctx, func(r store.Reader) error {
			there = nil
			for _, w := range wanted {
				one, err := r.TokenRevocation(w)
				switch {
				case err == nil:
					there = append(there, one)
				case !errors.Is(err, store.ErrNotFound):
					return err
				}
			}
			return nil
		})
		return there, err
	}
}

// pooled loads the value of a key from a pool, or makes it. Whoever got one
// calls drop once.
func pooled[T caddy.Destructor](pool *caddy.UsagePool, key any, open func() (T, error)) (T, error) {
	value, _, err := pool.LoadOrNew(key, func() (caddy.Destructor, error) { return open() })
	if err != nil {
		var none T
		return none, err
	}
	v, ok := value.(T)
	if !ok { // a pool holds one type
		return v, errors.Join(fmt.Errorf("the pool holds a %T", value), drop(pool, key))
	}
	return v, nil
}

// drop gives back what pooled handed out.
func drop(pool *caddy.UsagePool, key any) error {
	_, err := pool.Delete(key)
	return err
}

// directories keeps the snapshots of keys over reloads. A directory belongs to
// a store and its peppers.
var directories = caddy.NewUsagePool()

type directoryKey struct {
	ground  groundKey
	peppers [sha256.Size]byte
}

// directory is a pool's entry.
type directory struct {
	*access.Directory
	forget func() // ends what the relay tells it
}

// Destruct lets the relay forget it.
func (d *directory) Destruct() error {
	d.forget()
	return nil
}

// openDirectory loads the directory of a store from the pool, or reads it.
func openDirectory(ctx context.Context, of groundKey, peppers [][]byte, g *ground) (directoryKey, *access.Directory, error) {
	key := directoryKey{of, sha256.Sum256(bytes.Join(peppers, nil))} // each has one length
	shared, err := pooled(directories, key, func() (*directory, error) {
		d, forget, err := g.newDirectory(ctx, peppers)
		if err != nil {
			return nil, err
		}
		return &directory{d, forget}, nil
	})
	if err != nil {
		return directoryKey{}, nil, err
	}
	return key, shared.Directory, nil
}

// newDirectory reads the directory of a store, and keeps up with it until forget.
func (g *ground) newDirectory(ctx context.Context, peppers [][]byte) (d *access.Directory, forget func(), err error) {
	d = access.NewDirectory(peppers[0], store.AllKeys(g.store), time.Now)
	d.ReadSome(store.SomeKeys(g.store))
	if err := d.Former(peppers[1:], g.rehash(d)); err != nil {
		return nil, nil, fmt.Errorf("key_peppers: %w", err)
	}
	d.WatchRevocations(func(lag time.Duration) { counters.revocations.Observe(lag.Seconds()) })
	if g.relay != nil {
		d.Distrust(func() bool { return g.relay.live(keysChanged) }, store.OneKey(g.store))
	}
	// Heard of before it is read: what changes in between is read again.
	unhear, leave := g.relay.hearEach(keysChanged, noteIn(d), d.CatchUp), g.directories.add(d)
	forget = func() { unhear(); leave() }
	if err := d.Refresh(ctx); err != nil {
		forget()
		return nil, nil, err
	}
	return d, forget, nil
}

// directorySet is the directories of one store.
type directorySet struct {
	mu  sync.Mutex
	all map[*access.Directory]struct{}
}

// add puts a directory in until it leaves.
func (s *directorySet) add(d *access.Directory) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[*access.Directory]struct{}{}
	}
	s.all[d] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.all, d)
	}
}

// read has every directory note what was written, and read it.
func (s *directorySet) read(ctx context.Context, written []news) error {
	s.mu.Lock()
	all := slices.Collect(maps.Keys(s.all))
	s.mu.Unlock()
	for _, d := range all {
		for _, w := range written {
			noteIn(d)(w)
		}
	}
	var errs []error
	for _, d := range all {
		errs = append(errs, d.CatchUp(ctx))
	}
	return errors.Join(errs...)
}

// noteIn notes in a directory what has changed.
func noteIn(d *access.Directory) func(news) {
	return func(n news) {
		if n.merchant != "" {
			d.MerchantChanged(n.merchant)
		} else {
			d.KeyChanged(n.key) // "" = anything
		}
	}
}
