package acme

import (
	"errors"
	"maps"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connector/connectortest"
	"github.com/purser-pay/purser/modules/payment"

	"example.com/purser-acme/acmesim"
)

const (
	calls    = "testdata/calls"
	webhooks = "testdata/webhooks"
	secret   = "whsec_transcripts_secret"
)

func account() *Connector {
	return &Connector{
		APIKey:        connector.NewSecret("ak_test_transcripts_key"),
		WebhookSecret: connector.NewSecret(secret),
		Shop:          "berlin",
	}
}

// sign signs as Acme does.
func sign(d *connector.Delivery) {
	maps.Copy(d.Header, acmesim.Sign(secret, d.Body, d.Now))
}

func TestTranscripts(t *testing.T) { connectortest.Run(t, account(), calls) }
func TestWebhooks(t *testing.T)    { connectortest.RunWebhooks(t, account(), sign, webhooks) }
func FuzzDecode(f *testing.F)      { connectortest.FuzzDecode(f, account(), calls) }
func FuzzWebhook(f *testing.F)     { connectortest.FuzzWebhook(f, account(), sign, webhooks) }

func TestForgery(t *testing.T) {
	d := connector.Delivery{
		Method: http.MethodPost, URL: "/webhooks/acme", Header: http.Header{}, Now: connectortest.Now(),
		Body: []byte(`{"id":"evt_1","type":"dispute.opened"}`),
	}
	sign(&d)
	connectortest.Forgery(t, account(), d, tolerance)
}

// TestWebhookWithoutSecret holds that an account without a secret believes nobody.
func TestWebhookWithoutSecret(t *testing.T) {
	d := connector.Delivery{Header: acmesim.Sign("", nil, connectortest.Now()), Now: connectortest.Now()}
	if err := new(Connector).VerifyWebhook(d); !errors.Is(err, connector.ErrSignature) {
		t.Errorf("signed with an empty secret: %v, want ErrSignature", err)
	}
}

func TestPrepare(t *testing.T) {
	tests := map[string]struct {
		spoil func(*Connector)
		want  error
	}{
		"sound":        {func(*Connector) {}, nil},
		"no key":       {func(a *Connector) { a.APIKey = connector.Secret{} }, errConfig},
		"key of lines": {func(a *Connector) { a.APIKey = connector.NewSecret("ak_1\r\nHost: evil") }, errConfig},
		"short secret": {func(a *Connector) { a.WebhookSecret = connector.NewSecret("short") }, errConfig},
		"odd shop":     {func(a *Connector) { a.Shop = "two words" }, errConfig},
		"no shop":      {func(a *Connector) { a.Shop = "" }, nil},
	}
	for name, tt := range tests {
		a := account()
		tt.spoil(a)
		if err := a.Prepare(); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}

// TestTables holds that every row leads to a failure code that there is.
func TestTables(t *testing.T) {
	for word, code := range declines {
		if got := refusal(word, "", payment.CardDeclined).Code; got != code || code.Info().Code != code {
			t.Errorf("%s: got %s, want %s of the table in package payment", word, got, code)
		}
	}
	for word, code := range rejections {
		if code.Info().Code != code {
			t.Errorf("%s: %s is not in the table of package payment", word, code)
		}
	}
}

func TestModuleIsRegistered(t *testing.T) {
	info, err := caddy.GetModule("payments.connectors.acme")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := info.New().(*Connector); !ok {
		t.Errorf("the module makes a %T, want *Connector", info.New())
	}
}
