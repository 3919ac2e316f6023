// Package books is the ledger of a simulated payment provider: charges,
// refunds, stored payment methods, what was answered under which idempotency
// key, challenges that wait for a payer, faults that wait for a request, and
// webhooks that wait for delivery. The dialects (package stripesim and its
// like) speak a provider's language over it and keep nothing of their own.
//
// Everything is in memory, bounded by [Config.MaxCharges], and safe for
// concurrent use. Card numbers are never kept: a stored method remembers the
// row of [Cards] that it matched.
package books

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/purser-pay/purser/modules/payment"
)

// Errors of the ledger.
var (
	ErrNotFound  = errors.New("no such object")
	ErrAmount    = errors.New("amount does not fit")
	ErrState     = errors.New("not in this state")
	ErrDuplicate = errors.New("reference is taken")
)

// Config is what the books need of the world. Every field works at its zero
// value, but Now, which must be given.
type Config struct {
	// Now is the clock.
	Now func() time.Time
	// AfterFunc calls f once, d from now, on any goroutine; stop revokes it.
	// Nil = [time.AfterFunc].
	AfterFunc func(d time.Duration, f func()) (stop func() bool)
	// Seed makes identifiers and random faults repeatable.
	Seed uint64
	// Client delivers webhooks; nil = none are delivered.
	Client *http.Client
	// Log hears of webhooks that were given up; nil = silence.
	Log *slog.Logger
	// MaxCharges bounds each kind of object: beyond it the oldest finished ones
	// are forgotten; 0 = 1,000,000.
	MaxCharges int
	// Settle is how long an asynchronous thing takes: a card that is processed
	// later, a pending refund; 0 = 2 s.
	Settle time.Duration
	// KeyWindow is how long an idempotency key is remembered; 0 = 24 h, which is
	// the least that Stripe promises. The newest 100,000 answers are kept.
	KeyWindow time.Duration
	// RetryWaits are the pauses between the tries of a webhook; nil = 1 s, 5 s,
	// 30 s, 2 min, 10 min. There are len+1 tries.
	RetryWaits []time.Duration
}

const (
	defaultMaxCharges = 1_000_000
	defaultSettle     = 2 * time.Second
	defaultKeyWindow  = 24 * time.Hour
	maxChallenges     = 100_000
	maxAnswers        = 100_000 // an answer of Stripe's takes some 5 kB
)

// Books is the ledger. Make one with [New].
type Books struct {
	cfg Config

	// Faults is the table of misbehavior.
	Faults *Faults
	// Memory holds the answers given under idempotency keys.
	Memory *Memory
	// Webhooks delivers notices.
	Webhooks *Webhooks

	ids     ids
	changes atomic.Int64 // counts every change, for whoever persists

	mu          sync.Mutex
	charges     *shelf[string, *Charge] // by connector and PSP reference
	aliases     map[string]*Charge      // other names of a charge: ch_…, re_…
	byReference map[string][]*Charge    // by connector and our reference
	methods     *shelf[string, Method]
	challenges  *shelf[string, Challenge]
	counts      *shelf[string, *[opCount]Count]

	agenda agenda

	done     chan struct{}
	closing  sync.Once
	handlers sync.Map // connector → func(Task)
}

// New opens empty books.
func New(cfg Config) *Books {
	if cfg.AfterFunc == nil {
		cfg.AfterFunc = afterFunc
	}
	if cfg.MaxCharges <= 0 {
		cfg.MaxCharges = defaultMaxCharges
	}
	if cfg.Settle <= 0 {
		cfg.Settle = defaultSettle
	}
	if cfg.KeyWindow <= 0 {
		cfg.KeyWindow = defaultKeyWindow
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	b := &Books{cfg: cfg, done: make(chan struct{})}
	b.ids.seed = cfg.Seed
	b.Faults = newFaults(cfg.Seed)
	b.Memory = newMemory(min(cfg.MaxCharges, maxAnswers), cfg.KeyWindow)
	b.Webhooks = newWebhooks(b)
	b.empty()
	return b
}

func (b *Books) empty() {
	n := b.cfg.MaxCharges
	b.charges = newShelf[string, *Charge](n)
	b.aliases = map[string]*Charge{}
	b.byReference = map[string][]*Charge{}
	b.methods = newShelf[string, Method](n)
	b.challenges = newShelf[string, Challenge](min(n, maxChallenges))
	b.counts = newShelf[string, *[opCount]Count](n)
}

// Now reads the clock of the books.
func (b *Books) Now() time.Time { return b.cfg.Now() }

// Log is the logger of the books.
func (b *Books) Log() *slog.Logger { return b.cfg.Log }

// Settle is how long an asynchronous thing takes.
func (b *Books) Settle() time.Duration { return b.cfg.Settle }

// ID makes an identifier: prefix and n characters of base62, a function of the
// seed and of how many were made before.
func (b *Books) ID(prefix string, n int) string { return b.ids.next(prefix, n, base62) }

// Digits makes an identifier of n decimal digits after prefix.
func (b *Books) Digits(prefix string, n int) string { return b.ids.next(prefix, n, "0123456789") }

// Changes counts the changes of the books so far.
func (b *Books) Changes() int64 { return b.changes.Load() }

// Close ends every delay, every delivery and every scheduled thing.
func (b *Books) Close() {
	b.closing.Do(func() {
		close(b.done)
		b.agenda.close()
		b.Webhooks.close()
	})
}

// Done is closed once the books close.
func (b *Books) Done() <-chan struct{} { return b.done }

// Reset forgets everything but the webhook registrations.
func (b *Books) Reset() {
	b.Faults.Clear()
	b.forget()
}

func (b *Books) forget() {
	b.agenda.clear()
	b.Webhooks.drop()
	b.Memory.clear()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.empty()
	b.changes.Add(1)
}

func key(connector, name string) string { return connector + "\x00" + name }

func splitKey(k string) (connector, name string) {
	connector, name, _ = strings.Cut(k, "\x00")
	return connector, name
}

// Create books c. Where unique is set, another charge of the same connector,
// account and reference makes it fail with [ErrDuplicate], and that charge is
// returned.
func (b *Books) Create(c Charge, unique bool) (Charge, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ref := key(c.Connector, c.Reference)
	if unique {
		for _, have := range b.byReference[ref] {
			if have.Account == c.Account {
				return *have, ErrDuplicate
			}
		}
	}
	c.Created = b.cfg.Now()
	c.Updated = c.Created
	p := &c
	b.put(p)
	b.evict()
	b.changes.Add(1)
	return c, nil
}

// put indexes p; b.mu is held.
func (b *Books) put(p *Charge) {
	b.charges.put(key(p.Connector, p.PSPReference), p)
	if p.Reference != "" {
		ref := key(p.Connector, p.Reference)
		b.byReference[ref] = append(b.byReference[ref], p)
	}
	if p.AttemptReference != "" {
		b.aliases[key(p.Connector, p.AttemptReference)] = p
	}
	for _, r := range p.Refunds {
		b.aliases[key(p.Connector, r.ID)] = p
	}
}

// evict forgets the oldest finished charges over the bound; b.mu is held.
func (b *Books) evict() {
	b.charges.evict(func(c *Charge) bool { return c.Status.Terminal() }, func(c *Charge) {
		delete(b.aliases, key(c.Connector, c.AttemptReference))
		for _, r := range c.Refunds {
			delete(b.aliases, key(c.Connector, r.ID))
		}
		ref := key(c.Connector, c.Reference)
		rest := slices.DeleteFunc(b.byReference[ref], func(o *Charge) bool { return o == c })
		if len(rest) == 0 {
			delete(b.byReference, ref)
		} else {
			b.byReference[ref] = rest
		}
	})
}

// Get finds a charge by any of the PSP's names for it: its own, its latest
// attempt's, a refund's.
func (b *Books) Get(connector, account, id string) (Charge, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.find(connector, account, id)
	if p == nil {
		return Charge{}, ErrNotFound
	}
	return *p, nil
}

func (b *Books) find(connector, account, id string) *Charge {
	k := key(connector, id)
	p, ok := b.charges.get(k)
	if !ok {
		p = b.aliases[k]
	}
	if p == nil || (account != "" && p.Account != account) {
		return nil
	}
	return p
}

// ByReference finds the newest charge under our client's reference; an empty
// connector or account matches any.
func (b *Books) ByReference(connector, account, reference string) (Charge, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if connector != "" {
		all := b.byReference[key(connector, reference)]
		for _, p := range slices.Backward(all) {
			if account == "" || p.Account == account {
				return *p, nil
			}
		}
		return Charge{}, ErrNotFound
	}
	for p := range b.charges.newest() {
		if p.Reference == reference && (account == "" || p.Account == account) {
			return *p, nil
		}
	}
	return Charge{}, ErrNotFound
}

// Update changes the charge that Get would find. fn runs under the lock of the
// books: it only moves numbers. Where it fails nothing is changed, and its error
// is returned beside the charge as it stands.
func (b *Books) Update(connector, account, id string, fn func(c *Charge) error) (Charge, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.find(connector, account, id)
	if p == nil {
		return Charge{}, ErrNotFound
	}
	c := *p
	if err := fn(&c); err != nil {
		return *p, err
	}
	c.Updated = b.cfg.Now()
	if c.AttemptReference != p.AttemptReference && c.AttemptReference != "" {
		b.aliases[key(c.Connector, c.AttemptReference)] = p
	}
	for _, r := range c.Refunds[min(len(p.Refunds), len(c.Refunds)):] {
		b.aliases[key(c.Connector, r.ID)] = p
	}
	*p = c
	b.changes.Add(1)
	return c, nil
}

// Select lists up to limit charges, newest first, for which keep holds. It
// looks at no more than the newest scan charges; scan 0 = all.
func (b *Books) Select(limit, scan int, keep func(c *Charge) bool) []Charge {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []Charge
	seen := 0
	for p := range b.charges.newest() {
		if len(found) == limit || (scan > 0 && seen == scan) {
			break
		}
		seen++
		if keep(p) {
			found = append(found, *p)
		}
	}
	return found
}

// All lists every charge, oldest first.
func (b *Books) All() []Charge {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]Charge, 0, b.charges.len())
	for p := range b.charges.oldest() {
		all = append(all, *p)
	}
	return all
}

// PutMethod stores a payment method under its ID.
func (b *Books) PutMethod(m Method) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.methods.put(m.ID, m)
	b.methods.evict(func(Method) bool { return true }, nil)
	b.changes.Add(1)
}

// Method finds a stored payment method of an account.
func (b *Books) Method(account, id string) (Method, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m, ok := b.methods.get(id)
	return m, ok && m.Account == account
}

// Method is a stored payment method: the row of [Cards] that the number
// matched, and what may be shown of it.
type Method struct {
	ID       string            `json:"id"`
	Account  string            `json:"account"`
	Card     string            `json:"card"` // a Card's Token
	ExpMonth int               `json:"exp_month"`
	ExpYear  int               `json:"exp_year"`
	CVC      bool              `json:"cvc,omitzero"` // one was given
	Name     string            `json:"name,omitzero"`
	Email    string            `json:"email,omitzero"`
	Customer string            `json:"customer,omitzero"`
	Metadata map[string]string `json:"metadata,omitzero"`
	Created  time.Time         `json:"created"`
}

// Status is a charge's: the gateway's own vocabulary, so that the two sides
// can be laid beside each other. failed at Stripe means that the last attempt
// was declined; another may follow.
type Status = payment.Status
