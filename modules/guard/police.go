package guard

import (
	"cmp"
	"crypto/tls"
	"strings"
	"time"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/policy"
	"github.com/purser-pay/purser/modules/ratelimit"
)

// Facts is what policies look at in the call itself.
type Facts struct {
	Method   payment.MethodType
	Amount   payment.Money
	Channel  payment.Channel
	Account  string
	Metadata map[string]string
	// CardField is where the request holds a card number; "" = it holds none.
	CardField string
	TestCard  bool // and it is a published test number
	// Proxy is the call that would be passed through: method, space, path.
	Proxy string
}

// Ruling is what the policies leave of an allowed call.
type Ruling struct {
	Cards policy.CardNumbers
	Daily []policy.Quota
}

// Rules are those that hold now; nil is the set without rules.
func (g *Guard) Rules() *policy.Set {
	if g.cfg.Policies == nil {
		return nil
	}
	return g.cfg.Policies()
}

// Police holds a call to the operator's policies, and to the built-in rules: no
// card numbers but where they may be, and nothing passes through by itself.
func (g *Guard) Police(c *Call, rules *policy.Set, f Facts) (r Ruling, err error) {
	err = c.once(policed, func() error { r, err = g.police(c, rules, f); return err })
	return r, err
}

func (g *Guard) police(c *Call, rules *policy.Set, f Facts) (Ruling, error) {
	in := g.input(c, f)
	d := rules.Decide(&in)
	if !d.Allowed {
		e := &payment.Error{Code: d.Code, Detail: d.Detail, Policy: d.Rule, Err: d.Err}
		if d.Rule == "" && f.CardField != "" {
			e.Param = f.CardField
		}
		return Ruling{}, e
	}
	if err := g.refine(c, f, d.Rates); err != nil {
		return Ruling{}, err
	}
	return Ruling{Cards: d.CardNumbers, Daily: d.Daily}, nil
}

func (g *Guard) input(c *Call, f Facts) policy.Input {
	p := &c.Principal
	return policy.Input{
		Mode: p.Mode, Merchant: p.Merchant, Key: p.Key, Route: c.Route,
		Method: f.Method, Amount: f.Amount.Minor, Currency: f.Amount.Currency,
		IP: c.From, TLS: tlsVersion(c), Signature: c.Signed != nil, MTLS: c.MTLS, DPoP: c.DPoP,
		Idempotency: len(c.HTTP.Header["Idempotency-Key"]) > 0,
		Channel:     f.Channel, Account: f.Account, Metadata: f.Metadata, Now: g.cfg.Now(), KeyCreated: p.KeyCreatedAt,
		CardNumber: f.CardField != "", TestCard: f.TestCard, Proxy: f.Proxy,
	}
}

// tlsVersion is "1.2", "1.3", or "" where the connection has none of ours: what a
// balancer in front of us has, nobody can prove.
func tlsVersion(c *Call) string {
	if c.HTTP.TLS == nil {
		return ""
	}
	switch c.HTTP.TLS.Version {
	case tls.VersionTLS13:
		return "1.3"
	case tls.VersionTLS12:
		return "1.2"
	default:
		return ""
	}
}

// refine counts by the rates that rules add.
func (g *Guard) refine(c *Call, f Facts, rates []policy.Rate) error {
	if len(rates) == 0 || g.cfg.Limiter == nil {
		return nil
	}
	var extra []ratelimit.Extra
	for _, r := range rates {
		n := len(extra) - 1
		if scope := ratelimit.Scope(r.Scope); n >= 0 && extra[n].Rule == r.Rule && extra[n].Scope == scope {
			extra[n].Rates = append(extra[n].Rates, r.Rate)
		} else {
			extra = append(extra, ratelimit.Extra{Rule: r.Rule, Scope: scope, Rates: []access.Rate{r.Rate}})
		}
	}
	caller := c.caller()
	caller.Address, caller.Account = c.From, f.Account
	v, err := g.cfg.Limiter.Refine(c.HTTP.Context(), caller, extra)
	return c.limit(v, err)
}

// Day is the counter of a quota for a merchant and a mode on the day of at, in
// UTC, and when the counter may be forgotten.
func Day(q policy.Quota, p access.Principal, at time.Time) (counter string, expires time.Time) {
	day := at.UTC().Truncate(24 * time.Hour)
	name := strings.Join([]string{"daily", p.Merchant, string(p.Mode), string(q.Currency), day.Format(time.DateOnly), q.Rule}, "/")
	return name, day.Add(48 * time.Hour) // another node's clock may be behind
}

// Refusal is a call that was not let in, or not let do what it wanted.
type Refusal struct {
	Call *Call
	Err  *payment.Error
}

// refusals are the codes that tell of somebody who may not, as against somebody
// who made a mistake.
var refusals = map[payment.Code]bool{
	payment.CodeUnauthenticated: true, payment.CodeInsufficientScope: true, payment.CodePolicyDenied: true,
	payment.CodeRateLimited: true, payment.CodePANNotAllowed: true, payment.CodeLiveCardInTestMode: true,
}

// Report tells of a refusal; errors of other kinds are passed over.
func (g *Guard) Report(c *Call, err *payment.Error) {
	if g.cfg.Refused != nil && refusals[err.Code] {
		g.cfg.Refused(Refusal{c, err})
	}
}

// Who names the caller as far as it is known, for logs.
func (c *Call) Who() string {
	p := &c.Principal
	return cmp.Or(p.Key, p.Subject)
}
