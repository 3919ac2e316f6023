package edge_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/caddyserver/caddy/v2"
)

// authority issues certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, last: 1}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	a.cert = a.sign(t, a.cert, key.Public())
	return a
}

func (a *authority) sign(t *testing.T, template *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// issue makes a certificate for clients, or as change has it.
func (a *authority) issue(t *testing.T, change func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.last++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.last), Subject: pkix.Name{CommonName: "till"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs: []*url.URL{{Scheme: "spiffe", Host: "shop", Path: "/till"}},
	}
	if change != nil {
		change(template)
	}
	leaf := a.sign(t, template, key.Public())
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

// crl writes a list that is good until then.
func (a *authority) crl(t *testing.T, path string, until time.Time, revoked ...*tls.Certificate) {
	t.Helper()
	a.last++
	template := &x509.RevocationList{Number: big.NewInt(a.last), ThisUpdate: until.Add(-2 * time.Hour), NextUpdate: until}
	for _, c := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.Leaf.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", der, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func writePEM(t *testing.T, path string, certs ...*x509.Certificate) {
	t.Helper()
	var b bytes.Buffer
	for _, c := range certs {
		if err := pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// guardedWorld is a world whose public server speaks TLS and asks for client
// certificates.
type guardedWorld struct {
	*world
	ours, foreign *authority
	server        *authority
	list          string
}

func newGuardedWorld(t *testing.T) *guardedWorld {
	t.Helper()
	g := &guardedWorld{
		world: newWorld(t), ours: newAuthority(t, "Clients"), foreign: newAuthority(t, "Strangers"), server: newAuthority(t, "Servers"),
	}
	g.list = filepath.Join(g.dir, "clients.crl")
	writePEM(t, filepath.Join(g.dir, "clients.pem"), g.ours.cert)
	// TLS itself trusts more authorities than the gateway does.
	writePEM(t, filepath.Join(g.dir, "pool.pem"), g.ours.cert, g.foreign.cert)
	own := g.server.issue(t, func(c *x509.Certificate) {
		c.DNSNames, c.URIs, c.ExtKeyUsage = []string{"localhost"}, nil, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	writePEM(t, filepath.Join(g.dir, "server.crt"), own.Leaf)
	der, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(filepath.Join(g.dir, "server.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	return g
}

// reload loads the configuration with these client_certificates and this mode of
// client_auth.
func (g *guardedWorld) reload(t *testing.T, mode string, certificates object) error {
	t.Helper()
	g.options = object{"client_certificates": certificates}
	if certificates == nil {
		g.options = nil
	}
	return caddy.Load(g.altered(t, func(site object) {
		site["protocols"] = []string{"h1", "h2"}
		site["tls_connection_policies"] = []object{{
			"default_sni": "localhost",
			"client_authentication": object{
				"mode": mode, "verifiers": []object{{"verifier": "payments"}},
				"ca": object{"provider": "file", "pem_files": []string{filepath.Join(g.dir, "pool.pem")}},
			},
		}}
	}), true)
}

// altered is the present configuration with another server, and with TLS files.
func (g *guardedWorld) altered(t *testing.T, change func(site object)) []byte {
	t.Helper()
	var config object
	if err := json.Unmarshal(g.config(t), &config); err != nil {
		t.Fatal(err)
	}
	apps := config["apps"].(object)
	site := apps["http"].(object)["servers"].(object)["test"].(object)
	apps["tls"] = object{"certificates": object{"load_files": []object{{
		"certificate": filepath.Join(g.dir, "server.crt"), "key": filepath.Join(g.dir, "server.key"),
	}}}}
	change(site)
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (g *guardedWorld) mustReload(t *testing.T, mode string, certificates object) {
	t.Helper()
	if err := g.reload(t, mode, certificates); err != nil {
		t.Fatalf("load: %v", err)
	}
	if g.merchant != "" {
		return
	}
	var merchant, key struct{ ID, Key string }
	g.operate(t, http.StatusCreated, "POST", "/payments/merchants", object{"name": "Shop"}, &merchant)
	g.operate(t, http.StatusCreated, "POST", "/payments/keys", object{"merchant": merchant.ID, "mode": "test"}, &key)
	g.merchant, g.key = merchant.ID, key.Key
}

// caller is a client that presents cert, if any. It keeps its connections and its
// sessions.
func (g *guardedWorld) caller(t *testing.T, cert *tls.Certificate) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(g.server.cert)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{
			RootCAs: pool, MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(8),
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if cert == nil {
					return new(tls.Certificate), nil
				}
				return cert, nil // also to a server that does not name its authority
			},
		},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", g.public)
		},
		ForceAttemptHTTP2: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Timeout: 10 * time.Second, Transport: transport}
}

// visit asks who the caller is. The status is 0 where the handshake is refused.
func (g *guardedWorld) visit(t *testing.T, client *http.Client, key string) (status int, body string, reused bool) {
	t.Helper()
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) { reused = c.Reused },
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://localhost/v1/account", nil)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := client.Do(req)
	if err != nil {
		// In TLS 1.3 a client has finished its handshake when it is refused, and may
		// meet the end of the connection before the alert that explains it.
		if !slices.ContainsFunc([]string{"tls: ", "broken pipe", "reset by peer", "http2: client conn", "EOF"}, func(end string) bool {
			return strings.Contains(err.Error(), end)
		}) {
			t.Fatalf("the call failed otherwise than by a refusal: %v", err)
		}
		return 0, err.Error(), false
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), reused
}

// eventually repeats a visit until it has the status. Lists are read again within
// two seconds.
func (g *guardedWorld) eventually(t *testing.T, client *http.Client, want int) (body string, reused bool) {
	t.Helper()
	deadline := time.NewTimer(5 * time.Second)
	defer deadline.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		status, body, reused := g.visit(t, client, g.key)
		if status == want {
			return body, reused
		}
		select {
		case <-again.C:
		case <-deadline.C:
			t.Fatalf("got %d %s, want %d within 5s", status, body, want)
		}
	}
}

func hour() time.Time { return time.Now().Add(time.Hour) }

// TestClientCertificates presents certificates of all kinds, in every mode in
// which a client need not have one.
func TestClientCertificates(t *testing.T) {
	g := newGuardedWorld(t)
	revoked, good := g.ours.issue(t, nil), g.ours.issue(t, nil)
	g.ours.crl(t, g.list, hour(), revoked)
	tests := []struct {
		name string
		cert *tls.Certificate
		want int // 0 = the handshake is refused
	}{
		{"none", nil, http.StatusOK},
		{"good", good, http.StatusOK},
		{"foreign", g.foreign.issue(t, nil), 0},
		{"expired", g.ours.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), 0},
		{"for servers", g.ours.issue(t, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}), 0},
		{"for nothing in particular", g.ours.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = nil }), 0},
		{"revoked", revoked, 0},
	}
	for _, mode := range []string{"verify_if_given", "request"} {
		g.mustReload(t, mode, object{"ca": []string{"clients.pem"}, "crl": []string{"clients.crl"}})
		for _, test := range tests {
			t.Run(mode+", "+test.name, func(t *testing.T) {
				if status, body, _ := g.visit(t, g.caller(t, test.cert), g.key); status != test.want {
					t.Errorf("got %d %s, want %d", status, body, test.want)
				}
			})
		}
	}
}

// TestCertificateIsCredential calls by a certificate alone, and with the key of
// another.
func TestCertificateIsCredential(t *testing.T) {
	g := newGuardedWorld(t)
	g.mustReload(t, "verify_if_given", object{"ca": []string{"clients.pem"}})
	var other, key struct{ ID, Key string }
	g.operate(t, http.StatusCreated, "POST", "/payments/merchants", object{"name": "Other"}, &other)
	g.operate(t, http.StatusCreated, "POST", "/payments/keys", object{"merchant": other.ID, "mode": "test"}, &key)
	g.mustReload(t, "verify_if_given", object{"ca": []string{"clients.pem"}, "map": []object{
		{"match": "uri:spiffe://shop/till", "merchant": g.merchant, "mode": "test", "scopes": []string{"account:read"}},
	}})
	till := g.caller(t, g.ours.issue(t, nil))
	nobody := g.caller(t, g.ours.issue(t, func(c *x509.Certificate) { c.URIs = nil }))
	tests := []struct {
		name   string
		client *http.Client
		key    string
		status int
		part   string
	}{
		{"the certificate alone", till, "", http.StatusOK, g.merchant},
		{"with its merchant's key", till, g.key, http.StatusOK, g.merchant},
		{"with another's key", till, key.Key, http.StatusUnauthorized, "unauthenticated"},
		{"nobody's certificate alone", nobody, "", http.StatusUnauthorized, "unauthenticated"},
		{"nobody's certificate with a key", nobody, g.key, http.StatusOK, g.merchant},
		{"neither", g.caller(t, nil), "", http.StatusUnauthorized, "unauthenticated"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if status, body, _ := g.visit(t, test.client, test.key); status != test.status || !strings.Contains(body, test.part) {
				t.Errorf("got %d %s, want %d and %s", status, body, test.status, test.part)
			}
		})
	}
}

// TestRevokedMeanwhile revokes a certificate while its connection is open, and
// lets its client try to come back by the session of before.
func TestRevokedMeanwhile(t *testing.T) {
	g := newGuardedWorld(t)
	cert := g.ours.issue(t, nil)
	g.ours.crl(t, g.list, hour())
	g.mustReload(t, "verify_if_given", object{"ca": []string{"clients.pem"}, "crl": []string{"clients.crl"}})
	client := g.caller(t, cert)
	for i, want := range []bool{false, true} {
		if status, body, reused := g.visit(t, client, g.key); status != http.StatusOK || reused != want {
			t.Fatalf("call %d: got %d %s and reused %t, want 200 and %t", i, status, body, reused, want)
		}
	}
	g.ours.crl(t, g.list, hour(), cert)
	body, reused := g.eventually(t, client, http.StatusUnauthorized)
	if !reused || !strings.Contains(body, "revoked") {
		t.Errorf("got %s and reused %t, want that it was revoked, on the open connection", body, reused)
	}
	client.CloseIdleConnections()
	if status, body, _ := g.visit(t, client, g.key); status != 0 {
		t.Errorf("a new connection with the old session: got %d %s, want that the handshake is refused", status, body)
	}
	if status, body, _ := g.visit(t, g.caller(t, g.ours.issue(t, nil)), g.key); status != http.StatusOK {
		t.Errorf("another certificate: got %d %s, want 200", status, body)
	}
}

// TestNoResumption holds that a client with a certificate always makes a whole
// handshake: a session would bring its certificate along, unasked.
func TestNoResumption(t *testing.T) {
	g := newGuardedWorld(t)
	g.mustReload(t, "verify_if_given", object{"ca": []string{"clients.pem"}})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := g.caller(t, g.ours.issue(t, nil))
		client.Transport.(*http.Transport).TLSClientConfig.MaxVersion = version
		for i := range 2 {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://localhost/healthz", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.TLS.DidResume || resp.TLS.Version != version {
				t.Errorf("%s, connection %d: resumed %t at %s, want a whole handshake", tls.VersionName(version), i,
					resp.TLS.DidResume, tls.VersionName(resp.TLS.Version))
			}
			client.CloseIdleConnections()
		}
	}
}

// TestListTrouble holds that a list which is not there, or no longer good, shuts
// clients with certificates out, and nobody else, and that it lets them in again.
func TestListTrouble(t *testing.T) {
	g := newGuardedWorld(t)
	cert := g.ours.issue(t, nil)
	g.mustReload(t, "verify_if_given", object{"ca": []string{"clients.pem"}, "crl": []string{"clients.crl"}})
	check := func(name string, want int) {
		t.Helper()
		if status, body, _ := g.visit(t, g.caller(t, cert), g.key); status != want {
			t.Errorf("%s: got %d %s, want %d", name, status, body, want)
		}
		if status, body, _ := g.visit(t, g.caller(t, nil), g.key); status != http.StatusOK {
			t.Errorf("%s, without a certificate: got %d %s, want 200", name, status, body)
		}
	}
	check("missing", 0)
	g.ours.crl(t, g.list, hour())
	g.mustReload(t, "verify_if_given", object{"ca": []string{"clients.pem"}, "crl": []string{"clients.crl"}})
	g.eventually(t, g.caller(t, cert), http.StatusOK)
	check("there", http.StatusOK)
	// One that has lapsed, at a gateway that never had another.
	late := filepath.Join(g.dir, "late.crl")
	g.ours.crl(t, late, time.Now().Add(-time.Minute))
	g.mustReload(t, "verify_if_given", object{"ca": []string{"clients.pem"}, "crl": []string{"late.crl"}})
	check("lapsed", 0)
}

// TestResponder asks a responder, which changes its mind and goes away.
func TestResponder(t *testing.T) {
	g := newGuardedWorld(t)
	var status atomic.Int64
	var bad atomic.Pointer[big.Int]
	responder := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		question, err := ocsp.ParseRequest(body)
		if err != nil {
			t.Error(err)
			return
		}
		answer := ocsp.Response{Status: ocsp.Good, SerialNumber: question.SerialNumber, ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: hour(), RevokedAt: time.Now()}
		if b := bad.Load(); b != nil && b.Cmp(question.SerialNumber) == 0 {
			answer.Status = ocsp.Revoked
		}
		der, err := ocsp.CreateResponse(g.ours.cert, g.ours.cert, answer, g.ours.key)
		if err != nil {
			t.Error(err)
		}
		w.WriteHeader(int(status.Load()))
		_, _ = w.Write(der)
	}))
	t.Cleanup(responder.Close)
	status.Store(http.StatusOK)
	revoked := g.ours.issue(t, nil)
	bad.Store(revoked.Leaf.SerialNumber)
	ask := func(mode string) {
		g.mustReload(t, "verify_if_given", object{"ca": []string{"clients.pem"}, "ocsp": mode, "responder": responder.URL})
	}
	check := func(name string, cert *tls.Certificate, want int) {
		t.Helper()
		if status, body, _ := g.visit(t, g.caller(t, cert), g.key); status != want {
			t.Errorf("%s: got %d %s, want %d", name, status, body, want)
		}
	}
	known := g.ours.issue(t, nil)
	ask("hard")
	check("good", known, http.StatusOK)
	check("revoked", revoked, 0)
	status.Store(http.StatusServiceUnavailable)
	check("away, and remembered", known, http.StatusOK)
	check("away, and unknown", g.ours.issue(t, nil), 0)
	ask("soft")
	check("away, and soft", g.ours.issue(t, nil), http.StatusOK)
	status.Store(http.StatusOK)
	check("revoked, and soft", revoked, 0)
}

// TestClientCertificatesRefused holds that a configuration which would let
// certificates through unchecked does not start.
func TestClientCertificatesRefused(t *testing.T) {
	g := newGuardedWorld(t)
	g.mustReload(t, "verify_if_given", object{"ca": []string{"clients.pem"}})
	tests := []struct {
		name         string
		certificates object
		want         string
	}{
		{"no option", nil, "needs the option client_certificates"},
		{"no authority", object{"ca": []string{}}, "ca is missing"},
		{"an authority that is not there", object{"ca": []string{"absent.pem"}}, "absent.pem"},
		{"a key as authority", object{"ca": []string{"server.key"}}, "holds what is no certificate"},
		{"a server as authority", object{"ca": []string{"server.crt"}}, "is no authority"},
		{"nobody to ask", object{"ca": []string{"clients.pem"}, "ocsp": "hard"}, "needs a responder"},
		{"a wildcard", object{"ca": []string{"clients.pem"}, "map": []object{
			{"match": "dns:*.example", "merchant": g.merchant, "mode": "test"},
		}}, "wildcards"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := g.reload(t, "verify_if_given", test.certificates); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
			if status, body, _ := g.visit(t, g.caller(t, nil), g.key); status != http.StatusOK {
				t.Errorf("the configuration before it: got %d %s, want 200", status, body)
			}
		})
	}
}
