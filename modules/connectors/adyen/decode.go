package adyen

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// These are the parts of Adyen's answers that we read.
type (
	paymentAnswer struct {
		PSPReference   string         `json:"pspReference"`
		ResultCode     string         `json:"resultCode"`
		Reference      string         `json:"merchantReference"`
		RefusalReason  string         `json:"refusalReason"`
		RefusalCode    string         `json:"refusalReasonCode"`
		Amount         *money         `json:"amount"`
		Action         *action        `json:"action"`
		AdditionalData jsontext.Value `json:"additionalData"`
	}
	action struct {
		Type   string            `json:"type"`
		Method string            `json:"method"`
		URL    string            `json:"url"`
		Data   map[string]string `json:"data"`
	}
	cardData struct {
		Summary   string `json:"cardSummary"`
		Expiry    string `json:"expiryDate"` // M/YYYY
		Brand     string `json:"paymentMethod"`
		NetworkTx string `json:"networkTxReference"`
	}
	received struct {
		MerchantAccount     string `json:"merchantAccount"`
		PSPReference        string `json:"pspReference"`
		PaymentPSPReference string `json:"paymentPspReference"`
		PaymentReference    string `json:"paymentReference"`
		Reference           string `json:"reference"`
		Status              string `json:"status"`
		Amount              *money `json:"amount"`
	}
	serviceError struct {
		Status    int    `json:"status"`
		ErrorCode string `json:"errorCode"`
		ErrorType string `json:"errorType"`
		Message   string `json:"message"`
	}
)

// Bounds of what an answer may hold.
const (
	maxURL       = 8192 // characters of a redirect: 3-D Secure puts much into it
	maxFields    = 20   // of a redirect by POST
	maxField     = 20_000
	maxNetworkID = 64
)

// Decode reads Adyen's answer to c.
func (a *Connector) Decode(c connector.Call, r connector.Response) (connector.Result, error) {
	result, err := a.decode(c, r)
	if err != nil {
		return connector.Result{}, fmt.Errorf("adyen: decode: %w", err)
	}
	return result, nil
}

func (a *Connector) decode(c connector.Call, r connector.Response) (connector.Result, error) {
	if r.StatusCode != http.StatusOK && r.StatusCode != http.StatusCreated {
		return decodeError(r)
	}
	switch op := c.Op.(type) {
	case payment.Authorize:
		return decodePayment(r.Body, c.Reference, op.Amount, plain(c))
	case payment.Sync:
		return decodePayment(r.Body, op.Charge.Reference, op.Charge.Amount, plain(c))
	case payment.Capture:
		return a.decodeReceived(r.Body, c.Reference, op.Charge, op.Amount)
	case payment.GiveBack:
		return a.decodeReceived(r.Body, c.Reference, op.Charge, op.Amount)
	case payment.Void:
		return a.decodeReceived(r.Body, c.Reference, op.Charge, payment.Money{})
	default:
		return connector.Result{}, fmt.Errorf("%T", c.Op)
	}
}

// plain tells that the account's own address is plain HTTP: a simulator, whose
// redirects may then be plain as well.
func plain(c connector.Call) bool { return strings.HasPrefix(c.BaseURL, "http://") }

// parse reads a JSON body into v.
func parse(body []byte, v any) error {
	if err := json.Unmarshal(body, v); err != nil {
		return errors.New("the body is not the JSON that was expected") // the decoder's message may quote it
	}
	return nil
}

// decodePayment reads the answer of /payments and of /payments/details.
func decodePayment(body []byte, reference string, asked payment.Money, plain bool) (connector.Result, error) {
	var p paymentAnswer
	if err := parse(body, &p); err != nil {
		return connector.Result{}, err
	}
	r := connector.Result{PSPReference: p.PSPReference}
	switch {
	case p.Reference != "" && reference != "" && p.Reference != reference:
		return connector.Result{}, errors.New("a payment of another reference")
	case p.PSPReference != "" && !name(p.PSPReference, maxPSPReference):
		return connector.Result{}, errors.New("the pspReference is malformed")
	}
	if p.Amount != nil {
		amount, err := fromAdyen(*p.Amount)
		if err != nil {
			return connector.Result{}, err
		}
		if !asked.IsZero() && amount != asked {
			return connector.Result{}, fmt.Errorf("%s was asked for, and %s answered", asked, amount)
		}
		r.Amount = amount
	}
	p.describe(&r)
	return r, p.verdict(&r, plain)
}

// verdict reads the resultCode.
func (p *paymentAnswer) verdict(r *connector.Result, plain bool) error {
	switch p.ResultCode {
	case "Authorised":
		r.State = connector.Succeeded
		if p.PSPReference == "" {
			return errors.New("authorized without a pspReference")
		}
	case "Refused":
		r.State, r.Failure = connector.Declined, refusal(p.RefusalCode, p.RefusalReason, payment.CardDeclined)
	case "Cancelled":
		r.State, r.Failure = connector.Declined, refusal(p.RefusalCode, p.RefusalReason, payment.CanceledByCustomer)
	case "Error":
		if p.RefusalReason == "" && p.RefusalCode == "" {
			return errors.New("an error without a reason: the acquirer may have done it")
		}
		r.State, r.Failure = connector.Declined, refusal(p.RefusalCode, p.RefusalReason, payment.ProcessingError)
	case "Pending", "Received":
		r.State = connector.Pending
	case "RedirectShopper", "IdentifyShopper", "ChallengeShopper", "PresentToShopper":
		p.act(r, plain)
	default: // PartiallyAuthorised among them: nobody asked for a part
		return fmt.Errorf("resultCode %.40q is no end that was asked for", p.ResultCode)
	}
	return nil
}

// act fills in what the payer must do. Anything but a redirect needs Adyen's own
// library in the payer's browser, which is not there. The pspReference is left
// out: Adyen gives the payment's own only once the action is done.
func (p *paymentAnswer) act(r *connector.Result, plain bool) {
	r.PSPReference = ""
	if n := p.Action; n != nil && n.Type == "redirect" && validURL(n.URL, plain) && len(n.Data) <= maxFields {
		method := strings.ToUpper(n.Method)
		next := &payment.NextAction{Type: payment.ActionRedirect, URL: n.URL, Method: method}
		ok := method == http.MethodGet || method == http.MethodPost
		for k, v := range n.Data {
			ok = ok && len(k) <= maxName && len(v) <= maxField
		}
		if method == http.MethodPost {
			next.Fields = n.Data
		}
		if ok {
			r.State, r.Action = connector.ActionRequired, next
			return
		}
	}
	r.State = connector.Declined // and not payable: nobody but us could hand in the details
	r.Failure = payment.FailPSP(payment.AuthenticationRequired, p.ResultCode, "")
}

func validURL(s string, plain bool) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= maxURL && u.Host != "" && u.User == nil &&
		(u.Scheme == "https" || (plain && u.Scheme == "http"))
}

// describe adds what the answer tells of the card. None of it decides about
// money, so what is malformed is left out.
func (p *paymentAnswer) describe(r *connector.Result) {
	var d cardData
	if len(p.AdditionalData) == 0 || json.Unmarshal(p.AdditionalData, &d) != nil {
		return
	}
	if len(d.NetworkTx) <= maxNetworkID && visible(d.NetworkTx) {
		r.NetworkTransactionID = d.NetworkTx
	}
	m := payment.MethodSummary{Type: payment.MethodCard}
	if len(d.Summary) == 4 && strings.Trim(d.Summary, "0123456789") == "" {
		m.Last4 = d.Summary
	}
	if b, ok := brands[d.Brand]; ok {
		m.Brand = b
	}
	month, year, _ := strings.Cut(d.Expiry, "/")
	mm, errM := strconv.Atoi(month)
	yy, errY := strconv.Atoi(year)
	if errM == nil && errY == nil && mm >= 1 && mm <= 12 && yy >= 2000 && yy < 2100 {
		m.ExpMonth, m.ExpYear = mm, yy
	}
	if m != (payment.MethodSummary{Type: payment.MethodCard}) {
		r.Card = &m
	}
}

// brands are Adyen's names of the networks, and ours.
var brands = map[string]string{
	"visa": "visa", "mc": "mastercard", "amex": "amex", "discover": "discover", "diners": "diners", "jcb": "jcb", "cup": "unionpay",
}

// decodeReceived reads the answer to a modification: taken, and no more.
func (a *Connector) decodeReceived(body []byte, reference string, charge payment.ChargeRef, asked payment.Money) (connector.Result, error) {
	var m received
	if err := parse(body, &m); err != nil {
		return connector.Result{}, err
	}
	switch {
	case m.Status != "received":
		return connector.Result{}, fmt.Errorf("status %.40q", m.Status)
	case !name(m.PSPReference, maxPSPReference):
		return connector.Result{}, errors.New("no pspReference")
	case m.MerchantAccount != a.MerchantAccount:
		return connector.Result{}, errors.New("of another merchant account")
	case m.Reference != "" && m.Reference != reference:
		return connector.Result{}, errors.New("of another reference")
	case m.PaymentPSPReference != "" && m.PaymentPSPReference != charge.PSPReference,
		m.PaymentReference != "" && m.PaymentReference != charge.Reference:
		return connector.Result{}, errors.New("of another payment")
	}
	r := connector.Result{State: connector.Pending, PSPReference: m.PSPReference}
	if m.Amount == nil || asked.IsZero() {
		return r, nil
	}
	amount, err := fromAdyen(*m.Amount)
	if err != nil {
		return connector.Result{}, err
	}
	if amount != asked {
		return connector.Result{}, fmt.Errorf("%s was asked for, and %s answered", asked, amount)
	}
	r.Amount = amount
	return r, nil
}

// processed is the errorCode of a request that was made before, and may be at
// work still: it tells nothing of what came of it.
const processed = "704"

// decodeError reads everything that is not a success. Only Adyen's own error
// object is believed: a proxy's page says nothing of what was done.
func decodeError(r connector.Response) (connector.Result, error) {
	if r.StatusCode < 400 || r.StatusCode > 499 {
		return connector.Result{}, fmt.Errorf("status %d", r.StatusCode)
	}
	var e serviceError
	if err := parse(r.Body, &e); err != nil {
		return connector.Result{}, fmt.Errorf("status %d: %w", r.StatusCode, err)
	}
	doubt := fmt.Errorf("status %d: errorCode %.16q", r.StatusCode, e.ErrorCode)
	if e.ErrorCode == "" && e.ErrorType == "" || e.ErrorCode == processed {
		return connector.Result{}, doubt
	}
	if r.StatusCode == http.StatusTooManyRequests {
		return turnedAway(payment.FailPSP(payment.PSPUnavailable, e.ErrorCode, e.Message)), nil
	}
	if strings.EqualFold(r.Header.Get("Transient-Error"), "true") {
		return connector.Result{}, doubt
	}
	switch r.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		// The message is left out: it may quote the key.
		return turnedAway(payment.FailPSP(payment.ConfigurationError, e.ErrorCode, "")), nil
	case http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity:
		code, known := errorCodes[e.ErrorCode]
		if !known {
			code = payment.PSPRejectedRequest
		}
		return turnedAway(payment.FailPSP(code, e.ErrorCode, e.Message)), nil
	default: // 409: the first request under the key still runs
		return connector.Result{}, doubt
	}
}

func turnedAway(f *payment.Failure) connector.Result {
	return connector.Result{State: connector.Rejected, Failure: f}
}
