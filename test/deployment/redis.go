package deployment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"sync"
)

// defaultRedis is the server that is usual on a developer's machine.
const defaultRedis = "redis://127.0.0.1:6379/0"

// ErrNoRedis tells that there is no server and that none is required.
var ErrNoRedis = errors.New("no Redis can be reached; PURSER_REDIS names one, and requires it")

// Redis is a way to the Redis of tests that can be cut.
type Redis struct {
	// URL leads through the way.
	URL    string
	to     string
	listen net.Listener

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

// NewRedis opens a way to PURSER_REDIS, or else to the usual server. Where that is
// not set and nobody answers, it is [ErrNoRedis].
func NewRedis(ctx context.Context) (*Redis, error) {
	raw, required := os.LookupEnv("PURSER_REDIS")
	if !required {
		raw = defaultRedis
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	r := &Redis{to: u.Host, conns: map[net.Conn]bool{}}
	probe, err := new(net.Dialer).DialContext(ctx, "tcp", r.to)
	switch {
	case err != nil && !required:
		return nil, ErrNoRedis
	case err != nil:
		return nil, fmt.Errorf("redis: %w", err)
	}
	if r.listen, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, errors.Join(fmt.Errorf("redis: %w", err), probe.Close())
	}
	u.Host = r.listen.Addr().String()
	r.URL = u.String()
	go r.serve()
	return r, probe.Close()
}

func (r *Redis) serve() {
	for {
		c, err := r.listen.Accept()
		if err != nil {
			return // closed
		}
		if !r.keep(c) {
			continue
		}
		go r.join(c)
	}
}

// keep notes a connection; where the way is cut it is closed.
func (r *Redis) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut {
		_ = c.Close() // as a server that is gone
		return false
	}
	r.conns[c] = true
	return true
}

func (r *Redis) drop(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
	_ = c.Close() // the other side has closed, or we have
}

func (r *Redis) join(c net.Conn) {
	defer r.drop(c)
	server, err := net.Dial("tcp", r.to) //nolint:noctx // loopback; it ends with the connection
	if err != nil || !r.keep(server) {
		return
	}
	defer r.drop(server)
	go func() {
		_, _ = io.Copy(server, c) // it ends when either side does
		r.drop(server)
	}()
	_, _ = io.Copy(c, server) // as above
}

// Cut ends every connection, and lets none through until [Redis.Mend].
func (r *Redis) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = true
	for c := range r.conns {
		_ = c.Close() // that is what is wanted
	}
}

// Mend lets connections through again.
func (r *Redis) Mend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = false
}

// Close ends the way.
func (r *Redis) Close() error {
	r.Cut()
	return r.listen.Close()
}
