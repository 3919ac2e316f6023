package api

import (
	"slices"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
)

// createBody is the body of POST /v1/payments. A pointer tells "absent" from
// "empty"; null is absent.
type createBody struct {
	Amount              *int64                 `json:"amount"`
	Currency            *string                `json:"currency"`
	PaymentMethod       *methodBody            `json:"payment_method"`
	CaptureMethod       *payment.CaptureMethod `json:"capture_method"`
	Confirm             *bool                  `json:"confirm"`
	Reference           string                 `json:"reference"`
	Description         string                 `json:"description"`
	StatementDescriptor string                 `json:"statement_descriptor"`
	Customer            *payment.Customer      `json:"customer"`
	BillingAddress      *payment.Address       `json:"billing_address"`
	ShippingAddress     *payment.Address       `json:"shipping_address"`
	Browser             *payment.Browser       `json:"browser"`
	ReturnURL           string                 `json:"return_url"`
	Channel             *payment.Channel       `json:"channel"`
	OffSession          bool                   `json:"off_session"`
	SetupFutureUsage    *futureUsage           `json:"setup_future_usage"`
	Account             string                 `json:"account"`
	ExpiresAt           *string                `json:"expires_at"`
	Metadata            map[string]*string     `json:"metadata"`
}

// futureUsage says whether the payer will be there when the method is used
// again.
type futureUsage string

var futureUsages = []futureUsage{"on_session", "off_session"}

// confirmBody is the body of POST /v1/payments/{id}/confirm.
type confirmBody struct {
	PaymentMethod *methodBody      `json:"payment_method"`
	ReturnURL     string           `json:"return_url"`
	Browser       *payment.Browser `json:"browser"`
}

func (c *checker) create(in *createBody) engine.Create {
	out := engine.Create{
		Confirm:       in.Confirm == nil || *in.Confirm,
		CaptureMethod: choice(c, "capture_method", in.CaptureMethod, captures, payment.CaptureAutomatic),
		Channel:       choice(c, "channel", in.Channel, payment.Channels, payment.ChannelEcommerce),
		Reference:     c.text("reference", in.Reference, maxReference),
		Description:   c.prose("description", in.Description, maxDescription),
		Customer:      c.customer(in.Customer),
		Billing:       c.address("billing_address", in.BillingAddress),
		Shipping:      c.address("shipping_address", in.ShippingAddress),
		Browser:       c.browser(in.Browser),
		ReturnURL:     c.url("return_url", in.ReturnURL),
		OffSession:    in.OffSession,
		Account:       c.account("account", in.Account),
		Metadata:      c.metadata(in.Metadata, false),
	}
	out.Amount = c.money(in.Amount, in.Currency)
	out.StatementDescriptor = c.descriptor(in.StatementDescriptor)
	out.SetupFutureUsage = string(choice(c, "setup_future_usage", in.SetupFutureUsage, futureUsages, ""))
	if in.ExpiresAt != nil {
		out.ExpiresAt = c.instant("expires_at", *in.ExpiresAt)
		switch {
		case out.ExpiresAt.IsZero():
		case !out.ExpiresAt.After(c.now):
			c.failLate("expires_at", "The time has passed.")
		case out.ExpiresAt.After(c.now.Add(maxExpiry)):
			c.fail("expires_at", "The time is at most 30 days ahead.")
		}
	}
	method := c.method(in.PaymentMethod)
	if out.Method = method.Method; method.Method == nil && out.Confirm {
		c.fail(fieldMethod, "A payment cannot be confirmed without a method. Send one, or \"confirm\": false.")
	}
	if !out.Confirm {
		c.keepable(method)
	}
	if method.account != "" && out.Account != "" && method.account != out.Account {
		c.fail(method.at+".account", "The token's account and the payment's are not the same.")
	}
	if method.account != "" {
		out.Account = method.account
	}
	return out
}

func (c *checker) money(amount *int64, currency *string) payment.Money {
	if amount == nil {
		c.fail("amount", "The amount is required: an integer in the minor unit of the currency.")
	}
	if currency == nil {
		c.fail("currency", "The currency is required: three letters of ISO 4217.")
		return payment.Money{}
	}
	code, err := payment.ParseCurrency(*currency)
	if err != nil {
		c.fail("currency", "The currency is an active one of ISO 4217: three letters.")
	}
	return payment.Money{Minor: c.amount("amount", amount), Currency: code}
}

// descriptor takes what card networks print on the payer's statement.
func (c *checker) descriptor(s string) string {
	const format = "The descriptor has %d to %d characters of A-Z, a-z, 0-9, space, dot and dash, a letter among them."
	c.of("statement_descriptor", s, minDescriptor, maxDescriptor,
		func(b byte) bool { return isLetter(b) || isDigit(b) || b == ' ' || b == '.' || b == '-' }, format)
	if s != "" && !slices.ContainsFunc([]byte(s), isLetter) {
		c.fail("statement_descriptor", format, minDescriptor, maxDescriptor)
	}
	return s
}

func (c *checker) account(param, s string) string {
	return c.of(param, s, 1, maxAccount, func(b byte) bool { return isLetter(b) || isDigit(b) || b == '_' || b == '-' || b == '.' },
		"An account's name has %d to %d characters of a-z, 0-9, dash, dot and underscore.")
}

func (c *checker) confirm(in *confirmBody) engine.Confirm {
	method := c.method(in.PaymentMethod)
	return engine.Confirm{
		Method: method.Method, Account: method.account,
		ReturnURL: c.url("return_url", in.ReturnURL), Browser: c.browser(in.Browser),
	}
}

// captureBody is the body of POST /v1/payments/{id}/capture.
type captureBody struct {
	Amount *int64 `json:"amount"`
	Final  *bool  `json:"final"`
}

func (c *checker) capture(in *captureBody) engine.Capture {
	return engine.Capture{Amount: c.amount("amount", in.Amount), Final: in.Final == nil || *in.Final}
}

// cancelBody is the body of POST /v1/payments/{id}/cancel.
type cancelBody struct {
	Reason string `json:"reason"`
}

func (c *checker) cancel(in *cancelBody) engine.Cancel {
	return engine.Cancel{Reason: c.text("reason", in.Reason, maxReason)}
}

// refundBody is the body of POST /v1/refunds.
type refundBody struct {
	Payment  *string            `json:"payment"`
	Amount   *int64             `json:"amount"`
	Reason   string             `json:"reason"`
	Metadata map[string]*string `json:"metadata"`
	// Force refunds in spite of an open dispute. No PSP's disputes are followed
	// yet, so there is nothing to overrule.
	Force bool `json:"force"`
}

func (c *checker) refund(in *refundBody) engine.Refund {
	out := engine.Refund{
		Amount: c.amount("amount", in.Amount), Reason: c.text("reason", in.Reason, maxReason),
		Metadata: c.metadata(in.Metadata, false),
	}
	switch {
	case in.Payment == nil:
		c.fail("payment", "The payment is required.")
	case !payment.IsID(payment.PrefixPayment, *in.Payment) && c.err == nil:
		c.err = payment.Errorf(payment.CodeNotFound, notFoundDetail)
	default:
		out.Payment = *in.Payment
	}
	return out
}

// patchBody is the body of PATCH /v1/payments/{id}: null leaves a field as it
// is, "" empties it, and a metadata value of null or "" removes its key.
type patchBody struct {
	Metadata    map[string]*string `json:"metadata"`
	Description *string            `json:"description"`
	Reference   *string            `json:"reference"`
}

func (c *checker) patch(in *patchBody) engine.Patch {
	if in.Description != nil {
		c.prose("description", *in.Description, maxDescription)
	}
	if in.Reference != nil {
		c.text("reference", *in.Reference, maxReference)
	}
	return engine.Patch{Metadata: c.metadata(in.Metadata, true), Description: in.Description, Reference: in.Reference}
}
