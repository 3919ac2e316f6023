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
	if unnamed(op) {
		return decodeSearch(body, op.Reference)
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

// decodeSearch takes a name out of a search by our reference, and nothing else:
// the index runs about a minute behind the truth, so what it shows may be stale,
// and what it does not show proves nothing. The next query asks by the name.
func decodeSearch(body []byte, reference string) (connector.Result, error) {
	var page struct {
		Object string `json:"object"`
		Data   []struct {
			ID       string            `json:"id"`
			Object   string            `json:"object"`
			Metadata map[string]string `json:"metadata"`
		} `json:"data"`
	}
	if err := parse(body, &page); err != nil {
		return connector.Result{}, err
	}
	switch {
	case page.Object != "search_result":
		return connector.Result{}, fmt.Errorf("object %.32q, want a search_result", page.Object)
	case len(page.Data) == 0:
		return connector.Result{}, errors.New("the search finds nothing, which proves nothing")
	case len(page.Data) > 1:
		return connector.Result{}, errors.New("the search finds more than one PaymentIntent of one reference")
	}
	pi := page.Data[0]
	if err := object(pi.ID, pi.Object, "payment_intent"); err != nil {
		return connector.Result{}, err
	}
	if pi.Metadata[metaReference] != reference {
		return connector.Result{}, errors.New("the search finds a PaymentIntent of another reference")
	}
	return connector.Result{State: connector.Pending, PSPReference: pi.ID}, nil
}

// insecure tells that the account's own address is plain HTTP: a simulator,
// whose redirects may then be plain as well.
func insecure(baseURL string) bool { return strings.HasPrefix(baseURL, "http://") }
