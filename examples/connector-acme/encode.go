package acme

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

const maxDescription = 100 // characters

type (
	chargeRequest struct {
		Reference         string `json:"reference"`
		Amount            int64  `json:"amount"`
		Currency          string `json:"currency"`
		Capture           bool   `json:"capture"`
		Card              *card  `json:"card,omitzero"`
		CardToken         string `json:"card_token,omitzero"`
		Shop              string `json:"shop,omitzero"`
		Order             string `json:"order,omitzero"`
		Description       string `json:"description,omitzero"`
		ReturnURL         string `json:"return_url,omitzero"`
		MerchantInitiated bool   `json:"merchant_initiated,omitzero"`
	}
	card struct {
		Number   string `json:"number"`
		ExpMonth int    `json:"exp_month"`
		ExpYear  int    `json:"exp_year"`
		CVC      string `json:"cvc,omitzero"`
		Holder   string `json:"holder,omitzero"`
	}
	captureRequest struct {
		Amount int64 `json:"amount"`
	}
	voidRequest struct {
		Reason string `json:"reason,omitzero"`
	}
	refundRequest struct {
		Reference       string `json:"reference"`
		ChargeReference string `json:"charge_reference"`
		Amount          int64  `json:"amount"`
		Currency        string `json:"currency"`
		Reason          string `json:"reason,omitzero"`
	}
)

// encodeCharge names the charge by our reference, so that it can be found
// whatever becomes of the answer.
func (a *Connector) encodeCharge(c connector.Call, op payment.Authorize) (*http.Request, error) {
	if err := a.Check(op); err != nil {
		return nil, err
	}
	r := chargeRequest{
		Reference: c.Reference, Amount: op.Amount.Minor, Currency: string(op.Amount.Currency), Capture: op.Capture,
		Shop: a.Shop, Order: op.Payment, Description: cut(op.Description, maxDescription),
		ReturnURL: op.ReturnURL, MerchantInitiated: op.OffSession,
	}
	if op.Method.Type == payment.MethodCardToken {
		r.CardToken = op.Method.Token
		return a.post(c, "/v1/charges", r)
	}
	m := op.Method.Card
	if m == nil || m.Number.IsZero() || m.Number.Reveal() == payment.Redacted {
		return nil, errors.New("acme: the card number is gone")
	}
	r.Card = &card{m.Number.Reveal(), m.ExpMonth, m.ExpYear, m.CVC.Reveal(), m.HolderName}
	return a.post(c, "/v1/charges", r)
}

func (a *Connector) encodeCapture(c connector.Call, op payment.Capture) (*http.Request, error) {
	if err := a.Check(op); err != nil {
		return nil, err
	}
	return a.post(c, "/v1/charges/"+op.Charge.Reference+"/capture", captureRequest{op.Amount.Minor})
}

func (a *Connector) encodeRefund(c connector.Call, op payment.GiveBack) (*http.Request, error) {
	if err := a.Check(op); err != nil {
		return nil, err
	}
	return a.post(c, "/v1/refunds", refundRequest{
		c.Reference, op.Charge.Reference, op.Amount.Minor, string(op.Amount.Currency), op.Reason,
	})
}

// encodeQuery asks for a refund by its own reference, and for all else by the
// charge's: a capture or a void is seen in the charge's sums and status.
func (a *Connector) encodeQuery(c connector.Call, op payment.Sync) (*http.Request, error) {
	path := "/v1/charges/" + op.Charge.Reference
	if op.Of == payment.KindRefund {
		path = "/v1/refunds/" + op.Reference
	}
	return a.request(c, http.MethodGet, path, nil)
}

func (a *Connector) post(c connector.Call, path string, body any) (*http.Request, error) {
	if c.Key == "" {
		return nil, errors.New("acme: no idempotency key")
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, errors.New("acme: the request is no JSON") // the encoder's message may quote it
	}
	r, err := a.request(c, http.MethodPost, path, b)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", c.Key)
	return r, nil
}

func (a *Connector) request(c connector.Call, method, path string, body []byte) (*http.Request, error) {
	r, err := http.NewRequest(method, c.BaseURL+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("acme: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+a.APIKey.Reveal())
	r.Header.Set("Accept", "application/json")
	return r, nil
}

// cut returns the first n characters of s.
func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}
