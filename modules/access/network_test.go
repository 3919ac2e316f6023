package access_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/purser-pay/purser/modules/access"
)

func TestParseNetwork(t *testing.T) {
	for text, want := range map[string]string{
		"10.1.0.0/16":            "10.1.0.0/16",
		"0.0.0.0/0":              "0.0.0.0/0",
		"192.0.2.7":              "192.0.2.7/32",
		"192.0.2.7/32":           "192.0.2.7/32",
		"2001:db8::/48":          "2001:db8::/48",
		"2001:db8::1":            "2001:db8::1/128",
		"2001:DB8:0::1":          "2001:db8::1/128",
		"::ffff:10.1.0.0/112":    "10.1.0.0/16",
		"::ffff:192.0.2.7":       "192.0.2.7/32",
		"10.1.2.3/16":            "",
		"2001:db8::1/48":         "",
		"::ffff:0.0.0.0/90":      "",
		"":                       "",
		"/":                      "",
		"10.0.0.0/":              "",
		"10.0.0.0/33":            "",
		"10.0.0.0/-1":            "",
		"10.0.0/8":               "",
		"010.0.0.0/8":            "",
		"fe80::1%eth0":           "",
		"fe80::%eth0/10":         "",
		"10.0.0.0/8,11.0.0.0/8":  "",
		"example.com":            "",
		" 10.0.0.0/8":            "",
		strings.Repeat("9", 999): "",
	} {
		got, err := access.ParseNetwork(text)
		if want == "" {
			if err == nil {
				t.Errorf("ParseNetwork(%.60q) = %v, want an error", text, got)
			} else if len(err.Error()) > 200 {
				t.Errorf("the error on %.20q has %d bytes", text, len(err.Error()))
			}
			continue
		}
		if err != nil || got.String() != want {
			t.Errorf("ParseNetwork(%q) = %v, %v; want %s", text, got, err, want)
			continue
		}
		if again, err := access.ParseNetwork(got.String()); err != nil || again != got {
			t.Errorf("%q is written as %s, which reads as %v, %v", text, got, again, err)
		}
	}
}

func TestCheckNetworks(t *testing.T) {
	many := func(n int) (all []netip.Prefix) {
		for i := range n {
			all = append(all, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i)}), 16))
		}
		return all
	}
	for name, test := range map[string]struct {
		networks []netip.Prefix
		good     bool
	}{
		"none":             {nil, true},
		"as many as go":    {many(access.MaxNetworks), true},
		"one too many":     {many(access.MaxNetworks + 1), false},
		"twice":            {append(many(2), many(1)...), false},
		"zero":             {[]netip.Prefix{{}}, false},
		"bits beyond":      {[]netip.Prefix{netip.MustParsePrefix("10.1.2.3/8")}, false},
		"IPv4 inside IPv6": {[]netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}, false},
	} {
		if err := access.CheckNetworks(test.networks); (err == nil) != test.good {
			t.Errorf("%s: got error %v, want none %v", name, err, test.good)
		}
	}
}

func FuzzParseNetwork(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8", "::ffff:10.0.0.0/104", "2001:db8::1", "fe80::1%a/64", "/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := access.ParseNetwork(s)
		if err != nil {
			return
		}
		if err := access.CheckNetworks([]netip.Prefix{p}); err != nil {
			t.Errorf("ParseNetwork(%q) = %v, of which CheckNetworks says: %v", s, p, err)
		}
		if again, err := access.ParseNetwork(p.String()); err != nil || again != p {
			t.Errorf("%v reads as %v, %v", p, again, err)
		}
	})
}
