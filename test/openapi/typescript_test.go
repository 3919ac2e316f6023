package openapi

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestTypeScriptClient compiles and runs a program in TypeScript whose types
// are generated from the document.
func TestTypeScriptClient(t *testing.T) {
	if testing.Short() {
		t.Skip("npm fetches packages; left out by -short")
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("npm is not installed: the TypeScript client is not tried")
	}
	w := newWorld(t)
	_, doc := w.send(w.request(w.url, call{method: http.MethodGet, path: "/openapi.json", key: "-"}))
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("ts")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "openapi.json"), doc, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"},
		// A field with a default may be left out of a request.
		{npm, "exec", "--no", "--", "openapi-typescript", "openapi.json", "--default-non-nullable=false", "--output", "schema.d.ts"},
		{npm, "exec", "--no", "--", "tsc"},
		{"node", "out/client.js", w.url, w.keys["all"]},
	} {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...) //nolint:gosec // the test's own words
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", filepath.Base(args[len(args)-1]), err, out)
		}
	}
}
