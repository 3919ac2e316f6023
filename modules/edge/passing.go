package edge

import (
	"crypto/rand"
	"net/http"
	"time"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/api"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/gateway"
	"github.com/purser-pay/purser/modules/guard"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/proxy"
)

// passing lets the API pass calls through to PSPs.
type passing struct {
	*proxy.Proxy
	gate engine.Gate // of the limits by account
}

func openPassing(app *gateway.App) (*passing, error) {
	p, err := proxy.New(proxy.Config{
		Accounts: app.Accounts(), Passage: app.Passage, Disabled: app.Disabled, Now: time.Now, Random: rand.Reader,
		Done: func(c proxy.Call, d proxy.Done) {
			app.Passed(gateway.Passed{
				Merchant: c.Merchant, Mode: c.Mode, Account: c.Account, Path: c.Path, Method: d.Method,
				Request: c.RequestID, Status: d.Status, Bytes: d.Bytes, Took: d.Took, Err: d.Err,
			})
		},
	})
	if err != nil {
		return nil, err
	}
	return &passing{p, app.Limiter().Gate()}, nil
}

// Find tells where a call is to go.
func (p *passing) Find(who access.Principal, r *http.Request) (api.Passage, error) {
	t, ok, err := proxy.Parse(r)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, payment.Errorf(payment.CodeNotFound, "There is no account in the path.")
	}
	if _, err := p.Account(t.Account, who.Merchant, who.Mode); err != nil {
		return nil, err
	}
	return passage{p, t}, nil
}

// passage is where one call is to go.
type passage struct {
	*passing
	target proxy.Target
}

// Target is the account, and the path at the PSP.
func (p passage) Target() (account, path string) { return p.target.Account, p.target.Path }

// Serve passes the call on, and answers it.
func (p passage) Serve(w http.ResponseWriter, c *guard.Call) error {
	if p.gate.Limits(p.target.Account) {
		done, err := p.gate.Admit(c.HTTP.Context(), p.target.Account, c.Principal.Merchant, c.Principal.Mode)
		if err != nil {
			return err
		}
		defer done(true)
	}
	return p.Proxy.Serve(w, c.HTTP, proxy.Call{
		Merchant: c.Principal.Merchant, Mode: c.Principal.Mode, RequestID: c.ID, Began: c.Began, Target: p.target,
	})
}
