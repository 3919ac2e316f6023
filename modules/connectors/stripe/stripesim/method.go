package stripesim

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

// createMethod is POST /v1/payment_methods, for cards.
func (c *call) createMethod() (document, error) {
	f := c.form
	if t := f.get("type"); t != "card" {
		return document{}, invalid("", "type", "The simulator's account takes the payment method type card only, not "+strconv.Quote(t)+".")
	}
	m := books.Method{Account: c.account, Metadata: f.metadata(), CVC: f.get("card[cvc]") != ""}
	if token := f.get("card[token]"); token != "" {
		card, ok := books.FindCard("pm_card_" + strings.TrimPrefix(token, "tok_"))
		if !ok {
			return document{}, missing("token", token, "card[token]")
		}
		m.Card, m.ExpMonth, m.ExpYear = card.Token, 12, c.d.b.Now().Year()+3
	} else if err := c.readCard(&m); err != nil {
		return document{}, err
	}
	c.executed = true
	m.ID, m.Created = c.d.b.ID("pm_1", 23), c.d.b.Now()
	m.Name, m.Email = f.get("billing_details[name]"), f.get("billing_details[email]")
	c.d.b.PutMethod(m)
	return document{body: renderMethod(m)}, nil
}

// readCard reads the typed card as Stripe's own checks do: a wrong one is a
// card_error, before anything reaches an issuer.
func (c *call) readCard(m *books.Method) error {
	f := c.form
	number := strings.NewReplacer(" ", "", "-", "").Replace(f.get("card[number]"))
	if number == "" {
		return invalid("parameter_missing", "card[number]", "Missing required param: card[number].")
	}
	if !payment.ValidPAN(number) {
		return cardError("incorrect_number", "number", "Your card number is incorrect.")
	}
	month, err := strconv.Atoi(f.get("card[exp_month]"))
	if err != nil || month < 1 || month > 12 {
		return cardError("invalid_expiry_month", "exp_month", "Your card's expiration month is invalid.")
	}
	year, err := strconv.Atoi(f.get("card[exp_year]"))
	if err == nil && year < 100 {
		year += 2000
	}
	now := c.d.b.Now().UTC()
	if err != nil || year > now.Year()+50 || year < now.Year() || (year == now.Year() && month < int(now.Month())) {
		return cardError("invalid_expiry_year", "exp_year", "Your card's expiration year is invalid.")
	}
	if cvc := f.get("card[cvc]"); f.has("card[cvc]") && (len(cvc) < 3 || len(cvc) > 4 || strings.Trim(cvc, "0123456789") != "") {
		return cardError("invalid_cvc", "cvc", "Your card's security code is invalid.")
	}
	card, ok := books.FindCard(number)
	if !ok {
		e := cardError("card_declined", "", "Your card was declined. Your request was in test mode, but used a non test card.")
		e.decline = "test_mode_live_card"
		return e
	}
	m.Card, m.ExpMonth, m.ExpYear = card.Token, month, year
	return nil
}

func cardError(code, param, message string) *apiError {
	return &apiError{status: http.StatusPaymentRequired, kind: "card_error", code: code, param: param, message: message}
}

func (c *call) getMethod() (document, error) {
	m, err := c.findMethod(c.id)
	if err != nil {
		return document{}, err
	}
	return document{body: renderMethod(m)}, nil
}

// findMethod finds a stored method, or makes one of a ready-made token.
func (c *call) findMethod(id string) (books.Method, error) {
	if m, ok := c.d.b.Method(c.account, id); ok {
		return m, nil
	}
	if card, ok := books.FindCard(id); ok && strings.HasPrefix(id, "pm_") {
		return readyMade(c.d.b, card), nil
	}
	return books.Method{}, missing("PaymentMethod", id, "payment_method")
}

func readyMade(b *books.Books, card *books.Card) books.Method {
	return books.Method{ID: card.Token, Card: card.Token, ExpMonth: 12, ExpYear: b.Now().Year() + 3, Created: b.Now()}
}

func renderMethod(m books.Method) []byte {
	card, ok := books.FindCard(m.Card)
	if !ok {
		card = &books.Cards[0]
	}
	o := books.NewDocument(1024).Text("id", m.ID).Text("object", "payment_method").Text("allow_redisplay", "unspecified")
	billing(o, m)
	o.Open("card").Text("brand", card.Brand())
	o.Open("checks").Null("address_line1_check", "address_postal_code_check").Maybe("cvc_check", cvcCheck(m)).Close()
	o.Text("country", "US").Text("display_brand", card.Brand()).Int("exp_month", int64(m.ExpMonth)).Int("exp_year", int64(m.ExpYear)).
		Text("fingerprint", fingerprint(card)).Text("funding", card.FundingType()).Null("generated_from").Text("last4", card.Last4())
	o.Open("networks").List("available").Text("", card.Brand()).End().Null("preferred").Close()
	o.Text("regulated_status", "unregulated")
	o.Open("three_d_secure_usage").Bool("supported", card.Challenge != books.ChallengeNever).Close().Null("wallet").Close()
	o.Int("created", m.Created.Unix()).Maybe("customer", m.Customer).Bool("livemode", false)
	return o.Strings("metadata", sortedNames(m.Metadata), m.Metadata).Text("type", "card").Bytes()
}

func billing(o *books.Document, m books.Method) {
	o.Open("billing_details").Open("address").Null("city", "country", "line1", "line2", "postal_code", "state").Close().
		Maybe("email", m.Email).Maybe("name", m.Name).Null("phone", "tax_id").Close()
}

func cvcCheck(m books.Method) string {
	switch {
	case !m.CVC:
		return ""
	case m.Card == "pm_card_cvcCheckFail":
		return "fail"
	default:
		return "pass"
	}
}

// fingerprint is the same for every use of a card.
func fingerprint(card *books.Card) string {
	return (card.Last4() + strings.Map(func(r rune) rune {
		if r == '_' {
			return -1
		}
		return r
	}, card.Token) + "0000000000000000")[:16]
}

// createCustomer is POST /v1/customers: just enough of one to be named by an
// intent.
func (c *call) createCustomer() (document, error) {
	c.executed = true
	f, m := c.form, c.form.metadata()
	o := books.NewDocument(256).Text("id", c.d.b.ID("cus_", 14)).Text("object", "customer").Int("balance", 0).
		Int("created", c.d.b.Now().Unix()).Maybe("description", f.get("description")).Maybe("email", f.get("email")).
		Bool("livemode", false).Strings("metadata", sortedNames(m), m).Maybe("name", f.get("name")).Maybe("phone", f.get("phone"))
	return document{body: o.Bytes()}, nil
}

// balance is GET /v1/balance, which clients use to see whether a key works.
func (c *call) balance() (document, error) {
	empty := func(o *books.Document, name string) {
		o.List(name).Open("").Int("amount", 0).Text("currency", "usd").Close().End()
	}
	o := books.NewDocument(256).Text("object", "balance").Bool("livemode", false)
	empty(o, "available")
	empty(o, "pending")
	return document{body: o.Bytes()}, nil
}
