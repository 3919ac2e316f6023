package signature

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPresent(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"": false, "X-Signature": false, HeaderDigest: false, HeaderAccept: false,
		HeaderInput: true, HeaderSignature: true, HeaderSimple: true,
	} {
		h := http.Header{}
		h.Set(name, "")
		if got := Present(h); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

// TestFromRequest sends bytes to a server of net/http, and looks how much of
// them is left.
func TestFromRequest(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		target, host string
		want         Message
		uri          string
	}{
		{"/v1/payments", "Pay.Example.com:80", Message{Path: "/v1/payments"}, "http://pay.example.com/v1/payments"},
		{"/v1/payments?", "h:8080", Message{Path: "/v1/payments", HasQuery: true}, "http://h:8080/v1/payments?"},
		{"/a%2Fb/%e4?x=%20+&y?z", "h", Message{Path: "/a%2Fb/%e4", RawQuery: "x=%20+&y?z", HasQuery: true}, "http://h/a%2Fb/%e4?x=%20+&y?z"},
		{"//x/../y", "h", Message{Path: "//x/../y"}, "http://h//x/../y"},
		{"http://other/x?y", "h", Message{Target: "http://other/x?y", Path: "/x", RawQuery: "y", HasQuery: true}, "http://other/x?y"},
		{"http://other?y", "h", Message{Target: "http://other?y", RawQuery: "y", HasQuery: true}, "http://other/?y"},
		{"http://other", "h", Message{Target: "http://other"}, "http://other/"},
	} {
		t.Run(test.target, func(t *testing.T) {
			t.Parallel()
			var got Message
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				got = FromRequest(r, body)
			}))
			defer server.Close()
			c, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, err = io.WriteString(c, "POST "+test.target+" HTTP/1.1\r\nHost: "+test.host+"\r\nContent-Length: 3\r\nX-A:  1 \r\nx-a: 2\r\nConnection: close\r\n\r\na\r\n")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(c); err != nil {
				t.Fatal(err)
			}
			want := test.want
			want.Method, want.Scheme, want.Body = http.MethodPost, "http", []byte("a\r\n")
			want.Authority = test.host
			if strings.HasPrefix(test.target, "http") {
				want.Authority = "other"
			}
			want.Header = got.Header
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			base, _, err := signatureBase(subject{request: &got}, inputOf(t, `("@target-uri" "x-a" "content-length")`))
			if want := "\"@target-uri\": " + test.uri + "\n\"x-a\": 1, 2\n\"content-length\": 3\n"; err != nil || !strings.HasPrefix(string(base), want) {
				t.Errorf("got %q, %v; want %q", base, err, want)
			}
		})
	}
}

// TestOverHTTP2 signs by the client, and verifies by what an HTTP/2 server makes
// of it.
func TestOverHTTP2(t *testing.T) {
	t.Parallel()
	k := keyOf(t, HMACSHA256)
	verified := make(chan error, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		m := FromRequest(r, body)
		if r.ProtoMajor != 2 {
			err = errors.New("not HTTP/2")
		}
		if err == nil {
			_, err = Verify(&m, k.Public(), Standard, noon)
		}
		verified <- err
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, server.URL+"/v1/payments?x=%20", strings.NewReader(tea))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer x")
	m := FromRequest(r, []byte(tea))
	m.Scheme = "https" // what has not been sent has no connection
	if err := SignRequest(&m, k, Standard, noon, nonce); err != nil {
		t.Fatal(err)
	}
	res, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if err := <-verified; err != nil {
		t.Error(err)
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	k := keyOf(t, Ed25519)
	for _, test := range []struct {
		name   string
		change func(m *Message)
		nonce  string
		key    SigningKey
		kind   error
	}{
		{"a body without its type", func(m *Message) { m.Header.Del("Content-Type") }, nonce, k, ErrMessage},
		{"no host", func(m *Message) { m.Authority = "" }, nonce, k, ErrMessage},
		{"no method", func(m *Message) { m.Method = "" }, nonce, k, ErrMessage},
		{"a header that is not ASCII", func(m *Message) { m.Header.Set("Idempotency-Key", "ü") }, nonce, k, ErrMessage},
		{"a short nonce", nil, "1234567", k, ErrMessage},
		{"no nonce", nil, "", k, ErrMessage},
		{"no key", nil, nonce, SigningKey{}, ErrKey},
	} {
		m := request()
		if test.change != nil {
			test.change(m)
		}
		wantError(t, SignRequest(m, test.key, Standard, noon, test.nonce), test.kind, "")
		if Present(m.Header) {
			t.Errorf("%s: it bears half a signature", test.name)
		}
	}
	m := &Message{Method: http.MethodGet, Scheme: "https", Authority: "h"}
	if err := SignRequest(m, k, Standard, noon, nonce); err != nil || !Present(m.Header) {
		t.Errorf("without any header: got %v", err)
	}
}
