package edge_test

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/caddyserver/caddy/v2"
)

// rawClient asks on one connection, and never asks for anything twice.
type rawClient struct {
	address string
	path    string // "" = /healthz
	conn    net.Conn
	answers *bufio.Reader
}

// ask sends a request, on a new connection where there is none, and tells whether
// the new configuration answered, and whether the connection ends with that.
func (c *rawClient) ask() (isNew, ends bool, err error) {
	if c.conn == nil {
		if c.conn, err = net.Dial("tcp", c.address); err != nil {
			return false, false, err
		}
		c.answers = bufio.NewReader(c.conn)
	}
	c.conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c.conn, "GET "+cmp.Or(c.path, "/healthz")+" HTTP/1.1\r\nHost: "+c.address+"\r\n\r\n"); err != nil {
		return false, false, err
	}
	resp, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return false, false, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return false, false, fmt.Errorf("%s %w", resp.Status, err)
	}
	if resp.Close {
		c.end()
	}
	return resp.Header.Get("X-Generation") == "1", resp.Close, nil
}

func (c *rawClient) end() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// marked is a configuration whose answers say that they are of the new one.
func (w *world) marked(t *testing.T) []byte {
	t.Helper()
	return []byte(strings.Replace(string(w.config(t)), `"routes":[`, `"routes":[{"handle":[{"handler":"headers","response":{"set":{"X-Generation":["1"]}}}]},`, 1))
}

// TestHandover reloads, and looks at both servers while the old one makes way: it gets
// no connection any more, and ends each that it has with an answer.
func TestHandover(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	before := rawClient{address: w.public}
	defer before.end()
	if isNew, ends, err := before.ask(); isNew || ends || err != nil {
		t.Fatalf("before the reload: new %t, ends %t, %v", isNew, ends, err)
	}
	loaded := make(chan error, 1)
	config := w.marked(t)
	go func() { loaded <- caddy.Load(config, true) }()

	for { // until new connections are the new server's
		c := rawClient{address: w.public}
		isNew, ends, err := c.ask()
		c.end()
		if err != nil || isNew && ends {
			t.Fatalf("a new connection: new %t, ends %t, %v", isNew, ends, err)
		}
		if isNew {
			break // what the old server had just accepted it has answered by now
		}
	}
	if isNew, ends, err := before.ask(); isNew || !ends || err != nil {
		t.Errorf("a connection from before, in the handover: new %t, ends %t, %v; want the old server to end it", isNew, ends, err)
	}
	for running := true; running; {
		c := rawClient{address: w.public}
		isNew, ends, err := c.ask()
		c.end()
		if !isNew || ends || err != nil {
			t.Fatalf("a new connection in the handover: new %t, ends %t, %v", isNew, ends, err)
		}
		select {
		case err := <-loaded:
			if running = false; err != nil {
				t.Fatal(err)
			}
		default:
		}
	}
	if isNew, ends, err := before.ask(); !isNew || ends || err != nil {
		t.Errorf("after the reload: new %t, ends %t, %v", isNew, ends, err)
	}
}

// asBalancer is a configuration without the payments app, whose site has a handover.
func (w *world) asBalancer(t testing.TB) []byte {
	t.Helper()
	var config object
	if err := json.Unmarshal(w.config(t), &config); err != nil {
		t.Fatal(err)
	}
	apps := config["apps"].(object)
	delete(apps, "payments")
	apps["http"].(object)["servers"].(object)["test"].(object)["routes"] = []object{
		{"handle": []object{{"handler": "payments_handover"}, {"handler": "static_response", "status_code": 200, "body": "ok"}}},
	}
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestReloadDropsNothing reloads ten times under clients that repeat nothing: those
// that keep a connection until they are told that it ends, and those that open one
// for each request.
func TestReloadDropsNothing(t *testing.T) {
	for name, config := range map[string]func(*world, testing.TB) []byte{"gateway": (*world).config, "balancer": (*world).asBalancer} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			reloadUnderLoad(t, func() error { return caddy.Load(config(w, t), true) }, func(ctx context.Context, n int, asked func(error)) {
				c := rawClient{address: w.public}
				defer c.end()
				for ctx.Err() == nil {
					if n%2 == 0 {
						c.end()
					}
					_, _, err := c.ask()
					if asked(err); err != nil {
						c.end()
					}
				}
			})
		})
	}
}

// reloadUnderLoad loads a configuration once, and ten times more while four clients
// ask, who must all be answered each time.
func reloadUnderLoad(t *testing.T, load func() error, client func(ctx context.Context, n int, asked func(error))) {
	t.Helper()
	if err := load(); err != nil {
		t.Fatal(err)
	}
	ctx, enough := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var total, lost atomic.Int64
	defer clients.Wait()
	defer enough()
	for n := range 4 {
		clients.Go(func() {
			client(ctx, n, func(err error) {
				if total.Add(1); err != nil && lost.Add(1) < 5 {
					t.Errorf("client %d: %v", n, err)
				}
			})
		})
	}
	for i := range 10 {
		until := total.Load() + 100
		if err := load(); err != nil {
			t.Fatalf("reload %d: %v", i, err)
		}
		for total.Load() < until {
			time.Sleep(time.Millisecond) // the clients' requests
		}
	}
	enough()
	clients.Wait()
	t.Logf("%d requests over ten reloads, %d lost", total.Load(), lost.Load())
}

// TestReloadDropsNothingOfHTTP2 does the same over HTTP/2 and TLS. The old server says
// on each connection which requests are the last that it answers (GOAWAY, RFC 9113
// §6.8); net/http sends the others again, and no more than those.
func TestReloadDropsNothingOfHTTP2(t *testing.T) {
	g := newGuardedWorld(t)
	client := g.caller(t, nil)
	reloadUnderLoad(t, func() error {
		return caddy.Load(g.altered(t, func(site object) {
			site["protocols"] = []string{"h1", "h2"}
			site["tls_connection_policies"] = []object{{"default_sni": "localhost"}}
		}), true)
	}, func(ctx context.Context, _ int, asked func(error)) {
		for ctx.Err() == nil {
			asked(post(t.Context(), client, "https://localhost/v1/payments"))
		}
	})
}

// post makes a call without a key of either kind, which must be answered all the same.
func post(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(`{"amount":1999}`))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusUnauthorized {
		return fmt.Errorf("%s %s, want HTTP/2 and 401", resp.Proto, resp.Status)
	}
	return nil
}

// TestReloadIsNoShutdown holds that shutdown_delay, in which balancers learn that a
// node stops, is for stops and for addresses that go, and not for reloads.
func TestReloadIsNoShutdown(t *testing.T) {
	const delay = 20 * time.Second
	w := newWorld(t)
	delayed := func() []byte {
		return []byte(strings.Replace(string(w.config(t)), `"grace_period":"5s"`, `"grace_period":"5s","shutdown_delay":"`+delay.String()+`"`, 1))
	}
	for _, config := range [][]byte{delayed(), delayed(), w.config(t)} {
		began := time.Now()
		if err := caddy.Load(config, true); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took >= delay {
			t.Errorf("a reload took %s", took)
		}
		c := rawClient{address: w.public, path: "/readyz"}
		if _, _, err := c.ask(); err != nil {
			t.Errorf("after a reload: %v", err)
		}
		c.end()
	}
}

// TestHTTP3 holds that a door is open to HTTP/3 as well, also after a reload.
func TestHTTP3(t *testing.T) {
	g := newGuardedWorld(t)
	load := func() {
		t.Helper()
		if err := caddy.Load(g.altered(t, func(site object) {
			site["protocols"] = []string{"h1", "h2", "h3"}
			site["tls_connection_policies"] = []object{{"default_sni": "localhost"}}
		}), true); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AddCert(g.server.cert)
	for range 2 {
		load()
		transport := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS13}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+g.public+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Timeout: 10 * time.Second, Transport: transport}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.ProtoMajor != 3 || resp.StatusCode != http.StatusOK {
			t.Errorf("%s %s, want HTTP/3 and 200", resp.Proto, resp.Status)
		}
		if err := transport.Close(); err != nil {
			t.Error(err)
		}
	}
}
