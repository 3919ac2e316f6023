package stripesim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/purser-pay/purser/modules/simulator/books"
)

// emit queues an event about charge, or about one refund of it, for the
// account's webhook endpoints.
func (d *Dialect) emit(op books.Operation, kind string, charge *books.Charge, refund string) {
	if !d.b.Webhooks.Wanted(Connector, charge.Account) {
		return
	}
	var object []byte
	switch {
	case strings.HasPrefix(kind, "payment_intent."):
		object = d.renderIntent(charge, nil)
	case strings.HasPrefix(kind, "charge."):
		object = d.renderCharge(charge, nil)
	default:
		r, ok := charge.FindRefund(refund)
		if !ok {
			return
		}
		object = renderRefund(charge, r, 0)
	}
	now := d.b.Now()
	o := books.NewDocument(512+len(object)).Text("id", d.b.ID("evt_3", 23)).Text("object", "event").
		Text("api_version", Version).Int("created", now.Unix())
	o.Open("data").Raw("object", object).Close()
	o.Bool("livemode", false).Int("pending_webhooks", 1).Open("request").Null("id", "idempotency_key").Close().Text("type", kind)
	d.b.Webhooks.Send(books.Notice{
		Connector: Connector, Account: charge.Account, Op: op, Subject: charge.PSPReference,
		ContentType: "application/json; charset=utf-8", Body: o.Bytes(), Sign: Sign,
	})
}

// Sign yields the header of a webhook: Stripe-Signature with the hex
// HMAC-SHA256 of "<unix time>.<body>" under the endpoint's secret, as v1
// (docs.stripe.com/webhooks#verify-manually).
func Sign(secret string, body []byte, now time.Time) http.Header {
	at := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(at))
	mac.Write([]byte{'.'})
	mac.Write(body)
	return http.Header{
		"Stripe-Signature": {"t=" + at + ",v1=" + hex.EncodeToString(mac.Sum(nil))},
		"User-Agent":       {"Stripe/1.0 (+https://stripe.com/docs/webhooks)"},
	}
}
