package token

import (
	"context"
	"crypto/sha256"
	"fmt"
)

// Verify tells who a token proves to be. It fails with [ErrInvalid] and
// [ErrUnavailable], both wrapped.
//
// Where the token's key is not known, the issuer's keys are asked for again, at
// most once in ten seconds for all tokens together, and the call waits for the
// answer: two seconds at most, and no longer than ctx.
//
// A result is remembered for a minute at most, never beyond the token's end, and
// never across a change of any key set or [Verifier.Forget].
func (v *Verifier) Verify(ctx context.Context, text string) (Identity, error) {
	if len(text) > maxToken {
		return Identity{}, fmt.Errorf("%w: %w", ErrInvalid, errSize)
	}
	digest := sha256.Sum256([]byte(text))
	if known, ok := v.verified.get(&digest, v.epoch.Load(), v.cfg.Now()); ok {
		return known.id, nil
	}
	c, err := parseCompact(text)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	claims, s, err := v.issuerOf(c)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	found, err := s.keyOf(ctx, c, &v.epoch)
	if err != nil {
		return Identity{}, err
	}
	if err := c.verify(found.key); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	now := v.cfg.Now() // later than above where keys were waited for
	id, good, err := s.issuer.identify(c, claims, now)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if found.until.Before(good.until) {
		good.until = found.until
	}
	v.verified.put(&verified{digest: digest, epoch: found.epoch, good: good, id: id}, now)
	return id, nil
}

// issuerOf finds out by whose keys a token must be verified. The claims that it
// reads for that are not verified yet; iss is no more than the key of a map.
func (v *Verifier) issuerOf(c *compact) (object, *source, error) {
	claims, err := parseObject(c.payload)
	if err != nil {
		return nil, nil, err
	}
	if _, there := c.header["jwk"]; there {
		return nil, nil, errOwnKey
	}
	name, _, err := claims.text("iss")
	if err != nil {
		return nil, nil, err
	}
	s := v.sources[name]
	if s == nil {
		return nil, nil, errIssuer
	}
	return claims, s, s.allows(c.alg)
}
