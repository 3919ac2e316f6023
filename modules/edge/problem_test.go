package edge_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/purser-pay/purser/modules/edge"
)

// TestProblem holds what the handler makes of errors, and of none.
func TestProblem(t *testing.T) {
	t.Parallel()
	request := func(target string, change func(*http.Request)) *http.Request {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		if change != nil {
			change(r)
		}
		return r
	}
	const secret = "no route to 10.1.2.3"
	tests := []struct {
		name    string
		handler edge.Problem
		request *http.Request
		err     error
		want    int
		code    string
		close   bool
	}{
		{"an error with a status", edge.Problem{}, request("/x", nil), caddyhttp.Error(502, errors.New(secret)), 502, "internal_error", false},
		{"an error of the caller's", edge.Problem{Status: 421}, request("/x", nil), caddyhttp.Error(413, errors.New(secret)), 413, "body_too_large", true},
		{"an error without a status", edge.Problem{}, request("/x", nil), errors.New(secret), 500, "internal_error", false},
		{"an error that is none", edge.Problem{}, request("/x", nil), caddyhttp.HandlerError{}, 500, "internal_error", false},
		{"an error with a body unread", edge.Problem{}, request("/x", func(r *http.Request) { r.ContentLength = 5 }), caddyhttp.Error(502, nil), 502, "internal_error", true},
		{"nothing", edge.Problem{}, request("/x", nil), nil, 404, "not_found", true},
		{"nothing, with a status", edge.Problem{Status: 421}, request("/x", nil), nil, 421, "invalid_request", true},
		{"a method of nobody", edge.Problem{Status: 421}, request("/x", func(r *http.Request) { r.Method = "BREW" }), nil, 405, "method_not_allowed", true},
		{"another server's address", edge.Problem{Status: 421}, request("http://other.example.com/", nil), nil, 400, "invalid_request", true},
		{"no host", edge.Problem{Status: 421}, request("/x", func(r *http.Request) { r.Host, r.ProtoMinor = "", 0 }), nil, 400, "invalid_request", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rec := httptest.NewRecorder()
			r := tt.request
			if tt.err != nil {
				r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ErrorCtxKey, tt.err))
			}
			if err := tt.handler.ServeHTTP(rec, r, nil); err != nil {
				t.Fatal(err)
			}
			var p struct{ Code string }
			if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil {
				t.Fatalf("%v in %s", err, rec.Body)
			}
			if rec.Code != tt.want || p.Code != tt.code || (rec.Header().Get("Connection") == "close") != tt.close {
				t.Errorf("got %d %s, Connection %q; want %d %s, close = %t", rec.Code, p.Code, rec.Header().Get("Connection"), tt.want, tt.code, tt.close)
			}
			if strings.Contains(rec.Body.String(), secret) {
				t.Errorf("the answer tells the cause: %s", rec.Body)
			}
		})
	}
}

func TestProblemDirective(t *testing.T) {
	t.Parallel()
	adapter := caddyconfig.GetAdapter("caddyfile")
	for text, want := range map[string]string{
		"payments_problem":                "",
		"payments_problem 421":            "",
		"payments_problem 200":            "a status of 400 to 599",
		"payments_problem x":              "a status of 400 to 599",
		"payments_problem 421 422":        `no argument "422"`,
		"payments_problem {\nstatus 4\n}": `no option "status"`,
	} {
		_, _, err := adapter.Adapt([]byte("http://localhost:8080 {\n"+text+"\n}\n"), nil)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want an error with %q", text, err, want)
		}
	}
	for status, want := range map[int]bool{0: true, 399: false, 400: true, 599: true, 600: false, -1: false} {
		if err := (&edge.Problem{Status: status}).Validate(); (err == nil) != want {
			t.Errorf("status %d: %v, want it valid: %t", status, err, want)
		}
	}
}

// TestProblemsAreAlike compares the members and fields of the API's own errors
// with those that are written for Caddy.
func TestProblemsAreAlike(t *testing.T) {
	w := newWorld(t)
	w.start(t)
	_, api, apiHeader, err := w.do(http.MethodGet, "http://"+w.public+"/nowhere", "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	if err := new(edge.Problem).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/nowhere", nil), nil); err != nil {
		t.Fatal(err)
	}
	var want, got object
	if err := errors.Join(json.Unmarshal(api, &want), json.Unmarshal(rec.Body.Bytes(), &got)); err != nil {
		t.Fatal(err)
	}
	for _, differs := range []string{"request_id", "detail"} {
		for _, p := range []object{want, got} {
			if s, _ := p[differs].(string); s == "" {
				t.Errorf("%v has no %s", p, differs)
			}
			delete(p, differs)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the API's problem and the edge's differ (-api +edge):\n%s", diff)
	}
	for _, name := range []string{"Content-Type", "Cache-Control", "X-Content-Type-Options"} {
		if got, want := rec.Header().Get(name), apiHeader.Get(name); got != want || want == "" {
			t.Errorf("%s: %q, and the API's is %q", name, got, want)
		}
	}
}
