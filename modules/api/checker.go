package api

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/policy"
)

// Bounds of what merchants may say. Lengths are in characters.
const (
	maxReference      = 255
	maxDescription    = 500
	minDescriptor     = 5
	maxDescriptor     = 22
	maxReason         = 255
	maxURL            = 2048
	maxName           = 200
	maxEmail          = 254 // RFC 5321 §4.5.3.1.3, less the angle brackets
	maxPhone          = 32
	maxAddressLine    = 200
	maxHeader         = 2048 // of a browser header
	maxLanguage       = 35   // RFC 5646 §4.4.1
	maxScreen         = 99999
	maxAccount        = 64
	maxToken          = 255
	maxOpenID         = 128
	maxMetadata       = 50 // keys
	maxMetadataKey    = 40
	maxMetadataValue  = 500
	maxExpiry         = 30 * 24 * time.Hour
	maxYears          = 50 // of a card's expiry ahead
	maxTimezoneOffset = 14 * 60
)

// checker holds the first thing that is wrong with a request; the ones after it
// are not of interest.
type checker struct {
	mode payment.Mode
	// cards is which card numbers may be taken.
	cards policy.CardNumbers
	now   time.Time
	err   *payment.Error
	// late is what has become wrong by the passing of time alone.
	late *payment.Error
}

func (rq *request) checker() *checker {
	return &checker{mode: rq.principal.Mode, cards: rq.ruling.Cards, now: rq.start}
}

func (c *checker) fail(param, format string, args ...any) {
	if c.err == nil {
		c.err = payment.Invalid(param, format, args...)
	}
}

func (c *checker) failLate(param, format string, args ...any) {
	if c.late == nil {
		c.late = payment.Invalid(param, format, args...)
	}
}

// text takes one line of at most n characters.
func (c *checker) text(param, s string, n int) string {
	if s != "" && (tooLong(s, n) || strings.ContainsFunc(s, unicode.IsControl)) {
		c.fail(param, "The field has at most %d characters, none of them a control character.", n)
	}
	return s
}

// prose takes text of at most n characters in which lines may break.
func (c *checker) prose(param, s string, n int) string { //nolint:unparam // two fields have the same bound by chance
	if s != "" && (tooLong(s, n) || strings.ContainsFunc(s, unprintable)) {
		c.fail(param, "The field has at most %d characters, and no control character but tab and line break.", n)
	}
	return s
}

func tooLong(s string, n int) bool { return len(s) > n && utf8.RuneCountInString(s) > n }

func unprintable(r rune) bool {
	return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t'
}

// of takes a string from first to last in the alphabet, given as a function.
func (c *checker) of(param, s string, least, most int, allowed func(byte) bool, format string) string {
	if s == "" {
		return s
	}
	bad := len(s) < least || len(s) > most
	for i := 0; i < len(s) && !bad; i++ {
		bad = !allowed(s[i])
	}
	if bad {
		c.fail(param, format, least, most)
	}
	return s
}

func isDigit(b byte) bool  { return b >= '0' && b <= '9' }
func isLetter(b byte) bool { return b|0x20 >= 'a' && b|0x20 <= 'z' }
func isVisible(b byte) bool {
	return b > ' ' && b <= '~'
}

// choice takes one of a list; absent is fallback.
func choice[T ~string](c *checker, param string, s *T, list []T, fallback T) T {
	if s == nil {
		return fallback
	}
	if !slices.Contains(list, *s) {
		names := make([]string, len(list))
		for i, l := range list {
			names[i] = string(l)
		}
		c.fail(param, "The field is one of: %s.", strings.Join(names, ", "))
	}
	return *s
}

// amount takes an amount in minor units.
func (c *checker) amount(param string, minor *int64) int64 {
	if minor == nil {
		return 0
	}
	if *minor < 1 || *minor > payment.MaxMinor {
		c.fail(param, "An amount is 1 to %d, in the minor unit of its currency.", int64(payment.MaxMinor))
	}
	return *minor
}

func (c *checker) metadata(in map[string]*string, mayRemove bool) map[string]string {
	if in == nil {
		return nil
	}
	if len(in) > maxMetadata {
		c.fail("metadata", "There are at most %d keys.", maxMetadata)
		return nil
	}
	out := make(map[string]string, len(in))
	for k, v := range in {
		param := "metadata." + k
		if k == "" || tooLong(k, maxMetadataKey) || strings.ContainsFunc(k, unicode.IsControl) {
			c.fail("metadata", "A key has 1 to %d characters, none of them a control character.", maxMetadataKey)
		}
		if v == nil {
			if !mayRemove {
				c.fail(param, "The value must be a string.")
			}
			out[k] = ""
			continue
		}
		out[k] = c.prose(param, *v, maxMetadataValue)
	}
	return out
}

// url takes an absolute HTTPS address; in mode test also plain HTTP to this
// very machine, for developers.
func (c *checker) url(param, s string) string {
	if s == "" {
		return s
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || len(s) > maxURL || u.Host == "" || u.Hostname() == "" || u.User != nil || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		c.fail(param, "The field is an absolute URL of at most %d characters, without user information.", maxURL)
	case u.Scheme == "https":
	case u.Scheme == "http" && c.mode == payment.Test && isLoopback(u.Hostname()):
	default:
		c.fail(param, "The URL begins with https://; in mode test, http:// will do for localhost.")
	}
	return s
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// rfc3339 is the form of RFC 3339 §5.6, with T and Z in capitals, as the section lets
// applications ask. [time.Parse] takes hours of one digit, commas, and any offset.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// instant takes a time of RFC 3339, but no leap second.
func (c *checker) instant(param, s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || !rfc3339.MatchString(s) || t.Year() < 1970 {
		c.fail(param, "The field is a time of RFC 3339, such as 2026-01-31T23:59:59Z.")
		return time.Time{}
	}
	return t.UTC()
}

func (c *checker) customer(in *payment.Customer) *payment.Customer {
	if in == nil {
		return nil
	}
	c.text("customer.id", in.ID, maxAccount)
	c.text("customer.name", in.Name, maxName)
	c.text("customer.email", in.Email, maxEmail)
	if in.Email != "" && !isEmail(in.Email) {
		c.fail("customer.email", "The field is an e-mail address.")
	}
	if in.Phone != "" && !isPhone(in.Phone) {
		c.fail("customer.phone", "The field is a telephone number, such as +49 30 1234567.")
	}
	if in.IP != "" {
		if ip, err := netip.ParseAddr(in.IP); err != nil || ip.Zone() != "" {
			c.fail("customer.ip", "The field is an IPv4 or IPv6 address.")
		}
	}
	return in
}

// isEmail asks for the shape alone: whether mail arrives, only mail can tell.
func isEmail(s string) bool {
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at == len(s)-1 || strings.ContainsFunc(s, unicode.IsSpace) || strings.ContainsAny(s, "<>,;\"()") {
		return false
	}
	local, domain := s[:at], s[at+1:]
	return !strings.Contains(local, "@") && !strings.HasPrefix(domain, ".") && !strings.HasSuffix(domain, ".") && !strings.Contains(domain, "..")
}

func isPhone(s string) bool {
	digits := 0
	for i := range len(s) {
		switch {
		case isDigit(s[i]):
			digits++
		case s[i] == '+' && i == 0, strings.IndexByte(" -.()", s[i]) >= 0:
		default:
			return false
		}
	}
	return digits >= 4 && digits <= 15 && len(s) <= maxPhone // ITU-T E.164: 15 digits
}

func (c *checker) address(param string, in *payment.Address) *payment.Address {
	if in == nil {
		return nil
	}
	for _, f := range []struct{ name, value string }{
		{".line1", in.Line1}, {".line2", in.Line2}, {".city", in.City}, {".state", in.State}, {".postal_code", in.PostalCode},
	} {
		if f.value != "" {
			c.text(param+f.name, f.value, maxAddressLine)
		}
	}
	if in.Country != "" {
		in.Country = strings.ToUpper(in.Country)
		if !isCountry(in.Country) {
			c.fail(param+".country", "The field is a country of ISO 3166-1: two letters.")
		}
	}
	return in
}

func (c *checker) browser(in *payment.Browser) *payment.Browser {
	if in == nil {
		return nil
	}
	c.text("browser.accept", in.Accept, maxHeader)
	c.text("browser.user_agent", in.UserAgent, maxHeader)
	c.of("browser.language", in.Language, 2, maxLanguage,
		func(b byte) bool { return isLetter(b) || isDigit(b) || b == '-' }, "The field is a language tag of %d to %d characters, such as en-GB.")
	c.between("browser.color_depth", in.ColorDepth, 0, 64)
	c.between("browser.screen_width", in.ScreenWidth, 0, maxScreen)
	c.between("browser.screen_height", in.ScreenHeight, 0, maxScreen)
	c.between("browser.timezone_offset", in.TimezoneOffset, -maxTimezoneOffset, maxTimezoneOffset)
	return in
}

func (c *checker) between(param string, n, least, most int) {
	if n < least || n > most {
		c.fail(param, "The field is %d to %d.", least, most)
	}
}
