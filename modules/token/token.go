// Package token verifies JWT access tokens (RFC 9068, RFC 8725) of configured
// issuers, and DPoP proofs (RFC 9449). Whatever a token says before its signature
// is verified is a hostile stranger's: it is bounded, read strictly, and used for
// nothing but look-ups in maps. golang-jwt verifies signatures; reading, keys,
// and claims are ours.
package token

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// ErrInvalid refuses a token. The text of what wraps it says why, for logs,
	// and quotes nothing of the token; callers hear one and the same answer.
	ErrInvalid = errors.New("invalid token")
	// ErrProof refuses a DPoP proof, in the same manner.
	ErrProof = errors.New("invalid DPoP proof")
	// ErrUnavailable tells that nobody can say whether a token is valid: the
	// issuer's keys are not there, or the token's key is not among them and they
	// could not be asked for.
	ErrUnavailable = errors.New("the keys of the token's issuer are not available")
)

// Client is what a key set is fetched with. It follows no redirect: an answer
// that did is refused, but the request that it caused has been made by then.
type Client interface {
	Do(*http.Request) (*http.Response, error)
}

// Config says whose tokens are taken, and what a [Verifier] works with. The zero
// value takes nobody's.
type Config struct {
	Issuers []Issuer // at most 32
	// Client is required where an issuer's keys are at a URL.
	Client Client
	// Entries is how many verified tokens are remembered, 500 to 1000 bytes each;
	// 0 = 10,000, at most 1,000,000.
	Entries int
	// Changed hears that an issuer's keys could not be read, with the cause, and
	// that they are back, with nil; nothing between the two, and nothing as long as
	// all goes well. For each issuer there is one call at a time, for which Close
	// waits. Nil hears nothing.
	Changed func(issuer string, err error)
	// Now tells the time; nil is time.Now.
	Now func() time.Time
	// Chance returns numbers in [0, 1), for jitter; nil is math/rand/v2.
	Chance func() float64
}

// Verifier verifies tokens and proofs. It is safe for concurrent use.
type Verifier struct {
	cfg     Config
	sources map[string]*source // by iss
	// epoch counts the changes that make void what was verified before.
	epoch    atomic.Uint64
	verified cache
	starting sync.Once
	closing  sync.Once
	stop     context.CancelFunc // nil = not started
	running  sync.WaitGroup
}

// New checks a configuration; its error names the issuer and the field at fault,
// as the Caddyfile calls them. It opens nothing: that is [Verifier.Start]'s.
func New(cfg Config) (*Verifier, error) {
	if len(cfg.Issuers) > maxIssuers {
		return nil, fmt.Errorf("jwt: %d issuers, which is more than %d", len(cfg.Issuers), maxIssuers)
	}
	if cfg.Entries < 0 || cfg.Entries > maxVerified {
		return nil, fmt.Errorf("jwt: %d entries, not 0 to %d", cfg.Entries, maxVerified)
	}
	cfg.Entries = cmp.Or(cfg.Entries, defaultVerified)
	if cfg.Now == nil {
		cfg.Now = time.Now //nolint:forbidigo // the default of the clock that is handed in
	}
	if cfg.Chance == nil {
		cfg.Chance = rand.Float64
	}
	if cfg.Changed == nil {
		cfg.Changed = func(string, error) {}
	}
	v := &Verifier{cfg: cfg, sources: map[string]*source{}}
	for _, is := range cfg.Issuers {
		is = is.withDefaults()
		if err := is.check(); err != nil {
			return nil, err
		}
		if v.sources[is.Name] != nil {
			return nil, fmt.Errorf("jwt %s: name: there are two of it", is.Name)
		}
		isURL := strings.HasPrefix(is.JWKS, "http")
		if isURL && cfg.Client == nil {
			return nil, fmt.Errorf("jwt %s: jwks: there is no client to fetch it with", is.Name)
		}
		v.sources[is.Name] = newSource(is, isURL, &v.cfg, v.Forget)
	}
	return v, nil
}

// Start begins to load the key sets, and to keep them up to date until Close; the
// end of ctx does not end that. It waits for none: a token that comes before the
// keys waits for them, for a short while.
func (v *Verifier) Start(ctx context.Context) error {
	var err error
	v.starting.Do(func() {
		if err = v.verified.open(v.cfg.Entries); err != nil {
			return
		}
		ctx, v.stop = context.WithCancel(context.WithoutCancel(ctx))
		for _, s := range v.sources {
			s.begin()
			v.running.Go(func() { s.run(ctx) })
		}
	})
	return err
}

// Close ends the work that Start began, and waits for its end. Requests that are
// still under way after a reload are served with the keys that there are.
func (v *Verifier) Close() {
	v.closing.Do(func() {
		if v.stop == nil {
			return
		}
		v.stop()
		v.running.Wait()
		v.verified.close()
	})
}

// Forget makes void every verification up to now, also those that are under way
// and would be remembered later. Tokens are then verified anew.
func (v *Verifier) Forget() { v.epoch.Add(1) }
