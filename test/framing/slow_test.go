package framing

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// slack is what a busy machine adds to a time-out, and net/http to the end of a
// connection.
const slack = 6 * time.Second

// TestSlowClients holds that who is slow is not waited for: the connection ends
// within the configured time, however the client drips.
func TestSlowClients(t *testing.T) {
	g := open(t)
	host := "Host: " + g.plain + "\r\n"
	post := "POST /v1/payments HTTP/1.1\r\n" + host + "Authorization: Bearer " + g.key + "\r\nIdempotency-Key: slow\r\nContent-Type: application/json\r\n"
	tests := []struct {
		name, alpn, sent string
		// drip is sent again and again, faster than any time-out.
		drip string
		want []int // 0 = no answer
	}{
		{"nothing at all", "", "", "", []int{0}},
		{"half a request line", "", "GET /v1", "", []int{0, 400}},
		{"a head that drips", "", "GET /healthz HTTP/1.1\r\n" + host, "X-A: b\r\n", []int{0}},
		{"a head that drips over TLS", "http/1.1", "GET /healthz HTTP/1.1\r\n" + host, "X-A: b\r\n", []int{0}},
		{"a body that stops", "", post + "Content-Length: 1000\r\n\r\n{", "", []int{400}},
		{"a body that drips", "", post + "Content-Length: 1000\r\n\r\n{", " ", []int{400}},
		{"a body that drips over TLS", "http/1.1", strings.Replace(post, g.plain, g.secure, 1) + "Content-Length: 1000\r\n\r\n{", " ", []int{400}},
		{"chunks that stop", "", post + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", "", []int{400}},
		{"chunks that drip", "", post + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", "1\r\n \r\n", []int{400}},
		{"a chunk's extension that drips", "", post + "Transfer-Encoding: chunked\r\n\r\n1;", "a", []int{400}},
		{"trailers that drip", "", post + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n", "X-A: b\r\n", []int{400}},
		{"a body that nobody reads drips", "", "POST /nowhere HTTP/1.1\r\n" + host + "Content-Length: 1000\r\n\r\n", " ", []int{404}},
		{"idle after a request", "", "GET /healthz HTTP/1.1\r\n" + host + "\r\n", "", []int{200}},
		{"empty lines", "", "\r\n", "\r\n", []int{0, 400}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := g.connect(t, tt.alpn)
			began := time.Now()
			if _, err := io.WriteString(c, tt.sent); err != nil {
				t.Fatal(err)
			}
			drip(t, c, tt.drip)
			br := bufio.NewReader(c)
			status := 0
			if a := next(t, br, http.MethodPost); a != nil {
				status = a.StatusCode
				if !closed(t, br) {
					t.Error("there is more than one answer")
				}
			}
			took := time.Since(began)
			if !slices.Contains(tt.want, status) {
				t.Errorf("got %d, want %v", status, tt.want)
			}
			if limit := 2*readTimeout + slack; took > limit {
				t.Errorf("the connection ended after %s, want at most %s", took, limit)
			}
		})
	}
}

// drip sends text until the connection ends.
func drip(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if text == "" {
		return
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(readTimeout / 20)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if _, err := io.WriteString(c, text); err != nil {
					return
				}
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
	})
}

// TestSlowHandshakes holds the same before TLS is there.
func TestSlowHandshakes(t *testing.T) {
	g := open(t)
	hello := clientHello(t)
	for name, sent := range map[string][]byte{"nothing": nil, "half a ClientHello": hello[:len(hello)/2], "a whole one, and silence": hello} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, "127.0.0.1:"+port(g.secure), "")
			began := time.Now()
			if _, err := c.Write(sent); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, c); err != nil && !ended(err) {
				t.Fatalf("wait for the end: %v", err)
			}
			if took := time.Since(began); took > readTimeout+slack {
				t.Errorf("the connection ended after %s, want about %s", took, readTimeout)
			}
		})
	}
}

// clientHello is the first flight of a handshake.
func clientHello(t *testing.T) []byte {
	t.Helper()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go func() {
		_ = tls.Client(ours, &tls.Config{ServerName: "localhost"}).Handshake() // it is cut off
		ours.Close()
	}()
	b := make([]byte, 16<<10)
	n, err := theirs.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// TestSlowHTTP2 holds it for a stream whose body does not come, while the
// connection does its duty.
func TestSlowHTTP2(t *testing.T) {
	g := open(t)
	c := converse(t, g)
	began := time.Now()
	c.headers(t, 1, false, ":method", "POST", ":scheme", "https", ":authority", g.secure, ":path", "/v1/payments",
		"authorization", "Bearer "+g.key, "content-type", "application/json", "idempotency-key", "slow-h2")
	if err := c.framer.WriteData(1, false, []byte("{")); err != nil {
		t.Fatal(err)
	}
	status, _, body := c.answer(t, 1)
	if status != 400 {
		t.Errorf("got %d %s, want 400", status, body)
	}
	if took := time.Since(began); took > readTimeout+slack {
		t.Errorf("the stream ended after %s, want about %s", took, readTimeout)
	}
}

// TestManyConnections holds what connections that say little cost in memory, and
// that others are served meanwhile.
func TestManyConnections(t *testing.T) {
	g := open(t)
	if runtime.GOOS != "linux" {
		t.Skip("it reads /proc")
	}
	const (
		connections = 1000
		// each may cost this many bytes; net/http keeps 4 KiB buffers, a goroutine's
		// stack, and the little that was read.
		each = 48 << 10
		base = 24 << 20 // for what else a process does meanwhile
	)
	before := g.resident(t)
	head := "POST /v1/payments HTTP/1.1\r\nHost: " + g.plain + "\r\nAuthorization: Bearer " + g.key +
		"\r\nContent-Type: application/json\r\nIdempotency-Key: many\r\nContent-Length: 60000\r\n\r\n{"
	held := make([]net.Conn, 0, connections)
	for range connections {
		var d net.Dialer
		c, err := d.DialContext(t.Context(), "tcp", g.plain)
		if err != nil {
			t.Fatalf("connection %d: %v", len(held), err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, head); err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	if a := ask(t, g.connect(t, ""), g.request(g.plain, http.MethodGet, "/v1/account", "")); a == nil || a.StatusCode != http.StatusOK {
		t.Errorf("a caller among %d that hold: %v, want 200", len(held), a)
	}
	grew := g.resident(t) - before
	t.Logf("%d connections that hold a body back cost %d KiB, %d KiB each", connections, grew>>10, grew>>10/connections)
	// A body's buffer is as large as its announced length, of at most 64 KiB.
	if limit := int64(connections*(each+64<<10) + base); grew > limit {
		t.Errorf("they cost %d bytes, want at most %d", grew, limit)
	}
	for i, c := range held {
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); err != nil && !ended(err) {
			t.Fatalf("connection %d does not end: %v", i, err)
		}
	}
}

// resident is the memory of the gateway, in bytes.
func (g *gateway) resident(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal(errors.New("there is no VmRSS"))
	return 0
}
