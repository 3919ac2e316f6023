package gateway

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/purser-pay/purser/modules/store/postgres"
)

// toldChanges stands in for a store that other nodes write to.
type toldChanges struct {
	live  atomic.Bool
	heard chan func(news)
	ended chan struct{}
}

func (c *toldChanges) Live() bool { return c.live.Load() }

func (c *toldChanges) Run(ctx context.Context, heard func(news)) {
	c.heard <- heard
	<-ctx.Done()
	close(c.ended)
}

// TestRelay holds that a copy in memory is believed only while all that was heard
// has been read, and that a reading that fails is made again.
func TestRelay(t *testing.T) {
	c := &toldChanges{heard: make(chan func(news), 1), ended: make(chan struct{})}
	r := startRelay(c)
	heard := <-c.heard
	if r.live(keysChanged) {
		t.Error("before there is a channel: live, want not")
	}
	c.live.Store(true)
	if !r.live(keysChanged) {
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
	heard(news{kind: keysChanged})
	<-began
	if r.live(keysChanged) {
		t.Error("while the news are read: live, want not")
	}
	goOn <- struct{}{}
	<-began // by itself, after a pause
	if r.live(keysChanged) {
		t.Error("after a reading that failed: live, want not")
	}
	heard(news{kind: keysChanged}) // more, in the midst of a reading
	fail.Store(false)
	goOn <- struct{}{}
	<-began
	if r.live(keysChanged) {
		t.Error("with news that came during the reading: live, want not")
	}
	forget()
	last := make(chan struct{}, 2)
	r.hear(keysChanged, func(context.Context) error {
		last <- struct{}{}
		return nil
	})
	goOn <- struct{}{}
	heard(news{kind: keysChanged})
	<-last
	heard(news{kind: settingsChanged})
	<-others

	r.end()
	<-c.ended
	if !r.live(keysChanged) {
		t.Error("when all is read: not live, want live")
	}
}

// TestNoRelay: where there are no other nodes, there is nothing to distrust.
func TestNoRelay(t *testing.T) {
	r := startRelay(nil)
	forget := r.hear(keysChanged, func(context.Context) error { return nil })
	forget()
	if !r.live(keysChanged) {
		t.Error("no relay: not live, want live")
	}
	r.end()
}

// TestRelayNotes: who reads only what has changed has it noted before it counts as
// heard, so that no reading that has it in its count misses it.
func TestRelayNotes(t *testing.T) {
	c := &toldChanges{heard: make(chan func(news), 1), ended: make(chan struct{})}
	r := startRelay(c)
	heard := <-c.heard
	c.live.Store(true)
	var noted []news
	read := make(chan struct{})
	forget := r.hearEach(keysChanged, func(n news) {
		if got := r.kinds[keysChanged].heard.Load(); got != int64(len(noted)) {
			t.Errorf("%v is noted when %d news have counted, want %d", n, got, len(noted))
		}
		noted = append(noted, n)
	}, func(context.Context) error {
		read <- struct{}{}
		return nil
	})
	heard(news{kind: tokensRevoked})
	heard(news{kind: settingsChanged})
	want := []news{{kind: keysChanged, key: "key_a"}, {kind: keysChanged, merchant: "mer_a"}, {kind: keysChanged}}
	for _, n := range want {
		heard(n)
		if r.live(keysChanged) {
			t.Errorf("%v is not read: live, want not", n)
		}
		<-read
	}
	forget()
	heard(news{kind: keysChanged, key: "key_b"})
	r.end()
	if !slices.Equal(noted, want) {
		t.Errorf("noted %v, want %v", noted, want)
	}
}

// TestNewsOf: a change of keys has no tokens read, and the other way around; what may be
// anything has everything read.
func TestNewsOf(t *testing.T) {
	everything := []news{{kind: keysChanged}, {kind: tokensRevoked}, {kind: settingsChanged}}
	for _, tt := range []struct {
		told postgres.Change
		want []news
	}{
		{postgres.Change{Kind: postgres.APIKeyChanged, ID: "key_a"}, []news{{kind: keysChanged, key: "key_a"}}},
		{postgres.Change{Kind: postgres.APIKeyChanged}, []news{{kind: keysChanged}}},
		{postgres.Change{Kind: postgres.MerchantChanged, ID: "mer_a"}, []news{{kind: keysChanged, merchant: "mer_a"}}},
		{postgres.Change{Kind: postgres.MerchantChanged}, []news{{kind: keysChanged}}},
		{postgres.Change{Kind: postgres.TokensRevoked, ID: "https://a"}, []news{{kind: tokensRevoked}}},
		{postgres.Change{Kind: postgres.SettingChanged, ID: "frozen"}, []news{{kind: settingsChanged}}},
		{postgres.Change{Kind: postgres.Everything}, everything},
		{postgres.Change{Kind: "of a newer release", ID: "x"}, everything},
	} {
		if got := newsOf(tt.told); !slices.Equal(got, tt.want) {
			t.Errorf("%v: got %v, want %v", tt.told, got, tt.want)
		}
	}
}
