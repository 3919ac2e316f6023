package access

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
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
	// Seal encrypts a signing secret in the context of its key's ID; nil = keys with
	// a signing secret are refused.
	Seal func(secret, keyID []byte) ([]byte, error)
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
	// AllowIP are the networks from which the key is good, as [ParseNetwork] makes
	// them, at most [MaxNetworks]; none = from everywhere.
	AllowIP []netip.Prefix
	// Signing is [HMACSHA256] for a key with a signing secret; "" = what PublicKey
	// says.
	Signing Algorithm
	// PublicKey is the signer's, in PEM; see [ParsePublicKey]. None, and no Signing =
	// requests are not signed.
	PublicKey []byte
}

// Issued is a new key as its holder is shown it, once. It prints as the key's ID.
type Issued struct {
	Key  Key
	Text string
	// SigningSecret is that of [HMACSHA256]; "" = there is none.
	SigningSecret string
}

// String writes the key's ID alone.
func (i Issued) String() string { return i.Key.ID }

// GoString hides the secrets from %#v.
func (i Issued) GoString() string { return i.Key.ID }

// LogValue hides the secrets from slog.
func (i Issued) LogValue() slog.Value { return slog.StringValue(i.Key.ID) }

// CreateMerchant builds a merchant. The name has at most [MaxName] characters.
func (i *Issuer) CreateMerchant(name string) (Merchant, error) {
	if err := checkName(name); err != nil {
		return Merchant{}, err
	}
	return Merchant{ID: i.IDs.New(payment.PrefixMerchant), Name: name, CreatedAt: i.now()}, nil
}

// CreateKey is [Issuer.Issue] for a key without a signing secret: the key, and its
// text, which is shown once and kept nowhere.
func (i *Issuer) CreateKey(r KeyRequest) (key Key, text string, err error) {
	if r.Signing != "" {
		return Key{}, "", fmt.Errorf("%w: a signing secret would be lost", ErrIssue)
	}
	made, err := i.Issue(r)
	return made.Key, made.Text, err
}

// Issue builds a key, and what its holder is shown of it.
func (i *Issuer) Issue(r KeyRequest) (Issued, error) {
	if err := i.checkRequest(&r); err != nil {
		return Issued{}, err
	}
	var signing *SigningKey
	switch {
	case r.Signing == HMACSHA256 && len(r.PublicKey) > 0:
		return Issued{}, fmt.Errorf("%w: a key signs with a secret or with a public key, not both", ErrIssue)
	case r.Signing == HMACSHA256:
		signing = &SigningKey{Algorithm: HMACSHA256}
	case r.Signing != "":
		return Issued{}, fmt.Errorf("%w: only %s is asked for by its name; another algorithm follows from the public key", ErrIssue, HMACSHA256)
	case len(r.PublicKey) > 0:
		der, kind, err := ParsePublicKey(r.PublicKey)
		if err != nil {
			return Issued{}, fmt.Errorf("%w: %w", ErrIssue, err)
		}
		signing = &SigningKey{Algorithm: kind, PublicKey: der}
	}
	made, err := i.build(r, signing)
	if err != nil {
		return Issued{}, fmt.Errorf("create a key: %w", err)
	}
	return made, nil
}

func (i *Issuer) checkRequest(r *KeyRequest) error {
	switch {
	case !payment.IsID(payment.PrefixMerchant, r.Merchant):
		return fmt.Errorf("%w: a key belongs to a merchant (mer_…)", ErrIssue)
	case r.Mode != payment.Test && r.Mode != payment.Live:
		return fmt.Errorf("%w: the mode is test or live", ErrIssue)
	case !r.ExpiresAt.IsZero() && !r.ExpiresAt.After(i.now()):
		return fmt.Errorf("%w: the expiry lies in the past", ErrIssue)
	}
	if err := checkName(r.Name); err != nil {
		return err
	}
	if err := checkScopes(r.Scopes); err != nil {
		return err
	}
	if err := CheckRates(r.RateLimits); err != nil {
		return fmt.Errorf("%w: %w", ErrIssue, err)
	}
	if err := CheckNetworks(r.AllowIP); err != nil {
		return fmt.Errorf("%w: %w", ErrIssue, err)
	}
	return nil
}

// build makes a key from a request that was checked. Of signing it takes the
// algorithm and the public key; a secret it draws anew.
func (i *Issuer) build(r KeyRequest, signing *SigningKey) (made Issued, err error) {
	key := Key{
		ID: i.IDs.New(payment.PrefixKey), Merchant: r.Merchant, Mode: r.Mode, Name: r.Name,
		Scopes: slices.Clone(r.Scopes), CreatedAt: i.now(),
		RateLimits: slices.Clone(r.RateLimits), AllowIP: slices.Clone(r.AllowIP), PepperID: PepperID(i.Pepper),
	}
	if len(key.Scopes) == 0 {
		key.Scopes = DefaultScopes()
	}
	if !r.ExpiresAt.IsZero() {
		key.ExpiresAt = r.ExpiresAt.UTC()
	}
	if made.Text, err = NewSecret(i.Random, key.ID, key.Mode); err != nil {
		return Issued{}, err
	}
	parsed, err := ParseKey(made.Text)
	if err != nil {
		return Issued{}, err
	}
	key.Hash = parsed.Hash(i.Pepper)
	if signing != nil {
		key.Signing = &SigningKey{KeyID: key.ID, Algorithm: signing.Algorithm, PublicKey: bytes.Clone(signing.PublicKey)}
	}
	if signing.Kind() == HMACSHA256 {
		if made.SigningSecret, err = i.sign(key.Signing); err != nil {
			return Issued{}, err
		}
	}
	made.Key = key
	return made, nil
}

// sign gives a signing key its secret.
func (i *Issuer) sign(k *SigningKey) (secret string, err error) {
	if i.Seal == nil {
		return "", fmt.Errorf("%w: nothing here keeps signing secrets", ErrIssue)
	}
	if secret, err = NewSigningSecret(i.Random); err != nil {
		return "", err
	}
	if k.SealedSecret, err = i.Seal([]byte(secret), []byte(k.KeyID)); err != nil {
		return "", fmt.Errorf("seal a signing secret: %w", err)
	}
	return secret, nil
}

// RotateKey builds the successor of a valid key, with the same rights, the same
// networks, the same public key or a signing secret of its own, and, where old
// expires, the same lifetime anew; and old as it must be stored, which then ends
// after overlap (0 … [MaxOverlap]).
func (i *Issuer) RotateKey(old Key, overlap time.Duration) (retired Key, successor Issued, err error) {
	now := i.now()
	switch {
	case overlap < 0 || overlap > MaxOverlap:
		return Key{}, Issued{}, fmt.Errorf("%w: the overlap is 0 … %s", ErrIssue, MaxOverlap)
	case old.RotatedTo != "":
		return Key{}, Issued{}, fmt.Errorf("%w: %s was rotated to %s", ErrIssue, old.ID, old.RotatedTo)
	case !old.RevokedAt.IsZero():
		return Key{}, Issued{}, fmt.Errorf("%w: %s is revoked", ErrIssue, old.ID)
	case !old.ExpiresAt.IsZero() && !now.Before(old.ExpiresAt):
		return Key{}, Issued{}, fmt.Errorf("%w: %s has expired", ErrIssue, old.ID)
	}
	request := KeyRequest{
		Merchant: old.Merchant, Mode: old.Mode, Name: old.Name, Scopes: old.Scopes,
		RateLimits: old.RateLimits, AllowIP: old.AllowIP,
	}
	if !old.ExpiresAt.IsZero() {
		request.ExpiresAt = now.Add(old.ExpiresAt.Sub(old.CreatedAt))
	}
	if err = i.checkRequest(&request); err == nil {
		successor, err = i.build(request, old.Signing)
	}
	if err != nil {
		return Key{}, Issued{}, fmt.Errorf("rotate %s: %w", old.ID, err)
	}
	retired = old
	retired.RevokedAt, retired.RotatedTo = now.Add(overlap), successor.Key.ID
	return retired, successor, nil
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
