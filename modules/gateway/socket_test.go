package gateway

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/purser-pay/purser/test/deployment"
)

func TestKeepSockets(t *testing.T) {
	server := &caddyhttp.Server{Listen: []string{
		":8443", "127.0.0.1:8443", "[::1]:8443", "tcp4/:8000-8002", "tcp6/host:1",
		"127.0.0.1:0", "unix//run/x.sock", "fd/3", "nonsense/:1", ":x",
	}}
	want := []string{
		"payments_tcp/:8443", "payments_tcp/127.0.0.1:8443", "payments_tcp/[::1]:8443", "payments_tcp4/:8000-8002", "payments_tcp6/host:1",
		"127.0.0.1:0", "unix//run/x.sock", "fd/3", "nonsense/:1", ":x",
	}
	for range 2 { // a server may have several doors
		keepSockets(server)
		if diff := cmp.Diff(want, server.Listen); diff != "" {
			t.Fatalf("addresses (-want +got):\n%s", diff)
		}
	}
}

// served is a server that accepts on a share, and tells which one it is.
func served(t *testing.T, name string, sh *share) {
	t.Helper()
	done := make(chan struct{})
	t.Cleanup(func() { <-done })
	go func() {
		defer close(done)
		for {
			conn, err := sh.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			conn.Write([]byte(name))
			conn.Close()
		}
	}()
}

func TestSocket(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newSocket(ln, net.KeepAliveConfig{})
	dropped := 0
	drop := func() error { dropped++; return nil }
	shares := map[string]*share{}
	open := func(name string) {
		shares[name] = s.open(net.KeepAliveConfig{}, drop)
		served(t, name, shares[name])
	}
	for _, step := range []struct {
		what string
		do   func()
		want string
	}{
		{"the only one", func() { open("a") }, "a"},
		{"a new one gets nothing yet", func() { open("b") }, "a"},
		{"passed on", s.pass, "b"},
		{"passed on twice", s.pass, "b"},
		{"the new one ends", func() { shares["b"].Close() }, "a"},
		{"a third", func() { open("c") }, "a"},
		{"the owner ends", func() { shares["a"].Close() }, "c"},
		{"closed twice", func() { shares["a"].Close() }, "c"},
	} {
		step.do()
		for range 20 {
			if got := ask(t, ln.Addr().String()); got != step.want {
				t.Fatalf("%s: %s answers, want %s", step.what, got, step.want)
			}
		}
	}
	if shares["c"].Addr() != ln.Addr() {
		t.Errorf("the address is %s, want %s", shares["c"].Addr(), ln.Addr())
	}
	shares["c"].Close()
	if dropped != 3 {
		t.Errorf("%d shares were given back, want 3", dropped)
	}
	if got := ask(t, ln.Addr().String()); got != "" {
		t.Errorf("nobody has the socket open, and %s answers", got)
	}
	if err := s.Destruct(); err != nil {
		t.Error(err)
	}
}

// ask is what the server at an address says; "" = it closes the connection.
func ask(t *testing.T, address string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	var b [8]byte
	n, _ := conn.Read(b[:])
	return string(b[:n])
}

// TestSocketsArePooled holds that configurations that want one address get one
// socket, which closes with the last of them.
func TestSocketsArePooled(t *testing.T) {
	free, err := deployment.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	address, err := caddy.ParseNetworkAddress("payments_tcp/127.0.0.1:" + free)
	if err != nil {
		t.Fatal(err)
	}
	var shares []*share
	for n := range 2 {
		ln, err := address.Listen(t.Context(), 0, net.ListenConfig{})
		if err != nil {
			t.Fatal(err)
		}
		sh, ok := ln.(*share)
		if !ok {
			t.Fatalf("the listener is a %T", ln)
		}
		if shares = append(shares, sh); stays(address) != (n == 1) {
			t.Errorf("stays after %d is %t", n+1, stays(address))
		}
	}
	if shares[0].socket != shares[1].socket {
		t.Error("each has a socket of its own")
	}
	for _, sh := range shares {
		if err := sh.Close(); err != nil {
			t.Error(err)
		}
	}
	if conn, err := net.Dial("tcp", address.JoinHostPort(0)); err == nil {
		conn.Close()
		t.Error("the socket outlives the last that wanted it")
	}
}
