package api

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page and its style
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/purser-pay/purser/modules/payment"
)

const contentHTML = "text/html; charset=utf-8"

// reference is the API as it is told to readers: for programs and for people.
type reference struct {
	openAPI, page []byte
	// policy is the page's Content-Security-Policy: it runs nothing, loads
	// nothing, and has one style, which is known by its hash.
	policy string
	err    error
}

//go:embed docs.html
var docsHTML string

//go:embed docs.css
var docsCSS string

// newReference writes both forms of the document.
func newReference(version string) (r reference) {
	doc := describe(version)
	if r.openAPI, r.err = json.Marshal(doc); r.err != nil {
		return r
	}
	style := sha256.Sum256([]byte(docsCSS))
	r.policy = "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(style[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	page, err := template.New("docs").Funcs(template.FuncMap{
		"anchor": anchor, "kind": kind, "bounds": bounds, "local": local, "prose": paragraphs, "rich": rich, "odd": odd,
	}).Parse(docsHTML)
	if err != nil {
		r.err = err
		return r
	}
	var buf bytes.Buffer
	r.err = page.Execute(&buf, map[string]any{
		"Doc": doc, "Calls": listOfCalls(doc), "Schemas": listOfSchemas(doc), "Codes": payment.Codes,
		"Failures": payment.Failures, "Style": template.CSS(docsCSS), //nolint:gosec // it is a file of this package
	})
	r.page = buf.Bytes()
	return r
}

func (a *API) openAPI(*request) (response, error) {
	r := a.reference()
	return response{status: 200, body: r.openAPI}, r.err
}

func (a *API) docs(rq *request) (response, error) {
	r := a.reference()
	h := rq.w.Header()
	h.Set("Content-Security-Policy", r.policy)
	h.Set("Referrer-Policy", "no-referrer")
	return response{status: 200, contentType: contentHTML, body: r.page}, r.err
}

// callView is a call as the page shows it.
type callView struct {
	Method, Path string
	Op           *operation
	Parameters   []*parameter
	Body         *schema // nil where none is read
	Examples     []exampleView
	Answers      []answerView
	Curl         string
}

type answerView struct {
	Status string
	Answer *answer
	Schema *schema
	Codes  []string
	Sample string
}

type exampleView struct{ Summary, JSON string }

// schemaView is a named schema as the page shows it.
type schemaView struct {
	Name   string
	Schema *schema
	Fields []fieldView
}

type fieldView struct {
	Name   string
	Schema *schema
	Must   bool
}

func listOfCalls(doc *document) []callView {
	var out []callView
	for _, path := range doc.Paths {
		for _, op := range path.value.operations() {
			out = append(out, viewCall(doc, path.name, op.name, &path.value, op.value))
		}
	}
	return out
}

func viewCall(doc *document, path, method string, item *pathItem, op *operation) callView {
	v := callView{Method: method, Path: path, Op: op}
	for _, list := range [][]*parameter{item.Parameters, op.Parameters} {
		for _, p := range list {
			if p.Ref != "" {
				p = doc.Components.Parameters.find(local(p.Ref))
			}
			v.Parameters = append(v.Parameters, p)
		}
	}
	if op.RequestBody != nil {
		content := op.RequestBody.Content[0].value
		v.Body = content.Schema
		for _, e := range content.Examples {
			v.Examples = append(v.Examples, exampleView{e.value.Summary, string(e.value.Value)})
		}
	}
	for _, r := range op.Responses {
		a := answerView{Status: r.name, Answer: r.value}
		if len(r.value.Content) > 0 {
			a.Schema = r.value.Content[0].value.Schema
			for _, e := range r.value.Content[0].value.Examples {
				if e.value.Ref != "" {
					a.Codes = append(a.Codes, e.name)
				} else {
					a.Sample = indent(e.value.Value)
				}
			}
		}
		v.Answers = append(v.Answers, a)
	}
	v.Curl = curl(v)
	return v
}

func listOfSchemas(doc *document) []schemaView {
	var out []schemaView
	for _, s := range doc.Components.Schemas {
		out = append(out, schemaView{s.name, s.value, fields("", s.value)})
	}
	return out
}

// fields lists an object's fields, and those of objects in it that have no name
// of their own: "routing.rule".
func fields(prefix string, s *schema) []fieldView {
	var out []fieldView
	for _, p := range s.Properties {
		name := prefix + p.name
		out = append(out, fieldView{name, p.value, slices.Contains(s.Required, p.name)})
		inner := p.value
		if inner.Items != nil {
			name, inner = name+"[]", inner.Items
		}
		out = append(out, fields(name+".", inner)...)
	}
	return out
}

// local is the last part of a reference.
func local(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }

// anchor is where the page has a named schema.
func anchor(ref string) string { return "schema-" + local(ref) }

// kind names a type for people; a named schema is linked instead.
func kind(s *schema) string {
	var out string
	switch t := s.Type.(type) {
	case string:
		out = t
	case []string:
		out = strings.Join(t, " or ")
	}
	if s.Format != "" && s.Format != "int64" && s.Format != "double" {
		out += " (" + s.Format + ")"
	}
	return out
}

// bounds tells what a value may be.
func bounds(s *schema) string {
	var out []string
	if len(s.Enum) > 0 {
		out = append(out, strings.Join(s.Enum, " | "))
	}
	if s.Minimum != nil && s.Maximum != nil {
		out = append(out, fmt.Sprintf("%d to %d", *s.Minimum, *s.Maximum))
	}
	switch {
	case s.MaxLength > 0 && s.MinLength > 0:
		out = append(out, fmt.Sprintf("%d to %d characters", s.MinLength, s.MaxLength))
	case s.MaxLength > 0:
		out = append(out, fmt.Sprintf("at most %d characters", s.MaxLength))
	}
	if s.MaxProperties > 0 {
		out = append(out, fmt.Sprintf("at most %d keys of at most %d characters", s.MaxProperties, s.PropertyNames.MaxLength))
	}
	if s.Pattern != "" && s.Pattern != oneLine && s.Pattern != manyLines {
		out = append(out, s.Pattern)
	}
	if s.Default != nil {
		out = append(out, fmt.Sprintf("default %v", s.Default))
	}
	return strings.Join(out, "; ")
}

// curl is a call to paste into a shell.
func curl(v callView) string {
	if len(v.Op.Tags) > 0 && v.Op.Tags[0] == "inbound" {
		return ""
	}
	path := v.Path
	for _, p := range v.Parameters {
		if p.In == "path" {
			path = strings.ReplaceAll(path, "{"+p.Name+"}", p.Example)
		}
	}
	var b strings.Builder
	b.WriteString("curl -sS ")
	if v.Method != http.MethodGet && v.Method != http.MethodPost {
		b.WriteString("-X " + v.Method + " ")
	}
	b.WriteString("https://pay.example.com" + path)
	if len(v.Op.Security) > 0 {
		b.WriteString(" \\\n  -H \"Authorization: Bearer $KEY\"")
	}
	for _, p := range v.Parameters {
		if p.In == "header" {
			b.WriteString(" \\\n  -H " + strconv.Quote(p.Name+": "+p.Example))
		}
	}
	if len(v.Examples) > 0 {
		b.WriteString(" \\\n  -H \"Content-Type: application/json\" \\\n  -d '" + v.Examples[0].JSON + "'")
	}
	return b.String()
}

// indent writes JSON for people.
func indent(v jsontext.Value) string {
	v = v.Clone()
	if err := v.Indent(jsontext.WithIndent("  ")); err != nil {
		return string(v)
	}
	return string(v)
}

// rich parts a text at its backticks: every second part is code.
func rich(s string) []string { return strings.Split(s, "`") }

// odd tells whether a part of a rich text is code.
func odd(i int) bool { return i%2 == 1 }

// paragraphs are what blank lines part.
func paragraphs(s string) []string { return strings.Split(s, "\n\n") }
