package stripe

import "github.com/purser-pay/purser/modules/payment"

// verdict is what a code of Stripe's means to us.
type verdict struct {
	code   payment.FailureCode
	advice payment.Advice // "" = that of the code
}

// verdicts is the one table of decline codes (error.decline_code,
// last_payment_error.decline_code) and error codes (error.code) alike: where
// both lists have a word, it means the same.
// Sources: https://docs.stripe.com/declines/codes,
// https://docs.stripe.com/error-codes, API version 2026-08-26.dahlia.
//
// Where the issuer has spoken, the failure is one that no other account is
// asked about: [payment.CardDeclined] with an advice, not
// [payment.ProcessingError].
var verdicts = map[string]verdict{
	"card_declined":     {payment.CardDeclined, ""},
	"generic_decline":   {payment.CardDeclined, ""},
	"do_not_honor":      {payment.CardDeclined, ""},
	"call_issuer":       {payment.CardDeclined, ""},
	"no_action_taken":   {payment.CardDeclined, ""},
	"do_not_try_again":  {payment.CardDeclined, payment.DoNotRetry},
	"approve_with_id":   {payment.CardDeclined, payment.RetryLater},
	"try_again_later":   {payment.CardDeclined, payment.RetryLater},
	"testmode_decline":  {payment.CardDeclined, ""},
	"incorrect_zip":     {payment.CardDeclined, ""}, // the address does not match
	"incorrect_address": {payment.CardDeclined, ""},

	"security_violation":               {payment.CardDeclined, ""},
	"service_not_allowed":              {payment.CardDeclined, ""},
	"transaction_not_allowed":          {payment.CardDeclined, ""},
	"not_permitted":                    {payment.CardDeclined, payment.DoNotRetry},
	"restricted_card":                  {payment.CardDeclined, payment.DoNotRetry},
	"stop_payment_order":               {payment.CardDeclined, payment.DoNotRetry},
	"revocation_of_authorization":      {payment.CardDeclined, payment.DoNotRetry},
	"revocation_of_all_authorizations": {payment.CardDeclined, payment.DoNotRetry},

	"insufficient_funds":   {payment.InsufficientFunds, ""},
	"expired_card":         {payment.ExpiredCard, ""},
	"incorrect_number":     {payment.IncorrectNumber, ""},
	"invalid_number":       {payment.IncorrectNumber, ""},
	"incorrect_cvc":        {payment.IncorrectCVC, ""},
	"invalid_cvc":          {payment.IncorrectCVC, ""},
	"invalid_expiry_month": {payment.InvalidExpiry, ""},
	"invalid_expiry_year":  {payment.InvalidExpiry, ""},
	"lost_card":            {payment.LostCard, ""},
	"stolen_card":          {payment.StolenCard, ""},
	"pickup_card":          {payment.PickupCard, ""},
	"fraudulent":           {payment.SuspectedFraud, ""},
	"merchant_blacklist":   {payment.SuspectedFraud, ""},

	"invalid_account":                   {payment.InvalidAccount, ""},
	"new_account_information_available": {payment.InvalidAccount, ""},
	"duplicate_transaction":             {payment.DuplicateTransaction, ""},

	"authentication_required":                {payment.AuthenticationRequired, ""},
	"authentication_not_handled":             {payment.AuthenticationRequired, ""},
	"mobile_device_authentication_required":  {payment.AuthenticationRequired, ""},
	"offline_pin_required":                   {payment.AuthenticationRequired, ""},
	"online_or_offline_pin_required":         {payment.AuthenticationRequired, ""},
	"payment_intent_authentication_failure":  {payment.AuthenticationFailed, ""},
	"setup_intent_authentication_failure":    {payment.AuthenticationFailed, ""},
	"incorrect_pin":                          {payment.AuthenticationFailed, ""},
	"invalid_pin":                            {payment.AuthenticationFailed, ""},
	"pin_try_exceeded":                       {payment.AuthenticationFailed, ""},
	"payment_method_customer_decline":        {payment.CanceledByCustomer, ""},
	"payment_intent_payment_attempt_expired": {payment.TimeExpired, ""},
	"charge_expired_for_capture":             {payment.TimeExpired, payment.DoNotRetry}, // see lapsed
	"payment_intent_payment_attempt_failed":  {payment.CardDeclined, ""},

	"card_velocity_exceeded":           {payment.VelocityExceeded, ""},
	"card_decline_rate_limit_exceeded": {payment.VelocityExceeded, ""},
	"withdrawal_count_limit_exceeded":  {payment.LimitExceeded, ""},
	"invalid_amount":                   {payment.LimitExceeded, ""},
	"invalid_charge_amount":            {payment.LimitExceeded, ""},
	"amount_too_large":                 {payment.LimitExceeded, ""},
	"amount_too_small":                 {payment.LimitExceeded, ""},
	"card_not_supported":               {payment.CardNotSupported, ""},
	"invalid_card_type":                {payment.CardNotSupported, ""},
	"currency_not_supported":           {payment.CurrencyNotSupported, ""},
	"payment_method_currency_mismatch": {payment.CurrencyNotSupported, ""},
	"payment_method_not_available":     {payment.MethodNotSupported, ""},
	"payment_method_unsupported_type":  {payment.MethodNotSupported, ""},
	"payment_method_invalid_parameter": {payment.PSPRejectedRequest, ""},
	"payment_method_unactivated":       {payment.ConfigurationError, ""},
	"country_unsupported":              {payment.ConfigurationError, ""},
	"account_invalid":                  {payment.ConfigurationError, ""},
	"testmode_charges_only":            {payment.ConfigurationError, ""},
	"livemode_mismatch":                {payment.ConfigurationError, ""},
	"charge_exceeds_source_limit":      {payment.LimitExceeded, ""},
	"charge_exceeds_transaction_limit": {payment.LimitExceeded, ""},
	"payment_method_provider_decline":  {payment.CardDeclined, ""},
	"payment_method_provider_timeout":  {payment.ProcessingError, ""},
	"processing_error":                 {payment.ProcessingError, ""},
	"issuer_not_available":             {payment.ProcessingError, ""},
	"reenter_transaction":              {payment.ProcessingError, ""},
}

// advices maps error.advice_code, which the networks give with a decline.
var advices = map[string]payment.Advice{
	"do_not_try_again":  payment.DoNotRetry,
	"try_again_later":   payment.RetryLater,
	"confirm_card_data": payment.UseAnotherMethod,
}

// maxNetworkCode bounds error.network_decline_code; the networks use 2 … 4
// characters.
const maxNetworkCode = 16

// failure puts an error into our words. The decline code is the finer of the
// two; fallback is for codes that Stripe has added since.
func (e *apiError) failure(fallback payment.FailureCode) *payment.Failure {
	pspCode := e.DeclineCode
	if pspCode == "" {
		pspCode = e.Code
	}
	v, known := verdicts[e.DeclineCode]
	if !known {
		v, known = verdicts[e.Code]
	}
	if !known {
		v.code = fallback
	}
	f := payment.FailPSP(v.code, pspCode, e.Message)
	if v.advice != "" {
		f.Advice = v.advice
	}
	if a, ok := advices[e.AdviceCode]; ok {
		f.Advice = a
	}
	if n := e.NetworkDeclineCode; len(n) <= maxNetworkCode && printable(n) {
		f.NetworkDeclineCode = n
	}
	return f
}
