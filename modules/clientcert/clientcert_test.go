package clientcert

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	ca, foreign := root(t, "Clients"), root(t, "Clients") // one name, two keys
	sub := ca.under(t, "Tills")
	weakKey, err := rsa.GenerateKey(rand.Reader, 1024) // too short on purpose
	if err != nil {
		t.Fatal(err)
	}
	good, goodKey := ca.pair(t, nil)
	weakTemplate := *good
	tests := []struct {
		name      string
		presented []*x509.Certificate
		want      error
	}{
		{"good", []*x509.Certificate{good}, nil},
		{"good through an authority between", []*x509.Certificate{sub.leaf(t, nil), sub.cert}, nil},
		{"good with certificates that lead nowhere", []*x509.Certificate{good, foreign.cert, sub.cert}, nil},
		{"none", nil, ErrForeign},
		{"the authority between is missing", []*x509.Certificate{sub.leaf(t, nil)}, ErrForeign},
		{"foreign", []*x509.Certificate{foreign.leaf(t, nil)}, ErrForeign},
		{"foreign with our authority beside it", []*x509.Certificate{foreign.leaf(t, nil), ca.cert}, ErrForeign},
		{"too many", slicesRepeat(good, maxPresented+1), ErrForeign},
		{"expired", []*x509.Certificate{ca.leaf(t, func(c *x509.Certificate) { c.NotAfter = noon.Add(-time.Second) })}, ErrExpired},
		{"not valid yet", []*x509.Certificate{ca.leaf(t, func(c *x509.Certificate) { c.NotBefore = noon.Add(time.Second) })}, ErrExpired},
		{"for servers", []*x509.Certificate{ca.leaf(t, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		})}, ErrUnfit},
		{"for nothing in particular", []*x509.Certificate{ca.leaf(t, func(c *x509.Certificate) { c.ExtKeyUsage = nil })}, ErrUnfit},
		{"for anything", []*x509.Certificate{ca.leaf(t, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
		})}, ErrUnfit},
		{"for encipherment", []*x509.Certificate{ca.leaf(t, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment })}, ErrUnfit},
		{"the authority itself", []*x509.Certificate{ca.cert}, ErrUnfit},
		{"an authority that is for clients too", []*x509.Certificate{ca.leaf(t, func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid = true, true
			c.KeyUsage |= x509.KeyUsageCertSign
		})}, ErrUnfit},
		{"an authority between", []*x509.Certificate{sub.cert}, ErrUnfit},
		{"signed by a client", []*x509.Certificate{(&issuer{cert: good, key: goodKey}).leaf(t, nil), good}, ErrForeign},
		{"a short key", []*x509.Certificate{sign(t, &weakTemplate, ca.cert, weakKey.Public(), ca.key)}, ErrUnfit},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := checker(t, Config{Roots: []*x509.Certificate{ca.cert}, Now: newClock().Now})
			for _, when := range []string{"first", "again"} { // the second comes from memory
				if err := c.Check(t.Context(), test.presented); !errors.Is(err, test.want) {
					t.Errorf("%s: got %v, want %v", when, err, test.want)
				}
			}
		})
	}
}

func slicesRepeat(c *x509.Certificate, n int) []*x509.Certificate {
	all := make([]*x509.Certificate, n)
	for i := range all {
		all[i] = c
	}
	return all
}

// TestCheckAges holds that a remembered chain is not good for longer than its
// certificates.
func TestCheckAges(t *testing.T) {
	t.Parallel()
	ca, at := root(t, "Clients"), newClock()
	c := checker(t, Config{Roots: []*x509.Certificate{ca.cert}, Now: at.Now})
	leaf := ca.leaf(t, nil)
	if err := c.Check(t.Context(), []*x509.Certificate{leaf}); err != nil {
		t.Fatalf("got %v, want no error", err)
	}
	at.move(25 * time.Hour)
	if err := c.Check(t.Context(), []*x509.Certificate{leaf}); !errors.Is(err, ErrExpired) {
		t.Errorf("a day later: got %v, want %v", err, ErrExpired)
	}
}

// TestPathsAreBounded fills the memory of chains.
func TestPathsAreBounded(t *testing.T) {
	t.Parallel()
	ca := root(t, "Clients")
	c := checker(t, Config{Roots: []*x509.Certificate{ca.cert}, Now: newClock().Now})
	for i := range maxPaths {
		c.paths[sha256.Sum256([]byte{byte(i), byte(i >> 8)})] = nil
	}
	if err := c.Check(t.Context(), []*x509.Certificate{ca.leaf(t, nil)}); err != nil {
		t.Fatal(err)
	}
	if got := len(c.paths); got != 1 {
		t.Errorf("got %d chains remembered, want 1 after a new beginning", got)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	ca := root(t, "Clients")
	roots := []*x509.Certificate{ca.cert}
	now := newClock().Now
	client := NewClient()
	tests := []struct {
		name string
		cfg  Config
		want string
	}{
		{"no authority", Config{Now: now}, "no authority"},
		{"no clock", Config{Roots: roots}, "no clock"},
		{"a client as authority", Config{Roots: []*x509.Certificate{ca.leaf(t, nil)}, Now: now}, "is no authority"},
		{"a relative path", Config{Roots: roots, Now: now, Lists: []string{"a.crl"}}, "neither an absolute path nor a URL"},
		{"a list twice", Config{Roots: roots, Now: now, Lists: []string{"/a.crl", "/a.crl"}}, "given twice"},
		{"many lists", Config{Roots: roots, Now: now, Lists: strings.Split(strings.Repeat("/a.crl ", MaxLists+1), " ")}, "more than 32"},
		{"a URL without a client", Config{Roots: roots, Now: now, Lists: []string{"http://crl.example/a.crl"}}, "no client"},
		{"a URL with a password", Config{Roots: roots, Now: now, Client: client, Lists: []string{"https://a:b@crl.example/"}}, "has a user"},
		{"a URL without a host", Config{Roots: roots, Now: now, Client: client, Lists: []string{"http:///a.crl"}}, "no URL"},
		{"another scheme", Config{Roots: roots, Now: now, Client: client, Lists: []string{"ldap://crl.example/a"}}, "neither"},
		{"an eager refresh", Config{Roots: roots, Now: now, Refresh: time.Second}, "refresh 1s"},
		{"a lazy refresh", Config{Roots: roots, Now: now, Refresh: 25 * time.Hour}, "refresh 25h"},
		{"an unknown mode", Config{Roots: roots, Now: now, OCSP: "firm"}, "none of off, soft, hard"},
		{"nobody to ask", Config{Roots: roots, Now: now, Client: client, OCSP: OCSPHard}, "needs a responder"},
		{"nothing to ask with", Config{Roots: roots, Now: now, OCSP: OCSPHard, Responder: "http://ocsp.example"}, "no client"},
		{"a responder that is not asked", Config{Roots: roots, Now: now, Responder: "http://ocsp.example"}, "ocsp is off"},
		{"hosts beside a responder", Config{Roots: roots, Now: now, Client: client, OCSP: OCSPSoft, Responder: "http://a.example", ResponderHosts: []string{"b.example"}}, "no effect"},
		{"a URL as host", Config{Roots: roots, Now: now, Client: client, OCSP: OCSPSoft, ResponderHosts: []string{"http://b.example"}}, "no host"},
		{"a path as host", Config{Roots: roots, Now: now, Client: client, OCSP: OCSPSoft, ResponderHosts: []string{"b.example/x"}}, "no host"},
		{"a host in capitals", Config{Roots: roots, Now: now, Client: client, OCSP: OCSPSoft, ResponderHosts: []string{"B.example"}}, "no host"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if _, err := New(test.cfg); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

// TestThumbprint computes x5t#S256 in another way.
func TestThumbprint(t *testing.T) {
	t.Parallel()
	leaf := root(t, "Clients").leaf(t, nil)
	sum := sha256.Sum256(leaf.Raw)
	want := strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(base64.StdEncoding.EncodeToString(sum[:]))
	if got := Thumbprint(leaf); got != want || len(got) != 43 {
		t.Errorf("got %q, want %q", got, want)
	}
}

// BenchmarkCheck is what every request on a connection with a certificate costs.
func BenchmarkCheck(b *testing.B) {
	ca := root(b, "Clients")
	sub := ca.under(b, "Tills")
	var revoked []*x509.Certificate
	for range 100 {
		revoked = append(revoked, sub.leaf(b, nil))
	}
	pems := append(asPEM(ca.crl(b, 1, noon)), asPEM(sub.crl(b, 1, noon, revoked...))...)
	c := checker(b, Config{Roots: []*x509.Certificate{ca.cert}, Now: newClock().Now, Lists: []string{place(b, pems)}})
	chain := []*x509.Certificate{sub.leaf(b, nil), sub.cert}
	if err := c.Check(b.Context(), chain); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Check(b.Context(), chain); err != nil {
			b.Fatal(err)
		}
	}
}
