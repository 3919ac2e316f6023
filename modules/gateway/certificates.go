package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/clientcert"
	"github.com/purser-pay/purser/modules/payment"
)

// ClientCertificatesConfig says whose client certificates count in TLS (mTLS), how
// it becomes known that one was revoked, and to whom they belong.
type ClientCertificatesConfig struct {
	// CA lists PEM files with the certificates of the authorities, relative to the
	// app's root; at most 32. They are read when the configuration is loaded.
	CA []string `json:"ca"`
	// CRL lists revocation lists in PEM or DER: files, relative to the app's root,
	// and URLs of http or https; at most 32. With any, every authority of a chain
	// needs a list that is current, or its certificates are refused. A file counts
	// within two seconds of its change.
	CRL []string `json:"crl,omitempty"`
	// OCSP is "off", "soft" or "hard"; default off. Hard refuses a certificate that
	// no responder calls good, soft takes one where no responder answers.
	OCSP string `json:"ocsp,omitempty"`
	// Responder is the URL of the OCSP responder that is asked about every
	// certificate, whatever certificates say themselves.
	Responder string `json:"responder,omitempty"`
	// ResponderHosts lists the hosts, HOST or HOST:PORT, of responders that are
	// asked where a certificate names them; no others are. At most 32.
	ResponderHosts []string `json:"responder_hosts,omitempty"`
	// Refresh is how old a fetched list or an answer of a responder becomes before a
	// newer one is asked for; 10 s … 24 h, default 5 min.
	Refresh caddy.Duration `json:"refresh,omitempty"`
	// Map says whose certificates are; at most 1000. A certificate of the
	// authorities that is nobody's is no credential by itself, and does where one is
	// required beside a key.
	Map []CertificateMapping `json:"map,omitempty"`
}

// CertificateMapping makes a certificate a merchant's credential.
type CertificateMapping struct {
	// Match names what the certificate must hold: sha256:HEX, its own SHA-256;
	// uri:URI, dns:NAME or email:ADDRESS, one of its names; subject:DN, its whole
	// subject in the form of RFC 4514. Nothing is a wildcard. A certificate that
	// several mappings match is nobody's.
	Match string `json:"match"`
	// Merchant is the merchant's ID, mer_….
	Merchant string `json:"merchant"`
	// Mode is "test" or "live".
	Mode payment.Mode `json:"mode"`
	// Scopes are what the certificate may do; default all but proxy:use.
	Scopes []access.Scope `json:"scopes,omitempty"`
}

// Certificates decides over clients' certificates: at the handshake, and again for
// every request.
type Certificates = clientcert.Clients

// maxCABytes and maxCAs bound the files of authorities.
const (
	maxCABytes = 1 << 20
	maxCAs     = 32
)

// core is the configuration as package clientcert takes it.
func (c *ClientCertificatesConfig) core(root string) (clientcert.Config, *clientcert.Names, error) {
	cfg := clientcert.Config{
		OCSP: clientcert.OCSP(c.OCSP), Responder: c.Responder, ResponderHosts: c.ResponderHosts,
		Refresh: time.Duration(c.Refresh), Client: clientcert.NewClient(), Now: time.Now,
	}
	switch {
	case len(c.CA) == 0:
		return cfg, nil, errors.New("ca is missing: the file of the authority whose certificates count")
	case len(c.CA) > maxCAs:
		return cfg, nil, fmt.Errorf("ca takes at most %d files", maxCAs)
	}
	for _, file := range c.CA {
		roots, err := readAuthorities(root, file)
		if err != nil {
			return cfg, nil, fmt.Errorf("ca: %w", err)
		}
		cfg.Roots = append(cfg.Roots, roots...)
	}
	for _, at := range c.CRL {
		if !clientcert.IsURL(at) {
			path, err := under(root, at)
			if err != nil {
				return cfg, nil, fmt.Errorf("crl: %w", err)
			}
			at = path
		}
		cfg.Lists = append(cfg.Lists, at)
	}
	names, err := clientcert.NewNames(c.mappings())
	if err != nil {
		return cfg, nil, fmt.Errorf("map: %w", err)
	}
	return cfg, names, nil
}

func (c *ClientCertificatesConfig) mappings() []clientcert.Mapping {
	all := make([]clientcert.Mapping, len(c.Map))
	for i, m := range c.Map {
		all[i] = clientcert.Mapping{Match: m.Match, Merchant: m.Merchant, Mode: m.Mode, Scopes: m.Scopes}
	}
	return all
}

// readAuthorities reads a PEM file of certificates.
func readAuthorities(root, file string) ([]*x509.Certificate, error) {
	path, err := under(root, file)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path) //nolint:gosec // the operator's own configuration names the file
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	rest, err := io.ReadAll(io.LimitReader(f, maxCABytes+1))
	switch {
	case err != nil:
		return nil, err
	case len(rest) > maxCABytes:
		return nil, fmt.Errorf("%s is over %d bytes", path, maxCABytes)
	}
	var all []*x509.Certificate
	for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" { // of a private key nothing is said
			return nil, fmt.Errorf("%s holds what is no certificate", path)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, cert)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return all, nil
}

// check refuses a configuration that makes no sense. Where it is only looked at,
// by purser validate, files of revocation lists must be good as well: a gateway
// that starts without one starts, and refuses the certificates.
func (c *ClientCertificatesConfig) check(ctx context.Context, root string, whole bool) error {
	if c == nil {
		return nil
	}
	cfg, _, err := c.core(root)
	if err != nil {
		return fmt.Errorf("client_certificates: %w", err)
	}
	if _, err := clientcert.New(cfg); err != nil {
		return fmt.Errorf("client_certificates: %w", err)
	}
	if !whole {
		return nil
	}
	var files []string
	for _, at := range cfg.Lists {
		if !clientcert.IsURL(at) {
			files = append(files, at)
		}
	}
	cfg.Lists = files
	checker, err := clientcert.New(cfg)
	if err == nil {
		err = checker.Refresh(ctx)
	}
	if err != nil {
		return fmt.Errorf("client_certificates: %w", err)
	}
	return nil
}

// checkers keeps lists and answers over reloads: a reload while a responder cannot
// be reached must not shut clients out.
var checkers = caddy.NewUsagePool()

type checkerKey [sha256.Size]byte

// pooledChecker is a pool's entry.
type pooledChecker struct {
	*clientcert.Checker
	stop context.CancelFunc
	done chan struct{}
}

// Destruct ends the reading of lists.
func (c *pooledChecker) Destruct() error {
	c.stop()
	<-c.done
	return nil
}

// openCertificates takes what decides over clients' certificates; nil where none
// count.
func (a *App) openCertificates(ctx context.Context, c *ClientCertificatesConfig) (*Certificates, error) {
	if c == nil {
		return nil, nil
	}
	cfg, names, err := c.core(a.Root)
	if err != nil {
		return nil, fmt.Errorf("client_certificates: %w", err)
	}
	cfg.Report = a.listProblem
	key, err := keyOf(cfg)
	if err != nil {
		return nil, fmt.Errorf("client_certificates: %w", err)
	}
	shared, err := pooled(checkers, key, func() (*pooledChecker, error) { return startChecker(ctx, cfg) })
	if err != nil {
		return nil, fmt.Errorf("client_certificates: %w", err)
	}
	a.onCleanup(func() error { return drop(checkers, key) })
	return &Certificates{Checker: shared.Checker, Names: names}, nil
}

// keyOf tells checkers apart by all that they depend on. Whose certificates are is
// no part of it: it may change while the lists stay.
func keyOf(cfg clientcert.Config) (checkerKey, error) {
	of := struct {
		Roots     [][]byte
		Lists     []string
		OCSP      clientcert.OCSP
		Responder string
		Hosts     []string
		Refresh   time.Duration
	}{Lists: cfg.Lists, OCSP: cfg.OCSP, Responder: cfg.Responder, Hosts: cfg.ResponderHosts, Refresh: cfg.Refresh}
	for _, root := range cfg.Roots {
		of.Roots = append(of.Roots, root.Raw)
	}
	text, err := json.Marshal(of)
	return sha256.Sum256(text), err
}

// startChecker reads the lists once. One that cannot be used stops no gateway: its
// authority's certificates are refused, and everybody else is served.
func startChecker(ctx context.Context, cfg clientcert.Config) (*pooledChecker, error) {
	checker, err := clientcert.New(cfg)
	if err != nil {
		return nil, err
	}
	_ = checker.Refresh(ctx) // Report has heard of it
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	c := &pooledChecker{checker, stop, make(chan struct{})}
	go func() {
		defer close(c.done)
		checker.Run(ctx)
	}()
	return c, nil
}

// listProblem logs that a revocation list cannot be used, and that it can again.
func (a *App) listProblem(source string, problem error) {
	log := a.log
	if running, err := Running(); err == nil {
		log = running.log // a reload may have changed where it goes
	}
	if problem != nil {
		log.Error("a revocation list cannot be used; once it has lapsed its authority's client certificates are refused",
			slog.String("list", source), slog.String("error", problem.Error()))
		return
	}
	log.Info("a revocation list is in use", slog.String("list", source))
}

// parseClientCertificates reads the block client_certificates.
func parseClientCertificates(d *caddyfile.Dispenser) (*ClientCertificatesConfig, error) {
	first := here(d)
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	options := newFields("client_certificates", reflect.TypeFor[ClientCertificatesConfig]())
	delete(options.byName, "map")
	var mappings []CertificateMapping
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "map" {
			if err := options.read(d); err != nil {
				return nil, err
			}
			continue
		}
		m, err := parseMapping(d)
		if err != nil {
			return nil, err
		}
		mappings = append(mappings, m)
	}
	raw, err := options.object("", "")
	if err != nil {
		return nil, d.WrapErr(err)
	}
	config := new(ClientCertificatesConfig)
	if err := caddy.StrictUnmarshalJSON(raw, config); err != nil {
		return nil, d.WrapErr(err)
	}
	config.Map = mappings
	if len(config.CA) == 0 {
		return nil, first.errorf("client_certificates: ca is missing")
	}
	if _, err := clientcert.NewNames(config.mappings()); err != nil {
		return nil, first.errorf("client_certificates: map: %v", err)
	}
	return config, nil
}

// parseMapping reads one line of map.
func parseMapping(d *caddyfile.Dispenser) (CertificateMapping, error) {
	args := d.RemainingArgs()
	if len(args) < 3 {
		return CertificateMapping{}, d.Err("map takes a certificate, a merchant, a mode and scopes: map uri:spiffe://shop/till mer_… test payments:write")
	}
	m := CertificateMapping{Match: args[0], Merchant: args[1], Mode: payment.Mode(args[2])}
	for _, scope := range args[3:] {
		m.Scopes = append(m.Scopes, access.Scope(scope))
	}
	one := ClientCertificatesConfig{Map: []CertificateMapping{m}}
	if _, err := clientcert.NewNames(one.mappings()); err != nil {
		return CertificateMapping{}, d.Errf("map: %v", err)
	}
	return m, nil
}
