package adyensim

import (
	"net/http"
	"strings"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

// refusals are the outcomes that a test can ask for by the holder's name, or by
// additionalData.RequestedTestAcquirerResponseCode as name or number.
// Source: https://docs.adyen.com/development-resources/testing/result-codes
var refusals = map[string]struct{ code, reason string }{
	"DECLINED":           {"2", "Refused"},
	"REFERRAL":           {"3", "Referral"},
	"ERROR":              {"4", "Acquirer Error"},
	"BLOCK_CARD":         {"5", "Blocked Card"},
	"CARD_EXPIRED":       {"6", "Expired Card"},
	"INVALID_AMOUNT":     {"7", "Invalid Amount"},
	"INVALID_CARD":       {"8", "Invalid Card Number"},
	"ISSUER_UNAVAILABLE": {"9", "Issuer Unavailable"},
	"NOT_SUPPORTED":      {"10", "Not supported"},
	"NOT_ENOUGH_BALANCE": {"12", "Not enough balance"},
	"FRAUD":              {"20", "FRAUD"},
	"CVC_DECLINED":       {"24", "CVC Declined"},
	"RESTRICTED_CARD":    {"25", "Restricted Card"},
}

// CaptureFails is the holder's name (the simulator's own) whose captures succeed
// first, and fail once the card scheme has looked at them.
const CaptureFails = "CAPTURE_FAILED"

// RefundFails is the same for refunds.
const RefundFails = "REFUND_FAILED"

// challenged are Adyen's test cards that go through 3-D Secure 2
// (docs.adyen.com/development-resources/testing/test-card-numbers).
var challenged = set("5201281505129736 4917610000000000")

// declines maps the simulator's common magic cards to Adyen's refusals.
var declines = map[string]string{
	"insufficient_funds": "NOT_ENOUGH_BALANCE", "expired_card": "CARD_EXPIRED", "incorrect_cvc": "CVC_DECLINED",
	"incorrect_number": "INVALID_CARD", "lost_card": "BLOCK_CARD", "stolen_card": "BLOCK_CARD", "fraudulent": "FRAUD",
	"processing_error": "ERROR",
}

// outcome is what a test wants of a card: a refusal's name, a challenge, or none.
func (c *call) outcome() (refused string, challenge bool) {
	want := strings.ToUpper(c.AdditionalData["RequestedTestAcquirerResponseCode"])
	if want == "" {
		want = c.Method.HolderName
	}
	if _, ok := refusals[want]; ok {
		return want, false
	}
	for name, r := range refusals {
		if r.code == want {
			return name, false
		}
	}
	if card, ok := books.FindCard(c.Method.Number); ok {
		if f := card.Decline; f != nil {
			name := declines[f.DeclineCode]
			if name == "" {
				name = declines[f.Code]
			}
			if name == "" {
				name = "DECLINED"
			}
			return name, false
		}
		return "", card.Challenge != books.ChallengeNever && card.Challenge != books.ChallengeSupported
	}
	return "", challenged[c.Method.Number]
}

// pay is POST /payments.
func (c *call) pay() (answer, error) {
	m, err := c.Amount.money()
	if err != nil {
		return answer{}, err
	}
	if err := c.check(); err != nil {
		return answer{}, err
	}
	charge := books.Charge{
		Connector: Connector, Reference: c.Reference, PSPReference: c.d.b.ID("", referenceLen), Account: c.MerchantAccount,
		Currency: m.Currency, Amount: m.Minor, Status: payment.Processing, Customer: c.ShopperReference, ReturnURL: c.ReturnURL,
		Manual: c.AdditionalData["manualCapture"] == "true" && c.Delay == nil, Code: c.Method.HolderName,
	}
	if c.Method.Number != "" {
		charge.Description = c.Method.Number[len(c.Method.Number)-4:]
	}
	if card, ok := books.FindCard(c.Method.Number); ok {
		charge.Card = card.Token
	}
	charge.PSPReference = strings.ToUpper(charge.PSPReference)
	if charge, err = c.d.b.Create(charge, false); err != nil {
		return answer{}, err
	}
	c.executed = true
	refused, challenge := c.outcome()
	if challenge {
		return c.challenge(&charge)
	}
	if charge, err = c.d.finish(charge.PSPReference, refused); err != nil {
		return answer{}, err
	}
	return result(charge), nil
}

// check is Adyen's validation.
func (c *call) check() error {
	switch m := c.Method; {
	case c.Reference == "" || len(c.Reference) > maxReference:
		return invalid("130", "Required field 'reference' is not provided.")
	case c.ReturnURL == "":
		return invalid("14_0387", "Required field 'returnUrl' is not provided.")
	case m == nil || m.Type != "scheme":
		return invalid("14_006", "Required object 'paymentMethod' is not provided.")
	case m.StoredID != "" && len(c.ShopperReference) < 3:
		return invalid("14_017", "Required field 'shopperReference' is not provided.")
	case m.StoredID != "":
		return nil
	case !payment.ValidPAN(m.Number):
		return invalid("101", "Invalid card number")
	case len(m.ExpiryMonth) != 2 || len(m.ExpiryYear) != 4:
		return invalid("129", "Expiry Date Invalid")
	}
	return nil
}

// finish authorizes or refuses a payment, and tells of it.
func (d *Dialect) finish(psp, refused string) (books.Charge, error) {
	charge, err := d.b.Update(Connector, "", psp, func(p *books.Charge) error {
		if p.Status != payment.Processing && p.Status != payment.RequiresAction {
			return books.ErrState
		}
		if refused != "" {
			return p.Decline(books.Failure{Code: refused})
		}
		return p.Authorize(d.b.Now())
	})
	if err == nil {
		d.notify(books.OpAuthorize, event{
			code: "AUTHORISATION", charge: &charge, psp: psp, reference: charge.Reference, amount: charge.Amount,
			success: refused == "", reason: reasonOf(&charge),
		})
	}
	return charge, err
}

func reasonOf(c *books.Charge) string {
	if c.Failure == nil {
		return ""
	}
	if c.Failure.Code == notAuthenticated {
		return "3D Not Authenticated"
	}
	return refusals[c.Failure.Code].reason
}

const notAuthenticated = "NOT_AUTHENTICATED"

// result is a PaymentResponse of where a charge stands.
func result(c books.Charge) answer {
	return answer{http.StatusOK, func(off int64) []byte {
		o := books.NewDocument(512).Text("pspReference", c.PSPReference).Text("merchantReference", c.Reference)
		written(o, payment.Money{Minor: c.Amount, Currency: c.Currency}, off)
		o.Open("additionalData").Some("cardSummary", c.Description).Close()
		switch {
		case c.Authorized > 0:
			o.Text("resultCode", "Authorised")
		case c.Failure != nil:
			code := refusals[c.Failure.Code].code
			if c.Failure.Code == notAuthenticated {
				code = "11"
			}
			kind := "Refused"
			if code == "4" {
				kind = "Error"
			}
			o.Text("resultCode", kind).Text("refusalReason", reasonOf(&c)).Text("refusalReasonCode", code)
		case c.Status == payment.Canceled:
			o.Text("resultCode", "Cancelled")
		default:
			o.Text("resultCode", "Pending")
		}
		return o.Bytes()
	}}
}

// methods is POST /paymentMethods: every merchant account has cards here.
func (c *call) methods() (answer, error) {
	return answer{http.StatusOK, func(int64) []byte {
		return books.NewDocument(64).Raw("paymentMethods", []byte(`[{"name":"Cards","type":"scheme"}]`)).Bytes()
	}}, nil
}
