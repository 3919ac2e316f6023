package payment

import (
	"crypto/rand"
	"encoding/base32"
	"io"
	"strings"
	"sync"
	"time"
)

// Prefixes of identifiers: each is followed by "_" and 26 characters.
const (
	PrefixPayment  = "pay"
	PrefixRefund   = "re"
	PrefixAttempt  = "att"
	PrefixEvent    = "evt"
	PrefixKey      = "key"
	PrefixMerchant = "mer"
	PrefixRequest  = "req"
	PrefixAudit    = "aud"
	PrefixEndpoint = "we"
	PrefixDelivery = "whd"
)

// idLength is what 128 bits come to in base32.
const idLength = 26

// crockford is Douglas Crockford's alphabet in lower case: no i, l, o, u.
const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"

var crockford = base32.NewEncoding(alphabet).WithPadding(base32.NoPadding)

// IDs makes identifiers that sort by the time of their making: UUIDv7 (RFC
// 9562 §5.7) in lower-case Crockford base32, whose two spare bits are at the end.
// (A TypeID has them at the beginning, and reads otherwise.) Safe for concurrent use.
type IDs struct {
	// Now tells the time; nil is time.Now.
	Now func() time.Time
	// Random yields the 74 random bits; nil is crypto/rand.
	Random io.Reader

	mu   sync.Mutex
	last int64 // the last millisecond shifted by 12 bits, plus a counter
}

// New returns prefix, "_" and a fresh UUIDv7. Within one IDs, each is greater
// than the one before: the 12 bits after the milliseconds count (RFC 9562 §6.2,
// method 1).
func (g *IDs) New(prefix string) string {
	var b [16]byte
	g.mu.Lock()
	now := time.Now //nolint:forbidigo // the default of the clock that is handed in
	if g.Now != nil {
		now = g.Now
	}
	random := g.Random
	if random == nil {
		random = rand.Reader
	}
	g.last = max(now().UnixMilli()<<12, g.last+1)
	stamp := g.last
	_, err := io.ReadFull(random, b[8:])
	g.mu.Unlock()
	if err != nil {
		// An operating system without randomness cannot run a payment gateway,
		// and crypto/rand itself ends the process; only a test's reader gets here.
		panic("payment: no randomness: " + err.Error())
	}
	ms := stamp >> 12
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i)) //nolint:gosec // the low byte is what is wanted
	}
	b[6] = 0x70 | byte(stamp>>8&0x0f)
	b[7] = byte(stamp) //nolint:gosec // the low byte is what is wanted
	b[8] = b[8]&0x3f | 0x80
	return prefix + "_" + crockford.EncodeToString(b[:])
}

// IsID tells whether s has the form of an identifier with this prefix. It says
// nothing of whether such a thing exists.
func IsID(prefix, s string) bool {
	rest, ok := strings.CutPrefix(s, prefix+"_")
	return ok && len(rest) == idLength && strings.Trim(rest, alphabet) == ""
}

// IDTime is when an identifier says that it was made, to the millisecond. It is the
// word of whoever wrote the identifier. Of what is not one it is the zero time.
func IDTime(s string) time.Time {
	_, rest, _ := strings.Cut(s, "_")
	if len(rest) != idLength {
		return time.Time{}
	}
	var b [16]byte
	if _, err := crockford.Decode(b[:], []byte(rest)); err != nil {
		return time.Time{}
	}
	var ms int64
	for _, one := range b[:6] {
		ms = ms<<8 | int64(one)
	}
	return time.UnixMilli(ms)
}
