package standard

import (
	"encoding"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/doc"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddyserver/caddy/v2"

	"github.com/purser-pay/purser/modules/connector"
)

const (
	modulesPage = "../../docs/modules.md"
	// house begins the import path of every package of this repository, and
	// houseRoot is where it lies as seen from this test.
	house, houseRoot = "github.com/purser-pay/purser/", "../.."

	connectorModules = "payments.connectors."
)

const modulesHead = `# Modules

Every Caddy module that this project adds to the binary, with every field of its JSON. The page is drawn from the doc
comments in the source by ` + "`make docs`" + `; a test fails where they differ. What a connector can do is in
[capabilities.md](capabilities.md); a whole configuration is [production.caddyfile](../caddyfile/production.caddyfile).

- A *reference* names where a secret is: ` + "`{env.NAME}` or `{file.PATH}`" + `. A secret itself is refused.
- A *duration* is a string such as ` + "`20s` or `1m30s`" + `; a number is nanoseconds.
- A field that is not *required* may be left out.

| module | what it is |
|---|---|
`

// TestModulesPage compares docs/modules.md with the modules that are registered
// and with their doc comments. A module, a type or a field that says nothing of
// itself fails it.
func TestModulesPage(t *testing.T) {
	t.Parallel()
	d := drawing{sources: map[string]sources{}, load: loadSources}
	want := d.page(ours(t))
	for _, bad := range d.bad {
		t.Error(bad)
	}
	if *updateDocs {
		if err := os.WriteFile(modulesPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(modulesPage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("docs/modules.md is not what the source says (-source +page); run make docs:\n%s", diff)
	}
}

// module is a registered module and the type behind it.
type module struct {
	id  caddy.ModuleID
	typ reflect.Type
}

// ours lists the registered modules whose types are of this house, by ID.
func ours(t *testing.T) []module {
	t.Helper()
	var found []module
	for _, id := range caddy.Modules() {
		info, err := caddy.GetModule(id)
		if err != nil {
			t.Fatal(err)
		}
		typ := reflect.TypeOf(info.New())
		for typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if strings.HasPrefix(typ.PkgPath(), house) {
			found = append(found, module{info.ID, typ})
		}
	}
	if len(found) == 0 {
		t.Fatal("no module of this house is registered")
	}
	return found
}

// sources are the doc comments of one package, by the names of its types.
type sources map[string]typeSource

type typeSource struct {
	doc    string
	syntax string            // doc comment of UnmarshalCaddyfile
	fields map[string]string // by Go name
}

// loadSources reads the package of an import path.
func loadSources(pkg string) (sources, error) {
	dir := filepath.Join(houseRoot, filepath.FromSlash(strings.TrimPrefix(pkg, house)))
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, p := range paths {
		if strings.HasSuffix(p, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, p, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return readSources(fset, files, pkg)
}

func readSources(fset *token.FileSet, files []*ast.File, pkg string) (sources, error) {
	p, err := doc.NewFromFiles(fset, files, pkg, doc.AllDecls)
	if err != nil {
		return nil, err
	}
	out := sources{}
	for _, t := range p.Types {
		s := typeSource{doc: t.Doc, fields: map[string]string{}}
		for _, m := range t.Methods {
			if m.Name == "UnmarshalCaddyfile" {
				s.syntax = m.Doc
			}
		}
		for _, spec := range t.Decl.Specs {
			if st, ok := spec.(*ast.TypeSpec).Type.(*ast.StructType); ok {
				for _, f := range st.Fields.List {
					text := f.Doc.Text()
					if text == "" {
						text = f.Comment.Text()
					}
					if len(f.Names) == 1 { // a comment over several names is of none
						s.fields[f.Names[0].Name] = text
					}
				}
			}
		}
		out[t.Name] = s
	}
	return out, nil
}

// drawing is the page under way, and what is wrong with its sources.
type drawing struct {
	sources map[string]sources // by import path
	load    func(pkg string) (sources, error)
	bad     []string
}

func (d *drawing) complain(format string, args ...any) {
	d.bad = append(d.bad, fmt.Sprintf(format, args...))
}

// source finds the comments of a type.
func (d *drawing) source(t reflect.Type) typeSource {
	pkg := t.PkgPath()
	if _, ok := d.sources[pkg]; !ok {
		s, err := d.load(pkg)
		if err != nil {
			d.complain("%s: %v", pkg, err)
		}
		d.sources[pkg] = s
	}
	return d.sources[pkg][t.Name()]
}

func (d *drawing) page(modules []module) string {
	var index, body strings.Builder
	for _, m := range modules {
		about, syntax := d.parse(m)
		fmt.Fprintf(&index, "| [`%s`](#%s) | %s |\n", m.id, slug(string(m.id)), cell(firstSentence(about)))
		fmt.Fprintf(&body, "\n## %s\n\n%s\n", m.id, about)
		if syntax != "" {
			fmt.Fprintf(&body, "\nCaddyfile:\n\n%s\n", syntax)
		}
		d.fields(&body, m.typ, string(m.id))
	}
	return modulesHead + index.String() + body.String()
}

// parse tells what a module is, and how a Caddyfile has it: by the comment of
// UnmarshalCaddyfile, by what stands behind "Caddyfile:" in that of the type, or,
// for a connector, by its fields.
func (d *drawing) parse(m module) (about, syntax string) {
	s := d.source(m.typ)
	about, directive, _ := strings.Cut(d.about(m.typ, "`"+string(m.id)+"`"), "\n\nCaddyfile:\n\n")
	switch {
	case s.syntax != "":
		_, rest, ok := strings.Cut(markdown(s.syntax), "Syntax:\n\n")
		if !ok {
			d.complain("%s.UnmarshalCaddyfile: its comment has no Syntax:", m.typ)
		}
		syntax = rest
	case directive != "":
		if !strings.HasPrefix(directive, "```\n"+m.id.Name()) {
			d.complain("%s: its Caddyfile does not begin with %s", m.typ, m.id.Name())
		}
		syntax = directive
	case strings.HasPrefix(string(m.id), connectorModules):
		syntax = accountSyntax(m)
	case strings.HasPrefix(string(m.id), "http.handlers."):
		d.complain("%s: its comment says nothing of the Caddyfile", m.typ)
	}
	return about, syntax
}

// accountSyntax writes an account as the Caddyfile has it: the gateway reads the
// lines by the connector's own fields.
func accountSyntax(m module) string {
	var b strings.Builder
	fmt.Fprintf(&b, "```\naccount <name> %s {\n", m.id.Name())
	width := 0
	list := jsonFields(m.typ)
	for _, f := range list {
		width = max(width, len(f.name))
	}
	for _, f := range list {
		value := "<value>"
		if f.Type == reflect.TypeFor[connector.Secret]() {
			value = "<reference>"
		}
		fmt.Fprintf(&b, "\t%-*s %s\n", width, f.name, value)
	}
	b.WriteString("\t… # what every account has\n}\n```")
	return b.String()
}

// jsonField is an exported field of a struct.
type jsonField struct {
	reflect.StructField
	name     string // in JSON; "" = it has none of its own
	required bool
}

// jsonFields lists what of a struct can be configured. An embedded struct hands
// its fields up, as it does in JSON.
func jsonFields(t reflect.Type) []jsonField {
	var out []jsonField
	for f := range t.Fields() {
		tag, tagged := f.Tag.Lookup("json")
		if f.Anonymous && !tagged && f.Type.Kind() == reflect.Struct {
			out = append(out, jsonFields(f.Type)...)
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		out = append(out, jsonField{f, name, !strings.Contains(options, "omit") && f.Type.Kind() != reflect.Bool})
	}
	return out
}

// about is the doc comment of a type; the lack of one is a complaint.
func (d *drawing) about(t reflect.Type, name string) string {
	text := d.source(t).doc
	if strings.TrimSpace(text) == "" {
		d.complain("%s has no doc comment", t)
	}
	return renamed(text, t.Name(), name)
}

// fields writes the table of a struct's fields, and behind it those of the
// structs within. at is where the struct stands, from the module's ID on.
func (d *drawing) fields(b *strings.Builder, t reflect.Type, at string) {
	list := jsonFields(t)
	if len(list) == 0 {
		return
	}
	comments := d.source(t).fields
	b.WriteString("\n| field | type | required | |\n|---|---|---|---|\n")
	type within struct {
		typ reflect.Type
		at  string
	}
	var nested []within
	for _, f := range list {
		if f.name == "" {
			d.complain("%s.%s has no name in JSON", t, f.Name)
		}
		text := comments[f.Name]
		if strings.TrimSpace(text) == "" {
			d.complain("%s.%s has no doc comment", t, f.Name)
		}
		inner, path := d.structOf(f, at)
		word := d.word(f.StructField, t, path)
		if inner != nil {
			nested = append(nested, within{inner, path})
		}
		required := ""
		if f.required {
			required = "yes"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.name, word, required, cell(renamed(text, f.Name, "`"+f.name+"`")))
	}
	for _, n := range nested {
		fmt.Fprintf(b, "\n### %s\n\n%s\n", n.at, d.about(n.typ, "It"))
		d.fields(b, n.typ, n.at)
	}
}

// structOf finds the struct that a field holds, behind pointers, lists and maps,
// and the heading under which its own fields stand; nil where it holds none.
func (d *drawing) structOf(f jsonField, at string) (inner reflect.Type, path string) {
	path = at + "." + f.name
	t := f.Type
	for {
		switch {
		case t.Kind() == reflect.Map, t.Kind() == reflect.Slice && t != reflect.TypeFor[json.RawMessage]():
			path += ".*"
			t = t.Elem()
		case t.Kind() == reflect.Pointer:
			t = t.Elem()
		case t.Kind() == reflect.Struct && !isText(t):
			return t, path
		default:
			return nil, ""
		}
	}
}

// word names a field's type for those who write JSON.
func (d *drawing) word(f reflect.StructField, owner reflect.Type, path string) string {
	if tag, ok := f.Tag.Lookup("caddy"); ok {
		var namespace, key string
		for part := range strings.FieldsSeq(tag) {
			name, value, _ := strings.Cut(part, "=")
			switch name {
			case "namespace":
				namespace = value
			case "inline_key":
				key = value
			}
		}
		return fmt.Sprintf("module of `%s`, by its `%s`", namespace, key)
	}
	word, ok := typeWord(f.Type, path)
	if !ok {
		d.complain("%s.%s: there is no word for a %s", owner, f.Name, f.Type)
	}
	return word
}

// isText tells whether a struct is one string in JSON, as references and rates
// are.
func isText(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func typeWord(t reflect.Type, path string) (word string, ok bool) {
	switch t {
	case reflect.TypeFor[connector.Secret]():
		return "reference", true
	case reflect.TypeFor[caddy.Duration]():
		return "duration", true
	}
	switch kind := t.Kind(); {
	case isText(t):
		return "string", true
	case kind == reflect.Pointer:
		return typeWord(t.Elem(), path)
	case kind == reflect.String:
		return "string", true
	case kind == reflect.Bool:
		return "boolean", true
	case kind >= reflect.Int && kind <= reflect.Uint64:
		return "integer", true
	case kind == reflect.Struct:
		return fmt.Sprintf("[object](#%s)", slug(path)), true
	case kind == reflect.Slice && t != reflect.TypeFor[json.RawMessage]():
		word, ok = typeWord(t.Elem(), path)
		return "list of " + word + "s", ok
	case kind == reflect.Map && t.Key().Kind() == reflect.String:
		word, ok = typeWord(t.Elem(), path)
		return word + " of each name", ok
	default:
		return "", false
	}
}

// renamed is a doc comment in Markdown that begins with what users know in place
// of the Go name.
func renamed(text, goName, name string) string {
	md := markdown(text)
	if rest, ok := strings.CutPrefix(md, goName+" "); ok {
		return name + " " + rest
	}
	return md
}

// markdown turns a doc comment into Markdown, its code fenced. Links to other
// declarations become plain words.
func markdown(text string) string {
	printer := &comment.Printer{DocLinkURL: func(*comment.DocLink) string { return "" }, HeadingLevel: 4}
	var blocks []string
	for _, block := range new(comment.Parser).Parse(text).Content {
		if code, ok := block.(*comment.Code); ok {
			blocks = append(blocks, "```\n"+strings.TrimRight(code.Text, "\n")+"\n```")
			continue
		}
		blocks = append(blocks, strings.TrimSpace(string(printer.Markdown(&comment.Doc{Content: []comment.Block{block}}))))
	}
	return strings.Join(blocks, "\n\n")
}

// cell fits Markdown into a table.
func cell(md string) string {
	md = strings.ReplaceAll(md, "|", `\|`)
	md = strings.ReplaceAll(md, "\n\n", "<br>")
	return strings.Join(strings.Fields(md), " ")
}

// firstSentence is a paragraph's text up to its first full stop.
func firstSentence(md string) string {
	md, _, _ = strings.Cut(md, "\n\n")
	md = strings.Join(strings.Fields(md), " ")
	if end := strings.Index(md, ". "); end >= 0 {
		return md[:end+1]
	}
	return md
}

var notInSlug = regexp.MustCompile(`[^a-z0-9 _-]`)

// slug is the anchor that a heading gets where Markdown is shown.
func slug(heading string) string {
	return strings.ReplaceAll(notInSlug.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}
