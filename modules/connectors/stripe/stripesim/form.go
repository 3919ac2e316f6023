package stripesim

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/purser-pay/purser/modules/payment"
)

// form is the parameters of a request in bracket notation.
type form struct{ values url.Values }

func (f form) get(name string) string {
	if v := f.values[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func (f form) has(name string) bool { return len(f.values[name]) > 0 }

// list reads name[]=a&name[]=b and name[0]=a&name[1]=b.
func (f form) list(name string) []string {
	all := slices.Clone(f.values[name+"[]"])
	for i := 0; ; i++ {
		v, ok := f.values[name+"["+strconv.Itoa(i)+"]"]
		if !ok {
			return all
		}
		all = append(all, v...)
	}
}

// nested reads name[k]=v into a map; nil where there is none.
func (f form) nested(name string) map[string]string {
	var m map[string]string
	for k, v := range f.values {
		rest, ok := strings.CutPrefix(k, name+"[")
		if !ok || !strings.HasSuffix(rest, "]") || len(v) == 0 {
			continue
		}
		if m == nil {
			m = map[string]string{}
		}
		m[strings.TrimSuffix(rest, "]")] = v[0]
	}
	return m
}

func (f form) metadata() map[string]string { return f.nested("metadata") }

// check refuses what an endpoint does not take, and metadata out of bounds.
func (f form) check(known map[string]bool) error {
	for k, v := range f.values {
		top, _, _ := strings.Cut(k, "[")
		if !known[top] {
			return invalid("parameter_unknown", k, "Received unknown parameter: "+k)
		}
		if !utf8.ValidString(k) || !utf8.ValidString(v[0]) {
			return invalid("", top, "Invalid UTF-8 in "+strconv.QuoteToASCII(top))
		}
		if len(v) > 1 && !strings.HasSuffix(k, "[]") {
			return invalid("", k, "Invalid request: "+k+" was given more than once")
		}
	}
	if err := f.checkNested("payment_method_options[card]", cardOptions); err != nil {
		return err
	}
	if err := f.checkNested("card", cardParams); err != nil {
		return err
	}
	for _, e := range f.list("expand") {
		if first, _, _ := strings.Cut(strings.TrimPrefix(e, "data."), "."); !expandable[first] {
			return invalid("", "expand", "This property cannot be expanded ("+e+").")
		}
	}
	m := f.metadata()
	if len(m) > 50 {
		return invalid("", "metadata", "You can have at most 50 metadata keys.")
	}
	for k, v := range m {
		if len([]rune(k)) > 40 || len([]rune(v)) > 500 {
			return invalid("", "metadata["+k+"]", "Metadata keys have at most 40 characters, values at most 500.")
		}
	}
	return nil
}

var (
	expandable = set(`application balance_transaction charge customer invoice latest_charge on_behalf_of payment_intent
		payment_method processing refunds review transfer_data`)
	cardParams  = set("number exp_month exp_year cvc token networks")
	cardOptions = set(`capture_method cvc_token installments mandate_options moto network
		request_extended_authorization request_incremental_authorization request_multicapture request_overcapture
		request_partial_authorization request_three_d_secure require_cvc_recollection setup_future_usage
		statement_descriptor_suffix_kana statement_descriptor_suffix_kanji three_d_secure statement_details`)
)

func (f form) checkNested(name string, known map[string]bool) error {
	for k := range f.values {
		if rest, ok := strings.CutPrefix(k, name+"["); ok {
			if member, _, _ := strings.Cut(rest, "]"); !known[member] {
				return invalid("parameter_unknown", k, "Received unknown parameter: "+k)
			}
		}
	}
	return nil
}

// amount reads a whole number of minor units, 1 … 99999999.
func (f form) amount(name string) (int64, error) {
	s := f.get(name)
	if s == "" {
		return 0, invalid("parameter_missing", name, "Missing required param: "+name+".")
	}
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil:
		return 0, invalid("parameter_invalid_integer", name, "Invalid integer: "+s)
	case n < 1:
		return 0, invalid("parameter_invalid_integer", name, "This value must be greater than or equal to 1.")
	case n > 99_999_999:
		return 0, invalid("amount_too_large", name, "Amount must be no more than 99999999.")
	}
	return n, nil
}

func (f form) flag(name string) (bool, error) {
	switch s := f.get(name); s {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, invalid("", name, "Invalid boolean: "+s)
	}
}

// oneOf reads a word; the first of words is the default.
func (f form) oneOf(name string, words ...string) (string, error) {
	s := f.get(name)
	if s == "" {
		return words[0], nil
	}
	if !slices.Contains(words, s) {
		return "", invalid("", name, "Invalid "+name+": must be one of "+strings.Join(words, ", "))
	}
	return s, nil
}

// currency reads a currency that Stripe charges in, with the grids it keeps to.
func (f form) currency(amount int64) (payment.Currency, error) {
	s := f.get("currency")
	if s == "" {
		return "", invalid("parameter_missing", "currency", "Missing required param: currency.")
	}
	c, err := payment.ParseCurrency(s)
	if err != nil {
		return "", invalid("invalid_currency", "currency", "Invalid currency: "+s)
	}
	switch {
	case c.Exponent() == 3 && amount%10 != 0,
		(c == "ISK" || c == "UGX") && amount%100 != 0:
		return "", invalid("", "amount", "Invalid amount: "+s+" is not charged in units that small.")
	}
	return c, nil
}

func set(words string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		m[w] = true
	}
	return m
}

func sortedNames(m map[string]string) []string {
	if len(m) == 0 {
		return nil
	}
	names := make([]string, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}
