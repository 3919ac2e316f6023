package pursercmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/webhook"
)

const (
	// listenEvery is how often the gateway is asked for new events.
	listenEvery = 500 * time.Millisecond
	// listenOverlap is how far each question looks back: an event has its time
	// from before its transaction, and may be seen later than one that is younger.
	listenOverlap = 10 * time.Second
	// listenPages bounds the pages of one question, of 100 events each.
	listenPages = 100
	// forwardTimeout bounds one delivery.
	forwardTimeout = 15 * time.Second
)

func listenCommand(cmd *cobra.Command) {
	cmd.Args = cobra.NoArgs
	cmd.Long = `Follows the events of a running gateway, and forwards each to a URL of yours as a
webhook endpoint would get it: signed by Standard Webhooks, with a secret that is
printed at the start and good until the end. Nothing is tried again, and nothing
is set up at the gateway. What happened before the start is not forwarded; a
gateway that restarts is waited for. Ctrl-C ends it.`
	f := cmd.Flags()
	to := f.String("forward-to", "", "the URL, such as http://localhost:3000/webhooks")
	merchant := f.String("merchant", "", "only this merchant's events")
	mode := f.String("mode", "", "test or live")
	types := f.StringSlice("events", nil, "only these types, such as payment.succeeded,payment.failed")
	completeFlag(cmd, "forward-to", fixed())
	completeFlag(cmd, "merchant", namesOfFlag("/merchants"))
	completeFlag(cmd, "mode", fixed("test", "live"))
	completeFlag(cmd, "events", fixed(eventTypes()...))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkForward(*to, *types); err != nil {
			return err
		}
		client, err := adminOf(cmd)
		if err != nil {
			return err
		}
		client.http.Timeout = forwardTimeout
		asJSON, err := cmd.Flags().GetBool("json")
		if err != nil {
			return err
		}
		secret, err := webhook.NewSecret(nil)
		if err != nil {
			return err
		}
		ctx, cancel := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer cancel()
		l := &listener{
			admin: client, to: *to, secret: secret, types: *types, filters: url.Values{}, json: asJSON,
			out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(), now: time.Now, http: &http.Client{
				Timeout:       forwardTimeout,
				Transport:     &http.Transport{MaxIdleConnsPerHost: 1, ResponseHeaderTimeout: forwardTimeout},
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			},
		}
		setQuery(l.filters, "merchant", *merchant)
		setQuery(l.filters, "mode", *mode)
		ticker := time.NewTicker(listenEvery)
		defer ticker.Stop()
		return l.run(ctx, ticker.C)
	}
	adminFlags(cmd)
	strict(cmd)
}

// checkForward refuses what can be no target and no type.
func checkForward(to string, types []string) error {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return usageError("--forward-to is needed: an http or https URL, such as http://localhost:3000/webhooks")
	}
	for _, t := range types {
		if !slices.Contains(payment.EventTypes, payment.EventType(t)) {
			return usageError("there is no event type %q", t)
		}
	}
	return nil
}

// listener forwards the events of a gateway.
type listener struct {
	admin     *adminClient
	to        string
	http      *http.Client
	secret    webhook.Secret
	types     []string // empty = all
	filters   url.Values
	json      bool
	out, errs io.Writer
	now       func() time.Time

	since time.Time            // events are asked for that are younger
	seen  map[string]time.Time // those that are younger and done with, with their time
	lost  bool                 // the gateway is out of reach
}

// followed is an event of the admin endpoint's list.
type followed struct {
	payment.Event
	Data json.RawMessage `json:"data"`
}

// run follows the events, with a question at each tick, until ctx ends.
func (l *listener) run(ctx context.Context, tick <-chan time.Time) error {
	l.seen = map[string]time.Time{}
	if err := l.begin(ctx); err != nil {
		return err
	}
	if err := l.greet(); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
		}
		events, err := l.fresh(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // Ctrl-C is no failure
		}
		if err := l.tellReach(err); err != nil {
			return err
		}
		for i := range events {
			if err := l.forward(ctx, &events[i]); err != nil || ctx.Err() != nil {
				return err
			}
		}
	}
}

// begin finds where the present ends: what is there now is not forwarded.
func (l *listener) begin(ctx context.Context) error {
	newest, _, err := l.page(ctx, "1", "")
	if err != nil || len(newest) == 0 {
		return err
	}
	l.since = newest[0].CreatedAt.Add(-listenOverlap)
	_, err = l.fresh(ctx)
	return err
}

func (l *listener) greet() error {
	if l.json {
		return json.NewEncoder(l.out).Encode(map[string]string{"secret": l.secret.Symmetric(), "public_key": l.secret.Public()})
	}
	_, err := fmt.Fprintf(l.out, "forwarding to %s\nsecret (v1):      %s\npublic key (v1a): %s\nready\n", l.to, l.secret.Symmetric(), l.secret.Public())
	return err
}

// tellReach says once that the gateway is lost, and once that it is there again.
func (l *listener) tellReach(err error) error {
	if lost := err != nil; lost == l.lost {
		return nil
	}
	l.lost = err != nil
	text := "the gateway is there again"
	if l.lost {
		text = err.Error() + "; waiting for it"
	}
	_, err = fmt.Fprintln(l.errs, text)
	return err
}

// fresh returns the events that were not seen before, oldest first.
func (l *listener) fresh(ctx context.Context) ([]followed, error) {
	var events []followed
	var cursor string
	for n := 0; ; n++ {
		page, next, err := l.page(ctx, "100", cursor)
		if err != nil {
			return nil, err
		}
		for i := range page {
			if _, known := l.seen[page[i].ID]; !known {
				events = append(events, page[i])
			}
		}
		if next == "" {
			break
		}
		if cursor = next; n+1 == listenPages {
			if _, err := fmt.Fprintln(l.errs, "too many events at once: the oldest are left out"); err != nil {
				return nil, err
			}
			break
		}
	}
	slices.Reverse(events)
	for i := range events {
		e := &events[i]
		l.seen[e.ID] = e.CreatedAt
		if since := e.CreatedAt.Add(-listenOverlap); since.After(l.since) {
			l.since = since
		}
	}
	for id, at := range l.seen {
		if !at.After(l.since) { // nobody will tell of it again
			delete(l.seen, id)
		}
	}
	return events, nil
}

// page asks for events younger than l.since, newest first.
func (l *listener) page(ctx context.Context, limit, cursor string) ([]followed, string, error) {
	q := url.Values{"limit": {limit}}
	maps.Copy(q, l.filters)
	setQuery(q, "cursor", cursor)
	if !l.since.IsZero() {
		q.Set("created_after", l.since.UTC().Format(time.RFC3339Nano))
	}
	answer, err := l.admin.call(ctx, http.MethodGet, withQuery("/events", q), nil)
	if err != nil {
		return nil, "", err
	}
	list, err := decode[listOf[followed]](answer)
	if err != nil || list.NextCursor == nil {
		return list.Data, "", err
	}
	return list.Data, *list.NextCursor, nil
}

// forwarded is one delivery, as --json prints it.
type forwarded struct {
	Event  string            `json:"event"`
	Type   payment.EventType `json:"type"`
	Status int               `json:"status,omitempty"`
	Error  string            `json:"error,omitempty"`
	TookMS int64             `json:"took_ms"`
}

// forward delivers an event once, and tells how it went.
func (l *listener) forward(ctx context.Context, e *followed) error {
	if len(l.types) > 0 && !slices.Contains(l.types, string(e.Type)) {
		return nil
	}
	began := l.now()
	status, err := l.post(ctx, e, began)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // Ctrl-C is no failure
	}
	d := forwarded{Event: e.ID, Type: e.Type, Status: status, TookMS: l.now().Sub(began).Milliseconds()}
	if err != nil {
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err
		}
		d.Error = strings.Join(strings.Fields(err.Error()), " ")
	}
	if l.json {
		return json.NewEncoder(l.out).Encode(d)
	}
	result := fmt.Sprint(d.Status)
	if err != nil {
		result = d.Error
	}
	_, err = fmt.Fprintf(l.out, "%s  %s  %s  %s  %d ms\n", began.UTC().Format("15:04:05.000"), d.Event, d.Type, result, d.TookMS)
	return err
}

// post sends an event as a webhook endpoint gets it.
func (l *listener) post(ctx context.Context, e *followed, at time.Time) (status int, err error) {
	e.Object = e.Data
	body, err := e.Body()
	if err != nil {
		return 0, err
	}
	signature, err := webhook.Sign(e.ID, at, body, l.secret)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.to, strings.NewReader(string(body)))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "purser-listen")
	req.Header.Set(webhook.HeaderID, e.ID)
	req.Header.Set(webhook.HeaderTimestamp, fmt.Sprint(at.Unix()))
	req.Header.Set(webhook.HeaderSignature, signature)
	resp, err := l.http.Do(req)
	if err != nil {
		return 0, err
	}
	// The connection is used again where the rest is short.
	_, err = io.CopyN(io.Discard, resp.Body, 64<<10)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return resp.StatusCode, errors.Join(err, resp.Body.Close())
}
