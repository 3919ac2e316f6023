package postgres

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// cut is what a proxy does to a connection on which COMMIT passes, or another
// statement that it looks out for.
type cut int

const (
	none   cut = iota
	before     // the server never gets it
	after      // the server has answered, and the answer is lost
	behind     // the answer arrives, and nothing after it
)

// proxy stands between a store and its server, and fails on demand.
type proxy struct {
	dsn    DSN // leads through the proxy
	direct DSN // leads past it
	server string
	addr   string
	// statement is what the proxy looks out for, by its first characters, and tag the
	// server's answer to it.
	statement, tag string

	mu     sync.Mutex
	l      net.Listener
	conns  map[net.Conn]bool
	at     cut
	refuse bool // after a cut, nobody gets through any more
	silent bool
	woken  chan struct{} // closed when silence ends
	cuts   int
}

func newProxy(t *testing.T, direct DSN) *proxy {
	t.Helper()
	u, err := url.Parse(string(direct))
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{direct: direct, server: u.Host, statement: "COMMIT\x00", tag: "COMMIT\x00", conns: map[net.Conn]bool{}, woken: make(chan struct{})}
	p.addr = "127.0.0.1:0"
	p.reopen(t)
	t.Cleanup(p.close)
	u.Host = p.addr
	p.dsn = DSN(u.String())
	return p
}

// reopen lets connections in, at the same address as before.
func (p *proxy) reopen(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.l, p.addr, p.refuse = l, l.Addr().String(), false
	p.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
}

// close ends all connections and refuses new ones.
func (p *proxy) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.l.Close()
	for c := range p.conns {
		c.Close()
	}
}

// silence swallows everything, or lets it through again.
func (p *proxy) silence(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent && !on {
		close(p.woken)
		p.woken = make(chan struct{})
	}
	p.silent = on
}

// await returns when there is no silence.
func (p *proxy) await() {
	for {
		p.mu.Lock()
		silent, woken := p.silent, p.woken
		p.mu.Unlock()
		if !silent {
			return
		}
		<-woken
	}
}

// arm cuts the next connection on which COMMIT passes.
func (p *proxy) arm(at cut, refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at, p.refuse = at, refuse
}

// fire tells what to do about a COMMIT, once for each arm.
func (p *proxy) fire() cut {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.at
	if at != none {
		p.at = none
		p.cuts++
		if p.refuse {
			p.l.Close()
		}
	}
	return at
}

// fired tells how often a connection was cut at COMMIT.
func (p *proxy) fired() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

func (p *proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	end := func() {
		client.Close()
		server.Close()
		p.mu.Lock()
		delete(p.conns, client)
		delete(p.conns, server)
		p.mu.Unlock()
	}
	lost := make(chan cut, 1) // what is to become of answers
	go func() {
		defer end()
		p.answers(client, server, lost)
	}()
	defer end()
	p.requests(client, server, lost)
}

// answers carries what the server says, until it is to be lost.
func (p *proxy) answers(client, server net.Conn, lost chan cut) {
	b := make([]byte, 32<<10)
	at := none
	for {
		n, err := server.Read(b)
		if err != nil {
			return
		}
		p.await()
		select {
		case at = <-lost:
		default:
		}
		if at != none {
			answer := []byte(p.tag)
			done := bytes.Index(b[:n], answer)
			if at == behind {
				end := n
				if done >= 0 {
					end = done + len(answer)
				}
				_, _ = client.Write(b[:end])
			}
			if done >= 0 {
				return // it is durable
			}
			continue
		}
		if _, err := client.Write(b[:n]); err != nil {
			return
		}
	}
}

// requests carries what the client says, message by message, and looks out for
// the use of the statement.
func (p *proxy) requests(client, server net.Conn, lost chan cut) {
	head := make([]byte, 4) // the first message has no type
	if _, err := io.ReadFull(client, head); err != nil {
		return
	}
	if !forward(client, server, head, head) {
		return
	}
	commit := []byte("\x00never\x00")
	head = make([]byte, 5)
	for {
		if _, err := io.ReadFull(client, head); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(client, body); err != nil {
			return
		}
		p.await()
		name, rest, _ := bytes.Cut(body, []byte{0})
		switch {
		case head[0] == 'P' && bytes.HasPrefix(rest, []byte(p.statement)):
			commit = append(append([]byte{0}, name...), 0)
		case head[0] == 'B' && bytes.HasPrefix(body, commit): // of the unnamed portal
			switch at := p.fire(); at {
			case before:
				return
			case after, behind:
				lost <- at
			case none:
			}
		}
		if _, err := server.Write(append(bytes.Clone(head), body...)); err != nil {
			return
		}
	}
}

// forward carries one message whose head has been read.
func forward(from io.Reader, to io.Writer, head, length []byte) bool {
	body := make([]byte, binary.BigEndian.Uint32(length)-4)
	if _, err := io.ReadFull(from, body); err != nil {
		return false
	}
	_, err := to.Write(append(bytes.Clone(head), body...))
	return err == nil
}
