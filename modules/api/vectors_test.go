package api_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/purser-pay/purser/modules/engine"
	"github.com/purser-pay/purser/modules/payment"
)

// twice are valid JSON by its grammar, and refused by us: a name that stands
// there twice means one thing to one parser and another to the next.
var twice = map[string]bool{
	"y_object_duplicated_key.json":           true,
	"y_object_duplicated_key_and_value.json": true,
}

// TestJSONTestSuite holds the body parser to the texts that others collected
// (testdata/README.md). What is JSON must be read as such, and is then refused
// for what it says; what is none must be refused for that.
func TestJSONTestSuite(t *testing.T) {
	paths, err := filepath.Glob("testdata/JSONTestSuite/test_parsing/*.json")
	if err != nil || len(paths) < 300 {
		t.Fatalf("%d texts, %v", len(paths), err)
	}
	d := newDoor(t)
	for _, path := range paths {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			w := d.serve(newRequest(d, http.MethodPost, "/v1/payments", string(text)))
			d.wantUntouched() // none of them is a payment
			var p problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatalf("got %d %s, want a problem", w.Code, w.Body)
			}
			got, want := payment.Code(p.Code), payment.CodeInvalidJSON
			switch {
			case len(text) > 64<<10:
				want = payment.CodeBodyTooLarge
			case name[0] == 'y' && !twice[name]:
				want = payment.CodeInvalidRequest
			case name[0] == 'i' && got == payment.CodeInvalidRequest:
				want = got // either is right
			}
			if got != want || w.Code != want.Info().Status {
				t.Errorf("got %d %s (%s), want %d %s, for %.200q", w.Code, got, p.Detail, want.Info().Status, want, text)
			}
		})
	}
	if d.log.Len() > 0 {
		t.Errorf("something was logged:\n%s", d.log)
	}
}

// naughty reads the Big List of Naughty Strings.
func naughty(t *testing.T) []string {
	t.Helper()
	raw, err := os.ReadFile("testdata/blns/blns.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	if err := json.Unmarshal(raw, &all); err != nil || len(all) < 400 {
		t.Fatalf("%d strings, %v", len(all), err)
	}
	return all
}

// TestNaughtyStrings: a string in a body reaches the engine as it is, or is
// refused; it changes nothing else.
func TestNaughtyStrings(t *testing.T) {
	fields := map[string]func(engine.Create) string{
		"reference":   func(c engine.Create) string { return c.Reference },
		"description": func(c engine.Create) string { return c.Description },
		"customer":    func(c engine.Create) string { return c.Customer.Name },
		"metadata":    func(c engine.Create) string { return c.Metadata["k"] },
	}
	wrap := map[string][2]string{"customer": {`{"name":`, `}`}, "metadata": {`{"k":`, `}`}}
	taken, refused := 0, 0
	for _, s := range naughty(t) {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		for field, read := range fields {
			d := newDoor(t)
			w := d.serve(newRequest(d, http.MethodPost, "/v1/payments", create(field, wrap[field][0]+string(text)+wrap[field][1])))
			switch {
			case w.Code == http.StatusCreated && len(d.engine.calls) == 1:
				taken++
				if got := read(d.engine.calls[0].In.(engine.Create)); got != s {
					t.Errorf("%s: got %q, want %q", field, got, s)
				}
			case w.Code >= 400 && w.Code < 500:
				refused++
				d.wantUntouched()
			default:
				t.Errorf("%s %q: got %d %s and %d calls", field, s, w.Code, w.Body, len(d.engine.calls))
			}
			if d.log.Len() > 0 {
				t.Errorf("%s %q: logged %s", field, s, d.log)
			}
		}
	}
	if taken < 1000 || refused == 0 {
		t.Errorf("got %d taken and %d refused, want most taken and some refused", taken, refused)
	}
	t.Logf("%d taken, %d refused", taken, refused)
}

// TestNaughtyElsewhere: strings as a whole body, as a query, and as a key.
func TestNaughtyElsewhere(t *testing.T) {
	d := newDoor(t)
	for _, s := range naughty(t) {
		if w := d.serve(newRequest(d, http.MethodPost, "/v1/payments", s)); w.Code != http.StatusBadRequest {
			t.Errorf("body %q: got %d, want 400", s, w.Code)
		}
		r := newRequest(d, http.MethodGet, "/v1/payments", "")
		r.URL.RawQuery = s
		if w := d.serve(r); w.Code >= 500 {
			t.Errorf("query %q: got %d %s", s, w.Code, w.Body)
		}
		d.wantUntouched()
		switch key, ok := takenKey(t, s); {
		case strings.HasPrefix(s, `"`): // the structured fields below
		case ok != visible(s):
			t.Errorf("key %q: got taken %v, want %v", s, ok, visible(s))
		case ok && key != s:
			t.Errorf("key %q: got %q", s, key)
		}
	}
	if d.log.Len() > 0 {
		t.Errorf("something was logged:\n%s", d.log)
	}
}

// visible tells whether s can be a key: 1 … 255 visible ASCII characters.
func visible(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// structuredField is one row of https://github.com/httpwg/structured-field-tests.
type structuredField struct {
	Name     string   `json:"name"`
	Raw      []string `json:"raw"`
	Type     string   `json:"header_type"`
	Expected []any    `json:"expected"`
	MustFail bool     `json:"must_fail"`
}

// TestStructuredFields holds the Idempotency-Key to the tests of RFC 9651, for
// the quoted form. They say nothing of their licence, so they are read from the
// folder that PURSER_SHARED names (../shared beside the repository).
func TestStructuredFields(t *testing.T) {
	shared := os.Getenv("PURSER_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "shared")
	}
	for _, file := range []string{"string.json", "string-generated.json", "item.json"} {
		raw, err := os.ReadFile(filepath.Join(shared, "vectors", "structured-fields", file))
		if err != nil {
			t.Skipf("skipped: the structured-field tests are not there; PURSER_SHARED names their folder: %v", err)
		}
		var rows []structuredField
		if err := json.Unmarshal(raw, &rows); err != nil || len(rows) == 0 {
			t.Fatalf("%s: %d rows, %v", file, len(rows), err)
		}
		for _, row := range rows {
			t.Run(file+"/"+row.Name, func(t *testing.T) { checkStructuredField(t, row) })
		}
	}
}

func checkStructuredField(t *testing.T, row structuredField) {
	t.Helper()
	field := strings.Trim(row.Raw[0], " \t")
	if len(row.Raw) > 1 || !strings.HasPrefix(field, `"`) {
		return // several fields, or a bare key: not what these tests are about
	}
	want, ok := "", false
	if !row.MustFail && len(row.Expected) == 2 {
		text, isString := row.Expected[0].(string)
		params, _ := row.Expected[1].([]any)
		if isString && len(params) == 0 && visible(text) {
			want, ok = text, true
		}
	}
	got, taken := takenKey(t, row.Raw[0])
	if taken != ok || got != want {
		t.Errorf("%q: got %q, taken %v; want %q, %v", row.Raw[0], got, taken, want, ok)
	}
}
