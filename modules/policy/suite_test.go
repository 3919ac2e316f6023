package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/payment"
)

const suiteRules = `rules:
- name: edge
  when: mode == "live"
  require: {tls: 1.3, signature: true}
- name: small
  limit: {amount_max: {EUR: 100}}
- name: tier
  when: mtls && metadata.tier == "gold"
`

// folderOf writes a folder.
func folderOf(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestOutcomes holds what a test of a folder says: each with the line where it
// begins, got and want.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ test, want string }{
		{"given: {mode: test}, want: {decision: allow}", ""},
		{"given: {}, want: {decision: allow}", ""},
		{"given: {mode: live, tls: '1.3', signature: true}, want: {decision: allow, rule: edge}", ""},
		{"given: {mode: live, tls: 1.3}, want: {decision: deny, rule: edge, code: policy_denied}", ""},
		{"given: {mode: live, amount: 101, currency: EUR}, want: {decision: deny, rule: small}", ""}, // it refuses as well
		{"given: {amount: 100, currency: EUR}, want: {decision: allow, rule: small}", ""},
		{"given: {mode: live, method: card, tls: '1.3', signature: true}, want: {decision: deny, code: pan_not_allowed}", ""},
		{"given: {mode: test, method: card}, want: {decision: allow}", ""},
		{"given: {mode: test, method: card, test_card: false}, want: {decision: deny, code: live_card_in_test_mode}", ""},
		{"given: {mode: live, method: card, card_number: false, tls: 1.3, signature: true}, want: {decision: allow}", ""},
		{"given: {mtls: true, metadata: {tier: gold}}, want: {decision: allow, rule: tier}", ""},
		{"given: {mtls: true}, want: {decision: deny, rule: tier}", ""},
		{"given: {mode: test}, want: {decision: deny}", "got allow, want deny"},
		{"given: {mode: test}, want: {decision: deny, rule: edge}", "got allow, want deny by edge"},
		{"given: {mode: test}, want: {decision: allow, rule: edge}", "got allow, but rule edge does not match"},
		{"given: {mode: live, tls: '1.2', signature: true}, want: {decision: allow}", `got deny by edge (require.tls is "1.2", want "1.3"), want allow`},
		{"given: {mode: live}, want: {decision: deny, rule: small}", `got deny by edge (require.tls is "", want "1.3"), want deny by small`},
		{"given: {mtls: true}, want: {decision: allow}", "got deny by tier (no such key: tier), want allow"},
		{"given: {mode: live}, want: {decision: deny, code: pan_not_allowed}", "got code policy_denied by edge, want pan_not_allowed"},
		{"given: {mode: test, method: card, test_card: false}, want: {decision: allow}", `got deny (card_numbers is "a number", want "test numbers"), want allow`},
		{"given: {mode: test, proxy: GET /x}, want: {decision: allow}", `got deny (proxy is "GET /x", want "a rule that allows it"), want allow`},
	} {
		dir := folderOf(t, map[string]string{"a.yaml": suiteRules, "a_test.yaml": "tests:\n# one\n- {name: one, " + tt.test + "}\n"})
		s, got, err := Test(dir)
		if err != nil {
			t.Errorf("%s: %v", tt.test, err)
			continue
		}
		want := []Outcome{{filepath.Join(dir, "a_test.yaml"), 3, "one", tt.want == "", tt.want}}
		if diff := cmp.Diff(want, got); diff != "" || s.Len() != 3 {
			t.Errorf("%s (-want +got):\n%s", tt.test, diff)
		}
		if s, n, err := Check(dir); err != nil || n != 1 || s.Len() != 3 {
			t.Errorf("%s: Check found %d tests of %d rules, %v", tt.test, n, s.Len(), err)
		}
	}
}

// TestSuiteFaults holds that a test that cannot mean anything is refused.
func TestSuiteFaults(t *testing.T) {
	t.Parallel()
	one := func(given, want string) string {
		return "tests:\n- name: one\n  given: " + given + "\n  want: " + want + "\n"
	}
	for _, tt := range []struct{ text, want string }{
		{"", "1: the file is empty"},
		{"{}", "1: the file has no tests"},
		{"rules: []", "1: the file has no key \"rules\", but tests\n1: the file has no tests"},
		{"tests:\n- {name: one}", "2: a test has no given\n2: a test has no want"},
		{"tests:\n- {given: {}, want: {decision: allow}}", "2: a test has no name"},
		{"tests:\n- {name: '', given: {}, want: {decision: allow}}", "2: a test's name is one line"},
		{"tests:\n- {name: a, given: {}, want: {decision: allow}}\n- {name: a, given: {}, want: {decision: allow}}", `3: there is a test "a" already`},
		{one("[]", "{decision: allow}"), "3: given is no mapping"},
		{one("{country: DE}", "{decision: allow}"), `3: country: there is no variable "country"`},
		{one("{mode: prod}", "{decision: allow}"), `3: mode: "prod" is not one of ["test" "live"]`},
		{one("{mode: live, mode: test}", "{decision: allow}"), `3: given has "mode" twice`},
		{one("{tls: '1.1'}", "{decision: allow}"), `3: tls: "1.1" is not one of`},
		{one("{currency: eur}", "{decision: allow}"), `3: currency: "eur" is not known`},
		{one("{channel: web}", "{decision: allow}"), `3: channel: "web" is not one of`},
		{one("{amount: '5'}", "{decision: allow}"), "3: amount: it is a number"},
		{one("{amount: -5}", "{decision: allow}"), "3: amount: it is a number"},
		{one("{amount: 5.0}", "{decision: allow}"), "3: amount: it is a number"},
		{one("{amount: 1000000000000}", "{decision: allow}"), "3: amount: it is a number"},
		{one("{mtls: 'true'}", "{decision: allow}"), "3: mtls: it is true or false"},
		{one("{mtls: yes}", "{decision: allow}"), "3: mtls: it is true or false"},
		{one("{merchant: 5}", "{decision: allow}"), "3: merchant: it is text"},
		{one("{merchant: true}", "{decision: allow}"), "3: merchant: it is text"},
		{one("{merchant: [a]}", "{decision: allow}"), "3: merchant: it is text"},
		{one("{merchant: {}}", "{decision: allow}"), "3: merchant: it is text"},
		{one("{merchant: ~}", "{decision: allow}"), "3: merchant: it is text"},
		{one("{ip: localhost}", "{decision: allow}"), `3: ip: "localhost" is no address`},
		{one("{now: yesterday}", "{decision: allow}"), `3: now: "yesterday" is no time`},
		{one("{now: 2026-01-31}", "{decision: allow}"), `3: now: "2026-01-31" is no time`},
		{one("{key_age: 90d}", "{decision: allow}"), `3: key_age: "90d" is no duration`},
		{one("{metadata: gold}", "{decision: allow}"), "3: metadata: it is a table"},
		{one("{metadata: {tier: 5}}", "{decision: allow}"), `3: the value of "tier" is text`},
		{one("{}", "allow"), "4: want is no mapping"},
		{one("{}", "{rule: edge}"), "4: want has no decision"},
		{one("{}", "{decision: yes}"), `4: want.decision is allow or deny, not "yes"`},
		{one("{}", "{decision: deny, rule: egde}"), `4: there is no rule "egde"`},
		{one("{}", "{decision: deny, code: denied}"), `4: there is no code "denied"`},
		{one("{}", "{decision: allow, code: policy_denied}"), "4: what is allowed has no code"},
		{one("&a {}", "{decision: allow}"), "3: anchors and aliases"},
	} {
		dir := folderOf(t, map[string]string{"a.yaml": suiteRules, "a_test.yaml": tt.text})
		_, outcomes, err := Test(dir)
		if err == nil {
			t.Errorf("%q was taken: %+v", tt.text, outcomes)
			continue
		}
		got, want := faultsOf(t, err), strings.Split(tt.want, "\n")
		if len(got) != len(want) {
			t.Errorf("%q: got %q, want %q", tt.text, got, want)
			continue
		}
		for i := range want {
			if line, ok := strings.CutPrefix(got[i], filepath.Join(dir, "a_test.yaml")+":"); !ok || !strings.HasPrefix(line, want[i]) {
				t.Errorf("%q: got %q, want %q", tt.text, got[i], want[i])
			}
		}
		// The rules are none the worse.
		if _, err := Load(dir); err != nil {
			t.Errorf("a wrong test keeps the rules out: %v", err)
		}
	}
}

// TestParseRequest holds that JSON says what YAML says.
func TestParseRequest(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 2, 4, 5, 6, 0, time.UTC)
	for text, want := range map[string]Input{
		`{}`: {Now: now, TestCard: true},
		`{"mode":"live","merchant":"mer_a","key":"key_a","route":"POST /v1/payments","method":"card_token","amount":1999,
		  "currency":"EUR","ip":"10.1.2.3","tls":"1.3","signature":true,"mtls":false,"channel":"moto","metadata":{"tier":"gold","empty":""},
		  "now":"2026-03-02T04:05:06Z","dpop":false,"idempotency":true,"key_age":"48h","account":"stripe_eu"}`: func() Input {
			in := *anInput()
			in.TestCard = true
			return in
		}(),
		`{"method":"card"}`:                                                {Now: now, Method: "card", CardNumber: true, TestCard: true},
		`{"method":"card","card_number":false}`:                            {Now: now, Method: "card", TestCard: true},
		`{"card_number":true,"test_card":false,"proxy":"GET /x"}`:          {Now: now, CardNumber: true, Proxy: "GET /x"},
		`{"key_age":"24h"}`:                                                {Now: now, KeyCreated: now.Add(-24 * time.Hour), TestCard: true},
		`{"key_age":"1h","now":"2026-01-01T00:00:00+01:00"}`:               {Now: time.Date(2025, 12, 31, 23, 0, 0, 0, time.UTC), KeyCreated: time.Date(2025, 12, 31, 22, 0, 0, 0, time.UTC), TestCard: true},
		"\t{\"merchant\": \"\\u00e9\", \"metadata\": {}, \"tls\": \"\"}\n": {Now: now, Merchant: "é", Metadata: map[string]string{}, TestCard: true},
	} {
		got, err := ParseRequest("r.json", []byte(text), now)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(&want, got, cmp.Comparer(sameAddr), cmp.Comparer(time.Time.Equal)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
	for text, want := range map[string]string{
		``:                                "r.json:1: no JSON: it ends too early",
		`{`:                               "r.json:1: no JSON",
		"{\n\"mode\":\n\"live\"":          "r.json:3: no JSON",
		`[]`:                              "r.json:1: the request is a JSON object",
		`"a"`:                             "r.json:1: the request is a JSON object",
		`{} {}`:                           "r.json:1: there is something behind the object",
		"{\n\"mode\": \"prod\"}":          `r.json:2: mode: "prod" is not one of`,
		"{\"a\":\n1}":                     `r.json:2: a: there is no variable "a"`,
		"{\"mtls\":true,\n\"mtls\":true}": "r.json:2: no JSON: duplicate object member name",
		`{"mode":null}`:                   "r.json:1: mode: it is text",
		`{"amount":1.0}`:                  "r.json:1: amount: it is a number",
		`{"amount":"1"}`:                  "r.json:1: amount: it is a number",
		`{"metadata":{"a":1}}`:            `r.json:1: metadata: the value of "a" is no text`,
		`{"metadata":[]}`:                 "r.json:1: metadata: it is a table",
		`{"metadata":{"a":{"b":"c"}}}`:    `r.json:1: metadata: the value of "a" is no text`,
		"{\"merchant\":\"\xff\"}":         "r.json:1: no JSON: invalid UTF-8",
		"{\"mode\":'live'}":               "r.json:1: no JSON",
	} {
		_, err := ParseRequest("r.json", []byte(text), now)
		if err == nil {
			t.Errorf("%q was taken", text)
			continue
		}
		if got := faultsOf(t, err); len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if _, err := ParseRequest("r.json", make([]byte, MaxRequest+1), now); err == nil {
		t.Error("a request of more than the bound was taken")
	}
}

// TestNamesOfGiven holds that everything that conditions can use can be given, and
// by the names of the contract.
func TestNamesOfGiven(t *testing.T) {
	t.Parallel()
	want := "mode merchant key route method amount currency ip tls signature mtls channel metadata now dpop idempotency key_age account card_number test_card proxy"
	if got := strings.Join(givenNames(), " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, c := range payment.Channels {
		if err := oneOf(factChannel, string(c)); err != nil {
			t.Error(err)
		}
	}
	for _, c := range payment.Currencies() {
		if err := oneOf(factCurrency, string(c)); err != nil {
			t.Error(err)
		}
	}
}
