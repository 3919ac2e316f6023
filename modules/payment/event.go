package payment

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// EventType names what happened.
type EventType string

// The types of event.
const (
	EventPaymentProcessing      EventType = "payment.processing"
	EventPaymentRequiresAction  EventType = "payment.requires_action"
	EventPaymentRequiresCapture EventType = "payment.requires_capture"
	EventPaymentCaptured        EventType = "payment.captured"
	EventPaymentSucceeded       EventType = "payment.succeeded"
	EventPaymentFailed          EventType = "payment.failed"
	EventPaymentCanceled        EventType = "payment.canceled"
	EventPaymentExpired         EventType = "payment.expired"
	EventPaymentConflicted      EventType = "payment.conflicted"
	EventRefundPending          EventType = "refund.pending"
	EventRefundSucceeded        EventType = "refund.succeeded"
	EventRefundFailed           EventType = "refund.failed"
)

// EventTypes lists them all.
var EventTypes = []EventType{
	EventPaymentProcessing, EventPaymentRequiresAction, EventPaymentRequiresCapture, EventPaymentCaptured,
	EventPaymentSucceeded, EventPaymentFailed, EventPaymentCanceled, EventPaymentExpired, EventPaymentConflicted,
	EventRefundPending, EventRefundSucceeded, EventRefundFailed,
}

// Event is one thing that happened to a payment, written in the transaction of
// the change that it tells of.
type Event struct {
	ID        string    `json:"id"`
	Type      EventType `json:"type"`
	Merchant  string    `json:"merchant"`
	Mode      Mode      `json:"mode"`
	Payment   string    `json:"payment"`
	Sequence  int64     `json:"sequence"` // of the payment's events, from 1, without gaps
	CreatedAt time.Time `json:"created_at"`
	// Object is the payment or the refund as the merchant sees it, JSON, as it
	// stood right after the change.
	Object []byte `json:"-"`
}

// Body returns the event as merchants see it, in answers and in webhooks: JSON
// with the object as it was recorded.
func (e *Event) Body() ([]byte, error) {
	type data struct {
		Object json.RawMessage `json:"object"`
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(struct {
		ID        string    `json:"id"`
		Object    string    `json:"object"`
		Type      EventType `json:"type"`
		CreatedAt time.Time `json:"created_at"`
		Livemode  bool      `json:"livemode"`
		Sequence  int64     `json:"sequence"`
		Data      data      `json:"data"`
	}{e.ID, "event", e.Type, e.CreatedAt.UTC().Truncate(time.Millisecond), e.Mode.Live(), e.Sequence, data{e.Object}})
	if err != nil {
		return nil, fmt.Errorf("render event %s: %w", e.ID, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
