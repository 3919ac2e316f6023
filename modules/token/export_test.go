package token

import "crypto/sha256"

// Remembered tells whether the result of a token's verification would be believed.
func (v *Verifier) Remembered(text string) bool {
	digest := sha256.Sum256([]byte(text))
	_, ok := v.verified.get(&digest, v.epoch.Load(), v.cfg.Now())
	return ok
}
