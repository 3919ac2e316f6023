// Package stripe speaks Stripe's payments API: PaymentIntents, PaymentMethods,
// Refunds and webhooks, at one pinned API version.
//
// A card number is first made into a PaymentMethod and only then confirmed in a
// PaymentIntent, so that the request that moves money bears no card data and
// can be repeated under its key after a crash. A card that Stripe already knows
// comes as a token ("pm_…") and needs the second step alone.
//
// Two facts shape the reading of answers. Stripe's totals count the release of
// an uncaptured rest as a refund; see [refundedOf]. And its search by metadata
// runs about a minute behind, so that a lost answer is settled by a repeat under
// its key; where Stripe replays an error for that key, the search finds the
// PaymentIntent's name, and is believed in nothing else.
package stripe

import (
	"fmt"
	"net/http"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// Version is the API version that every request names, and that the webhook
// endpoint at Stripe is best set to.
const Version = "2026-08-26.dahlia"

// The steps of an authorization.
const (
	stepMethod = "payment_method"
	stepIntent = "payment_intent"
)

// keyWindow is how long Stripe remembers an idempotency key, at the least.
const keyWindow = 24 * time.Hour

// Connector is one Stripe account. Test and live differ by the key alone.
type Connector struct {
	// SecretKey is the API key: sk_test_…, sk_live_… or a restricted rk_… one
	// that may write PaymentIntents, PaymentMethods and Refunds.
	SecretKey connector.Secret `json:"secret_key"`
	// WebhookSecret is the signing secret of the webhook endpoint, whsec_….
	WebhookSecret connector.Secret `json:"webhook_secret"`
}

var (
	_ connector.Connector      = (*Connector)(nil)
	_ connector.Stepper        = (*Connector)(nil)
	_ connector.Asker          = (*Connector)(nil)
	_ connector.WebhookDecoder = (*Connector)(nil)
)

// Spec describes what Stripe does for cards.
func (*Connector) Spec() connector.Spec {
	return connector.Spec{
		Name:    "stripe",
		TestURL: "https://api.stripe.com",
		LiveURL: "https://api.stripe.com",
		Kinds: []payment.Kind{
			payment.KindAuthorize, payment.KindCapture, payment.KindVoid, payment.KindRefund, payment.KindSync,
		},
		Methods: []connector.Method{
			{Type: payment.MethodCard, Manual: true},
			{Type: payment.MethodCardToken, Manual: true},
		},
		Currencies:     currencies(),
		Idempotency:    connector.Idempotency{By: connector.ByKey, Window: keyWindow},
		Query:          connector.QueryPSPReference,
		PartialCapture: true,
		PartialRefund:  true,
		Source:         "https://docs.stripe.com/api, API version " + Version,
	}
}

// Steps lists two steps for a card number, and one for everything else.
func (*Connector) Steps(op payment.Operation) []connector.Step {
	a, ok := op.(payment.Authorize)
	if !ok {
		return nil
	}
	intent := connector.Step{Name: stepIntent, MovesMoney: true}
	if a.Method.Type == payment.MethodCard {
		return []connector.Step{{Name: stepMethod, NeedsTransient: true}, intent}
	}
	return []connector.Step{intent}
}

// Check tells before anything is written that Stripe cannot express op.
func (*Connector) Check(op payment.Operation) error {
	switch op := op.(type) {
	case payment.Authorize:
		if err := supported(op); err != nil {
			return err
		}
		_, err := toStripe(op.Amount)
		return err
	case payment.Capture:
		_, err := toStripe(op.Amount)
		return err
	case payment.GiveBack:
		_, err := toStripe(op.Amount)
		return err
	default:
		return nil
	}
}

// Encode builds the request for one step of c.
func (s *Connector) Encode(c connector.Call) (*http.Request, error) {
	switch op := c.Op.(type) {
	case payment.Authorize:
		if err := supported(op); err != nil {
			return nil, err
		}
		if c.Step == stepMethod {
			return s.encodeMethod(c, op)
		}
		return s.encodeIntent(c, op)
	case payment.Capture:
		return s.encodeCapture(c, op)
	case payment.Void:
		return s.encodeCancel(c, op)
	case payment.GiveBack:
		return s.encodeRefund(c, op)
	case payment.Sync:
		return s.encodeSync(c, op)
	default:
		return nil, fmt.Errorf("stripe: %T: %w", c.Op, connector.ErrUnsupported)
	}
}

// supported refuses what Stripe, or this connector, cannot do with a card.
func supported(op payment.Authorize) error {
	no := func(param, why string) error {
		return fmt.Errorf("stripe: %w", &connector.UnsupportedError{Param: param, Why: why})
	}
	switch {
	case op.Method.Type != payment.MethodCard && op.Method.Type != payment.MethodCardToken:
		return no("payment_method", "it is neither a card nor a card's token")
	case op.Method.Type == payment.MethodCardToken && !isToken(op.Method.Token):
		return no("payment_method", "the card's token is not a PaymentMethod (pm_…)")
	case op.Channel == payment.ChannelInPerson:
		return no("channel", "payments in person need a Stripe Terminal reader")
	case op.Channel == payment.ChannelMOTO:
		return no("channel", "mail and telephone orders are not in the API version in use")
	case op.SetupFutureUsage != "":
		return no("setup_future_usage", "it needs a Stripe customer, and the gateway keeps none")
	}
	return nil
}
