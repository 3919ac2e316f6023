package engine_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connectors/alipay"
	"github.com/purser-pay/purser/modules/connectors/stripe"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/routing"
	"github.com/purser-pay/purser/modules/simulator"
	"github.com/purser-pay/purser/modules/simulator/books"
	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/store/sqlite"
	"github.com/purser-pay/purser/modules/transport"
)

// rig is a whole gateway without its doors: the real store, engine, transport
// and connectors, against the simulator over real sockets. The clock is the
// machine's plus an offset, so that time can be let pass.
type rig struct {
	t     *testing.T
	eng   *engine.Engine
	store store.Store
	sim   *simulator.Simulator
	log   bytes.Buffer

	mu     sync.Mutex
	offset time.Duration
	dials  []string // what befalls the next connections: "" or "refuse"
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t}
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "r.db"), Now: r.now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	r.store = db
	if r.sim, err = simulator.New(simulator.Config{Now: r.now, Seed: 1}); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(r.sim)
	t.Cleanup(func() { srv.Close(); _ = r.sim.Close() })
	key, public := merchantKey()
	if err := r.sim.SetAlipayMerchantKey("2021000000000001", []byte(public)); err != nil {
		t.Fatal(err)
	}
	ali := &alipay.Connector{
		AppID: "2021000000000001", PrivateKey: connector.NewSecret(key), PublicKey: connector.NewSecret(r.sim.AlipayPublicKeyPEM()),
	}
	if err := ali.Prepare(); err != nil {
		t.Fatal(err)
	}
	accounts := map[string]*connector.Account{
		"stripe": {
			Name: "stripe", Mode: payment.Test, Merchants: []string{"*"}, BaseURL: srv.URL + "/stripe", Timeout: 5 * time.Second,
			Connector: &stripe.Connector{SecretKey: connector.NewSecret("sk_test_rig"), WebhookSecret: connector.NewSecret("whsec_rig")},
		},
		"alipay": {
			Name: "alipay", Mode: payment.Test, Merchants: []string{"*"}, BaseURL: srv.URL + "/alipay", Timeout: 5 * time.Second, Connector: ali,
		},
	}
	tr := transport.New(transport.Config{
		Sleep:   func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		Tripper: func(*connector.Account) (http.RoundTripper, error) { return r.tripper(), nil },
	})
	r.eng = engine.New(engine.Config{
		Store: db, Accounts: accounts, Exchange: tr, Plan: routing.New(routes(accounts)), Pepper: []byte("pepper"),
		IDs: &payment.IDs{Now: r.now}, Now: r.now, Random: rand.Reader, Log: slog.New(slog.NewTextHandler(&lockedWriter{w: &r.log}, nil)),
	})
	return r
}

type lockedWriter struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// routes tells routing of the accounts, as gateway does.
func routes(accounts map[string]*connector.Account) (rs []routing.Account) {
	for _, a := range accounts {
		spec := a.Connector.Spec()
		ra := routing.Account{Name: a.Name, Mode: a.Mode, Merchants: a.Merchants, Priority: a.Priority, Currencies: spec.Currencies}
		for _, m := range spec.Methods {
			ra.Methods = append(ra.Methods, routing.Method{Type: m.Type, Flow: m.Flow, Manual: m.Manual})
		}
		rs = append(rs, ra)
	}
	return rs
}

// merchantKey is one RSA pair for all rigs, PKCS#8 and SPKI, PEM: making one
// takes longer than most tests.
var merchantKey = sync.OnceValues(func() (private, public string) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	priv, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: priv})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub}))
})

func (r *rig) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Add(r.offset)
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.offset += d
}

// tripper refuses connections as the script says; each request has its own.
func (r *rig) tripper() http.RoundTripper {
	var d net.Dialer
	return &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			r.mu.Lock()
			fate := ""
			if len(r.dials) > 0 {
				fate, r.dials = r.dials[0], r.dials[1:]
			}
			r.mu.Unlock()
			if fate == "refuse" {
				return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
			}
			return d.DialContext(ctx, network, address)
		},
	}
}

// fault makes the simulator misbehave n times.
func (r *rig) fault(connectorName, operation, fault string, n int) {
	r.t.Helper()
	if err := r.sim.Books().Faults.Add(books.Fault{Connector: connectorName, Operation: operation, Kind: books.FaultKind(fault), Times: n}); err != nil {
		r.t.Fatal(err)
	}
}

// reached is how often the PSP got an operation, and how often it acted: the
// former by its own count of requests, the latter by what is in its books.
func (r *rig) reached(connectorName, operation string) (n tally) {
	for _, t := range r.sim.Books().Counts(connectorName, "") {
		n.received += t.Requests[operation].Received
	}
	for _, c := range r.sim.Books().All() {
		switch {
		case c.Connector != connectorName:
		case operation == "authorize" && c.Authorized > 0,
			operation == "capture" && c.Captured > 0,
			operation == "void" && c.Status == payment.Canceled:
			n.acted++
		case operation == "refund":
			n.acted += int64(len(c.Refunds))
		}
	}
	return n
}

type tally struct{ received, acted int64 }

// settle ends the misfortune and works until the payment is settled, or for at
// most d of the rig's time.
func (r *rig) settle(id string, d time.Duration) payment.Payment {
	r.t.Helper()
	r.sim.Books().Faults.Clear()
	r.mu.Lock()
	r.dials = nil
	r.mu.Unlock()
	return r.live(id, d)
}

// live lets time d pass, or as much as the payment's attempts are pending.
func (r *rig) live(id string, d time.Duration) (p payment.Payment) {
	r.t.Helper()
	for passed := time.Duration(0); passed < d; passed += time.Second {
		if _, err := r.eng.Work(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
		p = r.payment(id)
		open := false
		for _, a := range p.Attempts {
			open = open || a.Status == payment.AttemptPending
		}
		if !open {
			return p
		}
		r.pass(time.Second)
	}
	return p
}

func (r *rig) payment(id string) (p payment.Payment) {
	r.t.Helper()
	if err := r.store.View(r.t.Context(), func(tx store.Reader) (err error) { p, err = tx.Payment(id); return err }); err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) create(in engine.Create) object {
	r.t.Helper()
	r.mu.Lock()
	r.offset += time.Millisecond
	key := fmt.Sprintf("k-%d", r.offset)
	r.mu.Unlock()
	a, err := r.eng.Create(r.t.Context(), claim(key), in)
	if err != nil {
		r.t.Fatalf("create: %v", err)
	}
	return read(r.t, a)
}

// refusal returns the code by which a call was refused, or fails.
func refusal(t *testing.T, err error) payment.Code {
	t.Helper()
	var e *payment.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a refusal", err)
	}
	return e.Code
}
