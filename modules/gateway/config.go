package gateway

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// AccountConfig is one connector account: what belongs to every account, and
// the connector's own credentials.
type AccountConfig struct {
	// Mode is "test" or "live".
	Mode payment.Mode `json:"mode"`
	// Merchants lists who may use the account. In mode test the default is
	// "*", all of them; in mode live each is named by its ID, mer_….
	Merchants []string `json:"merchants,omitempty"`
	// Priority orders the accounts that could take a payment: lower first, then
	// by name; default 0.
	Priority int `json:"priority,omitempty"`
	// BaseURL replaces the PSP's own address, for its simulator say: https, or
	// http to a loopback address in mode test. Default: the connector's, by mode.
	BaseURL string `json:"base_url,omitempty"`
	// Timeout bounds one exchange with the PSP, repeats included; 1 s … 2 min,
	// default 20 s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// NotFoundAfter is how long the PSP's "not found" is not believed, counted
	// from the request in doubt; at most 24 h, default: the connector's own.
	NotFoundAfter caddy.Duration `json:"not_found_after,omitempty"`
	// Retired accounts take no new payments; what is under way goes on.
	Retired bool `json:"retired,omitempty"`
	// PinnedOnly accounts take payments that are pinned to them by account, and
	// no others: for an account that is to be tried out beside the old ones.
	PinnedOnly bool `json:"pinned_only,omitempty"`
	// ConnectorRaw is the connector and its credentials: one of the modules
	// payments.connectors.*. In a Caddyfile its fields stand among those of the
	// account.
	ConnectorRaw json.RawMessage `json:"connector" caddy:"namespace=payments.connectors inline_key=name"`
	// Transport tunes the connections to the PSP; what is left out has a default.
	Transport *TransportConfig `json:"transport,omitempty"`
	// CircuitBreaker keeps new payments away while the PSP gives no answers; by default
	// accounts in mode live have one, and those in mode test have none.
	CircuitBreaker *CircuitBreakerConfig `json:"circuit_breaker,omitempty"`
}

// The bounds of an account's durations.
const (
	minTimeout       = time.Second
	maxTimeout       = 2 * time.Minute
	maxNotFoundAfter = 24 * time.Hour
)

// accountName keeps names fit for paths, metrics and policies.
var accountName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

// check refuses an account that must not run.
func (a *AccountConfig) check(name string) error {
	if !accountName.MatchString(name) {
		return atField("", "account name %q is not of the form [a-z][a-z0-9_-]*, at most 63 characters", name)
	}
	switch a.Mode {
	case payment.Test, payment.Live:
	case "":
		return atField("mode", "mode is missing: test or live")
	default:
		return atField("mode", "mode %q is neither test nor live", string(a.Mode))
	}
	if err := a.checkMerchants(); err != nil {
		return err
	}
	if err := checkBaseURL(a.BaseURL, a.Mode); err != nil {
		return err
	}
	if t := time.Duration(a.Timeout); t != 0 && (t < minTimeout || t > maxTimeout) {
		return atField("timeout", "timeout %s is not %s … %s", t, minTimeout, maxTimeout)
	}
	if n := time.Duration(a.NotFoundAfter); n < 0 || n > maxNotFoundAfter {
		return atField("not_found_after", "not_found_after %s is not 0 … %s", n, maxNotFoundAfter)
	}
	if err := a.CircuitBreaker.check(); err != nil {
		return atField(circuitField, "%s: %v", circuitField, err)
	}
	return nil
}

func (a *AccountConfig) checkMerchants() error {
	if a.Mode.Live() && len(a.Merchants) == 0 {
		return atField("merchants", "merchants is missing: in mode live each merchant is named")
	}
	for _, m := range a.Merchants {
		switch {
		case m == everyone && a.Mode.Live():
			return atField("merchants", "merchants * is for mode test alone: in mode live each merchant is named")
		case m == everyone:
		case !payment.IsID(payment.PrefixMerchant, m):
			return atField("merchants", "merchants: %q is no merchant's id (mer_…)", m)
		}
	}
	return nil
}

const everyone = "*"

// merchants returns who may use the account, the default included.
func (a *AccountConfig) merchants() []string {
	if len(a.Merchants) == 0 && a.Mode == payment.Test {
		return []string{everyone}
	}
	return slices.Clone(a.Merchants)
}

// checkBaseURL allows plain HTTP only where nothing leaves the machine and no
// money is at stake.
func checkBaseURL(s string, mode payment.Mode) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return atField("base_url", "base_url %q is not a URL", s)
	case u.Host == "" || u.Opaque != "":
		return atField("base_url", "base_url %q has no host", s)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return atField("base_url", "base_url is scheme, host and path alone")
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return atField("base_url", "base_url %q is not https", s)
	case mode.Live():
		return atField("base_url", "base_url %q: mode live is https alone", s)
	case !isLoopback(u.Hostname()):
		return atField("base_url", "base_url %q: plain http is for loopback addresses alone", s)
	default:
		return nil
	}
}

// fieldError is a refusal that knows which field is at fault, so that a
// Caddyfile's error can name its line.
type fieldError struct{ field, message string }

func (e *fieldError) Error() string { return e.message }

func atField(field, format string, args ...any) error {
	return &fieldError{field, fmt.Sprintf(format, args...)}
}

// isLoopback tells whether a host can be nothing but this machine.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// account makes the account that the core works with.
func (a *AccountConfig) account(name string, c connector.Connector) *connector.Account {
	return &connector.Account{
		Name: name, Connector: c, Mode: a.Mode, Merchants: a.merchants(), Priority: a.Priority,
		BaseURL: strings.TrimRight(a.BaseURL, "/"), Timeout: time.Duration(a.Timeout),
		NotFoundAfter: time.Duration(a.NotFoundAfter), Retired: a.Retired, PinnedOnly: a.PinnedOnly,
	}
}

// sorted returns the names of a map in order, so that errors and logs are the
// same in every run.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// under resolves a path of the configuration.
func under(root, path string) (string, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(root, path)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("path %s: %w", path, err)
	}
	return abs, nil
}
