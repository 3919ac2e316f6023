package clientcert

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestLists reads one source in all its conditions.
func TestLists(t *testing.T) {
	t.Parallel()
	ca, twin := root(t, "Clients"), root(t, "Clients")
	sub := ca.under(t, "Tills")
	leaf, other, below := ca.leaf(t, nil), ca.leaf(t, nil), sub.leaf(t, nil)
	critical := func(id ...int) *x509.RevocationList {
		return &x509.RevocationList{
			Number: big.NewInt(1), ThisUpdate: noon, NextUpdate: noon.Add(time.Hour),
			ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier(id), Critical: true, Value: []byte{0x30, 0}}},
		}
	}
	direct, through := []*x509.Certificate{leaf}, []*x509.Certificate{below, sub.cert}
	both := append(asPEM(ca.crl(t, 1, noon)), asPEM(sub.crl(t, 1, noon))...)
	tests := []struct {
		name      string
		file      []byte
		presented []*x509.Certificate
		want      error
		problem   string
	}{
		{"not on it", ca.crl(t, 1, noon, other), direct, nil, ""},
		{"in PEM", asPEM(ca.crl(t, 1, noon, other)), direct, nil, ""},
		{"on it", ca.crl(t, 1, noon, other, leaf), direct, ErrRevoked, ""},
		{"on the second of a file", append(asPEM(sub.crl(t, 1, noon)), asPEM(ca.crl(t, 1, noon, leaf))...), direct, ErrRevoked, ""},
		{"both authorities", both, through, nil, ""},
		{"the authority between has none", ca.crl(t, 1, noon), through, ErrUnsure, ""},
		{"the root has none", sub.crl(t, 1, noon), through, ErrUnsure, ""},
		{"the authority between is revoked", append(asPEM(ca.crl(t, 1, noon, sub.cert)), asPEM(sub.crl(t, 1, noon))...), through, ErrRevoked, ""},
		{"lapsed", ca.crl(t, 1, noon.Add(-2*time.Hour)), direct, ErrUnsure, "is good from"},
		{"lapsed, and on it", ca.crl(t, 1, noon.Add(-2*time.Hour), leaf), direct, ErrRevoked, "is good from"},
		{"of tomorrow", ca.crl(t, 1, noon.Add(24*time.Hour)), direct, ErrUnsure, "is good from"},
		{"a little ahead", ca.crl(t, 1, noon.Add(time.Minute)), direct, nil, ""},
		{"of the same name, by another key", twin.crl(t, 1, noon), direct, ErrUnsure, "not signed by it"},
		{"an authority between of the same name", append(asPEM(ca.crl(t, 1, noon)), asPEM(ca.under(t, "Tills").crl(t, 1, noon))...), through, ErrUnsure, ""},
		{"a part of a list", ca.crlAs(t, critical(2, 5, 29, 28)), direct, ErrUnsure, "partial"},
		{"a delta", ca.crlAs(t, critical(2, 5, 29, 27)), direct, ErrUnsure, "delta"},
		{"empty", nil, direct, ErrUnsure, "it is empty"},
		{"not a list", []byte("hello"), direct, ErrUnsure, "not a revocation list"},
		{"a certificate", leaf.Raw, direct, ErrUnsure, "not a revocation list"},
		{"another PEM", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), direct, ErrUnsure, "not X509 CRL"},
		{"cut off", asPEM(ca.crl(t, 1, noon))[:100], direct, ErrUnsure, "beside PEM"},
		{"something behind it", append(asPEM(ca.crl(t, 1, noon)), "x"...), direct, ErrUnsure, "beside PEM"},
		{"too large", make([]byte, maxListBytes+1), direct, ErrUnsure, "is over"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cfg := Config{Roots: []*x509.Certificate{ca.cert}, Now: newClock().Now, Lists: []string{place(t, test.file)}}
			c, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			problem := c.Refresh(t.Context())
			if got := errorText(problem); (got == "") != (test.problem == "") || !strings.Contains(got, test.problem) {
				t.Errorf("reading: got %q, want an error with %q", got, test.problem)
			}
			if err := c.Check(t.Context(), test.presented); !errors.Is(err, test.want) {
				t.Errorf("check: got %v, want %v", err, test.want)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestListWithoutEnd holds that a list which does not say until when it is good is
// good for nothing. x509 does not make one, so its parts are put together here.
func TestListWithoutEnd(t *testing.T) {
	t.Parallel()
	ca := root(t, "Clients")
	ecdsaWithSHA256 := pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}}
	tbs, err := asn1.Marshal(struct {
		Version    int
		Algorithm  pkix.AlgorithmIdentifier
		Issuer     asn1.RawValue
		ThisUpdate time.Time
	}{1, ecdsaWithSHA256, asn1.RawValue{FullBytes: ca.cert.RawSubject}, noon})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(tbs)
	signature, err := ca.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: tbs}, ecdsaWithSHA256, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseLists(der); err == nil || !strings.Contains(err.Error(), "until when") {
		t.Errorf("got %v, want an error with \"until when\"", err)
	}
}

// TestListFile changes a file beneath a Checker.
func TestListFile(t *testing.T) {
	t.Parallel()
	ca, at := root(t, "Clients"), newClock()
	leaf := ca.leaf(t, nil)
	path := place(t, ca.crl(t, 2, noon))
	var told []string
	c := checker(t, Config{
		Roots: []*x509.Certificate{ca.cert}, Now: at.Now, Lists: []string{path},
		Report: func(_ string, problem error) { told = append(told, errorText(problem)) },
	})
	steps := []struct {
		name   string
		change func()
		want   error
		told   string // the last of it
	}{
		{"good", func() {}, nil, "-"},
		{"an older list does not count", func() { write(t, path, ca.crl(t, 1, noon.Add(time.Minute))) }, nil, "older"},
		{"the same again", func() {}, nil, "-"},
		{"revoked", func() { write(t, path, ca.crl(t, 3, noon, leaf)) }, ErrRevoked, ""},
		{"no list: the last one counts", func() { os.Remove(path) }, ErrRevoked, "no such file"},
		{"nonsense", func() { write(t, path, []byte("x")) }, ErrRevoked, "not a revocation list"},
		{"taken back", func() { write(t, path, ca.crl(t, 4, noon)) }, nil, ""},
		{"lapsed", func() { at.move(2 * time.Hour) }, ErrUnsure, "is good from"},
		{"still lapsed", func() { at.move(time.Minute) }, ErrUnsure, "-"},
		{"new", func() { write(t, path, ca.crl(t, 5, at.Now())) }, nil, ""},
	}
	for _, step := range steps {
		told = nil
		step.change()
		_ = c.Refresh(t.Context())
		if err := c.Check(t.Context(), []*x509.Certificate{leaf}); !errors.Is(err, step.want) {
			t.Errorf("%s: got %v, want %v", step.name, err, step.want)
		}
		switch {
		case step.told == "-" && len(told) > 0:
			t.Errorf("%s: Report heard %q, want nothing new", step.name, told)
		case step.told != "-" && (len(told) != 1 || (told[0] == "") != (step.told == "") || !strings.Contains(told[0], step.told)):
			t.Errorf("%s: Report heard %q, want one with %q", step.name, told, step.told)
		}
	}
}

// TestRun waits for a file to be noticed, as it is in service.
func TestRun(t *testing.T) {
	t.Parallel()
	ca, at := root(t, "Clients"), newClock()
	leaf := ca.leaf(t, nil)
	path := place(t, []byte("x"))
	told := make(chan error, 4)
	c := checker(t, Config{
		Roots: []*x509.Certificate{ca.cert}, Now: at.Now, Lists: []string{path},
		Report: func(_ string, problem error) { told <- problem },
	})
	if err := <-told; err == nil {
		t.Fatal("Report heard nothing of a bad file")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { c.Run(ctx); close(ended) }()
	began := time.Now()
	write(t, path, ca.crl(t, 1, noon, leaf))
	if err := <-told; err != nil {
		t.Fatalf("Report heard %v, want that all is well", err)
	}
	if took, most := time.Since(began), 2*lookEvery+time.Second; took > most { // a busy machine has a second more
		t.Errorf("the file was noticed after %s, want at most %s", took, most)
	}
	if err := c.Check(t.Context(), []*x509.Certificate{leaf}); !errors.Is(err, ErrRevoked) {
		t.Errorf("got %v, want %v", err, ErrRevoked)
	}
	cancel()
	<-ended
}

// doer answers requests by a function, and counts them.
type doer struct {
	calls  atomic.Int64
	mu     sync.Mutex
	answer func(*http.Request) (int, []byte, error)
}

func (d *doer) set(answer func(*http.Request) (int, []byte, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer = answer
}

func (d *doer) Do(r *http.Request) (*http.Response, error) {
	d.calls.Add(1)
	d.mu.Lock()
	answer := d.answer
	d.mu.Unlock()
	status, body, err := answer(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(string(body)))}, nil
}

func always(status int, body []byte) func(*http.Request) (int, []byte, error) {
	return func(*http.Request) (int, []byte, error) { return status, body, nil }
}

// TestListURL fetches a list, and again when it is due.
func TestListURL(t *testing.T) {
	t.Parallel()
	ca, at := root(t, "Clients"), newClock()
	leaf := ca.leaf(t, nil)
	client := &doer{answer: always(http.StatusServiceUnavailable, nil)}
	c := checker(t, Config{
		Roots: []*x509.Certificate{ca.cert}, Now: at.Now, Client: client, Refresh: 10 * time.Minute,
		Lists: []string{"http://crl.example/clients.crl"},
	})
	steps := []struct {
		name  string
		move  time.Duration
		next  func(*http.Request) (int, []byte, error)
		calls int64 // in all
		want  error
	}{
		{"away from the start", 0, nil, 1, ErrUnsure},
		{"not asked again at once", time.Second, always(http.StatusOK, ca.crl(t, 1, noon)), 1, ErrUnsure},
		{"there", 30 * time.Second, nil, 2, nil},
		{"not due", 9 * time.Minute, always(http.StatusOK, ca.crl(t, 2, noon, leaf)), 2, nil},
		{"due", time.Minute, nil, 3, ErrRevoked},
		{"away: the last one counts", 10 * time.Minute, always(http.StatusFound, []byte("elsewhere")), 4, ErrRevoked},
		{"back", 30 * time.Second, always(http.StatusOK, ca.crl(t, 3, noon.Add(20*time.Minute))), 5, nil},
		{"and then for good", 10 * time.Minute, always(http.StatusOK, make([]byte, maxListBytes+1)), 6, nil},
		{"until it lapses", time.Hour, nil, 7, ErrUnsure},
	}
	for _, step := range steps {
		at.move(step.move)
		if step.next != nil {
			client.set(step.next)
		}
		_ = c.Refresh(t.Context())
		if got := client.calls.Load(); got != step.calls {
			t.Errorf("%s: got %d requests, want %d", step.name, got, step.calls)
		}
		if err := c.Check(t.Context(), []*x509.Certificate{leaf}); !errors.Is(err, step.want) {
			t.Errorf("%s: got %v, want %v", step.name, err, step.want)
		}
	}
}

// TestClientStaysPut holds that a list's host cannot send us elsewhere.
func TestClientStaysPut(t *testing.T) {
	t.Parallel()
	var visits atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visits.Add(1) }))
	t.Cleanup(elsewhere.Close)
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusFound))
	t.Cleanup(server.Close)
	ca := root(t, "Clients")
	c, err := New(Config{Roots: []*x509.Certificate{ca.cert}, Now: newClock().Now, Client: NewClient(), Lists: []string{server.URL}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "status 302") {
		t.Errorf("got %v, want an error with status 302", err)
	}
	if got := visits.Load(); got != 0 {
		t.Errorf("got %d requests at the redirect's target, want none", got)
	}
}

func FuzzParseLists(f *testing.F) {
	ca := root(f, "Clients")
	der := ca.crl(f, 1, noon, ca.leaf(f, nil))
	f.Add(der)
	f.Add(asPEM(der))
	f.Add(append(asPEM(der), asPEM(der)...))
	f.Add([]byte("-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lists, err := parseLists(data)
		if err == nil && len(lists) == 0 {
			t.Error("got no list and no error")
		}
		for _, l := range lists {
			if l.crl.NextUpdate.IsZero() || weak(l.crl.SignatureAlgorithm) {
				t.Errorf("took a list without an end or of a weak signature: %+v", l.crl)
			}
			_ = l.of(ca.cert)
		}
	})
}
