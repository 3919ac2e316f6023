package token

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// refreshEvery is how often a key set is fetched, up to a tenth earlier. A key
	// that an issuer withdraws is refused after that.
	refreshEvery = 5 * time.Minute
	// readEvery is how often the file of a key set is read.
	readEvery = time.Second
	// retryFirst and retryMost bound the pause after a failure, which doubles each
	// time and is shortened by up to a half at random.
	retryFirst, retryMost = time.Second, time.Minute
	// askEvery is how often tokens with unknown keys can cause a fetch, and lookEvery a
	// reading of a file: whoever invents key IDs makes us fetch no more than that. After
	// a quiet time askBurst of them may come at once, so that a new key is found by the
	// first token that it signs, however shortly before the keys were read.
	askEvery, lookEvery = 10 * time.Second, 100 * time.Millisecond
	askBurst            = 2
	// waitMost is how long such a token waits.
	waitMost = 2 * time.Second
	// maxWaiting is how many of them wait for an issuer at once.
	maxWaiting = 256
	// keptFor is how long keys are good that could not be confirmed since.
	keptFor = 24 * time.Hour
)

var (
	errIssuer = errors.New("it is of no issuer whose tokens are taken")
	errNone   = errors.New("there are none yet")
	errOld    = errors.New("they could not be confirmed for a day")
	errAsk    = errors.New("the token's key is unknown, and they could not be asked for it")
)

// source is an issuer and where its keys come from. One goroutine reads them, and
// nobody else does.
type source struct {
	issuer  Issuer
	load    func(context.Context) ([]byte, error)
	pause   time.Duration // between two readings that succeed
	every   time.Duration // between two that tokens have asked for, on the whole
	cfg     *Config
	changed func() // the keys are other ones now

	held    atomic.Pointer[holding] // nil = none yet
	waiting atomic.Int32
	wake    chan struct{} // asks run for a reading; holds one

	mu     sync.Mutex
	flight chan struct{} // of the reading that is due or under way; closed at its end; nil = none
	asked  time.Time     // until then the readings that tokens asked for have used up their time
	lost   error         // why it failed; nil = it did not
	idle   bool          // nobody reads: before Start and after Close
}

// holding is the keys of an issuer, and until when they are good.
type holding struct {
	keys  *keySet
	sum   [sha256.Size]byte // of the text of the set
	until time.Time
}

// found is the key of a token.
type found struct {
	key   *key
	until time.Time
	epoch uint64 // read before the keys were
}

func newSource(is Issuer, isURL bool, cfg *Config, changed func()) *source {
	s := &source{issuer: is, cfg: cfg, changed: changed, wake: make(chan struct{}, 1), idle: true}
	if isURL {
		s.pause, s.every = refreshEvery, askEvery
		s.load = func(ctx context.Context) ([]byte, error) { return fetch(ctx, cfg.Client, is.JWKS) }
	} else {
		s.pause, s.every = readEvery, lookEvery
		s.load = func(context.Context) ([]byte, error) { return readFile(is.JWKS) }
	}
	return s
}

func (s *source) allows(alg string) error {
	if !slices.Contains(s.issuer.Algorithms, alg) {
		return errAlgorithm
	}
	return nil
}

// keyOf finds the key of a token, and waits for the keys where that may help.
func (s *source) keyOf(ctx context.Context, c *compact, epoch *atomic.Uint64) (found, error) {
	f, err := s.look(c, epoch)
	if !errors.Is(err, errUnknownKey) && !errors.Is(err, errNone) && !errors.Is(err, errOld) {
		return f, err
	}
	if !s.await(ctx) {
		return f, s.verdict(err)
	}
	f, err = s.look(c, epoch)
	if err != nil {
		return f, s.verdict(err)
	}
	return f, nil
}

// look finds the key of a token among those that are held.
func (s *source) look(c *compact, epoch *atomic.Uint64) (found, error) {
	// In this order: whoever changes the keys counts the epoch afterwards, so that
	// old keys go with the old epoch.
	f := found{epoch: epoch.Load()}
	h := s.held.Load()
	switch {
	case h == nil:
		return f, fmt.Errorf("%w: %w", ErrUnavailable, errNone)
	case !s.cfg.Now().Before(h.until):
		return f, fmt.Errorf("%w: %w", ErrUnavailable, errOld)
	}
	var err error
	if f.key, err = h.keys.find(c); err != nil {
		return f, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	f.until = h.until
	return f, nil
}

// verdict turns "no such key" into "nobody can say" where the issuer could not be
// asked: the key may be one of its new ones.
func (s *source) verdict(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(err, errUnknownKey) && (s.lost != nil || s.flight != nil) {
		return fmt.Errorf("%w: %w", ErrUnavailable, errAsk)
	}
	return err
}

// await waits for the reading that is under way, or has one made. It returns
// whether one has ended.
func (s *source) await(ctx context.Context) bool {
	flight := s.ask()
	if flight == nil {
		return false
	}
	if s.waiting.Add(1) > maxWaiting {
		s.waiting.Add(-1)
		return false
	}
	defer s.waiting.Add(-1)
	ctx, cancel := context.WithTimeout(ctx, waitMost)
	defer cancel()
	select {
	case <-flight:
		return true
	case <-ctx.Done():
		return false
	}
}

// ask returns the end of the reading that is under way or that it causes, and nil
// where it is too early for one.
func (s *source) ask() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight == nil && !s.idle && s.mayAsk() {
		s.flight = make(chan struct{})
		s.wake <- struct{}{} // there is room: without a flight, nobody has asked
	}
	return s.flight
}

// mayAsk counts a reading for a token, if it is not too early for one (GCRA).
func (s *source) mayAsk() bool {
	now := s.cfg.Now()
	if s.asked.Sub(now) > (askBurst-1)*s.every {
		return false
	}
	if s.asked.Before(now) {
		s.asked = now
	}
	s.asked = s.asked.Add(s.every)
	return true
}

// begin announces a reading.
func (s *source) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight == nil {
		s.flight = make(chan struct{})
	}
	select { // a wish that came at the same time is fulfilled by this one
	case <-s.wake:
	default:
	}
	s.idle = false
}

// end announces the end of a reading, after which there is another one or not. It
// returns whether fortune has turned.
func (s *source) end(err error, last bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	turned := (err == nil) != (s.lost == nil)
	s.lost, s.idle = err, last
	close(s.flight)
	s.flight = nil
	return turned
}

// run reads the keys until ctx ends. The first reading has been announced.
func (s *source) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for failures := 0; ; {
		err := s.read(ctx)
		if ctx.Err() != nil {
			s.end(ctx.Err(), true)
			return
		}
		if s.end(err, false) {
			s.cfg.Changed(s.issuer.Name, err)
		}
		pause := s.pause - time.Duration(s.cfg.Chance()*float64(s.pause)/10)
		if err != nil {
			pause = retryFirst << min(failures, 10)
			pause = min(pause, retryMost)
			pause -= time.Duration(s.cfg.Chance() * float64(pause) / 2)
			failures++
		} else {
			failures = 0
		}
		timer.Reset(pause)
		select {
		case <-timer.C:
		case <-s.wake:
		case <-ctx.Done():
		}
		s.begin()
	}
}

// read reads the key set once, and takes it where it is sound. Otherwise the keys
// that are held stay until they are too old: an issuer that cannot be reached, or
// is not understood, has not withdrawn them.
func (s *source) read(ctx context.Context) error {
	text, err := s.load(ctx)
	if err != nil {
		return err
	}
	sum, until := sha256.Sum256(text), s.cfg.Now().Add(keptFor)
	if h := s.held.Load(); h != nil && h.sum == sum {
		s.held.Store(&holding{keys: h.keys, sum: sum, until: until})
		return nil
	}
	keys, err := parseKeySet(text, s.issuer.Algorithms)
	if err != nil {
		return err
	}
	s.held.Store(&holding{keys: keys, sum: sum, until: until})
	s.changed()
	return nil
}
