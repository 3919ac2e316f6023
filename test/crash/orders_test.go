package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/purser-pay/purser/test/deployment"
)

type object = map[string]any

// purchase is how an order is to be paid, and what follows.
type purchase uint8

const (
	automatic     purchase = iota // card number: two calls to the PSP
	token                         // stored card: one call
	captured                      // authorized, then captured, in part or whole
	refunded                      // paid, then given back, in part or whole
	canceled                      // authorized, then released
	barcode                       // Alipay, the till scans the payer
	qr                            // Alipay, the payer scans the till
	declined                      // the card has no money
	notAtAlipay                   // the wallet has no money
	adyenPaid                     // Adyen, which tells by webhook alone
	adyenCaptured                 // authorized there, then captured
	adyenRefunded                 // paid there, then given back
	purchases
)

// mix is the shares of 100 orders.
type mix [purchases]int

var (
	// usual are Stripe and Alipay.
	usual = mix{18, 8, 18, 16, 10, 12, 8, 7, 3, 0, 0, 0}
	// threeDialects has Adyen as well.
	threeDialects = mix{14, 6, 14, 12, 8, 10, 8, 6, 2, 8, 6, 6}
)

// order is one thing to be paid, drawn from the seed before anything runs.
type order struct {
	number   int
	purchase purchase
	amount   int64
	part     int64 // captured, or refunded; 0 = none
	body     object

	payment  payment // as the merchant saw it last
	answered bool
	err      error
}

// The cards of the test are published ones. The CVC and the payment codes are
// looked for in everything that the gateway has written.
var (
	goodCards = []string{"4242424242424242", "5555555555554444", "378282246310005", "6011111111111117", "4000056655665556"}
	badCards  = []string{"4000000000009995", "4000000000000002", "4000000000000069", "4000000000000119"}
)

const (
	cvc       = "831"
	paidCode  = "28661470930225"   // and four digits; every such code pays
	emptyCode = "2866147093022504" // ends in 04: balance not enough
)

func draw(random *rand.Rand, number int, shares mix) *order {
	o := &order{number: number, amount: 100 + random.Int64N(500000)}
	n := random.IntN(100)
	for n >= shares[o.purchase] {
		n -= shares[o.purchase]
		o.purchase++
	}
	o.part = o.amount
	if random.IntN(2) == 0 {
		o.part = 1 + random.Int64N(o.amount)
	}
	card := func(cards []string) object {
		return object{"type": "card", "card": object{
			"number": cards[random.IntN(len(cards))], "exp_month": 1 + random.IntN(12), "exp_year": 2034, "cvc": cvc,
		}}
	}
	alipay := func(fields object) object { return object{"type": "alipay", "alipay": fields} }
	o.body = object{
		"amount": o.amount, "currency": []string{"EUR", "USD", "JPY"}[random.IntN(3)], "reference": o.reference(),
		"description": "order", "metadata": object{"number": fmt.Sprint(number)},
	}
	switch o.purchase {
	case automatic, refunded:
		o.body["payment_method"] = card(goodCards)
	case token:
		o.body["payment_method"] = object{"type": "card_token", "card_token": object{"token": "pm_card_visa"}}
	case captured, canceled:
		o.body["payment_method"], o.body["capture_method"] = card(goodCards), "manual"
	case declined:
		o.body["payment_method"] = card(badCards)
	case adyenPaid, adyenCaptured, adyenRefunded:
		o.body["payment_method"], o.body["account"] = card(goodCards[:1]), "adyen"
		if o.purchase == adyenCaptured {
			o.body["capture_method"] = "manual"
		}
	case barcode:
		o.body["payment_method"] = alipay(object{"flow": "barcode", "auth_code": paidCode + fmt.Sprintf("%02d50", random.IntN(100))})
	case notAtAlipay:
		o.body["payment_method"] = alipay(object{"flow": "barcode", "auth_code": emptyCode})
	case qr:
		o.body["payment_method"] = alipay(object{"flow": "qr"})
	case purchases: // how many there are
	}
	if o.purchase == barcode || o.purchase == notAtAlipay || o.purchase == qr {
		o.amount = o.amount/100*100 + 50 // no amount that the simulator takes for a sign
		o.part = min(o.part, o.amount)
		o.body["currency"], o.body["amount"] = "CNY", o.amount
	}
	return o
}

func (o *order) reference() string { return fmt.Sprintf("order-%05d", o.number) }

// payment is what a merchant reads of one.
type payment struct {
	ID           string
	Status       string
	Outcome      string
	Amount       int64
	Currency     string
	Capturable   int64   `json:"amount_capturable"`
	Captured     int64   `json:"amount_captured"`
	Refunded     int64   `json:"amount_refunded"`
	Reference    string  `json:"reference"`
	PSPReference *string `json:"psp_reference"`
	Error        *struct{ Code string }
	NextAction   *struct{ Type, Data string } `json:"next_action"`
	Attempts     []struct {
		Operation    string
		Status       string
		Outcome      string
		PSPReference *string `json:"psp_reference"`
	}
	Refunds []refund
}

type refund struct {
	ID, Status, Outcome string
	Amount              int64
}

// unsettled tells that somebody still waits for the PSP's word.
func (p *payment) unsettled() bool {
	open := p.Outcome == "unknown" || p.Status == "processing"
	for _, a := range p.Attempts {
		open = open || a.Status == "pending" || a.Outcome == "unknown"
	}
	for _, r := range p.Refunds {
		open = open || r.Status == "pending" || r.Outcome == "unknown"
	}
	return open
}

// world is what an order is carried out in.
type world struct {
	*deployment.Deployment
	*merchant
	database *deployment.Database // nil = SQLite
	redis    *deployment.Redis    // nil = calls are not counted
}

const (
	// known is how long a merchant waits for what is in doubt before it leaves
	// the order as it is.
	known = 60 * time.Second
	// tries is how often a merchant asks again, with a new key, for what was
	// certainly not done.
	tries = 8
)

// carry makes the order's calls. What fails certainly is tried again with a new
// key, what is in doubt never.
func (o *order) carry(ctx context.Context, w *world) error {
	if err := w.post(ctx, "/v1/payments", o.reference()+"-create", o.body, &o.payment); err != nil {
		return err
	}
	o.answered = true
	if err := o.settle(ctx, w); err != nil {
		return err
	}
	switch {
	case o.purchase == qr && o.payment.Status == "requires_action":
		return o.pay(ctx, w)
	case (o.purchase == captured || o.purchase == adyenCaptured) && o.payment.Status == "requires_capture":
		return o.repeat(ctx, w, "capture", "/capture", object{"amount": o.part}, func() bool { return o.payment.Captured > 0 })
	case o.purchase == canceled && o.payment.Status == "requires_capture":
		return o.repeat(ctx, w, "cancel", "/cancel", object{}, func() bool { return o.payment.Status == "canceled" })
	case (o.purchase == refunded || o.purchase == adyenRefunded) && o.payment.Status == "succeeded":
		return o.giveBack(ctx, w)
	}
	return nil
}

// settle waits until nothing of the payment is in doubt.
func (o *order) settle(ctx context.Context, w *world) error {
	deadline := time.Now().Add(known)
	for pause := 50 * time.Millisecond; o.payment.unsettled(); pause = min(2*pause, time.Second) {
		if time.Now().After(deadline) || !wait(ctx, pause) {
			return errLeft
		}
		if err := w.get(ctx, "/v1/payments/"+o.payment.ID, &o.payment); err != nil {
			return err
		}
	}
	return nil
}

// errLeft is no failure: the reconciliation will look at what became of it.
var errLeft = errors.New("left in doubt")

func (o *order) repeat(ctx context.Context, w *world, name, path string, body object, done func() bool) error {
	for try := range tries {
		key := fmt.Sprintf("%s-%s-%d", o.reference(), name, try)
		if err := w.post(ctx, "/v1/payments/"+o.payment.ID+path, key, body, &o.payment); err != nil {
			return err
		}
		if err := o.settle(ctx, w); err != nil || done() || o.payment.Status != "requires_capture" {
			return err
		}
	}
	return nil
}

func (o *order) giveBack(ctx context.Context, w *world) error {
	for try := range tries {
		key := fmt.Sprintf("%s-refund-%d", o.reference(), try)
		var r refund
		if err := w.post(ctx, "/v1/refunds", key, object{"payment": o.payment.ID, "amount": o.part}, &r); err != nil {
			return err
		}
		if err := w.get(ctx, "/v1/payments/"+o.payment.ID, &o.payment); err != nil {
			return err
		}
		if err := o.settle(ctx, w); err != nil || o.payment.Refunded > 0 {
			return err
		}
	}
	return nil
}

// pay plays the payer, who scans the code and pays, and waits with the merchant
// for the news.
func (o *order) pay(ctx context.Context, w *world) error {
	if o.payment.NextAction == nil {
		return fmt.Errorf("payment %s requires an action that it does not name", o.payment.ID)
	}
	code := o.payment.NextAction.Data
	challenge := code[strings.LastIndexByte(code, '/')+1:]
	if err := w.Simulator.Post(ctx, "/pay", object{"connector": "alipay", "reference": challenge}); err != nil {
		return err
	}
	deadline := time.Now().Add(known)
	for o.payment.Status == "requires_action" || o.payment.unsettled() {
		if time.Now().After(deadline) || !wait(ctx, 500*time.Millisecond) {
			return errLeft
		}
		if err := w.get(ctx, "/v1/payments/"+o.payment.ID, &o.payment); err != nil {
			return err
		}
	}
	return nil
}

// replay asks again for what was told, and says what is different.
func (m *merchant) replay(ctx context.Context, t told) error {
	a, err := m.call(ctx, http.MethodPost, t.path, t.key, t.request)
	switch {
	case err != nil:
		return err
	case a.status != t.status || a.kind != t.kind || !a.replayed || string(a.body) != string(t.body):
		return fmt.Errorf("POST %s (key %s) was answered %d %s %s, and its replay %d %s (replayed %t) %s",
			t.path, t.key, t.status, t.kind, t.body, a.status, a.kind, a.replayed, a.body)
	}
	return nil
}
