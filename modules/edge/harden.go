package edge

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// harden makes the server on which a door stands fit for payments, whatever its
// site says or leaves out. Early data (0-RTT) of HTTP/3 is turned off, for it can
// be replayed, and Caddy allows it by default; a server that asks for it is
// refused (RFC 9325 §3.9). So are cipher suites of TLS 1.2 without forward secrecy
// or authenticated encryption, and the logging of TLS secrets and of credentials.
// Caddy's other defaults are what RFC 9325 asks for. And of several addresses that
// the server's trusted proxies tell, the right-most that is none of theirs is the
// caller's: trusted_proxies_strict, which Caddy leaves off by default.
func harden(ctx caddy.Context) error {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || server == nil {
		return nil // the door stands on none, as in a test
	}
	if server.Allow0RTT != nil && *server.Allow0RTT {
		return errors.New("allow_0rtt is on: early data can be replayed, and a payment must not be")
	}
	off := false
	server.Allow0RTT = &off
	// A proxy appends to X-Forwarded-For; what stands left of that is the caller's own
	// word. Without trusted_proxies nothing of the field is believed anyway.
	server.TrustedProxiesStrict = 1
	if server.Logs != nil && server.Logs.ShouldLogCredentials {
		return errors.New("log_credentials is on: who reads the access log could call in every merchant's name")
	}
	for _, policy := range server.TLSConnPolicies {
		if policy.InsecureSecretsLog != "" {
			return errors.New("insecure_secrets_log is on: who reads that file reads the card numbers and keys of every connection")
		}
		for _, suite := range policy.CipherSuites {
			if !sound(suite) {
				return fmt.Errorf("cipher suite %s lacks forward secrecy or authenticated encryption; leave the ciphers out, or name those of ECDHE with GCM or CHACHA20_POLY1305", suite)
			}
		}
	}
	return nil
}

// sound tells whether a cipher suite is one of RFC 9325 §4.2, or of TLS 1.3.
func sound(suite string) bool {
	aead := strings.Contains(suite, "_GCM_") || strings.Contains(suite, "CHACHA20_POLY1305")
	return aead && (strings.HasPrefix(suite, "TLS_ECDHE_") || strings.HasPrefix(suite, "TLS_AES_") || strings.HasPrefix(suite, "TLS_CHACHA20_"))
}

// strictTransport asks browsers to come by https alone, for a year (RFC 6797).
const strictTransport = "max-age=31536000"

// hardenAnswer sets what every answer has. A site's own Strict-Transport-Security
// goes before ours. A developer's localhost gets none: its other ports serve http.
func hardenAnswer(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Del("Server") // it tells attackers what to try (ASVS 13.4.6)
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if r.TLS != nil && h.Get("Strict-Transport-Security") == "" && host != "localhost" && !strings.HasSuffix(host, ".localhost") {
		h.Set("Strict-Transport-Security", strictTransport)
	}
}
