package tls

import (
	"crypto/tls"
	"net/http"
	"testing"
	"time"
)

// TestLook sees what the scanners of Debian do not: the hybrid key exchange, and
// what an answer says.
func TestLook(t *testing.T) {
	g := start(t)
	tests := []struct {
		name        string
		config      *tls.Config
		version     uint16
		curve       tls.CurveID
		wantRefused bool
	}{
		{"a client of today", &tls.Config{}, tls.VersionTLS13, tls.X25519MLKEM768, false},
		{"one of yesterday", &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519}}, tls.VersionTLS13, tls.X25519, false},
		{"one of TLS 1.2", &tls.Config{MaxVersion: tls.VersionTLS12}, tls.VersionTLS12, tls.X25519, false},
		{"one of TLS 1.1", &tls.Config{MaxVersion: tls.VersionTLS11}, 0, 0, true},
		{"one that knows CBC alone", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
		}}, 0, 0, true},
		{"one that knows P-521 alone", &tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP521}}, 0, 0, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			config := test.config.Clone()
			config.RootCAs, config.MinVersion, config.ServerName = g.roots, tls.VersionTLS10, "localhost"
			config.NextProtos = []string{"h2", "http/1.1"}
			conn, err := tls.Dial("tcp", g.address, config)
			if (err != nil) != test.wantRefused {
				t.Fatalf("got %v, want refused %t", err, test.wantRefused)
			}
			if err != nil {
				return
			}
			defer conn.Close()
			if s := conn.ConnectionState(); s.Version != test.version || s.CurveID != test.curve || s.NegotiatedProtocol != "h2" {
				t.Errorf("got %s, %s and %q, want %s, %s and h2", tls.VersionName(s.Version), s.CurveID, s.NegotiatedProtocol,
					tls.VersionName(test.version), test.curve)
			}
		})
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: g.roots}}}
	resp, err := client.Get("https://" + g.address + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, want := resp.Header.Get("Strict-Transport-Security"), "max-age=31536000"; got != want {
		t.Errorf("got Strict-Transport-Security %q, want %q", got, want)
	}
	for _, name := range []string{"Server", "Alt-Svc"} {
		if got, there := resp.Header[name]; there {
			t.Errorf("got %s %q, want none", name, got)
		}
	}
}
