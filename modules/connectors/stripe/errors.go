package stripe

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// Types of error; https://docs.stripe.com/api/errors.
const (
	typeCard        = "card_error"
	typeIdempotency = "idempotency_error"
	typeAPI         = "api_error"
)

// doubtful lists the refusals that contradict what we believe of the object:
// most often, that our own lost request was done. They are no verdict; a query
// is.
var doubtful = map[string]bool{
	"payment_intent_unexpected_state": true,
	"charge_already_captured":         true,
	"charge_already_refunded":         true,
	"idempotency_key_in_use":          true,
}

// lapsed refuses a capture for good. What was captured cannot lapse, and a lost
// send that was done would be answered by its own result under its key: so it is
// a verdict on the sends before as well.
const lapsed = "charge_expired_for_capture"

// decodeError reads everything that is not a 200. Only Stripe's own error
// object is believed: a proxy's page says nothing of what was done.
func decodeError(c connector.Call, r connector.Response) (connector.Result, error) {
	none := connector.Result{}
	if r.StatusCode < 400 || r.StatusCode > 499 {
		return none, fmt.Errorf("status %d", r.StatusCode)
	}
	var body struct {
		Error *apiError `json:"error"`
	}
	if err := parse(r.Body, &body); err != nil {
		return none, fmt.Errorf("status %d: %w", r.StatusCode, err)
	}
	e := body.Error
	if e == nil || e.Type == "" {
		return none, fmt.Errorf("status %d without an error object", r.StatusCode)
	}
	doubt := fmt.Errorf("status %d: type %.32q, code %.64q", r.StatusCode, e.Type, e.Code)
	if e.Type == typeIdempotency || e.Type == typeAPI || doubtful[e.Code] {
		return none, doubt
	}
	if e.Code == lapsed {
		if c.Op.Kind() != payment.KindCapture {
			return none, doubt
		}
		return decodeDecline(c, e)
	}
	switch r.StatusCode {
	case http.StatusPaymentRequired:
		return decodeDecline(c, e)
	case http.StatusBadRequest:
		if e.Type == typeCard || e.PaymentIntent != nil {
			return decodeDecline(c, e)
		}
		return turnedAway(e.failure(payment.PSPRejectedRequest)), nil
	case http.StatusUnauthorized, http.StatusForbidden:
		// The message is left out: it may quote the key.
		return turnedAway(payment.FailPSP(payment.ConfigurationError, e.Code, "")), nil
	case http.StatusNotFound:
		if c.Op.Kind() == payment.KindSync {
			return connector.Result{State: connector.NotFound}, nil
		}
		return turnedAway(e.failure(payment.PSPRejectedRequest)), nil
	case http.StatusTooManyRequests:
		return turnedAway(payment.FailPSP(payment.PSPUnavailable, e.Code, e.Message)), nil
	default: // 409: a conflict, and whatever else there may be
		return none, doubt
	}
}

func turnedAway(f *payment.Failure) connector.Result {
	return connector.Result{State: connector.Rejected, Failure: f}
}

// decodeDecline reads a refusal for good. That of an authorization bears its
// PaymentIntent, which may still be open. A query is never declined.
func decodeDecline(c connector.Call, e *apiError) (connector.Result, error) {
	if c.Op.Kind() == payment.KindSync {
		return connector.Result{}, errors.New("a query was declined")
	}
	r := connector.Result{State: connector.Declined, Failure: e.failure(payment.CardDeclined)}
	op, authorize := c.Op.(payment.Authorize)
	if !authorize || e.PaymentIntent == nil {
		return r, nil
	}
	pi, err := readIntent(e.PaymentIntent, insecure(c.BaseURL))
	switch {
	case err != nil:
		return connector.Result{}, fmt.Errorf("the PaymentIntent of a decline: %w", err)
	case pi.State == connector.Succeeded || pi.State == connector.Pending:
		return connector.Result{}, errors.New("a decline whose PaymentIntent goes on")
	case pi.Charge.Reference != "" && pi.Charge.Reference != c.Reference:
		return connector.Result{}, errors.New("a decline of another reference")
	case pi.Charge.Amount.Currency != op.Amount.Currency:
		return connector.Result{}, errors.New("a decline in another currency")
	}
	r.PSPReference, r.Amount, r.Charge, r.Card = pi.PSPReference, pi.Amount, pi.Charge, pi.Card
	r.Payable, r.Unattended = pi.State != connector.Canceled, pi.Unattended || pi.State == connector.ActionRequired
	return r, nil
}
