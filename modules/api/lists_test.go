package api_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// fill puts 5 payments with a refund and an event each into the store for the
// shop's test mode, and one of each for its live mode and for another merchant.
// It returns the IDs, newest first.
func fill(d *door) (payments, refunds, events []string) {
	d.t.Helper()
	now := start
	ids := &payment.IDs{Now: func() time.Time { return now }}
	put := func(merchant string, mode payment.Mode, n int) {
		now = start.Add(time.Duration(n) * time.Minute)
		p := payment.Payment{
			ID: ids.New("pay"), Merchant: merchant, Mode: mode, Version: 1, Status: payment.Succeeded, Outcome: payment.Known,
			Amount: payment.Money{Minor: int64(100 + n), Currency: "EUR"}, CaptureMethod: payment.CaptureAutomatic, Channel: payment.ChannelEcommerce,
			Reference: fmt.Sprintf("order %d", n%2), CreatedAt: now, UpdatedAt: now,
		}
		if n == 3 {
			p.Status, p.Outcome = payment.Processing, payment.Unknown
		}
		p.Refunds = []payment.Refund{{ID: ids.New("re"), Amount: 5, Status: payment.RefundSucceeded, Outcome: payment.Known, Origin: payment.OriginMerchant, CreatedAt: now, UpdatedAt: now}}
		e := payment.Event{
			ID: ids.New("evt"), Type: payment.EventPaymentSucceeded, Merchant: merchant, Mode: mode, Payment: p.ID, Sequence: 1,
			CreatedAt: now.Add(123456 * time.Microsecond), Object: []byte(`{"id":"` + p.ID + `"}`),
		}
		err := d.store.Update(d.t.Context(), func(tx store.Tx) error {
			if err := tx.PutPayment(&p); err != nil {
				return err
			}
			return tx.PutEvent(e)
		})
		if err != nil {
			d.t.Fatal(err)
		}
		if merchant == d.shop.ID && mode == payment.Test {
			payments = append([]string{p.ID}, payments...)
			refunds = append([]string{p.Refunds[0].ID}, refunds...)
			events = append([]string{e.ID}, events...)
		}
	}
	for n := range 5 {
		put(d.shop.ID, payment.Test, n)
	}
	put(d.shop.ID, payment.Live, 6)
	put(d.ids["other"].Merchant, payment.Test, 7)
	return payments, refunds, events
}

type listed struct {
	Object     string
	Data       []map[string]any
	HasMore    bool    `json:"has_more"`
	NextCursor *string `json:"next_cursor"`
}

func (d *door) list(target string, headers ...string) (l listed, ids []string) {
	d.t.Helper()
	w := d.do("GET", target, "", headers...)
	if w.Code != 200 {
		d.t.Fatalf("%s: %d %s", target, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &l); err != nil {
		d.t.Fatalf("%s: %v in %s", target, err, w.Body)
	}
	wantHeaders(d.t, w)
	if l.Object != "list" || l.HasMore != (l.NextCursor != nil) {
		d.t.Errorf("%s: %s", target, w.Body)
	}
	ids = []string{}
	for _, o := range l.Data {
		ids = append(ids, fmt.Sprint(o["id"]))
	}
	return l, ids
}

func TestLists(t *testing.T) {
	d := newDoorWithStore(t)
	payments, refunds, events := fill(d)
	tests := []struct {
		target string
		want   []string
	}{
		{"/v1/payments", payments},
		{"/v1/payments?limit=100", payments},
		{"/v1/payments?status=processing", payments[1:2]},
		{"/v1/payments?status=canceled", []string{}},
		{"/v1/payments?outcome=unknown", payments[1:2]},
		{"/v1/payments?reference=order+1", []string{payments[1], payments[3]}},
		{"/v1/payments?created_after=2026-03-01T12:02:00Z", payments[:2]},
		{"/v1/payments?created_before=2026-03-01T13:02:00%2B01:00", payments[3:]},
		{"/v1/payments?reference=order+1&outcome=known&limit=1", payments[3:4]},
		{"/v1/refunds", refunds},
		{"/v1/refunds?payment=" + payments[2], refunds[2:3]},
		{"/v1/refunds?status=failed", []string{}},
		{"/v1/refunds?outcome=known&limit=100", refunds},
		{"/v1/events", events},
		{"/v1/events?payment=" + payments[0], events[:1]},
		{"/v1/events?type=payment.succeeded", events},
		{"/v1/events?type=payment.failed", []string{}},
	}
	for _, tt := range tests {
		_, got := d.list(tt.target)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.target, diff)
		}
	}
	for _, key := range []string{"live", "other"} {
		for _, target := range []string{"/v1/payments", "/v1/refunds", "/v1/events"} {
			if _, got := d.list(target, "Authorization", "Bearer "+d.keys[key]); len(got) != 1 {
				t.Errorf("%s as %s: %v, want one object", target, key, got)
			}
		}
		if _, got := d.list("/v1/refunds?payment="+payments[0], "Authorization", "Bearer "+d.keys[key]); len(got) > 0 {
			t.Errorf("refunds of another's payment as %s: %v", key, got)
		}
	}
}

func TestPages(t *testing.T) {
	d := newDoorWithStore(t)
	payments, refunds, events := fill(d)
	for path, want := range map[string][]string{"/v1/payments": payments, "/v1/refunds": refunds, "/v1/events": events} {
		var all []string
		for target := path + "?limit=2"; target != ""; {
			page, got := d.list(target)
			all, target = append(all, got...), ""
			if page.NextCursor != nil {
				target = path + "?limit=2&cursor=" + url.QueryEscape(*page.NextCursor)
			}
		}
		if diff := cmp.Diff(want, all); diff != "" {
			t.Errorf("%s in pages (-want +got):\n%s", path, diff)
		}
	}
}

func TestListRefuses(t *testing.T) {
	tests := []struct{ query, param string }{
		{"limit=0", "limit"},
		{"limit=101", "limit"},
		{"limit=ten", "limit"},
		{"limit=", "limit"},
		{"limit=1e1", "limit"},
		{"limit=010", "limit"},
		{"limit=%2B5", "limit"},
		{"limit=99999999999999999999", "limit"},
		{"limit=1&limit=2", "limit"},
		{"cursor=", "cursor"},
		{"cursor=%21%21", "cursor"},
		{"cursor=" + strings.Repeat("a", 513), "cursor"},
		{"created_after=yesterday", "created_after"},
		{"created_before=2026-13-01T00:00:00Z", "created_before"},
		{"created_after=", "created_after"},
		{"foo=1", "foo"},
		{"Limit=1", "Limit"},
		{"limit[]=1", "limit[]"},
		{"a;b", "query"},
		{"a=%zz", "query"},
		{"x", "x"},
		{"%ff%fe=1", "\uFFFD"},
		{"a%ff=1", "a\uFFFD"},
		{"%c3%a4%c3=1", "ä\uFFFD"},
		{strings.Repeat("a=b&", 2000), "query"},
	}
	d := newDoorWithStore(t)
	for _, path := range []string{"/v1/payments", "/v1/refunds", "/v1/events"} {
		for _, tt := range tests {
			t.Run(path+"?"+tt.query[:min(len(tt.query), 20)], func(t *testing.T) {
				w := d.do("GET", path+"?"+tt.query, "")
				wantProblem(t, w, payment.CodeInvalidRequest, tt.param)
			})
		}
	}
	for _, target := range []string{
		"/v1/payments?status=paid", "/v1/payments?status=", "/v1/payments?outcome=maybe", "/v1/payments?payment=" + aPayment, "/v1/payments?type=x",
		"/v1/payments?reference=", "/v1/payments?reference", "/v1/events?type=", "/v1/refunds?payment=", "/v1/refunds?outcome=",
		"/v1/refunds?status=canceled", "/v1/refunds?payment=x", "/v1/refunds?reference=x", "/v1/events?payment=" + aRefund, "/v1/events?status=succeeded",
		"/v1/payments/" + aPayment + "?sync=1", "/v1/payments/" + aPayment + "?sync", "/v1/payments/" + aPayment + "?expand=x",
		"/v1/refunds/" + aRefund + "?sync=true", "/v1/account?x=1", "/v1/events/evt_01h455vb4pex5vsknk084sn02q?x=1",
	} {
		_, query, _ := strings.Cut(target, "?")
		param, _, _ := strings.Cut(query, "=")
		wantProblem(t, d.do("GET", target, ""), payment.CodeInvalidRequest, param)
	}
	d.wantUntouched()
	if d.log.Len() > 0 {
		t.Errorf("logged:\n%s", d.log)
	}
}

func TestEvent(t *testing.T) {
	d := newDoorWithStore(t)
	payments, _, events := fill(d)
	w := d.do("GET", "/v1/events/"+events[0], "")
	want := fmt.Sprintf(`{"id":"%s","object":"event","type":"payment.succeeded","created_at":"2026-03-01T12:04:00.123Z",`+
		`"livemode":false,"sequence":1,"data":{"object":{"id":"%s"}}}`, events[0], payments[0])
	if w.Code != 200 || w.Body.String() != want {
		t.Errorf("got %d\n%s\nwant\n%s", w.Code, w.Body, want)
	}
	for _, key := range []string{"live", "other"} {
		foreign := d.do("GET", "/v1/events/"+events[0], "", "Authorization", "Bearer "+d.keys[key])
		unknown := d.do("GET", "/v1/events/evt_01h455vb4pex5vsknk084sn02q", "", "Authorization", "Bearer "+d.keys[key])
		if a, b := wantProblem(t, foreign, payment.CodeNotFound, ""), wantProblem(t, unknown, payment.CodeNotFound, ""); a.Detail != b.Detail {
			t.Errorf("another's event: %q, an unknown one: %q", a.Detail, b.Detail)
		}
	}
}

func TestAccount(t *testing.T) {
	d := newDoor(t)
	w := d.do("GET", "/v1/account", "", "Authorization", "Bearer "+d.keys["live"])
	want := fmt.Sprintf(`{"object":"account","merchant":"%s","name":"Shop","mode":"live","livemode":true,"by":"key","key":"%s",`+
		`"scopes":["payments:read","payments:write","refunds:read","refunds:write","webhooks:read","webhooks:write","events:read","account:read"],"limits":[]}`,
		d.shop.ID, d.ids["live"].ID)
	if w.Code != 200 || w.Body.String() != want {
		t.Errorf("got %d\n%s\nwant\n%s", w.Code, w.Body, want)
	}
}
