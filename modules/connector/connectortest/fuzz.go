package connectortest

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/connector"
)

// FuzzDecode feeds Decode with answers that grow out of the transcripts of dir.
// Whatever comes: no panic, no verdict on a 5xx, the same result twice, and a
// result that keeps the contract and holds no secret.
func FuzzDecode(f *testing.F, c connector.Connector, dir string) {
	f.Helper()
	var calls []connector.Call
	for _, tr := range load(f, dir) {
		call, err := parseCall(c, tr.files[fileCall])
		if err != nil {
			f.Fatalf("%s: %v", tr.path, err)
		}
		answer, ok := tr.files[fileResponse]
		if !ok {
			continue
		}
		r, err := parseResponse(answer)
		if err != nil {
			f.Fatalf("%s: %v", tr.path, err)
		}
		f.Add(uint16(len(calls)), r.StatusCode, r.Body) //nolint:gosec // a few dozen
		calls = append(calls, call)
	}
	f.Fuzz(func(t *testing.T, which uint16, status int, body []byte) {
		call := calls[int(which)%len(calls)]
		response := connector.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: body}
		got, err := c.Decode(call, response)
		if err != nil {
			return
		}
		if status >= 500 {
			t.Errorf("a verdict on status %d: %+v", status, got)
		}
		for _, bad := range checkResult(c, call, got) {
			t.Error(bad)
		}
		again, err := c.Decode(call, response)
		if diff := cmp.Diff(got, again); err != nil || diff != "" {
			t.Errorf("decoded twice: error %v, diff\n%s", err, diff)
		}
		b, err := marshal(got)
		if err != nil {
			t.Errorf("the result cannot be stored: %v", err)
		}
		for _, bad := range checkLeaks(c, connector.Call{}, b) {
			t.Error(bad)
		}
	})
}

// FuzzProbe feeds DecodeProbe with answers that grow out of the transcripts of
// dir. Whatever comes: no panic, no verdict on a 5xx, the same words twice, and
// none of them a secret.
func FuzzProbe(f *testing.F, c connector.Prober, dir string) {
	f.Helper()
	for _, tr := range load(f, dir) {
		r, err := parseResponse(tr.files[fileResponse])
		if err != nil {
			f.Fatalf("%s: %v", tr.path, err)
		}
		f.Add(r.StatusCode, r.Body)
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		response := connector.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: body}
		got, err := c.DecodeProbe(connector.Call{Now: Now()}, response)
		if err != nil {
			for _, bad := range checkLeaks(c, connector.Call{}, []byte(err.Error())) {
				t.Error(bad)
			}
			return
		}
		if status >= 500 || got.Detail == "" {
			t.Errorf("status %d: got %+v", status, got)
		}
		again, err := c.DecodeProbe(connector.Call{Now: Now()}, response)
		if diff := cmp.Diff(got, again); err != nil || diff != "" {
			t.Errorf("decoded twice: error %v, diff\n%s", err, diff)
		}
		for _, bad := range checkLeaks(c, connector.Call{}, []byte(got.Detail)) {
			t.Error(bad)
		}
	})
}

// FuzzWebhook feeds VerifyWebhook and DecodeWebhook with deliveries that grow
// out of the transcripts of dir. Nothing that sign did not sign verifies, no
// error but [connector.ErrSignature] comes of it, and what is decoded keeps the
// contract.
func FuzzWebhook(f *testing.F, d connector.WebhookDecoder, sign Sign, dir string) {
	f.Helper()
	names := map[string]bool{}
	valid := map[string]bool{}
	for _, tr := range load(f, dir) {
		delivery, err := parseDelivery(tr)
		if err != nil {
			f.Fatalf("%s: %v", tr.path, err)
		}
		unsigned := delivery.Header.Clone()
		sign(&delivery)
		for name := range delivery.Header {
			if len(unsigned[name]) == 0 {
				names[name] = true
			}
		}
		valid[string(delivery.Body)] = true
		f.Add(delivery.Body, "")
		for name := range names {
			f.Add(append([]byte(" "), delivery.Body...), delivery.Header.Get(name))
		}
	}
	headers := slices.Sorted(maps.Keys(names))
	f.Fuzz(func(t *testing.T, body []byte, signature string) {
		delivery := connector.Delivery{
			Method: http.MethodPost, URL: "/webhooks/fuzz", Header: http.Header{}, Body: body, Now: Now(),
		}
		for _, name := range headers {
			delivery.Header.Set(name, signature)
		}
		if err := d.VerifyWebhook(delivery); !valid[string(body)] && !errors.Is(err, connector.ErrSignature) {
			t.Errorf("verify: %v, want ErrSignature", err)
		}
		events, err := d.DecodeWebhook(delivery)
		if err != nil {
			return
		}
		for _, e := range events {
			for _, bad := range checkEvent(e) {
				t.Error(bad)
			}
		}
		if again, err := d.DecodeWebhook(delivery); err != nil || !same(events, again) {
			t.Errorf("decoded twice: error %v, got %+v, want %+v", err, again, events)
		}
	})
}
