package framing

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"unicode/utf8"
)

// maxHost bounds a name in DNS, in bytes.
const maxHost = 255

// checkTarget refuses targets and hosts that others might read differently.
func checkTarget(r *http.Request) *Problem {
	if r.Host == "" && r.ProtoAtLeast(1, 1) || r.Host != "" && !validHost(r.Host) {
		return refusal(http.StatusBadRequest, "Host", "The field is no host with or without a port.")
	}
	// Over HTTP/1 net/http keeps one and takes it out. RFC 9113 §8.3.1: it repeats
	// the authority or is not there.
	if hosts := r.Header["Host"]; len(hosts) > 1 || len(hosts) == 1 && hosts[0] != r.Host {
		return refusal(http.StatusBadRequest, "Host", "The request names two hosts.")
	}
	if r.URL.Host != "" && r.ProtoMajor == 1 && !ours(r) {
		return refusal(http.StatusBadRequest, "", "This is no proxy: the request's target names another server.")
	}
	if strings.Contains(r.RequestURI, "#") {
		return refusal(http.StatusBadRequest, "", "The request's target has a fragment.")
	}
	if r.Method == http.MethodOptions && r.URL.Path == "*" {
		return nil // of the server as a whole; net/http answers where it can
	}
	if why := badPath(r.URL.EscapedPath()); why != "" {
		return refusal(http.StatusBadRequest, "", why)
	}
	return nil
}

// validHost takes uri-host [":" port] (RFC 9110 §7.2) as names and addresses in
// use are: letters, digits, dots, hyphens and underscores, or a bracketed IPv6
// address; no user, and none of the sub-delims that RFC 3986 has for no one.
func validHost(host string) bool {
	if strings.HasPrefix(host, "[") {
		address, rest, closed := strings.Cut(host[1:], "]")
		ip, err := netip.ParseAddr(address)
		if !closed || err != nil || !ip.Is6() || ip.Zone() != "" || rest != "" && rest[0] != ':' {
			return false
		}
		return validPort(strings.TrimPrefix(rest, ":"))
	}
	name, port, _ := strings.Cut(host, ":")
	if name == "" || len(name) > maxHost || strings.Trim(name, ".") == "" {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			return false
		}
	}
	return validPort(port)
}

// validPort takes an absent port as well.
func validPort(port string) bool {
	n := 0
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' || len(port) > 5 {
			return false
		}
		n = n*10 + int(port[i]-'0')
	}
	return n <= 65535 && (port == "" || n > 0)
}

// ours tells whether a target in absolute form (RFC 9112 §3.2.2), which takes
// the Host field's place, names this server: by the name that TLS was asked for,
// or without one by the address that the connection came to.
func ours(r *http.Request) bool {
	if (r.TLS != nil) != strings.EqualFold(r.URL.Scheme, "https") || r.URL.User != nil {
		return false
	}
	name := hostname(r.Host)
	if r.TLS != nil && r.TLS.ServerName != "" {
		return strings.EqualFold(name, r.TLS.ServerName)
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	at, err := netip.ParseAddrPort(local.String())
	if err != nil { // a socket of another family
		return false
	}
	if strings.EqualFold(name, "localhost") {
		return at.Addr().Unmap().IsLoopback()
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Unmap() == at.Addr().Unmap()
}

// hostname is a valid host without its port.
func hostname(host string) string {
	if strings.HasPrefix(host, "[") {
		address, _, _ := strings.Cut(host[1:], "]")
		return address
	}
	name, _, _ := strings.Cut(host, ":")
	return name
}

// badPath says what is wrong with a path, escaped as it came, or "". The doors
// take paths literally; here goes what a proxy before them, or a PSP behind
// them, might clean, decode or cut into another path.
func badPath(escaped string) string {
	if escaped == "" || escaped[0] != '/' {
		return "The request's target is no path."
	}
	rest := escaped[1:]
	for last := false; !last; {
		var segment string
		if slash := strings.IndexByte(rest, '/'); slash >= 0 {
			segment, rest = rest[:slash], rest[slash+1:]
			if segment == "" {
				return "The path has an empty segment: two slashes in a row."
			}
		} else {
			segment, last = rest, true
		}
		if why := badSegment(segment); why != "" {
			return why
		}
	}
	return ""
}

func badSegment(segment string) string {
	plain, err := url.PathUnescape(segment)
	if err != nil || !utf8.ValidString(plain) {
		return "The path is not escaped UTF-8."
	}
	if strings.ContainsAny(plain, `/\`) {
		return "The path has a backslash or an escaped slash."
	}
	for i := range len(plain) {
		if plain[i] < ' ' || plain[i] == 0x7f {
			return "The path has a control character."
		}
	}
	if twice, err := url.PathUnescape(plain); err == nil && twice != plain {
		return "The path is escaped twice."
	}
	// Some servers cut parameters off before they look for dots.
	if name, _, _ := strings.Cut(plain, ";"); name == "." || name == ".." {
		return "The path has a segment of dots."
	}
	return ""
}
