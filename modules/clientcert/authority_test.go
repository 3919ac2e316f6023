package clientcert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// noon is when the tests begin.
var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// clock is moved by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: noon} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// issuer is an authority of the tests.
type issuer struct {
	cert *x509.Certificate
	key  crypto.Signer
	last int64
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// root makes an authority.
func root(t testing.TB, name string) *issuer {
	t.Helper()
	key := newKey(t)
	template := authorityTemplate(name, 1)
	return &issuer{cert: sign(t, template, template, key.Public(), key), key: key, last: 1}
}

func authorityTemplate(name string, serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name, Organization: []string{"Test"}},
		NotBefore: noon.Add(-time.Hour), NotAfter: noon.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// under makes an authority between.
func (i *issuer) under(t testing.TB, name string) *issuer {
	t.Helper()
	key := newKey(t)
	i.last++
	return &issuer{cert: sign(t, authorityTemplate(name, i.last), i.cert, key.Public(), i.key), key: key, last: 1000}
}

// leaf makes a certificate for clients, as change has it.
func (i *issuer) leaf(t testing.TB, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	cert, _ := i.pair(t, change)
	return cert
}

func (i *issuer) pair(t testing.TB, change func(*x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key := newKey(t)
	i.last++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(i.last), Subject: pkix.Name{CommonName: "till", Organization: []string{"Shop"}},
		NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	return sign(t, template, i.cert, key.Public(), i.key), key
}

func sign(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// crl makes a revocation list from at on, which lasts an hour.
func (i *issuer) crl(t testing.TB, number int64, at time.Time, revoked ...*x509.Certificate) []byte {
	t.Helper()
	return i.crlAs(t, &x509.RevocationList{
		Number: big.NewInt(number), ThisUpdate: at, NextUpdate: at.Add(time.Hour),
	}, revoked...)
}

func (i *issuer) crlAs(t testing.TB, template *x509.RevocationList, revoked ...*x509.Certificate) []byte {
	t.Helper()
	for _, c := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: template.ThisUpdate})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, i.cert, i.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func asPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// write replaces a file as an operator does: whole, by a new one.
func write(t testing.TB, path string, data []byte) {
	t.Helper()
	next := path + ".new"
	if err := os.WriteFile(next, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

func place(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "list")
	write(t, path, data)
	return path
}

func parseURL(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// checker makes a Checker that has read its lists; what is wrong with them is for
// its tests.
func checker(t testing.TB, cfg Config) *Checker {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Refresh(t.Context()) // Report tells
	return c
}
