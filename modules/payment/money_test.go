package payment

import (
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestDecimal(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		m    Money
		want string
	}{
		{Money{1050, "EUR"}, "10.50"},
		{Money{1, "USD"}, "0.01"},
		{Money{99, "CNY"}, "0.99"},
		{Money{1050, "JPY"}, "1050"},
		{Money{5, "KWD"}, "0.005"},
		{Money{12345, "CLF"}, "1.2345"},
		{Money{-7, "EUR"}, "-0.07"},
		{Money{MaxMinor, "USD"}, "9999999999.99"},
		{Money{math.MinInt64, "USD"}, "-92233720368547758.08"},
	} {
		if got := tt.m.Decimal(); got != tt.want {
			t.Errorf("%d %s: got %s, want %s", tt.m.Minor, tt.m.Currency, got, tt.want)
		}
	}
}

func TestParseDecimal(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		c    Currency
		want int64 // -1 = refused
	}{
		{"10.50", "EUR", 1050},
		{"10.5", "EUR", 1050},
		{"10", "EUR", 1000},
		{"10.500", "EUR", 1050},
		{"10.505", "EUR", -1},
		{"0.01", "CNY", 1},
		{"0", "CNY", 0},
		{"1050", "JPY", 1050},
		{"1050.0", "JPY", 1050},
		{"1050.5", "JPY", -1},
		{"1.2345", "CLF", 12345},
		{"9999999999.99", "USD", MaxMinor},
		{"10000000000.00", "USD", -1},
		{"99999999999999999999999999", "USD", -1},
		{"", "USD", -1},
		{".5", "USD", -1},
		{"5.", "USD", -1},
		{"-5", "USD", -1},
		{"+5", "USD", -1},
		{"1e3", "USD", -1},
		{"1,000", "USD", -1},
		{" 5", "USD", -1},
		{"٥", "USD", -1},
		{"5", "XXX", -1},
	} {
		got, err := ParseDecimal(tt.in, tt.c)
		if tt.want < 0 {
			if err == nil {
				t.Errorf("ParseDecimal(%q, %s) = %v, want an error", tt.in, tt.c, got)
			}
			continue
		}
		if err != nil || got != (Money{tt.want, tt.c}) {
			t.Errorf("ParseDecimal(%q, %s) = %v, %v; want %d", tt.in, tt.c, got, err, tt.want)
		}
	}
}

func TestDecimalRoundTrip(t *testing.T) {
	t.Parallel()
	all := Currencies()
	rapid.Check(t, func(t *rapid.T) {
		m := Money{rapid.Int64Range(0, MaxMinor).Draw(t, "minor"), rapid.SampledFrom(all).Draw(t, "currency")}
		got, err := ParseDecimal(m.Decimal(), m.Currency)
		if err != nil || got != m {
			t.Fatalf("%v came back as %v, %v", m, got, err)
		}
	})
}

func FuzzParseDecimal(f *testing.F) {
	f.Add("10.50", "EUR")
	f.Add("1e9", "JPY")
	f.Fuzz(func(t *testing.T, s, c string) {
		m, err := ParseDecimal(s, Currency(c))
		if err != nil {
			return
		}
		if m.Minor < 0 || m.Minor > MaxMinor {
			t.Fatalf("ParseDecimal(%q, %q) = %v is out of range", s, c, m)
		}
		again, err := ParseDecimal(m.Decimal(), m.Currency)
		if err != nil || again != m {
			t.Fatalf("%q: %v came back as %v, %v", s, m, again, err)
		}
	})
}

func TestNewMoney(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		minor int64
		c     Currency
		ok    bool
	}{
		{1, "USD", true},
		{MaxMinor, "KWD", true},
		{0, "USD", false},
		{-1, "USD", false},
		{MaxMinor + 1, "USD", false},
		{math.MaxInt64, "USD", false},
		{1, "usd", false},
		{1, "ZZZ", false},
	} {
		if _, err := NewMoney(tt.minor, tt.c); (err == nil) != tt.ok {
			t.Errorf("NewMoney(%d, %s): %v, want ok %v", tt.minor, tt.c, err, tt.ok)
		}
	}
	if _, err := NewMoney(0, "USD"); !errors.Is(err, ErrAmount) {
		t.Errorf("got %v, want ErrAmount", err)
	}
}

// The exponents that are most often got wrong, each from ISO 4217's list one.
func TestExponents(t *testing.T) {
	t.Parallel()
	for c, want := range map[Currency]int{
		"JPY": 0, "KRW": 0, "ISK": 0, "UGX": 0, "CLP": 0, "UYI": 0, "VND": 0,
		"USD": 2, "EUR": 2, "CNY": 2, "HUF": 2, "TWD": 2, "MGA": 2, "MRU": 2, "IDR": 2, "UYU": 2,
		"KWD": 3, "BHD": 3, "TND": 3, "IQD": 3, "CLF": 4, "UYW": 4,
		"BTC": -1, "XAU": -1, "": -1, "usd": -1,
	} {
		if got := c.Exponent(); got != want {
			t.Errorf("%q: got %d, want %d", c, got, want)
		}
	}
	seen := map[string]bool{}
	for _, codes := range exponents {
		for code := range strings.FieldsSeq(codes) {
			if seen[code] {
				t.Errorf("%s is listed twice", code)
			}
			seen[code] = true
		}
	}
	if n := len(Currencies()); n < 155 || n != len(seen) {
		t.Errorf("%d currencies, %d codes", n, len(seen))
	}
}

func TestParseCurrency(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Currency{"eur": "EUR", "EUR": "EUR", "eUr": "EUR", "EURO": "", "eu": "", "": "", "ſek": "", "XXX": ""} {
		got, err := ParseCurrency(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("ParseCurrency(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}
