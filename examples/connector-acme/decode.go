package acme

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

const (
	maxName = 64   // characters of Acme's names
	maxURL  = 4096 // characters of a redirect
)

// These are the parts of Acme's answers that we read.
type (
	charge struct {
		ID             string    `json:"id"`
		Reference      string    `json:"reference"`
		Status         string    `json:"status"`
		Amount         int64     `json:"amount"`
		Currency       string    `json:"currency"`
		Authorized     int64     `json:"authorized"`
		Captured       int64     `json:"captured"`
		Refunded       int64     `json:"refunded"`
		Live           *bool     `json:"live"`
		DeclineCode    string    `json:"decline_code"`
		DeclineMessage string    `json:"decline_message"`
		RedirectURL    string    `json:"redirect_url"`
		HoldUntil      time.Time `json:"hold_until"`
		Card           *struct {
			Brand    string `json:"brand"`
			Last4    string `json:"last4"`
			ExpMonth int    `json:"exp_month"`
			ExpYear  int    `json:"exp_year"`
		} `json:"card"`
	}
	refund struct {
		ID              string `json:"id"`
		Reference       string `json:"reference"`
		ChargeID        string `json:"charge_id"`
		ChargeReference string `json:"charge_reference"`
		Amount          int64  `json:"amount"`
		Currency        string `json:"currency"`
		Status          string `json:"status"`
		FailureCode     string `json:"failure_code"`
		Live            *bool  `json:"live"`
	}
)

// Decode reads Acme's answer to c.
func (*Connector) Decode(c connector.Call, r connector.Response) (connector.Result, error) {
	result, err := decode(c, r)
	if err != nil {
		return connector.Result{}, fmt.Errorf("acme: decode: %w", err)
	}
	return result, nil
}

func decode(c connector.Call, r connector.Response) (connector.Result, error) {
	if r.StatusCode != http.StatusOK && r.StatusCode != http.StatusCreated {
		return decodeError(c, r)
	}
	switch op := c.Op.(type) {
	case payment.Authorize:
		return decodeCharge(c, r.Body, c.Reference)
	case payment.Capture:
		return decodeCapture(c, op, r.Body)
	case payment.Void:
		return decodeVoid(c, op, r.Body)
	case payment.GiveBack:
		return decodeRefund(r.Body, c.Reference, op.Charge.Reference)
	case payment.Sync:
		if op.Of == payment.KindRefund {
			return decodeRefund(r.Body, op.Reference, op.Charge.Reference)
		}
		return decodeCharge(c, r.Body, op.Charge.Reference)
	default:
		return connector.Result{}, fmt.Errorf("%T", c.Op)
	}
}

// parse reads a JSON body into v.
func parse(body []byte, v any) error {
	if err := json.Unmarshal(body, v); err != nil {
		return errors.New("the body is not the JSON that was expected") // the decoder's message may quote it
	}
	return nil
}

// decodeCharge reads a charge, and sees that it is the one in question.
func decodeCharge(c connector.Call, body []byte, reference string) (connector.Result, error) {
	var ch charge
	if err := parse(body, &ch); err != nil {
		return connector.Result{}, err
	}
	if ch.Reference != reference {
		return connector.Result{}, errors.New("a charge of another reference")
	}
	return ch.result(strings.HasPrefix(c.BaseURL, "http://"))
}

// result puts a charge into our words. plain allows a redirect to an http
// address, for a simulator.
func (ch *charge) result(plain bool) (connector.Result, error) {
	state, known := statuses[ch.Status]
	if !known {
		return connector.Result{}, fmt.Errorf("status %.40q is unknown", ch.Status)
	}
	totals, err := ch.totals()
	if err != nil {
		return connector.Result{}, err
	}
	r := connector.Result{State: state, PSPReference: ch.ID, Charge: totals, Card: ch.summary()}
	switch state {
	case connector.Declined:
		r.Failure = refusal(ch.DeclineCode, ch.DeclineMessage, payment.CardDeclined)
	case connector.ActionRequired:
		if !redirect(ch.RedirectURL, plain) {
			return connector.Result{}, errors.New("the payer must act, and the redirect_url is none")
		}
		r.Action = &payment.NextAction{Type: payment.ActionRedirect, URL: ch.RedirectURL, Method: http.MethodGet}
	default:
		if ch.Status == "authorized" {
			r.CaptureBefore = ch.HoldUntil
		}
	}
	return r, nil
}

// totals is the charge's view of itself.
func (ch *charge) totals() (*connector.Charge, error) {
	currency, err := payment.ParseCurrency(ch.Currency)
	switch {
	case err != nil:
		return nil, err
	case !name(ch.ID):
		return nil, errors.New("the id is malformed")
	case ch.Amount < 1 || ch.Amount > maxAmount:
		return nil, fmt.Errorf("amount %d is out of bounds", ch.Amount)
	case ch.Refunded < 0 || ch.Refunded > ch.Captured || ch.Captured > ch.Authorized || ch.Authorized > ch.Amount:
		return nil, errors.New("refunded ≤ captured ≤ authorized ≤ amount does not hold")
	case ch.held() != (ch.Status == "authorized") || (ch.Captured > 0) != (ch.Status == "captured"):
		return nil, fmt.Errorf("status %.40q contradicts the sums", ch.Status)
	}
	return &connector.Charge{
		PSPReference: ch.ID, Reference: ch.Reference, Amount: payment.Money{Minor: ch.Amount, Currency: currency},
		Authorized: ch.Authorized, Captured: ch.Captured, Refunded: ch.Refunded,
		Released: ch.Authorized > 0 && !ch.held(), Livemode: ch.Live,
	}, nil
}

// held tells that something is left to capture: Acme takes one capture, and what
// was voided or has expired is gone.
func (ch *charge) held() bool {
	return ch.Authorized > 0 && ch.Captured == 0 && statuses[ch.Status] != connector.Canceled
}

// summary is what may be shown of the card. None of it decides about money, so
// what is malformed is left out.
func (ch *charge) summary() *payment.MethodSummary {
	m := ch.Card
	if m == nil || len(m.Last4) != 4 || strings.Trim(m.Last4, "0123456789") != "" || !name(m.Brand) ||
		m.ExpMonth < 1 || m.ExpMonth > 12 || m.ExpYear < 2000 || m.ExpYear > 2099 {
		return nil
	}
	return &payment.MethodSummary{
		Type: payment.MethodCard, Brand: m.Brand, Last4: m.Last4, ExpMonth: m.ExpMonth, ExpYear: m.ExpYear,
	}
}

// decodeCapture believes a capture only where the charge shows it.
func decodeCapture(c connector.Call, op payment.Capture, body []byte) (connector.Result, error) {
	r, err := decodeCharge(c, body, op.Charge.Reference)
	switch {
	case err != nil:
		return connector.Result{}, err
	case r.State != connector.Succeeded || r.Charge.Captured != op.Amount.Minor:
		return connector.Result{}, fmt.Errorf("a capture of %d was answered with %s, %d captured", op.Amount.Minor, r.State, r.Charge.Captured)
	}
	return r, nil
}

// decodeVoid believes a void only where the charge is gone.
func decodeVoid(c connector.Call, op payment.Void, body []byte) (connector.Result, error) {
	r, err := decodeCharge(c, body, op.Charge.Reference)
	switch {
	case err != nil:
		return connector.Result{}, err
	case r.State != connector.Canceled:
		return connector.Result{}, fmt.Errorf("a void was answered with %s", r.State)
	}
	return r, nil
}

// decodeRefund reads a refund, and sees that it is the one in question.
func decodeRefund(body []byte, reference, of string) (connector.Result, error) {
	var re refund
	if err := parse(body, &re); err != nil {
		return connector.Result{}, err
	}
	if re.Reference != reference || re.ChargeReference != of {
		return connector.Result{}, errors.New("a refund of another reference")
	}
	return re.result()
}

func (re *refund) result() (connector.Result, error) {
	state, known := refundStatuses[re.Status]
	currency, err := payment.ParseCurrency(re.Currency)
	switch {
	case !known:
		return connector.Result{}, fmt.Errorf("refund status %.40q is unknown", re.Status)
	case err != nil:
		return connector.Result{}, err
	case !name(re.ID) || re.Amount < 1 || re.Amount > maxAmount:
		return connector.Result{}, errors.New("the refund's id or amount is malformed")
	}
	r := connector.Result{State: state, PSPReference: re.ID, Amount: payment.Money{Minor: re.Amount, Currency: currency}}
	if state == connector.Declined {
		r.Failure = refusal(re.FailureCode, "", payment.ProcessingError)
	}
	return r, nil
}

// decodeError reads everything that is not a success. Only Acme's own error
// object is believed: a proxy's page says nothing of what was done.
func decodeError(c connector.Call, r connector.Response) (connector.Result, error) {
	if r.StatusCode < 400 || r.StatusCode > 499 || r.StatusCode == http.StatusConflict {
		return connector.Result{}, fmt.Errorf("status %d", r.StatusCode)
	}
	var body struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := parse(r.Body, &body); err != nil {
		return connector.Result{}, fmt.Errorf("status %d: %w", r.StatusCode, err)
	}
	e := body.Error
	code, known := rejections[e.Code]
	switch {
	case !known:
		return connector.Result{}, fmt.Errorf("status %d: code %.40q", r.StatusCode, e.Code)
	case c.Op.Kind() == payment.KindSync && (e.Code == "charge_not_found" || e.Code == "refund_not_found"):
		return connector.Result{State: connector.NotFound}, nil
	case code == payment.ConfigurationError:
		e.Message = "" // it may quote the key
	}
	return connector.Result{State: connector.Rejected, Failure: payment.FailPSP(code, e.Code, e.Message)}, nil
}

func redirect(s string, plain bool) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= maxURL && u.Host != "" && u.User == nil &&
		(u.Scheme == "https" || (plain && u.Scheme == "http"))
}

// name tells whether s is a name that may stand in a path and in our store.
func name(s string) bool {
	if s == "" || len(s) > maxName {
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
