package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/purser-pay/purser/modules/payment"
)

const idempotencyKey = "Idempotency-Key"

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
