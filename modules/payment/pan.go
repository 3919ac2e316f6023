package payment

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
// in an issuer range, and not part of a longer run of digits. Digits that are all
// of UUIDs and digests are no card number: see [identifier].
func FindPAN(s string) (start, end int, ok bool) {
	for i := 0; i < len(s); {
		if !digit(s[i]) {
			i++
			continue
		}
		j, last, n := i, i, 0
		for ; j < len(s) && (digit(s[j]) || s[j] == ' ' || s[j] == '-'); j++ {
			if digit(s[j]) {
				n++
				last = j + 1
			}
		}
		if n >= minPAN { // most runs are shorter
			if a, b, found := panInRun(s, i, last, n); found {
				return a, b, true
			}
		}
		i = j
	}
	return 0, 0, false
}

// panInRun looks inside a run of digit groups of s with n digits, such as "order 12
// 4242 4242 4242 4242": first at all of it, then from any group's edge to another.
func panInRun(s string, from, to, n int) (start, end int, ok bool) {
	if n <= maxPAN && looksLikePAN(s[from:to]) && !identifiers(s, from, to) {
		return from, to, true
	}
	for a := from; a < to; a++ {
		if !digit(s[a]) || (a > from && digit(s[a-1])) {
			continue
		}
		digits := 0
		for b := a; b < to && digits <= maxPAN; b++ {
			if !digit(s[b]) {
				continue
			}
			digits++
			edge := b+1 == to || !digit(s[b+1])
			if edge && digits >= minPAN && looksLikePAN(s[a:b+1]) && !identifiers(s, a, b+1) {
				return a, b + 1, true
			}
		}
	}
	return 0, 0, false
}

// identifiers tells whether every digit of s[from:to] is part of an identifier.
// One digit beside them is enough for a card number that begins or ends there.
func identifiers(s string, from, to int) bool {
	for i := from; i < to; i++ {
		if !digit(s[i]) {
			continue
		}
		start, end := word(s, i)
		if !identifier(s, start, end) {
			return false
		}
		i = end
	}
	return true
}

// identifier tells whether a word of s is hexadecimal in a form that programs give
// to random numbers and digests, and people give to nothing: a group of a UUID
// (RFC 9562 §4) that stands by itself, or as many digits as a digest or an object's
// ID has, of which not all are decimal. One in 800 UUIDs has digits that pass for a
// card number.
func identifier(s string, start, end int) bool {
	switch end - start {
	case 4: // each group tells where its UUID would begin
		return isUUID(s, start-9) || isUUID(s, start-14) || isUUID(s, start-19)
	case 8:
		return isUUID(s, start)
	case 12:
		return isUUID(s, start-24)
	case 24, 32, 40, 48, 56, 64, 96, maxDigest:
		digits, letters := hexDigits(s[start:end])
		return letters > 0 && digits+letters == end-start
	default:
		return false
	}
}

// maxDigest is how many hexadecimal digits the longest identifier has.
const maxDigest = 128

// word returns the bounds of the letters and digits of ASCII around s[i]. One that
// is longer than any identifier is not followed to its ends.
func word(s string, i int) (start, end int) {
	start, end = i, i+1
	for start > 0 && i-start < maxDigest && alphanumeric(s[start-1]) {
		start--
	}
	for end < len(s) && end-i <= maxDigest && alphanumeric(s[end]) {
		end++
	}
	return start, end
}

// isUUID tells whether s has a UUID at an index, and no letter or digit beside it.
func isUUID(s string, at int) bool {
	const size = 36
	if at < 0 || at+size > len(s) || at > 0 && alphanumeric(s[at-1]) || at+size < len(s) && alphanumeric(s[at+size]) {
		return false
	}
	for i := range size {
		c := s[at+i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !digit(c) && !hexLetter(c) {
				return false
			}
		}
	}
	return true
}

// hexDigits counts the hexadecimal digits of s.
func hexDigits(s string) (decimal, letters int) {
	for i := range len(s) {
		switch {
		case digit(s[i]):
			decimal++
		case hexLetter(s[i]):
			letters++
		}
	}
	return decimal, letters
}

// looksLikePAN tells whether the digits of a run are a number that a card can have.
func looksLikePAN(run string) bool {
	var digits [maxPAN]byte
	n := 0
	for i := range len(run) {
		if !digit(run[i]) {
			continue
		}
		if n == maxPAN {
			return false
		}
		digits[n] = run[i]
		n++
	}
	d := string(digits[:n])
	return ValidPAN(d) && Brand(d) != ""
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

func hexLetter(b byte) bool { return b|0x20 >= 'a' && b|0x20 <= 'f' }

func alphanumeric(b byte) bool { return digit(b) || b|0x20 >= 'a' && b|0x20 <= 'z' }
