package adyen

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/tools/txtar"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connector/connectortest"
)

// published is what Adyen itself has signed.
type published struct {
	Key    string                    `json:"hmac_key"`
	Signed string                    `json:"signed"`
	Item   map[string]jsontext.Value `json:"item"`
}

func readPublished(tb testing.TB) published {
	tb.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		tb.Fatal(err)
	}
	var p published
	if err := json.Unmarshal(b, &p); err != nil {
		tb.Fatal(err)
	}
	return p
}

func deliver(tb testing.TB, items ...map[string]jsontext.Value) connector.Delivery {
	tb.Helper()
	wrapped := make([]map[string]map[string]jsontext.Value, len(items))
	for i := range items {
		wrapped[i] = map[string]map[string]jsontext.Value{"NotificationRequestItem": items[i]}
	}
	body, err := json.Marshal(map[string]any{"live": "false", "notificationItems": wrapped}, json.Deterministic(true))
	if err != nil {
		tb.Fatal(err)
	}
	return connector.Delivery{Method: "POST", URL: "/webhooks/adyen", Header: map[string][]string{}, Body: body, Now: connectortest.Now()}
}

func TestPublishedNotification(t *testing.T) {
	p := readPublished(t)
	c := &Connector{HMACKey: connector.NewSecret(p.Key)}
	d := deliver(t, p.Item)
	if err := c.VerifyWebhook(d); err != nil {
		t.Errorf("the published notification: %v", err)
	}
	n, err := open(d.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(n.Items[0].Item.parts(), ":"); got != p.Signed {
		t.Errorf("signs %s, want %s", got, p.Signed)
	}
	with := func(name, value string) map[string]jsontext.Value {
		item := maps.Clone(p.Item)
		if item[name] = jsontext.Value(value); value == "" {
			delete(item, name)
		}
		return item
	}
	for what, items := range map[string][]map[string]jsontext.Value{
		"additionalData missing":    {with("additionalData", "")},
		"hmacSignature missing":     {with("additionalData", `{}`)},
		"hmacSignature is a number": {with("additionalData", `{"hmacSignature":1}`)},
		"hmacSignature is empty":    {with("additionalData", `{"hmacSignature":""}`)},
		"hmacSignature wrong":       {with("additionalData", `{"hmacSignature":"ipnxGCaUZ4l8TUW75a71/ghd2Fe5ffvX0pV4TLTntId="}`)},
		"amount changed":            {with("amount", `{"currency":"EUR","value":1001}`)},
		"currency changed":          {with("amount", `{"currency":"USD","value":1000}`)},
		"no amount":                 {with("amount", "")},
		"success flipped":           {with("success", `"false"`)},
		"success is no string":      {with("success", `true`)},
		"another event":             {with("eventCode", `"CAPTURE"`)},
		"another account":           {with("merchantAccountCode", `"other"`)},
		"only the first is signed":  {p.Item, with("additionalData", "")},
		"only the second is signed": {with("additionalData", ""), p.Item},
		"no items":                  {},
	} {
		if err := c.VerifyWebhook(deliver(t, items...)); !errors.Is(err, connector.ErrSignature) {
			t.Errorf("%s: got %v, want ErrSignature", what, err)
		}
	}
	if err := c.VerifyWebhook(deliver(t, p.Item, p.Item)); err != nil {
		t.Errorf("a batch of two: %v", err)
	}
	if err := new(Connector).VerifyWebhook(d); !errors.Is(err, connector.ErrSignature) {
		t.Errorf("without a key: got %v, want ErrSignature", err)
	}
}

// exact is the connector, strict about space around the body: that says the
// same, and is no forgery of a scheme which signs fields.
type exact struct{ *Connector }

func (e exact) VerifyWebhook(d connector.Delivery) error {
	if len(bytes.TrimSpace(d.Body)) != len(d.Body) {
		return connector.ErrSignature
	}
	return e.Connector.VerifyWebhook(d)
}

func TestForgery(t *testing.T) {
	p := readPublished(t)
	connectortest.Forgery(t, exact{&Connector{HMACKey: connector.NewSecret(p.Key)}}, deliver(t, p.Item), 0)
}

// FuzzWebhook: nothing verifies whose signed fields nobody signed.
func FuzzWebhook(f *testing.F) {
	paths, err := filepath.Glob(filepath.Join(webhooks, "*.txtar"))
	if err != nil || len(paths) == 0 {
		f.Fatalf("no transcripts (%v)", err)
	}
	signed := map[string]bool{}
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		_, body, _ := strings.Cut(string(a.Files[0].Data), "\n\n")
		d := connector.Delivery{Body: []byte(body)}
		f.Add(d.Body)
		sign(&d)
		f.Add(d.Body)
		n, err := open(d.Body)
		if err != nil {
			f.Fatal(err)
		}
		for _, i := range n.Items {
			signed[strings.Join(i.Item.parts(), ":")] = true
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d := connector.Delivery{Method: "POST", URL: "/webhooks/adyen", Body: body, Now: connectortest.Now()}
		err := account().VerifyWebhook(d)
		if err != nil && !errors.Is(err, connector.ErrSignature) {
			t.Errorf("verify: %v, want ErrSignature", err)
		}
		if n, bad := open(body); err == nil {
			if bad != nil {
				t.Fatalf("verifies, and cannot be read: %v", bad)
			}
			for _, i := range n.Items {
				if text := strings.Join(i.Item.parts(), ":"); !signed[text] {
					t.Errorf("verifies though nobody signed %q", text)
				}
			}
		}
		events, err := account().DecodeWebhook(d)
		if err != nil {
			return
		}
		for _, e := range events {
			if e.Reference == "" && e.PSPReference == "" && e.ChargePSPReference == "" {
				t.Errorf("%s names nothing", e.ID)
			}
			if m := e.Result.Amount; m.Minor < 0 || (e.Result.State == connector.Declined) != (e.Result.Failure != nil) {
				t.Errorf("%s does not hold together: %+v", e.ID, e.Result)
			}
		}
	})
}
