package gateway

import (
	"context"
	"sync"
)

// lifetime lets go of what an app holds once the last request that uses it has
// been answered. Caddy ends an old configuration while its requests are still
// under way, and a store that closed under them would fail payments half-way.
type lifetime struct {
	mu      sync.Mutex
	users   int
	ending  bool
	release func()
}

// holding counts the apps of the process that hold something.
var holding sync.WaitGroup

// begin says what is to be let go of at the end.
func (l *lifetime) begin(release func()) {
	holding.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.release = func() {
		defer holding.Done()
		release()
	}
}

// enter keeps everything until leave is called.
func (l *lifetime) enter() (leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users++
	return l.leave
}

func (l *lifetime) leave() {
	l.mu.Lock()
	l.users--
	release := l.take()
	l.mu.Unlock()
	release()
}

// end lets go as soon as nobody is left. A second call does nothing.
func (l *lifetime) end() {
	l.mu.Lock()
	l.ending = true
	release := l.take()
	l.mu.Unlock()
	release()
}

// take hands out the release once, when it is due.
func (l *lifetime) take() func() {
	if !l.ending || l.users > 0 || l.release == nil {
		return func() {}
	}
	release := l.release
	l.release = nil
	return release
}

// Use keeps the app's store open until leave is called. HTTP handlers hold it
// for each request.
func (a *App) Use() (leave func()) { return a.lifetime.enter() }

// Drain waits until no app of this process holds anything: caddy.Stop returns
// while the last requests are being answered. It returns ctx's error where ctx
// ends first.
func Drain(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		holding.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
