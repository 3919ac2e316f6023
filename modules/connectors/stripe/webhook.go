package stripe

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// The signature's scheme; https://docs.stripe.com/webhooks/signature.
const (
	headerSignature = "Stripe-Signature"
	tolerance       = 300 * time.Second
	maxSignature    = 4096 // bytes of the header
	maxSchemes      = 32   // elements of the header
)

// VerifyWebhook checks Stripe-Signature: "t=<unix>,v1=<hex>[,v1=<hex>…]", where
// v1 is HMAC-SHA256 over the time, a dot and the raw body. Any v1 may match
// (while a secret is rolled there are two); other schemes are ignored, v0 among
// them. A second time, or a second header, is refused: what was signed must not
// be open to choice.
func (s *Connector) VerifyWebhook(d connector.Delivery) error {
	if err := verify(s.WebhookSecret.Reveal(), d); err != nil {
		return fmt.Errorf("stripe: %w: %w", connector.ErrSignature, err)
	}
	return nil
}

func verify(secret string, d connector.Delivery) error {
	values := d.Header.Values(headerSignature)
	switch {
	case secret == "":
		return errors.New("no webhook_secret")
	case len(values) != 1 || len(values[0]) > maxSignature || strings.Count(values[0], ",") >= maxSchemes:
		return errors.New("not one header " + headerSignature)
	}
	var at string
	var signatures []string
	for element := range strings.SplitSeq(values[0], ",") {
		scheme, value, ok := strings.Cut(element, "=")
		switch {
		case !ok:
			return errors.New("malformed")
		case scheme == "t" && at != "":
			return errors.New("two times")
		case scheme == "t":
			at = value
		case scheme == "v1":
			signatures = append(signatures, value)
		}
	}
	signed, err := unix(at)
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(at + "."))
	mac.Write(d.Body)
	want := []byte(hex.EncodeToString(mac.Sum(nil)))
	match := false
	for _, got := range signatures {
		match = hmac.Equal([]byte(got), want) || match
	}
	if !match {
		return errors.New("no signature matches")
	}
	if age := d.Now.Sub(signed); age.Abs() > tolerance {
		return errors.New("signed too long ago, or in the future")
	}
	return nil
}

// unix reads a time of plain digits.
func unix(s string) (time.Time, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || len(s) > 12 || strings.Trim(s, "0123456789") != "" {
		return time.Time{}, errors.New("the time is malformed")
	}
	return time.Unix(n, 0), nil
}

// DecodeWebhook reads the news of PaymentIntents, charges and refunds, by the
// object that an event holds. Each such object tells totals, so order and
// repetition of events do not matter. Disputes, payouts and all the rest yield
// nothing.
func (s *Connector) DecodeWebhook(d connector.Delivery) ([]connector.Event, error) {
	events, err := decodeEvent(d.Body)
	if err != nil {
		return nil, fmt.Errorf("stripe: webhook: %w", err)
	}
	return events, nil
}

// Acknowledge answers 200: Stripe wants any 2xx, and shows the body to people.
func (*Connector) Acknowledge() connector.Acknowledgement {
	return connector.Acknowledgement{
		StatusCode: http.StatusOK, ContentType: "application/json", Body: `{"received":true}`,
	}
}

func decodeEvent(body []byte) ([]connector.Event, error) {
	var e struct {
		ID       string `json:"id"`
		Object   string `json:"object"`
		Type     string `json:"type"`
		Livemode *bool  `json:"livemode"`
		Data     struct {
			Object jsontext.Value `json:"object"`
		} `json:"data"`
	}
	if err := parse(body, &e); err != nil {
		return nil, err
	}
	if err := object(e.ID, e.Object, "event"); err != nil {
		return nil, err
	}
	var kind struct {
		Object string `json:"object"`
	}
	if err := parse(e.Data.Object, &kind); err != nil {
		return nil, err
	}
	event := connector.Event{ID: e.ID, Livemode: e.Livemode}
	var news bool
	var err error
	switch kind.Object {
	case "payment_intent":
		news, err = intentEvent(&event, e.Data.Object)
	case "charge":
		news, err = chargeEvent(&event, e.Data.Object, e.Type)
	case "refund":
		news, err = refundEvent(&event, e.Data.Object)
	}
	if err != nil || !news {
		return nil, err
	}
	return []connector.Event{event}, nil
}

// intentEvent tells a PaymentIntent's news. That one was made is none: the
// answer to our own request says more.
func intentEvent(e *connector.Event, body []byte) (bool, error) {
	pi := new(intent)
	if err := parse(body, pi); err != nil {
		return false, err
	}
	r, err := readIntent(pi, false)
	if err != nil {
		return false, err
	}
	switch {
	case pi.Status == statusNeedsConfirm, pi.Status == statusNeedsMethod && pi.LastPaymentError == nil:
		return false, nil
	case pi.Status == statusNeedsAction && r.State != connector.ActionRequired:
		return false, nil // somebody else's integration, in their own browser
	}
	e.Of, e.PSPReference, e.Reference, e.Result = payment.KindAuthorize, pi.ID, r.Charge.Reference, r
	return true, nil
}

// chargeEvent tells the totals of a charge, refunds among them. Charges that
// failed or are pending are left to their PaymentIntent's own events, and those
// without a PaymentIntent are not of our making.
func chargeEvent(e *connector.Event, body []byte, kind string) (bool, error) {
	c := new(stripeCharge)
	if err := parse(body, c); err != nil {
		return false, err
	}
	if err := object(c.ID, c.Object, "charge"); err != nil {
		return false, err
	}
	if c.PaymentIntent == "" || c.Status != "succeeded" {
		return false, nil
	}
	if !validID(string(c.PaymentIntent)) {
		return false, errors.New("a charge whose PaymentIntent is malformed")
	}
	ch, err := c.totals()
	if err != nil {
		return false, err
	}
	ch.Released = ch.Released || kind == "charge.expired"
	r := connector.Result{State: connector.Succeeded, PSPReference: ch.PSPReference, Amount: ch.Amount}
	l := latest{c}
	l.describe(&r)
	if ch.Released {
		r.CaptureBefore = time.Time{}
		if ch.Captured == 0 {
			r.State = connector.Canceled // the hold was let go
		}
	} else {
		ch.MultiCapture = l.multiCapture()
	}
	r.Charge = &ch
	e.Of, e.PSPReference, e.Reference, e.Result = payment.KindAuthorize, ch.PSPReference, ch.Reference, r
	return true, nil
}

// refundEvent tells a refund's news. The release of a hold that ran out is
// written as a refund as well, and is none.
func refundEvent(e *connector.Event, body []byte) (bool, error) {
	re := new(refund)
	if err := parse(body, re); err != nil {
		return false, err
	}
	r, err := readRefund(re)
	if err != nil {
		return false, err
	}
	if re.Reason == "expired_uncaptured_charge" {
		return false, nil
	}
	if re.PaymentIntent != "" && !validID(string(re.PaymentIntent)) {
		return false, errors.New("a refund whose PaymentIntent is malformed")
	}
	e.Of, e.PSPReference, e.Reference = payment.KindRefund, re.ID, ours(re.Metadata)
	e.ChargePSPReference, e.Result = string(re.PaymentIntent), r
	return true, nil
}
