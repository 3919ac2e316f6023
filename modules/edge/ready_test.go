package edge_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// startProbe is an app that asks whether the gateway is ready while it starts, if the
// server has started before it: Caddy starts apps in any order.
type startProbe struct{}

// probed is what it has heard, and from whom it is to hear it.
var probed struct{ address, heard string }

func (startProbe) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "test_start_probe", New: func() caddy.Module { return new(startProbe) }}
}

func (startProbe) Start() error {
	conn, err := net.DialTimeout("tcp", probed.address, time.Second)
	if err != nil {
		return nil // the server's turn comes later
	}
	_ = conn.Close()
	resp, err := http.Get("http://" + probed.address + "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	probed.heard = resp.Status + " " + string(body)
	return err
}

func (startProbe) Stop() error { return nil }

func init() { caddy.RegisterModule(startProbe{}) }

// TestReadyOnceStarted: a gateway is ready once all of it has started, so that whoever
// waits for that finds operators' commands working as well.
func TestReadyOnceStarted(t *testing.T) {
	w := newWorld(t)
	var config map[string]any
	if err := json.Unmarshal(w.config(t), &config); err != nil {
		t.Fatal(err)
	}
	apps, ok := config["apps"].(map[string]any)
	if !ok {
		t.Fatalf("the configuration has no apps: %v", config)
	}
	apps["test_start_probe"] = object{}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	probed.address, probed.heard = w.public, ""
	const rounds = 40 // in half of them the server is the first
	for range rounds {
		if err := caddy.Load(text, true); err != nil {
			t.Fatal(err)
		}
		if status, body, _ := w.send(t, "GET", "/readyz", "", nil); status != http.StatusOK {
			t.Fatalf("once it has started: %d %s", status, body)
		}
		if probed.heard != "" {
			break
		}
		w.client.CloseIdleConnections()
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if want := `503 Service Unavailable {"status":"starting"}`; probed.heard != want {
		t.Errorf("while it starts: heard %q, want %q", probed.heard, want)
	}
}
