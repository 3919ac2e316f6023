package framing

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// conversation is a connection of HTTP/2 in which everything may be said.
type conversation struct {
	net.Conn
	framer *http2.Framer
	text   bytes.Buffer
	coder  *hpack.Encoder
}

func converse(t *testing.T, g *gateway) *conversation {
	t.Helper()
	return begin(t, g.connect(t, "h2"))
}

func begin(t *testing.T, conn net.Conn) *conversation {
	t.Helper()
	c := &conversation{Conn: conn}
	c.framer = http2.NewFramer(c.Conn, c.Conn)
	c.framer.AllowIllegalWrites = true
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.coder = hpack.NewEncoder(&c.text)
	if _, err := io.WriteString(c.Conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := c.framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return c
}

// fields encodes name and value pairs.
func (c *conversation) fields(pairs ...string) []byte {
	c.text.Reset()
	for i := 0; i < len(pairs); i += 2 {
		// It writes into memory.
		_ = c.coder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return c.text.Bytes()
}

// headers opens a stream.
func (c *conversation) headers(t *testing.T, stream uint32, end bool, pairs ...string) {
	t.Helper()
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: c.fields(pairs...), EndStream: end, EndHeaders: true,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// answer reads a stream's answer: its status, 0 where the stream or the whole
// connection was ended instead.
func (c *conversation) answer(t *testing.T, stream uint32) (int, http.Header, []byte) {
	t.Helper()
	var (
		status int
		header = http.Header{}
		body   []byte
	)
	for {
		f, err := c.framer.ReadFrame()
		if ended(err) {
			return 0, nil, nil
		}
		if se := (http2.StreamError{}); errors.As(err, &se) || err != nil {
			t.Fatalf("read a frame: %v", err)
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				if err := c.framer.WriteSettingsAck(); err != nil && !ended(err) {
					t.Fatal(err)
				}
			}
		case *http2.GoAwayFrame:
			return 0, nil, nil
		case *http2.RSTStreamFrame:
			if f.StreamID == stream {
				return status, header, body
			}
		case *http2.MetaHeadersFrame:
			for _, hf := range f.Fields {
				if hf.Name == ":status" {
					status, _ = strconv.Atoi(hf.Value)
				} else {
					header.Add(hf.Name, hf.Value)
				}
			}
			if f.StreamEnded() && f.StreamID == stream {
				return status, header, body
			}
		case *http2.DataFrame:
			body = append(body, f.Data()...)
			if f.StreamEnded() && f.StreamID == stream {
				return status, header, body
			}
		}
	}
}

// TestHTTP2 sends what HTTP/2 forbids, and what means the same in both versions.
func TestHTTP2(t *testing.T) {
	g := open(t)
	ordinary := []string{":method", "GET", ":scheme", "https", ":authority", g.secure, ":path", "/v1/account", "authorization", "Bearer " + g.key}
	change := func(name, value string) []string {
		pairs := slices.Clone(ordinary)
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				pairs[i+1] = value
				return pairs
			}
		}
		return append(pairs, name, value)
	}
	more := func(pairs ...string) []string { return append(slices.Clone(ordinary), pairs...) }
	var many []string
	for i := range 120 {
		many = append(many, "x-"+strconv.Itoa(i), "y")
	}
	tests := []struct {
		name  string
		pairs []string
		want  []int // 0 = the end of the stream or the connection
	}{
		{"an ordinary call", ordinary, []int{200}},
		{"connection", more("connection", "close"), []int{400}},
		{"proxy-connection", more("proxy-connection", "close"), []int{400}},
		{"keep-alive", more("keep-alive", "timeout=1"), []int{400}},
		{"transfer-encoding", more("transfer-encoding", "chunked"), []int{400}},
		{"upgrade", more("upgrade", "h2c"), []int{400}},
		{"te", more("te", "gzip"), []int{400}},
		{"te: trailers", more("te", "trailers"), []int{200}},
		{"a name in upper case", more("X-Upper", "y"), []int{0}},
		{"a value with CR and LF", more("x-a", "b\r\nauthorization: c"), []int{0}},
		{"a value with NUL", more("x-a", "b\x00"), []int{0}},
		{"a name with a colon", more("x:a", "b"), []int{0}},
		{"a name with a space", more("x a", "b"), []int{0}},
		{"no method", ordinary[2:], []int{0}},
		{"two paths", more(":path", "/healthz"), []int{0}},
		{"an unknown pseudo-field", more(":protocol-x", "y"), []int{0}},
		{"two authorizations", more("authorization", "Bearer pur_test_x"), []int{401}},
		{"another host", more("host", "other.example.com"), []int{0, 400}},
		{"the same host twice", more("host", g.secure, "host", g.secure), []int{0, 400}},
		{"the same host", more("host", g.secure), []int{200}},
		{"an authority with a user", change(":authority", "user@"+g.secure), []int{0, 400, 421}},
		{"an authority with a path", change(":authority", g.secure+"/path"), []int{0, 400, 421}},
		{"another authority", change(":authority", "other.example.com"), []int{421}},
		{"dots", change(":path", "/docs/../v1/account"), []int{400}},
		{"an escaped slash", change(":path", "/v1%2faccount"), []int{400}},
		{"a path in absolute form", change(":path", "https://"+g.secure+"/v1/account"), []int{0, 400}},
		{"a path without a slash", change(":path", "v1/account"), []int{0, 400}},
		{"TRACE", change(":method", "TRACE"), []int{405}},
		{"CONNECT", []string{":method", "CONNECT", ":authority", g.secure}, []int{0, 400, 405}},
		{"a websocket", append([]string{":method", "CONNECT", ":protocol", "websocket"}, ordinary[2:]...), []int{0, 400, 405}},
		{"another expectation", more("expect", "tea"), []int{417}},
		{"120 fields", more(many...), []int{431}},
		{"a large field", more("x-a", strings.Repeat("x", 60<<10)), []int{0, 431}},
		{"a cookie in crumbs", more("cookie", "a=b", "cookie", "c=d"), []int{200}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := converse(t, g)
			c.headers(t, 1, true, tt.pairs...)
			status, header, body := c.answer(t, 1)
			if !slices.Contains(tt.want, status) {
				t.Errorf("got %d %s, want %v", status, body, tt.want)
			}
			if status >= 400 && header.Get("Request-Id") != "" {
				checkProblem(t, &answer{&http.Response{StatusCode: status, Header: header}, body})
			}
		})
	}
}

// TestHTTP2Bodies sends bodies that are not what their head says.
func TestHTTP2Bodies(t *testing.T) {
	g := open(t)
	const body = `{"amount":100,"currency":"EUR","confirm":false}`
	post := func(key string, pairs ...string) []string {
		return append([]string{
			":method", "POST", ":scheme", "https", ":authority", g.secure, ":path", "/v1/payments", "authorization", "Bearer " + g.key,
			"content-type", "application/json", "idempotency-key", key,
		}, pairs...)
	}
	tests := []struct {
		name   string
		fields []string
		data   string
		end    bool // of the stream; else it is reset
		want   []int
	}{
		{"less than the length", []string{"content-length", "100"}, body, true, []int{0, 400}},
		{"more than the length", []string{"content-length", "10"}, body, true, []int{0, 400}},
		{"two lengths", []string{"content-length", "10", "content-length", "47"}, body, true, []int{0, 400}},
		{"a length that is none", []string{"content-length", "+47"}, body, true, []int{0, 400}},
		{"gzip", []string{"content-encoding", "gzip"}, body, true, []int{415}},
		{"two types", []string{"content-type", "application/json"}, body, true, []int{400}},
		{"two keys", []string{"idempotency-key", "other"}, body, true, []int{400}},
		{"a reset in the middle", []string{"content-length", "47"}, body[:10], false, []int{0, 400}},
	}
	before := g.payments(t)
	for _, tt := range tests {
		key := freshKey()
		t.Run(tt.name, func(t *testing.T) {
			c := converse(t, g)
			c.headers(t, 1, false, post(key, tt.fields...)...)
			if err := c.framer.WriteData(1, tt.end, []byte(tt.data)); err != nil {
				t.Fatal(err)
			}
			if !tt.end {
				if err := c.framer.WriteRSTStream(1, http2.ErrCodeCancel); err != nil {
					t.Fatal(err)
				}
				// The next stream shows that the first one was dealt with.
				c.headers(t, 3, true, ":method", "GET", ":scheme", "https", ":authority", g.secure, ":path", "/healthz")
				if status, _, _ := c.answer(t, 3); status != 200 {
					t.Errorf("the stream after the reset: %d, want 200", status)
				}
			} else if status, _, b := c.answer(t, 1); !slices.Contains(tt.want, status) {
				t.Errorf("got %d %s, want %v", status, b, tt.want)
			}
			if header, err := g.call(http.MethodPost, "/v1/payments", key, body, nil); err != nil || header.Get("Idempotent-Replayed") != "" {
				t.Errorf("the key again: %v, replayed %q; want a new payment", err, header.Get("Idempotent-Replayed"))
			}
		})
	}
	if got, want := g.payments(t), before+len(tests); got != want {
		t.Errorf("there are %d payments, want %d: one for each whole request", got, want)
	}
}

// TestHTTP2WithoutTLS holds that a port without TLS, which takes HTTP/2 from those
// who begin with it where the option protocols has h2, has the same rules for it.
func TestHTTP2WithoutTLS(t *testing.T) {
	g := open(t)
	ordinary := []string{":method", "GET", ":scheme", "http", ":authority", g.plain, ":path", "/v1/account", "authorization", "Bearer " + g.key}
	for want, pairs := range map[int][]string{200: ordinary, 400: append(slices.Clone(ordinary), "te", "gzip")} {
		c := begin(t, g.connect(t, ""))
		c.headers(t, 1, true, pairs...)
		if status, _, body := c.answer(t, 1); status != want {
			t.Errorf("got %d %s, want %d", status, body, want)
		}
	}
}
