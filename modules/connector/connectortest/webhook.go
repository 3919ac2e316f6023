package connectortest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// The files of a webhook's transcript.
const (
	fileDelivery = "delivery.http"
	fileEvents   = "events.json"
)

// Sign puts a valid signature on a delivery, as the PSP does: it may set
// headers or change the body.
type Sign func(d *connector.Delivery)

// RunWebhooks plays every delivery of dir: transcripts of the files
//
//	-- delivery.http --
//	POST /webhooks/acme
//	Content-Type: application/json
//
//	{"type": "charge.succeeded", …}
//	-- events.json --
//	[{"of": "authorize", …}]
//
// The delivery bears no signature: sign makes it, for the time [Now]. error.txt
// stands in place of events.json where DecodeWebhook must fail.
func RunWebhooks(t *testing.T, d connector.WebhookDecoder, sign Sign, dir string) {
	t.Helper()
	for _, tr := range load(t, dir) {
		t.Run(tr.name, func(t *testing.T) {
			delivery, err := parseDelivery(tr)
			if err != nil {
				t.Fatalf("%s: %v", fileDelivery, err)
			}
			if err := d.VerifyWebhook(delivery); !errors.Is(err, connector.ErrSignature) {
				t.Errorf("verify without a signature: %v, want ErrSignature", err)
			}
			sign(&delivery)
			if err := d.VerifyWebhook(delivery); err != nil {
				t.Errorf("verify: %v", err)
			}
			delete(tr.files, fileEvents)
			delete(tr.files, fileError)
			noteEvents(t, d, delivery, tr)
			golden(t, tr, fileDelivery, fileEvents, fileError)
		})
	}
	if a := d.Acknowledge(); a.StatusCode < 200 || a.StatusCode > 299 {
		t.Errorf("acknowledged with status %d, want 2xx", a.StatusCode)
	}
}

func noteEvents(t *testing.T, d connector.WebhookDecoder, delivery connector.Delivery, tr transcript) {
	t.Helper()
	events, err := d.DecodeWebhook(delivery)
	if err != nil {
		tr.files[fileError] = fmt.Appendf(nil, "decode%s: %v\n", class(err), err)
		for _, bad := range checkLeaks(d, connector.Call{}, tr.files[fileError]) {
			t.Errorf("%s: %s", fileError, bad)
		}
		return
	}
	for _, e := range events {
		for _, bad := range checkEvent(e) {
			t.Errorf("event %s: %s", e.ID, bad)
		}
	}
	if events == nil {
		events = []connector.Event{}
	}
	b, err := marshal(events)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range checkLeaks(d, connector.Call{}, b) {
		t.Errorf("%s: %s", fileEvents, bad)
	}
	tr.files[fileEvents] = b
}

// checkEvent says what of an event breaks the contract.
func checkEvent(e connector.Event) []string {
	bad := checkState(e.Result)
	if e.Of == payment.KindSync || e.Of == "" {
		bad = append(bad, fmt.Sprintf("of is %q, want an operation that moves money", e.Of))
	}
	s := e.Result.State
	if s == connector.StepDone || s == connector.Rejected || s == connector.NotFound && e.Of != payment.KindVoid {
		bad = append(bad, fmt.Sprintf("a webhook cannot tell %s", s))
	}
	if e.Reference == "" && e.PSPReference == "" && e.ChargePSPReference == "" {
		bad = append(bad, "names nothing")
	}
	return bad
}

func parseDelivery(tr transcript) (connector.Delivery, error) {
	first, h, body, err := parseHead(tr.files[fileDelivery])
	if err != nil {
		return connector.Delivery{}, err
	}
	d := connector.Delivery{Header: h, Body: body, Now: Now()}
	if _, err := fmt.Sscanf(first, "%s %s", &d.Method, &d.URL); err != nil {
		return d, fmt.Errorf("%q is not METHOD URL", first)
	}
	return d, nil
}

// same tells whether two lists of events say the same.
func same(a, b []connector.Event) bool {
	x, errX := json.Marshal(a, json.Deterministic(true))
	y, errY := json.Marshal(b, json.Deterministic(true))
	return errX == nil && errY == nil && string(x) == string(y)
}
