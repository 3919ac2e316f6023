package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// merchant is a careful client: it repeats a request under its Idempotency-Key
// until it is answered, and remembers what it was told.
type merchant struct {
	url, key string
	client   *http.Client
	slots    chan struct{} // requests at a time

	sent, repeated atomic.Int64
	mu             sync.Mutex
	told           []told
}

// told is the first answer to a request.
type told struct {
	path, key string
	request   []byte
	status    int
	kind      string // Content-Type
	body      []byte
}

// problem is an error of the API.
type problem struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

func (p *problem) Error() string { return fmt.Sprintf("%d %s: %s", p.Status, p.Code, p.Detail) }

func newMerchant(url, key string, requests int) *merchant {
	return &merchant{
		url: url, key: key, slots: make(chan struct{}, requests),
		client: &http.Client{
			Timeout:   20 * time.Second,
			Transport: &http.Transport{MaxIdleConns: requests, MaxIdleConnsPerHost: requests, MaxConnsPerHost: requests},
		},
	}
}

type answer struct {
	status   int
	kind     string
	replayed bool
	body     []byte
	later    string // Retry-After
}

// once makes one try.
func (m *merchant) once(ctx context.Context, method, path, key string, body []byte) (answer, error) {
	select {
	case m.slots <- struct{}{}:
		defer func() { <-m.slots }()
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, m.url+path, content)
	if err != nil {
		return answer{}, err
	}
	req.GetBody = nil // net/http must not repeat behind our back: repeats are counted here
	req.Header.Set("Authorization", "Bearer "+m.key)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", key)
	}
	m.sent.Add(1)
	resp, err := m.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	b, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return answer{}, err
	}
	return answer{
		resp.StatusCode, resp.Header.Get("Content-Type"), resp.Header.Get("Idempotent-Replayed") == "true", b, resp.Header.Get("Retry-After"),
	}, nil
}

// try makes one try at a payment.
func (m *merchant) try(ctx context.Context, key string, body any) (answer, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return answer{}, err
	}
	return m.once(ctx, http.MethodPost, "/v1/payments", key, b)
}

// call repeats until there is an answer: anything but a lost connection, a
// failure of the gateway, or word that an earlier try is still running.
func (m *merchant) call(ctx context.Context, method, path, key string, body []byte) (answer, error) {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		a, err := m.once(ctx, method, path, key, body)
		if err == nil && !again(a) {
			return a, nil
		}
		m.repeated.Add(1)
		if !wait(ctx, pause) {
			return a, fmt.Errorf("%s %s (key %s) was never answered: last %d %.200s: %w", method, path, key, a.status, a.body, errors.Join(ctx.Err(), err))
		}
	}
}

func again(a answer) bool {
	if a.status >= 500 || a.status == http.StatusTooManyRequests {
		return true
	}
	if a.status != http.StatusConflict {
		return false
	}
	code := refusal(a).Code
	return code == "idempotency_key_in_use" || code == "operation_in_progress"
}

func refusal(a answer) *problem {
	p := &problem{Status: a.status}
	if err := json.Unmarshal(a.body, p); err != nil {
		p.Detail = string(a.body)
	}
	return p
}

// wait pauses; false means that there is no time left.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// post makes a call and keeps what it was told. A 4xx is a [*problem].
func (m *merchant) post(ctx context.Context, path, key string, body, v any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	a, err := m.call(ctx, http.MethodPost, path, key, b)
	if err != nil {
		return err
	}
	if a.status/100 != 2 {
		return fmt.Errorf("POST %s: %w", path, refusal(a))
	}
	m.mu.Lock()
	m.told = append(m.told, told{path, key, b, a.status, a.kind, a.body})
	m.mu.Unlock()
	return json.Unmarshal(a.body, v)
}

func (m *merchant) get(ctx context.Context, path string, v any) error {
	a, err := m.call(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("GET %s: %w", path, refusal(a))
	}
	return json.Unmarshal(a.body, v)
}

// list reads all pages.
func list[T any](ctx context.Context, m *merchant, path string) ([]T, error) {
	var all []T
	for next := path; ; {
		var page struct {
			Data   []T     `json:"data"`
			Cursor *string `json:"next_cursor"`
		}
		if err := m.get(ctx, next, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Data...)
		if page.Cursor == nil {
			return all, nil
		}
		next = path + "&cursor=" + *page.Cursor
	}
}
