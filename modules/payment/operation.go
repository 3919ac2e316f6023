package payment

import "time"

// Operation is what a connector is asked to do: exactly one of [Authorize],
// [Capture], [Void], [GiveBack] and [Sync].
//
//sumtype:decl
type Operation interface {
	// Kind names the operation.
	Kind() Kind
	operation()
}

// ChargeRef points at what an [Authorize] made at the PSP.
type ChargeRef struct {
	// Reference is ours: the Call.Reference of the authorize attempt.
	Reference string `json:"reference"`
	// PSPReference is the PSP's; empty where the answer was lost.
	PSPReference string `json:"psp_reference,omitempty"`
	// Amount is what was to be authorized.
	Amount Money `json:"amount"`
	// Authorized, Captured and Refunded are what we know of, in minor units.
	Authorized int64 `json:"authorized,omitempty"`
	Captured   int64 `json:"captured,omitempty"`
	Refunded   int64 `json:"refunded,omitempty"`
	// Method and Flow are the payer's.
	Method MethodType `json:"method,omitempty"`
	Flow   Flow       `json:"flow,omitempty"`
	// CreatedAt is when the authorize attempt began.
	CreatedAt time.Time `json:"created_at,omitzero"`
}

type (
	// Authorize asks to hold Amount, and to take it at once where Capture is set.
	Authorize struct {
		Amount  Money  `json:"amount"`
		Capture bool   `json:"capture"`
		Method  Method `json:"method"`

		Payment             string            `json:"payment"`             // our ID, for the PSP's metadata
		Reference           string            `json:"reference,omitempty"` // the merchant's own
		Description         string            `json:"description,omitempty"`
		StatementDescriptor string            `json:"statement_descriptor,omitempty"`
		Customer            *Customer         `json:"customer,omitempty"`
		Billing             *Address          `json:"billing,omitempty"`
		Shipping            *Address          `json:"shipping,omitempty"`
		Browser             *Browser          `json:"browser,omitempty"`
		Channel             Channel           `json:"channel,omitempty"`
		OffSession          bool              `json:"off_session,omitempty"`
		SetupFutureUsage    string            `json:"setup_future_usage,omitempty"`
		Metadata            map[string]string `json:"metadata,omitempty"`
		// ReturnURL is where the PSP sends the payer back: ours, not the merchant's.
		ReturnURL string `json:"return_url,omitempty"`
		// NotifyURL is where the PSP sends news of this payment, for PSPs that
		// take it with the request.
		NotifyURL string `json:"notify_url,omitempty"`
		// ExpiresAt is when the payer's time ends.
		ExpiresAt time.Time `json:"expires_at,omitzero"`
		// CreatedAt is when the attempt began: a date that a repeat bears as well.
		CreatedAt time.Time `json:"created_at,omitzero"`
	}
	// Capture asks to take Amount of what was authorized.
	Capture struct {
		Charge ChargeRef `json:"charge"`
		Amount Money     `json:"amount"`
		Final  bool      `json:"final"` // let the rest go
	}
	// Void asks to release the authorization, or to close a payment that the
	// payer has not paid. Where Charge.PSPReference is empty, or the charge's
	// outcome is unknown, it is a reversal: undo whatever there is under our
	// reference.
	Void struct {
		Charge ChargeRef `json:"charge"`
		Reason string    `json:"reason,omitempty"`
	}
	// GiveBack asks to refund Amount after a capture. (The noun [Refund] is the
	// merchant's record of it.)
	GiveBack struct {
		Charge ChargeRef `json:"charge"`
		Amount Money     `json:"amount"`
		Reason string    `json:"reason,omitempty"`
	}
	// Sync asks what became of an attempt. It moves no money and is always safe
	// to repeat.
	Sync struct {
		// Of is the kind of the attempt in question.
		Of Kind `json:"of"`
		// Charge is the charge that it made or acts on.
		Charge ChargeRef `json:"charge"`
		// Reference, PSPReference and Amount are those of the attempt in
		// question; the same as Charge's where Of is authorize.
		Reference    string `json:"reference"`
		PSPReference string `json:"psp_reference,omitempty"`
		Amount       Money  `json:"amount"`
	}
)

// Kind is [KindAuthorize].
func (Authorize) Kind() Kind { return KindAuthorize }

// Kind is [KindCapture].
func (Capture) Kind() Kind { return KindCapture }

// Kind is [KindVoid].
func (Void) Kind() Kind { return KindVoid }

// Kind is [KindRefund].
func (GiveBack) Kind() Kind { return KindRefund }

// Kind is [KindSync].
func (Sync) Kind() Kind { return KindSync }

func (Authorize) operation() {}
func (Capture) operation()   {}
func (Void) operation()      {}
func (GiveBack) operation()  {}
func (Sync) operation()      {}
