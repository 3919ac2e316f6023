package stripesim

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

// createIntent is POST /v1/payment_intents.
func (c *call) createIntent() (document, error) {
	charge, err := c.newIntent()
	if err != nil {
		return document{}, err
	}
	confirm, err := c.form.flag("confirm")
	if err != nil {
		return document{}, err
	}
	var card *books.Card
	if charge.Method != "" {
		if charge.Method, card, err = c.method(charge.Method); err != nil {
			return document{}, err
		}
	}
	if confirm {
		if card == nil {
			return document{}, invalid("parameter_missing", "payment_method",
				"You cannot confirm this PaymentIntent because it's missing a payment method.")
		}
		if err := c.mayConfirm(&charge); err != nil {
			return document{}, err
		}
	} else {
		for _, p := range []string{"return_url", "off_session", "error_on_requires_action", "mandate_data"} {
			if c.form.has(p) {
				return document{}, invalid("", p, "The parameter "+p+" is only taken together with confirm=true.")
			}
		}
	}
	c.executed = true
	charge.PSPReference = c.d.b.ID("pi_3", 23)
	charge.Secret = charge.PSPReference + "_secret_" + c.d.b.ID("", 25)
	charge.Status = payment.RequiresPaymentMethod
	if card != nil {
		charge.Status, charge.Card = payment.RequiresConfirmation, card.Token
	}
	charge, err = c.d.b.Create(charge, false)
	if err != nil {
		return document{}, err
	}
	c.d.emit(c.op, "payment_intent.created", &charge, "")
	if confirm {
		return c.attempt(charge, card)
	}
	return c.intent(&charge), nil
}

// newIntent reads the parameters that make an intent.
func (c *call) newIntent() (books.Charge, error) {
	f := c.form
	amount, err := f.amount("amount")
	if err != nil {
		return books.Charge{}, err
	}
	currency, err := f.currency(amount)
	if err != nil {
		return books.Charge{}, err
	}
	// Stripe's least is about 0.50 USD; we hold it in the major currencies only.
	if amount < 50 && slices.Contains([]payment.Currency{"USD", "EUR", "CAD", "AUD"}, currency) {
		return books.Charge{}, invalid("amount_too_small", "amount", "Amount must be at least $0.50 "+strings.ToLower(string(currency)))
	}
	mode, err := f.oneOf("capture_method", "automatic_async", "automatic", "manual")
	if err != nil {
		return books.Charge{}, err
	}
	if f.has("payment_method_data[type]") {
		return books.Charge{}, invalid("parameter_invalid_empty", "payment_method_data[type]",
			"Invalid payment_method_data[type]: create a PaymentMethod first.")
	}
	types := f.list("payment_method_types")
	if len(types) > 0 && !slices.Contains(types, "card") {
		return books.Charge{}, invalid("", "payment_method_types", "The simulator's account takes the payment method type card only.")
	}
	if len(types) > 0 && f.has("automatic_payment_methods[enabled]") {
		return books.Charge{}, invalid("", "automatic_payment_methods",
			"You may only specify one of these parameters: automatic_payment_methods, payment_method_types.")
	}
	m := f.metadata()
	return books.Charge{
		Connector: Connector, Account: c.account, Reference: Reference(m),
		Amount: amount, Currency: currency, Manual: mode == "manual", CaptureMode: mode,
		Method: f.get("payment_method"), Metadata: m, Types: strings.Join(types, ","),
		Description: f.get("description"), Statement: f.get("statement_descriptor_suffix"), Customer: f.get("customer"),
	}, nil
}

// mayConfirm checks what a confirmation needs, and notes its return_url.
func (c *call) mayConfirm(charge *books.Charge) error {
	f := c.form
	if u := f.get("return_url"); u != "" {
		if !strings.HasPrefix(u, "http://") && !strings.HasPrefix(u, "https://") {
			return invalid("url_invalid", "return_url", "Not a valid URL")
		}
		charge.ReturnURL = u
	}
	if f.has("mandate_data") || f.has("mandate_data[customer_acceptance][type]") {
		return nil
	}
	// Without types the account's dashboard chooses, and may choose methods that
	// send the payer away.
	redirects := charge.Types == "" && f.get("automatic_payment_methods[allow_redirects]") != "never"
	if redirects && charge.ReturnURL == "" && c.op == books.OpAuthorize && c.id == "" && f.get("use_stripe_sdk") != "true" {
		return invalid("", "return_url", "This PaymentIntent takes the payment methods enabled in the Dashboard, "+
			"and some of them redirect: give a return_url, or automatic_payment_methods[allow_redirects]=never.")
	}
	return nil
}

// method resolves a payment method of the account, stored or one of Stripe's
// ready-made test tokens.
func (c *call) method(id string) (string, *books.Card, error) {
	token := id
	if m, ok := c.d.b.Method(c.account, id); ok {
		token = m.Card
	}
	card, ok := books.FindCard(token)
	if !ok || !strings.HasPrefix(id, "pm_") {
		return "", nil, missing("PaymentMethod", id, "payment_method")
	}
	return id, card, nil
}

// load finds the intent in the path.
func (c *call) load() (books.Charge, error) {
	charge, err := c.d.b.Get(Connector, c.account, c.id)
	if err != nil || charge.PSPReference != c.id {
		return charge, missing("payment_intent", c.id, "intent")
	}
	return charge, nil
}

// change moves the intent in the path; where the books refuse, the answer
// names the state.
func (c *call) change(id string, fn func(*books.Charge) error) (books.Charge, error) {
	charge, err := c.d.b.Update(Connector, c.account, id, fn)
	switch {
	case err == nil:
		return charge, nil
	case errors.Is(err, books.ErrState):
		return charge, c.unexpectedState(&charge)
	default:
		return charge, err
	}
}

func (c *call) unexpectedState(charge *books.Charge) error {
	e := invalid("payment_intent_unexpected_state", "", "This PaymentIntent could not be "+verbs[c.op]+
		" because it has a status of "+intentStatus(charge)+".")
	e.intent = c.intent(charge).body
	return e
}

var verbs = map[books.Operation]string{
	books.OpAuthorize: "confirmed", books.OpCapture: "captured", books.OpVoid: "canceled", books.OpOther: "updated",
}

func (c *call) getIntent() (document, error) {
	charge, err := c.load()
	if err != nil {
		return document{}, err
	}
	c.executed = true
	return c.intent(&charge), nil
}

func (c *call) updateIntent() (document, error) {
	if _, err := c.load(); err != nil {
		return document{}, err
	}
	var amount int64
	if c.form.has("amount") {
		var err error
		if amount, err = c.form.amount("amount"); err != nil {
			return document{}, err
		}
	}
	c.executed = true
	m := c.form.metadata()
	charge, err := c.change(c.id, func(p *books.Charge) error {
		p.Metadata = merged(p.Metadata, m)
		if c.form.has("description") {
			p.Description = c.form.get("description")
		}
		if amount > 0 {
			if p.Authorized > 0 || p.Status.Terminal() && p.Status != payment.Failed {
				return books.ErrState
			}
			p.Amount = amount
		}
		return nil
	})
	if err != nil {
		return document{}, err
	}
	return c.intent(&charge), nil
}

// merged lays change over m, where an empty value removes a name.
func merged(m, change map[string]string) map[string]string {
	if len(change) == 0 {
		return m
	}
	out := map[string]string{}
	maps.Copy(out, m)
	for k, v := range change {
		if out[k] = v; v == "" {
			delete(out, k)
		}
	}
	return out
}

// confirmIntent is POST /v1/payment_intents/{id}/confirm.
func (c *call) confirmIntent() (document, error) {
	charge, err := c.load()
	if err != nil {
		return document{}, err
	}
	if err := c.mayConfirm(&charge); err != nil {
		return document{}, err
	}
	name := charge.Method
	if p := c.form.get("payment_method"); p != "" {
		name = p
	}
	if name == "" {
		return document{}, invalid("parameter_missing", "payment_method",
			"You cannot confirm this PaymentIntent because it's missing a payment method.")
	}
	id, card, err := c.method(name)
	if err != nil {
		return document{}, err
	}
	c.executed = true
	returnURL := charge.ReturnURL
	charge, err = c.change(c.id, func(p *books.Charge) error {
		switch p.Status {
		case payment.RequiresPaymentMethod, payment.RequiresConfirmation, payment.Failed:
			p.Method, p.Card, p.ReturnURL, p.Failure = id, card.Token, returnURL, nil
			p.Status = payment.RequiresConfirmation
			return nil
		default:
			return books.ErrState
		}
	})
	if err != nil {
		return document{}, err
	}
	return c.attempt(charge, card)
}

// attempt plays out a confirmation by the card's row in the table.
func (c *call) attempt(charge books.Charge, card *books.Card) (document, error) {
	offSession := c.form.get("off_session") != "" && c.form.get("off_session") != "false"
	asked := c.form.get("payment_method_options[card][request_three_d_secure]")
	must := card.Challenge == books.ChallengeAlways ||
		(card.Challenge == books.ChallengeOnSession && !offSession) ||
		(card.Challenge == books.ChallengeSupported && (asked == "any" || asked == "challenge"))
	switch {
	case must && (offSession || c.form.get("error_on_requires_action") == "true"):
		return c.settle(charge, card, &books.Failure{
			Code: "authentication_required", DeclineCode: "authentication_required",
			Message: "Your card was declined. This transaction requires authentication.", Advice: "try_again_later",
		})
	case must:
		return c.challenge(charge)
	case card.Later:
		charge, err := c.d.begin(c.op, c.account, charge.PSPReference)
		if err != nil {
			return document{}, err
		}
		return c.intent(&charge), nil
	}
	return c.settle(charge, card, c.d.verdict(&charge, card))
}

// verdict is the issuer's: nil approves.
func (d *Dialect) verdict(charge *books.Charge, card *books.Card) *books.Failure {
	if card.Decline != nil {
		return card.Decline
	}
	if card.Token == "pm_card_cvcCheckFail" {
		if m, ok := d.b.Method(charge.Account, charge.Method); !ok || m.CVC {
			row, _ := books.FindCard("pm_card_chargeDeclinedIncorrectCvc")
			return row.Decline
		}
	}
	return nil
}

// settle books the verdict and answers: 402 for a decline, with the intent in
// the error.
func (c *call) settle(charge books.Charge, card *books.Card, no *books.Failure) (document, error) {
	charge, err := c.d.finish(c.op, &charge, card, no)
	if errors.Is(err, books.ErrState) { // another confirmation was faster
		return document{}, c.unexpectedState(&charge)
	}
	if err != nil {
		return document{}, err
	}
	if no == nil {
		return c.intent(&charge), nil
	}
	return document{}, c.declined(&charge, no)
}

func (c *call) declined(charge *books.Charge, no *books.Failure) error {
	render := func(ch *books.Charge) *apiError {
		return &apiError{
			status: http.StatusPaymentRequired, kind: "card_error", code: no.Code, decline: no.DeclineCode,
			advice: no.Advice, network: no.NetworkCode, message: no.Message, param: no.Param,
			charge: ch.AttemptReference, intent: c.intent(ch).body,
		}
	}
	e := render(charge)
	e.wrong = func() []byte { return render(wrongAmount(charge)).body() }
	return e
}

// finish books an attempt's outcome and tells it by webhook.
func (d *Dialect) finish(op books.Operation, charge *books.Charge, card *books.Card, no *books.Failure) (books.Charge, error) {
	attempt := charge.AttemptReference
	if charge.Status != payment.Processing {
		attempt = d.b.ID("ch_3", 23)
	}
	done, err := d.b.Update(Connector, charge.Account, charge.PSPReference, func(p *books.Charge) error {
		p.AttemptReference, p.Card, p.MultiCapture = attempt, card.Token, card.MultiCapture
		if no != nil {
			return p.Decline(*no)
		}
		return p.Authorize(d.b.Now())
	})
	if err != nil {
		return done, err
	}
	switch {
	case no != nil:
		d.emit(op, "charge.failed", &done, "")
		d.emit(op, "payment_intent.payment_failed", &done, "")
	case done.Manual:
		d.emit(op, "charge.succeeded", &done, "")
		d.emit(op, "payment_intent.amount_capturable_updated", &done, "")
	default:
		d.emit(op, "charge.succeeded", &done, "")
		d.emit(op, "payment_intent.succeeded", &done, "")
	}
	return done, nil
}

// begin books an attempt whose verdict comes later.
func (d *Dialect) begin(op books.Operation, account, id string) (books.Charge, error) {
	attempt := d.b.ID("ch_3", 23)
	charge, err := d.b.Update(Connector, account, id, func(p *books.Charge) error {
		p.AttemptReference, p.Status = attempt, payment.Processing
		return nil
	})
	if err != nil {
		return charge, err
	}
	d.b.Later(d.b.Settle(), books.Task{Connector: Connector, Charge: id, What: taskSettle})
	d.emit(op, "payment_intent.processing", &charge, "")
	return charge, nil
}

// The dialect's tasks.
const (
	taskSettle       = "settle"
	taskRefund       = "refund"
	taskRefundFailed = "refund_failed"
	taskLapse        = "lapse"
)

// due does what was scheduled. A charge that moved on meanwhile refuses it,
// which is as it should be.
func (d *Dialect) due(t books.Task) {
	charge, err := d.b.Get(Connector, "", t.Charge)
	if err != nil {
		return
	}
	switch t.What {
	case taskSettle:
		if card, ok := books.FindCard(charge.Card); ok && charge.Status == payment.Processing {
			_, _ = d.finish(books.OpAuthorize, &charge, card, card.LaterFailure)
		}
	case taskRefund:
		d.settleRefund(t, payment.RefundSucceeded)
	case taskRefundFailed:
		d.settleRefund(t, payment.RefundFailed)
	case taskLapse:
		d.lapse(&charge)
	}
}

// captureIntent is POST /v1/payment_intents/{id}/capture.
func (c *call) captureIntent() (document, error) {
	charge, err := c.load()
	if err != nil {
		return document{}, err
	}
	amount := charge.Capturable()
	if c.form.has("amount_to_capture") && c.form.get("amount_to_capture") != "0" {
		if amount, err = c.form.amount("amount_to_capture"); err != nil {
			return document{}, err
		}
	} else if c.form.has("amount_to_capture") {
		amount = 0
	}
	final := true
	if c.form.has("final_capture") {
		if final, err = c.form.flag("final_capture"); err != nil {
			return document{}, err
		}
	}
	if !final && !charge.MultiCapture {
		return document{}, invalid("", "final_capture", "The charge of this PaymentIntent does not take more than one capture.")
	}
	c.executed = true
	if card, ok := books.FindCard(charge.Card); ok && card.OnCapture != nil && charge.Status == payment.RequiresCapture {
		c.d.b.Later(c.d.b.Settle(), books.Task{Connector: Connector, Charge: c.id, What: taskLapse})
		e := invalid(card.OnCapture.Code, "", card.OnCapture.Message)
		e.intent = c.intent(&charge).body
		return document{}, e
	}
	explicit := c.form.has("amount_to_capture")
	m := c.form.metadata()
	charge, err = c.change(c.id, func(p *books.Charge) error {
		if !explicit {
			amount = p.Capturable()
		}
		p.Metadata = merged(p.Metadata, m)
		return p.Capture(amount, final)
	})
	if errors.Is(err, books.ErrAmount) {
		return document{}, invalid("amount_too_large", "amount_to_capture",
			"The requested capture amount is greater than the amount that can be captured for this PaymentIntent.")
	}
	if err != nil {
		return document{}, err
	}
	c.d.emit(c.op, "charge.captured", &charge, "")
	if charge.Status == payment.Succeeded {
		c.d.emit(c.op, "payment_intent.succeeded", &charge, "")
	} else {
		c.d.emit(c.op, "payment_intent.amount_capturable_updated", &charge, "")
	}
	return c.intent(&charge), nil
}

// cancelIntent is POST /v1/payment_intents/{id}/cancel.
func (c *call) cancelIntent() (document, error) {
	if _, err := c.load(); err != nil {
		return document{}, err
	}
	if c.form.has("cancellation_reason") {
		if _, err := c.form.oneOf("cancellation_reason", "", "duplicate", "fraudulent", "requested_by_customer", "abandoned"); err != nil {
			return document{}, err
		}
	}
	c.executed = true
	charge, err := c.change(c.id, func(p *books.Charge) error {
		if p.Status == payment.Processing {
			return books.ErrState // a card that is being processed cannot be called back
		}
		p.CancelReason = c.form.get("cancellation_reason")
		return p.Void(c.d.b.Now())
	})
	if err != nil {
		return document{}, err
	}
	if charge.Status == payment.Canceled {
		c.d.emit(c.op, "payment_intent.canceled", &charge, "")
	} else {
		c.d.emit(c.op, "payment_intent.succeeded", &charge, "")
	}
	return c.intent(&charge), nil
}
