package api

import (
	"time"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
)

// The values that answers draw from. A test reads the constants of package
// payment and finds each of them here.
var (
	attemptStatuses = []payment.AttemptStatus{
		payment.AttemptPending, payment.AttemptRequiresAction, payment.AttemptSucceeded, payment.AttemptFailed, payment.AttemptCanceled,
	}
	attemptKinds = []payment.Kind{payment.KindAuthorize, payment.KindCapture, payment.KindVoid, payment.KindRefund}
	origins      = []payment.Origin{payment.OriginMerchant, payment.OriginGateway, payment.OriginExternal}
	advices      = []payment.Advice{payment.DoNotRetry, payment.RetryLater, payment.UseAnotherMethod, payment.ContactSupport}
	modes        = []payment.Mode{payment.Test, payment.Live}
	captures     = []payment.CaptureMethod{payment.CaptureAutomatic, payment.CaptureManual}
	candidates   = []string{payment.CandidateChosen, payment.CandidateNext, payment.CandidateTried, payment.CandidateRejected}
	actionTypes  = []payment.ActionType{
		payment.ActionRedirect, payment.ActionQRCode, payment.ActionInvokeApp, payment.ActionBankTransfer, payment.ActionWait,
	}
	eventTypes = []payment.EventType{
		payment.EventPaymentProcessing, payment.EventPaymentRequiresAction, payment.EventPaymentRequiresCapture,
		payment.EventPaymentCaptured, payment.EventPaymentSucceeded, payment.EventPaymentFailed, payment.EventPaymentCanceled,
		payment.EventPaymentExpired, payment.EventPaymentConflicted, payment.EventRefundPending, payment.EventRefundSucceeded,
		payment.EventRefundFailed,
	}
)

// describeSchemas is every schema with a name: what is asked, then what is told.
func describeSchemas() members[*schema] {
	out := describeBodies()
	out = append(out, describeVocabulary()...)
	out.add("Payment", paymentSchema())
	out.add("Attempt", attemptSchema())
	out.add("Refund", refundSchema())
	out.add("NextAction", told("What must happen before the payment can go on. Which fields are there depends on `type` alone.",
		must("type", oneOfStrings("", actionTypes)),
		may("url", text("`redirect_to_url`: where the payer goes.").as("uri")),
		may("method", oneOfStrings("`redirect_to_url`", []string{"GET", "POST"})),
		may("fields", mapOf(text(""), "`redirect_to_url` by POST: the form.")),
		may("data", text("`display_qr_code`: what the code says.")),
		may("image_url", text("`display_qr_code`: the code as an image.").as("uri")),
		may("expires_at", instantOf("`display_qr_code`: until when the code is good.")),
		may("poll_after", instantOf("`wait`: read the payment again after this.")),
		may("parameters", mapOf(text(""), "`invoke_app`: what the wallet's SDK takes.")),
		may("details", mapOf(text(""), "`display_bank_transfer`: where the money goes."))))
	out.add("Failure", told("Why an operation came to nothing. It is a result: the request itself was carried out.",
		must("code", ref("FailureCode")),
		must("message", text("Safe to show to the payer.")),
		must("advice", oneOfStrings("What you do best.", advices)),
		may("network_decline_code", text("The card network's own, such as `51`.")),
		may("psp_code", text("The PSP's own, unaltered.").long(0, 64)),
		may("psp_message", text("The PSP's own, as plain text.").long(0, 200))))
	out.add("Customer", customerSchema(told))
	out.add("MaskedMethod", told("The payment method, masked.",
		must("type", ref("MethodType")),
		may("flow", oneOfStrings("Wallets.", flows)),
		may("brand", text("Cards: the network, as the number tells it.")),
		may("last4", text("Cards.").like("^[0-9]{4}$")),
		may("bin6", text("Cards: the first six digits.").like("^[0-9]{6}$")),
		may("exp_month", integer("Cards.", 1, 12)),
		may("exp_year", integer("Cards.", 2000, 9999))))
	out.add("Event", told("Something that happened to a payment, recorded together with the change that it tells of.",
		must("id", identifier(payment.PrefixEvent)), must("object", oneOfStrings("", []string{"event"})),
		must("type", ref("EventType")), must("created_at", instantOf("")), must("livemode", boolean("Real money.")),
		must("sequence", integer("Numbers the payment's events, from 1, without gaps.", 1, 1<<53)),
		must("data", told("", must("object", &schema{
			Description: "The payment or the refund as it stood right after the change.",
			OneOf:       []*schema{ref("Payment"), ref("Refund")},
			Discriminator: &discriminator{PropertyName: "object", Mapping: members[string]{
				{"payment", schemas + "Payment"}, {"refund", schemas + "Refund"},
			}},
		})))))
	for _, name := range []string{"Payment", "Refund", "Event"} {
		out.add(name+"List", pageOf(name))
	}
	out = append(out, describeWebhooks()...)
	out.add("Account", accountSchema())
	out.add("Limit", limitSchema())
	out.add("Health", told("", must("status", oneOfStrings("", []string{"ok"})), may("version", text("The gateway's own."))))
	out.add("Readiness", told("", must("status", oneOfStrings("", []string{"ready"}))))
	out.add("Problem", problemSchema())
	return out
}

// describeVocabulary is the closed sets that several schemas share.
func describeVocabulary() members[*schema] {
	codes := make([]payment.Code, len(payment.Codes))
	for i, row := range payment.Codes {
		codes[i] = row.Code
	}
	failures := make([]payment.FailureCode, len(payment.Failures))
	for i, row := range payment.Failures {
		failures[i] = row.Code
	}
	return members[*schema]{
		{"Status", oneOfStrings("Where the payment stands. `succeeded`, `failed`, `canceled` and `expired` are final.", payment.Statuses)},
		{"RefundStatus", oneOfStrings("Where the refund stands. One that succeeded may still fail: the payer's bank may send the money back.", refundStatuses)},
		{"Outcome", oneOfStrings("How sure the status is. `unknown`: nobody can tell yet whether the PSP acted, and the gateway goes on asking. "+
			"`conflicted`: the PSP proves money that contradicts the status.", outcomes)},
		{"Origin", oneOfStrings("Who began it: you, the gateway by itself, or somebody at the PSP.", origins)},
		{"MethodType", oneOfStrings("A way to pay; the same name for every PSP.", methodTypes)},
		{"EventType", oneOfStrings("What happened. More types may come: skip those that you do not know.", eventTypes)},
		{"FailureCode", oneOfStrings("A decline or failure, in the same words for every PSP.", failures)},
		{"Code", oneOfStrings("A class of refusal; see the table of errors.", codes)},
		{"Scope", oneOfStrings("What a key may do.", access.Scopes)},
	}
}

func currencyTold() *schema { return text("ISO 4217, upper case.").like("^[A-Z]{3}$") }

func paymentSchema() *schema {
	return told("One intent to take money once, with everything that was tried for it.",
		must("id", identifier(payment.PrefixPayment)),
		must("object", oneOfStrings("", []string{"payment"})),
		must("livemode", boolean("Real money.")),
		must("merchant", identifier(payment.PrefixMerchant)),
		must("status", ref("Status")),
		must("outcome", ref("Outcome")),
		must("amount", amountOf("In the minor unit of the currency.")),
		must("amount_capturable", sum("Authorized, less what was captured and what operations under way hold back.")),
		must("amount_captured", sum("What the PSP has proven to be captured.")),
		must("amount_refunded", sum("The sum of the refunds that succeeded.")),
		must("currency", currencyTold()),
		must("capture_method", oneOfStrings("Who takes the money after the authorization.", captures)),
		must("capture_before", orNull(instantOf("When the issuer lets the hold go, where that is known."))),
		must("payment_method", orNull(ref("MaskedMethod"))),
		must("next_action", orNull(ref("NextAction"))),
		must("error", orNull(ref("Failure"))),
		must("account", orNull(text("The connector account on which the payment rests."))),
		must("connector", orNull(text("What that account speaks, such as `stripe`."))),
		must("psp_reference", orNull(text("The PSP's own reference."))),
		must("network_transaction_id", orNull(text("The card network's own."))),
		must("attempts", listOf(ref("Attempt"), "Every operation that was tried, oldest first.")),
		must("refunds", listOf(ref("Refund"), "Oldest first.")),
		must("disputes", listOf(&schema{Type: "object"}, "Always empty so far.")),
		must("reference", orNull(text("Yours."))),
		must("description", orNull(text(""))),
		must("customer", orNull(ref("Customer"))),
		must("return_url", orNull(text("Where the payer comes back to.").as("uri"))),
		must("channel", oneOfStrings("", payment.Channels)),
		must("metadata", mapOf(text(""), "Yours.")),
		must("version", integer("Raised by every change.", 1, 1<<53)),
		must("cancel_requested_at", orNull(instantOf("There once a cancel was taken: only the PSP's word makes it `canceled`."))),
		must("created_at", orNull(instantOf(""))),
		must("updated_at", orNull(instantOf(""))),
		must("expires_at", orNull(instantOf("Until when the payer may pay."))))
}

func attemptSchema() *schema {
	return told("One operation that was tried at one account.",
		must("id", identifier(payment.PrefixAttempt)),
		must("operation", oneOfStrings("", attemptKinds)),
		must("amount", sum("In the minor unit of the payment's currency.")),
		must("account", text("")),
		must("connector", text("")),
		must("status", oneOfStrings("", attemptStatuses)),
		must("outcome", ref("Outcome")),
		must("origin", ref("Origin")),
		must("psp_reference", orNull(text("The PSP's own reference."))),
		must("error", orNull(ref("Failure"))),
		must("routing", orNull(told("Why it went there; authorizations only.",
			must("rule", text("The rule that decided.")),
			must("candidates", orNull(listOf(told("",
				must("account", text("")), must("outcome", oneOfStrings("", candidates)), must("reason", text(""))), ""))))),
		),
		must("started_at", orNull(instantOf(""))),
		must("gateway_ms", milliseconds("The gateway's own part of the time.")),
		must("psp_ms", milliseconds("The wait for the PSP.")))
}

func refundSchema() *schema {
	return told("Money on its way back to the payer.",
		must("id", identifier(payment.PrefixRefund)),
		must("object", oneOfStrings("", []string{"refund"})),
		must("livemode", boolean("Real money.")),
		must("payment", identifier(payment.PrefixPayment)),
		must("amount", amountOf("In the minor unit of the currency.")),
		must("currency", currencyTold()),
		must("status", ref("RefundStatus")),
		must("outcome", ref("Outcome")),
		must("reason", orNull(text("Yours."))),
		must("error", orNull(ref("Failure"))),
		must("psp_reference", orNull(text("The PSP's own reference."))),
		must("origin", ref("Origin")),
		must("metadata", mapOf(text(""), "Yours.")),
		must("created_at", orNull(instantOf(""))),
		must("updated_at", orNull(instantOf(""))))
}

// pageOf is a list of objects, newest first.
func pageOf(name string) *schema {
	return told("A page, newest first.",
		must("object", oneOfStrings("", []string{"list"})),
		must("data", listOf(ref(name), "")),
		must("has_more", boolean("There is a page after this one.")),
		must("next_cursor", orNull(text("The `cursor` of the page after this one."))))
}

func accountSchema() *schema {
	return told("Who a key stands for.",
		must("object", oneOfStrings("", []string{"account"})),
		must("merchant", identifier(payment.PrefixMerchant)),
		must("name", text("The merchant's.")),
		must("mode", oneOfStrings("", modes)),
		must("livemode", boolean("Real money.")),
		must("by", oneOfStrings("What proved it.", []string{string(access.ByKey), string(access.ByToken), string(access.ByCertificate)})),
		may("key", identifier(payment.PrefixKey)),
		may("subject", text("Whom the token or the certificate names.")),
		may("signing", told("How requests of this key are signed.",
			must("keyid", text("")), must("algorithm", text("By its name in RFC 9421.")))),
		may("response_key", told("What signs answers, where the caller has no secret of its own.",
			must("keyid", text("")), must("algorithm", text("By its name in RFC 9421.")), must("public_key", text("PEM.")))),
		must("scopes", listOf(ref("Scope"), "")),
		must("limits", listOf(ref("Limit"), "What counted this very call.")))
}

func limitSchema() *schema {
	return told("One limit that counts calls.",
		must("scope", text("What is counted: `ip`, `key`, `merchant`, `route` or `account`; there may be more.")),
		must("limit", integer("How many calls there may be at once.", 1, access.MaxRateLimit)),
		may("window", integer("Seconds in which a used limit comes back; absent where calls in flight are counted.", 1, int64(access.MaxRatePeriod/time.Second))),
		must("remaining", integer("How many more would pass now.", 0, access.MaxRateLimit)))
}

func problemSchema() *schema {
	return told("A refusal, as RFC 9457 has it.",
		must("type", text("Ends in the code, and leads to the page that explains it.").as("uri")),
		must("title", text("The same for every problem of a code.")),
		must("status", integer("The HTTP status.", 400, 599)),
		may("detail", text("What is wrong here.")),
		must("code", ref("Code")),
		may("param", text("The field at fault, such as `payment_method.number`.")),
		may("policy", text("The name of the operator's rule that refuses.")),
		must("request_id", identifier(payment.PrefixRequest)),
		must("retryable", boolean("The very same request, with the same Idempotency-Key, may succeed later.")))
}
