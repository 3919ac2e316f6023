package api

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
)

const (
	maxAuthorization = 4 << 10 // bytes; an API key has 74
	idempotencyKey   = "Idempotency-Key"
)

// authenticate finds out who calls. Whatever is wrong with a credential, the
// caller hears the same.
func (a *API) authenticate(rq *request) error {
	if keyInURL(rq.http.URL) {
		return payment.Errorf(payment.CodeUnauthenticated,
			"An API key never goes into a URL, where it is written into logs. Revoke this one, and send the next in the Authorization header.")
	}
	text, err := credential(rq.http.Header.Values("Authorization"))
	if err != nil {
		return err
	}
	rq.principal, err = a.cfg.Directory.Authenticate(rq.http.Context(), text)
	switch {
	case errors.Is(err, access.ErrNotLoaded):
		return &payment.Error{Code: payment.CodeStoreUnavailable, Detail: storeDetail, Err: err}
	case errors.Is(err, access.ErrMalformedKey):
		return payment.Errorf(payment.CodeUnauthenticated, "The credential is not an API key, or it is mistyped.")
	case err != nil:
		return payment.Errorf(payment.CodeUnauthenticated, "The API key is not valid: unknown, expired or revoked.")
	}
	return nil
}

// credential takes the API key out of the one Authorization field: a bearer
// token (RFC 6750), or the user name of Basic (RFC 7617) with no password.
func credential(fields []string) (string, error) {
	if len(fields) == 0 {
		return "", payment.Errorf(payment.CodeUnauthenticated, "Send an API key: Authorization: Bearer pur_…")
	}
	scheme, rest, _ := strings.Cut(fields[0], " ")
	rest = strings.Trim(rest, " ")
	if len(fields) > 1 || len(fields[0]) > maxAuthorization || rest == "" {
		return "", payment.Errorf(payment.CodeUnauthenticated, "Send exactly one Authorization field: Bearer and an API key.")
	}
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		return rest, nil
	case strings.EqualFold(scheme, "Basic"):
		plain, err := base64.StdEncoding.DecodeString(rest)
		user, password, colon := strings.Cut(string(plain), ":")
		if err != nil || !colon || password != "" {
			return "", payment.Errorf(payment.CodeUnauthenticated, "With Basic, the API key is the user name and the password is empty.")
		}
		return user, nil
	default:
		return "", payment.Errorf(payment.CodeUnauthenticated, "The scheme of Authorization is Bearer or Basic.")
	}
}

// keyInURL tells whether a URL holds what looks like an API key, escaped or not.
func keyInURL(u *url.URL) bool {
	holds := func(s string) bool { return strings.Contains(s, "pur_test_") || strings.Contains(s, "pur_live_") }
	if holds(u.Path) || holds(u.RawQuery) {
		return true
	}
	if !strings.Contains(u.RawQuery, "%") {
		return false
	}
	plain, err := url.QueryUnescape(u.RawQuery)
	return err == nil && holds(plain)
}

// refusePANs looks for card numbers where none may ever be: they would end up
// in logs.
func refusePANs(r *http.Request) error {
	for segment := range strings.SplitSeq(r.URL.Path, "/") {
		if looksLikePAN(segment) {
			return panNotAllowed("path")
		}
	}
	if slices.ContainsFunc(r.Header[idempotencyKey], looksLikePAN) {
		return panNotAllowed(idempotencyKey)
	}
	if r.URL.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return payment.Invalid("query", "The query cannot be read.")
	}
	for name, values := range query {
		if looksLikePAN(name) {
			return panNotAllowed("query")
		}
		if slices.ContainsFunc(values, looksLikePAN) {
			return panNotAllowed(name)
		}
	}
	return nil
}

func panNotAllowed(param string) *payment.Error {
	return &payment.Error{
		Code: payment.CodePANNotAllowed, Param: param,
		Detail: "This looks like a card number. Card numbers go into payment_method.number and nowhere else.",
	}
}

// looksLikePAN is [payment.FindPAN] that knows our own identifiers: one in ten
// million of them holds a run of digits that passes for a card number.
func looksLikePAN(s string) bool {
	digits := 0
	for i := range len(s) {
		if s[i]-'0' <= 9 {
			digits++
		}
	}
	if digits < 13 {
		return false
	}
	if prefix, _, ok := strings.Cut(s, "_"); ok && len(prefix) <= 3 && payment.IsID(prefix, s) {
		return false
	}
	_, _, found := payment.FindPAN(s)
	return found
}
