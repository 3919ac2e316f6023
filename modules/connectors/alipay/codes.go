package alipay

import (
	"strings"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// refusals are the top-level codes with which the gateway turns a request away
// before any business is done, by what they mean. (10000 is done, 10003 waits
// for the payer, 20000 is unknown, 40004 has a sub_code.)
var refusals = map[string]payment.FailureCode{
	"20001": payment.ConfigurationError, // no or a wrong authorization
	"40001": payment.PSPRejectedRequest, // a parameter is missing
	"40002": payment.PSPRejectedRequest, // a parameter is wrong, the signature among them
	"40006": payment.ConfigurationError, // the application may not do this
}

// setupFaults are the sub_codes of 40001 and 40002 that only the operator can
// mend.
var setupFaults = map[string]bool{
	"isv.invalid-app-id":         true,
	"isv.missing-app-id":         true,
	"isv.invalid-signature":      true,
	"isv.missing-signature":      true,
	"isv.invalid-signature-type": true,
	"isv.missing-signature-type": true,
}

// throttled tells a sub_code that means "too many requests": the request was
// not looked at.
func throttled(subCode string) bool {
	return subCode == "isv.app-call-limited" || subCode == "isp.call-limited" || subCode == "isv.call-limited"
}

// verdict is what a sub_code of 40004 says of the operation.
type verdict struct {
	// state is Declined or Rejected; empty where the code speaks of the trade's
	// state, or of Alipay's own trouble, so that only a query can tell.
	state connector.State
	code  payment.FailureCode
}

// subCodes is the whole list of business failures that Alipay documents for the
// calls we make and for their neighbors (2025-12-16), without their prefix
// "ACQ.".
var subCodes = func() map[string]verdict {
	all := map[string]verdict{}
	for _, g := range []struct {
		verdict
		names string
	}{
		{verdict{connector.Declined, payment.InsufficientFunds}, `
			BUYER_BALANCE_NOT_ENOUGH BUYER_BANKCARD_BALANCE_NOT_ENOUGH`},
		{verdict{connector.Declined, payment.IncorrectNumber}, `
			PAYMENT_AUTH_CODE_INVALID`},
		{verdict{connector.Declined, payment.SuspectedFraud}, `
			PAYMENT_REQUEST_HAS_RISK`},
		{verdict{connector.Declined, payment.TimeExpired}, `
			NOW_TIME_AFTER_EXPIRE_TIME_ERROR`},
		{verdict{connector.Declined, payment.InvalidAccount}, `
			BUYER_ENABLE_STATUS_FORBID BUYER_ERROR BUYER_NOT_EXIST BUYER_NOT_MAINLAND_CERT
			BUYER_SELLER_EQUAL NOT_CERTIFIED_USER USER_LOGONID_DUP`},
		{verdict{connector.Declined, payment.CardDeclined}, `
			BUYER_UNSUPPORT_ADVANCE CARD_TYPE_ERROR CARD_USER_NOT_MATCH CERT_EXPIRED
			CUSTOMER_VALIDATE_ERROR ERROR_BALANCE_PAYMENT_DISABLE MOBILE_PAYMENT_SWITCH_OFF
			NO_PAYMENT_INSTRUMENTS_AVAILABLE PAYER_UNMATCHED PAYMENT_FAIL
			USER_FACE_PAYMENT_SWITCH_OFF USER_NOT_MATCH_ERR ZM_CREDIT_AUTH_FAIL`},
		{verdict{connector.Declined, payment.LimitExceeded}, `
			BEYOND_PAY_RESTRICTION BEYOND_PER_RECEIPT_DAY_RESTRICTION BEYOND_PER_RECEIPT_RESTRICTION
			BEYOND_PER_RECEIPT_SINGLE_RESTRICTION BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR
			BUYER_PAYMENT_AMOUNT_MONTH_LIMIT_ERROR CYCLE_PAY_SINGLE_FEE_EXCEED
			CYCLE_PAY_TOTAL_FEE_EXCEED CYCLE_PAY_TOTAL_TIMES_EXCEED ERROR_BUYER_CERTIFY_LEVEL_LIMIT
			ERROR_SELLER_CERTIFY_LEVEL_LIMIT MERCHANT_PERM_RECEIPT_DAY_LIMIT
			MERCHANT_PERM_RECEIPT_SINGLE_LIMIT MERCHANT_PERM_RECEIPT_SUSPEND_LIMIT OVER_DEDUCT_PERIOD
			OVER_MAX_DEDUCT_COUNT OVER_MAX_UNDER_WAY_DEDUCT_COUNT OVER_MERCHANT_DAILY_DEDUCT_AMOUNT
			PRODUCT_AMOUNT_LIMIT_ERROR REFUNDALLOC_UNAUTH_LIMIT REQUEST_AMOUNT_EXCEED TOTAL_FEE_EXCEED
			ZM_AUTH_AMOUNT_EXCEED ZM_AUTH_RULE_LIMIT`},
		// A definite no for now: a seller without balance cannot refund today, a
		// frozen trade cannot be touched.
		{verdict{connector.Declined, payment.ProcessingError}, `
			PULL_MOBILE_CASHIER_FAIL REASON_TRADE_BEEN_FREEZEN SELLER_BALANCE_NOT_ENOUGH`},
		// A definite no to this refund or cancellation, for good.
		{verdict{connector.Declined, payment.PSPRejectedRequest}, `
			CANCEL_NOT_ALLOWED NOT_ALLOW_PARTIAL_REFUND ONLINE_TRADE_VOUCHER_NOT_ALLOW_REFUND
			TRADE_CANCEL_TIME_OUT TRADE_NOT_ALLOW_REFUND`},
		{verdict{connector.Rejected, payment.CurrencyNotSupported}, `
			CURRENCY_NOT_SUPPORT`},
		{verdict{connector.Rejected, payment.MethodNotSupported}, `
			NOT_SUPPORT_PAYMENT_INST UN_SUPPORT_TRADE_SCENE`},
		{verdict{connector.Rejected, payment.PSPRejectedRequest}, `
			ALLOC_AMOUNT_VALIDATE_ERROR AMOUNT_OR_CURRENCY_ERROR AUTH_AMOUNT_NOT_ENOUGH AUTH_NO_ERROR
			AUTH_TOKEN_IS_NOT_EXIST CYCLE_PAY_DATE_NOT_MATCH ENTERPRISE_PAY_BIZ_ERROR
			EXIST_FORBIDDEN_WORD ILLEGAL_ARGUMENT INVALID_PARAMETER INVALID_STORE_ID
			OPEN_ID_NOT_TINY_APP PRE_AUTH_PROD_CODE_INCONSISTENT PRODUCT_NOT_SUPPORT_IN_TINY_APP
			REFUND_AMT_NOT_EQUAL_TOTAL REFUND_CHARGE_ERROR REFUND_FEE_ERROR RISK_MERCHANT_IP_NOT_EXIST
			STORE_INFO_INVALID SUB_GOODS_SIZE_MAX_COUNT`},
		{verdict{connector.Rejected, payment.ConfigurationError}, `
			ACCESS_FORBIDDEN AGREEMENT_ERROR AGREEMENT_INVALID AGREEMENT_NOT_EXIST
			AGREEMENT_STATUS_NOT_NORMAL APPLY_PC_MERCHANT_CODE_ERROR BIZ_PRODUCT_NOT_ALLOWED
			DEFAULT_SETTLE_RULE_NOT_EXIST INVALID_RECEIVE_ACCOUNT MERCHANT_AGREEMENT_INVALID
			MERCHANT_AGREEMENT_NOT_EXIST MERCHANT_STATUS_NOT_NORMAL MERCHANT_UNSUPPORT_ADVANCE
			ORDER_UNSUPPORT_ADVANCE OVERDRAFT_AGREEMENT_NOT_MATCH OVERDRAFT_ASSIGN_ACCOUNT_INVALID
			PARTNER_ERROR PLATFORM_BUSINESS_ACQUIRE_MODE_MUST_MERCHANT_ID REFUND_ACCOUNT_NOT_EXIST
			REFUND_ROYALTY_PAYEE_ACCOUNT_NOT_EXIST RESTRICTED_MERCHANT_INDUSTRY
			ROYALTY_ACCOUNT_NOT_EXIST SECONDARY_MERCHANT_ALIPAY_ACCOUNT_INVALID
			SECONDARY_MERCHANT_CARD_ALIAS_NO_INVALID SECONDARY_MERCHANT_ID_BLANK
			SECONDARY_MERCHANT_ID_INVALID SECONDARY_MERCHANT_ISV_PUNISH_INDIRECT
			SECONDARY_MERCHANT_NOT_MATCH SECONDARY_MERCHANT_STATUS_ERROR SELLER_BEEN_BLOCKED
			SELLER_NOT_EXIST SMILE_PAY_MERCHANT_NOT_MATCH SUB_MERCHANT_CREATE_FAIL
			SUB_MERCHANT_TYPE_INVALID TRADE_SETTLE_ERROR UNBOUND_APPLICATION`},
		// Our number is known already, in another state or with other data; or
		// Alipay itself cannot tell. TRADE_NOT_EXIST has its own rule.
		{verdict{}, `
			AUTH_ORDER_HAS_CLOSED AUTH_ORDER_HAS_FINISHED AUTH_ORDER_NOT_PAID CONTEXT_INCONSISTENT
			DISCORDANT_REPEAT_REQUEST REASON_ILLEGAL_STATUS REASON_TRADE_REFUND_FEE_ERR
			REASON_TRADE_STATUS_INVALID SYSTEM_ERROR TRADE_BUYER_NOT_MATCH TRADE_HAS_CLOSE
			TRADE_HAS_FINISHED TRADE_HAS_SUCCESS TRADE_NOT_EXIST TRADE_STATUS_ERROR`},
	} {
		for name := range strings.FieldsSeq(g.names) {
			all[name] = g.verdict
		}
	}
	return all
}()

// subCode looks a sub_code up. Alipay writes the prefix as "ACQ.", at times as
// "AQC." (sic), and at times not at all. A code that is not in the table says
// nothing for sure.
func subCode(s string) (name string, v verdict) {
	name = s
	for _, prefix := range []string{"ACQ.", "AQC."} {
		name = strings.TrimPrefix(name, prefix)
	}
	return name, subCodes[name]
}

// failure puts Alipay's words beside ours. The table's words for a card do not
// fit a wallet.
func failure(code payment.FailureCode, a *answer) *payment.Failure {
	said := a.SubCode
	if said == "" {
		said = a.Code
	}
	words := a.SubMsg
	if words == "" {
		words = a.Msg
	}
	f := payment.FailPSP(code, said, words)
	switch code {
	case payment.CardDeclined:
		f.Message = "The wallet declined the payment."
	case payment.IncorrectNumber:
		f.Message, f.Advice = "The payment code is not valid any more; ask the payer for a new one.", payment.RetryLater
	default:
	}
	return f
}
