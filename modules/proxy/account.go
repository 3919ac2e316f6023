package proxy

import (
	"net/http"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// Find returns the account of a name, if the merchant may pass requests to it in
// the mode. The error is a [payment.Error]: not_found for what does not exist
// and for what is another's alike, and not_supported for an account of theirs
// that passes nothing.
func Find(accounts map[string]*connector.Account, name, merchant string, mode payment.Mode) (*connector.Account, error) {
	a := accounts[name]
	if a == nil || merchant == "" || merchant == everyone || !a.Serves(merchant, mode) {
		return nil, payment.Errorf(payment.CodeNotFound, "There is no such account, or it is not yours, or not of this key's mode.")
	}
	if shared(a, merchant) {
		return nil, payment.Errorf(payment.CodeNotSupported,
			"The account is shared by several merchants: each would see and touch what is the others'. Only an account of one merchant is passed through to.")
	}
	if _, ok := a.Connector.(connector.Passer); !ok {
		return nil, payment.Errorf(payment.CodeNotSupported, "The account's connector passes nothing through.")
	}
	return a, nil
}

const everyone = "*"

// shared tells whether an account is for anybody beside the merchant. "*" is
// for all, those to come included; which merchants exist is not asked.
func shared(a *connector.Account, merchant string) bool {
	for _, m := range a.Merchants {
		if m != merchant {
			return true
		}
	}
	return false
}

// Closed refuses to change anything at an account that takes no new payments,
// because it is retired or because an operator took it out of use: with the
// PSP's own API, the one could be had by the other. Reading goes on, as does what
// is under way. The error is a [payment.Error].
func Closed(a *connector.Account, method string, disabled bool) error {
	if reads(method) || (!a.Retired && !disabled) {
		return nil
	}
	return payment.Errorf(payment.CodeNotSupported, "The account is retired or out of use: only GET and HEAD are passed through.")
}

// reads tells the methods that change nothing (RFC 9110 §9.2.1).
func reads(method string) bool { return method == http.MethodGet || method == http.MethodHead }
