package api

import (
	"errors"
	"net/http"
	"slices"

	json "github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/guard"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/policy"
	"github.com/purser-pay/purser/modules/store"
)

// factsBody is what policies look at in the body of any call. Its members have the
// types that they have in the bodies of the calls, so that what cannot be read
// here is not valid there.
type factsBody struct {
	Amount        *int64             `json:"amount"`
	Currency      *string            `json:"currency"`
	PaymentMethod *methodBody        `json:"payment_method"`
	Channel       *payment.Channel   `json:"channel"`
	Account       string             `json:"account"`
	Payment       *string            `json:"payment"`
	Metadata      map[string]*string `json:"metadata"`
}

// police holds a call to the policies. Without any, the built-in rules hold, which
// are checked where the payment method is.
func (a *API) police(rq *request) error {
	rules := a.cfg.Guard.Rules()
	rq.ruling.Cards = builtInCards(rq.principal.Mode)
	if rules.Len() == 0 {
		return nil
	}
	f, err := a.facts(rq)
	if err != nil {
		return err
	}
	rq.ruling, err = a.cfg.Guard.Police(rq.call, rules, f)
	return err
}

func builtInCards(m payment.Mode) policy.CardNumbers {
	if m.Live() {
		return policy.NoCardNumbers
	}
	return policy.TestCardNumbers
}

// facts reads what policies look at. A body that cannot be read has no facts, and
// is refused by [request.decode] whatever the policies say.
func (a *API) facts(rq *request) (guard.Facts, error) {
	var (
		f    guard.Facts
		body factsBody
	)
	if rq.ep.body && len(rq.body) > 0 {
		if rq.unread = json.Unmarshal(rq.body, &body); rq.unread != nil {
			body = factsBody{}
		}
	}
	f.Account, f.Channel = body.Account, orZero(body.Channel)
	if body.Amount != nil {
		f.Amount.Minor = *body.Amount
	}
	if body.Currency != nil {
		// A currency that is none is refused later, and no rule is about it.
		f.Amount.Currency, _ = payment.ParseCurrency(*body.Currency)
	}
	f.Metadata = map[string]string{}
	for name, value := range body.Metadata {
		f.Metadata[name] = orZero(value)
	}
	methodFacts(&f, body.PaymentMethod)
	if rq.ep.creates && f.Channel == "" {
		f.Channel = payment.ChannelEcommerce
	}
	return f, a.factsOfPayment(rq, orZero(body.Payment), &f)
}

// methodFacts tells of a payment method in either of its forms.
func methodFacts(f *guard.Facts, m *methodBody) {
	if m == nil {
		return
	}
	f.Method = orZero(m.Type)
	numbers := []struct {
		at     string
		number payment.Sensitive
	}{{fieldMethod + ".number", m.Number}}
	if m.Card != nil {
		numbers = append(numbers, struct {
			at     string
			number payment.Sensitive
		}{fieldMethod + ".card.number", m.Card.Number})
	}
	for _, n := range numbers {
		if n.number.Reveal() != "" {
			f.CardField, f.TestCard = n.at, isTestCard(n.number.Reveal())
		}
	}
	if m.Account != nil && f.Account == "" {
		f.Account = *m.Account
	}
	if m.CardToken != nil && f.Account == "" {
		f.Account = orZero(m.CardToken.Account)
	}
}

// factsOfPayment fills in what a call takes from the payment that it is about: its
// currency and, where the call has none of its own, its metadata and the rest of its
// amount. A payment that is not the
// caller's has no facts, and is not found later.
func (a *API) factsOfPayment(rq *request, id string, f *guard.Facts) error {
	ep := &rq.ep
	if ep.prefix == payment.PrefixPayment {
		id = rq.id
	}
	if !payment.IsID(payment.PrefixPayment, id) || rq.http.Method != http.MethodPost {
		return nil
	}
	p, err := a.cfg.Engine.Payment(rq.http.Context(), rq.scope(), id, false)
	if errors.Is(err, store.ErrNotFound) || isCode(err, payment.CodeNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	f.Amount.Currency = p.Amount.Currency
	if len(f.Metadata) == 0 && p.Metadata != nil {
		f.Metadata = p.Metadata
	}
	if f.Channel == "" {
		f.Channel = p.Channel
	}
	if f.Account == "" {
		f.Account = p.Account
	}
	if f.Method == "" && p.Method != nil {
		f.Method = p.Method.Type
	}
	if f.Amount.Minor == 0 && ep.amount != nil {
		f.Amount.Minor = ep.amount(&p)
	}
	return nil
}

func isCode(err error, c payment.Code) bool {
	pe, ok := errors.AsType[*payment.Error](err)
	return ok && pe.Code == c
}

// What a call is about where it gives no amount.
func wholeAmount(p *payment.Payment) int64    { return p.Amount.Minor }
func capturableRest(p *payment.Payment) int64 { return p.AmountCapturable() }
func refundableRest(p *payment.Payment) int64 { return p.AmountCaptured() - p.AmountRefunded() }

// quotas are the day's sums that a call counts for.
func (a *API) quotas(rq *request) []engine.Quota {
	if len(rq.ruling.Daily) == 0 {
		return nil
	}
	out := make([]engine.Quota, 0, len(rq.ruling.Daily))
	for _, q := range rq.ruling.Daily {
		counter, expires := guard.Day(q, rq.principal, rq.start)
		if rq.ep.scope == access.RefundsWrite {
			counter += "/refunds" // money out is no part of the sum of money in
		}
		out = append(out, engine.Quota{Counter: counter, Limit: q.Limit, Expires: expires, Policy: q.Rule})
	}
	return slices.Clip(out)
}
