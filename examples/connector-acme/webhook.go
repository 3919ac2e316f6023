package acme

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

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// headerSignature bears "UNIXTIME.HEX".
const headerSignature = "Acme-Signature"

// tolerance is how far a webhook's time may be off, either way.
const tolerance = 5 * time.Minute

// VerifyWebhook checks the HMAC over time and raw body, and then the time.
func (a *Connector) VerifyWebhook(d connector.Delivery) error {
	if err := a.verify(d); err != nil {
		return fmt.Errorf("acme: %w: %w", connector.ErrSignature, err)
	}
	return nil
}

func (a *Connector) verify(d connector.Delivery) error {
	secret := a.WebhookSecret.Reveal()
	values := d.Header.Values(headerSignature)
	if len(secret) < minSecret || len(values) != 1 {
		return errors.New("no webhook_secret, or not one signature")
	}
	at, got, _ := strings.Cut(values[0], ".")
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(at + "."))
	mac.Write(d.Body)
	if !hmac.Equal([]byte(got), []byte(hex.EncodeToString(mac.Sum(nil)))) {
		return errors.New("it does not match")
	}
	unix, err := strconv.ParseInt(at, 10, 64)
	if err != nil || d.Now.Sub(time.Unix(unix, 0)).Abs() > tolerance {
		return errors.New("it is too old, or of the future")
	}
	return nil
}

// DecodeWebhook reads the one event of a delivery. Types that are news of neither
// a charge nor a refund yield nothing.
func (*Connector) DecodeWebhook(d connector.Delivery) ([]connector.Event, error) {
	var body struct {
		ID     string  `json:"id"`
		Type   string  `json:"type"`
		Charge *charge `json:"charge"`
		Refund *refund `json:"refund"`
	}
	if err := parse(d.Body, &body); err != nil {
		return nil, fmt.Errorf("acme: webhook: %w", err)
	}
	e := connector.Event{ID: body.ID}
	var err error
	switch {
	case body.Type == "charge.updated" && body.Charge != nil:
		ch := body.Charge
		e.Of, e.Reference, e.PSPReference, e.Livemode = payment.KindAuthorize, ch.Reference, ch.ID, ch.Live
		e.Result, err = ch.result(false)
	case body.Type == "refund.updated" && body.Refund != nil:
		re := body.Refund
		e.Of, e.Reference, e.PSPReference, e.Livemode = payment.KindRefund, re.Reference, re.ID, re.Live
		e.ChargePSPReference = re.ChargeID
		e.Result, err = re.result()
	case body.Type == "charge.updated" || body.Type == "refund.updated":
		err = errors.New("it names nothing")
	default:
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("acme: webhook: %w", err)
	}
	return []connector.Event{e}, nil
}

// Acknowledge answers any 2xx.
func (*Connector) Acknowledge() connector.Acknowledgement {
	return connector.Acknowledgement{StatusCode: http.StatusNoContent}
}
