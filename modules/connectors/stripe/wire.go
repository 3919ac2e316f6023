package stripe

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/payment"
)

// These are the parts of Stripe's objects that we read. A pointer marks what
// must tell "absent" from zero.
type (
	intent struct {
		ID               string            `json:"id"`
		Object           string            `json:"object"`
		Status           string            `json:"status"`
		Amount           *int64            `json:"amount"`
		AmountCapturable *int64            `json:"amount_capturable"`
		AmountReceived   *int64            `json:"amount_received"`
		Currency         string            `json:"currency"`
		Livemode         *bool             `json:"livemode"`
		Metadata         map[string]string `json:"metadata"`
		LastPaymentError *apiError         `json:"last_payment_error"`
		NextAction       *nextAction       `json:"next_action"`
		LatestCharge     latest            `json:"latest_charge"`
	}
	nextAction struct {
		Type          string `json:"type"`
		RedirectToURL *struct {
			URL string `json:"url"`
		} `json:"redirect_to_url"`
	}
	stripeCharge struct {
		ID             string            `json:"id"`
		Object         string            `json:"object"`
		Status         string            `json:"status"`
		Amount         *int64            `json:"amount"`
		AmountCaptured *int64            `json:"amount_captured"`
		AmountRefunded *int64            `json:"amount_refunded"`
		Captured       *bool             `json:"captured"`
		Refunded       bool              `json:"refunded"`
		Currency       string            `json:"currency"`
		Livemode       *bool             `json:"livemode"`
		Metadata       map[string]string `json:"metadata"`
		PaymentIntent  reference         `json:"payment_intent"`
		Details        *struct {
			Card *cardDetails `json:"card"`
		} `json:"payment_method_details"`
	}
	cardDetails struct {
		AmountAuthorized     *int64 `json:"amount_authorized"`
		Brand                string `json:"brand"`
		Last4                string `json:"last4"`
		ExpMonth             int    `json:"exp_month"`
		ExpYear              int    `json:"exp_year"`
		CaptureBefore        int64  `json:"capture_before"`
		NetworkTransactionID string `json:"network_transaction_id"`
		Multicapture         *struct {
			Status string `json:"status"`
		} `json:"multicapture"`
	}
	refund struct {
		ID            string            `json:"id"`
		Object        string            `json:"object"`
		Status        string            `json:"status"`
		Amount        *int64            `json:"amount"`
		Currency      string            `json:"currency"`
		Reason        string            `json:"reason"`
		FailureReason string            `json:"failure_reason"`
		PaymentIntent reference         `json:"payment_intent"`
		Metadata      map[string]string `json:"metadata"`
	}
	refundList struct {
		Object  string   `json:"object"`
		Data    []refund `json:"data"`
		HasMore *bool    `json:"has_more"`
	}
	paymentMethod struct {
		ID     string       `json:"id"`
		Object string       `json:"object"`
		Card   *cardDetails `json:"card"`
	}
	apiError struct {
		Type               string  `json:"type"`
		Code               string  `json:"code"`
		DeclineCode        string  `json:"decline_code"`
		Message            string  `json:"message"`
		AdviceCode         string  `json:"advice_code"`
		NetworkDeclineCode string  `json:"network_decline_code"`
		PaymentIntent      *intent `json:"payment_intent"`
	}
)

// reference is an ID, or the object itself where it was expanded.
type reference string

// UnmarshalJSON takes a string, null, or an object with an id.
func (r *reference) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var o struct {
			ID string `json:"id"`
		}
		err := json.Unmarshal(b, &o)
		*r = reference(o.ID)
		return err
	}
	return json.Unmarshal(b, (*string)(r))
}

// latest is a charge's ID, or the charge itself where it was expanded.
type latest struct {
	*stripeCharge
}

// UnmarshalJSON takes a string, null, or a charge.
func (l *latest) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		return json.Unmarshal(b, &l.stripeCharge)
	}
	var id string
	return json.Unmarshal(b, &id)
}

// money reads an amount and a currency that an answer must have.
func money(amount *int64, currency string) (payment.Money, error) {
	if amount == nil {
		return payment.Money{}, errors.New("no amount")
	}
	c, err := payment.ParseCurrency(currency)
	if err != nil {
		return payment.Money{}, err
	}
	minor, err := fromStripe(*amount, c)
	return payment.Money{Minor: minor, Currency: c}, err
}

// object checks what every object must have.
func object(id, kind, want string) error {
	if kind != want {
		return fmt.Errorf("object %.32q, want %s", kind, want)
	}
	if !validID(id) {
		return fmt.Errorf("%s with a malformed id", want)
	}
	return nil
}

// ours returns our reference out of metadata, "" where it is none of ours.
func ours(metadata map[string]string) string {
	r := metadata[metaReference]
	if len(r) > 64 || strings.Trim(r, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return ""
	}
	return r
}
