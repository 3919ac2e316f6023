package token

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"sync"
	"time"

	"github.com/dgraph-io/ristretto/v2"
)

const (
	// remembered bounds how long the result of a verification is believed. What
	// changes without our hearing of it (nothing should) has an end.
	remembered = time.Minute

	defaultVerified = 10_000
	maxVerified     = 1_000_000
)

// verified is what a token was found to be.
type verified struct {
	digest [sha256.Size]byte // of the token; the cache's own key is a hash of 64 bits
	epoch  uint64            // under which the verification began
	good   span
	id     Identity
}

// cache remembers tokens that were verified, and only those: what is refused is
// judged anew each time. It may lose what it has, and never has what is out of
// date: an entry says under which epoch it was made and when it is good, and
// whoever asks says what is now. So nothing that arrives late can revive what was
// made void, in whatever order the library does its work.
type cache struct {
	mu    sync.RWMutex // the library cannot be closed while it is in use
	items *ristretto.Cache[string, *verified]
}

// open makes room for a number of tokens. Until then, and after close, the cache
// is empty.
func (c *cache) open(entries int) error {
	items, err := ristretto.NewCache(&ristretto.Config[string, *verified]{
		NumCounters: 10 * int64(entries), // as the library's documentation advises
		MaxCost:     int64(entries),
		BufferItems: 64,
		// A token costs 1. The library would add the size of its own bookkeeping,
		// as if costs were bytes.
		IgnoreInternalCost: true,
	})
	if err != nil {
		return fmt.Errorf("make the cache of verified tokens: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.items = items
	return nil
}

func (c *cache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.items.Close()
	c.items = nil
}

func (c *cache) get(digest *[sha256.Size]byte, epoch uint64, now time.Time) (*verified, bool) {
	c.mu.RLock()
	v, ok := c.items.Get(string(digest[:]))
	c.mu.RUnlock()
	if !ok || v.epoch != epoch || now.Before(v.good.from) || !now.Before(v.good.until) ||
		subtle.ConstantTimeCompare(v.digest[:], digest[:]) != 1 {
		return nil, false
	}
	return v, true
}

func (c *cache) put(v *verified, now time.Time) {
	// The library's clock is the machine's. It frees memory by it; get decides.
	if limit := now.Add(remembered); v.good.until.After(limit) {
		v.good.until = limit
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	c.items.SetWithTTL(string(v.digest[:]), v, 1, v.good.until.Sub(now))
}
