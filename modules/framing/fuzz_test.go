package framing_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/purser-pay/purser/modules/framing"
)

func parseTarget(target string) (*url.URL, error) { return url.ParseRequestURI(target) }

// FuzzTarget holds that a path that passes means the same to whoever cleans or
// decodes it once more, and that a host that passes has one reading.
func FuzzTarget(f *testing.F) {
	for _, seed := range [][2]string{
		{"/v1/payments/pay_1", "pay.example.com:443"},
		{"/v1/%2e%2e/x", "[::1]:80"},
		{"/a;b/..;/c", "user@host"},
		{"/%25%32%65", "a:b"},
		{"/x#y", "10.0.0.1"},
		{"//x", ""},
		{`/a\b`, "a,b"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, target, host string) {
		u, err := parseTarget(target)
		if err != nil {
			return // net/http refuses it
		}
		r := &http.Request{Method: http.MethodGet, URL: u, RequestURI: target, Host: host, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}}
		if (framing.Limits{}).Check(r) != nil {
			return
		}
		escaped := u.EscapedPath()
		once, err := url.PathUnescape(escaped)
		if err != nil {
			t.Fatalf("%q passes and cannot be decoded: %v", target, err)
		}
		if twice, err := url.PathUnescape(once); err == nil && twice != once {
			t.Errorf("%q passes and is %q once decoded, %q twice", target, once, twice)
		}
		cleaned := path.Clean(once)
		if strings.HasSuffix(once, "/") && cleaned != "/" {
			cleaned += "/"
		}
		if cleaned != once {
			t.Errorf("%q passes and is %q when cleaned", target, cleaned)
		}
		if strings.Count(once, "/") != strings.Count(escaped, "/") || strings.Contains(once, `\`) {
			t.Errorf("%q passes and has other segments when decoded: %q", target, once)
		}
		whole := &url.URL{Scheme: "https", Host: host, Path: "/"}
		again, err := url.Parse(whole.String())
		if err != nil || again.Host != host || again.User != nil {
			t.Errorf("host %q passes and is read as %v, %v", host, again, err)
		}
		if name := again.Hostname(); strings.Contains(name, ":") {
			if _, err := netip.ParseAddr(name); err != nil {
				t.Errorf("host %q passes and is no address", host)
			}
		}
	})
}
