package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/purser-pay/purser/modules/webhook"
)

// WebhooksConfig says where webhooks to merchants may go beyond what is always
// allowed: https to public addresses, at port 443 or 8443.
type WebhooksConfig struct {
	// Allow lists networks beyond the public ones, such as "10.20.0.0/16", where
	// any port is fine; at most 64. None by default: a merchant chooses the URL,
	// and must not reach what stands beside the gateway.
	Allow []Network `json:"allow,omitempty"`
	// AllowHTTP takes plain http to the networks of Allow; for development.
	AllowHTTP bool `json:"allow_http,omitempty"`
}

// maxNetworks bounds webhooks allow.
const maxNetworks = 64

// check refuses what is too much, and what would have no effect.
func (w *WebhooksConfig) check() error {
	switch {
	case w == nil:
		return nil
	case len(w.Allow) > maxNetworks:
		return atField("allow", "webhooks: allow takes at most %d networks", maxNetworks)
	case w.AllowHTTP && len(w.Allow) == 0:
		return atField("allow_http", "webhooks: allow_http is for the networks of allow, and there are none")
	default:
		return nil
	}
}

// targets is what the core asks where a webhook may go.
func (w *WebhooksConfig) targets() webhook.Targets {
	if w == nil {
		return webhook.Targets{}
	}
	t := webhook.Targets{AllowHTTP: w.AllowHTTP}
	for _, n := range w.Allow {
		if p, err := netip.ParsePrefix(string(n)); err == nil { // it was parsed when it was read
			t.Allow = append(t.Allow, p)
		}
	}
	return t
}

// Network is a network in the notation of CIDR.
type Network string

// UnmarshalText takes a network, and refuses one with bits beyond its mask: who
// writes 10.0.0.7/8 means either more or less than that.
func (n *Network) UnmarshalText(text []byte) error {
	p, err := netip.ParsePrefix(string(text))
	switch {
	case err != nil:
		if a, err := netip.ParseAddr(string(text)); err == nil && a.Zone() == "" {
			return fmt.Errorf("%.60q is an address, not a network; write %s/%d", text, a, a.BitLen())
		}
		return fmt.Errorf("%.60q is no network, such as 10.20.0.0/16", text)
	case p != p.Masked():
		return fmt.Errorf("%s has bits beyond its mask; write %s", p, p.Masked())
	case p.Addr().Is4In6():
		return fmt.Errorf("%s is an IPv4 network in the guise of IPv6; write it as IPv4", p)
	}
	*n = Network(p.String())
	return nil
}

// parseWebhooks reads the block webhooks.
func (a *App) parseWebhooks(d *caddyfile.Dispenser) error {
	first := here(d)
	if d.NextArg() {
		return d.Errf("webhooks takes no argument %q", d.Val())
	}
	options := newFields("webhooks", reflect.TypeFor[WebhooksConfig]())
	raw, err := options.block(d)
	if err != nil {
		return err
	}
	w := new(WebhooksConfig)
	if err := caddy.StrictUnmarshalJSON(raw, w); err != nil {
		return first.errorf("webhooks: %v", err)
	}
	if err := w.check(); err != nil {
		var field *fieldError
		if errors.As(err, &field) && options.lines[field.field] > 0 {
			first.line = options.lines[field.field]
		}
		return first.errorf("%v", err)
	}
	a.WebhooksConfig = w
	return nil
}
