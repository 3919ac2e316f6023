package payment

// Mode keeps the world of test from the world of money.
type Mode string

// The modes.
const (
	Test Mode = "test"
	Live Mode = "live"
)

// Live tells whether real money moves.
func (m Mode) Live() bool { return m == Live }

// Status is where a [Payment] stands. The legal moves are one table, in
// package engine; nothing else assigns a Status.
type Status string

// The statuses of a payment.
const (
	RequiresPaymentMethod Status = "requires_payment_method"
	RequiresConfirmation  Status = "requires_confirmation"
	RequiresAction        Status = "requires_action" // the payer must act: 3DS, redirect, QR code
	Processing            Status = "processing"      // sent, and not finished or not known
	RequiresCapture       Status = "requires_capture"
	Succeeded             Status = "succeeded"
	Failed                Status = "failed"
	Canceled              Status = "canceled"
	Expired               Status = "expired"
)

// Statuses lists them all, in the order of a payment's life.
var Statuses = []Status{
	RequiresPaymentMethod, RequiresConfirmation, RequiresAction, Processing, RequiresCapture,
	Succeeded, Failed, Canceled, Expired,
}

// Terminal tells that no operation leads out of s.
func (s Status) Terminal() bool {
	return s == Succeeded || s == Failed || s == Canceled || s == Expired
}

// Outcome says how sure we are of a Status.
type Outcome string

// The outcomes.
const (
	Known      Outcome = "known"
	Unknown    Outcome = "unknown"    // we cannot tell whether the PSP acted
	Conflicted Outcome = "conflicted" // the PSP proves money that contradicts our status
)

// AttemptStatus is where an [Attempt] stands.
type AttemptStatus string

// The statuses of an attempt. Pending covers everything between the durable
// intent and the PSP's last word.
const (
	AttemptPending        AttemptStatus = "pending"
	AttemptRequiresAction AttemptStatus = "requires_action"
	AttemptSucceeded      AttemptStatus = "succeeded"
	AttemptFailed         AttemptStatus = "failed"
	AttemptCanceled       AttemptStatus = "canceled"
)

// Open tells that the PSP's last word is still out.
func (s AttemptStatus) Open() bool { return s == AttemptPending || s == AttemptRequiresAction }

// RefundStatus is where a [Refund] stands. A succeeded refund can still fail:
// the payer's bank may send the money back.
type RefundStatus string

// The statuses of a refund.
const (
	RefundPending   RefundStatus = "pending"
	RefundSucceeded RefundStatus = "succeeded"
	RefundFailed    RefundStatus = "failed"
)

// CaptureMethod says who takes the money after the authorization.
type CaptureMethod string

// The capture methods.
const (
	CaptureAutomatic CaptureMethod = "automatic"
	CaptureManual    CaptureMethod = "manual"
)

// Channel is how the payer and the merchant meet.
type Channel string

// The channels.
const (
	ChannelEcommerce Channel = "ecommerce"
	ChannelInPerson  Channel = "in_person"
	ChannelMOTO      Channel = "moto"
	ChannelRecurring Channel = "recurring"
)

// Channels lists them all.
var Channels = []Channel{ChannelEcommerce, ChannelInPerson, ChannelMOTO, ChannelRecurring}

// Origin tells who began an attempt.
type Origin string

// The origins.
const (
	OriginMerchant Origin = "merchant"
	OriginGateway  Origin = "gateway"  // a reversal or a closing that the engine owes
	OriginExternal Origin = "external" // done at the PSP, outside the gateway, and adopted
)
