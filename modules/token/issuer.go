package token

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/purser-pay/purser/modules/payment"
)

const (
	// DefaultLifetime is how long a token may live where its issuer's
	// configuration does not say. A token cannot be taken back before its end, so
	// ten minutes are better; an hour is what many issuers give.
	DefaultLifetime = time.Hour
	// MaxLifetime bounds [Issuer.MaxLifetime].
	MaxLifetime = 24 * time.Hour

	maxIssuers = 32
	maxEntries = 64 // of each list of an issuer
)

// Issuer is somebody whose access tokens are taken, and for what. Name, Audiences,
// JWKS and Merchants are required.
type Issuer struct {
	// Name is the claim iss, compared byte for byte.
	Name string
	// Audiences: a token's aud must have one of them.
	Audiences []string
	// JWKS is where the keys are: an https URL (http only to a loopback address),
	// or the absolute path of a file.
	JWKS string
	// Algorithms are some of RS256, PS256, ES256 and EdDSA; none = all but RS256,
	// which FAPI 2.0 forbids (§5.4.1).
	Algorithms []string
	// Merchants are those that the issuer may speak for; "*" = all.
	Merchants []string
	// Modes are those that the issuer may speak for; none = test alone.
	Modes []payment.Mode
	// MerchantClaim, ModeClaim and ScopesClaim name claims at the top of the
	// token; "" = merchant, mode and scope. The first two must be there.
	MerchantClaim, ModeClaim, ScopesClaim string
	// Types are the values of the header typ that are taken, in any case; "" in
	// it stands for none at all. No Types = at+jwt, application/at+jwt (RFC 9068
	// §2.1), JWT and none. An issuer that uses at+jwt should have no other: then
	// its ID tokens cannot be passed off as access tokens.
	Types []string
	// MaxLifetime bounds the time from a token's iat to its exp; 0 =
	// [DefaultLifetime], at most [MaxLifetime].
	MaxLifetime time.Duration
}

// withDefaults fills in what was left out. Its lists are copies.
func (is Issuer) withDefaults() Issuer {
	is.Audiences, is.Merchants = slices.Clone(is.Audiences), slices.Clone(is.Merchants)
	is.Algorithms, is.Modes, is.Types = slices.Clone(is.Algorithms), slices.Clone(is.Modes), slices.Clone(is.Types)
	if len(is.Algorithms) == 0 {
		is.Algorithms = []string{"ES256", "EdDSA", "PS256"}
	}
	if len(is.Modes) == 0 {
		is.Modes = []payment.Mode{payment.Test}
	}
	if len(is.Types) == 0 {
		is.Types = []string{"at+jwt", "application/at+jwt", "JWT", ""}
	}
	for _, claim := range []struct {
		name *string
		or   string
	}{{&is.MerchantClaim, "merchant"}, {&is.ModeClaim, "mode"}, {&is.ScopesClaim, "scope"}} {
		if *claim.name == "" {
			*claim.name = claim.or
		}
	}
	if is.MaxLifetime == 0 {
		is.MaxLifetime = DefaultLifetime
	}
	return is
}

// check refuses an issuer that cannot be, and says which field is at fault, in
// the words of the configuration.
func (is *Issuer) check() error {
	fields := []struct {
		name string
		err  error
	}{
		{"name", checkWord(is.Name)},
		{"audience", checkList(is.Audiences, checkWord)},
		{"jwks", checkLocation(is.JWKS)},
		{"algorithms", checkList(is.Algorithms, func(a string) error {
			if methods[a] == nil {
				return errors.New("not RS256, PS256, ES256 or EdDSA")
			}
			return nil
		})},
		{"merchants", checkList(is.Merchants, func(m string) error {
			if m != "*" && !payment.IsID(payment.PrefixMerchant, m) {
				return errors.New("not * or a merchant's ID")
			}
			return nil
		})},
		{"modes", checkList(is.Modes, func(m payment.Mode) error {
			if m != payment.Test && m != payment.Live {
				return errors.New("not test or live")
			}
			return nil
		})},
		{"claims", is.checkClaims()},
		{"types", checkList(is.Types, func(t string) error {
			if t == "" {
				return nil
			}
			return checkWord(t)
		})},
		{"max_lifetime", checkLifetime(is.MaxLifetime)},
	}
	for _, f := range fields {
		if f.err != nil {
			return fmt.Errorf("jwt %s: %s: %w", is.Name, f.name, f.err)
		}
	}
	return nil
}

// registered are the claims whose meaning is fixed (RFC 7519 §4.1, RFC 7800
// §3.1), so that none of them can name a merchant or a mode. The subject can: an
// issuer may give each merchant a client of its ID.
var registered = []string{"iss", "aud", "exp", "nbf", "iat", "jti", "cnf"}

func (is *Issuer) checkClaims() error {
	names := []string{is.MerchantClaim, is.ModeClaim, is.ScopesClaim}
	for i, name := range names {
		switch {
		case checkWord(name) != nil:
			return fmt.Errorf("%q: %w", name, checkWord(name))
		case slices.Contains(registered, name):
			return fmt.Errorf("%q means something else", name)
		case slices.Contains(names[:i], name):
			return fmt.Errorf("%q twice", name)
		}
	}
	return nil
}

// checkList refuses an empty list, one that is too long, and what is wrong in it
// or twice.
func checkList[T ~string](list []T, check func(T) error) error {
	if len(list) == 0 || len(list) > maxEntries {
		return fmt.Errorf("%d values, not 1 to %d", len(list), maxEntries)
	}
	for i, v := range list {
		if err := check(v); err != nil {
			return fmt.Errorf("%q: %w", v, err)
		}
		if slices.Contains(list[:i], v) {
			return fmt.Errorf("%q twice", v)
		}
	}
	return nil
}

func checkWord(s string) error {
	if s == "" || len(s) > maxText || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) {
		return fmt.Errorf("not of 1 to %d bytes without spaces", maxText)
	}
	return nil
}

func checkLifetime(d time.Duration) error {
	if d < time.Minute || d > MaxLifetime {
		return fmt.Errorf("%v is not 1m to %v", d, MaxLifetime)
	}
	return nil
}

// checkLocation refuses an address from which keys could be had that somebody on
// the way has changed.
func checkLocation(s string) error {
	if filepath.IsAbs(s) {
		return nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return errors.New("not an https URL or the absolute path of a file")
	case u.User != nil || u.Fragment != "":
		return errors.New("the URL has a user name or a fragment")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return errors.New("plain http is for loopback addresses alone")
	}
	return nil
}

// isLoopback tells whether a host can be nothing but this machine (RFC 6761
// §6.3 for the name).
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
