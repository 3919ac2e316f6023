// Package adyensim speaks Adyen's Checkout API (v72) over the simulator's books:
// card payments with 3-D Secure by redirect, captures, cancels by either
// reference and refunds, all of them asynchronous, with Adyen's idempotency
// rules, error shapes and signed webhooks. It is written from Adyen's public
// description, not from our connector, so that the two check each other.
package adyensim

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/simulator/books"
)

// Connector is the name under which the books hold Adyen's payments.
const Connector = "adyen"

// Version is the version of the Checkout API that the dialect answers.
const Version = "v72"

const (
	maxBody      = 1 << 20 // bytes; no request of a gateway comes near
	maxKey       = 64      // characters of an Idempotency-Key
	maxReference = 80      // characters
	referenceLen = 16      // characters of a pspReference

	revoked = "_revoked" // ends the keys that are refused
)

// Options shape the dialect.
type Options struct {
	// BaseURL is where a browser reaches the dialect, for 3-D Secure pages, such
	// as http://127.0.0.1:12180/adyen; empty = taken from each request's Host.
	BaseURL string
}

// Dialect is an http.Handler that expects the paths /v72/… and /challenge/….
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

// request is every request body, as far as it is read.
type request struct {
	MerchantAccount  string            `json:"merchantAccount"`
	Reference        string            `json:"reference"`
	PaymentReference string            `json:"paymentReference"`
	Amount           *amount           `json:"amount"`
	ReturnURL        string            `json:"returnUrl"`
	Delay            *int              `json:"captureDelayHours"`
	AdditionalData   map[string]string `json:"additionalData"`
	ShopperReference string            `json:"shopperReference"`
	Method           *method           `json:"paymentMethod"`
	Details          struct {
		RedirectResult string `json:"redirectResult"`
	} `json:"details"`
}

type amount struct {
	Currency string `json:"currency"`
	Value    int64  `json:"value"`
}

type method struct {
	Type        string `json:"type"`
	Number      string `json:"number"`
	ExpiryMonth string `json:"expiryMonth"`
	ExpiryYear  string `json:"expiryYear"`
	HolderName  string `json:"holderName"`
	StoredID    string `json:"storedPaymentMethodId"`
}

// call is one API request on its way through the dialect.
type call struct {
	d    *Dialect
	op   books.Operation
	do   func(*call) (answer, error)
	psp  string // of the payment that the path names
	path string
	base string // where a browser finds the dialect
	raw  []byte
	request
	executed bool
}

// answer is a body, and the status that it comes with; render takes what
// wrong_amount adds.
type answer struct {
	status int
	render func(off int64) []byte
}

// apiError is Adyen's ServiceError.
type apiError struct {
	status  int
	code    string
	message string
	kind    string // "" = validation
}

// Error is what went wrong, for a log.
func (e *apiError) Error() string { return e.message }

func (e *apiError) answer() books.Answer {
	kind := e.kind
	if kind == "" {
		kind = "validation"
	}
	o := books.NewDocument(128).Int("status", int64(e.status)).Text("errorCode", e.code).Text("message", e.message).Text("errorType", kind)
	return books.Answer{Status: e.status, Body: o.Bytes()}
}

func invalid(code, message string) error {
	return &apiError{status: http.StatusUnprocessableEntity, code: code, message: message}
}

var (
	errProcessed = &apiError{status: http.StatusUnprocessableEntity, code: "704", message: "request already processed or in progress"}
	errRunning   = &apiError{status: http.StatusConflict, code: "704", message: "request already processed or in progress"}
)

// wall is what Adyen's edge says.
var wall = books.Wall{
	E500: func() books.Answer {
		return (&apiError{status: http.StatusInternalServerError, code: "905_1", message: "Could not find an acquirer account for the provided currency", kind: "internal"}).answer()
	},
	E429: func() books.Answer {
		a := (&apiError{status: http.StatusTooManyRequests, code: "029_000", message: "Too many requests", kind: "internal"}).answer()
		a.Header = []string{"Transient-Error", "true"}
		return a
	},
}

// ServeHTTP answers the API and the pages of a payer's bank.
func (d *Dialect) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if id, ok := strings.CutPrefix(r.URL.Path, "/challenge/"); ok {
		d.challengePage(w, r, id)
		return
	}
	c, err := d.admit(r)
	if err != nil {
		refuse(w, err)
		return
	}
	reference := c.about()
	d.b.Received(Connector, reference, c.op)
	d.b.Serve(w, r, Connector, c.op, wall, func(f books.Fault) books.Answer {
		key := r.Header.Get("Idempotency-Key")
		if key == "" {
			return c.run(reference)
		}
		return c.once(reference, key, f)
	})
}

func refuse(w http.ResponseWriter, err error) {
	a := asAnswer(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // the client may have left
}

func asAnswer(err error) books.Answer {
	var e *apiError
	if !errors.As(err, &e) {
		e = &apiError{status: http.StatusInternalServerError, code: "000", message: err.Error(), kind: "internal"}
	}
	return e.answer()
}

// admit authenticates, routes and reads a request.
func (d *Dialect) admit(r *http.Request) (*call, error) {
	key := r.Header.Get("Idempotency-Key")
	switch {
	case r.Header.Get("X-API-Key") == "", strings.HasSuffix(r.Header.Get("X-API-Key"), revoked):
		return nil, &apiError{status: http.StatusUnauthorized, code: "000", message: "HTTP Status Response - Unauthorized", kind: "security"}
	case len(key) > maxKey:
		return nil, invalid("702", "Idempotency-Key is longer than 64 characters")
	}
	c := &call{d: d, path: r.URL.Path, base: d.opt.BaseURL}
	if c.base == "" {
		c.base = "http://" + r.Host + "/" + Connector
	}
	members := c.route(r)
	if members == nil {
		return nil, &apiError{status: http.StatusNotFound, code: "000", message: "Not found", kind: "internal"}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || len(body) > maxBody {
		return nil, &apiError{status: http.StatusBadRequest, code: "702", message: "The body could not be read"}
	}
	c.raw = body
	if err := json.Unmarshal(body, &c.request); err != nil {
		return nil, &apiError{status: http.StatusBadRequest, code: "702", message: "Unexpected input"}
	}
	var all map[string]any
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, &apiError{status: http.StatusBadRequest, code: "702", message: "Unexpected input"}
	}
	for name := range all {
		if !members[name] {
			return nil, invalid("702", "Structure of request contains the following unknown fields: ["+name+"]")
		}
	}
	if c.MerchantAccount == "" && c.op != books.OpSync {
		return nil, &apiError{status: http.StatusForbidden, code: "901", message: "Invalid Merchant Account", kind: "security"}
	}
	return c, nil
}

func set(names string) map[string]bool {
	m := map[string]bool{}
	for n := range strings.FieldsSeq(names) {
		m[n] = true
	}
	return m
}

// The top-level members that Checkout v72 describes, which allows no others.
var (
	paymentMembers = set(`accountInfo additionalAmount additionalData amount applicationInfo authenticationData
		bankAccount billingAddress browserInfo captureDelayHours channel checkoutAttemptId company countryCode
		dateOfBirth deliveryAddress deviceFingerprint installments lineItems localizedShopperStatement mandate mcc
		merchantAccount merchantOrderReference merchantRiskIndicator metadata mpiData order orderReference origin
		paymentMethod recurringExpiry recurringFrequency recurringProcessingModel redirectFromIssuerMethod
		redirectToIssuerMethod reference returnUrl riskData sessionValidity shopperEmail shopperIP
		shopperInteraction shopperLocale shopperName shopperReference shopperStatement store storePaymentMethod
		telephoneNumber threeDS2RequestData trustedShopper`)
	methodsMembers = set(`additionalData allowedPaymentMethods amount blockedPaymentMethods browserInfo channel countryCode
		merchantAccount order shopperConversionId shopperEmail shopperIP shopperLocale shopperReference
		splitCardFundingSources store storeFiltrationMode telephoneNumber`)
	detailsMembers = set("authenticationData details paymentData threeDSAuthenticationOnly")
	captureMembers = set("amount applicationInfo lineItems merchantAccount platformChargebackLogic reference splits subMerchants")
	refundMembers  = set("amount applicationInfo capturePspReference lineItems merchantAccount merchantRefundReason reference splits store")
	cancelMembers  = set("applicationInfo merchantAccount reference")
	ownMembers     = set("applicationInfo merchantAccount paymentReference reference")
)

// route finds what a path asks for, and the members that its body may have; nil
// where there is no such path.
func (c *call) route(r *http.Request) map[string]bool {
	path, ok := strings.CutPrefix(r.URL.Path, "/"+Version+"/")
	if !ok || r.Method != http.MethodPost {
		return nil
	}
	switch path {
	case "paymentMethods":
		c.op, c.do = books.OpOther, (*call).methods
		return methodsMembers
	case "payments":
		c.op, c.do = books.OpAuthorize, (*call).pay
		return paymentMembers
	case "payments/details":
		c.op, c.do = books.OpSync, (*call).details
		return detailsMembers
	case "cancels":
		c.op, c.do = books.OpVoid, (*call).cancel
		return ownMembers
	}
	parts := strings.Split(path, "/")
	if len(parts) != 3 || parts[0] != "payments" || parts[1] == "" {
		return nil
	}
	c.psp = parts[1]
	switch parts[2] {
	case "captures":
		c.op, c.do = books.OpCapture, (*call).capture
		return captureMembers
	case "cancels":
		c.op, c.do = books.OpVoid, (*call).cancel
		return cancelMembers
	case "refunds":
		c.op, c.do = books.OpRefund, (*call).refund
		return refundMembers
	}
	return nil
}

// about is our client's name for the payment that a request is about.
func (c *call) about() string {
	switch {
	case c.PaymentReference != "":
		return c.PaymentReference
	case c.psp != "":
		if charge, err := c.d.b.Get(Connector, c.MerchantAccount, c.psp); err == nil {
			return charge.Reference
		}
	}
	return c.Reference
}

// run does the work without a key.
func (c *call) run(reference string) books.Answer {
	a, err := c.do(c)
	if c.executed {
		c.d.b.Executed(Connector, reference, c.op)
	}
	if err != nil {
		return asAnswer(err)
	}
	return books.Answer{Status: a.status, Body: a.render(0), Wrong: func() []byte { return a.render(1) }}
}

// once does the work at most once under an Idempotency-Key. What failed
// validation is not stored.
func (c *call) once(reference, key string, f books.Fault) books.Answer {
	memory, account := c.d.b.Memory, c.MerchantAccount
	if account == "" {
		account = "details"
	}
	name := Connector + "\x00" + account + "\x00" + key
	fingerprint := sha256.Sum256(append([]byte(c.path+"\n"), bytes.TrimSpace(c.raw)...))
	kept, replay, err := memory.Begin(name, fingerprint, c.d.b.Now())
	switch {
	case errors.Is(err, books.ErrKeyInUse):
		return errRunning.answer()
	case err != nil:
		return errProcessed.answer()
	}
	if !replay {
		kept = c.run(reference)
		switch {
		case !c.executed:
			memory.Forget(name)
		case f.HoldKey:
			status, body := kept.Status, kept.Body
			kept.Release = func() { memory.Keep(name, status, body) }
		default:
			memory.Keep(name, kept.Status, kept.Body)
		}
	}
	kept.Header = append(kept.Header, "Idempotency-Key", key)
	return kept
}

// decimals holds the currencies of which Adyen's minor unit is not that of ISO
// 4217 (docs.adyen.com/development-resources/currency-codes).
var decimals = map[string]int{"CLP": 2, "CVE": 0, "IDR": 0, "ISK": 2}

// money reads an amount into minor units of ISO 4217.
func (a *amount) money() (payment.Money, error) {
	if a == nil {
		return payment.Money{}, invalid("100", "Required object 'amount' is not provided.")
	}
	c, err := payment.ParseCurrency(a.Currency)
	if err != nil || string(c) != a.Currency {
		return payment.Money{}, invalid("138", "Unsupported currency specified")
	}
	if a.Value <= 0 || a.Value > payment.MaxMinor {
		return payment.Money{}, invalid("137", "Invalid amount specified")
	}
	minor := a.Value
	if units, special := decimals[a.Currency]; special {
		for n := units; n > c.Exponent(); n-- {
			minor /= 10
		}
		for n := units; n < c.Exponent(); n++ {
			minor *= 10
		}
	}
	return payment.Money{Minor: minor, Currency: c}, nil
}

// written is an amount as Adyen writes it, off by some of its units.
func written(o *books.Document, m payment.Money, off int64) {
	value := m.Minor
	if units, special := decimals[string(m.Currency)]; special {
		for n := m.Currency.Exponent(); n < units; n++ {
			value *= 10
		}
		for n := m.Currency.Exponent(); n > units; n-- {
			value /= 10
		}
	}
	o.Open("amount").Text("currency", string(m.Currency)).Int("value", value+off).Close()
}
