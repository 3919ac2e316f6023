package engine_test

import (
	"bytes"
	"context"
	"crypto"
	crand "crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/connectors/adyen/adyensim"
	"github.com/purser-pay/purser/modules/connectors/stripe/stripesim"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

var permutations = flag.Int("permutations", 6, "histories that TestPermutations lives for each life of a payment")

// life is what a merchant, and a payer, do with one payment.
type life struct {
	psp, name string
	in        func() engine.Create
	steps     []step
	// What it comes to with a good postman.
	status             payment.Status
	captured, refunded int64
	// passing are events that a later fact may overtake, so that they are not
	// recorded at all.
	passing []payment.EventType
	// redirected: the answer tells where the payer must go, and nobody tells it
	// again. Without it nothing can be paid.
	redirected bool
}

type step func(r *postman, id string)

func lives() []life {
	failing := []payment.EventType{payment.EventRefundSucceeded}
	return []life{
		{"stripe", "paid", stripeToken("pm_card_visa", payment.CaptureAutomatic), nil, payment.Succeeded, 1000, 0, nil, false},
		{"stripe", "captured in part", stripeToken("pm_card_visa", payment.CaptureManual), []step{captures(700, true)}, payment.Succeeded, 700, 0, nil, false},
		{"stripe", "captured in two parts", stripeToken("pm_card_multicapture", payment.CaptureManual), []step{captures(300, false), captures(400, true)}, payment.Succeeded, 700, 0, nil, false},
		{"stripe", "refunded in parts", stripeToken("pm_card_visa", payment.CaptureAutomatic), []step{refunds(300), refunds(200)}, payment.Succeeded, 1000, 500, nil, false},
		{"stripe", "captured and refunded whole", stripeToken("pm_card_visa", payment.CaptureManual), []step{captures(1000, true), refunds(1000)}, payment.Succeeded, 1000, 1000, nil, false},
		{"stripe", "canceled", stripeToken("pm_card_visa", payment.CaptureManual), []step{cancels}, payment.Canceled, 0, 0, nil, false},
		{"stripe", "declined", stripeToken("pm_card_visa_chargeDeclined", payment.CaptureAutomatic), nil, payment.Failed, 0, 0, nil, false},
		{"stripe", "refund fails late", stripeToken("pm_card_refundFail", payment.CaptureAutomatic), []step{refunds(300)}, payment.Succeeded, 1000, 0, failing, false},
		{"stripe", "refund takes its time", stripeToken("pm_card_pendingRefund", payment.CaptureAutomatic), []step{refunds(300)}, payment.Succeeded, 1000, 300, nil, false},
		{"stripe", "processing, then paid", stripeToken("pm_card_later", payment.CaptureAutomatic), nil, payment.Succeeded, 1000, 0, nil, false},
		{"stripe", "3-D Secure passed", stripeToken("pm_card_threeDSecure2Required", payment.CaptureAutomatic), []step{challenged("succeed")}, payment.Succeeded, 1000, 0, nil, false},
		{"stripe", "3-D Secure failed", stripeToken("pm_card_threeDSecure2Required", payment.CaptureAutomatic), []step{challenged("fail")}, payment.Failed, 0, 0, nil, false},

		{"alipay", "QR code paid", scanned(1088), nil, payment.Succeeded, 1088, 0, nil, false},
		{"alipay", "QR code paid, refunded in parts", scanned(1088), []step{refunds(300), refunds(200)}, payment.Succeeded, 1088, 500, nil, false},
		{"alipay", "QR code paid, refunded whole", scanned(1088), []step{refunds(1088)}, payment.Succeeded, 1088, 1088, nil, false},
		{"alipay", "QR code canceled", scanned(1000), []step{cancels}, payment.Canceled, 0, 0, nil, false},
		{"alipay", "QR code refused", scanned(1044), nil, payment.Canceled, 0, 0, nil, false},
		{"alipay", "paid at the till, refunded", barcode, []step{refunds(1000)}, payment.Succeeded, 1000, 1000, nil, false},
		{"alipay", "payer confirms", confirms, nil, payment.Succeeded, 1000, 0, nil, false},

		{"adyen", "paid", adyenPays("A Payer", payment.CaptureAutomatic), nil, payment.Succeeded, 1000, 0, nil, false},
		{"adyen", "captured in part", adyenPays("A Payer", payment.CaptureManual), []step{captures(700, true)}, payment.Succeeded, 700, 0, nil, false},
		{"adyen", "refunded in parts", adyenPays("A Payer", payment.CaptureAutomatic), []step{refunds(300), refunds(200)}, payment.Succeeded, 1000, 500, nil, false},
		{"adyen", "captured and refunded whole", adyenPays("A Payer", payment.CaptureManual), []step{captures(1000, true), refunds(1000)}, payment.Succeeded, 1000, 1000, nil, false},
		{"adyen", "canceled", adyenPays("A Payer", payment.CaptureManual), []step{cancels}, payment.Canceled, 0, 0, nil, false},
		{"adyen", "declined", adyenPays("DECLINED", payment.CaptureAutomatic), nil, payment.Failed, 0, 0, nil, false},
		{"adyen", "refund fails late", adyenPays(adyensim.RefundFails, payment.CaptureAutomatic), []step{refunds(300)}, payment.Succeeded, 1000, 0, failing, false},
		{"adyen", "3-D Secure passed", adyenChallenged, []step{challenged("succeed")}, payment.Succeeded, 1000, 0, nil, true},
		{"adyen", "3-D Secure failed", adyenChallenged, []step{challenged("fail")}, payment.Failed, 0, 0, nil, true},
	}
}

func stripeToken(token string, m payment.CaptureMethod) func() engine.Create {
	return func() engine.Create {
		in := tokenPayment(m)
		in.Method.Token, in.Account, in.ReturnURL = token, "stripe", "https://shop.example/back"
		return in
	}
}

func scanned(amount int64) func() engine.Create {
	return func() engine.Create { return walletPayment(amount, payment.FlowQR) }
}

func confirms() engine.Create {
	in := barcode()
	in.Method.AuthCode = payment.NewSensitive("281234567890123401")
	return in
}

func adyenPays(holder string, m payment.CaptureMethod) func() engine.Create {
	return func() engine.Create {
		in := adyenCard(m, holder)
		in.Account = "adyen"
		return in
	}
}

func adyenChallenged() engine.Create {
	in := card("4000000000003220", payment.CaptureAutomatic)
	in.Account = "adyen"
	return in
}

func captures(amount int64, final bool) step {
	return func(r *postman, id string) {
		p := r.await(id, func(p payment.Payment) bool {
			return p.Status == payment.RequiresCapture && (final || p.Current().MultiCapture) && !slices.ContainsFunc(p.Attempts, func(a payment.Attempt) bool { return a.Status.Open() })
		})
		key := fmt.Sprintf("capture-%d", len(p.Attempts))
		r.insist(func(e *engine.Engine) (engine.Answer, error) {
			return e.Capture(context.Background(), claim(key), id, engine.Capture{Amount: amount, Final: final})
		})
	}
}

func refunds(amount int64) step {
	return func(r *postman, id string) {
		p := r.await(id, func(p payment.Payment) bool { return p.Status == payment.Succeeded })
		key := fmt.Sprintf("refund-%d", len(p.Refunds))
		r.insist(func(e *engine.Engine) (engine.Answer, error) {
			return e.Refund(context.Background(), claim(key), engine.Refund{Payment: id, Amount: amount})
		})
	}
}

func cancels(r *postman, id string) {
	r.await(id, func(p payment.Payment) bool {
		return p.Outcome == payment.Known && (p.Status == payment.RequiresCapture || p.Status == payment.RequiresAction)
	})
	r.insist(func(e *engine.Engine) (engine.Answer, error) {
		return e.Cancel(context.Background(), claim("cancel"), id, engine.Cancel{})
	})
}

// challenged lets the payer decide; whether the browser comes back is the
// postman's whim.
func challenged(result string) step {
	return func(r *postman, id string) {
		r.await(id, func(p payment.Payment) bool { return p.Status == payment.RequiresAction })
		c := r.sim.Books().Challenges(true)
		if len(c) != 1 {
			r.t.Fatalf("%d challenges, want one", len(c))
		}
		r.control(http.MethodPost, "/_sim/challenges/"+c[0].ID, `{"result":"`+result+`"}`)
		if r.rnd != nil && r.chance(50) {
			return
		}
		token := c[0].ReturnURL[strings.LastIndex(c[0].ReturnURL, "/")+1:]
		_, err, _ := r.do(func(e *engine.Engine) (a engine.Answer, err error) {
			_, _, err = e.Return(context.Background(), token, map[string][]string{"redirectResult": {adyensim.Result(c[0].ID)}})
			return a, err
		})
		r.check(err)
	}
}

// end is all that must be the same whatever befell the webhooks.
type end struct {
	Status                         payment.Status
	Outcome                        payment.Outcome
	Captured, Refunded, Capturable int64
	Attempts, Refunds              []string
	Books                          []string
	Events                         map[payment.EventType]int
}

func (r *postman) end(id string) end {
	r.t.Helper()
	p := r.payment(id)
	e := end{
		Status: p.Status, Outcome: p.Outcome, Captured: p.AmountCaptured(), Refunded: p.AmountRefunded(),
		Capturable: p.AmountCapturable(), Events: map[payment.EventType]int{},
	}
	for _, a := range p.Attempts {
		e.Attempts = append(e.Attempts, fmt.Sprintf("%s %s %d by %s at %s", a.Kind, a.Status, a.Amount, a.Origin, a.Account))
		if a.Error != nil { // what is shown where the end differs
			fmt.Fprintf(&r.log, "%s ended with %+v\n", a.Kind, *a.Error)
		}
	}
	for _, f := range p.Refunds {
		e.Refunds = append(e.Refunds, fmt.Sprintf("%s %d by %s, %s", f.Status, f.Amount, f.Origin, f.Outcome))
	}
	for _, c := range r.sim.Books().All() {
		e.Books = append(e.Books, fmt.Sprintf("%s %s authorized %d captured %d refunded %d in %d", c.Connector, c.Status, c.Authorized, c.Captured, c.Refunded, len(c.Refunds)))
	}
	var page store.Page[payment.Event]
	r.check(r.store.View(context.Background(), func(rd store.Reader) (err error) {
		page, err = rd.Events(store.EventQuery{Paging: store.Paging{Limit: store.MaxPage}, Payment: id})
		return err
	}))
	for _, ev := range page.Data {
		switch ev.Type {
		case payment.EventPaymentProcessing, payment.EventPaymentRequiresAction, payment.EventPaymentRequiresCapture, payment.EventRefundPending:
		default:
			e.Events[ev.Type]++
		}
	}
	return e
}

// live lives a life, by a good postman where seed is 0.
func (l life) live(t *testing.T, seed uint64) (end, string) {
	t.Helper()
	var rnd *rand.Rand
	if seed > 0 {
		h := fnv.New64a()
		_, _ = h.Write([]byte(l.psp + l.name))
		rnd = rand.New(rand.NewPCG(seed, h.Sum64()))
	}
	r := newPostman(t, rnd)
	r.redirected = l.redirected
	in := l.in()
	o := r.insist(func(e *engine.Engine) (engine.Answer, error) {
		return e.Create(context.Background(), claim("create"), in)
	})
	for _, step := range l.steps {
		r.disturb()
		step(r, o.ID)
	}
	r.finish()
	r.reconcile(l.psp, r.payment(o.ID))
	e := r.end(o.ID)
	return e, r.log.String()
}

// TestPermutations: webhooks that come early, late, twice, in any order, with
// forged ones among them, while answers are lost and the gateway is killed, leave
// what they leave when all goes well, and that is what the PSP's books say. A
// failing seed is run alone by its name; -permutations=N lives more of them.
func TestPermutations(t *testing.T) {
	t.Parallel()
	histories := *permutations
	if testing.Short() {
		histories = 2
	}
	for _, l := range lives() {
		t.Run(l.psp+"/"+strings.ReplaceAll(l.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			want, _ := l.live(t, 0)
			if want.Status != l.status || want.Outcome != payment.Known || want.Captured != l.captured || want.Refunded != l.refunded {
				t.Fatalf("with a good postman: got %+v, want %s, captured %d, refunded %d", want, l.status, l.captured, l.refunded)
			}
			for seed := 1; seed <= histories; seed++ {
				t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
					got, log := l.live(t, uint64(seed))
					for _, ev := range l.passing {
						if got.Events[ev] == 0 {
							got.Events[ev] = want.Events[ev]
						}
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("the end differs (-good postman +this one):\n%s\n%s", diff, tail(log, 20))
					}
				})
			}
		})
	}
}

// forgery makes another webhook of one, and says what the door answers it.
type forgery struct {
	name string
	make func(r *postman, l letter) letter
	want int
}

// deceive hands in a forged copy of a letter.
func (r *postman) deceive(l letter) {
	r.t.Helper()
	kinds := forgeries[strings.TrimPrefix(l.path, "/webhooks/")]
	f := kinds[r.rnd.IntN(len(kinds))]
	if got := r.post(f.make(r, letter{l.path, l.header.Clone(), slices.Clone(l.body)})); got != f.want {
		r.t.Fatalf("a forged webhook (%s) got %d, want %d: %.300s\n%s", f.name, got, f.want, l.body, tail(r.log.String(), 5))
	}
}

var forgeries = map[string][]forgery{
	"stripe": {
		{"altered", func(r *postman, l letter) letter {
			l.header.Set("Stripe-Signature", r.signStripe(l.body))
			l.header.Set("Resign", "no")
			l.body = bytes.ReplaceAll(l.body, []byte("1000"), []byte("9000"))
			l.body = append(l.body, ' ')
			return l
		}, 401},
		{"unsigned", func(_ *postman, l letter) letter { l.header.Del("Stripe-Signature"); return l }, 401},
		{"foreign account", foreign, 200},
		{"another amount", replaced("1000", "9000"), 200},
		{"another currency", replaced(`"usd"`, `"eur"`), 200},
		{"another mode", replaced(`"livemode":false`, `"livemode":true`), 200},
		{"of nobody", replaced(`_`, `_zz`), 200},
	},
	"alipay": {
		{"altered", func(_ *postman, l letter) letter {
			l.body = bytes.Replace(l.body, []byte("total_amount="), []byte("total_amount=9"), 1)
			return l
		}, 401},
		{"unsigned", rewritten(func(p map[string]string) { p["sign"] = "" }, false), 401},
		{"foreign account", foreign, 200},
		{"another application", rewritten(func(p map[string]string) { p["app_id"] = "2021000000000009" }, true), 401},
		{"another amount", rewritten(func(p map[string]string) { p["total_amount"] = "9" + p["total_amount"] }, true), 200},
		{"of nobody", rewritten(func(p map[string]string) { p["out_trade_no"], p["trade_no"] = "nobodys", "2026999" }, true), 200},
	},
	"adyen": {
		{"altered", func(_ *postman, l letter) letter {
			l.body = bytes.Replace(l.body, []byte(`"value":`), []byte(`"value":9`), 1)
			return l
		}, 401},
		{"unsigned", func(_ *postman, l letter) letter {
			l.body = bytes.Replace(l.body, []byte(`"hmacSignature"`), []byte(`"hmac"`), 1)
			return l
		}, 401},
		{"foreign account", foreign, 200},
		{"another mode", func(_ *postman, l letter) letter { // which the signature does not cover
			l.body = bytes.Replace(l.body, []byte(`"live":"false"`), []byte(`"live":"true"`), 1)
			return l
		}, 200},
		{"another merchant account", resigned(func(i map[string]any) { i["merchantAccountCode"] = "SomebodyECOM" }), 200},
		{"of nobody", resigned(func(i map[string]any) {
			i["merchantReference"], i["pspReference"], i["originalReference"] = "nobodys", "NOBODYS000000000", "NOBODYS000000001"
		}), 200},
	},
}

// foreign goes to another account that has the same secrets.
func foreign(r *postman, l letter) letter {
	if l.header.Get("Stripe-Signature") != "" {
		l.header.Set("Stripe-Signature", r.signStripe(l.body))
	}
	l.path += "-foreign"
	return l
}

// replaced is what Stripe would sign, were it to say so.
func replaced(what, with string) func(*postman, letter) letter {
	return func(_ *postman, l letter) letter {
		l.body = bytes.ReplaceAll(l.body, []byte(what), []byte(with))
		return l
	}
}

func (r *postman) signStripe(body []byte) string {
	return stripesim.Sign(stripeWebhookSecret, body, r.now()).Get("Stripe-Signature")
}

// rewritten is what Alipay would say, signed with its key or not.
func rewritten(change func(map[string]string), sign bool) func(*postman, letter) letter {
	return func(r *postman, l letter) letter {
		v := l.form(r.t)
		p := map[string]string{}
		for k := range v {
			p[k] = v.Get(k)
		}
		change(p)
		if sign {
			var pairs []string
			for k, s := range p {
				if k != "sign" && k != "sign_type" && s != "" {
					pairs = append(pairs, k+"="+s)
				}
			}
			slices.Sort(pairs)
			p["sign"] = signAlipay(r.t, strings.Join(pairs, "&"))
		}
		for k, s := range p {
			v.Set(k, s)
		}
		l.body = []byte(v.Encode())
		return l
	}
}

func signAlipay(t *testing.T, text string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(alipayKey()))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(crand.Reader, key.(*rsa.PrivateKey), crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(signature)
}

// resigned is what Adyen would say, signed.
func resigned(change func(item map[string]any)) func(*postman, letter) letter {
	return func(r *postman, l letter) letter {
		var n map[string]any
		d := json.NewDecoder(bytes.NewReader(l.body))
		d.UseNumber()
		r.check(d.Decode(&n))
		item := n["notificationItems"].([]any)[0].(map[string]any)["NotificationRequestItem"].(map[string]any)
		change(item)
		text := func(v any) string {
			if v == nil {
				return ""
			}
			return fmt.Sprint(v)
		}
		amount := item["amount"].(map[string]any)
		item["additionalData"].(map[string]any)["hmacSignature"] = adyensim.Sign(adyenHMAC, strings.Join([]string{
			text(item["pspReference"]), text(item["originalReference"]), text(item["merchantAccountCode"]), text(item["merchantReference"]),
			text(amount["value"]), text(amount["currency"]), text(item["eventCode"]), text(item["success"]),
		}, ":"))
		body, err := json.Marshal(n)
		r.check(err)
		l.body = body
		return l
	}
}
