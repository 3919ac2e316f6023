package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"regexp"

	"github.com/caddyserver/caddy/v2"

	"github.com/purser-pay/purser/modules/payment"
)

// auditModule names the audit's logger.
const auditModule = "payments.audit"

func init() { caddy.RegisterModule(new(auditLog)) }

// auditLog is where operators' acts are written down: a log of Caddy's that
// includes "payments.audit" gets the acts and nothing else. It has no options.
// (It is a module because Caddy names its loggers by module.)
type auditLog struct{ log *slog.Logger }

// CaddyModule returns the Caddy module information.
func (*auditLog) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: auditModule, New: func() caddy.Module { return new(auditLog) }}
}

// Provision takes the logger.
func (a *auditLog) Provision(ctx caddy.Context) error {
	a.log = ctx.Slogger()
	return nil
}

// openAudit returns the audit's logger in a configuration.
func openAudit(ctx caddy.Context) (*slog.Logger, error) {
	v, err := ctx.LoadModuleByID(auditModule, nil)
	if err != nil {
		return nil, err
	}
	a, ok := v.(*auditLog)
	if !ok {
		return nil, fmt.Errorf("the audit is a %T", v)
	}
	return a.log, nil
}

// who names the operator as well as the connection allows: the subject of the
// client certificate, the address, or the socket, whose permissions then say
// who may.
func (c call) who() string {
	if t := c.r.TLS; t != nil && len(t.PeerCertificates) > 0 {
		return "certificate " + t.PeerCertificates[0].Subject.String()
	}
	if _, _, err := net.SplitHostPort(c.r.RemoteAddr); err == nil {
		return "address " + c.r.RemoteAddr
	}
	return unixSocket
}

// from is where the request came from.
func (c call) from() string {
	if _, _, err := net.SplitHostPort(c.r.RemoteAddr); err == nil {
		return c.r.RemoteAddr
	}
	return unixSocket
}

const unixSocket = "unix socket"

// The results of an act.
const (
	actDone    = "done"
	actRefused = "refused" // the request was wrong, or the state forbids it
	actFailed  = "failed"
)

// result sorts what came of an act.
func result(err error) string {
	var answer caddy.APIError
	switch {
	case err == nil:
		return actDone
	case errors.As(adminFailure(err), &answer) && answer.HTTPStatus < http.StatusInternalServerError:
		return actRefused
	default:
		return actFailed
	}
}

// audit writes down an act of an operator. It is logged even where it failed:
// err is nil for one that was done.
func (c call) audit(act, object string, err error, more ...slog.Attr) {
	*c.audited = true
	attrs := []slog.Attr{
		slog.String("act", act), slog.String("object", scrub(object)), slog.String("who", c.who()),
		slog.String("from", c.from()), slog.String("result", result(err)),
	}
	for _, a := range more {
		if a.Value.Kind() == slog.KindString {
			a.Value = slog.StringValue(scrub(a.Value.String()))
		}
		attrs = append(attrs, a)
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", scrub(err.Error())))
	}
	c.auditLog.LogAttrs(c.r.Context(), slog.LevelInfo, "audit", attrs...)
}

// secretText is what operators paste where an ID belongs: API keys of ours, and
// the keys of PSPs. Of a key that is cut off, the rest is a secret still.
var secretText = regexp.MustCompile(`\b((?:pur|sk|rk|pk)_(?:test|live)_|whsec_|pss_)[A-Za-z0-9_+/=-]+`)

// scrub makes a text that an operator typed fit for a log that is kept for years.
func scrub(s string) string {
	return payment.MaskPANs(secretText.ReplaceAllString(s, "${1}"+payment.Redacted))
}
