package stripe

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// form is a body in Stripe's bracket notation, in the order of its writing, so
// that a repeat is the same to the byte.
type form [][2]string

// add leaves empty values out: to Stripe an empty value means "unset".
func (f *form) add(name, value string) {
	if value != "" {
		*f = append(*f, [2]string{name, value})
	}
}

// encode escapes everything but the brackets, which Stripe's own libraries
// leave readable as well.
func (f form) encode() string {
	var b strings.Builder
	for i, pair := range f {
		if i > 0 {
			b.WriteByte('&')
		}
		name := url.QueryEscape(pair[0])
		name = strings.ReplaceAll(strings.ReplaceAll(name, "%5B", "["), "%5D", "]")
		b.WriteString(name + "=" + url.QueryEscape(pair[1]))
	}
	return b.String()
}

func (f *form) address(prefix string, a *payment.Address) {
	if a == nil {
		return
	}
	f.add(prefix+"[address][line1]", a.Line1)
	f.add(prefix+"[address][line2]", a.Line2)
	f.add(prefix+"[address][city]", a.City)
	f.add(prefix+"[address][state]", a.State)
	f.add(prefix+"[address][postal_code]", a.PostalCode)
	f.add(prefix+"[address][country]", a.Country)
}

// shipping goes along only where it is whole: Stripe wants a name and an
// address, and refuses the payment otherwise.
func (f *form) shipping(op payment.Authorize) {
	if op.Shipping == nil || op.Shipping.Line1 == "" || op.Customer == nil || op.Customer.Name == "" {
		return
	}
	f.add("shipping[name]", op.Customer.Name)
	f.add("shipping[phone]", op.Customer.Phone)
	f.address("shipping", op.Shipping)
}

// metadata writes ours and, as far as Stripe's limits go, the merchant's. What
// does not fit stays in the gateway: a payment does not fail for it.
func (f *form) metadata(c connector.Call, op payment.Authorize) {
	left := maxMetaEntries
	put := func(name, value string) {
		if value != "" && left > 0 {
			f.add("metadata["+name+"]", cut(value, maxMetaValue))
			left--
		}
	}
	put(metaPayment, op.Payment)
	put(metaReference, c.Reference)
	put(metaOrder, op.Reference)
	for _, name := range slices.Sorted(maps.Keys(op.Metadata)) {
		if name == "" || strings.HasPrefix(name, metaPrefix) || strings.ContainsAny(name, "[]") ||
			utf8.RuneCountInString(name) > maxMetaKey {
			continue
		}
		put(name, op.Metadata[name])
	}
}

// suffix makes a statement descriptor fit: Latin letters, digits and marks,
// none of < > \ ' " *, at most 22 characters.
func suffix(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune(`<>\'"*`, r) {
			return -1
		}
		return r
	}, s)
	return strings.TrimSpace(cut(strings.Join(strings.Fields(s), " "), maxSuffix))
}

// cut shortens s to n characters.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n])
}
