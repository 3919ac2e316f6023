package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// What comes through a kept connection that dies was sent once.
func TestSentOnce(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"POST", "GET", "DELETE"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			var arrived atomic.Int32
			w := newWorld(t, psp(t, func(w http.ResponseWriter, r *http.Request) {
				if arrived.Add(1)%2 == 0 { // each connection answers once
					c, _, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					_ = c.Close()
				}
			})).open()
			key := http.Header{"Idempotency-Key": {"k"}}
			if resp, body := w.do("POST", "stripe/v1/x", key, nil); resp.StatusCode != http.StatusOK {
				t.Fatalf("got %d %s", resp.StatusCode, body)
			}
			want := "psp_no_answer "
			if method == "GET" {
				want = "psp_unavailable "
			}
			if resp, body := w.do(method, "stripe/v1/x", key, nil); resp.StatusCode != 599 || body != want {
				t.Errorf("got %d %q, want %q", resp.StatusCode, body, want)
			}
			if n := arrived.Load(); n != 2 {
				t.Errorf("%d requests arrived, want 2", n)
			}
		})
	}
}

// An answer is passed on as it comes, and a large body as well.
func TestStreams(t *testing.T) {
	t.Parallel()
	read := make(chan struct{})
	w := newWorld(t, psp(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		<-read
		_, _ = io.WriteString(w, "second")
	})).open()
	resp, err := http.Get(w.url + "/v1/proxy/stripe/v1/x")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b := make([]byte, 5)
	if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != "first" {
		t.Fatalf("got %q %v", b, err)
	}
	close(read) // the end of the answer waits for its beginning to be read
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "second" {
		t.Errorf("got %q %v", rest, err)
	}
	if d := w.last(); d.Bytes != 11 || d.Err != nil {
		t.Errorf("told %+v", d)
	}
}

func TestStreamsBodies(t *testing.T) {
	t.Parallel()
	const size = 200_000
	came := make(chan struct{})
	var got int64
	w := newWorld(t, psp(t, func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 1)
		if _, err := io.ReadFull(r.Body, b); err != nil {
			t.Error(err)
		}
		close(came)
		got, _ = io.Copy(io.Discard, r.Body)
	})).open()
	reader, writer := io.Pipe()
	go func() {
		_, _ = writer.Write(make([]byte, size/2))
		<-came // the rest waits for the first to arrive
		_, _ = writer.Write(make([]byte, size/2))
		_ = writer.Close()
	}()
	if resp, body := w.do("POST", "stripe/v1/x", nil, reader); resp.StatusCode != http.StatusOK || got != size-1 {
		t.Errorf("got %d %s, and %d bytes arrived", resp.StatusCode, body, got+1)
	}
}

// A caller who goes takes the request along.
func TestCallerGoes(t *testing.T) {
	t.Parallel()
	came, gone := make(chan struct{}), make(chan struct{})
	w := newWorld(t, psp(t, func(_ http.ResponseWriter, r *http.Request) {
		close(came)
		<-r.Context().Done()
		close(gone)
	})).open()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-came; cancel() }()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/v1/proxy/stripe/v1/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(req); err == nil {
		t.Errorf("got %d", resp.StatusCode)
	}
	within(t, "the end of the PSP's request", gone)
	if d := w.last(); d.Status != 499 || !errors.Is(d.Err, context.Canceled) {
		t.Errorf("told %+v, want 499 and canceled", d)
	}
}

// An answer that breaks off does so for the caller, too.
func TestBrokenAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, psp(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, bodyText)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})).open()
	resp, err := http.Get(w.url + "/v1/proxy/stripe/v1/x")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %q and %v, want it to break off", b, err)
	}
	if d := w.last(); d.Status != 200 || d.Err == nil || d.Bytes != int64(len(bodyText)) {
		t.Errorf("told %+v, want what came and an error", d)
	}
}

func TestNoAnswer(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	w := newWorld(t, psp(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
			return
		}
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(func() { close(release) })
	hasty, down := *w.accounts["stripe"], *w.accounts["stripe"]
	hasty.Name, hasty.Timeout = "hasty", 50*time.Millisecond
	down.Name, down.BaseURL = "down", "http://127.0.0.1:1"
	w.accounts["hasty"], w.accounts["down"] = &hasty, &down
	w.open()
	tests := []struct {
		name, method, path, want string
		timeout                  bool
	}{
		{"slow", "POST", "hasty/slow", "psp_no_answer ", true},
		{"slow, reading", "GET", "hasty/slow", "psp_unavailable ", true},
		{"hangs up", "POST", "stripe/x", "psp_no_answer ", false},
		{"hangs up, reading", "GET", "stripe/x", "psp_unavailable ", false},
		{"down", "POST", "down/x", "psp_unavailable ", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp, body := w.do(tt.method, tt.path, nil, nil)
			if resp.StatusCode != 599 || body != tt.want {
				t.Errorf("got %d %q, want %q", resp.StatusCode, body, tt.want)
			}
			if d := w.last(); d.Status != 0 || d.Err == nil || errors.Is(d.Err, os.ErrDeadlineExceeded) != tt.timeout {
				t.Errorf("told %+v, want an error, of time: %t", d, tt.timeout)
			}
		})
	}
}
