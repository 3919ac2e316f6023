package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/purser-pay/purser/modules/payment"
)

// Resend queues an event once more, due at now, with its count of tries begun
// anew: for every enabled endpoint of its merchant and mode that wants its type,
// or for the one that only names, whatever types that wants. It returns the
// endpoints' IDs, oldest first. An endpoint that is not there or another's is
// [payment.CodeNotFound], one that is not enabled [payment.CodeInvalidState].
func Resend(tx Tx, e *payment.Event, only string, now time.Time) ([]string, error) {
	endpoints, err := resendTo(tx, e, only)
	if err != nil {
		return nil, err
	}
	ids := []string{}
	for i := range endpoints {
		id := endpoints[i].ID
		if err := tx.Enqueue(Outbound, Item{ID: OutboundID(e.ID, id), Due: now}); err != nil {
			return nil, fmt.Errorf("resend %s: %w", e.ID, err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func resendTo(r Reader, e *payment.Event, only string) (to []payment.Endpoint, err error) {
	if only == "" {
		all, err := r.Endpoints(e.Merchant, e.Mode)
		for i := range all {
			if all[i].Wants(e.Type) {
				to = append(to, all[i])
			}
		}
		return to, err
	}
	one, err := r.Endpoint(only)
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && (one.Merchant != e.Merchant || one.Mode != e.Mode):
		return nil, &payment.Error{Code: payment.CodeNotFound, Param: "endpoint", Detail: "There is no such endpoint, or it is not of the event's merchant and mode."}
	case err != nil:
		return nil, err
	case one.Status != payment.EndpointEnabled:
		return nil, payment.Errorf(payment.CodeInvalidState, "The endpoint is %s. Enable it first.", one.Status)
	}
	return []payment.Endpoint{one}, nil
}
