package edge_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/caddyevents"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
	_ "github.com/caddyserver/caddy/v2/modules/logging"
	_ "github.com/caddyserver/caddy/v2/modules/metrics"

	"github.com/purser-pay/purser/modules/gateway"
	"github.com/purser-pay/purser/modules/simulator"
	_ "github.com/purser-pay/purser/modules/standard"
	"github.com/purser-pay/purser/test/deployment"
)

type object = map[string]any

// secrets are canaries: none may ever be seen outside its file.
var secrets = map[string]string{
	"pepper":         base64.StdEncoding.EncodeToString([]byte("canary-pepper-canary-pepper-cana")),
	"seal_key":       base64.StdEncoding.EncodeToString([]byte("canary-sealing-canary-sealing-ca")),
	"stripe_key":     "sk_test_canarycanarycanarycanary",
	"stripe_webhook": "whsec_canarycanarycanarycanary",
}

// world is a gateway in this process, with a simulator behind it.
type world struct {
	dir, public, admin, psp string
	accounts                object
	webhooks                object // the option; nil = absent
	options                 object // more of the app's
	handler                 string
	client                  *http.Client
	key, merchant           string
	sim                     *simulator.Simulator
	seen                    atomic.Value // Authorization of the last call to the PSP
}

// newWorld prepares a gateway; nothing runs yet.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		dir: t.TempDir(), public: freePort(t), admin: freePort(t), handler: "payments_gateway",
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}},
	}
	for name, value := range secrets {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sim, err := simulator.New(simulator.Config{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.seen.Store(r.Header.Get("Authorization"))
		sim.ServeHTTP(rw, r)
	}))
	t.Cleanup(func() {
		server.Close()
		if err := sim.Close(); err != nil {
			t.Errorf("close the simulator: %v", err)
		}
	})
	w.psp, w.sim = server.URL, sim
	w.accounts = object{"stripe": w.stripe()}
	t.Cleanup(func() {
		w.client.CloseIdleConnections()
		stop(t)
	})
	return w
}

// stop ends the gateway, and waits until it has let go of everything.
func stop(t testing.TB) {
	t.Helper()
	if err := caddy.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := gateway.Drain(ctx); err != nil {
		t.Errorf("drain: %v", err)
	}
}

// freePort is an address that nobody listens at, another one at each call. Caddy would
// open one for two servers without a word: each would get some of the other's requests.
func freePort(t testing.TB) string {
	t.Helper()
	port, err := deployment.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", port)
}

func (w *world) stripe() object {
	return object{
		"mode": "test", "base_url": w.psp + "/stripe",
		"connector": object{"name": "stripe", "secret_key": "{file.stripe_key}", "webhook_secret": "{file.stripe_webhook}"},
	}
}

// config is the present configuration. Its log goes to DIR/log, and the audit
// to DIR/audit as well.
func (w *world) config(t testing.TB) []byte {
	t.Helper()
	payments := object{
		"root": w.dir, "store": object{"path": "purser.db"},
		"pepper": "{file.pepper}", "seal_key": "{file.seal_key}", "accounts": w.accounts, "webhooks": w.webhooks,
	}
	maps.Copy(payments, w.options)
	b, err := json.Marshal(object{
		"admin":   object{"listen": w.admin, "config": object{"persist": false}},
		"storage": object{"module": "file_system", "root": filepath.Join(w.dir, "caddy")},
		"logging": object{"logs": object{
			"default": object{
				"level": "DEBUG", "writer": object{"output": "file", "filename": filepath.Join(w.dir, "log")},
			},
			"audit": object{
				"include": []string{"payments.audit"}, "writer": object{"output": "file", "filename": filepath.Join(w.dir, "audit")},
			},
		}},
		"apps": object{
			"payments": payments,
			"http": object{"grace_period": "5s", "servers": object{"test": object{
				"listen": []string{w.public}, "protocols": []string{"h1"}, "automatic_https": object{"disable": true},
				"logs": object{},
				"routes": []object{
					{"handle": []object{{"handler": w.handler}}},
					{"handle": []object{{"handler": "static_response", "status_code": 299}}},
				},
			}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// load starts the configuration, or reloads it.
func (w *world) load(t testing.TB) error {
	t.Helper()
	defer w.client.CloseIdleConnections() // those to a server that has ended
	return caddy.Load(w.config(t), true)
}

// start loads the configuration and makes a merchant with a key.
func (w *world) start(t testing.TB) {
	t.Helper()
	if err := w.load(t); err != nil {
		t.Fatalf("load: %v", err)
	}
	var merchant, key struct{ ID, Key string }
	w.operate(t, http.StatusCreated, "POST", "/payments/merchants", object{"name": "Test"}, &merchant)
	w.operate(t, http.StatusCreated, "POST", "/payments/keys", object{"merchant": merchant.ID, "mode": "test"}, &key)
	w.merchant, w.key = merchant.ID, key.Key
}

// operate makes a call of the admin endpoint.
func (w *world) operate(t testing.TB, want int, method, path string, in, out any) {
	t.Helper()
	status, body, err := w.sure(method, path, in)
	if err != nil || status != want {
		t.Fatalf("%s %s: %d %s %v, want %d", method, path, status, body, err, want)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal(body, out); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, body)
	}
}

// call makes a call of the merchants' API.
func (w *world) call(method, path, idempotency string, in any) (int, []byte, http.Header, error) {
	return w.do(method, "http://"+w.public+path, w.key, idempotency, in)
}

func (w *world) do(method, url, key, idempotency string, in any) (int, []byte, http.Header, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return 0, nil, nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, url, body)
	if err != nil {
		return 0, nil, nil, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if idempotency != "" {
		// With it, net/http itself sends a request again that met the end of an
		// idle connection; so every client must.
		req.Header.Set("Idempotency-Key", idempotency)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, b, resp.Header, err
}

func card(amount int) object {
	return object{
		"amount": amount, "currency": "EUR",
		"payment_method": object{"type": "card", "card": object{
			"number": "4242424242424242", "exp_month": 12, "exp_year": 2034, "cvc": "737",
		}},
	}
}

// pay makes a payment that must succeed, and returns its ID.
func (w *world) pay(t *testing.T, idempotency string) string {
	t.Helper()
	id, err := w.tryPay(idempotency)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// tryPay makes a payment.
func (w *world) tryPay(idempotency string) (string, error) {
	status, body, _, err := w.do("POST", w.payments(), w.key, idempotency, card(1999))
	if err != nil {
		return "", err
	}
	var p struct{ ID, Status string }
	if err := json.Unmarshal(body, &p); err != nil || status != http.StatusCreated || p.Status != "succeeded" {
		return "", fmt.Errorf("create: %d %s %w, want 201 and succeeded", status, body, err)
	}
	return p.ID, nil
}

func (w *world) payments() string { return "http://" + w.public + "/v1/payments" }

// sure makes a call of the admin endpoint, again where the connection broke before an
// answer came: Caddy opens its admin socket anew at each reload, and a new connection
// may still land on the one that is about to close, from which nobody reads.
func (w *world) sure(method, path string, in any) (int, []byte, error) {
	status, body, _, err := w.do(method, "http://"+w.admin+path, "", "", in)
	for tries := 1; tries < 4 && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)); tries++ {
		status, body, _, err = w.do(method, "http://"+w.admin+path, "", "", in)
	}
	return status, body, err
}

// metric reads one series of the admin endpoint; 0 where there is none.
func (w *world) metric(t *testing.T, series string) int64 {
	t.Helper()
	status, body, err := w.sure("GET", "/metrics", nil)
	if err != nil || status != http.StatusOK {
		t.Fatalf("metrics: %d %v", status, err)
	}
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			return int64(n)
		}
	}
	return 0
}

// mustFail reloads a configuration that must be refused, and checks that the
// one before goes on.
func (w *world) mustFail(t *testing.T, want string) {
	t.Helper()
	err := w.load(t)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("reload: %v, want an error with %q", err, want)
	}
	if status, body, _, err := w.call("GET", "/v1/account", "", nil); err != nil || status != http.StatusOK {
		t.Errorf("after the refused reload: %d %s %v, want 200 from the old configuration", status, body, err)
	}
}
