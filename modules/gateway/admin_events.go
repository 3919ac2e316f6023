package gateway

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// eventState is an event as operators see it: the merchants' form, and whose it
// is.
type eventState struct {
	payment.Event
	Object string          `json:"object"` // event
	Data   json.RawMessage `json:"data"`   // the payment or refund as it stood then
}

func listEvents(c call) error {
	q, err := eventQuery(c.r)
	if err != nil {
		return err
	}
	var found store.Page[payment.Event]
	if err := c.ground.store.View(c.r.Context(), func(r store.Reader) (err error) {
		found, err = r.Events(q)
		return err
	}); err != nil {
		return err
	}
	data := make([]eventState, 0, len(found.Data))
	for _, e := range found.Data {
		data = append(data, eventState{Event: e, Object: "event", Data: e.Object})
	}
	return c.list(data, found.Cursor)
}

const actResendEvent = "events.resend"

// resent tells to whom an event goes again.
type resent struct {
	Object    string   `json:"object"` // event_resend
	Event     string   `json:"event"`
	Merchant  string   `json:"merchant"`
	Endpoints []string `json:"endpoints"`
}

// resendEvent queues an event once more: for those who want it, or for the one
// endpoint that the operator names.
func resendEvent(c call) error {
	var in struct {
		Endpoint string `json:"endpoint"`
	}
	if err := c.read(&in); err != nil {
		return err
	}
	id := c.r.PathValue("id")
	if in.Endpoint != "" && !payment.IsID(payment.PrefixEndpoint, in.Endpoint) {
		return fmt.Errorf("%w: %.40q is no webhook endpoint's id", errRequest, in.Endpoint)
	}
	out := resent{Object: "event_resend", Event: id}
	err := c.ground.store.Update(c.r.Context(), func(tx store.Tx) error {
		e, err := tx.Event(id)
		if err != nil {
			return fmt.Errorf("event %.40s: %w", id, err)
		}
		out.Merchant = e.Merchant
		out.Endpoints, err = store.Resend(tx, &e, in.Endpoint, now())
		return err
	})
	c.audit(actResendEvent, id, err, slog.String("endpoints", strings.Join(out.Endpoints, " ")))
	if err != nil {
		return err
	}
	return c.write(http.StatusOK, out)
}

// eventQuery reads the filters of a list of events; unknown ones are refused.
func eventQuery(r *http.Request) (store.EventQuery, error) {
	q := store.EventQuery{Paging: store.Paging{Limit: defaultPage}}
	for name, values := range r.URL.Query() {
		value := values[0]
		var err error
		switch name {
		case "payment":
			q.Payment = value
		case "type":
			q.Type = payment.EventType(value)
		default:
			err = pageFilter(&q.Paging, name, value)
		}
		if err != nil {
			return q, err
		}
	}
	if q.Type != "" && !slices.Contains(payment.EventTypes, q.Type) {
		return q, fmt.Errorf("%w: there is no event type %.40q", errRequest, q.Type)
	}
	if q.Payment != "" && !payment.IsID(payment.PrefixPayment, q.Payment) {
		return q, fmt.Errorf("%w: %.40q is no payment's id", errRequest, q.Payment)
	}
	return q, checkQuery(store.PaymentQuery{Paging: q.Paging})
}
