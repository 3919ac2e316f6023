package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/purser-pay/purser/modules/payment"
)

// auditModule names the audit's logger.
const auditModule = "payments.audit"

func init() { caddy.RegisterModule(new(auditLog)) }

// auditLog is where operators' acts are written down: a log of Caddy's that
// includes "payments.audit" gets the acts and nothing else. It has no options.
// (It is a module because Caddy names its loggers by module.)
type auditLog struct {
	log  *slog.Logger
	fast *zap.Logger // the same, for many lines
}

// CaddyModule returns the Caddy module information.
func (*auditLog) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: auditModule, New: func() caddy.Module { return new(auditLog) }}
}

// Provision takes the logger.
func (a *auditLog) Provision(ctx caddy.Context) error {
	a.log, a.fast = ctx.Slogger(), ctx.Logger()
	return nil
}

// openAudit returns the audit's loggers in a configuration.
func openAudit(ctx caddy.Context) (*slog.Logger, *zap.Logger, error) {
	v, err := ctx.LoadModuleByID(auditModule, nil)
	if err != nil {
		return nil, nil, err
	}
	a, ok := v.(*auditLog)
	if !ok {
		return nil, nil, fmt.Errorf("the audit is a %T", v)
	}
	return a.log, a.fast, nil
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
		slog.String("act", act), slog.String("object", Scrub(object)), slog.String("who", c.who()),
		slog.String("from", c.from()), slog.String("result", result(err)),
	}
	for _, a := range more {
		if a.Value.Kind() == slog.KindString {
			a.Value = slog.StringValue(Scrub(a.Value.String()))
		}
		attrs = append(attrs, a)
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", Scrub(err.Error())))
	}
	c.auditLog.LogAttrs(c.r.Context(), slog.LevelInfo, "audit", attrs...)
}

// secretText is what people paste where an ID belongs: API keys of ours, whatever
// stands before them, and the keys of PSPs. Of a key that is cut off, the rest is a
// secret still.
var secretText = regexp.MustCompile(`(pur_(?:test|live)_|\b(?:(?:sk|rk|pk)_(?:test|live)_|whsec_|pss_))[A-Za-z0-9_+/=-]+`)

// secretMarks are in every text that secretText finds: most texts hold none.
var secretMarks = []string{"_test_", "_live_", "whsec_", "pss_"}

func marked(s string) bool {
	return strings.IndexByte(s, '_') >= 0 &&
		slices.ContainsFunc(secretMarks, func(mark string) bool { return strings.Contains(s, mark) })
}

// TellsSecret tells whether [Scrub] would take something out of a text. It allocates
// nothing where there is nothing like a secret.
func TellsSecret(s string) bool {
	if digits(s) >= leastDigits {
		if _, _, found := payment.FindPAN(s); found {
			return true
		}
	}
	return marked(s) && secretText.MatchString(s)
}

// leastDigits are in every text that has a card number.
const leastDigits = 13

// digits counts them without a branch that the processor could guess wrong.
func digits(s string) int {
	if len(s) < leastDigits {
		return 0
	}
	n := 0
	for i := range len(s) {
		n += int((uint16(s[i]-'0') - 10) >> 15)
	}
	return n
}

// Scrub makes a text that somebody typed fit for a log that is kept for years.
func Scrub(s string) string {
	if marked(s) {
		s = secretText.ReplaceAllString(s, "${1}"+payment.Redacted)
	}
	return payment.MaskPANs(s)
}
