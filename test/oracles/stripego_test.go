package oracles

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85"
	"github.com/stripe/stripe-go/v85/webhook"
)

// stripeKey is a secret key as Stripe's documentation shows them; each test has
// a simulator of its own.
const stripeKey = "sk_test_oracle"

func (w *world) stripe() *stripe.Client {
	backends := stripe.NewBackendsWithConfig(&stripe.BackendConfig{
		URL: stripe.String(w.url), MaxNetworkRetries: stripe.Int64(0),
		LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
	})
	return stripe.NewClient(stripeKey, stripe.WithBackends(backends))
}

// card is an intent for 10.00 USD that is confirmed at once.
func card(method, capture string) *stripe.PaymentIntentCreateParams {
	return &stripe.PaymentIntentCreateParams{
		Amount: stripe.Int64(1000), Currency: stripe.String("usd"), Confirm: new(true),
		CaptureMethod: stripe.String(capture), PaymentMethod: stripe.String(method),
		PaymentMethodTypes: []*string{stripe.String("card")}, ReturnURL: stripe.String("https://shop.example/back"),
		Expand: []*string{stripe.String("latest_charge")}, Metadata: map[string]string{"order": "42"},
	}
}

// pay creates an intent that must be taken.
func pay(t *testing.T, c *stripe.Client, p *stripe.PaymentIntentCreateParams) *stripe.PaymentIntent {
	t.Helper()
	pi, err := c.V1PaymentIntents.Create(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return pi
}

func TestStripeCreate(t *testing.T) {
	t.Parallel()
	c := newWorld(t).stripe()
	pi := pay(t, c, card("pm_card_visa", "automatic"))
	want(t, "status", pi.Status, stripe.PaymentIntentStatusSucceeded)
	want(t, "amount", pi.Amount, 1000)
	want(t, "amount_received", pi.AmountReceived, 1000)
	want(t, "currency", pi.Currency, stripe.CurrencyUSD)
	want(t, "livemode", pi.Livemode, false)
	want(t, "metadata", pi.Metadata["order"], "42")
	want(t, "captured", pi.LatestCharge.Captured, true)
	details := pi.LatestCharge.PaymentMethodDetails.Card
	want(t, "last4", details.Last4, "4242")
	want(t, "brand", string(details.Brand), "visa")
	again, err := c.V1PaymentIntents.Retrieve(t.Context(), pi.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	want(t, "status", again.Status, stripe.PaymentIntentStatusSucceeded)
	want(t, "charge", again.LatestCharge.ID, pi.LatestCharge.ID)
}

func TestStripeCardNumber(t *testing.T) {
	t.Parallel()
	c := newWorld(t).stripe()
	pm, err := c.V1PaymentMethods.Create(t.Context(), &stripe.PaymentMethodCreateParams{
		Type: stripe.String("card"), Card: &stripe.PaymentMethodCreateCardParams{
			Number: stripe.String("5555555555554444"), ExpMonth: stripe.Int64(12), ExpYear: stripe.Int64(2034), CVC: stripe.String("123"),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "brand", string(pm.Card.Brand), "mastercard")
	want(t, "exp_month", pm.Card.ExpMonth, 12)
	pi := pay(t, c, card(pm.ID, "automatic"))
	want(t, "status", pi.Status, stripe.PaymentIntentStatusSucceeded)
	want(t, "payment_method", pi.PaymentMethod.ID, pm.ID)
}

func TestStripeThreeDS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.stripe()
	pi := pay(t, c, card("pm_card_threeDSecure2Required", "automatic"))
	want(t, "status", pi.Status, stripe.PaymentIntentStatusRequiresAction)
	want(t, "next_action", pi.NextAction.Type, "redirect_to_url")
	want(t, "return_url", pi.NextAction.RedirectToURL.ReturnURL, "https://shop.example/back")
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := browser.PostForm(pi.NextAction.RedirectToURL.URL, url.Values{"result": {"succeed"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	back, err := res.Location()
	if err != nil {
		t.Fatalf("got status %d, want the way back: %v", res.StatusCode, err)
	}
	want(t, "payment_intent", back.Query().Get("payment_intent"), pi.ID)
	after, err := c.V1PaymentIntents.Retrieve(t.Context(), pi.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	want(t, "status", after.Status, stripe.PaymentIntentStatusSucceeded)
}

func TestStripeCapture(t *testing.T) {
	t.Parallel()
	c := newWorld(t).stripe()
	pi := pay(t, c, card("pm_card_visa", "manual"))
	want(t, "status", pi.Status, stripe.PaymentIntentStatusRequiresCapture)
	want(t, "amount_capturable", pi.AmountCapturable, 1000)
	if before := pi.LatestCharge.PaymentMethodDetails.Card.CaptureBefore; before <= time.Now().Unix() {
		t.Errorf("capture_before: got %d, want a time to come", before)
	}
	_, err := c.V1PaymentIntents.Capture(t.Context(), pi.ID, &stripe.PaymentIntentCaptureParams{AmountToCapture: stripe.Int64(1001)})
	wantStripeError(t, err, stripe.Error{HTTPStatusCode: 400, Type: stripe.ErrorTypeInvalidRequest, Code: stripe.ErrorCodeAmountTooLarge})
	captured, err := c.V1PaymentIntents.Capture(t.Context(), pi.ID, &stripe.PaymentIntentCaptureParams{AmountToCapture: stripe.Int64(700)})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "status", captured.Status, stripe.PaymentIntentStatusSucceeded)
	want(t, "amount_received", captured.AmountReceived, 700)
	want(t, "amount_capturable", captured.AmountCapturable, 0)
	_, err = c.V1PaymentIntents.Capture(t.Context(), pi.ID, nil)
	wantStripeError(t, err, stripe.Error{
		HTTPStatusCode: 400, Type: stripe.ErrorTypeInvalidRequest, Code: stripe.ErrorCodePaymentIntentUnexpectedState,
	})
}

func TestStripeCancel(t *testing.T) {
	t.Parallel()
	c := newWorld(t).stripe()
	pi := pay(t, c, card("pm_card_visa", "manual"))
	canceled, err := c.V1PaymentIntents.Cancel(t.Context(), pi.ID, &stripe.PaymentIntentCancelParams{
		CancellationReason: stripe.String("requested_by_customer"),
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "status", canceled.Status, stripe.PaymentIntentStatusCanceled)
	want(t, "reason", canceled.CancellationReason, stripe.PaymentIntentCancellationReasonRequestedByCustomer)
	if canceled.CanceledAt == 0 {
		t.Error("canceled_at: got none")
	}
	_, err = c.V1PaymentIntents.Cancel(t.Context(), pi.ID, nil)
	wantStripeError(t, err, stripe.Error{
		HTTPStatusCode: 400, Type: stripe.ErrorTypeInvalidRequest, Code: stripe.ErrorCodePaymentIntentUnexpectedState,
	})
}

func TestStripeRefund(t *testing.T) {
	t.Parallel()
	c := newWorld(t).stripe()
	pi := pay(t, c, card("pm_card_visa", "automatic"))
	part, err := c.V1Refunds.Create(t.Context(), &stripe.RefundCreateParams{
		PaymentIntent: stripe.String(pi.ID), Amount: stripe.Int64(400), Reason: stripe.String("requested_by_customer"),
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "status", part.Status, stripe.RefundStatusSucceeded)
	want(t, "amount", part.Amount, 400)
	want(t, "payment_intent", part.PaymentIntent.ID, pi.ID)
	want(t, "charge", part.Charge.ID, pi.LatestCharge.ID)
	rest, err := c.V1Refunds.Create(t.Context(), &stripe.RefundCreateParams{Charge: stripe.String(pi.LatestCharge.ID)})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "rest", rest.Amount, 600)
	_, err = c.V1Refunds.Create(t.Context(), &stripe.RefundCreateParams{PaymentIntent: stripe.String(pi.ID)})
	wantStripeError(t, err, stripe.Error{
		HTTPStatusCode: 400, Type: stripe.ErrorTypeInvalidRequest, Code: stripe.ErrorCodeChargeAlreadyRefunded,
	})
	var listed []string
	for r, err := range c.V1Refunds.List(t.Context(), &stripe.RefundListParams{PaymentIntent: stripe.String(pi.ID)}).All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, r.ID)
	}
	want(t, "refunds", len(listed), 2)
	found, err := c.V1Refunds.Retrieve(t.Context(), part.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	want(t, "amount", found.Amount, 400)
	charge, err := c.V1Charges.Retrieve(t.Context(), pi.LatestCharge.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	want(t, "amount_refunded", charge.AmountRefunded, 1000)
	want(t, "refunded", charge.Refunded, true)
}

func TestStripeReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.stripe()
	keyed := func(amount int64) *stripe.PaymentIntentCreateParams {
		p := card("pm_card_visa", "automatic")
		p.Amount = &amount
		p.SetIdempotencyKey("order-42")
		return p
	}
	first := pay(t, c, keyed(1000))
	again := pay(t, c, keyed(1000))
	want(t, "id", again.ID, first.ID)
	want(t, "answer", string(again.LastResponse.RawJSON), string(first.LastResponse.RawJSON))
	want(t, "Idempotent-Replayed", again.LastResponse.Header.Get("Idempotent-Replayed"), "true")
	want(t, "charges", len(w.sim.Books().All()), 1)
	_, err := c.V1PaymentIntents.Create(t.Context(), keyed(2000))
	wantStripeError(t, err, stripe.Error{HTTPStatusCode: 400, Type: stripe.ErrorTypeIdempotency})
	want(t, "charges", len(w.sim.Books().All()), 1)
}

func TestStripeDecline(t *testing.T) {
	t.Parallel()
	c := newWorld(t).stripe()
	for method, want := range map[string]stripe.Error{
		"pm_card_visa_chargeDeclined": {
			HTTPStatusCode: 402, Type: stripe.ErrorTypeCard, Code: stripe.ErrorCodeCardDeclined, DeclineCode: stripe.DeclineCodeGenericDecline,
		},
		"pm_card_visa_chargeDeclinedInsufficientFunds": {
			HTTPStatusCode: 402, Type: stripe.ErrorTypeCard, Code: stripe.ErrorCodeCardDeclined, DeclineCode: stripe.DeclineCodeInsufficientFunds,
		},
		"pm_card_chargeDeclinedExpiredCard": {
			HTTPStatusCode: 402, Type: stripe.ErrorTypeCard, Code: stripe.ErrorCodeExpiredCard, // docs.stripe.com/testing: no decline code
		},
	} {
		_, err := c.V1PaymentIntents.Create(t.Context(), card(method, "automatic"))
		wantStripeError(t, err, want)
		if got, ok := errors.AsType[*stripe.Error](err); ok && got.PaymentIntent != nil {
			if got.PaymentIntent.Status != stripe.PaymentIntentStatusRequiresPaymentMethod || got.PaymentIntent.LastPaymentError == nil {
				t.Errorf("%s: got intent %+v, want one that asks for another method", method, got.PaymentIntent)
			}
		} else {
			t.Errorf("%s: got no intent in the error", method)
		}
	}
	_, err := c.V1PaymentIntents.Create(t.Context(), &stripe.PaymentIntentCreateParams{Amount: stripe.Int64(1000)})
	wantStripeError(t, err, stripe.Error{
		HTTPStatusCode: 400, Type: stripe.ErrorTypeInvalidRequest, Code: stripe.ErrorCodeParameterMissing, Param: "currency",
	})
	_, err = c.V1PaymentIntents.Retrieve(t.Context(), "pi_none", nil)
	wantStripeError(t, err, stripe.Error{
		HTTPStatusCode: 404, Type: stripe.ErrorTypeInvalidRequest, Code: stripe.ErrorCodeResourceMissing, Param: "intent",
	})
}

// TestStripeList pages through more intents than fit on a page.
func TestStripeList(t *testing.T) {
	t.Parallel()
	c := newWorld(t).stripe()
	var made []string
	for range 7 {
		made = append(made, pay(t, c, card("pm_card_visa", "automatic")).ID)
	}
	params := &stripe.PaymentIntentListParams{}
	params.Limit = stripe.Int64(3)
	var listed []string
	for pi, err := range c.V1PaymentIntents.List(t.Context(), params).All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, pi.ID)
	}
	want(t, "intents", len(listed), len(made))
	for i, id := range listed {
		want(t, "intent "+strconv.Itoa(i), id, made[len(made)-1-i])
	}
	backwards := &stripe.PaymentIntentListParams{}
	backwards.Limit, backwards.EndingBefore = stripe.Int64(2), stripe.String(made[1])
	var newer []string
	for pi, err := range c.V1PaymentIntents.List(t.Context(), backwards).All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		newer = append(newer, pi.ID)
	}
	want(t, "newer intents", strings.Join(newer, " "), strings.Join(made[2:], " "))
	search := &stripe.PaymentIntentSearchParams{}
	search.Query = "metadata['order']:'42'"
	search.Limit = stripe.Int64(3)
	found := 0
	for _, err := range c.V1PaymentIntents.Search(t.Context(), search).All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if found++; found > len(made) {
			t.Fatal("the search does not end")
		}
	}
	want(t, "found", found, len(made))
	none := &stripe.PaymentIntentListParams{}
	none.StartingAfter = stripe.String("pi_none")
	for _, err := range c.V1PaymentIntents.List(t.Context(), none).All(t.Context()) {
		wantStripeError(t, err, stripe.Error{
			HTTPStatusCode: 400, Type: stripe.ErrorTypeInvalidRequest, Code: stripe.ErrorCodeResourceMissing, Param: "starting_after",
		})
	}
}

// TestStripeRefundList pages through the refunds of several charges.
func TestStripeRefundList(t *testing.T) {
	t.Parallel()
	c := newWorld(t).stripe()
	made := map[string]bool{}
	for range 4 {
		pi := pay(t, c, card("pm_card_visa", "automatic"))
		for range 2 {
			r, err := c.V1Refunds.Create(t.Context(), &stripe.RefundCreateParams{PaymentIntent: stripe.String(pi.ID), Amount: stripe.Int64(100)})
			if err != nil {
				t.Fatal(err)
			}
			made[r.ID] = true
		}
	}
	for _, limit := range []int64{1, 3, 100} {
		params := &stripe.RefundListParams{}
		params.Limit = &limit
		listed := map[string]bool{}
		for r, err := range c.V1Refunds.List(t.Context(), params).All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			want(t, "listed twice", listed[r.ID], false)
			listed[r.ID] = true
		}
		want(t, "refunds", len(listed), len(made))
	}
}

// TestStripeEvent: Stripe's library takes the simulator's webhooks.
func TestStripeEvent(t *testing.T) {
	t.Parallel()
	const secret = "whsec_oracle"
	w := newWorld(t)
	if err := w.sim.RegisterStripeWebhook(stripeKey, w.hook, secret); err != nil {
		t.Fatal(err)
	}
	pi := pay(t, w.stripe(), card("pm_card_visa", "automatic"))
	for {
		r := w.receive(t)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		event, err := webhook.ConstructEvent(body, r.Header.Get("Stripe-Signature"), secret)
		if err != nil {
			t.Fatalf("the library refuses the simulator's event: %v\n%s", err, body)
		}
		if _, err := webhook.ConstructEvent(append(body, ' '), r.Header.Get("Stripe-Signature"), secret); err == nil {
			t.Error("got no error for a changed event: the library checks nothing")
		}
		if event.Type == stripe.EventTypePaymentIntentSucceeded {
			want(t, "object", event.Data.Object["id"], any(pi.ID))
			return
		}
	}
}

// wantStripeError compares the fields of an error that want sets.
func wantStripeError(t *testing.T, err error, want stripe.Error) {
	t.Helper()
	got, ok := errors.AsType[*stripe.Error](err)
	if !ok {
		t.Errorf("got %v, want an error of Stripe", err)
		return
	}
	type fields struct {
		status  int
		kind    stripe.ErrorType
		code    stripe.ErrorCode
		decline stripe.DeclineCode
		param   string
	}
	pick := func(e *stripe.Error) fields { return fields{e.HTTPStatusCode, e.Type, e.Code, e.DeclineCode, e.Param} }
	if want.Param == "" {
		want.Param = got.Param
	}
	if pick(got) != pick(&want) {
		t.Errorf("got %+v, want %+v", pick(got), pick(&want))
	}
}
