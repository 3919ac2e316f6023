package api

import (
	"maps"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// call is what the document says of an endpoint beyond what the endpoint itself
// says.
type call struct {
	id, tag, summary, text string
	query                  []*parameter
	keyed                  bool // an Idempotency-Key is required
	welcome                bool // an Idempotency-Key is welcome
	body                   string
	optional               bool // the body may be absent
	examples               members[example]

	success     int // HTTP
	contentType string
	says        string
	returns     *schema
	shows       jsontext.Value
	codes       []payment.Code // beyond those that come with the endpoint
}

const conventions = "JSON in and out, UTF-8. Amounts are integers in the minor unit of their currency; times are RFC 3339 in UTC. " +
	"(Sent ones may have another offset; their T and Z are capitals.) Unknown fields are refused, and null counts as absent. A body has at most 64 KiB.\n\n" +
	"IDs are opaque: compare them as they are, and take nothing out of them. Those of one kind sort by the time of their making. " +
	"(They are UUIDv7 in lower-case Crockford base32 with the two bits of padding at the end, and so no TypeIDs, which pad at the beginning.)\n\n" +
	"A payment that is declined is not an error: the payment exists, its status is `failed`, and its `error` says why. " +
	"A refusal is `application/problem+json` (RFC 9457); its `code` is one of a closed set. " +
	"A method that a resource does not take is `method_not_allowed`, with `Allow`. HEAD is taken wherever GET is.\n\n" +
	"Who calls is proven by an API key, as a bearer token or as the user name of HTTP Basic; by an access token of an issuer that the operator " +
	"trusts; or by a client certificate. A key that was made for signing signs what changes something: `Signature` and `Signature-Input` " +
	"(RFC 9421) over a `Content-Digest` (RFC 9530), or `Purser-Signature`. `Accept-Signature` asks for a signed answer."

var tags = []tag{
	{"payments", "Take money: create, confirm, capture, cancel."},
	{"refunds", "Give money back."},
	{"events", "What happened."},
	{"webhooks", "Be told what happened."},
	{"account", "Who am I?"},
	{"proxy", "Call a PSP's own API with the account's credentials."},
	{"service", "For probes and readers; no key is asked for."},
	{"inbound", "For PSPs and payers, not for merchants."},
}

// describeCalls has a row for every endpoint of [routes], by method and path.
func describeCalls() map[string]call {
	calls := map[string]call{
		"POST /v1/payments":              createCall(),
		"GET /v1/payments":               listCall("payments", "listPayments", "List payments", "PaymentList", samplePayment(), paymentFilters()),
		"GET /v1/payments/{id}":          getCall("payments", "getPayment", "Read a payment", "Payment", samplePayment(), syncParameter()),
		"PATCH /v1/payments/{id}":        updateCall(),
		"POST /v1/payments/{id}/confirm": confirmCall(),
		"POST /v1/payments/{id}/capture": captureCall(),
		"POST /v1/payments/{id}/cancel":  cancelCall(),
		"POST /v1/refunds":               refundCall(),
		"GET /v1/refunds": listCall("refunds", "listRefunds", "List refunds", "RefundList", sampleRefund(),
			[]*parameter{ofPayment(), queryParameter("status", ref("RefundStatus"), ""), queryParameter("outcome", ref("Outcome"), "")}),
		"GET /v1/refunds/{id}": getCall("refunds", "getRefund", "Read a refund", "Refund", sampleRefund()),
		"GET /v1/events": listCall("events", "listEvents", "List events", "EventList", sampleEvent(),
			[]*parameter{ofPayment(), queryParameter("type", line(maxEventType, "").long(1, maxEventType), "One type, such as `payment.succeeded`.")}),
		"GET /v1/events/{id}": getCall("events", "getEvent", "Read an event", "Event", sampleEvent()),
		"GET /v1/account":     getCall("account", "getAccount", "Read who the key stands for", "Account", sampleAccount()),
		"GET /healthz": {
			id: "getHealth", tag: "service", summary: "Tell whether the process serves", success: 200, says: "It does.", returns: ref("Health"),
			shows: jsontext.Value(`{"status":"ok"}`),
		},
		"GET /readyz": {
			id: "getReadiness", tag: "service", summary: "Tell whether payments can be taken", success: 200, says: "They can: the store can be reached.",
			returns: ref("Readiness"), shows: jsontext.Value(`{"status":"ready"}`), codes: []payment.Code{payment.CodeStoreUnavailable},
		},
		"GET /openapi.json": {
			id: "getOpenAPI", tag: "service", summary: "Read this document", success: 200, says: "OpenAPI 3.1.", returns: &schema{Type: "object"},
		},
		"GET /docs": {
			id: "getDocs", tag: "service", summary: "Read this document as a page", success: 200, says: "HTML.",
			contentType: contentHTML, returns: text(""),
		},
	}
	maps.Copy(calls, describeWebhookCalls())
	return calls
}

func createCall() call {
	return call{
		id: "createPayment", tag: "payments", summary: "Create a payment",
		text: "Creates a payment, and confirms it unless `confirm` is false. 201 whatever becomes of it: look at `status`, `outcome` and `next_action`.",
		body: "CreatePayment", keyed: true, success: 201, says: "The payment exists.", returns: ref("Payment"), shows: samplePayment(),
		examples: members[example]{
			{"card", example{Summary: "A test card", Value: jsontext.Value(`{"amount":1999,"currency":"EUR","payment_method":{"type":"card","number":"4242424242424242","exp_month":12,"exp_year":2034,"cvc":"123"},"reference":"order-1042"}`)}},
			{"authorize", example{Summary: "Authorize now, capture later", Value: jsontext.Value(`{"amount":1999,"currency":"EUR","capture_method":"manual","payment_method":{"type":"card","number":"4242424242424242","exp_month":12,"exp_year":2034,"cvc":"123"}}`)}},
			{"declined", example{Summary: "A test card that is declined", Value: jsontext.Value(`{"amount":1999,"currency":"EUR","payment_method":{"type":"card","number":"4000000000009995","exp_month":12,"exp_year":2034,"cvc":"123"}}`)}},
			{"nested", example{Summary: "The card in its nested form", Value: jsontext.Value(`{"amount":1999,"currency":"EUR","payment_method":{"type":"card","card":{"number":"4242424242424242","exp_month":12,"exp_year":2034,"cvc":"123"}}}`)}},
			{"token", example{Summary: "A PSP's token", Value: jsontext.Value(`{"amount":1999,"currency":"EUR","payment_method":{"type":"card_token","account":"stripe_us","token":"pm_card_visa"}}`)}},
			{"qr", example{Summary: "Alipay by QR code", Value: jsontext.Value(`{"amount":1999,"currency":"CNY","payment_method":{"type":"alipay","flow":"qr"}}`)}},
			{"later", example{Summary: "Record now, confirm later", Value: jsontext.Value(`{"amount":1999,"currency":"EUR","confirm":false}`)}},
		},
		codes: []payment.Code{
			payment.CodeNotFound, payment.CodeNoAccount, payment.CodeNotRepresentable, payment.CodeNotSupported,
			payment.CodeLiveCardInTestMode, payment.CodeFrozen,
		},
	}
}

func confirmCall() call {
	return call{
		id: "confirmPayment", tag: "payments", summary: "Confirm a payment",
		text: "Sends a payment that was created with `confirm: false`. The body may be absent where the payment has its method.",
		body: "ConfirmPayment", optional: true, keyed: true, success: 200, says: "The payment as it now stands.", returns: ref("Payment"), shows: samplePayment(),
		examples: members[example]{{"card", example{Value: jsontext.Value(`{"payment_method":{"type":"card","number":"4242424242424242","exp_month":12,"exp_year":2034,"cvc":"123"}}`)}}},
		codes: []payment.Code{
			payment.CodeInvalidState, payment.CodeNoAccount, payment.CodeNotRepresentable, payment.CodeNotSupported,
			payment.CodeLiveCardInTestMode, payment.CodeFrozen,
		},
	}
}

func captureCall() call {
	return call{
		id: "capturePayment", tag: "payments", summary: "Capture an authorized payment",
		text: "Takes all that was authorized, or a part. A capture that fails leaves the status as it was, and sets `error`.",
		body: "CapturePayment", optional: true, keyed: true, success: 200, says: "The payment as it now stands.", returns: ref("Payment"), shows: samplePayment(),
		examples: members[example]{
			{"part", example{Summary: "A part; the rest is let go", Value: jsontext.Value(`{"amount":999}`)}},
			{"all", example{Summary: "All of it", Value: jsontext.Value(`{}`)}},
		},
		codes: []payment.Code{
			payment.CodeInvalidState, payment.CodeOperationInProgress, payment.CodeAmountTooLarge, payment.CodeNotRepresentable, payment.CodeNotSupported,
		},
	}
}

func cancelCall() call {
	return call{
		id: "cancelPayment", tag: "payments", summary: "Cancel a payment",
		text: "Releases an authorization, or closes a payment that is not paid yet. Only the PSP's word makes it `canceled`: until then `cancel_requested_at` is set.",
		body: "CancelPayment", optional: true, keyed: true, success: 200, says: "The payment as it now stands.", returns: ref("Payment"), shows: samplePayment(),
		examples: members[example]{{"reason", example{Value: jsontext.Value(`{"reason":"out of stock"}`)}}},
		codes:    []payment.Code{payment.CodeInvalidState, payment.CodeOperationInProgress, payment.CodeNotRepresentable, payment.CodeNotSupported},
	}
}

func updateCall() call {
	return call{
		id: "updatePayment", tag: "payments", summary: "Change what no PSP needs to know",
		body: "UpdatePayment", success: 200, says: "The payment as it now stands.", returns: ref("Payment"), shows: samplePayment(),
		examples: members[example]{{"metadata", example{Value: jsontext.Value(`{"metadata":{"invoice":"2026-17","draft":null}}`)}}},
	}
}

func refundCall() call {
	return call{
		id: "createRefund", tag: "refunds", summary: "Refund a payment",
		text: "Gives back all that was captured, or a part. 201 whatever becomes of it: look at `status`.",
		body: "CreateRefund", keyed: true, success: 201, says: "The refund exists.", returns: ref("Refund"), shows: sampleRefund(),
		examples: members[example]{{"part", example{Value: jsontext.Value(`{"payment":"` + sampleIDs[payment.PrefixPayment] + `","amount":500,"reason":"one item came back"}`)}}},
		codes: []payment.Code{
			payment.CodeNotFound, payment.CodeInvalidState, payment.CodeOperationInProgress, payment.CodeAmountTooLarge,
			payment.CodeNotRepresentable, payment.CodeNotSupported,
		},
	}
}

func getCall(tag, id, summary, object string, shows jsontext.Value, query ...*parameter) call {
	return call{
		id: id, tag: tag, summary: summary, query: query, success: 200, says: "As it now stands.", returns: ref(object), shows: shows,
	}
}

func listCall(tag, id, summary, object string, one jsontext.Value, filters []*parameter) call {
	page := slices.Concat([]byte(`{"object":"list","data":[`), one, []byte(`],"has_more":false,"next_cursor":null}`))
	return call{
		id: id, tag: tag, summary: summary, success: 200, says: "A page, newest first.", returns: ref(object), shows: page,
		query: append([]*parameter{
			queryParameter("limit", integer("", 1, store.MaxPage).unless(defaultLimit), "How many objects a page has."),
			queryParameter("cursor", text("").long(1, maxCursor), "The `next_cursor` of the page before, with the same filters."),
			queryParameter("created_after", instantOf(""), ""),
			queryParameter("created_before", instantOf(""), ""),
		}, filters...),
	}
}

func queryParameter(name string, s *schema, says string) *parameter {
	return &parameter{Name: name, In: "query", Description: says, Schema: s}
}

func paymentFilters() []*parameter {
	return []*parameter{
		queryParameter("status", ref("Status"), ""), queryParameter("outcome", ref("Outcome"), ""),
		queryParameter("reference", line(maxReference, "").long(1, maxReference), "Yours."),
	}
}

func ofPayment() *parameter {
	return queryParameter("payment", identifier(payment.PrefixPayment), "Those of one payment.")
}

func syncParameter() *parameter {
	return queryParameter("sync", boolean("").unless(false), "Asks the PSP first; at most once per payment in two seconds.")
}

// describeInbound mentions the two doors that package inbox serves: whoever
// operates the gateway opens them for PSPs and payers.
func describeInbound(paths *members[pathItem]) {
	param := func(name, says string, s *schema) []*parameter {
		return []*parameter{{Name: name, In: "path", Required: true, Description: says, Schema: s}}
	}
	plain := func(says string) *answer {
		return &answer{Description: says, Headers: headers("Request-Id", "Server-Timing", "Cache-Control")}
	}
	webhook := problems([]payment.Code{
		payment.CodeInvalidRequest, payment.CodeUnauthenticated, payment.CodeNotFound, payment.CodeBodyTooLarge,
		payment.CodeInternal, payment.CodeStoreUnavailable,
	})
	payer := members[*answer]{
		{"200", plain("A page: the payer is done, and the merchant gave no `return_url`.")},
		{"303", plain("The payer goes on to the merchant's `return_url`, with `payment` and `status` in the query.")},
		{"404", plain("A page: the address is not valid.")},
		{"500", plain("A page: reload in a moment.")},
		{"503", plain("A page: reload in a moment.")},
	}
	paths.add("/webhooks/{account}", pathItem{
		Parameters: param("account", "The connector account's name.", accountName("")),
		Post: &operation{
			OperationID: "receiveWebhook", Tags: []string{"inbound"}, Summary: "Take a PSP's notification",
			Description: "Verified by the PSP's own signature, and stored before it is acknowledged in the PSP's own words.",
			Security:    []members[[]string]{},
			Responses:   append(members[*answer]{{"200", plain("Stored.")}}, webhook...),
		},
	})
	back := func(id string) *operation {
		return &operation{
			OperationID: id, Tags: []string{"inbound"}, Summary: "Take back a payer whom a PSP sends",
			Description: "The gateway asks the PSP how it went; it does not believe the address.",
			Security:    []members[[]string]{}, Responses: payer,
		}
	}
	paths.add("/return/{token}", pathItem{
		Parameters: param("token", "As the gateway gave it to the PSP.", text("").long(1, 512)),
		Get:        back("returnPayer"), Post: back("returnPayerByForm"),
	})
}
