package standard

import (
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/purser-pay/purser/modules/connector"
)

// sample is a module that says too little of itself, in sampleSource.
type sample struct {
	Told    string           `json:"told"`
	Silent  string           `json:"silent,omitempty"`
	First   connector.Secret `json:"first"`
	Second  connector.Secret `json:"second"`
	Unnamed bool
	Odd     chan int      `json:"odd,omitempty"`
	Inner   []sampleInner `json:"inner,omitempty"`
	Hidden  string        `json:"-"`
}

type sampleInner struct {
	Deep bool `json:"deep,omitempty"`
}

const sampleSource = `package standard

// sample is one. It has "a|b" in it.
//
// Caddyfile:
//
//	payments_other
type sample struct {
	// Told is told,
	// on two lines.
	Told string
	Silent string
	// First and Second share a comment.
	First, Second int
	// Unnamed has no name.
	Unnamed bool
	// Odd is no JSON.
	Odd chan int
	// Inner holds more.
	Inner []sampleInner
}

type sampleInner struct {
	// Deep is deep.
	Deep bool
}
`

// TestModulesPageComplains holds that a module cannot be on the page without
// saying what it and its fields are.
func TestModulesPageComplains(t *testing.T) {
	t.Parallel()
	d := drawing{sources: map[string]sources{}, load: func(pkg string) (sources, error) {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "sample.go", sampleSource, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		return readSources(fset, []*ast.File{f}, pkg)
	}}
	page := d.page([]module{{"http.handlers.payments_sample", reflect.TypeFor[sample]()}})
	want := []string{
		"standard.sample: its Caddyfile does not begin with payments_sample",
		"standard.sample.Silent has no doc comment",
		"standard.sample.First has no doc comment",
		"standard.sample.Second has no doc comment",
		"standard.sample.Unnamed has no name in JSON",
		"standard.sample.Odd: there is no word for a chan int",
		"standard.sampleInner has no doc comment",
	}
	if diff := cmp.Diff(want, d.bad); diff != "" {
		t.Errorf("complaints (-want +got):\n%s", diff)
	}
	for _, line := range []string{
		"| [`http.handlers.payments_sample`](#httphandlerspayments_sample) | `http.handlers.payments_sample` is one. |\n",
		"\n| `told` | string | yes | `told` is told, on two lines. |\n",
		"\n| `inner` | list of [object](#httphandlerspayments_sampleinner)s |  | `inner` holds more. |\n",
		"\n### http.handlers.payments_sample.inner.*\n",
		"\n| `deep` | boolean |  | `deep` is deep. |\n",
	} {
		if !strings.Contains(page, line) {
			t.Errorf("the page lacks %q:\n%s", line, page)
		}
	}
	if strings.Contains(page, "Hidden") {
		t.Error("the page shows a field that is not configured")
	}
}
