package payment

import (
	"fmt"
	"time"
)

// Code is a class of failure that a caller can act on. The set is closed: each
// maps to one HTTP status and one problem type (RFC 9457) at the API's door.
type Code string

// The codes; [Codes] says what each means.
const (
	CodeInvalidRequest       Code = "invalid_request"
	CodeInvalidJSON          Code = "invalid_json"
	CodeKeyRequired          Code = "idempotency_key_required"
	CodeKeyInvalid           Code = "idempotency_key_invalid"
	CodeUnauthenticated      Code = "unauthenticated"
	CodeInsufficientScope    Code = "insufficient_scope"
	CodePolicyDenied         Code = "policy_denied"
	CodeNotFound             Code = "not_found"
	CodeMethodNotAllowed     Code = "method_not_allowed"
	CodeInvalidState         Code = "invalid_state"
	CodeOperationInProgress  Code = "operation_in_progress"
	CodeKeyInUse             Code = "idempotency_key_in_use"
	CodeBodyTooLarge         Code = "body_too_large"
	CodeUnsupportedMediaType Code = "unsupported_media_type"
	CodeKeyReused            Code = "idempotency_key_reused"
	CodeAmountTooLarge       Code = "amount_too_large"
	CodeNotRepresentable     Code = "amount_not_representable"
	CodeNoAccount            Code = "no_account"
	CodeNotSupported         Code = "not_supported"
	CodeTooManyEndpoints     Code = "too_many_webhook_endpoints"
	CodePANNotAllowed        Code = "pan_not_allowed"
	CodeLiveCardInTestMode   Code = "live_card_in_test_mode"
	CodeRateLimited          Code = "rate_limited"
	CodeInternal             Code = "internal_error"
	CodePSPUnavailable       Code = "psp_unavailable"
	CodePSPNoAnswer          Code = "psp_no_answer"
	CodeStoreUnavailable     Code = "store_unavailable"
	CodeFrozen               Code = "frozen"
	CodeOverloaded           Code = "overloaded"
)

// CodeInfo is what every problem with one code has in common.
type CodeInfo struct {
	Code      Code
	Status    int // HTTP
	Title     string
	Retryable bool // the very same request may succeed later
}

// Codes is the one table of error codes: it drives answers, docs and tests.
var Codes = []CodeInfo{
	{CodeInvalidRequest, 400, "The request is not valid.", false},
	{CodeInvalidJSON, 400, "The body is not valid JSON.", false},
	{CodeKeyRequired, 400, "This call needs an Idempotency-Key.", false},
	{CodeKeyInvalid, 400, "The Idempotency-Key is malformed.", false},
	{CodeUnauthenticated, 401, "The credential is missing or not valid.", false},
	{CodeInsufficientScope, 403, "The credential does not allow this.", false},
	{CodePolicyDenied, 403, "A policy refuses this.", false},
	{CodeNotFound, 404, "There is no such thing.", false},
	{CodeMethodNotAllowed, 405, "The resource does not take this method.", false},
	{CodeInvalidState, 409, "The object's state does not allow this.", false},
	{CodeOperationInProgress, 409, "Another operation on the payment is under way.", true},
	{CodeKeyInUse, 409, "The first request with this Idempotency-Key is still running.", true},
	{CodeBodyTooLarge, 413, "The body is too large.", false},
	{CodeUnsupportedMediaType, 415, "The body must be application/json.", false},
	{CodeKeyReused, 422, "The Idempotency-Key was used for another request.", false},
	{CodeAmountTooLarge, 422, "The amount is over what is left.", false},
	{CodeNotRepresentable, 422, "The payment provider cannot express this amount.", false},
	{CodeNoAccount, 422, "No account can take this payment.", false},
	{CodeNotSupported, 422, "The account does not support this.", false},
	{CodeTooManyEndpoints, 422, "There are as many webhook endpoints as there may be.", false},
	{CodePANNotAllowed, 422, "A card number is not allowed here.", false},
	{CodeLiveCardInTestMode, 422, "Test mode takes published test card numbers only.", false},
	{CodeRateLimited, 429, "Too many requests.", true},
	{CodeInternal, 500, "The gateway failed.", true},
	{CodePSPUnavailable, 502, "The payment provider cannot be reached.", true},
	{CodePSPNoAnswer, 504, "The payment provider gave no answer.", false},
	{CodeStoreUnavailable, 503, "The store is out of reach: repeat the request with the same Idempotency-Key.", true},
	{CodeFrozen, 503, "The gateway takes no new payments for now.", true},
	{CodeOverloaded, 503, "The gateway is overloaded, and calls like this one wait.", true},
}

var codeInfo = func() map[Code]CodeInfo {
	m := map[Code]CodeInfo{}
	for _, c := range Codes {
		m[c.Code] = c
	}
	return m
}()

// Info returns the code's row of [Codes]; that of [CodeInternal] for a code
// that is not in the table.
func (c Code) Info() CodeInfo {
	if i, ok := codeInfo[c]; ok {
		return i
	}
	return codeInfo[CodeInternal]
}

// Error is a failure of a request. A declined card is not one: it is a result,
// and travels in the [Payment].
type Error struct {
	Code       Code
	Detail     string        // for the merchant; holds no secret and no card data
	Param      string        // the field at fault, such as "payment_method.exp_month"
	Policy     string        // the name of the operator's rule that refuses; "" = none does
	Challenge  string        // WWW-Authenticate of a 401; "" = the door's own
	RetryAfter time.Duration // 0 = nothing to say
	Err        error         // for our log alone
}

// Errorf makes an error whose detail is for the merchant.
func Errorf(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Detail: fmt.Sprintf(format, args...)}
}

// Invalid is a [CodeInvalidRequest] that names the field.
func Invalid(param, format string, args ...any) *Error {
	return &Error{Code: CodeInvalidRequest, Param: param, Detail: fmt.Sprintf(format, args...)}
}

// Error writes the code and the detail; the cause is had by errors.Unwrap.
func (e *Error) Error() string {
	if e.Param != "" {
		return fmt.Sprintf("%s: %s: %s", e.Code, e.Param, e.Detail)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Detail)
}

// Unwrap lets errors.Is and errors.As see the cause.
func (e *Error) Unwrap() error { return e.Err }
