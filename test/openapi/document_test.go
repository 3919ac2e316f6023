package openapi

import (
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
	"github.com/purser-pay/purser/modules/store"
)

// reader holds exchanges against the document.
type reader struct {
	t         *testing.T
	validator validator.Validator
	raw       []byte
	paths     map[string]map[string]struct {
		Responses map[string]struct {
			Content map[string]struct{ Examples map[string]any }
		}
	}
	codes map[string]bool // seen so far
	calls map[string]bool // operations that succeeded, as "POST /v1/payments"
}

// newReader fetches the document as anybody can, and asks whether it is one.
func newReader(t *testing.T, w *world) *reader {
	t.Helper()
	_, raw := w.send(w.request(w.url, call{method: http.MethodGet, path: "/openapi.json", key: "-"}))
	doc, err := libopenapi.NewDocument(raw)
	if err != nil {
		t.Fatalf("the document cannot be read: %v", err)
	}
	v, errs := validator.NewValidator(doc, config.WithFormatAssertions())
	if len(errs) > 0 {
		t.Fatalf("the document makes no validator: %v", errs)
	}
	if ok, errs := v.ValidateDocument(); !ok {
		for _, err := range errs {
			t.Errorf("the document is not OpenAPI 3.1: %v", err)
		}
		t.FailNow()
	}
	r := &reader{t: t, validator: v, raw: raw, codes: map[string]bool{}, calls: map[string]bool{}}
	var parsed struct {
		OpenAPI string
		Paths   map[string]json.RawMessage
	}
	if err := json.Unmarshal(raw, &parsed); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(parsed.OpenAPI, "3.1.") {
		t.Fatalf("got OpenAPI %s, want 3.1", parsed.OpenAPI)
	}
	r.paths = map[string]map[string]struct {
		Responses map[string]struct {
			Content map[string]struct{ Examples map[string]any }
		}
	}{}
	for path, text := range parsed.Paths {
		var item map[string]json.RawMessage
		if err := json.Unmarshal(text, &item); err != nil {
			t.Fatal(err)
		}
		delete(item, "parameters")
		r.paths[path] = map[string]struct {
			Responses map[string]struct {
				Content map[string]struct{ Examples map[string]any }
			}
		}{}
		for method, text := range item {
			op := r.paths[path][method]
			if err := json.Unmarshal(text, &op); err != nil {
				t.Fatal(err)
			}
			r.paths[path][method] = op
		}
	}
	return r
}

var anID = regexp.MustCompile(`/[a-z]+_[0-9a-z]{26}`)

// row is one exchange, and what is wanted of it.
type row struct {
	name string
	call
	broken bool // at the API whose engine fails
	status int
	code   payment.Code // "" where all is well
	// offends says that the document must forbid the request.
	offends bool
}

// exchange sends a row's request, and holds request and answer against the
// document and the row.
func (r *reader) exchange(w *world, tt row) []byte {
	r.t.Helper()
	base := w.url
	if tt.broken {
		base = w.broken
	}
	req := w.request(base, tt.call)
	r.allows(req, tt)
	res, body := w.send(req)
	if ok, errs := r.validator.ValidateHttpResponse(req, res); !ok {
		for _, err := range errs {
			r.t.Errorf("%s: the document does not know this answer: %v %s\n%d %s", tt.name, err, err.Reason, res.StatusCode, body)
			for _, e := range err.SchemaValidationErrors {
				r.t.Errorf("%s: %s at %s", tt.name, e.Reason, e.FieldPath)
			}
		}
	}
	path, _, _ := strings.Cut(tt.path, "?")
	pattern := anID.ReplaceAllString(path, "/{id}")
	var problem struct{ Code payment.Code }
	if res.StatusCode >= http.StatusBadRequest {
		if err := json.Unmarshal(body, &problem); err != nil {
			r.t.Errorf("%s: %v", tt.name, err)
		}
		listed := r.paths[pattern][strings.ToLower(tt.method)].Responses[strconv.Itoa(res.StatusCode)].Content["application/problem+json"].Examples
		if _, ok := listed[string(problem.Code)]; !ok {
			r.t.Errorf("%s: %s %s does not list %s at %d", tt.name, tt.method, pattern, problem.Code, res.StatusCode)
		}
		r.codes[string(problem.Code)] = true
	} else {
		r.calls[tt.method+" "+pattern] = true
	}
	if res.StatusCode != tt.status || problem.Code != tt.code {
		r.t.Errorf("%s: got %d %s; want %d %s", tt.name, res.StatusCode, body, tt.status, tt.code)
	}
	return body
}

// allows asks whether the document allows a request, and fails where the row
// wants it otherwise.
func (r *reader) allows(req *http.Request, tt row) {
	r.t.Helper()
	asked := req.Clone(req.Context())
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			r.t.Fatal(err)
		}
		asked.Body = body
	}
	ok, errs := r.validator.ValidateHttpRequest(asked)
	if ok == !tt.offends {
		return
	}
	r.t.Errorf("%s: the document allows the request %v, want %v", tt.name, ok, !tt.offends)
	for _, err := range errs {
		r.t.Errorf("%s: %v %s", tt.name, err, err.Reason)
		for _, e := range err.SchemaValidationErrors {
			r.t.Errorf("%s: %s at %s", tt.name, e.Reason, e.FieldPath)
		}
	}
}

const visa = `{"type":"card","number":"4242424242424242","exp_month":12,"exp_year":2034,"cvc":"123"}`

// create is the body of a create request: 19.99 EUR by card, with more members.
func create(more string) string {
	return `{"amount":1999,"currency":"EUR","payment_method":` + visa + more + `}`
}

// post sends a request that must succeed, and returns the ID of what it made.
func (r *reader) post(w *world, name, path, body string, status int) string {
	r.t.Helper()
	answer := r.exchange(w, row{name: name, call: call{method: "POST", path: path, body: body}, status: status})
	var made struct{ ID string }
	if err := json.Unmarshal(answer, &made); err != nil || made.ID == "" {
		r.t.Fatalf("%s: no ID in %s: %v", name, answer, err)
	}
	return made.ID
}

const everything = `,"capture_method":"automatic","confirm":true,"reference":"order-1","description":"a\nb","statement_descriptor":"SHOP 1",` +
	`"customer":{"id":"c1","name":"Ada","email":"ada@shop.example","phone":"+49 30 1234567","ip":"2001:db8::1"},` +
	`"billing_address":{"line1":"1 Way","line2":"b","city":"Berlin","state":"BE","postal_code":"10115","country":"DE"},` +
	`"shipping_address":{"country":"de"},"browser":{"accept":"*/*","user_agent":"x","language":"en-GB","color_depth":24,` +
	`"screen_width":800,"screen_height":600,"timezone_offset":-60,"java":false,"javascript":true},` +
	`"return_url":"https://shop.example/done","channel":"ecommerce","off_session":false,` +
	`"account":"stripe","metadata":{"a":"b"}`

// TestAnswers makes every call that succeeds, and looks at each kind of object.
func TestAnswers(t *testing.T) {
	w := newWorld(t)
	r := newReader(t, w)
	paid := r.post(w, "create", "/v1/payments", create(everything), 201)
	r.post(w, "create, nested", "/v1/payments", `{"amount":1,"currency":"eur","payment_method":{"type":"card","card":{"number":"4242424242424242","exp_month":12,"exp_year":2034}}}`, 201)
	r.post(w, "create, token", "/v1/payments", `{"amount":1,"currency":"EUR","payment_method":{"type":"card_token","account":"stripe","token":"pm_card_visa"}}`, 201)
	r.post(w, "create, declined", "/v1/payments", `{"amount":1999,"currency":"EUR","payment_method":{"type":"card","number":"4000000000009995","exp_month":12,"exp_year":2034,"cvc":"123"}}`, 201)
	r.post(w, "create, 3-D Secure", "/v1/payments", `{"amount":1999,"currency":"EUR","return_url":"https://shop.example/","payment_method":{"type":"card","number":"4000002760003184","exp_month":12,"exp_year":2034,"cvc":"123"}}`, 201)
	r.post(w, "create, QR code", "/v1/payments", `{"amount":1999,"currency":"CNY","payment_method":{"type":"alipay","flow":"qr"}}`, 201)
	r.post(w, "create, redirect", "/v1/payments", `{"amount":1999,"currency":"CNY","return_url":"https://shop.example/","payment_method":{"type":"alipay","alipay":{"flow":"redirect"}}}`, 201)
	held := r.post(w, "authorize", "/v1/payments", create(`,"capture_method":"manual"`), 201)
	r.post(w, "capture", "/v1/payments/"+held+"/capture", `{"amount":999}`, 200)
	held = r.post(w, "authorize", "/v1/payments", create(`,"capture_method":"manual"`), 201)
	r.post(w, "capture all", "/v1/payments/"+held+"/capture", "", 200)
	held = r.post(w, "authorize", "/v1/payments", create(`,"capture_method":"manual"`), 201)
	r.post(w, "cancel", "/v1/payments/"+held+"/cancel", `{"reason":"out of stock"}`, 200)
	draft := r.post(w, "record", "/v1/payments", `{"amount":1999,"currency":"EUR","confirm":false}`, 201)
	r.post(w, "confirm", "/v1/payments/"+draft+"/confirm", `{"payment_method":`+visa+`}`, 200)
	refund := r.post(w, "refund", "/v1/refunds", `{"payment":"`+paid+`","amount":500,"reason":"one item","metadata":{"a":"b"}}`, 201)
	get := func(name, path string) []byte {
		return r.exchange(w, row{name: name, call: call{method: "GET", path: path}, status: 200})
	}
	get("read", "/v1/payments/"+paid)
	get("read and ask", "/v1/payments/"+paid+"?sync=true")
	r.exchange(w, row{name: "update", call: call{method: "PATCH", path: "/v1/payments/" + paid, body: `{"metadata":{"a":null,"b":"c"},"description":"d","reference":"r"}`}, status: 200})
	var page struct {
		HasMore    bool   `json:"has_more"`
		NextCursor string `json:"next_cursor"`
		Data       []struct{ ID string }
	}
	if err := json.Unmarshal(get("list", "/v1/payments?limit=2"), &page); err != nil || !page.HasMore || len(page.Data) != 2 {
		t.Fatalf("got %+v %v, want two payments and a cursor", page, err)
	}
	get("next page", "/v1/payments?limit=2&cursor="+page.NextCursor)
	get("filters", "/v1/payments?status=succeeded&outcome=known&reference=r&created_after=2026-01-01T00:00:00Z&created_before=2126-01-01T00:00:00Z")
	get("refunds", "/v1/refunds?status=succeeded&outcome=known&payment="+paid)
	get("refund", "/v1/refunds/"+refund)
	if err := json.Unmarshal(get("events", "/v1/events?limit=100"), &page); err != nil || len(page.Data) == 0 {
		t.Fatalf("no events: %v", err)
	}
	get("event", "/v1/events/"+page.Data[0].ID)
	get("events of a type", "/v1/events?type=refund.succeeded&payment="+paid)
	r.webhooks(w, page.Data[0].ID)
	for _, path := range []string{"/v1/account", "/healthz", "/readyz", "/openapi.json", "/docs"} {
		get(path, path)
	}
	for path, item := range r.paths {
		for method := range item {
			op := strings.ToUpper(method) + " " + path
			// What passes through is answered by the PSP, which no document describes:
			// package proxy's tests have it.
			elsewhere := strings.HasPrefix(path, "/return/") || strings.HasPrefix(path, "/webhooks/") || strings.HasPrefix(path, "/v1/proxy/")
			if !elsewhere && !r.calls[op] {
				t.Errorf("%s was not tried", op)
			}
		}
	}
}

// webhooks makes every call on webhook endpoints.
func (r *reader) webhooks(w *world, event string) {
	r.t.Helper()
	const endpoints = "/v1/webhook_endpoints"
	try := func(name, method, path, body string) {
		r.exchange(w, row{name: name, call: call{method: method, path: path, body: body}, status: 200})
	}
	r.post(w, "create endpoint", endpoints, `{"url":"https://shop.example/hook"}`, 201)
	id := r.post(w, "create endpoint, all fields", endpoints,
		`{"url":"https://shop.example:8443/hook?a=b","events":["payment.succeeded","refund.failed"],"description":"a\nb","metadata":{"a":"b"}}`, 201)
	one := endpoints + "/" + id
	try("read endpoint", "GET", one, "")
	try("change endpoint", "PATCH", one, `{"url":"https://shop.example/2","events":["*"],"description":"","metadata":{"a":null},"status":"disabled"}`)
	try("enable endpoint", "PATCH", one, `{"status":"enabled"}`)
	r.post(w, "rotate", one+"/rotate", "", 200)
	r.post(w, "rotate with an overlap", one+"/rotate", `{"overlap_seconds":0}`, 200)
	r.post(w, "test", one+"/test", "", 200)
	try("endpoints", "GET", endpoints+"?limit=1&status=enabled&created_after=2026-01-01T00:00:00Z", "")
	line := payment.Delivery{
		ID: "whd_00000000000000000000000001", Merchant: w.shop, Mode: payment.Test, Endpoint: id, Event: event, Type: payment.EventPaymentSucceeded, Try: 2,
		Error: "no answer in 15 s", CreatedAt: time.Now(), Took: time.Second, Next: time.Now().Add(time.Minute),
	}
	if err := w.store.Update(r.t.Context(), func(tx store.Tx) error { return tx.PutDelivery(line) }); err != nil {
		r.t.Fatal(err)
	}
	try("deliveries", "GET", one+"/deliveries?limit=5&event="+event, "")
	try("resend", "POST", "/v1/events/"+event+"/resend", "")
	try("resend to one", "POST", "/v1/events/"+event+"/resend", `{"endpoint":"`+id+`"}`)
	try("delete endpoint", "DELETE", one, "")
}

// refusedEndpoints provokes what is refused of webhook endpoints.
func (r *reader) refusedEndpoints(w *world) {
	r.t.Helper()
	const endpoints = "/v1/webhook_endpoints"
	post := func(body string) call { return call{method: "POST", path: endpoints, body: body} }
	for _, tt := range []row{
		{"no URL", post(`{}`), false, 400, payment.CodeInvalidRequest, true},
		{"plain http", post(`{"url":"http://shop.example/"}`), false, 400, payment.CodeInvalidRequest, false},
		{"another scheme", post(`{"url":"ftp://shop.example/"}`), false, 400, payment.CodeInvalidRequest, true},
		{"no events", post(`{"url":"https://shop.example/","events":[]}`), false, 400, payment.CodeInvalidRequest, true},
		{"unknown event", post(`{"url":"https://shop.example/","events":["x"]}`), false, 400, payment.CodeInvalidRequest, true},
		{"status of a new one", post(`{"url":"https://shop.example/","status":"enabled"}`), false, 400, payment.CodeInvalidRequest, true},
		{"nobody's", call{method: "DELETE", path: endpoints + "/we_00000000000000000000000000"}, false, 404, payment.CodeNotFound, false},
		{"no scope", call{method: "GET", path: endpoints, key: "read"}, false, 403, payment.CodeInsufficientScope, false},
	} {
		r.exchange(w, tt)
	}
	for range payment.MaxEndpoints {
		r.post(w, "create endpoint", endpoints, `{"url":"https://shop.example/hook"}`, 201)
	}
	r.exchange(w, row{name: "one too many", call: post(`{"url":"https://shop.example/hook"}`), status: 422, code: payment.CodeTooManyEndpoints})
}

// TestRefusals provokes every code that the API answers with.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	r := newReader(t, w)
	paid := r.post(w, "create", "/v1/payments", create(""), 201)
	held := r.post(w, "authorize", "/v1/payments", create(`,"capture_method":"manual"`), 201)
	const payments, nobody = "/v1/payments", "/v1/payments/pay_00000000000000000000000000"
	post := func(path, body string) call { return call{method: "POST", path: path, body: body} }
	get := func(path string) call { return call{method: "GET", path: path} }
	with := func(c call, name string, values ...string) call {
		c.header = http.Header{name: values}
		return c
	}
	as := func(c call, key string) call {
		c.key = key
		return c
	}
	r.exchange(w, row{name: "a key's first use", call: with(post(payments, create("")), "Idempotency-Key", "used"), status: 201})
	r.exchange(w, row{name: "a repeat", call: with(post(payments, create("")), "Idempotency-Key", "used"), status: 201})
	tests := []row{
		{"no amount", post(payments, `{"currency":"EUR","confirm":false}`), false, 400, payment.CodeInvalidRequest, true},
		{"amount 0", post(payments, `{"amount":0,"currency":"EUR","confirm":false}`), false, 400, payment.CodeInvalidRequest, true},
		{"amount too great", post(payments, `{"amount":1000000000000,"currency":"EUR","confirm":false}`), false, 400, payment.CodeInvalidRequest, true},
		{"unknown field", post(payments, create(`,"amont":1`)), false, 400, payment.CodeInvalidRequest, true},
		{"unknown nested field", post(payments, create(`,"customer":{"nmae":"A"}`)), false, 400, payment.CodeInvalidRequest, true},
		{"card of a token", post(payments, `{"amount":1,"currency":"EUR","payment_method":{"type":"card_token","number":"4242424242424242"}}`), false, 400, payment.CodeInvalidRequest, true},
		{"both forms", post(payments, `{"amount":1,"currency":"EUR","payment_method":{"type":"card","number":"4242424242424242","exp_month":12,"exp_year":2034,"card":{"number":"4242424242424242","exp_month":12,"exp_year":2034}}}`), false, 400, payment.CodeInvalidRequest, true},
		{"month 13", post(payments, `{"amount":1,"currency":"EUR","payment_method":{"type":"card","number":"4242424242424242","exp_month":13,"exp_year":2034}}`), false, 400, payment.CodeInvalidRequest, true},
		{"channel", post(payments, create(`,"channel":"web"`)), false, 400, payment.CodeInvalidRequest, true},
		{"long reference", post(payments, create(`,"reference":"`+strings.Repeat("x", 256)+`"`)), false, 400, payment.CodeInvalidRequest, true},
		{"limit 0", get("/v1/payments?limit=0"), false, 400, payment.CodeInvalidRequest, true},
		{"status", get("/v1/payments?status=paid"), false, 400, payment.CodeInvalidRequest, true},
		{"cursor of another", get("/v1/payments?cursor=x"), false, 400, payment.CodeInvalidRequest, false},
		{"no JSON", post(payments, `{"amount":`), false, 400, payment.CodeInvalidJSON, true},
		{"no body", post(payments, ""), false, 400, payment.CodeInvalidJSON, true},
		{"no key", with(post(payments, create("")), "Idempotency-Key"), false, 400, payment.CodeKeyRequired, true},
		{"key with a space", with(post(payments, create("")), "Idempotency-Key", "a b"), false, 400, payment.CodeKeyInvalid, true},
		{"no credential", as(get(payments), "-"), false, 401, payment.CodeUnauthenticated, true},
		{"a stranger", with(get(payments), "Authorization", "Bearer nobody"), false, 401, payment.CodeUnauthenticated, false},
		{"scope", as(post(payments, create("")), "read"), false, 403, payment.CodeInsufficientScope, false},
		{"scope of a read", as(get("/v1/events"), "read"), false, 403, payment.CodeInsufficientScope, false},
		{"no payment", get(nobody), false, 404, payment.CodeNotFound, false},
		{"no payment to refund", post("/v1/refunds", `{"payment":"pay_00000000000000000000000000"}`), false, 404, payment.CodeNotFound, false},
		{"no account of this name", post(payments, create(`,"account":"other"`)), false, 404, payment.CodeNotFound, false},
		{"capture of nothing", post("/v1/payments/"+paid+"/capture", "{}"), false, 409, payment.CodeInvalidState, false},
		{"confirm again", post("/v1/payments/"+paid+"/confirm", ""), false, 409, payment.CodeInvalidState, false},
		{"cancel too late", post("/v1/payments/"+paid+"/cancel", ""), false, 409, payment.CodeInvalidState, false},
		{"70 KiB", post(payments, create(`,"description":"`+strings.Repeat("x", 70<<10)+`"`)), false, 413, payment.CodeBodyTooLarge, true},
		{"text", with(post(payments, create("")), "Content-Type", "text/plain"), false, 415, payment.CodeUnsupportedMediaType, true},
		{"key of another", with(post(payments, create(`,"reference":"x"`)), "Idempotency-Key", "used"), false, 422, payment.CodeKeyReused, false},
		{"refund of too much", post("/v1/refunds", `{"payment":"`+paid+`","amount":2000}`), false, 422, payment.CodeAmountTooLarge, false},
		{"capture of too much", post("/v1/payments/"+held+"/capture", `{"amount":2000}`), false, 422, payment.CodeAmountTooLarge, false},
		{"capture and go on", post("/v1/payments/"+held+"/capture", `{"amount":1,"final":false}`), false, 422, payment.CodeNotSupported, false},
		{"a grid", post(payments, `{"amount":1001,"currency":"KWD","payment_method":`+visa+`}`), false, 422, payment.CodeNotRepresentable, false},
		{"future usage", post(payments, create(`,"setup_future_usage":"off_session"`)), false, 422, payment.CodeNotSupported, false},
		{"no account", post(payments, `{"amount":1,"currency":"EUR","payment_method":{"type":"paypal"}}`), false, 422, payment.CodeNoAccount, false},
		{"a card number", post(payments, create(`,"reference":"4242 4242 4242 4242"`)), false, 422, payment.CodePANNotAllowed, false},
		{"somebody's card", post(payments, strings.Replace(create(""), "4242424242424242", "4929000000006", 1)), false, 422, payment.CodeLiveCardInTestMode, false},
		{"a failure", post(payments, create("")), true, 500, payment.CodeInternal, false},
		{"no store", with(post(payments, create("")), "Idempotency-Key", "store"), true, 503, payment.CodeStoreUnavailable, false},
	}
	for _, tt := range tests {
		r.exchange(w, tt)
	}

	seen, open := w.gate.close()
	t.Cleanup(open)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.send(w.request(w.url, with(post("/v1/payments/"+held+"/capture", ""), "Idempotency-Key", "slow")))
	}()
	<-seen
	r.exchange(w, row{name: "the same, still running", call: with(post("/v1/payments/"+held+"/capture", ""), "Idempotency-Key", "slow"), status: 409, code: payment.CodeKeyInUse})
	r.exchange(w, row{name: "another at the same time", call: post("/v1/payments/"+held+"/capture", ""), status: 409, code: payment.CodeOperationInProgress})
	open()
	<-done

	r.refusedEndpoints(w)
	if err := w.store.Update(t.Context(), func(tx store.Tx) error { return tx.PutSetting(engine.SettingFrozen, "yes") }); err != nil {
		t.Fatal(err)
	}
	r.exchange(w, row{name: "frozen", call: post(payments, create("")), status: 503, code: payment.CodeFrozen})

	// These come of what this world does not have (policies, limits, too much to do, the
	// pass-through), or of methods that no document has; the tests of packages api and
	// proxy have them.
	for _, code := range []payment.Code{
		payment.CodeMethodNotAllowed, payment.CodePolicyDenied, payment.CodeRateLimited, payment.CodeOverloaded,
		payment.CodePSPUnavailable, payment.CodePSPNoAnswer,
	} {
		r.codes[string(code)] = true
	}
	for _, info := range payment.Codes {
		if !r.codes[string(info.Code)] {
			t.Errorf("%s was not provoked; seen were %v", info.Code, slices.Sorted(maps.Keys(r.codes)))
		}
	}
}
