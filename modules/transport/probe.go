package transport

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"sync"
	"time"
)

// probe finds out whether a byte of a request may have left.
//
// The rule, from certain to cautious:
//
//  1. net/http announces GotConn before it writes any byte of a request, after
//     the dial, the proxy's CONNECT and the TLS handshake. No GotConn: no byte.
//     (A tripper of others is believed only if it announced GetConn, so that it
//     is known to announce anything.)
//  2. Over HTTP/1.x the connection serves this request alone from GotConn on,
//     and it is one of ours: a [countedConn] at the bottom, under TLS or not.
//     When the round trip has failed and no Write was begun on it since GotConn,
//     it is sealed under the same lock that Write takes. So no Write can begin
//     later either, and nothing was sent.
//  3. Everything else may have been sent: HTTP/2, where many requests share a
//     connection, and connections that are not ours.
//
// A Write that failed with nothing accepted (the usual end of a connection that
// the PSP has reset) is taken back from the count: the kernel took no byte.
// Counting below TLS errs to one side only: an alert that TLS writes while
// closing counts as a byte of the request.
type probe struct {
	now func() time.Time

	mu        sync.Mutex // net/http may call from its own goroutines
	asked     bool       // GetConn was announced
	got       bool       // GotConn was
	shared    bool       // some connection does not serve this request alone, or is not ours
	conn      *countedConn
	writes    uint64 // begun on conn at GotConn
	reused    bool
	connected time.Time
}

func (p *probe) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{GetConn: p.getConn, GotConn: p.gotConn}
}

func (p *probe) getConn(string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = true
}

func (p *probe) gotConn(info httptrace.GotConnInfo) {
	conn, exclusive := bottom(info.Conn)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.got || conn == nil || !exclusive {
		p.shared = true // a second connection also means that the first is out of sight
	} else {
		p.conn, p.writes = conn, conn.begun()
	}
	p.got, p.reused = true, info.Reused
	if p.connected.IsZero() {
		p.connected = p.now()
	}
}

// left tells, after a failed round trip, whether a byte may have left. traces
// says that the tripper is known to announce its connections.
func (p *probe) left(traces bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !p.got:
		return !traces && !p.asked
	case p.shared:
		return true
	default:
		return !p.conn.seal(p.writes)
	}
}

// bottom finds our own connection under layers of TLS; exclusive is false where
// the protocol on top lets requests share it.
func bottom(c net.Conn) (own *countedConn, exclusive bool) {
	exclusive = true
	for {
		switch conn := c.(type) {
		case *countedConn:
			return conn, exclusive
		case *tls.Conn:
			if conn.ConnectionState().NegotiatedProtocol == "h2" {
				exclusive = false
			}
			c = conn.NetConn()
		default:
			return nil, false
		}
	}
}

var errSealed = errors.New("connection was given up")

// countedConn counts the writes that were begun on a connection, less those of
// which no byte was accepted.
type countedConn struct {
	net.Conn

	mu     sync.Mutex
	writes uint64
	sealed bool
}

// Write counts first and writes then.
func (c *countedConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	if c.sealed {
		c.mu.Unlock()
		return 0, errSealed
	}
	c.writes++
	c.mu.Unlock()
	n, err := c.Conn.Write(b)
	if n == 0 && err != nil {
		c.mu.Lock()
		c.writes--
		c.mu.Unlock()
	}
	return n, err
}

func (c *countedConn) begun() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writes
}

// seal forbids all further writes if none was begun since there were n, and
// tells whether that is so.
func (c *countedConn) seal(n uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writes != n {
		return false
	}
	c.sealed = true
	return true
}
