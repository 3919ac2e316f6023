package stripe

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connector/connectortest"
	"github.com/purser-pay/purser/modules/payment"
)

const (
	calls    = "testdata/calls"
	webhooks = "testdata/webhooks"
	probes   = "testdata/probe"
)

func account() *Connector {
	return &Connector{
		SecretKey:     connector.NewSecret("sk_test_transcript"),
		WebhookSecret: connector.NewSecret("whsec_transcript"),
	}
}

// signWith signs as Stripe does.
func signWith(secret string, d *connector.Delivery) {
	at := strconv.FormatInt(d.Now.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(at + "."))
	mac.Write(d.Body)
	d.Header.Set(headerSignature, "t="+at+",v1="+hex.EncodeToString(mac.Sum(nil)))
}

func sign(d *connector.Delivery) { signWith("whsec_transcript", d) }

func TestTranscripts(t *testing.T) { connectortest.Run(t, account(), calls) }
func TestProbe(t *testing.T)       { connectortest.RunProbe(t, account(), probes) }
func FuzzProbe(f *testing.F)       { connectortest.FuzzProbe(f, account(), probes) }
func TestWebhooks(t *testing.T)    { connectortest.RunWebhooks(t, account(), sign, webhooks) }
func FuzzDecode(f *testing.F)      { connectortest.FuzzDecode(f, account(), calls) }
func FuzzWebhook(f *testing.F)     { connectortest.FuzzWebhook(f, account(), sign, webhooks) }

func TestForgery(t *testing.T) {
	d := connector.Delivery{
		Method: http.MethodPost, URL: "/webhooks/stripe", Header: http.Header{},
		Body: []byte(`{"id":"evt_1","object":"event","type":"payout.paid","data":{"object":{"object":"payout"}}}`),
		Now:  time.Unix(1767225600, 0),
	}
	sign(&d)
	connectortest.Forgery(t, account(), d, tolerance)
}

func TestWebhookWithoutSecret(t *testing.T) {
	d := connector.Delivery{Header: http.Header{}, Body: []byte(`{}`), Now: time.Unix(1767225600, 0)}
	signWith("", &d)
	if err := new(Connector).VerifyWebhook(d); !errors.Is(err, connector.ErrSignature) {
		t.Errorf("signed with an empty secret: %v, want ErrSignature", err)
	}
}

func TestSteps(t *testing.T) {
	tests := map[string]struct {
		op   payment.Operation
		want []connector.Step
	}{
		"card": {payment.Authorize{Method: payment.Method{Type: payment.MethodCard}}, []connector.Step{
			{Name: "payment_method", NeedsTransient: true}, {Name: "payment_intent", MovesMoney: true},
		}},
		"token":   {payment.Authorize{Method: payment.Method{Type: payment.MethodCardToken}}, []connector.Step{{Name: "payment_intent", MovesMoney: true}}},
		"capture": {payment.Capture{}, []connector.Step{{MovesMoney: true}}},
		"void":    {payment.Void{}, []connector.Step{{MovesMoney: true}}},
		"refund":  {payment.GiveBack{}, []connector.Step{{MovesMoney: true}}},
		"sync":    {payment.Sync{}, []connector.Step{{}}},
	}
	for name, tt := range tests {
		got := connector.StepsOf(account(), tt.op)
		if len(got) != len(tt.want) {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
			continue
		}
		for i := range got {
			if got[i] != tt.want[i] {
				t.Errorf("%s: step %d: got %+v, want %+v", name, i, got[i], tt.want[i])
			}
		}
	}
}

func TestCheck(t *testing.T) {
	token := payment.Method{Type: payment.MethodCardToken, Token: "pm_card_visa"}
	odd := payment.Money{Minor: 1001, Currency: "KWD"}
	fine := payment.Money{Minor: 1000, Currency: "KWD"}
	tests := map[string]struct {
		op   payment.Operation
		want error
	}{
		"sound":              {payment.Authorize{Amount: fine, Method: token}, nil},
		"authorize off grid": {payment.Authorize{Amount: odd, Method: token}, connector.ErrNotRepresentable},
		"capture off grid":   {payment.Capture{Amount: odd}, connector.ErrNotRepresentable},
		"refund off grid":    {payment.GiveBack{Amount: odd}, connector.ErrNotRepresentable},
		"wallet":             {payment.Authorize{Amount: fine, Method: payment.Method{Type: payment.MethodAlipay}}, connector.ErrUnsupported},
		"at a till":          {payment.Authorize{Amount: fine, Method: token, Channel: payment.ChannelInPerson}, connector.ErrUnsupported},
		"by telephone":       {payment.Authorize{Amount: fine, Method: token, Channel: payment.ChannelMOTO}, connector.ErrUnsupported},
		"to be kept":         {payment.Authorize{Amount: fine, Method: token, SetupFutureUsage: "off_session"}, connector.ErrUnsupported},
		"void":               {payment.Void{}, nil},
	}
	for name, tt := range tests {
		if err := account().Check(tt.op); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}

// TestProbeTellsMode holds that a live key in a test account is seen, and that a
// key of no known form is no claim.
func TestProbeTellsMode(t *testing.T) {
	missing := connector.Response{
		StatusCode: http.StatusNotFound, Body: []byte(`{"error":{"type":"invalid_request_error","code":"resource_missing"}}`),
	}
	live, test := true, false
	for key, want := range map[string]*bool{
		"sk_live_1": &live, "rk_live_1": &live, "sk_test_1": &test, "rk_test_1": &test, "sk_1": nil, "live_1": nil,
	} {
		c := &Connector{SecretKey: connector.NewSecret(key)}
		p, err := c.DecodeProbe(connector.Call{}, missing)
		if err != nil || !p.Accepted || (p.Livemode == nil) != (want == nil) || want != nil && *p.Livemode != *want {
			t.Errorf("%s: got %+v, %v; want accepted and livemode %v", key, p, err, want)
		}
	}
}
