package adyensim_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connectors/adyen/adyensim"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

const (
	account = "TestECOM"
	// hmacKey is the key of Adyen's published vector.
	hmacKey = "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00"
)

type bench struct {
	t     *testing.T
	b     *books.Books
	d     *adyensim.Dialect
	inbox chan []byte
	key   string // the API key
}

func open(t *testing.T) *bench {
	t.Helper()
	x := &bench{t: t, inbox: make(chan []byte, 64), key: "AQE"}
	clock := books.NewClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	x.b = books.New(books.Config{Now: clock.Now, AfterFunc: clock.AfterFunc, Seed: 3, Client: &http.Client{Transport: x}})
	t.Cleanup(x.b.Close)
	x.d = adyensim.New(x.b, adyensim.Options{BaseURL: "http://sim.example/adyen"})
	if _, err := x.b.Webhooks.Register(books.Endpoint{Connector: adyensim.Connector, URL: "http://gateway.example/", Secret: hmacKey}); err != nil {
		t.Fatal(err)
	}
	return x
}

// RoundTrip is the merchant's end of the webhooks.
func (x *bench) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	x.inbox <- body
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
}

type object = map[string]any

func (x *bench) post(path, key string, body object) (int, object) {
	x.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		x.t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "http://sim.example/v72"+path, bytes.NewReader(b))
	r.Header.Set("X-API-Key", x.key)
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	w := httptest.NewRecorder()
	x.d.ServeHTTP(w, r)
	var got object
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		x.t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	return w.Code, got
}

func (x *bench) want(status int, wantStatus int, got object, members object) {
	x.t.Helper()
	if status != wantStatus {
		x.t.Fatalf("got status %d, want %d: %v", status, wantStatus, got)
	}
	for name, v := range members {
		if got[name] != v {
			x.t.Errorf("got %s %v, want %v (%v)", name, got[name], v, got)
		}
	}
}

// told takes the next webhook and checks its signature.
func (x *bench) told(code, success string) object {
	x.t.Helper()
	var body []byte
	select {
	case body = <-x.inbox:
	case <-time.After(10 * time.Second):
		x.t.Fatalf("no webhook %s", code)
	}
	var n struct {
		Live  string
		Items []struct{ NotificationRequestItem object } `json:"notificationItems"`
	}
	if err := json.Unmarshal(body, &n); err != nil || n.Live != "false" || len(n.Items) != 1 {
		x.t.Fatalf("%v: %s", err, body)
	}
	i := n.Items[0].NotificationRequestItem
	if i["eventCode"] != code || i["success"] != success {
		x.t.Fatalf("got %v %v, want %s %s", i["eventCode"], i["success"], code, success)
	}
	text := func(name string) string { s, _ := i[name].(string); return s }
	amount := i["amount"].(object)
	value, _ := json.Marshal(amount["value"])
	signed := strings.Join([]string{
		text("pspReference"), text("originalReference"), text("merchantAccountCode"), text("merchantReference"),
		string(value), amount["currency"].(string), code, success,
	}, ":")
	if got, want := i["additionalData"].(object)["hmacSignature"], adyensim.Sign(hmacKey, signed); got != want {
		x.t.Errorf("got the signature %v, want %s", got, want)
	}
	return i
}

func pay(change object) object {
	p := object{
		"merchantAccount": account, "reference": "ref1", "amount": object{"currency": "EUR", "value": 1000},
		"returnUrl": "https://shop.example/back?order=7", "additionalData": object{"manualCapture": "true"},
		"paymentMethod": object{
			"type": "scheme", "number": "4111111111111111", "expiryMonth": "03", "expiryYear": "2030", "cvc": "737", "holderName": "S. Hopper",
		},
	}
	maps.Copy(p, change)
	return p
}

func holder(name, number string) object {
	return object{"type": "scheme", "number": number, "expiryMonth": "03", "expiryYear": "2030", "cvc": "737", "holderName": name}
}

// TestSign plays the vector that Adyen publishes.
func TestSign(t *testing.T) {
	t.Parallel()
	got := adyensim.Sign(hmacKey, "pspReference:originalReference:merchantAccount:reference:1000:EUR:EVENT:true")
	if want := "ipnxGCaUZ4l8TUW75a71/ghd2Fe5ffvX0pV4TLTntIc="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestLife(t *testing.T) {
	t.Parallel()
	x := open(t)
	status, p := x.post("/payments", "k1", pay(nil))
	x.want(status, 200, p, object{"resultCode": "Authorised", "merchantReference": "ref1"})
	psp := p["pspReference"].(string)
	if i := x.told("AUTHORISATION", "true"); i["pspReference"] != psp || i["merchantReference"] != "ref1" {
		t.Errorf("got %v, want %s", i, psp)
	}
	status, c := x.post("/payments/"+psp+"/captures", "k2", object{
		"merchantAccount": account, "reference": "cap1", "amount": object{"currency": "EUR", "value": 600},
	})
	x.want(status, 201, c, object{"status": "received", "paymentPspReference": psp, "reference": "cap1"})
	if charge, _ := x.b.Get(adyensim.Connector, "", psp); charge.Captured != 0 {
		t.Errorf("captured %d before its time", charge.Captured)
	}
	x.b.Advance()
	if i := x.told("CAPTURE", "true"); i["originalReference"] != psp || i["pspReference"] != c["pspReference"] {
		t.Errorf("got %v, want one of %s", i, psp)
	}
	refund := object{"merchantAccount": account, "reference": "re1", "amount": object{"currency": "EUR", "value": 250}}
	status, r := x.post("/payments/"+psp+"/refunds", "k3", refund)
	x.want(status, 201, r, object{"status": "received"})
	x.b.Advance()
	x.told("REFUND", "true")
	refund["amount"] = object{"currency": "EUR", "value": 351}
	status, r = x.post("/payments/"+psp+"/refunds", "k4", refund)
	x.want(status, 422, r, object{"errorType": "validation"})
	status, v := x.post("/payments/"+psp+"/cancels", "k5", object{"merchantAccount": account})
	x.want(status, 201, v, object{"status": "received"})
	x.b.Advance()
	x.told("CANCELLATION", "false") // it is captured
	charge, err := x.b.Get(adyensim.Connector, account, psp)
	if err != nil || charge.Captured != 600 || charge.Refunded != 250 || charge.Status != payment.Succeeded {
		t.Errorf("got %+v, %v; want 600 captured, 250 refunded", charge, err)
	}
}

func TestCancelByOwnReference(t *testing.T) {
	t.Parallel()
	x := open(t)
	_, p := x.post("/payments", "", pay(nil))
	x.told("AUTHORISATION", "true")
	for reference, success := range map[string]string{"ref1": "true", "never": "false"} {
		status, v := x.post("/cancels", "", object{"merchantAccount": account, "paymentReference": reference, "reference": "v"})
		x.want(status, 201, v, object{"status": "received", "paymentReference": reference})
		x.b.Advance()
		x.told("TECHNICAL_CANCEL", success)
	}
	if charge, _ := x.b.Get(adyensim.Connector, "", p["pspReference"].(string)); charge.Status != payment.Canceled {
		t.Errorf("got %s, want canceled", charge.Status)
	}
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	x := open(t)
	_, first := x.post("/payments", "same", pay(nil))
	status, again := x.post("/payments", "same", pay(nil))
	x.want(status, 200, again, object{"pspReference": first["pspReference"]})
	status, other := x.post("/payments", "same", pay(object{"reference": "ref2"}))
	x.want(status, 422, other, object{"errorCode": "704"})
	status, long := x.post("/payments", strings.Repeat("k", 65), pay(nil))
	x.want(status, 422, long, object{"errorType": "validation"})
	if n := len(x.b.All()); n != 1 {
		t.Errorf("got %d payments, want 1", n)
	}
	if _, next := x.post("/payments", "another", pay(nil)); next["pspReference"] == first["pspReference"] {
		t.Error("another key yields the same payment: Adyen does not hold references unique")
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	x := open(t)
	for name, tt := range map[string]struct {
		method       object
		data         object
		result, code string
	}{
		"by name":             {holder("NOT_ENOUGH_BALANCE", "4111111111111111"), nil, "Refused", "12"},
		"error":               {holder("ERROR", "4111111111111111"), nil, "Error", "4"},
		"by code":             {holder("S", "4111111111111111"), object{"RequestedTestAcquirerResponseCode": "6"}, "Refused", "6"},
		"by a magic card":     {holder("S", "4000000000009995"), nil, "Refused", "12"},
		"by Adyen's 3DS card": {holder("S", "5201281505129736"), nil, "RedirectShopper", ""},
		"approved":            {holder("APPROVED", "4111111111111111"), nil, "Authorised", ""},
	} {
		change := object{"paymentMethod": tt.method}
		if tt.data != nil {
			change["additionalData"] = tt.data
		}
		status, p := x.post("/payments", "", pay(change))
		code, _ := p["refusalReasonCode"].(string)
		if status != 200 || p["resultCode"] != tt.result || code != tt.code {
			t.Errorf("%s: got %d %v %v, want %s %s", name, status, p["resultCode"], code, tt.result, tt.code)
		}
	}
}

func TestChallenge(t *testing.T) {
	t.Parallel()
	for result, want := range map[string]string{books.ResultSucceed: "Authorised", books.ResultFail: "Refused"} {
		x := open(t)
		status, p := x.post("/payments", "", pay(object{"paymentMethod": holder("S", "4917610000000000")}))
		x.want(status, 200, p, object{"resultCode": "RedirectShopper", "pspReference": nil})
		page := strings.TrimPrefix(p["action"].(object)["url"].(string), "http://sim.example/adyen")
		id := strings.TrimPrefix(page, "/challenge/")
		details := object{"details": object{"redirectResult": adyensim.Result(id)}}
		status, early := x.post("/payments/details", "", details)
		x.want(status, 422, early, object{"errorType": "validation"})

		r := httptest.NewRequest(http.MethodPost, "http://sim.example"+page, strings.NewReader(url.Values{"result": {result}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		x.d.ServeHTTP(w, r)
		back, err := url.Parse(w.Header().Get("Location"))
		if err != nil || back.Query().Get("redirectResult") != adyensim.Result(id) || back.Query().Get("order") != "7" {
			t.Fatalf("sent to %v (%v), want the redirectResult", back, err)
		}
		status, d := x.post("/payments/details", "dk", details)
		x.want(status, 200, d, object{"resultCode": want})
		x.told("AUTHORISATION", map[bool]string{true: "true", false: "false"}[want == "Authorised"])
		status, d = x.post("/payments/details", "dk", details)
		x.want(status, 200, d, object{"resultCode": want})
		status, d = x.post("/payments/details", "", details)
		x.want(status, 422, d, object{"errorCode": "704"})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	x := open(t)
	for name, tt := range map[string]struct {
		path   string
		body   object
		status int
		code   string
	}{
		"no account":      {"/payments", pay(object{"merchantAccount": ""}), 403, "901"},
		"no reference":    {"/payments", pay(object{"reference": ""}), 422, "130"},
		"no return":       {"/payments", pay(object{"returnUrl": ""}), 422, "14_0387"},
		"no amount":       {"/payments", pay(object{"amount": nil}), 422, "100"},
		"bad currency":    {"/payments", pay(object{"amount": object{"currency": "eur", "value": 1}}), 422, "138"},
		"bad number":      {"/payments", pay(object{"paymentMethod": holder("S", "4111111111111112")}), 422, "101"},
		"unknown member":  {"/payments", pay(object{"capture": true}), 422, "702"},
		"unknown payment": {"/payments/NOBODYS/captures", object{"merchantAccount": account, "amount": object{"currency": "EUR", "value": 1}}, 422, "167"},
		"unknown path":    {"/payments/X/reversals", object{"merchantAccount": account}, 404, "000"},
	} {
		status, got := x.post(tt.path, "", tt.body)
		if status != tt.status || got["errorCode"] != tt.code {
			t.Errorf("%s: got %d %v, want %d %s", name, status, got, tt.status, tt.code)
		}
	}
	if n := len(x.b.All()); n != 0 {
		t.Errorf("got %d payments, want none", n)
	}
}

// TestMethods asks what reads only, with a good key and with others.
func TestMethods(t *testing.T) {
	t.Parallel()
	x := open(t)
	for name, tt := range map[string]struct {
		key, account string
		status       int
		code         any
	}{
		"good":       {"AQE", account, 200, nil},
		"revoked":    {"AQE_revoked", account, 401, "000"},
		"none":       {"", account, 401, "000"},
		"no account": {"AQE", "", 403, "901"},
	} {
		x.key = tt.key
		status, got := x.post("/paymentMethods", "", object{"merchantAccount": tt.account})
		if _, listed := got["paymentMethods"]; status != tt.status || got["errorCode"] != tt.code || listed != (tt.status == 200) {
			t.Errorf("%s: got %d %v, want %d %v", name, status, got, tt.status, tt.code)
		}
	}
	if n := len(x.b.All()); n != 0 {
		t.Errorf("got %d payments, want none", n)
	}
}

func TestSpecialCurrencies(t *testing.T) {
	t.Parallel()
	x := open(t)
	_, p := x.post("/payments", "", pay(object{"amount": object{"currency": "ISK", "value": 50000}}))
	if charge, _ := x.b.Get(adyensim.Connector, "", p["pspReference"].(string)); charge.Amount != 500 {
		t.Errorf("booked %d, want 500 ISK", charge.Amount)
	}
	if got := p["amount"].(object)["value"]; got != 50000.0 {
		t.Errorf("answered %v, want 50000", got)
	}
	if i := x.told("AUTHORISATION", "true"); i["amount"].(object)["value"] != 50000.0 {
		t.Errorf("told %v, want 50000", i["amount"])
	}
}
