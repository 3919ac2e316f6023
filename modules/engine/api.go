package engine

import (
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// Scope is whose objects a call may see.
type Scope struct {
	Merchant string
	Mode     payment.Mode
}

// Claim is the caller's Idempotency-Key and what it stands for.
type Claim struct {
	Scope
	// Key is bare: quotes of a structured field are gone.
	Key string
	// Fingerprint is a keyed hash of method, route and body, without the CVC.
	Fingerprint [32]byte
	// Origin is the gateway's own public address as the caller named it, such
	// as "https://pay.example.com": payers and PSPs are sent back there.
	Origin string
	// Quotas are the sums that the call's amount counts for.
	Quotas []Quota
}

func (c Claim) scope() store.KeyScope {
	return store.KeyScope{Merchant: c.Merchant, Mode: c.Mode, Key: c.Key}
}

// Answer is what the merchant hears: stored byte for byte under the key.
type Answer struct {
	Status      int // HTTP
	ContentType string
	Body        []byte
	// Replayed tells that this is the first answer again.
	Replayed bool
	// PSP is the time spent waiting for PSPs in this very call.
	PSP time.Duration
}

// Create is a new payment. The API has checked every field by itself.
type Create struct {
	Amount              payment.Money
	CaptureMethod       payment.CaptureMethod
	Confirm             bool
	Method              *payment.Method
	Reference           string
	Description         string
	StatementDescriptor string
	Customer            *payment.Customer
	Billing, Shipping   *payment.Address
	Browser             *payment.Browser
	ReturnURL           string
	Channel             payment.Channel
	OffSession          bool
	SetupFutureUsage    string
	Account             string
	ExpiresAt           time.Time
	Metadata            map[string]string
}

// Confirm starts a payment that was created without.
type Confirm struct {
	Method    *payment.Method
	ReturnURL string
	Browser   *payment.Browser
	// Account is the one whose token Method holds; "" where it is not said.
	Account string
}

// Capture takes money of an authorization. Amount 0 is all that is left.
type Capture struct {
	Amount int64
	Final  bool
}

// Cancel releases or undoes a payment.
type Cancel struct {
	Reason string
}

// Refund gives money back. Amount 0 is all that is left.
type Refund struct {
	Payment  string
	Amount   int64
	Reason   string
	Metadata map[string]string
}

// Patch changes what no PSP needs to know. Nil fields stay as they are; a
// metadata value of "" removes its key.
type Patch struct {
	Metadata    map[string]string
	Description *string
	Reference   *string
}
