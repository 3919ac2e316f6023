package stripe

import (
	"errors"
	"slices"
	"testing"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

func TestToStripe(t *testing.T) {
	tests := []struct {
		minor    int64
		currency payment.Currency
		want     int64 // 0 = not representable
	}{
		{1, "EUR", 1},
		{99_999_999, "EUR", 99_999_999},
		{100_000_000, "EUR", 0},
		{payment.MaxMinor, "EUR", 0},
		{0, "EUR", 0},
		{-5, "EUR", 0},
		{500, "JPY", 500},
		{99_999_999, "JPY", 99_999_999},
		{500, "UGX", 50_000}, // no decimals by ISO 4217, two zeros here
		{500, "ISK", 50_000},
		{999_999, "ISK", 99_999_900},
		{1_000_000, "ISK", 0},
		{payment.MaxMinor, "ISK", 0},
		{50_000, "MGA", 500}, // two decimals by ISO 4217, none here
		{50_010, "MGA", 0},
		{50_001, "MGA", 0},
		{1001, "HUF", 1001}, // whole units bind payouts alone
		{1001, "TWD", 1001},
		{5120, "KWD", 5120},
		{5124, "KWD", 0},
		{10, "BHD", 10},
		{1, "TND", 0},
		{1000, "LYD", 0}, // not charged
		{1000, "IQD", 0},
		{1000, "CLF", 0},
		{1000, "XXX", 0},
	}
	for _, tt := range tests {
		m := payment.Money{Minor: tt.minor, Currency: tt.currency}
		got, err := toStripe(m)
		if tt.want == 0 {
			if !errors.Is(err, connector.ErrNotRepresentable) {
				t.Errorf("%v: got %d, %v, want ErrNotRepresentable", m, got, err)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%v: got %d, %v, want %d", m, got, err, tt.want)
		}
	}
}

func TestFromStripe(t *testing.T) {
	tests := []struct {
		units    int64
		currency payment.Currency
		want     int64 // -1 = refused
	}{
		{1000, "EUR", 1000},
		{0, "EUR", 0},
		{-1, "EUR", -1},
		{payment.MaxMinor, "EUR", payment.MaxMinor},
		{payment.MaxMinor + 1, "EUR", -1},
		{50_000, "UGX", 500},
		{50_050, "UGX", -1},
		{50_001, "ISK", -1},
		{500, "MGA", 50_000},
		{payment.MaxMinor, "MGA", -1},
		{5120, "KWD", 5120},
	}
	for _, tt := range tests {
		got, err := fromStripe(tt.units, tt.currency)
		if tt.want < 0 {
			if err == nil {
				t.Errorf("%d %s: got %d, want an error", tt.units, tt.currency, got)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%d %s: got %d, %v, want %d", tt.units, tt.currency, got, err, tt.want)
		}
	}
}

// TestAmountsComeBack: what can be sent in a listed currency is read back as
// the same amount.
func TestAmountsComeBack(t *testing.T) {
	for _, c := range currencies() {
		if c.Exponent() < 0 {
			t.Errorf("%s is listed and not active by ISO 4217", c)
		}
		for _, minor := range []int64{10, 100, 1000, 123_400} {
			m := payment.Money{Minor: minor, Currency: c}
			units, err := toStripe(m)
			if err != nil {
				if minor >= 1000 {
					t.Errorf("%v: %v", m, err)
				}
				continue
			}
			if back, err := fromStripe(units, c); err != nil || back != minor {
				t.Errorf("%v: sent %d, read %d, %v", m, units, back, err)
			}
		}
	}
	if !slices.IsSorted(listed) || len(slices.Compact(currencies())) != len(listed) {
		t.Error("the list of currencies is not sorted, or has doubles")
	}
}

func TestRefundedOf(t *testing.T) {
	tests := []struct {
		amount, captured, refunded int64
		final                      bool
		want                       int64
	}{
		{1000, 1000, 0, true, 0},
		{1000, 1000, 300, true, 300},
		{1000, 1000, 1000, true, 1000},
		{1000, 600, 400, true, 0},    // the release
		{1000, 600, 500, true, 100},  // the release and a refund
		{1000, 600, 1000, true, 600}, // the release and all the rest
		{1000, 600, 100, true, 0},    // less than the release: nothing is proven
		{1000, 600, 5000, true, 600},
		{1000, 1100, 200, true, 200}, // captured more than was authorized
		{1000, 0, 1000, false, 0},    // a hold that was let go
	}
	for _, tt := range tests {
		if got := refundedOf(tt.amount, tt.captured, tt.refunded, tt.final); got != tt.want {
			t.Errorf("refundedOf(%d, %d, %d, %t) = %d, want %d", tt.amount, tt.captured, tt.refunded, tt.final, got, tt.want)
		}
	}
}

func TestSuffix(t *testing.T) {
	for in, want := range map[string]string{
		"":                                 "",
		"TICKETS":                          "TICKETS",
		` A<b>c\d'e"f*g `:                  "Abcdefg",
		"ÄÖ Müller 東京":                     "Mller",
		"a very long statement descriptor": "a very long statement",
		"tab\tand\nline":                   "tabandline",
	} {
		if got := suffix(in); got != want {
			t.Errorf("suffix(%q) = %q, want %q", in, got, want)
		}
	}
}
