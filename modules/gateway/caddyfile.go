package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/purser-pay/purser/modules/connector"
)

func init() { httpcaddyfile.RegisterGlobalOption(appName, parseGlobalOption) }

// parseGlobalOption reads the global option payments.
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next()
	if existing != nil {
		return nil, d.Err("payments is given twice")
	}
	app := new(App)
	if err := app.parse(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: appName, Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile sets up the app from the global option. Syntax:
//
//	payments {
//		store sqlite <file>
//		pepper <reference>
//		seal_key <reference>
//		key_peppers <reference...>
//		account <name> <connector> {
//			mode            test|live
//			merchants       <id...>|*
//			priority        <n>
//			base_url        <url>
//			timeout         <duration>
//			not_found_after <duration>
//			retired
//			pinned_only
//			<credential>    <value>|<reference>
//			transport {
//				<option> <value>
//			}
//			circuit_breaker off
//			circuit_breaker {
//				failures <n>
//				window   <duration>
//				open_for <duration>
//			}
//		}
//		webhooks {
//			allow      <network...>
//			allow_http
//		}
//		rate_limit <scope> <n>/<duration>... [in_flight <n>]
//		rate_cost  <method> <path> <n>
//		load_shedding {
//			in_flight <n>
//			dry_run
//		}
//		policies   <folder>
//		signatures standard|fapi
//		profiling
//		jwt <issuer> {
//			audience     <name...>
//			jwks         <url>|<file>
//			algorithms   <name...>
//			merchants    <id...>|*
//			modes        test|live...
//			claims       merchant=<claim> mode=<claim> scopes=<claim>
//			types        <typ...>
//			max_lifetime <duration>
//		}
//		client_certificates {
//			ca              <file...>
//			crl             <file>|<url>...
//			ocsp            off|soft|hard
//			responder       <url>
//			responder_hosts <host...>
//			refresh         <duration>
//			map             <certificate> <merchant> test|live [<scope...>]
//		}
//		shared redis <reference> {
//			nodes       <n>
//			fail_closed
//		}
//	}
//
// The scopes of rate_limit are ip, key, merchant, route and account. The credentials are the connector's fields, and the options of transport those
// of its JSON, by the same names; a list is one line of several values.
// There may be many accounts, a rate_limit for each scope and a rate_cost for
// each route; everything else is given once. A reference is
// {env.NAME} or {file.PATH}. Relative paths, also those of references, start at
// the folder of the file that holds the block.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return a.parse(d)
}

func (a *App) parse(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	root, err := filepath.Abs(filepath.Dir(d.File()))
	if err != nil {
		return d.WrapErr(err)
	}
	a.Root = root
	first := here(d)
	options := newFields(appName, reflect.TypeFor[App]())
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := a.parseOption(d, options); err != nil {
			return err
		}
	}
	for _, name := range []string{"store", "pepper", "seal_key"} {
		if _, given := options.lines[name]; !given {
			return first.errorf("%s is missing", name)
		}
	}
	return nil
}

// parseOption reads one option of the block.
func (a *App) parseOption(d *caddyfile.Dispenser, options *fields) error {
	name := d.Val()
	switch name {
	case "account":
		return a.parseAccount(d)
	case "jwt":
		return a.parseTokenIssuer(d)
	case "rate_limit":
		return a.parseRateLimit(d)
	case "rate_cost":
		return a.parseRateCost(d)
	}
	if line, seen := options.lines[name]; seen {
		return d.Errf("%s is given twice; first at line %d", name, line)
	}
	options.lines[name] = d.Line()
	switch name {
	case "store":
		return a.parseStore(d)
	case "pepper":
		return parseReference(d, name, &a.PepperSecret)
	case "seal_key":
		return parseReference(d, name, &a.SealKeySecret)
	case "key_peppers":
		return a.parseKeyPeppers(d)
	case "policies":
		return parseWord(d, name, &a.Policies)
	case "signatures":
		return parseWord(d, name, &a.Signatures)
	case "client_certificates":
		var err error
		a.ClientCertificates, err = parseClientCertificates(d)
		return err
	case "load_shedding":
		return a.parseLoadShedding(d)
	case "profiling":
		return a.parseProfiling(d)
	case "shared":
		return a.parseShared(d)
	case "webhooks":
		return a.parseWebhooks(d)
	default:
		return d.Errf("payments has no option %q; it has account, client_certificates, jwt, key_peppers, load_shedding, pepper, policies, profiling, rate_cost, rate_limit, seal_key, shared, signatures, store, webhooks", name)
	}
}

// parseProfiling reads an option that is there or not.
func (a *App) parseProfiling(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("profiling takes no argument %q", d.Val())
	}
	a.Profiling = true
	return nil
}

func (a *App) parseStore(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Err("store needs a driver: store sqlite FILE, or store postgres {env.DATABASE_URL}")
	}
	a.StoreConfig.Driver = args[0]
	switch {
	case args[0] == driverSQLite && len(args) == 2:
		a.StoreConfig.Path = args[1]
	case args[0] == driverSQLite:
		return d.Err("store sqlite takes one file")
	case args[0] == driverPostgres && len(args) == 2:
		return a.parsePostgres(d, args[1])
	case args[0] == driverPostgres:
		return d.Err("store postgres takes one DSN, by reference, such as {env.DATABASE_URL}")
	default:
		return d.Errf("there is no store %q; there are sqlite and postgres", args[0])
	}
	return nil
}

// parsePostgres reads the DSN, and the block behind it.
func (a *App) parsePostgres(d *caddyfile.Dispenser, dsn string) error {
	raw, err := json.Marshal(dsn)
	if err != nil {
		return d.WrapErr(err)
	}
	if err := json.Unmarshal(raw, &a.StoreConfig.DSN); err != nil {
		return d.Errf("store postgres: %v", err)
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "connections" {
			return d.Errf("store postgres has no option %q; it has connections", d.Val())
		}
		raw, err := parseValue(d, "connections", reflect.TypeFor[int]())
		if err != nil {
			return err
		}
		if err := json.Unmarshal(raw, &a.StoreConfig.Connections); err != nil {
			return d.Errf("connections: %v", err)
		}
		if err := a.StoreConfig.check(); err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}

// parseWord reads an option of one word.
func parseWord(d *caddyfile.Dispenser, name string, to *string) error {
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] == "" {
		return d.Errf("%s takes one value", name)
	}
	*to = args[0]
	return nil
}

func parseReference(d *caddyfile.Dispenser, name string, s *connector.Secret) error {
	raw, err := parseValue(d, name, reflect.TypeFor[connector.Secret]())
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, s); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// parseAccount reads one account: the fields of every account, and the
// credentials of its connector by the connector's own struct.
func (a *App) parseAccount(d *caddyfile.Dispenser) error {
	first := here(d)
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Err("an account has a name and a connector: account NAME CONNECTOR { … }")
	}
	name, kind := args[0], args[1]
	if _, ok := a.AccountConfigs[name]; ok {
		return first.errorf("account %s is given twice", name)
	}
	info, err := caddy.GetModule(connectorNamespace + "." + kind)
	if err != nil {
		return first.errorf("there is no connector %q; there are %s", kind, connectorNames())
	}
	common := newFields("account", reflect.TypeFor[AccountConfig]())
	delete(common.byName, "connector")
	own := newFields(kind, reflect.TypeOf(info.New()).Elem())
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch field := d.Val(); {
		case field == "transport":
			err = parseTransport(d, common)
		case field == circuitField:
			err = parseCircuitBreaker(d, common)
		case common.has(field):
			err = common.read(d)
		case own.has(field):
			err = own.read(d)
		default:
			err = d.Errf("account %s has no field %q; every account has %s, and %s has %s",
				name, field, common.names(), kind, own.names())
		}
		if err != nil {
			return err
		}
	}
	if missing := own.missing(); len(missing) > 0 {
		return first.errorf("account %s: %s is missing", name, strings.Join(missing, ", "))
	}
	account, err := assemble(common, own, kind)
	if err != nil {
		return first.errorf("account %s: %v", name, err)
	}
	if err := account.check(name); err != nil {
		at := first
		var field *fieldError
		if errors.As(err, &field) && common.lines[field.field] > 0 {
			at.line = common.lines[field.field]
		}
		return at.errorf("account %s: %v", name, err)
	}
	if a.AccountConfigs == nil {
		a.AccountConfigs = map[string]*AccountConfig{}
	}
	a.AccountConfigs[name] = account
	return nil
}

// parseTransport reads the options of an account's HTTP transport.
func parseTransport(d *caddyfile.Dispenser, account *fields) error {
	if line, seen := account.lines["transport"]; seen {
		return d.Errf("transport is given twice; first at line %d", line)
	}
	account.lines["transport"] = d.Line()
	if d.NextArg() {
		return d.ArgErr()
	}
	options := newFields("transport", reflect.TypeFor[TransportConfig]())
	raw, err := options.block(d)
	if err != nil {
		return err
	}
	account.values["transport"] = raw
	return nil
}

// assemble makes the account of what its block said.
func assemble(common, own *fields, kind string) (*AccountConfig, error) {
	module, err := own.object("name", kind)
	if err != nil {
		return nil, err
	}
	raw, err := common.object("", "")
	if err != nil {
		return nil, err
	}
	account := new(AccountConfig)
	if err := caddy.StrictUnmarshalJSON(raw, account); err != nil {
		return nil, err
	}
	account.ConnectorRaw = module
	return account, nil
}

// connectorNames lists the connectors of this build for an error.
func connectorNames() string {
	var names []string
	for _, m := range caddy.GetModules(connectorNamespace) {
		names = append(names, m.ID.Name())
	}
	return strings.Join(names, ", ")
}

// position is a line of a Caddyfile.
type position struct {
	file string
	line int
}

func here(d *caddyfile.Dispenser) position { return position{d.File(), d.Line()} }

// errorf reads like the errors of caddyfile.Dispenser, for a line that the
// dispenser has left behind.
func (p position) errorf(format string, args ...any) error {
	return fmt.Errorf("%w, at %s:%d", fmt.Errorf(format, args...), p.file, p.line)
}
