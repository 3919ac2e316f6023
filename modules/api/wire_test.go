package api_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestOverTheWire sends what no HTTP library would: the server under the door
// is the real one of net/http.
func TestOverTheWire(t *testing.T) {
	d := newDoor(t)
	server := httptest.NewServer(d.api)
	defer server.Close()
	body := create()
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	large := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", 70<<10, strings.Repeat(" ", 70<<10))
	tests := []struct {
		name, headers, body string
		status              int
		closed              bool
	}{
		{"plain", fmt.Sprintf("Content-Length: %d\r\n", len(body)), body, 201, false},
		{"chunked", "Transfer-Encoding: chunked\r\n", chunked, 201, true},
		{"chunked and a length", fmt.Sprintf("Transfer-Encoding: chunked\r\nContent-Length: %d\r\n", len(body)), chunked, 201, true},
		{"chunked and too large", "Transfer-Encoding: chunked\r\n", large, 413, true},
		{"too large by its length", "Content-Length: 1000000\r\n", "", 413, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			_, err = io.WriteString(conn, "POST /v1/payments HTTP/1.1\r\nHost: pay.example.com\r\nAuthorization: Bearer "+d.keys["test"]+
				"\r\nIdempotency-Key: k\r\nContent-Type: application/json\r\n"+tt.headers+"\r\n"+tt.body)
			if err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != tt.status || res.Close != tt.closed {
				t.Errorf("got %d, closes %v; want %d, %v", res.StatusCode, res.Close, tt.status, tt.closed)
			}
		})
	}
	if last := d.engine.calls[len(d.engine.calls)-1]; last.Claim.Origin != "http://pay.example.com" {
		t.Errorf("origin %q", last.Claim.Origin)
	}
}
