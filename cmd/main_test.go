package pursercmd

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asPurser makes the test binary run as purser itself.
const asPurser = "PURSER_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asPurser) != "" {
		Main("purser", "dev")
		return
	}
	os.Exit(m.Run())
}

// purser prepares a command of the real binary.
func purser(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Not the test's own context: that ends before the clean-ups, which want to
	// see the process end by itself.
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), self, args...)
	home := t.TempDir()
	cmd.Env = append(os.Environ(), asPurser+"=1", "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home)
	return cmd
}

// output runs a command to its end.
func output(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := purser(t, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// lines collects what a process prints, and tells when it prints a line.
type lines struct {
	text  bytes.Buffer
	ready chan struct{}
	done  bool
}

// Write is called by one goroutine of package exec.
func (l *lines) Write(b []byte) (int, error) {
	l.text.Write(b)
	if !l.done && strings.Contains("\n"+l.text.String(), "\nready\n") {
		l.done = true
		close(l.ready)
	}
	return len(b), nil
}

// dev is a running development gateway.
type dev struct {
	cmd    *exec.Cmd
	out    *lines
	errs   *bytes.Buffer
	dir    string
	info   devInfo
	client *http.Client
}

const patience = 30 * time.Second

// startDev runs `purser dev` on free ports until it says that it is ready.
func startDev(t *testing.T, dir string) *dev {
	t.Helper()
	d := &dev{
		dir: dir, cmd: purser(t, "dev", "--data", dir, "--listen", "127.0.0.1:0"),
		out: &lines{ready: make(chan struct{})}, errs: new(bytes.Buffer),
	}
	d.cmd.Stdout, d.cmd.Stderr = d.out, d.errs
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- d.cmd.Wait() }()
	t.Cleanup(func() { _ = d.cmd.Process.Kill() }) // it has ended already where the test went well
	select {
	case <-d.out.ready:
	case err := <-ended:
		t.Fatalf("purser dev ended: %v\n%s", err, d.errs)
	case <-time.After(patience):
		t.Fatal("purser dev is not ready")
	}
	t.Cleanup(func() { d.stop(t, ended) })
	b, err := os.ReadFile(filepath.Join(dir, "dev.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &d.info); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(d.info.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	d.client = &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
	}}
	return d
}

// stop interrupts the process, which must end by itself.
func (d *dev) stop(t *testing.T, ended <-chan error) {
	t.Helper()
	if d.client != nil {
		d.client.CloseIdleConnections()
	}
	began := time.Now()
	if err := d.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("purser dev ended with %v\n%s", err, d.errs)
		}
	case <-time.After(patience):
		t.Fatal("purser dev does not stop")
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the stop took %s, want at most 2 s", took)
	}
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// post makes a call of the API.
func (d *dev) post(t *testing.T, path, key, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.info.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+d.info.Key)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	resp, err := d.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, b}
}

// paid is what a test looks at in a payment or a refund.
type paid struct {
	ID, Status, Outcome string
	AmountCaptured      int64 `json:"amount_captured"`
	Error               *struct{ Code string }
	NextAction          *struct{ Type, Data string } `json:"next_action"`
}

// want checks an answer and reads it.
func (a answer) want(t *testing.T, status int, state string) paid {
	t.Helper()
	var p paid
	if err := json.Unmarshal(a.body, &p); err != nil || a.status != status || p.Status != state {
		t.Fatalf("%d %s (%v), want %d and %s", a.status, a.body, err, status, state)
	}
	return p
}

const cardBody = `{"amount":1999,"currency":"EUR","capture_method":"manual","payment_method":{"type":"card","card":{"number":"4242424242424242","exp_month":12,"exp_year":2034,"cvc":"123"}}}`

// TestDev walks the whole way twice: everything is there again after a restart.
func TestDev(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	var first answer
	var before devInfo
	t.Run("first start", func(t *testing.T) {
		d := startDev(t, dir)
		before = d.info
		first = d.post(t, "/v1/payments", "create", cardBody)
		p := first.want(t, 201, "requires_capture")
		captured := d.post(t, "/v1/payments/"+p.ID+"/capture", "capture", `{}`).want(t, 200, "succeeded")
		if captured.AmountCaptured != 1999 {
			t.Errorf("captured %d, want 1999", captured.AmountCaptured)
		}
		d.post(t, "/v1/refunds", "refund", `{"payment":"`+p.ID+`","amount":500}`).want(t, 201, "succeeded")
		d.replays(t, first)

		declined := d.post(t, "/v1/payments", "decline", strings.Replace(cardBody, "4242424242424242", "4000000000009995", 1)).want(t, 201, "failed")
		if declined.Error == nil || declined.Error.Code != "insufficient_funds" {
			t.Errorf("declined with %+v, want insufficient_funds", declined.Error)
		}
		d.post(t, "/v1/payments", "barcode",
			`{"amount":1000,"currency":"CNY","channel":"in_person","payment_method":{"type":"alipay","alipay":{"flow":"barcode","auth_code":"286666666666666666"}}}`).
			want(t, 201, "succeeded")
		qr := d.post(t, "/v1/payments", "qr", `{"amount":1000,"currency":"CNY","payment_method":{"type":"alipay","alipay":{"flow":"qr"}}}`).
			want(t, 201, "requires_action")
		if qr.NextAction == nil || qr.NextAction.Type != "display_qr_code" || qr.NextAction.Data == "" {
			t.Errorf("next_action %+v, want a QR code", qr.NextAction)
		}
		d.operators(t, p.ID)
		d.paste(t)
	})
	t.Run("second start", func(t *testing.T) {
		d := startDev(t, dir)
		if d.info.Key != before.Key || d.info.Merchant != before.Merchant {
			t.Errorf("key and merchant %s are new, want %s", d.info.Merchant, before.Merchant)
		}
		d.replays(t, first)
	})
	for name, want := range map[string]os.FileMode{"": 0o700, "dev.json": 0o600, "pepper": 0o600, "seal_key": 0o600, "ca.key": 0o600, "server.key": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%q has mode %v (%v), want %v", name, info.Mode().Perm(), err, want)
		}
	}
}

// replays holds that the first answer comes again, byte for byte.
func (d *dev) replays(t *testing.T, first answer) {
	t.Helper()
	again := d.post(t, "/v1/payments", "create", cardBody)
	if again.status != first.status || !bytes.Equal(again.body, first.body) || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("replay: %d %v\n%s\nwant %d\n%s", again.status, again.header, again.body, first.status, first.body)
	}
}

// operators runs the commands that talk to the admin endpoint.
func (d *dev) operators(t *testing.T, id string) {
	t.Helper()
	tests := []struct {
		args []string
		want string
		code int
	}{
		{[]string{"merchants", "list"}, d.info.Merchant, 0},
		{[]string{"merchants", "create", "--name", "Shop", "--json"}, `"name":"Shop"`, 0},
		{[]string{"keys", "create", "--merchant", d.info.Merchant, "--mode", "test", "--json"}, `"signing":null`, 0},
		{[]string{"keys", "list"}, "Development", 0},
		{[]string{"payments", "get", id}, id, 0},
		{[]string{"payments", "list", "--status", "succeeded"}, id, 0},
		{[]string{"payments", "list", "--outcome", "unknown", "--json"}, `"data":[]`, 0},
		{[]string{"payments", "sync", id, "--json"}, id, 0},
		{[]string{"accounts", "disable", "alipay"}, "disabled", 0},
		{[]string{"accounts", "enable", "alipay"}, "enabled", 0},
		{[]string{"accounts", "disable", "nobody"}, `there is no account "nobody"`, 1},
		{[]string{"payments", "list", "--outcome", "sunny"}, `there is no outcome "sunny"`, 1},
		{[]string{"payments", "resolve", id, "--as", "failed"}, "--as and --reason are needed", 2},
		{[]string{"payments", "resolve", id, "--as", "failed", "--reason", "x"}, "invalid_state", 1},
		{[]string{"keys", "create", "--merchant", d.info.Merchant, "--mode", "test", "--rate-limit", "100/1s", "--rate-limit", "900/1m", "--json"}, `"rate_limits":["100/1s","900/1m"]`, 0},
		{[]string{"keys", "create", "--merchant", d.info.Merchant, "--mode", "test", "--rate-limit", "1/1ms"}, "whole seconds", 1},
		{[]string{"keys", "create", "--merchant", d.info.Merchant, "--mode", "test", "--allow-ip", "10.0.0.0/8", "--allow-ip", "2001:db8::1", "--json"}, `"allow_ip":["10.0.0.0/8","2001:db8::1/128"]`, 0},
		{[]string{"keys", "create", "--merchant", d.info.Merchant, "--mode", "test", "--signing", "hmac-sha256", "--json"}, `"algorithm":"hmac-sha256","secret":"pss_`, 0},
		{[]string{"keys", "create", "--merchant", d.info.Merchant, "--mode", "test", "--signing", "hmac-sha256"}, "secret:   pss_", 0},
		{[]string{"keys", "list"}, "10.0.0.0/8 2001:db8::1/128", 0},
		{[]string{"keys", "create", "--merchant", d.info.Merchant, "--mode", "test", "--scopes", "fly"}, `no scope "fly"`, 1},
		{[]string{"keys", "revoke", "key_00000000000000000000000000"}, "not found", 1},
		{[]string{"tokens", "list", "--json"}, `"data":[]`, 0},
		{[]string{"tokens", "revoke", "--issuer", "https://idp.example", "--jti", "x"}, `no jwt "https://idp.example" is configured`, 1},
		{[]string{"tokens", "revoke", "--issuer", "https://idp.example"}, "one of --jti", 2},
		{[]string{"tokens", "revoke", "--issuer", "https://idp.example", "--jti", "x", "--all"}, "one of --jti", 2},
		{[]string{"tokens", "revoke", "--subject", "x"}, "--issuer is needed", 2},
	}
	for _, tt := range tests {
		out, errs, code := output(t, append(tt.args, "--address", d.info.Admin)...)
		got := out
		if tt.code != 0 {
			got = errs
			if strings.Count(strings.TrimSpace(errs), "\n") > 0 {
				t.Errorf("purser %s: the error has more than one line: %s", strings.Join(tt.args, " "), errs)
			}
		}
		if code != tt.code || !strings.Contains(got, tt.want) {
			t.Errorf("purser %s: %d %s%s, want %d and %s", strings.Join(tt.args, " "), code, out, errs, tt.code, tt.want)
		}
	}
}

// paste runs the printed lines in a shell, as a reader of them would.
func (d *dev) paste(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Logf("the printed lines are not tried: no %s", tool)
			return
		}
	}
	_, script, _ := strings.Cut(d.out.text.String(), "\n\n# ")
	script, _, _ = strings.Cut("# "+script, "\nready\n")
	out, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput()
	if err != nil {
		t.Errorf("the printed lines: %v\n%s", err, out)
	}
	for _, want := range []string{
		`"status":"requires_capture"`, `"status":"succeeded"`, `"object":"refund"`, "idempotent-replayed: true",
		`"code":"insufficient_funds"`, `"display_qr_code"`, `"flow":"barcode"`,
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the printed lines do not show %s:\n%s", want, out)
		}
	}
	if strings.Contains(string(out), `"type":"https:`) {
		t.Errorf("one of the printed lines is refused:\n%s", out)
	}
}

func TestRefusedCommands(t *testing.T) {
	for _, name := range refused {
		out, errs, code := output(t, name)
		if code != 1 || !strings.Contains(errs, "refused") || out != "" {
			t.Errorf("purser %s: %d %q %q, want 1 and a refusal", name, code, out, errs)
		}
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, ""},
		{[]string{"upgrade"}, "upgrade"},
		{[]string{"--help", "upgrade"}, "upgrade"},
		{[]string{"run", "upgrade"}, "run"},
	} {
		if got := commandOf(tt.args); got != tt.want {
			t.Errorf("commandOf(%q) = %q, want %q", tt.args, got, tt.want)
		}
	}
}

// TestModules holds what is linked, and that nothing else of Caddy's is.
func TestModules(t *testing.T) {
	out, errs, code := output(t, "list-modules")
	if code != 0 {
		t.Fatalf("list-modules: %d %s", code, errs)
	}
	have := "\n" + out
	for _, want := range []string{
		"payments", "admin.api.payments", "http.handlers.payments_gateway", "http.handlers.payments_api", "http.handlers.payments_webhooks",
		"http.handlers.payments_auth", "http.handlers.payments_rate_limit", "http.handlers.payments_signature", "http.handlers.payments_proxy",
		"http.handlers.payments_problem", "tls.client_auth.verifier.payments",
		"payments.connectors.stripe", "payments.connectors.alipay", "http.handlers.reverse_proxy", "http.handlers.tracing", "payments.audit", "tls.issuance.acme", "tls.issuance.internal",
	} {
		if !strings.Contains(have, "\n"+want+"\n") {
			t.Errorf("%s is not linked", want)
		}
	}
	for _, refused := range []string{"http.handlers.file_server", "http.handlers.templates", "http.handlers.acme_server"} {
		if strings.Contains(have, "\n"+refused+"\n") {
			t.Errorf("%s is linked", refused)
		}
	}
}

// TestCaddyfiles holds that the examples are valid. They are looked at in a
// folder of their own, with secrets of their own.
func TestCaddyfiles(t *testing.T) {
	dir := t.TempDir()
	data, err := openDevData(dir, []string{"localhost"}, time.Now()) // for its keys of Alipay and its certificate
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"pepper", "seal_key", "stripe_secret_key", "stripe_webhook_secret"} {
		write(name, "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY=\n")
	}
	// The policies are the repository's own, where a copy is expected beside.
	policies, err := filepath.Abs("../policies")
	if err != nil {
		t.Fatal(err)
	}
	write("database_url", "postgres://purser@127.0.0.1:1/purser\n")
	write("redis_url", "redis://127.0.0.1:1/0\n")
	for from, to := range map[string]string{
		fileAlipayPSPPub: "alipay_public_key.pem", "server.crt": "node.crt", "server.key": "node.key", "ca.crt": "nodes_ca.pem",
	} {
		if err := os.Rename(data.path(from), filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	var paths []string
	for _, pattern := range []string{"../caddyfile/*", "../deploy/*.caddyfile"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, found...)
	}
	if len(paths) < 6 {
		t.Errorf("there are %v, want at least 6 files", paths)
	}
	for _, path := range paths {
		t.Run(strings.TrimPrefix(path, "../"), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name := strings.ReplaceAll(strings.TrimPrefix(path, "../"), "/", "_")
			write(name, strings.NewReplacer("/run/secrets/", dir+"/", "/var/lib/purser", dir, "/run/purser", dir, "policies ../policies", "policies "+policies).Replace(string(b)))
			file := filepath.Join(dir, name)
			for _, args := range [][]string{{"validate", "--adapter", "caddyfile", "--config", file}, {"fmt", file}} {
				cmd := purser(t, args...)
				cmd.Env = append(cmd.Env, "STRIPE_SECRET_KEY=sk_test_x", "STRIPE_WEBHOOK_SECRET=whsec_x",
					"PURSER_MERCHANTS=mer_00000000000000000000000000", "PURSER_HOST=pay.example.com", "ALIPAY_APP_ID=2021000000000001",
					"PURSER_PRIVATE_ADDRESS=127.0.0.1", "PURSER_BALANCERS=10.0.0.1 10.0.0.2", "PURSER_NODES=10.0.0.11:8443 10.0.0.12:8443")
				out, err := cmd.CombinedOutput()
				if err != nil && (args[0] == "validate" || len(out) == 0) {
					t.Errorf("purser %s: %v\n%s", args[0], err, out)
				}
				if args[0] == "fmt" && err != nil {
					t.Errorf("%s is not formatted: %v", name, err)
				}
			}
			if _, err := os.Stat(filepath.Join(dir, "purser.db")); err == nil {
				t.Error("validate made a database")
			}
		})
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{
		"/a/ca.crt": "/a/ca.crt", "/a b/ca.crt": "'/a b/ca.crt'", "it's": `'it'\''s'`, "$HOME": "'$HOME'",
	} {
		if got := shellQuote(in); got != want {
			t.Errorf("shellQuote(%q) = %s, want %s", in, got, want)
		}
	}
}

// TestCertificates holds what is renewed and what is kept.
func TestCertificates(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	issue := func(hosts []string, now time.Time) (ca, server string) {
		t.Helper()
		a, err := openAuthority(dir, now)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.server(dir, hosts, now); err != nil {
			t.Fatal(err)
		}
		return read("ca.crt"), read("server.crt")
	}
	ca, server := issue(hosts, now)
	tests := []struct {
		name               string
		hosts              []string
		now                time.Time
		sameCA, sameServer bool
	}{
		{"again", hosts, now, true, true},
		{"near the server's end", hosts, now.Add(serverLife - renewAhead + time.Hour), true, false},
		{"another host", append(hosts, "pay.internal"), now, true, false},
		{"near the authority's end", hosts, now.Add(caLife - serverLife + time.Hour), false, false},
	}
	for _, tt := range tests {
		gotCA, gotServer := issue(tt.hosts, tt.now)
		if (gotCA == ca) != tt.sameCA || (gotServer == server) != tt.sameServer {
			t.Errorf("%s: CA kept %v, server kept %v, want %v, %v", tt.name, gotCA == ca, gotServer == server, tt.sameCA, tt.sameServer)
		}
		ca, server = gotCA, gotServer
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ca))
	for _, h := range hosts {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: h, CurrentTime: tests[3].now}); err != nil {
			t.Errorf("the certificate is not good for %s: %v", h, err)
		}
	}
}
