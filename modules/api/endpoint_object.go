package api

import (
	"fmt"
	"time"

	json "github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/webhook"
)

const (
	objectEndpoint = "webhook_endpoint"
	objectDelivery = "webhook_delivery"
)

// endpointJSON is a webhook endpoint as its merchant sees it.
type endpointJSON struct {
	ID           string                 `json:"id"`
	Object       string                 `json:"object"`
	Livemode     bool                   `json:"livemode"`
	URL          string                 `json:"url"`
	Events       []string               `json:"events"`
	Description  *string                `json:"description"`
	Metadata     map[string]string      `json:"metadata"`
	Status       payment.EndpointStatus `json:"status"`
	StatusReason *string                `json:"status_reason"`
	FailingSince *time.Time             `json:"failing_since"`
	Secrets      []secretJSON           `json:"secrets"`
	CreatedAt    *time.Time             `json:"created_at"`
	UpdatedAt    *time.Time             `json:"updated_at"`
}

// onceJSON is an endpoint in the answer that brings a new secret: the last
// member is where [done.whole] puts it.
type onceJSON struct {
	endpointJSON
	Secret *string `json:"secret"`
}

// secretJSON tells of a signing secret all but itself.
type secretJSON struct {
	CreatedAt *time.Time `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at"`
	PublicKey string     `json:"public_key"`
}

type deletedJSON struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Deleted bool   `json:"deleted"`
}

// deliveryJSON is one try to tell an endpoint of an event.
type deliveryJSON struct {
	ID         string     `json:"id"`
	Object     string     `json:"object"`
	Livemode   bool       `json:"livemode"`
	Endpoint   string     `json:"endpoint"`
	Event      *string    `json:"event"`
	Type       string     `json:"type"`
	Try        int        `json:"try"`
	Delivered  bool       `json:"delivered"`
	HTTPStatus *int       `json:"http_status"`
	Error      *string    `json:"error"`
	TookMS     int64      `json:"took_ms"`
	NextTryAt  *time.Time `json:"next_try_at"`
	CreatedAt  *time.Time `json:"created_at"`
}

// endpointView is an endpoint with the secrets that sign at now.
func (a *API) endpointView(e *payment.Endpoint, now time.Time) (*endpointJSON, error) {
	o := &endpointJSON{
		ID: e.ID, Object: objectEndpoint, Livemode: e.Mode.Live(), URL: e.URL, Description: present(e.Description),
		Metadata: e.Metadata, Status: e.Status, StatusReason: present(e.Reason), FailingSince: moment(e.FailingSince),
		CreatedAt: moment(e.CreatedAt), UpdatedAt: moment(e.UpdatedAt),
	}
	for _, t := range e.Types {
		o.Events = append(o.Events, string(t))
	}
	if len(o.Events) == 0 {
		o.Events = []string{allEvents}
	}
	for _, s := range e.Live(now) {
		plain, err := a.cfg.Box.Open(s.Sealed, []byte(e.ID))
		if err != nil {
			return nil, fmt.Errorf("a secret of %s: %w", e.ID, err)
		}
		secret, err := webhook.ParseSecret(plain)
		if err != nil {
			return nil, fmt.Errorf("a secret of %s: %w", e.ID, err)
		}
		o.Secrets = append(o.Secrets, secretJSON{CreatedAt: moment(s.CreatedAt), ExpiresAt: moment(s.ExpiresAt), PublicKey: secret.Public()})
	}
	return o, nil
}

func (a *API) endpointObject(e *payment.Endpoint, now time.Time) ([]byte, error) {
	o, err := a.endpointView(e, now)
	if err != nil {
		return nil, err
	}
	return json.Marshal(o)
}

// showSecret is the answer that brings an endpoint's new secret.
func (a *API) showSecret(e *payment.Endpoint, secret webhook.Secret, now time.Time) (done, error) {
	o, err := a.endpointView(e, now)
	if err != nil {
		return done{}, err
	}
	body, err := json.Marshal(&onceJSON{endpointJSON: *o})
	return done{body: body, secret: secret.Symmetric()}, err
}

func deliveryObject(d *payment.Delivery) ([]byte, error) {
	o := &deliveryJSON{
		ID: d.ID, Object: objectDelivery, Livemode: d.Mode.Live(), Endpoint: d.Endpoint, Event: present(d.Event),
		Type: string(d.Type), Try: d.Try, Delivered: d.Delivered, Error: present(d.Error), TookMS: d.Took.Milliseconds(),
		NextTryAt: moment(d.Next), CreatedAt: moment(d.CreatedAt),
	}
	if d.Status != 0 {
		o.HTTPStatus = &d.Status
	}
	return json.Marshal(o)
}

// present writes "" as null.
func present(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// moment writes times in UTC with milliseconds, and none as null.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Millisecond)
	return &t
}
