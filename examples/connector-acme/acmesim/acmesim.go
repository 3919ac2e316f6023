// Package acmesim speaks Acme Pay's API over the simulator's books. It is written
// from Acme's documentation, and not from the connector, so that the two check
// each other.
package acmesim

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/simulator/books"
)

// Connector is the name under which the books hold Acme's charges.
const Connector = "acme"

// account is the one account of the simulated Acme: every API key opens it.
const account = "acme"

const maxBody = 1 << 20 // bytes; no request of a gateway comes near

// Dialect is an http.Handler that expects the paths /v1/….
type Dialect struct{ b *books.Books }

// New opens the dialect over b.
func New(b *books.Books) *Dialect { return &Dialect{b} }

// request is every request body, as far as it is read.
type request struct {
	Reference       string `json:"reference"`
	ChargeReference string `json:"charge_reference"`
	Amount          int64  `json:"amount"`
	Currency        string `json:"currency"`
	Capture         bool   `json:"capture"`
	CardToken       string `json:"card_token"`
	Card            *struct {
		Number string `json:"number"`
	} `json:"card"`
}

// call is one request on its way through the dialect.
type call struct {
	*Dialect
	op    books.Operation
	do    func(*call) (status int, render func(off int64) []byte, err error)
	named string // our client's reference, in the path
	raw   []byte
	request
}

// refusal is an error of Acme's.
type refusal struct {
	status int
	code   string
}

// Error is the code.
func (e *refusal) Error() string { return e.code }

func (e *refusal) answer() books.Answer {
	o := books.NewDocument(128).Open("error").Text("code", e.code).Text("message", "Refused by Acme Pay.").Close()
	return books.Answer{Status: e.status, Body: o.Bytes()}
}

var (
	errInvalid  = &refusal{http.StatusBadRequest, "invalid_request"}
	errKey      = &refusal{http.StatusUnauthorized, "invalid_key"}
	errNoCharge = &refusal{http.StatusNotFound, "charge_not_found"}
	errNoRefund = &refusal{http.StatusNotFound, "refund_not_found"}
	errTooLarge = &refusal{http.StatusUnprocessableEntity, "amount_too_large"}
	errState    = &refusal{http.StatusConflict, "invalid_state"}
	errTaken    = &refusal{http.StatusConflict, "reference_taken"}
)

// wall is what Acme's edge says.
var wall = books.Wall{
	E500: func() books.Answer { return (&refusal{http.StatusInternalServerError, "internal"}).answer() },
	E429: func() books.Answer { return (&refusal{http.StatusTooManyRequests, "rate_limited"}).answer() },
}

// ServeHTTP answers the API.
func (d *Dialect) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, err := d.admit(r)
	if err != nil {
		a := refused(err)
		w.WriteHeader(a.Status)
		_, _ = w.Write(a.Body) // the client may have left
		return
	}
	d.b.Received(Connector, c.about(), c.op)
	d.b.Serve(w, r, Connector, c.op, wall, func(books.Fault) books.Answer {
		if r.Method == http.MethodGet {
			return c.run()
		}
		return c.once(r.Header.Get("Idempotency-Key"))
	})
}

func refused(err error) books.Answer {
	var e *refusal
	if !errors.As(err, &e) {
		return wall.E500()
	}
	return e.answer()
}

// admit authenticates, routes and reads a request.
func (d *Dialect) admit(r *http.Request) (*call, error) {
	c := &call{Dialect: d}
	switch {
	case !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer "):
		return nil, errKey
	case !c.route(r.Method, r.URL.Path):
		return nil, &refusal{http.StatusNotFound, "invalid_request"}
	case r.Method == http.MethodPost && r.Header.Get("Idempotency-Key") == "":
		return nil, errInvalid
	}
	var err error
	if c.raw, err = io.ReadAll(io.LimitReader(r.Body, maxBody)); err != nil {
		return nil, errInvalid
	}
	if r.Method == http.MethodPost && json.Unmarshal(c.raw, &c.request) != nil {
		return nil, errInvalid
	}
	return c, nil
}

// route finds what a method and path ask for.
func (c *call) route(method, path string) bool {
	parts := append(strings.Split(strings.TrimPrefix(path, "/v1/"), "/"), "", "")
	c.named = parts[1]
	switch named := c.named != ""; {
	case method == http.MethodPost && parts[0] == "charges" && !named:
		c.op, c.do = books.OpAuthorize, (*call).charge
	case method == http.MethodPost && parts[0] == "charges" && parts[2] == "capture":
		c.op, c.do = books.OpCapture, (*call).capture
	case method == http.MethodPost && parts[0] == "charges" && parts[2] == "void":
		c.op, c.do = books.OpVoid, (*call).void
	case method == http.MethodPost && parts[0] == "refunds" && !named:
		c.op, c.do = books.OpRefund, (*call).refund
	case method == http.MethodGet && parts[0] == "charges" && named:
		c.op, c.do = books.OpSync, (*call).charged
	case method == http.MethodGet && parts[0] == "refunds" && named:
		c.op, c.do = books.OpSync, (*call).refunded
	default:
		return false
	}
	return true
}

// about is our client's name for the charge that a request is about.
func (c *call) about() string {
	switch {
	case c.named != "":
		return c.named
	case c.ChargeReference != "":
		return c.ChargeReference
	default:
		return c.Reference
	}
}

// run does the work, and tells whoever wants to hear of it.
func (c *call) run() books.Answer {
	status, render, err := c.do(c)
	if err != nil {
		return refused(err)
	}
	if c.op != books.OpSync {
		c.b.Executed(Connector, c.about(), c.op)
		c.notify(render(0))
	}
	return books.Answer{Status: status, Body: render(0), Wrong: func() []byte { return render(1) }}
}

// once does the work at most once under an Idempotency-Key. What was refused is
// not remembered.
func (c *call) once(key string) books.Answer {
	fingerprint := sha256.Sum256(append([]byte(c.op.String()+c.named+"\n"), bytes.TrimSpace(c.raw)...))
	kept, replay, err := c.b.Memory.Begin(key, fingerprint, c.b.Now())
	switch {
	case errors.Is(err, books.ErrKeyInUse):
		return (&refusal{http.StatusConflict, "key_in_use"}).answer()
	case err != nil:
		return (&refusal{http.StatusConflict, "key_reused"}).answer()
	case replay:
		return kept
	}
	a := c.run()
	if a.Status >= http.StatusBadRequest {
		c.b.Memory.Forget(key)
	} else {
		c.b.Memory.Keep(key, a.Status, a.Body)
	}
	return a
}

// notify queues the webhook of what was done; object is a charge or a refund.
func (c *call) notify(object []byte) {
	what := "charge"
	if c.op == books.OpRefund {
		what = "refund"
	}
	c.b.Webhooks.Send(books.Notice{
		Connector: Connector, Account: account, Op: c.op, Subject: c.about(), ContentType: "application/json",
		Body: books.NewDocument(512).Text("id", c.b.ID("evt_", 16)).Text("type", what+".updated").Raw(what, object).Bytes(),
		Sign: Sign,
	})
}

// Sign yields the header of a webhook, as Acme signs it.
func Sign(secret string, body []byte, now time.Time) http.Header {
	at := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(append([]byte(at+"."), body...))
	return http.Header{"Acme-Signature": {at + "." + hex.EncodeToString(mac.Sum(nil))}}
}
