package edge

import (
	"encoding/hex"
	"log/slog"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/purser-pay/purser/modules/gateway"
)

// accessLog keeps secrets out of the access log of the server on which a handler
// stands. Callers put card numbers and API keys where they do not belong; we refuse
// them, but Caddy writes down every request as it came, and has put it together
// before a handler sees it. So such a request is left out of that log, and what may
// be said of it goes into ours: nobody hides a call by naming a secret in it. A nil
// accessLog is of a server that has none.
type accessLog struct{ log *slog.Logger }

// openAccessLog returns the one of the server that is being provisioned.
func openAccessLog(ctx caddy.Context, log *slog.Logger) *accessLog {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || server == nil || server.Logs == nil {
		return nil
	}
	return &accessLog{log}
}

// watch looks at a request before anything is taken off it. The answer is written to
// what it returns, and tell is called after that.
func (a *accessLog) watch(w http.ResponseWriter, r *http.Request) (_ http.ResponseWriter, tell func()) {
	if a == nil || !secretive(r) {
		return w, nothing
	}
	if skip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.LogSkipVar).(bool); skip {
		return w, nothing // another handler was here, or the operator wants it so
	}
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	line := describe(r)
	seen := &observed{ResponseWriter: w}
	return seen, func() {
		if id := w.Header().Get("Request-Id"); id != "" {
			line = append(line, slog.String("request_id", id))
		}
		if seen.status != 0 { // else the answer is for others to give, or net/http's
			line = append(line, slog.Int("status", seen.status))
		}
		a.log.LogAttrs(r.Context(), slog.LevelInfo, "request kept out of the access log", line...)
	}
}

func nothing() {}

// describe is what may be said of a request that tells a secret.
func describe(r *http.Request) []slog.Attr {
	path := original(r).URL.Path
	if before, _, found := strings.Cut(path, returnPath); found {
		path = before + returnPath + "…"
	}
	line := []slog.Attr{
		slog.String("method", gateway.Scrub(r.Method)), slog.String("host", gateway.Scrub(r.Host)),
		slog.String("path", gateway.Scrub(path)), slog.String("remote", r.RemoteAddr),
	}
	if from := client(r); from.IsValid() {
		line = append(line, slog.String("client", from.String()))
	}
	return line
}

// returnPath begins the paths whose rest is a secret: who knows it is the payer.
const returnPath = "/return/"

// secretive tells whether the access log would tell a secret with a request.
func secretive(r *http.Request) bool {
	target := r.RequestURI
	if first, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		target = first.RequestURI // directives may have rewritten it
	}
	if strings.HasPrefix(r.URL.Path, returnPath) || secretTarget(target) {
		return true
	}
	if gateway.TellsSecret(r.Method) || gateway.TellsSecret(r.Host) || r.TLS != nil && gateway.TellsSecret(r.TLS.ServerName) {
		return true
	}
	for name, values := range r.Header {
		if gateway.TellsSecret(name) {
			return true
		}
		if redacted(name) {
			continue
		}
		for _, value := range values {
			if gateway.TellsSecret(value) || name == "Referer" && strings.Contains(value, returnPath) {
				return true
			}
		}
	}
	return false
}

// redacted tells the fields that Caddy writes down without their values. (It would
// write them with log_credentials, which harden refuses.)
func redacted(name string) bool {
	switch name {
	case "Authorization", "Cookie", "Set-Cookie", "Proxy-Authorization":
		return true
	default:
		return false
	}
}

// secretTarget looks at a request's target as it came, and as one reads it who
// undoes its escapes.
func secretTarget(target string) bool {
	if strings.Contains(target, returnPath) || gateway.TellsSecret(target) {
		return true
	}
	if !strings.ContainsAny(target, "%+") {
		return false
	}
	plain := unescape(target)
	return strings.Contains(plain, returnPath) || gateway.TellsSecret(plain)
}

// unescape undoes the escapes of a target that are ones, and leaves the others.
func unescape(s string) string {
	plain := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' { // in a query
			c = ' '
		}
		if c == '%' && i+2 < len(s) {
			var octet [1]byte
			if _, err := hex.Decode(octet[:], []byte(s[i+1:i+3])); err == nil {
				c = octet[0]
				i += 2
			}
		}
		plain = append(plain, c)
	}
	return string(plain)
}
