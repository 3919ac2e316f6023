package proxy

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/purser-pay/purser/modules/payment"
)

// Prefix is what the route's paths begin with; the account and the PSP's own
// path follow.
const Prefix = "/v1/proxy/"

// Bounds of a target, in bytes.
const (
	MaxPath  = 2048
	MaxQuery = 8192
)

// Target is where a request is to go.
type Target struct {
	Account string
	// Path is the PSP's own, as it came: escaped, beginning with "/". It has one
	// spelling alone, so that what a policy allows is what the PSP is asked for.
	Path string
}

// Parse reads the target of a request to /v1/proxy/{account}/{path…}. ok is
// false where the path is not of that form. An error is a [payment.Error] that
// says why no request of the kind may pass, whatever its account; nothing may be
// decided by a target that comes with one.
func Parse(r *http.Request) (t Target, ok bool, err error) {
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), Prefix)
	if !ok {
		return t, false, nil
	}
	slash := strings.IndexByte(rest, '/')
	if slash <= 0 {
		return t, false, nil
	}
	t = Target{Account: rest[:slash], Path: rest[slash:]}
	return t, true, check(r, t.Path)
}

// check refuses what may not pass to any PSP.
func check(r *http.Request, path string) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return payment.Errorf(payment.CodeMethodNotAllowed, "The pass-through takes %s.", Methods)
	}
	if len(r.Header["Upgrade"]) > 0 {
		return payment.Invalid("Upgrade", "The pass-through changes no protocols.")
	}
	if err := CheckPath(path); err != nil {
		return err
	}
	return CheckQuery(r.URL.RawQuery)
}

// Methods are those that pass, as an Allow field lists them.
const Methods = "DELETE, GET, HEAD, PATCH, POST, PUT"

// What a byte may be in a path.
const (
	plainByte   = 1 << iota // may stand as it is
	escapedByte             // may stand as %XX
)

// bytesOfPath: RFC 3986 §3.3 allows more. What may be written plainly must be,
// since one spelling alone is the point; what a server could take for the end of
// a segment or of the path (/ \ ; ? #), decode twice (%), or mistake for
// something else (controls, all that is not ASCII) may not be there at all.
var bytesOfPath = func() (table [256]byte) {
	for c := ' '; c <= '~'; c++ {
		table[c] = escapedByte
	}
	for _, c := range `/\;?#%` {
		table[c] = 0
	}
	for _, c := range "!$&'()*+,=:@" {
		table[c] = plainByte | escapedByte
	}
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~" {
		table[c] = plainByte
	}
	return table
}()

// CheckPath refuses a path that two servers could read in two ways, and one in
// which a card number seems to stand. The error is a [payment.Error].
func CheckPath(path string) error {
	switch {
	case len(path) > MaxPath:
		return payment.Invalid("path", "The path has more than %d bytes.", MaxPath)
	case path == "" || path[0] != '/':
		return payment.Invalid("path", "The path does not begin with a slash.")
	}
	start, dots := 1, true // of the segment: where it begins, and whether it has nothing but dots and spaces
	for i := 1; i < len(path); i++ {
		c := path[i]
		switch {
		case c == '/' && i == start:
			return payment.Invalid("path", "The path has an empty segment.")
		case c == '/' && dots:
			return payment.Invalid("path", "The path has a segment of dots.")
		case c == '/':
			start, dots = i+1, true
			continue
		case c == '%':
			v, ok := unhex(path[i+1:])
			if !ok || bytesOfPath[v]&escapedByte == 0 {
				return payment.Invalid("path", "The path escapes what may not be escaped, or may not be there: the first such byte is number %d.", i)
			}
			i += 2
			c = v
		case bytesOfPath[c]&plainByte == 0:
			return payment.Invalid("path", "The path has a byte that may not be there: number %d.", i)
		}
		dots = dots && (c == '.' || c == ' ')
	}
	if start < len(path) && dots {
		return payment.Invalid("path", "The path has a segment of dots.")
	}
	if holdsPAN(path) {
		return panNotAllowed("path")
	}
	return nil
}

// CheckQuery refuses a query that cannot be passed on as it is, or in which a
// card number seems to stand. The error is a [payment.Error].
func CheckQuery(query string) error {
	if len(query) > MaxQuery {
		return payment.Invalid("query", "The query has more than %d bytes.", MaxQuery)
	}
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c > '~' || c == '#' {
			return payment.Invalid("query", "The query has a byte that must be escaped: number %d.", i)
		}
	}
	if holdsPAN(query) {
		return panNotAllowed("query")
	}
	return nil
}

func panNotAllowed(param string) error {
	return &payment.Error{
		Code: payment.CodePANNotAllowed, Param: param,
		Detail: "This looks like a card number. Paths and queries end up in logs.",
	}
}

const minPAN = 13 // digits of a card number, at the least

// holdsPAN tells whether a card number seems to stand in escaped text.
func holdsPAN(escaped string) bool {
	digits := 0
	for i := range len(escaped) {
		if escaped[i]-'0' <= 9 {
			digits++
		}
	}
	if digits < minPAN {
		return false
	}
	text, err := url.QueryUnescape(escaped) // + is a space here; in a path it separates nothing else
	if err != nil {
		text = escaped
	}
	_, _, found := payment.FindPAN(text)
	return found
}

// unhex reads two hexadecimal digits.
func unhex(s string) (v byte, ok bool) {
	if len(s) < 2 {
		return 0, false
	}
	for _, c := range []byte(s[:2]) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		v = v<<4 | c
	}
	return v, true
}
