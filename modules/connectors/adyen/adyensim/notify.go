package adyensim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

// event is one NotificationRequestItem.
type event struct {
	code      string
	charge    *books.Charge
	psp       string // pspReference: of the payment, or of the modification
	original  string // the payment's, of a modification
	reference string // merchantReference
	amount    int64  // minor units of ISO 4217
	success   bool
	reason    string
}

// notify queues an event for every endpoint of the merchant account, signed with
// that endpoint's key.
func (d *Dialect) notify(op books.Operation, e event) {
	if !d.b.Webhooks.Wanted(Connector, e.charge.Account) {
		return
	}
	for _, end := range d.b.Webhooks.Endpoints() {
		if end.Connector != Connector || end.Account != "" && end.Account != e.charge.Account {
			continue
		}
		d.b.Webhooks.Send(books.Notice{
			Connector: Connector, Account: e.charge.Account, Op: op, Subject: e.charge.PSPReference, URL: end.URL,
			ContentType: "application/json; charset=utf-8",
			Body:        d.render(e, end.Secret), Unsigned: d.render(e, ""),
		})
	}
}

// render writes a batch of one item; without a key it bears no signature.
func (d *Dialect) render(e event, key string) []byte {
	amount := books.NewDocument(64)
	written(amount, payment.Money{Minor: e.amount, Currency: e.charge.Currency}, 0)
	o := books.NewDocument(1024).Text("live", "false").List("notificationItems").Open("").Open("NotificationRequestItem")
	o.Open("additionalData")
	if key != "" {
		o.Text("hmacSignature", Sign(key, e.signed(amount.Bytes())))
	}
	o.Close()
	o.Raw("amount", amountOf(amount.Bytes())).Text("eventCode", e.code).
		Text("eventDate", d.b.Now().UTC().Format("2006-01-02T15:04:05-07:00")).
		Text("merchantAccountCode", e.charge.Account).Text("merchantReference", e.reference).
		Some("originalReference", e.original).Text("paymentMethod", "visa").Text("pspReference", e.psp).
		Text("reason", e.reason).Text("success", strconv.FormatBool(e.success))
	return o.Close().Close().End().Bytes()
}

// amountOf is the object of {"amount":{…}}.
func amountOf(member []byte) []byte {
	_, object, _ := strings.Cut(string(member), ":")
	return []byte(strings.TrimSuffix(object, "}"))
}

// signed lists what the signature covers: eight fields, joined by colons.
func (e event) signed(amount []byte) string {
	_, value, _ := strings.Cut(string(amount), `"value":`)
	return strings.Join([]string{
		e.psp, e.original, e.charge.Account, e.reference, strings.TrimRight(value, "}"), string(e.charge.Currency), e.code,
		strconv.FormatBool(e.success),
	}, ":")
}

// Sign is base64 of HMAC-SHA256 under the hexadecimal key
// (docs.adyen.com/development-resources/webhooks/verify-hmac-signatures).
func Sign(key, text string) string {
	raw, err := hex.DecodeString(key)
	if err != nil {
		return "" // the receiver will see
	}
	mac := hmac.New(sha256.New, raw)
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
