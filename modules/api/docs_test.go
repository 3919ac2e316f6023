package api_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/purser-pay/purser/modules/payment"
)

func TestOpenAPIIsServed(t *testing.T) {
	d := newDoor(t)
	w := d.do("GET", "/openapi.json", "", "Authorization", "-")
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("got %d %s %.200s; want 200 and JSON, without a key", w.Code, w.Header().Get("Content-Type"), w.Body)
	}
	wantHeaders(t, w)
	var doc struct {
		OpenAPI string
		Info    struct{ Version string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") || doc.Info.Version != "1.2.3" {
		t.Errorf("got OpenAPI %s of version %s, want 3.1 of 1.2.3", doc.OpenAPI, doc.Info.Version)
	}
	if again := d.do("GET", "/openapi.json", ""); again.Body.String() != w.Body.String() {
		t.Error("the document is not the same twice")
	}
	wantProblem(t, d.do("POST", "/openapi.json", "{}"), payment.CodeMethodNotAllowed, "")
	d.wantUntouched()
}

// TestDocsPage: the page needs nothing but itself, and is all there.
func TestDocsPage(t *testing.T) {
	d := newDoor(t)
	w := d.do("GET", "/docs", "", "Authorization", "-")
	page := w.Body.String()
	if w.Code != 200 || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("got %d %s %.200s; want 200 and HTML, without a key", w.Code, w.Header().Get("Content-Type"), page)
	}
	wantHeaders(t, w)
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(page)
	if style == nil {
		t.Fatal("the page has no style")
	}
	sum := sha256.Sum256([]byte(style[1]))
	policy := w.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("Content-Security-Policy %q lacks %s", policy, want)
		}
	}
	for _, not := range []string{"<script", "<link", "<img", " style=", " onclick", "src=", "ZgotmplZ", "%!", "&lt;nil&gt;"} {
		if strings.Contains(page, not) {
			t.Errorf("the page holds %s", not)
		}
	}
	for _, want := range []string{
		`<html lang="en">`, "<main", "<title>", "/v1/payments/{id}/capture", "amount_capturable", "insufficient_funds",
		"idempotency_key_in_use", "curl -sS", "4242424242424242",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if ids[m[1]] {
			t.Errorf("the ID %s is there twice", m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(` (?:href="#|aria-labelledby=")([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if !ids[m[1]] {
			t.Errorf("a link or a label leads to #%s, which is not there", m[1])
		}
	}
}
