package policy

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/purser-pay/purser/modules/payment"
)

// Outcome is how one test of a folder went.
type Outcome struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Name   string `json:"name"`
	Passed bool   `json:"passed"`
	// Message says got and want of a test that failed.
	Message string `json:"message,omitempty"`
}

// String writes "FILE:LINE: name: message".
func (o *Outcome) String() string {
	return (&Fault{o.File, o.Line, o.Name + ": " + o.Message}).String()
}

// Test loads a folder and runs its *_test.yaml, in the order of their names. Where
// rules or tests are wrong in themselves, the error is an [*Error] and nothing was
// run; a test that fails is an outcome.
func Test(dir string) (*Set, []Outcome, error) {
	s, tests, err := loadAll(dir)
	if err != nil {
		return nil, nil, err
	}
	outcomes := make([]Outcome, len(tests))
	for i, t := range tests {
		outcomes[i] = t.run(s)
	}
	return s, outcomes, nil
}

// Warnings are what may not mean what its author thinks, in a set that is right.
func (s *Set) Warnings() []*Fault {
	found := []*Fault{}
	for i := range s.rules {
		r := &s.rules[i]
		if !slices.Contains(r.when.uses, factAccount) || slices.ContainsFunc(settledPaths, func(p string) bool { return strings.Contains(r.when.source, p) }) {
			continue
		}
		if slices.ContainsFunc(r.checks, func(c check) bool { return c.rank == rankDeny || c.rank == rankRequire }) {
			found = append(found, &Fault{r.file, r.line, fmt.Sprintf(
				"%s goes by account, which is \"\" in a new payment that pins none: the rule does not bind it, wherever routing sends it", r.name)})
		}
	}
	return found
}

// settledPaths are in conditions about calls whose account is known: they pass through
// to one, or are about a payment that has one.
var settledPaths = []string{"/v1/proxy/", "/v1/refunds", "/v1/payments/{id}/"}

// Check loads a folder with its tests and runs none. It returns how many there are.
func Check(dir string) (s *Set, tests int, err error) {
	s, all, err := loadAll(dir)
	return s, len(all), err
}

func loadAll(dir string) (*Set, []test, error) {
	files, err := readFolder(os.DirFS(dir), dir)
	if err != nil {
		return nil, nil, err
	}
	s, err := compile(files.rules)
	if err != nil {
		return nil, nil, err
	}
	tests, err := readTests(s, files.tests)
	return s, tests, err
}

// epoch is the time of a test that names none: it must not depend on the day.
var epoch = time.Unix(0, 0).UTC()

// test is a request, and what is to become of it.
type test struct {
	name, file string
	line       int
	given      *given
	allow      bool
	rule       string
	code       payment.Code
	ruleLine   *yaml.Node // where rule is written
}

func (t *test) run(s *Set) Outcome {
	o := Outcome{File: t.file, Line: t.line, Name: t.name}
	o.Message = t.differs(s.Explain(t.given.input(epoch)))
	o.Passed = o.Message == ""
	return o
}

// differs says what is not as it should be.
func (t *test) differs(d Decision) string {
	switch {
	case d.Allowed && !t.allow:
		return "got allow, want deny" + by(t.rule)
	case !d.Allowed && t.allow:
		return fmt.Sprintf("got deny%s (%s), want allow%s", by(d.Rule), reason(&d), by(t.rule))
	case t.code != "" && d.Code != t.code:
		return fmt.Sprintf("got code %s%s, want %s", d.Code, by(d.Rule), t.code)
	case t.rule == "":
		return ""
	}
	for i := range d.Trace {
		if step := &d.Trace[i]; step.Rule == t.rule && (step.Refuses() || t.allow && step.Matched) {
			return ""
		}
	}
	if t.allow {
		return fmt.Sprintf("got allow, but rule %s does not match", t.rule)
	}
	return fmt.Sprintf("got deny%s (%s), want deny%s", by(d.Rule), reason(&d), by(t.rule))
}

func by(rule string) string {
	if rule == "" {
		return ""
	}
	return " by " + rule
}

// reason is the first demand that the refusing rule found unmet.
func reason(d *Decision) string {
	for i := range d.Trace {
		step := &d.Trace[i]
		if step.Rule != d.Rule || !step.Refuses() {
			continue
		}
		if step.Error != "" {
			return step.Error
		}
		for _, c := range step.Checks {
			if !c.OK {
				return fmt.Sprintf("%s is %q, want %q", c.Check, c.Got, c.Want)
			}
		}
	}
	return d.Detail
}

// readTests reads test files against the rules that they are about.
func readTests(s *Set, files []source) ([]test, error) {
	var tests []test
	var faults faultList
	known := map[string]bool{}
	for i := range s.rules {
		known[s.rules[i].name] = true
	}
	for _, f := range files {
		root, ok := parse(f, &faults)
		if !ok {
			continue
		}
		r := &reader{source: f, faults: &faults}
		names := map[string]bool{}
		read := func(n *yaml.Node) {
			r.list(n, "tests", MaxTests, func(n *yaml.Node) {
				if len(tests) >= MaxTests || faults.full() {
					return
				}
				t := r.test(n)
				if t.rule != "" && !known[t.rule] {
					r.fault(t.ruleLine, "there is no rule %q", t.rule)
				}
				if t.name != "" && names[t.name] {
					r.fault(n, "there is a test %q already in this file", t.name)
				}
				names[t.name] = true
				tests = append(tests, t)
			})
		}
		if there := r.mapping(root, "the file", field{"tests", read}); len(there) == 0 {
			r.fault(root, "the file has no tests")
		}
	}
	if len(tests) >= MaxTests {
		faults.add(files[len(files)-1].path, 0, "there are %d tests or more", MaxTests)
	}
	return tests, faults.err()
}

func (r *reader) test(n *yaml.Node) test {
	t := test{file: r.path, line: n.Line, given: newGiven()}
	there := r.mapping(n, "a test",
		field{"name", func(n *yaml.Node) {
			name, ok := r.text(n, "name")
			if ok && (name == "" || len(name) > 4*MaxName || strings.ContainsFunc(name, func(c rune) bool { return c == '\n' })) {
				r.fault(n, "a test's name is one line of 1 … %d bytes", 4*MaxName)
			}
			t.name = name
		}},
		field{"given", func(n *yaml.Node) { r.given(n, t.given) }},
		field{"want", func(n *yaml.Node) { r.want(n, &t) }},
	)
	if n.Kind == yaml.MappingNode {
		for _, name := range []string{"name", "given", "want"} {
			if !slices.Contains(there, name) {
				r.fault(n, "a test has no %s", name)
			}
		}
	}
	return t
}

// given reads the request of a test.
func (r *reader) given(n *yaml.Node, to *given) {
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		return // a request with nothing is one
	}
	r.table(n, "given", func(key, node *yaml.Node) {
		v := value{kind: kindOther, text: node.Value}
		switch {
		case node.Kind == yaml.MappingNode:
			v.kind, v.table = kindTable, map[string]string{}
			if len(node.Content) > 0 {
				r.table(node, key.Value, func(key, node *yaml.Node) {
					if text, ok := r.text(node, "the value of "+shown(key)); ok {
						v.table[key.Value] = text
					}
				})
			}
		case node.Kind != yaml.ScalarNode:
		case node.ShortTag() == "!!str", node.ShortTag() == "!!timestamp":
			v.kind = kindText
		case node.ShortTag() == "!!int", node.ShortTag() == "!!float":
			v.kind = kindNumber
		case node.ShortTag() == "!!bool" && (v.text == "true" || v.text == "false"):
			v.kind = kindBool
		}
		if err := to.set(key.Value, v); err != nil {
			r.fault(node, "%.40s: %v", key.Value, err)
		}
	})
}

// want reads what is to become of the request.
func (r *reader) want(n *yaml.Node, to *test) {
	there := r.mapping(n, "want",
		field{"decision", func(n *yaml.Node) {
			if n.Value != "allow" && n.Value != "deny" {
				r.fault(n, "want.decision is allow or deny, not %s", shown(n))
			}
			to.allow = n.Value == "allow"
		}},
		field{"rule", func(n *yaml.Node) {
			to.rule, _ = r.text(n, "want.rule")
			to.ruleLine = n
		}},
		field{"code", func(n *yaml.Node) {
			text, ok := r.text(n, "want.code")
			if ok && !slices.ContainsFunc(payment.Codes, func(i payment.CodeInfo) bool { return string(i.Code) == text }) {
				r.fault(n, "there is no code %.40q", text)
			}
			to.code = payment.Code(text)
		}},
	)
	if n.Kind == yaml.MappingNode && !slices.Contains(there, "decision") {
		r.fault(n, "want has no decision")
	}
	if to.allow && to.code != "" {
		r.fault(n, "what is allowed has no code")
	}
}
