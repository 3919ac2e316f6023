package transport

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/purser-pay/purser/modules/connector"
)

const (
	// tokenTimeout bounds the fetching of one token.
	tokenTimeout = 10 * time.Second
	// tokenMargin is kept from a token's end: clocks differ, and a request takes
	// time.
	tokenMargin = time.Minute
)

// errToken marks a failure to get a token: nothing of the step itself was sent.
var errToken = errors.New("no access token")

// tokens keeps the account's bearer token. Many may ask at once: one fetches.
type tokens struct {
	mu     sync.Mutex
	token  connector.Secret
	until  time.Time
	flight *flight
}

type flight struct {
	done  chan struct{}
	token connector.Secret
	err   error
}

// get returns the kept token, or fetches one; fresh tells which.
func (k *tokens) get(ctx context.Context, t *Transport, room *room, source connector.TokenSource, c connector.Call) (token connector.Secret, fresh bool, err error) {
	k.mu.Lock()
	if !k.token.IsZero() && t.cfg.Now().Before(k.until) {
		token = k.token
		k.mu.Unlock()
		return token, false, nil
	}
	f := k.flight
	if f == nil {
		f = &flight{done: make(chan struct{})}
		k.flight = f
		// The fetch serves all who wait: it must not end with the first of them.
		go k.fetch(context.WithoutCancel(ctx), f, t, room, source, c)
	}
	k.mu.Unlock()
	select {
	case <-f.done:
		return f.token, true, f.err
	case <-ctx.Done():
		return connector.Secret{}, false, fmt.Errorf("%w: %w", errToken, ctx.Err())
	}
}

func (k *tokens) fetch(ctx context.Context, f *flight, t *Transport, room *room, source connector.TokenSource, c connector.Call) {
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	asked := t.cfg.Now()
	token, ttl, err := fetchToken(ctx, t, room, source, c)
	if err != nil {
		err = fmt.Errorf("%w: %w", errToken, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	f.token, f.err = token, err
	if err == nil {
		k.token, k.until = token, asked.Add(ttl-tokenMargin)
	}
	k.flight = nil
	close(f.done)
}

func fetchToken(ctx context.Context, t *Transport, room *room, source connector.TokenSource, c connector.Call) (token connector.Secret, ttl time.Duration, err error) {
	defer guard(&err)
	req, err := source.EncodeToken(c)
	if err != nil {
		return connector.Secret{}, 0, fmt.Errorf("encode: %w", err)
	}
	e, err := t.prepare(room, req)
	if err != nil {
		return connector.Secret{}, 0, err
	}
	a := room.roundTrip(ctx, e, t.cfg.Now)
	if a.err != nil {
		return connector.Secret{}, 0, a.err
	}
	token, ttl, err = source.DecodeToken(a.response)
	if err == nil && token.IsZero() {
		err = errors.New("the PSP gave none")
	}
	if err != nil {
		return connector.Secret{}, 0, fmt.Errorf("decode answer %d: %w", a.response.StatusCode, err)
	}
	return token, ttl, nil
}

// forgetToken drops the token that the PSP refused, and the request that bears
// it; false where the PSP wants none.
func (r *run) forgetToken() bool {
	if _, ok := r.account.Connector.(connector.TokenSource); !ok {
		return false
	}
	k := &r.room.tokens
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.token == r.call.Token { // another may have fetched a new one already
		k.token, k.until = connector.Secret{}, time.Time{}
	}
	r.req = nil
	return true
}
