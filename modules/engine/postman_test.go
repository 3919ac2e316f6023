package engine_test

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/connector"
	"github.com/purser-pay/purser/modules/connectors/adyen"
	"github.com/purser-pay/purser/modules/connectors/alipay"
	"github.com/purser-pay/purser/modules/connectors/stripe"
	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/inbox"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/routing"
	"github.com/purser-pay/purser/modules/simulator"
	"github.com/purser-pay/purser/modules/simulator/books"
	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/store/sqlite"
	"github.com/purser-pay/purser/modules/transport"
)

const stripeWebhookSecret = "whsec_postman"

// letter is one webhook as the PSP sent it.
type letter struct {
	path   string
	header http.Header
	body   []byte
}

// postman is a rig whose webhooks all pass through one unreliable postman, on
// their way from the simulator into the door. It also stands between the engine
// and the transport, where it loses answers and kills the gateway. What it does
// is drawn from one seed; rnd nil = it is a good postman.
type postman struct {
	*rig
	rnd    *rand.Rand
	cfg    engine.Config
	real   engine.Exchanger
	clock  *books.Clock
	path   string // of the database
	door   *inbox.Inbox
	mail   []letter // not delivered yet
	read   []letter // delivered
	busy   bool     // in the middle of a call already
	kills  int      // how many more are allowed
	losses int      // of answers, likewise: a QR code that is never answered is shown to nobody
	// redirected: see life.
	redirected bool
	fences     chan struct{}
	arrived    []letter // guarded by mu
}

func newPostman(t *testing.T, rnd *rand.Rand) *postman {
	t.Helper()
	r := &postman{rig: &rig{t: t}, rnd: rnd, kills: 2, losses: 2, fences: make(chan struct{}, 1), path: filepath.Join(t.TempDir(), "p.db")}
	r.clock = books.NewClock(r.now())
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: r.path, Now: r.now, Log: slog.New(slog.DiscardHandler)})
	r.check(err)
	t.Cleanup(func() { _ = db.Close() })
	r.store = db
	r.sim, err = simulator.New(simulator.Config{
		Now: r.now, AfterFunc: r.clock.AfterFunc, Seed: 1, Client: &http.Client{Transport: r}, AlipayKey: []byte(alipayKey()),
	})
	r.check(err)
	srv := httptest.NewServer(r.sim)
	t.Cleanup(func() { srv.Close(); _ = r.sim.Close() })
	r.check(r.sim.RegisterStripeWebhook("", "http://pay.example.com/webhooks/stripe", stripeWebhookSecret))
	r.check(r.sim.RegisterAdyenWebhook(adyenMerchant, "http://pay.example.com/webhooks/adyen", adyenHMAC))
	accounts := r.accounts(srv.URL)
	r.real = transport.New(transport.Config{
		Sleep:   func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		Tripper: func(*connector.Account) (http.RoundTripper, error) { return r.tripper(), nil },
	})
	random := &seeded{r: rand.NewChaCha8([32]byte{})}
	if rnd != nil {
		random.r = rand.NewChaCha8([32]byte{byte(rnd.Uint32()), byte(rnd.Uint32())})
	}
	r.cfg = engine.Config{
		Store: db, Accounts: accounts, Exchange: r, Plan: routing.New(routes(accounts)), Pepper: []byte("pepper"),
		IDs: &payment.IDs{Now: r.now, Random: random}, Now: r.now, Random: random, Log: slog.New(slog.NewTextHandler(&lockedWriter{w: &r.log}, nil)),
	}
	r.eng = engine.New(r.cfg)
	r.door = inbox.New(inbox.Config{
		Engine: r, IDs: r.cfg.IDs, Now: r.now, Log: r.cfg.Log,
		Account: func(name string) (*connector.Account, bool) { a, ok := accounts[name]; return a, ok },
	})
	return r
}

// now stands still but for pass: one seed is one history.
func (r *postman) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC).Add(r.offset)
}

type seeded struct {
	mu sync.Mutex
	r  *rand.ChaCha8
}

func (s *seeded) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.Read(b)
}

// accounts are one of each PSP, and beside it one that takes no payments: its
// webhooks bear good signatures, and are about nothing.
func (r *postman) accounts(base string) map[string]*connector.Account {
	key, public := merchantKey()
	r.check(r.sim.SetAlipayMerchantKey("2021000000000001", []byte(public)))
	ali := &alipay.Connector{
		AppID: "2021000000000001", PrivateKey: connector.NewSecret(key), PublicKey: connector.NewSecret(r.sim.AlipayPublicKeyPEM()),
	}
	r.check(ali.Prepare())
	ady := &adyen.Connector{
		APIKey: connector.NewSecret("AQEtest"), MerchantAccount: adyenMerchant, HMACKey: connector.NewSecret(adyenHMAC),
	}
	r.check(ady.Prepare())
	all := map[string]*connector.Account{}
	for name, c := range map[string]connector.Connector{
		"stripe": &stripe.Connector{SecretKey: connector.NewSecret("sk_test_rig"), WebhookSecret: connector.NewSecret(stripeWebhookSecret)},
		"alipay": ali, "adyen": ady,
	} {
		all[name] = &connector.Account{
			Name: name, Mode: payment.Test, Merchants: []string{"*"}, BaseURL: base + "/" + name, Timeout: 5 * time.Second, Connector: c,
		}
		foreign := *all[name]
		foreign.Name, foreign.Merchants = name+"-foreign", []string{"mer_0000000000000000000000000z"}
		all[foreign.Name] = &foreign
	}
	return all
}

// alipayKey is the PSP's own, made once: the postman signs with it what the
// simulator would not say.
var alipayKey = sync.OnceValue(func() string {
	key, err := rsa.GenerateKey(crand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
})

// Receive and Return are the engine that runs at the moment.
func (r *postman) Receive(ctx context.Context, account string, events []connector.Event) error {
	return r.eng.Receive(ctx, account, events)
}

func (r *postman) Return(ctx context.Context, token string, query map[string][]string) (string, time.Duration, error) {
	return r.eng.Return(ctx, token, query)
}

const fence = "/fence"

// RoundTrip is the gateway's end of the simulator's webhooks.
func (r *postman) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	if req.URL.Path == fence {
		r.fences <- struct{}{}
	} else {
		r.mu.Lock()
		r.arrived = append(r.arrived, letter{req.URL.Path, req.Header.Clone(), body})
		r.mu.Unlock()
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader("success")), Header: http.Header{}, Request: req}, nil
}

// collect takes what the PSP has sent so far. The notices of a charge leave in
// order, so one that is behind them all tells that they have come.
func (r *postman) collect() {
	r.t.Helper()
	for _, c := range r.sim.Books().All() {
		r.sim.Books().Webhooks.Send(books.Notice{Connector: "postman", Subject: c.PSPReference, URL: "http://pay.example.com" + fence})
		<-r.fences
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mail = append(r.mail, r.arrived...)
	r.arrived = nil
}

// chance is true in that many of a hundred cases; never for the good postman.
func (r *postman) chance(percent int) bool { return r.rnd != nil && r.rnd.IntN(100) < percent }

// Exchange is the way to the PSP. Behind the PSP's back and ours, webhooks may
// overtake the answer, the answer may be lost, and the gateway may be killed.
func (r *postman) Exchange(ctx context.Context, a *connector.Account, c connector.Call) connector.Exchange {
	x := r.real.Exchange(ctx, a, c)
	if r.rnd == nil || r.busy {
		return x
	}
	r.busy = true
	defer func() { r.busy = false }()
	if r.chance(50) {
		r.disturb()
	}
	if c.Op.Kind() == payment.KindSync || c.Step == "card" || r.redirected && c.Op.Kind() == payment.KindAuthorize {
		return x
	}
	if r.kills > 0 && r.chance(10) {
		r.kills--
		panic(crash{})
	}
	if x.Outcome == connector.Answered && r.losses > 0 && r.chance(30) {
		r.losses--
		return connector.Exchange{Outcome: connector.Unknown, Err: errors.New("the answer is lost"), Sends: x.Sends, Took: x.Took}
	}
	return x
}

// post hands one letter in at the door, and returns the answer's status. Stripe
// signs each send anew.
func (r *postman) post(l letter) int {
	header := l.header.Clone()
	if l.path == "/webhooks/stripe" && header.Get("Resign") == "" && header.Get("Stripe-Signature") != "" {
		header.Set("Stripe-Signature", r.signStripe(l.body))
	}
	header.Del("Resign")
	req := httptest.NewRequestWithContext(context.Background(), http.MethodPost, l.path, bytes.NewReader(l.body))
	req.Header = header
	w := httptest.NewRecorder()
	r.door.ServeHTTP(w, req)
	return w.Code
}

// deliver hands in the letter i of the mail.
func (r *postman) deliver(i int) {
	r.t.Helper()
	l := r.mail[i]
	r.mail = slices.Delete(r.mail, i, i+1)
	r.read = append(r.read, l)
	if got := r.post(l); got != http.StatusOK {
		r.t.Fatalf("a webhook got %d: %.300s\n%s", got, l.body, tail(r.log.String(), 5))
	}
}

// deliverAll delivers all there is: in order, or in any.
func (r *postman) deliverAll() {
	r.t.Helper()
	r.collect()
	for len(r.mail) > 0 {
		i := 0
		if r.rnd != nil {
			i = r.rnd.IntN(len(r.mail))
		}
		r.deliver(i)
		if r.chance(30) {
			r.work()
		}
	}
}

// disturb does a few of the things that befall webhooks.
func (r *postman) disturb() {
	r.t.Helper()
	r.collect()
	if r.rnd == nil {
		r.deliverAll()
		r.work()
		return
	}
	for range r.rnd.IntN(6) {
		switch n := r.rnd.IntN(10); {
		case n < 3 && len(r.mail) > 0:
			r.deliver(r.rnd.IntN(len(r.mail)))
		case n < 5 && len(r.read) > 0: // again
			r.mail = append(r.mail, r.read[r.rnd.IntN(len(r.read))])
			r.deliver(len(r.mail) - 1)
		case n < 7 && len(r.mail)+len(r.read) > 0:
			all := slices.Concat(r.mail, r.read)
			r.deceive(all[r.rnd.IntN(len(all))])
		case n == 7: // killed between storing and applying
			if !r.busy {
				r.eng = engine.New(r.cfg)
			}
		case n == 8: // killed while applying: what is leased waits for its lease
			if _, err := r.store.Lease(r.t.Context(), store.Inbound, r.now(), 16, 5*time.Second); err != nil {
				r.t.Fatal(err)
			}
		default:
			r.work()
		}
	}
}

// work lets the engine do what is due, and survives a kill in the middle of it.
func (r *postman) work() {
	r.t.Helper()
	_, err, _ := r.do(func(e *engine.Engine) (a engine.Answer, err error) {
		_, err = e.WorkSerially(context.Background())
		return a, err
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *postman) do(call func(*engine.Engine) (engine.Answer, error)) (a engine.Answer, err error, crashed bool) {
	if r.busy { // a kill takes the whole process: who called us dies of it
		a, err = call(r.eng)
		return a, err, false
	}
	defer func() {
		if v := recover(); v != nil {
			if _, ok := v.(crash); !ok {
				panic(v)
			}
			r.eng, r.busy, crashed = engine.New(r.cfg), false, true
		}
	}()
	a, err = call(r.eng)
	return a, err, false
}

// insist calls until it is answered, under one key, as merchants do.
func (r *postman) insist(call func(*engine.Engine) (engine.Answer, error)) object {
	r.t.Helper()
	for range 60 {
		a, err, crashed := r.do(call)
		if err == nil && !crashed {
			return read(r.t, a)
		}
		if !crashed {
			var e *payment.Error
			if !errors.As(err, &e) || !e.Code.Info().Retryable {
				r.t.Fatalf("refused: %v\n%s", err, tail(r.log.String(), 20))
			}
		}
		r.pass(2 * time.Second)
		r.work()
	}
	r.t.Fatalf("no answer\n%s", tail(r.log.String(), 20))
	return object{}
}

// await lets time pass until the payment is as its merchant, or its payer, needs
// it to go on. Whatever is held back comes after a while.
func (r *postman) await(id string, ready func(payment.Payment) bool) payment.Payment {
	r.t.Helper()
	for n := range 120 {
		p := r.payment(id)
		if ready(p) {
			return p
		}
		if n < 10 {
			r.disturb()
		} else {
			r.deliverAll()
		}
		if r.rnd == nil || n > 5 || r.chance(40) {
			r.sim.Books().Advance()
		}
		r.work()
		r.pass(time.Second)
	}
	r.t.Fatalf("it never comes so far: %+v\n%s", r.payment(id), tail(r.log.String(), 30))
	return payment.Payment{}
}

// finish delivers everything, and some of it again, and lets it settle.
func (r *postman) finish() {
	r.t.Helper()
	r.disturb()
	for range 3 { // what the PSP does by itself may make it do more
		r.sim.Books().Advance()
		r.disturb()
	}
	r.deliverAll()
	if r.rnd != nil {
		for _, i := range r.rnd.Perm(len(r.read)) {
			r.deceive(r.read[i])
			r.mail = append(r.mail, r.read[i])
			r.deliver(len(r.mail) - 1)
			if r.chance(20) {
				r.work()
			}
		}
	}
	r.rnd = nil
	for range 45 {
		r.work()
		r.pass(2 * time.Second)
	}
}

// form reads a letter of Alipay's.
func (l letter) form(t *testing.T) url.Values {
	t.Helper()
	v, err := url.ParseQuery(string(l.body))
	if err != nil {
		t.Fatal(err)
	}
	return v
}
