package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
)

// tokenConnector wants a bearer token first.
type tokenConnector struct{ *fakeConnector }

func (f tokenConnector) EncodeToken(c connector.Call) (*http.Request, error) {
	return http.NewRequest(http.MethodPost, c.BaseURL+"/token", strings.NewReader("grant_type=client_credentials"))
}

func (f tokenConnector) DecodeToken(r connector.Response) (connector.Secret, time.Duration, error) {
	if r.StatusCode != http.StatusOK {
		return connector.Secret{}, 0, fmt.Errorf("status %d", r.StatusCode)
	}
	return connector.NewSecret(string(r.Body)), time.Hour, nil
}

func newTokenConnector() tokenConnector {
	f := &fakeConnector{}
	f.encode = func(c connector.Call) (*http.Request, error) {
		req, err := encodePOST(c, "x")
		if err == nil {
			req.Header.Set("Authorization", "Bearer "+c.Token.Reveal())
		}
		return req, err
	}
	return tokenConnector{f}
}

func TestTokenIsFetchedOnceAndRenewed(t *testing.T) {
	var fetched, calls atomic.Int32
	var clock atomic.Int64
	base := httpPSP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			_, _ = fmt.Fprintf(w, "token-%d", fetched.Add(1))
			return
		}
		calls.Add(1)
		if want := fmt.Sprintf("Bearer token-%d", fetched.Load()); r.Header.Get("Authorization") != want {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, "succeeded")
	})
	h := newHarness(t, newTokenConnector(), base, nil)
	start := time.Now()
	h.cfg.Now = func() time.Time { return start.Add(time.Duration(clock.Load())) }
	many := func() {
		t.Helper()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				ctx, cancel := context.WithDeadline(t.Context(), h.cfg.Now().Add(time.Minute))
				defer cancel()
				if x := h.Exchange(ctx, h.account, callTo(h)); x.Outcome != answered || x.Sends != 1 {
					t.Errorf("got %+v", x)
				}
			})
		}
		wg.Wait()
	}
	many()
	many()
	if fetched.Load() != 1 || calls.Load() != 40 {
		t.Errorf("got %d tokens for %d calls, want 1 for 40", fetched.Load(), calls.Load())
	}
	clock.Store(int64(time.Hour - tokenMargin))
	h.account.Timeout = 2 * time.Hour // contexts count by the real clock
	many()
	if fetched.Load() != 2 {
		t.Errorf("got %d tokens a minute before the end of the first, want 2", fetched.Load())
	}
}

func callTo(h *harness) connector.Call {
	c := authorize()
	c.BaseURL = h.account.Base()
	return c
}

// A kept token that the PSP no longer takes is replaced; a new one is not.
func TestRefusedTokenIsReplacedOnce(t *testing.T) {
	for _, tt := range []struct {
		name    string
		good    string // the token that the PSP takes
		outcome connector.Outcome
		state   connector.State
		sends   int
	}{
		{"kept token ended early", "token-2", answered, connector.Succeeded, 2},
		{"no token will do", "none", answered, connector.Rejected, 2},
		{"no new token is given", "withheld", answered, connector.Rejected, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			good, fetched := "token-1", 0
			base := httpPSP(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/token" && good == "withheld":
					w.WriteHeader(http.StatusServiceUnavailable)
				case r.URL.Path == "/token":
					fetched++
					_, _ = fmt.Fprintf(w, "token-%d", fetched)
				case r.Header.Get("Authorization") != "Bearer "+good:
					w.WriteHeader(http.StatusUnauthorized)
				default:
					_, _ = io.WriteString(w, "succeeded")
				}
			})
			h := newHarness(t, newTokenConnector(), base, nil)
			if x := h.do(authorize()); x.Outcome != answered || x.Sends != 1 {
				t.Fatalf("first exchange: %+v", x)
			}
			good = tt.good
			x := h.do(authorize())
			if x.Outcome != tt.outcome || x.Result.State != tt.state || x.Sends != tt.sends {
				t.Errorf("got %v %v after %d sends (%v), want %v %v after %d", x.Outcome, x.Result.State, x.Sends, x.Err, tt.outcome, tt.state, tt.sends)
			}
		})
	}
}

func TestNoTokenIsNotSent(t *testing.T) {
	base := httpPSP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/token" {
			t.Error("sent without a token")
		}
		w.WriteHeader(http.StatusInternalServerError)
	})
	h := newHarness(t, newTokenConnector(), base, nil)
	if x := h.do(authorize()); x.Outcome != notSent || x.Sends != 0 || len(h.pauses) != MaxSends-1 {
		t.Errorf("got %v, %d sends, %d pauses (%v); want not_sent, 0, %d", x.Outcome, x.Sends, len(h.pauses), x.Err, MaxSends-1)
	}
	call := authorize()
	call.Sent = time.Now().Add(-time.Minute)
	h.account.Connector.(tokenConnector).promise = connector.Idempotency{By: connector.ByKey}
	h.rooms = map[*connector.Account]*room{}
	if x := h.do(call); x.Outcome != unknown {
		t.Errorf("after an earlier exchange in doubt: got %v, want unknown", x.Outcome)
	}
}

// A codec that breaks down ends its exchange, and nothing else.
func TestPanicOfACodec(t *testing.T) {
	psp := newPSP(t, "succeeded")
	base := "http://" + psp.ln.Addr().String()
	encodes := &fakeConnector{encode: func(connector.Call) (*http.Request, error) { panic(canary) }}
	decodes := &fakeConnector{decode: func(_ connector.Call, r connector.Response) (connector.Result, error) {
		return connector.Result{State: connector.State(r.Body[100:])}, nil
	}}
	for _, tt := range []struct {
		f       *fakeConnector
		outcome connector.Outcome
		err     string
	}{
		{encodes, notSent, "encode: the connector panicked: string"},
		{decodes, unknown, "decode answer 200: the connector panicked: runtime error: slice bounds out of range [100:9]\n" + ErrNotRepeatable.Error()},
	} {
		x := newHarness(t, tt.f, base, psp.dial).do(authorize())
		if want := strings.ReplaceAll(tt.err, "\n", " "); x.Outcome != tt.outcome || x.Err.Error() != want {
			t.Errorf("got %v, %v; want %v, %s", x.Outcome, x.Err, tt.outcome, want)
		}
	}
}

// offlineConnector answers some calls by itself.
type offlineConnector struct {
	*fakeConnector
	result connector.Result
	ok     bool
	err    error
}

func (f offlineConnector) Offline(connector.Call) (connector.Result, bool, error) {
	return f.result, f.ok, f.err
}

func TestOffline(t *testing.T) {
	hits := 0
	base := httpPSP(t, func(w http.ResponseWriter, _ *http.Request) {
		hits++
		_, _ = io.WriteString(w, "succeeded")
	})
	action := connector.Result{State: connector.ActionRequired}
	tests := []struct {
		name    string
		f       offlineConnector
		outcome connector.Outcome
		state   connector.State
		hits    int
	}{
		{"answers", offlineConnector{result: action, ok: true}, answered, connector.ActionRequired, 0},
		{"needs a call", offlineConnector{}, answered, connector.Succeeded, 1},
		{"fails", offlineConnector{err: connector.ErrUnsupported}, notSent, "", 0},
		{"contradicts", offlineConnector{ok: true}, notSent, "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hits = 0
			tt.f.fakeConnector = &fakeConnector{}
			h := newHarness(t, tt.f, base, nil)
			x := h.do(authorize())
			if x.Outcome != tt.outcome || x.Result.State != tt.state || x.Sends != tt.hits || hits != tt.hits {
				t.Errorf("got %+v and %d requests, want %+v", x, hits, tt)
			}
		})
	}
}

func TestCallsInFlightAreBounded(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	base := httpPSP(t, func(w http.ResponseWriter, _ *http.Request) {
		inside <- struct{}{}
		<-release
		_, _ = io.WriteString(w, "succeeded")
	})
	h := newHarness(t, &fakeConnector{}, base, nil)
	h.cfg.MaxInFlight = 1
	first := make(chan connector.Exchange)
	go func() { first <- h.do(authorize()) }()
	<-inside
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	x := h.Exchange(ctx, h.account, callTo(h))
	if x.Outcome != notSent || !errors.Is(x.Err, ErrBusy) || x.Sends != 0 {
		t.Errorf("got %v, %v; want not_sent, ErrBusy", x.Outcome, x.Err)
	}
	close(release)
	if x := <-first; x.Outcome != answered {
		t.Errorf("the first exchange: %+v", x)
	}
}
