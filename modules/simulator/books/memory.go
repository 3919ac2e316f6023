package books

import (
	"bytes"
	"errors"
	"sync"
	"time"
)

// Errors of the idempotency memory.
var (
	ErrKeyInUse  = errors.New("the first request under this key still runs")
	ErrKeyReused = errors.New("the key was used with other parameters")
)

// Memory is a PSP's idempotency memory: what was first answered under a key.
type Memory struct {
	window time.Duration
	mu     sync.Mutex
	kept   *shelf[string, remembered]
}

type remembered struct {
	Fingerprint [32]byte  `json:"fingerprint"`
	At          time.Time `json:"at"`
	Running     bool      `json:"running,omitzero"`
	Status      int       `json:"status"`
	Body        []byte    `json:"body"`
}

func newMemory(limit int, window time.Duration) *Memory {
	return &Memory{window: window, kept: newShelf[string, remembered](limit)}
}

// Begin claims key for a request with this fingerprint. replay is true where
// an answer is known already. [ErrKeyInUse] and [ErrKeyReused] refuse.
func (m *Memory) Begin(key string, fingerprint [32]byte, now time.Time) (a Answer, replay bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.kept.get(key)
	switch {
	case !ok || (!e.Running && now.Sub(e.At) >= m.window):
		m.kept.put(key, remembered{Fingerprint: fingerprint, At: now, Running: true})
		m.kept.evict(func(r remembered) bool { return !r.Running }, nil)
		return Answer{}, false, nil
	case e.Fingerprint != fingerprint:
		return Answer{}, false, ErrKeyReused
	case e.Running:
		return Answer{}, false, ErrKeyInUse
	}
	return Answer{Status: e.Status, Body: e.Body}, true, nil
}

// Keep stores the answer of the request that claimed key.
func (m *Memory) Keep(key string, status int, body []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.kept.get(key); ok {
		e.Running, e.Status, e.Body = false, status, bytes.Clone(body)
		m.kept.put(key, e)
	}
}

// Forget gives the claim back: nothing was executed.
func (m *Memory) Forget(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept.remove(key)
}

func (m *Memory) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept = newShelf[string, remembered](m.kept.max)
}
