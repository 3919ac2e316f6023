package policy

import (
	"strings"
	"testing"
)

func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ pattern, matches, not string }{
		{
			"GET /v1/charges",
			"GET /v1/charges",
			"GET /v1/charges/|GET /v1/charges/ch_1|GET /v1/charge|GET /v1/chargess|GET /v1|POST /v1/charges|get /v1/charges|GET v1/charges|GET  /v1/charges|GET /V1/charges|/v1/charges|GET|",
		},
		{
			"GET /v1/charges*",
			"GET /v1/charges|GET /v1/charges/|GET /v1/charges/ch_1|GET /v1/charges/ch_1/refunds/x|GET /v1/charges_of_others",
			"GET /v1/charge|GET /v1|GET /v2/charges|GET /x/v1/charges|HEAD /v1/charges",
		},
		{
			"GET /v1/charges/*",
			"GET /v1/charges/|GET /v1/charges/ch_1|GET /v1/charges/ch_1/refunds",
			"GET /v1/charges|GET /v1/chargesx/y",
		},
		{
			"POST /v1/*/capture",
			"POST /v1/pi_1/capture|POST /v1//capture|",
			"POST /v1/pi_1/x/capture|POST /v1/pi_1/capture/|POST /v1/pi_1/captures|POST /v1/capture",
		},
		{
			"GET /v1/pi_*/a*b",
			"",
			"GET /v1/pi_1/ac|GET /v1/pi_1/ab/c|GET /v1/x/ab",
		},
		{
			"GET /v1/pi_*/a*b*",
			"GET /v1/pi_1/ab|GET /v1/pi_/axxbxx|GET /v1/pi_1/ab/c/d|GET /v1/pi_1/abab",
			"GET /v1/pi_1/a/b|GET /v1/pi_1/xab",
		},
		{"DELETE /*", "DELETE /|DELETE /a|DELETE /a/b", "GET /a"},
		{"GET /", "GET /", "GET /a|GET //"},
		{"GET /a%20b/*", "GET /a%20b/c", "GET /a b/c|GET /a%20b/%2e%2e|GET /a%20b/..%2fx"},
	} {
		p, err := parsePattern(tt.pattern)
		if err != nil {
			t.Errorf("%s: %v", tt.pattern, err)
			continue
		}
		for call := range strings.SplitSeq(tt.matches, "|") {
			// The empty segment is no plain path, whatever the pattern.
			if want := call != "" && !strings.Contains(call, "//"); p.matches(call) != want {
				t.Errorf("%s: %q: got %v, want %v", tt.pattern, call, !want, want)
			}
		}
		for call := range strings.SplitSeq(tt.not, "|") {
			if p.matches(call) {
				t.Errorf("%s matches %q", tt.pattern, call)
			}
		}
	}
}

// TestAmbiguousPaths holds that a path that a server could read as another one is
// matched by nothing.
func TestAmbiguousPaths(t *testing.T) {
	t.Parallel()
	all, err := parsePattern("GET /*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"/..", "/../x", "/a/..", "/a/../b", "/a/.", "/./a", "/a/..;/b", "/a/..;x=1/b", "/a/.;/b", "//a", "/a//b", "/;/a", "/a/;x",
		"/a/%2e%2e/b", "/a/%2E./b", "/a/.%2e", "/a%2fb", "/a%2Fb", "/a%5cb", "/a\\b", "/a/%252e%252e", "/a%00", "/a%0a", "/a%7f", "/a%3bb", "/a%3fb", "/a%23b",
		"/a?x=1", "/a#x", "/a b", "/a\tb", "/a\x00", "/é", "/a%", "/a%2", "/a%zz", "/a%%20", "/a*", "a", "", "*", "http://x/a",
	} {
		if all.matches("GET " + path) {
			t.Errorf("GET /* matches %q", path)
		}
	}
	for _, path := range []string{"/", "/a", "/a/", "/a.b/.c/...", "/a;v=1/b", "/a%20b", "/a%C3%A9", "/~a/@b:c,d!$&'()+="} {
		if !all.matches("GET " + path) {
			t.Errorf("GET /* does not match %q", path)
		}
	}
}

func TestPatternsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "GET", "GET ", "/v1", "FETCH /v1", "get /v1", "ANY /v1", "* /v1", "GET v1", "GET  /v1", "GET /v1 ", "GET /v1/**", "GET /**/x", "GET /v1?x=1", "GET /v1/../x", "GET /v1//x",
		"GET /%2e%2e", "GET /a%2fb", "GET /a#b", "GET /{id}é", "GET https://api.stripe.com/v1", "GET /" + strings.Repeat("*/", maxStars+1), "GET /" + strings.Repeat("a", maxPattern),
	} {
		if _, err := parsePattern(text); err == nil {
			t.Errorf("%q was taken", text)
		} else if len(err.Error()) > 250 {
			t.Errorf("the error on %.20q has %d bytes", text, len(err.Error()))
		}
	}
}
