package adyen

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connector/connectortest"
	"github.com/purser-pay/purser/modules/payment"
)

const (
	calls    = "testdata/calls"
	webhooks = "testdata/webhooks"
	probes   = "testdata/probe"
	// publishedKey is the key of Adyen's own vectors.
	publishedKey = "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00"
)

func account() *Connector {
	return &Connector{
		APIKey: connector.NewSecret("AQEthetranscriptskey"), MerchantAccount: "PurserTestECOM",
		HMACKey: connector.NewSecret(publishedKey), LivePrefix: "1797a841fbb37ca7-Purser",
	}
}

// signature signs as Adyen does, without the code under test.
func signature(item map[string]jsontext.Value) string {
	field := func(raw jsontext.Value) (s string) {
		_ = json.Unmarshal(raw, &s) // what is absent is empty
		return s
	}
	var amount map[string]jsontext.Value
	_ = json.Unmarshal(item["amount"], &amount)
	key, _ := hex.DecodeString(publishedKey)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(strings.Join([]string{
		field(item["pspReference"]), field(item["originalReference"]), field(item["merchantAccountCode"]),
		field(item["merchantReference"]), string(amount["value"]), field(amount["currency"]), field(item["eventCode"]),
		field(item["success"]),
	}, ":")))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// sign puts a signature into every item of a delivery.
func sign(d *connector.Delivery) {
	var n struct {
		Live  string                                 `json:"live"`
		Items []map[string]map[string]jsontext.Value `json:"notificationItems"`
	}
	if err := json.Unmarshal(d.Body, &n); err != nil {
		panic(err)
	}
	for _, wrapped := range n.Items {
		item := wrapped["NotificationRequestItem"]
		data := map[string]string{}
		_ = json.Unmarshal(item["additionalData"], &data)
		data["hmacSignature"] = signature(item)
		item["additionalData"], _ = json.Marshal(data, json.Deterministic(true))
	}
	b, err := json.Marshal(n, json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	d.Body = b
}

func TestTranscripts(t *testing.T) { connectortest.Run(t, account(), calls) }
func TestProbe(t *testing.T)       { connectortest.RunProbe(t, account(), probes) }
func FuzzProbe(f *testing.F)       { connectortest.FuzzProbe(f, account(), probes) }
func TestWebhooks(t *testing.T)    { connectortest.RunWebhooks(t, account(), sign, webhooks) }
func FuzzDecode(f *testing.F)      { connectortest.FuzzDecode(f, account(), calls) }

func TestPrepare(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(*Connector)
		field string // "" = sound
	}{
		"sound":             {func(*Connector) {}, ""},
		"test account":      {func(c *Connector) { c.LivePrefix = "" }, ""},
		"no key":            {func(c *Connector) { c.APIKey = connector.Secret{} }, "api_key"},
		"key with a break":  {func(c *Connector) { c.APIKey = connector.NewSecret("AQE\n") }, "api_key"},
		"no account":        {func(c *Connector) { c.MerchantAccount = "" }, "merchant_account"},
		"colon in account":  {func(c *Connector) { c.MerchantAccount = "a:b" }, "merchant_account"},
		"prefix is a host":  {func(c *Connector) { c.LivePrefix = "evil.example/" }, "live_prefix"},
		"no HMAC key":       {func(c *Connector) { c.HMACKey = connector.Secret{} }, "hmac_key"},
		"HMAC key no hex":   {func(c *Connector) { c.HMACKey = connector.NewSecret(strings.Repeat("x", 64)) }, "hmac_key"},
		"HMAC key is short": {func(c *Connector) { c.HMACKey = connector.NewSecret("DFB1") }, "hmac_key"},
	} {
		c := account()
		tt.spoil(c)
		err := c.Prepare()
		if (tt.field == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.field) {
			t.Errorf("%s: got %v, want an error about %q", name, err, tt.field)
		}
		if err != nil && strings.Contains(err.Error(), "DFB1") {
			t.Errorf("%s: the error holds the key: %v", name, err)
		}
	}
}

func TestCheck(t *testing.T) {
	token := payment.Method{Type: payment.MethodCardToken, Token: "M5N7TQ4TG5PFWR50"}
	customer := &payment.Customer{ID: "cus_42"}
	odd := payment.Money{Minor: 1050, Currency: "IDR"}
	fine := payment.Money{Minor: 1000, Currency: "EUR"}
	for name, tt := range map[string]struct {
		op   payment.Operation
		want error
	}{
		"sound":            {payment.Authorize{Amount: fine, Method: token, Customer: customer}, nil},
		"no shopper":       {payment.Authorize{Amount: fine, Method: token}, connector.ErrUnsupported},
		"odd authorize":    {payment.Authorize{Amount: odd, Method: token, Customer: customer}, connector.ErrNotRepresentable},
		"odd capture":      {payment.Capture{Amount: odd, Final: true}, connector.ErrNotRepresentable},
		"capture of a few": {payment.Capture{Amount: fine}, connector.ErrUnsupported},
		"odd refund":       {payment.GiveBack{Amount: odd}, connector.ErrNotRepresentable},
		"void":             {payment.Void{}, nil},
	} {
		if err := account().Check(tt.op); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}

func TestReadReturn(t *testing.T) {
	for name, tt := range map[string]struct {
		query map[string][]string
		want  string
		bad   bool
	}{
		"nothing":  {nil, "", false},
		"one":      {map[string][]string{"redirectResult": {"X6XtfGC3!Y=="}, "shopperOrder": {"12"}}, "X6XtfGC3!Y==", false},
		"two":      {map[string][]string{"redirectResult": {"a", "b"}}, "", true},
		"empty":    {map[string][]string{"redirectResult": {""}}, "", true},
		"a break":  {map[string][]string{"redirectResult": {"a\nb"}}, "", true},
		"too long": {map[string][]string{"redirectResult": {strings.Repeat("x", maxRedirectResult+1)}}, "", true},
	} {
		got, err := account().ReadReturn(tt.query)
		if (err != nil) != tt.bad || got[redirectResult] != tt.want {
			t.Errorf("%s: got %v, %v; want %q, error %t", name, got, err, tt.want, tt.bad)
		}
	}
}

func TestCanAsk(t *testing.T) {
	done := map[string]string{redirectResult: "X6"}
	for name, tt := range map[string]struct {
		call connector.Call
		want bool
	}{
		"before the payer is back": {connector.Call{Op: payment.Sync{Of: payment.KindAuthorize}}, false},
		"the payer is back":        {connector.Call{Op: payment.Sync{Of: payment.KindAuthorize}, Done: done}, true},
		"of a refund":              {connector.Call{Op: payment.Sync{Of: payment.KindRefund}, Done: done}, false},
	} {
		if got := account().CanAsk(tt.call); got != tt.want {
			t.Errorf("%s: got %t, want %t", name, got, tt.want)
		}
	}
}

func TestLiveNeedsItsPrefix(t *testing.T) {
	c := account()
	c.LivePrefix = ""
	call := connector.Call{
		Op:        payment.Void{Charge: payment.ChargeRef{Reference: connectortest.Reference}},
		Reference: connectortest.Reference, Key: connectortest.Key, BaseURL: c.Spec().LiveURL, Livemode: true,
	}
	if _, err := c.Encode(call); err == nil {
		t.Error("a live call without a prefix was encoded")
	}
}

// TestAnswerHasNoHeader: a decode without headers, as a fuzzer gives it.
func TestAnswerHasNoHeader(t *testing.T) {
	call := connector.Call{Op: payment.Void{}, Reference: connectortest.Reference}
	if _, err := account().Decode(call, connector.Response{StatusCode: http.StatusBadGateway}); err == nil {
		t.Error("a verdict on an empty 502")
	}
}

// A payer is never sent to where webhooks go.
func TestReturnURL(t *testing.T) {
	for _, tt := range []struct {
		name string
		op   payment.Authorize
		want string
	}{
		{"given", payment.Authorize{ReturnURL: "https://pay.example/return/t", NotifyURL: "https://pay.example/webhooks/a"}, "https://pay.example/return/t"},
		{"not given", payment.Authorize{NotifyURL: "https://pay.example/webhooks/a"}, "https://checkout.example"},
	} {
		if got := returnURL(connector.Call{BaseURL: "https://checkout.example"}, tt.op); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}
