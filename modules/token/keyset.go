package token

import (
	"errors"
	"fmt"
	"slices"
)

const (
	maxKeySet = 256 << 10 // bytes
	maxKeys   = 100
)

var (
	errKeySet     = errors.New("refused key set")
	errUnknownKey = errors.New("the issuer has no such key")
	errAmbiguous  = errors.New("it names no key, and the issuer has several")
)

// keySet is the keys of an issuer that fit its algorithms.
type keySet struct {
	byID map[string]*key
	all  []*key
}

// parseKeySet reads a JWK Set (RFC 7517 §5) for the algorithms of an issuer.
// Keys for something else, and malformed ones, are passed over. A set is refused
// as a whole where it has a private or symmetric key (whoever publishes one has
// lost it), where two keys have one ID, and where it has no key for us.
func parseKeySet(b []byte, algorithms []string) (*keySet, error) {
	if len(b) > maxKeySet {
		return nil, fmt.Errorf("%w: more than %d KiB", errKeySet, maxKeySet>>10)
	}
	top, err := parseObject(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errKeySet, err)
	}
	list, err := elements(top["keys"])
	if err != nil {
		return nil, fmt.Errorf("%w: keys is not an array", errKeySet)
	}
	if len(list) > maxKeys {
		return nil, fmt.Errorf("%w: %d keys, which is more than %d", errKeySet, len(list), maxKeys)
	}
	set, passed := &keySet{byID: map[string]*key{}}, error(nil)
	for i, v := range list {
		jwk, err := parseObject(v)
		if err != nil {
			return nil, fmt.Errorf("%w: key %d: %w", errKeySet, i, err)
		}
		k, err := parseKey(jwk)
		switch {
		case errors.Is(err, errSecretKey):
			return nil, fmt.Errorf("%w: key %d: %w", errKeySet, i, err)
		case err == nil && !slices.ContainsFunc(algorithms, k.fits):
			err = errForeign
		}
		if err != nil {
			passed = fmt.Errorf("key %d: %w", i, err)
			continue
		}
		if k.id != "" {
			if set.byID[k.id] != nil {
				return nil, fmt.Errorf("%w: key %d: its kid is that of another one", errKeySet, i)
			}
			set.byID[k.id] = k
		}
		set.all = append(set.all, k)
	}
	switch {
	case len(set.all) > 0:
		return set, nil
	case passed != nil:
		return nil, fmt.Errorf("%w: no key for the issuer's algorithms; the last one: %w", errKeySet, passed)
	}
	return nil, fmt.Errorf("%w: no keys", errKeySet)
}

// find returns the one key that a signature may have been made with: that of its
// kid, or where it has none, the only one for its algorithm. No token makes us
// try several. It fails with errUnknownKey, errAmbiguous and errMisfit.
func (s *keySet) find(c *compact) (*key, error) {
	if c.named {
		k := s.byID[c.kid]
		switch {
		case k == nil:
			return nil, errUnknownKey
		case !k.fits(c.alg):
			return nil, errMisfit
		}
		return k, nil
	}
	var only *key
	for _, k := range s.all {
		switch {
		case !k.fits(c.alg):
		case only != nil:
			return nil, errAmbiguous
		default:
			only = k
		}
	}
	if only == nil {
		return nil, errUnknownKey
	}
	return only, nil
}
