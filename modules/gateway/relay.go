package gateway

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// relayPatience bounds one re-reading of what changed.
	relayPatience = 5 * time.Second
	// relayPause is the time between tries of a re-reading that failed.
	relayPause = 100 * time.Millisecond
)

// relay hands on what other nodes have written to those who keep a copy in
// memory. A nil relay has nothing to tell.
type relay struct {
	changes changes
	stop    context.CancelFunc
	done    sync.WaitGroup

	kinds map[changeKind]*signal
}

// signal is one kind of change on its way.
type signal struct {
	wake chan struct{}
	// heard counts the news, and read how many of them every copy has in it.
	heard, read atomic.Int64

	mu      sync.Mutex
	hearers map[int]hearer
	next    int
}

// hearer keeps a copy in memory.
type hearer struct {
	note func(news) // that it is out of date, at once; nil = it reads everything anyway
	read func(context.Context) error
}

// startRelay listens until end; nil where there are no others to hear of.
func startRelay(c changes) *relay {
	if c == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &relay{changes: c, stop: cancel, kinds: map[changeKind]*signal{}}
	for _, k := range changeKinds {
		s := &signal{wake: make(chan struct{}, 1), hearers: map[int]hearer{}}
		r.kinds[k] = s
		r.done.Go(func() { s.serve(ctx) })
	}
	r.done.Go(func() { c.Run(ctx, r.heard) })
	return r
}

func (r *relay) end() {
	if r != nil {
		r.stop()
		r.done.Wait()
	}
}

// heard takes news; it does not block.
func (r *relay) heard(n news) {
	s := r.kinds[n.kind]
	s.note(n)
	select {
	case s.wake <- struct{}{}:
	default: // it will read once more anyway
	}
}

// live tells whether what is in memory of a kind may be believed: whatever was
// committed more than a second ago has been heard of and read.
func (r *relay) live(k changeKind) bool {
	return r == nil || r.changes.Live() && r.kinds[k].current()
}

// hear has read called after each change of a kind, until forget is called.
func (r *relay) hear(k changeKind, read func(context.Context) error) (forget func()) {
	return r.hearEach(k, nil, read)
}

// hearEach is hear for one who reads only what has changed: note is told of each change
// before read is called, and must not block.
func (r *relay) hearEach(k changeKind, note func(news), read func(context.Context) error) (forget func()) {
	if r == nil {
		return func() {}
	}
	s := r.kinds[k]
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.next
	s.next++
	s.hearers[id] = hearer{note, read}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.hearers, id)
	}
}

// note tells everybody what has changed, and only then counts it: a reading that has it
// in its count has it noted.
func (s *signal) note(n news) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.hearers {
		if h.note != nil {
			h.note(n)
		}
	}
	s.heard.Add(1)
}

// serve reads again what has changed, as often as it takes.
func (s *signal) serve(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		for !s.readAll(ctx) {
			if !pause(ctx, relayPause) {
				return
			}
		}
	}
}

// current tells whether all that was heard has been read.
func (s *signal) current() bool { return s.read.Load() >= s.heard.Load() }

// readAll has everybody read. News that come in meanwhile are for the next round.
func (s *signal) readAll(ctx context.Context) bool {
	heard := s.heard.Load()
	s.mu.Lock()
	readers := make([]func(context.Context) error, 0, len(s.hearers))
	for _, h := range s.hearers {
		readers = append(readers, h.read)
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, relayPatience)
	defer cancel()
	for _, read := range readers {
		if read(ctx) != nil {
			return false // the copy is not believed, and read again soon
		}
	}
	s.read.Store(heard)
	return true
}

// pause waits; false means that ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
