package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// Return finishes with the PSP after the payer came back, and says where to
// send the payer: the merchant's return_url with payment and status in the
// query; "" where the merchant has named none. The token is the last part of
// the path that the PSP was given; query is what the PSP has added, and is
// believed in nothing. psp is the time spent waiting for PSPs meanwhile.
func (e *Engine) Return(ctx context.Context, token string, query map[string][]string) (location string, psp time.Duration, err error) {
	id, attempt, ok := e.parseReturnToken(token)
	if !ok {
		return "", 0, payment.Errorf(payment.CodeNotFound, "there is no such way back")
	}
	p, err := e.any(ctx, id)
	if err != nil {
		return "", 0, err
	}
	a := p.Attempt(attempt)
	if a == nil {
		return "", 0, payment.Errorf(payment.CodeNotFound, "there is no such way back")
	}
	if a.Status.Open() && !e.running(a) {
		if psp, err = e.finishReturn(ctx, &p, a, query); err != nil {
			return "", psp, err
		}
		if p, err = e.any(ctx, id); err != nil {
			return "", psp, err
		}
	}
	if p.ReturnURL == "" {
		return "", psp, nil
	}
	u, err := url.Parse(p.ReturnURL)
	if err != nil {
		return "", psp, fmt.Errorf("return url of %s: %w", id, err)
	}
	q := u.Query()
	q.Set("payment", p.ID)
	q.Set("status", string(p.Status))
	u.RawQuery = q.Encode()
	return u.String(), psp, nil
}

// finishReturn keeps what the payer brought, always, and asks the PSP, at most as
// often as a merchant may: whoever has the address can call it all the time. A
// visit that brought something does not wait for one that did not. psp is the time
// spent waiting for PSPs.
func (e *Engine) finishReturn(ctx context.Context, p *payment.Payment, a *payment.Attempt, query map[string][]string) (psp time.Duration, err error) {
	brought, err := e.bringBack(ctx, p, a, query)
	if err != nil {
		return 0, err
	}
	visit := "return/" + p.ID
	if brought {
		visit = "brought/" + p.ID
	}
	if !e.mayAsk(visit) {
		return 0, nil
	}
	if err := e.settle(ctx, ticket{Payment: p.ID, aside: true, waited: &psp}, a.ID, askFirst); err != nil {
		// The payer must not stand before an error page: recovery goes on.
		e.cfg.Log.Warn("payer is back, psp not asked", slog.String("payment", p.ID), slog.String("error", err.Error()))
	}
	return psp, nil
}

// bringBack keeps what the payer's browser brought, for connectors whose next
// query needs it, and tells whether it was anything new.
func (e *Engine) bringBack(ctx context.Context, p *payment.Payment, a *payment.Attempt, query map[string][]string) (news bool, err error) {
	acct := e.cfg.Accounts[a.Account]
	if acct == nil {
		return false, nil
	}
	reader, ok := acct.Connector.(connector.ReturnReader)
	if !ok {
		return false, nil
	}
	brought, err := reader.ReadReturn(query)
	if err != nil || len(brought) == 0 {
		return false, nil //nolint:nilerr // anybody can call the address with any query
	}
	err = e.update(ctx, func(tx store.Tx) error {
		news = false
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
			news = news || a.Done[k] != v
			done(a, k, v)
		}
		if !news {
			return nil
		}
		_, err = e.save(tx, m, &p, "")
		return err
	})
	return news, err
}
