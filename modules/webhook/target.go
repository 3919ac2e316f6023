package webhook

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// MaxURL bounds the URL of an endpoint, in bytes.
const MaxURL = 2048

// The errors of targets. Their text is ours and may be shown to merchants.
var (
	// ErrURL: no webhook can go there, whatever the name resolves to.
	ErrURL = errors.New("webhook URL refused")
	// ErrAddress: the name resolves to an address that is not a public one.
	ErrAddress = errors.New("webhook address refused")
)

// Targets says where webhooks may go: to public addresses, by HTTPS, at port 443
// or 8443. The zero value allows that alone. The gateway sits in a network where
// others trust it, so nobody may make it knock at doors inside.
type Targets struct {
	// Allow names networks of the operator's, where any port is fine too.
	Allow []netip.Prefix
	// AllowHTTP allows plain HTTP to the networks of Allow, and to no other.
	AllowHTTP bool
}

var publicPorts = []uint16{443, 8443}

// special are the networks that are not the public internet: IANA's registries
// of special-purpose addresses, and what clouds answer at.
// https://www.iana.org/assignments/iana-ipv4-special-registry
// https://www.iana.org/assignments/iana-ipv6-special-registry
var special = []struct {
	network netip.Prefix
	what    string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "this network"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), "a carrier's NAT"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("168.63.129.16/32"), "a cloud's metadata service"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.0.0.0/24"), "reserved"},
	{netip.MustParsePrefix("192.0.2.0/24"), "for documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "a 6to4 relay"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("198.18.0.0/15"), "for benchmarks"},
	{netip.MustParsePrefix("198.51.100.0/24"), "for documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "for documentation"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("2001::/23"), "reserved"}, // Teredo among it
	{netip.MustParsePrefix("2001:db8::/32"), "for documentation"},
	{netip.MustParsePrefix("2002::/16"), "6to4"},
	{netip.MustParsePrefix("3fff::/20"), "for documentation"},
}

// unicast is all of IPv6 that is given out. Loopback, NAT64, IPv4 in IPv6,
// unique local, link-local and multicast addresses lie outside.
var unicast = netip.MustParsePrefix("2000::/3")

// CheckURL tells whether an endpoint may have this URL, as far as can be told
// without asking DNS. Its errors are [ErrURL] and [ErrAddress].
func (t Targets) CheckURL(raw string) error {
	u, err := parse(raw)
	if err != nil {
		return err
	}
	port, err := t.port(u)
	if err != nil {
		return err
	}
	host := u.Hostname()
	if addr, err := netip.ParseAddr(host); err == nil {
		return t.CheckAddr(u.Scheme, netip.AddrPortFrom(addr, port))
	}
	if err := checkName(host); err != nil {
		return err
	}
	if name := strings.ToLower(host); name == "localhost" || strings.HasSuffix(name, ".localhost") {
		// RFC 6761 §6.3: whatever DNS says, this is loopback.
		if t.CheckAddr(u.Scheme, netip.AddrPortFrom(netip.IPv6Loopback(), port)) == nil {
			return nil
		}
		return t.CheckAddr(u.Scheme, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port))
	}
	return nil
}

// CheckAddr tells whether a connection to this address may be opened for a URL
// of this scheme. It must be asked at connect, of the address itself: a name
// that was public when it was looked up may not be so the next time. Its error
// is [ErrAddress].
func (t Targets) CheckAddr(scheme string, at netip.AddrPort) error {
	addr := at.Addr()
	if addr.Zone() != "" || addr.Is4In6() || !addr.IsValid() {
		return fmt.Errorf("%w: %s is not a plain address", ErrAddress, addr)
	}
	if slices.ContainsFunc(t.Allow, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		if scheme == "https" || t.AllowHTTP {
			return nil
		}
		return fmt.Errorf("%w: https only", ErrAddress)
	}
	for _, s := range special {
		if s.network.Contains(addr) {
			return fmt.Errorf("%w: %s is %s", ErrAddress, addr, s.what)
		}
	}
	switch {
	case addr.Is6() && !unicast.Contains(addr):
		return fmt.Errorf("%w: %s is not public", ErrAddress, addr)
	case scheme != "https":
		return fmt.Errorf("%w: https only", ErrAddress)
	case !slices.Contains(publicPorts, at.Port()):
		return fmt.Errorf("%w: port 443 or 8443 only", ErrAddress)
	}
	return nil
}

// parse takes a URL of one certain form: what two parsers could read in two ways
// is refused.
func parse(raw string) (*url.URL, error) {
	if len(raw) > MaxURL {
		return nil, fmt.Errorf("%w: over %d bytes", ErrURL, MaxURL)
	}
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }) {
		return nil, fmt.Errorf("%w: it holds a space, a backslash, or what is not visible ASCII", ErrURL)
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil: // its error quotes the URL
		return nil, fmt.Errorf("%w: it does not parse", ErrURL)
	case u.Opaque != "" || u.Hostname() == "":
		return nil, fmt.Errorf("%w: no host", ErrURL)
	case u.User != nil:
		return nil, fmt.Errorf("%w: it holds a user name or a password", ErrURL)
	case strings.Contains(raw, "#"):
		return nil, fmt.Errorf("%w: it has a fragment", ErrURL)
	}
	return u, nil
}

func (t Targets) port(u *url.URL) (uint16, error) {
	port := map[string]uint16{"https": 443, "http": 80}[u.Scheme]
	if port == 0 || u.Scheme == "http" && (!t.AllowHTTP || len(t.Allow) == 0) {
		return 0, fmt.Errorf("%w: https only", ErrURL)
	}
	if strings.HasSuffix(u.Host, ":") {
		return 0, fmt.Errorf("%w: an empty port", ErrURL)
	}
	if text := u.Port(); text != "" {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 || text[0] == '0' {
			return 0, fmt.Errorf("%w: no such port", ErrURL)
		}
		port = uint16(n)
	}
	// A name may lie in a network of Allow, where any port is fine.
	if len(t.Allow) == 0 && !slices.Contains(publicPorts, port) {
		return 0, fmt.Errorf("%w: port 443 or 8443 only", ErrURL)
	}
	return port, nil
}

// checkName takes names as DNS has them (RFC 1123 §2.1, and the underscore that
// occurs). What ends in a number is an address in one of its old forms, such as
// 0x7f.1: some resolvers take it for one.
func checkName(host string) error {
	if len(host) > 253 {
		return fmt.Errorf("%w: no such host", ErrURL)
	}
	labels := strings.Split(host, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || strings.ContainsFunc(l, notOfName) {
			return fmt.Errorf("%w: no such host", ErrURL)
		}
	}
	if last := labels[len(labels)-1]; last[0] >= '0' && last[0] <= '9' {
		return fmt.Errorf("%w: no such host", ErrURL)
	}
	return nil
}

func notOfName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}
