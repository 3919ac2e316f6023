package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// ruleSet loads one file of rules, which must be right.
func ruleSet(t testing.TB, text string) *Set {
	t.Helper()
	s, err := loadText(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func loadText(text string) (*Set, error) {
	return load(fstest.MapFS{"a.yaml": {Data: []byte(text)}}, "p")
}

// faultsOf are the lines of an *Error.
func faultsOf(t testing.TB, err error) []string {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got the error %v, want an *Error", err)
	}
	return strings.Split(e.Error(), "\n")
}

// TestFaults holds that whatever is wrong is said, once, with its line.
func TestFaults(t *testing.T) {
	t.Parallel()
	rule := func(rest string) string { return "rules:\n- name: a\n  " + rest + "\n" }
	for _, tt := range []struct {
		name, text string
		want       string // "LINE: part of the message"
	}{
		// The file.
		{"empty", "", "1: the file is empty"},
		{"comment alone", "# nothing\n", "1: the file is empty"},
		{"null", "~\n", "1: the file is no mapping"},
		{"a list", "- name: a\n", "1: the file is no mapping"},
		{"no rules", "{}\n", "1: the file has no rules"},
		{"rules is nothing", "rules:\n", "1: rules is no list"},
		{"rules is a mapping", "rules:\n  name: a\n", "2: rules is no list"},
		{"unknown key", "rules: []\nrule: []\n", `2: the file has no key "rule", but rules`},
		{"rules twice", "rules: []\nrules: []\n", "2: the file has rules twice"},
		{"second document", "rules: []\n---\nrules: []\n", "2: a second document"},
		{"broken second document", "rules: []\n---\n[\n", "3: no YAML"},
		// Characters.
		{"tab", "rules:\n- name: a\n\twhen: mtls\n", "3: a tab"},
		{"tab in a comment", "rules: [] #\tx\n", "1: a tab"},
		{"no UTF-8", "rules:\n- name: \"\xff\"\n", "2: a byte that is no UTF-8"},
		{"byte order mark", "\ufeffrules: []\n", "1: an invisible character, U+FEFF"},
		{"line separator", "rules: [] # \u2028\n", "1: an invisible character, U+2028"},
		{"bidirectional override", "rules:\n- name: a # \u202e\n", "2: an invisible character, U+202E"},
		{"carriage return alone", "rules: []\r# x\n", "1: an invisible character, U+000D"},
		{"null byte", "rules: []\n\x00", "2: an invisible character, U+0000"},
		// YAML.
		{"unclosed quote", "rules:\n- name: \"a\n  when: mtls\n", "2: no YAML"},
		{"unclosed list", "rules:\n- name: a\n  allow: {methods: [card}\n- name: b\n", "3: no YAML"},
		{"bad indentation", rule("require:\n    mtls: true\n   dpop: true"), "5: no YAML"},
		{"in a long file", "rules:\n" + strings.Repeat("# x\n", maxSearchLines) + "- name: a\n- name: [\n" + strings.Repeat("# x\n", 9), "403: no YAML"},
		{"behind a text of several lines", "rules:\n- name: \"a\n\n    b\"\n- name: c]\n- ]\n", "6: no YAML"},
		{"colon in text", "rules:\n- name: a\n  when: mode == \"live\" ? true : false\n", "3: no YAML"},
		{"exclamation mark", rule("when: !mtls"), "3: tags are not taken"},
		{"exclamation mark with a call", rule(`when: !inNetwork(ip, "10.0.0.0/8")`), "3: no YAML: did not find expected key; a condition that begins with ! stands in quotes"},
		{"tag", rule("when: !!str true"), "3: tags are not taken"},
		{"binary", rule("when: !!binary bXRscw=="), "3: tags are not taken"},
		{"anchor", rule("require: &x {mtls: true}"), "3: anchors and aliases are not taken"},
		{"alias", "rules:\n- &x {name: a}\n- *x\n", "2: anchors and aliases are not taken\n3: anchors and aliases"},
		{"alias bomb", "rules:\n- &a [x, x, x]\n- &b [*a, *a, *a]\n", "2: anchors\n3: anchors"},
		{"alias to itself", "rules: &a [*a]\n", "1: anchors"},
		{"merge", rule("require:\n    <<: {mtls: true}"), `4: require has no key "<<"`},
		// The rule.
		{"a text", "rules:\n- a\n", "2: a rule is no mapping"},
		{"no name", "rules:\n- when: mtls\n", "2: a rule has no name"},
		{"number as name", "rules:\n- name: 1\n", "2: name is text, not \"1\""},
		{"nothing as name", "rules:\n- name:\n", "2: name is text, not nothing"},
		{"empty name", "rules:\n- name: ''\n", `2: "" is no name`},
		{"name with an edge", "rules:\n- name: 'a '\n", `2: "a " is no name`},
		{"name with a quote", "rules:\n- name: a\"b\n", "is no name"},
		{"long name", "rules:\n- name: " + strings.Repeat("a", MaxName+1) + "\n", "is no name"},
		{"name twice", "rules:\n- name: a\n- name: b\n- name: a\n", `4: there is a rule "a" already, at ` + filepath.Join("p", "a.yaml") + ":2"},
		{"key twice", rule("when: mtls\n  when: dpop"), "4: a rule has when twice"},
		{"unknown", rule("requires: {mtls: true}"), `3: a rule has no key "requires", but name, when, deny, require, limit, allow`},
		{"a list as key", rule("[a]: b"), "3: a rule has no key a list"},
		{"deny is text", rule("deny: 'true'"), "3: deny is true or false"},
		// Conditions.
		{"number", rule("when: 1"), `3: when is an expression, not "1"`},
		{"nothing", rule("when:"), "3: when is an expression, not nothing"},
		{"empty condition", rule("when: ''"), "3: when: syntax error"},
		{"unknown variable", rule("when: country == \"DE\""), `3: when: there is no variable or function "country"; variables are mode, merchant`},
		{"in a block", rule("when: |\n    mtls &&\n\n    amont > 5"), `6: when: there is no variable or function "amont"`},
		{"in a folded block", rule("when: >\n    mtls &&\n    amont > 5"), "4: when: there is no"},
		{"two slips", rule("when: |\n    foo &&\n    bar"), `4: when: there is no variable or function "foo"` + "\n" + `5: when: there is no variable or function "bar"`},
		{"no bool", rule("when: amount"), "3: when: the condition is of type int, not bool"},
		{"wrong type", rule("when: amount > 'x'"), "3: when: found no matching overload"},
		{"wrong mode", rule("when: |\n    mtls ||\n    mode == 'prod'"), `5: when: mode is never "prod"`},
		// Requirements.
		{"require is nothing", rule("require:"), "3: require is no mapping"},
		{"unknown requirement", rule("require: {mfa: true}"), `3: require has no key "mfa", but signature, mtls, dpop, idempotency, tls, key_age_max, networks`},
		{"yes", rule("require: {mtls: yes}"), `3: require.mtls is true or false, not "yes"`},
		{"True", rule("require: {dpop: True}"), `3: require.dpop is true or false, not "True"`},
		{"number as bool", rule("require: {signature: 1}"), "3: require.signature is true or false"},
		{"text as bool", rule("require: {idempotency: 'true'}"), "3: require.idempotency is true or false"},
		{"tls 1.1", rule("require: {tls: '1.1'}"), `3: require.tls is "1.2" or "1.3", not "1.1"`},
		{"tls 1.30", rule("require: {tls: 1.30}"), `3: require.tls is "1.2"`},
		{"tls list", rule("require: {tls: [1.3]}"), "3: require.tls is"},
		{"age without a unit", rule("require: {key_age_max: '90'}"), "3: require.key_age_max is 1s"},
		{"age in days", rule("require: {key_age_max: 90d}"), "3: require.key_age_max is 1s"},
		{"age number", rule("require: {key_age_max: 90}"), "3: require.key_age_max is text"},
		{"age zero", rule("require: {key_age_max: 0s}"), "3: require.key_age_max is 1s"},
		{"age below zero", rule("require: {key_age_max: -1h}"), "3: require.key_age_max is 1s"},
		{"age without end", rule("require: {key_age_max: 87841h}"), "3: require.key_age_max is 1s"},
		{"networks is text", rule("require: {networks: 10.0.0.0/8}"), "3: require.networks is no list"},
		{"no networks", rule("require: {networks: []}"), "3: require.networks is empty"},
		{"address", rule("require: {networks: [10.0.0.1]}"), `3: require.networks: "10.0.0.1" is no network`},
		{"bits behind", rule("require: {networks: [10.0.0.1/8]}"), "3: require.networks: \"10.0.0.1/8\" has bits behind its length: write 10.0.0.0/8"},
		{"too long", rule("require: {networks: [10.0.0.0/33]}"), "is no network"},
		{"mapped", rule("require: {networks: ['::ffff:10.0.0.0/104']}"), "write IPv4 as IPv4"},
		{"number as network", rule("require:\n    networks:\n    - 10.0.0.0/8\n    - 10"), "6: a network is text"},
		// Limits.
		{"unknown limit", rule("limit: {amount: {USD: 1}}"), `3: limit has no key "amount", but amount_max, daily_amount, rate`},
		{"no amounts", rule("limit: {amount_max: {}}"), "3: limit.amount_max is no mapping with entries"},
		{"bare amount", rule("limit: {amount_max: 5}"), "3: limit.amount_max is no mapping"},
		{"small letters", rule("limit: {amount_max: {usd: 5}}"), `3: "usd" is no currency`},
		{"unknown currency", rule("limit: {daily_amount: {XYZ: 5}}"), `3: "XYZ" is no currency`},
		{"currency twice", rule("limit: {amount_max: {USD: 5, USD: 6}}"), `3: limit.amount_max has "USD" twice`},
		{"number as currency", rule("limit: {amount_max: {840: 5}}"), `3: limit.amount_max: a key is text`},
		{"zero", rule("limit: {amount_max: {USD: 0}}"), "3: limit.amount_max.USD is a number in minor units, 1 …"},
		{"below zero", rule("limit: {amount_max: {USD: -5}}"), "3: limit.amount_max.USD"},
		{"decimal", rule("limit: {amount_max: {USD: 5.00}}"), "3: limit.amount_max.USD"},
		{"exponent", rule("limit: {amount_max: {USD: 1e3}}"), "3: limit.amount_max.USD"},
		{"underscore", rule("limit: {amount_max: {USD: 5_000}}"), "3: limit.amount_max.USD"},
		{"hexadecimal", rule("limit: {amount_max: {USD: 0x10}}"), "3: limit.amount_max.USD"},
		{"leading zero", rule("limit: {amount_max: {USD: 010}}"), "3: limit.amount_max.USD"},
		{"text as amount", rule("limit: {daily_amount: {USD: '5'}}"), "3: limit.daily_amount.USD"},
		{"too much", rule("limit: {amount_max: {USD: 1000000000000}}"), "3: limit.amount_max.USD"},
		{"far too much", rule("limit: {daily_amount: {USD: 99999999999999999999}}"), "3: limit.daily_amount.USD"},
		{"rate of nobody", rule("limit: {rate: {planet: 1/1s}}"), `3: limit.rate has no scope "planet", but [ip key merchant route account]`},
		{"bad rate", rule("limit: {rate: {key: 100}}"), "3: limit.rate.key is text"},
		{"bad period", rule("limit: {rate: {key: 100/s}}"), "3: limit.rate.key: rate"},
		{"rate twice", rule("limit: {rate: {key: [1/1s, 2/1s]}}"), "3: limit.rate.key: two windows of 1s"},
		{"five rates", rule("limit: {rate: {key: [1/1s, 1/2s, 1/3s, 1/4s, 1/5s]}}"), "3: limit.rate.key has more than 4"},
		{"no rate", rule("limit: {rate: {key: []}}"), "3: limit.rate.key is an empty list"},
		// What is allowed.
		{"unknown allowance", rule("allow: {cards: true}"), `3: allow has no key "cards", but card_numbers, methods, currencies, proxy`},
		{"card numbers", rule("allow: {card_numbers: on}"), "3: allow.card_numbers is true or false"},
		{"methods is text", rule("allow: {methods: card}"), "3: allow.methods is no list"},
		{"method", rule("allow: {methods: [Card]}"), `3: "Card" is no payment method`},
		{"method twice", rule("allow: {methods: [card, card]}"), "3: allow.methods has card twice"},
		{"currency", rule("allow:\n    currencies:\n    - EUR\n    - eur"), `6: "eur" is no currency`},
		{"call without a method", rule("allow: {proxy: [/v1/charges]}"), "3: allow.proxy: \"/v1/charges\" is no call"},
		{"call by any method", rule("allow: {proxy: ['* /v1/charges']}"), "3: allow.proxy"},
		{"dot segments", rule("allow: {proxy: [GET /v1/../x]}"), "3: allow.proxy: \"GET /v1/../x\" is no plain path"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := loadText(tt.text)
			if err == nil {
				t.Fatalf("%q was taken", tt.text)
			}
			got, want := faultsOf(t, err), strings.Split(tt.want, "\n")
			if len(got) != len(want) {
				t.Fatalf("got %q, want %q", got, want)
			}
			for i := range want {
				if line, ok := strings.CutPrefix(got[i], filepath.Join("p", "a.yaml")+":"); !ok || !strings.Contains(line, want[i]) {
					t.Errorf("got %q, want %q", got[i], want[i])
				}
			}
		})
	}
}

// TestForms holds that one meaning may be written in several ways.
func TestForms(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"rules: []",
		"rules:\n- {name: a}\n",
		"rules:\r\n- name: a\r\n  when: mtls\r\n",
		"---\nrules:\n- name: A rule/of.1:2-b\n  when: true\n",
		"{\"rules\": [{\"name\": \"a\", \"when\": \"mtls\", \"deny\": true}]}\n",
		"rules:\n- name: a\n  require: {tls: 1.3}\n- name: b\n  require: {tls: '1.3', mtls: false}\n",
		"rules:\n- name: a\n  when: >-\n    mtls\n    && dpop\n  allow: {methods: [], currencies: [], proxy: []}\n",
		"rules:\n- name: a\n  limit: {rate: {key: [1/1s, 5/1m], ip: 9/1h}}\n",
	} {
		if _, err := loadText(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestFolder is about files, before their rules.
func TestFolder(t *testing.T) {
	t.Parallel()
	one := &fstest.MapFile{Data: []byte("rules: [{name: one}]")}
	two := &fstest.MapFile{Data: []byte("rules: [{name: two}]")}
	bad := &fstest.MapFile{Data: []byte("]")}
	many := fstest.MapFS{}
	for i := range MaxFiles + 1 {
		many[fmt.Sprintf("%02d.yaml", i)] = &fstest.MapFile{Data: []byte("rules: []")}
	}
	rules := func(n int) *fstest.MapFile {
		var b strings.Builder
		b.WriteString("rules:\n")
		for i := range n {
			fmt.Fprintf(&b, "- name: r%d\n", i)
		}
		return &fstest.MapFile{Data: []byte(b.String())}
	}
	for _, tt := range []struct {
		name string
		fs   fstest.MapFS
		want string   // a fault
		tell []string // or the names of the rules, in order
	}{
		{"nothing", fstest.MapFS{}, "", nil},
		{"by name", fstest.MapFS{"b.yaml": one, "a.yaml": two}, "", []string{"two", "one"}},
		{"tests, dots, others and subfolders are no rules", fstest.MapFS{
			"a.yaml": one, "a_test.yaml": bad, ".b.yaml": bad, "README.md": bad, "a.yaml~": bad, "sub/c.yaml": bad,
		}, "", []string{"one"}},
		{"a folder with such a name", fstest.MapFS{"a.yaml/b": bad, "b.yaml": two}, "", []string{"two"}},
		{"another ending", fstest.MapFS{"a.yaml": one, "b.yml": two}, "b.yml: the name does not end in .yaml", nil},
		{"capitals", fstest.MapFS{"B.YAML": two}, "B.YAML: the name does not end in .yaml", nil},
		{"a name in two files", fstest.MapFS{"a.yaml": one, "b.yaml": one}, `b.yaml:1: there is a rule "one" already, at ` + filepath.Join("p", "a.yaml") + ":1", nil},
		{"all files are told", fstest.MapFS{"a.yaml": bad, "b.yaml": bad}, "a.yaml:1: no YAML", nil},
		{"too long", fstest.MapFS{"a.yaml": {Data: []byte("rules: [] #" + strings.Repeat("x", MaxFileSize))}}, "a.yaml: it has more than 1048576 bytes", nil},
		{"too many files", many, "p: there are more than 64 files", nil},
		{"too many rules", fstest.MapFS{"a.yaml": rules(MaxRules), "b.yaml": one}, "b.yaml:1: there are more than 500 rules", nil},
		{"too many in one file", fstest.MapFS{"a.yaml": rules(MaxRules + 1)}, "a.yaml:2: rules has more than 500 entries", nil},
		{"a pipe", fstest.MapFS{"a.yaml": {Mode: fs.ModeNamedPipe}}, "a.yaml: it is no regular file", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := load(tt.fs, "p")
			if tt.want != "" {
				if got := faultsOf(t, err)[0]; !strings.HasPrefix(got, filepath.Join("p", tt.want)) && !strings.HasPrefix(got, tt.want) {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range s.rules {
				got = append(got, r.name)
			}
			if diff := cmp.Diff(tt.tell, got); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDisk reads a real folder: its symbolic links, as a mounted ConfigMap has
// them, and what cannot be read.
func TestDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "..data"), 0o700); err != nil {
		t.Fatal(err)
	}
	write("..data/a.yaml", "rules: [{name: a, require: {mtls: true}}]")
	if err := os.Symlink("..data/a.yaml", filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	s, err := Load(dir)
	if err != nil || s.Len() != 1 || s.Files() != 1 {
		t.Fatalf("got %d rules of %d files, %v; want 1 of 1", s.Len(), s.Files(), err)
	}
	if d, err := Digest(dir); err != nil || d != s.Digest() {
		t.Errorf("the folder's digest is %x, %v; its set's is %x", d, err, s.Digest())
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "b.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Load(dir)
	if got, want := faultsOf(t, err), []string{filepath.Join(dir, "b.yaml") + ": it is no regular file"}; !slices.Equal(got, want) {
		t.Errorf("a pipe: got %q, want %q", got, want)
	}
	if _, err := Load(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "none") {
		t.Errorf("no folder: got %v, want one that names it", err)
	}
	if _, err := Digest(filepath.Join(dir, "a.yaml")); err == nil {
		t.Error("a file was taken for a folder")
	}
}

// TestDigest holds that it changes with names and bytes, and not with tests.
func TestDigest(t *testing.T) {
	t.Parallel()
	seen := map[[32]byte]string{}
	for _, files := range []fstest.MapFS{
		{},
		{"a.yaml": {Data: []byte("rules: []")}},
		{"b.yaml": {Data: []byte("rules: []")}},
		{"a.yaml": {Data: []byte("rules: [] ")}},
		{"a.yaml": {Data: []byte("rules: []")}, "b.yaml": {Data: []byte("rules: []")}},
	} {
		s, err := load(files, "p")
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[s.Digest()]; ok {
			t.Errorf("%v and %v have one digest", files, other)
		}
		seen[s.Digest()] = fmt.Sprint(files)
		files["x_test.yaml"] = &fstest.MapFile{Data: []byte("tests: []")}
		if again, err := load(files, "q"); err != nil || again.Digest() != s.Digest() {
			t.Errorf("a test file changed the digest, or %v", err)
		}
	}
	var none *Set
	if empty, err := load(fstest.MapFS{}, "p"); err != nil || empty.Digest() != none.Digest() || none.Len() != 0 || none.Files() != 0 || none.Uses("amount") {
		t.Errorf("the set of an empty folder is not the empty set: %v", err)
	}
}

// TestFaultsAreBounded holds that a file full of mistakes is no flood.
func TestFaultsAreBounded(t *testing.T) {
	t.Parallel()
	_, err := loadText("rules:\n" + strings.Repeat("- {nam: a, whe: b}\n", MaxRules))
	if got := len(faultsOf(t, err)); got != MaxFaults {
		t.Errorf("got %d faults, want %d", got, MaxFaults)
	}
}

// TestUses holds that a set knows what it looks at.
func TestUses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ rest, want string }{
		{"when: amount > 5", "amount"},
		{"when: metadata.a == 'b' && mtls", "metadata mtls"},
		{"when: metadata.exists(k, k == channel)", "metadata channel"},
		{"limit: {amount_max: {EUR: 5}}", "amount currency"},
		{"limit: {daily_amount: {EUR: 5}}", "amount currency"},
		{"allow: {currencies: [EUR]}", "currency"},
		{"allow: {methods: [card]}", "method"},
		{"allow: {card_numbers: true}", "card_number"},
		{"allow: {card_numbers: false}", "card_number"},
		{"allow: {proxy: []}", "proxy"},
		{"require: {networks: [10.0.0.0/8], key_age_max: 1h, tls: 1.3}", "ip key_age tls"},
		{"require: {signature: true, mtls: true, dpop: true, idempotency: true}", "signature mtls dpop idempotency"},
		{"require: {signature: false}", ""},
	} {
		s := ruleSet(t, "rules:\n- name: a\n  "+tt.rest+"\n")
		for name := range factOf {
			if got, want := s.Uses(name), slices.Contains(strings.Fields(tt.want), name); got != want {
				t.Errorf("%s: uses %s: got %v, want %v", tt.rest, name, got, want)
			}
		}
		if s.Uses("nothing") {
			t.Errorf("%s uses what there is not", tt.rest)
		}
	}
}
