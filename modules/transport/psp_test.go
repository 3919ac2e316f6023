package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/payment"
)

// fakeConnector speaks a protocol of one word: the body of a 200 is a state.
type fakeConnector struct {
	Key     connector.Secret
	promise connector.Idempotency
	steps   []connector.Step
	hosts   []string
	encode  func(c connector.Call) (*http.Request, error)
	decode  func(c connector.Call, r connector.Response) (connector.Result, error)
}

func (f *fakeConnector) Spec() connector.Spec {
	return connector.Spec{Name: "fake", Idempotency: f.promise, Hosts: f.hosts}
}

func (f *fakeConnector) Steps(op payment.Operation) []connector.Step {
	if op.Kind() == payment.KindSync {
		return nil
	}
	return f.steps
}

func (f *fakeConnector) Encode(c connector.Call) (*http.Request, error) {
	if f.encode != nil {
		return f.encode(c)
	}
	return encodePOST(c, "amount=1050")
}

func encodePOST(c connector.Call, body string) (*http.Request, error) {
	req, err := http.NewRequest(http.MethodPost, c.BaseURL+"/charges", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Idempotency-Key", c.Key)
	return req, nil
}

func (f *fakeConnector) Decode(c connector.Call, r connector.Response) (connector.Result, error) {
	if f.decode != nil {
		return f.decode(c, r)
	}
	switch {
	case r.StatusCode == http.StatusTooManyRequests, r.StatusCode == http.StatusUnauthorized:
		return connector.Result{State: connector.Rejected}, nil
	case r.StatusCode != http.StatusOK:
		return connector.Result{}, fmt.Errorf("status %d", r.StatusCode)
	case string(r.Body) == "wrong amount":
		return connector.Result{State: connector.Succeeded, Amount: payment.Money{Minor: 1, Currency: "EUR"}}, nil
	case strings.HasPrefix(string(r.Body), "<"):
		return connector.Result{}, errors.New("not a state")
	}
	return connector.Result{State: connector.State(r.Body)}, nil
}

func authorize() connector.Call {
	return connector.Call{
		Op:  payment.Authorize{Amount: payment.Money{Minor: 1050, Currency: "EUR"}},
		Key: "key0123456789", Reference: "ref0123456789",
	}
}

// psp is a raw TCP server that behaves as badly as it is told, one behavior for
// each connection, and counts what it received.
type psp struct {
	t       testing.TB
	ln      net.Listener
	next    chan string
	script  []string
	dials   int
	reached atomic.Int32
	stuck   func() // called where the PSP falls silent
	wg      sync.WaitGroup
}

func newPSP(t testing.TB, script ...string) *psp {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &psp{t: t, ln: ln, next: make(chan string, 1), script: script, stuck: func() {}}
	p.wg.Add(1)
	go p.serve()
	t.Cleanup(func() {
		_ = ln.Close()
		p.wg.Wait()
	})
	return p
}

// base is its address: https where it is to be no TLS.
func (p *psp) base() string {
	scheme := "http://"
	if p.script[0] == "tls" {
		scheme = "https://"
	}
	return scheme + p.ln.Addr().String()
}

// dial plays the part of the network.
func (p *psp) dial(ctx context.Context, network, address string) (net.Conn, error) {
	what := p.script[min(p.dials, len(p.script)-1)]
	p.dials++
	switch what {
	case "refused":
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	case "dial timeout":
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.ErrDeadlineExceeded}
	case "dead": // every write fails with nothing taken
		ours, theirs := net.Pipe()
		_ = theirs.Close()
		return ours, nil
	}
	p.next <- what
	return (&net.Dialer{}).DialContext(ctx, "tcp", p.ln.Addr().String())
}

func (p *psp) serve() {
	defer p.wg.Done()
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.answer(c, <-p.next)
		_ = c.Close()
	}
}

func (p *psp) answer(c net.Conn, what string) {
	switch what {
	case "tls":
		_, _ = io.WriteString(c, "HTTP/1.1 400 this is no TLS\r\n\r\n")
		return
	case "hang up unread":
		waitReadable(p.t, c)
		p.reached.Add(1)
		_ = c.(*net.TCPConn).SetLinger(0)
		return
	}
	req, err := http.ReadRequest(bufio.NewReader(c))
	if err == nil {
		_, err = io.Copy(io.Discard, req.Body)
	}
	if err != nil {
		return
	}
	p.reached.Add(1)
	say := func(status int, header, body string) {
		_, _ = fmt.Fprintf(c, "HTTP/1.1 %d X\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n%s", status, len(body), header, body)
	}
	switch what {
	case "hang up":
	case "mid-body":
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsucce")
	case "huge":
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+strings.Repeat("a", MaxAnswer+1))
	case "slow":
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsucc")
		p.stuck()
		_, _ = c.Read(make([]byte, 1)) // until the other side gives up
	case "html 502":
		say(502, "", "<html>Bad Gateway")
	case "500":
		say(500, "", "")
	case "429":
		say(429, "Retry-After: 2\r\n", "")
	case "429 long":
		say(429, "Retry-After: 3600\r\n", "")
	case "503":
		say(503, "Retry-After: 3\r\n", "")
	case "garbage":
		say(200, "", "<html>")
	default:
		say(200, "", what)
	}
}

// waitReadable waits for bytes without taking any.
func waitReadable(t testing.TB, c net.Conn) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Error(err)
		return
	}
	_ = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return !errors.Is(err, syscall.EAGAIN)
	})
}

// observed collects what an Observer hears.
type observed struct {
	mu  sync.Mutex
	all []Observation
}

func (o *observed) ObserveExchange(x Observation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, x)
}

// harness joins an account, a transport and what they did.
type harness struct {
	*Transport
	account *connector.Account
	seen    *observed
	pauses  []time.Duration
}

func newHarness(t testing.TB, f connector.Connector, base string, dial dialFunc) *harness {
	t.Helper()
	h := &harness{seen: &observed{}}
	h.account = &connector.Account{Name: "acme", Connector: f, Mode: payment.Test, BaseURL: base, Timeout: 10 * time.Second}
	h.Transport = New(Config{
		Tripper: func(*connector.Account) (http.RoundTripper, error) { return newTripper(HTTPOptions{}, dial) },
		Sleep: func(ctx context.Context, d time.Duration) error {
			h.pauses = append(h.pauses, d)
			return ctx.Err()
		},
		Random:   func() float64 { return 0.5 },
		Observer: h.seen,
	})
	t.Cleanup(h.Close)
	return h
}

func (h *harness) do(c connector.Call) connector.Exchange {
	c.BaseURL = h.account.Base()
	return h.Exchange(context.Background(), h.account, c)
}

// httpPSP serves answers that need no misbehavior.
func httpPSP(t testing.TB, f http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL
}
