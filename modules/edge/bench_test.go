package edge_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// BenchmarkPassed serves the same request by a bare reverse_proxy, and by the whole
// edge: key, limits of three scopes, a policy, the account's credentials, and a line
// of the audit. Only the connection to the caller is left out; `make bench` has it.
func BenchmarkPassed(b *testing.B) {
	psp := answerer(b)
	w := newWorld(b)
	w.options = object{
		"policies": "rules",
		"rate_limits": object{
			"ip": object{"rates": []string{"1000000/1s"}}, "key": object{"rates": []string{"1000000/1s"}}, "merchant": object{"rates": []string{"1000000/1s"}},
		},
	}
	w.put(b, "rules/proxy.yaml", "rules: []\n")
	w.start(b)
	w.put(b, "rules/proxy.yaml",
		"rules:\n  - name: charges\n    when: 'merchant == \""+w.merchant+"\"'\n    allow:\n      proxy: [\"GET /v1/charges*\", \"POST /v1/charges*\"]\n")
	own := w.stripe()
	own["base_url"], own["merchants"] = "http://"+psp, []string{w.merchant}
	w.accounts["own"] = own
	if err := caddy.Load(w.withBare(b, psp), true); err != nil {
		b.Fatal(err)
	}
	var key struct{ Key string }
	w.operate(b, http.StatusCreated, "POST", "/payments/keys", object{"merchant": w.merchant, "mode": "test", "scopes": []string{"proxy:use"}}, &key)
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		b.Fatal(err)
	}
	servers := app.(*caddyhttp.App).Servers
	for _, bb := range []struct{ name, server, path string }{{"bare", "bare", "/v1/charges"}, {"edge", "test", "/v1/proxy/own/v1/charges"}} {
		b.Run(bb.name, func(b *testing.B) { benchmarkServer(b, servers[bb.server], bb.path, key.Key) })
	}
}

func benchmarkServer(b *testing.B, server http.Handler, path, key string) {
	b.Helper()
	const form = "amount=1999&currency=eur&source=tok_visa&description=order-1&metadata[reference]=order-1"
	header := http.Header{
		"Authorization": {"Bearer " + key}, "Content-Type": {"application/x-www-form-urlencoded"}, "Idempotency-Key": {"order-1"},
		"User-Agent": {"Go-http-client/1.1"}, "Accept-Encoding": {"gzip"},
	}
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, path, iotest.DataErrReader(strings.NewReader(form))) // as net/http's own bodies end
		r.ContentLength = int64(len(form))
		r.Header = header.Clone()
		rec := httptest.NewRecorder()
		server.ServeHTTP(rec, r)
		if rec.Code != http.StatusOK {
			b.Fatalf("status %d: %s", rec.Code, rec.Body)
		}
	}
}

// withBare is the configuration with a server beside it that proxies and nothing
// else. Nothing is logged but the audit.
func (w *world) withBare(b *testing.B, psp string) []byte {
	b.Helper()
	var config object
	if err := json.Unmarshal(w.config(b), &config); err != nil {
		b.Fatal(err)
	}
	config["logging"] = object{"logs": object{
		"default": object{"level": "INFO", "writer": object{"output": "file", "filename": filepath.Join(w.dir, "log")}},
	}}
	servers := config["apps"].(object)["http"].(object)["servers"].(object)
	delete(servers["test"].(object), "logs")
	servers["bare"] = object{
		"listen": []string{freePort(b)}, "protocols": []string{"h1"}, "automatic_https": object{"disable": true},
		"routes": []object{{"handle": []object{{"handler": "reverse_proxy", "upstreams": []object{{"dial": psp}}}}}},
	}
	out, err := json.Marshal(config)
	if err != nil {
		b.Fatal(err)
	}
	return out
}

// answerer is a PSP that costs next to nothing.
func answerer(b *testing.B) (address string) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	body := `{"id":"ch_1"` + strings.Repeat(" ", 1700) + `}`
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nRequest-Id: req_1\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answerAll(c, answer)
		}
	}()
	return l.Addr().String()
}

func answerAll(c net.Conn, answer []byte) {
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	for {
		length := 0
		for {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) <= 2 {
				break
			}
			if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				length, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
			}
		}
		if _, err := io.CopyN(io.Discard, in, int64(length)); err != nil {
			return
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}
