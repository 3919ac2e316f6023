package adyen

import (
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestModuleIsRegistered(t *testing.T) {
	info, err := caddy.GetModule("payments.connectors.adyen")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := info.New().(*Connector); !ok {
		t.Errorf("the module makes a %T, want *Connector", info.New())
	}
}
