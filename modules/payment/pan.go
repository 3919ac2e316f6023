package payment

import "strings"

const (
	minPAN = 13 // digits; ISO/IEC 7812-1 allows 8 … 19, and no card in use has fewer than 13
	maxPAN = 19
)

// ValidPAN tells whether s is a card number: 13 … 19 ASCII digits with a valid
// Luhn check digit (ISO/IEC 7812-1, annex B).
func ValidPAN(s string) bool {
	if len(s) < minPAN || len(s) > maxPAN {
		return false
	}
	sum := 0
	for i := range len(s) {
		d := int(s[len(s)-1-i]) - '0'
		if d < 0 || d > 9 {
			return false
		}
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// brands are the issuer ranges by which a number is taken for a card: first
// digits from, to (same length), and the brand. Sources: the networks' public
// BIN tables, as of 2026. First match wins.
var brands = []struct{ from, to, brand string }{
	{"34", "34", "amex"},
	{"37", "37", "amex"},
	{"300", "305", "diners"},
	{"36", "36", "diners"},
	{"38", "39", "diners"},
	{"3528", "3589", "jcb"},
	{"2200", "2204", "mir"},
	{"2221", "2720", "mastercard"},
	{"51", "55", "mastercard"},
	{"4", "4", "visa"},
	{"6011", "6011", "discover"},
	{"644", "649", "discover"},
	{"65", "65", "discover"},
	{"62", "62", "unionpay"},
	{"81", "81", "unionpay"},
	{"50", "50", "maestro"},
	{"56", "58", "maestro"},
	{"60", "61", "maestro"},
	{"63", "64", "maestro"},
	{"66", "69", "maestro"},
}

// Brand names the network of a card number by its first digits; "" where no
// network issues such numbers.
func Brand(pan string) string {
	for _, b := range brands {
		if n := len(b.from); len(pan) >= n && pan[:n] >= b.from && pan[:n] <= b.to {
			return b.brand
		}
	}
	return ""
}

// FindPAN returns the bounds of the first stretch of s that looks like a card
// number: 13 … 19 digits, spaces and dashes between them ignored, Luhn-valid,
// in an issuer range, and not part of a longer run of digits.
func FindPAN(s string) (start, end int, ok bool) {
	for i := 0; i < len(s); {
		if !digit(s[i]) {
			i++
			continue
		}
		j, last := i, i
		var digits strings.Builder
		for ; j < len(s) && (digit(s[j]) || s[j] == ' ' || s[j] == '-'); j++ {
			if digit(s[j]) {
				digits.WriteByte(s[j])
				last = j + 1
			}
		}
		if d := digits.String(); ValidPAN(d) && Brand(d) != "" {
			return i, last, true
		}
		if a, b, found := groupedPAN(s[i:last]); found {
			return i + a, i + b, true
		}
		i = j
	}
	return 0, 0, false
}

// groupedPAN looks inside a run of digit groups, such as "order 12 4242 4242
// 4242 4242": a number may begin and end at any group's edge.
func groupedPAN(run string) (start, end int, ok bool) {
	for a := 0; a < len(run); a++ {
		if !digit(run[a]) || (a > 0 && digit(run[a-1])) {
			continue
		}
		var digits strings.Builder
		for b := a; b < len(run) && digits.Len() <= maxPAN; b++ {
			if !digit(run[b]) {
				continue
			}
			digits.WriteByte(run[b])
			edge := b+1 == len(run) || !digit(run[b+1])
			if d := digits.String(); edge && ValidPAN(d) && Brand(d) != "" {
				return a, b + 1, true
			}
		}
	}
	return 0, 0, false
}

// MaskPANs replaces every stretch that [FindPAN] finds.
func MaskPANs(s string) string {
	for {
		a, b, ok := FindPAN(s)
		if !ok {
			return s
		}
		s = s[:a] + Redacted + s[b:]
	}
}

func digit(b byte) bool { return b >= '0' && b <= '9' }
