package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Where Caddy reloads, the new servers listen on sockets of their own beside those of
// the old ones (SO_REUSEPORT), and the kernel deals connections out to both. What it
// has given to an old socket is reset when that one closes: who had just connected
// loses a request that nobody has read. So servers with a door listen on sockets that
// stay open for as long as a configuration wants their address. Each of them belongs
// to one server at a time, and is passed on in the handover.

// keptPrefix begins the names of those networks in Caddy's addresses, as in
// payments_tcp/:8443. Nobody needs to write them: keepSockets does.
const keptPrefix = "payments_"

// keptNetworks are the networks whose sockets Caddy would open anew at each reload,
// and where their HTTP/3 goes, whose sockets it keeps by itself.
var keptNetworks = map[string]string{"tcp": "udp", "tcp4": "udp4", "tcp6": "udp6"}

func init() {
	for network, datagrams := range keptNetworks {
		caddy.RegisterNetwork(keptPrefix+network, listenKept)
		caddyhttp.RegisterNetworkHTTP3(keptPrefix+network, datagrams)
	}
}

// keepSockets has a server that is being provisioned listen on sockets that outlive
// reloads. Addresses that are none, or that leave the port to the kernel, stay as
// they are: Caddy has more to say of them.
func keepSockets(server *caddyhttp.Server) {
	for i, text := range server.Listen {
		address, err := caddy.ParseNetworkAddress(text)
		if _, ok := keptNetworks[address.Network]; err != nil || !ok || address.StartPort == 0 {
			continue
		}
		address.Network = keptPrefix + address.Network
		server.Listen[i] = address.String()
	}
}

// sockets are those that are open, by Caddy's name of their address.
var sockets = caddy.NewUsagePool()

// listenKept implements [caddy.ListenerFunc].
func listenKept(ctx context.Context, network, host, ports string, offset uint, config net.ListenConfig) (any, error) {
	first, _, _ := strings.Cut(ports, "-")
	port, err := strconv.ParseUint(first, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q: %w", ports, err)
	}
	address := caddy.NetworkAddress{
		Network: strings.TrimPrefix(network, keptPrefix), Host: host,
		StartPort: uint(port) + offset, EndPort: uint(port) + offset,
	}
	if err := refuseTaken(ctx, address); err != nil {
		return nil, err
	}
	key := address.String()
	s, err := pooled(sockets, key, func() (*socket, error) {
		ln, err := address.Listen(ctx, 0, config)
		if err != nil {
			return nil, err
		}
		return newSocket(ln.(net.Listener), config.KeepAliveConfig), nil //nolint:forcetypeassert // these networks are streams
	})
	if err != nil {
		return nil, err
	}
	return s.open(config.KeepAliveConfig, func() error { return drop(sockets, key) }), nil
}

// refuseTaken refuses an address where another process listens. Caddy would open it all
// the same (SO_REUSEPORT), and the kernel would deal connections out to both processes:
// to an old one that nobody ended, or to one of another user who waited for it. An
// address that this process has already is a reload's affair.
func refuseTaken(ctx context.Context, address caddy.NetworkAddress) error {
	if listensHere(address) {
		return nil
	}
	ln, err := new(net.ListenConfig).Listen(ctx, address.Network, address.JoinHostPort(0))
	switch {
	case err == nil:
		return ln.Close()
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen %s: another process listens there", address.JoinHostPort(0))
	default: // it fails again, or passes with the capabilities that Caddy takes for it
		return nil
	}
}

// listensHere tells whether this process listens at an address, or at one that overlaps
// with it: a reload may turn :8443 into 127.0.0.1:8443.
func listensHere(address caddy.NetworkAddress) bool {
	for network := range keptNetworks {
		for _, host := range []string{address.Host, "", "0.0.0.0", "::"} {
			at := caddy.NetworkAddress{Network: network, Host: host, StartPort: address.StartPort, EndPort: address.EndPort}
			if caddy.ListenerUsage(network, at.JoinHostPort(0)) > 0 {
				return true
			}
		}
	}
	here := false
	sockets.Range(func(key, _ any) bool {
		text, _ := key.(string)
		here = hasPort(text, address.StartPort)
		return !here
	})
	if here {
		return true
	}
	old := serversOf(caddy.ActiveContext())
	if old == nil {
		return false
	}
	for _, server := range old.Servers {
		if slices.ContainsFunc(server.Listen, func(text string) bool { return hasPort(text, address.StartPort) }) {
			return true
		}
	}
	return false
}

// hasPort tells whether an address, as Caddy writes it, has a port.
func hasPort(text string, port uint) bool {
	a, err := caddy.ParseNetworkAddress(text)
	return err == nil && a.StartPort <= port && port <= a.EndPort
}

// stays tells whether more than one configuration that runs listens on an address.
func stays(address caddy.NetworkAddress) bool {
	network, ours := strings.CutPrefix(address.Network, keptPrefix)
	if !ours {
		return caddy.ListenerUsage(address.Network, address.JoinHostPort(0)) > 1
	}
	address.Network = network
	n, _ := sockets.References(address.String())
	return n > 1
}

// passSockets gives every socket to the server that opened it last.
func passSockets() {
	sockets.Range(func(_, value any) bool {
		if s, ok := value.(*socket); ok {
			s.pass()
		}
		return true
	})
}

// socket is a listener that several servers have open, of which one gets the
// connections.
type socket struct {
	ln net.Listener
	// alive is what ln sets on its connections.
	alive net.KeepAliveConfig

	mu sync.Mutex
	// shares are those of the servers, the oldest first.
	shares []*share
	// owner is the share whose server gets connections; nil = there are no shares.
	owner *share
	// moved is closed where the owner changes.
	moved chan struct{}
}

func newSocket(ln net.Listener, alive net.KeepAliveConfig) *socket {
	s := &socket{ln: ln, alive: alive, moved: make(chan struct{})}
	go s.accept()
	return s
}

// Destruct closes the socket once its last share is closed.
func (s *socket) Destruct() error { return s.ln.Close() }

// share is one server's listener on a socket.
type share struct {
	socket   *socket
	alive    net.KeepAliveConfig
	accepted chan accepted
	closed   chan struct{}
	drop     func() error
	once     sync.Once
}

// accepted is what the kernel's accept has returned.
type accepted struct {
	conn net.Conn
	err  error
}

// open makes a share, which gets nothing before the socket is passed on, except where
// it is the only one.
func (s *socket) open(alive net.KeepAliveConfig, drop func() error) *share {
	sh := &share{socket: s, alive: alive, accepted: make(chan accepted), closed: make(chan struct{}), drop: drop}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shares = append(s.shares, sh)
	if s.owner == nil {
		s.own(sh)
	}
	return sh
}

// own makes a share the owner. The caller holds the lock.
func (s *socket) own(sh *share) {
	if s.owner == sh {
		return
	}
	s.owner = sh
	close(s.moved)
	s.moved = make(chan struct{})
}

// pass makes the newest share the owner.
func (s *socket) pass() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.shares); n > 0 {
		s.own(s.shares[n-1])
	}
}

// leave takes a share away, and passes the socket on where it was the owner.
func (s *socket) leave(sh *share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shares = slices.DeleteFunc(s.shares, func(other *share) bool { return other == sh })
	switch n := len(s.shares); {
	case s.owner != sh:
	case n > 0:
		s.own(s.shares[n-1])
	default:
		s.own(nil)
	}
}

func (s *socket) current() (*share, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owner, s.moved
}

// accept deals out connections until the socket closes. A server that is slow to ask
// for the next leaves it with the kernel.
func (s *socket) accept() {
	for {
		conn, err := s.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		s.deliver(accepted{conn, err})
	}
}

// deliver hands over what was accepted to whoever owns the socket by then.
func (s *socket) deliver(a accepted) {
	for {
		owner, moved := s.current()
		if owner == nil {
			if a.conn != nil {
				_ = a.conn.Close() // as the kernel does with what waits at a socket that closes
			}
			return
		}
		select {
		case owner.accepted <- a:
			return
		case <-moved:
		}
	}
}

// Accept implements [net.Listener].
func (sh *share) Accept() (net.Conn, error) {
	for {
		select {
		case <-sh.closed:
			return nil, net.ErrClosed
		case a := <-sh.accepted:
			if owner, _ := sh.socket.current(); owner != sh {
				// It was passed on at this very moment.
				go sh.socket.deliver(a)
				continue
			}
			if a.err != nil {
				return nil, a.err
			}
			sh.keepAlive(a.conn)
			return a.conn, nil
		}
	}
}

// keepAlive sets what this server wants and the one that opened the socket did not.
func (sh *share) keepAlive(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok || sh.alive == sh.socket.alive {
		return
	}
	alive := sh.alive
	alive.Enable = true // as net does where a ListenConfig leaves it out
	_ = tcp.SetKeepAliveConfig(alive)
}

// Close implements [net.Listener]. The socket itself closes with its last share.
func (sh *share) Close() error {
	err := net.ErrClosed
	sh.once.Do(func() {
		sh.socket.leave(sh)
		close(sh.closed)
		err = sh.drop()
	})
	return err
}

// Addr implements [net.Listener].
func (sh *share) Addr() net.Addr { return sh.socket.ln.Addr() }
