package edge_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// logged are the lines of the log so far with a message.
func (w *world) logged(t testing.TB, message string) []object {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []object
	for line := range bytes.Lines(b) {
		var o object
		if err := json.Unmarshal(line, &o); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if o["msg"] == message {
			lines = append(lines, o)
		}
	}
	return lines
}

// TestShippedLogs holds that the second wall stands in every configuration of ours
// that has an access log: no query, no payer's token and no header field, whoever
// writes a request down.
func TestShippedLogs(t *testing.T) {
	for name, value := range map[string]string{
		"PURSER_HOST": "pay.example.com", "PURSER_NODES": "10.0.0.1:8443", "PURSER_PRIVATE_ADDRESS": "10.0.0.1",
		"PURSER_BALANCERS": "10.0.0.2", "PURSER_MERCHANTS": "mer_00000000000000000000000000", "ALIPAY_APP_ID": "1",
	} {
		t.Setenv(name, value)
	}
	looked := 0
	for _, pattern := range []string{"../../caddyfile/*", "../../deploy/*.caddyfile"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": file})
			if err != nil {
				t.Fatal(err)
			}
			var config struct {
				Logging struct {
					Logs map[string]struct{ Encoder json.RawMessage }
				}
				Apps struct {
					HTTP struct {
						Servers map[string]struct{ Logs json.RawMessage }
					}
				}
			}
			if err := json.Unmarshal(adapted, &config); err != nil {
				t.Fatal(err)
			}
			for name, server := range config.Apps.HTTP.Servers {
				if server.Logs == nil {
					continue
				}
				looked++
				line := encoded(t, config.Logging.Logs["default"].Encoder)
				if strings.Contains(line, "canary") || !strings.Contains(line, `"uri":"/v1/payments?…"`) || !strings.Contains(line, `"uri":"/return/…"`) {
					t.Errorf("%s, %s: got %s", file, name, line)
				}
			}
		}
	}
	if looked < 5 {
		t.Errorf("%d servers have an access log, want at least 5", looked)
	}
}

// encoded is what an encoder makes of two requests full of canaries.
func encoded(t *testing.T, encoder json.RawMessage) string {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	v, err := ctx.LoadModule(&struct {
		Raw json.RawMessage `caddy:"namespace=caddy.logging.encoders inline_key=format"`
	}{encoder}, "Raw")
	if err != nil {
		t.Fatalf("%v in %s", err, encoder)
	}
	var lines strings.Builder
	for _, target := range []string{"/v1/payments?q=canary", "/return/canary?q=canary"} {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		r.Header.Set("X-Api-Key", "canary")
		r.Header["X_Api_Key"] = []string{"canary"}
		buf, err := v.(zapcore.Encoder).Clone().EncodeEntry(zapcore.Entry{}, []zapcore.Field{zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: r})})
		if err != nil {
			t.Fatal(err)
		}
		lines.WriteString(buf.String())
	}
	return lines.String()
}

// TestAccessLog holds that a request which tells a secret is in the access log by no
// word of it, and yet can be found, whichever of our handlers it meets.
func TestAccessLog(t *testing.T) {
	const pan, answer = "4242424242424242", `{"handler":"static_response","status_code":200}`
	w := newWorld(t)
	w.start(t)
	key := w.key
	var respond object
	if err := json.Unmarshal([]byte(answer), &respond); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		handlers       string // beside respond, which stands last
		target         string
		headers        map[string]string
		path           string // in our line; "" = there is none
		status, logged float64
	}{
		{"payments_gateway", "/v1/account", map[string]string{"Authorization": "Bearer " + key}, "", 0, 200},
		{"payments_gateway", "/v1/payments?q=" + pan, map[string]string{"Authorization": "Bearer " + key}, "/v1/payments", 422, 0},
		{"payments_gateway", "/v1/account?key=" + key, nil, "/v1/account", 401, 0},
		{"payments_gateway", "/v1/account", map[string]string{"X-Api-Key": key}, "/v1/account", 401, 0},
		{"payments_gateway", "/v1/payments/" + pan, nil, "/v1/payments/[redacted]", 401, 0},
		{"payments_gateway", "/return/0123456789", nil, "/return/…", 404, 0},
		{"payments_api", "/v1/payments", map[string]string{"Idempotency-Key": pan}, "/v1/payments", 401, 0},
		{"payments_webhooks", "/webhooks/stripe?q=" + pan, nil, "/webhooks/stripe", 405, 0},
		{"payments_auth", "/anything", map[string]string{"X-Api-Key": key}, "/anything", 401, 0},
		{"payments_auth", "/anything?" + pan, map[string]string{"Authorization": "Bearer " + key}, "/anything", 200, 0},
		{"payments_auth payments_gateway", "/v1/account?" + pan, map[string]string{"Authorization": "Bearer " + key}, "/v1/account", 422, 0},
		{"payments_handover", "/anything?" + pan, nil, "/anything", 200, 0},
		{"payments_handover payments_problem", "/anything?" + pan, nil, "/anything", 404, 0},
		{"payments_problem", "/anything?" + pan, nil, "/anything", 404, 0},
	}
	for _, tt := range tests {
		var handlers []object
		for name := range strings.FieldsSeq(tt.handlers) {
			handlers = append(handlers, object{"handler": name})
		}
		if err := caddy.Load(w.routes(t, append(handlers, respond)...), true); err != nil {
			t.Fatal(err)
		}
		before, access := len(w.logged(t, "request kept out of the access log")), len(w.logged(t, "handled request"))
		status, body, header := w.send(t, "GET", tt.target, "", tt.headers)
		// Both lines are written before the server ends.
		stop(t)
		ours, theirs := w.logged(t, "request kept out of the access log")[before:], w.logged(t, "handled request")[access:]
		if tt.path == "" {
			if len(ours) != 0 || len(theirs) != 1 || theirs[0]["status"] != tt.logged {
				t.Errorf("%s: GET %s = %d: got %v and %v, want one line of the access log", tt.handlers, tt.target, status, ours, theirs)
			}
			continue
		}
		if len(ours) != 1 || len(theirs) != 0 {
			t.Errorf("%s: GET %s = %d %s: got %v and in the access log %v, want one line of ours", tt.handlers, tt.target, status, body, ours, theirs)
			continue
		}
		line := ours[0]
		id, _ := line["request_id"].(string)
		if line["path"] != tt.path || line["status"] != tt.status || float64(status) != tt.status || line["method"] != "GET" ||
			line["host"] != w.public || line["client"] != "127.0.0.1" || line["level"] != "info" || id != header.Get("Request-Id") {
			t.Errorf("%s: GET %s = %d: got %v, want path %q and status %v", tt.handlers, tt.target, status, line, tt.path, tt.status)
		}
	}
	b, err := os.ReadFile(filepath.Join(w.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string]string{"the card number": pan, "the API key": key, "the payer's token": "/return/0123456789"} {
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("%s is in the log", name)
		}
	}
}
