package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync/atomic"
	"time"
)

// HTTPOptions tunes the client of an account. Names and meaning follow the
// http transport of Caddy's reverse_proxy, so that whoever knows the one knows
// the other. The zero value works.
type HTTPOptions struct {
	// ClientCertificateFile and ClientCertificateKeyFile (PEM) prove us to a
	// PSP that wants mutual TLS; both or neither.
	ClientCertificateFile, ClientCertificateKeyFile string
	// RootCAFiles (PEM) replace the system's roots; nil = the system's.
	RootCAFiles []string
	// ServerName overrides the name that the PSP's certificate is checked for
	// and that SNI bears; "" = the URL's host.
	ServerName string
	// Proxy is an http, https or socks5 URL; "" = none. The environment's proxy
	// variables are not consulted: who sets them would see where money goes.
	Proxy string
	// Resolvers are DNS servers, "host:port", asked in turn; nil = the system's.
	Resolvers []string
	// DialTimeout bounds the TCP connect; 0 = 3 s.
	DialTimeout time.Duration
	// KeepAliveProbe is the interval of TCP keep-alive probes; 0 = 30 s, negative = none.
	KeepAliveProbe time.Duration
	// KeepAliveIdle is how long an unused connection is kept; 0 = 30 s. It
	// should stay below what the PSP keeps: a connection that the PSP closes at
	// the very moment of a request leaves that request in doubt.
	KeepAliveIdle time.Duration
	// MaxIdleConnsPerHost bounds unused connections; 0 = 256.
	MaxIdleConnsPerHost int
	// MaxConnsPerHost bounds all connections; 0 = no limit.
	MaxConnsPerHost int
	// TLSHandshakeTimeout bounds the handshake; 0 = 5 s.
	TLSHandshakeTimeout time.Duration
	// ResponseHeaderTimeout bounds the wait for the answer's first line; 0 = as
	// long as the exchange may take.
	ResponseHeaderTimeout time.Duration
	// MaxResponseHeader bounds the answer's header in bytes; 0 = 256 KiB.
	MaxResponseHeader int64
	// Versions lists the HTTP versions to speak, of "1.1" and "2"; nil = "1.1".
	// A connection of HTTP/1.1 serves one request at a time, so that we can
	// tell for certain when nothing of it was sent; over HTTP/2 every failure
	// after the connection was made is in doubt.
	Versions []string
}

// NewTripper returns a client of its own pool: TLS 1.2 or newer, no redirects,
// no cookies, no transparent decompression (the cap counts what arrives), and
// nothing taken from the environment.
func NewTripper(o HTTPOptions) (http.RoundTripper, error) {
	return newTripper(o, nil)
}

// dialFunc opens a TCP connection.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func newTripper(o HTTPOptions, dial dialFunc) (*http.Transport, error) {
	tlsConfig, err := o.tls()
	if err != nil {
		return nil, err
	}
	protocols, err := o.protocols()
	if err != nil {
		return nil, err
	}
	proxy, err := o.proxy()
	if err != nil {
		return nil, err
	}
	if dial == nil {
		if dial, err = o.dialer(); err != nil {
			return nil, err
		}
	}
	return &http.Transport{
		Proxy: proxy,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &countedConn{Conn: c}, nil
		},
		TLSClientConfig:        tlsConfig,
		TLSHandshakeTimeout:    orDefault(o.TLSHandshakeTimeout, 5*time.Second),
		DisableCompression:     true,
		MaxIdleConnsPerHost:    orDefault(o.MaxIdleConnsPerHost, 256),
		MaxConnsPerHost:        o.MaxConnsPerHost,
		IdleConnTimeout:        orDefault(o.KeepAliveIdle, 30*time.Second),
		ResponseHeaderTimeout:  o.ResponseHeaderTimeout,
		MaxResponseHeaderBytes: orDefault(o.MaxResponseHeader, 256<<10),
		Protocols:              protocols,
	}, nil
}

func orDefault[T int | int64 | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

func (o HTTPOptions) tls() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.ServerName}
	if (o.ClientCertificateFile == "") != (o.ClientCertificateKeyFile == "") {
		return nil, errors.New("a client certificate needs its key, and a key its certificate")
	}
	if o.ClientCertificateFile != "" {
		pair, err := tls.LoadX509KeyPair(o.ClientCertificateFile, o.ClientCertificateKeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if len(o.RootCAFiles) == 0 {
		return c, nil
	}
	c.RootCAs = x509.NewCertPool()
	for _, name := range o.RootCAFiles {
		pem, err := os.ReadFile(name) //nolint:gosec // the operator names the file
		if err != nil {
			return nil, fmt.Errorf("root CA: %w", err)
		}
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("root CA: no certificate in %s", name)
		}
	}
	return c, nil
}

func (o HTTPOptions) protocols() (*http.Protocols, error) {
	p := new(http.Protocols)
	if len(o.Versions) == 0 {
		p.SetHTTP1(true)
	}
	for _, v := range o.Versions {
		switch v {
		case "1.1":
			p.SetHTTP1(true)
		case "2":
			p.SetHTTP2(true)
		default:
			return nil, fmt.Errorf("HTTP version %q is neither 1.1 nor 2", v)
		}
	}
	return p, nil
}

func (o HTTPOptions) proxy() (func(*http.Request) (*url.URL, error), error) {
	if o.Proxy == "" {
		return nil, nil //nolint:nilnil // http.Transport takes nil for no proxy
	}
	u, err := url.Parse(o.Proxy)
	if err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
		return nil, errors.New("proxy is not an http, https or socks5 URL") // not quoted: it may bear a password
	}
	return http.ProxyURL(u), nil
}

func (o HTTPOptions) dialer() (dialFunc, error) {
	d := &net.Dialer{Timeout: orDefault(o.DialTimeout, 3*time.Second), KeepAlive: orDefault(o.KeepAliveProbe, 30*time.Second)}
	if len(o.Resolvers) == 0 {
		return d.DialContext, nil
	}
	for _, r := range o.Resolvers {
		if _, _, err := net.SplitHostPort(r); err != nil {
			return nil, fmt.Errorf("resolver %q: %w", r, err)
		}
	}
	var turn atomic.Uint32
	servers := slices.Clone(o.Resolvers)
	d.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		server := servers[int(turn.Add(1)-1)%len(servers)]
		return (&net.Dialer{Timeout: d.Timeout}).DialContext(ctx, network, server)
	}}
	return d.DialContext, nil
}
