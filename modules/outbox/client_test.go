package outbox

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/webhook"
)

// client returns one that asks the rig's DNS.
func (r *rig) client(c ClientConfig) *Client {
	r.t.Helper()
	c.RootCAs, c.Resolver = r.ca.pool, r.resolver()
	client := NewClient(c)
	r.t.Cleanup(client.Close)
	return client
}

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// A name is looked at where it leads, at every connection: whatever DNS says,
// nothing inside is reached.
func TestForbiddenAddresses(t *testing.T) {
	r := newRig(t)
	m := r.serve(nil)
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was reached") }))
	defer inside.Close()
	r.names = map[string][]string{
		"loopback.test": {"127.0.0.1"}, "loopback6.test": {"::1"}, "mapped.test": {"::ffff:127.0.0.1"}, "private.test": {"10.0.0.5"},
		"metadata.test": {"169.254.169.254"}, "ula.test": {"fd00::1"}, "linklocal.test": {"fe80::1"}, "cgnat.test": {"100.64.1.1"},
		"nat64.test": {"64:ff9b::7f00:1"}, "sixtofour.test": {"2002:7f00:1::1"}, "zero.test": {"0.0.0.0"}, "zero6.test": {"::"},
		"multicast.test": {"224.0.0.1"}, "broadcast.test": {"255.255.255.255"}, "documentation.test": {"192.0.2.1"},
		"several.test": {"127.0.0.1", "10.0.0.1", "::1"}, "cloud.test": {"168.63.129.16"},
	}
	loopback := webhook.Targets{Allow: prefixes("127.0.0.0/8")}
	plain := webhook.Targets{Allow: prefixes("127.0.0.0/8"), AllowHTTP: true}
	_, insidePort, _ := net.SplitHostPort(inside.Listener.Addr().String())
	type row struct {
		name    string
		targets webhook.Targets
		url     string
		want    Result
	}
	rows := []row{
		{"an address", webhook.Targets{}, "https://127.0.0.1:8443/", Forbidden},
		{"an IPv6 address", webhook.Targets{}, "https://[::1]:8443/", Forbidden},
		{"HTTP", webhook.Targets{}, "http://loopback.test/", Forbidden},
		{"HTTP at an allowed address", loopback, "http://127.0.0.1:" + insidePort + "/", Forbidden},
		{"a port that is not public", webhook.Targets{}, "https://loopback.test:" + m.port() + "/", Forbidden},
		{"beside the allowed network", loopback, "https://private.test:" + m.port() + "/", Forbidden},
		{"plain HTTP beside the allowed network", plain, "http://private.test:" + m.port() + "/", Forbidden},
		{"no such name", loopback, "https://nowhere.example:" + m.port() + "/", Unreachable},
		{"an allowed network", loopback, m.URL, Delivered},
		{"a name in an allowed network", loopback, "https://loopback.test:" + m.port() + "/", Delivered},
	}
	for name := range r.names {
		rows = append(rows, row{name, webhook.Targets{}, "https://" + name + "/", Forbidden})
	}
	for _, test := range rows {
		t.Run(test.name, func(t *testing.T) {
			before := len(m.all())
			a := r.client(ClientConfig{Targets: test.targets}).post(t.Context(), test.url, http.Header{}, nil)
			if a.result != test.want {
				t.Errorf("got %s (%s), want %s", a.result, a.why, test.want)
			}
			if reached := len(m.all()) - before; reached != 0 && test.want != Delivered {
				t.Errorf("the server was reached %d times", reached)
			}
			for _, address := range r.names[test.name] {
				if strings.Contains(a.why, address) {
					t.Errorf("the reason tells what is inside: %q", a.why)
				}
			}
		})
	}
}

// A name that was public when the endpoint was made and leads inside later is
// refused at the next connection.
func TestRebinding(t *testing.T) {
	r := newRig(t)
	m := r.serve(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") })
	c := r.client(ClientConfig{Targets: webhook.Targets{Allow: prefixes("127.0.0.0/30")}})
	url := "https://moves.test:" + m.port() + "/"
	var asked atomic.Int32
	c.https.DialContext = func(inner func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
		return func(ctx context.Context, network, address string) (net.Conn, error) {
			asked.Add(1)
			return inner(ctx, network, address)
		}
	}(c.https.DialContext)
	r.names["moves.test"] = []string{"127.0.0.1"}
	if a := c.post(t.Context(), url, http.Header{}, nil); a.result != Delivered {
		t.Fatalf("first: got %+v", a)
	}
	r.names = map[string][]string{"moves.test": {"127.0.0.9"}}
	if a := c.post(t.Context(), url, http.Header{}, nil); a.result != Forbidden {
		t.Errorf("after it moved: got %+v, want %s", a, Forbidden)
	}
	if got := asked.Load(); got != 2 {
		t.Errorf("got %d connections, want 2", got)
	}
}

func TestNoProxy(t *testing.T) {
	var reached atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer proxy.Close()
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	r := newRig(t)
	m := r.serve(nil)
	c := r.client(ClientConfig{Targets: webhook.Targets{Allow: prefixes("127.0.0.0/8")}})
	if a := c.post(t.Context(), "https://shop.test:"+m.port()+"/", http.Header{}, nil); a.result != Delivered || reached.Load() {
		t.Errorf("got %+v, through a proxy %t", a, reached.Load())
	}
}

func TestPlainHTTP(t *testing.T) {
	r := newRig(t)
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	c := r.client(ClientConfig{Targets: webhook.Targets{Allow: prefixes("127.0.0.0/8"), AllowHTTP: true}})
	if a := c.post(t.Context(), s.URL, http.Header{}, nil); a.result != Delivered {
		t.Errorf("got %+v, want it delivered", a)
	}
}

// raw serves TCP connections.
func raw(t *testing.T, serve func(net.Conn)) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); serve(c) }()
		}
	}()
	return "https://" + ln.Addr().String() + "/"
}

func (r *rig) tls(t *testing.T, change func(*tls.Config)) (url string) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was reached") }))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{r.ca.leaf(t, time.Now().Add(time.Hour), "127.0.0.1")}}
	s.Config.ErrorLog = discard
	change(s.TLS)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

// Whatever goes wrong has a reason in our own words.
func TestReasons(t *testing.T) {
	r := newRig(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := "https://" + closed.Addr().String() + "/"
	closed.Close()
	with := func(c tls.Certificate) string {
		return r.tls(t, func(conf *tls.Config) { conf.Certificates = []tls.Certificate{c} })
	}
	stranger := newAuthority(t)
	hang := r.serve(func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() })
	drip := r.serve(func(w http.ResponseWriter, req *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-req.Context().Done()
	})
	header := r.serve(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 2*maxAnswerHeader))
	})
	tests := []struct {
		name, url string
		result    Result
		why       string
	}{
		{"refused", refused, Unreachable, "the host refused the connection"},
		{"no TLS", raw(t, func(c net.Conn) { io.WriteString(c, "220 mail.example ESMTP ready\r\n"); io.Copy(io.Discard, c) }), Unreachable, "TLS: the host does not speak it at this port"},
		{"it hangs up", raw(t, func(net.Conn) {}), Unreachable, "the host closed the connection before it answered"},
		{"it never speaks", raw(t, func(c net.Conn) { io.Copy(io.Discard, c) }), TimedOut, "no answer within 1s"},
		{"it never answers", hang.URL, TimedOut, "no answer within 1s"},
		{"an endless body", drip.URL, Delivered, ""},
		{"a long header", header.URL, Unreachable, "there was no HTTP answer"},
		{"another host's certificate", with(r.ca.leaf(t, time.Now().Add(time.Hour), "other.test")), Unreachable, "TLS: the certificate is for another host"},
		{"a stranger's certificate", with(stranger.leaf(t, time.Now().Add(time.Hour), "127.0.0.1")), Unreachable, "TLS: the certificate comes from an unknown authority"},
		{"an old certificate", with(r.ca.leaf(t, time.Now().Add(-time.Hour), "127.0.0.1")), Unreachable, "TLS: the certificate has expired, or is not valid yet"},
		{"TLS 1.1", r.tls(t, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), Unreachable, "TLS: the host refused the handshake"},
		{"no such name", "https://nowhere.example:8443/", Unreachable, "the host's name does not resolve"},
		{"a bad URL", "https://shop.test/#x", Forbidden, "webhook URL refused: it has a fragment"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := r.client(ClientConfig{Targets: webhook.Targets{Allow: prefixes("127.0.0.0/8")}, Timeout: time.Second})
			a := c.post(t.Context(), test.url, http.Header{}, []byte("{}"))
			if a.result != test.result || a.why != test.why {
				t.Errorf("got %s %q, want %s %q", a.result, a.why, test.result, test.why)
			}
		})
	}
}

// lateTripper answers when, and because, the time of a request is over. So does
// net/http where a host answers to the connection's end, and the end of the time
// is noticed late.
type lateTripper struct{}

func (lateTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

// An answer to our hanging up is none: whoever gave it may have given the
// delivery up as well.
func TestAnswersToAHangUp(t *testing.T) {
	r := newRig(t)
	c := r.client(ClientConfig{Targets: webhook.Targets{Allow: prefixes("127.0.0.0/8"), AllowHTTP: true}, Timeout: time.Millisecond})
	c.http.RegisterProtocol("http", lateTripper{})
	if a := c.post(t.Context(), "http://127.0.0.1/", http.Header{}, []byte("{}")); a.result != TimedOut || a.status != 0 {
		t.Errorf("got %+v, want %s", a, TimedOut)
	}
}

func TestBoundsAgree(t *testing.T) {
	if webhook.MaxURL != payment.MaxEndpointURL {
		t.Errorf("the longest URL: got %d here and %d there", webhook.MaxURL, payment.MaxEndpointURL)
	}
	if c := NewClient(ClientConfig{Timeout: time.Hour}); c.timeout != Timeout {
		t.Errorf("timeout: got %v, want %v", c.timeout, Timeout)
	}
	if hold <= Timeout+startBy {
		t.Errorf("a lease of %v is over before a try that starts %v into it and takes %v", hold, startBy, Timeout)
	}
}

// A request is sent once: a kept connection that dies with the request on it is
// a failure, not a second request.
func TestNoSilentRepeat(t *testing.T) {
	r := newRig(t)
	var m *merchant
	m = r.serve(func(http.ResponseWriter, *http.Request) {
		if len(m.all()) == 2 {
			panic(http.ErrAbortHandler)
		}
	})
	c := r.client(ClientConfig{Targets: webhook.Targets{Allow: prefixes("127.0.0.0/8")}})
	for n, want := range []Result{Delivered, Unreachable, Delivered} {
		if a := c.post(t.Context(), m.URL, http.Header{}, []byte(fmt.Sprint(n))); a.result != want {
			t.Errorf("request %d: got %+v, want %s", n, a, want)
		}
	}
	if got := len(m.all()); got != 3 {
		t.Errorf("got %d requests, want 3", got)
	}
}
