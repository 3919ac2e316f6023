package pursercmd

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/clientcert"
)

// must runs a command that has to succeed, and returns what it prints.
func must(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, code := output(t, args...)
	if code != 0 {
		t.Fatalf("purser %s ended with %d: %s", strings.Join(args, " "), code, errs)
	}
	return out
}

// TestCerts makes all that mTLS needs, and lets the gateway's own eyes look at it.
func TestCerts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	must(t, "certs", "ca", "--out", dir, "--name", "Try CA")
	must(t, "certs", "server", "--out", dir, "--hosts", "pay.example.com,10.0.0.1")
	said := must(t, "certs", "client", "--out", dir, "--name", "till", "--uri", "spiffe://shop/till", "--dns", "till.example", "--email", "till@shop.example")
	must(t, "certs", "crl", "--out", dir)
	for _, name := range []string{"ca.key", "server.key", "client.key"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got %v %v, want mode 0600", name, info, err)
		}
	}
	ca, server, client := leafOf(t, dir, "ca"), leafOf(t, dir, "server"), leafOf(t, dir, "client")
	if ca.Subject.CommonName != "Try CA" || !ca.IsCA || !ca.MaxPathLenZero {
		t.Errorf("got the authority %s, path length %d", ca.Subject, ca.MaxPathLen)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	for _, host := range []string{"pay.example.com", "10.0.0.1"} {
		if _, err := server.Verify(x509.VerifyOptions{Roots: pool, DNSName: host}); err != nil {
			t.Errorf("the server's certificate for %s: %v", host, err)
		}
	}
	checker, err := clientcert.New(clientcert.Config{
		Roots: []*x509.Certificate{ca}, Lists: []string{filepath.Join(dir, "ca.crl")}, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	check := func(cert *x509.Certificate, want error) {
		t.Helper()
		if err := checker.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := checker.Check(t.Context(), []*x509.Certificate{cert}); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", cert.Subject, err, want)
		}
	}
	check(client, nil)
	check(server, clientcert.ErrUnfit)

	lines := regexp.MustCompile(`map (\S+) MERCHANT test`).FindAllStringSubmatch(said, -1)
	if len(lines) != 4 {
		t.Errorf("got %d lines for a configuration, want 4: %s", len(lines), said)
	}
	for _, line := range lines {
		names, err := clientcert.NewNames([]clientcert.Mapping{{Match: line[1], Merchant: "mer_01hzx5v5n3e5r8w9q2t7y4k6mb", Mode: "test"}})
		if err != nil {
			t.Errorf("%s: %v", line[1], err)
			continue
		}
		if _, ok := names.Identify(client); !ok {
			t.Errorf("%s does not match the certificate", line[1])
		}
	}

	if said := must(t, "certs", "revoke", "--out", dir, filepath.Join(dir, "client.crt")); !strings.Contains(said, "1 revoked") {
		t.Errorf("revoke said %q, want 1 revoked", said)
	}
	check(client, clientcert.ErrRevoked)
	if said := must(t, "certs", "revoke", "--out", dir, filepath.Join(dir, "client.crt"), filepath.Join(dir, "server.crt")); !strings.Contains(said, "2 revoked") {
		t.Errorf("revoke said %q, want 2 revoked: one was on the list", said)
	}
	must(t, "certs", "crl", "--out", dir, "--days", "30")
	check(client, clientcert.ErrRevoked)
}

func leafOf(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

// TestCertsReplaceNothing holds that a key which is there stays, unless its loss
// was asked for.
func TestCertsReplaceNothing(t *testing.T) {
	dir := t.TempDir()
	for _, kind := range []string{"ca", "server", "client"} {
		must(t, "certs", kind, "--out", dir)
		for _, gone := range []string{"", ".crt"} { // the key alone is worth as much
			if gone != "" {
				if err := os.Remove(filepath.Join(dir, kind+gone)); err != nil {
					t.Fatal(err)
				}
			}
			before, err := os.ReadFile(filepath.Join(dir, kind+".key"))
			if err != nil {
				t.Fatal(err)
			}
			_, errs, code := output(t, "certs", kind, "--out", dir)
			if code != 1 || !strings.Contains(errs, "--force") {
				t.Errorf("%s again: got %d %s, want 1 and a word of --force", kind, code, errs)
			}
			after, err := os.ReadFile(filepath.Join(dir, kind+".key"))
			if err != nil || !bytes.Equal(before, after) {
				t.Errorf("%s again: the key has changed, %v", kind, err)
			}
		}
		must(t, "certs", kind, "--out", dir, "--force")
	}
}

func TestCertsRefuse(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	must(t, "certs", "ca", "--out", dir)
	must(t, "certs", "ca", "--out", other)
	must(t, "certs", "client", "--out", other)
	foreign := filepath.Join(other, "client.crt")
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no folder", []string{"client"}, 2, "--out is needed"},
		{"no authority", []string{"client", "--out", t.TempDir()}, 1, "purser certs ca --out"},
		{"no days", []string{"client", "--out", dir, "--days", "0"}, 2, "--days is 1"},
		{"too many days", []string{"client", "--out", dir, "--days", "3651"}, 2, "--days is 1"},
		{"a URI that is none", []string{"client", "--out", dir, "--uri", "till"}, 2, "no URI"},
		{"an address that is none", []string{"client", "--out", dir, "--email", "till"}, 2, "no address"},
		{"a long name", []string{"client", "--out", dir, "--name", strings.Repeat("a", 65)}, 2, "1 to 64"},
		{"no host", []string{"server", "--out", dir, "--hosts", ""}, 2, "no host"},
		{"revoke what is not ours", []string{"revoke", "--out", dir, foreign}, 1, "not signed by"},
		{"revoke nothing", []string{"revoke", "--out", dir}, 2, "at least 1 arg"},
		{"revoke a key", []string{"revoke", "--out", dir, filepath.Join(dir, "ca.key")}, 1, "no certificate"},
		{"an unknown command", []string{"thing"}, 2, `no command "thing"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, errs, code := output(t, append([]string{"certs"}, test.args...)...)
			if code != test.code || !strings.Contains(errs, test.want) {
				t.Errorf("got %d %s, want %d and %q", code, errs, test.code, test.want)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "client.key")); err == nil {
		t.Error("a refused command has made a key")
	}
}
