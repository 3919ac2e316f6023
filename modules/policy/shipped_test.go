package policy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// shipped are the folders of policies that come with the gateway.
var shipped = []string{"../../policies", "../../policies/dev"}

// TestShipped holds that the shipped rules are right, that their tests pass, and
// that each rule has been seen to hold and to refuse, where it can.
func TestShipped(t *testing.T) {
	t.Parallel()
	for _, dir := range shipped {
		s, outcomes, err := Test(dir)
		if err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
		if s.Len() == 0 || len(outcomes) == 0 {
			t.Errorf("%s has %d rules and %d tests", dir, s.Len(), len(outcomes))
		}
		for _, o := range outcomes {
			if !o.Passed {
				t.Error(o.String())
			}
		}
		_, tests, err := loadAll(dir)
		if err != nil {
			t.Fatal(err)
		}
		for i := range s.rules {
			r := &s.rules[i]
			if !slices.ContainsFunc(tests, func(t test) bool { return t.rule == r.name }) {
				t.Errorf("%s:%d: no test names rule %s", r.file, r.line, r.name)
			}
			if r.when.program != nil && !r.when.complete {
				t.Logf("%s:%d: the condition of %s is CEL's to decide", r.file, r.line, r.name)
			}
		}
	}
}

var fence = regexp.MustCompile("(?s)\n```yaml\n(.*?)\n```\n")

// TestPages holds that the examples of the pages are policies.
func TestPages(t *testing.T) {
	t.Parallel()
	for page, least := range map[string]int{"../../docs/policies.md": 5, "../../policies/README.md": 1} {
		text, err := os.ReadFile(filepath.FromSlash(page))
		if err != nil {
			t.Fatal(err)
		}
		blocks := fence.FindAllStringSubmatch(string(text), -1)
		if len(blocks) < least {
			t.Errorf("%s has %d examples, want %d at least", page, len(blocks), least)
		}
		files := fstest.MapFS{}
		for i, b := range blocks {
			name := string(rune('a'+i)) + extension
			if strings.HasPrefix(b[1], "tests:") {
				name = string(rune('a'+i)) + testSuffix
			}
			files[name] = &fstest.MapFile{Data: []byte(b[1])}
		}
		dir := t.TempDir()
		for name, f := range files {
			if err := os.WriteFile(filepath.Join(dir, name), f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, outcomes, err := Test(dir)
		if err != nil {
			t.Errorf("%s: %v", page, err)
		}
		for _, o := range outcomes {
			if !o.Passed {
				t.Errorf("%s: %s", page, o.String())
			}
		}
	}
}
