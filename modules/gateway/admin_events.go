package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

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
