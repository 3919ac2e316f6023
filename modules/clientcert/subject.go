package clientcert

import (
	"cmp"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// attribute is one part of a name: its type as a dotted OID, and its text.
type attribute struct{ oid, value string }

// dn is a distinguished name in the order of its encoding, the most general part
// first. A part is a set of attributes, one as a rule.
type dn [][]attribute

// key writes a name so that two that are the same are the same text, and no others:
// every text stands behind its length.
func (d dn) key() string {
	var b strings.Builder
	for _, part := range d {
		part = slices.Clone(part)
		slices.SortFunc(part, func(x, y attribute) int {
			return cmp.Or(strings.Compare(x.oid, y.oid), strings.Compare(x.value, y.value))
		})
		b.WriteByte('/')
		for _, a := range part {
			b.WriteString(a.oid)
			b.WriteByte('=')
			b.WriteString(strconv.Itoa(len(a.value)))
			b.WriteByte(':')
			b.WriteString(a.value)
		}
	}
	return b.String()
}

// dnOf reads a certificate's subject. It is not ok where it is empty, or holds
// what is no text.
func dnOf(cert *x509.Certificate) (dn, bool) {
	var sequence pkix.RDNSequence
	if rest, err := asn1.Unmarshal(cert.RawSubject, &sequence); err != nil || len(rest) > 0 {
		return nil, false
	}
	var d dn
	for _, set := range sequence {
		var part []attribute
		for _, a := range set {
			text, ok := a.Value.(string)
			if !ok {
				return nil, false
			}
			part = append(part, attribute{a.Type.String(), text})
		}
		d = append(d, part)
	}
	return d, len(d) > 0
}

// attributeTypes are the short names of RFC 4514 §3, and those that OpenSSL prints
// beside them.
var attributeTypes = map[string]string{
	"CN": "2.5.4.3", "SN": "2.5.4.4", "SERIALNUMBER": "2.5.4.5", "C": "2.5.4.6", "L": "2.5.4.7", "ST": "2.5.4.8",
	"STREET": "2.5.4.9", "O": "2.5.4.10", "OU": "2.5.4.11", "GN": "2.5.4.42", "UID": "0.9.2342.19200300.100.1.1",
	"DC": "0.9.2342.19200300.100.1.25", "EMAILADDRESS": "1.2.840.113549.1.9.1", "ORGANIZATIONIDENTIFIER": "2.5.4.97",
}

// specials are what a value holds behind a backslash alone (RFC 4514 §2.4).
const specials = `"+,;<>\`

// parseDN reads the text of a name (RFC 4514), the most special part first. Spaces
// count: those of a value are its own, and around separators there are none.
// Values in the form #HEX are not understood.
func parseDN(text string) (dn, error) {
	if !utf8.ValidString(text) {
		return nil, errors.New("it is not UTF-8")
	}
	var d dn
	var part []attribute
	for rest := text; ; {
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			return nil, fmt.Errorf("%.40q has no =", rest)
		}
		oid, err := attributeType(name)
		if err != nil {
			return nil, err
		}
		value, after, err := parseValue(after)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		part = append(part, attribute{oid, value})
		if after == "" {
			break
		}
		if after[0] == ',' {
			d, part = append(d, part), nil
		}
		rest = after[1:]
	}
	d = append(d, part)
	slices.Reverse(d)
	return d, nil
}

func attributeType(name string) (string, error) {
	if oid, ok := attributeTypes[strings.ToUpper(name)]; ok {
		return oid, nil
	}
	if !strings.Contains(name, ".") {
		return "", fmt.Errorf("there is no attribute %.40q; there are %s, and OIDs such as 2.5.4.3",
			name, strings.Join(slices.Sorted(maps.Keys(attributeTypes)), ", "))
	}
	for arc := range strings.SplitSeq(name, ".") {
		n, err := strconv.ParseUint(arc, 10, 31)
		if err != nil || strconv.FormatUint(n, 10) != arc {
			return "", fmt.Errorf("%.40q is no OID", name)
		}
	}
	return name, nil
}

// parseValue reads up to an unescaped comma or plus, which rest begins with.
func parseValue(text string) (value, rest string, err error) {
	if strings.HasPrefix(text, "#") {
		return "", "", errors.New("values in the form #HEX are not understood")
	}
	var b strings.Builder
	last := 0 // the length that a space at the end does not count for
	i := 0
	for ; i < len(text) && text[i] != ',' && text[i] != '+'; i++ {
		switch c := text[i]; {
		case c == '\\':
			n, escaped, err := unescape(text[i+1:])
			if err != nil {
				return "", "", err
			}
			b.WriteByte(escaped)
			i += n
			last = b.Len()
			continue
		case strings.IndexByte(specials, c) >= 0:
			return "", "", fmt.Errorf("%q needs a backslash", c)
		case c == ' ' && b.Len() == 0:
			return "", "", errors.New("it begins with a space, which needs a backslash")
		default:
			b.WriteByte(c)
			if c != ' ' {
				last = b.Len()
			}
		}
	}
	switch value = b.String(); {
	case value == "":
		return "", "", errors.New("it is empty")
	case last != len(value):
		return "", "", errors.New("it ends with a space, which needs a backslash")
	case !utf8.ValidString(value):
		return "", "", errors.New("it is not UTF-8")
	}
	return value, text[i:], nil
}

// unescape reads what follows a backslash, and how long that was: a special
// character, or two hexadecimal digits.
func unescape(text string) (n int, c byte, err error) {
	if text != "" && strings.IndexByte(specials+" #=", text[0]) >= 0 {
		return 1, text[0], nil
	}
	if len(text) >= 2 {
		if b, err := hex.DecodeString(text[:2]); err == nil {
			return 2, b[0], nil
		}
	}
	return 0, 0, errors.New("a backslash stands before nothing that needs it")
}

// rawURIs are the URIs among a certificate's names as they were written (RFC 5280
// §4.2.1.6). Those of x509 were parsed, and may have lost a byte.
func rawURIs(cert *x509.Certificate) []string {
	subjectAltName := asn1.ObjectIdentifier{2, 5, 29, 17}
	const uniformResourceIdentifier = 6
	var uris []string
	for _, e := range cert.Extensions {
		if !e.Id.Equal(subjectAltName) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(e.Value, &names); err != nil || len(rest) > 0 {
			return nil
		}
		for _, n := range names {
			if n.Class == asn1.ClassContextSpecific && n.Tag == uniformResourceIdentifier {
				uris = append(uris, string(n.Bytes))
			}
		}
	}
	return uris
}
