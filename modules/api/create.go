package api

import (
	"slices"
	"strings"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
)

// createBody is the body of POST /v1/payments. A pointer tells "absent" from
// "empty"; null is absent.
type createBody struct {
	Amount              *int64                 `json:"amount"`
	Currency            *string                `json:"currency"`
	PaymentMethod       *methodBody            `json:"payment_method"`
	CaptureMethod       *payment.CaptureMethod `json:"capture_method"`
	Confirm             *bool                  `json:"confirm"`
	Reference           string                 `json:"reference"`
	Description         string                 `json:"description"`
	StatementDescriptor string                 `json:"statement_descriptor"`
	Customer            *payment.Customer      `json:"customer"`
	BillingAddress      *payment.Address       `json:"billing_address"`
	ShippingAddress     *payment.Address       `json:"shipping_address"`
	Browser             *payment.Browser       `json:"browser"`
	ReturnURL           string                 `json:"return_url"`
	Channel             *payment.Channel       `json:"channel"`
	OffSession          bool                   `json:"off_session"`
	SetupFutureUsage    *futureUsage           `json:"setup_future_usage"`
	Account             string                 `json:"account"`
	ExpiresAt           *string                `json:"expires_at"`
	Metadata            map[string]*string     `json:"metadata"`
}

// futureUsage says whether the payer will be there when the method is used
// again.
type futureUsage string

// confirmBody is the body of POST /v1/payments/{id}/confirm.
type confirmBody struct {
	PaymentMethod *methodBody      `json:"payment_method"`
	ReturnURL     string           `json:"return_url"`
	Browser       *payment.Browser `json:"browser"`
}

func (c *checker) create(in *createBody) engine.Create {
	out := engine.Create{
		Confirm:       in.Confirm == nil || *in.Confirm,
		CaptureMethod: choice(c, "capture_method", in.CaptureMethod, []payment.CaptureMethod{payment.CaptureAutomatic, payment.CaptureManual}, payment.CaptureAutomatic),
		Channel:       choice(c, "channel", in.Channel, payment.Channels, payment.ChannelEcommerce),
		Reference:     c.text("reference", in.Reference, maxReference),
		Description:   c.prose("description", in.Description, maxDescription),
		Customer:      c.customer(in.Customer),
		Billing:       c.address("billing_address", in.BillingAddress),
		Shipping:      c.address("shipping_address", in.ShippingAddress),
		Browser:       c.browser(in.Browser),
		ReturnURL:     c.url("return_url", in.ReturnURL),
		OffSession:    in.OffSession,
		Account:       c.account("account", in.Account),
		Metadata:      c.metadata(in.Metadata, false),
	}
	out.Amount = c.money(in.Amount, in.Currency)
	out.StatementDescriptor = c.descriptor(in.StatementDescriptor)
	out.SetupFutureUsage = string(choice(c, "setup_future_usage", in.SetupFutureUsage, []futureUsage{"on_session", "off_session"}, ""))
	if in.ExpiresAt != nil {
		out.ExpiresAt = c.instant("expires_at", *in.ExpiresAt)
		switch {
		case out.ExpiresAt.IsZero():
		case !out.ExpiresAt.After(c.now):
			c.failLate("expires_at", "The time has passed.")
		case out.ExpiresAt.After(c.now.Add(maxExpiry)):
			c.fail("expires_at", "The time is at most 30 days ahead.")
		}
	}
	method, account := c.method(in.PaymentMethod)
	if out.Method = method; method == nil && out.Confirm {
		c.fail("payment_method", "A payment cannot be confirmed without a method. Send one, or \"confirm\": false.")
	}
	if !out.Confirm {
		c.keepable(method)
	}
	if account != "" && out.Account != "" && account != out.Account {
		c.fail("payment_method.card_token.account", "The token's account and the payment's are not the same.")
	}
	if account != "" {
		out.Account = account
	}
	return out
}

func (c *checker) money(amount *int64, currency *string) payment.Money {
	if amount == nil {
		c.fail("amount", "The amount is required: an integer in the minor unit of the currency.")
	}
	if currency == nil {
		c.fail("currency", "The currency is required: three letters of ISO 4217.")
		return payment.Money{}
	}
	code, err := payment.ParseCurrency(*currency)
	if err != nil {
		c.fail("currency", "The currency is an active one of ISO 4217: three letters.")
	}
	return payment.Money{Minor: c.amount("amount", amount), Currency: code}
}

// descriptor takes what card networks print on the payer's statement.
func (c *checker) descriptor(s string) string {
	const format = "The descriptor has %d to %d characters of A-Z, a-z, 0-9, space, dot and dash, a letter among them."
	c.of("statement_descriptor", s, minDescriptor, maxDescriptor,
		func(b byte) bool { return isLetter(b) || isDigit(b) || b == ' ' || b == '.' || b == '-' }, format)
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x80 && isLetter(byte(r)) }) {
		c.fail("statement_descriptor", format, minDescriptor, maxDescriptor)
	}
	return s
}

func (c *checker) account(param, s string) string {
	return c.of(param, s, 1, maxAccount, func(b byte) bool { return isLetter(b) || isDigit(b) || b == '_' || b == '-' || b == '.' },
		"An account's name has %d to %d characters of a-z, 0-9, dash, dot and underscore.")
}

// keepable refuses what may not be kept until the payment is confirmed.
func (c *checker) keepable(m *payment.Method) {
	switch {
	case m == nil:
	case m.Card != nil:
		c.fail("payment_method.card.number", "Card data is never kept: send it with the confirmation.")
	case m.Transient():
		c.fail("payment_method."+string(m.Type)+".auth_code", "A one-time code is never kept: send it with the confirmation.")
	}
}

func (c *checker) confirm(in *confirmBody) engine.Confirm {
	method, account := c.method(in.PaymentMethod)
	return engine.Confirm{
		Method: method, Account: account,
		ReturnURL: c.url("return_url", in.ReturnURL), Browser: c.browser(in.Browser),
	}
}

// captureBody is the body of POST /v1/payments/{id}/capture.
type captureBody struct {
	Amount *int64 `json:"amount"`
	Final  *bool  `json:"final"`
}

func (c *checker) capture(in *captureBody) engine.Capture {
	return engine.Capture{Amount: c.amount("amount", in.Amount), Final: in.Final == nil || *in.Final}
}

// cancelBody is the body of POST /v1/payments/{id}/cancel.
type cancelBody struct {
	Reason string `json:"reason"`
}

func (c *checker) cancel(in *cancelBody) engine.Cancel {
	return engine.Cancel{Reason: c.text("reason", in.Reason, maxReason)}
}

// refundBody is the body of POST /v1/refunds.
type refundBody struct {
	Payment  *string            `json:"payment"`
	Amount   *int64             `json:"amount"`
	Reason   string             `json:"reason"`
	Metadata map[string]*string `json:"metadata"`
	// Force refunds in spite of an open dispute. No PSP's disputes are followed
	// yet, so there is nothing to overrule.
	Force bool `json:"force"`
}

func (c *checker) refund(in *refundBody) engine.Refund {
	out := engine.Refund{
		Amount: c.amount("amount", in.Amount), Reason: c.text("reason", in.Reason, maxReason),
		Metadata: c.metadata(in.Metadata, false),
	}
	switch {
	case in.Payment == nil:
		c.fail("payment", "The payment is required.")
	case !payment.IsID(payment.PrefixPayment, *in.Payment) && c.err == nil:
		c.err = payment.Errorf(payment.CodeNotFound, notFoundDetail)
	default:
		out.Payment = *in.Payment
	}
	return out
}

// patchBody is the body of PATCH /v1/payments/{id}: null leaves a field as it
// is, "" empties it, and a metadata value of null or "" removes its key.
type patchBody struct {
	Metadata    map[string]*string `json:"metadata"`
	Description *string            `json:"description"`
	Reference   *string            `json:"reference"`
}

func (c *checker) patch(in *patchBody) engine.Patch {
	if in.Description != nil {
		c.prose("description", *in.Description, maxDescription)
	}
	if in.Reference != nil {
		c.text("reference", *in.Reference, maxReference)
	}
	return engine.Patch{Metadata: c.metadata(in.Metadata, true), Description: in.Description, Reference: in.Reference}
}

// methodBody is a payment_method: its type, and under the type's name what that
// type needs.
type methodBody struct {
	Type      *payment.MethodType `json:"type"`
	Card      *cardBody           `json:"card"`
	CardToken *tokenBody          `json:"card_token"`
	Alipay    *walletBody         `json:"alipay"`
	WeChatPay *walletBody         `json:"wechat_pay"`
}

type cardBody struct {
	Number     payment.Sensitive `json:"number"`
	ExpMonth   int               `json:"exp_month"`
	ExpYear    int               `json:"exp_year"`
	CVC        payment.Sensitive `json:"cvc"`
	HolderName string            `json:"holder_name"`
}

type tokenBody struct {
	Account string `json:"account"`
	Token   string `json:"token"`
}

type walletBody struct {
	Flow     *payment.Flow     `json:"flow"`
	AuthCode payment.Sensitive `json:"auth_code"`
	OpenID   string            `json:"open_id"`
}

var (
	methodTypes = []payment.MethodType{
		payment.MethodCard, payment.MethodCardToken, payment.MethodAlipay, payment.MethodWeChatPay,
		"paypal", "ideal", "sepa_debit", "upi", "bank_transfer",
	}
	flows = []payment.Flow{payment.FlowQR, payment.FlowRedirect, payment.FlowApp, payment.FlowMiniProgram, payment.FlowBarcode}
)

// method takes a payment method, and the account that a token pins.
func (c *checker) method(in *methodBody) (m *payment.Method, account string) {
	if in == nil {
		return nil, ""
	}
	if in.Type == nil {
		c.fail("payment_method.type", "The type is required.")
		return nil, ""
	}
	out := &payment.Method{Type: choice(c, "payment_method.type", in.Type, methodTypes, "")}
	details := []struct {
		of    payment.MethodType
		given bool
	}{
		{payment.MethodCard, in.Card != nil},
		{payment.MethodCardToken, in.CardToken != nil},
		{payment.MethodAlipay, in.Alipay != nil},
		{payment.MethodWeChatPay, in.WeChatPay != nil},
	}
	for _, d := range details {
		param := "payment_method." + string(d.of)
		switch {
		case d.given && d.of != out.Type:
			c.fail(param, "The field does not belong to the type %s.", out.Type)
		case !d.given && d.of == out.Type:
			c.fail(param, "The field is required for the type %s.", out.Type)
		}
	}
	if c.err != nil {
		return nil, ""
	}
	switch out.Type {
	case payment.MethodCard:
		out.Card = c.card(in.Card)
	case payment.MethodCardToken:
		const param = "payment_method.card_token.token"
		if in.CardToken.Token == "" {
			c.fail(param, "The token is required.")
		}
		out.Token = c.of(param, in.CardToken.Token, 1, maxToken, isVisible, "A token has %d to %d visible ASCII characters.")
		account = c.account("payment_method.card_token.account", in.CardToken.Account)
	case payment.MethodAlipay:
		c.wallet(out, in.Alipay)
	case payment.MethodWeChatPay:
		c.wallet(out, in.WeChatPay)
	}
	return out, account
}

// card takes a card as the payer typed it, where card numbers may come in at
// all.
func (c *checker) card(in *cardBody) *payment.Card {
	const param = "payment_method.card"
	number := in.Number.Reveal()
	switch {
	case number == "":
		c.fail(param+".number", "The card number is required.")
	case c.mode.Live():
		c.refuse(payment.CodePANNotAllowed, "No policy allows card numbers in mode live. Use a token of the payment provider.")
	case !payment.ValidPAN(number):
		c.fail(param+".number", "A card number is 13 to 19 digits, without spaces, with a valid check digit.")
	case !isTestCard(number):
		c.refuse(payment.CodeLiveCardInTestMode, "In mode test, use one of the published test card numbers, such as 4242424242424242.")
	}
	c.between(param+".exp_month", in.ExpMonth, 1, 12)
	switch year := c.now.UTC().Year(); {
	case in.ExpYear > year+maxYears || in.ExpYear < 2000:
		c.fail(param+".exp_year", "The year has four digits and is at most %d years ahead.", maxYears)
	case in.ExpYear < year:
		c.failLate(param+".exp_year", "The card has expired.")
	}
	// Not of: its message would be wrong for a value that must not be quoted.
	if cvc := in.CVC.Reveal(); cvc != "" && (len(cvc) < 3 || len(cvc) > 4 || strings.Trim(cvc, "0123456789") != "") {
		c.fail(param+".cvc", "The code has three or four digits.")
	}
	return &payment.Card{
		Number: in.Number, ExpMonth: in.ExpMonth, ExpYear: in.ExpYear, CVC: in.CVC,
		HolderName: c.text(param+".holder_name", in.HolderName, maxName),
	}
}

func (c *checker) refuse(code payment.Code, detail string) {
	if c.err == nil {
		c.err = &payment.Error{Code: code, Param: "payment_method.card.number", Detail: detail}
	}
}

// wallet takes what a wallet needs for its flow, and nothing more.
func (c *checker) wallet(out *payment.Method, in *walletBody) {
	param := "payment_method." + string(out.Type)
	if in.Flow == nil {
		c.fail(param+".flow", "The flow is required.")
		return
	}
	out.Flow = choice(c, param+".flow", in.Flow, flows, "")
	out.AuthCode, out.OpenID = in.AuthCode, in.OpenID
	code := in.AuthCode.Reveal()
	switch {
	case out.Flow != payment.FlowBarcode && code != "":
		c.fail(param+".auth_code", "The code belongs to the flow barcode.")
	case out.Flow == payment.FlowBarcode && (len(code) < 10 || len(code) > 32 || strings.Trim(code, "0123456789") != ""):
		c.fail(param+".auth_code", "The flow barcode needs the code off the payer's screen: 10 to 32 digits.")
	case out.Flow != payment.FlowMiniProgram && in.OpenID != "":
		c.fail(param+".open_id", "The ID belongs to the flow mini_program.")
	case out.Flow == payment.FlowMiniProgram && in.OpenID == "":
		c.fail(param+".open_id", "The flow mini_program needs the payer's ID.")
	}
	c.of(param+".open_id", in.OpenID, 1, maxOpenID, isVisible, "An ID has %d to %d visible ASCII characters.")
}

func isTestCard(pan string) bool {
	_, found := slices.BinarySearch(testCards(), pan)
	return found
}
