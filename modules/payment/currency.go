package payment

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Currency is an ISO 4217 alphabetic code, upper case, such as "EUR".
type Currency string

// exponents is every active currency of ISO 4217 (list one, 2026-01-01), by the
// number of decimal digits of its minor unit. Units of account without a minor
// unit (XAU, XDR and their like), the testing code XTS and XXX are left out:
// nobody is charged in them.
var exponents = [...]string{
	0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
	2: `AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD
	    BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP
	    DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF
	    IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL
	    MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR
	    NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP
	    SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD
	    USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG`,
	3: "BHD IQD JOD KWD LYD OMR TND",
	4: "CLF UYW",
}

var currencies = sync.OnceValue(func() map[Currency]int {
	m := map[Currency]int{}
	for exp, codes := range exponents {
		for code := range strings.FieldsSeq(codes) {
			m[Currency(code)] = exp
		}
	}
	return m
})

// ParseCurrency reads three ASCII letters in either case. It fails on a code
// that ISO 4217 does not list as active.
func ParseCurrency(s string) (Currency, error) {
	if len(s) != 3 {
		return "", fmt.Errorf("currency %.8q is not three letters", s)
	}
	c := Currency(strings.ToUpper(s))
	if _, ok := currencies()[c]; !ok {
		return "", fmt.Errorf("currency %q is not an active ISO 4217 code", s)
	}
	return c, nil
}

// Exponent is the number of decimal digits of the minor unit: JPY 0, USD 2,
// KWD 3. It is -1 for a code that ISO 4217 does not list as active.
func (c Currency) Exponent() int {
	if e, ok := currencies()[c]; ok {
		return e
	}
	return -1
}

// Currencies lists every code, sorted.
func Currencies() []Currency {
	all := make([]Currency, 0, len(currencies()))
	for c := range currencies() {
		all = append(all, c)
	}
	slices.Sort(all)
	return all
}
