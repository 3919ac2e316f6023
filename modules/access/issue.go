package access

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/purser-pay/purser/modules/payment"
)

// Limits of merchants and keys.
const (
	MaxName    = 100                 // characters
	MaxOverlap = 30 * 24 * time.Hour // a rotation that drags on longer is two keys
)

// ErrIssue is wrapped by every refusal to make, rotate or revoke.
var ErrIssue = errors.New("cannot issue")

// Issuer makes merchants and keys. Its methods only build records: the caller
// stores them.
type Issuer struct {
	Pepper []byte    // keys the hashes, as in [NewDirectory]
	Random io.Reader // yields the secrets
	IDs    *payment.IDs
	Now    func() time.Time
}

// KeyRequest says what a new key is to be.
type KeyRequest struct {
	Merchant  string
	Mode      payment.Mode
	Name      string    // at most MaxName characters; may be empty
	Scopes    []Scope   // empty = [DefaultScopes]
	ExpiresAt time.Time // zero = never
	// RateLimits are the key's own, at most [MaxRates]; none = the gateway's.
	RateLimits []Rate
}

// CreateMerchant builds a merchant. The name has at most [MaxName] characters.
func (i *Issuer) CreateMerchant(name string) (Merchant, error) {
	if err := checkName(name); err != nil {
		return Merchant{}, err
	}
	return Merchant{ID: i.IDs.New(payment.PrefixMerchant), Name: name, CreatedAt: i.now()}, nil
}

// CreateKey builds a key and its text, which is shown once and kept nowhere.
func (i *Issuer) CreateKey(r KeyRequest) (key Key, text string, err error) {
	now := i.now()
	scopes := r.Scopes
	if len(scopes) == 0 {
		scopes = DefaultScopes()
	}
	switch {
	case !payment.IsID(payment.PrefixMerchant, r.Merchant):
		return Key{}, "", fmt.Errorf("%w: a key belongs to a merchant (mer_…)", ErrIssue)
	case r.Mode != payment.Test && r.Mode != payment.Live:
		return Key{}, "", fmt.Errorf("%w: the mode is test or live", ErrIssue)
	case !r.ExpiresAt.IsZero() && !r.ExpiresAt.After(now):
		return Key{}, "", fmt.Errorf("%w: the expiry lies in the past", ErrIssue)
	}
	if err := checkName(r.Name); err != nil {
		return Key{}, "", err
	}
	if err := checkScopes(scopes); err != nil {
		return Key{}, "", err
	}
	if err := CheckRates(r.RateLimits); err != nil {
		return Key{}, "", fmt.Errorf("%w: %w", ErrIssue, err)
	}
	key = Key{
		ID: i.IDs.New(payment.PrefixKey), Merchant: r.Merchant, Mode: r.Mode, Name: r.Name,
		Scopes: slices.Clone(scopes), CreatedAt: now, RateLimits: slices.Clone(r.RateLimits),
	}
	if !r.ExpiresAt.IsZero() {
		key.ExpiresAt = r.ExpiresAt.UTC()
	}
	if text, err = NewSecret(i.Random, key.ID, key.Mode); err != nil {
		return Key{}, "", fmt.Errorf("create a key: %w", err)
	}
	parsed, err := ParseKey(text)
	if err != nil {
		return Key{}, "", fmt.Errorf("create a key: %w", err)
	}
	key.Hash = parsed.Hash(i.Pepper)
	return key, text, nil
}

// RotateKey builds the successor of a valid key, with the same rights and, where
// old expires, the same lifetime anew; and old as it must be stored, which then
// ends after overlap (0 … [MaxOverlap]).
func (i *Issuer) RotateKey(old Key, overlap time.Duration) (retired, successor Key, text string, err error) {
	now := i.now()
	switch {
	case overlap < 0 || overlap > MaxOverlap:
		return Key{}, Key{}, "", fmt.Errorf("%w: the overlap is 0 … %s", ErrIssue, MaxOverlap)
	case old.RotatedTo != "":
		return Key{}, Key{}, "", fmt.Errorf("%w: %s was rotated to %s", ErrIssue, old.ID, old.RotatedTo)
	case !old.RevokedAt.IsZero():
		return Key{}, Key{}, "", fmt.Errorf("%w: %s is revoked", ErrIssue, old.ID)
	case !old.ExpiresAt.IsZero() && !now.Before(old.ExpiresAt):
		return Key{}, Key{}, "", fmt.Errorf("%w: %s has expired", ErrIssue, old.ID)
	}
	request := KeyRequest{Merchant: old.Merchant, Mode: old.Mode, Name: old.Name, Scopes: old.Scopes, RateLimits: old.RateLimits}
	if !old.ExpiresAt.IsZero() {
		request.ExpiresAt = now.Add(old.ExpiresAt.Sub(old.CreatedAt))
	}
	if successor, text, err = i.CreateKey(request); err != nil {
		return Key{}, Key{}, "", fmt.Errorf("rotate %s: %w", old.ID, err)
	}
	retired = old
	retired.RevokedAt, retired.RotatedTo = now.Add(overlap), successor.ID
	return retired, successor, text, nil
}

// RevokeKey returns k as it must be stored to be void from now on. A key that
// is void already stays as it is.
func RevokeKey(k Key, now time.Time) Key {
	if k.RevokedAt.IsZero() || k.RevokedAt.After(now) {
		k.RevokedAt = now.UTC()
	}
	return k
}

func (i *Issuer) now() time.Time { return i.Now().UTC().Truncate(time.Millisecond) }

func checkName(name string) error {
	if utf8.RuneCountInString(name) > MaxName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return fmt.Errorf("%w: a name is at most %d printable characters", ErrIssue, MaxName)
	}
	if _, _, found := payment.FindPAN(name); found {
		return fmt.Errorf("%w: the name looks like a card number", ErrIssue)
	}
	return nil
}

func checkScopes(scopes []Scope) error {
	for n, s := range scopes {
		if !slices.Contains(Scopes, s) {
			return fmt.Errorf("%w: there is no scope %.40q", ErrIssue, string(s))
		}
		if slices.Contains(scopes[:n], s) {
			return fmt.Errorf("%w: the scope %s is named twice", ErrIssue, s)
		}
	}
	return nil
}
