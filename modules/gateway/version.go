package gateway

import (
	"runtime/debug"

	"github.com/caddyserver/caddy/v2"
)

// modulePath is of the module that this repository is, in whichever binary.
const modulePath = "github.com/purser-pay/purser"

// develVersion is of a binary that was not built from a release.
const develVersion = "devel"

// Version is that of the gateway: of the binary where its main says it, else of this
// module in it. It is never Caddy's, which is what [caddy.Version] prefers.
func Version() string {
	if caddy.CustomVersion != "" {
		return caddy.CustomVersion
	}
	info, _ := debug.ReadBuildInfo()
	return builtVersion(info)
}

func builtVersion(info *debug.BuildInfo) string {
	if info == nil {
		return develVersion
	}
	for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
		if m.Path != modulePath {
			continue
		}
		if m.Replace != nil {
			m = m.Replace
		}
		if m.Version != "" && m.Version != "(devel)" {
			return m.Version
		}
	}
	return develVersion
}
