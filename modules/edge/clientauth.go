package edge

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/purser-pay/purser/modules/gateway"
)

func init() { caddy.RegisterModule(new(ClientCertificateVerifier)) }

// ClientCertificateVerifier refuses, at the handshake, client certificates that
// the option client_certificates of the payments app does not let count: foreign,
// expired, revoked, or not for clients. It checks the whole chain by itself, also
// where the mode of client_auth does not. Each request is checked again: a
// connection may be older than a revocation.
type ClientCertificateVerifier struct{ certificates *gateway.Certificates }

// CaddyModule returns the Caddy module information.
func (*ClientCertificateVerifier) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID: "tls.client_auth.verifier.payments", New: func() caddy.Module { return new(ClientCertificateVerifier) },
	}
}

// UnmarshalCaddyfile takes neither arguments nor options. Syntax:
//
//	tls {
//		client_auth {
//			mode       verify_if_given
//			trust_pool file clients-ca.pem
//			verifier   payments
//		}
//	}
func (*ClientCertificateVerifier) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return bare(d) }

// guarded is what the verifier needs of the payments app.
type guarded interface {
	// Ready is false where the configuration is only checked.
	Ready() bool
	// Certificates is nil where client_certificates is not configured.
	Certificates() *gateway.Certificates
}

// Provision finds the payments app of the same configuration.
func (v *ClientCertificateVerifier) Provision(ctx caddy.Context) error {
	found, err := ctx.AppIfConfigured("payments")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return errors.New("the payments app is not configured: the verifier needs the global option payments")
	}
	if err != nil {
		return err
	}
	app, ok := found.(guarded)
	if !ok {
		return fmt.Errorf("the payments app is a %T", found)
	}
	if !app.Ready() {
		return nil
	}
	if v.certificates = app.Certificates(); v.certificates == nil {
		return errors.New("the verifier payments needs the option client_certificates of the global option payments")
	}
	return nil
}

// VerifyClientCertificate decides over what a client has presented. The chains
// that TLS has built are not asked for: in some modes there are none, and their
// authorities may be more than ours.
func (v *ClientCertificateVerifier) VerifyClientCertificate(raw [][]byte, _ [][]*x509.Certificate) error {
	if v.certificates == nil {
		return errors.New("the configuration was only checked")
	}
	presented := make([]*x509.Certificate, len(raw))
	for i, der := range raw {
		var err error
		if presented[i], err = x509.ParseCertificate(der); err != nil {
			return fmt.Errorf("client certificate: %w", err)
		}
	}
	// A handshake has no context here; what is asked of others has its own bounds.
	return v.certificates.Check(context.Background(), presented)
}

var (
	_ caddy.Provisioner                  = (*ClientCertificateVerifier)(nil)
	_ caddyfile.Unmarshaler              = (*ClientCertificateVerifier)(nil)
	_ caddytls.ClientCertificateVerifier = (*ClientCertificateVerifier)(nil)
)
