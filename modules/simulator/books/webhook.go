package books

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Endpoint is where a connector's events go.
type Endpoint struct {
	ID        string `json:"id"`
	Connector string `json:"connector"`
	// Account narrows it to one account of the PSP; empty = all.
	Account string `json:"account,omitzero"`
	URL     string `json:"url"`
	Secret  string `json:"secret,omitzero"`
}

// Notice is one webhook.
type Notice struct {
	Connector string
	Account   string
	Op        Operation // what caused it, for the faults
	Subject   string    // the charge: notices of one charge leave in order
	// URL is where it goes; empty = to every [Endpoint] that matches.
	URL         string
	ContentType string
	Body        []byte
	// Sign yields the signature's header fields for body, just before each
	// send; nil = the body bears its signature itself.
	Sign func(secret string, body []byte, now time.Time) http.Header
	// Unsigned is the body that webhook_unsigned sends; nil = Body without the
	// header of Sign.
	Unsigned []byte
	// Accepted judges the receiver's answer; nil = any 2xx.
	Accepted func(status int, body []byte) bool

	secret   string
	unsigned bool
	try      int
}

var defaultRetryWaits = []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute}

const (
	webhookWorkers = 4
	webhookQueue   = 16384 // per worker; what comes beyond it is dropped and counted
	webhookTimeout = 10 * time.Second
	maxEndpoints   = 1000
	maxReceipt     = 4096 // bytes of a receiver's answer that are read
)

// Webhooks is the delivery queue. Its workers start with the first notice.
type Webhooks struct {
	b     *Books
	waits []time.Duration
	seed  maphash.Seed

	mu        sync.Mutex
	endpoints []Endpoint
	held      []*heldNotice // late, reordered, or waiting for another try
	stats     WebhookStats

	start  sync.Once
	queues [webhookWorkers]chan Notice
	ctx    context.Context //nolint:containedctx // the life of the workers, ended by close
	cancel context.CancelFunc
	group  sync.WaitGroup
}

// WebhookStats counts what became of the notices.
type WebhookStats struct {
	Sent      int64 `json:"sent"` // tries
	Delivered int64 `json:"delivered"`
	GivenUp   int64 `json:"given_up"`
	Dropped   int64 `json:"dropped"` // by a fault, or for want of room
	Held      int   `json:"held"`
}

type heldNotice struct {
	Notice
	stop func() bool
	// behind is the target whose next notice it lets pass.
	behind string
}

func newWebhooks(b *Books) *Webhooks {
	q := &Webhooks{b: b, waits: b.cfg.RetryWaits, seed: maphash.MakeSeed()}
	if q.waits == nil {
		q.waits = defaultRetryWaits
	}
	q.ctx, q.cancel = context.WithCancel(context.Background()) //nolint:forbidigo // the workers outlive every request
	return q
}

// Register adds an endpoint, or replaces the one of the same connector, account
// and URL.
func (q *Webhooks) Register(e Endpoint) (Endpoint, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, have := range q.endpoints {
		if have.Connector == e.Connector && have.Account == e.Account && have.URL == e.URL {
			e.ID = have.ID
			q.endpoints[i] = e
			return e, nil
		}
	}
	if len(q.endpoints) >= maxEndpoints {
		return e, fmt.Errorf("more than %d webhook endpoints", maxEndpoints)
	}
	e.ID = q.b.ID("we_", 24)
	q.endpoints = append(q.endpoints, e)
	q.b.changes.Add(1)
	return e, nil
}

// Unregister removes the endpoints of a connector, or all.
func (q *Webhooks) Unregister(connector string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.endpoints = slices.DeleteFunc(q.endpoints, func(e Endpoint) bool {
		return connector == "" || e.Connector == connector
	})
	q.b.changes.Add(1)
}

// Endpoints lists the registrations.
func (q *Webhooks) Endpoints() []Endpoint {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.endpoints)
}

// Stats counts the notices so far.
func (q *Webhooks) Stats() WebhookStats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.stats
	s.Held = len(q.held)
	return s
}

// Wanted tells whether any endpoint would get a notice, so that none is
// rendered in vain.
func (q *Webhooks) Wanted(connector, account string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.b.cfg.Client != nil && slices.ContainsFunc(q.endpoints, func(e Endpoint) bool {
		return e.Connector == connector && (e.Account == "" || e.Account == account)
	})
}

// Send queues n for whoever should get it. It never blocks.
func (q *Webhooks) Send(n Notice) {
	if q.b.cfg.Client == nil {
		return
	}
	if n.URL != "" {
		q.strike(n)
		return
	}
	for _, e := range q.Endpoints() {
		if e.Connector == n.Connector && (e.Account == "" || e.Account == n.Account) {
			n.URL, n.secret = e.URL, e.Secret
			q.strike(n)
		}
	}
}

// strike lets a fault have the notice, or queues it.
func (q *Webhooks) strike(n Notice) {
	f := q.b.Faults.take(n.Connector, n.Op, true)
	switch f.Kind {
	case WebhookNever:
		q.tell(func(s *WebhookStats) { s.Dropped++ })
		return
	case WebhookLate:
		q.hold(n, f.Delay(), "")
		return
	case WebhookReorder:
		q.hold(n, f.Delay(), n.URL)
		return
	case WebhookDuplicate:
		q.enqueue(n)
	case WebhookUnsigned:
		n.unsigned = true
		if n.Unsigned != nil {
			n.Body = n.Unsigned
		}
	default: // no fault of a webhook
	}
	q.enqueue(n)
	q.pass(n.URL)
}

// hold keeps n back for d, or until another notice to behind has been queued.
func (q *Webhooks) hold(n Notice, d time.Duration, behind string) {
	h := &heldNotice{Notice: n, behind: behind}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.held) >= webhookQueue {
		q.stats.Dropped++
		return
	}
	q.held = append(q.held, h)
	h.stop = q.b.cfg.AfterFunc(d, func() {
		if q.unhold(h) {
			q.enqueue(h.Notice)
		}
	})
}

func (q *Webhooks) unhold(h *heldNotice) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.held, h)
	if i >= 0 {
		q.held = slices.Delete(q.held, i, i+1)
	}
	return i >= 0
}

// pass lets go what was to come after the notice just queued for target.
func (q *Webhooks) pass(target string) {
	q.letGo(func(h *heldNotice) bool { return h.behind == target && target != "" })
}

// release sends everything that is held back.
func (q *Webhooks) release() int { return q.letGo(func(*heldNotice) bool { return true }) }

func (q *Webhooks) letGo(which func(*heldNotice) bool) int {
	q.mu.Lock()
	var free []*heldNotice
	q.held = slices.DeleteFunc(q.held, func(h *heldNotice) bool {
		if which(h) {
			free = append(free, h)
			return true
		}
		return false
	})
	q.mu.Unlock()
	for _, h := range free {
		h.stop()
		q.enqueue(h.Notice)
	}
	return len(free)
}

// drop forgets what is held back.
func (q *Webhooks) drop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, h := range q.held {
		h.stop()
	}
	q.held = nil
	q.stats = WebhookStats{}
}

func (q *Webhooks) enqueue(n Notice) {
	if q.ctx.Err() != nil {
		return
	}
	q.start.Do(func() {
		for i := range q.queues {
			q.queues[i] = make(chan Notice, webhookQueue)
			q.group.Go(func() { q.work(q.queues[i]) })
		}
	})
	select {
	case q.queues[maphash.String(q.seed, n.Subject)%webhookWorkers] <- n:
	default:
		q.tell(func(s *WebhookStats) { s.Dropped++ })
	}
}

func (q *Webhooks) work(in <-chan Notice) {
	for {
		select {
		case <-q.ctx.Done():
			return
		case n := <-in:
			q.deliver(n)
		}
	}
}

// deliver makes one try, and arranges the next where it fails.
func (q *Webhooks) deliver(n Notice) {
	err := q.post(n)
	q.tell(func(s *WebhookStats) {
		s.Sent++
		switch {
		case err == nil:
			s.Delivered++
		case n.try >= len(q.waits):
			s.GivenUp++
		}
	})
	if err == nil || q.ctx.Err() != nil {
		return
	}
	if n.try >= len(q.waits) {
		q.b.cfg.Log.LogAttrs(q.ctx, slog.LevelWarn, "webhook given up",
			slog.String("connector", n.Connector), slog.String("charge", n.Subject), slog.String("error", err.Error()))
		return
	}
	n.try++
	q.hold(n, q.waits[n.try-1], "")
}

var errNotAccepted = errors.New("receiver did not accept the webhook")

func (q *Webhooks) post(n Notice) error {
	ctx, cancel := context.WithTimeout(q.ctx, webhookTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.URL, bytes.NewReader(n.Body))
	if err != nil {
		return fmt.Errorf("build webhook: %w", err)
	}
	if n.Sign != nil && !n.unsigned {
		req.Header = n.Sign(n.secret, n.Body, q.b.cfg.Now())
	}
	req.Header.Set("Content-Type", n.ContentType)
	res, err := q.b.cfg.Client.Do(req)
	if err != nil {
		return fmt.Errorf("send webhook: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxReceipt))
	if err != nil {
		return fmt.Errorf("read receipt: %w", err)
	}
	ok := res.StatusCode/100 == 2
	if n.Accepted != nil {
		ok = n.Accepted(res.StatusCode, body)
	}
	if !ok {
		return fmt.Errorf("%w: status %d", errNotAccepted, res.StatusCode)
	}
	return nil
}

func (q *Webhooks) tell(change func(*WebhookStats)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	change(&q.stats)
}

func (q *Webhooks) close() {
	q.cancel()
	q.drop()
	q.group.Wait()
}
