package payment

import (
	"encoding/json"
	"time"
)

// paymentObject is a payment as the merchant sees it. Its fields are the
// contract: none is ever left out, so that a client can rely on their presence.
type paymentObject struct {
	ID                   string            `json:"id"`
	Object               string            `json:"object"`
	Livemode             bool              `json:"livemode"`
	Merchant             string            `json:"merchant"`
	Status               Status            `json:"status"`
	Outcome              Outcome           `json:"outcome"`
	Amount               int64             `json:"amount"`
	AmountCapturable     int64             `json:"amount_capturable"`
	AmountCaptured       int64             `json:"amount_captured"`
	AmountRefunded       int64             `json:"amount_refunded"`
	Currency             Currency          `json:"currency"`
	CaptureMethod        CaptureMethod     `json:"capture_method"`
	CaptureBefore        *time.Time        `json:"capture_before"`
	PaymentMethod        *methodObject     `json:"payment_method"`
	NextAction           *NextAction       `json:"next_action"`
	Error                *Failure          `json:"error"`
	Account              *string           `json:"account"`
	Connector            *string           `json:"connector"`
	PSPReference         *string           `json:"psp_reference"`
	NetworkTransactionID *string           `json:"network_transaction_id"`
	Attempts             []attemptObject   `json:"attempts"`
	Refunds              []refundObject    `json:"refunds"`
	Disputes             []struct{}        `json:"disputes"`
	Reference            *string           `json:"reference"`
	Description          *string           `json:"description"`
	Customer             *Customer         `json:"customer"`
	ReturnURL            *string           `json:"return_url"`
	Channel              Channel           `json:"channel"`
	Metadata             map[string]string `json:"metadata"`
	Version              int64             `json:"version"`
	CancelRequestedAt    *time.Time        `json:"cancel_requested_at"`
	CreatedAt            *time.Time        `json:"created_at"`
	UpdatedAt            *time.Time        `json:"updated_at"`
	ExpiresAt            *time.Time        `json:"expires_at"`
}

type methodObject struct {
	Type     MethodType `json:"type"`
	Flow     Flow       `json:"flow,omitempty"`
	Brand    string     `json:"brand,omitempty"`
	Last4    string     `json:"last4,omitempty"`
	BIN6     string     `json:"bin6,omitempty"`
	ExpMonth int        `json:"exp_month,omitempty"`
	ExpYear  int        `json:"exp_year,omitempty"`
}

type attemptObject struct {
	ID           string        `json:"id"`
	Operation    Kind          `json:"operation"`
	Amount       int64         `json:"amount"`
	Account      string        `json:"account"`
	Connector    string        `json:"connector"`
	Status       AttemptStatus `json:"status"`
	Outcome      Outcome       `json:"outcome"`
	Origin       Origin        `json:"origin"`
	PSPReference *string       `json:"psp_reference"`
	Error        *Failure      `json:"error"`
	Routing      *Plan         `json:"routing"`
	StartedAt    *time.Time    `json:"started_at"`
	GatewayMS    float64       `json:"gateway_ms"`
	PSPMS        float64       `json:"psp_ms"`
}

type refundObject struct {
	ID           string            `json:"id"`
	Object       string            `json:"object"`
	Livemode     bool              `json:"livemode"`
	Payment      string            `json:"payment"`
	Amount       int64             `json:"amount"`
	Currency     Currency          `json:"currency"`
	Status       RefundStatus      `json:"status"`
	Outcome      Outcome           `json:"outcome"`
	Reason       *string           `json:"reason"`
	Error        *Failure          `json:"error"`
	PSPReference *string           `json:"psp_reference"`
	Origin       Origin            `json:"origin"`
	Metadata     map[string]string `json:"metadata"`
	CreatedAt    *time.Time        `json:"created_at"`
	UpdatedAt    *time.Time        `json:"updated_at"`
}

// Object returns the JSON that the merchant sees.
func (p *Payment) Object() ([]byte, error) {
	o := paymentObject{
		ID: p.ID, Object: "payment", Livemode: p.Mode.Live(), Merchant: p.Merchant,
		Status: p.Status, Outcome: p.Outcome, Amount: p.Amount.Minor,
		AmountCapturable: p.AmountCapturable(), AmountCaptured: p.AmountCaptured(), AmountRefunded: p.AmountRefunded(),
		Currency: p.Amount.Currency, CaptureMethod: p.CaptureMethod, CaptureBefore: instant(p.CaptureBefore),
		PaymentMethod: p.Method.object(), NextAction: p.NextAction, Error: p.Error,
		Attempts: make([]attemptObject, 0, len(p.Attempts)), Refunds: make([]refundObject, 0, len(p.Refunds)),
		Disputes:  []struct{}{},
		Reference: optional(p.Reference), Description: optional(p.Description), Customer: p.Customer,
		ReturnURL: optional(p.ReturnURL), Channel: p.Channel, Metadata: notNil(p.Metadata), Version: p.Version,
		CancelRequestedAt: instant(p.CancelRequestedAt), CreatedAt: instant(p.CreatedAt),
		UpdatedAt: instant(p.UpdatedAt), ExpiresAt: instant(p.ExpiresAt),
	}
	if c := p.Current(); c != nil {
		o.Account, o.Connector, o.PSPReference = &c.Account, &c.Connector, optional(c.PSPReference)
		o.NetworkTransactionID = optional(c.Done[NetworkTransaction])
	} else {
		o.Account = optional(p.Account)
	}
	for i := range p.Attempts {
		o.Attempts = append(o.Attempts, p.Attempts[i].object())
	}
	for i := range p.Refunds {
		o.Refunds = append(o.Refunds, p.refundObject(&p.Refunds[i]))
	}
	return json.Marshal(o)
}

// NetworkTransaction is the name under which [Attempt.Done] keeps the card
// network's transaction ID.
const NetworkTransaction = "network_transaction_id"

// RefundObject returns the JSON of one refund that the merchant sees.
func (p *Payment) RefundObject(r *Refund) ([]byte, error) {
	return json.Marshal(p.refundObject(r))
}

func (p *Payment) refundObject(r *Refund) refundObject {
	return refundObject{
		ID: r.ID, Object: "refund", Livemode: p.Mode.Live(), Payment: p.ID,
		Amount: r.Amount, Currency: p.Amount.Currency, Status: r.Status, Outcome: r.Outcome,
		Reason: optional(r.Reason), Error: r.Error, PSPReference: optional(r.PSPReference), Origin: r.Origin,
		Metadata: notNil(r.Metadata), CreatedAt: instant(r.CreatedAt), UpdatedAt: instant(r.UpdatedAt),
	}
}

func (a *Attempt) object() attemptObject {
	return attemptObject{
		ID: a.ID, Operation: a.Kind, Amount: a.Amount, Account: a.Account, Connector: a.Connector,
		Status: a.Status, Outcome: a.Outcome, Origin: a.Origin, PSPReference: optional(a.PSPReference),
		Error: a.Error, Routing: a.Routing, StartedAt: instant(a.StartedAt),
		GatewayMS: milliseconds(a.Gateway), PSPMS: milliseconds(a.PSP),
	}
}

func (s *MethodSummary) object() *methodObject {
	if s == nil {
		return nil
	}
	return &methodObject{s.Type, s.Flow, s.Brand, s.Last4, s.BIN6, s.ExpMonth, s.ExpYear}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// instant writes times in UTC with milliseconds, RFC 3339.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Millisecond)
	return &t
}

func notNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
