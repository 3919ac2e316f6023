package books

import (
	"net"
	"net/http"
	"strconv"
)

// Answer is what a PSP says to one request.
type Answer struct {
	Status int
	// Type is the Content-Type; empty = application/json.
	Type string
	// Header holds further fields, name after value after name.
	Header []string
	Body   []byte
	// Wrong renders the body with another amount; nil where it has none.
	Wrong func() []byte
	// Release is called once the answer has left, or never will; nil = nothing.
	Release func()
}

// Wall is how a PSP's edge words what the request never reached.
type Wall struct {
	E500, E429 func() Answer
	// Replays tells that act honors [Fault.Replay]: struck by 500_before it
	// answers with the 500 and stores that, without doing the work.
	Replays bool
}

// Serve answers one request under the faults: it takes the fault that strikes
// it, if any, lets act do the work at the right moment (or never), and spoils
// the answer. act gets the fault, for a dialect whose own memory is part of the
// misbehavior.
func (b *Books) Serve(w http.ResponseWriter, r *http.Request, connector string, op Operation, wall Wall, act func(Fault) Answer) {
	f := b.Faults.take(connector, op, false)
	switch f.Kind {
	case ResetBefore:
		hangUp(w)
	case E429:
		write(w, wall.E429())
		return
	case E500Before:
		if !f.Replay || !wall.Replays {
			write(w, wall.E500())
			return
		}
	case DelayBefore:
		if !b.wait(r, f) {
			hangUp(w)
		}
	default: // it strikes later
	}
	a := act(f)
	defer func() {
		if a.Release != nil {
			a.Release()
		}
	}()
	switch f.Kind {
	case DelayAfter:
		if !b.wait(r, f) {
			hangUp(w)
		}
	case ResetAfter:
		hangUp(w)
	case E500After:
		release := a.Release
		a = wall.E500()
		a.Release = release
	case HTML502:
		a = Answer{Status: http.StatusBadGateway, Type: "text/html", Body: []byte(badGateway), Release: a.Release}
	case Truncated:
		truncate(w, a)
	case BadJSON:
		a.Body = append(append([]byte{}, a.Body[:len(a.Body)/2]...), "\\\x00}}"...)
	case WrongAmount:
		if a.Wrong != nil {
			a.Body = a.Wrong()
		}
	default: // it has struck, or strikes the webhook
	}
	write(w, a)
}

const badGateway = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"

// wait holds a delay; false means that nobody is left to answer, and that
// nothing should be done any more.
func (b *Books) wait(r *http.Request, f Fault) bool {
	over := make(chan struct{})
	stop := b.cfg.AfterFunc(f.Delay(), func() { close(over) })
	defer stop()
	left := r.Context().Done()
	if f.Late {
		left = nil
	}
	select {
	case <-over:
		return true
	case <-left:
		return false
	case <-b.done:
		return false
	}
}

// write sends a whole answer.
func write(w http.ResponseWriter, a Answer) {
	head(w, a)
	_, _ = w.Write(a.Body) // the client may have left: nothing to do about it
}

func head(w http.ResponseWriter, a Answer) {
	h := w.Header()
	for i := 0; i+1 < len(a.Header); i += 2 {
		h[a.Header[i]] = a.Header[i+1 : i+2 : i+2]
	}
	if a.Type == "" {
		a.Type = "application/json"
	}
	h["Content-Type"] = []string{a.Type}
	h["Content-Length"] = []string{strconv.Itoa(len(a.Body))}
	w.WriteHeader(a.Status)
}

// truncate promises the whole body, sends half of it and hangs up.
func truncate(w http.ResponseWriter, a Answer) {
	head(w, a)
	_, _ = w.Write(a.Body[:len(a.Body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// hangUp ends the connection without a byte: with a TCP reset where there is a
// connection of our own to reset, with HTTP/2's RST_STREAM elsewhere. It does
// not return.
func hangUp(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		raw := conn
		if t, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
			raw = t.NetConn()
		}
		if t, ok := raw.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // closing then sends RST, not FIN
		}
		_ = raw.Close()
	}
	panic(http.ErrAbortHandler)
}
