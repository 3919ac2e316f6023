package gateway

import (
	"fmt"
	"slices"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// endpointState is a webhook endpoint as operators see it: whose it is and how
// it stands, and nothing of its secrets.
type endpointState struct {
	ID           string                 `json:"id"`
	Object       string                 `json:"object"` // webhook_endpoint
	Merchant     string                 `json:"merchant"`
	Mode         payment.Mode           `json:"mode"`
	URL          string                 `json:"url"`
	Events       []payment.EventType    `json:"events"` // empty = all
	Status       payment.EndpointStatus `json:"status"`
	StatusReason string                 `json:"status_reason,omitempty"`
	FailingSince *time.Time             `json:"failing_since"`
	CreatedAt    time.Time              `json:"created_at"`
	UpdatedAt    time.Time              `json:"updated_at"`
}

// listEndpoints shows all webhook endpoints, oldest first; filters are merchant,
// mode and status.
func listEndpoints(c call) error {
	filters := map[string]string{}
	for name, values := range c.r.URL.Query() {
		if !slices.Contains([]string{"merchant", "mode", "status"}, name) {
			return fmt.Errorf("%w: there is no filter %.40q", errRequest, name)
		}
		filters[name] = values[0]
	}
	status := payment.EndpointStatus(filters["status"])
	if status != "" && !slices.Contains(payment.EndpointStatuses, status) {
		return fmt.Errorf("%w: there is no status %.40q", errRequest, status)
	}
	mode := payment.Mode(filters["mode"])
	if err := checkQuery(store.PaymentQuery{Paging: store.Paging{Limit: defaultPage, Merchant: filters["merchant"], Mode: mode}}); err != nil {
		return err
	}
	data := []endpointState{}
	err := c.ground.store.View(c.r.Context(), func(r store.Reader) error {
		all, err := r.Endpoints(filters["merchant"], mode)
		for i := range all {
			if e := &all[i]; status == "" || e.Status == status {
				data = append(data, stateOf(e))
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.list(data, "")
}

func stateOf(e *payment.Endpoint) endpointState {
	s := endpointState{
		ID: e.ID, Object: "webhook_endpoint", Merchant: e.Merchant, Mode: e.Mode, URL: e.URL, Events: e.Types,
		Status: e.Status, StatusReason: e.Reason, CreatedAt: e.CreatedAt, UpdatedAt: e.UpdatedAt,
	}
	if s.Events == nil {
		s.Events = []payment.EventType{}
	}
	if !e.FailingSince.IsZero() {
		s.FailingSince = &e.FailingSince
	}
	return s
}
