package engine

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"strings"

	"github.com/purser-pay/purser/modules/payment"
)

// wireAlphabet is lower-case base32: what every PSP takes in keys and
// references.
var wireAlphabet = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// derive makes 32 characters of [a-z2-7] (160 bits) that only the holder of the
// pepper can make, and that are the same whenever the parts are the same. After
// a lost database a merchant's retry thus still meets the PSP's own memory.
func (e *Engine) derive(parts ...string) string {
	mac := hmac.New(sha256.New, e.cfg.Pepper)
	mac.Write([]byte(strings.Join(parts, "\x00")))
	return wireAlphabet.EncodeToString(mac.Sum(nil)[:20])
}

// stepKey is the idempotency key toward the PSP of one step of an attempt.
func (e *Engine) stepKey(a *payment.Attempt, step string) string {
	return e.derive("step", a.Reference, step)
}

// nonce is 16 bytes that a codec may put on the wire; the same in every repeat
// of a step, so that a repeat is the same request.
func (e *Engine) nonce(a *payment.Attempt, step string) (n [16]byte) {
	mac := hmac.New(sha256.New, e.cfg.Pepper)
	mac.Write([]byte("nonce\x00" + a.Reference + "\x00" + step))
	copy(n[:], mac.Sum(nil))
	return n
}

const returnTokenSeparator = "."

// returnToken is the part of the return address by which an attempt is found
// when the payer comes back: nobody can make one up.
func (e *Engine) returnToken(payment, attempt string) string {
	return payment + returnTokenSeparator + attempt + returnTokenSeparator + e.derive("return", payment, attempt)
}

// parseReturnToken yields the payment and the attempt of a token that we made.
func (e *Engine) parseReturnToken(token string) (pay, attempt string, ok bool) {
	parts := strings.Split(token, returnTokenSeparator)
	if len(parts) != 3 || !payment.IsID(payment.PrefixPayment, parts[0]) || !payment.IsID(payment.PrefixAttempt, parts[1]) {
		return "", "", false
	}
	want := e.derive("return", parts[0], parts[1])
	return parts[0], parts[1], hmac.Equal([]byte(want), []byte(parts[2]))
}
