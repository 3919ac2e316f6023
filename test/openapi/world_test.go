// Package openapi holds the gateway's API against its own OpenAPI document, by
// tools that know nothing of the gateway. It is a Go module of its own, so that
// what those tools are made of stays out of the gateway's.
package openapi

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/api"
	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connectors/alipay"
	"github.com/purser-pay/purser/modules/connectors/stripe"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/guard"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/routing"
	"github.com/purser-pay/purser/modules/seal"
	"github.com/purser-pay/purser/modules/simulator"
	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/store/sqlite"
	"github.com/purser-pay/purser/modules/transport"
)

var pepper = bytes.Repeat([]byte{7}, 32)

// world is the merchants' API on the real engine, store and connectors, against
// the simulator over sockets.
type world struct {
	t      *testing.T
	url    string // of the API
	broken string // of an API whose engine fails as the Idempotency-Key says
	store  store.Store
	gate   *gate
	keys   map[string]string // by what they are for
	n      int               // keys of requests so far
	shop   string            // the merchant's ID
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, keys: map[string]string{}}
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "w.db"), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	w.store = db
	ids := &payment.IDs{}
	accounts := psps(t)
	w.gate = &gate{Exchanger: transport.New(transport.Config{
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		Tripper: func(*connector.Account) (http.RoundTripper, error) {
			return &http.Transport{DisableKeepAlives: true}, nil
		},
	})}
	eng := engine.New(engine.Config{
		Store: db, Accounts: accounts, Exchange: w.gate, Plan: routing.New(routes(accounts)), Pepper: pepper,
		IDs: ids, Now: time.Now, Random: rand.Reader, Log: slog.New(slog.DiscardHandler),
	})
	box, err := seal.New(nil, bytes.Repeat([]byte{9}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	cfg := api.Config{
		Box: box, Tester: tester{}, Engine: eng, Store: db,
		Guard:  guard.New(guard.Config{Directory: w.merchants(ids), Now: time.Now}),
		Pepper: pepper, IDs: ids, Now: time.Now,
		Log: slog.New(slog.DiscardHandler), Version: "test",
	}
	w.url = serve(t, api.New(cfg))
	cfg.Engine = broken{eng}
	w.broken = serve(t, api.New(cfg))
	return w
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

// psps are a Stripe and an Alipay account at a simulator.
func psps(t *testing.T) map[string]*connector.Account {
	t.Helper()
	sim, err := simulator.New(simulator.Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	url := serve(t, sim)
	t.Cleanup(func() { _ = sim.Close() })
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	const app = "2021000000000001"
	if err := sim.SetAlipayMerchantKey(app, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})); err != nil {
		t.Fatal(err)
	}
	ali := &alipay.Connector{
		AppID: app, PublicKey: connector.NewSecret(sim.AlipayPublicKeyPEM()),
		PrivateKey: connector.NewSecret(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))),
	}
	if err := ali.Prepare(); err != nil {
		t.Fatal(err)
	}
	account := func(name string, c connector.Connector) *connector.Account {
		return &connector.Account{
			Name: name, Mode: payment.Test, Merchants: []string{"*"}, BaseURL: url + "/" + name, Timeout: 5 * time.Second, Connector: c,
		}
	}
	return map[string]*connector.Account{
		"stripe": account("stripe", &stripe.Connector{SecretKey: connector.NewSecret("sk_test_x"), WebhookSecret: connector.NewSecret("whsec_x")}),
		"alipay": account("alipay", ali),
	}
}

func routes(accounts map[string]*connector.Account) (out []routing.Account) {
	for _, a := range accounts {
		spec := a.Connector.Spec()
		r := routing.Account{Name: a.Name, Mode: a.Mode, Merchants: a.Merchants, Currencies: spec.Currencies}
		for _, m := range spec.Methods {
			r.Methods = append(r.Methods, routing.Method{Type: m.Type, Flow: m.Flow, Manual: m.Manual})
		}
		out = append(out, r)
	}
	return out
}

// merchants issues a shop's keys: "all" scopes, and "read" for payments alone.
func (w *world) merchants(ids *payment.IDs) *access.Directory {
	w.t.Helper()
	issuer := access.Issuer{Pepper: pepper, Random: rand.Reader, IDs: ids, Now: time.Now}
	shop, err := issuer.CreateMerchant("Shop")
	if err != nil {
		w.t.Fatal(err)
	}
	w.shop = shop.ID
	var keys []access.Key
	for name, scopes := range map[string][]access.Scope{"all": nil, "read": {access.PaymentsRead}} {
		k, text, err := issuer.CreateKey(access.KeyRequest{Merchant: shop.ID, Mode: payment.Test, Scopes: scopes})
		if err != nil {
			w.t.Fatal(err)
		}
		keys, w.keys[name] = append(keys, k), text
	}
	d := access.NewDirectory(pepper, func(context.Context) ([]access.Merchant, []access.Key, error) {
		return []access.Merchant{shop}, keys, nil
	}, time.Now)
	if err := d.Refresh(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return d
}

// gate holds exchanges back while it is shut.
type gate struct {
	engine.Exchanger
	mu   sync.Mutex
	shut chan struct{}
	seen chan struct{}
}

// Exchange waits at the gate, then does what it is for.
func (g *gate) Exchange(ctx context.Context, a *connector.Account, c connector.Call) connector.Exchange {
	g.mu.Lock()
	shut, seen := g.shut, g.seen
	g.mu.Unlock()
	if shut != nil {
		seen <- struct{}{}
		<-shut
	}
	return g.Exchanger.Exchange(ctx, a, c)
}

// close shuts the gate. seen yields when somebody waits at it; open lets all
// pass.
func (g *gate) close() (seen <-chan struct{}, open func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.seen = make(chan struct{}), make(chan struct{}, 16)
	return g.seen, sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		close(g.shut)
		g.shut = nil
	})
}

// tester finds that every endpoint answers 503.
type tester struct{}

// Test tells of a try that did not go well.
func (tester) Test(_ context.Context, e payment.Endpoint) (payment.Delivery, error) {
	return payment.Delivery{
		ID: "whd_00000000000000000000000000", Merchant: e.Merchant, Mode: e.Mode, Endpoint: e.ID, Type: "webhook.test", Try: 1,
		Status: http.StatusServiceUnavailable, Error: "the endpoint answered 503", CreatedAt: time.Now(), Took: time.Millisecond,
	}, nil
}

// broken is an engine that fails.
type broken struct{ *engine.Engine }

// Create fails as the key says.
func (broken) Create(_ context.Context, c engine.Claim, _ engine.Create) (engine.Answer, error) {
	if strings.HasPrefix(c.Key, "store") {
		return engine.Answer{}, store.ErrUnavailable
	}
	return engine.Answer{}, errors.New("something that nobody foresaw")
}

// call is a request as a merchant might send it.
type call struct {
	method, path, body string
	key                string // whose; "" is "all", and "-" sends none
	header             http.Header
}

// idempotent are the calls that need an Idempotency-Key.
func (c call) idempotent() bool { return c.method == http.MethodPost }

// request makes a fresh request of c. Only what c.header says is out of the
// ordinary.
func (w *world) request(base string, c call) *http.Request {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), c.method, base+c.path, strings.NewReader(c.body))
	if err != nil {
		w.t.Fatal(err)
	}
	if c.body == "" {
		r.Body = http.NoBody
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	switch c.key {
	case "":
		r.Header.Set("Authorization", "Bearer "+w.keys["all"])
	case "-":
	default:
		r.Header.Set("Authorization", "Bearer "+w.keys[c.key])
	}
	if c.idempotent() {
		w.n++
		r.Header.Set("Idempotency-Key", "k-"+strconv.Itoa(w.n))
	}
	for name, values := range c.header {
		r.Header[name] = values
		if len(values) == 0 {
			delete(r.Header, name)
		}
	}
	return r
}

// send returns the answer with its body read, and readable again.
func (w *world) send(r *http.Request) (*http.Response, []byte) {
	w.t.Helper()
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, body
}
