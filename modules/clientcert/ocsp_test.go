package clientcert

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// said is an answer that an authority gives about a certificate.
type said struct {
	status     int
	this, next time.Time
	serial     *big.Int          // nil = the certificate's own
	by         *x509.Certificate // nil = the authority itself
	enclosed   bool              // by's certificate comes along
	key        crypto.Signer     // nil = the authority's
}

func (i *issuer) say(t testing.TB, about *x509.Certificate, s said) []byte {
	t.Helper()
	template := ocsp.Response{Status: s.status, SerialNumber: s.serial, ThisUpdate: s.this, NextUpdate: s.next, RevokedAt: noon}
	if template.SerialNumber == nil {
		template.SerialNumber = about.SerialNumber
	}
	by, key := s.by, s.key
	if by == nil {
		by = i.cert
	}
	if key == nil {
		key = i.key
	}
	if s.enclosed {
		template.Certificate = by
	}
	der, err := ocsp.CreateResponse(i.cert, by, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func asksAt(ca *issuer, at *clock, client Doer, mode OCSP) Config {
	return Config{
		Roots: []*x509.Certificate{ca.cert}, Now: at.Now, Client: client, OCSP: mode,
		Responder: "http://ocsp.example/", Refresh: 10 * time.Minute,
	}
}

// TestAnswers decides over what responders say, in both modes.
func TestAnswers(t *testing.T) {
	t.Parallel()
	ca, twin := root(t, "Clients"), root(t, "Clients")
	leaf, other := ca.leaf(t, nil), ca.leaf(t, nil)
	client, clientKey := ca.pair(t, nil)
	purpose := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} }
	delegate, delegateKey := ca.pair(t, purpose)
	stranger, strangerKey := twin.pair(t, purpose)
	old, oldKey := ca.pair(t, func(c *x509.Certificate) { purpose(c); c.NotAfter = noon.Add(-time.Second) })
	hour := noon.Add(time.Hour)
	good := said{status: ocsp.Good, this: noon, next: hour}
	with := func(change func(*said)) said { s := good; change(&s); return s }
	tests := []struct {
		name       string
		answer     func(*http.Request) (int, []byte, error)
		hard, soft error
	}{
		{"good", always(200, ca.say(t, leaf, good)), nil, nil},
		{"revoked", always(200, ca.say(t, leaf, with(func(s *said) { s.status = ocsp.Revoked }))), ErrRevoked, ErrRevoked},
		{"unknown", always(200, ca.say(t, leaf, with(func(s *said) { s.status = ocsp.Unknown }))), ErrUnsure, ErrUnsure},
		{"good, says a delegate", always(200, ca.say(t, leaf, with(func(s *said) { s.by, s.key, s.enclosed = delegate, delegateKey, true }))), nil, nil},
		{"good, says a client", always(200, ca.say(t, leaf, with(func(s *said) { s.by, s.key, s.enclosed = client, clientKey, true }))), ErrUnsure, nil},
		{"good, says an old delegate", always(200, ca.say(t, leaf, with(func(s *said) { s.by, s.key, s.enclosed = old, oldKey, true }))), ErrUnsure, nil},
		{"good, says a stranger's delegate", always(200, ca.say(t, leaf, with(func(s *said) { s.by, s.key, s.enclosed = stranger, strangerKey, true }))), ErrUnsure, nil},
		{"good, says a delegate that hides", always(200, ca.say(t, leaf, with(func(s *said) { s.by, s.key = delegate, delegateKey }))), ErrUnsure, nil},
		{"good, says the authority by another's name", always(200, ca.say(t, leaf, with(func(s *said) { s.by = delegate }))), ErrUnsure, nil},
		{"good, says another key", always(200, twin.say(t, leaf, good)), ErrUnsure, nil},
		{"about another", always(200, ca.say(t, other, good)), ErrUnsure, nil},
		{"lapsed", always(200, ca.say(t, leaf, with(func(s *said) { s.this, s.next = noon.Add(-2*time.Hour), noon.Add(-time.Hour) }))), ErrUnsure, nil},
		{"lapsed, and revoked", always(200, ca.say(t, leaf, said{status: ocsp.Revoked, this: noon.Add(-2 * time.Hour), next: noon.Add(-time.Hour)})), ErrUnsure, nil},
		{"of tomorrow", always(200, ca.say(t, leaf, with(func(s *said) { s.this, s.next = noon.Add(24*time.Hour), noon.Add(25*time.Hour) }))), ErrUnsure, nil},
		{"without an end", always(200, ca.say(t, leaf, with(func(s *said) { s.next = time.Time{} }))), nil, nil},
		{"without an end, and old", always(200, ca.say(t, leaf, with(func(s *said) { s.this, s.next = noon.Add(-11*time.Minute), time.Time{} }))), ErrUnsure, nil},
		{"try later", always(200, ocsp.TryLaterErrorResponse), ErrUnsure, nil},
		{"a bad status", always(500, ca.say(t, leaf, good)), ErrUnsure, nil},
		{"nonsense", always(200, []byte("good")), ErrUnsure, nil},
		{"too long", always(200, make([]byte, maxOCSPBytes+1)), ErrUnsure, nil},
		{"away", func(*http.Request) (int, []byte, error) { return 0, nil, io.ErrUnexpectedEOF }, ErrUnsure, nil},
	}
	for _, test := range tests {
		for mode, want := range map[OCSP]error{OCSPHard: test.hard, OCSPSoft: test.soft} {
			t.Run(test.name+", "+string(mode), func(t *testing.T) {
				t.Parallel()
				c := checker(t, asksAt(ca, newClock(), &doer{answer: test.answer}, mode))
				if err := c.Check(t.Context(), []*x509.Certificate{leaf}); !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
			})
		}
	}
}

// TestBetweenIsAsked holds that a revoked authority takes its clients with it.
func TestBetweenIsAsked(t *testing.T) {
	t.Parallel()
	ca := root(t, "Clients")
	sub := ca.under(t, "Tills")
	leaf := sub.leaf(t, nil)
	c := checker(t, asksAt(ca, newClock(), &doer{answer: func(r *http.Request) (int, []byte, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return 0, nil, err
		}
		question, err := ocsp.ParseRequest(body)
		if err != nil {
			return 0, nil, err
		}
		answer := said{status: ocsp.Good, this: noon, next: noon.Add(time.Hour)}
		if question.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
			return 200, sub.say(t, leaf, answer), nil
		}
		answer.status = ocsp.Revoked
		return 200, ca.say(t, sub.cert, answer), nil
	}}, OCSPHard))
	if err := c.Check(t.Context(), []*x509.Certificate{leaf, sub.cert}); !errors.Is(err, ErrRevoked) {
		t.Errorf("got %v, want %v", err, ErrRevoked)
	}
}

// TestAnswersAreRemembered moves a clock past each date of an answer.
func TestAnswersAreRemembered(t *testing.T) {
	t.Parallel()
	ca, at := root(t, "Clients"), newClock()
	leaf := ca.leaf(t, nil)
	asked := make(chan struct{}, 16)
	answer := func(status int, this time.Time) func(*http.Request) (int, []byte, error) {
		der := ca.say(t, leaf, said{status: status, this: this, next: this.Add(time.Hour)})
		return func(*http.Request) (int, []byte, error) { asked <- struct{}{}; return 200, der, nil }
	}
	client := &doer{answer: answer(ocsp.Good, noon)}
	c := checker(t, asksAt(ca, at, client, OCSPHard))
	check := func(when string, want error) {
		t.Helper()
		if err := c.Check(t.Context(), []*x509.Certificate{leaf}); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", when, err, want)
		}
	}
	settle := func() { // the question in the background is over
		t.Helper()
		select {
		case <-asked:
		case <-time.After(10 * time.Second):
			t.Fatal("nobody has asked")
		}
		c.ocsp.mu.Lock()
		defer c.ocsp.mu.Unlock()
		for _, a := range c.ocsp.answers {
			if asking := a.asking; asking != nil {
				c.ocsp.mu.Unlock()
				<-asking
				c.ocsp.mu.Lock()
			}
		}
	}
	check("first", nil)
	settle()
	for range 10 {
		check("remembered", nil)
	}
	if got := client.calls.Load(); got != 1 {
		t.Errorf("got %d questions, want 1", got)
	}
	client.set(answer(ocsp.Revoked, noon.Add(10*time.Minute)))
	at.move(10 * time.Minute)
	check("stale: the old answer counts while a new one is asked for", nil)
	settle()
	check("revoked, on the second call", ErrRevoked)
	client.set(func(*http.Request) (int, []byte, error) { asked <- struct{}{}; return 503, nil, nil })
	at.move(30 * time.Minute)
	check("away: the old answer counts", ErrRevoked)
	settle()
	at.move(31 * time.Minute) // noon + 71 min: the answer of 12:10 has lapsed
	check("and lapses", ErrUnsure)
	calls := client.calls.Load()
	check("nobody is asked again at once", ErrUnsure)
	if got := client.calls.Load(); got != calls {
		t.Errorf("got %d questions, want %d", got, calls)
	}
	client.set(answer(ocsp.Good, noon.Add(70*time.Minute)))
	at.move(ocspRetry)
	check("back", nil)
}

// TestOneQuestion lets many ask at once, and one of them hang up.
func TestOneQuestion(t *testing.T) {
	t.Parallel()
	ca := root(t, "Clients")
	leaf := ca.leaf(t, nil)
	der := ca.say(t, leaf, said{status: ocsp.Good, this: noon, next: noon.Add(time.Hour)})
	asked, release := make(chan struct{}), make(chan struct{})
	client := &doer{answer: func(r *http.Request) (int, []byte, error) {
		close(asked)
		select {
		case <-release:
			return 200, der, nil
		case <-r.Context().Done():
			return 0, nil, r.Context().Err()
		}
	}}
	c := checker(t, asksAt(ca, newClock(), client, OCSPHard))
	hurried, hangUp := context.WithCancel(t.Context())
	first := make(chan error)
	go func() { first <- c.Check(hurried, []*x509.Certificate{leaf}) }()
	<-asked
	hangUp()
	if err := <-first; !errors.Is(err, ErrUnsure) || !errors.Is(err, context.Canceled) {
		t.Errorf("who hung up: got %v, want %v", err, ErrUnsure)
	}
	const callers = 8
	results := make(chan error, callers)
	for range callers {
		go func() { results <- c.Check(t.Context(), []*x509.Certificate{leaf}) }()
	}
	close(release)
	for range callers {
		if err := <-results; err != nil {
			t.Errorf("got %v, want no error", err)
		}
	}
	if got := client.calls.Load(); got != 1 {
		t.Errorf("got %d questions, want 1", got)
	}
}

// TestWhoIsAsked holds that a certificate cannot send us where nobody configured.
func TestWhoIsAsked(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		hosts  []string
		server []string
		want   string // "" = nobody
	}{
		{"an allowed host", []string{"ocsp.example"}, []string{"http://ocsp.example/ca"}, "http://ocsp.example/ca"},
		{"in capitals", []string{"ocsp.example"}, []string{"http://OCSP.example/ca"}, "http://OCSP.example/ca"},
		{"its port", []string{"ocsp.example"}, []string{"http://ocsp.example:80/"}, "http://ocsp.example:80/"},
		{"https", []string{"ocsp.example"}, []string{"https://ocsp.example/"}, "https://ocsp.example/"},
		{"a port that is allowed", []string{"ocsp.example:8080"}, []string{"http://ocsp.example:8080/"}, "http://ocsp.example:8080/"},
		{"the second", []string{"ocsp.example"}, []string{"http://169.254.169.254/", "http://ocsp.example/"}, "http://ocsp.example/"},
		{"IPv6", []string{"[2001:db8::1]"}, []string{"http://[2001:db8::1]/"}, "http://[2001:db8::1]/"},
		{"another port", []string{"ocsp.example"}, []string{"http://ocsp.example:8080/"}, ""},
		{"the port of another scheme", []string{"ocsp.example"}, []string{"https://ocsp.example:80/"}, ""},
		{"another host", []string{"ocsp.example"}, []string{"http://169.254.169.254/latest/meta-data"}, ""},
		{"a host below", []string{"ocsp.example"}, []string{"http://a.ocsp.example/"}, ""},
		{"as a user", []string{"ocsp.example"}, []string{"http://ocsp.example@169.254.169.254/"}, ""},
		{"another scheme", []string{"ocsp.example"}, []string{"file://ocsp.example/etc/passwd"}, ""},
		{"none", []string{"ocsp.example"}, nil, ""},
	}
	ca := root(t, "Clients")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			asked := ""
			client := &doer{answer: func(r *http.Request) (int, []byte, error) { asked = r.URL.String(); return 503, nil, nil }}
			c := checker(t, Config{
				Roots: []*x509.Certificate{ca.cert}, Now: newClock().Now, Client: client, OCSP: OCSPHard, ResponderHosts: test.hosts,
			})
			leaf := &x509.Certificate{OCSPServer: test.server}
			to, err := c.ocsp.address(leaf)
			if to != test.want || (err == nil) != (test.want != "") {
				t.Errorf("got %q and %v, want %q", to, err, test.want)
			}
			if asked != "" {
				t.Errorf("asked %s", asked)
			}
		})
	}
}

// TestAnswersAreBounded fills the memory of answers.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	ca := root(t, "Clients")
	c := checker(t, asksAt(ca, newClock(), &doer{answer: always(503, nil)}, OCSPSoft))
	for i := range maxAnswers {
		until := noon.Add(time.Hour)
		if i%2 == 0 {
			until = noon.Add(-time.Hour)
		}
		c.ocsp.answers[certKey{serial: serial(big.NewInt(int64(i)))}] = &answer{until: until}
	}
	c.ocsp.find(certKey{serial: "new"}, noon)
	if got, want := len(c.ocsp.answers), maxAnswers/2+1; got != want {
		t.Errorf("got %d answers, want %d: those that have lapsed go", got, want)
	}
	for i := range maxAnswers {
		c.ocsp.answers[certKey{serial: serial(big.NewInt(int64(i)))}] = &answer{until: noon.Add(time.Hour)}
	}
	c.ocsp.find(certKey{serial: "newer"}, noon)
	if got := len(c.ocsp.answers); got != 1 {
		t.Errorf("got %d answers, want 1: where none has lapsed, all go", got)
	}
}

func FuzzReadAnswer(f *testing.F) {
	ca := root(f, "Clients")
	leaf := ca.leaf(f, nil)
	purpose := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} }
	delegate, key := ca.pair(f, purpose)
	good := ca.say(f, leaf, said{status: ocsp.Good, this: noon, next: noon.Add(time.Hour)})
	f.Add(good)
	f.Add(ca.say(f, leaf, said{status: ocsp.Revoked, this: noon, by: delegate, key: key, enclosed: true}))
	f.Add(ocsp.TryLaterErrorResponse)
	f.Fuzz(func(t *testing.T, data []byte) {
		verdict, until, err := readAnswer(data, leaf, ca.cert, noon, time.Minute)
		switch {
		case err != nil:
		case until.Before(noon):
			t.Errorf("took an answer that has lapsed at %s", until)
		case verdict == nil && !strings.Contains(string(data), string(leaf.SerialNumber.Bytes())):
			t.Error("took an answer about another certificate")
		}
	})
}
