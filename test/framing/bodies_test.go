package framing

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// smuggled is a request inside of another one's body.
const smuggled = "GET /healthz HTTP/1.1\r\nHost: HOST\r\n\r\n"

// TestSmuggling sends requests that hide another one. There is one answer at most.
func TestSmuggling(t *testing.T) {
	g := open(t)
	length := func(s string) string { return strconv.Itoa(len(s)) }
	chunk := func(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }
	tests := []struct{ name, fields, body string }{
		{"the length covers it, the chunks end before", "Content-Length: " + length("0\r\n\r\n"+smuggled) + "\r\nTransfer-Encoding: chunked", "0\r\n\r\n" + smuggled},
		{"the chunks cover it, the length ends before", "Transfer-Encoding: chunked\r\nContent-Length: 4", chunk(smuggled) + "0\r\n\r\n"},
		{"a length with a sign", "Content-Length: +5\r\nTransfer-Encoding: chunked", "0\r\n\r\n" + smuggled},
		{"a length with letters", "Content-Length: 5a\r\nTransfer-Encoding: chunked", "0\r\n\r\n" + smuggled},
		{"two lengths", "Content-Length: 0\r\nContent-Length: " + length(smuggled), smuggled},
		{"a folded coding", "Content-Length: " + length("0\r\n\r\n"+smuggled) + "\r\nTransfer-Encoding:\r\n chunked", "0\r\n\r\n" + smuggled},
		{"a coding with a space", "Content-Length: " + length("0\r\n\r\n"+smuggled) + "\r\nTransfer-Encoding: chunked ", "0\r\n\r\n" + smuggled},
		{"a coding with a vertical tab", "Content-Length: " + length("0\r\n\r\n"+smuggled) + "\r\nTransfer-Encoding: \x0bchunked", "0\r\n\r\n" + smuggled},
		{"a coding with a form feed", "Content-Length: " + length("0\r\n\r\n"+smuggled) + "\r\nTransfer-Encoding: \x0cchunked", "0\r\n\r\n" + smuggled},
		{"a coding with a NUL", "Content-Length: " + length("0\r\n\r\n"+smuggled) + "\r\nTransfer-Encoding: chunked\x00", "0\r\n\r\n" + smuggled},
		{"two codings", "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\nContent-Length: 5", "0\r\n\r\n" + smuggled},
		{"an empty member", "Transfer-Encoding: ,chunked\r\nContent-Length: 5", "0\r\n\r\n" + smuggled},
		{"a bare CR in a value", "X-A: a\rTransfer-Encoding: chunked\r\nContent-Length: " + length("0\r\n\r\n"+smuggled), "0\r\n\r\n" + smuggled},
		{"chunks end with LF alone", "Transfer-Encoding: chunked", "0\n\n" + smuggled},
		{"a chunk's size ends with CR alone", "Transfer-Encoding: chunked", "1\rZ\r\n0\r\n\r\n" + smuggled},
		{"an extension with a line end", "Transfer-Encoding: chunked", "1;a\nZ\r\n0\r\n\r\n" + smuggled},
		{"behind the chunks", "Transfer-Encoding: chunked", "0\r\n\r\n" + smuggled},
		{"as trailers", "Transfer-Encoding: chunked\r\nTrailer: Host", "0\r\n" + smuggled},
		{"the connection asks to stay", "Connection: keep-alive\r\nTransfer-Encoding: chunked", "0\r\n\r\n" + smuggled},
	}
	for _, tt := range tests {
		for _, path := range []string{"/", "/v1/payments", "/healthz", "/webhooks/stripe", "/nowhere"} {
			t.Run(tt.name+" at "+path, func(t *testing.T) {
				t.Parallel()
				c := g.connect(t, "")
				text := "POST " + path + " HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer " + g.key + "\r\n" + tt.fields + "\r\n\r\n" + tt.body
				if _, err := io.WriteString(c, strings.ReplaceAll(text, "HOST", g.plain)); err != nil {
					t.Fatal(err)
				}
				br := bufio.NewReader(c)
				a := next(t, br, http.MethodPost)
				if a == nil {
					return
				}
				if a.StatusCode < 400 {
					t.Errorf("got %d %s, want a refusal", a.StatusCode, a.body)
				}
				if !closed(t, br) {
					t.Error("the hidden request is answered")
				}
			})
		}
	}
}

// TestBrokenBodies sends bodies that end early or whose chunks are broken. They
// are 400 or the end of the connection, make no payment, and leave their
// Idempotency-Key to the next request.
func TestBrokenBodies(t *testing.T) {
	g := open(t)
	const body = `{"amount":100,"currency":"EUR","confirm":false}`
	half, rest := body[:20], body[20:]
	const chunked = "Transfer-Encoding: chunked"
	whole := fmt.Sprintf("%x\r\n%s\r\n", len(body), body)
	tests := []struct {
		name, fields, body string
		// then is what the client does without sending more.
		then func(net.Conn) error
	}{
		{"no end of the chunks", chunked, whole, halfClose},
		{"no end of the chunks, and silence", chunked, whole, nil},
		{"half a chunk", chunked, fmt.Sprintf("%x\r\n%s", len(body), half), halfClose},
		{"half a chunk, and silence", chunked, fmt.Sprintf("%x\r\n%s", len(body), half), nil},
		{"a size that is no number", chunked, whole + "zz\r\n\r\n0\r\n\r\n", nil},
		{"a size of many digits", chunked, strings.Repeat("0", 40) + whole + "0\r\n\r\n", nil},
		{"a chunk longer than its size", chunked, fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(half), body), nil},
		{"a chunk shorter than its size", chunked, fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body)+1, body), nil},
		{"a broken last chunk", chunked, whole + "0\r\n:\r\n\r\n", nil},
		{"half a length", "Content-Length: " + strconv.Itoa(len(body)), half, halfClose},
		{"half a length, and silence", "Content-Length: " + strconv.Itoa(len(body)), half, nil},
		{"one byte less than the length", "Content-Length: " + strconv.Itoa(len(body)+1), body, halfClose},
		{"nothing of the length", "Content-Length: " + strconv.Itoa(len(body)), "", halfClose},
		{"the client goes away", "Content-Length: " + strconv.Itoa(len(body)), half, net.Conn.Close},
		{"the client goes away from its chunks", chunked, fmt.Sprintf("%x\r\n%s\r\n", len(half), half), net.Conn.Close},
		{"a length that is too short", "Content-Length: " + strconv.Itoa(len(body)-len(rest)), body, nil},
	}
	before := g.payments(t)
	t.Run("all", func(t *testing.T) {
		for _, tt := range tests {
			for _, alpn := range []string{"", "http/1.1"} {
				t.Run(tt.name+" "+alpn, func(t *testing.T) {
					t.Parallel()
					key := freshKey()
					g.broken(t, alpn, key, tt.fields, tt.body, tt.then)
					// The very key is good for another request.
					header, err := g.call(http.MethodPost, "/v1/payments", key, `{"amount":200,"currency":"EUR","confirm":false}`, nil)
					if err != nil || header.Get("Idempotent-Replayed") != "" {
						t.Errorf("the key again, for a whole request: %v, replayed %q; want a new payment", err, header.Get("Idempotent-Replayed"))
					}
				})
			}
		}
	})
	if got, want := g.payments(t), before+2*len(tests); got != want {
		t.Errorf("there are %d payments, want %d: one for each whole request", got, want)
	}
}

// halfClose says that nothing more comes, and still listens.
func halfClose(c net.Conn) error {
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return c.Close()
}

func (g *gateway) broken(t *testing.T, alpn, key, fields, body string, then func(net.Conn) error) {
	t.Helper()
	host := g.plain
	if alpn != "" {
		host = g.secure
	}
	c := g.connect(t, alpn)
	head := g.request(host, http.MethodPost, "/v1/payments", "", "Idempotency-Key: "+key, "Content-Type: application/json", fields)
	if _, err := io.WriteString(c, head+body); err != nil {
		t.Fatal(err)
	}
	if then != nil {
		if err := then(c); err != nil {
			t.Fatal(err)
		}
	}
	if tcp, ok := c.(*net.TCPConn); ok && then != nil {
		if _, err := tcp.SyscallConn(); err != nil {
			return // it is the client who went away
		}
	}
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		if ended(err) || strings.Contains(err.Error(), "use of closed") {
			return
		}
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("got %d %s, want 400", resp.StatusCode, b)
	}
	checkProblem(t, &answer{resp, b})
}

// TestLargeBodies holds that what is too much is refused before it is read, and
// that the caller hears of it.
func TestLargeBodies(t *testing.T) {
	g := open(t)
	const mib = 1 << 20
	huge := strings.Repeat(" ", mib)
	tests := []struct {
		name, target, fields, body string
		want                       int
	}{
		{"a length of 64 KiB and 1", "/v1/payments", "Content-Length: 65537", strings.Repeat(" ", 65537), 413},
		{"a length of 1 GB", "/v1/payments", "Content-Length: 1000000000", huge, 413},
		{"chunks without end", "/v1/payments", "Transfer-Encoding: chunked", strings.Repeat("10000\r\n"+huge[:1<<16]+"\r\n", 16), 413},
		{"chunks of one byte", "/v1/payments", "Transfer-Encoding: chunked", strings.Repeat("1\r\n \r\n", 300<<10), 413},
		{"a webhook of 1 MiB", "/webhooks/stripe", "Content-Length: 1048576", huge, 413},
		{"a large body to nowhere", "/nowhere", "Content-Length: 1048576", huge, 404},
		{"gzip", "/v1/payments", "Content-Encoding: gzip\r\nContent-Length: 20", strings.Repeat("\x1f", 20), 415},
		{"gzip in chunks", "/v1/payments", "Content-Encoding: gzip\r\nTransfer-Encoding: chunked", "1\r\n\x1f\r\n0\r\n\r\n", 415},
		{"a gzipped webhook", "/webhooks/stripe", "Content-Encoding: gzip\r\nContent-Length: 1", "\x1f", 415},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := g.connect(t, "")
			head := g.request(g.plain, http.MethodPost, tt.target, "", "Idempotency-Key: large", "Content-Type: application/json", tt.fields)
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				io.WriteString(c, head+tt.body) // it may well be cut off
			}()
			br := bufio.NewReader(c)
			a := next(t, br, http.MethodPost)
			if a == nil {
				t.Fatalf("the connection ended without an answer, want %d", tt.want)
			}
			checkProblem(t, a)
			if a.StatusCode != tt.want || !a.Close {
				t.Errorf("got %d, close = %t; want %d and true", a.StatusCode, a.Close, tt.want)
			}
			if enc := a.Header.Get("Accept-Encoding"); (a.StatusCode == http.StatusUnsupportedMediaType) != (enc == "identity") {
				t.Errorf("%d with Accept-Encoding %q", a.StatusCode, enc)
			}
			c.Close()
			<-sent
		})
	}
}
