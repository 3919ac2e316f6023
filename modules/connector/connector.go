// Package connector is the contract between the gateway and a payment service
// provider (PSP). A connector is a codec: it turns a [Call] into the PSP's HTTP
// request and the PSP's answer into a [Result], and does nothing else. It opens
// no socket, reads no clock, draws no random number and keeps no state; all of
// those are handed to it in the Call. What a connector may never do is
// therefore what it cannot do.
package connector

import (
	"errors"
	"net/http"
	"time"

	"github.com/purser-pay/purser/modules/payment"
)

// Connector translates between the payment model and one PSP's wire format.
// Implementations are immutable after provisioning and safe for concurrent use.
type Connector interface {
	// Spec describes the connector. It returns the same value on every call.
	Spec() Spec

	// Encode builds the PSP's request for one step of c. It returns an error
	// wrapping [ErrUnsupported] where the PSP has no such operation,
	// [ErrNotRepresentable] where it cannot express the amount, and any other
	// error where c cannot be encoded; nothing has been sent in any case.
	Encode(c Call) (*http.Request, error)

	// Decode reads the PSP's answer to c. A decline is a Result. An error means
	// that the answer could not be understood or trusted (a 5xx, HTML, a
	// truncated or mistyped body, a key that the PSP says is in use or was used
	// otherwise), and what the PSP did is then unknown.
	Decode(c Call, r Response) (Result, error)
}

// Offline is implemented by connectors of which some operations need no call at
// all: a signed address to which the payer is sent, for example.
type Offline interface {
	// Offline answers c by itself; ok is false where c needs a call.
	Offline(c Call) (r Result, ok bool, err error)
}

// Stepper is implemented by connectors that need more than one call for an
// operation. Without it an operation is one step, named "", that moves money
// unless it is a Sync.
type Stepper interface {
	// Steps lists the steps of op in order, at most [MaxSteps].
	Steps(op payment.Operation) []Step
}

// MaxSteps bounds the calls of one operation.
const MaxSteps = 3

// Step is one call of an operation.
type Step struct {
	// Name is stable: it goes into the step's idempotency key and into the store.
	Name string
	// MovesMoney is false for a step that could be lost without a trace on
	// anybody's account, such as storing a card.
	MovesMoney bool
	// NeedsTransient tells that the step bears card data or a one-time code, so
	// that it cannot be made again after a crash.
	NeedsTransient bool
}

// StepsOf lists the steps of op at c.
func StepsOf(c Connector, op payment.Operation) []Step {
	if s, ok := c.(Stepper); ok {
		if steps := s.Steps(op); len(steps) > 0 {
			return steps
		}
	}
	step := Step{MovesMoney: op.Kind() != payment.KindSync}
	if a, ok := op.(payment.Authorize); ok {
		step.NeedsTransient = a.Method.Transient()
	}
	return []Step{step}
}

// Checker is implemented by connectors that can tell, before anything is
// written or sent, that they cannot express an operation.
type Checker interface {
	// Check returns an error wrapping [ErrNotRepresentable] or [ErrUnsupported]; one
	// that is an [*UnsupportedError] is told to the merchant.
	Check(op payment.Operation) error
}

// Preparer is implemented by connectors that must read their credentials (parse
// a key, say) before they can work. The gateway calls it once the secrets are
// resolved, and refuses a configuration for which it fails.
type Preparer interface {
	// Prepare returns an error that names the field at fault, and holds nothing
	// of a secret.
	Prepare() error
}

// WebhookDecoder is implemented by connectors whose PSP calls back.
type WebhookDecoder interface {
	// VerifyWebhook returns nil only where d was signed by the PSP within the
	// tolerance of the PSP's scheme, and [ErrSignature] (wrapped) otherwise. It
	// compares in constant time.
	VerifyWebhook(d Delivery) error

	// DecodeWebhook reads the events of a delivery that was verified. Events
	// of no interest are left out; a delivery may well yield none.
	DecodeWebhook(d Delivery) ([]Event, error)

	// Acknowledge is the answer that the PSP wants once the delivery is safely
	// stored.
	Acknowledge() Acknowledgement
}

// Acknowledgement is an HTTP answer to a webhook.
type Acknowledgement struct {
	StatusCode  int
	ContentType string
	Body        string
}

// TokenSource is implemented by connectors whose PSP wants a bearer token
// fetched beforehand (OAuth 2.0 client credentials). The transport asks once,
// and keeps the token until a minute before it ends.
type TokenSource interface {
	EncodeToken(c Call) (*http.Request, error)
	DecodeToken(r Response) (token Secret, ttl time.Duration, err error)
}

// ReturnReader is implemented by connectors that must read what the payer's
// browser brings back from the PSP (a redirect result), to put it into the
// next Sync.
type ReturnReader interface {
	// ReadReturn yields what a later Sync finds in Call.Done. It trusts nothing:
	// the PSP is asked before anything is believed.
	ReadReturn(query map[string][]string) (map[string]string, error)
}

// Asker is implemented by connectors that can learn something of an open attempt
// for which [Spec.Query] promises nothing: by what the payer brought back, or by
// a search whose finds can be trusted and whose silence cannot.
type Asker interface {
	// CanAsk tells whether Encode knows a request for c, whose Op is a Sync.
	CanAsk(c Call) bool
}

// Call is all that a codec may know. It is passed by value.
type Call struct {
	Op payment.Operation
	// Step is the name of the step to encode or decode, of those in [StepsOf].
	Step string
	// Done holds what the steps before this one yielded, by step name.
	Done map[string]string
	// Reference is our name for the attempt at the PSP: 32 characters of
	// [a-z0-9], the same in every repeat.
	Reference string
	// Key is the step's idempotency key toward the PSP: 32 characters of
	// [a-z0-9], the same in every repeat. Empty for a Sync.
	Key      string
	BaseURL  string // the account's, or the connector's own default for the mode; no trailing slash
	Livemode bool
	Token    Secret // only where the connector is a [TokenSource]
	// Sent is when the step's first byte may first have left, in this exchange
	// or in one before it; zero for a fresh step. Transport resends by it.
	Sent  time.Time
	Now   time.Time
	Nonce [16]byte
}

// Response is the PSP's answer, read to its end by the transport under a cap
// of 1 MiB, so that Decode can neither block nor leak a body.
type Response struct {
	StatusCode int
	Header     http.Header
	Body       []byte
}

// State says what the PSP says of the operation that was asked, or, for a Sync
// and for a webhook, of the thing asked about: the charge for authorize,
// capture and void, the refund for refund.
type State string

// The states.
const (
	// Succeeded: done. Of a charge: authorized at least; how much is captured
	// stands in Charge.
	Succeeded State = "succeeded"
	// Pending: taken, and not finished: the PSP will say more by webhook or query.
	Pending State = "pending"
	// ActionRequired: the payer must act first; Action says how.
	ActionRequired State = "action_required"
	// Declined: the PSP's verdict on this operation is no, for good.
	Declined State = "declined"
	// Canceled: the charge was released or closed at the PSP, and can no longer
	// be paid; also the answer to a Void that was done.
	Canceled State = "canceled"
	// Rejected: this send was turned away without being executed (401, 403, 404
	// of the operation's address, 429, a malformed request). It says nothing of
	// the sends before it.
	Rejected State = "rejected"
	// NotFound answers a Sync: the PSP knows no such thing. The engine believes
	// it only once the account's not_found_after has passed.
	NotFound State = "not_found"
	// StepDone: this step is done and the next one is due; StepReference goes
	// into Call.Done.
	StepDone State = "step_done"
)

// Result is what a PSP said, in our words.
type Result struct {
	State State `json:"state"`
	// PSPReference is the PSP's name of the thing that the operation made: the
	// charge for authorize, the refund for refund, whatever the PSP gives for
	// capture and void.
	PSPReference string `json:"psp_reference,omitempty"`
	// StepReference is what a step yielded; State StepDone only.
	StepReference string `json:"step_reference,omitempty"`
	// Amount is what the PSP says that the operation is for; zero where it does
	// not say. The engine compares it with what was asked.
	Amount payment.Money `json:"amount,omitzero"`
	// Charge is the PSP's view of the whole charge; nil where it does not say.
	Charge *Charge `json:"charge,omitempty"`
	// Failure goes with Declined and Rejected.
	Failure *payment.Failure `json:"failure,omitempty"`
	// Payable goes with Declined: the PSP's object could still be paid, so it
	// must be closed before another account is tried.
	Payable bool `json:"payable,omitempty"`
	// Unattended goes with Payable: the payer can pay it without another request
	// of ours, so it must be closed before the payment ends as well.
	Unattended bool `json:"unattended,omitempty"`
	// Again goes with Pending of a Void: the same request must be made again
	// (Alipay's retry_flag).
	Again bool `json:"again,omitempty"`
	// Action goes with ActionRequired.
	Action *payment.NextAction `json:"action,omitempty"`
	// Card is what the PSP tells of the card: brand, last4, expiry.
	Card *payment.MethodSummary `json:"card,omitempty"`
	// CaptureBefore is when the hold ends.
	CaptureBefore        time.Time `json:"capture_before,omitzero"`
	NetworkTransactionID string    `json:"network_transaction_id,omitempty"`
}

// Charge is the PSP's view of one charge, in totals: minor units of Amount's
// currency.
type Charge struct {
	// PSPReference is the charge's; Reference is ours as the PSP echoes it.
	PSPReference string        `json:"psp_reference,omitempty"`
	Reference    string        `json:"reference,omitempty"`
	Amount       payment.Money `json:"amount"` // what was to be authorized
	Authorized   int64         `json:"authorized"`
	Captured     int64         `json:"captured"`
	Refunded     int64         `json:"refunded"`
	// Released tells that nothing is left to capture.
	Released bool `json:"released,omitempty"`
	// MultiCapture tells that the PSP takes more than one capture.
	MultiCapture bool `json:"multi_capture,omitempty"`
	// Livemode is the PSP's word; nil where it does not say.
	Livemode *bool `json:"livemode,omitempty"`
}

// Delivery is one webhook request as it arrived. Body holds the raw bytes: a
// signature covers those, not their JSON.
type Delivery struct {
	Method string
	URL    string // path and query
	Header http.Header
	Body   []byte
	Now    time.Time
}

// Event is one fact that a webhook tells. It holds no card data: it is stored.
type Event struct {
	ID string `json:"id"` // the PSP's, for the log alone: facts count, not event IDs
	// Of is authorize for news of a charge, refund for news of a refund. From a
	// PSP that tells no totals, it is capture or void for news of one of those.
	Of payment.Kind `json:"of"`
	// Reference and PSPReference name the attempt; either may be empty.
	Reference    string `json:"reference,omitempty"`
	PSPReference string `json:"psp_reference,omitempty"`
	// ChargePSPReference names the charge of a refund, a capture or a void.
	ChargePSPReference string `json:"charge_psp_reference,omitempty"`
	// Result is what the PSP says; its State is never StepDone, and NotFound only
	// of a void by our reference.
	Result Result `json:"result"`
	// Livemode is the PSP's word; nil where it does not say.
	Livemode *bool `json:"livemode,omitempty"`
}

// Outcome says what is known of the PSP's side once an exchange has ended.
type Outcome uint8

// What may be known.
const (
	NotSent  Outcome = iota // certainly not done: no byte left us
	Answered                // the PSP answered and Decode understood it
	Unknown                 // sent, and no answer to trust
)

// String names the outcome in logs and metrics.
func (o Outcome) String() string {
	switch o {
	case NotSent:
		return "not_sent"
	case Answered:
		return "answered"
	default:
		return "unknown"
	}
}

// UnsupportedError is an [ErrUnsupported] in words for the merchant. They are the
// connector's own, and hold nothing of the call.
type UnsupportedError struct {
	Param string // the field that asks for it, as the merchants' API has it, such as "channel"
	Why   string
}

// Error writes both.
func (e *UnsupportedError) Error() string { return e.Param + ": " + e.Why }

// Unwrap makes it an [ErrUnsupported].
func (e *UnsupportedError) Unwrap() error { return ErrUnsupported }

// Errors that a connector may wrap.
var (
	ErrUnsupported      = errors.New("operation not supported by this PSP")
	ErrNotRepresentable = errors.New("the PSP cannot express this amount")
	ErrSignature        = errors.New("webhook signature does not verify")
)
