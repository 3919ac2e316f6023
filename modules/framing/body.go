package framing

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// body is a request's body that has to arrive in time. Caddy bounds the pauses
// in a body by default, but not the whole of it.
type body struct {
	io.ReadCloser
	writer http.ResponseWriter
	now    func() time.Time
	linger time.Duration // 0 = nothing is drained: HTTP/2
	timer  *time.Timer

	mu       sync.Mutex
	complete bool // read to the end
	over     bool // nothing more will be read, whatever came
}

func (h Handler) watch(w http.ResponseWriter, r *http.Request) *body {
	b := &body{ReadCloser: r.Body, writer: w, now: h.now}
	if r.ProtoMajor == 1 {
		b.linger = h.Limits.linger()
	}
	b.timer = time.AfterFunc(h.Limits.body(), b.expire)
	return b
}

// expire ends a read that is under way, and all that follow. It is a timer of our
// own: a deadline that were left behind on a connection would end what net/http
// does with it next.
func (b *body) expire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over {
		// Where there are no deadlines, there is no connection to hold.
		_ = http.NewResponseController(b.writer).SetReadDeadline(time.Unix(1, 0))
	}
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.mu.Lock()
		b.over, b.complete = true, b.complete || errors.Is(err, io.EOF)
		b.mu.Unlock()
		b.timer.Stop()
	}
	return n, err
}

func (b *body) whole() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.complete
}

// end comes before the handler returns. What net/http drains of an HTTP/1 body
// after that, so that the client reads the answer, gets the linger.
func (b *body) end() {
	b.timer.Stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.complete && b.linger > 0 {
		_ = http.NewResponseController(b.writer).SetReadDeadline(b.now().Add(b.linger)) // as above
	}
	b.over = true
}

// answer ends the connection where an answer comes before its request was read:
// the rest of a body is not worth waiting for, and must not pass for a request.
type answer struct {
	http.ResponseWriter
	body *body
	told bool
}

// WriteHeader sends the status.
func (a *answer) WriteHeader(status int) {
	if status >= http.StatusOK && !a.told {
		a.told = true
		if !a.body.whole() {
			a.Header().Set("Connection", "close")
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if !a.told {
		a.WriteHeader(http.StatusOK)
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap is for [http.ResponseController].
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
