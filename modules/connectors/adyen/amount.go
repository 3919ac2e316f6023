package adyen

import (
	"fmt"
	"slices"
	"strings"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// decimals holds the currencies of which Adyen's minor unit differs from that of
// ISO 4217. Source: https://docs.adyen.com/development-resources/currency-codes
var decimals = map[payment.Currency]int{"CLP": 2, "CVE": 0, "IDR": 0, "ISK": 2}

// charged is every currency that Adyen processes and ISO 4217 lists as active.
// Source: https://docs.adyen.com/development-resources/currency-codes
const charged = `AED ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BMD BND BOB BRL BSD BWP BYN BZD CAD CHF CLP CNY
	COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR
	ILS INR IQD ISK JMD JOD JPY KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR LYD MAD MDL MKD MMK MNT MOP MRU MUR
	MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR
	SEK SGD SHP SLE SOS SRD STN SVC SZL THB TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VND VUV WST XAF XCD XOF
	XPF YER ZAR ZMW`

var listed = func() (all []payment.Currency) {
	for c := range strings.FieldsSeq(charged) {
		all = append(all, payment.Currency(c))
	}
	slices.Sort(all)
	return all
}()

// currencies returns a copy: a Spec is the caller's to keep.
func currencies() []payment.Currency { return slices.Clone(listed) }

// shift is how many decimals more Adyen writes than ISO 4217 does.
func shift(c payment.Currency) int {
	if units, special := decimals[c]; special {
		return units - max(c.Exponent(), 0)
	}
	return 0
}

// scale moves the decimal point by n digits; ok is false where that would lose one.
func scale(minor int64, n int) (scaled int64, ok bool) {
	for ; n > 0; n-- {
		minor *= 10 // two digits more than the twelve of MaxMinor at most
	}
	for ; n < 0; n++ {
		if minor%10 != 0 {
			return 0, false
		}
		minor /= 10
	}
	return minor, true
}

// money is an amount as Adyen writes it.
type money struct {
	Currency string `json:"currency"`
	Value    int64  `json:"value"`
}

// toAdyen turns minor units of ISO 4217 into Adyen's. It fails with
// [connector.ErrNotRepresentable] where nothing but rounding would do.
func toAdyen(m payment.Money) (money, error) {
	no := func(why string) (money, error) {
		return money{}, fmt.Errorf("adyen: %s: %s: %w", m, why, connector.ErrNotRepresentable)
	}
	if _, ok := slices.BinarySearch(listed, m.Currency); !ok {
		return no("the currency is not processed")
	}
	if m.Minor < 1 || m.Minor > payment.MaxMinor {
		return no("out of bounds")
	}
	value, ok := scale(m.Minor, shift(m.Currency))
	if !ok {
		return no("the currency is charged in whole units")
	}
	return money{string(m.Currency), value}, nil
}

// fromAdyen turns an amount of Adyen's back.
func fromAdyen(m money) (payment.Money, error) {
	c, err := payment.ParseCurrency(m.Currency)
	if err != nil {
		return payment.Money{}, err
	}
	if m.Value < 0 || m.Value > payment.MaxMinor*100 {
		return payment.Money{}, fmt.Errorf("amount %d is out of bounds", m.Value)
	}
	minor, ok := scale(m.Value, -shift(c))
	if !ok || minor > payment.MaxMinor {
		return payment.Money{}, fmt.Errorf("amount %d %s is no amount of ISO 4217", m.Value, c)
	}
	return payment.Money{Minor: minor, Currency: c}, nil
}
