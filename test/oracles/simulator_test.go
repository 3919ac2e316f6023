package oracles

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/simulator"
)

// world is a simulator on the loopback interface, and a receiver for its
// webhooks.
type world struct {
	sim *simulator.Simulator
	url string // of the simulator
	// hook is the receiver's address.
	hook string
	got  chan *http.Request
	// answer is what the receiver answers with.
	answer string
}

// newWorld opens empty books under the real clock: the libraries ask the
// system for the time, and so do what they call.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{got: make(chan *http.Request, 32), answer: "success"}
	sim, err := simulator.New(simulator.Config{Seed: 11, Client: http.DefaultClient})
	if err != nil {
		t.Fatal(err)
	}
	w.sim = sim
	front := httptest.NewServer(sim)
	hook := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			rw.WriteHeader(http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(rw, w.answer) // the sender may have left
		kept := r.Clone(context.WithoutCancel(r.Context()))
		kept.Body = io.NopCloser(bytes.NewReader(body))
		w.got <- kept
	}))
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
		front.Close()
		hook.Close()
	})
	w.url, w.hook = front.URL, hook.URL
	return w
}

// receive waits for the next webhook.
func (w *world) receive(t *testing.T) *http.Request {
	t.Helper()
	select {
	case r := <-w.got:
		return r
	case <-time.After(10 * time.Second):
		t.Fatal("no webhook")
		return nil
	}
}

// want compares the fields of an answer with what they should be.
func want[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
