package alipay

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connector/connectortest"
	"github.com/purser-pay/purser/modules/payment"
)

// parts returns the named file of each transcript, without its head.
func parts(tb testing.TB, glob, name string) (bodies []string) {
	tb.Helper()
	paths, err := filepath.Glob(glob)
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no transcripts in %s (%v)", glob, err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		for _, f := range txtar.Parse(b).Files {
			if _, body, ok := strings.Cut(string(f.Data), "\n\n"); ok && f.Name == name {
				bodies = append(bodies, strings.TrimSuffix(body, "\n"))
			}
		}
	}
	return bodies
}

func FuzzDecode(f *testing.F) {
	c, _ := newTest(f)
	connectortest.FuzzDecode(f, c, "testdata/calls")
}

// FuzzOpen: what open takes out of an answer stands in the answer, byte for
// byte, and once.
func FuzzOpen(f *testing.F) {
	for _, body := range parts(f, "testdata/calls/*.txtar", "response.http") {
		f.Add([]byte(body))
	}
	f.Add([]byte(`{"sign":"a","x_response":{"s":"}\"{\\"} }`))
	f.Add([]byte(`{"x_response":{},"y_response":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := open(body)
		if err != nil {
			return
		}
		if !bytes.Contains(body, e.object) {
			t.Errorf("the object %q does not stand in %q", e.object, body)
		}
		if !strings.HasSuffix(e.name, "_response") || e.object.Kind() != '{' || !e.object.IsValid() {
			t.Errorf("got %q %q, want one object that is a response", e.name, e.object)
		}
		again, err := open(append([]byte(`{"`+e.name+`":`), append(e.object, '}')...))
		if err == nil && string(again.object) != string(e.object) {
			t.Errorf("taken apart again: got %q, want %q", again.object, e.object)
		}
	})
}

// FuzzSignedAnswer feeds Decode with objects that bear a true signature, so
// that it gets past the door.
func FuzzSignedAnswer(f *testing.F) {
	c, alipay := newTest(f)
	charge := payment.ChargeRef{
		Reference: connectortest.Reference, Amount: payment.Money{Minor: 8888, Currency: "CNY"}, Flow: payment.FlowQR,
	}
	ops := []payment.Operation{
		barcode(),
		payment.Void{Charge: charge},
		payment.GiveBack{Charge: charge, Amount: charge.Amount},
		payment.Sync{Of: payment.KindAuthorize, Charge: charge, Reference: connectortest.Reference},
		payment.Sync{Of: payment.KindRefund, Charge: charge, Reference: connectortest.Reference},
	}
	methods := []string{methodPay, methodCancel, methodRefund, methodQuery, methodRefundQuery}
	for _, body := range parts(f, "testdata/calls/*.txtar", "response.http") {
		if e, err := open([]byte(body)); err == nil {
			object := strings.ReplaceAll(string(e.object), "chg00", "ref00")
			for i := range ops {
				f.Add(uint8(i), object)
			}
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, object string) {
		i := int(which) % len(ops)
		if strings.Contains(object, unsigned) || strings.Contains(object, `_response":`) {
			return
		}
		response := alipay.answerWith(t, methods[i], object)
		r, err := c.Decode(testCall(ops[i]), response)
		if err != nil {
			if diff := cmp.Diff(connector.Result{}, r); diff != "" {
				t.Errorf("an error and a result: %s", diff)
			}
			return
		}
		sound(t, ops[i], r)
		if again, err := c.Decode(testCall(ops[i]), response); err != nil || cmp.Diff(r, again) != "" {
			t.Errorf("decoded twice: error %v, diff %s", err, cmp.Diff(r, again))
		}
	})
}

// sound fails on a result that the engine must never see.
func sound(t *testing.T, op payment.Operation, r connector.Result) {
	t.Helper()
	if (r.State == connector.Declined || r.State == connector.Rejected) != (r.Failure != nil) {
		t.Errorf("%s with the failure %v", r.State, r.Failure)
	}
	if r.State == connector.NotFound && op.Kind() != payment.KindSync {
		t.Errorf("not_found to a %s", op.Kind())
	}
	if r.Amount.Minor < 0 || r.Amount.Minor > payment.MaxMinor || len(r.PSPReference) > maxTradeNo {
		t.Errorf("amount %v, reference %q are out of bounds", r.Amount, r.PSPReference)
	}
	if ch := r.Charge; ch != nil && (ch.Refunded < 0 || ch.Refunded > ch.Captured || ch.Captured > ch.Authorized ||
		ch.Reference != connectortest.Reference) {
		t.Errorf("charge %+v does not hold together", *ch)
	}
}

// FuzzWebhook: nothing verifies that does not say what was signed. (Another
// encoding of the same form says the same.)
func FuzzWebhook(f *testing.F) {
	c, alipay := newTest(f)
	signed := map[string]bool{}
	for _, body := range parts(f, "testdata/webhooks/*.txtar", "delivery.http") {
		d := connector.Delivery{Method: http.MethodPost, Body: []byte(body)}
		f.Add(d.Body)
		alipay.signWebhook(&d)
		signed[values(d.Body)] = true
		f.Add(d.Body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d := connector.Delivery{Method: http.MethodPost, URL: "/", Header: http.Header{}, Body: body, Now: connectortest.Now()}
		err := c.VerifyWebhook(d)
		if err == nil && !signed[values(body)] {
			t.Errorf("verifies though nobody signed it: %q", body)
		}
		if err != nil && !errors.Is(err, connector.ErrSignature) {
			t.Errorf("verify: %v, want ErrSignature", err)
		}
		events, err := c.DecodeWebhook(d)
		if err != nil {
			return
		}
		for _, e := range events {
			if e.Reference == "" || len(e.Reference) > maxTradeNo || len(e.PSPReference) > maxTradeNo {
				t.Errorf("event names %q, %q", e.Reference, e.PSPReference)
			}
			if ch := e.Result.Charge; ch != nil && (ch.Refunded > ch.Captured || ch.Captured > payment.MaxMinor) {
				t.Errorf("charge %+v does not hold together", *ch)
			}
		}
	})
}

// values is what a form says: its values that are not empty.
func values(body []byte) string {
	p, err := url.ParseQuery(string(body))
	if err != nil {
		return ""
	}
	for name := range p {
		if len(p[name]) == 1 && p[name][0] == "" {
			p.Del(name)
		}
	}
	return p.Encode()
}

func FuzzProbe(f *testing.F) {
	c, _ := newTest(f)
	connectortest.FuzzProbe(f, c, "testdata/probe")
}
