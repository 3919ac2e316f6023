package api

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/access"
	"github.com/purser-pay/purser/modules/payment"
)

// inbound are the paths that package inbox serves, and the pass-through's.
var inbound = map[string][]string{
	"/webhooks/{account}": {"POST"}, "/return/{token}": {"GET", "POST"}, proxyRoute: strings.Split(proxyMethods, ", "),
}

func TestEveryRouteIsDescribed(t *testing.T) {
	want := maps.Clone(inbound)
	for _, rt := range routes {
		for _, ep := range rt.endpoints {
			want[rt.pattern] = append(want[rt.pattern], ep.method)
		}
		slices.Sort(want[rt.pattern])
	}
	got := map[string][]string{}
	ids := map[string]bool{}
	for _, path := range describe("").Paths {
		for _, op := range path.value.operations() {
			got[path.name] = append(got[path.name], op.name) // sorted, as the document has them
			if id := op.value.OperationID; id == "" || op.value.Summary == "" || ids[id] {
				t.Errorf("%s %s: operationId %q and summary %q; both are needed, the first once", op.name, path.name, id, op.value.Summary)
			} else {
				ids[id] = true
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("methods by path (-routes +document):\n%s", diff)
	}
	served := 0
	for _, rt := range routes {
		served += len(rt.endpoints)
	}
	if calls := describeCalls(); len(calls) != served {
		t.Errorf("%d calls are described and %d are served", len(calls), served)
	}
}

func TestOperationsFollowTheirEndpoints(t *testing.T) {
	doc := describe("")
	for _, rt := range routes {
		item := doc.Paths.find(rt.pattern)
		for _, ep := range rt.endpoints {
			op := item.operations().find(ep.method)
			if got := op.RequestBody != nil; got != ep.body {
				t.Errorf("%s %s: a body is described %v, read %v", ep.method, rt.pattern, got, ep.body)
			}
			want := credentials(string(ep.scope))
			if ep.open {
				want = []members[[]string]{}
			}
			if diff := cmp.Diff(want, op.Security, cmp.AllowUnexported(member[[]string]{})); diff != "" {
				t.Errorf("%s %s: security (-want +got):\n%s", ep.method, rt.pattern, diff)
			}
		}
	}
}

// TestEveryCodeIsDescribed: each code is in the vocabulary and has its example,
// and each that an endpoint can answer is listed by some operation.
func TestEveryCodeIsDescribed(t *testing.T) {
	doc := describe("")
	listed := map[string]bool{"method_not_allowed": true} // of a method that is not in the document
	for _, path := range doc.Paths {
		for _, op := range path.value.operations() {
			for _, answer := range op.value.Responses {
				for _, content := range answer.value.Content {
					for _, e := range content.value.Examples {
						listed[e.name] = true
						if row := payment.Code(e.name).Info(); e.value.Ref != "" && strconv.Itoa(row.Status) != answer.name {
							t.Errorf("%s %s: %s stands at %s and has status %d", op.name, path.name, e.name, answer.name, row.Status)
						}
					}
				}
			}
		}
	}
	vocabulary := doc.Components.Schemas.find("Code").Enum
	for _, row := range payment.Codes {
		code := string(row.Code)
		if !slices.Contains(vocabulary, code) || doc.Components.Examples.find(code).Value == nil || !listed[code] {
			t.Errorf("%s is not in the enum, has no example, or no operation lists it", code)
		}
	}
	if len(vocabulary) != len(payment.Codes) {
		t.Errorf("the enum has %d codes, the table %d", len(vocabulary), len(payment.Codes))
	}
	var failures, scopes []string
	for _, row := range payment.Failures {
		failures = append(failures, string(row.Code))
	}
	for _, s := range access.Scopes {
		scopes = append(scopes, string(s))
	}
	for name, want := range map[string][]string{"FailureCode": failures, "Scope": scopes} {
		if diff := cmp.Diff(want, doc.Components.Schemas.find(name).Enum); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestBodiesAreDescribed compares the structs that bodies are read into with
// their schemas, field by field.
func TestBodiesAreDescribed(t *testing.T) {
	doc := describe("")
	check := func(name string, s *schema, v any) {
		t.Helper()
		want := jsonNames(reflect.TypeOf(v))
		if got := slices.Sorted(slices.Values(s.Properties.names())); !slices.Equal(got, want) {
			t.Errorf("%s (-struct +schema):\n%s", name, cmp.Diff(want, got))
		}
		if s.Additional != false {
			t.Errorf("%s: additionalProperties %v, want false: unknown fields are refused", name, s.Additional)
		}
	}
	named := map[string]any{
		"CreatePayment": createBody{}, "ConfirmPayment": confirmBody{}, "CapturePayment": captureBody{}, "CancelPayment": cancelBody{},
		"UpdatePayment": patchBody{}, "CreateRefund": refundBody{}, "CustomerRequest": payment.Customer{}, "Address": payment.Address{},
		"Browser": payment.Browser{}, "CreateWebhookEndpoint": endpointBody{}, "UpdateWebhookEndpoint": endpointPatchBody{},
		"RotateWebhookEndpoint": rotateBody{}, "TestWebhookEndpoint": testBody{}, "ResendEvent": resendBody{},
	}
	for name, v := range named {
		check(name, doc.Components.Schemas.find(name), v)
	}
	var types, members []string
	for _, form := range doc.Components.Schemas.find("PaymentMethod").OneOf {
		s := doc.Components.Schemas.find(local(form.Ref))
		if s.Additional != false {
			t.Errorf("%s takes unknown fields", form.Ref)
		}
		types = append(types, s.Properties.find("type").Enum...)
		members = append(members, s.Properties.names()...)
	}
	for _, of := range methodTypes {
		if !slices.Contains(types, string(of)) {
			t.Errorf("no form of PaymentMethod is of type %s", of)
		}
	}
	want := jsonNames(reflect.TypeFor[methodBody]())
	slices.Sort(members)
	if got := slices.Compact(members); !slices.Equal(got, want) {
		t.Errorf("members of payment methods (-struct +schema):\n%s", cmp.Diff(want, got))
	}
}

// jsonNames are the names of a struct's JSON members, sorted.
func jsonNames(t reflect.Type) []string {
	var out []string
	for f := range t.Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			out = append(out, name)
		} else if f.Anonymous {
			out = append(out, jsonNames(f.Type)...)
		}
	}
	slices.Sort(out)
	return out
}

// full is a payment in which nothing is empty, for the fields that are left out
// when they are.
func full() *payment.Payment {
	p := sample()
	at := p.CreatedAt
	failure := &payment.Failure{
		Code: payment.CardDeclined, Message: "m", Advice: payment.DoNotRetry, NetworkDeclineCode: "05", PSPCode: "c", PSPMessage: "m",
	}
	p.Error, p.Attempts[0].Error, p.Refunds[0].Error = failure, failure, failure
	p.Attempts[0].Done = map[string]string{payment.NetworkTransaction: "n"}
	p.Method.Flow = payment.FlowQR
	p.NextAction = &payment.NextAction{
		Type: payment.ActionRedirect, URL: "https://a.example", Method: "GET", Fields: map[string]string{"a": "b"}, Data: "d",
		ImageURL: "https://a.example", ExpiresAt: at, PollAfter: at, Parameters: map[string]string{"a": "b"}, Details: map[string]string{"a": "b"},
	}
	p.Customer = &payment.Customer{ID: "i", Name: "n", Email: "e@x.example", Phone: "1", IP: "::1"}
	p.Description, p.ReturnURL = "d", "https://a.example"
	p.CaptureBefore, p.CancelRequestedAt, p.ExpiresAt = at, at, at
	return p
}

// TestAnswersAreDescribed writes objects with every field and with none, and
// looks for each field in the schema, and for each of the schema's in the
// object.
func TestAnswersAreDescribed(t *testing.T) {
	doc := describe("")
	bare := &payment.Payment{Mode: payment.Test}
	tests := []struct {
		schema string
		body   []byte
		full   bool
	}{
		{"Payment", written(full().Object()), true},
		{"Payment", written(bare.Object()), false},
		{"Refund", written(full().RefundObject(&full().Refunds[0])), true},
		{"Refund", written(bare.RefundObject(&payment.Refund{})), false},
		{"Event", sampleEvent(), true},
		{"Account", sampleAccount(), true},
		{"WebhookEndpoint", sampleEndpoint(), true},
		{"NewWebhookEndpoint", sampleNewEndpoint(), true},
		{"WebhookDelivery", sampleDelivery(), true},
		{"WebhookDelivery", written(deliveryObject(&payment.Delivery{})), true},
		{"Problem", []byte(`{"type":"t","title":"t","status":400,"detail":"d","code":"c","param":"p","policy":"r","request_id":"r","retryable":true}`), true},
		{"Health", []byte(`{"status":"ok","version":"1"}`), true},
		{"PaymentList", []byte(`{"object":"list","data":[],"has_more":true,"next_cursor":"c"}`), true},
	}
	for _, tt := range tests {
		var v any
		if err := json.Unmarshal(tt.body, &v); err != nil {
			t.Fatal(err)
		}
		for _, diff := range differences(doc, tt.schema, ref(tt.schema), v, tt.full) {
			t.Error(diff)
		}
	}
	if diff := cmp.Diff(jsonNames(reflect.TypeFor[problem]()), slices.Sorted(slices.Values(doc.Components.Schemas.find("Problem").Properties.names()))); diff != "" {
		t.Errorf("Problem (-struct +schema):\n%s", diff)
	}
}

func differences(doc *document, at string, s *schema, v any, full bool) (out []string) {
	if v == nil {
		if !s.nullable() {
			out = append(out, at+" is null, which the schema does not allow")
		}
		return out
	}
	if s.OneOf != nil && s.nullable() {
		s = s.OneOf[0]
	}
	if s.Discriminator != nil {
		object, _ := v.(map[string]any)["object"].(string)
		s = &schema{Ref: s.Discriminator.Mapping.find(object)}
	}
	if s.Ref != "" {
		s = doc.Components.Schemas.find(local(s.Ref))
	}
	switch v := v.(type) {
	case map[string]any:
		if _, isMap := s.Additional.(*schema); isMap {
			return nil
		}
		for name, value := range v {
			if p := s.Properties.find(name); p == nil {
				out = append(out, at+"."+name+" is told and not described")
			} else {
				out = append(out, differences(doc, at+"."+name, p, value, full)...)
			}
		}
		for _, name := range s.Properties.names() {
			if _, there := v[name]; !there && (full || slices.Contains(s.Required, name)) {
				out = append(out, at+"."+name+" is described and not told")
			}
		}
	case []any:
		for _, item := range v {
			out = append(out, differences(doc, at+"[]", s.Items, item, full)...)
		}
	}
	return out
}

// TestVocabularyIsWhole reads the constants of package payment: each that can
// be told is in the list of its type.
func TestVocabularyIsWhole(t *testing.T) {
	lists := map[string][]string{
		"AttemptStatus": texts(attemptStatuses), "Kind": append(texts(attemptKinds), string(payment.KindSync)), // sync is never an attempt
		"Origin": texts(origins), "Advice": texts(advices), "Mode": texts(modes), "CaptureMethod": texts(captures),
		"ActionType": texts(actionTypes), "EventType": texts(eventTypes), "Status": texts(payment.Statuses), "Outcome": texts(outcomes),
		"EndpointStatus": texts(payment.EndpointStatuses), "RefundStatus": texts(refundStatuses), "Flow": texts(flows), "Channel": texts(payment.Channels),
	}
	packages, err := parser.ParseDir(token.NewFileSet(), "../payment", nil, 0) //nolint:staticcheck // one package, no build tags
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	ast.Inspect(packages["payment"], func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		of, _ := spec.Type.(*ast.Ident)
		value, _ := spec.Values[0].(*ast.BasicLit)
		if of != nil && value != nil && lists[of.Name] != nil {
			text, err := strconv.Unquote(value.Value)
			if err != nil {
				t.Fatal(err)
			}
			found[of.Name] = append(found[of.Name], text)
		}
		return true
	})
	for name, list := range lists {
		slices.Sort(list)
		slices.Sort(found[name])
		if diff := cmp.Diff(found[name], list); diff != "" {
			t.Errorf("%s (-constants +document):\n%s", name, diff)
		}
	}
}

func texts[T ~string](list []T) []string {
	var out []string
	for _, v := range list {
		out = append(out, string(v))
	}
	return out
}

// TestExamplesAreGood reads each example of a request as its endpoint would.
func TestExamplesAreGood(t *testing.T) {
	bare := &API{}
	readers := map[string]func(*checker, *request) error{
		"CreatePayment": reader((*checker).create), "ConfirmPayment": reader((*checker).confirm), "CapturePayment": reader((*checker).capture),
		"CancelPayment": reader((*checker).cancel), "UpdatePayment": reader((*checker).patch), "CreateRefund": reader((*checker).refund),
		"CreateWebhookEndpoint": reader(bare.takeEndpoint), "UpdateWebhookEndpoint": reader(bare.takeEndpointPatch),
		"RotateWebhookEndpoint": reader((*checker).rotate), "ResendEvent": reader((*checker).resend),
	}
	for _, c := range describeCalls() {
		for _, e := range c.examples {
			rq := &request{http: httptest.NewRequest(http.MethodPost, "/", nil), body: slices.Clone(e.value.Value)}
			rq.http.Header.Set("Content-Type", contentJSON)
			if err := readers[c.body](&checker{mode: payment.Test, cards: builtInCards(payment.Test), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}, rq); err != nil {
				t.Errorf("%s, example %s: %v", c.id, e.name, err)
			}
		}
	}
	for prefix, id := range sampleIDs {
		if !payment.IsID(prefix, id) {
			t.Errorf("%q is no ID of prefix %s", id, prefix)
		}
	}
}

func reader[T, In any](check func(*checker, *T) In) func(*checker, *request) error {
	return func(c *checker, rq *request) error {
		var body T
		if _, err := rq.decode(&body, false); err != nil {
			return err
		}
		check(c, &body)
		switch {
		case c.err != nil:
			return c.err
		case c.late != nil:
			return c.late
		default:
			return nil
		}
	}
}

// TestReferencesLead follows every $ref, and compiles every pattern.
func TestReferencesLead(t *testing.T) {
	var doc map[string]any
	if err := json.Unmarshal(newReference("1.2.3").openAPI, &doc); err != nil {
		t.Fatal(err)
	}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if target, ok := v["$ref"].(string); ok {
				var there any = doc
				for name := range strings.SplitSeq(strings.TrimPrefix(target, "#/"), "/") {
					object, _ := there.(map[string]any)
					there = object[name]
				}
				if there == nil {
					t.Errorf("%s leads to %s, which is not there", at, target)
				}
			}
			if pattern, ok := v["pattern"].(string); ok {
				if _, err := regexp.Compile(pattern); err != nil {
					t.Errorf("%s: %v", at, err)
				}
			}
			for name, inner := range v {
				walk(at+"/"+name, inner)
			}
		case []any:
			for i, inner := range v {
				walk(at+"/"+strconv.Itoa(i), inner)
			}
		}
	}
	walk("#", doc)
}
