package alipay

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/purser-pay/purser/modules/connector"
)

// TestModule: the module is found by its name, and its configuration, written
// out again, shows references and no secret.
func TestModule(t *testing.T) {
	info, err := caddy.GetModule("payments.connectors.alipay")
	if err != nil {
		t.Fatal(err)
	}
	const config = `{"app_id":"2021000000000000","private_key":"{file./run/secrets/alipay}","alipay_public_key":"{env.ALIPAY_PUBLIC_KEY}"}`
	m := info.New()
	if err := caddy.StrictUnmarshalJSON([]byte(config), m); err != nil {
		t.Fatal(err)
	}
	c, ok := m.(*Connector)
	if !ok {
		t.Fatalf("module is a %T", m)
	}
	if c.Spec().Name != info.ID.Name() {
		t.Errorf("spec names %q, module %q", c.Spec().Name, info.ID.Name())
	}
	lookup := func(string) (string, error) { return "hunter2", nil }
	for _, s := range []*connector.Secret{&c.PrivateKey, &c.PublicKey} {
		if err := s.Resolve(lookup); err != nil {
			t.Fatal(err)
		}
	}
	got, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != config || strings.Contains(string(got), "hunter2") {
		t.Errorf("got %s, want %s", got, config)
	}
	if err := c.Prepare(); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("prepare: %v, want an error that does not hold the secret", err)
	}
}
