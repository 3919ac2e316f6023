package gateway

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestPings holds that however many ask, the store is pinged four times a second at
// most, that each hears of a ping that began no longer ago than that, and that who
// gives up takes nothing from the others.
func TestPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pings
		begun := 0
		answer := make(chan error)
		ask := func(ctx context.Context) error {
			return p.share(ctx, time.Now(), func() func(context.Context) error {
				begun++
				told := answer
				return func(ctx context.Context) error {
					select {
					case err := <-told:
						return err
					case <-ctx.Done():
						return ctx.Err()
					}
				}
			})
		}
		many := func(want error) *sync.WaitGroup {
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() {
					if err := ask(t.Context()); !errors.Is(err, want) {
						t.Errorf("got %v, want %v", err, want)
					}
				})
			}
			synctest.Wait()
			return &all
		}
		away := errors.New("the store is away")

		impatient, cancel := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() { gone <- ask(impatient) }()
		synctest.Wait()
		waiting := many(nil)
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up got %v", err)
		}
		answer <- nil
		waiting.Wait()
		many(nil).Wait()
		if begun != 1 {
			t.Errorf("%d pings for all who asked at once, want 1", begun)
		}

		time.Sleep(pingShared - time.Millisecond)
		many(nil).Wait()
		time.Sleep(time.Millisecond)
		waiting = many(away)
		answer <- away
		waiting.Wait()
		if begun != 2 {
			t.Errorf("%d pings after %s, want 2", begun, pingShared)
		}

		// The third hangs. The store is back before that ping ends, and is seen to be.
		time.Sleep(pingShared)
		waiting = many(context.DeadlineExceeded)
		answer = make(chan error)
		time.Sleep(pingShared)
		back := make(chan error)
		go func() { back <- ask(t.Context()) }()
		synctest.Wait()
		answer <- nil
		if err := <-back; err != nil {
			t.Errorf("once the store is back: %v", err)
		}
		waiting.Wait()
		if begun != 4 {
			t.Errorf("%d pings, want 4", begun)
		}
	})
}
