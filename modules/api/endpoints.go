package api

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	json "github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/webhook"
)

// Tester tries a webhook endpoint; package outbox has the real one.
type Tester interface {
	// Test sends a made-up event to e, once and now, whatever e's status, and
	// returns the line of the delivery log that it wrote. That the endpoint
	// answered badly or not at all is no error.
	Test(ctx context.Context, e payment.Endpoint) (payment.Delivery, error)
}

// testLease is how long a test may take before a repeat of it is tried anew.
const testLease = 2 * time.Minute

func (a *API) createEndpoint(rq *request) (response, error) {
	in, sc, late, err := take(rq, false, a.takeEndpoint)
	if err != nil {
		return response{}, err
	}
	var made payment.Endpoint
	res, err := a.once(rq, sc, http.StatusCreated, func(tx store.Tx) (done, error) {
		if late != nil {
			return done{}, late
		}
		there, err := tx.Endpoints(rq.principal.Merchant, rq.principal.Mode)
		if err != nil {
			return done{}, err
		}
		if len(there) >= payment.MaxEndpoints {
			return done{}, payment.Errorf(payment.CodeTooManyEndpoints, "There are at most %d webhook endpoints in a mode. Delete one, or change one.", payment.MaxEndpoints)
		}
		now := rq.now()
		made = payment.Endpoint{
			ID: a.cfg.IDs.New(payment.PrefixEndpoint), Merchant: rq.principal.Merchant, Mode: rq.principal.Mode, Version: 1,
			URL: in.url, Types: in.types, Description: in.text(), Metadata: in.metadata,
			Status: payment.EndpointEnabled, CreatedAt: now, UpdatedAt: now,
		}
		secret, err := a.newSecret(&made, now)
		if err != nil {
			return done{}, err
		}
		if err := tx.PutEndpoint(&made); err != nil {
			return done{}, fmt.Errorf("put endpoint: %w", err)
		}
		return a.showSecret(&made, secret, now)
	})
	a.logEndpoint(rq, "created", &made, res, err)
	return res, err
}

func (a *API) takeEndpoint(c *checker, in *endpointBody) endpointInput {
	return c.endpoint(in, a.cfg.Targets.CheckURL)
}

func (a *API) takeEndpointPatch(c *checker, in *endpointPatchBody) endpointInput {
	return c.endpointPatch(in, a.cfg.Targets.CheckURL)
}

// newSecret gives an endpoint a secret of its own, the newest of all.
func (a *API) newSecret(e *payment.Endpoint, now time.Time) (webhook.Secret, error) {
	secret, err := webhook.NewSecret(a.cfg.Random)
	if err != nil {
		return secret, fmt.Errorf("make a secret: %w", err)
	}
	sealed, err := a.cfg.Box.Seal(secret.Bytes(), []byte(e.ID))
	if err != nil {
		return secret, fmt.Errorf("seal a secret: %w", err)
	}
	e.Secrets = slices.Insert(e.Secrets, 0, payment.EndpointSecret{Sealed: sealed, CreatedAt: now})
	return secret, nil
}

func (a *API) listEndpoints(rq *request) (response, error) {
	q, err := rq.query(endpointsFilters...)
	if err != nil {
		return response{}, err
	}
	c := &checker{now: rq.start}
	p, status := c.paging(rq, q), pick(c, q, "status", payment.EndpointStatuses)
	if p.Cursor != "" && !payment.IsID(payment.PrefixEndpoint, p.Cursor) {
		c.fail("cursor", "The cursor is not one that this list gave.")
	}
	if c.err != nil {
		return response{}, c.err
	}
	var all []payment.Endpoint
	err = a.cfg.Store.View(rq.http.Context(), func(r store.Reader) (err error) {
		all, err = r.Endpoints(p.Merchant, p.Mode)
		return err
	})
	return list(endpointPage(all, p, status), err, func(e *payment.Endpoint) ([]byte, error) { return a.endpointObject(e, rq.start) })
}

// endpointPage cuts a page out of all endpoints of a merchant, which are few.
// IDs sort by the time of their making; the cursor is the last one shown.
func endpointPage(all []payment.Endpoint, p store.Paging, status payment.EndpointStatus) (page store.Page[payment.Endpoint]) {
	slices.SortFunc(all, func(a, b payment.Endpoint) int { return cmp.Compare(b.ID, a.ID) })
	all = slices.DeleteFunc(all, func(e payment.Endpoint) bool {
		return p.Cursor != "" && e.ID >= p.Cursor || status != "" && e.Status != status ||
			!p.CreatedAfter.IsZero() && !e.CreatedAt.After(p.CreatedAfter) ||
			!p.CreatedBefore.IsZero() && !e.CreatedAt.Before(p.CreatedBefore)
	})
	if page.Data = all; len(all) > p.Limit {
		page.Data, page.Cursor = all[:p.Limit], all[p.Limit-1].ID
	}
	return page
}

func (a *API) getEndpoint(rq *request) (response, error) {
	if _, err := rq.query(); err != nil {
		return response{}, err
	}
	var e payment.Endpoint
	err := a.cfg.Store.View(rq.http.Context(), func(r store.Reader) (err error) {
		e, err = ownEndpoint(r, rq, rq.id)
		return err
	})
	if err != nil {
		return response{}, err
	}
	body, err := a.endpointObject(&e, rq.start)
	return response{status: 200, body: body}, err
}

// ownEndpoint reads an endpoint of the caller's; another's is as unknown as one
// that does not exist.
func ownEndpoint(r store.Reader, rq *request, id string) (payment.Endpoint, error) {
	e, err := r.Endpoint(id)
	if err == nil && (e.Merchant != rq.principal.Merchant || e.Mode != rq.principal.Mode) {
		return payment.Endpoint{}, store.ErrNotFound
	}
	return e, err
}

// patchEndpoint changes what the body names, in one transaction: of two callers
// at once, each changes its own fields, and the later one wins where both name
// the same.
func (a *API) patchEndpoint(rq *request) (response, error) {
	in, _, late, err := take(rq, false, a.takeEndpointPatch)
	if err != nil || late != nil {
		return response{}, cmp.Or[error](err, late)
	}
	var e payment.Endpoint
	err = a.cfg.Store.Update(rq.http.Context(), func(tx store.Tx) (err error) {
		if e, err = ownEndpoint(tx, rq, rq.id); err != nil {
			return err
		}
		if err := in.apply(&e); err != nil {
			return err
		}
		e.Version, e.UpdatedAt = e.Version+1, rq.now()
		return tx.PutEndpoint(&e)
	})
	if err != nil {
		return response{}, err
	}
	body, err := a.endpointObject(&e, rq.start)
	res := response{status: 200, body: body}
	a.logEndpoint(rq, "changed", &e, res, err)
	return res, err
}

// apply changes an endpoint as its merchant asked. One that is enabled begins
// anew: what made the gateway or the merchant stop it is over.
func (in *endpointInput) apply(e *payment.Endpoint) error {
	if in.url != "" {
		e.URL = in.url
	}
	if in.typesGiven {
		e.Types = in.types
	}
	if in.description != nil {
		e.Description = *in.description
	}
	if len(in.metadata) > 0 {
		merged := maps.Clone(e.Metadata)
		if merged == nil {
			merged = map[string]string{}
		}
		maps.Copy(merged, in.metadata)
		maps.DeleteFunc(merged, func(_, v string) bool { return v == "" })
		if len(merged) > maxMetadata {
			return payment.Invalid("metadata", "There are at most %d keys.", maxMetadata)
		}
		e.Metadata = merged
	}
	switch in.status {
	case payment.EndpointEnabled:
		e.Status, e.Reason, e.FailingSince = in.status, "", time.Time{}
	case payment.EndpointDisabled:
		if e.Status != in.status {
			e.Status, e.Reason = in.status, "disabled by the merchant"
		}
	default: // it stays as it is
	}
	return nil
}

func (a *API) deleteEndpoint(rq *request) (response, error) {
	if _, err := rq.query(); err != nil {
		return response{}, err
	}
	var e payment.Endpoint
	err := a.cfg.Store.Update(rq.http.Context(), func(tx store.Tx) (err error) {
		if e, err = ownEndpoint(tx, rq, rq.id); err != nil {
			return err
		}
		return tx.DeleteEndpoint(e.ID)
	})
	if err != nil {
		return response{}, err
	}
	body, err := json.Marshal(&deletedJSON{ID: e.ID, Object: objectEndpoint, Deleted: true})
	res := response{status: 200, body: body}
	a.logEndpoint(rq, "deleted", &e, res, err)
	return res, err
}

// rotateEndpoint gives an endpoint a new secret; the one before it signs beside
// it until the overlap ends, and any older one no more.
func (a *API) rotateEndpoint(rq *request) (response, error) {
	overlap, sc, _, err := take(rq, true, (*checker).rotate)
	if err != nil {
		return response{}, err
	}
	var e payment.Endpoint
	res, err := a.once(rq, sc, http.StatusOK, func(tx store.Tx) (_ done, err error) {
		if e, err = ownEndpoint(tx, rq, rq.id); err != nil {
			return done{}, err
		}
		now := rq.now()
		e.Secrets = retire(e.Live(now), now, overlap)
		secret, err := a.newSecret(&e, now)
		if err != nil {
			return done{}, err
		}
		e.Version, e.UpdatedAt = e.Version+1, now
		if err := tx.PutEndpoint(&e); err != nil {
			return done{}, fmt.Errorf("put endpoint: %w", err)
		}
		return a.showSecret(&e, secret, now)
	})
	a.logEndpoint(rq, "rotated", &e, res, err)
	return res, err
}

// retire keeps the newest of the live secrets, until the overlap ends.
func retire(live []payment.EndpointSecret, now time.Time, overlap time.Duration) []payment.EndpointSecret {
	if len(live) == 0 || overlap == 0 {
		return nil
	}
	last := live[0]
	if end := now.Add(overlap); last.ExpiresAt.IsZero() || end.Before(last.ExpiresAt) {
		last.ExpiresAt = end
	}
	return []payment.EndpointSecret{last}
}

// logEndpoint writes down what a merchant did; of a URL only the host, because
// the rest may hold a token.
func (a *API) logEndpoint(rq *request, act string, e *payment.Endpoint, res response, err error) {
	if err != nil || res.replayed {
		return
	}
	host := ""
	if u, err := url.Parse(e.URL); err == nil {
		host = u.Host
	}
	a.cfg.Log.Info("webhook endpoint", slog.String("act", act), slog.String("request_id", rq.reqID),
		slog.String("endpoint", e.ID), slog.String("host", host), slog.String("status", string(e.Status)),
		slog.String("merchant", e.Merchant), slog.String("mode", string(e.Mode)), slog.String("key", rq.principal.Key))
}
