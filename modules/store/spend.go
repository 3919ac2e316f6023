package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/purser-pay/purser/modules/access"
)

// Nonce is a value that is good once in its space, at every node of a store and
// across restarts, until it expires.
type Nonce struct {
	// Space is what Value is unique in, such as "sig:" and a key's ID, or "dpop:"
	// and the thumbprint of a client's key.
	Space string
	Value string
	// Expires is when the value may be forgotten: later than the last moment at
	// which what bears it would be believed, by any node's clock. It is kept to the
	// millisecond, rounded up.
	Expires time.Time
}

// Digest is what stores keep of a nonce: SHA-256 over the length of the space,
// the space and the value. So every row has one size, and callers may choose any
// bytes of any length.
func (n *Nonce) Digest() [sha256.Size]byte {
	b := make([]byte, 0, 8+len(n.Space)+len(n.Value))
	b = binary.BigEndian.AppendUint64(b, uint64(len(n.Space)))
	b = append(append(b, n.Space...), n.Value...)
	return sha256.Sum256(b)
}

// MaxCounterName bounds the name of a counter, in bytes.
const MaxCounterName = 255

// errCounterName refuses a name that not every store can keep.
var errCounterName = fmt.Errorf("a counter's name is 1 … %d bytes of UTF-8 without a zero byte", MaxCounterName)

// Addition is what is added to a counter. A counter is a sum that never passes
// the limits of its additions, nor falls below zero: the amount of a day's
// payments under a quota. It exists from its first addition until it expires.
type Addition struct {
	// Counter is the counter's name. Name in it all that has a sum of its own: whose
	// it is, the currency, and the day.
	Counter string
	// Delta is what is added; a negative one is given back, and always fits.
	Delta int64
	// Limit is what the sum may come to, with Delta in it.
	Limit int64
	// Expires is when a counter that is not there yet begins anew. One that is there
	// keeps its own.
	Expires time.Time
}

// Check refuses an addition to what cannot be a counter.
func (a *Addition) Check() error {
	if n := len(a.Counter); n < 1 || n > MaxCounterName || !utf8.ValidString(a.Counter) || strings.IndexByte(a.Counter, 0) >= 0 {
		return errCounterName
	}
	return nil
}

// To is what a counter that stands at total, which is not negative, comes to.
// Where the addition does not fit it is total still, with a [*LimitError].
func (a *Addition) To(total int64) (int64, error) {
	if a.Delta <= 0 {
		return max(total+a.Delta, 0), nil
	}
	if limit := max(a.Limit, 0); a.Delta > limit-total { // which cannot overflow, as total + delta could
		return total, &LimitError{Counter: a.Counter, Total: total, Limit: limit}
	}
	return total + a.Delta, nil
}

// LimitError refuses an addition for which there is no room. It is an
// [ErrConflict].
type LimitError struct {
	Counter      string
	Total, Limit int64
}

// Rest is what could still have been added.
func (e *LimitError) Rest() int64 { return max(e.Limit-e.Total, 0) }

// Error tells the sum and its limit.
func (e *LimitError) Error() string {
	return fmt.Sprintf("counter %s stands at %d and is limited to %d", e.Counter, e.Total, e.Limit)
}

// Unwrap returns [ErrConflict].
func (*LimitError) Unwrap() error { return ErrConflict }

// IsLimit tells a refusal by a counter from every other error.
func IsLimit(err error) (*LimitError, bool) { return errors.AsType[*LimitError](err) }

// SpendNonce spends a nonce in a transaction of its own, as
// [Store.SpendNonce] does, and refuses one that names nothing.
func SpendNonce(ctx context.Context, s Store, n Nonce, now time.Time) error {
	if n.Space == "" || n.Value == "" {
		return errors.New("a nonce has a space and a value")
	}
	return s.SpendNonce(ctx, n, now)
}

// Rehash stores what access.Directory.Former has told of a key: its hash under
// another pepper. All else about the key stays as somebody may have made it
// meanwhile. A key that is gone, or was rehashed, is no error.
func Rehash(ctx context.Context, s Store, k access.Key) error {
	return s.Update(ctx, func(tx Tx) error {
		held, err := tx.APIKey(k.ID)
		if errors.Is(err, ErrNotFound) || err == nil && held.PepperID == k.PepperID {
			return nil
		}
		if err != nil {
			return fmt.Errorf("rehash %s: %w", k.ID, err)
		}
		held.Hash, held.PepperID = k.Hash, k.PepperID
		return tx.PutAPIKey(held)
	})
}
