package transport

import (
	"errors"
	"strings"
	"testing"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

func TestIntegrity(t *testing.T) {
	eur := func(n int64) payment.Money { return payment.Money{Minor: n, Currency: "EUR"} }
	ref := payment.ChargeRef{Amount: eur(1050)}
	auth := payment.Authorize{Amount: eur(1050)}
	charge := func(c connector.Charge) connector.Result {
		return connector.Result{State: connector.Succeeded, Charge: &c}
	}
	live, test := true, false
	tests := []struct {
		name   string
		op     payment.Operation
		result connector.Result
		ok     bool
	}{
		{"nothing said", auth, connector.Result{State: connector.Succeeded}, true},
		{"amount as asked", auth, connector.Result{State: connector.Succeeded, Amount: eur(1050)}, true},
		{"amount differs", auth, connector.Result{State: connector.Succeeded, Amount: eur(105)}, false},
		{"currency differs", auth, connector.Result{State: connector.Succeeded, Amount: payment.Money{Minor: 1050, Currency: "USD"}}, false},
		{"a decline of another amount", auth, connector.Result{State: connector.Declined, Amount: eur(105)}, false},
		{"capture as asked", payment.Capture{Charge: ref, Amount: eur(500)}, connector.Result{State: connector.Succeeded, Amount: eur(500), Charge: &connector.Charge{Amount: eur(1050), Captured: 500}}, true},
		{"capture of the whole instead", payment.Capture{Charge: ref, Amount: eur(500)}, connector.Result{State: connector.Succeeded, Amount: eur(1050)}, false},
		{"refund differs", payment.GiveBack{Charge: ref, Amount: eur(500)}, connector.Result{State: connector.Succeeded, Amount: eur(501)}, false},
		{"void asks for no amount", payment.Void{Charge: ref}, connector.Result{State: connector.Canceled, Amount: eur(7)}, true},
		{"void of another charge", payment.Void{Charge: ref}, charge(connector.Charge{Amount: eur(7)}), false},
		{"sync of a refund", payment.Sync{Of: payment.KindRefund, Charge: ref, Amount: eur(500)}, connector.Result{State: connector.Succeeded, Amount: eur(500)}, true},
		{"sync of a refund differs", payment.Sync{Of: payment.KindRefund, Charge: ref, Amount: eur(500)}, connector.Result{State: connector.Succeeded, Amount: eur(5)}, false},
		{"sync of a charge differs", payment.Sync{Of: payment.KindAuthorize, Charge: ref}, charge(connector.Charge{Amount: eur(5)}), false},
		{"sync finds nothing", payment.Sync{}, connector.Result{State: connector.NotFound}, true},
		{"only a sync may find nothing", auth, connector.Result{State: connector.NotFound}, false},
		{"charge as asked", auth, charge(connector.Charge{Amount: eur(1050), Authorized: 1050, Captured: 1050}), true},
		{"charge differs", auth, charge(connector.Charge{Amount: eur(1051)}), false},
		{"charge in another currency", auth, charge(connector.Charge{Amount: payment.Money{Minor: 1050, Currency: "JPY"}}), false},
		{"negative authorized", auth, charge(connector.Charge{Amount: eur(1050), Authorized: -1}), false},
		{"negative captured", auth, charge(connector.Charge{Amount: eur(1050), Captured: -1}), false},
		{"negative refunded", auth, charge(connector.Charge{Amount: eur(1050), Refunded: -1}), false},
		{"captured over the amount", auth, charge(connector.Charge{Amount: eur(1050), Captured: 1051}), false},
		{"captured over what was asked", auth, charge(connector.Charge{Captured: 1051}), false},
		{"test answers test", auth, charge(connector.Charge{Livemode: &test}), true},
		{"live answers test", auth, charge(connector.Charge{Livemode: &live}), false},
		{"long reference", auth, connector.Result{State: connector.Succeeded, PSPReference: strings.Repeat("a", 256)}, false},
		{"longest reference", auth, connector.Result{State: connector.Succeeded, PSPReference: strings.Repeat("a", 255)}, true},
		{"control character", auth, connector.Result{State: connector.Succeeded, PSPReference: "a\nb"}, false},
		{"bad UTF-8", auth, connector.Result{State: connector.Succeeded, StepReference: "a\xff"}, false},
		{"control character in the charge", auth, charge(connector.Charge{PSPReference: "\x00"}), false},
		{"no state", auth, connector.Result{}, false},
		{"unheard-of state", auth, connector.Result{State: "paid"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := integrity(connector.Call{Op: tt.op}, tt.result)
			if (err == nil) != tt.ok || (err != nil && !errors.Is(err, ErrIntegrity)) {
				t.Errorf("got %v, want ok %t", err, tt.ok)
			}
		})
	}
}

func TestContradictionIsUnknownAndNotRepeated(t *testing.T) {
	f := &fakeConnector{promise: connector.Idempotency{By: connector.ByKey}}
	psp := newPSP(t, "wrong amount")
	h := newHarness(t, f, "http://"+psp.ln.Addr().String(), psp.dial)
	x := h.do(authorize())
	if x.Outcome != unknown || x.Sends != 1 || !errors.Is(x.Err, ErrIntegrity) {
		t.Errorf("got %v, %d sends, %v; want unknown, 1, ErrIntegrity", x.Outcome, x.Sends, x.Err)
	}
}
