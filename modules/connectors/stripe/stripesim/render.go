package stripesim

import (
	"strings"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

// holdTime is how long an authorization of a card lasts.
const holdTime = 7 * 24 * time.Hour

// intentStatus is Stripe's word for where a charge stands.
func intentStatus(c *books.Charge) string {
	if c.Status == payment.Failed {
		return "requires_payment_method"
	}
	return string(c.Status)
}

// wrongAmount is a copy of c whose amounts are off by one.
func wrongAmount(c *books.Charge) *books.Charge {
	w := *c
	w.Amount++
	if w.Authorized > 0 {
		w.Authorized++
	}
	if w.Captured > 0 {
		w.Captured++
	}
	return &w
}

// intent renders the PaymentIntent as the call wants it.
func (c *call) intent(charge *books.Charge) document {
	x := expansion(c.form.list("expand"))
	charge = copyOf(charge)
	return document{
		body:  c.d.renderIntent(charge, x),
		wrong: func() []byte { return c.d.renderIntent(wrongAmount(charge), x) },
	}
}

func copyOf(c *books.Charge) *books.Charge {
	out := *c
	return &out
}

// expansion is the fields that a request wants expanded.
type expansion []string

// has tells whether field is expanded, in an object or in a list of them.
func (x expansion) has(field string) bool {
	for _, e := range x {
		if e = strings.TrimPrefix(e, "data."); e == field || strings.HasPrefix(e, field+".") {
			return true
		}
	}
	return false
}

func (d *Dialect) renderIntent(c *books.Charge, x expansion) []byte {
	size := 2560
	if x.has("latest_charge") {
		size = 6144
	}
	o := books.NewDocument(size).Text("id", c.PSPReference).Text("object", "payment_intent").
		Int("amount", c.Amount).Int("amount_capturable", c.Capturable())
	o.Open("amount_details").Open("tip").Close().Close()
	o.Int("amount_received", c.Captured).Null("application", "application_fee_amount")
	if c.Types == "" {
		o.Open("automatic_payment_methods").Text("allow_redirects", "always").Bool("enabled", true).Close()
	} else {
		o.Null("automatic_payment_methods")
	}
	unix(o, "canceled_at", c.CanceledAt)
	o.Maybe("cancellation_reason", c.CancelReason).Text("capture_method", c.CaptureMode).Text("client_secret", c.Secret).
		Text("confirmation_method", "automatic").Int("created", c.Created.Unix()).Text("currency", strings.ToLower(string(c.Currency))).
		Maybe("customer", c.Customer).Maybe("description", c.Description)
	d.lastError(o, c)
	switch {
	case c.AttemptReference == "":
		o.Null("latest_charge")
	case x.has("latest_charge"):
		o.Raw("latest_charge", d.renderCharge(c, x))
	default:
		o.Text("latest_charge", c.AttemptReference)
	}
	o.Bool("livemode", false).Strings("metadata", sortedNames(c.Metadata), c.Metadata)
	d.nextAction(o, c)
	o.Null("on_behalf_of")
	method := c.Method
	if c.Status == payment.Failed {
		method = "" // the declined one is in last_payment_error
	}
	switch {
	case method == "":
		o.Null("payment_method")
	case x.has("payment_method"):
		o.Raw("payment_method", renderMethod(d.usedMethod(c)))
	default:
		o.Text("payment_method", method)
	}
	o.Null("payment_method_configuration_details")
	o.Open("payment_method_options").Open("card").Null("installments", "mandate_options", "network").
		Text("request_three_d_secure", "automatic").Close().Close()
	o.List("payment_method_types").Text("", "card").End()
	o.Null("processing", "receipt_email", "review", "setup_future_usage", "shipping", "statement_descriptor").
		Maybe("statement_descriptor_suffix", c.Statement).Text("status", intentStatus(c)).Null("transfer_data", "transfer_group")
	return o.Bytes()
}

func (d *Dialect) lastError(o *books.Document, c *books.Charge) {
	if c.Failure == nil {
		o.Null("last_payment_error")
		return
	}
	kind := "card_error"
	if c.Failure.Code == authenticationFailure {
		kind = "invalid_request_error"
	}
	f := c.Failure
	o.Open("last_payment_error").Some("advice_code", f.Advice).Some("charge", c.AttemptReference).Text("code", f.Code).
		Some("decline_code", f.DeclineCode).Text("message", f.Message).Some("network_decline_code", f.NetworkCode).Some("param", f.Param)
	if c.Method != "" {
		o.Raw("payment_method", renderMethod(d.usedMethod(c)))
	}
	o.Text("type", kind).Close()
}

func (d *Dialect) nextAction(o *books.Document, c *books.Charge) {
	if c.Status != payment.RequiresAction {
		o.Null("next_action")
		return
	}
	ch, ok := d.b.Challenge(c.Challenge)
	if !ok {
		o.Null("next_action")
		return
	}
	o.Open("next_action")
	if c.ReturnURL != "" {
		o.Open("redirect_to_url").Text("return_url", c.ReturnURL).Text("url", ch.URL).Close().Text("type", "redirect_to_url")
	} else {
		o.Text("type", "use_stripe_sdk").Open("use_stripe_sdk").Text("type", "three_d_secure_redirect").
			Text("stripe_js", ch.URL).Text("source", ch.ID).Close()
	}
	o.Close()
}

// usedMethod is the method of c's latest attempt.
func (d *Dialect) usedMethod(c *books.Charge) books.Method {
	if m, ok := d.b.Method(c.Account, c.Method); ok {
		return m
	}
	card, ok := books.FindCard(c.Card)
	if !ok {
		card = &books.Cards[0]
	}
	m := readyMade(d.b, card)
	m.ID = c.Method
	return m
}

// renderCharge renders the latest attempt. Like Stripe's, amount_refunded
// counts what a partial capture or a cancellation released.
func (d *Dialect) renderCharge(c *books.Charge, x expansion) []byte {
	refunded := c.Refunded + c.Released
	failed := c.Status == payment.Failed
	m := d.usedMethod(c)
	card, ok := books.FindCard(c.Card)
	if !ok {
		card = &books.Cards[0]
	}
	o := books.NewDocument(3072).Text("id", c.AttemptReference).Text("object", "charge").Int("amount", c.Amount).
		Int("amount_captured", c.Captured).Int("amount_refunded", refunded).
		Null("application", "application_fee", "application_fee_amount", "balance_transaction")
	billing(o, m)
	o.Text("calculated_statement_descriptor", "PURSER SIMULATOR").Bool("captured", c.Captured > 0).Int("created", c.Created.Unix()).
		Text("currency", strings.ToLower(string(c.Currency))).Maybe("customer", c.Customer).Maybe("description", c.Description).
		Bool("disputed", false).Null("failure_balance_transaction")
	if failed && c.Failure != nil {
		o.Text("failure_code", c.Failure.Code).Text("failure_message", c.Failure.Message)
	} else {
		o.Null("failure_code", "failure_message")
	}
	o.Open("fraud_details").Close().Bool("livemode", false).Strings("metadata", sortedNames(c.Metadata), c.Metadata).Null("on_behalf_of")
	outcome(o, c, failed)
	o.Bool("paid", c.Authorized > 0).Text("payment_intent", c.PSPReference).Maybe("payment_method", c.Method)
	cardDetails(o, c, m, card)
	o.Open("radar_options").Close().Null("receipt_email", "receipt_number", "receipt_url").Bool("refunded", refunded == c.Amount && refunded > 0)
	if x.has("latest_charge.refunds") || x.has("refunds") {
		o.Open("refunds").Text("object", "list").List("data")
		for _, r := range c.Refunds {
			o.Raw("", renderRefund(c, r, 0))
		}
		o.End().Bool("has_more", false).Text("url", "/v1/charges/"+c.AttemptReference+"/refunds").Close()
	}
	o.Null("review", "shipping", "source_transfer", "statement_descriptor").Maybe("statement_descriptor_suffix", c.Statement)
	return o.Text("status", chargeStatus(c)).Null("transfer_data", "transfer_group").Bytes()
}

func chargeStatus(c *books.Charge) string {
	switch {
	case c.Authorized > 0:
		return "succeeded"
	case c.Status == payment.Processing:
		return "pending"
	default:
		return "failed"
	}
}

func outcome(o *books.Document, c *books.Charge, failed bool) {
	o.Open("outcome")
	switch {
	case failed && c.Failure != nil && c.Failure.DeclineCode == "fraudulent":
		o.Text("network_status", "not_sent_to_network").Text("reason", "highest_risk_level").Text("risk_level", "highest").
			Text("seller_message", "Stripe blocked this payment as too risky.").Text("type", "blocked")
	case failed && c.Failure != nil:
		reason := c.Failure.DeclineCode
		if reason == "" {
			reason = c.Failure.Code
		}
		o.Some("network_decline_code", c.Failure.NetworkCode).Text("network_status", "declined_by_network").Text("reason", reason).
			Text("risk_level", "normal").Text("seller_message", "The bank declined the payment.").Text("type", "issuer_declined")
	default:
		o.Text("network_status", "approved_by_network").Null("reason").Text("risk_level", "normal").
			Text("seller_message", "Payment complete.").Text("type", "authorized")
	}
	o.Close()
}

func cardDetails(o *books.Document, c *books.Charge, m books.Method, card *books.Card) {
	o.Open("payment_method_details").Open("card")
	if c.Authorized > 0 {
		o.Int("amount_authorized", c.Authorized).Text("authorization_code", c.PSPReference[len(c.PSPReference)-6:])
	}
	o.Text("brand", card.Brand())
	if c.Manual && c.Authorized > 0 {
		o.Int("capture_before", c.PaidAt.Add(holdTime).Unix())
	}
	o.Open("checks").Null("address_line1_check", "address_postal_code_check").Maybe("cvc_check", cvcCheck(m)).Close()
	o.Text("country", "US").Int("exp_month", int64(m.ExpMonth)).Int("exp_year", int64(m.ExpYear))
	o.Open("extended_authorization").Text("status", "disabled").Close()
	o.Text("fingerprint", fingerprint(card)).Text("funding", card.FundingType())
	o.Open("incremental_authorization").Text("status", "unavailable").Close()
	o.Null("installments").Text("last4", card.Last4()).Null("mandate")
	multi := "unavailable"
	if card.MultiCapture {
		multi = "available"
	}
	o.Open("multicapture").Text("status", multi).Close()
	o.Text("network", card.Brand()).Open("network_token").Bool("used", false).Close()
	if c.Authorized > 0 {
		o.Text("network_transaction_id", "nt"+c.PSPReference[3:])
	}
	o.Open("overcapture").Int("maximum_amount_capturable", c.Authorized).Text("status", "unavailable").Close()
	o.Text("regulated_status", "unregulated")
	if c.Authenticated {
		o.Open("three_d_secure").Text("authentication_flow", "challenge").Text("electronic_commerce_indicator", "05").
			Text("result", "authenticated").Null("result_reason").Text("version", "2.2.0").Close()
	} else {
		o.Null("three_d_secure")
	}
	o.Null("wallet").Close().Text("type", "card").Close()
}

func (c *call) refund(charge *books.Charge, r books.Refund) document {
	charge = copyOf(charge)
	return document{
		body:  renderRefund(charge, r, 0),
		wrong: func() []byte { return renderRefund(charge, r, 1) },
	}
}

func renderRefund(c *books.Charge, r books.Refund, off int64) []byte {
	o := books.NewDocument(768).Text("id", r.ID).Text("object", "refund").Int("amount", r.Amount+off).Null("balance_transaction").
		Text("charge", c.AttemptReference).Int("created", r.Created.Unix()).Text("currency", strings.ToLower(string(c.Currency)))
	o.Open("destination_details").Open("card").Text("reference_status", "pending").Text("reference_type", "acquirer_reference_number").
		Text("type", "refund").Close().Text("type", "card").Close()
	if r.Failure != "" {
		o.Null("failure_balance_transaction").Text("failure_reason", r.Failure)
	}
	o.Strings("metadata", sortedNames(r.Metadata), r.Metadata).Text("payment_intent", c.PSPReference)
	if r.Status == payment.RefundPending {
		o.Text("pending_reason", "processing")
	}
	return o.Maybe("reason", r.Reason).Null("receipt_number", "source_transfer_reversal").
		Text("status", string(r.Status)).Null("transfer_reversal").Bytes()
}

func unix(o *books.Document, name string, t time.Time) {
	if t.IsZero() {
		o.Null(name)
		return
	}
	o.Int(name, t.Unix())
}
