package proxy

import (
	"context"
	"errors"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connectors/adyen"
	"github.com/purser-pay/purser/modules/connectors/stripe"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/transport"
)

// Canaries: what must never be seen where it does not belong.
const (
	stripeKey = "sk_test_canarycanarycanary"
	adyenKey  = "AQEcanarycanarycanary"
	callerKey = "pur_test_canarycanarycanary"
	bodyText  = "canary-in-the-body"
)

// world is a pass-through in front of a PSP of the test's own.
type world struct {
	*testing.T
	proxy    *Proxy
	accounts map[string]*connector.Account
	disabled map[string]bool
	url      string // of the gateway
	log      lines  // of its server
	mu       sync.Mutex
	done     []Done
	ended    chan struct{} // one for each Done
}

func newWorld(t *testing.T, psp string) *world {
	t.Helper()
	w := &world{T: t, disabled: map[string]bool{}, ended: make(chan struct{}, 1000)}
	account := func(name string, c connector.Connector, merchants ...string) *connector.Account {
		return &connector.Account{Name: name, Connector: c, Mode: payment.Test, Merchants: merchants, BaseURL: psp, Timeout: 10 * time.Second}
	}
	w.accounts = map[string]*connector.Account{
		"stripe": account("stripe", &stripe.Connector{SecretKey: connector.NewSecret(stripeKey)}, merA),
		"adyen":  account("adyen", &adyen.Connector{APIKey: connector.NewSecret(adyenKey)}, merA),
		"shared": account("shared", &stripe.Connector{SecretKey: connector.NewSecret(stripeKey)}, everyone),
		"theirs": account("theirs", &stripe.Connector{SecretKey: connector.NewSecret(stripeKey)}, merB),
	}
	return w
}

// open starts the gateway.
func (w *world) open() *world {
	w.Helper()
	carrier := transport.New(transport.Config{})
	w.Cleanup(carrier.Close)
	var err error
	w.proxy, err = New(Config{
		Accounts: w.accounts, Passage: carrier.Passage, Disabled: func(name string) bool { return w.disabled[name] },
		Now: time.Now, Random: strings.NewReader(strings.Repeat("n", 1<<12)),
		Done: func(_ Call, d Done) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.done = append(w.done, d)
			w.ended <- struct{}{}
		},
	})
	if err != nil {
		w.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(w.serve))
	server.Config.ErrorLog = log.New(&w.log, "", 0)
	server.Start()
	w.Cleanup(server.Close)
	w.url = server.URL
	return w
}

const requestID = "req_00000000000000000000000001"

// serve is what stands before the pass-through, as far as it matters here.
func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	target, ok, err := Parse(r)
	if !ok {
		err = payment.Errorf(payment.CodeNotFound, "no such route")
	}
	if err == nil {
		err = w.proxy.Serve(rw, r, Call{Merchant: merA, Mode: payment.Test, RequestID: requestID, Target: target})
	}
	if err == nil {
		return
	}
	var e *payment.Error
	if !errors.As(err, &e) {
		w.Errorf("got %T %v, want a payment.Error", err, err)
		e = &payment.Error{Code: payment.CodeInternal}
	}
	for _, canary := range []string{stripeKey, adyenKey, callerKey} {
		if text := e.Error() + e.Detail + causeOf(e); strings.Contains(text, canary) {
			w.Errorf("%q tells a secret", text)
		}
	}
	rw.Header().Set("Content-Type", "application/problem+json")
	rw.WriteHeader(599) // what nobody else says
	_, _ = io.WriteString(rw, refusal(e))
}

func causeOf(e *payment.Error) string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

// last waits for the end of a call.
func (w *world) last() Done {
	w.Helper()
	select {
	case <-w.ended:
	case <-time.After(10 * time.Second):
		w.Fatal("the call does not end")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done[len(w.done)-1]
}

// do makes a call, and reads the answer.
func (w *world) do(method, path string, header http.Header, body io.Reader) (*http.Response, string) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), method, w.url+"/v1/proxy/"+path, body)
	if err != nil {
		w.Fatal(err)
	}
	maps.Copy(req.Header, header)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: 20 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		w.Fatalf("answer: %v", err)
	}
	return resp, string(b)
}

// within bounds what would otherwise hang.
func within(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	select {
	case <-c:
	case <-ctx.Done():
		t.Fatalf("%s did not happen", what)
	}
}
