package policy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// FuzzLoad holds that no file is worse than refused: with faults that have lines
// of that file, or a set that decides.
func FuzzLoad(f *testing.F) {
	for _, dir := range shipped {
		files, err := filepath.Glob(filepath.Join(dir, "*"+extension))
		if err != nil || len(files) == 0 {
			f.Fatalf("%s: %d files, %v", dir, len(files), err)
		}
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Add([]byte("rules:\n- name: a\n  when: !x [\n"))
	f.Add([]byte("a: &a [*a]\n---\n"))
	f.Add([]byte(suiteRules))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<14 {
			t.Skip()
		}
		lines := strings.Count(string(data), "\n") + 1
		check := func(err error) {
			if err == nil {
				return
			}
			e, ok := errors.AsType[*Error](err)
			if !ok || len(e.Faults) == 0 {
				t.Fatalf("the error %v has no faults", err)
			}
			for _, x := range e.Faults {
				if x.Line < 1 || x.Line > lines || x.Message == "" || strings.Contains(x.Message, "\n") {
					t.Fatalf("the fault %+v, in a file of %d lines", *x, lines)
				}
			}
		}
		s, err := load(fstest.MapFS{"a.yaml": {Data: data}}, "p")
		check(err)
		if err == nil {
			in := anInput()
			if d, e := s.Decide(in), s.Explain(in); d.Allowed != e.Allowed || d.Rule != e.Rule {
				t.Fatalf("decided %+v, explained %+v", d, e)
			}
		}
		tests, err := readTests(new(Set), []source{{"a_test.yaml", "a_test.yaml", data}})
		check(err)
		for i := range tests {
			tests[i].run(nil)
		}
	})
}

// FuzzExpression holds that no condition panics, costs more than it may, or means
// another thing by its shape than by CEL.
func FuzzExpression(f *testing.F) {
	for _, when := range []string{
		`mode == "live" && amount > 5`, `metadata.exists(k, metadata[k] == "gold")`, `inNetwork(ip, "10.0.0.0/8") || !mtls`,
		`now - timestamp("2026-01-01T00:00:00Z") > duration("24h")`, `["a"].all(x, x in metadata)`, `amount / 0 == 1`, `has(metadata.a) ? true : dpop`,
		`"tier" in metadata && metadata.tier != "gold"`, `currency in ["EUR", "USD"]`, `-5 < amount`, `{"a": 1}["a"] == amount`,
	} {
		f.Add(when)
	}
	f.Fuzz(func(t *testing.T, when string) {
		c, slips := compileCondition(when)
		if len(slips) > 0 {
			if len(slips) > maxSlips || slips[0].line < 1 || slips[0].message == "" || strings.Contains(slips[0].message, "\n") {
				t.Fatalf("%q: %+v", when, slips)
			}
			return
		}
		for _, in := range []*Input{anInput(), {}, {Mode: "test", Amount: 5, Metadata: map[string]string{"a": "b"}, Now: time.Unix(5, 0)}} {
			want := evaluated(c.evaluate(newFacts(in)))
			if got := evaluated(c.holds(newFacts(in))); got != want {
				t.Fatalf("%q: got %v, want %v as CEL has it", when, got, want)
			}
			_, details, err := c.program.Eval(newFacts(in))
			if cost := details.ActualCost(); cost == nil || *cost > MaxCost || err != nil && strings.Contains(err.Error(), "cost") {
				t.Fatalf("%q: the cost as it ran was %v, %v", when, cost, err)
			}
		}
	})
}

// FuzzParseRequest holds that no request panics.
func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(`{"mode":"live","amount":5,"metadata":{"a":"b"},"ip":"::1","key_age":"5h"}`))
	f.Add([]byte(`{"a":[{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		in, err := ParseRequest("r", data, time.Unix(5, 0))
		if (in == nil) != (err != nil) {
			t.Fatalf("got %+v and %v", in, err)
		}
		if err != nil {
			if e, ok := errors.AsType[*Error](err); !ok || len(e.Faults) != 1 || e.Faults[0].Line < 1 {
				t.Fatalf("got %v", err)
			}
			return
		}
		ruleSet(t, suiteRules).Decide(in)
	})
}

// FuzzPattern holds that a pattern matches no path that could be read as another.
func FuzzPattern(f *testing.F) {
	f.Add("GET /v1/charges*", "GET /v1/charges/ch_1")
	f.Add("POST /v1/*/capture", "POST /v1/pi/capture")
	f.Add("GET /*", "GET /a/../b")
	f.Fuzz(func(t *testing.T, text, call string) {
		p, err := parsePattern(text)
		if err != nil || !p.matches(call) {
			return
		}
		method, path, _ := strings.Cut(call, " ")
		if !strings.HasPrefix(text, method+" ") || !strings.HasPrefix(path, "/") {
			t.Fatalf("%q matches %q", text, call)
		}
		for _, bad := range []string{"//", "/../", "/./", "\\", "?", "#", "%2f", "%2F", "%5c", "%5C", "%2e", "%2E", "%00", " "} {
			if strings.Contains(path+"/", bad) && !(bad == "//" && strings.HasSuffix(path, "/")) {
				t.Fatalf("%q matches %q", text, call)
			}
		}
		literal, _, starred := strings.Cut(text, "*")
		if !strings.HasPrefix(call, literal) || !starred && call != text {
			t.Fatalf("%q matches %q", text, call)
		}
	})
}
