package proxy

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connectors/alipay"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator"
)

const formType = "application/x-www-form-urlencoded"

// simulated is a pass-through in front of the simulator.
func simulated(t *testing.T) *world {
	t.Helper()
	sim, err := simulator.New(simulator.Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim)
	t.Cleanup(func() {
		server.Close()
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	w := newWorld(t, server.URL)
	for _, name := range []string{"stripe", "adyen"} {
		w.accounts[name].BaseURL = server.URL + "/" + name
	}
	return w
}

// object reads an answer of status want.
func object(t *testing.T, resp *http.Response, body string, want int) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(body), &o); err != nil || resp.StatusCode != want {
		t.Fatalf("got %d %s (%v), want %d and an object", resp.StatusCode, body, err, want)
	}
	return o
}

func TestStripe(t *testing.T) {
	t.Parallel()
	w := simulated(t).open()
	header := http.Header{"Content-Type": {formType}, "Idempotency-Key": {"key-1"}, "Authorization": {"Bearer " + callerKey}}
	const intent = "amount=1050&currency=eur&payment_method=pm_card_visa&confirm=true&payment_method_types[0]=card"
	resp, body := w.do("POST", "stripe/v1/payment_intents", header, strings.NewReader(intent))
	made := object(t, resp, body, 200)
	if made["status"] != "succeeded" {
		t.Errorf("got %s", body)
	}
	again, repeated := w.do("POST", "stripe/v1/payment_intents", header, strings.NewReader(intent))
	if repeated != body || again.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("under the same key of Stripe's: %s and Idempotent-Replayed %q, want the same answer", repeated, again.Header.Get("Idempotent-Replayed"))
	}
	resp, body = w.do("GET", "stripe/v1/payment_intents/"+made["id"].(string)+"?expand[]=latest_charge", nil, nil)
	if found := object(t, resp, body, 200); found["id"] != made["id"] || found["latest_charge"].(map[string]any)["object"] != "charge" {
		t.Errorf("got %s, want it with its charge", body)
	}
	resp, body = w.do("POST", "stripe/v1/refunds", header.Clone(), strings.NewReader("payment_intent="+made["id"].(string)))
	if e := object(t, resp, body, 400); e["error"] == nil { // the key was used for something else
		t.Errorf("got %s, want Stripe's own refusal", body)
	}
}

func TestAdyen(t *testing.T) {
	t.Parallel()
	w := simulated(t).open()
	resp, body := w.do("POST", "adyen/v72/paymentMethods", http.Header{"Content-Type": {"application/json"}, "X-Api-Key": {"theirs"}},
		strings.NewReader(`{"merchantAccount":"Shop"}`))
	if o := object(t, resp, body, 200); o["paymentMethods"] == nil {
		t.Errorf("got %s, want the methods", body)
	}
	w.accounts["adyen"].Connector = w.accounts["stripe"].Connector // another credential: the simulated Adyen looks
	resp, body = simulatedWithout(t, w).do("POST", "adyen/v72/paymentMethods", http.Header{"Content-Type": {"application/json"}}, strings.NewReader(`{"merchantAccount":"Shop"}`))
	object(t, resp, body, 401)
}

// simulatedWithout is another gateway over the accounts of w.
func simulatedWithout(t *testing.T, w *world) *world {
	t.Helper()
	other := newWorld(t, "")
	other.accounts = w.accounts
	return other.open()
}

func key(t *testing.T, name string) (text string, private *rsa.PrivateKey) {
	t.Helper()
	b, err := os.ReadFile("../connectors/alipay/testdata/keys/" + name)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		t.Fatalf("%s is no PEM", name)
	}
	if k, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return string(b), k
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), k.(*rsa.PrivateKey)
}

func publicPEM(t *testing.T, k *rsa.PrivateKey) string {
	t.Helper()
	b, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: b}))
}

// addAlipay adds an account of the test keys.
func (w *world) addAlipay(base string) {
	w.Helper()
	private, _ := key(w.T, "test_application.pem")
	_, theirs := key(w.T, "test_alipay.pem")
	c := &alipay.Connector{AppID: "2021000000000001", PrivateKey: connector.NewSecret(private), PublicKey: connector.NewSecret(publicPEM(w.T, theirs))}
	if err := c.Prepare(); err != nil {
		w.Fatal(err)
	}
	w.accounts["alipay"] = &connector.Account{Name: "alipay", Connector: c, Mode: payment.Test, Merchants: []string{merA}, BaseURL: base}
}

// The simulated Alipay knows the application's key, and takes nothing that is not
// signed by it.
func TestAlipay(t *testing.T) {
	t.Parallel()
	w := simulated(t)
	base := strings.TrimSuffix(w.accounts["stripe"].BaseURL, "/stripe")
	w.addAlipay(base + "/alipay")
	w.open()
	_, own := key(t, "test_application.pem")
	b, err := json.Marshal(map[string]any{"app_id": "2021000000000001", "public_key": publicPEM(t, own)})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(base+"/_sim/keys", "application/json", strings.NewReader(string(b)))
	if err != nil || resp.StatusCode/100 != 2 {
		t.Fatalf("keys: %v %v", resp, err)
	}
	_ = resp.Body.Close()
	form := http.Header{"Content-Type": {formType}}
	order := "biz_content=" + url.QueryEscape(`{"out_trade_no":"order1","total_amount":"10.50","subject":"测试 & co"}`)
	resp, body := w.do("POST", "alipay/gateway.do", form, strings.NewReader("method=alipay.trade.precreate&"+order))
	if o := object(t, resp, body, 200); o["alipay_trade_precreate_response"].(map[string]any)["code"] != "10000" {
		t.Errorf("got %s, want it made", body)
	}
	query := "biz_content=" + url.QueryEscape(`{"out_trade_no":"nothing"}`)
	resp, body = w.do("POST", "alipay/gateway.do/alipay.trade.query", form, strings.NewReader(query))
	answer := object(t, resp, body, 200)
	if a := answer["alipay_trade_query_response"].(map[string]any); a["sub_code"] != "ACQ.TRADE_NOT_EXIST" {
		t.Errorf("got %s, want an answer to a signed query", body)
	}
	if answer["sign"] == nil {
		t.Error("Alipay's own signature is gone")
	}
	for name, bad := range map[string]string{"invalid_request sign": "&sign=x", "invalid_request app_id": "&app_id=1", "invalid_request biz_content": "&" + query} {
		if resp, body := w.do("POST", "alipay/gateway.do/alipay.trade.query", form, strings.NewReader(query+bad)); resp.StatusCode != 599 || body != name {
			t.Errorf("with %s: got %d %q, want %q", bad, resp.StatusCode, body, name)
		}
	}
	for _, call := range [][2]string{{"GET", "alipay/gateway.do"}, {"POST", "alipay/v3/alipay/trade/pay"}} {
		if resp, body := w.do(call[0], call[1], form, nil); resp.StatusCode != 599 || body != "not_supported " {
			t.Errorf("%v: got %d %q, want not_supported", call, resp.StatusCode, body)
		}
	}
	large := strings.NewReader("biz_content=" + strings.Repeat("a", connector.MaxSigned))
	if resp, body := w.do("POST", "alipay/gateway.do/alipay.trade.query", form, large); resp.StatusCode != 599 || body != "body_too_large " {
		t.Errorf("got %d %q, want body_too_large", resp.StatusCode, body)
	}
}

// What arrives is signed over what arrives.
func TestAlipaySignature(t *testing.T) {
	t.Parallel()
	_, own := key(t, "test_application.pem")
	var reached int
	w := newWorld(t, psp(t, func(w http.ResponseWriter, r *http.Request) {
		reached++
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		var parts []string
		for name, v := range r.Form {
			if len(v) != 1 {
				t.Errorf("%s is there %d times", name, len(v))
			}
			if name != "sign" && v[0] != "" {
				parts = append(parts, name+"="+v[0])
			}
		}
		slices.Sort(parts)
		sig, err := base64.StdEncoding.DecodeString(r.Form.Get("sign"))
		sum := sha256.Sum256([]byte(strings.Join(parts, "&")))
		if err != nil || rsa.VerifyPKCS1v15(&own.PublicKey, crypto.SHA256, sum[:], sig) != nil {
			t.Errorf("the signature does not verify over %q", parts)
		}
		if r.Form.Get("app_id") != "2021000000000001" || r.Form.Get("method") != "alipay.trade.query" || r.URL.Path != "/base/gateway.do" {
			t.Errorf("got %s with %v", r.URL.Path, r.Form)
		}
	}))
	w.addAlipay(w.accounts["stripe"].BaseURL + "/base")
	w.open()
	resp, body := w.do("POST", "alipay/gateway.do/alipay.trade.query?notify_url=https%3A%2F%2Fa%2F%3Fb", http.Header{"Content-Type": {formType}},
		strings.NewReader("biz_content="+url.QueryEscape(`{"a":"+ &=%明"}`)))
	if resp.StatusCode != http.StatusOK || reached != 1 {
		t.Errorf("got %d %s, and it arrived %d times", resp.StatusCode, body, reached)
	}
}
