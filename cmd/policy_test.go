package pursercmd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const policyRules = `rules:
- name: live-edge
  when: mode == "live"
  require: {tls: "1.3"}
- name: limits
  limit: {amount_max: {EUR: 500}, daily_amount: {EUR: 900}, rate: {key: 9/1s}}
`

const policyTests = `tests:
- {name: over, given: {amount: 501, currency: EUR}, want: {decision: deny, rule: limits}}
- name: wrong on purpose
  given: {mode: live}
  want: {decision: allow}
`

// TestPolicy walks the commands over folders that are right, wrong, and of which
// tests fail: what they print, where, and how they end.
func TestPolicy(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	rules := write("good/a.yaml", policyRules)
	good := filepath.Dir(rules)
	failing := filepath.Dir(write("failing/a.yaml", policyRules))
	failed := write("failing/a_test.yaml", policyTests)
	wrong := write("wrong/a.yaml", "rules:\n- name: a\n  when: country == \"DE\"\n- name: a\n")
	bad := filepath.Dir(wrong)
	request := write("request.json", `{"mode": "live", "tls": "1.2", "amount": 5, "currency": "EUR"}`)
	badRequest := write("bad.json", "{\n\"mode\": \"prod\"}")
	pinned := write("pinned/a.yaml", `rules:
- {name: mtls at stripe, when: account == "stripe_us", require: {mtls: true}}
- {name: none at stripe, when: mode == "test" && account == "stripe_us", deny: true}
- {name: limits at stripe, when: account == "stripe_us", limit: {rate: {account: 5/1s}}}
- {name: refunds at stripe, when: 'account == "stripe_us" && route == "POST /v1/refunds"', deny: true}
- {name: passed on, when: 'account == "stripe_us" && route == "ANY /v1/proxy/{account}/{path}"', require: {mtls: true}}
`)
	none := filepath.Join(root, "none")
	for _, tt := range []struct {
		name   string
		args   []string
		code   int
		stdout []string // parts
		stderr string   // part
	}{
		{"check", []string{"check", "--policies", good}, 0, []string{good + ": 2 rules in 1 file, and 0 tests\n"}, ""},
		{"check as JSON", []string{"check", "--policies", good, "--json"}, 0, []string{`{"ok":true,"rules":2,"files":1,"faults":[],"tests":0}`}, ""},
		{"warnings", []string{"check", "--policies", filepath.Dir(pinned)}, 0, []string{
			pinned + ":2: warning: mtls at stripe goes by account, which is \"\" in a new payment that pins none", "\n" + pinned + ":3: warning: none at stripe goes by account",
			"wherever routing sends it\n" + filepath.Dir(pinned) + ": 5 rules in 1 file, and 0 tests\n",
		}, ""},
		{"warnings as JSON", []string{"check", "--policies", filepath.Dir(pinned), "--json"}, 0, []string{`{"ok":true,`, `"warnings":[{"file":`, `"line":3,"message":"none at stripe goes`}, ""},
		{"faults", []string{"check", "--policies", bad}, 1, []string{wrong + ":3: when: there is no variable or function \"country\"", "\n" + wrong + ":4: there is a rule \"a\" already"}, bad + ": 2 faults"},
		{"faults as JSON", []string{"check", "--policies", bad, "--json"}, 1, []string{`{"ok":false,`, `"line":3,"message":"when: there is`}, bad + ": 2 faults"},
		{"no folder", []string{"check", "--policies", none}, 1, nil, none + ": no such file"},
		{"test without tests", []string{"test", "--policies", good}, 0, []string{good + ": 0 of 0 tests passed\n"}, ""},
		{"a failing test", []string{"test", "--policies", failing}, 1, []string{failed + `:3: wrong on purpose: got deny by live-edge (require.tls is "", want "1.3"), want allow` + "\n" + failing + ": 1 of 2 tests passed\n"}, failing + ": 1 test failed"},
		{"a failing test as JSON", []string{"test", "--policies", failing, "--json"}, 1, []string{`"ok":false`, `"name":"over","passed":true}`, `"line":3,"name":"wrong on purpose","passed":false,"message":"got deny`}, "1 test failed"},
		{"test of wrong rules", []string{"test", "--policies", bad}, 1, []string{wrong + ":3: when:"}, "2 faults"},
		{"explain", []string{"explain", "--policies", good, "--request", request}, 0, []string{"deny by live-edge: policy_denied: ", "live-edge   yes    require.tls         REFUSED  1.2    1.3\n", "limits      yes    limit.amount_max    ok       EUR 5  EUR 500\n", "(built in)"}, ""},
		{"explain without a request", []string{"explain", "--policies", good}, 2, nil, "--request is needed"},
		{"explain of nothing", []string{"explain", "--policies", good, "--request", none}, 1, nil, "no such file"},
		{"explain of a wrong request", []string{"explain", "--policies", good, "--request", badRequest}, 1, []string{badRequest + `:2: mode: "prod" is not one of`}, "1 fault"},
		{"explain by wrong rules", []string{"explain", "--policies", bad, "--request", request}, 1, []string{wrong + ":3: "}, "2 faults"},
		{"an argument", []string{"check", good}, 2, nil, "unknown command"},
		{"a wrong flag", []string{"check", "--folder", good}, 2, nil, "unknown flag"},
		{"no command", []string{"lint"}, 2, nil, `policy has no command "lint"`},
		{"the shipped policies", []string{"test", "--policies", "../policies"}, 0, []string{"../policies: "}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := output(t, append([]string{"policy"}, tt.args...)...)
			if code != tt.code {
				t.Errorf("got the end %d, want %d: %s%s", code, tt.code, stdout, stderr)
			}
			contains(t, "standard output", stdout, tt.stdout...)
			contains(t, "standard error", stderr, tt.stderr)
			if tt.stdout == nil && stdout != "" || tt.stderr == "" && stderr != "" {
				t.Errorf("got %q and %q, want the one or the other", stdout, stderr)
			}
			if n := strings.Count(strings.TrimSpace(stderr), "\n"); n > 0 {
				t.Errorf("the error has %d lines: %s", n+1, stderr)
			}
		})
	}
}

// TestPolicyExplainJSON holds the fields that the contract names.
func TestPolicyExplainJSON(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(policyRules), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ request, decision, rule, code string }{
		{`{"mode":"live"}`, "deny", `"live-edge"`, `"policy_denied"`},
		{`{"mode":"live","tls":"1.3","method":"card"}`, "deny", "null", `"pan_not_allowed"`},
		{`{"mode":"test","amount":5,"currency":"EUR"}`, "allow", "null", "null"},
	} {
		cmd := purser(t, "policy", "explain", "--policies", dir, "--request", "-", "--json")
		cmd.Stdin = strings.NewReader(tt.request)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", tt.request, err)
		}
		var got struct {
			Decision   string
			Rule, Code json.RawMessage
			Rates      []string
			Daily      []string `json:"daily_amounts"`
			Trace      []struct {
				Rule    string
				Matched bool
			}
		}
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if got.Decision != tt.decision || string(got.Rule) != tt.rule || string(got.Code) != tt.code || len(got.Trace) != 3 || got.Trace[1].Rule != "limits" {
			t.Errorf("%s: got %s, want %s by %s with %s", tt.request, out, tt.decision, tt.rule, tt.code)
		}
		if allowed := tt.decision == "allow"; allowed != (len(got.Rates) == 1) || allowed != (len(got.Daily) == 1) {
			t.Errorf("%s: got %s, want what is to be counted where it is allowed", tt.request, out)
		}
	}
}
