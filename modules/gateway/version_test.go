package gateway

import (
	"runtime/debug"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestVersion(t *testing.T) {
	dependency := func(path, version string, replace *debug.Module) *debug.Module {
		return &debug.Module{Path: path, Version: version, Replace: replace}
	}
	caddyModule := dependency(caddy.ImportPath, "v2.11.9", nil)
	for _, tt := range []struct {
		name string
		info *debug.BuildInfo
		want string
	}{
		{"nothing known", nil, "devel"},
		{"a release", &debug.BuildInfo{Main: debug.Module{Path: modulePath, Version: "v1.2.3"}, Deps: []*debug.Module{caddyModule}}, "v1.2.3"},
		{"a working copy", &debug.BuildInfo{Main: debug.Module{Path: modulePath, Version: "(devel)"}, Deps: []*debug.Module{caddyModule}}, "devel"},
		{"in another binary", &debug.BuildInfo{Main: debug.Module{Path: "example.com/acme", Version: "v9.0.0"}, Deps: []*debug.Module{caddyModule, dependency(modulePath, "v1.2.4", nil)}}, "v1.2.4"},
		{"in another binary, from a folder", &debug.BuildInfo{Main: debug.Module{Path: "example.com/acme"}, Deps: []*debug.Module{dependency(modulePath, "v1.2.4", &debug.Module{Path: "../purser"})}}, "devel"},
	} {
		if got := builtVersion(tt.info); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	was := caddy.CustomVersion
	defer func() { caddy.CustomVersion = was }()
	caddy.CustomVersion = "1.2.3"
	if got := Version(); got != "1.2.3" {
		t.Errorf("the binary says 1.2.3, and its version is %q", got)
	}
	caddy.CustomVersion = ""
	simple, _ := caddy.Version()
	if got := Version(); got == simple {
		t.Errorf("got Caddy's version, %q", got)
	}
}
