package api

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/purser-pay/purser/modules/payment"
)

// idAlphabet is the set of the 26 characters after an ID's prefix, as regular
// expressions write it: Crockford's base32 in lower case.
const idAlphabet = "[0-9a-hjkmnp-tv-z]"

// describe puts the OpenAPI document together: the routes come from [routes],
// the codes from [payment.Codes], the scopes from the endpoints; what people
// have to say about them comes from the tables of this package.
func describe(version string) *document {
	doc := &document{
		OpenAPI: "3.1.0",
		Info: info{
			Title: "Purser", Version: cmp.Or(version, "dev"), Summary: "One HTTP API for payments at many payment service providers.",
			Description: conventions, License: license{Name: "Apache-2.0", Identifier: "Apache-2.0"},
		},
		Servers:  []server{{URL: "/", Description: "the gateway that serves this document"}},
		Security: credentials(""),
		Tags:     tags,
	}
	calls := describeCalls()
	for i := range routes {
		rt := &routes[i]
		item := pathItem{Parameters: rt.parameters()}
		for _, ep := range rt.endpoints {
			ep.prefix = rt.prefix
			item.set(ep.method, calls[ep.method+" "+rt.pattern].operation(ep))
		}
		doc.Paths.add(rt.pattern, item)
	}
	describePassed(&doc.Paths)
	describeInbound(&doc.Paths)
	doc.Components = components{
		Schemas: describeSchemas(), Headers: describeHeaders(), Examples: describeProblems(),
		Parameters: members[*parameter]{
			{"IdempotencyKey", idempotencyParameter(true)}, {"OptionalIdempotencyKey", idempotencyParameter(false)},
		},
		SecuritySchemes: members[securityScheme]{
			{"bearer", securityScheme{Type: "http", Scheme: "bearer", BearerFormat: "API key, or JWT", Description: "`Authorization: Bearer pur_test_…`, or the access token of an issuer that the operator trusts. Neither ever goes into a URL."}}, //nolint:gosec // it describes credentials, and holds none
			{"basic", securityScheme{Type: "http", Scheme: "basic", Description: "The API key is the user name, and the password is empty."}},
			{"dpop", securityScheme{Type: "http", Scheme: "dpop", Description: "`Authorization: DPoP eyJ…` with a proof in `DPoP` (RFC 9449), for a token that is bound to a key."}},
			{"certificate", securityScheme{Type: "mutualTLS", Description: "A client certificate that the operator has mapped to a merchant, and no `Authorization`."}},
		},
	}
	return doc
}

// credentials is what an endpoint asks for, with a scope or with none in
// particular: one of the forms in which callers prove who they are. A client
// certificate is not among them: it is no part of the message, so that whoever
// holds a message against the document could not tell it from none.
func credentials(scope string) []members[[]string] {
	scopes := []string{}
	if scope != "" {
		scopes = append(scopes, scope)
	}
	return []members[[]string]{{{"bearer", scopes}}, {{"basic", scopes}}, {{"dpop", scopes}}}
}

func (r *route) parameters() []*parameter {
	if r.prefix == "" {
		return nil
	}
	return []*parameter{{
		Name: "id", In: "path", Required: true, Schema: identifier(r.prefix),
		Description: "The object's ID. One that does not exist, is another merchant's, or is of the other mode is `not_found`.",
		Example:     sampleIDs[r.prefix],
	}}
}

// operation is the call at its endpoint.
func (c call) operation(ep endpoint) *operation {
	op := &operation{
		OperationID: c.id, Tags: []string{c.tag}, Summary: c.summary, Description: c.text,
		Parameters: c.query, Security: []members[[]string]{},
	}
	if !ep.open {
		op.Security = credentials(string(ep.scope))
		op.Description = strings.TrimSpace(op.Description + "\n\nScope: `" + string(ep.scope) + "`.")
	}
	if c.keyed {
		op.Parameters = append([]*parameter{{Ref: "#/components/parameters/IdempotencyKey"}}, op.Parameters...)
	}
	if c.welcome {
		op.Parameters = append([]*parameter{{Ref: "#/components/parameters/OptionalIdempotencyKey"}}, op.Parameters...)
	}
	if c.body != "" {
		op.RequestBody = &requestBody{
			Required: !c.optional,
			Content:  members[mediaType]{{contentJSON, mediaType{Schema: ref(c.body), Examples: c.examples}}},
		}
	}
	op.Responses = append(op.Responses, member[*answer]{strconv.Itoa(c.success), c.answer()})
	op.Responses = append(op.Responses, problems(c.problems(ep))...)
	if !ep.open {
		for _, m := range op.Responses {
			if m.name[0] == '2' || m.name == strconv.Itoa(http.StatusTooManyRequests) {
				m.value.Headers = append(m.value.Headers, headers("RateLimit", "RateLimit-Policy")...)
			}
		}
	}
	return op
}

// answer is what a call says when all is well.
func (c call) answer() *answer {
	a := &answer{Description: c.says, Headers: headers("Request-Id", "Server-Timing", "Cache-Control")}
	if c.keyed || c.welcome {
		a.Headers = append(a.Headers, headers("Idempotent-Replayed")...)
	}
	media := mediaType{Schema: c.returns}
	if c.shows != nil {
		media.Examples = members[example]{{"answer", example{Value: c.shows}}}
	}
	a.Content = members[mediaType]{{cmp.Or(c.contentType, contentJSON), media}}
	return a
}

// problems are the codes with which a call may be refused, in the order of the
// table: what comes with its endpoint, and its own.
func (c call) problems(ep endpoint) []payment.Code {
	codes := append([]payment.Code{payment.CodeInternal}, c.codes...)
	if !ep.open {
		codes = append(codes, payment.CodeInvalidRequest, payment.CodeUnauthenticated, payment.CodeInsufficientScope,
			payment.CodePolicyDenied, payment.CodePANNotAllowed, payment.CodeRateLimited, payment.CodeStoreUnavailable, payment.CodeOverloaded)
	}
	if ep.prefix != "" {
		codes = append(codes, payment.CodeNotFound)
	}
	if ep.body {
		codes = append(codes, payment.CodeInvalidJSON, payment.CodeBodyTooLarge, payment.CodeUnsupportedMediaType)
	}
	if c.keyed {
		codes = append(codes, payment.CodeKeyRequired)
	}
	if c.keyed || c.welcome {
		codes = append(codes, payment.CodeKeyInvalid, payment.CodeKeyInUse, payment.CodeKeyReused)
	}
	return codes
}

// problems answers each HTTP status of some codes once.
func problems(codes []payment.Code) members[*answer] {
	var out members[*answer]
	for _, row := range payment.Codes {
		if !slices.Contains(codes, row.Code) {
			continue
		}
		status := strconv.Itoa(row.Status)
		at := slices.IndexFunc(out, func(m member[*answer]) bool { return m.name == status })
		if at < 0 {
			at = len(out)
			a := &answer{
				Headers: headers("Request-Id", "Server-Timing", "Cache-Control"),
				Content: members[mediaType]{{contentProblem, mediaType{Schema: ref("Problem")}}},
			}
			if row.Status == 401 {
				a.Headers = append(a.Headers, headers("WWW-Authenticate")...)
			}
			out = append(out, member[*answer]{status, a})
		}
		a := out[at].value
		if retryDelay(&payment.Error{Code: row.Code}) > 0 && !slices.Contains(a.Headers.names(), "Retry-After") {
			a.Headers = append(a.Headers, headers("Retry-After")...)
		}
		a.Description = strings.TrimPrefix(a.Description+", `"+string(row.Code)+"`", ", ")
		content := &a.Content[0].value
		content.Examples = append(content.Examples, member[example]{string(row.Code), example{Ref: "#/components/examples/" + string(row.Code)}})
	}
	return out
}

// describeProblems shows each code as it is answered.
func describeProblems() members[example] {
	var out members[example]
	for _, row := range payment.Codes {
		value, err := json.Marshal(&problem{
			Type: ProblemBase + string(row.Code), Title: row.Title, Status: row.Status, Code: row.Code,
			RequestID: sampleIDs[payment.PrefixRequest], Retryable: row.Retryable,
		})
		if err != nil {
			panic(fmt.Errorf("api: example of a problem: %w", err)) // strings and numbers can be written
		}
		out.add(string(row.Code), example{Summary: row.Title, Value: value})
	}
	return out
}

// The rest of this file is OpenAPI 3.1 as far as the document needs it. Objects
// whose names are data keep their order, which is the order of reading.

// members is a JSON object in its order.
type members[T any] []member[T]

type member[T any] struct {
	name  string
	value T
}

func (m *members[T]) add(name string, value T) { *m = append(*m, member[T]{name, value}) }

func (m members[T]) names() []string {
	out := make([]string, len(m))
	for i := range m {
		out[i] = m[i].name
	}
	return out
}

// find returns the member of a name, or the zero value.
func (m members[T]) find(name string) (value T) {
	for i := range m {
		if m[i].name == name {
			return m[i].value
		}
	}
	return value
}

// MarshalJSONTo writes the object.
func (m members[T]) MarshalJSONTo(enc *jsontext.Encoder) error {
	if err := enc.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for i := range m {
		if err := enc.WriteToken(jsontext.String(m[i].name)); err != nil {
			return err
		}
		if err := json.MarshalEncode(enc, &m[i].value); err != nil {
			return err
		}
	}
	return enc.WriteToken(jsontext.EndObject)
}

type document struct {
	OpenAPI    string              `json:"openapi"`
	Info       info                `json:"info"`
	Servers    []server            `json:"servers"`
	Security   []members[[]string] `json:"security"`
	Tags       []tag               `json:"tags"`
	Paths      members[pathItem]   `json:"paths"`
	Components components          `json:"components"`
}

type info struct {
	Title       string  `json:"title"`
	Summary     string  `json:"summary"`
	Description string  `json:"description"`
	License     license `json:"license"`
	Version     string  `json:"version"`
}

type license struct {
	Name       string `json:"name"`
	Identifier string `json:"identifier"`
}

type server struct {
	URL         string `json:"url"`
	Description string `json:"description"`
}

type tag struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

type pathItem struct {
	Parameters []*parameter `json:"parameters,omitzero"`
	Get        *operation   `json:"get,omitzero"`
	Head       *operation   `json:"head,omitzero"`
	Post       *operation   `json:"post,omitzero"`
	Put        *operation   `json:"put,omitzero"`
	Patch      *operation   `json:"patch,omitzero"`
	Delete     *operation   `json:"delete,omitzero"`
}

// set puts an operation at its method.
func (p *pathItem) set(method string, op *operation) {
	switch method {
	case "GET":
		p.Get = op
	case "POST":
		p.Post = op
	case "PATCH":
		p.Patch = op
	case "DELETE":
		p.Delete = op
	default:
		panic("api: no place for " + method + " in the OpenAPI document")
	}
}

// operations are those that are there, by method.
func (p *pathItem) operations() members[*operation] {
	all := members[*operation]{{"DELETE", p.Delete}, {"GET", p.Get}, {"HEAD", p.Head}, {"PATCH", p.Patch}, {"POST", p.Post}, {"PUT", p.Put}}
	return slices.DeleteFunc(all, func(m member[*operation]) bool { return m.value == nil })
}

type operation struct {
	OperationID string              `json:"operationId"`
	Tags        []string            `json:"tags"`
	Summary     string              `json:"summary"`
	Description string              `json:"description,omitzero"`
	Parameters  []*parameter        `json:"parameters,omitzero"`
	RequestBody *requestBody        `json:"requestBody,omitzero"`
	Responses   members[*answer]    `json:"responses"`
	Security    []members[[]string] `json:"security"`
}

type parameter struct {
	Ref         string  `json:"$ref,omitzero"`
	Name        string  `json:"name,omitzero"`
	In          string  `json:"in,omitzero"`
	Description string  `json:"description,omitzero"`
	Required    bool    `json:"required,omitzero"`
	Schema      *schema `json:"schema,omitzero"`
	Example     string  `json:"example,omitzero"`
}

type requestBody struct {
	Required bool               `json:"required"`
	Content  members[mediaType] `json:"content"`
}

type mediaType struct {
	Schema   *schema          `json:"schema,omitzero"`
	Examples members[example] `json:"examples,omitzero"`
}

type answer struct {
	Description string              `json:"description"`
	Headers     members[*parameter] `json:"headers,omitzero"`
	Content     members[mediaType]  `json:"content,omitzero"`
}

type example struct {
	Ref     string         `json:"$ref,omitzero"`
	Summary string         `json:"summary,omitzero"`
	Value   jsontext.Value `json:"value,omitzero"`
}

type securityScheme struct {
	Type         string `json:"type"`
	Scheme       string `json:"scheme,omitzero"`
	BearerFormat string `json:"bearerFormat,omitzero"`
	Description  string `json:"description"`
}

type components struct {
	Schemas         members[*schema]        `json:"schemas"`
	Parameters      members[*parameter]     `json:"parameters"`
	Headers         members[*parameter]     `json:"headers"`
	Examples        members[example]        `json:"examples"`
	SecuritySchemes members[securityScheme] `json:"securitySchemes"`
}

// Answers' headers, by name; their keys in the document have no dash.
func headers(names ...string) members[*parameter] {
	out := make(members[*parameter], len(names))
	for i, name := range names {
		out[i] = member[*parameter]{name, &parameter{Ref: "#/components/headers/" + strings.ReplaceAll(name, "-", "")}}
	}
	return out
}

func describeHeaders() members[*parameter] {
	all := map[string]*parameter{
		"RequestId":          {Description: "Names this very request, for the operator's log.", Required: true, Schema: identifier(payment.PrefixRequest)},
		"ServerTiming":       {Description: "Milliseconds: `total` is the whole request, `psp` the wait for PSPs; the gateway's own time is the difference.", Required: true, Schema: text("").like(`^total;dur=[0-9.]+, psp;dur=[0-9.]+$`)},
		"CacheControl":       {Description: "Nothing is to be cached.", Required: true, Schema: oneOfStrings("", []string{"no-store"})},
		"IdempotentReplayed": {Description: "There where the answer is the first one again, byte for byte.", Schema: oneOfStrings("", []string{"true"})},
		"RetryAfter":         {Description: "Seconds to wait before the same request may be sent again.", Schema: integer("", 1, 86400)},
		"RateLimit":          {Description: "The window that leaves the least: its name, the calls that remain (`r`), and the seconds until it is empty again, or, where this call was refused, until it would pass (`t`). There where a limit counted the call.", Schema: text("")},
		"RateLimitPolicy":    {Description: "Every window that counted the call: its name, its calls (`q`) and its seconds (`w`), as draft-ietf-httpapi-ratelimit-headers has them.", Schema: text("")},
		"WWWAuthenticate":    {Description: "The scheme that is asked for.", Required: true, Schema: text("")},
		"Allow":              {Description: "The methods that the resource takes.", Required: true, Schema: text("")},
	}
	var out members[*parameter]
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out.add(name, all[name])
	}
	return out
}

func idempotencyParameter(required bool) *parameter {
	return &parameter{
		Name: idempotencyKey, In: "header", Required: required,
		Description: "A value of your own choice, new for each operation and the same in each repeat of it: then it is done once and has one answer, " +
			"for 30 days. Bare, or as a quoted string of a structured field: both name the same key.",
		Schema:  text("").long(1, maxIdempotencyKey).like(`^[!-~]+$`),
		Example: "order-1042",
	}
}
