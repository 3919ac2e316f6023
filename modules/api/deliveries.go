package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	json "github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

var (
	endpointsFilters  = append(slices.Clone(paging), "status")
	deliveriesFilters = append(slices.Clone(paging), "event")
)

// answerTimeout bounds how long the answer of a test takes to be stored, after
// its caller has gone too.
const answerTimeout = 5 * time.Second

// testEndpoint tries an endpoint. The try is outside every transaction: the key
// is claimed before it and answered after it.
func (a *API) testEndpoint(rq *request) (response, error) {
	if a.cfg.Tester == nil {
		return response{}, payment.Errorf(payment.CodeNotSupported, "This gateway sends no webhooks.")
	}
	_, sc, _, err := take(rq, true, (*checker).test)
	if err != nil {
		return response{}, err
	}
	key, keyed, err := a.welcome(rq, sc)
	if err != nil {
		return response{}, err
	}
	key.Lease, key.Success = rq.start.Add(testLease), http.StatusOK
	e, first, err := a.claimTest(rq, key, keyed)
	if err != nil || first != nil {
		return firstOr(first, err)
	}
	d, err := a.cfg.Tester.Test(rq.http.Context(), e)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(rq.http.Context()), answerTimeout)
	defer cancel()
	if err != nil {
		return response{}, errors.Join(fmt.Errorf("test of %s: %w", e.ID, err), a.giveBack(ctx, key, keyed))
	}
	body, err := deliveryObject(&d)
	if err != nil {
		return response{}, err
	}
	if keyed {
		if key, err = a.answered(key, http.StatusOK, done{body: body}); err != nil {
			return response{}, err
		}
		if err := a.cfg.Store.Update(ctx, func(tx store.Tx) error { return tx.PutKey(key) }); err != nil && !errors.Is(err, store.ErrConflict) { // who took it over has answered
			return response{}, fmt.Errorf("store the answer of a test: %w", err)
		}
	}
	return response{status: http.StatusOK, body: body, psp: d.Took}, nil
}

// claimTest reads the endpoint, and claims the key where there is one. A claim
// whose holder has died is taken over: another try does no harm.
func (a *API) claimTest(rq *request, key store.IdempotencyKey, keyed bool) (e payment.Endpoint, first *response, err error) {
	if !keyed {
		err = a.cfg.Store.View(rq.http.Context(), func(r store.Reader) (err error) {
			e, err = ownEndpoint(r, rq, rq.id)
			return err
		})
		return e, nil, err
	}
	err = a.cfg.Store.Update(rq.http.Context(), func(tx store.Tx) error {
		first = nil
		held, claimed, err := tx.ClaimKey(key, rq.start)
		if err != nil {
			return fmt.Errorf("claim key: %w", err)
		}
		died := held.Fingerprint == key.Fingerprint && held.Status == 0 && !rq.start.Before(held.Lease)
		switch {
		case claimed:
		case died:
			if err := tx.PutKey(key); err != nil {
				return fmt.Errorf("take a key over: %w", err)
			}
		default:
			res, err := a.replay(rq, key, held)
			first = &res
			return err
		}
		e, err = ownEndpoint(tx, rq, rq.id)
		return err
	})
	return e, first, err
}

func firstOr(first *response, err error) (response, error) {
	if err != nil {
		return response{}, err
	}
	return *first, nil
}

// giveBack lets a key go whose call came to nothing, unless a repeat has taken it over.
func (a *API) giveBack(ctx context.Context, key store.IdempotencyKey, keyed bool) error {
	if !keyed {
		return nil
	}
	return a.cfg.Store.Update(ctx, func(tx store.Tx) error { return tx.DeleteKey(key) })
}

func (a *API) listDeliveries(rq *request) (response, error) {
	q, err := rq.query(deliveriesFilters...)
	if err != nil {
		return response{}, err
	}
	c := &checker{now: rq.start}
	query := store.DeliveryQuery{Paging: c.paging(rq, q), Endpoint: rq.id, Event: q["event"]}
	if _, given := q["event"]; given && !payment.IsID(payment.PrefixEvent, query.Event) {
		c.fail("event", "The parameter is an event's ID.")
	}
	if c.err != nil {
		return response{}, c.err
	}
	var page store.Page[payment.Delivery]
	err = a.cfg.Store.View(rq.http.Context(), func(r store.Reader) (err error) {
		if _, err = ownEndpoint(r, rq, rq.id); err != nil {
			return err
		}
		page, err = r.Deliveries(query)
		return err
	})
	return list(page, err, deliveryObject)
}

// resendJSON tells to whom an event goes again.
type resendJSON struct {
	Object    string   `json:"object"`
	Event     string   `json:"event"`
	Endpoints []string `json:"endpoints"`
}

// resendEvent queues an event once more. It shows nothing of the event to the
// caller, who must be able to set up endpoints: so the scope is webhooks:write.
func (a *API) resendEvent(rq *request) (response, error) {
	only, sc, _, err := take(rq, true, (*checker).resend)
	if err != nil {
		return response{}, err
	}
	return a.once(rq, sc, http.StatusOK, func(tx store.Tx) (done, error) {
		e, err := tx.Event(rq.id)
		if err == nil && (e.Merchant != rq.principal.Merchant || e.Mode != rq.principal.Mode) {
			err = store.ErrNotFound
		}
		if err != nil {
			return done{}, err
		}
		endpoints, err := store.Resend(tx, &e, only, rq.now())
		if err != nil {
			return done{}, err
		}
		body, err := json.Marshal(&resendJSON{Object: "event_resend", Event: e.ID, Endpoints: endpoints})
		return done{body: body}, err
	})
}
