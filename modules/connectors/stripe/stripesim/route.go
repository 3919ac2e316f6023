package stripesim

import (
	"net/http"
	"strings"

	"github.com/purser-pay/purser/modules/simulator/books"
)

const expandOnly = "expand"

// intentParams are the top-level parameters of Stripe's description of
// POST /v1/payment_intents, and of what follows it.
const intentParams = `allowed_payment_method_types amount amount_details application_fee_amount
	automatic_payment_methods capture_method confirm confirmation_method confirmation_token currency customer
	customer_account description error_on_requires_action excluded_payment_method_types expand hooks mandate
	mandate_data metadata off_session on_behalf_of payment_details payment_method payment_method_configuration
	payment_method_data payment_method_options payment_method_types radar_options receipt_email return_url
	setup_future_usage shipping statement_descriptor statement_descriptor_suffix transfer_data transfer_group
	use_stripe_sdk`

// api is every endpoint: method, path with * for an ID.
var api = map[string]endpoint{
	"POST payment_methods": {books.OpTokenize, set(`allow_redisplay billing_details card customer expand metadata
		payment_method radar_options type`), (*call).createMethod},
	"GET payment_methods/*": {books.OpOther, set(expandOnly), (*call).getMethod},

	"POST payment_intents": {books.OpAuthorize, set(intentParams), (*call).createIntent},
	"GET payment_intents": {
		books.OpSync, set("created customer customer_account ending_before expand limit starting_after"), (*call).listIntents,
	},
	"GET payment_intents/search": {books.OpSync, set("expand limit page query"), (*call).searchIntents},
	"GET payment_intents/*":      {books.OpSync, set("client_secret expand"), (*call).getIntent},
	"POST payment_intents/*": {books.OpOther, set(`amount application_fee_amount capture_method currency customer
		description expand metadata payment_method payment_method_options payment_method_types receipt_email
		setup_future_usage shipping statement_descriptor statement_descriptor_suffix transfer_data transfer_group`), (*call).updateIntent},
	"POST payment_intents/*/confirm": {books.OpAuthorize, set(`allowed_payment_method_types amount_details amount_to_confirm
		capture_method client_secret confirmation_token error_on_requires_action excluded_payment_method_types expand
		hooks mandate mandate_data off_session payment_details payment_method payment_method_data
		payment_method_options payment_method_types radar_options receipt_email return_url setup_future_usage
		shipping use_stripe_sdk`), (*call).confirmIntent},
	"POST payment_intents/*/capture": {books.OpCapture, set(`amount_details amount_to_capture application_fee_amount
		expand final_capture hooks metadata payment_details statement_descriptor statement_descriptor_suffix
		transfer_data`), (*call).captureIntent},
	"POST payment_intents/*/cancel": {books.OpVoid, set("cancellation_reason expand"), (*call).cancelIntent},

	"GET charges/*": {books.OpSync, set(expandOnly), (*call).getCharge},
	"GET charges": {
		books.OpSync, set("created customer ending_before expand limit payment_intent starting_after transfer_group"), (*call).listCharges,
	},

	"POST refunds": {books.OpRefund, set(`amount charge currency customer expand instructions_email metadata origin
		payment_intent reason refund_application_fee reverse_transfer`), (*call).createRefund},
	"GET refunds":    {books.OpSync, set("charge created ending_before expand limit payment_intent starting_after"), (*call).listRefunds},
	"GET refunds/*":  {books.OpSync, set(expandOnly), (*call).getRefund},
	"POST refunds/*": {books.OpOther, set("expand metadata"), (*call).getRefund},

	"POST customers": {books.OpOther, set(`address balance description email expand metadata name payment_method phone
		preferred_locales shipping`), (*call).createCustomer},
	"GET balance": {books.OpOther, set(expandOnly), (*call).balance},
}

// route finds the endpoint of a request, and the ID in its path.
func route(r *http.Request) (endpoint, string, error) {
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	if !ok {
		return endpoint{}, "", unknownURL(r)
	}
	if e, ok := api[r.Method+" "+path]; ok {
		return e, "", nil
	}
	parts := strings.Split(path, "/")
	if len(parts) < 2 || len(parts) > 3 || parts[1] == "" {
		return endpoint{}, "", unknownURL(r)
	}
	id := parts[1]
	parts[1] = "*"
	e, ok := api[r.Method+" "+strings.Join(parts, "/")]
	if !ok {
		return endpoint{}, "", unknownURL(r)
	}
	return e, id, nil
}

func unknownURL(r *http.Request) error {
	return &apiError{
		status:  http.StatusNotFound,
		message: "Unrecognized request URL (" + r.Method + ": " + r.URL.Path + ").",
	}
}
