package adyen

import (
	"strings"

	"github.com/purser-pay/purser/modules/payment"
)

// verdict is what a code of Adyen's means to us.
type verdict struct {
	code   payment.FailureCode
	advice payment.Advice // "" = that of the code
}

// refusals is the one table of refusalReasonCode.
// Source: https://docs.adyen.com/development-resources/refusal-reasons (2026)
//
// Where the issuer has spoken, the failure is one that no other account is asked
// about: [payment.CardDeclined] with an advice, not [payment.ProcessingError].
var refusals = map[string]verdict{
	"2":  {payment.CardDeclined, ""},
	"3":  {payment.CardDeclined, ""},
	"4":  {payment.ProcessingError, ""},
	"5":  {payment.PickupCard, ""},
	"6":  {payment.ExpiredCard, ""},
	"7":  {payment.LimitExceeded, ""},
	"8":  {payment.IncorrectNumber, ""},
	"9":  {payment.ProcessingError, ""},
	"10": {payment.CardNotSupported, ""},
	"11": {payment.AuthenticationFailed, ""},
	"12": {payment.InsufficientFunds, ""},
	"14": {payment.SuspectedFraud, ""},
	"15": {payment.CanceledByCustomer, ""},
	"16": {payment.CanceledByCustomer, ""},
	"17": {payment.AuthenticationFailed, ""},
	"18": {payment.AuthenticationFailed, payment.RetryLater},
	"19": {payment.AuthenticationFailed, ""},
	"20": {payment.SuspectedFraud, ""},
	"21": {payment.PSPRejectedRequest, ""},
	"22": {payment.SuspectedFraud, ""},
	"23": {payment.CardDeclined, payment.DoNotRetry},
	"24": {payment.IncorrectCVC, ""},
	"25": {payment.CardDeclined, payment.DoNotRetry},
	"26": {payment.CardDeclined, payment.DoNotRetry},
	"27": {payment.CardDeclined, ""},
	"28": {payment.LimitExceeded, payment.RetryLater},
	"29": {payment.VelocityExceeded, ""},
	"31": {payment.SuspectedFraud, ""},
	"32": {payment.CardDeclined, ""}, // the address does not match
	"33": {payment.AuthenticationRequired, ""},
	"34": {payment.CardNotSupported, ""},
	"35": {payment.CardNotSupported, ""},
	"36": {payment.AuthenticationRequired, ""},
	"37": {payment.CardDeclined, payment.RetryLater},
	"38": {payment.AuthenticationRequired, ""},
	"39": {payment.AuthenticationFailed, payment.RetryLater},
	"40": {payment.ProcessingError, ""},
	"41": {payment.AuthenticationRequired, payment.RetryLater},
	"42": {payment.AuthenticationFailed, payment.RetryLater},
	"46": {payment.VelocityExceeded, payment.DoNotRetry},
	"50": {payment.CardDeclined, payment.DoNotRetry},
}

// reasons maps a webhook's reason, which has no code, in lower case. It is not
// signed, so it decides on words alone, never on whether a payment failed.
var reasons = map[string]string{
	"refused": "2", "referral": "3", "acquirer error": "4", "blocked card": "5", "expired card": "6",
	"invalid amount": "7", "invalid card number": "8", "issuer unavailable": "9", "not supported": "10",
	"3d not authenticated": "11", "not enough balance": "12", "fraud": "20", "cancelled": "15",
	"shopper cancelled": "16", "invalid pin": "17", "cvc declined": "24", "restricted card": "25",
	"withdrawal amount exceeded": "28", "withdrawal count exceeded": "29", "issuer suspected fraud": "31",
	"avs declined": "32",
}

// errorCodes maps the errorCode of a request that was turned away.
// Source: https://docs.adyen.com/development-resources/error-codes
var errorCodes = map[string]payment.FailureCode{
	"000": payment.ConfigurationError,
	"010": payment.ConfigurationError,
	"901": payment.ConfigurationError,
	"101": payment.IncorrectNumber,
	"103": payment.IncorrectCVC,
	"129": payment.InvalidExpiry,
	"132": payment.InvalidExpiry,
	"138": payment.CurrencyNotSupported,
	"905": payment.MethodNotSupported,
}

// refusal puts a refusal into our words; fallback is for codes that Adyen has
// added since.
func refusal(code, reason string, fallback payment.FailureCode) *payment.Failure {
	v, known := refusals[code]
	if !known {
		v.code = fallback
	}
	f := payment.FailPSP(v.code, code, reason)
	if v.advice != "" {
		f.Advice = v.advice
	}
	return f
}

// told puts a webhook's failure into our words.
func told(event, reason string, fallback payment.FailureCode) *payment.Failure {
	f := refusal(reasons[strings.ToLower(reason)], reason, fallback)
	f.PSPCode = event
	return f
}
