package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/purser-pay/purser/modules/access"
)

const mappedMerchant = "mer_00000000000000000000000000"

func TestParseClientCertificates(t *testing.T) {
	t.Parallel()
	parse := func(lines string) (*ClientCertificatesConfig, error) {
		d := caddyfile.NewTestDispenser("client_certificates {\n" + lines + "\n}")
		d.Next()
		return parseClientCertificates(d)
	}
	got, err := parse(`ca a.pem b.pem
		crl clients.crl http://crl.example/a.crl
		ocsp hard
		responder_hosts ocsp.example ocsp.example:8080
		refresh 1m
		map uri:spiffe://shop/till ` + mappedMerchant + ` test payments:write payments:read
		map "subject:CN=Till 1,O=Shop" ` + mappedMerchant + ` live`)
	if err != nil {
		t.Fatal(err)
	}
	want := &ClientCertificatesConfig{
		CA: []string{"a.pem", "b.pem"}, CRL: []string{"clients.crl", "http://crl.example/a.crl"}, OCSP: "hard",
		ResponderHosts: []string{"ocsp.example", "ocsp.example:8080"}, Refresh: caddy.Duration(time.Minute),
		Map: []CertificateMapping{
			{Match: "uri:spiffe://shop/till", Merchant: mappedMerchant, Mode: "test", Scopes: []access.Scope{access.PaymentsWrite, access.PaymentsRead}},
			{Match: "subject:CN=Till 1,O=Shop", Merchant: mappedMerchant, Mode: "live"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	const good = "\nca a.pem"
	refused := []struct{ name, lines, want string }{
		{"no authority", "ocsp off", "ca is missing, at Testfile:1"},
		{"an authority twice", "ca a.pem\nca b.pem", "ca is given twice; first at line 2, at Testfile:3"},
		{"an unknown option", "crls a.crl" + good, `no field "crls"`},
		{"a mapping without a mode", "map dns:a " + mappedMerchant + good, "map takes a certificate, a merchant, a mode and scopes"},
		{"a mapping of another mode", "map dns:a " + mappedMerchant + " both" + good, `mode "both" is neither test nor live, at Testfile:2`},
		{"a mapping to nobody", "map dns:a shop test" + good, `"shop" is no merchant's id`},
		{"a wildcard", "map dns:*.a " + mappedMerchant + " test" + good, "wildcards stand for nothing, at Testfile:2"},
		{"an unknown scope", "map dns:a " + mappedMerchant + " test all" + good, `no scope "all"`},
		{"a mapping twice", strings.Repeat("map dns:a "+mappedMerchant+" test\n", 2) + good, "dns:a is given twice"},
	}
	for _, test := range refused {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if _, err := parse(test.lines); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

// clientsCA writes an authority and a list of its that is good for an hour.
func clientsCA(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Clients"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if ca, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
	}, ca, key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"ca.pem": {Type: "CERTIFICATE", Bytes: der}, "ca.crl": {Type: "X509 CRL", Bytes: list}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCheckClientCertificates holds what stops a gateway from starting, and what
// only `purser validate` minds.
func TestCheckClientCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	clientsCA(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "large.pem"), make([]byte, maxCABytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	ca := []string{"ca.pem"}
	tests := []struct {
		name         string
		config       *ClientCertificatesConfig
		start, whole string // parts of the errors; "" = none
	}{
		{"none", nil, "", ""},
		{"good", &ClientCertificatesConfig{CA: ca, CRL: []string{"ca.crl", "http://127.0.0.1:1/away.crl"}}, "", ""},
		{"a list that is not there", &ClientCertificatesConfig{CA: ca, CRL: []string{"absent.crl"}}, "", "absent.crl"},
		{"a list that is none", &ClientCertificatesConfig{CA: ca, CRL: []string{"ca.pem"}}, "", "not X509 CRL"},
		{"no authority", &ClientCertificatesConfig{}, "ca is missing", "ca is missing"},
		{"too many authorities", &ClientCertificatesConfig{CA: make([]string, maxCAs+1)}, "at most 32", "at most 32"},
		{"an authority that is not there", &ClientCertificatesConfig{CA: []string{"absent.pem"}}, "absent.pem", "absent.pem"},
		{"an authority that is a list", &ClientCertificatesConfig{CA: []string{"ca.crl"}}, "what is no certificate", "what is no certificate"},
		{"a large authority", &ClientCertificatesConfig{CA: []string{"large.pem"}}, "over 1048576 bytes", "over 1048576 bytes"},
		{"nobody to ask", &ClientCertificatesConfig{CA: ca, OCSP: "soft"}, "needs a responder", "needs a responder"},
		{"an eager refresh", &ClientCertificatesConfig{CA: ca, Refresh: caddy.Duration(time.Second)}, "refresh 1s", "refresh 1s"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for whole, want := range map[bool]string{false: test.start, true: test.whole} {
				err := test.config.check(t.Context(), dir, whole)
				if (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
					t.Errorf("whole %t: got %v, want an error with %q", whole, err, want)
				}
			}
		})
	}
}

// TestCheckersArePooled holds that a reload which changes whose certificates are
// keeps the lists, and one which changes the lists does not.
func TestCheckersArePooled(t *testing.T) {
	dir := t.TempDir()
	clientsCA(t, dir)
	app := &App{Root: dir, log: slog.New(slog.DiscardHandler)}
	t.Cleanup(app.letGo)
	open := func(change func(*ClientCertificatesConfig)) *Certificates {
		t.Helper()
		c := &ClientCertificatesConfig{CA: []string{"ca.pem"}, CRL: []string{"ca.crl"}}
		change(c)
		opened, err := app.openCertificates(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return opened
	}
	first := open(func(*ClientCertificatesConfig) {})
	mapped := open(func(c *ClientCertificatesConfig) {
		c.Map = []CertificateMapping{{Match: "dns:a.example", Merchant: mappedMerchant, Mode: "test"}}
	})
	if first.Checker != mapped.Checker {
		t.Error("another mapping has another checker")
	}
	if other := open(func(c *ClientCertificatesConfig) { c.CRL = nil }); other.Checker == first.Checker {
		t.Error("other lists have the same checker")
	}
}
