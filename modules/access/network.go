package access

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// MaxNetworks bounds the networks from which a key is good.
const MaxNetworks = 32

// ParseNetwork reads a network such as "10.1.0.0/16" or "2001:db8::/48", or a
// single address. A network with bits beyond its length is refused: one who
// writes 10.1.2.3/16 may have meant less than it says. An IPv4 network that is
// written in IPv6 (::ffff:10.1.0.0/112) is the IPv4 network.
func ParseNetwork(s string) (netip.Prefix, error) {
	var p netip.Prefix
	if strings.Contains(s, "/") {
		var err error
		if p, err = netip.ParsePrefix(s); err != nil {
			return p, fmt.Errorf("%.60q is not a network such as 10.1.0.0/16 or 2001:db8::/48", s)
		}
	} else {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return p, fmt.Errorf("%.60q is neither a network such as 10.1.0.0/16 nor an address", s)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if masked := p.Masked(); masked != p {
		return netip.Prefix{}, fmt.Errorf("network %s has bits beyond its length: is %s meant, or the address %s?", p, masked, p.Addr())
	}
	if a := p.Addr(); a.Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("network %s is neither of IPv4 nor of IPv6", p)
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p, nil
}

// CheckNetworks refuses networks that are too many, that [ParseNetwork] would not
// have made, or that are named twice.
func CheckNetworks(networks []netip.Prefix) error {
	if len(networks) > MaxNetworks {
		return fmt.Errorf("a key is good from at most %d networks", MaxNetworks)
	}
	for i, p := range networks {
		if !p.IsValid() || p.Masked() != p || p.Addr().Is4In6() {
			return fmt.Errorf("%s is not a network", p)
		}
		if slices.Contains(networks[:i], p) {
			return fmt.Errorf("the network %s is named twice", p)
		}
	}
	return nil
}

// allowed tells whether an address lies in one of the networks. No networks
// allow every address, one that is not known included.
func allowed(networks []netip.Prefix, from netip.Addr) bool {
	if len(networks) == 0 {
		return true
	}
	from = from.Unmap().WithZone("") // a prefix contains no address that has a zone
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(from) })
}
