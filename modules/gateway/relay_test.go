package gateway

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
)

// toldChanges stands in for a store that other nodes write to.
type toldChanges struct {
	live  atomic.Bool
	heard chan func(changeKind)
	ended chan struct{}
}

func (c *toldChanges) Live() bool { return c.live.Load() }

func (c *toldChanges) Run(ctx context.Context, heard func(changeKind)) {
	c.heard <- heard
	<-ctx.Done()
	close(c.ended)
}

// TestRelay holds that a copy in memory is believed only while all that was heard
// has been read, and that a reading that fails is made again.
func TestRelay(t *testing.T) {
	c := &toldChanges{heard: make(chan func(changeKind), 1), ended: make(chan struct{})}
	r := startRelay(c)
	heard := <-c.heard
	if r.live() {
		t.Error("before there is a channel: live, want not")
	}
	c.live.Store(true)
	if !r.live() {
		t.Error("with a channel and no news: not live, want live")
	}

	var fail atomic.Bool
	fail.Store(true)
	began, goOn := make(chan struct{}), make(chan struct{})
	forget := r.hear(keysChanged, func(context.Context) error {
		began <- struct{}{}
		<-goOn
		if fail.Load() {
			return errors.New("the store is away")
		}
		return nil
	})
	others := make(chan struct{}, 1)
	r.hear(settingsChanged, func(context.Context) error {
		others <- struct{}{}
		return nil
	})
	heard(keysChanged)
	<-began
	if r.live() {
		t.Error("while the news are read: live, want not")
	}
	goOn <- struct{}{}
	<-began // by itself, after a pause
	if r.live() {
		t.Error("after a reading that failed: live, want not")
	}
	heard(keysChanged) // more, in the midst of a reading
	fail.Store(false)
	goOn <- struct{}{}
	<-began
	if r.live() {
		t.Error("with news that came during the reading: live, want not")
	}
	forget()
	last := make(chan struct{}, 2)
	r.hear(keysChanged, func(context.Context) error {
		last <- struct{}{}
		return nil
	})
	goOn <- struct{}{}
	heard(keysChanged)
	<-last
	heard(settingsChanged)
	<-others

	r.end()
	<-c.ended
	if !r.live() {
		t.Error("when all is read: not live, want live")
	}
}

// TestNoRelay: where there are no other nodes, there is nothing to distrust.
func TestNoRelay(t *testing.T) {
	r := startRelay(nil)
	forget := r.hear(keysChanged, func(context.Context) error { return nil })
	forget()
	if !r.live() {
		t.Error("no relay: not live, want live")
	}
	r.end()
}
