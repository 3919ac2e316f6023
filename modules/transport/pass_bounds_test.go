package transport

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
)

// What an error says of the PSP's side.
func TestPassageFails(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		psp   string // its behavior; see psp.answer
		tls   bool
		doubt bool
	}{
		{"refused", "refused", false, false},
		{"no answer to the dial", "dial timeout", false, false},
		{"dead connection", "dead", false, false},
		{"no TLS", "tls", true, false},
		{"hangs up unread", "hang up unread", false, true},
		{"hangs up", "hang up", false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			psp := newPSP(t, tt.psp)
			base := "http://localhost:9"
			if tt.tls {
				base = "https://localhost:9"
			}
			p := passage(t, newPasser(), base, psp.dial)
			_, err := p.Do(t.Context(), Passing{Method: "POST", Path: "/x"})
			if err == nil || errors.Is(err, ErrInDoubt) != tt.doubt {
				t.Errorf("got %v, want an error, in doubt: %t", err, tt.doubt)
			}
			if n := len(p.slots); n != 0 {
				t.Errorf("%d places are still taken", n)
			}
		})
	}
}

// brokenReader fails after its text, as a caller does that goes away.
type brokenReader struct {
	io.Reader
	err error
}

func (b *brokenReader) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = b.err
	}
	return n, err
}

func TestPassageBodies(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("a", 100_000)
	broken := errors.New("broken " + passKey)
	tests := []struct {
		name   string
		pass   connector.Pass
		body   io.Reader
		length int64
		want   error // nil = passes
		doubt  bool
	}{
		{"at the bound", connector.Pass{MaxBody: 100_000}, strings.NewReader(large), 100_000, nil, false},
		{"over the bound", connector.Pass{MaxBody: 99_999}, strings.NewReader(large), 100_000, ErrTooLarge, false},
		{"over the bound, unknown", connector.Pass{MaxBody: 99_999}, strings.NewReader(large), -1, ErrTooLarge, true},
		{"at the bound, unknown", connector.Pass{MaxBody: 100_000}, strings.NewReader(large), -1, nil, false},
		{"over the default", connector.Pass{}, strings.NewReader(large), connector.DefaultPassBody + 1, ErrTooLarge, false},
		{"over what may be signed", connector.Pass{Signs: true}, strings.NewReader(large), 100_000, ErrTooLarge, false},
		{"over what may be signed, unknown", connector.Pass{Signs: true}, strings.NewReader(large), -1, ErrTooLarge, false},
		{"breaks off, small", connector.Pass{}, &brokenReader{strings.NewReader("abc"), broken}, 10, ErrBody, false},
		{"breaks off, large", connector.Pass{}, &brokenReader{strings.NewReader("abc"), broken}, 100_000, ErrBody, true},
		{"too short", connector.Pass{}, strings.NewReader("abc"), 10, ErrBody, false},
		{"the server's own bound", connector.Pass{}, &brokenReader{strings.NewReader("abc"), &http.MaxBytesError{Limit: 3}}, 10, ErrTooLarge, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			base := httpPSP(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
			c := newPasser()
			c.pass = tt.pass
			p := passage(t, c, base, nil)
			resp, err := p.Do(t.Context(), Passing{Method: "POST", Path: "/x", Body: tt.body, Length: tt.length})
			if err == nil {
				finish(t, resp)
			}
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || errors.Is(err, ErrInDoubt) != tt.doubt {
				t.Errorf("got %v (in doubt: %t), want %v (in doubt: %t)", err, errors.Is(err, ErrInDoubt), tt.want, tt.doubt)
			}
			if err != nil && strings.Contains(err.Error(), passKey) {
				t.Errorf("%v tells the key", err)
			}
			if n := len(p.slots); n != 0 {
				t.Errorf("%d places are still taken", n)
			}
		})
	}
}

// The PSP is waited for as long as the account's timeout says, for its header
// and for each part of its body.
func TestPassageWaits(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"header", "body"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			base := httpPSP(t, func(w http.ResponseWriter, r *http.Request) {
				if where == "body" {
					_, _ = io.WriteString(w, "begun")
					_ = http.NewResponseController(w).Flush()
				}
				<-release
			})
			t.Cleanup(func() { close(release) })
			h := newHarness(t, newPasser(), base, nil)
			h.account.Timeout = 50 * time.Millisecond
			p, err := h.passage()
			if err != nil {
				t.Fatal(err)
			}
			resp, err := p.Do(t.Context(), Passing{Method: "GET", Path: "/x"})
			if where == "body" {
				if err != nil {
					t.Fatal(err)
				}
				_, err = io.ReadAll(resp.Body)
				if err := resp.Body.Close(); err != nil {
					t.Error(err)
				}
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want that time ran out, and not that the caller went", err)
			}
			if n := len(p.slots); n != 0 {
				t.Errorf("%d places are still taken", n)
			}
		})
	}
}

func TestPassageCallerGoes(t *testing.T) {
	t.Parallel()
	came, release := make(chan struct{}), make(chan struct{})
	base := httpPSP(t, func(http.ResponseWriter, *http.Request) { close(came); <-release })
	t.Cleanup(func() { close(release) })
	p := passage(t, newPasser(), base, nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-came; cancel() }()
	_, err := p.Do(ctx, Passing{Method: "POST", Path: "/x"})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, ErrInDoubt) || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want canceled, and in doubt", err)
	}
}

// Passed requests have places of their own, and nobody waits for one.
func TestPassageIsBounded(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	base := httpPSP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
		_, _ = io.WriteString(w, "succeeded")
	})
	h := newHarness(t, newPasser(), base, nil)
	p, err := h.passage()
	if err != nil {
		t.Fatal(err)
	}
	for range MaxPassing {
		p.slots <- struct{}{}
	}
	if _, err := p.Do(t.Context(), Passing{Method: "GET", Path: "/x"}); !errors.Is(err, ErrBusy) || errors.Is(err, ErrInDoubt) {
		t.Errorf("got %v, want ErrBusy, and nothing in doubt", err)
	}
	if x := h.do(authorize()); x.Outcome != answered {
		t.Errorf("a payment beside: %+v", x)
	}
	<-p.slots
	resp, err := p.Do(t.Context(), Passing{Method: "GET", Path: "/x"})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.slots) != MaxPassing {
		t.Error("the place is free before the answer was read")
	}
	finish(t, resp)
	if err := resp.Body.Close(); err != nil || len(p.slots) != MaxPassing-1 {
		t.Errorf("closed twice: %v, %d places taken", err, len(p.slots))
	}
	close(release)
}
