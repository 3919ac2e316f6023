package outbox

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/seal"
	"github.com/purser-pay/purser/modules/store"
	"github.com/purser-pay/purser/modules/store/sqlite"
	"github.com/purser-pay/purser/modules/webhook"
)

// clock is set by hand, or runs.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// watcher is an Observer that keeps what it hears.
type watcher struct {
	mu      sync.Mutex
	tried   map[Result]int
	dropped int
	stopped []payment.Endpoint
	backlog time.Duration
	changed chan struct{}
}

func newWatcher() *watcher {
	return &watcher{tried: map[Result]int{}, changed: make(chan struct{}, 1)}
}

func (w *watcher) do(fn func()) {
	w.mu.Lock()
	fn()
	w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}
func (w *watcher) Tried(r Result, _ time.Duration) { w.do(func() { w.tried[r]++ }) }
func (w *watcher) Dropped(n int)                   { w.do(func() { w.dropped += n }) }
func (w *watcher) Backlog(age time.Duration)       { w.do(func() { w.backlog = max(w.backlog, age) }) }

func (w *watcher) Stopped(e payment.Endpoint) { w.do(func() { w.stopped = append(w.stopped, e) }) }

// until waits for a condition on what was heard.
func (w *watcher) until(t testing.TB, what string, good func() bool) {
	t.Helper()
	late := time.NewTimer(20 * time.Second)
	defer late.Stop()
	for {
		w.mu.Lock()
		ok := good()
		w.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-w.changed:
		case <-late.C:
			w.mu.Lock()
			defer w.mu.Unlock()
			t.Fatalf("%s: it did not come to that; tried %v, dropped %d, stopped %v", what, w.tried, w.dropped, w.stopped)
		}
	}
}

// rig is an outbox on a real store, with real servers at loopback.
type rig struct {
	*Outbox
	t     testing.TB
	clock *clock
	store *sqlite.Store
	heard *watcher
	box   *seal.Box
	ids   *payment.IDs
	ca    *authority
	// names are what DNS says; a name that is not there is at 127.0.0.1 if it
	// ends in ".test", and does not exist otherwise.
	names map[string][]string
	logs  *journal
}

// journal keeps log lines of several outboxes.
type journal struct {
	mu sync.Mutex
	b  strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

var started = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func newRig(t testing.TB, change ...func(*Config, *ClientConfig)) *rig {
	t.Helper()
	r := &rig{
		t: t, clock: &clock{now: started}, heard: newWatcher(), names: map[string][]string{}, ca: newAuthority(t),
		logs: &journal{},
	}
	r.ids = &payment.IDs{Now: r.clock.Now}
	var err error
	if r.box, err = seal.New(nil, make([]byte, seal.KeySize)); err != nil {
		t.Fatal(err)
	}
	if r.store, err = sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "p.db"), Now: r.clock.Now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.store.Close() })
	r.Outbox = r.another(change...)
	return r
}

// another returns one more outbox on the same store.
func (r *rig) another(change ...func(*Config, *ClientConfig)) *Outbox {
	r.t.Helper()
	cc := ClientConfig{
		Targets: webhook.Targets{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		RootCAs: r.ca.pool, Resolver: r.resolver(), Version: "1.2.3",
	}
	cfg := Config{
		Store: r.store, Box: r.box, IDs: r.ids, Now: r.clock.Now, Observer: r.heard,
		Chance: func() float64 { return 0.5 }, Log: slog.New(slog.NewTextHandler(r.logs, nil)),
	}
	for _, c := range change {
		c(&cfg, &cc)
	}
	if cfg.Client == nil {
		cfg.Client = NewClient(cc)
		r.t.Cleanup(cfg.Client.Close)
	}
	return New(cfg)
}

// run starts an outbox, and stops it at the end of the test or by the function.
func (r *rig) run(o *Outbox) (stop func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan struct{})
	go func() { o.Run(ctx); close(done) }()
	stop = func() { cancel(); <-done }
	r.t.Cleanup(stop)
	return stop
}

func (r *rig) update(fn func(store.Tx) error) {
	r.t.Helper()
	if err := r.store.Update(r.t.Context(), fn); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) view(fn func(store.Reader) error) {
	r.t.Helper()
	if err := r.store.View(r.t.Context(), fn); err != nil {
		r.t.Fatal(err)
	}
}

// add makes an endpoint with a fresh secret.
func (r *rig) add(merchant, url string, change ...func(*payment.Endpoint)) (payment.Endpoint, webhook.Secret) {
	r.t.Helper()
	e := payment.Endpoint{
		ID: r.ids.New(payment.PrefixEndpoint), Merchant: merchant, Mode: payment.Test, Version: 1, URL: url,
		Status: payment.EndpointEnabled, CreatedAt: r.clock.Now(), UpdatedAt: r.clock.Now(),
	}
	s := r.secret(&e)
	for _, c := range change {
		c(&e)
	}
	r.update(func(tx store.Tx) error { return tx.PutEndpoint(&e) })
	return e, s
}

// secret gives an endpoint one more secret, the newest.
func (r *rig) secret(e *payment.Endpoint) webhook.Secret {
	r.t.Helper()
	s, err := webhook.NewSecret(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	sealed, err := r.box.Seal(s.Bytes(), []byte(e.ID))
	if err != nil {
		r.t.Fatal(err)
	}
	e.Secrets = append([]payment.EndpointSecret{{Sealed: sealed, CreatedAt: r.clock.Now()}}, e.Secrets...)
	return s
}

// change writes an endpoint as the merchant would.
func (r *rig) change(id string, fn func(*payment.Endpoint)) {
	r.t.Helper()
	r.update(func(tx store.Tx) error {
		e, err := tx.Endpoint(id)
		if err != nil {
			return err
		}
		fn(&e)
		e.Version++
		return tx.PutEndpoint(&e)
	})
}

func (r *rig) endpoint(id string) (e payment.Endpoint) {
	r.t.Helper()
	r.view(func(s store.Reader) (err error) { e, err = s.Endpoint(id); return err })
	return e
}

// emit commits events of a merchant and returns them.
func (r *rig) emit(merchant string, n int) (events []payment.Event) {
	r.t.Helper()
	for range n {
		events = append(events, payment.Event{
			ID: r.ids.New(payment.PrefixEvent), Type: payment.EventPaymentSucceeded, Merchant: merchant, Mode: payment.Test,
			Payment: "pay_1", Sequence: 1, CreatedAt: r.clock.Now(), Object: []byte(`{"id":"pay_1","object":"payment"}`),
		})
	}
	r.update(func(tx store.Tx) error {
		for _, e := range events {
			if err := tx.PutEvent(e); err != nil {
				return err
			}
		}
		return nil
	})
	return events
}

// log returns the delivery log of an endpoint, oldest first.
func (r *rig) log(endpoint string) (all []payment.Delivery) {
	r.t.Helper()
	q := store.DeliveryQuery{Paging: store.Paging{Limit: store.MaxPage}, Endpoint: endpoint}
	for {
		var page store.Page[payment.Delivery]
		r.view(func(s store.Reader) (err error) { page, err = s.Deliveries(q); return err })
		for _, d := range page.Data {
			all = append([]payment.Delivery{d}, all...)
		}
		if q.Cursor = page.Cursor; q.Cursor == "" {
			return all
		}
	}
}

// due returns when the first item of the queue is due.
func (r *rig) due() (time.Time, bool) {
	r.t.Helper()
	due, ok, err := r.store.Due(r.t.Context(), store.Outbound)
	if err != nil {
		r.t.Fatal(err)
	}
	return due.UTC(), ok
}

// received is one request as a merchant saw it.
type received struct {
	header http.Header
	body   []byte
}

var discard = log.New(io.Discard, "", 0)

// merchant is an HTTPS server that keeps what it gets.
type merchant struct {
	*httptest.Server
	forget bool // keep nothing
	mu     sync.Mutex
	got    []received
}

// serve starts a merchant; answer may be nil, for 200.
func (r *rig) serve(answer http.HandlerFunc) *merchant {
	r.t.Helper()
	m := &merchant{}
	m.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		m.mu.Lock()
		if !m.forget {
			m.got = append(m.got, received{req.Header, body})
		}
		m.mu.Unlock()
		if answer != nil {
			answer(w, req)
		}
	}))
	m.Config.ErrorLog = discard
	m.TLS = &tls.Config{Certificates: []tls.Certificate{r.ca.leaf(r.t, time.Now().Add(time.Hour), "*.test", "127.0.0.1")}}
	m.StartTLS()
	r.t.Cleanup(m.Close)
	return m
}

func (m *merchant) all() []received {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]received(nil), m.got...)
}

func (m *merchant) port() string {
	_, port, _ := net.SplitHostPort(m.Listener.Addr().String())
	return port
}

// authority issues certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, cert: cert, pool: x509.NewCertPool()}
	a.pool.AddCert(cert)
	return a
}

func (a *authority) leaf(t testing.TB, until time.Time, hosts ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// resolver asks a DNS server that lives in this process.
func (r *rig) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go r.dns(server)
		return client, nil
	}}
}

// dns answers the queries of one connection (RFC 1035 §4.2.2: with a length).
func (r *rig) dns(c net.Conn) {
	defer c.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		q := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, q); err != nil || len(q) < 17 {
			return
		}
		var labels []string
		at := 12
		for at < len(q) && q[at] != 0 {
			end := at + 1 + int(q[at])
			labels = append(labels, string(q[at+1:end]))
			at = end
		}
		name := strings.ToLower(strings.Join(labels, "."))
		kind := binary.BigEndian.Uint16(q[at+1:])
		addresses, known := r.names[name]
		if !known && strings.HasSuffix(name, ".test") {
			addresses, known = []string{"127.0.0.1"}, true
		}
		answer := append([]byte(nil), q[:at+5]...)
		binary.BigEndian.PutUint16(answer[2:], 0x8180)
		if !known {
			answer[3] |= 3 // no such name
		}
		count := uint16(0)
		for _, text := range addresses {
			ip := netip.MustParseAddr(text)
			if ip.Is4() != (kind == 1) || kind != 1 && kind != 28 {
				continue
			}
			count++
			answer = append(answer, 0xc0, 12, byte(kind>>8), byte(kind), 0, 1, 0, 0, 0, 0, 0, byte(ip.BitLen()/8))
			answer = append(answer, ip.AsSlice()...)
		}
		binary.BigEndian.PutUint16(answer[6:], count)
		binary.BigEndian.PutUint16(answer[8:], 0)
		binary.BigEndian.PutUint16(answer[10:], 0)
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}
