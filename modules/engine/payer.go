package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// Return finishes with the PSP after the payer came back, and says where to
// send the payer: the merchant's return_url with payment and status in the
// query. The token is the last part of the path that the PSP was given; query
// is what the PSP has added, and is believed in nothing.
func (e *Engine) Return(ctx context.Context, token string, query map[string][]string) (string, error) {
	id, attempt, ok := e.parseReturnToken(token)
	if !ok {
		return "", payment.Errorf(payment.CodeNotFound, "there is no such way back")
	}
	p, err := e.any(ctx, id)
	if err != nil {
		return "", err
	}
	a := p.Attempt(attempt)
	if a == nil || p.ReturnURL == "" {
		return "", payment.Errorf(payment.CodeNotFound, "there is no such way back")
	}
	if a.Status.Open() && !e.running(a) {
		if err := e.bringBack(ctx, &p, a, query); err != nil {
			return "", err
		}
		if err := e.settle(ctx, ticket{Payment: id}, attempt, 0); err != nil {
			// The payer must not stand before an error page: recovery goes on.
			e.cfg.Log.Warn("payer is back, psp not asked", slog.String("payment", id), slog.String("error", err.Error()))
		}
		if p, err = e.any(ctx, id); err != nil {
			return "", err
		}
	}
	u, err := url.Parse(p.ReturnURL)
	if err != nil {
		return "", fmt.Errorf("return url of %s: %w", id, err)
	}
	q := u.Query()
	q.Set("payment", p.ID)
	q.Set("status", string(p.Status))
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// bringBack keeps what the payer's browser brought, for connectors whose next
// query needs it.
func (e *Engine) bringBack(ctx context.Context, p *payment.Payment, a *payment.Attempt, query map[string][]string) error {
	acct := e.cfg.Accounts[a.Account]
	if acct == nil {
		return nil
	}
	reader, ok := acct.Connector.(connector.ReturnReader)
	if !ok {
		return nil
	}
	brought, err := reader.ReadReturn(query)
	if err != nil || len(brought) == 0 {
		return nil //nolint:nilerr // anybody can call the address with any query
	}
	return e.update(ctx, func(tx store.Tx) error {
		p, err := tx.Payment(p.ID)
		if err != nil {
			return err
		}
		a := p.Attempt(a.ID)
		if a == nil {
			return nil
		}
		m := mark(&p)
		for k, v := range brought {
			done(a, k, v)
		}
		_, err = e.save(tx, m, &p, true)
		return err
	})
}
