// Package stripesim speaks Stripe's API (version 2026-08-26.dahlia) over the
// simulator's books: PaymentMethods, PaymentIntents, Charges, Refunds and
// Customers, as far as a payment gateway uses them, with Stripe's idempotency
// rules, error shapes and webhook signatures. It is written from Stripe's
// public description, not from our connector, so that the two check each other.
package stripesim

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/purser-pay/purser/modules/simulator/books"
)

// Connector is the name under which the books hold Stripe's charges.
const Connector = "stripe"

// Version is the API version that the dialect answers in.
const Version = "2026-08-26.dahlia"

// Options shape the dialect.
type Options struct {
	// BaseURL is where a browser reaches the dialect, for challenge pages, such
	// as http://127.0.0.1:12180/stripe; empty = taken from each request's Host.
	BaseURL string
	// SearchLag hides charges younger than this from search, as Stripe's does
	// for about a minute; 0 = none.
	SearchLag time.Duration
}

// Dialect is an http.Handler that expects paths from /v1/ and /challenge/ on.
type Dialect struct {
	b   *books.Books
	opt Options
}

// New opens the dialect over b.
func New(b *books.Books, opt Options) *Dialect {
	d := &Dialect{b: b, opt: opt}
	b.OnDue(Connector, d.due)
	return d
}

const (
	maxBody = 1 << 20 // bytes; no request of a gateway comes near
	maxKey  = 255     // characters of an Idempotency-Key (docs.stripe.com/api/idempotent_requests)
)

// revoked ends the keys that are refused as expired.
const revoked = "_revoked"

// call is one API request on its way through the dialect.
type call struct {
	d       *Dialect
	account string
	base    string // where a browser finds the dialect
	op      books.Operation
	path    string
	id      string // of the object that the path names
	form    form
	// executed is set by the work once it is past validation: from then on its
	// outcome is stored under the idempotency key.
	executed bool
}

// endpoint is one row of the API.
type endpoint struct {
	op     books.Operation
	params map[string]bool // the top-level parameters it takes
	do     func(*call) (document, error)
}

// document is a rendered object; wrong renders it with another amount.
type document struct {
	body  []byte
	wrong func() []byte
}

// ServeHTTP answers the API and the challenge pages.
func (d *Dialect) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if id, ok := strings.CutPrefix(r.URL.Path, "/challenge/"); ok {
		d.challengePage(w, r, id)
		return
	}
	h := w.Header()
	h["Request-Id"] = []string{d.b.ID("req_", 14)}
	h["Stripe-Version"] = []string{Version}
	key := r.Header.Get("Idempotency-Key")
	c, e, err := d.admit(r, key)
	if err != nil {
		refuse(w, err)
		return
	}
	reference := c.reference()
	d.b.Received(Connector, reference, e.op)
	d.b.Serve(w, r, Connector, e.op, wall, func(f books.Fault) books.Answer {
		if r.Method != http.MethodPost || key == "" {
			return c.run(e, reference)
		}
		return c.once(e, reference, key, f)
	})
}

// admit authenticates, routes and reads a request.
func (d *Dialect) admit(r *http.Request, key string) (*call, endpoint, error) {
	secret, ok := credential(r)
	switch {
	case !ok:
		return nil, endpoint{}, &apiError{status: http.StatusUnauthorized, message: "You did not provide an API key."}
	case !strings.HasPrefix(secret, "sk_test_") && !strings.HasPrefix(secret, "rk_test_"):
		return nil, endpoint{}, &apiError{status: http.StatusUnauthorized, message: "Invalid API Key provided: the simulator takes test keys only (sk_test_…, rk_test_…)."}
	case strings.HasSuffix(secret, revoked):
		return nil, endpoint{}, &apiError{status: http.StatusUnauthorized, code: "api_key_expired", message: "Expired API Key provided: " + secret[:len("sk_test_")] + "*****"}
	case len(key) > maxKey || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }):
		return nil, endpoint{}, invalid("", "", "Idempotency keys are at most 255 ASCII characters long.")
	}
	if v := r.Header.Get("Stripe-Version"); v != "" && !versionForm.MatchString(v) {
		return nil, endpoint{}, invalid("", "", "Invalid Stripe API version: "+v)
	}
	e, id, err := route(r)
	if err != nil {
		return nil, endpoint{}, err
	}
	values, err := readForm(r)
	if err != nil {
		return nil, endpoint{}, err
	}
	c := &call{d: d, account: Account(secret), op: e.op, path: r.URL.Path, id: id, form: form{values}, base: d.opt.BaseURL}
	if c.base == "" {
		c.base = "http://" + r.Host + "/" + Connector
	}
	return c, e, nil
}

var versionForm = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(\.[a-z]+)?$`)

// Account names the Stripe account that a secret key belongs to: here every key
// has an account of its own.
func Account(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return "acct_" + hex.EncodeToString(sum[:8])
}

func credential(r *http.Request) (string, bool) {
	if user, _, ok := r.BasicAuth(); ok && user != "" {
		return user, true
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token, ok && token != ""
}

// readForm reads the query of a GET and the form of a POST.
func readForm(r *http.Request) (url.Values, error) {
	raw := r.URL.RawQuery
	if r.Method == http.MethodPost {
		if t := r.Header.Get("Content-Type"); t != "" && !strings.HasPrefix(t, "application/x-www-form-urlencoded") {
			return nil, invalid("", "", "Invalid request: the body must be application/x-www-form-urlencoded.")
		}
		body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
		if err != nil || len(body) > maxBody {
			return nil, invalid("", "", "Invalid request: the body could not be read.")
		}
		raw = string(body)
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, invalid("", "", "Invalid request: the parameters are not form-encoded.")
	}
	return values, nil
}

// reference is our client's name for what the request is about, for the
// counters: from its metadata, or of the charge that it names.
func (c *call) reference() string {
	if r := Reference(c.form.metadata()); r != "" && c.op == books.OpAuthorize {
		return r
	}
	for _, id := range []string{c.id, c.form.get("payment_intent"), c.form.get("charge")} {
		if id == "" {
			continue
		}
		if charge, err := c.d.b.Get(Connector, c.account, id); err == nil {
			return charge.Reference
		}
	}
	return Reference(c.form.metadata())
}

var referenceForm = regexp.MustCompile(`^[a-z0-9]{32}$`)

// Reference picks our client's own reference out of metadata: a name that says
// so, or else a value that looks like one of the gateway's references, or else
// another well-known name.
func Reference(metadata map[string]string) string {
	for _, n := range []string{"purser_reference", "reference"} {
		if v := metadata[n]; v != "" {
			return v
		}
	}
	for _, n := range sortedNames(metadata) {
		if referenceForm.MatchString(metadata[n]) {
			return metadata[n]
		}
	}
	return metadata["order_id"]
}

// run does the work without a key.
func (c *call) run(e endpoint, reference string) books.Answer {
	if err := c.form.check(e.params); err != nil {
		return asAnswer(err)
	}
	doc, err := e.do(c)
	if c.executed {
		c.d.b.Executed(Connector, reference, e.op)
	}
	if err != nil {
		return asAnswer(err)
	}
	return books.Answer{Status: http.StatusOK, Body: doc.body, Wrong: doc.wrong}
}

// once does the work at most once under an idempotency key. What failed
// validation is not stored; once execution began its outcome is, a 500 included.
func (c *call) once(e endpoint, reference, key string, f books.Fault) books.Answer {
	memory, name := c.d.b.Memory, c.account+"\x00"+key
	fingerprint := sha256.Sum256([]byte(c.path + "\n" + c.form.values.Encode()))
	kept, replay, err := memory.Begin(name, fingerprint, c.d.b.Now())
	echo := []string{"Idempotency-Key", key}
	switch {
	case errors.Is(err, books.ErrKeyInUse):
		return asAnswer(&apiError{
			status: http.StatusConflict, code: "idempotency_key_in_use",
			message: "There is currently another in-progress request using this idempotency key: " + key,
		})
	case err != nil:
		return asAnswer(&apiError{
			status: http.StatusBadRequest, kind: "idempotency_error",
			message: "Keys for idempotent requests can only be used with the same parameters they were first used with. Key: " + key,
		})
	case replay:
		kept.Header = append(echo, "Original-Request", "req_replayed", "Idempotent-Replayed", "true")
		return kept
	}
	if f.Replay && f.Is(books.E500Before) {
		memory.Keep(name, e500.Status, e500.Body)
		return e500
	}
	a := c.run(e, reference)
	a.Header = append(a.Header, echo...)
	switch {
	case !c.executed:
		memory.Forget(name)
	case f.Replay && f.Is(books.E500After):
		memory.Keep(name, e500.Status, e500.Body)
	case f.HoldKey:
		status, body := a.Status, a.Body
		a.Release = func() { memory.Keep(name, status, body) }
	default:
		memory.Keep(name, a.Status, a.Body)
	}
	return a
}

// asAnswer words an error as Stripe does.
func asAnswer(err error) books.Answer {
	var e *apiError
	if !errors.As(err, &e) {
		e = &apiError{status: http.StatusInternalServerError, kind: "api_error", message: err.Error()}
	}
	return books.Answer{Status: e.status, Body: e.body(), Wrong: e.wrong}
}

func refuse(w http.ResponseWriter, err error) {
	a := asAnswer(err)
	w.Header()["Content-Type"] = []string{"application/json"}
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // the client may have left
}
