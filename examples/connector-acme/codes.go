package acme

import (
	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// statuses is the one table of a charge's status. A word that is not in it is an
// error, and the outcome unknown: a guess could charge twice.
var statuses = map[string]connector.State{
	"pending":         connector.Pending,
	"action_required": connector.ActionRequired,
	"authorized":      connector.Succeeded,
	"captured":        connector.Succeeded,
	"declined":        connector.Declined,
	"voided":          connector.Canceled,
	"expired":         connector.Canceled,
}

// refundStatuses is the one table of a refund's status.
var refundStatuses = map[string]connector.State{
	"pending":   connector.Pending,
	"succeeded": connector.Succeeded,
	"failed":    connector.Declined,
}

// declines is the one table of decline_code and failure_code. That a charge was
// declined is told by its status alone, so that a code that Acme adds one day is
// the general refusal, and still a refusal.
var declines = map[string]payment.FailureCode{
	"insufficient_funds":      payment.InsufficientFunds,
	"do_not_honor":            payment.CardDeclined,
	"expired_card":            payment.ExpiredCard,
	"invalid_number":          payment.IncorrectNumber,
	"invalid_cvc":             payment.IncorrectCVC,
	"lost_card":               payment.LostCard,
	"stolen_card":             payment.StolenCard,
	"suspected_fraud":         payment.SuspectedFraud,
	"limit_exceeded":          payment.LimitExceeded,
	"authentication_required": payment.AuthenticationRequired,
	"authentication_failed":   payment.AuthenticationFailed,
	"issuer_unavailable":      payment.ProcessingError,
	"account_closed":          payment.InvalidAccount,
	"insufficient_balance":    payment.ProcessingError, // ours at Acme; no fault of the payer's
}

// refusal puts Acme's reason into our words; fallback is for codes that are not
// in the table.
func refusal(code, message string, fallback payment.FailureCode) *payment.Failure {
	ours, known := declines[code]
	if !known {
		ours = fallback
	}
	return payment.FailPSP(ours, code, message)
}

// rejections maps the error codes that mean "nothing was done". What is not here
// tells nothing of what was done: a 409 may well speak of our own lost request.
var rejections = map[string]payment.FailureCode{
	"invalid_request":      payment.PSPRejectedRequest,
	"amount_too_large":     payment.PSPRejectedRequest,
	"charge_not_found":     payment.PSPRejectedRequest,
	"refund_not_found":     payment.PSPRejectedRequest,
	"unsupported_currency": payment.CurrencyNotSupported,
	"invalid_key":          payment.ConfigurationError,
	"not_allowed":          payment.ConfigurationError,
	"rate_limited":         payment.PSPUnavailable,
}
