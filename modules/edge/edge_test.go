package edge_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/purser-pay/purser/modules/store/sqlite"
)

// TestReloadUnderLoad reloads ten times while payments are made: each is made
// and answered, none is made twice, and the counters go on.
func TestReloadUnderLoad(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	growing := map[string]int64{
		`purser_payments_total{status="succeeded"}`:                                         1,
		`purser_psp_calls_total{account="stripe",operation="authorize",outcome="answered"}`: 2,
		`purser_psp_seconds_count{account="stripe",operation="authorize"}`:                  2,
	}
	before := map[string]int64{}
	for series := range growing {
		before[series] = w.metric(t, series)
	}
	var made atomic.Int64
	ctx, enough := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	defer clients.Wait()
	defer enough()
	for n := range 4 {
		clients.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if _, err := w.tryPay("load-" + strconv.Itoa(n) + "-" + strconv.Itoa(i)); err != nil {
					t.Errorf("client %d, payment %d: %v", n, i, err)
					return
				}
				made.Add(1)
			}
		})
	}
	for i := range 10 {
		until := made.Load() + 4
		if err := w.load(t); err != nil {
			t.Errorf("reload %d: %v", i, err)
		}
		for made.Load() < until && !t.Failed() {
			w.pay(t, "between-"+strconv.Itoa(i)+"-"+strconv.FormatInt(made.Load(), 10))
			made.Add(1)
		}
	}
	enough()
	clients.Wait()
	t.Logf("%d payments", made.Load())
	if got := int64(len(w.sim.Books().All())); got != made.Load() {
		t.Errorf("the PSP knows %d payments, want %d", got, made.Load())
	}
	for series, factor := range growing { // each payment of a card is two calls
		if got := w.metric(t, series) - before[series]; got != factor*made.Load() {
			t.Errorf("%s grew by %d over the reloads, want %d", series, got, factor*made.Load())
		}
	}
	if got := w.metric(t, "purser_oldest_unresolved_seconds"); got != 0 {
		t.Errorf("the oldest unresolved payment is %d s old, want none", got)
	}
}

// TestReloadRefusesOrphans holds that a payment keeps its account.
func TestReloadRefusesOrphans(t *testing.T) {
	w := newWorld(t)
	w.accounts["idle"] = w.stripe()
	w.accounts["idle"].(object)["priority"] = 2
	w.start(t)
	w.pay(t, "a")

	delete(w.accounts, "idle") // it never had a payment
	if err := w.load(t); err != nil {
		t.Fatalf("remove an account without payments: %v", err)
	}
	w.accounts = object{}
	w.mustFail(t, "account stripe is gone")

	moved := w.stripe()
	moved["mode"], moved["merchants"] = "live", []string{w.merchant}
	delete(moved, "base_url")
	w.accounts = object{"stripe": moved}
	w.mustFail(t, "account stripe was of mode test")

	retired := w.stripe()
	retired["retired"] = true
	w.accounts = object{"stripe": retired}
	if err := w.load(t); err != nil {
		t.Fatalf("retire an account: %v", err)
	}
	if status, body, _, err := w.call("POST", "/v1/payments", "b", card(100)); err != nil || status != http.StatusUnprocessableEntity {
		t.Errorf("pay with a retired account: %d %s %v, want 422", status, body, err)
	}
	w.accounts = object{}
	if err := w.load(t); err != nil {
		t.Errorf("remove a retired account: %v", err)
	}
}

// TestOrphansAfterRestart holds the same where the gateway was down in between.
func TestOrphansAfterRestart(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	w.pay(t, "a")
	stop(t)
	was := w.accounts
	w.accounts = object{}
	if err := w.load(t); err == nil || !strings.Contains(err.Error(), "account stripe is gone") {
		t.Errorf("start without the account: %v, want a refusal", err)
	}
	w.accounts = was
	if err := w.load(t); err != nil {
		t.Errorf("start with the account: %v", err)
	}
}

// TestBadReloads holds that a configuration that cannot run changes nothing.
func TestBadReloads(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	for name, tt := range map[string]struct {
		change func(stripe object)
		want   string
	}{
		"no such file":         {func(a object) { a["connector"].(object)["secret_key"] = "{file.absent}" }, "no such file"},
		"bare secret":          {func(a object) { a["connector"].(object)["secret_key"] = "sk_test_bare" }, "by reference"},
		"missing credential":   {func(a object) { delete(a["connector"].(object), "webhook_secret") }, "webhook_secret is missing"},
		"unknown field":        {func(a object) { a["connector"].(object)["colour"] = "red" }, "colour"},
		"unknown connector":    {func(a object) { a["connector"].(object)["name"] = "strype" }, "strype"},
		"everyone in live":     {func(a object) { a["mode"], a["merchants"] = "live", []string{"*"} }, "mode test alone"},
		"plain http elsewhere": {func(a object) { a["base_url"] = "http://psp.example" }, "loopback"},
		"bad transport":        {func(a object) { a["transport"] = object{"tls_trusted_ca_certs": []string{"absent.pem"}} }, "absent.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			stripe := w.stripe()
			tt.change(stripe)
			w.accounts = object{"stripe": stripe}
			w.mustFail(t, tt.want)
		})
	}
	// All those half-made apps gave back what they took.
	stop(t)
	s, err := sqlite.Open(context.Background(), sqlite.Config{Path: filepath.Join(w.dir, "purser.db")})
	if err != nil {
		t.Fatalf("the store is still held: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestStoreIsExclusive holds that a second process is told who holds the store.
func TestStoreIsExclusive(t *testing.T) {
	w := newWorld(t)
	s, err := sqlite.Open(context.Background(), sqlite.Config{Path: filepath.Join(w.dir, "purser.db")})
	if err != nil {
		t.Fatal(err)
	}
	var locked *sqlite.LockedError
	if err := w.load(t); !errors.As(err, &locked) && (err == nil || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid()))) {
		t.Errorf("load on a store that is open: %v, want one that names process %d", err, os.Getpid())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.load(t); err != nil {
		t.Errorf("load once the store is free: %v", err)
	}
}

// TestSecretsStayInside feeds canaries through every door, and looks for them
// in the logs, the running configuration and the answers.
func TestSecretsStayInside(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	w.pay(t, "a")
	var seen strings.Builder
	look := func(url, key, idempotency string, method string, in any) {
		t.Helper()
		_, body, header, err := w.do(method, url, key, idempotency, in)
		if err != nil {
			t.Fatal(err)
		}
		seen.Write(body)
		for _, values := range header {
			seen.WriteString(strings.Join(values, "\n"))
		}
	}
	api, admin := "http://"+w.public, "http://"+w.admin
	look(api+"/v1/payments", w.key, "a", "POST", card(1999))                 // a replay
	look(api+"/v1/payments", w.key, "a", "POST", card(2999))                 // another body
	look(api+"/v1/payments", w.key+"x", "b", "POST", card(1999))             // a mistyped key
	look(api+"/v1/payments?key="+"4242424242424242", w.key, "c", "GET", nil) // a card number in the address
	look(api+"/v1/payments/4242424242424242", w.key, "d", "GET", nil)
	look(api+"/v1/payments", w.key, "4242 4242 4242 4242", "POST", card(1999))
	look(api+"/v1/account?key="+w.key, "", "", "GET", nil)
	look(api+"/return/pay_canaryreturntoken", "", "", "GET", nil)
	look(api+"/webhooks/stripe", "", "", "POST", object{"type": "charge.faked"}) // a forgery
	for _, path := range []string{"/config/", "/payments/accounts", "/payments/keys", "/payments/payments", "/payments/nothing"} {
		look(admin+path, "", "", "GET", nil)
	}
	look(admin+"/payments/reload", "", "", "POST", nil)
	stop(t)
	logs, err := os.ReadFile(filepath.Join(w.dir, "log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no logs to look at: %v", err)
	}
	seen.Write(logs)
	found := seen.String()
	for name, secret := range secrets {
		if strings.Contains(found, secret) {
			t.Errorf("%s was seen outside", name)
		}
	}
	if strings.Contains(found, w.key) {
		t.Error("the API key was seen outside")
	}
	for name, secret := range map[string]string{"the card number": "4242424242424242", "the spaced card number": "4242 4242", "the payer's token": "canaryreturntoken"} {
		if strings.Contains(found, secret) {
			t.Errorf("%s was seen outside", name)
		}
	}
	for _, want := range []string{`"handled request"`, `"request kept out of the access log"`, `"{file.stripe_key}"`, `"act":"keys.create"`, `"who":"address 127.0.0.1`} {
		if !strings.Contains(found, want) {
			t.Errorf("%s is nowhere to be seen: the test looks in the wrong place", want)
		}
	}
}

// TestParts holds which paths each directive answers; 299 is the next handler.
func TestParts(t *testing.T) {
	tests := map[string]map[string]int{
		"payments_gateway": {"/v1/account": 401, "/readyz": 200, "/webhooks/nobody": 404, "/": 404, "/v2": 404},
		"payments_api": {
			"/v1/account": 401, "/readyz": 200, "/healthz": 200, "/webhooks/nobody": 299, "/": 299,
			"/docsecret": 299, "/docs/private": 299, "/readyz-admin": 299,
		},
		"payments_webhooks": {"/v1/account": 299, "/readyz": 299, "/webhooks/nobody": 404, "/return/x": 404, "/": 299},
	}
	w := newWorld(t)
	for handler, paths := range tests {
		w.handler = handler
		if err := w.load(t); err != nil {
			t.Fatal(err)
		}
		// The reload ends connections that were kept, and a POST without a key is
		// not sent again.
		w.client.CloseIdleConnections()
		for path, want := range paths {
			method := "GET"
			if strings.HasPrefix(path, "/webhooks") {
				method = "POST"
			}
			status, body, _, err := w.call(method, path, "", nil)
			if err != nil || status != want {
				t.Errorf("%s: %s %s = %d %s %v, want %d", handler, method, path, status, body, err, want)
			}
		}
	}
}

// TestDoorsComeAndGo reloads a server to one with a door and back, at its address and at
// one that overlaps with it. That the address is taken is no reason to refuse it then.
func TestDoorsComeAndGo(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	_, port, err := net.SplitHostPort(w.public)
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct{ handler, listen string }{
		{"metrics", w.public},
		{"payments_gateway", w.public},
		{"metrics", w.public},
		{"payments_handover", w.public},
		{"payments_gateway", ":" + port},
		{"metrics", w.public},
		{"payments_gateway", "tcp4/:" + port},
		{"payments_gateway", w.public},
	} {
		config := w.site(t, func(server object) {
			server["listen"] = []string{step.listen}
			server["routes"] = []object{{"handle": []object{{"handler": step.handler}, {"handler": "static_response", "status_code": 299}}}}
		})
		if err := caddy.Load(config, true); err != nil {
			t.Errorf("step %d, %s at %s: %v", i, step.handler, step.listen, err)
		}
	}
}

// TestTakenAddress holds that a gateway does not start, and does not reload, where it
// would share an address with somebody else without a word.
func TestTakenAddress(t *testing.T) {
	w := newWorld(t)
	shareable := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
	}}
	ln, err := shareable.Listen(t.Context(), "tcp", w.public)
	if err != nil {
		t.Fatal(err)
	}
	want := "listen " + w.public + ": another process listens there"
	if err := w.load(t); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("start: %v, want %q", err, want)
	}
	ln.Close()
	w.start(t)
	other := freePort(t)
	if ln, err = shareable.Listen(t.Context(), "tcp", other); err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	err = caddy.Load(w.site(t, func(server object) { server["listen"] = []string{w.public, other} }), true)
	if want := "listen " + other + ": another process listens there"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("reload: %v, want %q", err, want)
	}
	w.pay(t, "after")
}

// TestDirectives holds that the directives take nothing, and stand where a site
// may answer before them.
func TestDirectives(t *testing.T) {
	const global = "{\npayments {\nstore sqlite a.db\npepper {env.A}\nseal_key {env.B}\n}\n}\n"
	tests := []struct{ name, site, want string }{
		{"argument", "payments_gateway now", "payments_gateway takes no argument \"now\", at Caddyfile:9"},
		{"option", "payments_gateway {\nfast\n}", "payments_gateway has no option \"fast\", at Caddyfile:10"},
		{"part that is not built", "payments_console", "payments_console"},
	}
	adapter := caddyconfig.GetAdapter("caddyfile")
	for _, tt := range tests {
		_, _, err := adapter.Adapt([]byte(global+":80 {\n"+tt.site+"\n}\n"), map[string]any{"filename": "Caddyfile"})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", tt.name, err, tt.want)
		}
	}
	got, _, err := adapter.Adapt([]byte(global+":80 {\npayments_gateway\nrespond /hello hi\n}\n"), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	if first, second := strings.Index(string(got), `"static_response"`), strings.Index(string(got), `"payments_gateway"`); first < 0 || second < first {
		t.Errorf("respond stands behind payments_gateway in %s", got)
	}
}

// TestWithoutApp holds that a site alone is refused.
func TestWithoutApp(t *testing.T) {
	w := newWorld(t)
	err := caddy.Load([]byte(`{"admin":{"disabled":true},"apps":{"http":{"servers":{"x":{"listen":["`+w.public+`"],"automatic_https":{"disable":true},"routes":[{"handle":[{"handler":"payments_gateway"}]}]}}}}}`), true)
	if err == nil || !strings.Contains(err.Error(), "needs the global option payments") {
		t.Errorf("load: %v, want an error that tells what is missing", err)
	}
}
