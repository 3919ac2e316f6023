package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

// ErrTokenRevoked is an [ErrUnauthenticated] of a token that was good, and whose
// end an operator has brought forward.
var ErrTokenRevoked = fmt.Errorf("%w: revoked", ErrUnauthenticated)

const (
	// ClockSkew is how far the clock of a token's issuer may be off: FAPI 2.0 asks for
	// 10 s ahead.
	ClockSkew = 10 * time.Second
	// TokenRevocationAge is how long a revocation is kept. A token that says when it
	// was issued lives for a day at most; one that does not may lie about for longer,
	// until its last day comes.
	TokenRevocationAge = 400 * 24 * time.Hour
	// MaxTokenRevocations bounds those that are kept, all issuers together: every
	// node has them in memory.
	MaxTokenRevocations = 100_000
	// maxClaim bounds an issuer's name and a claim's value, in bytes, as package token
	// does.
	maxClaim = 255
)

// TokenClaim is the claim by which tokens are revoked.
type TokenClaim string

// The claims.
const (
	ByTokenID  TokenClaim = "jti"       // one token
	BySubject  TokenClaim = "sub"       // all that somebody has been issued
	ByClientID TokenClaim = "client_id" // all that a client has been issued
	ByIssuer   TokenClaim = "iss"       // all that the issuer has issued
)

// TokenClaims lists them, the narrowest first.
func TokenClaims() []TokenClaim { return []TokenClaim{ByTokenID, BySubject, ByClientID, ByIssuer} }

// TokenSelector says which tokens of an issuer are meant.
type TokenSelector struct {
	Issuer string     `json:"issuer"`
	Claim  TokenClaim `json:"claim"`
	// Value is the claim's; "" for iss, whose value is Issuer.
	Value string `json:"value,omitempty"`
}

// TokenRevocation ends tokens before their time: the one with a jti, or those of a
// subject, of a client or of the issuer that were issued up to then.
type TokenRevocation struct {
	TokenSelector
	RevokedAt time.Time `json:"revoked_at"`
}

// Check refuses what could not select any token.
func (r TokenSelector) Check() error {
	switch {
	case !slices.Contains(TokenClaims(), r.Claim):
		return errors.New("claim is none of jti, sub, client_id and iss")
	case !plain(r.Issuer):
		return fmt.Errorf("issuer is not of 1 to %d bytes without control characters", maxClaim)
	case r.Claim == ByIssuer && r.Value != "":
		return errors.New("iss goes without a value: it is the issuer's name")
	case r.Claim != ByIssuer && !plain(r.Value):
		return fmt.Errorf("value is not of 1 to %d bytes without control characters", maxClaim)
	}
	return nil
}

func plain(s string) bool {
	return s != "" && len(s) <= maxClaim && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// TokenNames is what a verified token says of itself, as far as it can be revoked by
// it; "" = it does not say.
type TokenNames struct {
	Issuer, ID, Subject, ClientID string
	IssuedAt                      time.Time // zero = it does not say
}

// selectors yields those that mean the token.
func (n *TokenNames) selectors() [4]TokenSelector {
	return [...]TokenSelector{
		{Issuer: n.Issuer, Claim: ByTokenID, Value: n.ID},
		{Issuer: n.Issuer, Claim: BySubject, Value: n.Subject},
		{Issuer: n.Issuer, Claim: ByClientID, Value: n.ClientID},
		{Issuer: n.Issuer, Claim: ByIssuer},
	}
}

// ended tells whether a revocation that is there ends the token. The issuer's clock
// may be ahead, and a token that does not say when it was issued may be an old one.
func (n *TokenNames) ended(claim TokenClaim, at time.Time) bool {
	return claim == ByTokenID || n.IssuedAt.IsZero() || n.IssuedAt.Before(at.Add(ClockSkew))
}

// RevokedTokens knows which tokens were revoked, without a look-up in the store: it
// holds a snapshot, as [Directory] does. Safe for concurrent use; Check takes no
// lock.
type RevokedTokens struct {
	load     func(context.Context) ([]TokenRevocation, error)
	now      func() time.Time
	refresh  sync.Mutex // an older reading must not overwrite a newer one
	snapshot atomic.Pointer[map[TokenSelector]time.Time]

	current func() bool // the snapshot may be believed; nil = always
	lookup  TokenLookup
	told    func(lag time.Duration)
}

// TokenLookup asks the store for revocations; it returns those that are there.
type TokenLookup func(ctx context.Context, wanted []TokenSelector) ([]TokenRevocation, error)

// NewRevokedTokens returns what knows nothing yet; load reads all revocations.
func NewRevokedTokens(load func(context.Context) ([]TokenRevocation, error), now func() time.Time) *RevokedTokens {
	return &RevokedTokens{load: load, now: now}
}

// Distrust makes each token be looked up in the store while current answers false.
// It is called before the first use, if at all.
func (t *RevokedTokens) Distrust(current func() bool, lookup TokenLookup) {
	t.current, t.lookup = current, lookup
}

// Watch has told called for each revocation that was not there at the last reading,
// with how long ago it was made. It is called before the first use, if at all.
func (t *RevokedTokens) Watch(told func(lag time.Duration)) { t.told = told }

// Refresh reads the revocations anew. Where that fails, the old snapshot stays.
func (t *RevokedTokens) Refresh(ctx context.Context) error {
	t.refresh.Lock()
	defer t.refresh.Unlock()
	all, err := t.load(ctx)
	if err != nil {
		return fmt.Errorf("read the revoked tokens: %w", err)
	}
	s := make(map[TokenSelector]time.Time, len(all))
	for _, r := range all {
		s[r.TokenSelector] = r.RevokedAt
	}
	old := t.snapshot.Swap(&s)
	if old == nil || t.told == nil {
		return nil
	}
	now := t.now()
	for selector, at := range s {
		if was, known := (*old)[selector]; (!known || was.Before(at)) && !at.After(now) {
			t.told(now.Sub(at))
		}
	}
	return nil
}

// Len tells how many revocations there are.
func (t *RevokedTokens) Len() int {
	if s := t.snapshot.Load(); s != nil {
		return len(*s)
	}
	return 0
}

// Check fails with [ErrTokenRevoked] (wrapped) on a token that was revoked, and with
// [ErrNotLoaded] where nobody can say.
func (t *RevokedTokens) Check(ctx context.Context, n TokenNames) error {
	s := t.snapshot.Load()
	if s == nil {
		return ErrNotLoaded
	}
	if t.current != nil && !t.current() {
		wanted := n.selectors()
		there, err := t.lookup(ctx, wanted[:])
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNotLoaded, err)
		}
		for _, r := range there {
			if n.ended(r.Claim, r.RevokedAt) {
				return fmt.Errorf("%w by %s", ErrTokenRevoked, r.Claim)
			}
		}
		return nil
	}
	if len(*s) == 0 {
		return nil
	}
	for _, r := range n.selectors() {
		if at, there := (*s)[r]; there && n.ended(r.Claim, at) {
			return fmt.Errorf("%w by %s", ErrTokenRevoked, r.Claim)
		}
	}
	return nil
}
