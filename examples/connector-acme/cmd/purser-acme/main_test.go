package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/simulator/books"

	"example.com/purser-acme/acmesim"
)

// patience bounds every wait of these tests.
const patience = 60 * time.Second

// gateway is the built binary at work, with a simulated Acme behind it.
type gateway struct {
	t          *testing.T
	binary     string
	dir        string
	url, admin string
	key        string // of a merchant
	acme       *books.Books
	ended      chan struct{} // closed when the process has ended
	log        bytes.Buffer  // of the process; read it once that has ended
}

// build makes the binary as anybody would.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "purser-acme")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// start writes a configuration, runs the binary on it, and makes a merchant with
// a key by the operators' commands.
func start(t *testing.T) *gateway {
	t.Helper()
	public, admin := freeAddresses(t)
	g := &gateway{t: t, binary: build(t), dir: t.TempDir(), url: "http://" + public, admin: admin}
	g.acme = books.New(books.Config{Now: time.Now, Client: &http.Client{Timeout: patience}})
	server := httptest.NewServer(acmesim.New(g.acme))
	t.Cleanup(func() {
		g.acme.Close()
		server.Close()
	})
	const secret = "whsec_of_this_test_alone"
	if _, err := g.acme.Webhooks.Register(books.Endpoint{Connector: acmesim.Connector, URL: g.url + "/webhooks/acme", Secret: secret}); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"pepper":         "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY=",
		"seal_key":       "ZmVkY2JhenlydXZ0c3JxcG9ubWxramloZ2ZlZGNiYWE=",
		"webhook_secret": secret,
		"Caddyfile":      strings.NewReplacer("<admin>", g.admin, "<public>", g.url, "<acme>", server.URL).Replace(caddyfile),
	} {
		if err := os.WriteFile(filepath.Join(g.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g.run()
	var merchant struct{ ID string }
	g.command(&merchant, "merchants", "create", "--name", "Shop")
	var key struct{ Key string }
	g.command(&key, "keys", "create", "--merchant", merchant.ID, "--mode", "test")
	g.key = key.Key
	return g
}

const caddyfile = `{
	admin <admin>
	auto_https off
	payments {
		store sqlite purser.db
		pepper {file.pepper}
		seal_key {file.seal_key}
		account acme acme {
			mode test
			base_url <acme>
			timeout 5s
			not_found_after 1s
			api_key {env.ACME_API_KEY}
			webhook_secret {file.webhook_secret}
			shop berlin
		}
	}
}
<public> {
	bind 127.0.0.1
	payments_gateway
}
`

// freeAddresses are two addresses that nobody listens at. Both are held until both
// are known, or the system might give the same one twice.
func freeAddresses(t *testing.T) (string, string) {
	t.Helper()
	var addr [2]string
	for i := range addr {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addr[i] = l.Addr().String()
	}
	return addr[0], addr[1]
}

// exec prepares a command of the binary. It outlives the test's own context, so
// that the clean-up sees the process end by itself.
func (g *gateway) exec(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.WithoutCancel(g.t.Context()), g.binary, args...)
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), "HOME="+g.dir, "XDG_CONFIG_HOME="+g.dir, "XDG_DATA_HOME="+g.dir, "ACME_API_KEY=ak_test_1")
	return cmd
}

// run serves until the test is over.
func (g *gateway) run() {
	g.t.Helper()
	cmd := g.exec("run", "--config", "Caddyfile")
	cmd.Stdout, cmd.Stderr = &g.log, &g.log
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.ended = make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(g.ended)
	}()
	g.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-g.ended:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-g.ended
			g.t.Error("the gateway does not stop")
		}
		if g.t.Failed() {
			g.t.Logf("the gateway's log:\n%s", &g.log)
		}
	})
	g.until("the gateway is ready", func() bool {
		status, _ := g.call(http.MethodGet, "/readyz", "", "")
		return status == http.StatusOK
	})
}

// until asks until it is so.
func (g *gateway) until(what string, so func() bool) {
	g.t.Helper()
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for over := time.After(patience); !so(); {
		select {
		case <-pause.C:
		case <-g.ended:
			g.t.Fatalf("the gateway has ended before this: %s", what)
		case <-over:
			g.t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// command runs an operator's command, and reads what it prints.
func (g *gateway) command(out any, args ...string) {
	g.t.Helper()
	cmd := g.exec(append(args, "--json", "--address", g.admin)...)
	b, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(b, out)
	}
	if err != nil {
		g.t.Fatalf("purser-acme %s: %v\n%s", strings.Join(args, " "), err, b)
	}
}

// call makes one call of the gateway; 0 = nobody answers.
func (g *gateway) call(method, path, key, body string) (int, []byte) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), method, g.url+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+g.key)
	if key != "" {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return resp.StatusCode, b
}

// object is what these tests look at in a payment or a refund.
type object struct {
	ID, Status, Outcome string
	AmountCaptured      int64 `json:"amount_captured"`
	AmountRefunded      int64 `json:"amount_refunded"`
	Error               *struct{ Code string }
}

// post makes a call that must end well.
func (g *gateway) post(path, key, body string) (o object) {
	g.t.Helper()
	status, b := g.call(http.MethodPost, path, key, body)
	if err := json.Unmarshal(b, &o); err != nil || status/100 != 2 {
		g.t.Fatalf("POST %s: %d %s (%v)", path, status, b, err)
	}
	return o
}

func (g *gateway) payment(id string) (o object) {
	g.t.Helper()
	status, b := g.call(http.MethodGet, "/v1/payments/"+id, "", "")
	if err := json.Unmarshal(b, &o); err != nil || status != http.StatusOK {
		g.t.Fatalf("GET payment: %d %s (%v)", status, b, err)
	}
	return o
}

// card is a payment of 19.99 EUR with a published test number.
func card(number string) string {
	return fmt.Sprintf(`{"amount":1999,"currency":"EUR","capture_method":"manual","payment_method":`+
		`{"type":"card","card":{"number":%q,"exp_month":12,"exp_year":2034,"cvc":"123"}}}`, number)
}

// acted is how often Acme executed an operation in all.
func (g *gateway) acted(operation string) (received, executed int64) {
	for _, tally := range g.acme.Counts(acmesim.Connector, "") {
		received += tally.Requests[operation].Received
		executed += tally.Requests[operation].Executed
	}
	return received, executed
}

// TestGateway builds the binary, and walks the whole way with it.
func TestGateway(t *testing.T) {
	g := start(t)
	t.Run("commands", func(t *testing.T) {
		for line, want := range map[string]string{
			"list-modules":   "payments.connectors.acme\n",
			"connector list": "acme ",
			"version":        "dev",
		} {
			out, err := g.exec(strings.Fields(line)...).Output()
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("purser-acme %s: %v\n%s\nwant %s", line, err, out, want)
			}
		}
	})
	t.Run("pay, capture, refund", func(t *testing.T) {
		p := g.post("/v1/payments", "create", card("4242424242424242"))
		if p.Status != "requires_capture" {
			t.Fatalf("created: %+v, want requires_capture", p)
		}
		p = g.post("/v1/payments/"+p.ID+"/capture", "capture", `{}`)
		if p.Status != "succeeded" || p.AmountCaptured != 1999 {
			t.Fatalf("captured: %+v, want 1999", p)
		}
		if re := g.post("/v1/refunds", "refund", `{"payment":"`+p.ID+`","amount":500}`); re.Status != "succeeded" {
			t.Errorf("refund: %+v, want succeeded", re)
		}
		if p = g.payment(p.ID); p.AmountRefunded != 500 {
			t.Errorf("refunded: %+v, want 500", p)
		}
	})
	t.Run("void, decline", func(t *testing.T) {
		p := g.post("/v1/payments", "void", card("4242424242424242"))
		if p = g.post("/v1/payments/"+p.ID+"/cancel", "cancel", `{}`); p.Status != "canceled" {
			t.Errorf("canceled: %+v", p)
		}
		p = g.post("/v1/payments", "decline", card("4000000000009995"))
		if p.Status != "failed" || p.Error == nil || p.Error.Code != "insufficient_funds" {
			t.Errorf("declined: %+v, want insufficient_funds", p)
		}
	})
	g.lose(t)
	g.until("a webhook of Acme's is delivered", func() bool { return g.acme.Webhooks.Stats().Delivered > 0 })
}

// lose loses all that Acme answers to an authorization, once before it acted and
// once after. A card number is never stored, so that the request cannot be made
// again: the query tells what became of it, or the webhook where that is earlier.
func (g *gateway) lose(t *testing.T) {
	t.Helper()
	for _, tt := range []struct {
		fault   books.FaultKind
		webhook bool
		acted   int64
		status  string
	}{
		{books.ResetBefore, false, 0, "failed"},
		{books.ResetAfter, false, 1, "requires_capture"},
		{books.E500After, false, 1, "requires_capture"},
		{books.BadJSON, false, 1, "requires_capture"},
		{books.ResetAfter, true, 1, "requires_capture"},
	} {
		name := fmt.Sprintf("lost_%s_webhook_%t", tt.fault, tt.webhook)
		t.Run(name, func(t *testing.T) {
			outer := g.t
			g.t = t
			defer func() { g.t = outer }()
			g.fault(tt.fault)
			if !tt.webhook {
				g.fault(books.WebhookNever)
			}
			_, before := g.acted("authorize")
			asked, _ := g.acted("sync")
			p := g.post("/v1/payments", name, card("4242424242424242"))
			g.acme.Faults.Clear()
			if !tt.webhook && (p.Status != "processing" || p.Outcome != "unknown") {
				t.Errorf("created: %+v, want processing and unknown", p)
			}
			g.until("it is known", func() bool {
				p = g.payment(p.ID)
				return p.Outcome == "known"
			})
			if p.Status != tt.status {
				t.Errorf("it ended as %+v, want %s", p, tt.status)
			}
			if _, after := g.acted("authorize"); after-before != tt.acted {
				t.Errorf("Acme acted %d times, want %d", after-before, tt.acted)
			}
			if now, _ := g.acted("sync"); !tt.webhook && now == asked {
				t.Error("nobody asked Acme")
			}
		})
	}
}

// fault strikes every authorization from now on, or the webhooks of those.
func (g *gateway) fault(kind books.FaultKind) {
	g.t.Helper()
	if err := g.acme.Faults.Add(books.Fault{Operation: "authorize", Kind: kind, Times: 100}); err != nil {
		g.t.Fatal(err)
	}
}
