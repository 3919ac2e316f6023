package gateway

import (
	"context"
	"sync"
	"testing"

	"github.com/purser-pay/purser/modules/outbox"
)

func TestLifetime(t *testing.T) {
	tests := []struct {
		name  string
		steps string // e: enter, l: leave, x: end
		want  int    // releases
	}{
		{"never ended", "elel", 0},
		{"nobody there", "x", 1},
		{"ended twice", "xx", 1},
		{"one is left", "eex l", 0},
		{"the last one leaves", "eexll", 1},
		{"ended twice under users", "exxl", 1},
		{"somebody comes late", "xel", 1},
		{"somebody comes while it ends", "exell", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var l lifetime
			released := 0
			l.begin(func() { released++ })
			for _, step := range tt.steps {
				switch step {
				case 'e':
					l.enter()
				case 'l':
					l.leave()
				case 'x':
					l.end()
				}
			}
			if released != tt.want {
				t.Errorf("released %d times, want %d", released, tt.want)
			}
			for released == 0 { // give the process-wide count back
				l.end()
				l.leave()
			}
		})
	}
	if err := Drain(context.Background()); err != nil {
		t.Errorf("Drain = %v, want nil: everything was let go of", err)
	}
}

// TestLifetimeOnce holds that concurrent users and ends release once.
func TestLifetimeOnce(t *testing.T) {
	var l lifetime
	var released sync.WaitGroup
	released.Add(1)
	l.begin(released.Done) // a second call panics
	var users sync.WaitGroup
	for range 8 {
		users.Go(func() {
			for range 1000 {
				l.enter()()
			}
		})
	}
	users.Go(func() { l.end(); l.end() })
	users.Wait()
	released.Wait()
}

// TestCleanupOfNothing holds that an app that was never provisioned can end.
func TestCleanupOfNothing(t *testing.T) {
	a := new(App)
	if err := a.Stop(); err != nil {
		t.Errorf("Stop = %v, want nil", err)
	}
	if err := a.Cleanup(); err != nil {
		t.Errorf("Cleanup = %v, want nil", err)
	}
}

// TestHook holds that the outbox of the configuration that runs is woken, also after
// one that started and did not follow.
func TestHook(t *testing.T) {
	var g ground
	first, second, third := new(outbox.Outbox), new(outbox.Outbox), new(outbox.Outbox)
	endFirst := g.hook(first)
	g.hook(second)() // it starts, and stops again
	if got := g.outbox.Load(); got != first {
		t.Error("after a reload that failed: the outbox that runs is not woken")
	}
	g.hook(third)
	endFirst()
	if got := g.outbox.Load(); got != third {
		t.Error("after a reload: the new outbox is not woken")
	}
}
