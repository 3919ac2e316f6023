package webhook

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func TestCheckURL(t *testing.T) {
	public, inside := Targets{}, Targets{Allow: prefixes("10.1.0.0/16", "::1/128")}
	plain := Targets{Allow: inside.Allow, AllowHTTP: true}
	tests := []struct {
		name    string
		targets Targets
		url     string
		want    error
	}{
		{"a name", public, "https://shop.example/hook?a=1&b=%20", nil},
		{"no path", public, "https://shop.example", nil},
		{"upper case", public, "HTTPS://Shop.Example/", nil},
		{"443", public, "https://shop.example:443/", nil},
		{"8443", public, "https://shop.example:8443/", nil},
		{"an address", public, "https://8.8.8.8/", nil},
		{"an IPv6 address", public, "https://[2606:4700::1111]:8443/", nil},
		{"an international name", public, "https://xn--bcher-kva.example/", nil},
		{"as long as may be", public, "https://shop.example/" + strings.Repeat("x", MaxURL-21), nil},
		{"name inside, any port", inside, "https://till.internal:9000/", nil},
		{"address inside, any port", inside, "https://10.1.2.3:9000/", nil},
		{"HTTP inside", plain, "http://10.1.2.3/", nil},
		{"HTTP to a name that may be inside", plain, "http://till.internal/", nil},
		{"localhost where loopback is allowed", inside, "https://localhost:9000/", nil},

		{"empty", public, "", ErrURL},
		{"no scheme", public, "shop.example/hook", ErrURL},
		{"relative", public, "//shop.example/hook", ErrURL},
		{"HTTP", public, "http://shop.example/", ErrURL},
		{"HTTP without networks", Targets{AllowHTTP: true}, "http://shop.example/", ErrURL},
		{"HTTP is not allowed", inside, "http://10.1.2.3/", ErrURL},
		{"HTTP to a public address", plain, "http://8.8.8.8/", ErrAddress},
		{"another scheme", public, "ftp://shop.example/", ErrURL},
		{"file", public, "file:///etc/passwd", ErrURL},
		{"opaque", public, "https:shop.example", ErrURL},
		{"no host", public, "https:///hook", ErrURL},
		{"user", public, "https://user@shop.example/", ErrURL},
		{"password", public, "https://user:pw@shop.example/", ErrURL},
		{"empty user", public, "https://@shop.example/", ErrURL},
		{"fragment", public, "https://shop.example/#x", ErrURL},
		{"empty fragment", public, "https://shop.example/#", ErrURL},
		{"too long", public, "https://shop.example/" + strings.Repeat("x", MaxURL-20), ErrURL},
		{"another port", public, "https://shop.example:22/", ErrURL},
		{"port 80", public, "https://shop.example:80/", ErrURL},
		{"port 0", inside, "https://shop.example:0/", ErrURL},
		{"port too large", inside, "https://shop.example:65536/", ErrURL},
		{"port with a zero before", public, "https://shop.example:0443/", ErrURL},
		{"empty port", public, "https://shop.example:/", ErrURL},
		{"space", public, "https://shop.example/a b", ErrURL},
		{"line break", public, "https://shop.example/\r\nx", ErrURL},
		{"backslash", public, `https://shop.example\@10.0.0.1/`, ErrURL},
		{"not ASCII", public, "https://bücher.example/", ErrURL},
		{"not ASCII, encoded", public, "https://b%C3%BCcher.example/", ErrURL},
		{"full-width digits, encoded", public, "https://%EF%BC%91%EF%BC%90.0.0.1/", ErrURL},
		{"final dot", public, "https://shop.example./", ErrURL},
		{"empty label", public, "https://shop..example/", ErrURL},
		{"long label", public, "https://" + strings.Repeat("x", 64) + ".example/", ErrURL},
		{"long name", public, "https://" + strings.Repeat("x.", 127) + "example/", ErrURL},
		{"hyphen", public, "https://-shop.example/", ErrURL},
		{"a dotless number", public, "https://2130706433/", ErrURL},
		{"hexadecimal", public, "https://0x7f.0.0.1/", ErrURL},
		{"hexadecimal at the end", public, "https://127.0.0.0x1/", ErrURL},
		{"octal", public, "https://0177.0.0.1/", ErrURL},
		{"two parts", public, "https://127.1/", ErrURL},

		{"loopback", public, "https://127.0.0.1/", ErrAddress},
		{"loopback, IPv6", public, "https://[::1]/", ErrAddress},
		{"loopback, mapped", public, "https://[::ffff:127.0.0.1]/", ErrAddress},
		{"public, mapped", public, "https://[::ffff:8.8.8.8]/", ErrAddress},
		{"zone", public, "https://[fe80::1%25eth0]/", ErrAddress},
		{"metadata", public, "https://169.254.169.254/latest/meta-data/", ErrAddress},
		{"private", public, "https://10.0.0.1/", ErrAddress},
		{"private, beside what is allowed", inside, "https://10.2.0.1/", ErrAddress},
		{"public, another port", inside, "https://8.8.8.8:9000/", ErrAddress},
		{"localhost", public, "https://localhost/", ErrAddress},
		{"localhost in upper case", public, "https://LOCALHOST/", ErrAddress},
		{"below localhost", public, "https://a.localhost/", ErrAddress},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := test.targets.CheckURL(test.url); !errors.Is(err, test.want) {
				t.Errorf("%s: got %v, want %v", test.url, err, test.want)
			}
		})
	}
}

// refused are addresses of every kind that is not public.
var refused = []string{
	"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255", "127.0.0.1",
	"127.255.255.254", "168.63.129.16", "169.254.169.254", "169.254.0.1", "172.16.0.1", "172.31.255.255", "192.0.0.192",
	"192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1",
	"239.255.255.255", "240.0.0.1", "255.255.255.255",
	"::", "::1", "::7f00:1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "64:ff9b::808:808", "64:ff9b::a00:1", "64:ff9b:1::1", "100::1",
	"2001::1", "2001:20::1", "2001:db8::1", "2002:a00:1::1", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254",
	"fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
}

func TestCheckAddr(t *testing.T) {
	var public, everywhere Targets
	everywhere.Allow = prefixes("0.0.0.0/0")
	for _, text := range refused {
		at := netip.AddrPortFrom(netip.MustParseAddr(text), 443)
		if err := public.CheckAddr("https", at); !errors.Is(err, ErrAddress) {
			t.Errorf("%s: got %v, want %v", text, err, ErrAddress)
		}
		if at.Addr().Is4In6() {
			if err := everywhere.CheckAddr("https", at); !errors.Is(err, ErrAddress) {
				t.Errorf("%s, all IPv4 allowed: got %v, want %v", text, err, ErrAddress)
			}
		}
	}
	for _, text := range []string{
		"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1",
		"168.63.129.17", "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.0.1.1", "192.167.255.255", "192.169.0.0",
		"198.17.255.255", "198.20.0.0", "223.255.255.255", "2001:200::1", "2001:4860:4860::8888", "2606:4700::1111", "2a00::1",
	} {
		if err := public.CheckAddr("https", netip.AddrPortFrom(netip.MustParseAddr(text), 443)); err != nil {
			t.Errorf("%s: got %v", text, err)
		}
	}
	if err := public.CheckAddr("https", netip.AddrPort{}); !errors.Is(err, ErrAddress) {
		t.Errorf("no address: got %v, want %v", err, ErrAddress)
	}
}

// What passes has one certain form, and no address in it that is not public.
func FuzzCheckURL(f *testing.F) {
	for _, seed := range []string{
		"https://shop.example/hook", "https://[::ffff:127.0.0.1]/", "https://user@127.0.0.1:443/#x", `https://a\@b/`, "https://127.1/",
	} {
		f.Add(seed)
	}
	var public Targets
	f.Fuzz(func(t *testing.T, raw string) {
		if err := public.CheckURL(raw); err != nil {
			if !errors.Is(err, ErrURL) && !errors.Is(err, ErrAddress) {
				t.Errorf("%q: got %v", raw, err)
			}
			return
		}
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "https" || u.User != nil || u.Fragment != "" || len(raw) > MaxURL {
			t.Fatalf("%q passed: %+v, %v", raw, u, err)
		}
		if a, err := netip.ParseAddr(u.Hostname()); err == nil && (a.IsPrivate() || !a.IsGlobalUnicast()) {
			t.Errorf("%q passed", raw)
		}
	})
}
