// Package payment holds the nouns of the gateway: money, payments, attempts,
// refunds, and what is asked of a PSP. It imports the standard library alone
// and performs no I/O, so every other room may stand on it.
package payment

import "time"

// Payment is one merchant's intent to take money once, with everything that
// was tried for it. It is stored whole, as one record, so that one
// compare-and-swap on Version guards all of its money.
type Payment struct {
	ID       string `json:"id"`
	Merchant string `json:"merchant"`
	Mode     Mode   `json:"mode"`
	// Version is the compare-and-swap token: 0 before the first write, raised
	// by one by every write.
	Version int64 `json:"-"`
	// Sequence numbers the payment's events, from 1.
	Sequence int64 `json:"sequence"`

	Status  Status   `json:"status"`
	Outcome Outcome  `json:"outcome"`
	Error   *Failure `json:"error,omitempty"`
	// Untold tells that the payment is processing and no event has said so yet:
	// the call that began it has not ended.
	Untold bool `json:"untold,omitempty"`

	Amount        Money         `json:"amount"`
	CaptureMethod CaptureMethod `json:"capture_method"`
	// CaptureBefore is when the issuer lets the hold go; zero where unknown.
	CaptureBefore time.Time `json:"capture_before,omitzero"`

	// Method is masked: it holds no card number and no one-time code.
	Method     *MethodSummary `json:"method,omitempty"`
	NextAction *NextAction    `json:"next_action,omitempty"`

	// Charge is the ID of the authorize attempt on which the payment now rests,
	// "" before the first one.
	Charge   string    `json:"charge,omitempty"`
	Attempts []Attempt `json:"attempts,omitempty"` // oldest first, at most MaxAttempts
	Refunds  []Refund  `json:"refunds,omitempty"`  // oldest first

	Reference           string            `json:"reference,omitempty"`
	Description         string            `json:"description,omitempty"`
	StatementDescriptor string            `json:"statement_descriptor,omitempty"`
	Customer            *Customer         `json:"customer,omitempty"`
	Billing             *Address          `json:"billing,omitempty"`
	Shipping            *Address          `json:"shipping,omitempty"`
	Browser             *Browser          `json:"browser,omitempty"`
	ReturnURL           string            `json:"return_url,omitempty"`
	Channel             Channel           `json:"channel"`
	OffSession          bool              `json:"off_session,omitempty"`
	SetupFutureUsage    string            `json:"setup_future_usage,omitempty"`
	Metadata            map[string]string `json:"metadata,omitempty"`
	// Account pins the payment to one connector account; "" leaves it to routing.
	Account string `json:"account,omitempty"`

	CancelRequestedAt time.Time `json:"cancel_requested_at,omitzero"`
	CreatedAt         time.Time `json:"created_at"`
	UpdatedAt         time.Time `json:"updated_at"`
	ExpiresAt         time.Time `json:"expires_at,omitzero"`
}

// MaxAttempts bounds the attempts of one payment: no PSP takes more than a few
// dozen captures and refunds of one charge.
const MaxAttempts = 200

// Kind names an operation, in attempts and in keys toward the PSP.
type Kind string

// The kinds of operation.
const (
	KindAuthorize Kind = "authorize"
	KindCapture   Kind = "capture"
	KindVoid      Kind = "void"
	KindRefund    Kind = "refund"
	KindSync      Kind = "sync" // a question: it is never an attempt of its own
)

// Attempt is one operation tried at one account. It is durable before its
// first byte leaves.
type Attempt struct {
	ID        string        `json:"id"`
	Kind      Kind          `json:"kind"`
	Amount    int64         `json:"amount"` // minor units of the payment's currency
	Account   string        `json:"account"`
	Connector string        `json:"connector"`
	Status    AttemptStatus `json:"status"`
	Outcome   Outcome       `json:"outcome"`
	Origin    Origin        `json:"origin"`
	Error     *Failure      `json:"error,omitempty"`
	Routing   *Plan         `json:"routing,omitempty"` // authorize only

	// Reference is ours, at the PSP: 32 characters of [a-z0-9].
	Reference string `json:"reference"`
	// PSPReference is the PSP's own; empty until it answers.
	PSPReference string `json:"psp_reference,omitempty"`
	// Charge is the authorize attempt that a capture, void or refund acts on.
	Charge string `json:"charge,omitempty"`
	// Refund is the refund that a refund attempt serves.
	Refund string `json:"refund,omitempty"`
	// Purpose says what a void is for.
	Purpose Purpose `json:"purpose,omitempty"`
	// PublicURL is the gateway's own address when the attempt began, by which
	// the payer and the PSP come back: a repeat must bear the same.
	PublicURL string `json:"public_url,omitempty"`
	// Final tells that a capture lets the rest of the hold go.
	Final bool `json:"final,omitempty"`

	// Step is the step whose first byte may have left; Done holds what the
	// steps before it yielded, by step.
	Step string            `json:"step,omitempty"`
	Done map[string]string `json:"done,omitempty"`
	// Sent is when the first byte of the present step may first have left.
	Sent time.Time `json:"sent,omitzero"`
	// Resent is when recovery last made the present step again; zero = never.
	Resent time.Time `json:"resent,omitzero"`
	// Doubt tells that a send of the present step was never answered: from then
	// on nothing but the PSP's verdict can say "not done".
	Doubt bool `json:"doubt,omitempty"`

	// Answered tells that the PSP has taken the present step and will say more
	// later: from then on it is asked, not told again.
	Answered bool `json:"answered,omitempty"`

	// Authorized, Captured and Refunded are what the PSP has proven of this
	// charge, in minor units; authorize attempts only.
	Authorized int64 `json:"authorized,omitempty"`
	Captured   int64 `json:"captured,omitempty"`
	Refunded   int64 `json:"refunded,omitempty"`
	// Released tells that nothing of the hold is left to capture.
	Released bool `json:"released,omitempty"`
	// MultiCapture tells that the PSP takes more than one capture of this charge.
	MultiCapture bool `json:"multi_capture,omitempty"`

	StartedAt time.Time     `json:"started_at"`
	EndedAt   time.Time     `json:"ended_at,omitzero"`
	Gateway   time.Duration `json:"gateway,omitempty"` // our own part of the operation's time
	PSP       time.Duration `json:"psp,omitempty"`     // the time spent waiting for the PSP
}

// Purpose is why a void is made: it decides what becomes of the payment when
// the PSP has done it.
type Purpose string

// The purposes of a void.
const (
	PurposeCancel  Purpose = "cancel"  // the merchant's wish
	PurposeExpiry  Purpose = "expiry"  // the payer's time has ended
	PurposeClose   Purpose = "close"   // before another account is tried
	PurposeReverse Purpose = "reverse" // the payer at the till cannot wait for the truth
)

// Refund is money on its way back to the payer.
type Refund struct {
	ID           string            `json:"id"`
	Attempt      string            `json:"attempt"`
	Amount       int64             `json:"amount"` // minor units of the payment's currency
	Status       RefundStatus      `json:"status"`
	Outcome      Outcome           `json:"outcome"`
	Reason       string            `json:"reason,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	Error        *Failure          `json:"error,omitempty"`
	PSPReference string            `json:"psp_reference,omitempty"`
	Origin       Origin            `json:"origin"`
	CreatedAt    time.Time         `json:"created_at"`
	UpdatedAt    time.Time         `json:"updated_at"`
	// Untold is [Payment.Untold] for a refund that is pending.
	Untold bool `json:"untold,omitempty"`
}

// Attempt returns a pointer into p.Attempts, or nil.
func (p *Payment) Attempt(id string) *Attempt {
	for i := range p.Attempts {
		if p.Attempts[i].ID == id {
			return &p.Attempts[i]
		}
	}
	return nil
}

// Refund returns a pointer into p.Refunds, or nil.
func (p *Payment) Refund(id string) *Refund {
	for i := range p.Refunds {
		if p.Refunds[i].ID == id {
			return &p.Refunds[i]
		}
	}
	return nil
}

// Current returns the authorize attempt on which the payment now rests, or nil.
func (p *Payment) Current() *Attempt { return p.Attempt(p.Charge) }

// AmountCaptured is what the PSPs have proven to be taken, over all attempts,
// in minor units.
func (p *Payment) AmountCaptured() int64 {
	var sum int64
	for i := range p.Attempts {
		sum += p.Attempts[i].Captured
	}
	return sum
}

// AmountRefunded is the sum of the refunds that succeeded, in minor units.
func (p *Payment) AmountRefunded() int64 {
	var sum int64
	for i := range p.Refunds {
		if p.Refunds[i].Status == RefundSucceeded {
			sum += p.Refunds[i].Amount
		}
	}
	return sum
}

// AmountReservedForRefund is what pending and unknown refunds hold back.
func (p *Payment) AmountReservedForRefund() int64 {
	var sum int64
	for i := range p.Refunds {
		if p.Refunds[i].Status == RefundPending {
			sum += p.Refunds[i].Amount
		}
	}
	return sum
}

// AmountCapturable is authorized − captured − reserved on the current charge,
// in minor units: 0 unless the payment stands at [RequiresCapture]. Each capture
// under way reserves its amount, and a void the whole rest.
func (p *Payment) AmountCapturable() int64 {
	rest := p.authorizedRest()
	for i := range p.Attempts {
		a := &p.Attempts[i]
		if a.Charge != p.Charge || !a.Status.Open() {
			continue
		}
		switch a.Kind {
		case KindCapture:
			rest -= a.Amount
		case KindVoid:
			return 0
		case KindAuthorize, KindRefund, KindSync:
		}
	}
	return max(rest, 0)
}

// AmountFree is what another capture may take now, in minor units: it is
// [Payment.AmountCapturable], and 0 while a final capture is under way, which lets
// the rest go if it is done.
func (p *Payment) AmountFree() int64 {
	for i := range p.Attempts {
		if a := &p.Attempts[i]; a.Charge == p.Charge && a.Status.Open() && a.Kind == KindCapture && a.Final {
			return 0
		}
	}
	return p.AmountCapturable()
}

// AmountUncaptured is [Payment.AmountCapturable] before reservations: what the
// hold still covers if every pending capture and void comes to nothing.
func (p *Payment) AmountUncaptured() int64 { return max(p.authorizedRest(), 0) }

func (p *Payment) authorizedRest() int64 {
	c := p.Current()
	if c == nil || c.Released || p.Status != RequiresCapture {
		return 0
	}
	return c.Authorized - c.Captured
}
