// Package acme speaks Acme Pay's API v1 for cards: charges, their captures and
// voids, refunds, and webhooks. Acme Pay is invented; acme-pay.md is its
// documentation.
//
// Acme knows every charge and refund by our own reference. So a lost answer is
// found by it at once, and a repeat under its Idempotency-Key yields the first
// answer.
package acme

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

const (
	// keyWindow is how long Acme remembers an Idempotency-Key.
	keyWindow = 48 * time.Hour
	// notFoundAfter is twice the five seconds in which Acme promises to find what
	// it has taken.
	notFoundAfter = 10 * time.Second
	maxAmount     = 99_999_999 // minor units
	minSecret     = 16         // bytes of the webhook secret
	maxShop       = 40         // characters
)

// currencies are those that Acme charges in.
var currencies = []payment.Currency{"CHF", "EUR", "GBP", "JPY", "USD"}

// Connector is one account at Acme Pay.
type Connector struct {
	// APIKey authenticates every call.
	APIKey connector.Secret `json:"api_key"`
	// WebhookSecret signs the webhooks.
	WebhookSecret connector.Secret `json:"webhook_secret"`
	// Shop is the shop that charges are booked for, 1 … 40 visible characters; "" =
	// the account's first.
	Shop string `json:"shop,omitempty"`
}

var (
	_ connector.Connector      = (*Connector)(nil)
	_ connector.Checker        = (*Connector)(nil)
	_ connector.Preparer       = (*Connector)(nil)
	_ connector.WebhookDecoder = (*Connector)(nil)
)

// Spec describes what Acme does, and what it promises.
func (*Connector) Spec() connector.Spec {
	return connector.Spec{
		Name:    "acme",
		TestURL: "https://sandbox.acmepay.example",
		LiveURL: "https://api.acmepay.example",
		Kinds: []payment.Kind{
			payment.KindAuthorize, payment.KindCapture, payment.KindVoid, payment.KindRefund, payment.KindSync,
		},
		Methods: []connector.Method{
			{Type: payment.MethodCard, Manual: true},
			{Type: payment.MethodCardToken, Manual: true},
		},
		Currencies:     slices.Clone(currencies),
		Idempotency:    connector.Idempotency{By: connector.ByKey, Window: keyWindow},
		Query:          connector.QueryExact,
		PartialCapture: true,
		PartialRefund:  true,
		NotFoundAfter:  notFoundAfter,
		Source:         "acme-pay.md, API v1 of 2026-11-01",
	}
}

var errConfig = errors.New("account is not set up")

// Prepare checks the credentials' form. Its errors hold nothing of them.
func (a *Connector) Prepare() error {
	switch {
	case a.APIKey.Reveal() == "" || !visible(a.APIKey.Reveal()):
		return fmt.Errorf("acme: %w: api_key is empty, or holds a space or control character", errConfig)
	case len(a.WebhookSecret.Reveal()) < minSecret:
		return fmt.Errorf("acme: %w: webhook_secret has fewer than %d bytes", errConfig, minSecret)
	case len(a.Shop) > maxShop || !visible(a.Shop):
		return fmt.Errorf("acme: %w: shop is at most %d visible characters", errConfig, maxShop)
	}
	return nil
}

// visible tells printable ASCII without a space.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Check tells before anything is written or sent that Acme cannot express op.
func (*Connector) Check(op payment.Operation) error {
	switch op := op.(type) {
	case payment.Authorize:
		if err := supported(op); err != nil {
			return err
		}
		return expressible(op.Amount)
	case payment.Capture:
		if !op.Final {
			return fmt.Errorf("acme: a hold is captured once: %w", connector.ErrUnsupported)
		}
		return expressible(op.Amount)
	case payment.GiveBack:
		return expressible(op.Amount)
	default:
		return nil
	}
}

// supported refuses what Acme, or this connector, cannot do with a card.
func supported(op payment.Authorize) error {
	no := func(why string) error { return fmt.Errorf("acme: %s: %w", why, connector.ErrUnsupported) }
	switch {
	case op.Method.Type != payment.MethodCard && op.Method.Type != payment.MethodCardToken:
		return no("method " + op.Method.String())
	case op.Method.Type == payment.MethodCardToken && !name(op.Method.Token):
		return no("a card token of another form than Acme's")
	case op.Channel == payment.ChannelInPerson || op.Channel == payment.ChannelMOTO:
		return no("channel " + string(op.Channel))
	case op.SetupFutureUsage != "":
		return no("setup_future_usage: the gateway keeps no tokens")
	}
	return nil
}

// expressible refuses an amount that Acme would not take as it stands.
func expressible(m payment.Money) error {
	if m.Minor < 1 || m.Minor > maxAmount || !slices.Contains(currencies, m.Currency) {
		return fmt.Errorf("acme: %s: %w", m, connector.ErrNotRepresentable)
	}
	return nil
}

// Encode builds the request for c.
func (a *Connector) Encode(c connector.Call) (*http.Request, error) {
	switch op := c.Op.(type) {
	case payment.Authorize:
		return a.encodeCharge(c, op)
	case payment.Capture:
		return a.encodeCapture(c, op)
	case payment.Void:
		return a.post(c, "/v1/charges/"+op.Charge.Reference+"/void", voidRequest{op.Reason})
	case payment.GiveBack:
		return a.encodeRefund(c, op)
	case payment.Sync:
		return a.encodeQuery(c, op)
	default:
		return nil, fmt.Errorf("acme: %T: %w", c.Op, connector.ErrUnsupported)
	}
}
