package clientcert

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
)

const shop = "mer_01hzx5v5n3e5r8w9q2t7y4k6mb"

func mapped(match string) Mapping { return Mapping{Match: match, Merchant: shop, Mode: payment.Test} }

func names(t testing.TB, mappings ...Mapping) *Names {
	t.Helper()
	n, err := NewNames(mappings)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestIdentify matches one thing of a certificate at a time, and what looks like
// it.
func TestIdentify(t *testing.T) {
	t.Parallel()
	ca := root(t, "Clients")
	leaf := ca.leaf(t, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "Till, 1", Organization: []string{"Shop"}, Country: []string{"DE"}}
		c.URIs = []*url.URL{parseURL(t, "spiffe://shop/till")}
		c.DNSNames = []string{"*.shop.example", "Till.shop.example"}
		c.EmailAddresses = []string{"Till@Shop.example"}
	})
	sum := sha256.Sum256(leaf.Raw)
	fingerprint := hex.EncodeToString(sum[:])
	var colons []string
	for i := 0; i < len(fingerprint); i += 2 {
		colons = append(colons, strings.ToUpper(fingerprint[i:i+2]))
	}
	tests := []struct {
		match string
		want  bool
	}{
		{"sha256:" + fingerprint, true},
		{"sha256:" + strings.Join(colons, ":"), true},
		{"sha256:" + strings.Repeat("00", 32), false},
		{"uri:spiffe://shop/till", true},
		{"uri:spiffe://shop/till/", false},
		{"uri:spiffe://shop/till#", false},
		{"uri:SPIFFE://shop/till", false},
		{"uri:spiffe://shop", false},
		{"dns:till.shop.example", true},
		{"dns:TILL.shop.EXAMPLE", true},
		{"dns:desk.shop.example", false},
		{"dns:shop.example", false},
		{"email:Till@shop.example", true},
		{"email:till@shop.example", false},
		{`subject:CN=Till\, 1,O=Shop,C=DE`, true},
		{`subject:cn=Till\2c 1,o=Shop,2.5.4.6=DE`, true},
		{`subject:C=DE,O=Shop,CN=Till\, 1`, false},
		{`subject:CN=till\, 1,O=Shop,C=DE`, false},
		{`subject:CN=Till\, 1`, false},
		{`subject:CN=Till\, 1+O=Shop,C=DE`, false},
		{`subject:CN=Till\, 1\,O=Shop,C=DE`, false},
	}
	for _, test := range tests {
		t.Run(test.match, func(t *testing.T) {
			t.Parallel()
			got, ok := names(t, mapped(test.match)).Identify(leaf)
			var want Identity
			if test.want {
				want = Identity{Merchant: shop, Mode: payment.Test, Scopes: access.DefaultScopes(), Name: test.match, Thumbprint: Thumbprint(leaf)}
			}
			if diff := cmp.Diff(want, got); ok != test.want || diff != "" {
				t.Errorf("got %t, want %t (-want +got):\n%s", ok, test.want, diff)
			}
		})
	}
}

// TestIdentifyRawURI holds that a URI is compared as it was written. A parsed one
// has lost its empty fragment.
func TestIdentifyRawURI(t *testing.T) {
	t.Parallel()
	ca := root(t, "Clients")
	value, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte("spiffe://shop/till#")}})
	if err != nil {
		t.Fatal(err)
	}
	leaf := ca.leaf(t, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value}}
	})
	if got := leaf.URIs[0].String(); got != "spiffe://shop/till" {
		t.Fatalf("x509 keeps %q; this test has no point", got)
	}
	if id, ok := names(t, mapped("uri:spiffe://shop/till")).Identify(leaf); ok {
		t.Errorf("got %+v, want nobody", id)
	}
	if _, ok := names(t, mapped("uri:spiffe://shop/till#")).Identify(leaf); !ok {
		t.Error("the very URI: got nobody")
	}
}

func TestIdentifyAmbiguous(t *testing.T) {
	t.Parallel()
	leaf := root(t, "Clients").leaf(t, func(c *x509.Certificate) {
		c.DNSNames = []string{"a.example", "b.example", "A.example"}
	})
	if id, ok := names(t, mapped("dns:a.example"), mapped("dns:b.example")).Identify(leaf); ok {
		t.Errorf("two mappings: got %+v, want nobody", id)
	}
	if _, ok := names(t, mapped("dns:a.example")).Identify(leaf); !ok {
		t.Error("a name that is there twice: got nobody")
	}
	if id, ok := names(t).Identify(leaf); ok {
		t.Errorf("without mappings: got %+v, want nobody", id)
	}
}

func TestNewNamesRefuses(t *testing.T) {
	t.Parallel()
	one := func(change func(*Mapping)) []Mapping {
		m := mapped("dns:a.example")
		change(&m)
		return []Mapping{m}
	}
	tests := []struct {
		name     string
		mappings []Mapping
		want     string
	}{
		{"twice", []Mapping{mapped("dns:a.example"), mapped("dns:A.example")}, "dns:A.example is given twice"},
		{"too many", make([]Mapping, MaxMappings+1), "more than 1000"},
		{"no merchant", one(func(m *Mapping) { m.Merchant = "shop" }), `"shop" is no merchant's id`},
		{"no mode", one(func(m *Mapping) { m.Mode = "" }), "neither test nor live"},
		{"an unknown scope", one(func(m *Mapping) { m.Scopes = []access.Scope{"everything"} }), "no scope"},
		{"a scope twice", one(func(m *Mapping) { m.Scopes = []access.Scope{access.PaymentsRead, access.PaymentsRead} }), "twice"},
		{"nothing", []Mapping{mapped("")}, "KIND:VALUE"},
		{"no kind", []Mapping{mapped("a.example")}, "KIND:VALUE"},
		{"no value", []Mapping{mapped("dns:")}, "KIND:VALUE"},
		{"too long", []Mapping{mapped("dns:" + strings.Repeat("a", maxMatchBytes))}, "KIND:VALUE"},
		{"another kind", []Mapping{mapped("cn:till")}, "begins with none"},
		{"a kind in capitals", []Mapping{mapped("DNS:a.example")}, "begins with none"},
		{"a short fingerprint", []Mapping{mapped("sha256:" + strings.Repeat("0", 62))}, "64 hexadecimal"},
		{"a SHA-1", []Mapping{mapped("sha256:" + strings.Repeat("0", 40))}, "64 hexadecimal"},
		{"a fingerprint of other letters", []Mapping{mapped("sha256:" + strings.Repeat("g", 64))}, "64 hexadecimal"},
		{"a wildcard", []Mapping{mapped("dns:*.example")}, "wildcards"},
		{"a URL as DNS name", []Mapping{mapped("dns:https://a.example")}, "no DNS name"},
		{"a dot at the end", []Mapping{mapped("dns:a.example.")}, "no DNS name"},
		{"letters beyond ASCII", []Mapping{mapped("dns:bücher.example")}, "no DNS name"},
		{"a path as URI", []Mapping{mapped("uri:/till")}, "with a scheme"},
		{"a space in a URI", []Mapping{mapped("uri:spiffe://shop/a till")}, "with a scheme"},
		{"no address", []Mapping{mapped("email:till")}, "no address"},
		{"half an address", []Mapping{mapped("email:@example")}, "no address"},
		{"a name without =", []Mapping{mapped("subject:till")}, "no ="},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if _, err := NewNames(test.mappings); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestParseDN(t *testing.T) {
	t.Parallel()
	cn := func(v string) []attribute { return []attribute{{"2.5.4.3", v}} }
	o := func(v string) []attribute { return []attribute{{"2.5.4.10", v}} }
	tests := []struct {
		text string
		want dn
		err  string
	}{
		{text: "CN=till", want: dn{cn("till")}},
		{text: "CN=till,O=Shop", want: dn{o("Shop"), cn("till")}},
		{text: "cn=till,2.5.4.10=Shop", want: dn{o("Shop"), cn("till")}},
		{text: "CN=till+O=Shop", want: dn{{{"2.5.4.3", "till"}, {"2.5.4.10", "Shop"}}}},
		{text: `CN=a\,O\=b`, want: dn{cn("a,O=b")}},
		{text: `CN=a=b`, want: dn{cn("a=b")}},
		{text: `CN=\ a\ `, want: dn{cn(" a ")}},
		{text: `CN=\#1`, want: dn{cn("#1")}},
		{text: `CN=a b`, want: dn{cn("a b")}},
		{text: `CN=Caf\C3\A9`, want: dn{cn("Café")}},
		{text: `CN=Café`, want: dn{cn("Café")}},
		{text: `emailAddress=a@b.example`, want: dn{{{"1.2.840.113549.1.9.1", "a@b.example"}}}},
		{text: "", err: "no ="},
		{text: "till", err: "no ="},
		{text: "CN=", err: "empty"},
		{text: "CN=till,", err: "no ="},
		{text: "CN=till,,O=Shop", err: "no attribute"},
		{text: "CN=till, O=Shop", err: "no attribute"},
		{text: "XX=till", err: "no attribute"},
		{text: "=till", err: "no attribute"},
		{text: "2.5.04.3=till", err: "no OID"},
		{text: "2.5..3=till", err: "no OID"},
		{text: "CN= till", err: "begins with a space"},
		{text: "CN=till ", err: "ends with a space"},
		{text: "CN=till ,O=Shop", err: "ends with a space"},
		{text: `CN="till"`, err: "needs a backslash"},
		{text: "CN=a;b", err: "needs a backslash"},
		{text: "CN=#0c0161", err: "#HEX"},
		{text: `CN=a\`, err: "stands before nothing"},
		{text: `CN=a\x`, err: "stands before nothing"},
		{text: `CN=\FF`, err: "not UTF-8"},
		{text: "CN=\xff", err: "not UTF-8"},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			t.Parallel()
			got, err := parseDN(test.text)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v and %v, want an error with %q", got, err, test.err)
				}
				return
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(attribute{})); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// TestKeysDiffer holds that names which look alike when they are strung together
// are not taken for each other.
func TestKeysDiffer(t *testing.T) {
	t.Parallel()
	texts := []string{"CN=a,O=b", "CN=a+O=b", `CN=a\,O\=b`, `CN=a/2.5.4.10\=1:b`, "O=b,CN=a", "CN=a", "CN=A,O=b", "CN=a,O=b,O=b"}
	seen := map[string]string{}
	for _, text := range texts {
		d, err := parseDN(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if other, taken := seen[d.key()]; taken {
			t.Errorf("%s and %s have one key", text, other)
		}
		seen[d.key()] = text
	}
	x, _ := parseDN("CN=a+O=b")
	y, _ := parseDN("O=b+CN=a")
	if x.key() != y.key() {
		t.Errorf("the order within a set counts: %q and %q", x.key(), y.key())
	}
}

// FuzzParseDN holds that what was understood can be written again, and is the
// same then.
func FuzzParseDN(f *testing.F) {
	for _, text := range []string{"CN=till,O=Shop", `CN=a\,O\=b+OU=\C3\A9`, "2.5.4.3=x", `CN=\ a\#\ `, "CN=,", "CN=a="} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDN(text)
		if err != nil {
			return
		}
		again, err := parseDN(written(d))
		if err != nil {
			t.Fatalf("%q was understood, and %q is not: %v", text, written(d), err)
		}
		if d.key() != again.key() {
			t.Errorf("%q became %q: %q and %q", text, written(d), d.key(), again.key())
		}
	})
}

// written writes a name with every byte escaped.
func written(d dn) string {
	var parts []string
	for _, part := range slices.Backward(d) {
		var set []string
		for _, a := range part {
			var b strings.Builder
			b.WriteString(a.oid + "=")
			for _, c := range []byte(a.value) {
				b.WriteString(`\` + hex.EncodeToString([]byte{c}))
			}
			set = append(set, b.String())
		}
		parts = append(parts, strings.Join(set, "+"))
	}
	return strings.Join(parts, ",")
}

func FuzzParseMatch(f *testing.F) {
	for _, text := range []string{"dns:a.example", "uri:spiffe://shop/till", "email:a@b", "subject:CN=a", "sha256:00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, match string) {
		key, err := parseMatch(match)
		if err == nil && (key == "" || strings.HasPrefix(match, "dns:") && strings.Contains(key, "*")) {
			t.Errorf("%q became %q", match, key)
		}
	})
}
