package clientcert

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
)

// The bounds of mappings.
const (
	MaxMappings   = 1000
	maxMatchBytes = 512
)

// Mapping says whose a certificate is.
type Mapping struct {
	// Match says which certificates are meant, by exactly one thing that they hold:
	//
	//	sha256:HEX     the certificate itself: the SHA-256 of its DER, in 64 hexadecimal digits, colons allowed
	//	uri:URI        a URI among its names, byte for byte, such as uri:spiffe://shop/till
	//	dns:NAME       a DNS name among its names, in any case of letters; wildcards stand for nothing
	//	email:ADDRESS  an address among its names, the part behind the @ in any case of letters
	//	subject:DN     its whole subject in the form of RFC 4514, such as subject:CN=till,O=Shop
	//
	// The common name alone is no name: write the whole subject.
	Match string
	// Merchant is the merchant's ID, mer_….
	Merchant string
	Mode     payment.Mode
	// Scopes are what the certificate may do; none = those of
	// [access.DefaultScopes].
	Scopes []access.Scope
}

// Identity is who a certificate proves to be.
type Identity struct {
	Merchant string
	Mode     payment.Mode
	Scopes   []access.Scope
	// Name is the Match that had the certificate, for logs and people.
	Name string
	// Thumbprint is that of [Thumbprint].
	Thumbprint string
}

// Clients is all that is known of clients' certificates.
type Clients struct {
	*Checker
	*Names
}

// Names tells whose certificates are.
type Names struct{ byKey map[string]*Mapping }

// NewNames makes Names. A mapping that is given twice, or that cannot match, is an
// error that names it.
func NewNames(mappings []Mapping) (*Names, error) {
	if len(mappings) > MaxMappings {
		return nil, fmt.Errorf("there are more than %d mappings", MaxMappings)
	}
	n := &Names{byKey: make(map[string]*Mapping, len(mappings))}
	for _, m := range mappings {
		key, err := parseMatch(m.Match)
		if err != nil {
			return nil, err
		}
		if _, given := n.byKey[key]; given {
			return nil, fmt.Errorf("%s is given twice", m.Match)
		}
		if err := m.check(); err != nil {
			return nil, fmt.Errorf("%s: %w", m.Match, err)
		}
		if m.Scopes = slices.Clone(m.Scopes); len(m.Scopes) == 0 {
			m.Scopes = access.DefaultScopes()
		}
		n.byKey[key] = &m
	}
	return n, nil
}

func (m *Mapping) check() error {
	if !payment.IsID(payment.PrefixMerchant, m.Merchant) {
		return fmt.Errorf("%.60q is no merchant's id (mer_…)", m.Merchant)
	}
	if m.Mode != payment.Test && m.Mode != payment.Live {
		return fmt.Errorf("mode %.20q is neither test nor live", string(m.Mode))
	}
	for i, s := range m.Scopes {
		if !slices.Contains(access.Scopes, s) {
			return fmt.Errorf("there is no scope %.40q", string(s))
		}
		if slices.Contains(m.Scopes[:i], s) {
			return fmt.Errorf("scope %s is given twice", s)
		}
	}
	return nil
}

// Identify tells whose a certificate is, or false where it is nobody's; whether it
// is any good is for [Checker.Check]. A certificate that several mappings have is
// nobody's: which merchant pays must not depend on an order.
func (n *Names) Identify(leaf *x509.Certificate) (Identity, bool) {
	var found *Mapping
	for _, key := range keysOf(leaf) {
		m, ok := n.byKey[key]
		switch {
		case !ok || m == found: // a certificate may say a thing twice
		case found != nil:
			return Identity{}, false
		default:
			found = m
		}
	}
	if found == nil {
		return Identity{}, false
	}
	return Identity{
		Merchant: found.Merchant, Mode: found.Mode, Scopes: slices.Clone(found.Scopes), Name: found.Match,
		Thumbprint: Thumbprint(leaf),
	}, true
}

// parseMatch brings a Match into the form in which keysOf writes the same thing of
// a certificate.
func parseMatch(match string) (string, error) {
	kind, value, ok := strings.Cut(match, ":")
	if !ok || value == "" || len(match) > maxMatchBytes {
		return "", badMatch(match, "it is not KIND:VALUE of at most 512 bytes")
	}
	switch kind {
	case "sha256":
		sum, err := hex.DecodeString(strings.ReplaceAll(value, ":", ""))
		if err != nil || len(sum) != sha256.Size {
			return "", badMatch(match, "a SHA-256 has 64 hexadecimal digits")
		}
		return kind + ":" + hex.EncodeToString(sum), nil
	case "uri":
		u, err := url.Parse(value)
		if err != nil || u.Scheme == "" || !printable(value) {
			return "", badMatch(match, "it is no URI with a scheme")
		}
		return kind + ":" + value, nil
	case "dns":
		if !printable(value) || strings.ContainsAny(value, "*/:@") || strings.HasSuffix(value, ".") {
			return "", badMatch(match, "it is no DNS name; wildcards stand for nothing")
		}
		return kind + ":" + lowerASCII(value), nil
	case "email":
		if !printable(value) || strings.Count(value, "@") != 1 || strings.HasPrefix(value, "@") || strings.HasSuffix(value, "@") {
			return "", badMatch(match, "it is no address")
		}
		return kind + ":" + mailbox(value), nil
	case "subject":
		dn, err := parseDN(value)
		if err != nil {
			return "", badMatch(match, err.Error())
		}
		return kind + ":" + dn.key(), nil
	default:
		return "", badMatch(match, "it begins with none of sha256:, uri:, dns:, email:, subject:")
	}
}

func badMatch(match, why string) error { return fmt.Errorf("match %.80q: %s", match, why) }

// printable tells of visible ASCII, which is all that names in certificates are
// made of.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// lowerASCII folds the letters of ASCII alone: others have no place in a DNS name,
// and must not turn into one that has.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// mailbox folds the domain of an address; the part before it is as it is.
func mailbox(s string) string {
	local, domain, _ := strings.Cut(s, "@")
	return local + "@" + lowerASCII(domain)
}

// keysOf lists everything by which a mapping may mean a certificate.
func keysOf(leaf *x509.Certificate) []string {
	sum := sha256.Sum256(leaf.Raw)
	keys := []string{"sha256:" + hex.EncodeToString(sum[:])}
	if dn, ok := dnOf(leaf); ok {
		keys = append(keys, "subject:"+dn.key())
	}
	for _, u := range rawURIs(leaf) {
		keys = append(keys, "uri:"+u)
	}
	for _, d := range leaf.DNSNames {
		keys = append(keys, "dns:"+lowerASCII(d))
	}
	for _, e := range leaf.EmailAddresses {
		keys = append(keys, "email:"+mailbox(e))
	}
	return keys
}
