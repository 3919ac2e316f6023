package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/purser-pay/purser/modules/connector"
)

// tlsPSP serves HTTPS and returns the file of the CA that it is known by.
func tlsPSP(t *testing.T, configure func(*httptest.Server), f http.HandlerFunc) (s *httptest.Server, ca string) {
	t.Helper()
	s = httptest.NewUnstartedServer(f)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = true
	if configure != nil {
		configure(s)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s, ca
}

func TestTLS(t *testing.T) {
	for _, version := range []string{"1.1", "2"} {
		var proto atomic.Value
		s, ca := tlsPSP(t, nil, func(w http.ResponseWriter, r *http.Request) {
			proto.Store(r.Proto)
			_, _ = io.WriteString(w, "succeeded")
		})
		tests := []struct {
			name    string
			options HTTPOptions
			outcome connector.Outcome
		}{
			{"given CA", HTTPOptions{RootCAFiles: []string{ca}, Versions: []string{version}}, answered},
			{"given CA and name", HTTPOptions{RootCAFiles: []string{ca}, ServerName: "example.com", Versions: []string{version}}, answered},
			{"system's CAs", HTTPOptions{Versions: []string{version}}, notSent},
			{"wrong name", HTTPOptions{RootCAFiles: []string{ca}, ServerName: "evil.example", Versions: []string{version}}, notSent},
		}
		for _, tt := range tests {
			t.Run("HTTP "+version+" "+tt.name, func(t *testing.T) {
				h := newHarness(t, &fakeConnector{}, s.URL, nil)
				h.cfg.Tripper = func(*connector.Account) (http.RoundTripper, error) { return NewTripper(tt.options) }
				x := h.do(authorize())
				if x.Outcome != tt.outcome {
					t.Fatalf("got %v (%v), want %v", x.Outcome, x.Err, tt.outcome)
				}
				want := map[string]string{"1.1": "HTTP/1.1", "2": "HTTP/2.0"}[version]
				if x.Outcome == answered && proto.Load() != want {
					t.Errorf("got %v, want %v", proto.Load(), want)
				}
			})
		}
	}
}

func TestClientCertificate(t *testing.T) {
	s, ca := tlsPSP(t, func(s *httptest.Server) {
		s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}
	}, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "succeeded") })
	der, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	with := HTTPOptions{RootCAFiles: []string{ca}, ClientCertificateFile: ca, ClientCertificateKeyFile: key}
	for o, want := range map[*HTTPOptions]connector.Outcome{&with: answered, {RootCAFiles: []string{ca}}: notSent} {
		h := newHarness(t, &fakeConnector{}, s.URL, nil)
		h.cfg.Tripper = func(*connector.Account) (http.RoundTripper, error) { return NewTripper(*o) }
		if x := h.do(authorize()); x.Outcome != want {
			t.Errorf("with certificate %q: got %v (%v), want %v", o.ClientCertificateFile, x.Outcome, x.Err, want)
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	s, ca := tlsPSP(t, func(s *httptest.Server) {
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11} // what is refused
	}, func(http.ResponseWriter, *http.Request) { t.Error("reached over TLS 1.1") })
	h := newHarness(t, &fakeConnector{}, s.URL, nil)
	h.cfg.Tripper = func(*connector.Account) (http.RoundTripper, error) {
		return NewTripper(HTTPOptions{RootCAFiles: []string{ca}})
	}
	if x := h.do(authorize()); x.Outcome != notSent {
		t.Errorf("got %v, want not_sent", x.Outcome)
	}
}

// Over TLS as well, a connection that dies at the first byte of the request is
// known to have taken nothing; over HTTP/2 the same is in doubt.
func TestDeadUnderTLS(t *testing.T) {
	for version, want := range map[string]connector.Outcome{"1.1": notSent, "2": unknown} {
		t.Run(version, func(t *testing.T) {
			s, ca := tlsPSP(t, nil, func(http.ResponseWriter, *http.Request) { t.Error("reached") })
			tripper, err := newTripper(HTTPOptions{RootCAFiles: []string{ca}, Versions: []string{version}},
				func(ctx context.Context, network, address string) (net.Conn, error) {
					c, err := (&net.Dialer{}).DialContext(ctx, network, address)
					return &mortalConn{Conn: c, http2: version == "2"}, err
				})
			if err != nil {
				t.Fatal(err)
			}
			h := newHarness(t, &fakeConnector{}, s.URL, nil)
			h.cfg.Tripper = func(*connector.Account) (http.RoundTripper, error) { return tripper, nil }
			if x := h.do(authorize()); x.Outcome != want {
				t.Errorf("got %v (%v), want %v", x.Outcome, x.Err, want)
			}
		})
	}
}

// mortalConn takes what TLS 1.3 writes to shake hands (and what HTTP/2 writes to
// greet), and nothing after.
type mortalConn struct {
	net.Conn
	http2  bool
	writes atomic.Int32
}

func (c *mortalConn) Write(b []byte) (int, error) {
	limit := int32(2) // ClientHello; ChangeCipherSpec and Finished
	if c.http2 {
		limit++
	}
	if c.writes.Add(1) > limit {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

func TestOptionsAreChecked(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]HTTPOptions{
		"certificate without key": {ClientCertificateFile: "a"},
		"key without certificate": {ClientCertificateKeyFile: "a"},
		"missing certificate":     {ClientCertificateFile: "/nonexistent", ClientCertificateKeyFile: "/nonexistent"},
		"missing CA":              {RootCAFiles: []string{"/nonexistent"}},
		"CA without certificate":  {RootCAFiles: []string{empty}},
		"version":                 {Versions: []string{"3"}},
		"proxy scheme":            {Proxy: "ftp://proxy.example"},
		"proxy":                   {Proxy: "proxy.example:3128"},
		"resolver":                {Resolvers: []string{"1.1.1.1"}},
	} {
		if _, err := NewTripper(o); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

func TestProxyIsUsedWhereGivenAndNeverFromTheEnvironment(t *testing.T) {
	var asked atomic.Value
	proxy := httpPSP(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Method + " " + r.RequestURI)
		w.WriteHeader(http.StatusForbidden)
	})
	t.Setenv("HTTPS_PROXY", proxy)
	t.Setenv("https_proxy", proxy)
	refuse := func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }
	h := newHarness(t, &fakeConnector{}, "https://psp.example", refuse)
	if x := h.do(authorize()); x.Outcome != notSent || asked.Load() != nil {
		t.Errorf("got %v, the proxy was asked %v; want not_sent, nothing", x.Outcome, asked.Load())
	}
	h = newHarness(t, &fakeConnector{}, "https://psp.example", nil)
	h.cfg.Tripper = func(*connector.Account) (http.RoundTripper, error) { return NewTripper(HTTPOptions{Proxy: proxy}) }
	if x := h.do(authorize()); x.Outcome != notSent || asked.Load() != "CONNECT psp.example:443" {
		t.Errorf("got %v, the proxy was asked %v; want not_sent, CONNECT psp.example:443", x.Outcome, asked.Load())
	}
}

func BenchmarkExchange(b *testing.B) {
	base := httpPSP(b, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "succeeded")
	})
	for name, parallel := range map[string]bool{"serial": false, "parallel": true} {
		b.Run(name, func(b *testing.B) {
			h := newHarness(b, &fakeConnector{}, base, nil)
			h.cfg.Observer = nil
			b.ReportAllocs()
			one := func() {
				if x := h.do(authorize()); x.Outcome != answered {
					b.Error(x.Err)
				}
			}
			if !parallel {
				for b.Loop() {
					one()
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					one()
				}
			})
		})
	}
}
