package alipay

import "github.com/caddyserver/caddy/v2"

func init() { caddy.RegisterModule(new(Connector)) }

// CaddyModule returns the Caddy module information.
func (*Connector) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "payments.connectors.alipay",
		New: func() caddy.Module { return new(Connector) },
	}
}
