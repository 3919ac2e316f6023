package payment

import "time"

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
