package payment

// Failure says why an operation came to nothing. It is a result, not an error
// of the gateway: it travels in the payment.
type Failure struct {
	Code    FailureCode `json:"code"`
	Message string      `json:"message"` // safe to show to the payer
	Advice  Advice      `json:"advice"`
	// NetworkDeclineCode is the card network's own, such as "51".
	NetworkDeclineCode string `json:"network_decline_code,omitempty"`
	PSPCode            string `json:"psp_code,omitempty"`    // the PSP's own, unaltered, at most 64 characters
	PSPMessage         string `json:"psp_message,omitempty"` // cleaned: plain text of at most 200 characters
}

// Advice is what the merchant does best with a failure.
type Advice string

// The advice.
const (
	DoNotRetry       Advice = "do_not_retry"
	RetryLater       Advice = "retry_later"
	UseAnotherMethod Advice = "use_another_method"
	ContactSupport   Advice = "contact_support"
)

// FailureCode is a decline or failure in our words, the same for every PSP.
type FailureCode string

// The failure codes.
const (
	InsufficientFunds      FailureCode = "insufficient_funds"
	CardDeclined           FailureCode = "card_declined"
	ExpiredCard            FailureCode = "expired_card"
	IncorrectNumber        FailureCode = "incorrect_number"
	IncorrectCVC           FailureCode = "incorrect_cvc"
	InvalidExpiry          FailureCode = "invalid_expiry"
	LostCard               FailureCode = "lost_card"
	StolenCard             FailureCode = "stolen_card"
	PickupCard             FailureCode = "pickup_card"
	AuthenticationRequired FailureCode = "authentication_required"
	AuthenticationFailed   FailureCode = "authentication_failed"
	SuspectedFraud         FailureCode = "suspected_fraud"
	VelocityExceeded       FailureCode = "velocity_exceeded"
	LimitExceeded          FailureCode = "limit_exceeded"
	CardNotSupported       FailureCode = "card_not_supported"
	CurrencyNotSupported   FailureCode = "currency_not_supported"
	MethodNotSupported     FailureCode = "method_not_supported"
	DuplicateTransaction   FailureCode = "duplicate_transaction"
	InvalidAccount         FailureCode = "invalid_account"
	ProcessingError        FailureCode = "processing_error"
	PSPUnavailable         FailureCode = "psp_unavailable"
	PSPRejectedRequest     FailureCode = "psp_rejected_request"
	ConfigurationError     FailureCode = "configuration_error"
	CanceledByCustomer     FailureCode = "canceled_by_customer"
	TimeExpired            FailureCode = "expired"
)

// FailureInfo is what every failure with one code has in common.
type FailureInfo struct {
	Code    FailureCode
	Message string
	Advice  Advice
	// Elsewhere tells that another account might say yes: the PSP failed, not
	// the payer. It is false wherever the issuer has spoken.
	Elsewhere bool
}

// Failures is the one table of failure codes: it drives answers, docs and
// tests. Messages never tell a thief that a card is known to be stolen.
var Failures = []FailureInfo{
	{InsufficientFunds, "The account has insufficient funds.", UseAnotherMethod, false},
	{CardDeclined, "The card was declined.", UseAnotherMethod, false},
	{ExpiredCard, "The card has expired.", UseAnotherMethod, false},
	{IncorrectNumber, "The card number is incorrect.", UseAnotherMethod, false},
	{IncorrectCVC, "The card's security code is incorrect.", UseAnotherMethod, false},
	{InvalidExpiry, "The card's expiry date is invalid.", UseAnotherMethod, false},
	{LostCard, "The card was declined.", DoNotRetry, false},
	{StolenCard, "The card was declined.", DoNotRetry, false},
	{PickupCard, "The card was declined.", DoNotRetry, false},
	{AuthenticationRequired, "The payer must authenticate.", UseAnotherMethod, false},
	{AuthenticationFailed, "The payer could not be authenticated.", UseAnotherMethod, false},
	{SuspectedFraud, "The payment was declined.", DoNotRetry, false},
	{VelocityExceeded, "Too many payments in a short time.", RetryLater, false},
	{LimitExceeded, "The amount is over the limit of the account or card.", UseAnotherMethod, false},
	{CardNotSupported, "The card does not support this kind of purchase.", UseAnotherMethod, true},
	{CurrencyNotSupported, "The currency is not supported.", UseAnotherMethod, true},
	{MethodNotSupported, "The payment method is not supported.", UseAnotherMethod, true},
	{DuplicateTransaction, "The same payment was made a moment ago.", DoNotRetry, false},
	{InvalidAccount, "The payer's account is invalid or closed.", UseAnotherMethod, false},
	{ProcessingError, "The payment could not be processed.", RetryLater, true},
	{PSPUnavailable, "The payment provider could not be reached.", RetryLater, true},
	{PSPRejectedRequest, "The payment provider refused the request.", ContactSupport, true},
	{ConfigurationError, "The payment provider's account is not set up for this.", ContactSupport, true},
	{CanceledByCustomer, "The payer canceled.", UseAnotherMethod, false},
	{TimeExpired, "The time to pay has ended.", RetryLater, false},
}

var failureInfo = func() map[FailureCode]FailureInfo {
	m := map[FailureCode]FailureInfo{}
	for _, f := range Failures {
		m[f.Code] = f
	}
	return m
}()

// Info returns the code's row of [Failures]; that of [CardDeclined] for a code
// that is not in the table.
func (c FailureCode) Info() FailureInfo {
	if f, ok := failureInfo[c]; ok {
		return f
	}
	return failureInfo[CardDeclined]
}

// Fail makes a failure with the message and the advice of the table.
func Fail(c FailureCode) *Failure {
	f := c.Info()
	return &Failure{Code: f.Code, Message: f.Message, Advice: f.Advice}
}

// FailPSP is [Fail] with the PSP's own code and message, which it cuts and
// cleans.
func FailPSP(c FailureCode, pspCode, pspMessage string) *Failure {
	f := Fail(c)
	f.PSPCode = clean(pspCode, maxPSPCode)
	f.PSPMessage = clean(pspMessage, maxPSPMessage)
	return f
}
