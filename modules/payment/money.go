package payment

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxMinor is the largest amount that the gateway takes, in minor units. Sums
// of [MaxMinor] stay far from the end of int64: nine million of them fit.
const MaxMinor = 999_999_999_999

// ErrAmount is wrapped by every refusal of an amount.
var ErrAmount = errors.New("amount out of range")

// Money is an amount in the minor unit of its currency: {1050, "EUR"} is
// 10.50 EUR and {1050, "JPY"} is 1050 JPY. The exponent comes from ISO 4217,
// never from the caller, and no float ever holds money. The zero value is "no
// amount was said".
type Money struct {
	Minor    int64    `json:"minor"`
	Currency Currency `json:"currency"`
}

// NewMoney checks both parts: minor is 1 … [MaxMinor], currency is active.
func NewMoney(minor int64, c Currency) (Money, error) {
	if minor < 1 || minor > MaxMinor {
		return Money{}, fmt.Errorf("%w: %d is not 1 … %d", ErrAmount, minor, int64(MaxMinor))
	}
	if c.Exponent() < 0 {
		return Money{}, fmt.Errorf("currency %q is not an active ISO 4217 code", string(c))
	}
	return Money{minor, c}, nil
}

// IsZero tells that no amount was said.
func (m Money) IsZero() bool { return m == Money{} }

// With returns another amount of the same currency.
func (m Money) With(minor int64) Money { return Money{minor, m.Currency} }

// String writes the amount for people and logs, such as "10.50 EUR".
func (m Money) String() string { return m.Decimal() + " " + string(m.Currency) }

// Decimal writes the amount in major units with exactly the currency's
// decimals: "10.50" for {1050, "EUR"}, "1050" for {1050, "JPY"}.
func (m Money) Decimal() string {
	exp := max(m.Currency.Exponent(), 0)
	sign, digits := "", strconv.FormatInt(m.Minor, 10)
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	if exp == 0 {
		return sign + digits
	}
	if len(digits) <= exp {
		digits = strings.Repeat("0", exp-len(digits)+1) + digits
	}
	cut := len(digits) - exp
	return sign + digits[:cut] + "." + digits[cut:]
}

// ParseDecimal reads an amount in major units, such as a PSP's "10.5". It takes
// fewer decimals than the currency has, more only where they are zeros, no
// sign, no exponent, no grouping; 0 … [MaxMinor] minor units.
func ParseDecimal(s string, c Currency) (Money, error) {
	exp := c.Exponent()
	if exp < 0 {
		return Money{}, fmt.Errorf("currency %q is not an active ISO 4217 code", string(c))
	}
	whole, frac, dot := strings.Cut(s, ".")
	if whole == "" || len(s) > 32 || (dot && frac == "") || strings.Trim(whole+frac, "0123456789") != "" {
		return Money{}, fmt.Errorf("%w: %.40q is not a decimal number", ErrAmount, s)
	}
	if len(frac) > exp && strings.Trim(frac[exp:], "0") != "" {
		return Money{}, fmt.Errorf("%w: %s has more decimals than %s", ErrAmount, s, c)
	}
	frac = (frac + strings.Repeat("0", exp))[:exp]
	minor, err := strconv.ParseInt(whole+frac, 10, 64)
	if err != nil || minor > MaxMinor {
		return Money{}, fmt.Errorf("%w: %s is over %d minor units", ErrAmount, s, int64(MaxMinor))
	}
	return Money{minor, c}, nil
}
