package tls

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// scanTime bounds a scan; one takes a minute on a machine that has nothing else to
// do, and many times that on one that has.
const scanTime = 40 * time.Minute

// finding is one line of testssl.sh.
type finding struct {
	ID       string `json:"id"`
	Severity string `json:"severity"`
	Finding  string `json:"finding"`
}

// tolerated are the findings above LOW that do not count, each with its reason.
var tolerated = []struct{ id, finding, why string }{
	{"cert_revocation", `Neither CRL nor OCSP URI provided`, "the authority of purser dev revokes nothing: its folder is deleted"},
	{"engine_problem", `No engine or GOST support via engine with your .*`, "it is about the scanner's own OpenSSL; nobody offers GOST here"},
}

// counts tells whether a finding fails the test. What testssl.sh warns of, or
// could not find out, is as good as found.
func (f finding) counts() bool {
	switch f.Severity {
	case "OK", "INFO", "LOW", "DEBUG":
		return false
	}
	for _, x := range tolerated {
		if whole(x.id, f.ID) && whole(x.finding, f.Finding) {
			return false
		}
	}
	return true
}

func whole(pattern, text string) bool {
	return regexp.MustCompile(`(?s)^(?:` + pattern + `)$`).MatchString(text)
}

// looksAt are the parts of testssl.sh that judge: protocols, kinds of ciphers,
// forward secrecy, preferences, certificate, headers, vulnerabilities. The others
// list ciphers and simulate clients, and take as long again.
var looksAt = []string{"-p", "-s", "-f", "-P", "-S", "-h", "-U"}

// expected are findings that must be there: a scan that has not looked finds
// nothing bad.
var expected = map[string]string{
	"SSLv2": `not offered`, "SSLv3": `not offered`, "TLS1": `not offered`, "TLS1_1": `not offered`,
	"TLS1_2": `offered`, "TLS1_3": `offered with final`, "protocol_negotiated": `Default protocol TLS1\.3`,
	"ALPN_HTTP2": `h2`, "ALPN": `http/1\.1`,
	"cipherlist_NULL": `not offered`, "cipherlist_aNULL": `not offered`, "cipherlist_EXPORT": `not offered`,
	"cipherlist_LOW": `not offered`, "cipherlist_3DES_IDEA": `not offered`, "cipherlist_AVERAGE": `not offered`,
	"cipherlist_STRONG": `offered`, "PFS": `offered`, "PFS_ECDHE_curves": `prime256v1 X25519`,
	"cert_keySize": `EC 256 bits`, "cert_trust": `Ok via SAN.*`, "cert_chain_of_trust": `passed\.`,
	"secure_renego": `supported`, "secure_client_renego": `not vulnerable`, "CRIME_TLS": `not vulnerable`,
	"BREACH": `not vulnerable.*`, "heartbleed": `not vulnerable.*`, "ROBOT": `not vulnerable.*`, "SWEET32": `not vulnerable`,
	"BEAST": `not vulnerable.*`, "LUCKY13": `not vulnerable`, "RC4": `not vulnerable`,
	"HSTS_time": `365 days.*`,
}

// TestTestSSL lets testssl.sh look at a gateway, and fails on what it finds above
// LOW.
func TestTestSSL(t *testing.T) {
	path := tool(t, "testssl", "testssl.sh")
	g := start(t)
	report := filepath.Join(t.TempDir(), "report.json")
	args := []string{"--quiet", "--color", "0", "--warnings", "batch", "--add-ca", g.ca, "--jsonfile", report}
	out := run(t, path, append(append(args, looksAt...), g.address)...)
	b, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("testssl.sh wrote no report: %v\n%s", err, out)
	}
	var found []finding
	if err := json.Unmarshal(b, &found); err != nil {
		t.Fatalf("the report: %v\n%s", err, b)
	}
	seen := map[string]bool{}
	for _, f := range found {
		if f.counts() {
			t.Errorf("%s: %s: %s", f.Severity, f.ID, f.Finding)
		}
		if want, ok := expected[f.ID]; ok && !seen[f.ID] {
			seen[f.ID] = true
			if !whole(want, f.Finding) {
				t.Errorf("%s: got %q, want %q", f.ID, f.Finding, want)
			}
		}
	}
	for id := range expected {
		if !seen[id] {
			t.Errorf("testssl.sh says nothing of %s", id)
		}
	}
	t.Logf("testssl.sh said %d things", len(found))
}

// run runs a scanner to its end. How it ends is no verdict: testssl.sh counts its
// findings in its exit code.
func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), scanTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second // it leaves children behind
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil || cmd.ProcessState == nil {
		t.Fatalf("%s: %v\n%s", name, err, out.Bytes())
	}
	return out.Bytes()
}

// TestFindings holds that the judge of findings is one.
func TestFindings(t *testing.T) {
	t.Parallel()
	tests := []struct {
		finding
		want bool
	}{
		{finding{"BREACH", "MEDIUM", "potentially VULNERABLE"}, true},
		{finding{"cipherlist_OBSOLETED", "LOW", "offered"}, false},
		{finding{"TLS1", "HIGH", "offered"}, true},
		{finding{"scanProblem", "FATAL", "can't connect"}, true},
		{finding{"optimal_proto", "WARN", "?"}, true},
		{finding{"cert_revocation", "HIGH", "Neither CRL nor OCSP URI provided"}, false},
		{finding{"cert_revocation", "HIGH", "revoked"}, true},
		{finding{"cert_revocation_2", "HIGH", "Neither CRL nor OCSP URI provided"}, true},
	}
	for _, test := range tests {
		if got := test.counts(); got != test.want {
			t.Errorf("%+v counts: got %t, want %t", test.finding, got, test.want)
		}
	}
}

// sslscan is what sslscan writes, as far as it is looked at.
type sslscan struct {
	Tests []struct {
		Protocols []struct {
			Type    string `xml:"type,attr"`
			Version string `xml:"version,attr"`
			Enabled string `xml:"enabled,attr"`
		} `xml:"protocol"`
		Renegotiation struct {
			Supported string `xml:"supported,attr"`
			Secure    string `xml:"secure,attr"`
		} `xml:"renegotiation"`
		Compression struct {
			Supported string `xml:"supported,attr"`
		} `xml:"compression"`
		Heartbleed []struct {
			Vulnerable string `xml:"vulnerable,attr"`
		} `xml:"heartbleed"`
		Ciphers []struct {
			Version string `xml:"sslversion,attr"`
			Cipher  string `xml:"cipher,attr"`
			Bits    int    `xml:"bits,attr"`
		} `xml:"cipher"`
		Groups []struct {
			Version string `xml:"sslversion,attr"`
			Name    string `xml:"name,attr"`
		} `xml:"group"`
	} `xml:"ssltest"`
}

// TestSSLScan lets sslscan look at a gateway.
func TestSSLScan(t *testing.T) {
	path := tool(t, "sslscan")
	g := start(t)
	report := filepath.Join(t.TempDir(), "report.xml")
	out := run(t, path, "--no-colour", "--xml="+report, g.address)
	b, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("sslscan wrote no report: %v\n%s", err, out)
	}
	var scan sslscan
	if err := xml.Unmarshal(b, &scan); err != nil || len(scan.Tests) != 1 {
		t.Fatalf("the report has %d tests: %v\n%s", len(scan.Tests), err, b)
	}
	s := scan.Tests[0]
	var on []string
	for _, p := range s.Protocols {
		if p.Enabled == "1" {
			on = append(on, p.Type+p.Version)
		}
	}
	slices.Sort(on)
	if want := []string{"tls1.2", "tls1.3"}; !slices.Equal(on, want) {
		t.Errorf("got protocols %q, want %q", on, want)
	}
	if s.Renegotiation.Secure == "0" && s.Renegotiation.Supported == "1" {
		t.Error("renegotiation is there, and not secure")
	}
	if s.Compression.Supported == "1" { // Debian's OpenSSL cannot ask, and says nothing
		t.Error("TLS compression is there")
	}
	for _, h := range s.Heartbleed {
		if h.Vulnerable != "0" {
			t.Errorf("heartbleed: got %q", h.Vulnerable)
		}
	}
	if len(s.Ciphers) < 4 {
		t.Errorf("got %d ciphers, want some of both versions", len(s.Ciphers))
	}
	for _, c := range s.Ciphers {
		aead := strings.Contains(c.Cipher, "GCM") || strings.Contains(c.Cipher, "CHACHA20")
		forward := c.Version == "TLSv1.3" || strings.HasPrefix(c.Cipher, "ECDHE-")
		if !aead || !forward || c.Bits < 128 {
			t.Errorf("%s: %s of %d bits", c.Version, c.Cipher, c.Bits)
		}
	}
	if len(s.Heartbleed) != 2 || len(s.Groups) == 0 {
		t.Errorf("sslscan has tried heartbleed %d times and found %d groups, want 2 and some", len(s.Heartbleed), len(s.Groups))
	}
	for _, group := range s.Groups {
		if !slices.Contains([]string{"x25519", "secp256r1 (NIST P-256)"}, group.Name) {
			t.Errorf("%s: group %s", group.Version, group.Name)
		}
	}
}
