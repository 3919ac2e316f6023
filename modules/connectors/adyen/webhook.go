package adyen

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

const (
	maxBody  = 1 << 20 // bytes of a delivery
	maxItems = 256     // of a batch; Adyen sends one, and six at the most
)

type (
	notification struct {
		Live  string `json:"live"`
		Items []struct {
			Item *item `json:"NotificationRequestItem"`
		} `json:"notificationItems"`
	}
	item struct {
		AdditionalData    map[string]jsontext.Value `json:"additionalData"`
		Amount            *money                    `json:"amount"`
		EventCode         string                    `json:"eventCode"`
		MerchantAccount   string                    `json:"merchantAccountCode"`
		MerchantReference string                    `json:"merchantReference"`
		OriginalReference string                    `json:"originalReference"`
		PSPReference      string                    `json:"pspReference"`
		Reason            string                    `json:"reason"`
		Success           string                    `json:"success"`
	}
)

// parts is what the signature covers, in order, but for the amount's value.
func (i *item) parts() []string {
	var value, currency string
	if i.Amount != nil {
		value, currency = strconv.FormatInt(i.Amount.Value, 10), i.Amount.Currency
	}
	return []string{
		i.PSPReference, i.OriginalReference, i.MerchantAccount, i.MerchantReference, value, currency, i.EventCode, i.Success,
	}
}

// VerifyWebhook checks the HMAC of every item of a batch: base64 of HMAC-SHA256
// over eight fields joined by colons, in additionalData.hmacSignature. One item
// that does not verify spoils all. The scheme knows no time; a notification that
// comes again tells the same facts again. It does not cover the reason, the
// date, nor live: none of those decides about money.
// Source: https://docs.adyen.com/development-resources/webhooks/verify-hmac-signatures
func (a *Connector) VerifyWebhook(d connector.Delivery) error {
	if err := a.verify(d); err != nil {
		return fmt.Errorf("adyen: %w: %w", connector.ErrSignature, err)
	}
	return nil
}

func (a *Connector) verify(d connector.Delivery) error {
	key, err := a.hmacKey()
	if err != nil {
		return fmt.Errorf("no hmac_key: %w", err)
	}
	n, err := open(d.Body)
	if err != nil {
		return err
	}
	sound := true
	for _, wrapped := range n.Items {
		var got string
		if err := json.Unmarshal(wrapped.Item.AdditionalData["hmacSignature"], &got); err != nil {
			got = ""
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(strings.Join(wrapped.Item.parts(), ":")))
		want := base64.StdEncoding.EncodeToString(mac.Sum(nil))
		sound = hmac.Equal([]byte(got), []byte(want)) && sound
	}
	if !sound {
		return errors.New("the signature of an item does not match")
	}
	return nil
}

// open reads a delivery and sees that it is a whole one.
func open(body []byte) (*notification, error) {
	n := new(notification)
	if len(body) > maxBody {
		return nil, errors.New("the body is too long")
	}
	if err := parse(body, n); err != nil {
		return nil, err
	}
	if n.Live != "true" && n.Live != "false" || len(n.Items) == 0 || len(n.Items) > maxItems {
		return nil, errors.New("not a notification")
	}
	for _, wrapped := range n.Items {
		if wrapped.Item == nil {
			return nil, errors.New("an item that is none")
		}
	}
	return n, nil
}

// DecodeWebhook reads the events of a batch. Those of other merchant accounts
// are left out, and so is one with a colon in a signed field: the signature does
// not tell there where a field ends, and no field of ours has one.
func (a *Connector) DecodeWebhook(d connector.Delivery) ([]connector.Event, error) {
	n, err := open(d.Body)
	if err != nil {
		return nil, fmt.Errorf("adyen: webhook: %w", err)
	}
	live := n.Live == "true"
	var events []connector.Event
	for _, wrapped := range n.Items {
		i := wrapped.Item
		if i.MerchantAccount != a.MerchantAccount || strings.Contains(strings.Join(i.parts(), ""), ":") {
			continue
		}
		e, news, err := i.event()
		if err != nil {
			return nil, fmt.Errorf("adyen: webhook: %w", err)
		}
		if news {
			e.Livemode = &live
			events = append(events, e)
		}
	}
	return events, nil
}

// Acknowledge answers "[accepted]", which older accounts want; newer ones want
// any 2xx.
func (*Connector) Acknowledge() connector.Acknowledgement {
	return connector.Acknowledgement{StatusCode: http.StatusOK, ContentType: "text/plain", Body: "[accepted]"}
}

// kinds says what the event codes that we read are about. All others (disputes,
// reports, payouts, tokens) yield nothing.
var kinds = map[string]payment.Kind{
	"AUTHORISATION": payment.KindAuthorize, "EXPIRE": payment.KindAuthorize, "OFFER_CLOSED": payment.KindAuthorize,
	"CAPTURE": payment.KindCapture, "CAPTURE_FAILED": payment.KindCapture,
	"CANCELLATION": payment.KindVoid, "TECHNICAL_CANCEL": payment.KindVoid, "CANCEL_OR_REFUND": payment.KindVoid,
	"REFUND": payment.KindRefund, "REFUND_FAILED": payment.KindRefund, "REFUNDED_REVERSED": payment.KindRefund,
}

// event reads one item.
func (i *item) event() (connector.Event, bool, error) {
	of, known := kinds[i.EventCode]
	if !known {
		return connector.Event{}, false, nil
	}
	switch {
	case i.Success != "true" && i.Success != "false":
		return connector.Event{}, false, errors.New("success is neither true nor false")
	case !name(i.PSPReference, maxPSPReference), i.OriginalReference != "" && !name(i.OriginalReference, maxPSPReference):
		return connector.Event{}, false, errors.New("a pspReference is malformed")
	case i.Amount == nil:
		return connector.Event{}, false, errors.New("no amount")
	}
	amount, err := fromAdyen(*i.Amount)
	if err != nil {
		return connector.Event{}, false, err
	}
	e := connector.Event{
		ID: i.EventCode + ":" + i.PSPReference, Of: of, PSPReference: i.PSPReference, ChargePSPReference: i.OriginalReference,
	}
	if name(i.MerchantReference, maxName) {
		e.Reference = i.MerchantReference
	}
	news := i.result(&e, amount)
	return e, news, nil
}

// result says what an item tells; false where that is nothing.
func (i *item) result(e *connector.Event, amount payment.Money) bool {
	done := i.Success == "true"
	r := &e.Result
	fail := func(fallback payment.FailureCode) {
		r.State, r.Failure, r.Amount = connector.Declined, told(i.EventCode, i.Reason, fallback), amount
	}
	switch i.EventCode {
	case "AUTHORISATION", "CAPTURE", "REFUND":
		switch {
		case done:
			r.State, r.Amount = connector.Succeeded, amount
		case e.Of == payment.KindAuthorize:
			fail(payment.CardDeclined)
		default:
			fail(payment.ProcessingError)
		}
	case "CAPTURE_FAILED", "REFUND_FAILED", "REFUNDED_REVERSED": // success says that the failure is a fact
		fail(payment.ProcessingError)
		return done
	case "EXPIRE":
		// It names the payment by our reference; whose its pspReference is, Adyen
		// does not say.
		r.State, e.PSPReference = connector.Canceled, i.OriginalReference
		return done && e.Reference+e.PSPReference != ""
	case "OFFER_CLOSED":
		fail(payment.TimeExpired)
		e.PSPReference = ""
		return done && e.Reference != ""
	default:
		return i.undone(e, amount, done)
	}
	return true
}

// absent are the reasons of a failed cancel by our reference that say that there is
// no such payment, in lower case. Adyen's documentation lists none: another text
// leaves the payment open, for an operator.
var absent = []string{"transaction not found", "original transaction not found", "payment not found"}

// undone reads the outcome of a cancel. CANCEL_OR_REFUND, which is never asked
// for here, may have been a refund.
func (i *item) undone(e *connector.Event, amount payment.Money, done bool) bool {
	var what string
	if raw := i.AdditionalData["modification.action"]; len(raw) > 0 && json.Unmarshal(raw, &what) != nil {
		what = ""
	}
	switch {
	case !done && i.EventCode == "TECHNICAL_CANCEL" && slices.Contains(absent, strings.ToLower(i.Reason)):
		e.Result = connector.Result{State: connector.NotFound}
	case !done:
		e.Result = connector.Result{
			State: connector.Declined, Failure: told(i.EventCode, i.Reason, payment.ProcessingError), Amount: amount,
		}
	case i.EventCode == "CANCEL_OR_REFUND" && what == "refund":
		e.Of, e.Result = payment.KindRefund, connector.Result{State: connector.Succeeded, Amount: amount}
	case i.EventCode == "CANCEL_OR_REFUND" && what != "cancel":
		return false
	default:
		e.Result = connector.Result{State: connector.Canceled}
	}
	return true
}
