package acme

import "github.com/caddyserver/caddy/v2"

func init() { caddy.RegisterModule(new(Connector)) }

// CaddyModule names the module.
func (*Connector) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "payments.connectors.acme",
		New: func() caddy.Module { return new(Connector) },
	}
}
