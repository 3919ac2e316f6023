package framing

import (
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// server is a server of an adapted configuration, as far as it is looked at.
type server struct {
	Routes         []shippedRoute
	Errors         struct{ Routes []shippedRoute }
	AutomaticHTTPS struct {
		Disable          bool
		DisableRedirects bool `json:"disable_redirects"`
	} `json:"automatic_https"`
}

type shippedRoute struct {
	Match  []any
	Handle json.RawMessage
}

// TestShippedConfigurations holds that no request falls through to Caddy's empty
// 200, that plain http is not sent on to https, and that Caddy's errors have our
// form, in every configuration that we hand out.
func TestShippedConfigurations(t *testing.T) {
	g := open(t)
	for name, value := range map[string]string{
		"PURSER_HOST": "pay.example.com", "PURSER_NODES": "10.0.0.1:8443", "PURSER_PRIVATE_ADDRESS": "10.0.0.1",
		"PURSER_BALANCERS": "10.0.0.2", "PURSER_MERCHANTS": "mer_00000000000000000000000000", "ALIPAY_APP_ID": "1",
	} {
		t.Setenv(name, value)
	}
	files, err := filepath.Glob("../../caddyfile/*")
	if err != nil || len(files) < 4 {
		t.Fatalf("%v %v, want the four files", files, err)
	}
	for _, file := range append(files, "../../deploy/balancer.caddyfile", "../../deploy/gateway.caddyfile") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			checked := 0
			for name, s := range g.adapt(t, file) {
				all, err := json.Marshal(s.Routes)
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(string(all), `"payments_`) {
					continue // what Prometheus reads, and the simulator's door
				}
				checked++
				if https := s.AutomaticHTTPS; !https.Disable && !https.DisableRedirects {
					t.Errorf("%s: plain http is sent on to https", name)
				}
				last := s.Routes[len(s.Routes)-1]
				if len(last.Match) > 0 || !strings.Contains(string(last.Handle), "payments_gateway") && !strings.Contains(string(last.Handle), "payments_problem") {
					t.Errorf("%s: another host's requests reach the empty answer: the last route is for %v, %s", name, last.Match, last.Handle)
				}
				if len(s.Errors.Routes) == 0 {
					t.Errorf("%s has no handle_errors", name)
					continue
				}
				last = s.Errors.Routes[len(s.Errors.Routes)-1]
				if len(last.Match) > 0 || !strings.Contains(string(last.Handle), "payments_problem") {
					t.Errorf("%s: errors that are of no site have another form: the last route is for %v, %s", name, last.Match, last.Handle)
				}
			}
			if checked == 0 {
				t.Error("no server of it has a handler of ours")
			}
		})
	}
}

func (g *gateway) adapt(t *testing.T, file string) map[string]server {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), g.cmd.Path, "adapt", "--adapter", "caddyfile", "--config", file)
	b, err := cmd.Output()
	if e := (&exec.ExitError{}); errors.As(err, &e) {
		t.Fatalf("%v\n%s", err, e.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Apps struct {
			HTTP struct{ Servers map[string]server }
		}
	}
	if err := json.Unmarshal(b, &config); err != nil {
		t.Fatal(err)
	}
	return config.Apps.HTTP.Servers
}
