// Package transport is the one room from which a byte leaves for a payment
// service provider. It sends what a connector encodes, bounds everything
// (hosts, time, answer size, calls in flight, repeats), and says afterwards what
// is known: not sent, answered, or unknown.
//
// Three rules hold for every connector:
//
//   - A request leaves at most once for each send. net/http may re-send a
//     request by itself when a kept-alive connection dies; every request
//     therefore bears a body that net/http cannot rewind (see encoded.request).
//   - "Not sent" is claimed only where it is certain (see probe).
//   - An exchange is as uncertain as its worst send: after one send of unknown
//     outcome, nothing but the PSP's own verdict ends the doubt.
package transport

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// Bounds of one exchange.
const (
	// DefaultMaxInFlight is how many exchanges an account may have under way.
	DefaultMaxInFlight = 512
	// MaxSends is how often one exchange may try to send its request.
	MaxSends = 3
	// MaxAnswer is the largest answer that is read, in bytes. No documented PSP
	// answer passes 100 kB.
	MaxAnswer = 1 << 20
	// MaxRequest is the largest request body that is sent, in bytes.
	MaxRequest = 1 << 20

	firstPause = 100 * time.Millisecond // doubles with every repeat
	minSend    = 100 * time.Millisecond // with less time left, no repeat begins
	minShare   = time.Second            // a send is given this much, if it is there
)

// Config is what a transport stands on. The zero value works.
type Config struct {
	// Tripper makes the client of one account; nil = [NewTripper] with the zero
	// HTTPOptions. It is called once for an account. What it returns must report
	// GetConn and GotConn to net/http/httptrace before it writes, as net/http
	// does; one that reports nothing costs certainty, never safety: each of its
	// failures counts as unknown.
	Tripper func(a *connector.Account) (http.RoundTripper, error)
	// MaxInFlight bounds the exchanges of one account that are under way;
	// 0 = [DefaultMaxInFlight]. Those beyond wait until their context ends.
	MaxInFlight int
	// Version goes into the User-Agent: "Purser/<version>"; "" = "dev".
	Version string
	// Observer hears of every exchange; nil = nobody does.
	Observer Observer
	// Breaker is that of an account; nil = it has none. It is called once for an
	// account.
	Breaker func(a *connector.Account) Breaker

	// Now is the clock by which contexts have their deadlines; nil = the real one.
	Now func() time.Time
	// Sleep waits before a repeat; nil = a timer. It returns ctx's error where
	// ctx ends first.
	Sleep func(ctx context.Context, d time.Duration) error
	// Random yields numbers in [0, 1) for the jitter of pauses; nil = a good
	// default. Nothing secret depends on it.
	Random func() float64
}

// Observation is one exchange as metrics and logs may see it. It holds no
// secret, no card data and no body.
type Observation struct {
	Account   string
	Connector string
	Mode      payment.Mode
	Kind      payment.Kind
	Step      string
	Outcome   connector.Outcome
	State     connector.State // of an answered exchange
	Sends     int
	Took      time.Duration // from the first byte to the last answer
	Waited    time.Duration // for a place among the account's calls in flight
	Err       error         // redacted; nil where answered
}

// Observer hears of exchanges. It is called once for each, at its end, by many
// goroutines at a time, and must not block.
type Observer interface {
	ObserveExchange(o Observation)
}

// What an exchange may fail with, for errors.Is.
var (
	// ErrHost refuses an address that the account may not reach.
	ErrHost = errors.New("host not allowed")
	// ErrBusy tells that no place among the calls in flight came free in time.
	ErrBusy = errors.New("too many calls in flight")
	// ErrTooLarge tells that a request or an answer passed its bound.
	ErrTooLarge = errors.New("message too large")
	// ErrIntegrity tells that an answer contradicts what was asked.
	ErrIntegrity = errors.New("answer contradicts the request")
	// ErrNotRepeatable tells that a request that may have been sent before may
	// not be sent again.
	ErrNotRepeatable = errors.New("request may not be repeated")
	// ErrRejected tells that the last send was turned away while an earlier one
	// is still in doubt.
	ErrRejected = errors.New("repeat was turned away, and the send before it is in doubt")
)

// Transport carries calls to PSPs. It is safe for concurrent use.
type Transport struct {
	cfg   Config
	agent string

	mu    sync.RWMutex
	rooms map[*connector.Account]*room
}

// New returns a transport. It opens nothing until the first exchange.
func New(cfg Config) *Transport {
	if cfg.Tripper == nil {
		cfg.Tripper = func(*connector.Account) (http.RoundTripper, error) { return NewTripper(HTTPOptions{}) }
	}
	if cfg.MaxInFlight <= 0 {
		cfg.MaxInFlight = DefaultMaxInFlight
	}
	if cfg.Version == "" {
		cfg.Version = "dev"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now //nolint:forbidigo // the default of the clock that is handed in
	}
	if cfg.Sleep == nil {
		cfg.Sleep = sleep
	}
	if cfg.Random == nil {
		cfg.Random = rand.Float64
	}
	return &Transport{cfg: cfg, agent: "Purser/" + cfg.Version, rooms: map[*connector.Account]*room{}}
}

// Close drops the idle connections. Exchanges under way go on.
func (t *Transport) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.rooms {
		r.dropIdle()
	}
}

// Exchange carries one step of an operation to the account's PSP and back,
// within ctx and the account's timeout, repeats included. It never returns an
// error beside the exchange: whatever went wrong, Outcome says what is known.
func (t *Transport) Exchange(ctx context.Context, a *connector.Account, c connector.Call) connector.Exchange {
	r := run{t: t, account: a, call: c, doubt: !c.Sent.IsZero() && c.Op.Kind() != payment.KindSync, sent: c.Sent}
	x := r.exchange(ctx)
	if t.cfg.Observer != nil {
		t.cfg.Observer.ObserveExchange(Observation{
			Account: a.Name, Connector: a.Connector.Spec().Name, Mode: a.Mode, Kind: c.Op.Kind(), Step: c.Step,
			Outcome: x.Outcome, State: x.Result.State, Sends: x.Sends, Took: x.Took, Waited: r.waited, Err: x.Err,
		})
	}
	return x
}

// room is what the transport keeps for one account.
type room struct {
	tripper http.RoundTripper
	traces  bool // the tripper is known to report connections to httptrace
	spec    connector.Spec
	hosts   hosts
	slots   chan struct{}
	tokens  tokens
	breaker Breaker // nil = none
}

func (t *Transport) room(a *connector.Account) (*room, error) {
	t.mu.RLock()
	r := t.rooms[a]
	t.mu.RUnlock()
	if r != nil {
		return r, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if r = t.rooms[a]; r != nil {
		return r, nil
	}
	r = &room{spec: a.Connector.Spec(), slots: make(chan struct{}, t.cfg.MaxInFlight)}
	var err error
	if r.hosts, err = newHosts(a, r.spec); err != nil {
		return nil, err
	}
	if r.tripper, err = t.cfg.Tripper(a); err != nil {
		return nil, err
	}
	_, r.traces = r.tripper.(*http.Transport)
	if t.cfg.Breaker != nil {
		r.breaker = t.cfg.Breaker(a)
	}
	t.rooms[a] = r
	return r, nil
}

// enter waits for a place among the account's calls in flight.
func (r *room) enter(ctx context.Context) error {
	select {
	case r.slots <- struct{}{}:
		return nil
	default:
	}
	select {
	case r.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errors.Join(ErrBusy, ctx.Err())
	}
}

func (r *room) leave() { <-r.slots }

func (r *room) dropIdle() {
	if c, ok := r.tripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
