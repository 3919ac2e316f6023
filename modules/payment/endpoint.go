package payment

import (
	"slices"
	"time"
)

// MaxEndpoints bounds the webhook endpoints of one merchant in one mode.
const MaxEndpoints = 16

// MaxEndpointURL bounds the URL of a webhook endpoint, in bytes.
const MaxEndpointURL = 2048

// EndpointStatus tells whether an endpoint is sent anything.
type EndpointStatus string

// The states of an endpoint.
const (
	EndpointEnabled EndpointStatus = "enabled"
	// EndpointPaused: it has failed for so long that the gateway stopped.
	EndpointPaused EndpointStatus = "paused"
	// EndpointDisabled: the merchant switched it off, or it answered 410 Gone.
	EndpointDisabled EndpointStatus = "disabled"
)

// EndpointStatuses lists them all.
var EndpointStatuses = []EndpointStatus{EndpointEnabled, EndpointPaused, EndpointDisabled}

// Endpoint is where a merchant hears of events: an HTTPS URL that takes Standard
// Webhooks.
type Endpoint struct {
	ID       string `json:"id"`
	Merchant string `json:"merchant"`
	Mode     Mode   `json:"mode"`
	// Version counts the writes, from 1.
	Version int64 `json:"-"`

	URL string `json:"url"`
	// Types are the events that it wants; empty = all.
	Types       []EventType       `json:"types,omitempty"`
	Description string            `json:"description,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`

	Status EndpointStatus `json:"status"`
	// Reason tells a human why it is not enabled.
	Reason string `json:"reason,omitempty"`
	// FailingSince is when the first of an unbroken row of failures was; zero =
	// the last delivery went well, or there was none.
	FailingSince time.Time `json:"failing_since,omitzero"`

	// Secrets sign deliveries; the newest is first. Two live at a time while one
	// is rotated out.
	Secrets []EndpointSecret `json:"secrets"`

	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// EndpointSecret is one signing secret, encrypted with the gateway's seal key.
type EndpointSecret struct {
	Sealed    []byte    `json:"sealed"`
	CreatedAt time.Time `json:"created_at"`
	// ExpiresAt is when it stops to sign; zero = never.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// Wants tells whether an endpoint is to be told of events of type t.
func (e *Endpoint) Wants(t EventType) bool {
	return e.Status == EndpointEnabled && (len(e.Types) == 0 || slices.Contains(e.Types, t))
}

// Live returns the secrets that sign at now, the newest first.
func (e *Endpoint) Live(now time.Time) []EndpointSecret {
	var live []EndpointSecret
	for _, s := range e.Secrets {
		if s.ExpiresAt.IsZero() || now.Before(s.ExpiresAt) {
			live = append(live, s)
		}
	}
	return live
}

// Delivery is one try to tell an endpoint of an event.
type Delivery struct {
	ID       string
	Merchant string
	Mode     Mode
	Endpoint string
	Event    string
	Type     EventType
	// Try counts from 1.
	Try int
	// Delivered: the endpoint answered 2xx.
	Delivered bool
	// Status is the HTTP status of the answer; 0 = there was none.
	Status int
	// Error says why there was no good answer: our words, never the endpoint's.
	Error     string
	CreatedAt time.Time
	Took      time.Duration // kept to the millisecond
	// Next is when it is tried again; zero = it is not.
	Next time.Time
}
