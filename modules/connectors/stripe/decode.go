package stripe

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// Decode reads Stripe's answer to c.
func (s *Connector) Decode(c connector.Call, r connector.Response) (connector.Result, error) {
	result, err := decode(c, r)
	if err != nil {
		return connector.Result{}, fmt.Errorf("stripe: decode: %w", err)
	}
	return result, nil
}

func decode(c connector.Call, r connector.Response) (connector.Result, error) {
	if r.StatusCode != http.StatusOK {
		return decodeError(c, r)
	}
	switch op := c.Op.(type) {
	case payment.Authorize:
		if c.Step == stepMethod {
			return decodeMethod(r.Body)
		}
		return decodeAuthorize(c, op, r.Body)
	case payment.Capture:
		return decodeCapture(c, op, r.Body)
	case payment.Void:
		return decodeCancel(c, op, r.Body)
	case payment.GiveBack:
		return decodeRefund(r.Body, wantRefund{c.Reference, "", op.Charge.PSPReference, op.Amount})
	case payment.Sync:
		return decodeSync(c, op, r.Body)
	default:
		return connector.Result{}, fmt.Errorf("%T", c.Op)
	}
}

// parse reads a JSON body into v.
func parse(body []byte, v any) error {
	if err := json.Unmarshal(body, v); err != nil {
		// The decoder's message may quote the body.
		return errors.New("the body is not the JSON that was expected")
	}
	return nil
}

func decodeMethod(body []byte) (connector.Result, error) {
	var pm paymentMethod
	if err := parse(body, &pm); err != nil {
		return connector.Result{}, err
	}
	if err := object(pm.ID, pm.Object, "payment_method"); err != nil {
		return connector.Result{}, err
	}
	if !isToken(pm.ID) {
		return connector.Result{}, errors.New("the PaymentMethod's id is none")
	}
	return connector.Result{State: connector.StepDone, StepReference: pm.ID, Card: pm.Card.summary()}, nil
}

// decodeIntent reads a PaymentIntent and sees that it is the one in question:
// id or reference is what it must bear, "" where that is not known.
func decodeIntent(c connector.Call, body []byte, id, reference string, currency payment.Currency) (connector.Result, *intent, error) {
	pi := new(intent)
	if err := parse(body, pi); err != nil {
		return connector.Result{}, nil, err
	}
	r, err := readIntent(pi, insecure(c.BaseURL))
	switch {
	case err != nil:
		return connector.Result{}, nil, err
	case id != "" && pi.ID != id:
		return connector.Result{}, nil, errors.New("another PaymentIntent than the one asked for")
	case reference != "" && r.Charge.Reference != "" && r.Charge.Reference != reference:
		return connector.Result{}, nil, errors.New("a PaymentIntent of another reference")
	case r.Charge.Amount.Currency != currency:
		return connector.Result{}, nil, errors.New("another currency than the one asked for")
	}
	return r, pi, nil
}

func decodeAuthorize(c connector.Call, op payment.Authorize, body []byte) (connector.Result, error) {
	r, _, err := decodeIntent(c, body, "", c.Reference, op.Amount.Currency)
	return r, err
}

// decodeCapture believes a capture only where the PaymentIntent shows it.
func decodeCapture(c connector.Call, op payment.Capture, body []byte) (connector.Result, error) {
	r, pi, err := decodeIntent(c, body, op.Charge.PSPReference, op.Charge.Reference, op.Amount.Currency)
	if err != nil {
		return connector.Result{}, err
	}
	r.Amount = payment.Money{} // Stripe tells totals, not this capture's part
	switch {
	case r.State == connector.Pending:
	case r.State != connector.Succeeded, r.Charge.Captured < op.Amount.Minor, op.Final && !r.Charge.Released:
		return connector.Result{}, fmt.Errorf("a capture was answered with status %.32q", pi.Status)
	}
	return r, nil
}

// decodeCancel believes a void only where nothing is left to capture. A hold of
// which a part was captured ends as succeeded.
func decodeCancel(c connector.Call, op payment.Void, body []byte) (connector.Result, error) {
	r, pi, err := decodeIntent(c, body, op.Charge.PSPReference, op.Charge.Reference, op.Charge.Amount.Currency)
	if err != nil {
		return connector.Result{}, err
	}
	r.Amount = payment.Money{}
	switch {
	case r.State == connector.Canceled:
	case r.State == connector.Succeeded && r.Charge.Released && r.Charge.Captured < r.Charge.Authorized:
		r.State = connector.Canceled
	default:
		return connector.Result{}, fmt.Errorf("a cancellation was answered with status %.32q", pi.Status)
	}
	return r, nil
}

func decodeSync(c connector.Call, op payment.Sync, body []byte) (connector.Result, error) {
	if op.Of == payment.KindRefund {
		want := wantRefund{op.Reference, op.PSPReference, op.Charge.PSPReference, op.Amount}
		if op.PSPReference == "" {
			return decodeRefunds(body, want)
		}
		return decodeRefund(body, want)
	}
	id := op.Charge.PSPReference
	if id == "" {
		id = op.PSPReference
	}
	r, _, err := decodeIntent(c, body, id, op.Charge.Reference, op.Charge.Amount.Currency)
	if op.Of != payment.KindAuthorize {
		r.Amount = payment.Money{}
	}
	return r, err
}

// insecure tells that the account's own address is plain HTTP: a simulator,
// whose redirects may then be plain as well.
func insecure(baseURL string) bool { return strings.HasPrefix(baseURL, "http://") }
