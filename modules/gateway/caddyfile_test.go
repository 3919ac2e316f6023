package gateway_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	_ "github.com/purser-pay/purser/modules/connectors/alipay"
	_ "github.com/purser-pay/purser/modules/connectors/stripe"
	"github.com/purser-pay/purser/modules/gateway"
)

var update = flag.Bool("update", false, "write the golden JSON anew")

// adapt turns a Caddyfile into JSON, indented.
func adapt(t testing.TB, text string) (string, error) {
	t.Helper()
	got, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "/etc/purser/Caddyfile"})
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, got, "", "\t"); err != nil {
		t.Fatalf("adapted JSON: %v", err)
	}
	return b.String(), nil
}

func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt_*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := adapt(t, string(a.Files[0].Data))
			if err != nil {
				t.Fatalf("adapt: %v", err)
			}
			if *update {
				a.Files = append(a.Files[:1], txtar.File{Name: "want.json", Data: []byte(got + "\n")})
				if err := os.WriteFile(file, txtar.Format(a), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(strings.TrimSpace(string(a.Files[1].Data)), got); diff != "" {
				t.Errorf("adapted JSON (-want +got):\n%s", diff)
			}
		})
	}
}

// head begins a block that is right: what a case adds stands from line 6 on.
const head = `{
	payments {
		store sqlite purser.db
		pepper {file.pepper}
		seal_key {env.SEAL_KEY}
`

// issuer is a jwt block that is good but for a line.
func issuer(line string) string {
	return "jwt https://idp.example {\naudience a\njwks jwks.json\nmerchants *\n" + strings.TrimLeft(line+"\n", "\n") + "}\n"
}

func TestAdaptRefuses(t *testing.T) {
	const credentials = "\nsecret_key {env.A}\nwebhook_secret {env.B}\n"
	account := func(lines string) string {
		return head + "account a stripe {\n" + lines + credentials + "}\n}\n}\n"
	}
	tests := []struct {
		name, text string
		want       string // part of the error
		line       string
	}{
		{"no store", "{\npayments {\npepper {env.A}\nseal_key {env.B}\n}\n}", "store is missing", "Caddyfile:2"},
		{"no pepper", "{\npayments {\nstore sqlite a.db\nseal_key {env.B}\n}\n}", "pepper is missing", "Caddyfile:2"},
		{"no seal key", "{\npayments {\nstore sqlite a.db\npepper {env.B}\n}\n}", "seal_key is missing", "Caddyfile:2"},
		{"argument", "{\npayments now {\n}\n}", "wrong argument count", "Caddyfile:2"},
		{"twice", "{\npayments {\nstore sqlite a.db\npepper {env.A}\nseal_key {env.B}\n}\npayments {\n}\n}", "payments is given twice", "Caddyfile:7"},
		{"store twice", head + "store sqlite b.db\n}\n}", "store is given twice; first at line 3", "Caddyfile:6"},
		{"postgres without DSN", "{\npayments {\nstore postgres\n}\n}", "store postgres takes one DSN", "Caddyfile:3"},
		{"bare DSN", "{\npayments {\nstore postgres postgres://u:canary@h/d\n}\n}", "by reference", "Caddyfile:3"},
		{"unknown option of postgres", "{\npayments {\nstore postgres {env.DSN} {\nspeed 3\n}\n}\n}", `no option "speed"`, "Caddyfile:4"},
		{"too many connections", "{\npayments {\nstore postgres {env.DSN} {\nconnections 501\n}\n}\n}", "connections is 2 … 500", "Caddyfile:4"},
		{"connections in words", "{\npayments {\nstore postgres {env.DSN} {\nconnections many\n}\n}\n}", "connections", "Caddyfile:4"},
		{"unknown store", "{\npayments {\nstore oracle x\n}\n}", `there is no store "oracle"`, "Caddyfile:3"},
		{"store without file", "{\npayments {\nstore sqlite\n}\n}", "takes one file", "Caddyfile:3"},
		{"bare pepper", "{\npayments {\npepper c2VjcmV0\n}\n}", "by reference", "Caddyfile:3"},
		{"unknown option", head + "frobnicate 3\n}\n}", `no option "frobnicate"`, "Caddyfile:6"},
		{"shared by nobody", head + "shared\n}\n}", "shared takes redis", "Caddyfile:6"},
		{"shared by another", head + "shared memcached {env.A}\n}\n}", "shared takes redis", "Caddyfile:6"},
		{"shared by a bare address", head + "shared redis redis://:canary@host\n}\n}", "by reference", "Caddyfile:6"},
		{"shared twice", head + "shared redis {env.A}\nshared redis {env.B}\n}\n}", "shared is given twice; first at line 6", "Caddyfile:7"},
		{"too many nodes", head + "shared redis {env.A} {\nnodes 1001\n}\n}\n}", "nodes is 1 … 1000", "Caddyfile:"},
		{"unknown option of shared", head + "shared redis {env.A} {\ncolour red\n}\n}\n}", `shared has no field "colour"; it has fail_closed, nodes`, "Caddyfile:7"},
		{"profiling with an argument", head + "profiling off\n}\n}", `profiling takes no argument "off"`, "Caddyfile:6"},
		{"policies without a folder", head + "policies\n}\n}", "policies takes one value", "Caddyfile:6"},
		{"policies twice", head + "policies a\npolicies b\n}\n}", "policies is given twice; first at line 6", "Caddyfile:7"},
		{"jwt without an issuer", head + "jwt {\n}\n}\n}", "an issuer has a name", "Caddyfile:6"},
		{"jwt without anything", head + "jwt https://idp.example {\n}\n}\n}", "audience, jwks, merchants is missing", "Caddyfile:6"},
		{"jwt twice", head + issuer("") + issuer("") + "}\n}", "jwt https://idp.example is given twice", "Caddyfile:11"},
		{"jwt with none", head + issuer("algorithms none") + "}\n}", "algorithms", "Caddyfile:6"},
		{"jwt with a secret", head + issuer("algorithms HS256") + "}\n}", "algorithms", "Caddyfile:6"},
		{"jwt over plain http", head + "jwt https://idp.example {\naudience a\njwks http://idp.example/jwks\nmerchants *\n}\n}\n}", "jwks", "Caddyfile:6"},
		{"jwt with a claim of another name", head + issuer("claims tenant=x") + "}\n}", "claims", "Caddyfile:6"},
		{"jwt of no mode", head + issuer("modes prod") + "}\n}", "modes", "Caddyfile:6"},
		{"jwt for ever", head + issuer("max_lifetime 48h") + "}\n}", "max_lifetime", "Caddyfile:6"},
		{"key peppers without any", head + "key_peppers\n}\n}", "key_peppers takes references", "Caddyfile:6"},
		{"a bare key pepper", head + "key_peppers canary\n}\n}", "by reference", "Caddyfile:6"},
		{"rate limit of nobody", head + "rate_limit\n}\n}", "a scope and rates", "Caddyfile:6"},
		{"rate limit without a rate", head + "rate_limit key\n}\n}", "a scope and rates", "Caddyfile:6"},
		{"rate limit of an unknown scope", head + "rate_limit moon 5/1s\n}\n}", `no scope "moon"; there are ip, key, merchant, route`, "Caddyfile:6"},
		{"rate limit twice", head + "rate_limit key 5/1s\nrate_limit key 6/1m\n}\n}", "rate_limit key is given twice", "Caddyfile:7"},
		{"rate without a period", head + "rate_limit key 5\n}\n}", "of the form 100/1s", "Caddyfile:6"},
		{"rate of parts of a second", head + "rate_limit key 5/100ms\n}\n}", "whole seconds", "Caddyfile:6"},
		{"two windows of one length", head + "rate_limit key 5/60s 6/1m\n}\n}", "two windows of 1m", "Caddyfile:6"},
		{"five windows", head + "rate_limit key 5/1s 6/2s 7/3s 8/4s 9/5s\n}\n}", "at most 4 windows", "Caddyfile:6"},
		{"nothing in flight", head + "rate_limit key in_flight 0\n}\n}", "in_flight is 1", "Caddyfile:6"},
		{"in flight without a number", head + "rate_limit key 5/1s in_flight\n}\n}", "one number", "Caddyfile:6"},
		{"load shedding with an argument", head + "load_shedding 500\n}\n}", `no argument "500"`, "Caddyfile:6"},
		{"load shedding of nothing", head + "load_shedding {\n}\n}\n}", "in_flight is missing", "Caddyfile:6"},
		{"load shedding of no calls", head + "load_shedding {\nin_flight 0\n}\n}\n}", "in_flight is 1 … 1000000", "Caddyfile:7"},
		{"load shedding in words", head + "load_shedding {\nin_flight many\n}\n}\n}", `"many" is not a whole number`, "Caddyfile:7"},
		{"load shedding twice", head + "load_shedding {\nin_flight 9\n}\nload_shedding {\nin_flight 9\n}\n}\n}", "load_shedding is given twice; first at line 6", "Caddyfile:9"},
		{"unknown option of load shedding", head + "load_shedding {\ncolour red\n}\n}\n}", `no field "colour"; it has dry_run, in_flight`, "Caddyfile:7"},
		{"cost of nothing", head + "rate_cost POST /v1/payments\n}\n}", "a method, a path and a number", "Caddyfile:6"},
		{"no cost", head + "rate_cost POST /v1/payments 0\n}\n}", "a cost is 1", "Caddyfile:6"},
		{"cost twice", head + "rate_cost POST /v1/payments 2\nrate_cost POST /v1/payments 3\n}\n}", "given twice", "Caddyfile:7"},
		{"webhooks with an argument", head + "webhooks on {\n}\n}\n}", `webhooks takes no argument "on"`, "Caddyfile:6"},
		{"webhooks twice", head + "webhooks {\n}\nwebhooks {\n}\n}\n}", "webhooks is given twice; first at line 6", "Caddyfile:8"},
		{"unknown option of webhooks", head + "webhooks {\nretries 3\n}\n}\n}", `webhooks has no field "retries"; it has allow, allow_http`, "Caddyfile:7"},
		{"allow nothing", head + "webhooks {\nallow\n}\n}\n}", "allow needs a value", "Caddyfile:7"},
		{"allow twice", head + "webhooks {\nallow 10.0.0.0/8\nallow_http\nallow 10.0.0.0/8\n}\n}\n}", "allow is given twice; first at line 7", "Caddyfile:9"},
		{"allow a name", head + "webhooks {\nallow_http\nallow 10.0.0.0/8 intranet\n}\n}\n}", `"intranet" is no network`, "Caddyfile:8"},
		{"allow an address", head + "webhooks {\nallow 127.0.0.1\n}\n}\n}", "write 127.0.0.1/32", "Caddyfile:7"},
		{"allow an IPv6 address", head + "webhooks {\nallow ::1\n}\n}\n}", "write ::1/128", "Caddyfile:7"},
		{"allow with loose bits", head + "webhooks {\nallow 10.0.0.7/8\n}\n}\n}", "write 10.0.0.0/8", "Caddyfile:7"},
		{"allow IPv4 in IPv6", head + "webhooks {\nallow ::ffff:10.0.0.0/104\n}\n}\n}", "in the guise of IPv6", "Caddyfile:7"},
		{"allow too much", head + "webhooks {\nallow" + strings.Repeat(" 10.0.0.0/8", 65) + "\n}\n}\n}", "at most 64 networks", "Caddyfile:7"},
		{"allow_http alone", head + "webhooks {\nallow_http\n}\n}\n}", "allow_http is for the networks of allow", "Caddyfile:7"},
		{"allow_http maybe", head + "webhooks {\nallow_http maybe\n}\n}\n}", `"maybe" is not a boolean`, "Caddyfile:7"},
		{"account without connector", head + "account a\n}\n}", "a name and a connector", "Caddyfile:6"},
		{"unknown connector", head + "account a strype {\n}\n}\n}", `no connector "strype"; there are alipay, stripe`, "Caddyfile:6"},
		{"account twice", head + "account a stripe {\nmode test" + credentials + "}\naccount a stripe {\n}\n}\n}", "account a is given twice", "Caddyfile:11"},
		{"bad account name", head + "account A/b stripe {\nmode test" + credentials + "}\n}\n}", "is not of the form", "Caddyfile:6"},
		{"unknown field", account("mode test\ncolour red"), `account a has no field "colour"`, "Caddyfile:8"},
		{"field twice", account("mode test\nmode live"), "mode is given twice; first at line 7", "Caddyfile:8"},
		{"credential missing", head + "account a stripe {\nmode test\nsecret_key {env.A}\n}\n}\n}", "webhook_secret is missing", "Caddyfile:6"},
		{"all credentials missing", head + "account b alipay {\nmode test\n}\n}\n}", "alipay_public_key, app_id, private_key is missing", "Caddyfile:6"},
		{"bare credential", head + "account a stripe {\nmode test\nsecret_key sk_test_canary\n}\n}\n}", "by reference", "Caddyfile:8"},
		{"mode missing", account(""), "mode is missing", "Caddyfile:6"},
		{"mode unknown", account("mode production"), `mode "production"`, "Caddyfile:7"},
		{"everyone in live", account("mode live\nmerchants *"), "merchants * is for mode test alone", "Caddyfile:8"},
		{"nobody in live", account("mode live"), "merchants is missing", "Caddyfile:6"},
		{"bad merchant", account("mode test\nmerchants acme"), `"acme" is no merchant's id`, "Caddyfile:8"},
		{"merchants without value", account("mode test\nmerchants"), "merchants needs a value", "Caddyfile:8"},
		{"bad priority", account("mode test\npriority first"), "priority", "Caddyfile:8"},
		{"bad duration", account("mode test\ntimeout soon"), `"soon" is not a duration`, "Caddyfile:8"},
		{"timeout too long", account("mode test\ntimeout 1h"), "timeout 1h0m0s is not", "Caddyfile:8"},
		{"timeout without value", account("mode test\ntimeout"), "timeout takes one value", "Caddyfile:8"},
		{"negative not_found_after", account("mode test\nnot_found_after -3s"), "not_found_after -3s", "Caddyfile:8"},
		{"plain http", account("mode test\nbase_url http://psp.example"), "loopback", "Caddyfile:8"},
		{"plain http in live", account("mode live\nmerchants mer_00000000000000000000000000\nbase_url http://127.0.0.1:1"), "https alone", "Caddyfile:9"},
		{"base_url with a query", account("mode test\nbase_url https://psp.example?a=b"), "scheme, host and path", "Caddyfile:8"},
		{"base_url of another scheme", account("mode test\nbase_url ftp://psp.example"), "is not https", "Caddyfile:8"},
		{"unknown transport option", account("mode test\ntransport {\nspeed fast\n}"), `transport has no field "speed"`, "Caddyfile:9"},
		{"unknown option of a breaker", account("mode test\ncircuit_breaker {\nspeed fast\n}"), `circuit_breaker has no field "speed"`, "Caddyfile:9"},
		{"breaker twice", account("mode test\ncircuit_breaker\ncircuit_breaker off"), "circuit_breaker is given twice", "Caddyfile:9"},
		{"breaker on", account("mode test\ncircuit_breaker on"), "followed by off", "Caddyfile:8"},
		{"breaker out of bounds", account("mode test\ncircuit_breaker {\nopen_for 1h\n}"), "open_for is", "Caddyfile:8"},
		{"transport twice", account("mode test\ntransport {\n}\ntransport {\n}"), "transport is given twice", "Caddyfile:10"},
		{"connector's raw JSON", account("mode test\nconnector x"), `no field "connector"`, "Caddyfile:8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := adapt(t, tt.text)
			if err == nil {
				t.Fatalf("adapted to %s, want the error %q", got, tt.want)
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.line) {
				t.Errorf("error %q, want %q at %s", err, tt.want, tt.line)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("error %q shows the secret", err)
			}
		})
	}
}

// FuzzCaddyfile looks for blocks that crash the parser, and for accepted ones
// that do not come back from JSON as they went in.
func FuzzCaddyfile(f *testing.F) {
	f.Add(head + "account a stripe {\nmode test\nsecret_key {env.A}\nwebhook_secret {env.B}\ntransport {\nversions 1.1 2\n}\n}\n}\n}")
	f.Add(head + "webhooks {\nallow 10.0.0.0/8 fd00::/8\nallow_http\n}\n}\n}")
	f.Add(head + "rate_limit key 5/1s 90/1m in_flight 3\nrate_cost POST /v1/payments 5\nshared redis {env.A} {\nnodes 3\nfail_closed\n}\n}\n}")
	f.Add(head + "rate_limit account 50/1s in_flight 20\nload_shedding {\nin_flight 500\ndry_run\n}\n}\n}")
	f.Add("payments {\nstore sqlite\n}")
	f.Fuzz(func(t *testing.T, text string) {
		d := caddyfile.NewTestDispenser(text)
		app := new(gateway.App)
		if app.UnmarshalCaddyfile(d) != nil {
			return
		}
		b, err := json.Marshal(app)
		if err != nil {
			t.Fatalf("marshal an accepted block: %v", err)
		}
		again := new(gateway.App)
		if err := json.Unmarshal(b, again); err != nil {
			t.Fatalf("read %s back: %v", b, err)
		}
		c, err := json.Marshal(again)
		if err != nil || !bytes.Equal(b, c) {
			t.Errorf("came back as %s (%v), want %s", c, err, b)
		}
	})
}
