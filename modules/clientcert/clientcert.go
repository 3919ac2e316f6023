// Package clientcert decides over the certificates that clients present in TLS:
// whether an authority of ours vouches for one, whether it was revoked, and whose
// it is. It fails closed: where it cannot be known that a certificate is still
// good, it is not.
package clientcert

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// The reasons why a certificate is refused. Each is wrapped with what is known
// beyond it; certificates are public, so that nothing of that is a secret.
var (
	// ErrForeign tells that no configured authority vouches for the certificate.
	ErrForeign = errors.New("no configured authority vouches for the client certificate")
	// ErrExpired tells that a certificate of the chain is not valid now.
	ErrExpired = errors.New("the client certificate is expired, or not valid yet")
	// ErrUnfit tells that the certificate is not one for clients.
	ErrUnfit = errors.New("the certificate is not fit for a client")
	// ErrRevoked tells that an authority has taken a certificate of the chain back.
	ErrRevoked = errors.New("the client certificate was revoked")
	// ErrUnsure tells that nobody can say whether a certificate of the chain was
	// revoked: a list is missing or has lapsed, or a responder does not answer.
	ErrUnsure = errors.New("whether the client certificate was revoked is not known")
)

// The bounds of Config.Refresh, and what 0 means there.
const (
	MinRefresh     = 10 * time.Second
	DefaultRefresh = 5 * time.Minute
	MaxRefresh     = 24 * time.Hour
)

const (
	// MaxLists bounds the sources of revocation lists.
	MaxLists = 32
	// MaxHosts bounds the hosts of responders.
	MaxHosts = 32

	// maxPresented bounds the certificates of a handshake that are looked at.
	maxPresented = 10
	// maxPaths bounds the remembered chains.
	maxPaths = 4096
	// minRSABits is what RFC 9325 §4.5 asks of RSA.
	minRSABits = 2048
	// skew is by how much the clock of an authority may be ahead.
	skew = 5 * time.Minute
)

// OCSP says whether responders are asked about certificates (RFC 6960).
type OCSP string

// The modes of OCSP.
const (
	OCSPOff OCSP = "off"
	// OCSPSoft takes a certificate where no responder answers; an answer counts.
	OCSPSoft OCSP = "soft"
	// OCSPHard refuses a certificate that no responder calls good.
	OCSPHard OCSP = "hard"
)

// Doer sends requests; a *http.Client is one. [NewClient] makes one with limits.
type Doer interface {
	Do(r *http.Request) (*http.Response, error)
}

// Config says whose certificates count, and how it becomes known that one was
// revoked.
type Config struct {
	// Roots are the authorities; at least one. Chains end at one of them, and of
	// themselves nobody is asked whether they were revoked.
	Roots []*x509.Certificate
	// Lists are where revocation lists are, in DER or PEM, at most [MaxLists]:
	// absolute paths, or URLs of http or https. With any, every authority of a
	// chain needs a list that is current. What certificates themselves say of
	// lists is not followed.
	Lists []string
	// OCSP is off where it is empty. Otherwise one of the next two is needed.
	OCSP OCSP
	// Responder is the URL that is asked about every certificate.
	Responder string
	// ResponderHosts are the hosts, host or host:port, that may be asked where the
	// certificate names them; at most [MaxHosts]. Without a port it is the
	// scheme's own.
	ResponderHosts []string
	// Refresh is how old a fetched list, or an answer of a responder, becomes
	// before a newer one is asked for; see [DefaultRefresh]. Where there is none,
	// the old one is good for as long as it says itself.
	Refresh time.Duration
	// Client fetches; it is needed where there is something to be fetched.
	Client Doer
	Now    func() time.Time
	// Report hears that a list cannot be used, with the reason, and that it can be
	// again, with nil; nil hears nothing. It is called by several goroutines, but
	// by one at a time for each source.
	Report func(source string, problem error)
}

// Checker decides over certificates. It is safe for concurrent use.
type Checker struct {
	now     func() time.Time
	roots   *x509.CertPool
	sources []*source
	ocsp    *responder // nil = off

	mu    sync.RWMutex
	paths map[[sha256.Size]byte][][]*x509.Certificate
}

// New makes a Checker, which has read no lists: [Checker.Refresh] does so.
func New(cfg Config) (*Checker, error) {
	if len(cfg.Roots) == 0 {
		return nil, errors.New("no authority is given")
	}
	if cfg.Now == nil {
		return nil, errors.New("no clock is given")
	}
	if cfg.Refresh == 0 {
		cfg.Refresh = DefaultRefresh
	}
	if cfg.Refresh < MinRefresh || cfg.Refresh > MaxRefresh {
		return nil, fmt.Errorf("refresh %s is not %s … %s", cfg.Refresh, MinRefresh, MaxRefresh)
	}
	c := &Checker{now: cfg.Now, roots: x509.NewCertPool(), paths: map[[sha256.Size]byte][][]*x509.Certificate{}}
	for _, root := range cfg.Roots {
		if !root.IsCA || !root.BasicConstraintsValid {
			return nil, fmt.Errorf("%s is no authority: it may not issue certificates", root.Subject)
		}
		c.roots.AddCert(root)
	}
	if len(cfg.Lists) > MaxLists {
		return nil, fmt.Errorf("there are more than %d revocation lists", MaxLists)
	}
	for i, at := range cfg.Lists {
		if slices.Contains(cfg.Lists[:i], at) {
			return nil, fmt.Errorf("the revocation list %s is given twice", at)
		}
		s, err := newSource(at, cfg)
		if err != nil {
			return nil, err
		}
		c.sources = append(c.sources, s)
	}
	var err error
	c.ocsp, err = newResponder(cfg)
	return c, err
}

// webURL parses the URL of a list or responder.
func webURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return nil, fmt.Errorf("%.200q is no URL of http or https", text)
	case u.User != nil || u.Fragment != "":
		return nil, fmt.Errorf("the URL of %s has a user or a fragment", u.Hostname())
	default:
		return u, nil
	}
}

// isPath tells a file's absolute path from a URL.
func isPath(at string) bool { return filepath.IsAbs(at) }

// IsURL tells whether text looks like the URL of a list, and not like a path.
func IsURL(text string) bool {
	return strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://")
}

// Check decides over what a client presented: its own certificate first, then
// those between it and the authority in any order. That the client holds the key
// is for TLS to prove. A nil error means that a chain to a configured authority
// exists of which every certificate is valid now and, as far as Config says so,
// known not to be revoked. The other errors wrap one of this package's.
//
// It is cheap for a certificate that was seen before, and meant to be called for
// every request: a connection may be older than a revocation.
func (c *Checker) Check(ctx context.Context, presented []*x509.Certificate) error {
	if len(presented) == 0 {
		return fmt.Errorf("%w: there is none", ErrForeign)
	}
	if len(presented) > maxPresented {
		return fmt.Errorf("%w: more than %d certificates", ErrForeign, maxPresented)
	}
	if err := fit(presented[0]); err != nil {
		return err
	}
	chains, err := c.chains(presented)
	if err != nil {
		return err
	}
	// Where several chains lead to an authority, one good one is enough.
	var refusal error
	for _, chain := range chains {
		err := c.checkChain(ctx, chain)
		if err == nil {
			return nil
		}
		if refusal == nil || errors.Is(err, ErrRevoked) {
			refusal = err
		}
	}
	return refusal
}

// fit tells whether a certificate is made for clients. What says nothing of its
// purpose is not: an authority's certificates for servers must not open doors.
func fit(leaf *x509.Certificate) error {
	switch {
	case leaf.IsCA:
		return fmt.Errorf("%w: it is an authority's own", ErrUnfit)
	case !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		return fmt.Errorf("%w: its extended key usage lacks clientAuth", ErrUnfit)
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return fmt.Errorf("%w: its key usage lacks digitalSignature", ErrUnfit)
	}
	if key, ok := leaf.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < minRSABits {
		return fmt.Errorf("%w: its RSA key has %d bits, and %d are needed", ErrUnfit, key.N.BitLen(), minRSABits)
	}
	return nil
}

// chains finds the ways from a certificate to an authority. They are remembered,
// because signatures do not change; whether they hold now is for checkChain.
func (c *Checker) chains(presented []*x509.Certificate) ([][]*x509.Certificate, error) {
	h := sha256.New()
	for _, cert := range presented {
		h.Write(cert.Raw) // DER says itself where it ends
	}
	key := [sha256.Size]byte(h.Sum(nil))
	c.mu.RLock()
	chains := c.paths[key]
	c.mu.RUnlock()
	if chains != nil {
		return chains, nil
	}
	between := x509.NewCertPool()
	for _, cert := range presented[1:] {
		between.AddCert(cert)
	}
	chains, err := presented[0].Verify(x509.VerifyOptions{
		Roots: c.roots, Intermediates: between, CurrentTime: c.now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, untrusted(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.paths) >= maxPaths {
		clear(c.paths) // they are found again
	}
	c.paths[key] = chains
	return chains, nil
}

// untrusted sorts the errors of x509.
func untrusted(err error) error {
	var invalid x509.CertificateInvalidError
	if !errors.As(err, &invalid) {
		return fmt.Errorf("%w: %w", ErrForeign, err)
	}
	switch invalid.Reason {
	case x509.Expired:
		return fmt.Errorf("%w: %w", ErrExpired, err)
	case x509.IncompatibleUsage:
		return fmt.Errorf("%w: %w", ErrUnfit, err)
	default:
		return fmt.Errorf("%w: %w", ErrForeign, err)
	}
}

// checkChain decides over one chain, from the client's certificate to the
// authority.
func (c *Checker) checkChain(ctx context.Context, chain []*x509.Certificate) error {
	now := c.now()
	for _, cert := range chain {
		if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
			return fmt.Errorf("%w: %s is valid from %s to %s", ErrExpired, cert.Subject,
				cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339))
		}
	}
	for i, cert := range chain[:len(chain)-1] {
		issuer := chain[i+1]
		if err := c.listed(cert, issuer, now); err != nil {
			return err
		}
		if c.ocsp == nil {
			continue
		}
		if err := c.ocsp.check(ctx, cert, issuer); err != nil {
			return err
		}
	}
	return nil
}

// Thumbprint is what tokens that are bound to a certificate hold as x5t#S256: the
// SHA-256 of its DER in base64url without padding (RFC 8705 §3.1).
func Thumbprint(leaf *x509.Certificate) string {
	sum := sha256.Sum256(leaf.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
