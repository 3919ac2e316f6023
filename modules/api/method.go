package api

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/policy"
)

// fieldMethod is the field in which a body has its payment method.
const fieldMethod = "payment_method"

// methodBody is a payment_method: its type, and what that type needs beside it,
//
//	{"type": "card", "number": "4242424242424242", "exp_month": 12, "exp_year": 2030, "cvc": "123"}
//
// which is the form that is documented, and the one in which payments show
// their method. The members may as well stand in an object that is named like
// the type; then all of them do:
//
//	{"type": "card", "card": {"number": "4242424242424242", "exp_month": 12, "exp_year": 2030, "cvc": "123"}}
type methodBody struct {
	Type *payment.MethodType `json:"type"`
	methodMembers
	Card      *methodMembers `json:"card"`
	CardToken *methodMembers `json:"card_token"`
	Alipay    *methodMembers `json:"alipay"`
	WeChatPay *methodMembers `json:"wechat_pay"`
}

// methodMembers are the members of all types; typeMembers tells whose each is.
// One struct for all makes the two forms one.
type methodMembers struct {
	// card
	Number     payment.Sensitive `json:"number"`
	ExpMonth   *int              `json:"exp_month"`
	ExpYear    *int              `json:"exp_year"`
	CVC        payment.Sensitive `json:"cvc"`
	HolderName *string           `json:"holder_name"`
	// card_token
	Account *string `json:"account"`
	Token   *string `json:"token"`
	// alipay, wechat_pay
	Flow     *payment.Flow     `json:"flow"`
	AuthCode payment.Sensitive `json:"auth_code"`
	OpenID   *string           `json:"open_id"`
}

// memberNames are the members in the order of [methodMembers.given].
var memberNames = [...]string{
	"number", "exp_month", "exp_year", "cvc", "holder_name", "account", "token", "flow", "auth_code", "open_id",
}

// given tells which members are there; null is absent, "" is not.
func (m *methodMembers) given() [len(memberNames)]bool {
	none := payment.Sensitive{}
	return [...]bool{
		m.Number != none, m.ExpMonth != nil, m.ExpYear != nil, m.CVC != none, m.HolderName != nil,
		m.Account != nil, m.Token != nil, m.Flow != nil, m.AuthCode != none, m.OpenID != nil,
	}
}

// stranger names the first member that is there and not in the list, or "".
func (m *methodMembers) stranger(list []string) string {
	for i, given := range m.given() {
		if given && !slices.Contains(list, memberNames[i]) {
			return memberNames[i]
		}
	}
	return ""
}

var (
	methodTypes = []payment.MethodType{
		payment.MethodCard, payment.MethodCardToken, payment.MethodAlipay, payment.MethodWeChatPay,
		"paypal", "ideal", "sepa_debit", "upi", "bank_transfer",
	}
	flows = []payment.Flow{payment.FlowQR, payment.FlowRedirect, payment.FlowApp, payment.FlowMiniProgram, payment.FlowBarcode}
	// typeMembers are the members that a type may have; a type that is not here
	// has none.
	typeMembers = map[payment.MethodType][]string{
		payment.MethodCard:      {"number", "exp_month", "exp_year", "cvc", "holder_name"},
		payment.MethodCardToken: {"account", "token"},
		payment.MethodAlipay:    {"flow", "auth_code", "open_id"},
		payment.MethodWeChatPay: {"flow", "auth_code", "open_id"},
	}
)

// mayHoldDigits tells the fields in which a run of digits is at home: the
// card's number, and the one-time code off a payer's screen, in both forms.
func mayHoldDigits(p jsontext.Pointer) bool {
	switch p {
	case "/payment_method/number", "/payment_method/card/number",
		"/payment_method/auth_code", "/payment_method/alipay/auth_code", "/payment_method/wechat_pay/auth_code":
		return true
	default:
		return false
	}
}

// isCVC tells the two places of the card's verification code.
func isCVC(p jsontext.Pointer) bool {
	return p == "/payment_method/cvc" || p == "/payment_method/card/cvc"
}

// method is a payment method as a request gave it; the zero value is none.
type method struct {
	*payment.Method
	account string // that a token pins
	// at is where its members stand: "payment_method", or in the nested form
	// "payment_method.card" and the like.
	at string
}

// method takes a payment method in either of its forms.
func (c *checker) method(in *methodBody) method {
	if in == nil {
		return method{}
	}
	if in.Type == nil {
		c.fail(fieldMethod+".type", "The type is required.")
		return method{}
	}
	of := choice(c, fieldMethod+".type", in.Type, methodTypes, "")
	at, members := c.form(of, in)
	if name := members.stranger(typeMembers[of]); name != "" {
		c.fail(at+"."+name, "The field does not belong to the type %s.", of)
	}
	if c.err != nil {
		return method{}
	}
	out := method{Method: &payment.Method{Type: of}, at: at}
	switch of {
	case payment.MethodCard:
		out.Card = c.card(at, members)
	case payment.MethodCardToken:
		c.token(&out, members)
	case payment.MethodAlipay, payment.MethodWeChatPay:
		c.wallet(out, members)
	}
	return out
}

// form tells where the members of the method stand. It refuses the object of
// another type, and members in both places at once.
func (c *checker) form(of payment.MethodType, in *methodBody) (at string, members *methodMembers) {
	at, members = fieldMethod, &in.methodMembers
	for _, nested := range []struct {
		of      payment.MethodType
		members *methodMembers
	}{
		{payment.MethodCard, in.Card},
		{payment.MethodCardToken, in.CardToken},
		{payment.MethodAlipay, in.Alipay},
		{payment.MethodWeChatPay, in.WeChatPay},
	} {
		switch {
		case nested.members == nil:
		case nested.of != of:
			c.fail(fieldMethod+"."+string(nested.of), "The field does not belong to the type %s.", of)
		default:
			at, members = fieldMethod+"."+string(of), nested.members
			if name := in.stranger(nil); name != "" {
				c.fail(fieldMethod+"."+name, "The field stands beside the object %s. Put all fields beside the type, or all into the object.", of)
			}
		}
	}
	return at, members
}

// card takes a card as the payer typed it, where card numbers may come in at
// all.
func (c *checker) card(at string, in *methodMembers) *payment.Card {
	out := &payment.Card{
		Number: in.Number, ExpMonth: orZero(in.ExpMonth), ExpYear: orZero(in.ExpYear), CVC: in.CVC,
		HolderName: orZero(in.HolderName),
	}
	number := in.Number.Reveal()
	switch {
	case number == "":
		c.fail(at+".number", "The card number is required.")
	case c.cards == policy.NoCardNumbers:
		c.refuse(payment.CodePANNotAllowed, at+".number", "No policy allows card numbers in mode "+string(c.mode)+". Use a token of the payment provider.")
	case !payment.ValidPAN(number):
		c.fail(at+".number", "A card number is 13 to 19 digits, without spaces, with a valid check digit.")
	case c.cards == policy.TestCardNumbers && !isTestCard(number):
		c.refuse(payment.CodeLiveCardInTestMode, at+".number", "In mode test, use one of the published test card numbers.")
	}
	c.between(at+".exp_month", out.ExpMonth, 1, 12)
	switch year := c.now.UTC().Year(); {
	case out.ExpYear > year+maxYears || out.ExpYear < 2000:
		c.fail(at+".exp_year", "The year has four digits and is at most %d years ahead.", maxYears)
	case out.ExpYear < year:
		c.failLate(at+".exp_year", "The card has expired.")
	}
	// Not of: its message would be wrong for a value that must not be quoted.
	if cvc := in.CVC.Reveal(); cvc != "" && (len(cvc) < 3 || len(cvc) > 4 || strings.Trim(cvc, "0123456789") != "") {
		c.fail(at+".cvc", "The code has three or four digits.")
	}
	c.text(at+".holder_name", out.HolderName, maxName)
	return out
}

func (c *checker) refuse(code payment.Code, param, detail string) {
	if c.err == nil {
		c.err = &payment.Error{Code: code, Param: param, Detail: detail}
	}
}

// token takes a PSP's token for a card.
func (c *checker) token(out *method, in *methodMembers) {
	token := orZero(in.Token)
	if token == "" {
		c.fail(out.at+".token", "The token is required.")
	}
	out.Token = c.of(out.at+".token", token, 1, maxToken, isVisible, "A token has %d to %d visible ASCII characters.")
	out.account = c.account(out.at+".account", orZero(in.Account))
}

// wallet takes what a wallet needs for its flow, and nothing more.
func (c *checker) wallet(out method, in *methodMembers) {
	if in.Flow == nil {
		c.fail(out.at+".flow", "The flow is required.")
		return
	}
	out.Flow = choice(c, out.at+".flow", in.Flow, flows, "")
	out.AuthCode, out.OpenID = in.AuthCode, orZero(in.OpenID)
	code := in.AuthCode.Reveal()
	switch {
	case out.Flow != payment.FlowBarcode && code != "":
		c.fail(out.at+".auth_code", "The code belongs to the flow barcode.")
	case out.Flow == payment.FlowBarcode && (len(code) < 10 || len(code) > 32 || strings.Trim(code, "0123456789") != ""):
		c.fail(out.at+".auth_code", "The flow barcode needs the code off the payer's screen: 10 to 32 digits.")
	case out.Flow != payment.FlowMiniProgram && out.OpenID != "":
		c.fail(out.at+".open_id", "The ID belongs to the flow mini_program.")
	case out.Flow == payment.FlowMiniProgram && out.OpenID == "":
		c.fail(out.at+".open_id", "The flow mini_program needs the payer's ID.")
	}
	c.of(out.at+".open_id", out.OpenID, 1, maxOpenID, isVisible, "An ID has %d to %d visible ASCII characters.")
}

// keepable refuses what may not be kept until the payment is confirmed.
func (c *checker) keepable(m method) {
	switch {
	case m.Method == nil:
	case m.Card != nil:
		c.fail(m.at+".number", "Card data is never kept: send it with the confirmation.")
	case m.Transient():
		c.fail(m.at+".auth_code", "A one-time code is never kept: send it with the confirmation.")
	}
}

func orZero[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func isTestCard(pan string) bool {
	_, found := slices.BinarySearch(testCards(), pan)
	return found
}
