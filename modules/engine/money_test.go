package engine

import (
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/payment"
)

// A refund is taken from the payment's own charge where that holds enough, and
// otherwise from the charge that does: late money on an attempt that was given
// up is refundable even when the payment's own charge is empty.
func TestRefundFindsItsCharge(t *testing.T) {
	t.Parallel()
	p := payment.Payment{
		Charge: "own", Amount: payment.Money{Minor: 1000, Currency: "EUR"},
		Attempts: []payment.Attempt{
			{ID: "own", Kind: payment.KindAuthorize, Captured: 1000},
			{ID: "late", Kind: payment.KindAuthorize, Captured: 700},
			{ID: "r1", Kind: payment.KindRefund, Charge: "own"},
		},
		Refunds: []payment.Refund{{Attempt: "r1", Status: payment.RefundSucceeded}},
	}
	for _, tt := range []struct {
		name             string
		refunded, amount int64
		charge           string
		want             int64 // 0 = refused
	}{
		{"its own first", 0, 500, "own", 500},
		{"all of its own", 0, 0, "own", 1000},
		{"its own holds too little", 600, 500, "late", 500},
		{"its own is empty", 1000, 500, "late", 500},
		{"its own is empty, all that is left", 1000, 0, "late", 700},
		{"no charge holds so much", 600, 800, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p.Refunds[0].Amount = tt.refunded
			c, got, err := refundable(&p, tt.amount)
			if tt.want == 0 {
				if err == nil {
					t.Errorf("got %d of %s, want a refusal", got, c.ID)
				}
				return
			}
			if err != nil || c.ID != tt.charge || got != tt.want {
				t.Errorf("got %v, %d, %v; want %d of %s", c, got, err, tt.want, tt.charge)
			}
		})
	}
}

// What is adopted gets an ID of its own, also where the charge's ends like it.
func TestAdoptedIDsAreFresh(t *testing.T) {
	t.Parallel()
	const charge = "att_06fvtcg601r0708ffqkzr3s901" // ends in the digits of 1
	p := payment.Payment{Charge: charge, Attempts: []payment.Attempt{{ID: charge, Kind: payment.KindAuthorize}}}
	seen := map[string]bool{charge: true}
	for range 100 {
		a := adopt(&p, &p.Attempts[0], payment.KindCapture, 1, time.Time{})
		if seen[a.ID] || !payment.IsID(payment.PrefixAttempt, a.ID) {
			t.Fatalf("%s is taken, or no ID", a.ID)
		}
		seen[a.ID] = true
	}
}
