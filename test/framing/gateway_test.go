// Package framing speaks HTTP to the real binary as no client library would:
// over raw connections, broken, late, too much, and in two ways at once.
package framing

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-pay/purser/test/deployment"
)

const (
	// patience is what the gateway has to react, on a machine that has other work.
	patience = 20 * time.Second
	// readTimeout is that of the configuration below, for the head and the whole of
	// a request. The site named default has none of its own.
	readTimeout = 3 * time.Second
)

// gateway is the binary, with one site over plain HTTP, one over TLS, and one that
// has a single door.
type gateway struct {
	cmd                   *exec.Cmd
	dir, admin            string
	plain, secure, single string // host:port
	key                   string
	// canceled is a payment that ended, by a call with the key canceledKey.
	canceled string
	client   *http.Client
}

const canceledKey = "framing-canceled"

// config is the Caddyfile. Its catch-all sites and handle_errors are those of the
// shipped configurations.
const config = `{
	admin ADMIN
	auto_https disable_redirects
	skip_install_trust
	persist_config off
	storage file_system caddy
	grace_period 1s
	servers {
		protocols h1 h2
		timeouts {
			read_header TIMEOUT
			read_body TIMEOUT
			idle TIMEOUT
		}
		max_header_size 16kb
	}
	payments {
		store sqlite purser.db
		pepper {file.pepper}
		seal_key {file.seal_key}
		account stripe stripe {
			mode test
			merchants *
			base_url http://127.0.0.1:9/stripe
			timeout 1s
			secret_key {file.stripe_secret_key}
			webhook_secret {file.stripe_webhook_secret}
		}
	}
}
(answers) {
	bind 127.0.0.1
	handle_errors {
		payments_problem
	}
}
http://PLAIN {
	import answers
	respond /operators-own 200
	error /broken "a secret of the operator's" 502
	error /teapot 418
	payments_gateway
}
http://:PLAINPORT {
	import answers
	payments_problem 421
}
https://SECURE {
	import answers
	tls internal
	payments_gateway
}
https://:SECUREPORT {
	import answers
	payments_problem 421
}
http://SINGLE {
	bind 127.0.0.1
	error /broken "a secret of the operator's" 503
	payments_api
	payments_problem
}
`

var shared *gateway

// TestMain ends the gateway that the tests share. They wait for it more than they
// work, so that many run at once.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "32"); err != nil {
		panic(err) // there is such a flag
	}
	code := m.Run()
	if shared != nil {
		_ = shared.cmd.Process.Kill()
		_ = shared.cmd.Wait() // how a killed process ended is known
		_ = os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// open returns the gateway, which the first test starts.
func open(t *testing.T) *gateway {
	t.Helper()
	if testing.Short() {
		t.Skip("it builds the binary")
	}
	if shared == nil {
		g, err := start()
		if err != nil {
			t.Fatal(err)
		}
		shared = g
	}
	return shared
}

func start() (*gateway, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "framing")
	if err != nil {
		return nil, err
	}
	binary, err := deployment.Build(ctx, dir, false)
	if err != nil {
		return nil, err
	}
	g := &gateway{dir: dir}
	for _, at := range []*string{&g.admin, &g.plain, &g.secure, &g.single} {
		port, err := deployment.FreePort(ctx)
		if err != nil {
			return nil, err
		}
		*at = "127.0.0.1:" + port
	}
	g.secure = strings.Replace(g.secure, "127.0.0.1", "localhost", 1)
	if err := g.write(); err != nil {
		return nil, err
	}
	g.cmd = exec.Command(binary, "run", "--config", filepath.Join(dir, "Caddyfile"))
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	g.cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	g.cmd.Stdout, g.cmd.Stderr, g.cmd.Dir = log, log, dir
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	g.client = &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true, ForceAttemptHTTP2: false,
		// The certificate is Caddy's own, and the server our own.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	if err := g.prepare(ctx, binary); err != nil {
		text, _ := os.ReadFile(filepath.Join(dir, "log"))
		_ = g.cmd.Process.Kill()
		return nil, fmt.Errorf("%w\n%s", err, text)
	}
	return g, nil
}

func (g *gateway) write() error {
	secret := func() string {
		b := make([]byte, 32)
		_, _ = rand.Read(b) // it never fails
		return base64.StdEncoding.EncodeToString(b)
	}
	text := strings.NewReplacer(
		"ADMIN", g.admin, "TIMEOUT", readTimeout.String(), "SINGLE", g.single,
		"PLAINPORT", port(g.plain), "SECUREPORT", port(g.secure), "PLAIN", g.plain, "SECURE", g.secure,
	).Replace(config)
	var errs []error
	for name, value := range map[string]string{
		"Caddyfile": text, "pepper": secret(), "seal_key": secret(), "stripe_secret_key": "sk_test_framing", "stripe_webhook_secret": "whsec_framing",
	} {
		errs = append(errs, os.WriteFile(filepath.Join(g.dir, name), []byte(value), 0o600))
	}
	return errors.Join(errs...)
}

func port(at string) string {
	_, p, _ := net.SplitHostPort(at)
	return p
}

// prepare waits for the gateway, and makes a key and a payment.
func (g *gateway) prepare(ctx context.Context, binary string) error {
	for _, url := range []string{"http://" + g.plain, "https://" + g.secure, "http://" + g.single} {
		if err := g.ready(ctx, url+"/readyz"); err != nil {
			return err
		}
	}
	var merchant, key struct{ ID, Key string }
	for _, step := range []struct {
		answer any
		args   func() []string
	}{
		{&merchant, func() []string { return []string{"merchants", "create", "--name", "Framing"} }},
		{&key, func() []string { return []string{"keys", "create", "--merchant", merchant.ID, "--mode", "test"} }},
	} {
		cmd := exec.CommandContext(ctx, binary, append(step.args(), "--json", "--address", g.admin)...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%v: %w\n%s", step.args(), err, errs.String())
		}
		if err := json.Unmarshal(out.Bytes(), step.answer); err != nil {
			return fmt.Errorf("%v: %w in %s", step.args(), err, out.String())
		}
	}
	g.key = key.Key
	var payment struct{ ID string }
	if _, err := g.call(http.MethodPost, "/v1/payments", "framing-create", `{"amount":100,"currency":"EUR","confirm":false}`, &payment); err != nil {
		return err
	}
	g.canceled = payment.ID
	_, err := g.call(http.MethodPost, "/v1/payments/"+payment.ID+"/cancel", canceledKey, "{}", nil)
	return err
}

func (g *gateway) ready(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, deployment.Patience)
	defer cancel()
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := g.client.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", url, errors.Join(ctx.Err(), err))
		}
	}
}

// call makes an ordinary call of the API, which must succeed.
func (g *gateway) call(method, path, idempotency, body string, v any) (http.Header, error) {
	req, err := http.NewRequest(method, "http://"+g.plain+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+g.key)
	if idempotency != "" {
		req.Header.Set("Idempotency-Key", idempotency)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, b)
	}
	if v == nil {
		return resp.Header, nil
	}
	return resp.Header, json.Unmarshal(b, v)
}

var keys atomic.Int64

// freshKey is an Idempotency-Key that no test has used, also where tests run twice.
func freshKey() string { return "fresh-" + strconv.FormatInt(keys.Add(1), 10) }

// payments is how many there are.
func (g *gateway) payments(t *testing.T) int {
	t.Helper()
	n, cursor := 0, ""
	for {
		var page struct {
			Data []json.RawMessage
			Next string `json:"next_cursor"`
		}
		if _, err := g.call(http.MethodGet, "/v1/payments?limit=100"+cursor, "", "", &page); err != nil {
			t.Fatal(err)
		}
		n += len(page.Data)
		if page.Next == "" {
			return n
		}
		cursor = "&cursor=" + page.Next
	}
}

// connect opens a connection, over TLS with the protocol alpn unless that is "".
func (g *gateway) connect(t *testing.T, alpn string) net.Conn {
	t.Helper()
	address := g.plain
	if alpn != "" {
		address = "127.0.0.1:" + port(g.secure)
	}
	return dial(t, address, alpn)
}

func dial(t *testing.T, address, alpn string) net.Conn {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if alpn != "" {
		s := tls.Client(c, &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, NextProtos: []string{alpn}})
		if err := s.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		c = s
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// answer is one response.
type answer struct {
	*http.Response
	body []byte
}

// next reads an answer, and skips the interim ones; nil at the connection's end.
func next(t *testing.T, br *bufio.Reader, method string) *answer {
	t.Helper()
	for {
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if ended(err) {
			return nil
		}
		if err != nil {
			t.Fatalf("read an answer: %v", err)
		}
		if resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil && !ended(err) {
			t.Fatalf("read an answer's body: %v", err)
		}
		return &answer{resp, b}
	}
}

// ended tells an end of a connection from what must not be, such as a time-out of
// ours.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		err != nil && (strings.Contains(err.Error(), "connection reset") || strings.Contains(err.Error(), "broken pipe"))
}

// closed tells whether the connection has ended, without an answer more.
func closed(t *testing.T, br *bufio.Reader) bool {
	t.Helper()
	_, err := br.ReadByte()
	if err != nil && !ended(err) {
		t.Fatalf("wait for the end of the connection: %v", err)
	}
	return err != nil
}

// ask sends a text and returns the one answer.
func ask(t *testing.T, c net.Conn, text string) *answer {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil && !ended(err) {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(text, " ")
	return next(t, bufio.NewReader(c), method)
}

// request writes a request of HTTP/1.1 for the host, with a key, and a
// Content-Length where there is a body.
func (g *gateway) request(host, method, target, body string, fields ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n", method, target, host, g.key)
	for _, f := range fields {
		b.WriteString(f + "\r\n")
	}
	if body != "" {
		b.WriteString("Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n")
	}
	return b.String() + "\r\n" + body
}
