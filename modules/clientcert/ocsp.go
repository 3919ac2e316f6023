package clientcert

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // G505: it names keys in OCSP (RFC 6960 §4.2.1), and protects nothing
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"
)

const (
	// ocspTimeout bounds one question: a handshake waits for it.
	ocspTimeout = 3 * time.Second
	// ocspRetry is how long a question that failed is not asked again.
	ocspRetry = 5 * time.Second
	// maxOCSPBytes bounds an answer.
	maxOCSPBytes = 64 << 10
	// maxAnswers bounds the remembered answers, and maxAsking the questions that
	// are under way.
	maxAnswers, maxAsking = 10_000, 32
)

// responder asks about certificates, and remembers the answers.
type responder struct {
	hard    bool
	url     string // "" = the certificate's own, if its host is one of hosts
	hosts   []string
	refresh time.Duration
	client  Doer
	now     func() time.Time
	slots   chan struct{}

	mu      sync.Mutex
	answers map[certKey]*answer
}

// certKey names a certificate by who issued it.
type certKey struct {
	issuer [sha256.Size]byte
	serial string
}

// answer is what a responder has said last. It is read and written under the
// responder's mutex.
type answer struct {
	verdict error     // nil = good
	until   time.Time // the verdict counts; zero = there is none
	stale   time.Time // a newer one is asked for, in the background
	failure error     // of the last question
	retry   time.Time // the next question is not asked before
	asking  chan struct{}
}

func newResponder(cfg Config) (*responder, error) {
	switch cfg.OCSP {
	case "", OCSPOff:
		if cfg.Responder != "" || len(cfg.ResponderHosts) > 0 {
			return nil, errors.New("ocsp is off, and a responder is given")
		}
		return nil, nil
	case OCSPSoft, OCSPHard:
	default:
		return nil, fmt.Errorf("ocsp %.40q is none of off, soft, hard", string(cfg.OCSP))
	}
	r := &responder{
		hard: cfg.OCSP == OCSPHard, url: cfg.Responder, refresh: cfg.Refresh, client: cfg.Client, now: cfg.Now,
		slots: make(chan struct{}, maxAsking), answers: map[certKey]*answer{},
	}
	switch {
	case cfg.Client == nil:
		return nil, errors.New("ocsp: there is no client to ask with")
	case cfg.Responder == "" && len(cfg.ResponderHosts) == 0:
		return nil, fmt.Errorf("ocsp %s needs a responder, or the hosts of responders that certificates may name", cfg.OCSP)
	case cfg.Responder != "" && len(cfg.ResponderHosts) > 0:
		return nil, errors.New("ocsp: a responder is asked about every certificate; hosts beside it have no effect")
	case len(cfg.ResponderHosts) > MaxHosts:
		return nil, fmt.Errorf("ocsp: there are more than %d hosts", MaxHosts)
	case cfg.Responder != "":
		if _, err := webURL(cfg.Responder); err != nil {
			return nil, fmt.Errorf("ocsp responder: %w", err)
		}
	}
	for _, h := range cfg.ResponderHosts {
		u, err := webURL("http://" + h)
		if err != nil || u.Host != h || h != strings.ToLower(h) || strings.HasSuffix(h, ":") {
			return nil, fmt.Errorf("ocsp: %.100q is no host or host:port, in lower case", h)
		}
		r.hosts = append(r.hosts, h)
	}
	return r, nil
}

// check tells what is known of a certificate's revocation. It asks a responder
// where nothing is.
func (r *responder) check(ctx context.Context, cert, issuer *x509.Certificate) error {
	err := r.verdict(ctx, cert, issuer)
	var silence *silenceError
	if errors.As(err, &silence) && !r.hard {
		return nil
	}
	return err
}

// silenceError tells that there is no answer. In mode soft that is forgiven,
// other than an answer.
type silenceError struct{ cause error }

func (e *silenceError) Error() string {
	return fmt.Sprintf("%v: no responder answers: %v", ErrUnsure, e.cause)
}

func (e *silenceError) Unwrap() []error { return []error{ErrUnsure, e.cause} }

func (r *responder) verdict(ctx context.Context, cert, issuer *x509.Certificate) error {
	key := certKey{sha256.Sum256(issuer.Raw), serial(cert.SerialNumber)}
	for {
		now := r.now()
		r.mu.Lock()
		a := r.find(key, now)
		known := !a.until.IsZero() && !now.After(a.until)
		if (!known || !now.Before(a.stale)) && a.asking == nil && !now.Before(a.retry) {
			a.asking = make(chan struct{})
			// Whoever asked may hang up; others wait for the same answer.
			go r.ask(context.WithoutCancel(ctx), a, cert, issuer)
		}
		verdict, failure, asking := a.verdict, a.failure, a.asking
		r.mu.Unlock()
		switch {
		case known:
			return verdict
		case asking == nil:
			return &silenceError{failure}
		}
		select {
		case <-asking:
		case <-ctx.Done():
			return &silenceError{ctx.Err()}
		}
	}
}

// find returns the remembered answer, or a place for one.
func (r *responder) find(key certKey, now time.Time) *answer {
	a, ok := r.answers[key]
	if ok {
		return a
	}
	if len(r.answers) >= maxAnswers {
		for k, old := range r.answers {
			if old.asking == nil && now.After(old.until) {
				delete(r.answers, k)
			}
		}
	}
	if len(r.answers) >= maxAnswers {
		clear(r.answers) // they are asked for again
	}
	a = new(answer)
	r.answers[key] = a
	return a
}

// ask asks once, and writes down what came of it.
func (r *responder) ask(ctx context.Context, a *answer, cert, issuer *x509.Certificate) {
	ctx, cancel := context.WithTimeout(ctx, ocspTimeout)
	defer cancel()
	verdict, until, err := r.question(ctx, cert, issuer)
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		a.failure, a.retry = err, now.Add(ocspRetry)
	} else {
		a.verdict, a.until, a.stale, a.failure, a.retry = verdict, until, now.Add(r.refresh), nil, time.Time{}
	}
	close(a.asking)
	a.asking = nil
}

// question sends a request, and verifies the answer. An error means that there is
// none.
func (r *responder) question(ctx context.Context, cert, issuer *x509.Certificate) (verdict error, until time.Time, err error) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return nil, time.Time{}, ctx.Err()
	}
	to, err := r.address(cert)
	if err != nil {
		return nil, time.Time{}, err
	}
	body, err := ocsp.CreateRequest(cert, issuer, nil)
	if err != nil {
		return nil, time.Time{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return nil, time.Time{}, err
	}
	req.Header.Set("Content-Type", "application/ocsp-request")
	req.Header.Set("Accept", "application/ocsp-response")
	data, err := fetch(r.client, req, maxOCSPBytes)
	if err != nil {
		return nil, time.Time{}, err
	}
	return readAnswer(data, cert, issuer, r.now(), r.refresh)
}

// address tells who is asked about a certificate. What a certificate names is
// asked only where its host is an allowed one: else whoever gets certificates
// could make the gateway send requests anywhere.
func (r *responder) address(cert *x509.Certificate) (string, error) {
	if r.url != "" {
		return r.url, nil
	}
	for _, text := range cert.OCSPServer {
		if u, err := webURL(text); err == nil && r.allows(u) {
			return u.String(), nil
		}
	}
	return "", errors.New("the certificate names no responder of an allowed host")
}

func (r *responder) allows(u *url.URL) bool {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	usual := (u.Scheme == "http" && port == "80") || (u.Scheme == "https" && port == "443")
	return slices.Contains(r.hosts, host+":"+port) || (usual && slices.Contains(r.hosts, host))
}

// readAnswer verifies an answer: who signed it, for which certificate, and that it
// is current. It counts until the second result.
func readAnswer(data []byte, cert, issuer *x509.Certificate, now time.Time, refresh time.Duration) (verdict error, until time.Time, err error) {
	resp, err := ocsp.ParseResponseForCert(data, cert, issuer)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("answer: %w", err)
	}
	if err := signedByResponder(resp, issuer, now); err != nil {
		return nil, time.Time{}, fmt.Errorf("answer: %w", err)
	}
	until = resp.NextUpdate
	if until.IsZero() {
		// RFC 6960 §2.4: newer information is always there. So it does not last.
		until = resp.ThisUpdate.Add(refresh)
	}
	if now.Add(skew).Before(resp.ThisUpdate) || now.After(until) {
		return nil, time.Time{}, fmt.Errorf("answer: it is good from %s to %s",
			resp.ThisUpdate.UTC().Format(time.RFC3339), until.UTC().Format(time.RFC3339))
	}
	switch resp.Status {
	case ocsp.Good:
		return nil, until, nil
	case ocsp.Revoked:
		return fmt.Errorf("%w: %s, serial %s, says its responder", ErrRevoked, cert.Subject, cert.SerialNumber.Text(16)), until, nil
	default:
		return fmt.Errorf("%w: its responder does not know %s, serial %s", ErrUnsure, cert.Subject, cert.SerialNumber.Text(16)), until, nil
	}
}

// signedByResponder tells whether an answer comes from the issuer, or from a
// responder to whom the issuer has given a certificate for just that (RFC 6960
// §4.2.2.2). Without the purpose any client of the issuer could answer for it.
func signedByResponder(resp *ocsp.Response, issuer *x509.Certificate, now time.Time) error {
	if weak(resp.SignatureAlgorithm) {
		return fmt.Errorf("it is signed by %s", resp.SignatureAlgorithm)
	}
	signer := issuer
	if d := resp.Certificate; d != nil && !bytes.Equal(d.Raw, issuer.Raw) {
		signer = d
		switch {
		case weak(d.SignatureAlgorithm):
			return fmt.Errorf("the responder's certificate is signed by %s", d.SignatureAlgorithm)
		case !bytes.Equal(d.RawIssuer, issuer.RawSubject):
			return fmt.Errorf("the responder's certificate is of %s", d.Issuer)
		case !slices.Contains(d.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
			return errors.New("the responder's certificate is not for the signing of OCSP answers")
		case now.Before(d.NotBefore) || now.After(d.NotAfter):
			return errors.New("the responder's certificate is expired, or not valid yet")
		}
	}
	if resp.RawResponderName != nil {
		if !bytes.Equal(resp.RawResponderName, signer.RawSubject) {
			return errors.New("it bears another responder's name")
		}
		return nil
	}
	sum, err := keyHash(signer)
	if err != nil {
		return err
	}
	if !bytes.Equal(resp.ResponderKeyHash, sum) {
		return errors.New("it bears the name of another responder's key")
	}
	return nil
}

// keyHash is the SHA-1 of a public key, without its type and unused bits.
func keyHash(cert *x509.Certificate) ([]byte, error) {
	var info struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(cert.RawSubjectPublicKeyInfo, &info); err != nil {
		return nil, fmt.Errorf("the responder's key: %w", err)
	}
	sum := sha1.Sum(info.Key.RightAlign()) //nolint:gosec // G401: see above
	return sum[:], nil
}
