package stripe

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// Our names in Stripe's metadata. Merchants' keys of the same prefix stay at
// home: they would break the tie between an object at Stripe and ours.
const (
	metaPrefix    = "purser_"
	metaPayment   = metaPrefix + "payment"   // our payment's ID
	metaReference = metaPrefix + "reference" // Call.Reference of the attempt
	metaOrder     = metaPrefix + "order"     // the merchant's own reference
)

// Stripe's limits, in characters and entries.
const (
	maxMetaEntries = 50
	maxMetaKey     = 40
	maxMetaValue   = 500
	maxDescription = 1000
	maxSuffix      = 22
)

// encodeMethod stores the card: a step that moves no money.
func (s *Connector) encodeMethod(c connector.Call, op payment.Authorize) (*http.Request, error) {
	card := op.Method.Card
	if card == nil || card.Number.IsZero() {
		return nil, errors.New("stripe: the card number is gone")
	}
	var f form
	f.add("type", "card")
	f.add("card[number]", card.Number.Reveal())
	f.add("card[exp_month]", strconv.Itoa(card.ExpMonth))
	f.add("card[exp_year]", strconv.Itoa(card.ExpYear))
	f.add("card[cvc]", card.CVC.Reveal())
	customer := payment.Customer{}
	if op.Customer != nil {
		customer = *op.Customer
	}
	name := card.HolderName
	if name == "" {
		name = customer.Name
	}
	f.add("billing_details[name]", name)
	f.add("billing_details[email]", customer.Email)
	f.add("billing_details[phone]", customer.Phone)
	f.address("billing_details", op.Billing)
	return s.post(c, "/v1/payment_methods", f)
}

// encodeIntent makes and confirms the PaymentIntent in one request.
func (s *Connector) encodeIntent(c connector.Call, op payment.Authorize) (*http.Request, error) {
	amount, err := toStripe(op.Amount)
	if err != nil {
		return nil, err
	}
	method := op.Method.Token
	if op.Method.Type == payment.MethodCard {
		method = c.Done[stepMethod]
	}
	if !isToken(method) {
		return nil, errors.New("stripe: no PaymentMethod to charge")
	}
	var f form
	f.add("amount", strconv.FormatInt(amount, 10))
	f.add("currency", strings.ToLower(string(op.Amount.Currency)))
	if op.Capture {
		f.add("capture_method", "automatic")
	} else {
		f.add("capture_method", "manual")
		f.add("payment_method_options[card][request_multicapture]", "if_available")
	}
	f.add("confirm", "true")
	f.add("payment_method", method)
	// Cards alone: with every method of the account's settings, Stripe would
	// insist on a return_url.
	f.add("payment_method_types[0]", "card")
	f.add("return_url", op.ReturnURL)
	if op.OffSession {
		f.add("off_session", "true")
	}
	f.add("description", cut(op.Description, maxDescription))
	f.add("statement_descriptor_suffix", suffix(op.StatementDescriptor))
	f.shipping(op)
	f.metadata(c, op)
	f.add("expand[0]", "latest_charge")
	return s.post(c, "/v1/payment_intents", f)
}

func (s *Connector) encodeCapture(c connector.Call, op payment.Capture) (*http.Request, error) {
	id, err := charge(op.Charge)
	if err != nil {
		return nil, err
	}
	amount, err := toStripe(op.Amount)
	if err != nil {
		return nil, err
	}
	var f form
	f.add("amount_to_capture", strconv.FormatInt(amount, 10))
	if !op.Final {
		f.add("final_capture", "false") // else Stripe lets the rest go
	}
	f.add("expand[0]", "latest_charge")
	return s.post(c, "/v1/payment_intents/"+id+"/capture", f)
}

func (s *Connector) encodeCancel(c connector.Call, op payment.Void) (*http.Request, error) {
	id, err := charge(op.Charge)
	if err != nil {
		return nil, err
	}
	reason := op.Reason
	switch reason {
	case "duplicate", "fraudulent", "abandoned":
	default:
		reason = "requested_by_customer"
	}
	var f form
	f.add("cancellation_reason", reason)
	f.add("expand[0]", "latest_charge")
	return s.post(c, "/v1/payment_intents/"+id+"/cancel", f)
}

func (s *Connector) encodeRefund(c connector.Call, op payment.GiveBack) (*http.Request, error) {
	id, err := charge(op.Charge)
	if err != nil {
		return nil, err
	}
	amount, err := toStripe(op.Amount)
	if err != nil {
		return nil, err
	}
	var f form
	f.add("payment_intent", id)
	f.add("amount", strconv.FormatInt(amount, 10))
	switch op.Reason {
	case "duplicate", "fraudulent", "requested_by_customer":
		f.add("reason", op.Reason)
	}
	f.add("metadata["+metaReference+"]", c.Reference)
	return s.post(c, "/v1/refunds", f)
}

// encodeSync asks by Stripe's own names. A refund whose answer was lost is
// looked for among those of its charge; that list is exact, unlike the search.
func (s *Connector) encodeSync(c connector.Call, op payment.Sync) (*http.Request, error) {
	if op.Of == payment.KindRefund && op.PSPReference != "" {
		if !validID(op.PSPReference) {
			return nil, errors.New("stripe: the refund's ID is malformed")
		}
		return s.request(c, http.MethodGet, "/v1/refunds/"+op.PSPReference, "")
	}
	ref := op.Charge
	if ref.PSPReference == "" && op.Of == payment.KindAuthorize {
		ref.PSPReference = op.PSPReference
	}
	if unnamed(op) {
		if !validID(op.Reference) {
			return nil, errors.New("stripe: the reference is malformed")
		}
		query := url.Values{"query": {"metadata['" + metaReference + "']:'" + op.Reference + "'"}, "limit": {"2"}}
		return s.request(c, http.MethodGet, "/v1/payment_intents/search?"+query.Encode(), "")
	}
	id, err := charge(ref)
	if err != nil {
		return nil, err
	}
	if op.Of == payment.KindRefund {
		query := url.Values{"payment_intent": {id}, "limit": {"100"}}
		return s.request(c, http.MethodGet, "/v1/refunds?"+query.Encode(), "")
	}
	query := url.Values{"expand[]": {"latest_charge"}}
	return s.request(c, http.MethodGet, "/v1/payment_intents/"+id+"?"+query.Encode(), "")
}

// unnamed tells that a PaymentIntent is to be found whose ID was lost with the
// answer.
func unnamed(op payment.Sync) bool {
	return op.Of == payment.KindAuthorize && op.PSPReference == "" && op.Charge.PSPReference == ""
}

// CanAsk tells that an authorization can be searched for by our reference.
func (*Connector) CanAsk(c connector.Call) bool {
	op, ok := c.Op.(payment.Sync)
	return ok && op.Of == payment.KindAuthorize
}

// charge returns the PaymentIntent's ID.
func charge(ref payment.ChargeRef) (string, error) {
	switch {
	case ref.PSPReference == "":
		return "", fmt.Errorf("stripe: a charge of which Stripe's ID is not known: %w", connector.ErrUnsupported)
	case !validID(ref.PSPReference):
		return "", errors.New("stripe: the charge's ID is malformed")
	}
	return ref.PSPReference, nil
}

func (s *Connector) post(c connector.Call, path string, f form) (*http.Request, error) {
	r, err := s.request(c, http.MethodPost, path, f.encode())
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Idempotency-Key", c.Key)
	return r, nil
}

func (s *Connector) request(c connector.Call, method, path, body string) (*http.Request, error) {
	if s.SecretKey.Reveal() == "" {
		return nil, errors.New("stripe: no secret_key")
	}
	if method != http.MethodGet && c.Key == "" {
		return nil, errors.New("stripe: no idempotency key")
	}
	r, err := http.NewRequest(method, c.BaseURL+path, strings.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("stripe: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+s.SecretKey.Reveal())
	r.Header.Set("Stripe-Version", Version)
	r.Header.Set("Accept", "application/json")
	return r, nil
}

// isToken tells a PaymentMethod's ID.
func isToken(s string) bool { return strings.HasPrefix(s, "pm_") && validID(s) }

// validID tells whether s may stand in a path and in our store.
func validID(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for i := range len(s) {
		b := s[i]
		if b != '_' && (b < '0' || b > '9') && (b < 'A' || b > 'Z') && (b < 'a' || b > 'z') {
			return false
		}
	}
	return true
}
