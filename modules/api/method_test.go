package api_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
)

// form is one of the two ways to write a payment method.
type form struct {
	name string
	// write writes a method of a type, and other the same in the other form.
	write, other func(of, members string) string
	// at is where the members stand, as errors name it.
	at func(of string) string
}

var (
	flatForm = form{
		name: "flat", write: writeFlat, other: writeNested,
		at: func(string) string { return "payment_method" },
	}
	nestedForm = form{
		name: "nested", write: writeNested, other: writeFlat,
		at: func(of string) string { return "payment_method." + of },
	}
	forms = []form{flatForm, nestedForm}
)

func writeFlat(of, members string) string {
	if members == "" {
		return `{"type":"` + of + `"}`
	}
	return `{"type":"` + of + `",` + members + `}`
}

func writeNested(of, members string) string {
	return `{"type":"` + of + `","` + of + `":{` + members + `}}`
}

// card writes a card in the form that is documented.
func card(members string) string { return writeFlat("card", members) }

// theCard is a card number's members but for what a row is about.
const theCard = `"number":"4242424242424242","exp_month":12,"exp_year":2030`

type methodTaken struct {
	name, of, members string
	want              *payment.Method
	account           string
}

var methodsTaken = []methodTaken{
	{"card", "card", theCard + `,"cvc":"123"`, visaCard(), ""},
	{"card of a holder", "card", `"holder_name":"Zoë cvc",` + theCard, &payment.Method{Type: payment.MethodCard, Card: &payment.Card{
		Number: payment.NewSensitive(visa), ExpMonth: 12, ExpYear: 2030, HolderName: "Zoë cvc",
	}}, ""},
	{"nulls are absent", "card", theCard + `,"cvc":"123","holder_name":null,"token":null,"flow":null,"auth_code":null`, visaCard(), ""},
	{"the simulator's own card", "card", `"number":"4000009900000020","exp_month":12,"exp_year":2030`, &payment.Method{Type: payment.MethodCard, Card: &payment.Card{
		Number: payment.NewSensitive("4000009900000020"), ExpMonth: 12, ExpYear: 2030,
	}}, ""},
	{"token", "card_token", `"token":"pm_1"`, &payment.Method{Type: payment.MethodCardToken, Token: "pm_1"}, ""},
	{"token of an account", "card_token", `"account":"stripe_us","token":"pm_1"`, &payment.Method{Type: payment.MethodCardToken, Token: "pm_1"}, "stripe_us"},
	{"redirect", "alipay", `"flow":"redirect"`, &payment.Method{Type: payment.MethodAlipay, Flow: payment.FlowRedirect}, ""},
	{
		"barcode", "alipay", `"flow":"barcode","auth_code":"286666666666666666"`,
		&payment.Method{Type: payment.MethodAlipay, Flow: payment.FlowBarcode, AuthCode: payment.NewSensitive("286666666666666666")}, "",
	},
	{
		"barcode that looks like a card", "wechat_pay", `"flow":"barcode","auth_code":"4242424242424242"`,
		&payment.Method{Type: payment.MethodWeChatPay, Flow: payment.FlowBarcode, AuthCode: payment.NewSensitive(visa)}, "",
	},
	{
		"mini program", "wechat_pay", `"flow":"mini_program","open_id":"oUpF8"`,
		&payment.Method{Type: payment.MethodWeChatPay, Flow: payment.FlowMiniProgram, OpenID: "oUpF8"}, "",
	},
}

// TestMethod: both forms come to the same, in both calls that take a method.
func TestMethod(t *testing.T) {
	for _, tt := range methodsTaken {
		for _, form := range forms {
			t.Run(tt.name+"/"+form.name, func(t *testing.T) {
				d := newDoor(t)
				method := form.write(tt.of, tt.members)
				d.do("POST", "/v1/payments", create("payment_method", method))
				w := d.do("POST", "/v1/payments/"+aPayment+"/confirm", `{"payment_method":`+method+`}`)
				if len(d.engine.calls) != 2 {
					t.Fatalf("%s was refused: %s", method, w.Body)
				}
				created, confirmed := d.engine.calls[0].In.(engine.Create), d.engine.calls[1].In.(engine.Confirm)
				if diff := cmp.Diff(tt.want, created.Method, sameSensitive); diff != "" || created.Account != tt.account {
					t.Errorf("create: account %q, want %q; method (-want +got):\n%s", created.Account, tt.account, diff)
				}
				if diff := cmp.Diff(tt.want, confirmed.Method, sameSensitive); diff != "" || confirmed.Account != tt.account {
					t.Errorf("confirm: account %q, want %q; method (-want +got):\n%s", confirmed.Account, tt.account, diff)
				}
			})
		}
	}
}

type methodRefused struct {
	name, of, members string
	code              payment.Code
	param             string // the member at fault
}

var methodsRefused = []methodRefused{
	{"empty card", "card", ``, payment.CodeInvalidRequest, "number"},
	{"no number", "card", `"exp_month":12,"exp_year":2030`, payment.CodeInvalidRequest, "number"},
	{"cvc alone", "card", `"cvc":"123"`, payment.CodeInvalidRequest, "number"},
	{"null number", "card", `"number":null,"exp_month":12,"exp_year":2030`, payment.CodeInvalidRequest, "number"},
	{"wrong check digit", "card", `"number":"4242424242424241","exp_month":12,"exp_year":2030`, payment.CodeInvalidRequest, "number"},
	{"number with spaces", "card", `"number":"4242 4242 4242 4242","exp_month":12,"exp_year":2030`, payment.CodeInvalidRequest, "number"},
	{"number with dashes", "card", `"number":"4242-4242-4242-4242","exp_month":12,"exp_year":2030`, payment.CodeInvalidRequest, "number"},
	{"number as number", "card", `"number":4242424242424242,"exp_month":12,"exp_year":2030`, payment.CodeInvalidRequest, "number"},
	{"number in an array", "card", `"number":["4242424242424242"]`, payment.CodePANNotAllowed, "number.0"},
	{"short number", "card", `"number":"424242424242","exp_month":12,"exp_year":2030`, payment.CodeInvalidRequest, "number"},
	{"long number", "card", `"number":"42424242424242424242","exp_month":12,"exp_year":2030`, payment.CodeInvalidRequest, "number"},
	{"not a test card", "card", `"number":"` + foreign + `","exp_month":12,"exp_year":2030`, payment.CodeLiveCardInTestMode, "number"},
	{"month 0", "card", `"number":"4242424242424242","exp_month":0,"exp_year":2030`, payment.CodeInvalidRequest, "exp_month"},
	{"no month", "card", `"number":"4242424242424242","exp_year":2030`, payment.CodeInvalidRequest, "exp_month"},
	{"month 13", "card", `"number":"4242424242424242","exp_month":13,"exp_year":2030`, payment.CodeInvalidRequest, "exp_month"},
	{"month as string", "card", `"number":"4242424242424242","exp_month":"12","exp_year":2030`, payment.CodeInvalidRequest, "exp_month"},
	{"two-digit year", "card", `"number":"4242424242424242","exp_month":12,"exp_year":30`, payment.CodeInvalidRequest, "exp_year"},
	{"last year", "card", `"number":"4242424242424242","exp_month":12,"exp_year":2025`, payment.CodeInvalidRequest, "exp_year"},
	{"year far ahead", "card", `"number":"4242424242424242","exp_month":12,"exp_year":2077`, payment.CodeInvalidRequest, "exp_year"},
	{"short cvc", "card", theCard + `,"cvc":"12"`, payment.CodeInvalidRequest, "cvc"},
	{"long cvc", "card", theCard + `,"cvc":"12345"`, payment.CodeInvalidRequest, "cvc"},
	{"cvc of letters", "card", theCard + `,"cvc":"abc"`, payment.CodeInvalidRequest, "cvc"},
	{"cvc named cvc", "card", theCard + `,"cvc":"cvc"`, payment.CodeInvalidRequest, "cvc"},
	{"cvc as number", "card", theCard + `,"cvc":123`, payment.CodeInvalidRequest, "cvc"},
	{"cvc as object", "card", theCard + `,"cvc":{"cvc":"123"}`, payment.CodeInvalidRequest, "cvc"},
	{"cvc twice", "card", `"cvc":"123",` + theCard + `,"cvc":"124"`, payment.CodeInvalidJSON, "cvc"},
	{"long holder", "card", theCard + `,"holder_name":` + quoted(201), payment.CodeInvalidRequest, "holder_name"},
	{"case-folded member", "card", theCard + `,"CVC":"123"`, payment.CodeInvalidRequest, "CVC"},
	{"unknown member", "card", theCard + `,"name":"Zoë"`, payment.CodeInvalidRequest, "name"},
	{"token at a card", "card", theCard + `,"token":"t"`, payment.CodeInvalidRequest, "token"},
	{"empty flow at a card", "card", theCard + `,"flow":""`, payment.CodeInvalidRequest, "flow"},

	{"no token", "card_token", ``, payment.CodeInvalidRequest, "token"},
	{"empty token", "card_token", `"token":""`, payment.CodeInvalidRequest, "token"},
	{"token with space", "card_token", `"token":"a b"`, payment.CodeInvalidRequest, "token"},
	{"account with slash", "card_token", `"token":"t","account":"a/b"`, payment.CodeInvalidRequest, "account"},
	{"cvc at a token", "card_token", `"token":"t","cvc":"123"`, payment.CodeInvalidRequest, "cvc"},
	{"month 0 at a token", "card_token", `"token":"t","exp_month":0`, payment.CodeInvalidRequest, "exp_month"},
	{"empty number at a token", "card_token", `"token":"t","number":""`, payment.CodeInvalidRequest, "number"},

	{"no flow", "alipay", ``, payment.CodeInvalidRequest, "flow"},
	{"unknown flow", "alipay", `"flow":"QR"`, payment.CodeInvalidRequest, "flow"},
	{"flow as number", "alipay", `"flow":1`, payment.CodeInvalidRequest, "flow"},
	{"barcode without code", "alipay", `"flow":"barcode"`, payment.CodeInvalidRequest, "auth_code"},
	{"short code", "alipay", `"flow":"barcode","auth_code":"123456789"`, payment.CodeInvalidRequest, "auth_code"},
	{"code without barcode", "wechat_pay", `"flow":"qr","auth_code":"1234567890"`, payment.CodeInvalidRequest, "auth_code"},
	{"mini program without payer", "wechat_pay", `"flow":"mini_program"`, payment.CodeInvalidRequest, "open_id"},
	{"payer without mini program", "wechat_pay", `"flow":"qr","open_id":"o"`, payment.CodeInvalidRequest, "open_id"},
	{"token at a wallet", "wechat_pay", `"flow":"qr","token":"t"`, payment.CodeInvalidRequest, "token"},

	{"card number as holder", "card", theCard + `,"holder_name":"5555555555554444"`, payment.CodePANNotAllowed, "holder_name"},
	{"card number as cvc", "card", theCard + `,"cvc":"4242424242424242"`, payment.CodePANNotAllowed, "cvc"},
	{"card number as token", "card_token", `"token":"4242424242424242"`, payment.CodePANNotAllowed, "token"},
	{"card number as open ID", "wechat_pay", `"flow":"mini_program","open_id":"4242424242424242"`, payment.CodePANNotAllowed, "open_id"},
	{"card number as name", "card", theCard + `,"4242424242424242":"x"`, payment.CodePANNotAllowed, "[redacted]"},
}

// TestMethodRefuses: what is wrong is wrong in both forms and both calls, and
// the field is named as the caller wrote it.
func TestMethodRefuses(t *testing.T) {
	d := newDoor(t)
	for _, tt := range methodsRefused {
		for _, form := range forms {
			t.Run(tt.name+"/"+form.name, func(t *testing.T) {
				method, param := form.write(tt.of, tt.members), form.at(tt.of)+"."+tt.param
				created := d.do("POST", "/v1/payments", create("payment_method", method))
				wantProblem(t, created, tt.code, param)
				wantProblem(t, d.do("POST", "/v1/payments/"+aPayment+"/confirm", `{"payment_method":`+method+`}`), tt.code, param)
				if strings.Contains(created.Body.String(), "42424242") {
					t.Errorf("the answer holds a card number: %s", created.Body)
				}
				d.wantUntouched()
			})
		}
	}
	if d.log.Len() > 0 {
		t.Errorf("refusals were logged:\n%s", d.log)
	}
}

// TestMethodForms holds what belongs to one form alone, or to neither.
func TestMethodForms(t *testing.T) {
	const invalid, pan = payment.CodeInvalidRequest, payment.CodePANNotAllowed
	tests := []struct {
		name, method string
		code         payment.Code
		param        string
	}{
		{"no type", `{}`, invalid, "payment_method.type"},
		{"no type, nested", `{"card":{}}`, invalid, "payment_method.type"},
		{"no type, flat", `{"number":"4242424242424242"}`, invalid, "payment_method.type"},
		{"null type", `{"type":null,"number":"4242424242424242"}`, invalid, "payment_method.type"},
		{"unknown type", `{"type":"cash"}`, invalid, "payment_method.type"},
		{"type in capitals", `{"type":"Card"}`, invalid, "payment_method.type"},
		{"type inside", `{"card":{"type":"card"}}`, invalid, "payment_method.card.type"},
		{"null object", `{"type":"card","card":null}`, invalid, "payment_method.number"},
		{"object as string", `{"type":"card","card":"4242"}`, invalid, "payment_method.card"},
		{"object in an object", `{"type":"card","card":{"card":{}}}`, invalid, "payment_method.card.card"},

		{"number beside the card", `{"type":"card","number":"4242424242424242","card":{"exp_month":12,"exp_year":2030}}`, invalid, "payment_method.number"},
		{"number in both", `{"type":"card","card":{` + theCard + `},"number":"4242424242424242"}`, invalid, "payment_method.number"},
		{"cvc beside the card", `{"type":"card","cvc":"123","card":{` + theCard + `}}`, invalid, "payment_method.cvc"},
		{"cvc in both", `{"type":"card","cvc":"123","card":{` + theCard + `,"cvc":"123"}}`, invalid, "payment_method.cvc"},
		{"empty name beside the card", `{"type":"card","holder_name":"","card":{` + theCard + `}}`, invalid, "payment_method.holder_name"},
		{"empty object beside the members", `{"type":"card",` + theCard + `,"card":{}}`, invalid, "payment_method.number"},
		{"token beside the token", `{"type":"card_token","account":"a","card_token":{"token":"t"}}`, invalid, "payment_method.account"},
		{"code beside the wallet", `{"type":"alipay","auth_code":"286666666666666666","alipay":{"flow":"barcode"}}`, invalid, "payment_method.auth_code"},
		{"stranger beside the card", `{"type":"card","token":"t","card":{` + theCard + `}}`, invalid, "payment_method.token"},

		{"card beside a token", `{"type":"card_token","card_token":{"token":"t"},"card":{` + theCard + `}}`, invalid, "payment_method.card"},
		{"card beside a flat token", `{"type":"card_token","token":"t","card":{` + theCard + `}}`, invalid, "payment_method.card"},
		{"empty object of another type", `{"type":"card",` + theCard + `,"alipay":{}}`, invalid, "payment_method.alipay"},
		{"two wallets", `{"type":"alipay","alipay":{"flow":"qr"},"wechat_pay":{"flow":"qr"}}`, invalid, "payment_method.wechat_pay"},
		{"number at a type of no members", `{"type":"paypal","number":"4242424242424242"}`, invalid, "payment_method.number"},
		{"flow at a type of no members", `{"type":"upi","flow":"qr"}`, invalid, "payment_method.flow"},
		{"object of a type of no members", `{"type":"paypal","paypal":{}}`, invalid, "payment_method.paypal"},

		{"number of the wrong object", `{"type":"alipay","alipay":{"flow":"qr","number":"4242424242424242"}}`, pan, "payment_method.alipay.number"},
		{"code of the wrong object", `{"type":"card","card":{"auth_code":"4242424242424242"}}`, pan, "payment_method.card.auth_code"},
		{"number one deeper", `{"type":"card","card":{"card":{"number":"4242424242424242"}}}`, pan, "payment_method.card.card.number"},
		{"method as number", `"4242424242424242"`, pan, "payment_method"},
	}
	d := newDoor(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, w := range []struct{ path, body string }{
				{"/v1/payments", create("payment_method", tt.method)},
				{"/v1/payments", create("payment_method", tt.method, "confirm", "false")},
				{"/v1/payments/" + aPayment + "/confirm", `{"payment_method":` + tt.method + `}`},
			} {
				wantProblem(t, d.do("POST", w.path, w.body), tt.code, tt.param)
			}
			d.wantUntouched()
		})
	}
}

// TestMethodIsNotKept: what may live for one call only is refused where the
// payment waits to be confirmed.
func TestMethodIsNotKept(t *testing.T) {
	tests := []struct{ name, of, members, param string }{
		{"card", "card", theCard, "number"},
		{"card and cvc", "card", theCard + `,"cvc":"123"`, "number"},
		{"cvc", "card", `"cvc":"123"`, "number"},
		{"barcode", "wechat_pay", `"flow":"barcode","auth_code":"1234567890"`, "auth_code"},
		{"barcode that looks like a card", "alipay", `"flow":"barcode","auth_code":"4242424242424242"`, "auth_code"},
	}
	d := newDoor(t)
	for _, tt := range tests {
		for _, form := range forms {
			t.Run(tt.name+"/"+form.name, func(t *testing.T) {
				body := create("payment_method", form.write(tt.of, tt.members), "confirm", "false")
				wantProblem(t, d.do("POST", "/v1/payments", body), payment.CodeInvalidRequest, form.at(tt.of)+"."+tt.param)
				d.wantUntouched()
			})
		}
	}
	for _, form := range forms {
		body := create("payment_method", form.write("card_token", `"token":"t"`), "confirm", "false")
		if w := d.do("POST", "/v1/payments", body); w.Code != 201 {
			t.Errorf("%s: a token may be kept, and got %d %s", form.name, w.Code, w.Body)
		}
	}
}

func TestTokenOfAnotherAccount(t *testing.T) {
	for _, form := range forms {
		d := newDoor(t)
		method := form.write("card_token", `"token":"t","account":"b"`)
		wantProblem(t, d.do("POST", "/v1/payments", create("account", `"a"`, "payment_method", method)), payment.CodeInvalidRequest, form.at("card_token")+".account")
		d.wantUntouched()
		if w := d.do("POST", "/v1/payments", create("account", `"b"`, "payment_method", method)); w.Code != 201 {
			t.Errorf("%s: the same account twice: %d %s, want 201", form.name, w.Code, w.Body)
		}
	}
}

func TestLiveModeTakesNoCardNumber(t *testing.T) {
	for _, form := range forms {
		t.Run(form.name, func(t *testing.T) {
			d := newDoor(t)
			live := []string{"Authorization", "Bearer " + d.keys["live"]}
			number, param := form.write("card", theCard), form.at("card")+".number"
			wantProblem(t, d.do("POST", "/v1/payments", create("payment_method", number), live...), payment.CodePANNotAllowed, param)
			wantProblem(t, d.do("POST", "/v1/payments/"+aPayment+"/confirm", `{"payment_method":`+number+`}`, live...), payment.CodePANNotAllowed, param)
			wallet := form.write("alipay", `"flow":"qr"`)
			wantProblem(t, d.do("POST", "/v1/payments", create("payment_method", wallet, "return_url", `"http://localhost/"`), live...),
				payment.CodeInvalidRequest, "return_url")
			d.wantUntouched()
			token := form.write("card_token", `"token":"pm_1"`)
			if w := d.do("POST", "/v1/payments", create("payment_method", token), live...); w.Code != 201 {
				t.Errorf("a token in mode live: %d %s, want 201", w.Code, w.Body)
			}
		})
	}
}
