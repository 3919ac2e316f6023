package gateway

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/transport"
)

// TransportConfig tunes an account's connections to its PSP. Every field has a
// default that works; the names are those of Caddy's reverse_proxy. TLS is 1.2
// or newer; proxies of the environment are not used.
type TransportConfig struct {
	// TLSClientCertificate is the file of a certificate (PEM) that proves us to a
	// PSP that wants mutual TLS; relative to the app's root. It needs its key.
	TLSClientCertificate string `json:"tls_client_certificate,omitempty"`
	// TLSClientKey is the file of the client certificate's private key (PEM);
	// relative to the app's root.
	TLSClientKey string `json:"tls_client_key,omitempty"`
	// TLSTrustedCACerts are files of certificate authorities (PEM) to trust in
	// place of the system's; relative to the app's root.
	TLSTrustedCACerts []string `json:"tls_trusted_ca_certs,omitempty"`
	// TLSServerName is the name that the PSP's certificate is checked for;
	// default: the host of the address.
	TLSServerName string `json:"tls_server_name,omitempty"`
	// Proxy is the http, https or socks5 URL of a proxy; default: none.
	Proxy string `json:"forward_proxy_url,omitempty"`
	// Resolvers are DNS servers, host:port, asked in turn; default: the system's.
	Resolvers []string `json:"resolvers,omitempty"`
	// DialTimeout bounds the TCP connect; default 3 s.
	DialTimeout caddy.Duration `json:"dial_timeout,omitempty"`
	// TLSTimeout bounds the handshake; default 5 s.
	TLSTimeout caddy.Duration `json:"tls_timeout,omitempty"`
	// ResponseHeaderTimeout bounds the wait for the answer's first line; default:
	// the account's timeout.
	ResponseHeaderTimeout caddy.Duration `json:"response_header_timeout,omitempty"`
	// KeepAlive is how long an unused connection is kept; default 30 s. It
	// should stay below what the PSP keeps.
	KeepAlive caddy.Duration `json:"keepalive,omitempty"`
	// KeepAliveInterval is the time between TCP keep-alive probes; default 30 s,
	// negative = no probes.
	KeepAliveInterval caddy.Duration `json:"keepalive_interval,omitempty"`
	// KeepAliveIdleConnsPerHost bounds the unused connections that are kept;
	// default 256.
	KeepAliveIdleConnsPerHost int `json:"keepalive_idle_conns_per_host,omitempty"`
	// MaxConnsPerHost bounds all connections; default 0, no bound.
	MaxConnsPerHost int `json:"max_conns_per_host,omitempty"`
	// MaxResponseHeader bounds the header of an answer, in bytes; default 262144.
	MaxResponseHeader int64 `json:"max_response_header,omitempty"`
	// Versions are the HTTP versions to speak, of "1.1" and "2"; default 1.1.
	// Over 2, each failure after the connect leaves in doubt whether the PSP acted.
	Versions []string `json:"versions,omitempty"`
}

// options resolves the paths.
func (t *TransportConfig) options(root string) (transport.HTTPOptions, error) {
	if t == nil {
		return transport.HTTPOptions{}, nil
	}
	o := transport.HTTPOptions{
		ClientCertificateFile: t.TLSClientCertificate, ClientCertificateKeyFile: t.TLSClientKey,
		ServerName: t.TLSServerName, Proxy: t.Proxy, Resolvers: t.Resolvers,
		DialTimeout: time.Duration(t.DialTimeout), TLSHandshakeTimeout: time.Duration(t.TLSTimeout),
		ResponseHeaderTimeout: time.Duration(t.ResponseHeaderTimeout),
		KeepAliveIdle:         time.Duration(t.KeepAlive), KeepAliveProbe: time.Duration(t.KeepAliveInterval),
		MaxIdleConnsPerHost: t.KeepAliveIdleConnsPerHost, MaxConnsPerHost: t.MaxConnsPerHost,
		MaxResponseHeader: t.MaxResponseHeader, Versions: t.Versions,
	}
	files := []*string{&o.ClientCertificateFile, &o.ClientCertificateKeyFile}
	o.RootCAFiles = make([]string, len(t.TLSTrustedCACerts))
	for i, f := range t.TLSTrustedCACerts {
		o.RootCAFiles[i] = f
		files = append(files, &o.RootCAFiles[i])
	}
	for _, f := range files {
		if *f == "" {
			continue
		}
		abs, err := under(root, *f)
		if err != nil {
			return transport.HTTPOptions{}, err
		}
		*f = abs
	}
	return o, nil
}

// trippers keeps the connections to PSPs over reloads: an account whose
// transport did not change goes on with its pool.
var trippers = caddy.NewUsagePool()

type tripperKey struct {
	account, baseURL string
	options          [sha256.Size]byte
}

// tripper is the client of one account.
type tripper struct{ http.RoundTripper }

// Destruct drops the connections that nobody uses.
func (t *tripper) Destruct() error {
	if c, ok := t.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
	return nil
}

// openTripper loads the client of an account from the pool, or makes it.
func openTripper(account *connector.Account, o transport.HTTPOptions) (tripperKey, http.RoundTripper, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return tripperKey{}, nil, fmt.Errorf("transport: %w", err)
	}
	key := tripperKey{account.Name, account.Base(), sha256.Sum256(b)}
	client, err := pooled(trippers, key, func() (*tripper, error) {
		rt, err := transport.NewTripper(o)
		return &tripper{rt}, err
	})
	if err != nil {
		return tripperKey{}, nil, fmt.Errorf("transport: %w", err)
	}
	return key, client.RoundTripper, nil
}

// observer counts exchanges. The engine logs those that end in doubt.
type observer struct{ meter *meter }

// ObserveExchange hears of one exchange.
func (o observer) ObserveExchange(x transport.Observation) {
	o.meter.calls.WithLabelValues(x.Account, string(x.Kind), x.Outcome.String()).Inc()
	if x.Outcome != connector.NotSent {
		o.meter.seconds.WithLabelValues(x.Account, string(x.Kind)).Observe(x.Took.Seconds())
	}
}
