package pursercmd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestAdminSocket holds that operators' commands go through a unix socket, as the
// configurations in caddyfile have it, and that only its owner may use it.
func TestAdminSocket(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"pepper", "seal_key"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY=\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(dir, "admin.sock")
	config, err := json.Marshal(map[string]any{
		"admin": map[string]any{"listen": "unix/" + socket + "|0600", "config": map[string]any{"persist": false}},
		"apps": map[string]any{"payments": map[string]any{
			"root": dir, "store": map[string]any{"driver": "sqlite", "path": "purser.db"},
			"pepper": "{file.pepper}", "seal_key": "{file.seal_key}",
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("the socket's mode is %o, want 600", got)
	}
	for _, args := range [][]string{{"freeze", "--reason", "socket"}, {"accounts", "list"}} {
		for _, address := range []string{"unix/" + socket, "unix/" + socket + "|0600"} {
			if out, errs, code := output(t, append(args, "--address", address)...); code != 0 {
				t.Errorf("purser %v --address %s: %d %s%s, want 0", args, address, code, out, errs)
			}
		}
	}
}
