package gateway

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddyserver/caddy/v2"

	"github.com/purser-pay/purser/test/deployment"
)

// TestSocketKeepsAlive holds that each server has the keep-alive of its own
// configuration, whichever one opened the socket.
func TestSocketKeepsAlive(t *testing.T) {
	config := func(idle int) net.KeepAliveConfig {
		return net.KeepAliveConfig{Enable: true, Idle: time.Duration(idle) * time.Second}
	}
	lc := net.ListenConfig{KeepAliveConfig: config(71)}
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newSocket(ln, lc.KeepAliveConfig)
	defer s.Destruct()
	for _, idle := range []int{71, 72} {
		sh := s.open(config(idle), func() error { return nil })
		s.pass()
		client, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := sh.Accept()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var got int
		if bad := raw.Control(func(fd uintptr) { got, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE) }); bad != nil || err != nil {
			t.Fatal(bad, err)
		}
		if got != idle {
			t.Errorf("a connection is asked after %d s without a word, want %d", got, idle)
		}
		conn.Close()
		client.Close()
		defer sh.Close()
	}
}

// TestTakenAddress holds that an address where somebody else listens is refused, though
// that socket can be shared, and that one which this process has open is not.
func TestTakenAddress(t *testing.T) {
	const there = "another process listens there"
	free := func() string {
		t.Helper()
		port, err := deployment.FreePort(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return port
	}
	// shareable is how Caddy listens, in whichever process.
	shareable := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
	}}
	kept := func(at string) error {
		t.Helper()
		address, err := caddy.ParseNetworkAddress("payments_" + at)
		if err != nil {
			t.Fatal(err)
		}
		ln, err := address.Listen(t.Context(), 0, net.ListenConfig{})
		if err == nil {
			t.Cleanup(func() { ln.(net.Listener).Close() })
		}
		return err
	}
	tests := []struct {
		theirs, ours string // %s = the port
		want         string // "" = it is opened
	}{
		{"tcp/127.0.0.1:%s", "tcp/127.0.0.1:%s", there},
		{"tcp4/127.0.0.1:%s", "tcp/localhost:%s", there},
		{"tcp/:%s", "tcp/:%s", there},
		{"tcp/:%s", "tcp/127.0.0.1:%s", there},
		{"tcp/127.0.0.1:%s", "tcp4/:%s", there},
		{"tcp6/[::1]:%s", "tcp/[::1]:%s", there},
		{"tcp/127.0.0.2:%s", "tcp/127.0.0.1:%s", ""},
	}
	for _, tt := range tests {
		port := free()
		network, at, _ := strings.Cut(strings.ReplaceAll(tt.theirs, "%s", port), "/")
		ln, err := shareable.Listen(t.Context(), network, at)
		if err != nil {
			if strings.Contains(tt.theirs, "::1") {
				continue // there is no IPv6
			}
			t.Fatal(err)
		}
		err = kept(strings.ReplaceAll(tt.ours, "%s", port))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s beside %s: got %v, want %q", tt.ours, tt.theirs, err, tt.want)
		}
		ln.Close()
		if err := kept(strings.ReplaceAll(tt.ours, "%s", port)); err != nil {
			t.Errorf("%s once %s has ended: %v", tt.ours, tt.theirs, err)
		}
	}
	for _, both := range [][2]string{{"tcp/:%s", "tcp/127.0.0.1:%s"}, {"tcp/127.0.0.1:%s", "tcp/:%s"}, {"tcp4/127.0.0.1:%s", "tcp/127.0.0.1:%s"}} {
		port := free()
		for _, at := range both {
			if err := kept(strings.ReplaceAll(at, "%s", port)); err != nil {
				t.Errorf("%v, both ours: %s: %v", both, at, err)
			}
		}
	}
}
