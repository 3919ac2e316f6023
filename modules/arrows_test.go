// Package modules has no code. Its tests hold the plan of the house: which rooms
// there are, and which of them may import which.
package modules

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const (
	house = "github.com/purser-pay/purser/"
	caddy = "github.com/caddyserver/caddy/v2"

	cmpLib  = "github.com/google/go-cmp"
	jsonLib = "github.com/go-json-experiment/json"
	lfuLib  = "github.com/dgraph-io/ristretto/v2"
	sqlite  = "github.com/ncruces/go-sqlite3"
	pgx     = "github.com/jackc/pgx/v5"
	goose   = "github.com/pressly/goose/v3"
	httpsfv = "github.com/dunglas/httpsfv"
	limiter = "github.com/ulule/limiter/v3"
	jwtLib  = "github.com/golang-jwt/jwt/v5"
	goRedis = "github.com/redis/go-redis/v9"
	metrics = "github.com/prometheus/client_golang"
	otel    = "go.opentelemetry.io/otel"
	celLib  = "cel.dev/cel-go"
	yamlLib = "go.yaml.in/yaml/v3"
	xCrypto = "golang.org/x/crypto"
	xSys    = "golang.org/x/sys"
	xTools  = "golang.org/x/tools"
	zapLib  = "go.uber.org/zap"
	breaker = "github.com/sony/gobreaker/v2"

	httputil = "net/http/httputil"
)

// room is one folder of modules.
type room struct {
	// rooms are those that it may import; a pattern of path.Match.
	rooms []string
	// libs are the modules of others that it may import.
	libs []string
	// pure rooms open nothing, log nothing, and ask neither clock nor chance.
	pure bool
	// dials marks the rooms that open connections.
	dials bool
	// relays marks the room that copies answers by the reverse proxy of the standard
	// library, to which it gives a transport of its own.
	relays bool
	// face marks the rooms that stand on Caddy. Elsewhere a file named module.go
	// may import it, to register what the room holds.
	face bool
}

type row struct {
	at   string // under modules; a pattern of path.Match
	room room
}

// plan is every room and all that it may import in code that is not a test. A
// room that is not here may not exist; an arrow that is not here may not be
// drawn. The first match counts.
var plan = []row{
	// The ground: nouns without a dependency.
	{"payment", room{}},
	{"seal", room{}},
	{"signature", room{libs: []string{httpsfv}}},
	{"webhook", room{}},
	// The contracts.
	{"access", room{rooms: []string{"payment", "signature"}}},
	{"connector", room{rooms: []string{"payment"}}},
	{"store", room{rooms: []string{"access", "payment"}}},
	// What proves that a contract is kept; it is linked into tests alone.
	{"connector/connectortest", room{rooms: []string{"connector", "payment"}, libs: []string{jsonLib, cmpLib, xTools}}},
	{"store/storetest", room{rooms: []string{"access", "payment", "store"}, libs: []string{cmpLib}}},
	// The workshops, which do not know each other.
	{"connectors/*/*sim", room{rooms: []string{"payment", "simulator/books"}, libs: []string{jsonLib}}},
	{"connectors/*", room{rooms: []string{"connector", "payment"}, libs: []string{jsonLib}, pure: true}},
	{"store/sqlite", room{rooms: []string{"access", "payment", "store"}, libs: []string{sqlite, goose, jsonLib, xSys}}},
	{"store/postgres", room{rooms: []string{"access", "payment", "store"}, libs: []string{pgx, goose, jsonLib}, dials: true}},
	{"transport", room{rooms: []string{"connector", "payment"}, dials: true}},
	{"routing", room{rooms: []string{"payment"}}},
	{"engine", room{rooms: []string{"connector", "payment", "store"}}},
	{"ratelimit", room{rooms: []string{"access"}, libs: []string{limiter}}},
	{"ratelimit/redislimit", room{rooms: []string{"ratelimit"}, libs: []string{limiter, goRedis}, dials: true}},
	{"outbox", room{rooms: []string{"payment", "seal", "store", "webhook"}, dials: true}},
	{"token", room{rooms: []string{"access", "payment"}, libs: []string{jwtLib, lfuLib, jsonLib}, dials: true}},
	{"policy", room{rooms: []string{"access", "payment"}, libs: []string{celLib, yamlLib, jsonLib}}},
	{"clientcert", room{rooms: []string{"access", "payment"}, libs: []string{xCrypto}, dials: true}},
	// The doors: plain HTTP handlers, which do not know Caddy.
	{"framing", room{rooms: []string{"payment"}, libs: []string{jsonLib}}},
	{"guard", room{rooms: []string{"access", "clientcert", "payment", "policy", "ratelimit", "signature", "store", "token"}}},
	{"api", room{
		rooms: []string{"access", "engine", "guard", "payment", "policy", "ratelimit", "seal", "signature", "store", "webhook"},
		libs:  []string{jsonLib, httpsfv},
	}},
	{"inbox", room{rooms: []string{"connector", "engine", "payment", "store"}, libs: []string{jsonLib}}},
	{"proxy", room{rooms: []string{"connector", "payment", "transport"}, relays: true}},
	// The waist, and what stands on it.
	{"gateway", room{
		rooms: []string{
			"access", "clientcert", "connector", "engine", "guard", "outbox", "payment", "policy", "ratelimit", "ratelimit/redislimit", "routing",
			"seal", "signature", "store", "store/postgres", "store/sqlite", "token", "transport", "webhook",
		},
		libs: []string{jsonLib, metrics, otel, zapLib, breaker}, face: true,
	}},
	{"edge", room{rooms: []string{"access", "api", "connector", "engine", "framing", "gateway", "guard", "inbox", "payment", "proxy"}, face: true}},
	// The payment provider that misbehaves on purpose.
	{"simulator/books", room{rooms: []string{"payment"}, libs: []string{jsonLib}, dials: true}},
	{"simulator", room{rooms: []string{"connectors/*/*sim", "simulator/books"}, libs: []string{jsonLib}, dials: true}},
	// Everything that a binary links.
	{"standard", room{rooms: []string{"connectors/*", "edge", "gateway"}, face: true}},
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	if err != nil {
		panic(err) // a pattern of this file
	}
	return ok
}

// names are what a package offers and a rule forbids. An empty list forbids the
// package itself.
type names map[string][]string

var (
	// outbound is how a connection is opened, as far as names tell.
	outbound = names{
		"net": {
			"Dial", "DialTimeout", "DialIP", "DialTCP", "DialUDP", "DialUnix", "Dialer", "Resolver", "DefaultResolver",
			"LookupAddr", "LookupCNAME", "LookupHost", "LookupIP", "LookupMX", "LookupNS", "LookupPort", "LookupSRV", "LookupTXT",
		},
		"net/http": {
			"Client", "DefaultClient", "DefaultTransport", "Get", "Head", "NewClientConn", "Post", "PostForm", "Transport",
		},
		"crypto/tls":      {"Client", "Dial", "DialWithDialer", "Dialer"},
		httputil:          {},
		"net/rpc":         {},
		"net/rpc/jsonrpc": {},
		"net/smtp":        {},
		"log/syslog":      {},
	}
	// impure is what a codec may not touch.
	impure = names{
		"context": {}, "crypto/rand": {}, "database/sql": {}, "log": {}, "log/slog": {}, "math/rand": {},
		"math/rand/v2": {}, "net": {}, "os": {}, "os/exec": {}, "os/signal": {}, "syscall": {}, "unsafe": {},
		"time": {"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"},
	}
)

// file is what the rules look at.
type file struct {
	name    string // from the root of the house
	folder  string // under modules
	imports []imported
	ast     *ast.File
}

type imported struct {
	path string
	pos  token.Position
}

// survey returns every breach of the plan in a tree, sorted.
func survey(tree fs.FS) ([]string, error) {
	files, err := read(tree)
	if err != nil {
		return nil, err
	}
	var breaches []string
	say := func(at, format string, args ...any) {
		breaches = append(breaches, at+": "+fmt.Sprintf(format, args...))
	}
	built := make([]bool, len(plan))
	for _, f := range files {
		n := slices.IndexFunc(plan, func(p row) bool { return matches(p.at, f.folder) })
		if n < 0 {
			say(f.name, "room modules/%s is not on the plan", f.folder)
			continue
		}
		built[n] = true
		r := plan[n].room
		for _, i := range f.imports {
			if why := r.refuses(f.name, i.path); why != "" {
				say(i.pos.String(), "modules/%s may not import %s: %s", f.folder, i.path, why)
			}
		}
		if !r.dials {
			forbid(f, r.outbound(), func(at, what string) { say(at, "modules/%s may not use %s: it opens connections", f.folder, what) })
		}
		if r.pure {
			forbid(f, impure, func(at, what string) { say(at, "modules/%s may not use %s: a codec is pure", f.folder, what) })
		}
	}
	for n, there := range built {
		if !there {
			say("plan", "there is no room modules/%s", plan[n].at)
		}
	}
	slices.Sort(breaches)
	return slices.Compact(breaches), nil
}

// outbound is what the room may not use because it opens connections.
func (r room) outbound() names {
	list := maps.Clone(outbound)
	if r.relays {
		list[httputil] = []string{"NewClientConn", "NewProxyClientConn", "NewServerConn", "NewSingleHostReverseProxy"}
	}
	return list
}

// refuses says why a file of the room may not import a package, or "".
func (r room) refuses(file, pkg string) string {
	first, _, _ := strings.Cut(pkg, "/")
	switch {
	case strings.HasPrefix(pkg, house):
		to := strings.TrimPrefix(pkg, house+"modules/")
		if slices.ContainsFunc(r.rooms, func(pattern string) bool { return matches(pattern, to) }) {
			return ""
		}
		return "there is no such arrow on the plan"
	case pkg == caddy || strings.HasPrefix(pkg, caddy+"/"):
		if r.face || path.Base(file) == "module.go" {
			return ""
		}
		return "only faces and files named module.go know Caddy"
	case !strings.Contains(first, "."):
		return "" // the standard library
	case slices.ContainsFunc(r.libs, func(lib string) bool { return pkg == lib || strings.HasPrefix(pkg, lib+"/") }):
		return ""
	default:
		return "the plan gives the room no such library"
	}
}

// forbid reports imports and uses of names.
func forbid(f file, list names, report func(at, what string)) {
	local := map[string]string{} // the file's name of a package, to its path
	for i, spec := range f.ast.Imports {
		pkg := f.imports[i].path
		banned, listed := list[pkg]
		switch {
		case listed && len(banned) == 0:
			report(f.imports[i].pos.String(), pkg)
		case spec.Name != nil:
			local[spec.Name.Name] = pkg
		default:
			local[path.Base(pkg)] = pkg
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && slices.Contains(list[local[x.Name]], sel.Sel.Name) {
			report(f.name, x.Name+"."+sel.Sel.Name)
		}
		return true
	})
}

// read parses the Go files of modules that are no tests. It parses by itself:
// what a build tool lists depends on the machine, and its output is no input of
// a cached test.
func read(tree fs.FS) ([]file, error) {
	var files []file
	set := token.NewFileSet()
	err := fs.WalkDir(tree, "modules", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "testdata":
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		source, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(set, name, source, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		f := file{name: name, folder: strings.TrimPrefix(path.Dir(name), "modules/"), ast: parsed}
		for _, spec := range parsed.Imports {
			pkg, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			f.imports = append(f.imports, imported{pkg, set.Position(spec.Pos())})
		}
		files = append(files, f)
		return nil
	})
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.name, b.name) })
	return files, err
}

// TestArrows compares the house with its plan: the rooms that exist, what they
// import, where Caddy is known, who opens connections, and that codecs are pure.
func TestArrows(t *testing.T) {
	t.Parallel()
	breaches, err := survey(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range breaches {
		t.Error(b)
	}
}

// TestSurvey breaks every rule once, and looks whether it is noticed.
func TestSurvey(t *testing.T) {
	t.Parallel()
	const pure, room = "modules/connectors/acme/acme.go", "modules/engine/work.go"
	tests := []struct {
		name, file, code, want string
	}{
		{"a room that is not planned", "modules/util/util.go", ``, `modules/util/util.go: room modules/util is not on the plan`},
		{"an arrow that is not planned", room, `import _ "github.com/purser-pay/purser/modules/transport"`, `there is no such arrow`},
		{"an arrow out of modules", room, `import _ "github.com/purser-pay/purser/cmd/purser"`, `there is no such arrow`},
		{"a connector that knows another", pure, `import _ "github.com/purser-pay/purser/modules/connectors/stripe"`, `there is no such arrow`},
		{"the ground stands on nothing", "modules/payment/money.go", `import _ "github.com/purser-pay/purser/modules/access"`, `there is no such arrow`},
		{"Caddy in the core", room, `import _ "github.com/caddyserver/caddy/v2"`, `only faces and files named module.go`},
		{"Caddy's parts in the core", room, `import _ "github.com/caddyserver/caddy/v2/caddyconfig"`, `only faces and files named module.go`},
		{"Caddy in a module.go", "modules/engine/module.go", `import _ "github.com/caddyserver/caddy/v2"`, ``},
		{"Caddy in a face", "modules/edge/edge.go", `import _ "github.com/caddyserver/caddy/v2/modules/caddyhttp"`, ``},
		{"a library of another room", room, `import _ "github.com/ncruces/go-sqlite3/driver"`, `gives the room no such library`},
		{"a library whose name begins alike", "modules/api/api.go", `import _ "github.com/dunglas/httpsfvx"`, `gives the room no such library`},
		{"a client", room, `import "net/http"; var c = http.Client{}`, `may not use http.Client`},
		{"a reverse proxy", room, `import _ "net/http/httputil"`, `may not use net/http/httputil`},
		{"a reverse proxy where one relays", "modules/proxy/proxy.go", `import _ "net/http/httputil"`, ``},
		{"a reverse proxy of its own transport", "modules/proxy/proxy.go", `import "net/http/httputil"; var p = httputil.NewSingleHostReverseProxy(nil)`, `may not use httputil.NewSingleHostReverseProxy`},
		{"a client under another name", room, `import web "net/http"; func f() { web.Get("") }`, `may not use web.Get`},
		{"a dialer", room, `import "net"; var d net.Dialer`, `may not use net.Dialer`},
		{"a package that dials", room, `import _ "net/smtp"`, `may not use net/smtp`},
		{"the HTTP of a door", room, `import "net/http"; var h http.Header`, ``},
		{"a client where one belongs", "modules/transport/http.go", `import "net/http"; var c = http.Transport{}`, ``},
		{"a codec with a clock", pure, `import "time"; var now = time.Now`, `may not use time.Now: a codec is pure`},
		{"a codec with a duration", pure, `import "time"; const d = time.Second`, ``},
		{"a codec with files", pure, `import _ "os"`, `may not use os: a codec is pure`},
		{"a codec with chance", pure, `import _ "crypto/rand"`, `may not use crypto/rand: a codec is pure`},
		{"a test is free", "modules/engine/work_test.go", `import _ "os/exec"; import _ "github.com/caddyserver/caddy/v2"`, ``},
		{"test data is no code", "modules/engine/testdata/x.go", `import _ "net/smtp"`, ``},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tree := fstest.MapFS{test.file: {Data: []byte("package p; " + test.code)}}
			got, err := survey(tree)
			if err != nil {
				t.Fatal(err)
			}
			got = slices.DeleteFunc(got, func(b string) bool { return strings.HasPrefix(b, "plan: ") })
			switch {
			case test.want == "" && len(got) > 0:
				t.Errorf("got %q, want no breach", got)
			case test.want != "" && (len(got) != 1 || !strings.Contains(got[0], test.want)):
				t.Errorf("got %q, want one breach with %q", got, test.want)
			}
		})
	}
}

// TestSurveySeesEmptyRooms finds rows of the plan that nothing stands on.
func TestSurveySeesEmptyRooms(t *testing.T) {
	t.Parallel()
	got, err := survey(fstest.MapFS{"modules/payment/money.go": {Data: []byte("package payment")}})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(plan)-1 {
		t.Errorf("got %d breaches of an almost empty house, want %d: %q", len(got), len(plan)-1, got)
	}
}
