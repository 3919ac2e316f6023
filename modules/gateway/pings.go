package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/purser-pay/purser/modules/store"
)

// A ping of the store is a durable write, and anybody may ask whether the gateway is
// ready: without a bound, that is a write for each request of whoever likes.
const (
	// pingShared is how long after its begin a ping is everybody's who asks. A balancer
	// asks each second, and what it hears may be that much older.
	pingShared = 250 * time.Millisecond
	// pingMost bounds one ping. Who asks after pingShared begins another, so that a store
	// that is back is noticed while older pings still hang.
	pingMost = 2 * time.Second
)

// pings shares pings among those who ask. Its clock is an argument of each question.
type pings struct {
	mu   sync.Mutex
	last *sharedPing
}

type sharedPing struct {
	began time.Time
	done  chan struct{}
	err   error // once it is done
}

// share returns what the last ping says, if it is young enough, or begins another.
// begin is called before share returns, and what it returns by another goroutine.
func (p *pings) share(ctx context.Context, now time.Time, begin func() func(context.Context) error) error {
	p.mu.Lock()
	one := p.last
	if one == nil || now.Sub(one.began) >= pingShared {
		one = &sharedPing{began: now, done: make(chan struct{})}
		p.last = one
		go one.run(context.WithoutCancel(ctx), begin())
	}
	p.mu.Unlock()
	select {
	case <-one.done:
		return one.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (one *sharedPing) run(ctx context.Context, ping func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, pingMost)
	defer cancel()
	defer close(one.done)
	one.err = ping(ctx)
}

// doorStore is the store as doors have it.
type doorStore struct {
	store.Store
	app *App
}

// Ping implements [store.Store].
func (s doorStore) Ping(ctx context.Context) error {
	return s.app.ground.pings.share(ctx, time.Now(), func() func(context.Context) error {
		done := s.app.Use() // the one who asked may be gone before there is an answer
		return func(ctx context.Context) error {
			defer done()
			return s.Store.Ping(ctx)
		}
	})
}
