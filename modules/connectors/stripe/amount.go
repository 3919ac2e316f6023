package stripe

import (
	"fmt"
	"slices"
	"strings"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// maxUnits is eight digits, the most that an amount may have.
const maxUnits = 99_999_999

// decimals holds the currencies of which Stripe's unit has other than two
// decimals. Stripe and ISO 4217 differ: MGA has two decimals by ISO and none
// here; ISK and UGX have none by ISO, and two here that must be zeros.
// Source: https://docs.stripe.com/currencies (minor units; special cases).
var decimals = func() map[payment.Currency]int {
	m := map[payment.Currency]int{}
	for c := range strings.FieldsSeq("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF") {
		m[payment.Currency(c)] = 0
	}
	for c := range strings.FieldsSeq("BHD JOD KWD OMR TND") {
		m[payment.Currency(c)] = 3
	}
	return m
}()

// presentment is every currency that Stripe charges cards in.
// Source: https://docs.stripe.com/currencies (supported presentment currencies).
const presentment = `AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD
	BWP BYN BZD CAD CDF CHF CLP CNY COP CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL
	GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR ISK JMD JOD JPY KES KGS KHR KMF KRW KWD KYD
	KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK
	NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SEK SGD SHP SLE SOS
	SRD SZL THB TJS TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VND VUV WST XAF XCD XCG XOF XPF
	YER ZAR ZMW`

// listed is presentment, sorted.
var listed = func() (all []payment.Currency) {
	for c := range strings.FieldsSeq(presentment) {
		all = append(all, payment.Currency(c))
	}
	slices.Sort(all)
	return all
}()

// currencies returns a copy: a Spec is the caller's to keep.
func currencies() []payment.Currency { return slices.Clone(listed) }

// grid is how one currency is written: its decimals by ISO and here, and the
// step between amounts that Stripe takes.
func grid(c payment.Currency) (iso, units int, step int64) {
	units, special := decimals[c]
	if !special {
		units = 2
	}
	iso = max(c.Exponent(), 0)
	if units == 3 {
		step = 10 // the last digit must be 0
	}
	return iso, units, max(step, 1)
}

// toStripe turns minor units by ISO 4217 into Stripe's unit. It fails with
// [connector.ErrNotRepresentable] where nothing but rounding would do.
func toStripe(m payment.Money) (int64, error) {
	no := func(why string) error {
		return fmt.Errorf("stripe: %s: %s: %w", m, why, connector.ErrNotRepresentable)
	}
	if _, ok := slices.BinarySearch(listed, m.Currency); !ok {
		return 0, no("the currency is not charged")
	}
	if m.Minor < 1 || m.Minor > payment.MaxMinor {
		return 0, no("out of bounds")
	}
	iso, units, step := grid(m.Currency)
	n := m.Minor
	for ; iso < units; iso++ {
		n *= 10 // at most two digits more than MaxMinor's twelve
	}
	for ; iso > units; iso-- {
		if n%10 != 0 {
			return 0, no("the currency is charged in whole units")
		}
		n /= 10
	}
	switch {
	case n%step != 0:
		return 0, no("the last digit must be 0")
	case n > maxUnits:
		return 0, no("more than eight digits")
	}
	return n, nil
}

// fromStripe turns an amount of an answer back into minor units by ISO 4217. It
// fails on a negative amount, one beyond [payment.MaxMinor], and one that ISO's
// unit cannot express.
func fromStripe(n int64, c payment.Currency) (int64, error) {
	if n < 0 || n > payment.MaxMinor {
		return 0, fmt.Errorf("amount %d is out of bounds", n)
	}
	iso, units, _ := grid(c)
	m := n
	for ; units < iso; units++ {
		m *= 10
	}
	for ; units > iso; units-- {
		if m%10 != 0 {
			return 0, fmt.Errorf("amount %d %s has decimals", n, c)
		}
		m /= 10
	}
	if m > payment.MaxMinor {
		return 0, fmt.Errorf("amount %d is out of bounds", n)
	}
	return m, nil
}
