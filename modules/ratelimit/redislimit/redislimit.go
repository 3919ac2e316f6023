// Package redislimit counts rate limits in Redis, so that several nodes share
// them. A decision over all its windows is one call of a script, by the clock of
// Redis.
package redislimit

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/ulule/limiter/v3"

	"github.com/purser-pay/purser/modules/ratelimit"
)

//go:embed take.lua
var takeScript string

const (
	// DefaultPrefix begins every key in Redis.
	DefaultPrefix = "purser:limit:"

	timeout     = 50 * time.Millisecond // of one command; the caller's deadline counts as well
	dialTimeout = time.Second           // of a connection, with TLS and its greeting
	poolSize    = 32                    // connections at most
	idle        = 4                     // kept open
)

var errAnswer = errors.New("redis gave an answer that the script cannot give")

// Store counts in Redis. It is safe for concurrent use.
type Store struct {
	ratelimit.Contract
	client *redis.Client
	script *redis.Script
	prefix string
}

var (
	_ ratelimit.Store  = (*Store)(nil)
	_ ratelimit.Shared = (*Store)(nil)
)

// Open reads a URL such as "rediss://user:password@host:6379/0"; the first
// connection is made when somebody needs it. Keys begin with prefix; "" =
// [DefaultPrefix]. Now serves the contract's Reset alone: decisions go by the
// clock of Redis. No error quotes the URL, which may hold a password.
func Open(url, prefix string, now func() time.Time) (*Store, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, errors.New("the address of Redis is of the form redis://[user:password@]host[:6379][/database], or rediss:// for TLS")
	}
	if prefix == "" {
		prefix = DefaultPrefix
	}
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = dialTimeout, timeout, timeout, timeout
	o.ContextTimeoutEnabled = true
	o.MaxRetries = -1   // a decision that was sent may have counted
	o.DialerRetries = 1 // who asks is told at once; the next one dials again
	o.PoolSize, o.MinIdleConns = poolSize, idle
	// Redis Enterprise's announcements of maintenance; others answer an error.
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	redis.SetLogger(quiet{})
	s := &Store{client: redis.NewClient(o), script: redis.NewScript(takeScript), prefix: prefix}
	s.Contract = ratelimit.Contract{Taker: s, Now: now}
	return s, nil
}

// Take implements [ratelimit.Store].
func (s *Store) Take(ctx context.Context, g ratelimit.Group, charges []ratelimit.Charge, states []ratelimit.State) ([]ratelimit.State, error) {
	d, err := ratelimit.Weigh(charges)
	if err != nil || len(charges) == 0 {
		return states, err
	}
	answer, err := s.pour(ctx, g, charges, &d)
	if err != nil {
		return states, err
	}
	return d.States(states, answer[0] == 1, answer[1:]), nil
}

// Give implements [ratelimit.Store].
func (s *Store) Give(ctx context.Context, g ratelimit.Group, charges []ratelimit.Charge, ago time.Duration) error {
	d, err := ratelimit.Unweigh(charges, ago)
	if err != nil || len(charges) == 0 {
		return err
	}
	_, err = s.pour(ctx, g, charges, &d)
	return err
}

// pour lets the script put the needs of a decision in. The answer is 1 where all
// fit, else 0, and the level of each window before.
func (s *Store) pour(ctx context.Context, g ratelimit.Group, charges []ratelimit.Charge, d *ratelimit.Decision) ([]int64, error) {
	keys, args := make([]string, len(charges)), make([]any, 0, 2*len(charges))
	for i := range charges {
		keys[i] = s.key(g, charges[i])
		args = append(args, d.Capacity[i], d.Need[i])
	}
	answer, err := s.script.Run(ctx, s.client, keys, args...).Int64Slice()
	switch {
	case err != nil:
		return nil, fmt.Errorf("redis: %w", err)
	case len(answer) != len(charges)+1:
		return nil, fmt.Errorf("%w: %d numbers for %d windows", errAnswer, len(answer), len(charges))
	}
	return answer, nil
}

// Forget implements [ratelimit.Taker].
func (s *Store) Forget(ctx context.Context, g ratelimit.Group, c ratelimit.Charge) error {
	if err := s.client.Del(ctx, s.key(g, c)).Err(); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	return nil
}

// key names a window. What is in braces puts all windows of a group into the
// same slot of a cluster. A rule may have any name, so its length stands before
// it; the name of who is counted comes last, and may be anything as well.
func (s *Store) key(g ratelimit.Group, c ratelimit.Charge) string {
	return s.prefix + "{" + g.Kind.String() + ":" + g.ID + "}:" + string(c.Scope) + ":" + c.Rate.Period.String() + ":" +
		strconv.Itoa(len(c.Rule)) + ":" + c.Rule + ":" + c.Mode + ":" + c.Name
}

// Ping implements [ratelimit.Shared]: it lets the script write, which a replica
// and a Redis without memory refuse.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.Take(ctx, ratelimit.Group{ID: "ping"}, []ratelimit.Charge{
		{Rate: limiter.Rate{Period: time.Second, Limit: 1_000_000}, Cost: 1},
	}, nil)
	return err
}

// Close ends the connections.
func (s *Store) Close() error { return s.client.Close() }

// quiet keeps the client from writing to standard error: what fails is returned,
// and told once by whoever falls back.
type quiet struct{}

// Printf says nothing.
func (quiet) Printf(context.Context, string, ...any) {}
