package transport

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/connector"
)

// passer is a connector that passes requests.
type passer struct {
	*fakeConnector
	pass      connector.Pass
	authorize func(c connector.Call, r *http.Request, body []byte) ([]byte, error)
}

func (p *passer) Pass() connector.Pass { return p.pass }

func (p *passer) Authorize(c connector.Call, r *http.Request, body []byte) ([]byte, error) {
	if p.authorize != nil {
		return p.authorize(c, r, body)
	}
	r.Header.Set("Authorization", "Bearer "+p.Key.Reveal())
	return nil, nil
}

const passKey = "psp-secret-key"

func newPasser() *passer {
	return &passer{
		fakeConnector: &fakeConnector{Key: connector.NewSecret(passKey)},
		pass:          connector.Pass{RequestHeaders: []string{"Idempotency-Key", "X-Idempotency-Key"}},
	}
}

func passage(t testing.TB, c connector.Connector, base string, dial dialFunc) *Passage {
	t.Helper()
	p, err := newHarness(t, c, base, dial).passage()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (h *harness) passage() (*Passage, error) { return h.Passage(h.account) }

// finish reads an answer to its end.
func finish(t testing.TB, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Errorf("answer: %v", err)
	}
	return string(b)
}

// A passed request reaches the PSP as it is, but for the header, and where it
// goes is not the caller's to say.
func TestPassage(t *testing.T) {
	t.Parallel()
	type arrived struct {
		Method, Target, Host, Body string
		Length                     int64
		Header                     http.Header
	}
	tests := []struct {
		name string
		in   Passing
		want arrived
	}{
		{
			"GET",
			Passing{Method: "GET", Path: "/v1/charges", Query: "limit=3&created[gte]=1"},
			arrived{Method: "GET", Target: "/base/v1/charges?limit=3&created[gte]=1", Header: http.Header{}},
		},
		{
			"escapes stay as they are",
			Passing{Method: "GET", Path: "/v1/a%20b'%28(!:@%5bc%5D", Query: "q=%e6%98+%2B;x"},
			arrived{Method: "GET", Target: "/base/v1/a%20b'%28(!:@%5bc%5D?q=%e6%98+%2B;x", Header: http.Header{}},
		},
		{"HEAD of the root", Passing{Method: "HEAD", Path: "/"}, arrived{Method: "HEAD", Target: "/base/", Header: http.Header{}}},
		{
			"POST with a body",
			Passing{Method: "POST", Path: "/v1/charges", Body: strings.NewReader("amount=1"), Length: 8, Header: http.Header{"Content-Type": {"text/plain"}}},
			arrived{Method: "POST", Target: "/base/v1/charges", Body: "amount=1", Length: 8, Header: http.Header{"Content-Type": {"text/plain"}, "Content-Length": {"8"}}},
		},
		{
			"POST without one",
			Passing{Method: "POST", Path: "/v1/x/cancel", Header: http.Header{"Idempotency-Key": {"k"}}},
			arrived{Method: "POST", Target: "/base/v1/x/cancel", Header: http.Header{"Content-Length": {"0"}, "Idempotency-Key": {"k"}}},
		},
		{"DELETE", Passing{Method: "DELETE", Path: "/v1/x"}, arrived{Method: "DELETE", Target: "/base/v1/x", Header: http.Header{}}},
		{
			"a stream",
			Passing{Method: "PUT", Path: "/v1/x", Body: strings.NewReader(strings.Repeat("a", maxBuffered+1)), Length: maxBuffered + 1},
			arrived{Method: "PUT", Target: "/base/v1/x", Body: strings.Repeat("a", maxBuffered+1), Length: maxBuffered + 1, Header: http.Header{"Content-Length": {"65537"}}},
		},
		{
			"a stream of unknown length",
			Passing{Method: "POST", Path: "/v1/x", Body: strings.NewReader("abc"), Length: -1},
			arrived{Method: "POST", Target: "/base/v1/x", Body: "abc", Length: -1, Header: http.Header{}},
		},
		{
			"headers",
			Passing{Method: "GET", Path: "/", Header: http.Header{
				"Accept": {"a/b", "c/d"}, "Authorization": {"Bearer theirs"}, "Cookie": {"a=b"}, "Host": {"evil.example"}, "X-Forwarded-Host": {"evil.example"},
				"User-Agent": {"theirs"}, "Accept-Language": {"de"}, "Connection": {"keep-alive, accept-language"}, "Idempotency-Key": {"k"}, "Te": {"trailers"},
			}},
			arrived{Method: "GET", Target: "/base/", Header: http.Header{"Accept": {"a/b", "c/d"}, "Idempotency-Key": {"k"}}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got arrived
			base := httpPSP(t, func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				got = arrived{r.Method, r.RequestURI, r.Host, string(b), r.ContentLength, r.Header}
				_, _ = io.WriteString(w, "yes")
			})
			tt.want.Host = strings.TrimPrefix(base, "http://")
			tt.want.Header["User-Agent"], tt.want.Header["Authorization"] = []string{"Purser/dev"}, []string{"Bearer " + passKey}
			p := passage(t, newPasser(), base+"/base", nil)
			resp, err := p.Do(t.Context(), tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if body := finish(t, resp); tt.in.Method != http.MethodHead && body != "yes" {
				t.Errorf("answer %q", body)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("arrived (-want +got):\n%s", diff)
			}
			if n := len(p.slots); n != 0 {
				t.Errorf("%d places are still taken", n)
			}
		})
	}
}

// Over a connection that dies, a passed request reaches the PSP once, however
// much net/http would like to repeat it.
func TestPassageSendsOnce(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
			for _, body := range []string{"", "amount=1"} {
				if body != "" && method == "HEAD" {
					continue
				}
				for _, client := range []string{"own", "of others"} {
					t.Run(fmt.Sprintf("%s %s %q %s", method, name, body, client), func(t *testing.T) {
						t.Parallel()
						base, arrivals := dyingPSP(t)
						p := passage(t, newPasser(), base, nil)
						p.rewinds = p.rewinds || client != "own"
						in := func(method string) Passing {
							in := Passing{Method: method, Path: "/x", Header: http.Header{name: {"k"}}, Length: int64(len(body))}
							if body != "" {
								in.Body = strings.NewReader(body)
							}
							return in
						}
						resp, err := p.Do(t.Context(), in("POST"))
						if err != nil {
							t.Fatal(err)
						}
						finish(t, resp)
						resp, err = p.Do(t.Context(), in(method))
						if err == nil {
							finish(t, resp)
							t.Fatal("the second connection answered: nothing died")
						}
						if !errors.Is(err, ErrInDoubt) {
							t.Errorf("got %v, want it in doubt", err)
						}
						if got := arrivals(); len(got) != 2 {
							t.Errorf("got %q, want two arrivals", got)
						}
					})
				}
			}
		}
	}
}

// A connector cannot send a passed request elsewhere, and may not panic.
func TestPassageStays(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		authorize func(r *http.Request)
		want      error
	}{
		"host":      {func(r *http.Request) { r.URL.Host = "evil.example" }, ErrHost},
		"scheme":    {func(r *http.Request) { r.URL.Scheme = "https" }, ErrHost},
		"user":      {func(r *http.Request) { u := *r.URL; r.URL = &u }, ErrHost},
		"opaque":    {func(r *http.Request) { r.URL.Opaque = "//evil.example/x" }, ErrHost},
		"Host":      {func(r *http.Request) { r.Host = "evil.example" }, ErrHost},
		"panics":    {func(*http.Request) { panic(passKey) }, nil},
		"refuses":   {func(*http.Request) { panic(errors.New(passKey)) }, nil},
		"the query": {func(r *http.Request) { r.URL.RawQuery = "a=b" }, errFine},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := httpPSP(t, func(w http.ResponseWriter, r *http.Request) {
				if tt.want != errFine { //nolint:errorlint // a mark of this table
					t.Error("something was sent")
				}
			})
			c := newPasser()
			c.authorize = func(_ connector.Call, r *http.Request, _ []byte) ([]byte, error) { tt.authorize(r); return nil, nil }
			resp, err := passage(t, c, base, nil).Do(t.Context(), Passing{Method: "GET", Path: "/x"})
			if err == nil {
				finish(t, resp)
			}
			switch {
			case tt.want == errFine: //nolint:errorlint // as above
				if err != nil {
					t.Error(err)
				}
			case err == nil || (tt.want != nil && !errors.Is(err, tt.want)) || errors.Is(err, ErrInDoubt) || strings.Contains(err.Error(), passKey):
				t.Errorf("got %v, want %v without the key, and nothing in doubt", err, tt.want)
			}
		})
	}
}

var errFine = errors.New("this is no error")

// What a connector signs is what is sent, and its refusals reach the caller.
func TestPassageSigns(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	base := httpPSP(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	c := newPasser()
	c.pass = connector.Pass{Signs: true}
	c.authorize = func(call connector.Call, r *http.Request, body []byte) ([]byte, error) {
		if string(body) == "refuse me" {
			return nil, fmt.Errorf("wrapped: %w", &connector.PassError{Param: "body", Detail: "No."})
		}
		if body == nil || !call.Now.Equal(now) || call.Nonce != [16]byte{1, 2} || call.BaseURL != base {
			t.Errorf("got body %v and %+v", body, call)
		}
		return append([]byte("signed "), body...), nil
	}
	h := newHarness(t, c, base, nil)
	h.cfg.Now = func() time.Time { return now }
	p, err := h.passage()
	if err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]string{"abc": "signed abc", "": "signed "} {
		for _, length := range []int64{int64(len(body)), -1} {
			resp, err := p.Do(t.Context(), Passing{Method: "POST", Path: "/x", Body: strings.NewReader(body), Length: length, Nonce: [16]byte{1, 2}})
			if err != nil {
				t.Fatal(err)
			}
			if got := finish(t, resp); got != want {
				t.Errorf("sent %q, want %q", got, want)
			}
		}
	}
	_, err = p.Do(t.Context(), Passing{Method: "POST", Path: "/x", Body: strings.NewReader("refuse me"), Length: 9})
	var refused *connector.PassError
	if !errors.As(err, &refused) || refused.Param != "body" || refused.Detail != "No." {
		t.Errorf("got %v, want the connector's words", err)
	}
}

// tokenPasser wants a token.
type tokenPasser struct{ tokenConnector }

func (tokenPasser) Pass() connector.Pass { return connector.Pass{} }

func (tokenPasser) Authorize(c connector.Call, r *http.Request, _ []byte) ([]byte, error) {
	r.Header.Set("Authorization", "Bearer "+c.Token.Reveal())
	return nil, nil
}

// A token is fetched once, and another one after the PSP refused it. The refusal
// itself is the caller's to see.
func TestPassageTokens(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	fetched, good := 0, "token-1"
	base := httpPSP(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.URL.Path == "/token":
			fetched++
			_, _ = fmt.Fprintf(w, "token-%d", fetched)
		case r.Header.Get("Authorization") != "Bearer "+good:
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	p := passage(t, tokenPasser{newTokenConnector()}, base, nil)
	for i, want := range []struct {
		status, fetched int
		good            string
	}{{200, 1, "token-1"}, {200, 1, "token-1"}, {401, 1, "token-2"}, {200, 2, "token-2"}} {
		mu.Lock()
		good = want.good
		mu.Unlock()
		resp, err := p.Do(t.Context(), Passing{Method: "GET", Path: "/x"})
		if err != nil {
			t.Fatal(err)
		}
		finish(t, resp)
		if resp.StatusCode != want.status || fetched != want.fetched {
			t.Errorf("call %d: status %d after %d tokens, want %d after %d", i, resp.StatusCode, fetched, want.status, want.fetched)
		}
	}
}

func TestPassageRefuses(t *testing.T) {
	t.Parallel()
	bad := newPasser()
	bad.pass.RequestHeaders = []string{"Authorization"}
	tests := map[string]struct {
		c    connector.Connector
		base string
		want error
	}{
		"a connector that passes nothing": {&fakeConnector{}, "http://127.0.0.1:1", connector.ErrUnsupported},
		"a host of nobody":                {newPasser(), "http://psp.example", ErrHost},
		"credentials of callers":          {bad, "http://127.0.0.1:1", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := newHarness(t, tt.c, tt.base, nil).passage(); err == nil || (tt.want != nil && !errors.Is(err, tt.want)) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// An answer that no request asked for is none: the PSP must not turn the
// connection into something else.
func TestPassageSwitchesNothing(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		}
	}()
	p := passage(t, newPasser(), "http://"+ln.Addr().String(), nil)
	if _, err := p.Do(t.Context(), Passing{Method: "GET", Path: "/x"}); !errors.Is(err, ErrInDoubt) {
		t.Errorf("got %v, want an error in doubt", err)
	}
	if len(p.slots) != 0 {
		t.Error("the place is still taken")
	}
}

func BenchmarkPassage(b *testing.B) {
	rt := roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}, nil
	})
	c := newPasser()
	account := &connector.Account{Name: "acme", Connector: c, Mode: "test", BaseURL: "http://127.0.0.1:1"}
	p, err := New(Config{Tripper: func(*connector.Account) (http.RoundTripper, error) { return rt, nil }}).Passage(account)
	if err != nil {
		b.Fatal(err)
	}
	header := http.Header{"Accept": {"*/*"}, "Authorization": {"Bearer theirs"}, "User-Agent": {"curl"}, "Content-Type": {"text/plain"}}
	b.ReportAllocs()
	for b.Loop() {
		resp, err := p.Do(b.Context(), Passing{Method: "POST", Path: "/v1/charges", Query: "a=b", Header: header, Body: strings.NewReader("amount=1"), Length: 8})
		if err != nil {
			b.Fatal(err)
		}
		_ = resp.Body.Close()
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
