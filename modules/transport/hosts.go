package transport

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// hosts is where an account's requests may go.
type hosts struct {
	https map[string]bool // "host:port"
	// http is the one plain "host:port", on loopback, for a PSP's simulator;
	// "" = none.
	http string
}

// newHosts reads the account's base URL and its connector's hosts.
func newHosts(a *connector.Account, spec connector.Spec) (hosts, error) {
	h := hosts{https: map[string]bool{}}
	base, err := url.Parse(a.Base())
	if err != nil || base.Host == "" {
		return hosts{}, fmt.Errorf("%w: the base URL is not one", ErrHost) // url.Parse quotes what it was given
	}
	if base.User != nil {
		return hosts{}, fmt.Errorf("%w: the base URL bears a user", ErrHost)
	}
	switch {
	case base.Scheme == "https":
		h.https[origin(base)] = true
	case base.Scheme == "http" && a.Mode == payment.Test && a.BaseURL != "" && loopback(base.Hostname()):
		h.http = origin(base)
	default:
		return hosts{}, fmt.Errorf("%w: base URL %s://%s: https only (http in mode test, to loopback)", ErrHost, base.Scheme, base.Host)
	}
	for _, host := range spec.Hosts {
		u, err := url.Parse("https://" + host)
		if err != nil || u.Host != host || host == "" {
			return hosts{}, fmt.Errorf("%w: the connector lists %q, which is no host", ErrHost, host)
		}
		h.https[origin(u)] = true
	}
	return h, nil
}

// check refuses a request that goes anywhere else.
func (h hosts) check(req *http.Request) error {
	u := req.URL
	switch {
	case u.User != nil:
		return fmt.Errorf("%w: the URL bears a user", ErrHost)
	case u.Opaque != "" || u.Host == "":
		return fmt.Errorf("%w: the URL names none", ErrHost)
	case req.Host != "" && req.Host != u.Host:
		return fmt.Errorf("%w: Host %q is not that of the URL", ErrHost, req.Host)
	case u.Scheme == "https" && h.https[origin(u)]:
		return nil
	case u.Scheme == "http" && h.http != "" && h.http == origin(u):
		return nil
	}
	return fmt.Errorf("%w: %s://%s", ErrHost, u.Scheme, u.Host)
}

// origin normalizes host and port for comparison.
func origin(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "http":
		port = "80"
	default:
		port = "443"
	}
	return net.JoinHostPort(strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), port)
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
