// Package simulator is a payment provider that misbehaves on purpose. It
// mounts the dialects of several providers over one ledger (package books),
// each at /<connector>, and a control API at /_sim/ that tests use to set
// faults, to play the payer, and to read what really happened.
package simulator

import (
	"crypto/rsa"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/purser-pay/purser/modules/connectors/adyen/adyensim"
	"github.com/purser-pay/purser/modules/connectors/alipay/alipaysim"
	"github.com/purser-pay/purser/modules/connectors/stripe/stripesim"
	"github.com/purser-pay/purser/modules/simulator/books"
)

// Config is what a simulator needs. The zero value works.
type Config struct {
	// Now is the clock; nil = the system's.
	Now func() time.Time
	// AfterFunc is the timer; nil = [time.AfterFunc].
	AfterFunc func(d time.Duration, f func()) (stop func() bool)
	// Seed makes identifiers, keys and random faults repeatable.
	Seed uint64
	// Client delivers webhooks; nil = none are delivered.
	Client *http.Client
	// Log hears of webhooks that were given up; nil = silence.
	Log *slog.Logger
	// BaseURL is where a browser reaches the simulator, such as
	// http://127.0.0.1:12180; empty = taken from each request's Host.
	BaseURL string
	// Faults are in force from the start.
	Faults []books.Fault
	// MaxCharges bounds the books; 0 = 1,000,000.
	MaxCharges int
	// Settle is how long asynchronous things take; 0 = 2 s.
	Settle time.Duration
	// KeyWindow is how long Stripe remembers an idempotency key; 0 = 24 h.
	KeyWindow time.Duration
	// RetryWaits are the pauses between the tries of a webhook; nil = 1 s, 5 s,
	// 30 s, 2 min, 10 min.
	RetryWaits []time.Duration
	// AlipayKey is Alipay's own key, as PEM (PKCS #8 or PKCS #1) or as the bare
	// base64 of its DER; empty = one is made when first needed.
	AlipayKey []byte
	// SearchLag is how far Stripe's search runs behind; 0 = not at all.
	SearchLag time.Duration
}

// dialect is what each provider's room yields.
type dialect interface {
	http.Handler
	// Resolve plays the payer's decision on a challenge.
	Resolve(challenge string, succeed bool) error
	// Pay plays a payer who pays what waits under our client's or the PSP's
	// reference.
	Pay(reference string) error
}

// Simulator is the whole provider. Make one with [New]; it is an http.Handler
// for concurrent use.
type Simulator struct {
	cfg      Config
	books    *books.Books
	dialects map[string]dialect
	alipay   *alipaysim.Dialect
	key      func() *rsa.PrivateKey
	control  http.Handler
	keeper   keeper
}

// New opens a simulator with empty books. It fails only on a bad fault
// or key.
func New(cfg Config) (*Simulator, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now //nolint:forbidigo // the default wiring of the injected clock
	}
	b := books.New(books.Config{
		Now: cfg.Now, AfterFunc: cfg.AfterFunc, Seed: cfg.Seed, Client: cfg.Client, Log: cfg.Log,
		MaxCharges: cfg.MaxCharges, Settle: cfg.Settle, KeyWindow: cfg.KeyWindow, RetryWaits: cfg.RetryWaits,
	})
	for _, f := range cfg.Faults {
		if err := b.Faults.Add(f); err != nil {
			b.Close()
			return nil, err
		}
	}
	key, err := alipayKey(cfg.AlipayKey)
	if err != nil {
		b.Close()
		return nil, err
	}
	s := &Simulator{cfg: cfg, books: b, key: key}
	s.alipay = alipaysim.New(b, alipaysim.Options{BaseURL: s.at(alipaysim.Connector), Key: key})
	s.dialects = map[string]dialect{
		stripesim.Connector: stripesim.New(b, stripesim.Options{BaseURL: s.at(stripesim.Connector), SearchLag: cfg.SearchLag}),
		alipaysim.Connector: s.alipay,
		adyensim.Connector:  adyensim.New(b, adyensim.Options{BaseURL: s.at(adyensim.Connector)}),
	}
	s.control = s.routes()
	return s, nil
}

// at is the address of a connector's dialect; empty where it is not known.
func (s *Simulator) at(connector string) string {
	if s.cfg.BaseURL == "" {
		return ""
	}
	return strings.TrimSuffix(s.cfg.BaseURL, "/") + "/" + connector
}

// Books is the ledger.
func (s *Simulator) Books() *books.Books { return s.books }

// RegisterStripeWebhook sends Stripe's events to target, signed with secret.
// account is a secret key whose account's events are wanted; empty = all.
func (s *Simulator) RegisterStripeWebhook(account, target, secret string) error {
	_, err := s.books.Webhooks.Register(books.Endpoint{
		Connector: stripesim.Connector, Account: stripeAccount(account), URL: target, Secret: secret,
	})
	return err
}

// RegisterAdyenWebhook sends the events of an Adyen merchant account to target,
// signed with key, in hexadecimal; an empty account = of all.
func (s *Simulator) RegisterAdyenWebhook(account, target, key string) error {
	_, err := s.books.Webhooks.Register(books.Endpoint{Connector: adyensim.Connector, Account: account, URL: target, Secret: key})
	return err
}

func stripeAccount(account string) string {
	if strings.HasPrefix(account, "sk_") || strings.HasPrefix(account, "rk_") {
		return stripesim.Account(account)
	}
	return account
}

// Close ends delays and deliveries, and writes the books where they are kept
// in a file.
func (s *Simulator) Close() error {
	s.books.Close()
	return s.keeper.close(s)
}

// ServeHTTP answers the dialects at /<connector>/ and the control API at /_sim/.
// Stripe's is at /v1/ too.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if name == "_sim" {
		s.control.ServeHTTP(w, r)
		return
	}
	if name == "v1" { // Stripe's own libraries know no path before /v1
		s.dialects[stripesim.Connector].ServeHTTP(w, r)
		return
	}
	d, ok := s.dialects[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	inner := *r
	u := *r.URL
	u.Path, u.RawPath = "/"+rest, ""
	inner.URL = &u
	d.ServeHTTP(w, &inner)
}
